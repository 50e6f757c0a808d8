/* SPDX-License-Identifier: MIT */
/*
 * compress: a filter that turns every write into a compressed one. Those are whole
 * clusters, so the filter's alignment is the cluster and the core completes smaller ones.
 */
#include "qemu/osdep.h"
#include "filter.h"
#include "block/block-image.h"

static int compress_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    const BlockDriver *image = bs->file->bs->drv;

    if (!image->bdrv_co_pwritev_compressed_part) {
        error_setg(errp, "Compression is not supported for underlying format: %s",
                   image->format_name);
        return -ENOTSUP;
    }
    filter_take_flags(bs);
    bs->supported_write_flags &= ~BDRV_REQ_FUA; /* compressed writes know nothing of it */
    return 0;
}

static void compress_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BlockDriverInfo bdi = { 0 };

    filter_refresh_limits(bs, errp);
    if (bdrv_get_info(bs->file->bs, &bdi) >= 0 && bdi.cluster_size > 0) {
        bs->bl.request_alignment = bdi.cluster_size;
    }
}

static int coroutine_fn compress_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                                 int64_t bytes, QEMUIOVector *qiov,
                                                 size_t qiov_offset, BdrvRequestFlags flags)
{
    return bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset,
                                flags | BDRV_REQ_WRITE_COMPRESSED);
}

BlockDriver bdrv_compress = {
    .format_name = "compress",
    .is_filter = true,
    .bdrv_open = compress_open,
    .bdrv_refresh_limits = compress_refresh_limits,
    .bdrv_co_preadv_part = filter_co_preadv_part,
    .bdrv_co_pwritev_part = compress_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = filter_co_pwrite_zeroes,
    .bdrv_co_pdiscard = filter_co_pdiscard,
    .bdrv_co_pwritev_compressed_part = filter_co_pwritev_compressed_part,
};
