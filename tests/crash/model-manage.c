/* SPDX-License-Identifier: MIT */
/* What an administrator does to the image, and looks that take all of it in. See model.h. */
#include "model.h"

/* --- the disk --- */

static void verify(Model *m, BlockBackend *blk, const char *what, const uint8_t *want,
                   int64_t length)
{
    g_autofree uint8_t *buf = g_malloc(length);
    int ret;

    if (blk_getlength(blk) != length) {
        model_wrong(m, "%s: length is %" PRId64 " instead of %" PRId64, what, blk_getlength(blk),
                    length);
        return;
    }
    ret = blk_pread(blk, 0, length, buf, 0);
    if (ret < 0) {
        model_wrong(m, "%s: reading all of it returns %d", what, ret);
    } else {
        model_compare(m, what, 0, buf, want, NULL, length);
    }
}

void model_verify_all(Model *m)
{
    verify(m, m->blk, "all of it", m->bytes, m->length);
}

static bool all_zero(const uint8_t *p, int64_t bytes)
{
    return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

/* What block status says of a place in a file is so: the file holds what the disk shows. */
static void verify_status(Model *m)
{
    g_autofree uint8_t *buf = g_malloc(m->length);

    for (int64_t at = 0, bytes; at < m->length && !m->wrong; at += bytes) {
        int64_t map = 0;
        BlockDriverState *file = NULL;
        int ret = bdrv_block_status_above(blk_bs(m->blk), NULL, at, m->length - at, &bytes, &map,
                                          &file);
        const char *name = file ? bdrv_get_filename(file) : "";
        SimDisk *disk = g_str_has_prefix(name, "sim:") ? sim_disk_find(name + 4) : NULL;

        if (ret < 0 || bytes <= 0 || bytes > m->length - at) {
            model_wrong(m, "block status at %" PRId64 " returns %d with %" PRId64 " bytes", at, ret,
                        bytes);
        } else if ((ret & BDRV_BLOCK_ZERO || !(ret & BDRV_BLOCK_DATA)) &&
                   !all_zero(m->bytes + at, bytes)) {
            model_wrong(m, "block status at %" PRId64 "+%" PRId64 ": 0x%x, but it is not zero", at,
                        bytes, ret);
        } else if ((ret & BDRV_BLOCK_OFFSET_VALID) && (ret & BDRV_BLOCK_DATA) &&
                   !(ret & BDRV_BLOCK_COMPRESSED) && disk) {
            sim_disk_peek(disk, map, buf, bytes);
            model_compare(m, "where block status points", at, buf, m->bytes + at, NULL, bytes);
        }
    }
}

/* --- snapshots --- */

void model_verify_snapshot(Model *m, const ModelSnapshot *sn)
{
    BlockBackend *blk = model_open_snapshot(m, sn);

    if (blk) {
        verify(m, blk, sn->name, sn->bytes, sn->length);
        blk_unref(blk);
    }
}

void model_add_snapshot(Model *m, const char *name, uint8_t *bytes)
{
    ModelSnapshot *sn = g_new0(ModelSnapshot, 1);

    g_strlcpy(sn->name, name, sizeof(sn->name));
    sn->length = m->length;
    sn->bytes = bytes ?: g_memdup2(m->bytes, m->length);
    g_ptr_array_add(m->snapshots, sn);
}

static void create_snapshot(Model *m)
{
    QEMUSnapshotInfo info = { 0 };
    int ret;

    g_snprintf(info.name, sizeof(info.name), "s%u", m->next_name++);
    ret = bdrv_snapshot_create(blk_bs(m->blk), &info);
    if (ret == 0) {
        model_add_snapshot(m, info.name, NULL);
    } else if (!(ret == -ENOTSUP && (m->raw || m->data_file)) &&
               !(ret == -EINVAL && model_refcounts_are_small(m))) {
        model_wrong(m, "making a snapshot returns %d", ret);
    }
}

void model_delete_snapshot(Model *m, unsigned i)
{
    ModelSnapshot *sn = m->snapshots->pdata[i];
    int ret = bdrv_snapshot_delete(blk_bs(m->blk), NULL, sn->name, NULL);

    if (ret < 0) {
        model_wrong(m, "deleting snapshot %s returns %d", sn->name, ret);
    }
    g_free(sn->bytes);
    g_free(sn);
    g_ptr_array_remove_index(m->snapshots, i);
}

/* Bitmaps would be wrong afterwards: it is refused then. */
static void apply_snapshot(Model *m, const ModelSnapshot *sn)
{
    int ret = bdrv_snapshot_goto(blk_bs(m->blk), sn->name, NULL);

    if (m->bitmaps->len ? ret == 0 : ret < 0 && !(ret == -EINVAL && model_refcounts_are_small(m))) {
        model_wrong(m, "applying snapshot %s returns %d, with %u bitmaps", sn->name, ret,
                    m->bitmaps->len);
    }
    if (ret == 0) {
        memcpy(m->bytes, sn->bytes, sn->length);
        memset(m->bytes + sn->length, 0, m->max_length - sn->length);
        m->length = sn->length;
    }
}

static void change_snapshots(Model *m)
{
    unsigned n = m->snapshots->len;

    switch (model_random(m, 4)) {
    case 0:
        if (n < MODEL_SNAPSHOTS) {
            create_snapshot(m);
        }
        break;
    case 1:
        if (n) {
            model_delete_snapshot(m, model_random(m, n));
        }
        break;
    case 2:
        if (n) {
            apply_snapshot(m, m->snapshots->pdata[model_random(m, n)]);
        }
        break;
    default:
        if (n) {
            model_verify_snapshot(m, m->snapshots->pdata[model_random(m, n)]);
        }
        break;
    }
}

/* --- bitmaps --- */

static void mark(uint8_t *bits, const ModelBitmap *b, int64_t offset, int64_t bytes)
{
    int64_t first = offset / b->granularity, last = (offset + bytes - 1) / b->granularity;

    memset(bits + first, 1, last - first + 1);
}

/* What the block layer makes of a request may touch more, up to the disk's alignment. */
void model_bitmaps_begin(Model *m, int64_t offset, int64_t bytes)
{
    for (guint i = 0; i < m->bitmaps->len && bytes; i++) {
        ModelBitmap *b = m->bitmaps->pdata[i];
        int64_t from = ROUND_DOWN(offset, INT64_C(4096));
        int64_t to = MIN(ROUND_UP(offset + bytes, INT64_C(4096)), m->max_length);

        if (b->enabled) {
            mark(b->may, b, from, to - from);
        }
    }
}

void model_bitmaps_end(Model *m, uint64_t number, int64_t offset, int64_t bytes)
{
    for (guint i = 0; i < m->bitmaps->len && bytes; i++) {
        ModelBitmap *b = m->bitmaps->pdata[i];

        if (b->enabled && number >= b->since) {
            mark(b->must, b, offset, bytes);
        }
    }
}

/* What is cut off is forgotten; of what is added nothing is said. */
void model_bitmaps_resize(Model *m, int64_t length)
{
    for (guint i = 0; i < m->bitmaps->len; i++) {
        ModelBitmap *b = m->bitmaps->pdata[i];
        int64_t from = DIV_ROUND_UP(MIN(length, m->length), b->granularity);
        int64_t end = DIV_ROUND_UP(m->max_length, b->granularity);

        memset(b->must + from, 0, end - from);
        memset(b->may + from, length > m->length, end - from);
        if (from) {
            b->may[from - 1] |= length > m->length;
        }
    }
}

static BdrvDirtyBitmap *find_bitmap(Model *m, const ModelBitmap *b)
{
    BdrvDirtyBitmap *found = bdrv_find_dirty_bitmap(blk_bs(m->blk), b->name);

    if (!found || bdrv_dirty_bitmap_load(found, NULL) < 0 || bdrv_dirty_bitmap_inconsistent(found)) {
        model_wrong(m, "bitmap %s is %s", b->name, found ? "inconsistent" : "not there");
        return NULL;
    }
    return found;
}

void model_verify_bitmaps(Model *m)
{
    for (guint i = 0; i < m->bitmaps->len && !m->wrong; i++) {
        const ModelBitmap *b = m->bitmaps->pdata[i];
        BdrvDirtyBitmap *found = find_bitmap(m, b);

        for (int64_t k = 0; found && k * b->granularity < m->length; k++) {
            bool dirty = bdrv_dirty_bitmap_get(found, k * b->granularity);

            if (dirty ? !b->may[k] : b->must[k]) {
                model_wrong(m, "bitmap %s of granularity %" PRId64 " at %" PRId64 " is %s", b->name,
                            b->granularity, k * b->granularity, dirty ? "dirty" : "clean");
                break;
            }
        }
        if (found && (bdrv_dirty_bitmap_size(found) != m->length ||
                      bdrv_dirty_bitmap_enabled(found) != b->enabled)) {
            model_wrong(m, "bitmap %s covers %" PRId64 " bytes of %" PRId64 ", enabled: %d", b->name,
                        bdrv_dirty_bitmap_size(found), m->length, bdrv_dirty_bitmap_enabled(found));
        }
    }
}

static void forget(Model *m, ModelBitmap *b)
{
    int64_t n = DIV_ROUND_UP(m->max_length, b->granularity);

    memset(b->must, 0, n);
    memset(b->may, 0, n);
    b->since = m->requests;
}

static ModelBitmap *add_bitmap(Model *m)
{
    BlockDriverState *bs = blk_bs(m->blk);
    ModelBitmap *b = g_new0(ModelBitmap, 1);
    BdrvDirtyBitmap *real;
    int64_t n;

    g_snprintf(b->name, sizeof(b->name), "b%u", m->next_name++);
    b->granularity = INT64_C(512) << model_random(m, 8);
    if (!bdrv_can_store_new_dirty_bitmap(bs, b->name, b->granularity, NULL)) {
        if (!m->raw && !m->v2) {
            model_wrong(m, "the image takes no bitmap");
        }
        g_free(b);
        return NULL;
    }
    real = bdrv_create_dirty_bitmap(bs, b->granularity, b->name, &error_abort);
    bdrv_dirty_bitmap_set_persistence(real, true);
    n = DIV_ROUND_UP(m->max_length, b->granularity);
    b->must = g_malloc(n);
    b->may = g_malloc(n);
    b->enabled = true;
    forget(m, b);
    g_ptr_array_add(m->bitmaps, b);
    return b;
}

static void remove_bitmap(Model *m, unsigned i)
{
    ModelBitmap *b = m->bitmaps->pdata[i];
    BdrvDirtyBitmap *real = find_bitmap(m, b);
    int ret = bdrv_remove_persistent_dirty_bitmap(blk_bs(m->blk), b->name, NULL);

    if (ret < 0) {
        model_wrong(m, "removing bitmap %s returns %d", b->name, ret);
    } else if (real) {
        bdrv_release_dirty_bitmap(real);
    }
    g_free(b->must);
    g_free(b->may);
    g_free(b);
    g_ptr_array_remove_index(m->bitmaps, i);
}

static ModelBitmap *clear_bitmap(Model *m, ModelBitmap *b)
{
    BdrvDirtyBitmap *real = find_bitmap(m, b);

    if (!real) {
        return NULL;
    }
    bdrv_clear_dirty_bitmap(real);
    forget(m, b);
    return b;
}

static void toggle_bitmap(Model *m, ModelBitmap *b)
{
    BdrvDirtyBitmap *real = find_bitmap(m, b);

    if (!real) {
        return;
    }
    b->enabled = !b->enabled;
    b->since = m->requests;
    if (b->enabled) {
        bdrv_enable_dirty_bitmap(real);
    } else {
        bdrv_disable_dirty_bitmap(real);
    }
}

static void merge_bitmaps(Model *m, ModelBitmap *to, const ModelBitmap *from)
{
    BdrvDirtyBitmap *a = find_bitmap(m, to), *b = find_bitmap(m, from);
    int64_t size;

    if (!a || !b || a == b) {
        return;
    }
    /* A resize in flight may not have reached them yet: what it adds gets nothing. */
    size = bdrv_dirty_bitmap_size(a);
    if (!bdrv_merge_dirty_bitmap(a, b, NULL)) {
        model_wrong(m, "bitmaps %s and %s cannot be merged", to->name, from->name);
    }
    for (int64_t k = 0; k * from->granularity < m->max_length; k++) {
        int64_t bytes = MIN(from->granularity, m->max_length - k * from->granularity);

        if (from->must[k] && k * from->granularity < size) {
            mark(to->must, to, k * from->granularity, MIN(bytes, size - k * from->granularity));
        }
        if (from->may[k]) {
            mark(to->may, to, k * from->granularity, bytes);
        }
    }
}

ModelBitmap *model_change_bitmaps(Model *m)
{
    unsigned n = m->bitmaps->len, what = model_random(m, 8);

    if (what < 2 || n == 0) {
        return n < MODEL_BITMAPS ? add_bitmap(m) : NULL;
    }
    if (what == 2 || what == 3) {
        remove_bitmap(m, model_random(m, n));
    } else if (what == 4) {
        return clear_bitmap(m, m->bitmaps->pdata[model_random(m, n)]);
    } else if (what == 5) {
        toggle_bitmap(m, m->bitmaps->pdata[model_random(m, n)]);
        /* What is in flight may count or not: it counts as one that begins now. */
    } else if (what == 6) {
        merge_bitmaps(m, m->bitmaps->pdata[model_random(m, n)],
                      m->bitmaps->pdata[model_random(m, n)]);
    } else if (bdrv_store_dirty_bitmaps(blk_bs(m->blk), NULL) < 0) {
        model_wrong(m, "bitmaps cannot be stored");
    }
    return NULL;
}

/* --- all of it --- */

static void reopen(Model *m)
{
    model_close(m, model_chance(m, 2));
    if (!m->wrong && m->n_layers > 1 && !m->snapshots->len && model_chance(m, 3)) {
        model_commit(m);
    }
    if (!m->wrong) {
        model_open(m);
    }
    if (!m->wrong) {
        model_verify_bitmaps(m);
    }
}

void model_manage(Model *m)
{
    m->operations++;
    switch (model_random(m, 8)) {
    case 0:
        model_verify_all(m);
        break;
    case 1:
        verify_status(m);
        break;
    case 2:
        reopen(m);
        break;
    case 3: case 4: case 5:
        change_snapshots(m);
        break;
    case 6:
        model_change_bitmaps(m);
        break;
    default:
        model_verify_bitmaps(m);
        break;
    }
}
