/* SPDX-License-Identifier: MIT */
/*
 * The order: L2 entries, L1 entries, refcounts, refcount blocks, the file's end. Each is durable
 * before the next one is touched, so at every instant nothing refers to what is free.
 */
#include "qcow2-shrink.h"

#include "qcow2-file-end.h"
#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refblock.h"
#include "qcow2-refcount.h"
#include "qcow2-writeback.h"
#include "qcow2-zero.h"

/*
 * The entries of these tables are empty on the disk, and nobody can make new ones. What else an L1
 * entry behind the disk may hold, saved machine state, goes with it.
 */
static void drop_l2_tables(BDRVQcow2State *s, uint64_t first)
{
    for (uint64_t i = first; i < s->l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_L1_OFFSET_MASK;

        if (!s->l1[i]) {
            continue;
        }
        qemu_mutex_lock(&s->meta);
        qatomic_set(&s->l1[i], 0);
        set_bit(i / 64, s->l1_dirty);
        s->any_l1_dirty = true;
        qcow2_l2cache_forget(s, i);
        if (table) {
            qcow2_free_later(s, table);
        }
        qemu_mutex_unlock(&s->meta);
        if (table) {
            qcow2_map_remove(s, QCOW2_META_L2, table, s->cluster_size);
        }
    }
}

/* --- refcount blocks that count nothing but themselves --- */

/* Under alloc_lock. 1, 0 or -errno. */
static int coroutine_fn block_is_unused(BlockDriverState *bs, uint64_t index)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t counters = UINT64_C(1) << s->refblock_bits;
    uint64_t own = (s->rc.table[index] & QCOW2_REFTABLE_OFFSET_MASK) >> s->cluster_bits;
    Qcow2RefBlock *b;
    int ret = qcow2_refblock_get(bs, index, &b);

    if (ret < 0 || !b) {
        return ret;
    }
    for (uint64_t i = 0; i < counters; i++) {
        if ((index << s->refblock_bits) + i != own &&
            qcow2_counter_get(s->refcount_order, b->data, i) != 0) {
            return 0;
        }
    }
    return 1;
}

typedef struct DroppedBlock {
    uint64_t index, at; /* @at: bytes */
} DroppedBlock;

/* Takes the unused blocks out of the table in RAM. */
static int coroutine_fn take_unused(BlockDriverState *bs, GArray *dropped)
{
    BDRVQcow2State *s = bs->opaque;

    for (uint64_t i = s->rc.entries; i-- > 0;) {
        DroppedBlock d = { i, s->rc.table[i] & QCOW2_REFTABLE_OFFSET_MASK };
        int ret = d.at ? block_is_unused(bs, i) : 0;

        if (ret < 0) {
            return ret;
        }
        if (ret == 1) {
            g_hash_table_remove(s->rc.blocks, &i);
            qcow2_reftable_set(s, i, 0);
            g_array_append_val(dropped, d);
        }
    }
    return 0;
}

/* The places lose the refcount, where another block counts them. A failure leaks them. */
static int coroutine_fn free_blocks(BlockDriverState *bs, const GArray *dropped)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    for (guint i = 0; i < dropped->len; i++) {
        uint64_t at = g_array_index(dropped, DroppedBlock, i).at >> s->cluster_bits;
        uint64_t refcount = 0;

        qcow2_map_remove(s, QCOW2_META_REFBLOCK, at << s->cluster_bits, s->cluster_size);
        s->rc.free_hint = MIN(s->rc.free_hint, at);
        if (ret == 0) {
            ret = qcow2_get_refcount(bs, at, &refcount);
        }
        if (ret == 0 && refcount) {
            ret = qcow2_lower_refcounts(bs, at, 1);
        }
    }
    return ret;
}

/* Under alloc_lock. That the table does without them is durable before their places are free. */
static int coroutine_fn drop_refblocks(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    g_autoptr(GArray) dropped = g_array_new(false, false, sizeof(DroppedBlock));
    int ret = qcow2_refblocks_write(bs, NULL); /* so that there is a way back */

    if (ret == 0) {
        ret = take_unused(bs, dropped);
    }
    if (ret == 0 && !dropped->len) {
        return 0;
    }
    if (ret == 0) {
        ret = qcow2_reftable_write(bs);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret < 0) {
        /* They are still where they were, and count nothing: as good as before. */
        for (guint i = 0; i < dropped->len; i++) {
            DroppedBlock *d = &g_array_index(dropped, DroppedBlock, i);

            qcow2_reftable_set(s, d->index, d->at);
        }
        return ret;
    }
    return free_blocks(bs, dropped);
}

/* --- all together --- */

static int coroutine_fn shrink_refcounts(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->wb_lock);
    qemu_co_mutex_lock(&s->alloc_lock);
    ret = drop_refblocks(bs);
    qemu_co_mutex_unlock(&s->alloc_lock);
    if (ret == 0) {
        ret = qcow2_co_writeback_locked(bs);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        qemu_co_mutex_lock(&s->alloc_lock);
        qcow2_file_end_cut(bs);
        qemu_co_mutex_unlock(&s->alloc_lock);
    }
    qemu_co_mutex_unlock(&s->wb_lock);
    return ret;
}

int coroutine_fn qcow2_co_shrink(BlockDriverState *bs, uint64_t size, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t from = ROUND_UP(size, (uint64_t)s->cluster_size);
    uint64_t l1_entries = qcow2_l1_entries_needed(size, s->cluster_bits, s->extended);
    const char *what = "Failed to discard cropped clusters";
    int ret = qcow2_co_cut_entries(bs, from);

    if (ret == 0) {
        ret = qcow2_co_writeback(bs);
    }
    if (ret == 0) {
        what = "Failed to reduce the number of L2 tables";
        qemu_co_mutex_lock(&s->wb_lock);
        qemu_co_mutex_lock(&s->l1_lock);
        drop_l2_tables(s, l1_entries);
        qemu_co_mutex_unlock(&s->l1_lock);
        qemu_co_mutex_unlock(&s->wb_lock);
        ret = qcow2_co_writeback_all(bs);
    }
    if (ret == 0) {
        what = "Failed to discard unused refblocks";
        ret = shrink_refcounts(bs);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "%s", what);
    }
    return ret;
}
