/* SPDX-License-Identifier: MIT */
/*
 * Version 2 cannot say that a cluster reads as zeroes. Without a backing file an empty entry does;
 * with one the cluster gets a host cluster full of zeroes. Tables are changed in place, those that
 * snapshots share too, as they read the same before and after. For each table: zeroes and
 * refcounts are durable before its entries refer to them, and these before what they
 * referred to is free.
 */
#include "qcow2-amend.h"

#include "qemu/error-report.h"

#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot.h"
#include "qcow2-writeback.h"

typedef struct Expand {
    BlockDriverState *bs;
    GHashTable *seen;   /* offsets of tables: uint64_t, owned */
    uint64_t *table;    /* as on the disk */
    GArray *dropped;    /* of uint64_t: host offsets */
    bool backing;
    uint64_t done, total; /* L1 entries */
    const Qcow2AmendProgress *progress;
} Expand;

static int coroutine_fn refcount_of(BlockDriverState *bs, uint64_t offset, uint64_t *refcount)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = qcow2_get_refcount(bs, offset >> s->cluster_bits, refcount);
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret;
}

/* Raises or lowers the refcount of a cluster @times times. */
static int coroutine_fn change_refcount(BlockDriverState *bs, uint64_t offset, bool raise,
                                        uint64_t times)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t cluster = offset >> s->cluster_bits;
    int ret = 0;

    qemu_co_mutex_lock(&s->alloc_lock);
    for (uint64_t i = 0; i < times && ret == 0; i++) {
        ret = raise ? qcow2_raise_refcounts(bs, cluster, 1) : qcow2_lower_refcounts(bs, cluster, 1);
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret;
}

/* A host cluster of zeroes for an entry that @refs L1 tables reach. */
static int coroutine_fn zero_cluster(Expand *x, uint64_t *host, uint64_t refs)
{
    BDRVQcow2State *s = x->bs->opaque;
    uint64_t old_refs = 0;
    bool fresh;
    int ret = *host ? refcount_of(x->bs, *host, &old_refs) : 0;

    if (ret < 0) {
        return ret;
    }
    if (!*host || old_refs != refs) {
        /* Somebody else's data may lie in the old one. */
        int64_t got;

        if (*host) {
            g_array_append_val(x->dropped, *host);
        }
        got = qcow2_co_alloc_clusters(x->bs, 1, true, host, &fresh);
        ret = got < 0 ? got : change_refcount(x->bs, *host, true, refs - 1);
    }
    if (ret == 0) {
        ret = qcow2_co_check_write(x->bs, QCOW2_META_NONE, *host, s->cluster_size);
    }
    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(x->bs->file, *host, s->cluster_size, 0);
}

/* *@changed: entries of the table in RAM are not as on the disk. */
static int coroutine_fn expand_entries(Expand *x, uint64_t refs, bool active, bool *changed)
{
    BDRVQcow2State *s = x->bs->opaque;

    for (unsigned i = 0; i < s->cluster_size / 8; i++) {
        uint64_t entry = GUINT64_FROM_BE(x->table[i]), host = entry & QCOW2_L2_OFFSET_MASK;
        int ret = 0;

        if ((entry & QCOW2_OFLAG_COMPRESSED) || !(entry & QCOW2_OFLAG_ZERO)) {
            continue;
        }
        if (qcow2_in_cluster(s, host)) {
            return -EIO;
        }
        if (x->backing) {
            ret = zero_cluster(x, &host, refs);
            entry = host | (active && refs == 1 ? QCOW2_OFLAG_COPIED : 0);
        } else {
            if (host) {
                g_array_append_val(x->dropped, host);
            }
            entry = 0;
        }
        if (ret < 0) {
            return ret;
        }
        x->table[i] = GUINT64_TO_BE(entry);
        *changed = true;
    }
    return 0;
}

static int coroutine_fn write_table(Expand *x, uint64_t offset)
{
    BDRVQcow2State *s = x->bs->opaque;
    bool known = qcow2_map_get(s, offset) == QCOW2_META_L2;
    int ret = qcow2_co_writeback(x->bs); /* refcounts */

    if (ret == 0) {
        ret = bdrv_co_flush(x->bs->file->bs);
    }
    if (ret == 0) {
        /* The map holds the active tables only. */
        ret = qcow2_co_check_write(x->bs, known ? QCOW2_META_L2 : QCOW2_META_NONE, offset,
                                   s->cluster_size);
    }
    if (ret == 0) {
        ret = bdrv_co_pwrite(x->bs->file, offset, s->cluster_size, x->table, 0);
    }
    return ret < 0 ? ret : bdrv_co_flush(x->bs->file->bs);
}

static int coroutine_fn expand_table(Expand *x, uint64_t offset, bool active)
{
    BDRVQcow2State *s = x->bs->opaque;
    bool changed = false;
    uint64_t refs;
    int ret = refcount_of(x->bs, offset, &refs);

    if (ret == 0) {
        ret = bdrv_co_pread(x->bs->file, offset, s->cluster_size, x->table, 0);
    }
    if (ret < 0) {
        return ret;
    }
    if (!refs) {
        return -EIO;
    }
    g_array_set_size(x->dropped, 0);
    ret = expand_entries(x, refs, active, &changed);
    if (ret < 0 || !changed) {
        return ret; /* what was allocated leaks: the image is given up on */
    }
    ret = write_table(x, offset);
    for (guint i = 0; i < x->dropped->len && ret == 0; i++) {
        ret = change_refcount(x->bs, g_array_index(x->dropped, uint64_t, i), false, refs);
    }
    return ret;
}

static int coroutine_fn expand_l1(Expand *x, const uint64_t *l1, uint32_t entries, bool active)
{
    BDRVQcow2State *s = x->bs->opaque;

    for (uint32_t i = 0; i < entries; i++) {
        uint64_t offset = l1[i] & QCOW2_L1_OFFSET_MASK;
        int ret = 0;

        if (offset && !g_hash_table_contains(x->seen, &offset)) {
            g_hash_table_add(x->seen, g_memdup2(&offset, sizeof(offset)));
            ret = qcow2_in_cluster(s, offset) ? -EIO : expand_table(x, offset, active);
        }
        if (ret < 0) {
            return ret;
        }
        qcow2_amend_done(x->progress, ++x->done, x->total);
    }
    return 0;
}

static int coroutine_fn expand_snapshots(Expand *x, GArray *snapshots)
{
    BDRVQcow2State *s = x->bs->opaque;
    int ret = 0;

    for (guint i = 0; i < snapshots->len && ret == 0; i++) {
        const Qcow2Snapshot *sn = qcow2_snapshot_at(snapshots, i);
        g_autofree uint64_t *l1 = NULL;
        Error *err = NULL;

        if (!qcow2_snapshot_l1_valid(s, sn, &err)) {
            error_report_err(err); /* the caller says what it was for, as QEMU does */
            return qcow2_snapshot_l1_error(sn);
        }
        ret = qcow2_read_snapshot_l1(x->bs, sn, sn->l1_size, &l1);
        if (ret == 0) {
            ret = expand_l1(x, l1, sn->l1_size, false);
        }
    }
    return ret;
}

int coroutine_fn qcow2_co_expand_zeroes(BlockDriverState *bs, const Qcow2AmendProgress *progress)
{
    BDRVQcow2State *s = bs->opaque;
    Expand x = { .bs = bs, .backing = s->hdr.backing_file, .total = s->l1_size,
                 .progress = progress };
    uint64_t bytes;
    GArray *snapshots;
    int ret = qcow2_co_writeback_all(bs);

    if (ret < 0) {
        return ret;
    }
    snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, NULL);
    if (!snapshots) {
        return -EIO;
    }
    for (guint i = 0; i < snapshots->len; i++) {
        x.total += qcow2_snapshot_at(snapshots, i)->l1_size;
    }
    x.seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    x.dropped = g_array_new(false, false, sizeof(uint64_t));
    x.table = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    ret = x.table ? expand_l1(&x, s->l1, s->l1_size, true) : -ENOMEM;
    if (ret == 0) {
        ret = expand_snapshots(&x, snapshots);
    }
    /* The tables in RAM are those of before. */
    qemu_mutex_lock(&s->meta);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        qcow2_l2cache_forget(s, i);
    }
    qemu_mutex_unlock(&s->meta);
    qcow2_free_snapshots(snapshots);
    g_hash_table_destroy(x.seen);
    g_array_free(x.dropped, true);
    qemu_vfree(x.table);
    return ret < 0 ? ret : qcow2_co_writeback_all(bs);
}
