/* SPDX-License-Identifier: MIT */
/*
 * Applying a snapshot: one reference more to all that its L1 table reaches, a new active L1 table
 * that reaches the same, and then one change of the header that makes it, with the snapshot's size,
 * the one that counts. What the disk was before is given up after that.
 *
 * All that the new table reaches has two references now, so it has no COPIED flag. The L2 tables of
 * the snapshot may have stale ones, which are cleared before: there they mean nothing.
 *
 * Showing a snapshot without applying it does the same to a read-only image, in RAM.
 */
#include "qcow2-snapshot.h"

#include "qemu/error-report.h"

#include "qcow2-header-io.h"
#include "qcow2-l2cache.h"
#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot-change.h"
#include "qcow2-snapshot-refs.h"
#include "qcow2-writeback.h"

typedef struct NewDisk {
    uint64_t size;     /* bytes */
    uint64_t *l1;      /* host byte order */
    uint32_t l1_size;
    uint64_t offset;   /* of the table */
    unsigned long *dirty;
} NewDisk;

/* --- the L1 table in RAM --- */

static int coroutine_fn load_disk(BlockDriverState *bs, const Qcow2Snapshot *sn, NewDisk *new)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t needed = qcow2_l1_entries_needed(sn->disk_size, s->cluster_bits, s->extended);

    if (sn->disk_size > (uint64_t)BDRV_MAX_LENGTH || needed > QCOW2_MAX_L1_BYTES / 8) {
        return -EFBIG;
    }
    new->size = sn->disk_size;
    new->l1_size = MAX(needed, sn->l1_size);
    new->dirty = g_try_new0(unsigned long, BITS_TO_LONGS(new->l1_size / 64 + 1));
    return new->dirty ? qcow2_read_snapshot_l1(bs, sn, needed, &new->l1) : -ENOMEM;
}

/* The node is drained: nobody looks at the old table. Takes over the arrays. */
static void switch_disk(BDRVQcow2State *s, NewDisk *new)
{
    qemu_mutex_lock(&s->meta);
    g_free(s->l1);
    g_free(s->l1_dirty);
    s->l1_dirty = g_steal_pointer(&new->dirty);
    s->l1_table_offset = new->offset;
    qatomic_rcu_set(&s->l1, g_steal_pointer(&new->l1));
    qatomic_store_release(&s->l1_size, new->l1_size);
    qatomic_set(&s->size, new->size);
    qcow2_l2cache_forget_all(s);
    qemu_mutex_unlock(&s->meta);
}

/* Metadata of the active disk, in the map or out of it. */
static void map_disk(BDRVQcow2State *s, bool add)
{
    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_L1_OFFSET_MASK;

        if (table && add) {
            qcow2_map_add(s, QCOW2_META_L2, table, s->cluster_size);
        } else if (table) {
            qcow2_map_remove(s, QCOW2_META_L2, table, s->cluster_size);
        }
    }
}

/* --- the L1 table on the disk --- */

static int coroutine_fn write_l1(BlockDriverState *bs, const NewDisk *new)
{
    uint64_t bytes = new->l1_size * 8ULL;
    QEMU_AUTO_VFREE uint64_t *raw = qemu_try_blockalign(bs->file->bs, bytes);
    int ret;

    if (!raw) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < new->l1_size; i++) {
        raw[i] = GUINT64_TO_BE(new->l1[i]);
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_L1, new->offset, bytes);
    return ret < 0 ? ret : bdrv_co_pwrite(bs->file, new->offset, bytes, raw, 0);
}

static int coroutine_fn place_l1(BlockDriverState *bs, NewDisk *new)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = new->l1_size * 8ULL;
    int64_t got;
    bool fresh;

    new->offset = 0;
    if (bytes == 0) {
        return 0;
    }
    got = qcow2_co_alloc_clusters(bs, DIV_ROUND_UP(bytes, s->cluster_size), true, &new->offset,
                                  &fresh);
    if (got < 0) {
        return got;
    }
    qcow2_map_add(s, QCOW2_META_L1, new->offset, bytes);
    return 0;
}

static void coroutine_fn forget_l1(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;

    if (bytes) {
        qcow2_map_remove(s, QCOW2_META_L1, offset, bytes);
        qcow2_co_unalloc(bs, offset, DIV_ROUND_UP(bytes, s->cluster_size));
    }
}

/* --- applying --- */

/* An L2 table of the snapshot must not lie where other metadata does. */
static int coroutine_fn check_tables(BlockDriverState *bs, const NewDisk *new)
{
    BDRVQcow2State *s = bs->opaque;

    for (uint32_t i = 0; i < new->l1_size; i++) {
        uint64_t table = new->l1[i] & QCOW2_L1_OFFSET_MASK;
        Qcow2MetaKind kind = table ? qcow2_map_get(s, table) : QCOW2_META_NONE;

        if (kind != QCOW2_META_NONE && kind != QCOW2_META_L2) {
            qcow2_signal_corruption(bs, true, "the snapshot's L2 table at %#" PRIx64
                                    " overlaps other metadata", table);
            return -EIO;
        }
    }
    return 0;
}

/* The references are there; makes the new table durable, and then the header. */
static int coroutine_fn enter_disk(BlockDriverState *bs, NewDisk *new)
{
    int ret = qcow2_co_refresh_copied(bs, new->l1, new->l1_size);

    if (ret == 0) {
        ret = place_l1(bs, new);
    }
    if (ret < 0) {
        return ret;
    }
    ret = new->l1_size ? write_l1(bs, new) : 0;
    if (ret == 0) {
        ret = qcow2_co_writeback_locked(bs);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        ret = qcow2_co_write_header_disk(bs, new->size, new->l1_size, new->offset);
    }
    if (ret < 0) {
        forget_l1(bs, new->offset, new->l1_size * 8ULL);
    }
    return ret;
}

static int coroutine_fn goto_locked(BlockDriverState *bs, const Qcow2Snapshot *sn, NewDisk *new)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t old_offset = s->l1_table_offset;
    uint32_t old_size = s->l1_size;
    g_autofree uint64_t *old = g_try_new(uint64_t, MAX(old_size, 1U));
    bool leaked; /* and no more than that: no flag depends on it */
    int ret = old ? load_disk(bs, sn, new) : -ENOMEM;

    if (ret == 0) {
        ret = check_tables(bs, new);
    }
    if (ret == 0) {
        /* It is given up when there is no way back. */
        ret = qcow2_co_tree_plausible(bs, s->l1, s->l1_size);
    }
    if (ret == 0) {
        /* References of the new disk, its flags, then references of the old one. */
        qcow2_walk_expect(bs, new->l1_size * UINT64_C(2) + old_size);
        ret = qcow2_co_raise_tree(bs, new->l1, new->l1_size, &leaked);
    }
    if (ret < 0) {
        return ret;
    }
    ret = enter_disk(bs, new);
    if (ret < 0) {
        if (!qatomic_read(&s->corrupt)) {
            qcow2_co_lower_tree(bs, new->l1, new->l1_size, false);
        }
        return ret;
    }
    memcpy(old, s->l1, old_size * sizeof(uint64_t));
    map_disk(s, false);
    switch_disk(s, new);
    map_disk(s, true);
    forget_l1(bs, old_offset, old_size * 8ULL);
    return qcow2_co_lower_tree(bs, old, old_size, s->may_discard_snapshots);
}

/* What speaks against it; some is told at once, as QEMU does, where the caller adds its own words. */
static int check_goto(BlockDriverState *bs, const Qcow2Snapshot *sn, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Error *err = NULL;

    if (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS) {
        error_setg(errp, "Device has active dirty bitmaps");
        return -EBUSY;
    }
    if (!qcow2_snapshot_l1_valid(s, sn, &err)) {
        error_report_err(err);
        return qcow2_snapshot_l1_error(sn);
    }
    if (sn->disk_size % BDRV_SECTOR_SIZE) {
        error_report("The new size must be a multiple of %u", (unsigned)BDRV_SECTOR_SIZE);
        return -EINVAL;
    }
    if (sn->disk_size != s->size && s->hdr.version < 3) {
        /* Entries without a size of their own would change their meaning. */
        error_report("Can't resize a v2 image which has snapshots");
        return -ENOTSUP;
    }
    return 0;
}

static void free_disk(NewDisk *new)
{
    g_free(new->l1);
    g_free(new->dirty);
}

int coroutine_fn qcow2_snapshot_goto(BlockDriverState *bs, const char *snapshot_id, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes;
    g_autoptr(GArray) snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, errp);
    NewDisk new = { 0 };
    Qcow2SnapshotChange c;
    int i, ret;

    if (!snapshots) {
        return -EIO;
    }
    if (s->external) {
        return -ENOTSUP; /* whether there is such a snapshot or not */
    }
    i = qcow2_find_snapshot(snapshots, snapshot_id, NULL);
    i = i < 0 ? qcow2_find_snapshot(snapshots, NULL, snapshot_id) : i;
    if (i < 0) {
        return -ENOENT;
    }
    ret = check_goto(bs, qcow2_snapshot_at(snapshots, i), errp);
    if (ret == 0) {
        ret = qcow2_co_snapshot_begin(bs, false, &c);
    }
    if (ret < 0) {
        return ret;
    }
    ret = goto_locked(bs, qcow2_snapshot_at(snapshots, i), &new);
    free_disk(&new);
    return qcow2_co_snapshot_end(bs, &c, ret);
}

/* --- showing --- */

int coroutine_fn qcow2_snapshot_load_tmp(BlockDriverState *bs, const char *snapshot_id,
                                         const char *name, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes;
    g_autoptr(GArray) snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, errp);
    const Qcow2Snapshot *sn;
    NewDisk new = { 0 };
    int i, ret;

    if (!snapshots) {
        return -EIO;
    }
    i = qcow2_find_snapshot(snapshots, snapshot_id, name);
    if (i < 0) {
        error_setg(errp, "Can't find snapshot");
        return -ENOENT;
    }
    sn = qcow2_snapshot_at(snapshots, i);
    if (!qcow2_snapshot_l1_valid(s, sn, errp)) {
        return -EINVAL;
    }
    ret = load_disk(bs, sn, &new);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to read l1 table for snapshot");
    } else {
        new.size = ROUND_DOWN(new.size, BDRV_SECTOR_SIZE);
        new.offset = sn->l1_table_offset;
        switch_disk(s, &new);
    }
    free_disk(&new);
    return ret;
}
