/* SPDX-License-Identifier: MIT */
/*
 * L2 tables that only snapshots use, in the metadata map: with overlap-check=all, or
 * overlap-check.inactive-l2=on. To know them takes reading the L1 table of every snapshot, so they
 * are left out otherwise. A table that is both is an active one.
 */
#ifndef BLOCK_QCOW2_INACTIVE_L2_H
#define BLOCK_QCOW2_INACTIVE_L2_H

#include "qcow2-state.h"

/*
 * Enters those that the image has, if they are wanted; the active ones are there already. What
 * cannot be read is left out; when an L1 table cannot even be there, every write fails from now
 * on. Nothing is in flight. Blocks unless in a coroutine.
 */
void qcow2_map_inactive_l2(BlockDriverState *bs);
/* Takes all of them out. */
void qcow2_unmap_inactive_l2(BDRVQcow2State *s);

/* The active disk has just left this table: does a snapshot still use it? */
void coroutine_fn qcow2_co_note_left_l2(BlockDriverState *bs, uint64_t offset);

#endif
