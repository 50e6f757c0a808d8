/* SPDX-License-Identifier: MIT */
/* Refcount blocks among qcow2-refcount.c, qcow2-alloc.c and the write-back. Under alloc_lock. */
#ifndef BLOCK_QCOW2_REFBLOCK_H
#define BLOCK_QCOW2_REFBLOCK_H

#include "qcow2-state.h"

/* An empty block in the cache; NULL when there is no memory. */
Qcow2RefBlock *qcow2_refblock_new(BDRVQcow2State *s, uint64_t index);

/* The block, valid until the next call; *@block is NULL when the table has none there. */
int coroutine_fn qcow2_refblock_get(BlockDriverState *bs, uint64_t index, Qcow2RefBlock **block);

/* The same, but makes one (and a larger refcount table) when there is none. */
int coroutine_fn qcow2_refblock_need(BlockDriverState *bs, uint64_t index,
                                     Qcow2RefBlock **block);

/* A block for entry @index of the table, which has none, at host cluster @at, which is free. */
int coroutine_fn qcow2_refblock_make_at(BlockDriverState *bs, uint64_t index, uint64_t at);

/* Writes all dirty blocks; sets *@any (unless NULL) when there was one. */
int coroutine_fn qcow2_refblocks_write(BlockDriverState *bs, bool *any);

/* Behind the last cluster with a refcount, in clusters. */
int coroutine_fn qcow2_refcounts_used_end(BlockDriverState *bs, uint64_t *end);

/* Changes an entry of the table in RAM. */
void qcow2_reftable_set(BDRVQcow2State *s, uint64_t index, uint64_t offset);
/*
 * Writes what has changed of the table, behind a flush: a block is on the disk before the table
 * refers to it. Nothing to do when nothing has.
 */
int coroutine_fn qcow2_reftable_write(BlockDriverState *bs);

#endif
