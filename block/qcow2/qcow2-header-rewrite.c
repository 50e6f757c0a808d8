/* SPDX-License-Identifier: MIT */
/*
 * Sectors are what a power cut leaves whole, and extensions may span several. So a new header
 * that differs in more than one gets its extensions and the backing file's name written to a free
 * place further behind first; then the first sector is changed to say that they are there
 * (header_length may be anything within the cluster). Now the usual place is free to be
 * written, and the first sector can point back to it.
 */
#include "qcow2-header-rewrite.h"

#include "qcow2-header-io.h"

#define SECTOR 512U

static int coroutine_fn write_part(BlockDriverState *bs, size_t at, size_t bytes, const void *buf)
{
    int ret = bdrv_co_pwrite(bs->file, at, bytes, buf, 0);

    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

static size_t header_length(const uint8_t *header)
{
    return qcow2_be32(header + offsetof(Qcow2DiskHeader, header_length));
}

/* The last sector that differs, + 1; *@first: the first one. */
static size_t differing_sectors(const uint8_t *a, const uint8_t *b, size_t bytes, size_t *first)
{
    size_t end = 0;

    *first = 0;
    for (size_t at = 0; at < bytes; at += SECTOR) {
        if (memcmp(a + at, b + at, SECTOR)) {
            *first = end ? *first : at;
            end = at + SECTOR;
        }
    }
    return end;
}

/* The first sector of @new, with everything behind the fixed fields at @place. */
static void point_to(uint8_t *sector, const uint8_t *new, size_t place)
{
    size_t start = header_length(new);
    uint64_t name = qcow2_be64(new + offsetof(Qcow2DiskHeader, backing_file_offset));

    memcpy(sector, new, SECTOR);
    memset(sector + start, 0, SECTOR - start);
    qcow2_put_be32(sector + offsetof(Qcow2DiskHeader, header_length), place);
    if (name) {
        qcow2_put_be64(sector + offsetof(Qcow2DiskHeader, backing_file_offset),
                       name - start + place);
    }
}

int coroutine_fn qcow2_co_replace_header(BlockDriverState *bs, const uint8_t *old,
                                         const uint8_t *new, size_t end)
{
    BDRVQcow2State *s = bs->opaque;
    size_t first, last = differing_sectors(old, new, s->cluster_size, &first);
    size_t start = header_length(new), length = ROUND_UP(end - start, SECTOR);
    size_t place = MAX(last, ROUND_UP(end, SECTOR));
    g_autofree uint8_t *apart = NULL;
    uint8_t sector[SECTOR];
    int ret;

    if (last == 0) {
        return 0;
    }
    if (last - first == SECTOR || qcow2_be32(new + offsetof(Qcow2DiskHeader, version)) < 3 ||
        start >= SECTOR ||
        place + length > s->cluster_size) {
        return qcow2_co_switch_header(bs, first, last - first, new + first);
    }
    apart = g_try_malloc0(length);
    if (!apart) {
        return -ENOMEM;
    }
    memcpy(apart, new + start, end - start);
    point_to(sector, new, place);
    ret = write_part(bs, place, length, apart);
    if (ret == 0) {
        ret = qcow2_co_switch_header(bs, 0, SECTOR, sector);
    }
    if (ret == 0) {
        ret = write_part(bs, SECTOR, last - SECTOR, new + SECTOR);
        if (ret == 0) {
            ret = qcow2_co_switch_header(bs, 0, SECTOR, new);
        } else {
            /* The new header is in force, in an unusual shape: leave it to whoever opens it. */
            qatomic_set(&s->corrupt, true);
        }
    }
    if (ret == 0) {
        memset(apart, 0, length);
        write_part(bs, place, length, apart); /* for tidiness only */
    }
    return ret;
}

/* --- extensions --- */

typedef struct Area {
    uint8_t *buf;
    size_t size, pos;
    bool full;
} Area;

static void put(Area *a, const void *data, size_t bytes)
{
    size_t padded = ROUND_UP(bytes, (size_t)8);

    a->full |= padded > a->size - a->pos;
    if (!a->full) {
        memcpy(a->buf + a->pos, data, bytes);
        a->pos += padded;
    }
}

static void put_bitmaps(Area *a, const Qcow2DiskBitmapsExt *b)
{
    uint8_t ext[sizeof(Qcow2DiskExtension) + sizeof(*b)] = { 0 };

    if (!b) {
        return;
    }
    qcow2_put_be32(ext, QCOW2_EXT_BITMAPS);
    qcow2_put_be32(ext + 4, sizeof(*b));
    qcow2_put_be32(ext + 8 + offsetof(Qcow2DiskBitmapsExt, nb_bitmaps), b->nb_bitmaps);
    qcow2_put_be64(ext + 8 + offsetof(Qcow2DiskBitmapsExt, directory_size), b->directory_size);
    qcow2_put_be64(ext + 8 + offsetof(Qcow2DiskBitmapsExt, directory_offset), b->directory_offset);
    put(a, ext, sizeof(ext));
}

/* QEMU's order: unknown extensions come behind the bitmaps. */
static bool comes_before_bitmaps(uint32_t type)
{
    return type == QCOW2_EXT_BACKING_FORMAT || type == QCOW2_EXT_DATA_FILE ||
           type == QCOW2_EXT_CRYPTO_HEADER || type == QCOW2_EXT_FEATURE_NAMES;
}

/*
 * Copies the extensions of @old, which have been parsed before, with @b among them. Where those of
 * @old end.
 */
static size_t copy_extensions(Area *a, const uint8_t *old, size_t size, const Qcow2DiskBitmapsExt *b)
{
    size_t pos = header_length(old);
    uint64_t name = qcow2_be64(old + offsetof(Qcow2DiskHeader, backing_file_offset));
    size_t end = name ? name : size;
    bool done = false;

    while (pos < end && end - pos >= sizeof(Qcow2DiskExtension)) {
        uint32_t type = qcow2_be32(old + pos), length = qcow2_be32(old + pos + 4);
        size_t whole = sizeof(Qcow2DiskExtension) + (size_t)length;

        if (type == QCOW2_EXT_END || whole > end - pos) {
            break;
        }
        if (!done && !comes_before_bitmaps(type)) {
            put_bitmaps(a, b);
            done = true;
        }
        if (type != QCOW2_EXT_BITMAPS) {
            put(a, old + pos, whole);
        }
        pos += ROUND_UP(whole, (size_t)8);
    }
    if (!done) {
        put_bitmaps(a, b);
    }
    return MIN(pos + sizeof(Qcow2DiskExtension), size);
}

static int build(BlockDriverState *bs, const uint8_t *old, uint8_t *new, size_t *end,
                 const Qcow2DiskBitmapsExt *b, uint64_t autoclear)
{
    BDRVQcow2State *s = bs->opaque;
    Area a = { .buf = new, .size = s->cluster_size, .pos = header_length(old) };
    uint64_t name = qcow2_be64(old + offsetof(Qcow2DiskHeader, backing_file_offset));
    uint32_t name_size = qcow2_be32(old + offsetof(Qcow2DiskHeader, backing_file_size));
    static const uint8_t end_mark[sizeof(Qcow2DiskExtension)];
    size_t old_end;

    if (a.pos < QCOW2_HEADER_V3_MIN || a.pos > a.size ||
        (name && (name > a.size || name_size > a.size - name))) {
        return -EIO; /* not what was there when the image was opened */
    }
    memcpy(new, old, a.pos);
    old_end = MAX(copy_extensions(&a, old, a.size, b), name + name_size);
    put(&a, end_mark, sizeof(end_mark));
    if (name) {
        qcow2_put_be64(new + offsetof(Qcow2DiskHeader, backing_file_offset), a.pos);
        a.full |= name_size > a.size - a.pos;
        if (!a.full) {
            memcpy(new + a.pos, old + name, name_size);
            a.pos += name_size;
        }
    }
    qcow2_put_be64(new + offsetof(Qcow2DiskHeader, autoclear_features), autoclear);
    *end = a.pos;
    /* What neither header knows of stays as it is. */
    if (MAX(old_end, a.pos) < a.size) {
        memcpy(new + MAX(old_end, a.pos), old + MAX(old_end, a.pos), a.size - MAX(old_end, a.pos));
    }
    return a.full ? -ENOSPC : 0;
}

static int coroutine_fn write_bitmaps_locked(BlockDriverState *bs, const Qcow2DiskBitmapsExt *b)
{
    BDRVQcow2State *s = bs->opaque;
    QEMU_AUTO_VFREE uint8_t *old = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    QEMU_AUTO_VFREE uint8_t *new = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    uint64_t autoclear = (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW) |
                         (b ? QCOW2_AUTOCLEAR_BITMAPS : 0);
    size_t end;
    int ret;

    if (!old || !new) {
        return -ENOMEM;
    }
    memset(new, 0, s->cluster_size);
    ret = bdrv_co_pread(bs->file, 0, s->cluster_size, old, 0);
    if (ret == 0) {
        ret = build(bs, old, new, &end, b, autoclear);
    }
    if (ret == 0) {
        ret = qcow2_co_replace_header(bs, old, new, end);
    }
    if (ret < 0) {
        return ret;
    }
    s->hdr.backing_file_offset =
        qcow2_be64(new + offsetof(Qcow2DiskHeader, backing_file_offset));
    s->hdr.autoclear_features = autoclear;
    s->hdr.has_bitmaps_ext = b;
    s->hdr.bitmaps = b ? *b : (Qcow2DiskBitmapsExt){ 0 };
    return 0;
}

int coroutine_fn qcow2_co_write_header_bitmaps(BlockDriverState *bs, const Qcow2DiskBitmapsExt *b)
{
    int ret = qcow2_co_header_lock(bs);

    if (ret == 0) {
        ret = write_bitmaps_locked(bs, b);
        qcow2_co_header_unlock(bs);
    }
    return ret;
}
