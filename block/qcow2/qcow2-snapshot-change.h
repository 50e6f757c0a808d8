/* SPDX-License-Identifier: MIT */
/*
 * What creating, applying and deleting a snapshot have in common: they own all metadata from
 * begin to end, and leave the image marked as dirty if they are cut short in between.
 *
 * A COPIED flag has to say whether a refcount is 1, and the two cannot change at one instant. Wrong
 * flags do no harm in themselves: nothing but the active disk refers to a cluster before a snapshot
 * has come into being, nor after it is gone. But a check would report them. So a version 3
 * image is marked as dirty first, and who opens it next makes refcounts and flags right; version 2
 * has no such mark.
 */
#ifndef BLOCK_QCOW2_SNAPSHOT_CHANGE_H
#define BLOCK_QCOW2_SNAPSHOT_CHANGE_H

#include "qcow2-state.h"

typedef struct Qcow2SnapshotChange {
    bool marked;  /* dirty, by this change */
    bool done;    /* set by the change: it counts, durably; what fails from then on is no error */
    bool unclean; /* set by the change: flags or refcounts may be wrong, so the mark stays */
} Qcow2SnapshotChange;

/*
 * 0: all that was in RAM is on the disk, wb_lock and l1_lock are held. -ENOTSUP for an image with
 * an external data file, whose clusters have no refcounts. @mark: flags and refcounts will change.
 */
int coroutine_fn qcow2_co_snapshot_begin(BlockDriverState *bs, bool mark,
                                         Qcow2SnapshotChange *c);
/* Makes everything durable and drops the locks. @ret, or the first error of its own. */
int coroutine_fn qcow2_co_snapshot_end(BlockDriverState *bs, Qcow2SnapshotChange *c, int ret);

#endif
