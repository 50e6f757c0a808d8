/* SPDX-License-Identifier: MIT */
/*
 * The write-back takes a copy of all dirty L2 slices and L1 entries at one instant (Batch),
 * and works on that while requests go on changing the originals. Refcounts are raised
 * before an L2 entry is changed, so refcounts written after the copy was taken cover it.
 */
#include "qcow2-writeback.h"

#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refblock.h"

#define L1_CHUNK 64U /* entries: a sector */

typedef struct DirtySlice {
    unsigned slot;
    uint64_t host;
    bool written;
} DirtySlice;

typedef struct Batch {
    GArray *slices;   /* of DirtySlice, by host offset */
    uint64_t *data;   /* their contents in that order, big endian */
    GArray *chunks;   /* of unsigned: numbers of L1 chunks */
    uint64_t *l1;     /* their contents, big endian */
    unsigned chunks_written;
    GArray *freed;    /* of Qcow2Freed */
    bool depends;
} Batch;

static int by_host(const void *a, const void *b)
{
    uint64_t x = ((const DirtySlice *)a)->host, y = ((const DirtySlice *)b)->host;

    return x < y ? -1 : x > y;
}

/* Under meta. */
static int take_slices(BDRVQcow2State *s, Batch *batch)
{
    size_t n = s->l2.dirty->len;

    batch->slices = g_array_sized_new(false, false, sizeof(DirtySlice), n);
    batch->data = qemu_try_memalign(4096, MAX(n, (size_t)1) * s->slice_words * 8);
    if (!batch->data) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned slot = g_array_index(s->l2.dirty, unsigned, i);
        DirtySlice d = { slot, qcow2_l2cache_host_offset(s, s->l2.keys[slot] - 1), false };

        g_array_append_val(batch->slices, d);
    }
    if (n) {
        qsort(batch->slices->data, n, sizeof(DirtySlice), by_host);
    }
    for (size_t i = 0; i < n; i++) {
        unsigned slot = g_array_index(batch->slices, DirtySlice, i).slot;
        const uint64_t *from = qcow2_slot_data(s, slot);
        uint64_t *to = batch->data + i * s->slice_words;

        for (unsigned w = 0; w < s->slice_words; w++) {
            to[w] = GUINT64_TO_BE(from[w]);
        }
        s->l2.slots[slot].dirty = false;
        s->l2.slots[slot].writing = true;
    }
    g_array_set_size(s->l2.dirty, 0);
    return 0;
}

/* Under meta. */
static int take_l1(BDRVQcow2State *s, Batch *batch)
{
    unsigned nb_chunks = DIV_ROUND_UP(s->l1_size, L1_CHUNK);

    batch->chunks = g_array_new(false, false, sizeof(unsigned));
    for (unsigned i = 0; s->any_l1_dirty && i < nb_chunks; i++) {
        if (test_bit(i, s->l1_dirty)) {
            g_array_append_val(batch->chunks, i);
        }
    }
    batch->l1 = qemu_try_memalign(4096, MAX(batch->chunks->len, 1U) * L1_CHUNK * 8);
    if (!batch->l1) {
        return -ENOMEM;
    }
    for (guint i = 0; i < batch->chunks->len; i++) {
        unsigned chunk = g_array_index(batch->chunks, unsigned, i);

        for (unsigned w = 0; w < L1_CHUNK; w++) {
            unsigned index = chunk * L1_CHUNK + w;

            batch->l1[i * L1_CHUNK + w] = index < s->l1_size ? GUINT64_TO_BE(s->l1[index]) : 0;
        }
        clear_bit(chunk, s->l1_dirty);
    }
    s->any_l1_dirty = false;
    return 0;
}

/* Takes everything dirty, or on failure nothing. */
static int take_batch(BDRVQcow2State *s, Batch *batch)
{
    int ret;

    qemu_mutex_lock(&s->meta);
    ret = take_l1(s, batch);
    if (ret == 0) {
        ret = take_slices(s, batch);
        if (ret == 0) {
            batch->depends = s->l2_depends;
            s->l2_depends = false;
            batch->freed = s->freed_new;
            s->freed_new = g_array_new(false, false, sizeof(Qcow2Freed));
        } else {
            for (guint i = 0; i < batch->chunks->len; i++) {
                set_bit(g_array_index(batch->chunks, unsigned, i), s->l1_dirty);
                s->any_l1_dirty = true;
            }
        }
    }
    qemu_mutex_unlock(&s->meta);
    return ret;
}

/* What was not written is dirty again; clusters stay referred to until it is. */
static void end_batch(BDRVQcow2State *s, Batch *batch, int ret)
{
    qemu_mutex_lock(&s->meta);
    for (guint i = 0; batch->data && i < batch->slices->len; i++) {
        DirtySlice *d = &g_array_index(batch->slices, DirtySlice, i);

        s->l2.slots[d->slot].writing = false;
        if (!d->written) {
            qcow2_slot_set_dirty(&s->l2, d->slot);
        }
    }
    for (guint i = batch->chunks_written; batch->freed && i < batch->chunks->len; i++) {
        set_bit(g_array_index(batch->chunks, unsigned, i), s->l1_dirty);
        s->any_l1_dirty = true;
    }
    if (batch->freed) {
        g_array_append_vals(ret < 0 ? s->freed_new : s->freed_written, batch->freed->data,
                            batch->freed->len);
        s->l2_depends |= ret < 0 && batch->depends;
    }
    qemu_mutex_unlock(&s->meta);
    for (unsigned i = 0; i < 3; i++) {
        GArray *array = i == 0 ? batch->slices : i == 1 ? batch->chunks : batch->freed;

        if (array) {
            g_array_free(array, true);
        }
    }
    qemu_vfree(batch->data);
    qemu_vfree(batch->l1);
}

int coroutine_fn qcow2_co_flush_files(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = s->external ? bdrv_co_flush(s->data_file->bs) : 0;

    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

static int coroutine_fn write_refcounts_locked(BlockDriverState *bs, bool *any)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_refblocks_write(bs, any);

    if (ret < 0 || !s->rc.table_dirty) {
        return ret;
    }
    *any = true;
    return qcow2_reftable_write(bs);
}

static int coroutine_fn write_refcounts(BlockDriverState *bs, bool *any)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = write_refcounts_locked(bs, any);
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret;
}

/* In the course of writing: lazy refcounts wait for the end. */
static int coroutine_fn write_exact_refcounts(BlockDriverState *bs, bool *any)
{
    BDRVQcow2State *s = bs->opaque;

    return qatomic_read(&s->lazy_dirty) ? 0 : write_refcounts(bs, any);
}

static int coroutine_fn write_slices(BlockDriverState *bs, Batch *batch)
{
    BDRVQcow2State *s = bs->opaque;
    DirtySlice *d = (DirtySlice *)batch->slices->data;
    uint64_t slice_bytes = s->slice_words * 8ULL;
    guint n, len = batch->slices->len;

    for (guint i = 0; i < len; i += n) {
        int ret;

        for (n = 1; i + n < len && n * slice_bytes < 1024 * 1024; n++) {
            if (d[i + n].host != d[i].host + n * slice_bytes) {
                break;
            }
        }
        ret = qcow2_co_check_write(bs, QCOW2_META_L2, d[i].host, n * slice_bytes);
        if (ret == 0) {
            bdrv_co_debug_event(bs->file->bs, BLKDBG_L2_UPDATE);
            ret = bdrv_co_pwrite(bs->file, d[i].host, n * slice_bytes,
                                 batch->data + (size_t)i * s->slice_words, 0);
        }
        if (ret < 0) {
            return ret;
        }
        for (guint k = i; k < i + n; k++) {
            d[k].written = true;
        }
    }
    return 0;
}

/* wb_lock keeps the table where it is. */
static int coroutine_fn write_l1(BlockDriverState *bs, Batch *batch)
{
    BDRVQcow2State *s = bs->opaque;

    for (guint i = 0; i < batch->chunks->len; i++) {
        unsigned first = g_array_index(batch->chunks, unsigned, i) * L1_CHUNK;
        uint64_t bytes = MIN(L1_CHUNK, s->l1_size - first) * 8ULL;
        uint64_t offset = s->l1_table_offset + first * 8ULL;
        int ret = qcow2_co_check_write(bs, QCOW2_META_L1, offset, bytes);

        if (ret == 0) {
            bdrv_co_debug_event(bs->file->bs, BLKDBG_L1_UPDATE);
            ret = bdrv_co_pwrite(bs->file, offset, bytes, batch->l1 + (size_t)i * L1_CHUNK, 0);
        }
        if (ret < 0) {
            return ret;
        }
        batch->chunks_written++;
    }
    return 0;
}

static int coroutine_fn write_batch(BlockDriverState *bs, Batch *batch)
{
    BDRVQcow2State *s = bs->opaque;
    bool refcounts = false, flushed = false;
    bool any_l2 = batch->slices->len, any_l1 = batch->chunks->len;
    int ret = write_exact_refcounts(bs, &refcounts);

    if (ret == 0 && (s->freed_written->len || any_l1 ||
                     (any_l2 && (refcounts || batch->depends)))) {
        ret = qcow2_co_flush_files(bs);
        flushed = ret == 0;
    }
    if (ret == 0) {
        ret = write_slices(bs, batch);
    }
    if (ret == 0 && any_l1) {
        ret = write_l1(bs, batch);
    }
    if (ret == 0 && flushed) {
        ret = qcow2_co_reclaim(bs);
    }
    return ret;
}

static bool anything_to_do(BDRVQcow2State *s)
{
    bool any;

    qemu_mutex_lock(&s->meta);
    any = s->l2.dirty->len || s->any_l1_dirty || s->freed_new->len;
    qemu_mutex_unlock(&s->meta);
    return any || s->freed_written->len;
}

int coroutine_fn qcow2_co_writeback_locked(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Batch batch = { 0 };
    bool refcounts = false;
    int ret;

    if (qatomic_read(&s->corrupt)) {
        return -EIO;
    }
    if (!anything_to_do(s)) {
        return write_exact_refcounts(bs, &refcounts);
    }
    ret = take_batch(s, &batch);
    if (ret == 0) {
        ret = write_batch(bs, &batch);
    }
    end_batch(s, &batch, ret);
    return ret;
}

int coroutine_fn qcow2_co_writeback(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->wb_lock);
    ret = qcow2_co_writeback_locked(bs);
    qemu_co_mutex_unlock(&s->wb_lock);
    return ret;
}

int coroutine_fn qcow2_co_writeback_all(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->wb_lock);
    /* The first pass makes clusters unreferenced, the second frees them, the third writes that. */
    for (int pass = 0, again = 1; again; pass++) {
        ret = qcow2_co_writeback_locked(bs);
        again = ret == 0 && pass < 2 && (s->freed_written->len || s->freed_new->len);
    }
    if (ret == 0) {
        bool refcounts = false;

        ret = write_refcounts(bs, &refcounts);
    }
    if (ret == 0) {
        ret = qcow2_co_flush_files(bs);
    }
    qemu_co_mutex_unlock(&s->wb_lock);
    return ret;
}

bool coroutine_fn qcow2_co_writeback_pending(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    bool pending;

    qemu_co_mutex_lock(&s->wb_lock);
    pending = anything_to_do(s);
    qemu_co_mutex_unlock(&s->wb_lock);
    return pending;
}
