/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps: which parts of a node's disk have been written to. A bitmap that is enabled
 * records each write, each write of zeroes and each discard when it ends, whether or not it
 * succeeded; any thread may send them. The names and their meaning are QEMU's.
 *
 * A bitmap belongs to its node and dies with it. Functions that create, release, find, walk or
 * merge bitmaps or change their flags are for the main or home thread, not in a coroutine;
 * those that look at bits or change them may be called from any thread while the bitmap exists.
 *
 * A persistent bitmap is stored in the image. Its contents are read when they are first needed
 * (bdrv_dirty_bitmap_load()); if that fails, the bitmap has become inconsistent and says that all is
 * dirty. What changed is written by bdrv_store_dirty_bitmaps(), or else when the node is closed.
 *
 * Offsets and sizes are bytes. Memory is taken for the parts of a bitmap that are neither all clean
 * nor all dirty.
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/block-common.h"
#include "qapi/error.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

typedef struct BdrvDirtyBitmap BdrvDirtyBitmap;
typedef struct BdrvDirtyBitmapIter BdrvDirtyBitmapIter;

#define BDRV_BITMAP_MAX_NAME_SIZE 1023

/* What bdrv_dirty_bitmap_check() objects to. */
#define BDRV_BITMAP_BUSY         0x1U
#define BDRV_BITMAP_RO           0x2U
#define BDRV_BITMAP_INCONSISTENT 0x4U
#define BDRV_BITMAP_DEFAULT      (BDRV_BITMAP_BUSY | BDRV_BITMAP_RO | BDRV_BITMAP_INCONSISTENT)
#define BDRV_BITMAP_ALLOW_RO     (BDRV_BITMAP_BUSY | BDRV_BITMAP_INCONSISTENT)

/* --- bitmaps of a node --- */

/*
 * A bitmap that is clean, enabled and not persistent. @granularity: bytes for a bit, a power of
 * two from 512 on. @name NULL: it has none. NULL with @errp.
 */
BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity,
                                          const char *name, Error **errp);
/* NULL: there is none. */
BdrvDirtyBitmap *bdrv_find_dirty_bitmap(BlockDriverState *bs, const char *name);
/* The one that was created last comes first; NULL: no further one. */
BdrvDirtyBitmap *bdrv_dirty_bitmap_first(BlockDriverState *bs);
BdrvDirtyBitmap *bdrv_dirty_bitmap_next(BdrvDirtyBitmap *bitmap);
bool bdrv_has_named_bitmaps(BlockDriverState *bs);
/* Forgets the bitmap. A persistent one stays in the image as it is there. */
void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap);
/* The granularity that an image's bitmaps have unless said otherwise: its cluster size, 4 to 64 KiB. */
uint32_t bdrv_get_default_bitmap_granularity(BlockDriverState *bs);

/* --- persistent bitmaps --- */

bool bdrv_supports_persistent_dirty_bitmap(BlockDriverState *bs);
/* Whether the image could hold one more such bitmap; if not, with @errp. */
bool bdrv_can_store_new_dirty_bitmap(BlockDriverState *bs, const char *name, uint32_t granularity,
                                     Error **errp);
/*
 * Removes the bitmap from the image, not from RAM; drains the node. 0, also when the image has none
 * of that name, or -errno with @errp.
 */
int bdrv_remove_persistent_dirty_bitmap(BlockDriverState *bs, const char *name, Error **errp);
/*
 * Writes what changed to the image, durably; drains the node. 0, or -errno with @errp: then those in the
 * image are as they were, or marked as inconsistent there.
 */
int bdrv_store_dirty_bitmaps(BlockDriverState *bs, Error **errp);
/* Brings the contents into RAM if they are not there yet. 0 or -errno with @errp. */
int bdrv_dirty_bitmap_load(BdrvDirtyBitmap *bitmap, Error **errp);

/* --- flags --- */

/* 0, or -1 with @errp when the bitmap is in a state that @flags (BDRV_BITMAP_*) names. */
int bdrv_dirty_bitmap_check(const BdrvDirtyBitmap *bitmap, uint32_t flags, Error **errp);
/* Whether the writes sent from now on are recorded. */
void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
bool bdrv_dirty_bitmap_enabled(const BdrvDirtyBitmap *bitmap);
/* Of an image that is read-only: nothing changes it. */
void bdrv_dirty_bitmap_set_readonly(BdrvDirtyBitmap *bitmap, bool value);
bool bdrv_dirty_bitmap_readonly(const BdrvDirtyBitmap *bitmap);
bool bdrv_has_readonly_bitmaps(BlockDriverState *bs);
void bdrv_dirty_bitmap_set_persistence(BdrvDirtyBitmap *bitmap, bool persistent);
bool bdrv_dirty_bitmap_get_persistence(const BdrvDirtyBitmap *bitmap);
/* It missed changes: all that can be done is to remove it. Never taken back. */
void bdrv_dirty_bitmap_set_inconsistent(BdrvDirtyBitmap *bitmap);
bool bdrv_dirty_bitmap_inconsistent(const BdrvDirtyBitmap *bitmap);
/* A long operation uses it. */
void bdrv_dirty_bitmap_set_busy(BdrvDirtyBitmap *bitmap, bool busy);
bool bdrv_dirty_bitmap_busy(const BdrvDirtyBitmap *bitmap);
/* A persistent one is left out when the others are stored. */
void bdrv_dirty_bitmap_skip_store(BdrvDirtyBitmap *bitmap, bool skip);

/* Belongs to the bitmap; NULL: it has none. */
const char *bdrv_dirty_bitmap_name(const BdrvDirtyBitmap *bitmap);
uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap);
/* The size of the disk that it covers. */
int64_t bdrv_dirty_bitmap_size(const BdrvDirtyBitmap *bitmap);

/* --- contents --- */

bool bdrv_dirty_bitmap_get(BdrvDirtyBitmap *bitmap, int64_t offset);
/* Bytes that are dirty, in whole bits. */
int64_t bdrv_get_dirty_count(BdrvDirtyBitmap *bitmap);
/* All that the range touches becomes dirty. */
void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* Clean. @offset and, unless the range ends with the disk, @bytes are multiples of the granularity. */
void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* All of it clean. */
void bdrv_clear_dirty_bitmap(BdrvDirtyBitmap *bitmap);
/* The first dirty (clean) offset in the range, or -1. */
int64_t bdrv_dirty_bitmap_next_dirty(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
int64_t bdrv_dirty_bitmap_next_zero(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* The first dirty area in [@start, @end), at most @max_dirty_count bytes of it. False: there is none. */
bool bdrv_dirty_bitmap_next_dirty_area(BdrvDirtyBitmap *bitmap, int64_t start, int64_t end,
                                       int64_t max_dirty_count, int64_t *dirty_start,
                                       int64_t *dirty_count);
/* Is @offset dirty? *@count: how many bytes of the range from there on are alike. */
bool bdrv_dirty_bitmap_status(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes,
                              int64_t *count);
/*
 * Adds what is dirty in @src to @dest, whose granularity may be another. Both cover disks of the
 * same size, and neither is in a state that forbids it; else false with @errp.
 */
bool bdrv_merge_dirty_bitmap(BdrvDirtyBitmap *dest, BdrvDirtyBitmap *src, Error **errp);

/* Walks over dirty bits: the offset of each, then -1. */
BdrvDirtyBitmapIter *bdrv_dirty_iter_new(BdrvDirtyBitmap *bitmap);
int64_t bdrv_dirty_iter_next(BdrvDirtyBitmapIter *iter);
void bdrv_dirty_iter_free(BdrvDirtyBitmapIter *iter);

/*
 * The contents as bytes, a bit for each @granularity bytes of the disk, the lowest first. Offsets
 * into the disk and lengths of it are multiples of the serialization alignment; the last length need
 * not be. Deserializing adds to what is dirty already.
 */
uint64_t bdrv_dirty_bitmap_serialization_align(const BdrvDirtyBitmap *bitmap);
/* Bytes that the range takes. */
uint64_t bdrv_dirty_bitmap_serialization_size(const BdrvDirtyBitmap *bitmap, uint64_t offset,
                                              uint64_t bytes);
/* Bytes of the disk that @serialized_chunk_size bytes describe. */
int64_t bdrv_dirty_bitmap_serialization_coverage(int serialized_chunk_size,
                                                 const BdrvDirtyBitmap *bitmap);
void bdrv_dirty_bitmap_serialize_part(const BdrvDirtyBitmap *bitmap, uint8_t *buf,
                                      uint64_t offset, uint64_t bytes);
void bdrv_dirty_bitmap_deserialize_part(BdrvDirtyBitmap *bitmap, const uint8_t *buf,
                                        uint64_t offset, uint64_t bytes);
void bdrv_dirty_bitmap_deserialize_ones(BdrvDirtyBitmap *bitmap, uint64_t offset,
                                        uint64_t bytes);

/* --- for drivers that store bitmaps --- */

/* False: the contents are still in the image; the driver's bdrv_co_load_dirty_bitmap() brings them. */
void bdrv_dirty_bitmap_set_loaded(BdrvDirtyBitmap *bitmap, bool loaded);
bool bdrv_dirty_bitmap_loaded(const BdrvDirtyBitmap *bitmap);
/* Its contents differ from those that were stored or loaded last. */
bool bdrv_dirty_bitmap_changed(const BdrvDirtyBitmap *bitmap);
/* They are stored. */
void bdrv_dirty_bitmap_set_stored(BdrvDirtyBitmap *bitmap);
bool bdrv_dirty_bitmap_to_be_stored(const BdrvDirtyBitmap *bitmap);

G_END_DECLS
#pragma GCC visibility pop

#endif
