/* SPDX-License-Identifier: MIT */
/*
 * Bottom halves.
 *
 * A bottom half is queued at most once (BH_PENDING) and, when its turn comes, is looked
 * at: run (BH_SCHEDULED), freed (BH_DELETED, BH_ONESHOT), both, or neither (cancelled).
 *
 * There are two queues. bh_shared takes pushes from any thread and from signal handlers,
 * newest first. bh_queue is home's, in order, and takes home's one-shot ones without any
 * atomic operation; as it first takes over what bh_shared has, the order of schedules of
 * each thread is kept. aio_bh_poll moves everything to a slice on its stack: what
 * callbacks schedule meanwhile waits for the next round, but an inner aio_poll runs it,
 * after what is left of the outer slices.
 *
 * A one-shot one that was queued is known to nobody else. Its memory comes from
 * bh_free, which is home's, or from malloc in other threads.
 */
#include <stdio.h>
#include <stdlib.h>

#include "aio-internal.h"

enum {
    BH_PENDING = 1,   /* in a queue */
    BH_SCHEDULED = 2, /* call it */
    BH_DELETED = 4,   /* free it, do not call it */
    BH_ONESHOT = 8,   /* free it after the call */
    BH_IDLE = 16,     /* no hurry */
};

struct QEMUBH {
    QEMUBH *next;
    QEMUBHFunc *cb;
    void *opaque;
    unsigned flags;
    AioContext *ctx;
    const char *name;
    MemReentrancyGuard *guard;
};

/* Idle bottom halves run after this time at the latest. */
#define BH_IDLE_NS (10 * SCALE_MS)
/* As many as there are requests in flight, in most programs. */
#define BH_FREE_MAX 256

static void queue_init(BHQueue *queue)
{
    queue->head = NULL;
    queue->tail = &queue->head;
}

static inline void queue_append(BHQueue *queue, QEMUBH *bh)
{
    bh->next = NULL;
    *queue->tail = bh;
    queue->tail = &bh->next;
}

static inline QEMUBH *queue_pop(BHQueue *queue)
{
    QEMUBH *bh = queue->head;

    if (bh) {
        queue->head = bh->next;
        if (!queue->head) {
            queue->tail = &queue->head;
        }
    }
    return bh;
}

/* Append what other threads (and home's persistent ones) pushed, oldest first. */
static void take_shared(AioContext *ctx)
{
    QEMUBH *bh, *next, *first = NULL, *last;

    if (!qatomic_read(&ctx->bh_shared)) {
        return;
    }
    last = bh = qatomic_xchg(&ctx->bh_shared, NULL);
    for (; bh; bh = next) {
        next = bh->next;
        bh->next = first;
        first = bh;
    }
    *ctx->bh_queue.tail = first;
    ctx->bh_queue.tail = &last->next;
}

void aio_bh_setup(AioContext *ctx)
{
    queue_init(&ctx->bh_queue);
    QSIMPLEQ_INIT(&ctx->bh_slices);
}

void aio_bh_cleanup(AioContext *ctx)
{
    QEMUBH *bh;

    g_assert(QSIMPLEQ_EMPTY(&ctx->bh_slices));
    take_shared(ctx);
    while ((bh = queue_pop(&ctx->bh_queue))) {
        if (!(bh->flags & BH_DELETED)) {
            fprintf(stderr, "blkco: bottom half '%s' outlives its AioContext\n",
                    bh->name);
            abort();
        }
        g_free(bh);
    }
    while ((bh = ctx->bh_free)) {
        ctx->bh_free = bh->next;
        g_free(bh);
    }
}

QEMUBH *aio_bh_new_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque, const char *name,
                        MemReentrancyGuard *reentrancy_guard)
{
    QEMUBH *bh = g_new(QEMUBH, 1);

    *bh = (QEMUBH){
        .ctx = ctx,
        .cb = cb,
        .opaque = opaque,
        .name = name,
        .guard = reentrancy_guard,
    };
    return bh;
}

/* Lock-free and without memory: all that signal handlers may do. */
static void enqueue(QEMUBH *bh, unsigned new_flags)
{
    /* Behind the next line a one-shot one, or one that is deleted, may be freed. */
    AioContext *ctx = bh->ctx;
    unsigned old = qatomic_fetch_or(&bh->flags, BH_PENDING | new_flags);

    if (!(old & BH_PENDING)) {
        QEMUBH *head = qatomic_read(&ctx->bh_shared);

        do {
            bh->next = head;
        } while (!__atomic_compare_exchange_n(&ctx->bh_shared, &head, bh, true,
                                              __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    }
    aio_wake_after_rmw(ctx);
}

static void schedule_oneshot_home(AioContext *ctx, QEMUBHFunc *cb, void *opaque,
                                  const char *name)
{
    QEMUBH *bh = ctx->bh_free;

    if (likely(bh)) {
        ctx->bh_free = bh->next;
        ctx->bh_free_count--;
    } else {
        bh = g_new(QEMUBH, 1);
        bh->ctx = ctx;
        bh->guard = NULL;
    }
    bh->cb = cb;
    bh->opaque = opaque;
    bh->name = name;
    bh->flags = BH_PENDING | BH_SCHEDULED | BH_ONESHOT;
    take_shared(ctx);
    queue_append(&ctx->bh_queue, bh);
    /*
     * Home is awake here, but GLib or another loop may be about to sleep for it. No
     * barrier: notify_me is this thread's own store.
     */
    if (unlikely(ctx->notify_me)) {
        aio_kick(ctx);
    }
}

void aio_bh_schedule_oneshot_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque,
                                  const char *name)
{
    if (in_aio_context_home_thread(ctx)) {
        schedule_oneshot_home(ctx, cb, opaque, name);
    } else {
        enqueue(aio_bh_new_full(ctx, cb, opaque, name, NULL), BH_SCHEDULED | BH_ONESHOT);
    }
}

void qemu_bh_schedule(QEMUBH *bh)
{
    enqueue(bh, BH_SCHEDULED);
}

void qemu_bh_schedule_idle(QEMUBH *bh)
{
    enqueue(bh, BH_SCHEDULED | BH_IDLE);
}

void qemu_bh_cancel(QEMUBH *bh)
{
    qatomic_and(&bh->flags, ~BH_SCHEDULED);
}

void qemu_bh_delete(QEMUBH *bh)
{
    enqueue(bh, BH_DELETED);
}

void aio_bh_call(QEMUBH *bh)
{
    MemReentrancyGuard *guard = bh->guard;

    if (guard) {
        /*
         * The callback may delete bh and run an inner loop that frees it: not used
         * behind.
         */
        bool outer = guard->engaged_in_io;

        guard->engaged_in_io = true;
        bh->cb(bh->opaque);
        guard->engaged_in_io = outer;
    } else {
        bh->cb(bh->opaque);
    }
}

static void free_bh(AioContext *ctx, QEMUBH *bh)
{
    if (ctx->bh_free_count < BH_FREE_MAX && !bh->guard) {
        bh->next = ctx->bh_free;
        ctx->bh_free = bh;
        ctx->bh_free_count++;
    } else {
        g_free(bh);
    }
}

/* Run or free one that has left its queue: whether that was progress. */
static bool run_bh(AioContext *ctx, QEMUBH *bh)
{
    unsigned flags = qatomic_read(&bh->flags);

    if (flags & BH_ONESHOT) {
        QEMUBHFunc *cb = bh->cb;
        void *opaque = bh->opaque;

        free_bh(ctx, bh);
        cb(opaque);
        return true;
    }
    /*
     * From here on it can be queued again. What its scheduler stored before is visible
     * behind: pairs with the fetch_or in enqueue.
     */
    flags = qatomic_fetch_and(&bh->flags, ~(BH_PENDING | BH_SCHEDULED | BH_IDLE));
    if (flags & BH_DELETED) {
        free_bh(ctx, bh);
        return false;
    }
    if (!(flags & BH_SCHEDULED)) {
        return false;
    }
    aio_bh_call(bh);
    return !(flags & BH_IDLE);
}

int aio_bh_poll(AioContext *ctx)
{
    BHSlice slice, *first;
    int progress = 0;

    take_shared(ctx);
    if (!ctx->bh_queue.head && QSIMPLEQ_EMPTY(&ctx->bh_slices)) {
        return 0;
    }
    queue_init(&slice.queue);
    if (ctx->bh_queue.head) {
        slice.queue = ctx->bh_queue;
        queue_init(&ctx->bh_queue);
    }
    QSIMPLEQ_INSERT_TAIL(&ctx->bh_slices, &slice, next);

    /* An inner call may have emptied this slice and taken it away already. */
    while ((first = QSIMPLEQ_FIRST(&ctx->bh_slices))) {
        QEMUBH *bh = queue_pop(&first->queue);

        if (bh) {
            progress |= run_bh(ctx, bh);
        } else {
            QSIMPLEQ_REMOVE_HEAD(&ctx->bh_slices, next);
        }
    }
    return progress;
}

/* The timeout that a queue asks for, joined to timeout. */
static int64_t queue_timeout(QEMUBH *bh, int64_t timeout)
{
    for (; bh; bh = bh->next) {
        unsigned flags = qatomic_read(&bh->flags);

        if ((flags & (BH_SCHEDULED | BH_DELETED)) == BH_SCHEDULED) {
            if (!(flags & BH_IDLE)) {
                return 0;
            }
            timeout = BH_IDLE_NS;
        }
    }
    return timeout;
}

int64_t aio_bh_timeout(AioContext *ctx)
{
    BHSlice *slice;
    int64_t timeout;

    take_shared(ctx);
    timeout = queue_timeout(ctx->bh_queue.head, -1);
    QSIMPLEQ_FOREACH(slice, &ctx->bh_slices, next) {
        if (timeout == 0) {
            break;
        }
        timeout = queue_timeout(slice->queue.head, timeout);
    }
    return timeout;
}
