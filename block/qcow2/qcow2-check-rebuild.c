/* SPDX-License-Identifier: MIT */
/*
 * New refcount structures from the references counted: blocks for all that is in use, then a
 * table for them, each at the first place that nothing refers to, the old structures
 * included. Placing one may need one more block, or a longer table; so it goes round until all
 * have their places. Only then anything is written, and the header switched last: a
 * failure or a power cut before that leaves the image as it was, but for space behind the end.
 */
#include "qcow2-check-walk.h"

#include "qemu/error-report.h"

#include "qcow2-header-io.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"

typedef struct Plan {
    GArray *table;   /* of uint64_t: host offsets of blocks, 0: none */
    uint64_t scan;   /* no cluster below that is not taken (for single clusters) */
    uint64_t offset, clusters; /* of the table */
} Plan;

static uint64_t *entry_of(Plan *p, uint64_t index)
{
    if (index >= p->table->len) {
        g_array_set_size(p->table, index + 1);
    }
    return &g_array_index(p->table, uint64_t, index);
}

/*
 * The first @count clusters in a row without a reference, from *@from on; counts them. What refers to
 * a place behind the end reads zeroes, and shall not find new structures there.
 */
static int take(Qcow2Check *c, uint64_t count, uint64_t *from, uint64_t *cluster)
{
    uint64_t at = *from, run = 0;

    while (run < count) {
        run = qcow2_refmap_get(&c->map, at) || qcow2_refmap_get(&c->beyond, at) ? 0 : run + 1;
        at++;
    }
    *cluster = at - count;
    for (uint64_t i = 0; i < count; i++) {
        int ret = qcow2_refmap_add(&c->map, *cluster + i);

        if (ret < 0) {
            return ret;
        }
    }
    c->nb_clusters = MAX(c->nb_clusters, at);
    return 0;
}

/* Blocks for all clusters from @first to @last that have references. */
static int plan_blocks(Qcow2Check *c, Plan *p, uint64_t first, uint64_t *last)
{
    BDRVQcow2State *s = c->bs->opaque;
    const uint64_t counters = UINT64_C(1) << s->refblock_bits;

    for (uint64_t i = first >> s->refblock_bits; i << s->refblock_bits <= *last; i++) {
        uint64_t start = i << s->refblock_bits, at;
        int ret;

        if ((!qcow2_refmap_any(&c->map, start, counters) && !qcow2_refmap_any(&c->beyond, start, counters)) ||
            *entry_of(p, i)) {
            continue;
        }
        ret = take(c, 1, &p->scan, &at);
        if (ret < 0) {
            return ret;
        }
        p->scan = at + 1;
        *entry_of(p, i) = at << s->cluster_bits;
        *last = MAX(*last, at);
        /* It may lie in the range of an earlier block that was not needed up to now. */
        if (at >> s->refblock_bits < i && !*entry_of(p, at >> s->refblock_bits)) {
            i = (at >> s->refblock_bits) - 1;
        }
    }
    return 0;
}

static int plan(Qcow2Check *c, Plan *p)
{
    BDRVQcow2State *s = c->bs->opaque;
    /* A file may have become empty: the header stays. */
    uint64_t last = MAX(MAX(c->nb_clusters, c->beyond_end), 1) - 1;
    int ret = plan_blocks(c, p, 0, &last);

    while (ret == 0) {
        uint64_t needed = DIV_ROUND_UP(p->table->len * 8ULL, s->cluster_size), from = 0, at;

        if (needed == p->clusters) {
            break;
        }
        if (needed << s->cluster_bits > QCOW2_MAX_REFTABLE_BYTES) {
            return -EFBIG;
        }
        /* What was taken for a table that turned out too short stays unused. */
        for (uint64_t i = 0; i < p->clusters; i++) {
            qcow2_refmap_clear(&c->map, (p->offset >> s->cluster_bits) + i);
        }
        ret = take(c, needed, &from, &at);
        if (ret == 0) {
            p->offset = at << s->cluster_bits;
            p->clusters = needed;
            last = at + needed - 1;
            ret = plan_blocks(c, p, at, &last);
        }
    }
    return ret;
}

/* --- writing --- */

/* The refcount structures that count as metadata are these. */
static void map_structures(BDRVQcow2State *s, uint64_t offset, uint64_t bytes,
                           const uint64_t *table, uint64_t entries)
{
    qcow2_map_remove_kind(s, QCOW2_META_REFTABLE);
    qcow2_map_remove_kind(s, QCOW2_META_REFBLOCK);
    qcow2_map_add(s, QCOW2_META_REFTABLE, offset, bytes);
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t host = table[i] & QCOW2_REFTABLE_OFFSET_MASK;

        if (host) {
            qcow2_map_add(s, QCOW2_META_REFBLOCK, host, s->cluster_size);
        }
    }
}

static int coroutine_fn write_block(Qcow2Check *c, uint64_t index, uint64_t host, uint8_t *buf)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t first = index << s->refblock_bits;
    int ret = qcow2_co_check_write(c->bs, QCOW2_META_REFBLOCK, host, s->cluster_size);

    memset(buf, 0, s->cluster_size);
    for (uint64_t i = 0; i < UINT64_C(1) << s->refblock_bits; i++) {
        qcow2_counter_set(s->refcount_order, buf, i, qcow2_check_references(c, first + i));
    }
    return ret < 0 ? ret : bdrv_co_pwrite(c->bs->file, host, s->cluster_size, buf, 0);
}

static int coroutine_fn write_table(Qcow2Check *c, const Plan *p, uint64_t *raw)
{
    uint64_t bytes = p->clusters << ((BDRVQcow2State *)c->bs->opaque)->cluster_bits;
    int ret = qcow2_co_check_write(c->bs, QCOW2_META_REFTABLE, p->offset, bytes);

    for (guint i = 0; i < p->table->len; i++) {
        raw[i] = GUINT64_TO_BE(g_array_index(p->table, uint64_t, i));
    }
    if (ret == 0) {
        ret = bdrv_co_pwrite(c->bs->file, p->offset, bytes, raw, 0);
    }
    return ret < 0 ? ret : bdrv_co_flush(c->bs->file->bs);
}

/* Forgets what is known of the old structures. */
static void adopt(Qcow2Check *c, const Plan *p, uint64_t *table)
{
    BDRVQcow2State *s = c->bs->opaque;
    Qcow2Refcounts *rc = &s->rc;

    g_hash_table_remove_all(rc->blocks);
    g_free(rc->table);
    rc->table = table;
    rc->entries = (p->clusters << s->cluster_bits) / 8;
    for (uint64_t i = 0; i < rc->entries; i++) {
        table[i] = GUINT64_FROM_BE(table[i]);
    }
    rc->table_offset = p->offset;
    rc->table_dirty = false;
    rc->free_hint = 0;
    rc->cursor = 0;
    rc->zero_from = MAX(rc->zero_from, c->nb_clusters << s->cluster_bits);
}

static int coroutine_fn carry_out(Qcow2Check *c, const Plan *p, const char **failed)
{
    BDRVQcow2State *s = c->bs->opaque;
    g_autofree uint8_t *buf = g_try_malloc(s->cluster_size);
    g_autofree uint64_t *raw = g_try_malloc0(p->clusters << s->cluster_bits);
    int64_t length;
    int ret = buf && raw ? 0 : -ENOMEM;

    *failed = "ERROR writing refblock";
    map_structures(s, p->offset, p->clusters << s->cluster_bits, (uint64_t *)p->table->data,
                   p->table->len);
    for (guint i = 0; i < p->table->len && ret == 0; i++) {
        uint64_t host = g_array_index(p->table, uint64_t, i);

        ret = host ? write_block(c, i, host, buf) : 0;
    }
    if (ret == 0) {
        *failed = "ERROR writing reftable";
        ret = write_table(c, p, raw);
    }
    if (ret == 0) {
        *failed = "ERROR setting reftable";
        ret = qcow2_co_write_header_reftable(c->bs, p->offset, p->clusters);
    }
    if (ret == 0) {
        adopt(c, p, g_steal_pointer(&raw));
        length = bdrv_co_getlength(c->bs->file->bs);
        c->file_bytes = length < 0 ? c->file_bytes : (uint64_t)length;
    } else if (!qatomic_read(&s->corrupt)) {
        map_structures(s, s->rc.table_offset, s->rc.entries * 8, s->rc.table, s->rc.entries);
    }
    return ret;
}

int coroutine_fn qcow2_check_rebuild(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    Plan p = { .table = g_array_new(false, true, sizeof(uint64_t)) };
    const char *failed = "ERROR allocating reftable";
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = plan(c, &p);
    if (ret == 0) {
        ret = carry_out(c, &p, &failed);
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    if (ret < 0) {
        error_report("%s: %s", failed, g_strerror(-ret));
        c->r->check_errors++;
    }
    g_array_free(p.table, true);
    return ret;
}
