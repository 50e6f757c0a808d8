/* SPDX-License-Identifier: MIT */
/* Changing the size of the disk. */
#ifndef BLOCK_QCOW2_TRUNCATE_H
#define BLOCK_QCOW2_TRUNCATE_H

#include "block/block-driver.h"

int coroutine_fn qcow2_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                   PreallocMode prealloc, BdrvRequestFlags flags, Error **errp);

/* Makes the active L1 table at least @needed entries long. 0 or -errno. */
int coroutine_fn qcow2_co_grow_l1(BlockDriverState *bs, uint64_t needed);

#endif
