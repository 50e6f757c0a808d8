/* SPDX-License-Identifier: MIT */
/*
 * The names of debug events, and break points: these calls go down the chain of "file" children and filters to the first
 * driver that has them. Home thread.
 */
#include "node.h"

#define EVENT_NAME(id, name) [BLKDBG_##id] = (name),
static const char *const event_names[BLKDBG__MAX] = { BLKDEBUG_EVENTS(EVENT_NAME) };
#undef EVENT_NAME

BlkdebugEvent blkdebug_event_parse(const char *name)
{
    int i = 0;

    while (i < BLKDBG__MAX && strcmp(event_names[i], name)) {
        i++;
    }
    return i;
}

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
