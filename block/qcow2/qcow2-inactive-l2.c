/* SPDX-License-Identifier: MIT */
/* See the header. */
#include "qcow2-inactive-l2.h"

#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot.h"

static bool wanted(const BDRVQcow2State *s)
{
    return s->overlap_check & 1U << QCOW2_META_INACTIVE_L2;
}

static void map_tables_of(BlockDriverState *bs, const Qcow2Snapshot *sn)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree uint64_t *l1 = NULL;

    if (!qcow2_snapshot_l1_valid(s, sn, NULL)) {
        s->overlap_unknown = qcow2_snapshot_l1_error(sn);
        return;
    }
    if (qcow2_read_snapshot_l1(bs, sn, 0, &l1) < 0) {
        return;
    }
    for (uint32_t i = 0; i < sn->l1_size; i++) {
        uint64_t table = l1[i] & QCOW2_L1_OFFSET_MASK;

        if (table && qcow2_map_get(s, table) == QCOW2_META_NONE) {
            qcow2_map_add(s, QCOW2_META_INACTIVE_L2, table, s->cluster_size);
        }
    }
}

void qcow2_map_inactive_l2(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    g_autoptr(GArray) snapshots = NULL;
    uint64_t bytes;

    if (wanted(s)) {
        snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, NULL);
    }
    for (guint i = 0; snapshots && i < snapshots->len; i++) {
        map_tables_of(bs, qcow2_snapshot_at(snapshots, i));
    }
}

void qcow2_unmap_inactive_l2(BDRVQcow2State *s)
{
    s->overlap_unknown = 0;
    if (wanted(s)) {
        qcow2_map_remove_kind(s, QCOW2_META_INACTIVE_L2);
    }
}

void coroutine_fn qcow2_co_note_left_l2(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t refcount;

    if (!wanted(s)) {
        return;
    }
    qemu_co_mutex_lock(&s->alloc_lock);
    /* One of the references is the one that has just gone; it is lowered later. */
    if (qcow2_get_refcount(bs, offset >> s->cluster_bits, &refcount) == 0 && refcount > 1) {
        qcow2_map_add(s, QCOW2_META_INACTIVE_L2, offset, s->cluster_size);
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
}
