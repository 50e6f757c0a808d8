/* SPDX-License-Identifier: MIT */
/* What commands do with persistent bitmaps. Main thread; messages are given where a bool says so. */
#ifndef IMG_BITMAP_COPY_H
#define IMG_BITMAP_COPY_H

#include "block/dirty-bitmap.h"
#include "cli.h"

/*
 * Adds a persistent bitmap. @granularity in bytes, 0: the image's default. NULL with @errp when it
 * cannot be.
 */
BdrvDirtyBitmap *bitmap_add(BlockDriverState *bs, const char *name, int64_t granularity,
                            bool disabled, Error **errp);

/* Stores what changed; false and the messages when bitmaps are lost. */
bool bitmap_store(BlockDriverState *bs);

/*
 * Before anything is copied: can the bitmaps of @src be? With @skip_broken, inconsistent ones are
 * left out. False and a message if not.
 */
bool bitmaps_can_be_copied(BlockDriverState *src, bool skip_broken);
/* Does the target's format have bitmaps? False and a message if not. */
bool bitmaps_can_be_stored(BlockDriverState *dst);
/*
 * Copies the persistent bitmaps of @src to @dst, which has none of their names, and stores them. The
 * disks are of the same size. False and a message on failure.
 */
bool bitmaps_copy(BlockDriverState *src, BlockDriverState *dst, bool skip_broken);

#endif
