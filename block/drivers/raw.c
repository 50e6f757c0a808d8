/* SPDX-License-Identifier: MIT */
/*
 * raw: the bytes of the file are the bytes of the image. With "offset" and "size" a
 * window of the file.
 *
 * An image whose format was guessed to be raw stays under suspicion: what its user
 * writes to the first sector must not make it look like another format, or the next one
 * to guess would follow whatever file names the guest has put there. Such nodes have
 * an alignment of a sector, so that every write to the first one covers all of it.
 */
#include "../node.h"

typedef struct RawState {
    int64_t offset; /* bytes; where the window begins */
    int64_t size;   /* bytes; of the window, if has_size */
    bool has_size;
} RawState;

static const BlockCreateOption raw_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { NULL },
};

/* Anything may be raw, but only if nothing else recognises it. */
static int raw_probe(const uint8_t *buf, int buf_size, const char *filename)
{
    return 1;
}

static int check_window(RawState *s, int64_t file_length, Error **errp)
{
    if (s->offset > file_length) {
        error_setg(errp,
                   "Offset (%" PRId64
                   ") cannot be greater than size of the containing file "
                   "(%" PRId64 ")",
                   s->offset, file_length);
        return -EINVAL;
    }
    if (s->has_size && s->size > file_length - s->offset) {
        error_setg(errp,
                   "The sum of offset (%" PRId64 ") and size (%" PRId64
                   ") has to be smaller "
                   /* Two blanks, as scripts expect them from QEMU. */
                   "or equal to the  actual size of the containing file (%" PRId64 ")",
                   s->offset, s->size, file_length);
        return -EINVAL;
    }
    if (s->has_size && !QEMU_IS_ALIGNED(s->size, (int64_t)BDRV_SECTOR_SIZE)) {
        error_setg(errp, "Specified size is not multiple of %llu", BDRV_SECTOR_SIZE);
        return -EINVAL;
    }
    return 0;
}

static int take_window(RawState *s, BlockOptions *options, Error **errp)
{
    uint64_t offset = 0, size = 0;
    int ret = blk_options_take_size(options, "offset", &offset, errp);

    if (ret < 0) {
        return ret;
    }
    ret = blk_options_take_size(options, "size", &size, errp);
    if (ret < 0) {
        return ret;
    }
    s->has_size = ret > 0;
    s->offset = MIN(offset, (uint64_t)INT64_MAX); /* beyond any file: refused */
    s->size = MIN(size, (uint64_t)INT64_MAX);
    return 0;
}

static void warn_of_guess(BlockDriverState *bs)
{
    g_printerr(
        "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
        "         Automatically detecting the format is dangerous for raw images, write "
        "operations on block 0 will be restricted.\n"
        "         Specify the 'raw' format explicitly to remove the restrictions.\n",
        bs->file->bs->filename);
}

static int raw_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    RawState *s = bs->opaque;
    int64_t file_length;
    int ret = take_window(s, options, errp);

    if (ret < 0) {
        return ret;
    }
    file_length = bdrv_getlength(bs->file->bs);
    if (file_length < 0) {
        error_setg_errno(errp, -file_length, "Could not get image size");
        return file_length;
    }
    ret = check_window(s, file_length, errp);
    if (ret < 0) {
        return ret;
    }
    if (bs->core->probed && !bs->read_only) {
        warn_of_guess(bs);
    }
    bs->supported_write_flags =
        BDRV_REQ_WRITE_UNCHANGED | (BDRV_REQ_FUA & bs->file->bs->supported_write_flags);
    bs->supported_zero_flags =
        BDRV_REQ_WRITE_UNCHANGED |
        ((BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         bs->file->bs->supported_zero_flags);
    bs->supported_truncate_flags =
        bs->file->bs->supported_truncate_flags & BDRV_REQ_ZERO_WRITE;
    return 0;
}

static void raw_refresh_limits(BlockDriverState *bs, Error **errp)
{
    RawState *s = bs->opaque;
    const BlockLimits *file = &bs->file->bs->bl;

    if (bs->core->probed) {
        bs->bl.request_alignment = BLOCK_PROBE_BYTES;
    }
    bs->bl.has_variable_length = !s->has_size && file->has_variable_length;
    bs->bl.max_pdiscard = file->max_pdiscard;
    bs->bl.max_pwrite_zeroes = file->max_pwrite_zeroes;
    /* A window that is not aligned itself would only shift the file's boundaries. */
    if (s->offset == 0) {
        bs->bl.pdiscard_alignment = file->pdiscard_alignment;
        bs->bl.pwrite_zeroes_alignment = file->pwrite_zeroes_alignment;
    }
}

/* As the guest's permissions, so the file's: raw has no metadata to protect. */
static void raw_child_perm(BlockDriverState *bs, const BdrvChild *child, uint64_t perm,
                           uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    *nperm = perm;
    *nshared = shared;
}

static int coroutine_fn raw_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes, QEMUIOVector *qiov,
                                           size_t qiov_offset, BdrvRequestFlags flags)
{
    RawState *s = bs->opaque;

    bdrv_co_debug_event(bs->file->bs, BLKDBG_READ_AIO);
    return bdrv_co_preadv_part(bs->file, offset + s->offset, bytes, qiov, qiov_offset,
                               flags);
}

/* A window has its own end: a format above must not grow into what lies behind. */
static inline bool is_beyond_window(const RawState *s, int64_t offset, int64_t bytes)
{
    return s->has_size && (offset > s->size || bytes > s->size - offset);
}

/* Would the image look like something else with these first bytes? */
static bool first_sector_is_suspect(BlockDriverState *bs, QEMUIOVector *qiov,
                                    size_t qiov_offset)
{
    uint8_t buf[BLOCK_PROBE_BYTES];

    qemu_iovec_to_buf(qiov, qiov_offset, buf, sizeof(buf));
    return bdrv_probe_all(buf, sizeof(buf), bs->filename) != bs->drv;
}

static int coroutine_fn raw_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                            int64_t bytes, QEMUIOVector *qiov,
                                            size_t qiov_offset, BdrvRequestFlags flags)
{
    RawState *s = bs->opaque;
    QEMUIOVector local;
    QEMU_AUTO_VFREE void *copy = NULL;

    if (unlikely(is_beyond_window(s, offset, bytes))) {
        return -ENOSPC;
    }
    if (unlikely(bs->core->probed && offset == 0)) {
        /*
         * Of a copy: what is checked must be what is written, whatever the guest does
         * meanwhile.
         */
        copy = qemu_try_blockalign(bs->file->bs, bytes);
        if (!copy) {
            return -ENOMEM;
        }
        qemu_iovec_to_buf(qiov, qiov_offset, copy, bytes);
        qemu_iovec_init_buf(&local, copy, bytes);
        if (first_sector_is_suspect(bs, &local, 0)) {
            return -EPERM;
        }
        qiov = &local;
        qiov_offset = 0;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_WRITE_AIO);
    return bdrv_co_pwritev_part(bs->file, offset + s->offset, bytes, qiov, qiov_offset,
                                flags);
}

static int coroutine_fn raw_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, BdrvRequestFlags flags)
{
    RawState *s = bs->opaque;

    if (is_beyond_window(s, offset, bytes)) {
        return -ENOSPC;
    }
    return bdrv_co_pwrite_zeroes(bs->file, offset + s->offset, bytes, flags);
}

static int coroutine_fn raw_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    RawState *s = bs->opaque;

    if (is_beyond_window(s, offset, bytes)) {
        return -ENOSPC;
    }
    return bdrv_co_pdiscard(bs->file, offset + s->offset, bytes);
}

static int coroutine_fn raw_co_copy_range_from(BlockDriverState *bs, BdrvChild *src,
                                               int64_t src_offset, BdrvChild *dst,
                                               int64_t dst_offset, int64_t bytes,
                                               BdrvRequestFlags read_flags,
                                               BdrvRequestFlags write_flags)
{
    RawState *s = bs->opaque;

    return bdrv_co_copy_range_from(bs->file, src_offset + s->offset, dst, dst_offset, bytes,
                                   read_flags, write_flags);
}

static int coroutine_fn raw_co_copy_range_to(BlockDriverState *bs, BdrvChild *src,
                                             int64_t src_offset, BdrvChild *dst,
                                             int64_t dst_offset, int64_t bytes,
                                             BdrvRequestFlags read_flags,
                                             BdrvRequestFlags write_flags)
{
    RawState *s = bs->opaque;

    if (is_beyond_window(s, dst_offset, bytes)) {
        return -ENOSPC;
    }
    if (bs->core->probed && dst_offset == 0) {
        return -ENOTSUP; /* the first sector has to be looked at */
    }
    return bdrv_co_copy_range_to(src, src_offset, bs->file, dst_offset + s->offset, bytes,
                                 read_flags, write_flags);
}

static int coroutine_fn raw_co_block_status(BlockDriverState *bs, bool want_zero,
                                            int64_t offset, int64_t bytes, int64_t *pnum,
                                            int64_t *map, BlockDriverState **file)
{
    RawState *s = bs->opaque;

    *pnum = bytes;
    *map = offset + s->offset;
    *file = bs->file->bs;
    return BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_RAW;
}

static int64_t coroutine_fn raw_co_getlength(BlockDriverState *bs)
{
    RawState *s = bs->opaque;
    int64_t length = bdrv_co_getlength(bs->file->bs);

    if (length < 0) {
        return length;
    }
    if (s->has_size) {
        return s->size;
    }
    return MAX(length - s->offset, 0);
}

static int coroutine_fn raw_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    return bdrv_get_info(bs->file->bs, bdi);
}

static int coroutine_fn raw_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                        PreallocMode prealloc, BdrvRequestFlags flags,
                                        Error **errp)
{
    RawState *s = bs->opaque;

    if (s->has_size) {
        error_setg(errp, "Cannot resize fixed-size raw disks");
        return -ENOTSUP;
    }
    if (offset > BDRV_MAX_LENGTH - s->offset) {
        error_setg(errp, "Disk size too large for the chosen offset");
        return -EINVAL;
    }
    return bdrv_co_truncate(bs->file, offset + s->offset, exact, prealloc, flags, errp);
}

static int raw_has_zero_init(BlockDriverState *bs)
{
    return bdrv_has_zero_init(bs->file->bs);
}

/* The image is the file: whoever creates files of that name creates it. */
static int coroutine_fn raw_co_create_opts(BlockDriver *drv, const char *filename,
                                           BlockOptions *opts, Error **errp)
{
    BlockDriver *protocol = bdrv_find_protocol(filename, true, errp);

    if (!protocol) {
        return -EINVAL;
    }
    if (!protocol->bdrv_co_create_opts) {
        error_setg(errp, "Driver '%s' does not support image creation",
                   protocol->format_name);
        return -ENOTSUP;
    }
    return protocol->bdrv_co_create_opts(protocol, filename, opts, errp);
}

static int raw_measure(BlockOptions *opts, BlockDriverState *in_bs, BlockMeasureInfo *info,
                       Error **errp)
{
    uint64_t size = 0;
    int64_t length = in_bs ? bdrv_getlength(in_bs) : 0;

    if (length < 0) {
        error_setg_errno(errp, -length, "Unable to get image size");
        return length;
    }
    if (!in_bs && blk_options_take_size(opts, "size", &size, errp) < 0) {
        return -EINVAL;
    }
    info->required =
        in_bs ? (uint64_t)length : ROUND_UP(MIN(size, (uint64_t)INT64_MAX), BDRV_SECTOR_SIZE);
    info->fully_allocated = info->required;
    return 0;
}

static const char *const raw_strong_options[] = { "offset", "size", NULL };

BlockDriver bdrv_raw = {
    .format_name = "raw",
    .instance_size = sizeof(RawState),
    .is_format = true,
    .bdrv_probe = raw_probe,
    .bdrv_open = raw_open,
    .bdrv_refresh_limits = raw_refresh_limits,
    .bdrv_child_perm = raw_child_perm,
    .bdrv_co_create_opts = raw_co_create_opts,
    .create_opts = raw_create_options,
    .bdrv_measure = raw_measure,
    .bdrv_co_preadv_part = raw_co_preadv_part,
    .bdrv_co_pwritev_part = raw_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = raw_co_pwrite_zeroes,
    .bdrv_co_pdiscard = raw_co_pdiscard,
    .bdrv_co_copy_range_from = raw_co_copy_range_from,
    .bdrv_co_copy_range_to = raw_co_copy_range_to,
    .bdrv_co_block_status = raw_co_block_status,
    .bdrv_co_getlength = raw_co_getlength,
    .bdrv_co_get_info = raw_co_get_info,
    .bdrv_co_truncate = raw_co_truncate,
    .bdrv_has_zero_init = raw_has_zero_init,
    .strong_runtime_opts = raw_strong_options,
};
