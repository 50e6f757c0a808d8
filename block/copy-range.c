/* SPDX-License-Identifier: MIT */
/*
 * Copying from image to image below this program: where both ends lie in files, the file system
 * moves the data or shares it.
 *
 * A request first walks down the source (bdrv_co_copy_range_from) to the node whose file has
 * the data, then down the target (bdrv_co_copy_range_to); the driver at the bottom of the target finds
 * itself at the bottom of the source, or refuses. Each node of the target treats it as the
 * write that it is: tracked, recorded in dirty bitmaps, counted for the next flush. Drivers of the
 * source are told nothing that a read would not tell them, and as reads these are not tracked.
 *
 * Nothing is emulated. What needs a look at the data, or more than whole blocks, is refused with
 * -ENOTSUP, and the caller reads and writes. The range may be partly copied by then.
 */
#include "node.h"

static inline bool is_aligned(const BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return (((uint64_t)offset | (uint64_t)bytes) & bs->core->align_mask) == 0;
}

static inline int64_t next_piece(const BlockDriverState *bs, int64_t bytes)
{
    return MIN_NON_ZERO(bs->bl.max_transfer, bytes);
}

/* --- the source --- */

/* 0, or why nothing can be copied from there. */
static int coroutine_fn check_from(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   BdrvRequestFlags flags)
{
    int64_t length;

    if (check_range(offset, bytes) < 0) {
        return -EIO;
    }
    /* Nodes that raise debug events want to see reads. */
    if (!bs->drv->bdrv_co_copy_range_from || bs->debug_events || bs->core->copy_on_read ||
        (flags & BDRV_REQ_COPY_ON_READ) || !is_aligned(bs, offset, bytes)) {
        return -ENOTSUP;
    }
    /* What a read finds behind the end is nothing that a file could copy. */
    length = bdrv_co_length_for(bs, offset + bytes);
    return length < 0 ? length : offset + bytes > length ? -ENOTSUP : 0;
}

int coroutine_fn bdrv_co_copy_range_from(BdrvChild *src, int64_t src_offset, BdrvChild *dst,
                                         int64_t dst_offset, int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags)
{
    int ret = check_from(src->bs, src_offset, bytes, read_flags);

    while (ret == 0 && bytes > 0) {
        int64_t n = next_piece(src->bs, bytes);

        ret = driver_copy_range_from(src->bs, src, src_offset, dst, dst_offset, n, read_flags,
                                     write_flags);
        src_offset += n;
        dst_offset += n;
        bytes -= n;
    }
    return ret;
}

/* --- the target --- */

/* Detected zeroes are found by looking at the data. */
static bool can_copy_to(const BlockDriverState *bs, int64_t offset, int64_t bytes,
                        BdrvRequestFlags flags)
{
    return bs->drv->bdrv_co_copy_range_to && !bs->debug_events && !bs->core->detect_zeroes &&
           !(flags & BDRV_REQ_WRITE_COMPRESSED) && is_aligned(bs, offset, bytes);
}

/* Durability is seen to here, so drivers get no BDRV_REQ_FUA. */
static int coroutine_fn copy_tracked(BdrvChild *src, int64_t src_offset, BlockDriverState *bs,
                                     BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                     BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    BdrvRequestFlags passed = write_flags & ~(BDRV_REQ_FUA | BDRV_REQ_SERIALISING |
                                              BDRV_REQ_NO_WAIT);
    int64_t end = dst_offset + bytes;
    int ret = 0;

    if (write_flags & BDRV_REQ_FUA) {
        ret = qatomic_read(&bs->core->flush_error);
    }
    while (ret == 0 && dst_offset < end) {
        int64_t n = next_piece(bs, end - dst_offset);

        ret = driver_copy_range_to(bs, src, src_offset, dst, dst_offset, n, read_flags, passed);
        src_offset += n;
        dst_offset += n;
    }
    return write_finish(bs, end, ret, write_flags & BDRV_REQ_FUA);
}

int coroutine_fn bdrv_co_copy_range_to(BdrvChild *src, int64_t src_offset, BdrvChild *dst,
                                       int64_t dst_offset, int64_t bytes,
                                       BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    BlockDriverState *bs = dst->bs;
    TrackedRequest req;
    bool inside;
    int ret;

    if (bs->read_only) {
        return -EPERM;
    }
    ret = check_range(dst_offset, bytes);
    if (ret < 0 || bytes == 0) {
        return ret;
    }
    if (!can_copy_to(bs, dst_offset, bytes, write_flags)) {
        return -ENOTSUP;
    }
    inside = ends_inside(bs, dst_offset + bytes);
    ret = tracked_begin(&req, bs, dst_offset, bytes, write_flags & BDRV_REQ_SERIALISING,
                        write_flags & BDRV_REQ_NO_WAIT);
    if (ret < 0) {
        return ret;
    }
    if (!ends_inside(bs, dst_offset + bytes)) {
        ret = check_write_end(dst, dst_offset + bytes, inside);
    }
    if (ret == 0) {
        ret = copy_tracked(src, src_offset, bs, dst, dst_offset, bytes, read_flags, write_flags);
        bdrv_record_write(bs, dst_offset, bytes);
    }
    tracked_end(&req);
    return ret;
}

/* --- both --- */

int coroutine_fn bdrv_co_copy_range(BdrvChild *src, int64_t src_offset, BdrvChild *dst,
                                    int64_t dst_offset, int64_t bytes,
                                    BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    int ret = check_range(src_offset, bytes);

    if (ret == 0) {
        ret = check_range(dst_offset, bytes);
    }
    if (ret < 0) {
        return ret;
    }
    if (write_flags & BDRV_REQ_ZERO_WRITE) {
        return bdrv_co_pwrite_zeroes(dst, dst_offset, bytes, write_flags);
    }
    if (dst->bs->read_only) {
        return -EPERM;
    }
    /* Piece by piece, what comes later would be copied from what has been overwritten. */
    if (src->bs == dst->bs && src_offset < dst_offset + bytes &&
        dst_offset < src_offset + bytes) {
        return -ENOTSUP;
    }
    /* Now, rather than at the end of the way down. */
    if (!can_copy_to(dst->bs, dst_offset, bytes, write_flags)) {
        return -ENOTSUP;
    }
    return bdrv_co_copy_range_from(src, src_offset, dst, dst_offset, bytes, read_flags,
                                   write_flags);
}
