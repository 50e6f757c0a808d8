/* SPDX-License-Identifier: MIT */
/*
 * How far a long operation on a node is. Drivers report to the node that they work on. Where a layer
 * has no structure of its own (no check could be made of it), the work is done by the one below.
 */
#include "node.h"

/* Of images that the thread creates, which are no nodes yet. */
static __thread struct {
    BlockProgress *report;
    void *opaque;
} creating;

void bdrv_set_progress(BlockDriverState *bs, BlockProgress *progress, void *opaque)
{
    while (bs) {
        bs->core->progress = progress;
        bs->core->progress_opaque = opaque;
        bs = bs->drv && !bs->drv->bdrv_co_check ? bdrv_primary_bs(bs) : NULL;
    }
}

void bdrv_report_progress(BlockDriverState *bs, uint64_t done, uint64_t total)
{
    if (bs->core->progress) {
        bs->core->progress(bs->core->progress_opaque, done, total);
    }
}

void bdrv_set_create_progress(BlockProgress *progress, void *opaque)
{
    creating.report = progress;
    creating.opaque = opaque;
}

void bdrv_report_create_progress(void *opaque, uint64_t done, uint64_t total)
{
    if (creating.report) {
        creating.report(creating.opaque, done, total);
    }
}
