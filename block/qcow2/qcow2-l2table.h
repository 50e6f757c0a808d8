/* SPDX-License-Identifier: MIT */
/* Making L2 tables exist, and exclusive. */
#ifndef BLOCK_QCOW2_L2TABLE_H
#define BLOCK_QCOW2_L2TABLE_H

#include "qcow2-state.h"

/*
 * On return 0 the L2 table with the slice @key exists and is this image's alone, so that its
 * slices may be changed: a missing one was made, a shared one copied. Of a new table that slice
 * is in the cache, unless there is no room.
 */
int coroutine_fn qcow2_co_l2_ensure(BlockDriverState *bs, uint64_t key);

#endif
