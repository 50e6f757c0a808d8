/* SPDX-License-Identifier: MIT */
/*
 * Refcounts of host clusters, and the allocation of clusters. Everything here is called
 * with alloc_lock held unless said otherwise.
 *
 * Refcounts in RAM run ahead of the disk: raised ones are written before anything refers to
 * the cluster, lowered ones after the last reference is gone (qcow2-writeback.h).
 */
#ifndef BLOCK_QCOW2_REFCOUNT_H
#define BLOCK_QCOW2_REFCOUNT_H

#include "qcow2-state.h"

/* Takes the table over from @raw, as it lies on the disk. At open; @cache_bytes for blocks. */
int qcow2_refcounts_init(BDRVQcow2State *s, const uint8_t *raw, uint64_t entries,
                         uint64_t cache_bytes, Error **errp);
void qcow2_refcounts_destroy(BDRVQcow2State *s);

/* Counter @i of a refcount block as it lies on the disk. Any context. */
uint64_t qcow2_counter_get(unsigned order, const uint8_t *block, uint64_t i);
void qcow2_counter_set(unsigned order, uint8_t *block, uint64_t i, uint64_t value);

int coroutine_fn qcow2_get_refcount(BlockDriverState *bs, uint64_t cluster, uint64_t *refcount);

/*
 * Counts into *@used how many of the first @clusters have a refcount; ends early with the block by which it is
 * @enough. With -errno *@used is what was counted before.
 */
int coroutine_fn qcow2_refcounts_count_used(BlockDriverState *bs, uint64_t clusters,
                                            uint64_t enough, uint64_t *used);

/* Raises the refcount of each cluster by one, making refcount blocks as needed. */
int coroutine_fn qcow2_raise_refcounts(BlockDriverState *bs, uint64_t cluster, uint64_t count);
/* Lowers them; a refcount that is 0 already is corruption. Nothing may refer to them. */
int coroutine_fn qcow2_lower_refcounts(BlockDriverState *bs, uint64_t cluster, uint64_t count);
/* Sets the refcount whatever it was: for repairs. */
int coroutine_fn qcow2_set_refcount(BlockDriverState *bs, uint64_t cluster, uint64_t refcount);

/*
 * Gives out up to @count free host clusters in a row, at least one, or with @exact all
 * of them. How many, or -errno; *@offset in bytes. *@fresh: the file reads as zeroes there.
 * Does not need the lock; takes it.
 */
int64_t coroutine_fn qcow2_co_alloc_clusters(BlockDriverState *bs, uint64_t count, bool exact,
                                             uint64_t *offset, bool *fresh);
/* The same; @what ("L2 table", or NULL) is for the message should the refcounts be wrong. */
int64_t coroutine_fn qcow2_co_alloc_named(BlockDriverState *bs, const char *what,
                                          uint64_t count, bool exact, uint64_t *offset,
                                          bool *fresh);
/* Takes back what was just allocated and never referred to. Takes the lock. */
void coroutine_fn qcow2_co_unalloc(BlockDriverState *bs, uint64_t offset, uint64_t count);

/*
 * Room for @bytes of compressed data (at most a cluster) at *@offset, behind earlier ones
 * where possible. Takes the lock.
 */
int coroutine_fn qcow2_co_alloc_bytes(BlockDriverState *bs, uint32_t bytes, uint64_t *offset);
/* Takes back the refcounts of a stream that was never referred to. Takes the lock. */
void coroutine_fn qcow2_co_unalloc_bytes(BlockDriverState *bs, uint64_t offset, uint32_t bytes);

/* Writes one dirty block out; harmless at any time, see qcow2-writeback.h. */
int coroutine_fn qcow2_write_refblock(BlockDriverState *bs, uint64_t index, const uint8_t *data);

#endif
