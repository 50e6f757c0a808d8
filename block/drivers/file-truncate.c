/* SPDX-License-Identifier: MIT */
/*
 * The size of a file: growing (sparse, allocated, or written out) and shrinking.
 *
 * A growth that fails puts the old size back. Preallocation touches nothing but what
 * lies behind the old end.
 */
#include <sys/statvfs.h>

#include "qemu/thread-pool.h"

#include "block/drivers/file-internal.h"

/* Zeroes are written this much at a time; bytes. */
#define ZERO_CHUNK (1024 * 1024)
/* And this much between two reports of how far it is. */
#define ZERO_PIECE ((int64_t)16 * ZERO_CHUNK)
/* A file system that has to look for space, or to write, is asked for this much at a time. */
#define FALLOC_PIECE ((int64_t)1024 * 1024 * 1024)

typedef struct FileResize {
    FileState *s;
    int64_t size;
    PreallocMode prealloc;
    FileProgress progress;
    Error **errp;
} FileResize;

static int write_zeroes(int fd, int64_t from, int64_t to, uint32_t align)
{
    QEMU_AUTO_VFREE char *buf = qemu_try_memalign(MAX(align, 4096u), ZERO_CHUNK);
    int64_t pos = QEMU_ALIGN_UP(from, (int64_t)align);

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, ZERO_CHUNK);
    to = QEMU_ALIGN_UP(to, (int64_t)align);
    while (pos < to) {
        ssize_t ret = pwrite(fd, buf, MIN(to - pos, ZERO_CHUNK), pos);

        if (ret < 0 && errno == EINTR) {
            continue;
        } else if (ret <= 0) {
            return ret < 0 ? -errno : -ENOSPC;
        }
        pos += ret;
    }
    return 0;
}

/*
 * Writes out one more piece of what a growth from @old_size to @size adds; *@pos, from @old_size on,
 * is how far it has come. The last one makes it all durable.
 */
static int grow_full_piece(int fd, int64_t old_size, int64_t *pos, int64_t size, uint32_t align,
                           int *sync_error, Error **errp)
{
    int64_t end = size - *pos > ZERO_PIECE ? *pos + ZERO_PIECE : size;
    int ret;

    /* Fails early, before much was written, when the disk is too small by far. */
    if (*pos == old_size && RETRY_ON_EINTR(ftruncate(fd, size)) < 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not resize file");
        return ret;
    }
    ret = write_zeroes(fd, *pos, end, align);
    if (ret == 0 && end == size) {
        ret = *sync_error = fsync(fd) < 0 ? -errno : 0;
        /* An aligned write may have gone beyond the end. */
        if (ret == 0 && RETRY_ON_EINTR(ftruncate(fd, size)) < 0) {
            ret = -errno;
        }
    }
    *pos = end;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write zeros for preallocation");
    }
    return ret;
}

/*
 * posix_fallocate takes what there is before it finds that it is not enough, and the whole
 * machine's disk is full meanwhile: ask first. 0 or -ENOSPC.
 */
static int check_space(int fd, int64_t bytes)
{
    struct statvfs vfs;

    if (fstatvfs(fd, &vfs) < 0 || vfs.f_blocks == 0 || vfs.f_frsize == 0) {
        return 0;
    }
    return (uint64_t)bytes / vfs.f_frsize > vfs.f_bfree ? -ENOSPC : 0;
}

static int grow_full(int fd, int64_t old_size, int64_t size, uint32_t align, int *sync_error,
                     FileGrownFunc *grown, void *opaque, Error **errp)
{
    int ret = 0;

    for (int64_t pos = old_size; pos < size && ret == 0;) {
        ret = grow_full_piece(fd, old_size, &pos, size, align, sync_error, errp);
        grown(opaque, pos - old_size, size - old_size);
    }
    return ret;
}

static int grow_falloc(int fd, int64_t old_size, int64_t size, FileGrownFunc *grown, void *opaque,
                       Error **errp)
{
    int ret = check_space(fd, size - old_size);

    for (int64_t pos = old_size, n; pos < size && ret == 0; pos += n) {
        n = MIN(size - pos, FALLOC_PIECE);
        do {
            ret = -posix_fallocate(fd, pos, n);
        } while (ret == -EINTR);
        grown(opaque, pos + n - old_size, size - old_size);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not preallocate new data");
    }
    return ret;
}

/*
 * Whoever opens an empty disk with O_DIRECT finds out which alignment it needs by reading: that
 * tells nothing in a hole. So the first block gets its place. A wish: without it all works, slower.
 */
static void allocate_first_block(int fd, int64_t size)
{
    static const _Alignas(4096) uint8_t zeroes[4096]; /* the fd may be one for O_DIRECT */
    size_t bytes = size < (int64_t)sizeof(zeroes) ? BDRV_SECTOR_SIZE : sizeof(zeroes);

    if (size >= (int64_t)bytes) {
        (void)!RETRY_ON_EINTR(pwrite(fd, zeroes, bytes, 0));
    }
}

/* A growth has failed. If this does so too, the first error is the one to tell, and the size stays. */
static void back_to(int fd, int64_t old_size)
{
    (void)!RETRY_ON_EINTR(ftruncate(fd, old_size));
}

int file_resize_fd(int fd, int64_t size, PreallocMode prealloc, uint32_t align, int *sync_error,
                   FileGrownFunc *grown, void *opaque, Error **errp)
{
    int64_t old_size = file_fd_length(fd);
    int ret;

    if (old_size < 0) {
        error_setg_errno(errp, -old_size, "Could not determine the file's size");
        return old_size;
    }
    if (prealloc == PREALLOC_MODE_METADATA) {
        error_setg(errp, "Unsupported preallocation mode: metadata");
        return -ENOTSUP;
    }
    if (prealloc != PREALLOC_MODE_OFF && size < old_size) {
        error_setg(errp, "Cannot use preallocation for shrinking files");
        return -ENOTSUP;
    }
    if (prealloc == PREALLOC_MODE_OFF) {
        ret = RETRY_ON_EINTR(ftruncate(fd, size)) < 0 ? -errno : 0;
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not resize file");
        } else if (!old_size && size) {
            allocate_first_block(fd, size);
        }
        return ret;
    }
    if (size == old_size) {
        return 0;
    }
    ret = prealloc == PREALLOC_MODE_FULL
              ? grow_full(fd, old_size, size, align, sync_error, grown, opaque, errp)
              : grow_falloc(fd, old_size, size, grown, opaque, errp);
    if (ret < 0) {
        back_to(fd, old_size);
    }
    return ret;
}

/* --- in a worker thread, telling the loop --- */

static void tell(void *opaque)
{
    FileProgress *p = opaque;

    p->report(p->opaque, qatomic_read(&p->done), qatomic_read(&p->total));
}

void file_progress_begin(FileProgress *p, BlockProgress *report, void *opaque)
{
    *p = (FileProgress){ .report = report, .opaque = opaque,
                         .bh = aio_bh_new(qemu_get_current_aio_context(), tell, p) };
}

void file_progress_note(void *opaque, int64_t done, int64_t total)
{
    FileProgress *p = opaque;

    /* An earlier note may be being told just now. */
    qatomic_set(&p->total, total);
    qatomic_set(&p->done, done);
    qemu_bh_schedule(p->bh); /* publishes both */
}

void file_progress_end(FileProgress *p)
{
    qemu_bh_delete(p->bh);
}

/* Worker thread. */
static int resize_worker(void *opaque)
{
    FileResize *r = opaque;
    int sync_error = 0;
    int ret = file_resize_fd(r->s->fd, r->size, r->prealloc, r->s->request_align, &sync_error,
                             file_progress_note, &r->progress, r->errp);

    if (sync_error < 0) {
        /* It may be about earlier writes, and nobody will be told again. */
        qatomic_set(&r->s->flush_error, sync_error);
    }
    return ret;
}

static void report_on_node(void *opaque, uint64_t done, uint64_t total)
{
    bdrv_report_progress(opaque, done, total);
}

static int truncate_device(FileState *s, int64_t offset, bool exact, PreallocMode prealloc,
                           Error **errp)
{
    int64_t length = file_fd_length(s->fd);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not determine the device's size");
        return length;
    }
    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation is not supported for device files");
        return -ENOTSUP;
    }
    if (exact && offset != length) {
        error_setg(errp, "Cannot resize device files");
        return -ENOTSUP;
    }
    if (offset > length) {
        error_setg(errp, "Cannot grow device files");
        return -EINVAL;
    }
    return 0;
}

int coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                  PreallocMode prealloc, BdrvRequestFlags flags,
                                  Error **errp)
{
    FileState *s = bs->opaque;
    Error *err = NULL;
    FileResize r = { .s = s, .size = offset, .prealloc = prealloc, .errp = &err };
    int ret;

    if (s->is_device) {
        return truncate_device(s, offset, exact, prealloc, errp);
    }
    file_progress_begin(&r.progress, report_on_node, bs);
    ret = thread_pool_submit_co(resize_worker, &r);
    file_progress_end(&r.progress);
    file_status_invalidate(s);
    if (ret < 0 && !err) {
        /* The worker never ran. */
        error_setg_errno(&err, -ret, "Could not resize file");
    }
    error_propagate(errp, err);
    return ret;
}
