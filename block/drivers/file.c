/* SPDX-License-Identifier: MIT */
/*
 * The file driver: regular files ("file") and block devices ("host_device").
 *
 * Reads, writes and flushes go to the I/O engine that the user chose, in the context of
 * the thread that sent the request; what only threads can do (zeroes, discards, resizing,
 * status) has a file of its own beside this one. file-internal.h says who owns what.
 *
 * An O_DIRECT file wants aligned buffers. The core aligns offsets and lengths; buffers
 * that come from elsewhere are replaced here by an aligned one (see bounce).
 */
#include "block/block-image.h"
#include "block/drivers/file-internal.h"
#include "block/engine/io-slice.h"

/* Bytes of the buffer that stands in for a misaligned one. */
#define BOUNCE_MAX (1024 * 1024)

/* --- data --- */

static int coroutine_fn engine_submit(FileState *s, IOEngineOp op, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    const IOEngine *engine = s->engine;
    IOEngineState *state = io_engine_get_state(engine, NULL);

    if (unlikely(!state)) {
        /* No AIO context left in the system for this thread: slower, but it works. */
        engine = &io_engine_threads;
        state = io_engine_get_state(engine, NULL);
    }
    return engine->submit(state, s->fd, op, offset, bytes, qiov, qiov_offset, flags);
}

/*
 * Moves the data by way of an aligned buffer, one piece after the other. Out of line, like
 * all that is rare here: the frames of the usual path are cold memory for each request.
 */
static QEMU_NOINLINE int coroutine_fn bounce(FileState *s, IOEngineOp op, int64_t offset,
                                             int64_t bytes, QEMUIOVector *qiov,
                                             size_t qiov_offset, BdrvRequestFlags flags)
{
    size_t size = MIN(bytes, MAX(BOUNCE_MAX, (int64_t)s->request_align));
    void *buf = qemu_try_memalign(MAX(s->mem_align, s->request_align), size);
    int ret = buf ? 0 : -ENOMEM;

    while (bytes > 0 && ret == 0) {
        size_t len = MIN(bytes, (int64_t)size);
        QEMUIOVector local;

        qemu_iovec_init_buf(&local, buf, len);
        if (op == IO_ENGINE_WRITE) {
            qemu_iovec_to_buf(qiov, qiov_offset, buf, len);
        }
        ret = engine_submit(s, op, offset, len, &local, 0, flags);
        if (op == IO_ENGINE_READ && ret == 0) {
            qemu_iovec_from_buf(qiov, qiov_offset, buf, len);
        }
        offset += len;
        qiov_offset += len;
        bytes -= len;
    }
    qemu_vfree(buf);
    return ret;
}

static QEMU_NOINLINE bool vector_needs_bounce(FileState *s, QEMUIOVector *qiov,
                                              size_t qiov_offset, int64_t bytes)
{
    IOSlice slice;
    bool aligned;

    if (io_slice_init(&slice, qiov, qiov_offset, bytes) < 0) {
        return true;
    }
    aligned = io_slice_is_aligned(&slice, s->mem_align, s->request_align);
    io_slice_destroy(&slice);
    return !aligned;
}

/* O_DIRECT takes pieces that start and end at its alignment. */
static bool needs_bounce(FileState *s, QEMUIOVector *qiov, size_t qiov_offset, int64_t bytes)
{
    uintptr_t addr;

    if (unlikely(qiov->niov != 1)) {
        return vector_needs_bounce(s, qiov, qiov_offset, bytes);
    }
    addr = (uintptr_t)qiov->iov[0].iov_base + qiov_offset;
    return addr & (s->mem_align - 1);
}

static int coroutine_fn file_co_rw(FileState *s, IOEngineOp op, int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset,
                                   BdrvRequestFlags flags)
{
    if (s->o_direct && unlikely(needs_bounce(s, qiov, qiov_offset, bytes))) {
        return bounce(s, op, offset, bytes, qiov, qiov_offset, flags);
    }
    return engine_submit(s, op, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn file_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                            int64_t bytes, QEMUIOVector *qiov,
                                            size_t qiov_offset, BdrvRequestFlags flags)
{
    return file_co_rw(bs->opaque, IO_ENGINE_READ, offset, bytes, qiov, qiov_offset, flags);
}

/*
 * The kernel reports the loss of cached data once, also that of earlier writes, and this
 * write may be the one that it reports to. So an error of the write itself has to be told
 * from one of making it durable: that is a failed flush.
 */
static QEMU_NOINLINE int coroutine_fn write_fua(FileState *s, int64_t offset, int64_t bytes,
                                                QEMUIOVector *qiov, size_t qiov_offset)
{
    int ret = qatomic_read(&s->flush_error);

    /* Nothing is durable any more, whatever the kernel says of this one write. */
    if (ret < 0) {
        return ret;
    }
    ret = file_co_rw(s, IO_ENGINE_WRITE, offset, bytes, qiov, qiov_offset, BDRV_REQ_FUA);
    if (ret < 0) {
        int plain = file_co_rw(s, IO_ENGINE_WRITE, offset, bytes, qiov, qiov_offset, 0);

        if (plain < 0) {
            return plain;
        }
        qatomic_set(&s->flush_error, ret);
    }
    return ret;
}

static int coroutine_fn file_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, QEMUIOVector *qiov,
                                             size_t qiov_offset, BdrvRequestFlags flags)
{
    FileState *s = bs->opaque;

    if (flags & BDRV_REQ_FUA) {
        return write_fua(s, offset, bytes, qiov, qiov_offset);
    }
    return file_co_rw(s, IO_ENGINE_WRITE, offset, bytes, qiov, qiov_offset, 0);
}

/*
 * After a failed fdatasync the kernel has marked the pages clean, so that another one
 * would succeed although the data is lost: the node stays failed until it is reopened.
 */
static int coroutine_fn file_co_flush_to_disk(BlockDriverState *bs)
{
    FileState *s = bs->opaque;
    int ret = qatomic_read(&s->flush_error);

    if (ret < 0) {
        return ret;
    }
    ret = engine_submit(s, IO_ENGINE_FLUSH, 0, 0, NULL, 0, 0);
    if (ret == -EINVAL && s->is_char) {
        /* Character devices have nothing to write back. */
        return 0;
    }
    if (ret < 0) {
        qatomic_set(&s->flush_error, ret);
    }
    return ret;
}

static int64_t coroutine_fn file_co_getlength(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    return file_fd_length(s->fd);
}

static int64_t coroutine_fn file_co_get_allocated_file_size(BlockDriverState *bs)
{
    FileState *s = bs->opaque;
    struct stat st;

    if (fstat(s->fd, &st) < 0) {
        return -errno;
    }
    return (int64_t)st.st_blocks * 512;
}

static int coroutine_fn file_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    return 0;
}

static int file_has_zero_init(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    return !s->is_device;
}

/* --- open and close --- */

static void parse_filename(const char *filename, const char *prefix, BlockOptions *options)
{
    bool stripped = g_str_has_prefix(filename, prefix);

    if (stripped) {
        filename += strlen(prefix);
    }
    /* What is left must not look like a name with a prefix again. */
    blk_options_setf(options, "filename", "%s%s",
                     stripped && bdrv_path_has_protocol(filename) ? "./" : "", filename);
}

static void file_parse_filename(const char *filename, BlockOptions *options, Error **errp)
{
    parse_filename(filename, "file:", options);
}

static void host_device_parse_filename(const char *filename, BlockOptions *options,
                                       Error **errp)
{
    parse_filename(filename, "host_device:", options);
}

static int host_device_probe_device(const char *filename)
{
    struct stat st;

    return stat(filename, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) ? 100 : 0;
}

/* An option that is one of two or three words. */
static int take_choice(BlockOptions *options, const char *key, const char *const *choices,
                       int def, Error **errp)
{
    g_autofree char *value = blk_options_take(options, key);

    if (!value) {
        return def;
    }
    for (int i = 0; choices[i]; i++) {
        if (!strcmp(value, choices[i])) {
            return i;
        }
    }
    error_setg(errp, "invalid parameter value: %s", value);
    return -EINVAL;
}

static int take_engine(FileState *s, BlockOptions *options, int flags, Error **errp)
{
    g_autofree char *name = blk_options_take(options, "aio");

    if (!name) {
        name = g_strdup(flags & BDRV_O_NATIVE_AIO ? "native"
                        : flags & BDRV_O_IO_URING ? "io_uring"
                                                  : "threads");
    }
    s->engine = io_engine_find(name);
    if (!s->engine && !strcmp(name, "io_uring")) {
        error_setg(errp, "aio=io_uring was specified, but is not supported in this build.");
        return -ENOTSUP;
    }
    if (!s->engine) {
        error_setg(errp, "invalid parameter value: %s", name);
        return -EINVAL;
    }
    return 0;
}

enum { LOCKING_OFF, LOCKING_ON, LOCKING_AUTO };

static int setup_locking(FileState *s, int locking, Error **errp)
{
    s->use_lock = locking != LOCKING_OFF && file_lock_supported(s->fd);
    if (locking == LOCKING_ON && !s->use_lock) {
        error_setg(errp, "locking=on was specified, but neither this file system nor kernel "
                         "supports OFD locks");
        return -ENOTSUP;
    }
    return 0;
}

static int open_flags_from(int flags)
{
    return (flags & BDRV_O_RDWR ? O_RDWR : O_RDONLY) | (flags & BDRV_O_NOCACHE ? O_DIRECT : 0);
}

/* Now, rather than at the first request: the user can still choose another engine. */
static int check_engine(FileState *s, Error **errp)
{
    int ret = s->engine->check_open(s->fd, s->open_flags, errp);

    if (ret == 0 && qemu_get_current_aio_context() && !io_engine_get_state(s->engine, errp)) {
        ret = -EAGAIN;
    }
    return ret;
}

static int file_open_common(BlockDriverState *bs, BlockOptions *options, int flags,
                            bool want_device, Error **errp)
{
    static const char *const locking_words[] = { "off", "on", "auto", NULL };
    FileState *s = bs->opaque;
    g_autofree char *filename = blk_options_take(options, "filename");
    int locking, ret;

    s->fd = -1;
    s->shared = BLK_PERM_ALL;
    if (!filename || !*filename) {
        error_setg(errp, "The '%s' block driver requires a file name", bs->drv->format_name);
        return -EINVAL;
    }
    ret = take_engine(s, options, flags, errp);
    if (ret < 0) {
        return ret;
    }
    locking = take_choice(options, "locking", locking_words, LOCKING_AUTO, errp);
    if (locking < 0) {
        return locking;
    }

    s->fd = file_open_fd(filename, bs->drv->format_name, want_device, open_flags_from(flags),
                         flags & BDRV_O_AUTO_RDONLY, &s->open_flags, errp);
    if (s->fd < 0) {
        return s->fd;
    }
    s->is_device = want_device;
    s->o_direct = s->open_flags & O_DIRECT;
    if (want_device) {
        struct stat st;

        s->is_char = fstat(s->fd, &st) == 0 && S_ISCHR(st.st_mode);
    }
    if ((s->open_flags & O_ACCMODE) == O_RDONLY) {
        bs->read_only = true;
    }
    ret = setup_locking(s, locking, errp);
    if (ret == 0) {
        ret = check_engine(s, errp);
    }
    if (ret < 0) {
        close(s->fd);
        s->fd = -1;
        return ret;
    }

    file_probe_alignment(s);
    file_status_init(s);
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    bs->supported_truncate_flags = s->is_device ? 0 : BDRV_REQ_ZERO_WRITE;
    return 0;
}

static int file_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    return file_open_common(bs, options, flags, false, errp);
}

static int host_device_open(BlockDriverState *bs, BlockOptions *options, int flags,
                            Error **errp)
{
    return file_open_common(bs, options, flags, true, errp);
}

static void file_close(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    if (s->fd >= 0) {
        /* Not left to close(): a descriptor that a child process inherited shares the locks. */
        file_lock_reduce(&s->lock, s->fd, 0, BLK_PERM_ALL);
        close(s->fd);
        s->fd = -1;
    }
}

static void file_refresh_limits(BlockDriverState *bs, Error **errp)
{
    FileState *s = bs->opaque;

    bs->bl.request_alignment = s->request_align;
    bs->bl.min_mem_alignment = s->mem_align;
    bs->bl.opt_mem_alignment = MAX(s->mem_align, (uint32_t)qemu_real_host_page_size());
    bs->bl.max_iov = IOV_MAX;
}

/* --- permissions: the image lock --- */

static int file_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp)
{
    FileState *s = bs->opaque;

    if (!s->use_lock || bs->force_share) {
        return 0;
    }
    return file_lock_acquire(&s->lock, s->fd, perm, shared, bs->filename, errp);
}

static void file_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared)
{
    FileState *s = bs->opaque;

    s->perm = perm;
    s->shared = shared;
    if (s->use_lock) {
        file_lock_reduce(&s->lock, s->fd, perm, shared);
    }
}

static void file_abort_perm_update(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    file_set_perm(bs, s->perm, s->shared);
}

static const char *const file_strong_options[] = { "filename", NULL };

BlockDriver bdrv_file = {
    .format_name = "file",
    .protocol_name = "file",
    .instance_size = sizeof(FileState),
    .bdrv_parse_filename = file_parse_filename,
    .bdrv_open = file_open,
    .bdrv_close = file_close,
    .bdrv_refresh_limits = file_refresh_limits,
    .bdrv_co_create_opts = file_co_create_opts,
    .create_opts = file_create_options,
    .bdrv_co_preadv_part = file_co_preadv_part,
    .bdrv_co_pwritev_part = file_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = file_co_pwrite_zeroes,
    .bdrv_co_pdiscard = file_co_pdiscard,
    .bdrv_co_copy_range_from = file_co_copy_range_from,
    .bdrv_co_copy_range_to = file_co_copy_range_to,
    .bdrv_co_flush_to_disk = file_co_flush_to_disk,
    .bdrv_co_block_status = file_co_block_status,
    .bdrv_co_truncate = file_co_truncate,
    .bdrv_co_getlength = file_co_getlength,
    .bdrv_co_get_allocated_file_size = file_co_get_allocated_file_size,
    .bdrv_co_get_info = file_co_get_info,
    .bdrv_has_zero_init = file_has_zero_init,
    .bdrv_check_perm = file_check_perm,
    .bdrv_set_perm = file_set_perm,
    .bdrv_abort_perm_update = file_abort_perm_update,
    .strong_runtime_opts = file_strong_options,
};

BlockDriver bdrv_host_device = {
    .format_name = "host_device",
    .protocol_name = "host_device",
    .instance_size = sizeof(FileState),
    .has_variable_length = true,
    .bdrv_probe_device = host_device_probe_device,
    .bdrv_parse_filename = host_device_parse_filename,
    .bdrv_open = host_device_open,
    .bdrv_close = file_close,
    .bdrv_refresh_limits = file_refresh_limits,
    .bdrv_co_create_opts = host_device_co_create_opts,
    .create_opts = host_device_create_options,
    .bdrv_co_preadv_part = file_co_preadv_part,
    .bdrv_co_pwritev_part = file_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = file_co_pwrite_zeroes,
    .bdrv_co_pdiscard = file_co_pdiscard,
    .bdrv_co_flush_to_disk = file_co_flush_to_disk,
    .bdrv_co_block_status = file_co_block_status,
    .bdrv_co_truncate = file_co_truncate,
    .bdrv_co_getlength = file_co_getlength,
    .bdrv_co_get_allocated_file_size = file_co_get_allocated_file_size,
    .bdrv_co_get_info = file_co_get_info,
    .bdrv_has_zero_init = file_has_zero_init,
    .bdrv_check_perm = file_check_perm,
    .bdrv_set_perm = file_set_perm,
    .bdrv_abort_perm_update = file_abort_perm_update,
    .strong_runtime_opts = file_strong_options,
};
