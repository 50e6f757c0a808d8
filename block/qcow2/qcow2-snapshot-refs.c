/* SPDX-License-Identifier: MIT */
/*
 * One walk does everything: for each reference, in the order of the table, a function is called.
 * What has to be taken back when a refcount cannot be raised is the part of the walk that
 * was done, so it is counted in references, and made again up to there.
 */
#include "qcow2-snapshot-refs.h"

#include "qcow2-l2cache.h"
#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"

/* So many entries of L2 tables may be looked at that were looked at before. */
#define MAX_REPEATED (UINT64_C(1) << 22)

typedef struct Walk Walk;
struct Walk {
    BlockDriverState *bs;
    int coroutine_fn (*visit)(Walk *w, uint64_t cluster, uint64_t count);
    uint64_t visits, limit; /* made, and when to stop */
    uint64_t end;           /* clusters of the file */
    uint64_t *l2;           /* room for a table */
    bool discard;
    uint64_t free_first, free_count; /* a run that became free, not yet discarded */
};

/* --- the walk --- */

void qcow2_walk_expect(BlockDriverState *bs, uint64_t entries)
{
    BDRVQcow2State *s = bs->opaque;

    s->walk_done = 0;
    s->walk_total = entries;
}

/* An L1 entry more is done; told in bytes of the disk. What is taken back counts no more. */
static void walk_step(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t unit = UINT64_C(1) << (s->cluster_bits + s->l2_bits);

    if (s->walk_done < s->walk_total) {
        s->walk_done++;
        bdrv_report_progress(bs, s->walk_done * unit, s->walk_total * unit);
    }
}

/* 1: the limit is reached. */
static int coroutine_fn visit(Walk *w, uint64_t offset, uint64_t bytes, const char *what)
{
    BDRVQcow2State *s = w->bs->opaque;
    uint64_t first = offset >> s->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;

    if (w->visits == w->limit) {
        return 1;
    }
    if (last >= w->end) {
        qcow2_signal_corruption(w->bs, true, "%s at %#" PRIx64 " lies behind the end of the file",
                                what, offset);
        return -EIO;
    }
    w->visits++;
    return w->visit(w, first, last - first + 1);
}

static int coroutine_fn walk_entry(Walk *w, uint64_t word, uint64_t table, unsigned index)
{
    BDRVQcow2State *s = w->bs->opaque;
    uint64_t host = word & QCOW2_L2_OFFSET_MASK, start, bytes;

    if (word & QCOW2_OFLAG_COMPRESSED) {
        qcow2_compressed_span(s, word, &start, &bytes);
        return visit(w, start, bytes, "a compressed cluster");
    }
    if (!host) {
        return 0;
    }
    if (qcow2_in_cluster(s, host)) {
        qcow2_signal_corruption(w->bs, true, "Cluster allocation offset %#" PRIx64 " unaligned (L2"
                                " offset: %#" PRIx64 ", L2 index: %#x)", host, table, index);
        return -EIO;
    }
    return visit(w, host, s->cluster_size, "a data cluster");
}

static int coroutine_fn read_table(BlockDriverState *bs, uint64_t offset, uint32_t l1_index,
                                   uint64_t *l2)
{
    BDRVQcow2State *s = bs->opaque;

    if (qcow2_in_cluster(s, offset)) {
        qcow2_signal_corruption(bs, true, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#"
                                PRIx32 ")", offset, l1_index);
        return -EIO;
    }
    return bdrv_co_pread(bs->file, offset, s->cluster_size, l2, 0);
}

static int coroutine_fn walk_l1(Walk *w, const uint64_t *l1, uint32_t entries)
{
    BDRVQcow2State *s = w->bs->opaque;
    unsigned words = s->cluster_size / 8;
    int ret = 0;

    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t table = l1[i] & QCOW2_L1_OFFSET_MASK;

        walk_step(w->bs);
        if (!table) {
            continue;
        }
        ret = read_table(w->bs, table, i, w->l2);
        if (ret == 0) {
            ret = visit(w, table, s->cluster_size, "an L2 table");
        }
        for (unsigned k = 0; k < words && ret == 0; k += s->entry_words) {
            ret = walk_entry(w, GUINT64_FROM_BE(w->l2[k]), table, k / s->entry_words);
        }
    }
    return MIN(ret, 0);
}

static int coroutine_fn walk_begin(Walk *w, BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_co_getlength(bs->file->bs);

    if (length < 0) {
        return length;
    }
    w->bs = bs;
    w->end = DIV_ROUND_UP(MAX((uint64_t)length, s->rc.zero_from), s->cluster_size);
    w->l2 = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    return w->l2 ? 0 : -ENOMEM;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

int coroutine_fn qcow2_co_tree_plausible(BlockDriverState *bs, const uint64_t *l1,
                                         uint32_t entries)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree uint64_t *tables = NULL;
    uint64_t repeated = 0;
    uint32_t n = 0;

    /* Most of a large table names none. */
    for (uint32_t i = 0; i < entries; i++) {
        n += (l1[i] & QCOW2_L1_OFFSET_MASK) != 0;
    }
    if ((uint64_t)n << s->l2_bits <= MAX_REPEATED) {
        return 0;
    }
    tables = g_try_new(uint64_t, n);
    if (!tables) {
        return -ENOMEM;
    }
    n = 0;
    for (uint32_t i = 0; i < entries; i++) {
        if (l1[i] & QCOW2_L1_OFFSET_MASK) {
            tables[n++] = l1[i] & QCOW2_L1_OFFSET_MASK;
        }
    }
    qsort(tables, n, sizeof(*tables), by_value);
    for (uint32_t i = 1; i < n; i++) {
        repeated += tables[i] == tables[i - 1];
    }
    if (repeated << s->l2_bits > MAX_REPEATED) {
        qcow2_signal_corruption(bs, false, "%" PRIu64 " entries of an L1 table name L2 tables that"
                                " others name already", repeated);
        return -EIO;
    }
    return 0;
}

/* --- refcounts --- */

static int coroutine_fn visit_raise(Walk *w, uint64_t cluster, uint64_t count)
{
    BDRVQcow2State *s = w->bs->opaque;
    uint64_t refcount = 1;
    int ret = 0;

    qemu_co_mutex_lock(&s->alloc_lock);
    for (uint64_t i = 0; i < count && ret == 0; i++) {
        ret = qcow2_get_refcount(w->bs, cluster + i, &refcount);
        if (ret == 0 && refcount == 0) {
            qcow2_signal_corruption(w->bs, true, "the cluster at %#" PRIx64 " is in use and has"
                                    " refcount 0", (cluster + i) << s->cluster_bits);
            ret = -EIO;
        }
    }
    if (ret == 0) {
        ret = qcow2_raise_refcounts(w->bs, cluster, count);
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    w->visits -= ret < 0; /* it has not happened */
    return ret;
}

static void coroutine_fn discard_run(Walk *w)
{
    BDRVQcow2State *s = w->bs->opaque;

    if (w->free_count) {
        /* A hint: failure costs space in the host's file system only. */
        bdrv_co_pdiscard(w->bs->file, w->free_first << s->cluster_bits,
                         w->free_count << s->cluster_bits);
        w->free_count = 0;
    }
}

static void coroutine_fn note_free(Walk *w, uint64_t cluster)
{
    if (w->free_count && w->free_first + w->free_count != cluster) {
        discard_run(w);
    }
    if (w->free_count++ == 0) {
        w->free_first = cluster;
    }
}

static int coroutine_fn visit_lower(Walk *w, uint64_t cluster, uint64_t count)
{
    BDRVQcow2State *s = w->bs->opaque;
    int ret = 0;

    for (uint64_t i = 0; i < count && ret == 0; i++) {
        uint64_t refcount = 1;

        qemu_co_mutex_lock(&s->alloc_lock);
        ret = qcow2_lower_refcounts(w->bs, cluster + i, 1);
        if (ret == 0 && w->discard) {
            ret = qcow2_get_refcount(w->bs, cluster + i, &refcount);
        }
        qemu_co_mutex_unlock(&s->alloc_lock);
        /* Metadata that a damaged entry named as data stays as it is. */
        if (ret == 0 && refcount == 0 &&
            qcow2_map_get(s, (cluster + i) << s->cluster_bits) == QCOW2_META_NONE) {
            note_free(w, cluster + i);
        }
    }
    return ret;
}

static int coroutine_fn lower(BlockDriverState *bs, const uint64_t *l1, uint32_t entries,
                              uint64_t limit, bool discard)
{
    Walk w = { .visit = visit_lower, .limit = limit, .discard = discard };
    int ret = qcow2_co_tree_plausible(bs, l1, entries);

    ret = ret < 0 ? ret : walk_begin(&w, bs);

    if (ret == 0) {
        ret = walk_l1(&w, l1, entries);
        discard_run(&w);
    }
    qemu_vfree(w.l2);
    return ret;
}

int coroutine_fn qcow2_co_raise_tree(BlockDriverState *bs, const uint64_t *l1, uint32_t entries,
                                     bool *leaked)
{
    Walk w = { .visit = visit_raise, .limit = UINT64_MAX };
    int ret = qcow2_co_tree_plausible(bs, l1, entries);

    ret = ret < 0 ? ret : walk_begin(&w, bs);

    if (ret == 0) {
        ret = walk_l1(&w, l1, entries);
    }
    qemu_vfree(w.l2);
    if (ret < 0 && w.visits) {
        *leaked = lower(bs, l1, entries, w.visits, false) < 0;
    }
    return ret;
}

int coroutine_fn qcow2_co_lower_tree(BlockDriverState *bs, const uint64_t *l1, uint32_t entries,
                                     bool discard)
{
    return lower(bs, l1, entries, UINT64_MAX, discard);
}

/* --- COPIED flags --- */

/* The entry with the flag as it should be. */
static int coroutine_fn with_flag(BlockDriverState *bs, uint64_t entry, uint64_t host,
                                  uint64_t *right)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t refcount;
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = qcow2_get_refcount(bs, host >> s->cluster_bits, &refcount);
    qemu_co_mutex_unlock(&s->alloc_lock);
    if (ret == 0) {
        *right = (entry & ~QCOW2_OFLAG_COPIED) | (refcount == 1 ? QCOW2_OFLAG_COPIED : 0);
    }
    return ret;
}

/* A table that is no active one is not in the map. */
static int coroutine_fn write_l2(BlockDriverState *bs, uint64_t offset, const uint64_t *l2)
{
    BDRVQcow2State *s = bs->opaque;
    bool inactive = qcow2_map_get(s, offset) == QCOW2_META_NONE;
    int ret = qcow2_co_check_write(bs, inactive ? QCOW2_META_NONE : QCOW2_META_L2, offset,
                                   s->cluster_size);

    return ret < 0 ? ret : bdrv_co_pwrite(bs->file, offset, s->cluster_size, l2, 0);
}

static int coroutine_fn refresh_l2(BlockDriverState *bs, uint64_t offset, uint32_t l1_index,
                                   uint64_t *l2)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned words = s->cluster_size / 8;
    bool changed = false;
    int ret = read_table(bs, offset, l1_index, l2);

    for (unsigned i = 0; ret == 0 && i < words; i += s->entry_words) {
        uint64_t entry = GUINT64_FROM_BE(l2[i]), host = entry & QCOW2_L2_OFFSET_MASK;

        if (host && !(entry & QCOW2_OFLAG_COMPRESSED)) {
            uint64_t right = entry;

            ret = with_flag(bs, entry, host, &right);
            changed |= right != entry;
            l2[i] = GUINT64_TO_BE(right);
        }
    }
    return ret == 0 && changed ? write_l2(bs, offset, l2) : ret;
}

int coroutine_fn qcow2_co_refresh_copied(BlockDriverState *bs, uint64_t *l1, uint32_t entries)
{
    BDRVQcow2State *s = bs->opaque;
    QEMU_AUTO_VFREE uint64_t *l2 = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    int ret = l2 ? qcow2_co_tree_plausible(bs, l1, entries) : -ENOMEM;

    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t table = l1[i] & QCOW2_L1_OFFSET_MASK, right = l1[i];

        walk_step(bs);
        if (table) {
            ret = refresh_l2(bs, table, i, l2);
        }
        if (ret == 0 && table) {
            ret = with_flag(bs, l1[i], table, &right);
        }
        if (right != l1[i]) {
            qatomic_set(&l1[i], right);
        }
    }
    return ret;
}

int coroutine_fn qcow2_co_refresh_active_copied(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree uint64_t *old = g_try_new(uint64_t, MAX(s->l1_size, 1U));
    int ret;

    if (!old) {
        return -ENOMEM;
    }
    memcpy(old, s->l1, s->l1_size * sizeof(uint64_t));
    ret = qcow2_co_refresh_copied(bs, s->l1, s->l1_size);
    qemu_mutex_lock(&s->meta);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        if (s->l1[i] != old[i]) {
            set_bit(i / 64, s->l1_dirty);
            s->any_l1_dirty = true;
        }
    }
    qcow2_l2cache_forget_all(s);
    qemu_mutex_unlock(&s->meta);
    return ret;
}
