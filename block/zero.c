/* SPDX-License-Identifier: MIT */
/*
 * Writing zeroes and discarding: requests without data.
 *
 * Both go to the driver in pieces that respect its limits: an unaligned head and tail
 * apart from the aligned middle, so that the middle can be fast. Zeroes that the driver
 * cannot make are written as data. A discard is a hint: what cannot be discarded is left.
 */
#include "node.h"

/* The most zeroes, in bytes, that are written as data at once. */
#define MAX_ZERO_BUFFER (1024 * 1024)

/*
 * The next piece of [@offset, @offset + @bytes): up to the first boundary of @align, then
 * whole multiples of it up to @max, then the rest. @max 0: no limit.
 */
static int64_t next_piece(int64_t offset, int64_t bytes, int64_t align, int64_t max)
{
    int64_t head = offset % align;
    int64_t tail = (offset + bytes) % align;
    int64_t n = bytes;

    if (head) {
        n = MIN(bytes, align - head);
    } else if (tail && bytes > tail) {
        n = bytes - tail;
    }
    if (max) {
        n = MIN(n, max);
    }
    return n;
}

static int coroutine_fn write_zero_buffer(BlockDriverState *bs, int64_t offset,
                                          int64_t bytes, BdrvRequestFlags flags)
{
    int64_t n =
        MIN(bytes, MAX((int64_t)MAX_ZERO_BUFFER, (int64_t)bs->bl.request_alignment));
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(bs, n);
    QEMUIOVector qiov;
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, n);
    for (int64_t done = 0; done < bytes && ret == 0; done += n) {
        n = MIN(n, bytes - done);
        qemu_iovec_init_buf(&qiov, buf, n);
        ret = write_quietly(bs, offset + done, n, &qiov, 0, flags);
    }
    return ret;
}

/* One piece; *@flush is set when it still has to be made durable. */
static int coroutine_fn zero_piece(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   BdrvRequestFlags flags, bool *flush)
{
    int ret = -ENOTSUP;

    if (bs->drv->bdrv_co_pwrite_zeroes) {
        ret = driver_pwrite_zeroes(bs, offset, bytes, flags & bs->supported_zero_flags);
        *flush |= ret == 0 && (flags & BDRV_REQ_FUA) &&
                  !(bs->supported_zero_flags & BDRV_REQ_FUA);
    }
    if (ret == -ENOTSUP && !(flags & BDRV_REQ_NO_FALLBACK)) {
        /* One flush at the end is enough, also for these. */
        *flush |= !!(flags & BDRV_REQ_FUA);
        ret = write_zero_buffer(bs, offset, bytes, flags & BDRV_REQ_WRITE_UNCHANGED);
    }
    return ret;
}

int coroutine_fn zero_aligned(BlockDriverState *bs, int64_t offset, int64_t bytes,
                              BdrvRequestFlags flags)
{
    int ret;

    bdrv_co_debug_event(bs, BLKDBG_PWRITEV_ZERO);
    ret = zero_quietly(bs, offset, bytes, flags);
    bdrv_co_debug_event(bs, BLKDBG_PWRITEV_DONE);
    return ret;
}

int coroutine_fn zero_quietly(BlockDriverState *bs, int64_t offset, int64_t bytes,
                              BdrvRequestFlags flags)
{
    int64_t block = bs->bl.request_alignment;
    int64_t align = MAX((int64_t)bs->bl.pwrite_zeroes_alignment, block);
    int64_t max = ROUND_DOWN(bs->bl.max_pwrite_zeroes, block);
    int64_t end = offset + bytes;
    bool flush = false;
    int ret = 0;

    if ((flags & BDRV_REQ_FUA) && qatomic_read(&bs->core->flush_error)) {
        return qatomic_read(&bs->core->flush_error);
    }
    /* A driver that does not know the flag might write buffers of its own. */
    if ((flags & BDRV_REQ_NO_FALLBACK) &&
        !(bs->supported_zero_flags & BDRV_REQ_NO_FALLBACK)) {
        return -ENOTSUP;
    }
    while (offset < end && ret == 0) {
        int64_t n = next_piece(offset, end - offset, align, max);

        ret = zero_piece(bs, offset, n, flags, &flush);
        offset += n;
    }
    return write_finish(bs, end, ret, flush);
}

/* Zeroes [@from, @to) of the one block that holds it, and keeps the rest. */
static int coroutine_fn zero_in_block(BlockDriverState *bs, int64_t from, int64_t to,
                                      BdrvRequestFlags flags)
{
    int64_t block = bs->bl.request_alignment;
    int64_t start = ROUND_DOWN(from, block);
    QEMU_AUTO_VFREE uint8_t *buf = qemu_try_blockalign(bs, block);
    QEMUIOVector qiov;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    qemu_iovec_init_buf(&qiov, buf, block);
    ret = read_for_rmw(bs, start, buf, from > start, to < start + block);
    if (ret == 0) {
        memset(buf + (from - start), 0, to - from);
        ret = write_aligned(bs, start, block, &qiov, 0,
                            flags & (BDRV_REQ_FUA | BDRV_REQ_WRITE_UNCHANGED));
    }
    return ret;
}

static int coroutine_fn zero_tracked(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                     BdrvRequestFlags flags)
{
    int64_t block = bs->bl.request_alignment;
    int64_t end = offset + bytes;
    int64_t first = ROUND_UP(offset, block);
    int64_t last = ROUND_DOWN(end, block);
    int ret = 0;

    if (first > last) { /* within one block */
        return zero_in_block(bs, offset, end, flags);
    }
    if (offset < first) {
        ret = zero_in_block(bs, offset, first, flags);
    }
    if (ret == 0 && first < last) {
        ret = zero_aligned(bs, first, last - first, flags);
    }
    if (ret == 0 && last < end) {
        ret = zero_in_block(bs, last, end, flags);
    }
    return ret;
}

int coroutine_fn bdrv_co_pwrite_zeroes(BdrvChild *child, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    TrackedRequest req;
    bool aligned, inside;
    int ret;

    if (bs->read_only) {
        return -EPERM;
    }
    ret = check_range(offset, bytes);
    if (ret < 0 || bytes == 0) {
        return ret;
    }
    aligned = (((uint64_t)offset | (uint64_t)bytes) & bs->core->align_mask) == 0;
    if (!aligned && (flags & BDRV_REQ_NO_FALLBACK)) {
        return -ENOTSUP;
    }
    if (!(bs->open_flags & BDRV_O_UNMAP)) {
        flags &= ~BDRV_REQ_MAY_UNMAP;
    }
    inside = ends_inside(bs, offset + bytes);
    ret =
        tracked_begin(&req, bs, offset, bytes, !aligned || (flags & BDRV_REQ_SERIALISING),
                      flags & BDRV_REQ_NO_WAIT);
    if (ret == 0) {
        if (unlikely(!ends_inside(bs, offset + bytes))) {
            ret = check_write_end(child, offset + bytes, inside);
        }
        if (ret == 0) {
            ret = zero_tracked(bs, offset, bytes, flags);
            bdrv_record_write(bs, offset, bytes);
        }
        tracked_end(&req);
    }
    return ret;
}

/* --- discard --- */

/* Whole blocks only: the rest of a block is somebody's data. */
static int coroutine_fn discard_tracked(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes)
{
    int64_t block = bs->bl.request_alignment;
    int64_t align = MAX((int64_t)bs->bl.pdiscard_alignment, block);
    int64_t max = ROUND_DOWN(bs->bl.max_pdiscard, block);
    int64_t end = ROUND_DOWN(offset + bytes, block);

    offset = ROUND_UP(offset, block);
    while (offset < end) {
        int64_t n = next_piece(offset, end - offset, align, max);
        bool whole = QEMU_IS_ALIGNED(offset, align) && QEMU_IS_ALIGNED(n, align);
        int ret = driver_pdiscard(bs, offset, n);

        if (ret < 0 && ret != -ENOTSUP && !(ret == -EINVAL && !whole)) {
            return ret;
        }
        offset += n;
    }
    return 0;
}

int coroutine_fn bdrv_co_pdiscard(BdrvChild *child, int64_t offset, int64_t bytes)
{
    BlockDriverState *bs = child->bs;
    TrackedRequest req;
    int ret;

    if (bs->read_only) {
        return -EPERM;
    }
    ret = check_range(offset, bytes);
    if (ret < 0 || bytes == 0) {
        return ret;
    }
    if (!(bs->open_flags & BDRV_O_UNMAP) || !bs->drv->bdrv_co_pdiscard) {
        return 0;
    }
    ret = tracked_begin(&req, bs, offset, bytes, false, false);
    if (ret == 0) {
        ret = discard_tracked(bs, offset, bytes);
        bdrv_record_write(bs, offset, bytes);
        tracked_end(&req);
    }
    return ret;
}
