/* SPDX-License-Identifier: MIT */
/*
 * The one place where the block layer calls a driver's data callbacks.
 *
 * Each call is checked on both sides: what the core promised (range, alignment, flags)
 * before, what the driver promised (0 or -errno, never a count) after. A broken promise
 * is a bug in the core or the driver and aborts with the driver's name, since the next
 * step would be to damage an image. Nothing is adjusted here; see io.c for that.
 */
#include "node.h"

static void QEMU_NORETURN G_GNUC_PRINTF(3, 4) QEMU_NOINLINE
    contract_broken(const BlockDriverState *bs, const char *call, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fprintf(stderr, "blkco: contract broken: driver '%s', %s: %s\n", bs->drv->format_name,
            call, what);
    abort();
}

/*
 * Data requests: aligned, and within what a length can be. Requests may reach beyond
 * the length: by rounding, or because a write makes the file of a format grow.
 */
static inline void check_call(const BlockDriverState *bs, const char *call,
                              int64_t offset, int64_t bytes, unsigned flags,
                              unsigned supported)
{
    uint64_t mask = bs->core->align_mask;

    if (unlikely(offset < 0 || bytes <= 0 || bytes > BDRV_MAX_LENGTH - offset ||
                 (((uint64_t)offset | (uint64_t)bytes) & mask) || (flags & ~supported))) {
        contract_broken(bs, call, "offset %" PRId64 ", %" PRId64 " bytes, flags 0x%x",
                        offset, bytes, flags);
    }
}

static inline void check_vector(const BlockDriverState *bs, const char *call,
                                int64_t bytes, const QEMUIOVector *qiov,
                                size_t qiov_offset)
{
    if (unlikely(qiov_offset > qiov->size || (size_t)bytes > qiov->size - qiov_offset ||
                 (bs->bl.max_transfer && bytes > bs->bl.max_transfer))) {
        contract_broken(bs, call, "%" PRId64 " bytes with a vector of %zu from %zu on",
                        bytes, qiov->size, qiov_offset);
    }
}

static inline int check_result(const BlockDriverState *bs, const char *call, int ret)
{
    if (unlikely(ret > 0 || ret < -4095)) {
        contract_broken(bs, call, "returned %d", ret);
    }
    return ret;
}

int coroutine_fn driver_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags)
{
    check_call(bs, "read", offset, bytes, flags, bs->supported_read_flags);
    check_vector(bs, "read", bytes, qiov, qiov_offset);
    return check_result(
        bs, "read",
        bs->drv->bdrv_co_preadv_part(bs, offset, bytes, qiov, qiov_offset, flags));
}

int coroutine_fn driver_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset,
                                BdrvRequestFlags flags)
{
    check_call(bs, "write", offset, bytes, flags, bs->supported_write_flags);
    check_vector(bs, "write", bytes, qiov, qiov_offset);
    return check_result(
        bs, "write",
        bs->drv->bdrv_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset, flags));
}

int coroutine_fn driver_pwritev_compressed(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes, QEMUIOVector *qiov,
                                           size_t qiov_offset)
{
    const char *call = "compressed write";

    check_call(bs, call, offset, bytes, 0, 0);
    check_vector(bs, call, bytes, qiov, qiov_offset);
    return check_result(
        bs, call,
        bs->drv->bdrv_co_pwritev_compressed_part(bs, offset, bytes, qiov, qiov_offset));
}

int coroutine_fn driver_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags)
{
    check_call(bs, "write zeroes", offset, bytes, flags, bs->supported_zero_flags);
    return check_result(bs, "write zeroes",
                        bs->drv->bdrv_co_pwrite_zeroes(bs, offset, bytes, flags));
}

int coroutine_fn driver_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    check_call(bs, "discard", offset, bytes, 0, 0);
    return check_result(bs, "discard", bs->drv->bdrv_co_pdiscard(bs, offset, bytes));
}

int coroutine_fn driver_copy_range_from(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                        BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                        BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    check_call(bs, "copy from", src_offset, bytes, 0, 0);
    return check_result(bs, "copy from",
                        bs->drv->bdrv_co_copy_range_from(bs, src, src_offset, dst, dst_offset,
                                                         bytes, read_flags, write_flags));
}

int coroutine_fn driver_copy_range_to(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                      BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                      BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    check_call(bs, "copy to", dst_offset, bytes, 0, 0);
    return check_result(bs, "copy to",
                        bs->drv->bdrv_co_copy_range_to(bs, src, src_offset, dst, dst_offset,
                                                       bytes, read_flags, write_flags));
}

int coroutine_fn driver_flush_to_os(BlockDriverState *bs)
{
    return check_result(bs, "flush to OS", bs->drv->bdrv_co_flush_to_os(bs));
}

int coroutine_fn driver_flush_to_disk(BlockDriverState *bs)
{
    return check_result(bs, "flush to disk", bs->drv->bdrv_co_flush_to_disk(bs));
}

int coroutine_fn driver_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                     int64_t bytes, int64_t *pnum, int64_t *map,
                                     BlockDriverState **file)
{
    int ret;

    check_call(bs, "block status", offset, bytes, 0, 0);
    *pnum = 0;
    *file = NULL;
    ret = bs->drv->bdrv_co_block_status(bs, want_zero, offset, bytes, pnum, map, file);
    if (ret < 0) {
        return ret;
    }
    if (*pnum <= 0 || *pnum > bytes || ((uint64_t)*pnum & bs->core->align_mask)) {
        contract_broken(bs, "block status", "said %" PRId64 " of %" PRId64 " bytes",
                        *pnum, bytes);
    }
    if ((ret & (BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_RAW)) && !*file) {
        contract_broken(bs, "block status", "flags 0x%x without a file", ret);
    }
    return ret;
}

int coroutine_fn driver_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                 PreallocMode prealloc, BdrvRequestFlags flags,
                                 Error **errp)
{
    ERRP_GUARD();
    int ret = bs->drv->bdrv_co_truncate(bs, offset, exact, prealloc, flags, errp);

    if ((ret < 0) != (*errp != NULL)) {
        contract_broken(bs, "truncate", "returned %d %s an error", ret,
                        *errp ? "with" : "without");
    }
    return check_result(bs, "truncate", ret);
}

int64_t coroutine_fn driver_getlength(BlockDriverState *bs)
{
    if (bs->drv->bdrv_co_getlength) {
        return bs->drv->bdrv_co_getlength(bs);
    }
    return bs->file ? bdrv_co_getlength(bs->file->bs) : -ENOTSUP;
}
