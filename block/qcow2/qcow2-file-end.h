/* SPDX-License-Identifier: MIT */
/*
 * The end of the image file runs ahead of what is allocated, in steps that grow with the
 * file: writes that make a file longer are slow one by one, as each takes the file for
 * itself. What was too much is cut off when the image is closed; after a crash it stays, and
 * is free space at the end like any other.
 */
#ifndef BLOCK_QCOW2_FILE_END_H
#define BLOCK_QCOW2_FILE_END_H

#include "qcow2-state.h"

/* Under alloc_lock: clusters up to @end (bytes) have just been given out. */
void coroutine_fn qcow2_file_end_reserve(BlockDriverState *bs, uint64_t end);
/* Cuts off what nobody got. Nothing may be in flight. */
void coroutine_fn qcow2_file_end_trim(BlockDriverState *bs);
/*
 * Under alloc_lock: cuts off what lies behind the last cluster with a refcount. Metadata behind
 * it shows that refcounts are damaged: then, and when it fails, the file is longer than it
 * need be.
 */
void coroutine_fn qcow2_file_end_cut(BlockDriverState *bs);

#endif
