/* SPDX-License-Identifier: MIT */
/* See the header. Bounds are QEMU's, as images beyond them could not be used anywhere. */
#include "qcow2-bitmap-dir.h"

#include <string.h>

#include "qemu/osdep.h"
#include "qemu/host-utils.h"

#define MIN_GRANULARITY_BITS 9U
#define MAX_GRANULARITY_BITS 31U
#define MAX_BITMAP_BYTES     (UINT64_C(512) << 20) /* of data, in whole clusters */

#define ENTRY32(e, field) qcow2_be32((e) + offsetof(Qcow2DiskBitmapDirEntry, field))

Qcow2Bitmap *qcow2_bitmap_copy(const Qcow2Bitmap *b)
{
    Qcow2Bitmap *copy = g_memdup2(b, sizeof(*b));

    copy->name = g_strdup(b->name);
    copy->extra = b->extra_size ? g_memdup2(b->extra, b->extra_size) : NULL;
    return copy;
}

void qcow2_bitmap_free(gpointer bitmap)
{
    Qcow2Bitmap *b = bitmap;

    g_free(b->name);
    g_free(b->extra);
    g_free(b);
}

uint64_t qcow2_bitmap_entry_size(size_t name_size, uint32_t extra_size)
{
    return ROUND_UP((uint64_t)sizeof(Qcow2DiskBitmapDirEntry) + name_size + extra_size,
                    UINT64_C(8));
}

uint64_t qcow2_bitmap_dir_size(const GPtrArray *bitmaps)
{
    uint64_t size = 0;

    for (guint i = 0; i < bitmaps->len; i++) {
        const Qcow2Bitmap *b = bitmaps->pdata[i];

        size += qcow2_bitmap_entry_size(strlen(b->name), b->extra_size);
    }
    return size;
}

static uint64_t bits_of(uint64_t disk_size, unsigned granularity_bits)
{
    return (disk_size >> granularity_bits) +
           !!(disk_size & ((UINT64_C(1) << granularity_bits) - 1));
}

uint64_t qcow2_bitmap_table_size(uint64_t disk_size, unsigned granularity_bits,
                                 unsigned cluster_bits)
{
    return DIV_ROUND_UP(bits_of(disk_size, granularity_bits), UINT64_C(8) << cluster_bits);
}

bool qcow2_bitmap_check(const char *name, uint64_t disk_size, unsigned granularity_bits,
                        unsigned cluster_bits, Error **errp)
{
    uint64_t entries = qcow2_bitmap_table_size(disk_size, granularity_bits, cluster_bits);

    if (granularity_bits > MAX_GRANULARITY_BITS) {
        error_setg(errp, "Granularity exceeds maximum (%llu bytes)", 1ULL << MAX_GRANULARITY_BITS);
    } else if (granularity_bits < MIN_GRANULARITY_BITS) {
        error_setg(errp, "Granularity is under minimum (%llu bytes)", 1ULL << MIN_GRANULARITY_BITS);
    } else if (entries > MAX_BITMAP_BYTES >> cluster_bits) {
        error_setg(errp, "Too much space will be occupied by the bitmap. Use larger granularity");
    } else if (!entries) {
        error_setg(errp, "The disk has no bytes that a bitmap could cover");
    } else if (strlen(name) > QCOW2_MAX_BITMAP_NAME) {
        error_setg(errp, "Name length exceeds maximum (%u characters)", QCOW2_MAX_BITMAP_NAME);
    } else {
        return true;
    }
    return false;
}

/* --- parsing --- */

/* The field that is out of bounds, or NULL. */
static const char *bad_field(const uint8_t *e, const Qcow2Bitmap *b, unsigned cluster_bits,
                             uint64_t disk_size)
{
    uint64_t cluster_mask = (UINT64_C(1) << cluster_bits) - 1;

    if (!b->table_offset || (b->table_offset & cluster_mask) ||
        b->table_offset > QCOW2_MAX_HOST_OFFSET) {
        return "bitmap_table_offset";
    }
    if (!b->table_size || b->table_size > MAX_BITMAP_BYTES >> cluster_bits) {
        return "bitmap_table_size";
    }
    if (b->flags & ~(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE)) {
        return "flags";
    }
    if (e[offsetof(Qcow2DiskBitmapDirEntry, type)] != QCOW2_BITMAP_TYPE_DIRTY) {
        return "type";
    }
    if (b->granularity_bits < MIN_GRANULARITY_BITS || b->granularity_bits > MAX_GRANULARITY_BITS) {
        return "granularity_bits";
    }
    /* One in use may have missed a change of the disk's size. */
    if (!(b->flags & QCOW2_BITMAP_IN_USE) &&
        b->table_size < qcow2_bitmap_table_size(disk_size, b->granularity_bits, cluster_bits)) {
        return "bitmap_table_size";
    }
    return NULL;
}

static bool take_entry(Qcow2Bitmap *b, const uint8_t *e, uint64_t left, uint64_t *length,
                       Error **errp)
{
    uint16_t name_size;

    if (left < sizeof(Qcow2DiskBitmapDirEntry)) {
        error_setg(errp, "Broken bitmap directory");
        return false;
    }
    name_size = qcow2_be16(e + offsetof(Qcow2DiskBitmapDirEntry, name_size));
    b->extra_size = ENTRY32(e, extra_data_size);
    *length = qcow2_bitmap_entry_size(name_size, b->extra_size);
    if (*length > left) {
        error_setg(errp, "Broken bitmap directory");
        return false;
    }
    b->table_offset = qcow2_be64(e);
    b->table_size = ENTRY32(e, table_size);
    b->flags = ENTRY32(e, flags);
    b->granularity_bits = e[offsetof(Qcow2DiskBitmapDirEntry, granularity_bits)];
    e += sizeof(Qcow2DiskBitmapDirEntry);
    b->extra = b->extra_size ? g_memdup2(e, b->extra_size) : NULL;
    e += b->extra_size;
    if (name_size == 0 || name_size > QCOW2_MAX_BITMAP_NAME || memchr(e, 0, name_size)) {
        error_setg(errp, "Broken bitmap directory: name of %u bytes is invalid", name_size);
        return false;
    }
    b->name = g_strndup((const char *)e, name_size);
    return true;
}

static bool add_entry(GPtrArray *bitmaps, GHashTable *names, const uint8_t *e, uint64_t left,
                      uint64_t *length, unsigned cluster_bits, uint64_t disk_size, Error **errp)
{
    Qcow2Bitmap *b = g_new0(Qcow2Bitmap, 1);
    const char *bad;

    g_ptr_array_add(bitmaps, b);
    if (!take_entry(b, e, left, length, errp)) {
        return false;
    }
    bad = bad_field(e, b, cluster_bits, disk_size);
    if (bad) {
        error_setg(errp, "Bitmap '%s' doesn't satisfy the constraints: invalid %s", b->name, bad);
        return false;
    }
    if (!g_hash_table_add(names, b->name)) {
        error_setg(errp, "Bitmap already exists: %s", b->name);
        return false;
    }
    return true;
}

GPtrArray *qcow2_bitmap_dir_parse(const uint8_t *dir, uint64_t size, uint32_t nb,
                                  unsigned cluster_bits, uint64_t disk_size, Error **errp)
{
    g_autoptr(GPtrArray) bitmaps = g_ptr_array_new_with_free_func(qcow2_bitmap_free);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    uint64_t pos = 0, length = 0;

    for (; pos < size; pos += length) {
        if (bitmaps->len >= nb) {
            error_setg(errp, "More bitmaps found than specified in header extension");
            return NULL;
        }
        if (!add_entry(bitmaps, names, dir + pos, size - pos, &length, cluster_bits, disk_size,
                       errp)) {
            return NULL;
        }
    }
    if (bitmaps->len != nb) {
        error_setg(errp, "Less bitmaps found than specified in header extension");
        return NULL;
    }
    return g_steal_pointer(&bitmaps);
}

/* --- building --- */

void qcow2_bitmap_dir_build(const GPtrArray *bitmaps, uint8_t *dir)
{
    memset(dir, 0, qcow2_bitmap_dir_size(bitmaps));
    for (guint i = 0; i < bitmaps->len; i++) {
        const Qcow2Bitmap *b = bitmaps->pdata[i];
        size_t name_size = strlen(b->name);
        Qcow2DiskBitmapDirEntry e = {
            .table_offset = GUINT64_TO_BE(b->table_offset),
            .table_size = GUINT32_TO_BE(b->table_size),
            .flags = GUINT32_TO_BE(b->flags),
            .type = QCOW2_BITMAP_TYPE_DIRTY,
            .granularity_bits = b->granularity_bits,
            .name_size = GUINT16_TO_BE((uint16_t)name_size),
            .extra_data_size = GUINT32_TO_BE(b->extra_size),
        };

        memcpy(dir, &e, sizeof(e));
        if (b->extra_size) {
            memcpy(dir + sizeof(e), b->extra, b->extra_size);
        }
        memcpy(dir + sizeof(e) + b->extra_size, b->name, name_size);
        dir += qcow2_bitmap_entry_size(name_size, b->extra_size);
    }
}
