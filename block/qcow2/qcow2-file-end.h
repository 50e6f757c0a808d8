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

#endif
