/* SPDX-License-Identifier: MIT */
/*
 * What has to happen before an image that was opened for writing is changed: once, autoclear bits of
 * features unknown here are cleared; and again whenever one is enabled or disabled, persistent bitmaps
 * that the writes make stale on the disk are marked in use there (qcow2-bitmap.h).
 */
#ifndef BLOCK_QCOW2_FIRST_WRITE_H
#define BLOCK_QCOW2_FIRST_WRITE_H

#include "qcow2-state.h"

int coroutine_fn qcow2_co_first_write(BlockDriverState *bs);

/* Every change of the guest's disk begins with this. */
static inline int coroutine_fn qcow2_co_before_write(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return likely(qatomic_load_acquire(&s->first_write_done)) ? 0 : qcow2_co_first_write(bs);
}

#endif
