/* SPDX-License-Identifier: MIT */
/*
 * Zeroes and discards without moving data: fallocate(2) on files, BLKZEROOUT and
 * BLKDISCARD on devices, all in worker threads as they wait for the disk.
 *
 * What is not there is remembered in the node (FileState.no_*), and -ENOTSUP makes the
 * core write zeroes instead.
 */
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "qemu/thread-pool.h"

#include "block/drivers/file-internal.h"

typedef struct FileRange {
    FileState *s;
    int64_t offset;
    int64_t bytes;
    BdrvRequestFlags flags;
} FileRange;

/* The errors that mean "cannot do that here" rather than "it went wrong". */
static int translate_err(int err)
{
    switch (err) {
    case EOPNOTSUPP:
    case ENOSYS:
    case ENODEV:
    case ENOTTY:
        return -ENOTSUP;
    default:
        return -err;
    }
}

/* fallocate(2); *@missing, if given, remembers that this mode is not there. */
static int do_fallocate(FileState *s, int mode, int64_t offset, int64_t bytes, bool *missing)
{
    int ret;

    if (bytes == 0) {
        return 0;
    }
    if (qatomic_read(missing)) {
        return -ENOTSUP;
    }
    if (RETRY_ON_EINTR(fallocate(s->fd, mode, offset, bytes)) == 0) {
        return 0;
    }
    ret = translate_err(errno);
    if (ret == -ENOTSUP) {
        qatomic_set(missing, true);
    } else if (ret == -EINVAL) {
        /* Some file systems take whole blocks only: this range is for the fallback. */
        ret = -ENOTSUP;
    }
    return ret;
}

static int punch_hole(FileState *s, int64_t offset, int64_t bytes)
{
    return do_fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes,
                        &s->no_punch_hole);
}

/* Zeroes that keep (or get) their space. */
static int zero_range(FileState *s, int64_t offset, int64_t bytes)
{
    int ret = do_fallocate(s, FALLOC_FL_ZERO_RANGE, offset, bytes, &s->no_zero_range);

    if (ret == -ENOTSUP && !qatomic_read(&s->no_fallocate)) {
        ret = punch_hole(s, offset, bytes);
        if (ret == 0) {
            ret = do_fallocate(s, 0, offset, bytes, &s->no_fallocate);
        }
    }
    return ret;
}

/*
 * Holes end at the end of the file: a part of the range behind it is preallocated, which
 * also moves the end. (Never ftruncate: a write that runs at the same time may have moved
 * the end further.)
 */
static int zero_file_unmap(FileState *s, int64_t offset, int64_t bytes)
{
    int64_t length = file_fd_length(s->fd);
    int64_t inside, ret;

    if (length < 0) {
        return length;
    }
    inside = MIN(bytes, MAX(length - offset, 0));
    ret = punch_hole(s, offset, inside);
    if (ret == 0) {
        ret = zero_range(s, offset + inside, bytes - inside);
    }
    return ret;
}

static int zero_device(FileState *s, const FileRange *r)
{
    uint64_t range[2] = { r->offset, r->bytes };
    int ret;

    if ((r->offset | r->bytes) & (BDRV_SECTOR_SIZE - 1)) {
        return -ENOTSUP;
    }
    if (r->flags & (BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK)) {
        /* Succeeds only if the device has a quick way. */
        ret = punch_hole(s, r->offset, r->bytes);
        if (ret != -ENOTSUP || (r->flags & BDRV_REQ_NO_FALLBACK)) {
            return ret;
        }
    }
    if (qatomic_read(&s->no_zeroout)) {
        return -ENOTSUP;
    }
    if (RETRY_ON_EINTR(ioctl(s->fd, BLKZEROOUT, range)) == 0) {
        return 0;
    }
    ret = translate_err(errno);
    if (ret == -ENOTSUP) {
        qatomic_set(&s->no_zeroout, true);
    }
    return ret;
}

/* Worker thread. */
static int zero_worker(void *opaque)
{
    FileRange *r = opaque;
    FileState *s = r->s;
    int ret;

    if (s->is_char) {
        return -ENOTSUP;
    }
    if (s->is_device) {
        return zero_device(s, r);
    }
    if (r->flags & BDRV_REQ_MAY_UNMAP) {
        ret = zero_file_unmap(s, r->offset, r->bytes);
        if (ret != -ENOTSUP) {
            return ret;
        }
    }
    return zero_range(s, r->offset, r->bytes);
}

/* Worker thread. */
static int discard_worker(void *opaque)
{
    FileRange *r = opaque;
    FileState *s = r->s;
    uint64_t range[2] = { r->offset, r->bytes };
    int ret;

    if (s->is_char) {
        return -ENOTSUP;
    }
    if (!s->is_device) {
        return punch_hole(s, r->offset, r->bytes);
    }
    if (qatomic_read(&s->no_discard) ||
        ((r->offset | r->bytes) & (BDRV_SECTOR_SIZE - 1))) {
        return -ENOTSUP;
    }
    if (RETRY_ON_EINTR(ioctl(s->fd, BLKDISCARD, range)) == 0) {
        return 0;
    }
    ret = translate_err(errno);
    if (ret == -ENOTSUP) {
        qatomic_set(&s->no_discard, true);
    }
    return ret;
}

static int coroutine_fn run_range(BlockDriverState *bs, ThreadPoolFunc *func, int64_t offset,
                                  int64_t bytes, BdrvRequestFlags flags)
{
    FileRange r = { .s = bs->opaque, .offset = offset, .bytes = bytes, .flags = flags };
    int ret = thread_pool_submit_co(func, &r);

    /* Also after a failure: part of the range may be a hole now. */
    file_status_invalidate(r.s);
    return ret;
}

int coroutine_fn file_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags)
{
    return run_range(bs, zero_worker, offset, bytes, flags);
}

int coroutine_fn file_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return run_range(bs, discard_worker, offset, bytes, 0);
}
