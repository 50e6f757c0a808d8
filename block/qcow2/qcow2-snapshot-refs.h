/* SPDX-License-Identifier: MIT */
/*
 * All that an L1 table reaches: L2 tables, data clusters, compressed clusters. A snapshot is an L1
 * table more that reaches the same, so making one raises the refcounts of all of it.
 *
 * Nothing may be in flight, and what the file holds must be up to date (a write-back was made), as
 * the L2 tables are read from there.
 */
#ifndef BLOCK_QCOW2_SNAPSHOT_REFS_H
#define BLOCK_QCOW2_SNAPSHOT_REFS_H

#include "qcow2-state.h"

/*
 * Several L1 entries may name one L2 table in a made-up image, which then has more references than
 * anybody can count. -EIO, told the user, when there are too many such entries. The functions below
 * ask this themselves before they change anything.
 */
int coroutine_fn qcow2_co_tree_plausible(BlockDriverState *bs, const uint64_t *l1,
                                         uint32_t entries);

/*
 * Raises the refcount of everything by one for each reference, in RAM. -EINVAL for a refcount that
 * cannot get larger, -EIO for damage: then all are as before, or *@leaked is set.
 */
int coroutine_fn qcow2_co_raise_tree(BlockDriverState *bs, const uint64_t *l1, uint32_t entries,
                                     bool *leaked);

/*
 * Lowers it, and tells the file of clusters that became free if @discard. The first error, after
 * which the rest is left as it was: leaked.
 */
int coroutine_fn qcow2_co_lower_tree(BlockDriverState *bs, const uint64_t *l1, uint32_t entries,
                                     bool discard);

/*
 * Sets the COPIED flags in the table and in the L2 tables to what the refcounts say. L2 tables are
 * written to the file, not durably; the L1 table only changes in RAM.
 */
int coroutine_fn qcow2_co_refresh_copied(BlockDriverState *bs, uint64_t *l1, uint32_t entries);

/* The same for the active table; its changed entries are dirty then. */
int coroutine_fn qcow2_co_refresh_active_copied(BlockDriverState *bs);

/*
 * As many entries of L1 tables will be walked through by the functions above, under l1_lock: that is what
 * the progress of the node is told from.
 */
void qcow2_walk_expect(BlockDriverState *bs, uint64_t entries);

#endif
