/* SPDX-License-Identifier: MIT */
/*
 * Break points: the calls go down the chain of "file" children and filters to the first
 * driver that has them. Home thread.
 */
#include "node.h"

/* NULL: there is none. */
static BlockDriverState *node_with_breakpoints(BlockDriverState *bs)
{
    while (bs && bs->drv && !bs->drv->bdrv_debug_breakpoint) {
        bs = bs->file ? bs->file->bs : NULL;
    }
    return bs && bs->drv ? bs : NULL;
}

int bdrv_debug_breakpoint(BlockDriverState *bs, const char *event, const char *tag)
{
    bs = node_with_breakpoints(bs);
    return bs ? bs->drv->bdrv_debug_breakpoint(bs, event, tag) : -ENOTSUP;
}

int bdrv_debug_remove_breakpoint(BlockDriverState *bs, const char *tag)
{
    bs = node_with_breakpoints(bs);
    return bs ? bs->drv->bdrv_debug_remove_breakpoint(bs, tag) : -ENOTSUP;
}

int bdrv_debug_resume(BlockDriverState *bs, const char *tag)
{
    bs = node_with_breakpoints(bs);
    return bs ? bs->drv->bdrv_debug_resume(bs, tag) : -ENOTSUP;
}

bool bdrv_debug_is_suspended(BlockDriverState *bs, const char *tag)
{
    bs = node_with_breakpoints(bs);
    return bs && bs->drv->bdrv_debug_is_suspended(bs, tag);
}
