/* SPDX-License-Identifier: MIT */
/*
 * The clusters that persistent bitmaps take. A directory that makes no sense ends the check: what
 * it may refer to is not known, so no cluster could be called leaked.
 */
#include "qcow2-check-walk.h"

#include "qcow2-bitmap-dir.h"

#define TABLE_RESERVED (~(QCOW2_BITMAP_OFFSET_MASK | 1))

static int coroutine_fn check_table(Qcow2Check *c, uint64_t offset, uint32_t entries)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t bytes = entries * 8ULL;
    g_autofree uint64_t *table = NULL;
    int ret = qcow2_check_count(c, offset, bytes);

    if (ret < 0 || !bytes || !qcow2_check_spend(c, bytes)) {
        return ret;
    }
    table = g_try_malloc(bytes);
    ret = table ? bdrv_co_pread(c->bs->file, offset, bytes, table, 0) : -ENOMEM;
    if (ret < 0) {
        c->r->corruptions++;
        return ret;
    }
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t entry = GUINT64_FROM_BE(table[i]), data = entry & QCOW2_BITMAP_OFFSET_MASK;

        if ((entry & TABLE_RESERVED) || (data && (entry & 1)) || qcow2_in_cluster(s, data)) {
            c->r->corruptions++;
        } else if (data) {
            ret = qcow2_check_count(c, data, s->cluster_size);
        }
    }
    return ret;
}

/* The length of the entry at @e; 0: it makes no sense. */
static uint64_t entry_length(const BDRVQcow2State *s, const uint8_t *e, uint64_t left)
{
    uint64_t length = sizeof(Qcow2DiskBitmapDirEntry), name;

    if (left < length) {
        return 0;
    }
    name = qcow2_be16(e + offsetof(Qcow2DiskBitmapDirEntry, name_size));
    length += name + qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry, extra_data_size));
    length = ROUND_UP(length, UINT64_C(8));
    if (length > left || name == 0 || name > QCOW2_MAX_BITMAP_NAME ||
        qcow2_in_cluster(s, qcow2_be64(e)) || qcow2_be64(e) > INT64_MAX ||
        qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry, table_size)) > QCOW2_MAX_L1_BYTES / 8) {
        return 0;
    }
    return length;
}

/* An image with a bitmap that makes no sense cannot be opened. */
static void report_unusable(Qcow2Check *c, const uint8_t *dir)
{
    BDRVQcow2State *s = c->bs->opaque;
    const Qcow2DiskBitmapsExt *b = &s->hdr.bitmaps;
    Error *err = NULL;
    g_autoptr(GPtrArray) bitmaps = qcow2_bitmap_dir_parse(dir, b->directory_size, b->nb_bitmaps,
                                                          s->cluster_bits, s->size, &err);

    if (!bitmaps) {
        qcow2_check_say("ERROR %s", error_get_pretty(err));
        error_free(err);
        c->r->corruptions++;
    }
}

int coroutine_fn qcow2_check_bitmaps(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    const Qcow2DiskBitmapsExt *b = &s->hdr.bitmaps;
    g_autofree uint8_t *dir = NULL;
    uint64_t pos = 0, length;
    int ret;

    if (!(s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS)) {
        return 0;
    }
    ret = qcow2_check_count(c, b->directory_offset, b->directory_size);
    dir = g_try_malloc(b->directory_size);
    if (ret < 0 || !dir) {
        return ret < 0 ? ret : -ENOMEM;
    }
    ret = bdrv_co_pread(c->bs->file, b->directory_offset, b->directory_size, dir, 0);
    for (uint32_t i = 0; i < b->nb_bitmaps && ret == 0; i++, pos += length) {
        const uint8_t *e = dir + pos;

        length = entry_length(s, e, b->directory_size - pos);
        if (!length) {
            c->r->corruptions++;
            return -EINVAL;
        }
        ret = check_table(c, qcow2_be64(e),
                          qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry, table_size)));
    }
    if (ret == 0) {
        report_unusable(c, dir);
    }
    return ret;
}
