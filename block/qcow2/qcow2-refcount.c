/* SPDX-License-Identifier: MIT */
/*
 * Refcount blocks in RAM, counters, and changes of them. Where to find free clusters is in
 * qcow2-alloc.c.
 */
#include "qcow2-refcount.h"

#include "qemu/error-report.h"

#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-refblock.h"

int coroutine_fn qcow2_refblocks_write(BlockDriverState *bs, bool *any)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2RefBlock *b;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, s->rc.blocks);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&b)) {
        int ret = b->dirty ? qcow2_write_refblock(bs, b->index, b->data) : 0;

        if (ret < 0) {
            return ret;
        }
        if (any) {
            *any |= b->dirty;
        }
        b->dirty = false;
    }
    return 0;
}

int coroutine_fn qcow2_reftable_write(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Refcounts *rc = &s->rc;
    QEMU_AUTO_VFREE uint64_t *raw = NULL;
    uint64_t first, last, offset, bytes;
    int ret;

    if (!rc->table_dirty) {
        return 0;
    }
    first = ROUND_DOWN(rc->dirty_first, 64);
    last = MIN(ROUND_UP(rc->dirty_last + 1, 64), rc->entries);
    offset = rc->table_offset + first * 8;
    bytes = (last - first) * 8;
    raw = qemu_try_memalign(4096, bytes);
    if (!raw) {
        return -ENOMEM;
    }
    for (uint64_t i = first; i < last; i++) {
        raw[i - first] = GUINT64_TO_BE(rc->table[i]);
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_REFTABLE, offset, bytes);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_ALLOC_HOOKUP);
        ret = bdrv_co_pwrite(bs->file, offset, bytes, raw, 0);
    }
    rc->table_dirty = ret < 0;
    return ret;
}

static void free_block(gpointer data)
{
    Qcow2RefBlock *b = data;

    if (*b->last == b) {
        *b->last = NULL;
    }
    qemu_vfree(b->data);
    g_free(b);
}

int qcow2_refcounts_init(BDRVQcow2State *s, const uint8_t *raw, uint64_t entries,
                         uint64_t cache_bytes, Error **errp)
{
    Qcow2Refcounts *rc = &s->rc;

    rc->blocks = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, free_block);
    rc->max_blocks = MIN(MAX(cache_bytes >> s->cluster_bits, (uint64_t)4), (uint64_t)65536);
    rc->table = g_try_new0(uint64_t, MAX(entries, (uint64_t)1));
    if (!rc->table) {
        error_setg_errno(errp, ENOMEM, "Could not allocate the refcount table");
        return -ENOMEM;
    }
    rc->entries = entries;
    for (uint64_t i = 0; i < entries; i++) {
        rc->table[i] = qcow2_be64(raw + i * 8);
    }
    return 0;
}

void qcow2_refcounts_destroy(BDRVQcow2State *s)
{
    if (s->rc.blocks) {
        g_hash_table_destroy(s->rc.blocks);
    }
    g_free(s->rc.table);
    memset(&s->rc, 0, sizeof(s->rc));
}

uint64_t qcow2_counter_get(unsigned order, const uint8_t *block, uint64_t i)
{
    unsigned width = 1U << order;

    switch (order) {
    case 3: return block[i];
    case 4: return qcow2_be16(block + i * 2);
    case 5: return qcow2_be32(block + i * 4);
    case 6: return qcow2_be64(block + i * 8);
    default: return (block[i * width / 8] >> (i * width % 8)) & ((1U << width) - 1);
    }
}

void qcow2_counter_set(unsigned order, uint8_t *block, uint64_t i, uint64_t value)
{
    unsigned width = 1U << order, shift = i * width % 8;
    uint16_t v16 = GUINT16_TO_BE((uint16_t)value);
    uint8_t *byte = &block[i * width / 8];

    switch (order) {
    case 3: *byte = value; break;
    case 4: memcpy(byte, &v16, sizeof(v16)); break;
    case 5: qcow2_put_be32(byte, value); break;
    case 6: qcow2_put_be64(byte, value); break;
    default: *byte = (*byte & ~(((1U << width) - 1) << shift)) | value << shift; break;
    }
}

int coroutine_fn qcow2_write_refblock(BlockDriverState *bs, uint64_t index, const uint8_t *data)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t offset = s->rc.table[index] & QCOW2_REFTABLE_OFFSET_MASK;
    int ret = qcow2_co_check_write(bs, QCOW2_META_REFBLOCK, offset, s->cluster_size);

    bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_UPDATE_PART);
    return ret < 0 ? ret : bdrv_co_pwrite(bs->file, offset, s->cluster_size, data, 0);
}

/* Makes room for one more block. */
static int coroutine_fn make_room(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2RefBlock *victim = NULL, *b;
    GHashTableIter iter;
    int ret = 0;

    if (g_hash_table_size(s->rc.blocks) < s->rc.max_blocks) {
        return 0;
    }
    g_hash_table_iter_init(&iter, s->rc.blocks);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&b)) {
        if (!victim || b->used < victim->used) {
            victim = b;
        }
    }
    if (victim->dirty) {
        ret = qcow2_write_refblock(bs, victim->index, victim->data);
    }
    if (ret == 0) {
        g_hash_table_remove(s->rc.blocks, &victim->index);
    }
    return ret;
}

Qcow2RefBlock *qcow2_refblock_new(BDRVQcow2State *s, uint64_t index)
{
    Qcow2RefBlock *b = g_new0(Qcow2RefBlock, 1);

    b->data = qemu_try_memalign(MAX(s->cluster_size, 4096U), s->cluster_size);
    if (!b->data) {
        g_free(b);
        return NULL;
    }
    memset(b->data, 0, s->cluster_size);
    b->index = index;
    b->last = &s->rc.last;
    b->used = ++s->rc.clock;
    g_hash_table_insert(s->rc.blocks, &b->index, b);
    return b;
}

static Qcow2RefBlock *find_block(Qcow2Refcounts *rc, uint64_t index)
{
    if (!rc->last || rc->last->index != index) {
        rc->last = g_hash_table_lookup(rc->blocks, &index);
    }
    return rc->last;
}

int coroutine_fn qcow2_refblock_get(BlockDriverState *bs, uint64_t index, Qcow2RefBlock **block)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t offset = index < s->rc.entries ? s->rc.table[index] & QCOW2_REFTABLE_OFFSET_MASK : 0;
    Qcow2RefBlock *b = find_block(&s->rc, index);
    int ret;

    *block = b;
    if (b) {
        b->used = ++s->rc.clock;
        return 0;
    }
    if (!offset) {
        return 0;
    }
    if (offset & (s->cluster_size - 1)) {
        qcow2_signal_corruption(bs, true, "Refblock offset %#" PRIx64 " unaligned (reftable index:"
                                " %#" PRIx64 ")", offset, index);
        return -EIO;
    }
    ret = make_room(bs);
    if (ret < 0) {
        return ret;
    }
    b = qcow2_refblock_new(s, index);
    if (!b) {
        return -ENOMEM;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_LOAD);
    ret = bdrv_co_pread(bs->file, offset, s->cluster_size, b->data, 0);
    if (ret < 0) {
        g_hash_table_remove(s->rc.blocks, &index);
        return ret;
    }
    *block = b;
    return 0;
}

int coroutine_fn qcow2_get_refcount(BlockDriverState *bs, uint64_t cluster, uint64_t *refcount)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2RefBlock *b;
    int ret = qcow2_refblock_get(bs, cluster >> s->refblock_bits, &b);

    if (ret < 0) {
        return ret;
    }
    *refcount = b ? qcow2_counter_get(s->refcount_order, b->data,
                                      cluster & ((UINT64_C(1) << s->refblock_bits) - 1))
                  : 0;
    return 0;
}

/* How many of the block's first @n counters are not 0. */
static uint64_t count_counters(const BDRVQcow2State *s, const uint8_t *block, uint64_t n)
{
    uint64_t used = 0;

    for (uint64_t i = 0; s->refcount_order == 4 && i < n; i++) {
        uint16_t raw;

        memcpy(&raw, block + 2 * i, sizeof(raw));
        used += raw != 0; /* in either byte order */
    }
    for (uint64_t i = 0; s->refcount_order != 4 && i < n; i++) {
        used += qcow2_counter_get(s->refcount_order, block, i) != 0;
    }
    return used;
}

int coroutine_fn qcow2_refcounts_count_used(BlockDriverState *bs, uint64_t clusters,
                                            uint64_t enough, uint64_t *used)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t counters = UINT64_C(1) << s->refblock_bits;

    *used = 0;
    for (uint64_t i = 0; i < s->rc.entries && i * counters < clusters && *used < enough; i++) {
        Qcow2RefBlock *b;
        int ret = qcow2_refblock_get(bs, i, &b);

        if (ret < 0) {
            return ret;
        }
        *used += b ? count_counters(s, b->data, MIN(counters, clusters - i * counters)) : 0;
    }
    return 0;
}

/* The cluster's refcount is 0 now: it can be found, and no stream goes on in it. */
static void note_free(Qcow2Refcounts *rc, uint64_t cluster, unsigned cluster_bits)
{
    rc->free_hint = MIN(rc->free_hint, cluster);
    if (rc->cursor >> cluster_bits == cluster) {
        rc->cursor = 0;
    }
}

static int coroutine_fn change_refcount(BlockDriverState *bs, uint64_t cluster, int delta)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t i = cluster & ((UINT64_C(1) << s->refblock_bits) - 1), value;
    Qcow2RefBlock *b;
    int ret = delta > 0 ? qcow2_refblock_need(bs, cluster >> s->refblock_bits, &b)
                        : qcow2_refblock_get(bs, cluster >> s->refblock_bits, &b);

    if (ret < 0) {
        return ret;
    }
    value = b ? qcow2_counter_get(s->refcount_order, b->data, i) : 0;
    if (delta > 0 ? value == s->refcount_max : value == 0) {
        if (delta > 0) {
            return -EINVAL;
        }
        /* It counts as free already: that is what was wanted. The words are QEMU's. */
        error_printf("qcow2_free_clusters failed: %s\n", g_strerror(b ? EINVAL : EAGAIN));
        return 0;
    }
    qcow2_counter_set(s->refcount_order, b->data, i, value + delta);
    b->dirty = true;
    if (value + delta == 0) {
        note_free(&s->rc, cluster, s->cluster_bits);
    }
    return 0;
}

int coroutine_fn qcow2_raise_refcounts(BlockDriverState *bs, uint64_t cluster, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int ret = change_refcount(bs, cluster + i, 1);

        if (ret < 0) {
            while (i-- > 0) {
                change_refcount(bs, cluster + i, -1);
            }
            return ret;
        }
    }
    return 0;
}

int coroutine_fn qcow2_lower_refcounts(BlockDriverState *bs, uint64_t cluster, uint64_t count)
{
    int ret = 0;

    for (uint64_t i = 0; i < count && ret == 0; i++) {
        ret = change_refcount(bs, cluster + i, -1);
    }
    return ret;
}

int coroutine_fn qcow2_set_refcount(BlockDriverState *bs, uint64_t cluster, uint64_t refcount)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2RefBlock *b;
    int ret;

    if (refcount > s->refcount_max) {
        return -EINVAL;
    }
    ret = qcow2_refblock_need(bs, cluster >> s->refblock_bits, &b);
    if (ret < 0) {
        return ret;
    }
    qcow2_counter_set(s->refcount_order, b->data,
                      cluster & ((UINT64_C(1) << s->refblock_bits) - 1), refcount);
    b->dirty = true;
    if (refcount == 0) {
        note_free(&s->rc, cluster, s->cluster_bits);
    }
    return 0;
}

int coroutine_fn qcow2_refcounts_used_end(BlockDriverState *bs, uint64_t *end)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t counters = UINT64_C(1) << s->refblock_bits;

    for (uint64_t i = s->rc.entries; i-- > 0;) {
        Qcow2RefBlock *b;
        int ret = qcow2_refblock_get(bs, i, &b);

        if (ret < 0) {
            return ret;
        }
        for (uint64_t k = b ? counters : 0; k-- > 0;) {
            if (qcow2_counter_get(s->refcount_order, b->data, k) != 0) {
                *end = (i << s->refblock_bits) + k + 1;
                return 0;
            }
        }
    }
    return -EIO; /* not even the header is counted */
}
