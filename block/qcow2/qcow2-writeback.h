/* SPDX-License-Identifier: MIT */
/*
 * Metadata from RAM to the disk, in an order that keeps the image whole at every instant:
 *
 *   refcount blocks, then (flush) the refcount table where it has new blocks
 *   flush: data, refcounts and new L2 tables (written whole when they were made) are there
 *          before anything refers to them
 *   L2 slices and L1 entries, in any order: each is right with and without the other
 *
 * Flushes with nothing to order are left out. The last flush is the caller's.
 */
#ifndef BLOCK_QCOW2_WRITEBACK_H
#define BLOCK_QCOW2_WRITEBACK_H

#include "qcow2-state.h"

/* Everything that was dirty when it was called is written when it returns 0. */
int coroutine_fn qcow2_co_writeback(BlockDriverState *bs);
/* Flushes the external data file, if there is one, and then the image's. */
int coroutine_fn qcow2_co_flush_files(BlockDriverState *bs);

/* The same for who holds wb_lock. */
int coroutine_fn qcow2_co_writeback_locked(BlockDriverState *bs);

/* The same, durable, with all clusters freed that wait for it. Nothing may be in flight. */
int coroutine_fn qcow2_co_writeback_all(BlockDriverState *bs);

/* Would a write-back have more to do than to write refcounts? */
bool coroutine_fn qcow2_co_writeback_pending(BlockDriverState *bs);

#endif
