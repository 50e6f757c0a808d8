/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots, whatever the format. A node whose driver has none stands for the one below
 * it if that is all there is below it; its length follows when a snapshot is applied there.
 *
 * The driver's callbacks run in a coroutine while the node that they change is drained, so that
 * they meet no request, and no request sees half of a change.
 */
#include "block/snapshot.h"

#include "block/dirty-bitmap.h"
#include "node.h"

static bool has_snapshots(const BlockDriverState *bs)
{
    return bs->drv->bdrv_snapshot_create;
}

/* The node whose snapshots @bs has; NULL: there is none. */
static BlockDriverState *node_with_snapshots(BlockDriverState *bs)
{
    while (bs && !has_snapshots(bs)) {
        bs = bs->file && bs->core->children->len == 1 ? bs->file->bs : NULL;
    }
    return bs;
}

/* --- into the driver --- */

typedef struct SnapshotCall {
    CoCall call;
    BlockDriverState *bs;
    const char *id, *name;
    QEMUSnapshotInfo *info, **list;
    QEMUIOVector *qiov;
    int64_t pos;
    Error **errp;
} SnapshotCall;

#define SNAPSHOT_CALL(c) container_of(c, SnapshotCall, call)

static void coroutine_fn call_create(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);

    c->ret = s->bs->drv->bdrv_snapshot_create(s->bs, s->info);
}

static void coroutine_fn call_goto(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);

    c->ret = s->bs->drv->bdrv_snapshot_goto(s->bs, s->id, s->errp);
}

static void coroutine_fn call_delete(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);

    c->ret = s->bs->drv->bdrv_snapshot_delete(s->bs, s->id, s->name, s->errp);
}

static void coroutine_fn call_list(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);

    c->ret = s->bs->drv->bdrv_snapshot_list(s->bs, s->list);
}

static void coroutine_fn call_load_tmp(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);

    c->ret = s->bs->drv->bdrv_snapshot_load_tmp(s->bs, s->id, s->name, s->errp);
}

/*
 * Machine state begins where the disk ends. So that no resize moves that under a request, each
 * counts as one behind all disks: a resize keeps everything from the end on for itself.
 */
static void coroutine_fn vmstate_begin(TrackedRequest *req, BlockDriverState *bs)
{
    tracked_begin(req, bs, INT64_MAX - 1, 1, false, false);
}

static void coroutine_fn call_save_vmstate(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);
    TrackedRequest req;

    vmstate_begin(&req, s->bs);
    c->ret = s->bs->drv->bdrv_co_save_vmstate(s->bs, s->qiov, s->pos);
    tracked_end(&req);
}

static void coroutine_fn call_load_vmstate(CoCall *c)
{
    SnapshotCall *s = SNAPSHOT_CALL(c);
    TrackedRequest req;

    vmstate_begin(&req, s->bs);
    req.read = true;
    c->ret = s->bs->drv->bdrv_co_load_vmstate(s->bs, s->qiov, s->pos);
    tracked_end(&req);
}

static int call_drained(SnapshotCall *s, void coroutine_fn (*fn)(CoCall *call))
{
    int ret;

    s->call.fn = fn;
    bdrv_drained_begin(s->bs);
    ret = co_call(&s->call);
    bdrv_drained_end(s->bs);
    return ret;
}

/* --- changes --- */

int bdrv_can_snapshot(BlockDriverState *bs)
{
    BlockDriverState *at = node_with_snapshots(bs);

    return at && !bs->read_only && !at->read_only;
}

int bdrv_snapshot_create(BlockDriverState *bs, QEMUSnapshotInfo *sn_info)
{
    SnapshotCall s = { .bs = node_with_snapshots(bs), .info = sn_info };

    if (!s.bs) {
        return -ENOTSUP;
    }
    return s.bs->read_only ? -EACCES : call_drained(&s, call_create);
}

/* From the node that has changed up to the one that the user knows. */
static int refresh_lengths(BlockDriverState *bs, const BlockDriverState *changed)
{
    int64_t length;

    if (bs != changed) {
        int ret = refresh_lengths(bs->file->bs, changed);

        if (ret < 0) {
            return ret;
        }
    }
    length = bdrv_refresh_length(bs);
    return length < 0 ? length : 0;
}

int bdrv_snapshot_goto(BlockDriverState *bs, const char *snapshot_id, Error **errp)
{
    ERRP_GUARD();
    SnapshotCall s = { .call.fn = call_goto, .bs = node_with_snapshots(bs), .id = snapshot_id,
                       .errp = errp };
    int ret, refreshed;

    if (!s.bs) {
        error_setg(errp, "Block driver does not support snapshots");
        return -ENOTSUP;
    }
    if (s.bs->read_only) {
        error_setg(errp, "Failed to load snapshot: The image is read-only");
        return -EACCES;
    }
    if (bdrv_dirty_bitmap_first(bs) || bdrv_dirty_bitmap_first(s.bs)) {
        /* They would not know what has changed. */
        error_setg(errp, "Device has active dirty bitmaps");
        return -EBUSY;
    }
    bdrv_drained_begin(s.bs);
    ret = co_call(&s.call);
    /* It may have failed when the disk was another one already. */
    refreshed = refresh_lengths(bs, s.bs);
    ret = ret < 0 ? ret : refreshed;
    bdrv_drained_end(s.bs);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Failed to load snapshot");
    }
    return ret;
}

int bdrv_snapshot_delete(BlockDriverState *bs, const char *snapshot_id, const char *name,
                         Error **errp)
{
    ERRP_GUARD();
    SnapshotCall s = { .bs = node_with_snapshots(bs), .id = snapshot_id, .name = name,
                       .errp = errp };
    int ret;

    if (!s.bs) {
        error_setg(errp, "Block format '%s' does not support internal snapshot deletion",
                   bs->drv->format_name);
        return -ENOTSUP;
    }
    if (!snapshot_id && !name) {
        error_setg(errp, "snapshot_id and name are both NULL");
        return -EINVAL;
    }
    if (s.bs->read_only) {
        error_setg(errp, "The image is read-only");
        return -EACCES;
    }
    ret = call_drained(&s, call_delete);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not delete snapshot");
    }
    return ret;
}

/* --- looking --- */

int bdrv_snapshot_list(BlockDriverState *bs, QEMUSnapshotInfo **psn_info)
{
    SnapshotCall s = { .call.fn = call_list, .bs = node_with_snapshots(bs), .list = psn_info };

    *psn_info = NULL;
    return s.bs ? co_call(&s.call) : -ENOTSUP;
}

int bdrv_snapshot_find(BlockDriverState *bs, QEMUSnapshotInfo *sn_info, const char *name)
{
    return bdrv_snapshot_find_by_id_and_name(bs, NULL, name, sn_info, NULL) ? 0 : -ENOENT;
}

bool bdrv_snapshot_find_by_id_and_name(BlockDriverState *bs, const char *id, const char *name,
                                       QEMUSnapshotInfo *sn_info, Error **errp)
{
    g_autofree QEMUSnapshotInfo *list = NULL;
    int n = bdrv_snapshot_list(bs, &list);

    g_assert(id || name);
    if (n < 0) {
        error_setg_errno(errp, -n, "Failed to get a snapshot list");
        return false;
    }
    for (int i = 0; i < n; i++) {
        if ((!id || !strcmp(list[i].id_str, id)) && (!name || !strcmp(list[i].name, name))) {
            *sn_info = list[i];
            return true;
        }
    }
    return false;
}

int bdrv_snapshot_load_tmp(BlockDriverState *bs, const char *snapshot_id, const char *name,
                           Error **errp)
{
    ERRP_GUARD();
    SnapshotCall s = { .call.fn = call_load_tmp, .bs = bs, .id = snapshot_id, .name = name,
                       .errp = errp };
    int ret;

    if (!snapshot_id && !name) {
        error_setg(errp, "snapshot_id and name are both NULL");
        return -EINVAL;
    }
    if (!bs->read_only) {
        error_setg(errp, "Device is not readonly");
        return -EINVAL;
    }
    if (!bs->drv->bdrv_snapshot_load_tmp) {
        error_setg(errp, "Block format '%s' used by device '' does not support temporarily loading"
                   " internal snapshots", bs->drv->format_name);
        return -ENOTSUP;
    }
    bdrv_drained_begin(bs);
    ret = co_call(&s.call);
    if (ret == 0) {
        ret = refresh_lengths(bs, bs);
    }
    bdrv_drained_end(bs);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not load the snapshot");
    }
    return ret;
}

int bdrv_snapshot_load_tmp_by_id_or_name(BlockDriverState *bs, const char *id_or_name,
                                         Error **errp)
{
    Error *err = NULL;
    int ret = bdrv_snapshot_load_tmp(bs, id_or_name, NULL, &err);

    if (ret == -ENOENT) {
        error_free(err);
        return bdrv_snapshot_load_tmp(bs, NULL, id_or_name, errp);
    }
    error_propagate(errp, err);
    return ret;
}

/* --- machine state --- */

static int move_vmstate(BlockBackend *blk, void *buf, int64_t pos, int size,
                        void coroutine_fn (*fn)(CoCall *call))
{
    BlockDriverState *bs = blk_bs(blk);
    SnapshotCall s = { .call.fn = fn, .bs = bs ? node_with_snapshots(bs) : NULL, .pos = pos };
    QEMUIOVector qiov;
    int ret;

    if (!bs) {
        return -ENOMEDIUM;
    }
    if (!s.bs || !s.bs->drv->bdrv_co_save_vmstate) {
        return -ENOTSUP;
    }
    if (size < 0 || pos < 0 || pos > INT64_MAX - size) {
        return -EINVAL;
    }
    if (size == 0) {
        return 0;
    }
    qemu_iovec_init_buf(&qiov, buf, size);
    s.qiov = &qiov;
    bdrv_inc_in_flight(s.bs);
    ret = co_call(&s.call);
    bdrv_dec_in_flight(s.bs);
    return ret < 0 ? ret : size;
}

int blk_save_vmstate(BlockBackend *blk, const uint8_t *buf, int64_t pos, int size)
{
    BlockDriverState *bs = blk_bs(blk);
    int ret;

    if (bs && bs->read_only) {
        return -EACCES;
    }
    ret = move_vmstate(blk, (void *)buf, pos, size, call_save_vmstate);
    if (ret >= 0 && !blk_enable_write_cache(blk)) {
        int flushed = blk_flush(blk);

        ret = flushed < 0 ? flushed : ret;
    }
    return ret;
}

int blk_load_vmstate(BlockBackend *blk, uint8_t *buf, int64_t pos, int size)
{
    return move_vmstate(blk, buf, pos, size, call_load_vmstate);
}
