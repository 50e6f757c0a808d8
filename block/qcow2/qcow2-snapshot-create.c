/* SPDX-License-Identifier: MIT */
/*
 * Creating a snapshot: a copy of the active L1 table, one reference more to all that it reaches,
 * no COPIED flag left in the active tables, and then an entry in the snapshot table. What fails
 * before that is taken back.
 */
#include "qcow2-snapshot.h"

#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot-change.h"
#include "qcow2-snapshot-refs.h"
#include "qcow2-writeback.h"

/* One more than the largest number that is an id. */
static void choose_id(const GArray *snapshots, char *id, size_t size)
{
    uint64_t max = 0;

    for (guint i = 0; i < snapshots->len; i++) {
        uint64_t n = strtoull(qcow2_snapshot_at(snapshots, i)->id, NULL, 10);

        max = n < UINT64_MAX ? MAX(max, n) : max;
    }
    snprintf(id, size, "%" PRIu64, max + 1);
}

/* --- the copy of the L1 table --- */

static int coroutine_fn write_l1_copy(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = s->l1_size * 8ULL;
    QEMU_AUTO_VFREE uint64_t *raw = qemu_try_blockalign(bs->file->bs, bytes);
    int ret;

    if (!raw) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < s->l1_size; i++) {
        raw[i] = GUINT64_TO_BE(s->l1[i]);
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_SNAPSHOT_L1, offset, bytes);
    return ret < 0 ? ret : bdrv_co_pwrite(bs->file, offset, bytes, raw, 0);
}

static void coroutine_fn forget_l1_copy(BlockDriverState *bs, const Qcow2Snapshot *sn)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = sn->l1_size * 8ULL;

    if (bytes) {
        qcow2_map_remove(s, QCOW2_META_SNAPSHOT_L1, sn->l1_table_offset, bytes);
        qcow2_co_unalloc(bs, sn->l1_table_offset, DIV_ROUND_UP(bytes, s->cluster_size));
    }
}

static int coroutine_fn copy_l1(BlockDriverState *bs, Qcow2Snapshot *sn)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = s->l1_size * 8ULL;
    int64_t got;
    bool fresh;
    int ret;

    if (bytes == 0) {
        return 0;
    }
    got = qcow2_co_alloc_clusters(bs, DIV_ROUND_UP(bytes, s->cluster_size), true,
                                  &sn->l1_table_offset, &fresh);
    if (got < 0) {
        return got;
    }
    sn->l1_size = s->l1_size;
    qcow2_map_add(s, QCOW2_META_SNAPSHOT_L1, sn->l1_table_offset, bytes);
    ret = write_l1_copy(bs, sn->l1_table_offset);
    if (ret < 0) {
        forget_l1_copy(bs, sn);
    }
    return ret;
}

/* --- all together --- */

static void fill_in(const BDRVQcow2State *s, Qcow2Snapshot *sn, const QEMUSnapshotInfo *info)
{
    sn->id = g_strdup(info->id_str);
    sn->name = g_strdup(info->name);
    sn->disk_size = s->size;
    sn->vm_state_size = info->vm_state_size;
    sn->date_sec = info->date_sec;
    sn->date_nsec = info->date_nsec;
    sn->vm_clock_nsec = info->vm_clock_nsec;
    sn->icount = info->icount;
    sn->extra_size = sizeof(Qcow2DiskSnapshotExtra);
}

/* The references are there; makes them a snapshot's, or gives them up again. */
static int coroutine_fn enter_snapshot(BlockDriverState *bs, const GArray *snapshots,
                                       Qcow2SnapshotChange *c)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_co_refresh_active_copied(bs);

    if (ret == 0) {
        ret = qcow2_co_replace_snapshots(bs, snapshots);
    }
    if (ret < 0) {
        c->unclean = qatomic_read(&s->corrupt) ||
                     qcow2_co_lower_tree(bs, s->l1, s->l1_size, false) < 0 ||
                     qcow2_co_refresh_active_copied(bs) < 0;
    }
    return ret;
}

/*
 * The machine state is the snapshot's now. The active disk has no use for it: it would only be
 * copied by and by when the next one is written. A failure leaves that, or leaks.
 */
static int coroutine_fn drop_vmstate(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t first = qcow2_l1_entries_needed(s->size, s->cluster_bits, s->extended);
    g_autofree uint64_t *old = g_try_new0(uint64_t, MAX(s->l1_size, 1U));
    int ret;

    if (!old) {
        return -ENOMEM;
    }
    qemu_mutex_lock(&s->meta);
    for (uint32_t i = first; i < s->l1_size; i++) {
        old[i] = s->l1[i];
        qatomic_set(&s->l1[i], 0);
        set_bit(i / 64, s->l1_dirty);
        s->any_l1_dirty = true;
        if (old[i] & QCOW2_L1_OFFSET_MASK) {
            qcow2_map_remove(s, QCOW2_META_L2, old[i] & QCOW2_L1_OFFSET_MASK, s->cluster_size);
        }
    }
    qcow2_l2cache_forget_all(s);
    qemu_mutex_unlock(&s->meta);
    ret = qcow2_co_writeback_locked(bs);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    /* Shared with the snapshot, so nothing becomes free and no flag changes. */
    return ret < 0 ? ret : qcow2_co_lower_tree(bs, old, s->l1_size, false);
}

static int coroutine_fn create_locked(BlockDriverState *bs, QEMUSnapshotInfo *info,
                                      Qcow2SnapshotChange *c)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes;
    g_autoptr(GArray) snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, NULL);
    Qcow2Snapshot sn = { 0 };
    int ret;

    if (!snapshots) {
        return -EIO;
    }
    if (snapshots->len >= QCOW2_MAX_SNAPSHOTS) {
        return -EFBIG;
    }
    ret = copy_l1(bs, &sn);
    if (ret < 0) {
        return ret;
    }
    choose_id(snapshots, info->id_str, sizeof(info->id_str));
    fill_in(s, &sn, info);
    g_array_append_val(snapshots, sn);
    qcow2_walk_expect(bs, s->l1_size * UINT64_C(2)); /* references, then flags */
    ret = qcow2_co_raise_tree(bs, s->l1, s->l1_size, &c->unclean);
    if (ret == 0) {
        ret = enter_snapshot(bs, snapshots, c);
    }
    if (ret < 0) {
        forget_l1_copy(bs, &sn);
        return ret;
    }
    c->done = true;
    return sn.vm_state_size ? drop_vmstate(bs) : 0;
}

int coroutine_fn qcow2_snapshot_create(BlockDriverState *bs, QEMUSnapshotInfo *sn_info)
{
    Qcow2SnapshotChange c;
    int ret = qcow2_co_snapshot_begin(bs, true, &c);

    return ret < 0 ? ret : qcow2_co_snapshot_end(bs, &c, create_locked(bs, sn_info, &c));
}
