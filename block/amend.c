/* SPDX-License-Identifier: MIT */
/* Changing the options of an existing image: the format does it while nobody else uses the image. */
#include "node.h"

const BlockCreateOption *bdrv_amend_options_table(const BlockDriver *drv)
{
    return drv->bdrv_amend_options ? drv->amend_opts : NULL;
}

int bdrv_amend_options(BlockDriverState *bs, BlockOptions *opts, BlockProgress *progress,
                       void *opaque, bool force, Error **errp)
{
    g_autoptr(BlockOptions) owned = opts;
    int ret;

    if (!bs->drv->bdrv_amend_options) {
        error_setg(errp, "Block driver '%s' does not support option amendment",
                   bs->drv->format_name);
        return -ENOTSUP;
    }
    ret = bs->drv->bdrv_amend_options(bs, owned, progress, opaque, force, errp);
    return ret;
}
