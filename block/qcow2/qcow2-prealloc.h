/* SPDX-License-Identifier: MIT */
/* Giving guest clusters their host clusters before anything is written to them. */
#ifndef BLOCK_QCOW2_PREALLOC_H
#define BLOCK_QCOW2_PREALLOC_H

#include "block/block-driver.h"

/*
 * Maps all that is unallocated in [@offset, @end), which may lie beyond the disk's present size; it
 * reads as zeroes (or, with extended L2 entries, as before). FALLOC and FULL also reserve or
 * write the space of the file.
 */
int coroutine_fn qcow2_co_preallocate(BlockDriverState *bs, uint64_t offset, uint64_t end,
                                      PreallocMode mode);
/* The whole disk. Not in a coroutine. */
int qcow2_preallocate(BlockDriverState *bs, PreallocMode mode);

#endif
