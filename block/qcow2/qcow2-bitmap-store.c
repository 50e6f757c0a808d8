/* SPDX-License-Identifier: MIT */
/* Bitmaps from RAM to the disk, and off it. See qcow2-bitmap.h for the order. */
#include "qcow2-bitmap.h"

#include "qemu/error-report.h"
#include "qemu/host-utils.h"

#include "qcow2-header-rewrite.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-writeback.h"

typedef struct Run {
    uint64_t offset, clusters;
} Run;

typedef struct Store {
    BlockDriverState *bs;
    GPtrArray *bitmaps; /* of Qcow2Bitmap: the new directory */
    GArray *taken;      /* of Run: what the new state needs */
    GArray *left;       /* of Run: what the old one needed */
    GPtrArray *stored;  /* of BdrvDirtyBitmap */
} Store;

static void store_init(Store *st, BlockDriverState *bs)
{
    *st = (Store){ .bs = bs,
                   .bitmaps = g_ptr_array_new_with_free_func(qcow2_bitmap_free),
                   .taken = g_array_new(false, false, sizeof(Run)),
                   .left = g_array_new(false, false, sizeof(Run)),
                   .stored = g_ptr_array_new() };
}

static void store_destroy(Store *st)
{
    if (st->bitmaps) {
        g_ptr_array_free(st->bitmaps, true);
    }
    g_array_free(st->taken, true);
    g_array_free(st->left, true);
    g_ptr_array_free(st->stored, true);
}

/* --- new places --- */

static int coroutine_fn take(Store *st, uint64_t bytes, uint64_t *offset)
{
    BDRVQcow2State *s = st->bs->opaque;
    Run run = { .clusters = DIV_ROUND_UP(bytes, s->cluster_size) };
    bool fresh;
    int64_t got = qcow2_co_alloc_clusters(st->bs, run.clusters, true, &run.offset, &fresh);

    if (got < 0) {
        return got;
    }
    g_array_append_val(st->taken, run);
    *offset = run.offset;
    return 0;
}

static int coroutine_fn write_new(Store *st, uint64_t offset, const void *buf, uint64_t bytes)
{
    int ret = qcow2_co_check_write(st->bs, QCOW2_META_NONE, offset, bytes);

    return ret < 0 ? ret : bdrv_co_pwrite(st->bs->file, offset, bytes, buf, 0);
}

/* One entry of the table, with its data if it needs any. */
static int coroutine_fn store_cluster(Store *st, BdrvDirtyBitmap *bitmap, uint64_t offset,
                                      uint64_t bytes, bool whole, uint8_t *buf, uint64_t *entry)
{
    BDRVQcow2State *s = st->bs->opaque;
    int ret;

    *entry = 0;
    if (bdrv_dirty_bitmap_next_dirty(bitmap, offset, bytes) < 0) {
        return 0;
    }
    if (whole && bdrv_dirty_bitmap_next_zero(bitmap, offset, bytes) < 0) {
        *entry = QCOW2_BITMAP_ENTRY_ONES;
        return 0;
    }
    memset(buf, 0, s->cluster_size);
    bdrv_dirty_bitmap_serialize_part(bitmap, buf, offset, bytes);
    ret = take(st, s->cluster_size, entry);
    return ret < 0 ? ret : write_new(st, *entry, buf, s->cluster_size);
}

static int coroutine_fn store_contents(Store *st, BdrvDirtyBitmap *bitmap, Qcow2Bitmap *b)
{
    BDRVQcow2State *s = st->bs->opaque;
    uint64_t covers = bdrv_dirty_bitmap_serialization_coverage(s->cluster_size, bitmap);
    uint64_t size = bdrv_dirty_bitmap_size(bitmap), offset = 0;
    QEMU_AUTO_VFREE uint8_t *buf = qemu_try_blockalign(st->bs->file->bs, s->cluster_size);
    QEMU_AUTO_VFREE uint64_t *table = NULL;
    int ret = 0;

    b->table_size = qcow2_bitmap_table_size(size, b->granularity_bits, s->cluster_bits);
    table = qemu_try_blockalign(st->bs->file->bs, b->table_size * UINT64_C(8));
    if (!buf || !table) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < b->table_size && ret == 0; i++, offset += covers) {
        uint64_t entry;

        ret = store_cluster(st, bitmap, offset, MIN(covers, size - offset),
                            covers <= size - offset, buf, &entry);
        table[i] = GUINT64_TO_BE(entry);
    }
    if (ret == 0) {
        ret = take(st, b->table_size * UINT64_C(8), &b->table_offset);
    }
    return ret < 0 ? ret
                   : write_new(st, b->table_offset, table, b->table_size * UINT64_C(8));
}

/* --- old places --- */

static void leave(Store *st, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = st->bs->opaque;
    Run run = { offset, DIV_ROUND_UP(bytes, s->cluster_size) };

    g_array_append_val(st->left, run);
}

/* What cannot be read is leaked. */
static void coroutine_fn leave_bitmap(Store *st, const Qcow2Bitmap *b)
{
    BDRVQcow2State *s = st->bs->opaque;
    g_autofree uint64_t *table = NULL;
    int ret;

    table = qcow2_co_bitmap_read_table(st->bs, b, &ret, NULL);
    if (!table) {
        return;
    }
    for (uint32_t i = 0; i < b->table_size; i++) {
        uint64_t host = table[i] & QCOW2_BITMAP_OFFSET_MASK;

        if (host && !qcow2_in_cluster(s, host)) {
            leave(st, host, s->cluster_size);
        }
    }
    leave(st, b->table_offset, b->table_size * UINT64_C(8));
}

/* A damaged table may name clusters that are free, or that hold other metadata. */
static void coroutine_fn free_left(Store *st)
{
    BDRVQcow2State *s = st->bs->opaque;

    for (guint i = 0; i < st->left->len; i++) {
        Run run = g_array_index(st->left, Run, i);

        for (uint64_t c = run.offset >> s->cluster_bits; run.clusters--; c++) {
            uint64_t refcount = 0;
            int ret;

            qemu_co_mutex_lock(&s->alloc_lock);
            ret = qcow2_get_refcount(st->bs, c, &refcount);
            qemu_co_mutex_unlock(&s->alloc_lock);
            if (ret == 0 && refcount && qcow2_map_get(s, c << s->cluster_bits) == QCOW2_META_NONE) {
                qcow2_co_unalloc(st->bs, c << s->cluster_bits, 1);
            }
        }
    }
}

/* --- the directory --- */

static int coroutine_fn write_directory(Store *st, Qcow2DiskBitmapsExt *ext)
{
    QEMU_AUTO_VFREE uint8_t *dir = NULL;
    uint64_t directory_offset = 0;
    int ret;

    ext->nb_bitmaps = st->bitmaps->len;
    ext->directory_size = qcow2_bitmap_dir_size(st->bitmaps);
    if (ext->nb_bitmaps > QCOW2_MAX_BITMAPS || ext->directory_size > QCOW2_MAX_BITMAP_DIRECTORY) {
        return -EFBIG;
    }
    dir = qemu_try_blockalign(st->bs->file->bs, ext->directory_size);
    ret = dir ? take(st, ext->directory_size, &directory_offset) : -ENOMEM;
    if (ret < 0) {
        return ret;
    }
    ext->directory_offset = directory_offset;
    qcow2_bitmap_dir_build(st->bitmaps, dir);
    return write_new(st, ext->directory_offset, dir, ext->directory_size);
}

/*
 * Under wb_lock and l1_lock: makes the new directory the one that counts. Everything it refers to is
 * written; with its refcounts that has to be durable first, and so has the guest's data: what a
 * bitmap calls clean must not go back to what it was before.
 */
static int coroutine_fn commit(Store *st)
{
    BDRVQcow2State *s = st->bs->opaque;
    Qcow2DiskBitmapsExt ext = { 0 }, old = s->hdr.bitmaps;
    bool had = s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS, any = st->bitmaps->len;
    int ret = any ? write_directory(st, &ext) : 0;

    if (ret == 0) {
        ret = qcow2_co_writeback_locked(st->bs);
    }
    if (ret == 0) {
        ret = qcow2_co_flush_files(st->bs);
    }
    if (ret == 0) {
        ret = qcow2_co_write_header_bitmaps(st->bs, any ? &ext : NULL);
    }
    if (ret < 0) {
        return ret;
    }
    if (had) {
        qcow2_map_remove(s, QCOW2_META_BITMAPS, old.directory_offset, old.directory_size);
        leave(st, old.directory_offset, old.directory_size);
    }
    if (any) {
        qcow2_map_add(s, QCOW2_META_BITMAPS, ext.directory_offset, ext.directory_size);
    }
    g_ptr_array_free(s->bitmaps, true);
    s->bitmaps = g_steal_pointer(&st->bitmaps);
    free_left(st);
    for (guint i = 0; i < st->stored->len; i++) {
        bdrv_dirty_bitmap_set_stored(st->stored->pdata[i]);
    }
    /* What is enabled has to be marked again before the next write. */
    qcow2_dirty_bitmap_toggled(st->bs);
    return 0;
}

/* Nothing refers to the new places, unless it is not known what the header says. */
static void coroutine_fn give_up(Store *st)
{
    BDRVQcow2State *s = st->bs->opaque;

    for (guint i = 0; i < st->taken->len && !qatomic_read(&s->corrupt); i++) {
        const Run *run = &g_array_index(st->taken, Run, i);

        qcow2_co_unalloc(st->bs, run->offset, run->clusters);
    }
}

/* --- storing --- */

static uint32_t flags_of(const BdrvDirtyBitmap *bitmap, uint32_t old)
{
    return (old & QCOW2_BITMAP_EXTRA_COMPATIBLE) |
           (bdrv_dirty_bitmap_enabled(bitmap) ? QCOW2_BITMAP_AUTO : 0);
}

/* The directory as it has to become, without the contents of @*again (by index): those changed. */
static bool plan(Store *st, GArray *again)
{
    BDRVQcow2State *s = st->bs->opaque;
    bool differs = false;

    for (guint i = 0; i < s->bitmaps->len; i++) {
        Qcow2Bitmap *b = qcow2_bitmap_copy(s->bitmaps->pdata[i]);
        BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(st->bs, b->name);

        g_ptr_array_add(st->bitmaps, b);
        if (!bitmap || !bdrv_dirty_bitmap_to_be_stored(bitmap)) {
            continue;
        }
        if (b->marked || bdrv_dirty_bitmap_changed(bitmap)) {
            g_array_append_val(again, i);
        }
        differs |= b->marked || b->flags != flags_of(bitmap, b->flags) ||
                   bdrv_dirty_bitmap_changed(bitmap);
        b->flags = flags_of(bitmap, b->flags);
        b->marked = false;
    }
    for (BdrvDirtyBitmap *d = bdrv_dirty_bitmap_first(st->bs); d; d = bdrv_dirty_bitmap_next(d)) {
        const char *name = bdrv_dirty_bitmap_name(d);

        if (bdrv_dirty_bitmap_to_be_stored(d) && !qcow2_bitmap_find(s, name)) {
            Qcow2Bitmap *b = g_new0(Qcow2Bitmap, 1);
            guint i = st->bitmaps->len;

            b->name = g_strdup(name);
            b->granularity_bits = ctz32(bdrv_dirty_bitmap_granularity(d));
            b->flags = flags_of(d, 0);
            g_ptr_array_add(st->bitmaps, b);
            g_array_append_val(again, i);
            differs = true;
        }
    }
    return differs;
}

static int coroutine_fn store_one(Store *st, Qcow2Bitmap *b, Error **errp)
{
    BDRVQcow2State *s = st->bs->opaque;
    BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(st->bs, b->name);
    const Qcow2Bitmap *old = qcow2_bitmap_find(s, b->name);
    int ret;

    if (!qcow2_bitmap_check(b->name, bdrv_dirty_bitmap_size(bitmap), b->granularity_bits,
                            s->cluster_bits, errp)) {
        error_prepend(errp, "Bitmap '%s' doesn't satisfy the constraints: ", b->name);
        return -EINVAL;
    }
    if (old) {
        leave_bitmap(st, old);
    }
    g_ptr_array_add(st->stored, bitmap);
    ret = qcow2_co_bitmap_load_locked(st->bs, bitmap, errp);
    if (ret < 0) {
        return ret;
    }
    ret = store_contents(st, bitmap, b);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to write bitmap '%s' to file", b->name);
    }
    return ret;
}

static int coroutine_fn store_locked(BlockDriverState *bs, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(GArray) again = g_array_new(false, false, sizeof(guint));
    Store st;
    int ret = 0;

    store_init(&st, bs);
    if (plan(&st, again)) {
        for (guint i = again->len; i-- > 0 && ret == 0;) {
            ret = store_one(&st, st.bitmaps->pdata[g_array_index(again, guint, i)], errp);
        }
        if (ret == 0) {
            ret = commit(&st);
        }
        if (ret < 0) {
            give_up(&st);
            if (!*errp) {
                error_setg_errno(errp, -ret, "Failed to update bitmap extension");
            }
        }
    }
    store_destroy(&st);
    return ret;
}

/* Bitmaps whose contents are not in RAM have not changed; one that was grown in RAM is loaded. */
int coroutine_fn qcow2_co_store_dirty_bitmaps(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!s->writable || qatomic_read(&s->corrupt)) {
        return 0;
    }
    qemu_co_mutex_lock(&s->wb_lock);
    qemu_co_mutex_lock(&s->l1_lock);
    ret = store_locked(bs, errp);
    s->close_told |= ret < 0;
    qemu_co_mutex_unlock(&s->l1_lock);
    qemu_co_mutex_unlock(&s->wb_lock);
    return ret;
}

static int coroutine_fn remove_locked(BlockDriverState *bs, const char *name, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Bitmap *old = qcow2_bitmap_find(s, name);
    Store st;
    int ret;

    if (!old) {
        return 0;
    }
    store_init(&st, bs);
    for (guint i = 0; i < s->bitmaps->len; i++) {
        if (s->bitmaps->pdata[i] != old) {
            g_ptr_array_add(st.bitmaps, qcow2_bitmap_copy(s->bitmaps->pdata[i]));
        }
    }
    leave_bitmap(&st, old);
    ret = commit(&st);
    if (ret < 0) {
        give_up(&st);
        error_setg_errno(errp, -ret, "Failed to update bitmap extension");
    }
    store_destroy(&st);
    return ret;
}

int coroutine_fn qcow2_co_remove_persistent_dirty_bitmap(BlockDriverState *bs, const char *name,
                                                         Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!s->writable || qatomic_read(&s->corrupt)) {
        error_setg(errp, "Failed to update bitmap extension: the image cannot be written to");
        return -EACCES;
    }
    qemu_co_mutex_lock(&s->wb_lock);
    qemu_co_mutex_lock(&s->l1_lock);
    ret = remove_locked(bs, name, errp);
    qemu_co_mutex_unlock(&s->l1_lock);
    qemu_co_mutex_unlock(&s->wb_lock);
    return ret;
}
