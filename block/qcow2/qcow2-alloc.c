/* SPDX-License-Identifier: MIT */
/*
 * Finding free host clusters, and the growth of the refcount structures that this may need.
 *
 * A refcount block counts itself: it is put at the first cluster of the range that it
 * describes, which is free as there was no block (or a repair says where). So making
 * one needs no allocation. Only a run that is longer than such a range has the blocks it
 * needs behind it. A larger refcount table goes behind everything that the old one
 * describes, together with the blocks for its own place.
 */
#include "qcow2-refcount.h"

#include "qcow2-file-end.h"
#include "qcow2-header-io.h"
#include "qcow2-lazy.h"
#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refblock.h"

/* The first host offset that clusters may not reach. */
static uint64_t host_limit(const BDRVQcow2State *s)
{
    G_STATIC_ASSERT(QCOW2_MAX_HOST_OFFSET <= (uint64_t)BDRV_MAX_LENGTH);
    return QCOW2_MAX_HOST_OFFSET >> s->cluster_bits;
}

void qcow2_reftable_set(BDRVQcow2State *s, uint64_t index, uint64_t offset)
{
    Qcow2Refcounts *rc = &s->rc;

    rc->table[index] = offset;
    rc->dirty_first = rc->table_dirty ? MIN(rc->dirty_first, index) : index;
    rc->dirty_last = rc->table_dirty ? MAX(rc->dirty_last, index) : index;
    rc->table_dirty = true;
}

int coroutine_fn qcow2_refblock_make_at(BlockDriverState *bs, uint64_t index, uint64_t at)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t offset = at << s->cluster_bits;
    Qcow2RefBlock *b;

    /* QEMU would put what the block is for at cluster 0, and the block behind that. */
    if (offset == 0 && qcow2_co_check_alloc(bs, NULL, s->cluster_size, s->cluster_size) < 0) {
        return -EIO;
    }
    if (qcow2_co_check_alloc(bs, "refcount block", offset, s->cluster_size) < 0) {
        return -EIO;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_ALLOC);
    b = qcow2_refblock_new(s, index);
    if (!b) {
        return -ENOMEM;
    }
    b->dirty = true;
    if (at >> s->refblock_bits == index) {
        qcow2_counter_set(s->refcount_order, b->data,
                          at & ((UINT64_C(1) << s->refblock_bits) - 1), 1);
    }
    qcow2_map_add(s, QCOW2_META_REFBLOCK, offset, s->cluster_size);
    qcow2_reftable_set(s, index, offset);
    s->rc.zero_from = MAX(s->rc.zero_from, offset + s->cluster_size);
    return 0;
}

/* What a table of at least @entries needs at cluster @start, where no block exists. */
static void plan_table(const BDRVQcow2State *s, uint64_t start, uint64_t entries,
                       uint64_t *clusters, uint64_t *blocks)
{
    uint64_t per_cluster = s->cluster_size / 8, last = 0;

    *blocks = 0;
    do {
        uint64_t n = MAX(entries, last + 1);

        *clusters = DIV_ROUND_UP(n, per_cluster);
        last = (start + *clusters + *blocks - 1) >> s->refblock_bits;
        *blocks = last - (start >> s->refblock_bits) + 1;
        last = (start + *clusters + *blocks - 1) >> s->refblock_bits;
    } while (last >= *clusters * per_cluster ||
             last - (start >> s->refblock_bits) + 1 != *blocks);
}

/* Sets up the blocks of the new area; the table's clusters come first in it. */
static int coroutine_fn fill_new_area(BlockDriverState *bs, uint64_t start, uint64_t clusters,
                                      uint64_t blocks)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t first = start >> s->refblock_bits;

    for (uint64_t i = 0; i < blocks; i++) {
        int ret = qcow2_refblock_make_at(bs, first + i, start + clusters + i);

        if (ret < 0) {
            return ret;
        }
    }
    for (uint64_t c = start; c < start + clusters + blocks; c++) {
        int ret = qcow2_set_refcount(bs, c, 1);

        if (ret < 0) {
            return ret;
        }
    }
    for (uint64_t i = 0; i < blocks; i++) {
        Qcow2RefBlock *b;
        int ret = qcow2_refblock_get(bs, first + i, &b);

        if (ret == 0 && b->dirty) {
            bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_ALLOC_WRITE_BLOCKS);
            ret = qcow2_write_refblock(bs, b->index, b->data);
            b->dirty = ret < 0;
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* The new table and its blocks become durable before the header points to them. */
static int coroutine_fn switch_table(BlockDriverState *bs, uint64_t offset, uint64_t clusters)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = clusters << s->cluster_bits;
    QEMU_AUTO_VFREE uint64_t *raw = qemu_try_blockalign(bs->file->bs, bytes);
    int ret;

    if (!raw) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < bytes / 8; i++) {
        raw[i] = i < s->rc.entries ? GUINT64_TO_BE(s->rc.table[i]) : 0;
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_REFTABLE, offset, bytes);
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_ALLOC_WRITE_TABLE);
        ret = bdrv_co_pwrite(bs->file, offset, bytes, raw, 0);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_ALLOC_SWITCH_TABLE);
        ret = qcow2_co_write_header_reftable(bs, offset, clusters);
    }
    return ret;
}

/*
 * Blocks that the old table knows may still be dirty: the new table refers to them as well, so
 * they go out first. A failure leaves the old table in force; what was set up for the
 * new one is forgotten again, and at worst the file is longer.
 */
static int coroutine_fn grow_table(BlockDriverState *bs, uint64_t index)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Refcounts *rc = &s->rc;
    uint64_t old_entries = rc->entries, old_offset = rc->table_offset;
    uint64_t start = old_entries << s->refblock_bits, clusters, blocks, entries, *table;
    uint64_t offset = start << s->cluster_bits;
    int ret;

    bdrv_co_debug_event(bs->file->bs, BLKDBG_REFTABLE_GROW);
    plan_table(s, start, MAX(index + 1, old_entries + old_entries / 2 + 1), &clusters, &blocks);
    entries = clusters * (s->cluster_size / 8);
    if (clusters << s->cluster_bits > QCOW2_MAX_REFTABLE_BYTES ||
        start + clusters + blocks > host_limit(s)) {
        return -EFBIG;
    }
    table = g_try_renew(uint64_t, rc->table, entries);
    if (!table) {
        return -ENOMEM;
    }
    rc->table = table;
    memset(table + old_entries, 0, (entries - old_entries) * 8);
    rc->entries = entries;
    qcow2_map_add(s, QCOW2_META_REFTABLE, offset, clusters << s->cluster_bits);
    ret = qcow2_refblocks_write(bs, NULL);
    if (ret == 0) {
        ret = fill_new_area(bs, start, clusters, blocks);
    }
    if (ret == 0) {
        ret = switch_table(bs, offset, clusters);
    }
    if (ret < 0) {
        for (uint64_t i = old_entries; i < entries; i++) {
            if (table[i]) {
                qcow2_map_remove(s, QCOW2_META_REFBLOCK, table[i], s->cluster_size);
                g_hash_table_remove(rc->blocks, &i);
            }
        }
        qcow2_map_remove(s, QCOW2_META_REFTABLE, offset, clusters << s->cluster_bits);
        rc->entries = old_entries;
        rc->dirty_last = MIN(rc->dirty_last, old_entries - 1);
        rc->table_dirty = rc->table_dirty && rc->dirty_first < old_entries;
        return ret;
    }
    rc->table_dirty = false;
    rc->table_offset = offset;
    qcow2_map_remove(s, QCOW2_META_REFTABLE, old_offset, old_entries * 8);
    return qcow2_lower_refcounts(bs, old_offset >> s->cluster_bits,
                                 old_entries * 8 >> s->cluster_bits);
}

int coroutine_fn qcow2_refblock_need(BlockDriverState *bs, uint64_t index, Qcow2RefBlock **block)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_refblock_get(bs, index, block);

    if (ret < 0 || *block) {
        return ret;
    }
    if (index >= s->rc.entries) {
        ret = grow_table(bs, index);
    }
    if (ret == 0 && !(s->rc.table[index] & QCOW2_REFTABLE_OFFSET_MASK)) {
        ret = qcow2_refblock_make_at(bs, index, index << s->refblock_bits);
    }
    return ret == 0 ? qcow2_refblock_get(bs, index, block) : ret;
}

/* --- the search --- */

typedef struct Search {
    uint64_t first, count; /* the run so far */
} Search;

/*
 * One step: looks at the range of one block from cluster @at on, adds to the run or
 * starts a new one. Where there is no block one is made, which takes the first cluster.
 */
static int coroutine_fn search_block(BlockDriverState *bs, uint64_t at, uint64_t wanted,
                                     bool exact, Search *run)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t mask = (UINT64_C(1) << s->refblock_bits) - 1;
    Qcow2RefBlock *b;
    int ret = qcow2_refblock_need(bs, at >> s->refblock_bits, &b);

    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = at & mask; i <= mask && run->count < wanted; i++) {
        if (qcow2_counter_get(s->refcount_order, b->data, i) != 0) {
            if (run->count && !exact) {
                return 0;
            }
            run->count = 0;
        } else if (run->count++ == 0) {
            run->first = (at & ~mask) + i;
        }
    }
    return 0;
}

/* Goes on with the run in the range of one block from cluster @at on; no block is made. */
static int coroutine_fn probe_block(BlockDriverState *bs, uint64_t at, uint64_t wanted,
                                    Search *run)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t size = UINT64_C(1) << s->refblock_bits;
    Qcow2RefBlock *b;
    int ret = qcow2_refblock_get(bs, at >> s->refblock_bits, &b);

    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = at & (size - 1); i < size && run->count < wanted; i++, at++) {
        if (b && qcow2_counter_get(s->refcount_order, b->data, i) != 0) {
            run->count = 0;
        } else if (run->count++ == 0) {
            run->first = at;
        }
    }
    return 0;
}

/*
 * Makes the blocks that are missing for clusters @first to @last, highest first and placed from
 * @last downwards: each place is then described by a block that is there, or by itself.
 */
static int coroutine_fn make_blocks_behind(BlockDriverState *bs, uint64_t first, uint64_t last)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t place = last;

    for (uint64_t i = (last >> s->refblock_bits) + 1; i-- > first >> s->refblock_bits;) {
        int ret;

        if (s->rc.table[i] & QCOW2_REFTABLE_OFFSET_MASK) {
            continue;
        }
        ret = qcow2_refblock_make_at(bs, i, place);
        if (ret < 0) {
            return ret;
        }
        ret = qcow2_set_refcount(bs, place, 1);
        if (ret < 0) {
            qcow2_map_remove(s, QCOW2_META_REFBLOCK, place << s->cluster_bits, s->cluster_size);
            g_hash_table_remove(s->rc.blocks, &i);
            qcow2_reftable_set(s, i, 0);
            return ret;
        }
        place--;
    }
    return 0;
}

/*
 * A run longer than what one block describes: it would never fit between blocks that stand at
 * the start of their ranges. What is missing goes behind it, so more than @wanted must be free.
 */
static int coroutine_fn find_long(BlockDriverState *bs, uint64_t wanted, Search *run)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t total = wanted + (wanted >> s->refblock_bits) * 2 + 4, last;

    while (true) {
        uint64_t at = s->rc.free_hint;
        int ret = 0;

        *run = (Search){ 0 };
        while (ret == 0 && run->count < total && at < host_limit(s)) {
            ret = probe_block(bs, at, total, run);
            at = ((at >> s->refblock_bits) + 1) << s->refblock_bits;
        }
        last = run->first + total - 1;
        if (ret == 0 && (run->count < total || last >= host_limit(s))) {
            ret = -EFBIG;
        }
        if (ret == 0 && last >> s->refblock_bits < s->rc.entries) {
            ret = make_blocks_behind(bs, run->first, last);
            run->count = wanted;
            return ret;
        }
        /* The new table takes the place that was found; there is room behind it. */
        if (ret == 0) {
            ret = grow_table(bs, (last + total) >> s->refblock_bits);
        }
        if (ret < 0) {
            return ret;
        }
    }
}

/* Finds a run without taking it. A run found that ends at a block's border is good enough. */
static int coroutine_fn find_free(BlockDriverState *bs, uint64_t wanted, bool exact, Search *run)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t at = s->rc.free_hint;

    if (exact && wanted >> s->refblock_bits) {
        return find_long(bs, wanted, run);
    }
    *run = (Search){ 0 };
    while (true) {
        int ret;

        if (at >= host_limit(s)) {
            return -EFBIG;
        }
        ret = search_block(bs, at, wanted, exact, run);
        if (ret < 0) {
            return ret;
        }
        if (run->count == wanted || (run->count && !exact)) {
            return run->first + run->count > host_limit(s) ? -EFBIG : 0;
        }
        if (run->count == 0) {
            /* Nothing free up to here, unless runs that were too short were left out. */
            s->rc.free_hint = exact ? s->rc.free_hint
                                    : ((at >> s->refblock_bits) + 1) << s->refblock_bits;
        }
        at = ((at >> s->refblock_bits) + 1) << s->refblock_bits;
    }
}

static int coroutine_fn take_run(BlockDriverState *bs, const char *what, const Search *run)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_co_check_alloc(bs, what, run->first << s->cluster_bits,
                                   run->count << s->cluster_bits);

    if (ret == 0) {
        /* As in QEMU, which asks for a block each time, though it mostly is there. */
        bdrv_co_debug_event(bs->file->bs, BLKDBG_REFBLOCK_ALLOC);
        ret = qcow2_raise_refcounts(bs, run->first, run->count);
    }
    if (ret == 0 && unlikely(s->overlap_unknown)) {
        /* Nothing could be written there. Here, not above: closing then tells of refcounts. */
        qcow2_lower_refcounts(bs, run->first, run->count);
        ret = s->overlap_unknown;
    }
    return ret;
}

int64_t coroutine_fn qcow2_co_alloc_clusters(BlockDriverState *bs, uint64_t count, bool exact,
                                             uint64_t *offset, bool *fresh)
{
    return qcow2_co_alloc_named(bs, NULL, count, exact, offset, fresh);
}

int64_t coroutine_fn qcow2_co_alloc_named(BlockDriverState *bs, const char *what,
                                          uint64_t count, bool exact, uint64_t *offset,
                                          bool *fresh)
{
    BDRVQcow2State *s = bs->opaque;
    Search run;
    int ret;

    if (qatomic_read(&s->corrupt)) {
        return -EIO;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_CLUSTER_ALLOC);
    qemu_co_mutex_lock(&s->alloc_lock);
    ret = qcow2_co_lazy_begin(bs);
    if (ret == 0) {
        ret = find_free(bs, count, exact, &run);
    }
    if (ret == 0) {
        ret = take_run(bs, what, &run);
    }
    if (ret == 0) {
        *offset = run.first << s->cluster_bits;
        *fresh = *offset >= s->rc.zero_from;
        s->rc.zero_from = MAX(s->rc.zero_from, (run.first + run.count) << s->cluster_bits);
        if (!exact || run.first == s->rc.free_hint) {
            s->rc.free_hint = run.first + run.count;
        }
        qcow2_file_end_reserve(bs, *offset + (run.count << s->cluster_bits));
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret < 0 ? ret : (int64_t)run.count;
}

void coroutine_fn qcow2_co_unalloc(BlockDriverState *bs, uint64_t offset, uint64_t count)
{
    BDRVQcow2State *s = bs->opaque;

    bdrv_co_debug_event(bs->file->bs, BLKDBG_CLUSTER_FREE);
    qemu_co_mutex_lock(&s->alloc_lock);
    /* A failure leaks the clusters, no more. */
    qcow2_lower_refcounts(bs, offset >> s->cluster_bits, count);
    qemu_co_mutex_unlock(&s->alloc_lock);
}

/* --- compressed data --- */

/* Tries to go on behind the last stream; *@offset 0 when that is not possible. */
static int coroutine_fn append_bytes(BlockDriverState *bs, uint32_t bytes, uint64_t *offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t cursor = s->rc.cursor, first = cursor >> s->cluster_bits, refcount;
    uint64_t count = ((cursor + bytes - 1) >> s->cluster_bits) - first + 1;
    int ret;

    *offset = 0;
    if (!cursor) {
        return 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        ret = qcow2_get_refcount(bs, first + i, &refcount);
        if (ret < 0) {
            return ret;
        }
        if (i == 0 ? refcount == s->refcount_max
                   : refcount != 0 ||
                         qcow2_map_get(s, (first + i) << s->cluster_bits) != QCOW2_META_NONE) {
            return 0;
        }
    }
    ret = qcow2_raise_refcounts(bs, first, count);
    if (ret < 0) {
        return ret;
    }
    /* Making a refcount block may just have taken the next cluster. */
    if (count > 1) {
        ret = qcow2_get_refcount(bs, first + 1, &refcount);
        if (ret < 0 || refcount != 1) {
            qcow2_lower_refcounts(bs, first, count);
            return ret;
        }
    }
    *offset = cursor;
    return 0;
}

int coroutine_fn qcow2_co_alloc_bytes(BlockDriverState *bs, uint32_t bytes, uint64_t *offset)
{
    BDRVQcow2State *s = bs->opaque;
    Search run;
    int ret;

    if (qatomic_read(&s->corrupt)) {
        return -EIO;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_CLUSTER_ALLOC_BYTES);
    qemu_co_mutex_lock(&s->alloc_lock);
    ret = append_bytes(bs, bytes, offset);
    if (ret == 0 && !*offset) {
        ret = find_free(bs, 1, false, &run);
        if (ret == 0) {
            ret = take_run(bs, "compressed cluster", &run);
        }
        if (ret == 0) {
            *offset = run.first << s->cluster_bits;
            s->rc.free_hint = run.first + 1;
        }
    }
    if (ret == 0 && (*offset + bytes) >> s->csize_shift) {
        uint64_t first = *offset >> s->cluster_bits;

        qcow2_lower_refcounts(bs, first, ((*offset + bytes - 1) >> s->cluster_bits) - first + 1);
        ret = -EFBIG; /* a compressed entry cannot express it */
    }
    if (ret == 0) {
        uint64_t end = *offset + bytes;

        s->rc.cursor = qcow2_in_cluster(s, end) ? end : 0;
        s->rc.zero_from = MAX(s->rc.zero_from, ROUND_UP(end, (uint64_t)s->cluster_size));
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret;
}

void coroutine_fn qcow2_co_unalloc_bytes(BlockDriverState *bs, uint64_t offset, uint32_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t first = offset >> s->cluster_bits;

    qcow2_co_unalloc(bs, offset, ((offset + bytes - 1) >> s->cluster_bits) - first + 1);
}
