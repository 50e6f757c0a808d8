/* SPDX-License-Identifier: MIT */
/* See the header. */
#include "qcow2-snapshot-change.h"

#include "qemu/error-report.h"

#include "qcow2-header-io.h"
#include "qcow2-inactive-l2.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"

static void drop_locks(BDRVQcow2State *s)
{
    qemu_co_mutex_unlock(&s->l1_lock);
    qemu_co_mutex_unlock(&s->wb_lock);
}

/*
 * Durably, for a reason that lasts. That s->hdr says so is not enough: taking the mark off can
 * fail, and happen all the same.
 */
static bool is_marked(const BDRVQcow2State *s)
{
    return qatomic_read(&s->lazy_dirty) ||
           (s->unclean && (s->hdr.incompatible_features & QCOW2_INCOMPAT_DIRTY));
}

int coroutine_fn qcow2_co_snapshot_begin(BlockDriverState *bs, bool mark,
                                         Qcow2SnapshotChange *c)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = s->external ? -ENOTSUP : qcow2_co_begin_change(bs);

    *c = (Qcow2SnapshotChange){ 0 };
    if (ret == 0) {
        ret = qcow2_co_writeback_all(bs);
    }
    if (ret < 0) {
        return ret;
    }
    qemu_co_mutex_lock(&s->wb_lock);
    qemu_co_mutex_lock(&s->l1_lock);
    qcow2_unmap_inactive_l2(s);
    if (mark && s->hdr.version >= 3 && !is_marked(s)) {
        ret = qcow2_co_write_header_dirty(bs, true);
        c->marked = ret == 0;
    }
    if (ret < 0) {
        qcow2_map_inactive_l2(bs);
        drop_locks(s);
    }
    return ret;
}

int coroutine_fn qcow2_co_snapshot_end(BlockDriverState *bs, Qcow2SnapshotChange *c, int ret)
{
    BDRVQcow2State *s = bs->opaque;
    int end = qcow2_co_writeback_locked(bs);

    if (end == 0) {
        end = bdrv_co_flush(bs->file->bs);
    }
    s->unclean |= c->unclean;
    if (end == 0 && c->marked && !s->unclean && !qatomic_read(&s->lazy_dirty)) {
        end = qcow2_co_write_header_dirty(bs, false);
    }
    qcow2_map_inactive_l2(bs);
    drop_locks(s);
    ret = ret < 0 ? ret : end;
    if (ret < 0 && c->done) {
        warn_report("qcow2: the snapshot of image '%s' is made, but not all that it leaves behind"
                    " is cleaned up (%s); a check repairs that", bs->filename, g_strerror(-ret));
        return 0;
    }
    return ret;
}
