/* SPDX-License-Identifier: MIT */
/* How large a new image will be: the format knows. */
#include "node.h"

int bdrv_measure(BlockDriver *drv, BlockOptions *opts, BlockDriverState *in_bs,
                 BlockMeasureInfo *info, Error **errp)
{
    g_autoptr(BlockOptions) owned = opts ? opts : blk_options_new();

    *info = (BlockMeasureInfo){ 0 };
    if (!drv->bdrv_measure) {
        error_setg(errp, "Block driver '%s' does not support size measurement", drv->format_name);
        return -ENOTSUP;
    }
    return drv->bdrv_measure(owned, in_bs, info, errp);
}

bool bdrv_can_measure(const BlockDriver *drv)
{
    return drv->bdrv_measure;
}
