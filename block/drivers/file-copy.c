/* SPDX-License-Identifier: MIT */
/*
 * Copying from file to file by copy_file_range(2), in a worker thread. The file system shares the
 * blocks if it can; otherwise the kernel copies.
 *
 * What the kernel cannot do for these files is -ENOTSUP; the caller then reads and writes. That is so
 * too when it says that the source has ended: the core knows what to read there, the kernel does not.
 */
#include "qemu/thread-pool.h"

#include "block/drivers/file-internal.h"

typedef struct FileCopy {
    int in, out;
    int64_t in_offset, out_offset;
    int64_t bytes;
} FileCopy;

/* The errors that speak of this pair of files, or of the system, rather than of a failure. */
static int translate_err(int err)
{
    switch (err) {
    case ENOSYS:
    case EXDEV:
    case EOPNOTSUPP:
    case EINVAL:
    case ETXTBSY:
        return -ENOTSUP;
    default:
        return -err;
    }
}

/* Worker thread. The kernel may copy less than it is asked for. */
static int copy_worker(void *opaque)
{
    FileCopy *c = opaque;
    loff_t in = c->in_offset, out = c->out_offset;
    int64_t left = c->bytes;

    while (left > 0) {
        ssize_t n = RETRY_ON_EINTR(copy_file_range(c->in, &in, c->out, &out, left, 0));

        if (n < 0) {
            return translate_err(errno);
        }
        if (n == 0) {
            return -ENOTSUP;
        }
        left -= n;
    }
    return 0;
}

int coroutine_fn file_co_copy_range_from(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                         BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags)
{
    return bdrv_co_copy_range_to(src, src_offset, dst, dst_offset, bytes, read_flags, write_flags);
}

int coroutine_fn file_co_copy_range_to(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                       BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                       BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    FileState *s = bs->opaque;
    FileState *from = src->bs->opaque;
    int ret;

    if (src->bs->drv->bdrv_co_copy_range_to != file_co_copy_range_to) {
        return -ENOTSUP;
    }
    FileCopy c = { .in = from->fd, .out = s->fd, .in_offset = src_offset,
                   .out_offset = dst_offset, .bytes = bytes };
    ret = thread_pool_submit_co(copy_worker, &c);
    /* Blocks that are shared may be holes. */
    file_status_invalidate(s);
    return ret;
}
