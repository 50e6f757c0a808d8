/* SPDX-License-Identifier: MIT */
/*
 * The metadata map: which host clusters hold live metadata, and of what kind. Before a write
 * goes out it is looked up, so that damaged tables cannot lead a write into a table.
 *
 * A hash set of 64-bit words in one array, searched without a lock by any thread; changes
 * under map_lock. An array that is outgrown is kept until the image is closed.
 */
#ifndef BLOCK_QCOW2_OVERLAP_H
#define BLOCK_QCOW2_OVERLAP_H

#include "qcow2-state.h"

typedef enum Qcow2MetaKind {
    QCOW2_META_NONE, /* guest data */
    QCOW2_META_HEADER,
    QCOW2_META_L1,
    QCOW2_META_L2,
    QCOW2_META_REFTABLE,
    QCOW2_META_REFBLOCK,
    QCOW2_META_SNAPSHOTS,
    QCOW2_META_SNAPSHOT_L1,
    QCOW2_META_BITMAPS,
} Qcow2MetaKind;

void qcow2_map_init(BDRVQcow2State *s);
void qcow2_map_destroy(BDRVQcow2State *s);

/*
 * Enters the clusters of a structure. One that is there already, other than as SNAPSHOT_L1, is a
 * conflict: s->map_conflict_at remembers the first. Any thread.
 */
void qcow2_map_add(BDRVQcow2State *s, Qcow2MetaKind kind, uint64_t offset, uint64_t bytes);
void qcow2_map_remove(BDRVQcow2State *s, uint64_t offset, uint64_t bytes);

/* What the cluster of a host offset holds. Any thread. */
Qcow2MetaKind qcow2_map_get(const BDRVQcow2State *s, uint64_t offset);

/*
 * Is it right to write this range of the image file as @kind? 0, or -EIO after the image has
 * been marked corrupt.
 */
int coroutine_fn qcow2_co_check_write(BlockDriverState *bs, Qcow2MetaKind kind,
                                      uint64_t offset, uint64_t bytes);

#endif
