/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps of nodes. See include/block/dirty-bitmap.h; where the bits are kept is in
 * sparse-bits.h, how a format stores bitmaps is the format's.
 *
 * A node's dirty_lock protects its list of bitmaps, their contents and their flags; a leaf lock,
 * never held over a yield. nb_recording, the number of bitmaps that record, is what a write looks
 * at: without any it does nothing more.
 *
 * A bit may be set without need, never the other way round: contents that are loaded late are
 * added to what has been recorded meanwhile.
 */
#include "block/dirty-bitmap.h"

#include "node.h"
#include "sparse-bits.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"

struct BdrvDirtyBitmap {
    BlockDriverState *bs;
    char *name;
    unsigned shift;  /* log2 of the granularity */
    int64_t size;    /* bytes of the disk */
    bool disabled, readonly, busy, persistent, inconsistent, skip_store;
    bool unloaded;   /* atomic; the contents are still in the image */
    bool changed;
    SparseBits bits;
    QLIST_ENTRY(BdrvDirtyBitmap) list;
};

static void lock(const BdrvDirtyBitmap *b)
{
    qemu_mutex_lock(&b->bs->core->dirty_lock);
}

static void unlock(const BdrvDirtyBitmap *b)
{
    qemu_mutex_unlock(&b->bs->core->dirty_lock);
}

static int64_t bits_for(const BdrvDirtyBitmap *b, int64_t size)
{
    return (size >> b->shift) + !!(size & ((INT64_C(1) << b->shift) - 1));
}

static bool records(const BdrvDirtyBitmap *b)
{
    return !b->disabled && !b->inconsistent && !b->readonly;
}

/* Under the lock: after a change of what records() looks at. */
static void recount(BlockDriverState *bs)
{
    BdrvDirtyBitmap *b;
    unsigned n = 0;

    QLIST_FOREACH (b, &bs->core->dirty_bitmaps, list) {
        n += records(b);
    }
    qatomic_set(&bs->core->nb_recording, n);
}

/* --- bitmaps of a node --- */

BdrvDirtyBitmap *bdrv_find_dirty_bitmap(BlockDriverState *bs, const char *name)
{
    BdrvDirtyBitmap *b;

    qemu_mutex_lock(&bs->core->dirty_lock);
    QLIST_FOREACH (b, &bs->core->dirty_bitmaps, list) {
        if (b->name && !strcmp(b->name, name)) {
            break;
        }
    }
    qemu_mutex_unlock(&bs->core->dirty_lock);
    return b;
}

BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity,
                                          const char *name, Error **errp)
{
    BdrvDirtyBitmap *b;

    g_assert(is_power_of_2(granularity) && granularity >= BDRV_SECTOR_SIZE);
    if (name && bdrv_find_dirty_bitmap(bs, name)) {
        error_setg(errp, "Bitmap already exists: %s", name);
        return NULL;
    }
    if (name && strlen(name) > BDRV_BITMAP_MAX_NAME_SIZE) {
        error_setg(errp, "Bitmap name too long: %s", name);
        return NULL;
    }
    b = g_new0(BdrvDirtyBitmap, 1);
    b->bs = bs;
    b->name = g_strdup(name);
    b->shift = ctz32(granularity);
    b->size = qatomic_read(&bs->core->length);
    sparse_bits_init(&b->bits, bits_for(b, b->size));
    lock(b);
    QLIST_INSERT_HEAD(&bs->core->dirty_bitmaps, b, list);
    recount(bs);
    unlock(b);
    return b;
}

BdrvDirtyBitmap *bdrv_dirty_bitmap_first(BlockDriverState *bs)
{
    return QLIST_FIRST(&bs->core->dirty_bitmaps);
}

BdrvDirtyBitmap *bdrv_dirty_bitmap_next(BdrvDirtyBitmap *bitmap)
{
    return QLIST_NEXT(bitmap, list);
}

bool bdrv_has_named_bitmaps(BlockDriverState *bs)
{
    BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(bs);

    while (b && !b->name) {
        b = bdrv_dirty_bitmap_next(b);
    }
    return b;
}

void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    lock(bitmap);
    QLIST_REMOVE(bitmap, list);
    recount(bitmap->bs);
    unlock(bitmap);
    sparse_bits_destroy(&bitmap->bits);
    g_free(bitmap->name);
    g_free(bitmap);
}

void bdrv_release_all_dirty_bitmaps(BlockDriverState *bs)
{
    while (bdrv_dirty_bitmap_first(bs)) {
        bdrv_release_dirty_bitmap(bdrv_dirty_bitmap_first(bs));
    }
}

uint32_t bdrv_get_default_bitmap_granularity(BlockDriverState *bs)
{
    BlockDriverInfo bdi = { 0 };

    if (bdrv_get_info(bs, &bdi) < 0 || bdi.cluster_size <= 0) {
        return 65536;
    }
    return MIN(MAX(bdi.cluster_size, 4096), 65536);
}

/* --- flags --- */

int bdrv_dirty_bitmap_check(const BdrvDirtyBitmap *bitmap, uint32_t flags, Error **errp)
{
    ERRP_GUARD();

    if ((flags & BDRV_BITMAP_BUSY) && bitmap->busy) {
        error_setg(errp, "Bitmap '%s' is currently in use by another operation and cannot be used",
                   bitmap->name);
        return -1;
    }
    if ((flags & BDRV_BITMAP_RO) && bitmap->readonly) {
        error_setg(errp, "Bitmap '%s' is readonly and cannot be modified", bitmap->name);
        return -1;
    }
    if ((flags & BDRV_BITMAP_INCONSISTENT) && bitmap->inconsistent) {
        error_setg(errp, "Bitmap '%s' is inconsistent and cannot be used", bitmap->name);
        error_append_hint(errp, "Try block-dirty-bitmap-remove to delete this bitmap from disk\n");
        return -1;
    }
    return 0;
}

static void set_flag(BdrvDirtyBitmap *bitmap, bool *flag, bool value)
{
    lock(bitmap);
    qatomic_set(flag, value); /* other threads may ask without the lock */
    recount(bitmap->bs);
    unlock(bitmap);
}

/* What the image says of this bitmap has to change before the next write. */
static void tell_driver(BdrvDirtyBitmap *bitmap)
{
    BlockDriverState *bs = bitmap->bs;

    if (bitmap->persistent && bs->drv->bdrv_dirty_bitmap_toggled) {
        bs->drv->bdrv_dirty_bitmap_toggled(bs);
    }
}

void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    set_flag(bitmap, &bitmap->disabled, false);
    tell_driver(bitmap);
}

void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    set_flag(bitmap, &bitmap->disabled, true);
    tell_driver(bitmap);
}

bool bdrv_dirty_bitmap_enabled(const BdrvDirtyBitmap *bitmap)
{
    return !qatomic_read(&bitmap->disabled);
}

void bdrv_dirty_bitmap_set_readonly(BdrvDirtyBitmap *bitmap, bool value)
{
    set_flag(bitmap, &bitmap->readonly, value);
}

bool bdrv_dirty_bitmap_readonly(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->readonly;
}

bool bdrv_has_readonly_bitmaps(BlockDriverState *bs)
{
    BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(bs);

    while (b && !b->readonly) {
        b = bdrv_dirty_bitmap_next(b);
    }
    return b;
}

void bdrv_dirty_bitmap_set_persistence(BdrvDirtyBitmap *bitmap, bool persistent)
{
    set_flag(bitmap, &bitmap->persistent, persistent);
    tell_driver(bitmap);
}

bool bdrv_dirty_bitmap_get_persistence(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->persistent;
}

void bdrv_dirty_bitmap_set_inconsistent(BdrvDirtyBitmap *bitmap)
{
    set_flag(bitmap, &bitmap->inconsistent, true);
}

bool bdrv_dirty_bitmap_inconsistent(const BdrvDirtyBitmap *bitmap)
{
    return qatomic_read(&bitmap->inconsistent);
}

void bdrv_dirty_bitmap_set_busy(BdrvDirtyBitmap *bitmap, bool busy)
{
    set_flag(bitmap, &bitmap->busy, busy);
}

bool bdrv_dirty_bitmap_busy(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->busy;
}

void bdrv_dirty_bitmap_skip_store(BdrvDirtyBitmap *bitmap, bool skip)
{
    set_flag(bitmap, &bitmap->skip_store, skip);
}

const char *bdrv_dirty_bitmap_name(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->name;
}

uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap)
{
    return 1U << bitmap->shift;
}

int64_t bdrv_dirty_bitmap_size(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->size;
}

/* --- contents --- */

/* Under the lock. The range is cut off at the end of the disk. */
static void fill(BdrvDirtyBitmap *b, int64_t offset, int64_t bytes, bool value)
{
    int64_t end = bytes > b->size - offset ? b->size : offset + bytes;

    if (offset < end) {
        int64_t first = offset >> b->shift;

        sparse_bits_fill(&b->bits, first, bits_for(b, end) - first, value);
        b->changed = true;
    }
}

/* For who looks at the contents: an error makes the bitmap useless. */
static void need_contents(BdrvDirtyBitmap *b)
{
    Error *err = NULL;

    if (unlikely(qatomic_read(&b->unloaded)) && bdrv_dirty_bitmap_load(b, &err) < 0) {
        error_report_err(err);
        lock(b);
        b->inconsistent = true;
        sparse_bits_fill(&b->bits, 0, b->bits.size, true);
        recount(b->bs);
        qatomic_set(&b->unloaded, false);
        unlock(b);
    }
}

bool bdrv_dirty_bitmap_get(BdrvDirtyBitmap *bitmap, int64_t offset)
{
    bool dirty;

    need_contents(bitmap);
    lock(bitmap);
    dirty = offset < bitmap->size && sparse_bits_get(&bitmap->bits, offset >> bitmap->shift);
    unlock(bitmap);
    return dirty;
}

int64_t bdrv_get_dirty_count(BdrvDirtyBitmap *bitmap)
{
    int64_t count;

    need_contents(bitmap);
    lock(bitmap);
    count = bitmap->bits.count << bitmap->shift;
    unlock(bitmap);
    return count;
}

void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    g_assert(!bitmap->readonly && offset >= 0 && bytes >= 0);
    need_contents(bitmap);
    lock(bitmap);
    fill(bitmap, offset, bytes, true);
    unlock(bitmap);
}

void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    int64_t mask = (INT64_C(1) << bitmap->shift) - 1;

    g_assert(!bitmap->readonly && offset >= 0 && bytes >= 0 && !(offset & mask));
    need_contents(bitmap);
    lock(bitmap);
    g_assert(!(bytes & mask) || bytes >= bitmap->size - offset);
    fill(bitmap, offset, bytes, false);
    unlock(bitmap);
}

void bdrv_clear_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    g_assert(!bitmap->readonly);
    lock(bitmap);
    sparse_bits_fill(&bitmap->bits, 0, bitmap->bits.size, false);
    bitmap->changed = true;
    qatomic_set(&bitmap->unloaded, false);
    unlock(bitmap);
}

/* Under the lock: the first offset from @offset on that is @dirty, @end if there is none before. */
static int64_t next_offset(const BdrvDirtyBitmap *b, int64_t offset, int64_t end, bool dirty)
{
    int64_t bit, at;

    end = MIN(end, b->size);
    if (offset >= end) {
        return end;
    }
    bit = sparse_bits_next(&b->bits, offset >> b->shift, dirty);
    at = bit == b->bits.size ? end : bit << b->shift;
    return MIN(MAX(at, offset), end);
}

static int64_t range_end(int64_t offset, int64_t bytes)
{
    return bytes > INT64_MAX - offset ? INT64_MAX : offset + bytes;
}

static int64_t next(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes, bool dirty)
{
    int64_t end = range_end(offset, bytes), found;

    g_assert(offset >= 0 && bytes >= 0);
    need_contents(bitmap);
    lock(bitmap);
    end = MIN(end, bitmap->size);
    found = next_offset(bitmap, offset, end, dirty);
    unlock(bitmap);
    return found < end ? found : -1;
}

int64_t bdrv_dirty_bitmap_next_dirty(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    return next(bitmap, offset, bytes, true);
}

int64_t bdrv_dirty_bitmap_next_zero(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    return next(bitmap, offset, bytes, false);
}

bool bdrv_dirty_bitmap_next_dirty_area(BdrvDirtyBitmap *bitmap, int64_t start, int64_t end,
                                       int64_t max_dirty_count, int64_t *dirty_start,
                                       int64_t *dirty_count)
{
    int64_t from, to;

    g_assert(start >= 0 && end >= 0 && max_dirty_count > 0);
    need_contents(bitmap);
    lock(bitmap);
    end = MIN(end, bitmap->size);
    from = next_offset(bitmap, start, end, true);
    to = next_offset(bitmap, from, MIN(end, range_end(from, max_dirty_count)), false);
    unlock(bitmap);
    if (start >= end || from >= end) {
        return false;
    }
    *dirty_start = from;
    *dirty_count = to - from;
    return true;
}

bool bdrv_dirty_bitmap_status(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes,
                              int64_t *count)
{
    int64_t end;
    bool dirty;

    g_assert(offset >= 0 && bytes > 0 && offset < bitmap->size);
    need_contents(bitmap);
    lock(bitmap);
    end = MIN(range_end(offset, bytes), bitmap->size);
    dirty = sparse_bits_get(&bitmap->bits, offset >> bitmap->shift);
    *count = next_offset(bitmap, offset, end, !dirty) - offset;
    unlock(bitmap);
    return dirty;
}

/* Under both locks. */
static void add_all(BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src)
{
    int64_t from, to = 0;

    while ((from = next_offset(src, to, src->size, true)) < src->size) {
        to = next_offset(src, from, src->size, false);
        fill(dest, from, to - from, true);
    }
}

bool bdrv_merge_dirty_bitmap(BdrvDirtyBitmap *dest, BdrvDirtyBitmap *src, Error **errp)
{
    const BdrvDirtyBitmap *first = dest->bs < src->bs ? dest : src;
    const BdrvDirtyBitmap *second = first == dest ? src : dest;

    if (bdrv_dirty_bitmap_check(dest, BDRV_BITMAP_DEFAULT, errp) < 0 ||
        bdrv_dirty_bitmap_check(src, BDRV_BITMAP_ALLOW_RO, errp) < 0) {
        return false;
    }
    if (dest->size != src->size) {
        error_setg(errp, "Bitmaps are of different sizes (destination size is %" PRId64
                   ", source size is %" PRId64 ") and can't be merged", dest->size, src->size);
        return false;
    }
    if (bdrv_dirty_bitmap_load(dest, errp) < 0 || bdrv_dirty_bitmap_load(src, errp) < 0) {
        return false;
    }
    if (dest == src) {
        return true;
    }
    /* The order of addresses: two merges in opposite directions do not wait for each other. */
    lock(first);
    if (first->bs != second->bs) {
        lock(second);
    }
    add_all(dest, src);
    if (first->bs != second->bs) {
        unlock(second);
    }
    unlock(first);
    return true;
}

/* --- walking --- */

struct BdrvDirtyBitmapIter {
    BdrvDirtyBitmap *bitmap;
    int64_t offset; /* of the next bit to look at */
};

BdrvDirtyBitmapIter *bdrv_dirty_iter_new(BdrvDirtyBitmap *bitmap)
{
    BdrvDirtyBitmapIter *iter = g_new0(BdrvDirtyBitmapIter, 1);

    iter->bitmap = bitmap;
    return iter;
}

int64_t bdrv_dirty_iter_next(BdrvDirtyBitmapIter *iter)
{
    int64_t found = iter->offset < 0
                        ? -1
                        : bdrv_dirty_bitmap_next_dirty(iter->bitmap, iter->offset, INT64_MAX);
    int64_t granularity = INT64_C(1) << iter->bitmap->shift;

    iter->offset = found < 0 || found > INT64_MAX - granularity ? -1 : found + granularity;
    return found;
}

void bdrv_dirty_iter_free(BdrvDirtyBitmapIter *iter)
{
    g_free(iter);
}

/* --- as bytes --- */

uint64_t bdrv_dirty_bitmap_serialization_align(const BdrvDirtyBitmap *bitmap)
{
    return UINT64_C(64) << bitmap->shift;
}

uint64_t bdrv_dirty_bitmap_serialization_size(const BdrvDirtyBitmap *bitmap, uint64_t offset,
                                              uint64_t bytes)
{
    return DIV_ROUND_UP((uint64_t)bits_for(bitmap, bytes), 8);
}

int64_t bdrv_dirty_bitmap_serialization_coverage(int serialized_chunk_size,
                                                 const BdrvDirtyBitmap *bitmap)
{
    return ((int64_t)serialized_chunk_size * 8) << bitmap->shift;
}

void bdrv_dirty_bitmap_serialize_part(const BdrvDirtyBitmap *bitmap, uint8_t *buf,
                                      uint64_t offset, uint64_t bytes)
{
    lock(bitmap);
    sparse_bits_to_bytes(&bitmap->bits, offset >> bitmap->shift, buf,
                         bdrv_dirty_bitmap_serialization_size(bitmap, offset, bytes));
    unlock(bitmap);
}

void bdrv_dirty_bitmap_deserialize_part(BdrvDirtyBitmap *bitmap, const uint8_t *buf,
                                        uint64_t offset, uint64_t bytes)
{
    lock(bitmap);
    sparse_bits_or(&bitmap->bits, offset >> bitmap->shift, buf,
                   bdrv_dirty_bitmap_serialization_size(bitmap, offset, bytes));
    unlock(bitmap);
}

void bdrv_dirty_bitmap_deserialize_ones(BdrvDirtyBitmap *bitmap, uint64_t offset,
                                        uint64_t bytes)
{
    bool changed;

    lock(bitmap);
    changed = bitmap->changed;
    fill(bitmap, offset, bytes, true);
    bitmap->changed = changed;
    unlock(bitmap);
}

/* --- persistent bitmaps --- */

typedef struct BitmapCall {
    CoCall call;
    BlockDriverState *bs;
    BdrvDirtyBitmap *bitmap;
    const char *name;
    Error **errp;
} BitmapCall;

static void coroutine_fn call_load(CoCall *c)
{
    BitmapCall *bc = container_of(c, BitmapCall, call);

    c->ret = bc->bs->drv->bdrv_co_load_dirty_bitmap(bc->bs, bc->bitmap, bc->errp);
}

static void coroutine_fn call_remove(CoCall *c)
{
    BitmapCall *bc = container_of(c, BitmapCall, call);

    c->ret = bc->bs->drv->bdrv_co_remove_persistent_dirty_bitmap(bc->bs, bc->name, bc->errp);
}

static void coroutine_fn call_store(CoCall *c)
{
    BitmapCall *bc = container_of(c, BitmapCall, call);

    c->ret = bc->bs->drv->bdrv_co_store_dirty_bitmaps(bc->bs, bc->errp);
}

/* Formats rewrite tables and headers then, which other requests change as well. */
static int call_drained(BitmapCall *bc, void coroutine_fn (*fn)(CoCall *call))
{
    int ret;

    bc->call.fn = fn;
    bdrv_drained_begin(bc->bs);
    ret = co_call(&bc->call);
    bdrv_drained_end(bc->bs);
    return ret;
}

int bdrv_dirty_bitmap_load(BdrvDirtyBitmap *bitmap, Error **errp)
{
    ERRP_GUARD();
    BitmapCall bc = { .call.fn = call_load, .bs = bitmap->bs, .bitmap = bitmap, .errp = errp };
    int ret;

    if (!qatomic_load_acquire(&bitmap->unloaded)) {
        return 0;
    }
    ret = co_call(&bc.call);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not read bitmap '%s' from image", bitmap->name);
    }
    return ret;
}

bool bdrv_supports_persistent_dirty_bitmap(BlockDriverState *bs)
{
    const BlockDriver *drv = bs->drv;

    return drv->bdrv_supports_persistent_dirty_bitmap &&
           drv->bdrv_supports_persistent_dirty_bitmap(bs);
}

bool bdrv_can_store_new_dirty_bitmap(BlockDriverState *bs, const char *name, uint32_t granularity,
                                     Error **errp)
{
    if (!bs->drv->bdrv_can_store_new_dirty_bitmap) {
        error_setg_errno(errp, ENOTSUP, "Can't store persistent bitmaps to %s",
                         bs->core->node_name);
        return false;
    }
    return bs->drv->bdrv_can_store_new_dirty_bitmap(bs, name, granularity, errp);
}

int bdrv_remove_persistent_dirty_bitmap(BlockDriverState *bs, const char *name, Error **errp)
{
    ERRP_GUARD();
    BitmapCall bc = { .bs = bs, .name = name, .errp = errp };
    int ret;

    if (!bs->drv->bdrv_co_remove_persistent_dirty_bitmap) {
        return 0;
    }
    ret = call_drained(&bc, call_remove);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not remove bitmap '%s'", name);
    }
    return ret;
}

int bdrv_store_dirty_bitmaps(BlockDriverState *bs, Error **errp)
{
    ERRP_GUARD();
    BitmapCall bc = { .bs = bs, .errp = errp };
    int ret;

    if (!bs->drv->bdrv_co_store_dirty_bitmaps || bs->read_only) {
        return 0;
    }
    ret = call_drained(&bc, call_store);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not store bitmaps");
    }
    return ret;
}

void bdrv_dirty_bitmap_set_loaded(BdrvDirtyBitmap *bitmap, bool loaded)
{
    qatomic_store_release(&bitmap->unloaded, !loaded);
}

bool bdrv_dirty_bitmap_loaded(const BdrvDirtyBitmap *bitmap)
{
    return !qatomic_read(&bitmap->unloaded);
}

bool bdrv_dirty_bitmap_changed(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->changed;
}

void bdrv_dirty_bitmap_set_stored(BdrvDirtyBitmap *bitmap)
{
    set_flag(bitmap, &bitmap->changed, false);
}

bool bdrv_dirty_bitmap_to_be_stored(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->persistent && !bitmap->inconsistent && !bitmap->readonly && !bitmap->skip_store;
}

/* --- for the request path --- */

void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BdrvDirtyBitmap *b;

    qemu_mutex_lock(&bs->core->dirty_lock);
    QLIST_FOREACH (b, &bs->core->dirty_bitmaps, list) {
        if (records(b)) {
            fill(b, offset, bytes, true);
        }
    }
    qemu_mutex_unlock(&bs->core->dirty_lock);
}

void bdrv_dirty_bitmaps_follow_length(BlockDriverState *bs)
{
    BdrvDirtyBitmap *b;
    int64_t bytes;

    qemu_mutex_lock(&bs->core->dirty_lock);
    bytes = qatomic_read(&bs->core->length); /* of several that grow the last one counts */
    QLIST_FOREACH (b, &bs->core->dirty_bitmaps, list) {
        if (b->size != bytes) {
            sparse_bits_resize(&b->bits, bits_for(b, bytes));
            b->size = bytes;
            b->changed |= !b->unloaded;
        }
    }
    qemu_mutex_unlock(&bs->core->dirty_lock);
}
