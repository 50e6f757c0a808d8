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
    QCOW2_META_INACTIVE_L2,
    QCOW2_META_BITMAPS,
    QCOW2_META_SEVERAL, /* claimed more than once: see there */
} Qcow2MetaKind;

/* Kinds to look for before a write, as bits; the option overlap-check. */
#define QCOW2_OVERLAP_CACHED                                                                  \
    ((1U << QCOW2_META_SEVERAL) - 1 - (1U << QCOW2_META_NONE) - (1U << QCOW2_META_INACTIVE_L2))

void qcow2_map_init(BDRVQcow2State *s);
void qcow2_map_destroy(BDRVQcow2State *s);

/*
 * Enters the clusters of a structure. One that is there already becomes SEVERAL: whatever is
 * written there would damage something, so nothing is. (Of inactive tables, which are not
 * written, any number may share a cluster.) Any thread.
 */
void qcow2_map_add(BDRVQcow2State *s, Qcow2MetaKind kind, uint64_t offset, uint64_t bytes);
/* The structure is gone from there. What else claims a cluster goes on to do so. Any thread. */
void qcow2_map_remove(BDRVQcow2State *s, Qcow2MetaKind kind, uint64_t offset, uint64_t bytes);
/* Forgets all clusters of a kind. Nothing may be in flight. */
void qcow2_map_remove_kind(BDRVQcow2State *s, Qcow2MetaKind kind);
/*
 * The first cluster is the header's alone, whatever damaged pointers claim: for a repair, which has to
 * write the header to be rid of them. Any thread.
 */
void qcow2_map_claim_header(BDRVQcow2State *s);
/* Behind the last cluster that holds metadata, in clusters. Any thread. */
uint64_t qcow2_map_end(BDRVQcow2State *s);
/* "active L2 table", as messages call it. */
const char *qcow2_meta_name(Qcow2MetaKind kind);

/* What the cluster of a host offset holds. Any thread. */
Qcow2MetaKind qcow2_map_get(const BDRVQcow2State *s, uint64_t offset);

/*
 * Where new clusters are to go: 0, or -EIO after the image has been marked corrupt, as there is
 * metadata that the refcounts do not know of. @what: "data cluster", for the message.
 */
int coroutine_fn qcow2_co_check_alloc(BlockDriverState *bs, const char *what, uint64_t offset,
                                      uint64_t bytes);

/*
 * Is it right to write this range of the image file as @kind? 0, or -EIO after the image has
 * been marked corrupt.
 */
int coroutine_fn qcow2_co_check_write(BlockDriverState *bs, Qcow2MetaKind kind,
                                      uint64_t offset, uint64_t bytes);

/* The same for a change in place that is right for all that claim the cluster as @kind. */
int coroutine_fn qcow2_co_check_repair(BlockDriverState *bs, Qcow2MetaKind kind,
                                       uint64_t offset, uint64_t bytes);

#endif
