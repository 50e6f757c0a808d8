/* SPDX-License-Identifier: MIT */
/*
 * The directory of persistent bitmaps, taken apart and put together. Pure functions on a buffer:
 * no I/O, so that any bytes can be thrown at them.
 */
#ifndef BLOCK_QCOW2_BITMAP_DIR_H
#define BLOCK_QCOW2_BITMAP_DIR_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "qapi/error.h"
#include "qcow2-format.h"

/* A bitmap as it is stored. In RAM it also has a BdrvDirtyBitmap of that name. */
typedef struct Qcow2Bitmap {
    char *name;
    uint64_t table_offset;
    uint32_t table_size;   /* entries */
    uint32_t flags;        /* QCOW2_BITMAP_* as on the disk */
    unsigned granularity_bits;
    uint32_t extra_size;   /* bytes of data that nobody here understands */
    uint8_t *extra;
    bool marked;           /* it is in use by us: what the image says is behind RAM */
} Qcow2Bitmap;

Qcow2Bitmap *qcow2_bitmap_copy(const Qcow2Bitmap *b);
void qcow2_bitmap_free(gpointer bitmap);
/* It has extra data that forbids its use to whoever does not know it. */
static inline bool qcow2_bitmap_is_foreign(const Qcow2Bitmap *b)
{
    return b->extra_size && !(b->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE);
}

/*
 * The @nb entries of a directory of @size bytes, in an image with a disk of @disk_size bytes. An
 * array of Qcow2Bitmap, which owns them; NULL with @errp.
 */
GPtrArray *qcow2_bitmap_dir_parse(const uint8_t *dir, uint64_t size, uint32_t nb,
                                  unsigned cluster_bits, uint64_t disk_size, Error **errp);

/* Bytes that the directory takes, and that one entry takes. */
uint64_t qcow2_bitmap_dir_size(const GPtrArray *bitmaps);
uint64_t qcow2_bitmap_entry_size(size_t name_size, uint32_t extra_size);
/* Writes qcow2_bitmap_dir_size() bytes to @dir. Of an array just parsed: the same places as before. */
void qcow2_bitmap_dir_build(const GPtrArray *bitmaps, uint8_t *dir);

/* Entries of the table of a bitmap. */
uint64_t qcow2_bitmap_table_size(uint64_t disk_size, unsigned granularity_bits,
                                 unsigned cluster_bits);
/* Whether the format and its bounds allow such a bitmap; else false with @errp. */
bool qcow2_bitmap_check(const char *name, uint64_t disk_size, unsigned granularity_bits,
                        unsigned cluster_bits, Error **errp);

#endif
