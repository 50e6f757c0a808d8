/* SPDX-License-Identifier: MIT */
/*
 * Persistent dirty bitmaps: those of the directory (s->bitmaps) and those of the node with the same
 * names. Three places can say different things:
 *
 *   RAM           BdrvDirtyBitmap: what holds while the image is open
 *   the directory flags and tables; l1_lock protects the copy of it in RAM
 *   the contents  read when they are first needed (bdrv_dirty_bitmap_load())
 *
 * Before the first write that a bitmap records, or that one which is enabled on the disk does not,
 * it is marked in use in the directory, durably: a crash then leaves it untrusted. Storing writes
 * contents, tables and directory to new places, and then makes the header point to the new
 * directory; what was there before is free after that. So a crash leaves the old or the new state,
 * and at worst leaked clusters. Bitmaps that did not change stay where they are.
 */
#ifndef BLOCK_QCOW2_BITMAP_H
#define BLOCK_QCOW2_BITMAP_H

#include "block/dirty-bitmap.h"
#include "qcow2-bitmap-dir.h"
#include "qcow2-state.h"

/* At open: reads the directory, and gives the node its bitmaps. 0 or -errno with @errp. */
int qcow2_bitmaps_open(BlockDriverState *bs, Error **errp);
void qcow2_bitmaps_close(BDRVQcow2State *s);

/* Under l1_lock, before the first write. -errno: the write must not be made. */
int coroutine_fn qcow2_co_bitmaps_before_write(BlockDriverState *bs);
/*
 * Before the size of the disk changes: refuses if a bitmap could not follow, else brings all of them
 * into RAM and marks them in use, as their tables will be of the wrong size.
 */
int coroutine_fn qcow2_co_bitmaps_before_resize(BlockDriverState *bs, Error **errp);

/* --- what the driver table has --- */

bool qcow2_supports_persistent_dirty_bitmap(BlockDriverState *bs);
bool qcow2_can_store_new_dirty_bitmap(BlockDriverState *bs, const char *name,
                                      uint32_t granularity, Error **errp);
void qcow2_dirty_bitmap_toggled(BlockDriverState *bs);
int coroutine_fn qcow2_co_load_dirty_bitmap(BlockDriverState *bs, BdrvDirtyBitmap *bitmap,
                                            Error **errp);
int coroutine_fn qcow2_co_store_dirty_bitmaps(BlockDriverState *bs, Error **errp);
int coroutine_fn qcow2_co_remove_persistent_dirty_bitmap(BlockDriverState *bs, const char *name,
                                                         Error **errp);

/* --- between the files of this concern; under l1_lock --- */

Qcow2Bitmap *qcow2_bitmap_find(BDRVQcow2State *s, const char *name);
/* The table of a bitmap, in host byte order; checked to lie in the file. NULL with @errp, *@ret -errno. */
uint64_t *coroutine_fn qcow2_co_bitmap_read_table(BlockDriverState *bs, const Qcow2Bitmap *b,
                                                  int *ret, Error **errp);
int coroutine_fn qcow2_co_bitmap_load_locked(BlockDriverState *bs, BdrvDirtyBitmap *bitmap,
                                             Error **errp);

#endif
