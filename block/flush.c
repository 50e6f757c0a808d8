/* SPDX-License-Identifier: MIT */
/*
 * Flush: the driver's caches to the operating system, those of this node to the disk,
 * then the children.
 *
 * A node counts its writes (write_gen); a flush that finds nothing new since the last
 * good one has nothing to ask of the disk. One flush of a node runs at a time, as the
 * next one covers all writes that ended before it began.
 *
 * When the disk reports that it lost writes, it does so once: the kernel has dropped the
 * pages, and the next fsync would succeed without them. So the error sticks to the node
 * until it is opened anew.
 */
#include "node.h"

/* Waits for its turn; 0: run, and say so with flush_end(); 1: nothing to do; -errno. */
static int coroutine_fn flush_begin(BlockNodeCore *core, uint64_t *gen)
{
    Waiter waiter;

    node_lock(&core->reqs_lock);
    *gen = core->write_gen;
    while (core->flush_active) {
        wait_list_sleep(&core->flush_waiters, &waiter, &core->reqs_lock);
        node_lock(&core->reqs_lock);
    }
    if (core->flush_error || core->flushed_gen >= *gen) {
        int ret = core->flush_error ? core->flush_error : 1;

        node_unlock(&core->reqs_lock);
        return ret;
    }
    *gen = core->write_gen;
    core->flush_active = true;
    node_unlock(&core->reqs_lock);
    return 0;
}

static void coroutine_fn flush_end(BlockNodeCore *core, uint64_t gen, int ret)
{
    Waiter *woken;

    node_lock(&core->reqs_lock);
    core->flush_active = false;
    if (ret == 0) {
        core->flushed_gen = gen;
    } else if (!core->children->len) {
        /* What lies on children has an error of its own there. */
        qatomic_set(&core->flush_error, ret);
    }
    woken = wait_list_take(&core->flush_waiters);
    node_unlock(&core->reqs_lock);
    wait_list_wake(woken);
}

/* Only where something is left to flush: errors are injected into the flush that follows. */
static void coroutine_fn raise_flush_to_disk(BlockDriverState *bs)
{
    BlockNodeCore *core = bs->core;
    bool dirty;

    node_lock(&core->reqs_lock);
    dirty = core->flushed_gen < core->write_gen;
    node_unlock(&core->reqs_lock);
    if (dirty) {
        bdrv_co_debug_event(bs, BLKDBG_FLUSH_TO_DISK);
    }
}

static int coroutine_fn flush_this_disk(BlockDriverState *bs)
{
    uint64_t gen;
    int ret = flush_begin(bs->core, &gen);

    if (ret == 0) {
        ret = driver_flush_to_disk(bs);
        flush_end(bs->core, gen, ret);
        return ret;
    }
    return ret > 0 ? 0 : ret;
}

/* Only children that somebody may have written through this node. */
static int coroutine_fn flush_children(BlockDriverState *bs)
{
    int ret = 0;

    for (guint i = 0; i < bs->core->children->len; i++) {
        BdrvChild *child = bdrv_child_at(bs->core->children, i);

        if (child->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) {
            int child_ret = bdrv_co_flush(child->bs);

            ret = ret < 0 ? ret : child_ret;
        }
    }
    return ret;
}

int coroutine_fn bdrv_co_flush(BlockDriverState *bs)
{
    int ret = 0;

    if (bs->read_only) {
        return 0;
    }
    if (bs->file) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_FLUSH_TO_OS);
    }
    if (bs->drv->bdrv_co_flush_to_os) {
        ret = driver_flush_to_os(bs);
    }
    if (ret == 0 && bs->file && unlikely(bs->file->bs->debug_events) &&
        !(bs->open_flags & BDRV_O_NO_FLUSH)) {
        raise_flush_to_disk(bs->file->bs);
    }
    if (ret == 0 && bs->drv->bdrv_co_flush_to_disk &&
        !(bs->open_flags & BDRV_O_NO_FLUSH)) {
        ret = flush_this_disk(bs);
    }
    return ret < 0 ? ret : flush_children(bs);
}

/* --- before the end --- */

typedef struct FinishCall {
    CoCall call;
    BlockDriverState *bs;
    Error **errp;
} FinishCall;

/* From the top: what a node writes goes to its children. */
static int coroutine_fn finish_node(BlockDriverState *bs, Error **errp)
{
    int ret = 0;

    if (!bs->read_only) {
        if (bs->drv->bdrv_co_finish_writing) {
            ret = bs->drv->bdrv_co_finish_writing(bs, errp);
        } else {
            ret = bdrv_co_flush(bs);
            if (ret < 0) {
                error_setg_errno(errp, -ret, "Could not flush '%s'", bs->filename);
            }
        }
    }
    for (guint i = 0; i < bs->core->children->len && ret == 0; i++) {
        ret = finish_node(bdrv_child_at(bs->core->children, i)->bs, errp);
    }
    return ret;
}

static void coroutine_fn call_finish(CoCall *call)
{
    FinishCall *f = container_of(call, FinishCall, call);

    call->ret = finish_node(f->bs, f->errp);
}

int blk_finish_writing(BlockBackend *blk, Error **errp)
{
    ERRP_GUARD();
    FinishCall f = { .call.fn = call_finish, .bs = blk_bs(blk), .errp = errp };
    int ret = 0;

    blk_drained_begin(blk);
    if (f.bs) {
        ret = co_call(&f.call);
    }
    blk_drained_end(blk);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not write '%s' out", f.bs->filename);
    }
    return ret;
}
