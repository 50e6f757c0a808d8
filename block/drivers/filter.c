/* SPDX-License-Identifier: MIT */
/* What most filters do with most requests: pass them on. */
#include "qemu/osdep.h"
#include "filter.h"

void filter_take_flags(BlockDriverState *bs)
{
    const BlockDriverState *file = bs->file->bs;

    bs->supported_write_flags =
        BDRV_REQ_WRITE_UNCHANGED | (BDRV_REQ_FUA & file->supported_write_flags);
    bs->supported_zero_flags =
        BDRV_REQ_WRITE_UNCHANGED |
        ((BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         file->supported_zero_flags);
    bs->supported_truncate_flags = file->supported_truncate_flags;
}

void filter_refresh_limits(BlockDriverState *bs, Error **errp)
{
    const BlockLimits *file = &bs->file->bs->bl;

    bs->bl.has_variable_length = file->has_variable_length;
    bs->bl.max_pdiscard = file->max_pdiscard;
    bs->bl.max_pwrite_zeroes = file->max_pwrite_zeroes;
    bs->bl.pdiscard_alignment = file->pdiscard_alignment;
    bs->bl.pwrite_zeroes_alignment = file->pwrite_zeroes_alignment;
}

int coroutine_fn filter_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, size_t qiov_offset,
                                       BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn filter_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        QEMUIOVector *qiov, size_t qiov_offset,
                                        BdrvRequestFlags flags)
{
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn filter_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                         BdrvRequestFlags flags)
{
    return bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

int coroutine_fn filter_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return bdrv_co_pdiscard(bs->file, offset, bytes);
}

int coroutine_fn filter_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                                   int64_t bytes, QEMUIOVector *qiov,
                                                   size_t qiov_offset)
{
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                BDRV_REQ_WRITE_COMPRESSED);
}
