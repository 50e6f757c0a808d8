/* SPDX-License-Identifier: MIT */
/* See the header: opening, loading, and marking bitmaps as in use. */
#include "qcow2-bitmap.h"

#include "block/block-image.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"

#include "qcow2-overlap.h"

/* Bitmap data that is neither all zeroes nor all ones, in bytes, that one image may bring into RAM. */
#define MAX_LOADED (UINT64_C(1) << 30)

Qcow2Bitmap *qcow2_bitmap_find(BDRVQcow2State *s, const char *name)
{
    for (guint i = 0; i < s->bitmaps->len; i++) {
        Qcow2Bitmap *b = s->bitmaps->pdata[i];

        if (!strcmp(b->name, name)) {
            return b;
        }
    }
    return NULL;
}

/* --- opening --- */

static int read_directory(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2DiskBitmapsExt *ext = &s->hdr.bitmaps;
    int64_t length = bdrv_getlength(bs->file->bs);
    g_autofree uint8_t *dir = NULL;
    GPtrArray *bitmaps;
    int ret = length < 0 ? length : -ENOMEM;

    if (length >= 0 && ext->directory_offset + ext->directory_size > (uint64_t)length) {
        error_setg(errp, "bitmaps_ext: the bitmap directory reaches beyond the end of the file");
        return -EINVAL;
    }
    dir = length < 0 ? NULL : g_try_malloc(ext->directory_size);
    if (dir) {
        ret = bdrv_pread(bs->file, ext->directory_offset, ext->directory_size, dir, 0);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to read bitmap directory");
        return ret;
    }
    bitmaps = qcow2_bitmap_dir_parse(dir, ext->directory_size, ext->nb_bitmaps, s->cluster_bits,
                                     s->size, errp);
    if (!bitmaps) {
        return -EINVAL;
    }
    g_ptr_array_free(s->bitmaps, true);
    s->bitmaps = bitmaps;
    return 0;
}

static void give_to_node(BlockDriverState *bs, const Qcow2Bitmap *b)
{
    BDRVQcow2State *s = bs->opaque;
    BdrvDirtyBitmap *bitmap =
        bdrv_create_dirty_bitmap(bs, 1U << b->granularity_bits, b->name, &error_abort);

    bdrv_dirty_bitmap_set_loaded(bitmap, false);
    bdrv_dirty_bitmap_set_readonly(bitmap, !s->writable);
    if ((b->flags & QCOW2_BITMAP_IN_USE) || qcow2_bitmap_is_foreign(b)) {
        bdrv_dirty_bitmap_set_inconsistent(bitmap);
    }
    if (!(b->flags & QCOW2_BITMAP_AUTO)) {
        bdrv_disable_dirty_bitmap(bitmap);
    }
    bdrv_dirty_bitmap_set_persistence(bitmap, true);
}

static void warn_of_stale_bitmaps(const BDRVQcow2State *s)
{
    if (s->hdr.version < 3) {
        warn_report("This qcow2 v2 image contains bitmaps, but they may have been modified by a"
                    " program without persistent bitmap support; so now they must all be"
                    " considered inconsistent");
        return;
    }
    warn_report("a program lacking bitmap support modified this file, so all bitmaps are now"
                " considered inconsistent");
    error_printf("Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.");
}

int qcow2_bitmaps_open(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Error *err = NULL;
    int ret;

    if (!(s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS)) {
        if (s->hdr.has_bitmaps_ext) {
            warn_of_stale_bitmaps(s);
        }
        return 0;
    }
    ret = read_directory(bs, &err);
    if (ret == -EINVAL && (bs->open_flags & BDRV_O_CHECK)) {
        error_free(err); /* the check says what is wrong */
        return 0;
    }
    error_propagate(errp, err);
    for (guint i = 0; ret == 0 && i < s->bitmaps->len; i++) {
        give_to_node(bs, s->bitmaps->pdata[i]);
    }
    return ret;
}

void qcow2_bitmaps_close(BDRVQcow2State *s)
{
    g_ptr_array_free(s->bitmaps, true);
}

/* --- loading --- */

uint64_t *coroutine_fn qcow2_co_bitmap_read_table(BlockDriverState *bs, const Qcow2Bitmap *b,
                                                  int *ret, Error **errp)
{
    uint64_t bytes = b->table_size * UINT64_C(8);
    int64_t length = bdrv_co_getlength(bs->file->bs);
    g_autofree uint64_t *table = g_try_malloc(bytes);

    if (length >= 0 && b->table_offset + bytes > (uint64_t)length) {
        error_setg(errp, "The table of bitmap '%s' reaches beyond the end of the file", b->name);
        *ret = -EINVAL;
        return NULL;
    }
    *ret = length < 0 ? length
           : table    ? bdrv_co_pread(bs->file, b->table_offset, bytes, table, 0)
                      : -ENOMEM;
    if (*ret < 0) {
        error_setg_errno(errp, -*ret, "Could not read bitmap_table table from image for bitmap '%s'",
                         b->name);
        return NULL;
    }
    for (uint32_t i = 0; i < b->table_size; i++) {
        table[i] = GUINT64_FROM_BE(table[i]);
    }
    return g_steal_pointer(&table);
}

static int coroutine_fn load_cluster(BlockDriverState *bs, BdrvDirtyBitmap *bitmap, uint64_t entry,
                                     uint64_t offset, uint64_t bytes, uint8_t *buf)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host = entry & QCOW2_BITMAP_OFFSET_MASK;
    int64_t length = bdrv_co_getlength(bs->file->bs);
    int ret;

    if (length < 0) {
        return length;
    }
    if ((entry & QCOW2_BITMAP_ENTRY_RESERVED) || qcow2_in_cluster(s, host) ||
        (host && (entry & QCOW2_BITMAP_ENTRY_ONES)) || host >= (uint64_t)length) {
        return -EINVAL;
    }
    if (!host) {
        if (entry & QCOW2_BITMAP_ENTRY_ONES) {
            bdrv_dirty_bitmap_deserialize_ones(bitmap, offset, bytes);
        }
        return 0;
    }
    if (s->bitmap_bytes_loaded >= MAX_LOADED) {
        return -ENOMEM;
    }
    s->bitmap_bytes_loaded += s->cluster_size;
    ret = bdrv_co_pread(bs->file, host, s->cluster_size, buf, 0);
    if (ret == 0) {
        bdrv_dirty_bitmap_deserialize_part(bitmap, buf, offset, bytes);
    }
    return ret;
}

int coroutine_fn qcow2_co_bitmap_load_locked(BlockDriverState *bs, BdrvDirtyBitmap *bitmap,
                                             Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const char *name = bdrv_dirty_bitmap_name(bitmap);
    const Qcow2Bitmap *b = qcow2_bitmap_find(s, name);
    QEMU_AUTO_VFREE uint8_t *buf = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    g_autofree uint64_t *table = NULL;
    uint64_t covers = bdrv_dirty_bitmap_serialization_coverage(s->cluster_size, bitmap);
    uint64_t size = bdrv_dirty_bitmap_size(bitmap);
    int ret;

    if (bdrv_dirty_bitmap_loaded(bitmap)) {
        return 0;
    }
    if (!b || !buf) {
        error_setg(errp, "Could not read bitmap '%s' from image", name);
        return b ? -ENOMEM : -EINVAL;
    }
    table = qcow2_co_bitmap_read_table(bs, b, &ret, errp);
    if (!table) {
        return ret;
    }
    for (uint64_t i = 0, offset = 0; i < b->table_size && offset < size; i++, offset += covers) {
        ret = load_cluster(bs, bitmap, table[i], offset, MIN(covers, size - offset), buf);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not read bitmap '%s' from image", name);
            return ret;
        }
    }
    bdrv_dirty_bitmap_set_loaded(bitmap, true);
    return 0;
}

int coroutine_fn qcow2_co_load_dirty_bitmap(BlockDriverState *bs, BdrvDirtyBitmap *bitmap,
                                            Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->l1_lock);
    ret = qcow2_co_bitmap_load_locked(bs, bitmap, errp);
    qemu_co_mutex_unlock(&s->l1_lock);
    return ret;
}

/* --- marking --- */

/*
 * Contents that make no sense cost the bitmap, not the user's write; those that cannot be read now
 * may be readable later.
 */
static int coroutine_fn load_for_write(BlockDriverState *bs, BdrvDirtyBitmap *bitmap)
{
    Error *err = NULL;
    int ret = qcow2_co_bitmap_load_locked(bs, bitmap, &err);

    if (ret == -EINVAL || ret == -ENOMEM) {
        error_report_err(err);
        bdrv_dirty_bitmap_set_inconsistent(bitmap);
        return 0;
    }
    error_free(err);
    return ret;
}

/* Would what the image says of @b be wrong after a write? */
static bool goes_stale(const Qcow2Bitmap *b, const BdrvDirtyBitmap *bitmap)
{
    return (b->flags & QCOW2_BITMAP_AUTO) ||
           (bitmap && bdrv_dirty_bitmap_enabled(bitmap) && !bdrv_dirty_bitmap_inconsistent(bitmap));
}

static int coroutine_fn write_marks(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2DiskBitmapsExt *ext = &s->hdr.bitmaps;
    QEMU_AUTO_VFREE uint8_t *dir = qemu_try_blockalign(bs->file->bs, ext->directory_size);
    int ret;

    if (!dir) {
        return -ENOMEM;
    }
    g_assert(qcow2_bitmap_dir_size(s->bitmaps) == ext->directory_size);
    qcow2_bitmap_dir_build(s->bitmaps, dir);
    ret = qcow2_co_check_write(bs, QCOW2_META_BITMAPS, ext->directory_offset, ext->directory_size);
    if (ret == 0) {
        ret = bdrv_co_pwrite(bs->file, ext->directory_offset, ext->directory_size, dir, 0);
    }
    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

/* Marks those that go stale, or with @all every one that is not marked yet. */
static int coroutine_fn mark_in_use(BlockDriverState *bs, bool all)
{
    BDRVQcow2State *s = bs->opaque;
    g_autoptr(GPtrArray) now = g_ptr_array_new();
    int ret = 0;

    for (guint i = 0; i < s->bitmaps->len && ret == 0; i++) {
        Qcow2Bitmap *b = s->bitmaps->pdata[i];
        BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(bs, b->name);

        if (!(b->flags & QCOW2_BITMAP_IN_USE) && (all || goes_stale(b, bitmap))) {
            ret = bitmap ? load_for_write(bs, bitmap) : 0;
            g_ptr_array_add(now, b);
        }
    }
    if (ret < 0 || !now->len) {
        return ret;
    }
    for (guint i = 0; i < now->len; i++) {
        Qcow2Bitmap *b = now->pdata[i];

        b->flags |= QCOW2_BITMAP_IN_USE;
        b->marked = true; /* a write that fails may have been done */
    }
    ret = write_marks(bs);
    for (guint i = 0; ret < 0 && i < now->len; i++) {
        ((Qcow2Bitmap *)now->pdata[i])->flags &= ~QCOW2_BITMAP_IN_USE;
    }
    return ret;
}

int coroutine_fn qcow2_co_bitmaps_before_write(BlockDriverState *bs)
{
    return mark_in_use(bs, false);
}

int coroutine_fn qcow2_co_bitmaps_before_resize(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    qemu_co_mutex_lock(&s->l1_lock);
    for (guint i = 0; i < s->bitmaps->len && ret == 0; i++) {
        const Qcow2Bitmap *b = s->bitmaps->pdata[i];
        BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(bs, b->name);

        if (!bitmap) {
            error_setg(errp, "Cannot resize qcow2 with persistent bitmaps that were not loaded"
                       " into memory");
            ret = -ENOTSUP;
        } else if (bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_DEFAULT, errp) < 0) {
            ret = -ENOTSUP;
        }
    }
    if (ret == 0) {
        ret = mark_in_use(bs, true);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Can't update bitmap directory");
        }
    }
    qemu_co_mutex_unlock(&s->l1_lock);
    return ret;
}

void qcow2_dirty_bitmap_toggled(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    /* In this order: see qcow2_co_first_write(). */
    qatomic_inc(&s->bitmap_toggles);
    qatomic_store_release(&s->first_write_done, false);
}

/* --- new ones --- */

bool qcow2_supports_persistent_dirty_bitmap(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->hdr.version >= 3;
}

static bool fits_in_directory(BlockDriverState *bs, const char *name, Error **errp)
{
    uint64_t size = qcow2_bitmap_entry_size(strlen(name), 0);
    unsigned nb = 0;

    for (BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(bs); b; b = bdrv_dirty_bitmap_next(b)) {
        if (bdrv_dirty_bitmap_get_persistence(b)) {
            nb++;
            size += qcow2_bitmap_entry_size(strlen(bdrv_dirty_bitmap_name(b)), 0);
        }
    }
    if (nb >= QCOW2_MAX_BITMAPS) {
        error_setg(errp, "Maximum number of persistent bitmaps is already reached");
        return false;
    }
    if (size > QCOW2_MAX_BITMAP_DIRECTORY) {
        error_setg(errp, "Not enough space in the bitmap directory");
        return false;
    }
    return true;
}

bool qcow2_can_store_new_dirty_bitmap(BlockDriverState *bs, const char *name,
                                      uint32_t granularity, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Error *err = NULL;

    if (bdrv_find_dirty_bitmap(bs, name)) {
        error_setg(errp, "Bitmap already exists: %s", name);
        return false;
    }
    if (s->hdr.version < 3) {
        error_setg(&err, "Cannot store dirty bitmaps in qcow2 v2 files");
    } else if (qcow2_bitmap_check(name, s->size, ctz32(granularity), s->cluster_bits, &err) &&
               fits_in_directory(bs, name, &err)) {
        return true;
    }
    error_propagate_prepend(errp, err, "Can't make bitmap '%s' persistent in '%s': ", name,
                            bdrv_get_node_name(bs));
    return false;
}
