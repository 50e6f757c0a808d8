/* SPDX-License-Identifier: MIT */
/*
 * Drain: between begin and end no request is in flight, and new ones wait.
 *
 * Quiescing goes up: a node that is drained quiesces its parents, up to the backends,
 * where requests come in and are held back. Requests are counted there (and by drivers
 * that work in the background, at their node), so a node is still when nothing above it
 * and nothing of its own is in flight.
 *
 * All of it runs in the home thread, which polls its context until the counts are zero.
 * Other threads' drains are carried out there on their behalf. The counts of other
 * threads and the quiesce counter are a pair of flags, each side writes its own and then
 * looks at the other's: blk_begin_request() and blk_quiesce().
 *
 * Who waits for the end of a drained section is not counted meanwhile, and is counted
 * again before it is woken: a backend whose count is zero and where nobody waits has no
 * request left, in any thread, and may be freed. So the last that a request does with its
 * backend is to count itself out; whether anybody waits for that it asks a counter of the
 * whole process.
 */
#include "node.h"
#include "qemu/aio-wait.h"

/* --- quiescing --- */

/* How many wait for counts to become zero, or may: quiesced backends and closing ones. */
static unsigned nb_watchers;

void blk_quiesce(BlockBackend *blk)
{
    qatomic_inc(&nb_watchers);
    qemu_mutex_lock(&blk->queue_lock);
    qatomic_set(&blk->quiesce, blk->quiesce + 1);
    qemu_mutex_unlock(&blk->queue_lock);
    smp_mb(); /* pairs with blk_begin_request() and blk_dec_in_flight_other() */
}

/* The woken ones' part of blk_begin_request(), on their behalf. */
static void count_waiters(BlockBackend *blk, const Waiter *waiter)
{
    for (; waiter; waiter = waiter->next) {
        qatomic_inc(&blk->other_in_flight);
    }
}

void blk_unquiesce(BlockBackend *blk)
{
    Waiter *woken = NULL;

    qemu_mutex_lock(&blk->queue_lock);
    g_assert(blk->quiesce > 0);
    qatomic_store_release(&blk->quiesce,
                          blk->quiesce - 1); /* pairs with blk_is_quiesced() */
    if (blk->quiesce == 0) {
        woken = wait_list_take(&blk->waiting);
        count_waiters(blk, woken);
    }
    qemu_mutex_unlock(&blk->queue_lock);
    qatomic_dec(&nb_watchers);
    wait_list_wake(woken);
}

bool blk_busy(BlockBackend *blk)
{
    return blk->home_in_flight + qatomic_load_acquire(&blk->other_in_flight) != 0;
}

void blk_dec_in_flight_other(BlockBackend *blk)
{
    qatomic_dec(&blk->other_in_flight);
    /* From here on the backend may be gone. */
    smp_mb__after_rmw(); /* pairs with blk_quiesce() and blk_wait_idle() */
    if (qatomic_read(&nb_watchers)) {
        aio_wait_kick();
    }
}

void blk_wait_idle(BlockBackend *blk)
{
    qatomic_inc(&nb_watchers);
    smp_mb__after_rmw(); /* pairs with blk_dec_in_flight_other() */
    AIO_WAIT_WHILE(blk->ctx, blk_busy(blk));
    qatomic_dec(&nb_watchers);
}

void bdrv_quiesce(BlockDriverState *bs)
{
    if (bs->core->quiesce++) {
        return;
    }
    for (guint i = 0; i < bs->core->parents->len; i++) {
        BdrvChild *edge = bdrv_child_at(bs->core->parents, i);

        if (edge->parent) {
            bdrv_quiesce(edge->parent);
        } else {
            blk_quiesce(blk_of_root(edge));
        }
    }
    if (bs->drv && bs->drv->bdrv_drain_begin) {
        bs->drv->bdrv_drain_begin(bs);
    }
}

void bdrv_unquiesce(BlockDriverState *bs)
{
    g_assert(bs->core->quiesce > 0);
    if (--bs->core->quiesce) {
        return;
    }
    if (bs->drv && bs->drv->bdrv_drain_end) {
        bs->drv->bdrv_drain_end(bs);
    }
    /* The requests that this wakes may change the graph only through a bottom half. */
    for (guint i = 0; i < bs->core->parents->len; i++) {
        BdrvChild *edge = bdrv_child_at(bs->core->parents, i);

        if (edge->parent) {
            bdrv_unquiesce(edge->parent);
        } else {
            blk_unquiesce(blk_of_root(edge));
        }
    }
}

static bool bdrv_busy(BlockDriverState *bs)
{
    if (qatomic_load_acquire(&bs->core->in_flight)) {
        return true;
    }
    for (guint i = 0; i < bs->core->parents->len; i++) {
        BdrvChild *edge = bdrv_child_at(bs->core->parents, i);

        if (edge->parent ? bdrv_busy(edge->parent) : blk_busy(blk_of_root(edge))) {
            return true;
        }
    }
    return false;
}

void bdrv_inc_in_flight(BlockDriverState *bs)
{
    qatomic_inc(&bs->core->in_flight);
}

void bdrv_dec_in_flight(BlockDriverState *bs)
{
    qatomic_dec(&bs->core->in_flight);
    aio_wait_kick();
}

/* --- steps, in the home thread --- */

static void node_begin(void *opaque)
{
    BlockDriverState *bs = opaque;

    bdrv_quiesce(bs);
    AIO_WAIT_WHILE(bs->core->ctx, bdrv_busy(bs));
}

static void node_end(void *opaque)
{
    bdrv_unquiesce(opaque);
}

static void backend_begin(void *opaque)
{
    BlockBackend *blk = opaque;

    blk_quiesce(blk);
    blk->drained++;
    if (blk->root.bs) {
        bdrv_quiesce(blk->root.bs);
    }
    AIO_WAIT_WHILE(blk->ctx, blk_busy(blk) || (blk->root.bs && bdrv_busy(blk->root.bs)));
}

static void backend_end(void *opaque)
{
    BlockBackend *blk = opaque;

    g_assert(blk->drained > 0);
    blk->drained--;
    if (blk->root.bs) {
        bdrv_unquiesce(blk->root.bs);
    }
    blk_unquiesce(blk);
}

static void backend_both(void *opaque)
{
    backend_begin(opaque);
    backend_end(opaque);
}

/* --- from wherever --- */

/* A coroutine cannot poll: a bottom half of the home context does, while it sleeps. */
typedef struct CoDrain {
    Coroutine *co;
    void (*step)(void *opaque);
    void *opaque;
} CoDrain;

static void co_drain_bh(void *opaque)
{
    CoDrain *d = opaque;

    d->step(d->opaque);
    aio_co_wake(d->co);
}

void drain_step(AioContext *ctx, void (*step)(void *opaque), void *opaque)
{
    if (qemu_in_coroutine()) {
        CoDrain d = { qemu_coroutine_self(), step, opaque };

        aio_bh_schedule_oneshot(ctx, co_drain_bh, &d);
        qemu_coroutine_yield();
    } else {
        run_in_context(ctx, step, opaque);
    }
}

void bdrv_drained_begin(BlockDriverState *bs)
{
    drain_step(bs->core->ctx, node_begin, bs);
}

void bdrv_drained_end(BlockDriverState *bs)
{
    drain_step(bs->core->ctx, node_end, bs);
}

void blk_drained_begin(BlockBackend *blk)
{
    drain_step(blk->ctx, backend_begin, blk);
}

void blk_drained_end(BlockBackend *blk)
{
    drain_step(blk->ctx, backend_end, blk);
}

void blk_drain(BlockBackend *blk)
{
    drain_step(blk->ctx, backend_both, blk);
}
