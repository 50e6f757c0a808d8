/* SPDX-License-Identifier: MIT */
/*
 * Deleting a snapshot: first a snapshot table without it, durably; then its references go, and
 * clusters that only the active disk is left to use get their COPIED flag. From the new table on
 * a failure leaves leaks, and after a crash clusters in use by one reference that lack the flag:
 * they would be copied in vain, and the dirty bit of version 3 sees to their repair.
 */
#include "qcow2-snapshot.h"

#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot-change.h"
#include "qcow2-snapshot-refs.h"

/* One behind the end of a damaged image's file has no clusters. */
static void coroutine_fn free_l1(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_co_getlength(bs->file->bs);

    if (bytes && length >= 0 && offset < MAX((uint64_t)length, s->rc.zero_from)) {
        qcow2_map_remove(s, QCOW2_META_SNAPSHOT_L1, offset, bytes);
        qcow2_co_unalloc(bs, offset, DIV_ROUND_UP(bytes, s->cluster_size));
    }
}

static int coroutine_fn delete_at(BlockDriverState *bs, GArray *snapshots, guint i,
                                  Qcow2SnapshotChange *c, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Snapshot *sn = qcow2_snapshot_at(snapshots, i);
    uint64_t offset = sn->l1_table_offset;
    uint32_t l1_size = sn->l1_size;
    g_autofree uint64_t *l1 = NULL;
    int ret, refreshed;

    if (!qcow2_snapshot_l1_valid(s, sn, errp)) {
        return -EINVAL;
    }
    ret = qcow2_read_snapshot_l1(bs, sn, 0, &l1);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to read the snapshot's L1 table");
        return ret;
    }
    ret = qcow2_co_tree_plausible(bs, l1, l1_size);
    if (ret == 0) {
        ret = qcow2_co_tree_plausible(bs, s->l1, s->l1_size);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to look at the snapshot's L2 tables");
        return ret;
    }
    g_array_remove_index(snapshots, i);
    ret = qcow2_co_replace_snapshots(bs, snapshots);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to remove snapshot from snapshot list");
        return ret;
    }
    qcow2_walk_expect(bs, (uint64_t)l1_size + s->l1_size); /* references, then flags */
    ret = qcow2_co_lower_tree(bs, l1, l1_size, s->may_discard_snapshots);
    free_l1(bs, offset, l1_size * 8ULL);
    /* Flags are right whatever became of the refcounts. */
    refreshed = qcow2_co_refresh_active_copied(bs);
    c->unclean = refreshed < 0;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to free the cluster and L1 table");
        return ret;
    }
    if (refreshed < 0) {
        error_setg_errno(errp, -refreshed, "Failed to update snapshot status in disk");
    }
    return refreshed;
}

int coroutine_fn qcow2_snapshot_delete(BlockDriverState *bs, const char *snapshot_id,
                                       const char *name, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes;
    g_autoptr(GArray) snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, errp);
    Qcow2SnapshotChange c;
    int i, ret;

    if (!snapshots) {
        return -EIO;
    }
    i = qcow2_find_snapshot(snapshots, snapshot_id, name);
    if (i < 0) {
        error_setg(errp, "Can't find the snapshot");
        return -ENOENT;
    }
    ret = qcow2_co_snapshot_begin(bs, true, &c);
    return ret < 0 ? ret
                   : qcow2_co_snapshot_end(bs, &c, delete_at(bs, snapshots, i, &c, errp));
}
