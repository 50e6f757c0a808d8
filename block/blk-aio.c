/* SPDX-License-Identifier: MIT */
/*
 * Requests by callback: a control block, a coroutine that does the work, and a bottom
 * half that calls back.
 *
 * All completions of a context, also those of requests that ended before blk_aio_*()
 * returned, queue up in its BlkContext; one bottom half calls back for all of them. So
 * the callback never runs early, and never in a coroutine: it may poll, drain and close.
 * It runs inside a defer_call section, so that requests sent by several callbacks are
 * submitted together.
 *
 * An engine that hands out completions is neither early nor in a coroutine either: it
 * calls back for each of them right away (io_engine_complete). The next request then
 * gets the control block, coroutine and stack that are still in the cache.
 */
#include "node.h"
#include "block/block.h"
#include "block/io-engine.h"
#include "qemu/aio-wait.h"
#include "qemu/defer-call.h"

/* How many idle control blocks a context keeps. */
#define MAX_FREE 512

typedef struct BlkContext BlkContext;

typedef struct BlkAIOCB BlkAIOCB;
struct BlkAIOCB {
    BlockAIOCB common;
    BlkContext *bc; /* of the request's context */
    BlockBackend *blk;
    int64_t offset, bytes;
    QEMUIOVector *qiov;
    BdrvRequestFlags flags;
    int ret;
    bool home;      /* which counter has it */
    bool wait;      /* was sent while drained */
    BlkAIOCB *next; /* in done or free */
};

struct BlkContext {
    AioContext *ctx;
    QEMUBH *bh;      /* calls back */
    bool scheduled;  /* bh is; always so when others run and done is not empty */
    bool collecting; /* io_engine_complete() will look at done */
    BlkAIOCB *done, **done_tail;
    unsigned nb_done;
    BlkAIOCB *free;
    unsigned nb_free;
};

static const AIOCBInfo blk_aiocb_info = { .aiocb_size = sizeof(BlkAIOCB) };

/* --- the state of a context --- */

static const char context_key; /* its address names our data in the context */
/* Changes whenever a BlkContext goes: what threads remember of them is void. Atomic. */
static unsigned context_generation;

/*
 * What this thread used last. Initial-exec: __tls_get_addr would cost as much as the
 * rest.
 */
static __thread struct {
    AioContext *ctx;
    BlkContext *bc;
    unsigned generation;
} last_used __attribute__((tls_model("initial-exec")));

static void call_back_bh(void *opaque);

static void blk_context_free(void *opaque)
{
    BlkContext *bc = opaque;

    g_assert(!bc->done);
    qatomic_inc(&context_generation);
    while (bc->free) {
        BlkAIOCB *acb = bc->free;

        bc->free = acb->next;
        g_free(acb);
    }
    qemu_bh_delete(bc->bh);
    g_free(bc);
}

static BlkContext *QEMU_NOINLINE blk_context_find(AioContext *ctx)
{
    BlkContext *bc = aio_context_get_data(ctx, &context_key);

    if (!bc) {
        bc = g_new0(BlkContext, 1);
        bc->ctx = ctx;
        bc->bh = aio_bh_new(ctx, call_back_bh, bc);
        bc->done_tail = &bc->done;
        aio_context_set_data(ctx, &context_key, bc, blk_context_free);
    }
    last_used.ctx = ctx;
    last_used.bc = bc;
    last_used.generation = qatomic_read(&context_generation);
    return bc;
}

/*
 * The calling thread's; NULL when it has no context. Not inlined: the thread may change
 * over a yield.
 */
static BlkContext *QEMU_NOINLINE blk_context_current(void)
{
    AioContext *ctx = qemu_get_current_aio_context();

    if (likely(ctx && ctx == last_used.ctx &&
               last_used.generation == qatomic_read(&context_generation))) {
        return last_used.bc;
    }
    return ctx ? blk_context_find(ctx) : NULL;
}

/* --- control blocks --- */

static inline BlkAIOCB *acb_new(BlkContext *bc)
{
    BlkAIOCB *acb;

    if (likely(bc && bc->free)) {
        acb = bc->free;
        bc->free = acb->next;
        bc->nb_free--;
        return acb;
    }
    return g_new(BlkAIOCB, 1);
}

static inline void acb_unref(BlkAIOCB *acb)
{
    BlkContext *bc = acb->bc;

    if (--acb->common.refcnt) {
        return;
    }
    if (likely(bc->nb_free < MAX_FREE)) {
        acb->next = bc->free;
        bc->free = acb;
        bc->nb_free++;
    } else {
        g_free(acb);
    }
}

/* --- completion --- */

static inline void acb_call_back(BlkAIOCB *acb)
{
    BlockBackend *blk = acb->blk;

    /*
     * In the home thread the request is over before the callback, whoever sent it: that
     * may drain, and must not wait for itself. A drain of the home thread waits for
     * callbacks of other threads.
     */
    if (likely(acb->home) || thread_owns_context(qatomic_read(&blk->ctx))) {
        blk_end_request(blk, acb->home);
        acb->common.cb(acb->common.opaque, acb->ret);
    } else {
        acb->common.cb(acb->common.opaque, acb->ret);
        blk_end_request(blk, false);
    }
    acb->common.cb = NULL;
    acb_unref(acb);
}

static void schedule_bh(BlkContext *bc)
{
    if (!bc->scheduled) {
        bc->scheduled = true;
        qemu_bh_schedule(bc->bh);
    }
}

static void call_back(BlkContext *bc)
{
    unsigned n = bc->nb_done; /* later ones: next time, others want to run too */

    if (n > 1) {
        schedule_bh(bc); /* a callback that polls finds the rest */
    }
    while (n-- && bc->done) {
        BlkAIOCB *acb = bc->done;

        bc->done = acb->next;
        bc->nb_done--;
        if (!bc->done) {
            bc->done_tail = &bc->done;
        }
        acb_call_back(acb);
    }
    if (!bc->done && bc->scheduled) {
        bc->scheduled = false;
        qemu_bh_cancel(bc->bh);
    }
}

static void call_back_bh(void *opaque)
{
    BlkContext *bc = opaque;

    bc->scheduled = false;
    defer_call_begin();
    call_back(bc);
    defer_call_end();
}

void io_engine_complete(AioContext *ctx, Coroutine *co)
{
    BlkContext *bc = blk_context_current();

    if (unlikely(!bc || bc->ctx != ctx)) {
        qemu_aio_coroutine_enter(ctx, co);
        return;
    }
    bc->collecting = true;
    qemu_aio_coroutine_enter(ctx, co);
    bc->collecting = false;
    if (bc->done) {
        call_back(bc);
    }
}

static void acb_done(BlkAIOCB *acb)
{
    BlkContext *bc = acb->bc;

    if (!bc->done && !bc->collecting) {
        schedule_bh(bc);
    }
    acb->next = NULL;
    *bc->done_tail = acb;
    bc->done_tail = &acb->next;
    bc->nb_done++;
}

static void acb_done_bh(void *opaque)
{
    acb_done(opaque);
}

/* At the end of a coroutine, perhaps in another thread than it began in. */
static void coroutine_fn acb_finish(BlkAIOCB *acb, int ret)
{
    acb->ret = ret;
    if (likely(blk_context_current() == acb->bc)) {
        acb_done(acb);
    } else {
        aio_bh_schedule_oneshot(acb->bc->ctx, acb_done_bh, acb);
    }
}

/* --- the coroutines --- */

/* One that was scheduled from a thread without a context learns here where it is. */
static inline void coroutine_fn acb_begin(BlkAIOCB *acb)
{
    if (unlikely(!acb->bc)) {
        acb->bc = blk_context_current();
    }
    if (unlikely(acb->wait)) {
        blk_wait_while_drained(acb->blk, &acb->home);
    }
}

static void coroutine_fn read_entry(void *opaque)
{
    BlkAIOCB *acb = opaque;

    acb_begin(acb);
    acb_finish(
        acb, blk_do_preadv(acb->blk, acb->offset, acb->bytes, acb->qiov, 0, acb->flags));
}

static void coroutine_fn write_entry(void *opaque)
{
    BlkAIOCB *acb = opaque;

    acb_begin(acb);
    acb_finish(
        acb, blk_do_pwritev(acb->blk, acb->offset, acb->bytes, acb->qiov, 0, acb->flags));
}

static void coroutine_fn zero_entry(void *opaque)
{
    BlkAIOCB *acb = opaque;

    acb_begin(acb);
    acb_finish(acb, blk_do_pwrite_zeroes(acb->blk, acb->offset, acb->bytes, acb->flags));
}

static void coroutine_fn discard_entry(void *opaque)
{
    BlkAIOCB *acb = opaque;

    acb_begin(acb);
    acb_finish(acb, blk_do_pdiscard(acb->blk, acb->offset, acb->bytes));
}

static void coroutine_fn flush_entry(void *opaque)
{
    BlkAIOCB *acb = opaque;

    acb_begin(acb);
    acb_finish(acb, blk_do_flush(acb->blk));
}

/* --- sending --- */

/* In the context that was to run the request. */
static void acb_no_coroutine_bh(void *opaque)
{
    BlkAIOCB *acb = opaque;

    acb->bc = blk_context_current();
    acb_done(acb);
}

/*
 * No coroutine to be had: the request has failed, and completes like any other. Out of
 * line.
 */
static BlockAIOCB *QEMU_NOINLINE send_failed(BlkAIOCB *acb)
{
    acb->ret = -ENOMEM;
    if (acb->bc) {
        acb_done(acb);
    } else {
        aio_bh_schedule_oneshot(qatomic_read(&acb->blk->ctx), acb_no_coroutine_bh, acb);
    }
    return &acb->common;
}

static inline BlockAIOCB *send_request(BlockBackend *blk, CoroutineEntry *entry,
                                       int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags, BlockCompletionFunc *cb,
                                       void *opaque)
{
    BlkContext *bc = blk_context_current();
    BlkAIOCB *acb = acb_new(bc);
    Coroutine *co;

    acb->common.aiocb_info = &blk_aiocb_info;
    acb->common.bs = blk->root.bs;
    acb->common.cb = cb;
    acb->common.opaque = opaque;
    acb->common.refcnt = 1;
    acb->bc = bc;
    acb->blk = blk;
    acb->offset = offset;
    acb->bytes = bytes;
    acb->qiov = qiov;
    acb->flags = flags;
    acb->home = bc && bc->ctx == qatomic_load_acquire(&blk->ctx); /* as blk_at_home() */
    blk_begin_request(blk, acb->home);
    acb->wait = blk_is_quiesced(blk);
    co = qemu_coroutine_create_attr(entry, acb, NULL);
    if (unlikely(!co)) {
        return send_failed(acb);
    }
    if (likely(bc)) {
        qemu_coroutine_enter(co);
    } else {
        aio_co_schedule(qatomic_read(&blk->ctx), co);
    }
    return &acb->common;
}

BlockAIOCB *blk_aio_preadv(BlockBackend *blk, int64_t offset, QEMUIOVector *qiov,
                           BdrvRequestFlags flags, BlockCompletionFunc *cb, void *opaque)
{
    return send_request(blk, read_entry, offset, qiov->size, qiov, flags, cb, opaque);
}

BlockAIOCB *blk_aio_pwritev(BlockBackend *blk, int64_t offset, QEMUIOVector *qiov,
                            BdrvRequestFlags flags, BlockCompletionFunc *cb, void *opaque)
{
    return send_request(blk, write_entry, offset, qiov->size, qiov, flags, cb, opaque);
}

BlockAIOCB *blk_aio_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                  BdrvRequestFlags flags, BlockCompletionFunc *cb,
                                  void *opaque)
{
    return send_request(blk, zero_entry, offset, bytes, NULL, flags, cb, opaque);
}

BlockAIOCB *blk_aio_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes,
                             BlockCompletionFunc *cb, void *opaque)
{
    return send_request(blk, discard_entry, offset, bytes, NULL, 0, cb, opaque);
}

BlockAIOCB *blk_aio_flush(BlockBackend *blk, BlockCompletionFunc *cb, void *opaque)
{
    return send_request(blk, flush_entry, 0, 0, NULL, 0, cb, opaque);
}

/* --- cancellation --- */

void bdrv_aio_cancel_async(BlockAIOCB *acb)
{
    /* Where there is no such function the request ends by itself; this only asks. */
    if (acb->aiocb_info->cancel_async) {
        acb->aiocb_info->cancel_async(acb);
    }
}

void bdrv_aio_cancel(BlockAIOCB *acb)
{
    /* A thread without a context may be the home of a backend all the same. */
    AioContext *ctx = thread_context_begin();

    /* Whoever completes a request drops its reference after the callback. */
    qemu_aio_ref(acb);
    bdrv_aio_cancel_async(acb);
    AIO_WAIT_WHILE(ctx, acb->refcnt > 1);
    qemu_aio_unref(acb);
    thread_context_end();
}

void blk_aio_cancel_async(BlockAIOCB *acb)
{
    bdrv_aio_cancel_async(acb);
}

void blk_aio_cancel(BlockAIOCB *acb)
{
    bdrv_aio_cancel(acb);
}
