/* SPDX-License-Identifier: MIT */
/* Zeroes and discards: changes of L2 entries without data. */
#ifndef BLOCK_QCOW2_ZERO_H
#define BLOCK_QCOW2_ZERO_H

#include "block/block-driver.h"

int coroutine_fn qcow2_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        BdrvRequestFlags flags);
int coroutine_fn qcow2_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);

/*
 * Empties all L2 entries from @offset (of a cluster) on, behind the end of the disk too. The
 * clusters are freed with the next write-backs. For who keeps all other requests away from there.
 */
int coroutine_fn qcow2_co_cut_entries(BlockDriverState *bs, uint64_t offset);

#endif
