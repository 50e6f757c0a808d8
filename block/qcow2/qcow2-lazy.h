/* SPDX-License-Identifier: MIT */
/*
 * Lazy refcounts. Before the first allocation the dirty bit is set durably; from then on
 * write-backs leave the refcounts alone, until the image is closed and the bit cleared. After a
 * crash whoever opens the image for writing counts anew. L2 tables have their refcount
 * written when they are made, as with QEMU.
 */
#ifndef BLOCK_QCOW2_LAZY_H
#define BLOCK_QCOW2_LAZY_H

#include "qcow2-state.h"

/* Before clusters are given out. Under alloc_lock. */
int coroutine_fn qcow2_co_lazy_begin(BlockDriverState *bs);
/* After an L2 table was given its cluster. */
int coroutine_fn qcow2_co_lazy_table(BlockDriverState *bs);
/*
 * At the end, when all refcounts are on the disk: clears the dirty bit, unless that has another
 * reason to stay. Nothing in flight.
 */
int coroutine_fn qcow2_co_lazy_end(BlockDriverState *bs);

#endif
