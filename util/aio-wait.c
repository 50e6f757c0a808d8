/* SPDX-License-Identifier: MIT */
/*
 * Threads that wait for a condition, polling their contexts. The list of them is under
 * waiters_lock; their number is read without it, so that a kick costs little when nobody
 * waits. It is the library's only list of things in several threads.
 *
 *     waiter                      kicker
 *     n_waiters++                 change what the condition depends on
 *     barrier (aio_wait_begin)    barrier (aio_wait_kick)
 *     look at the condition       n_waiters? notify each context
 *
 * aio_notify makes the next blocking aio_poll return, so that a kick between the look and
 * the poll is not lost.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "qemu/aio-wait.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"

/* Not a GMutex: ThreadSanitizer does not see what GLib locks. */
static pthread_mutex_t waiters_lock = PTHREAD_MUTEX_INITIALIZER;
static AioWaiter *waiters;
static unsigned n_waiters;

void aio_wait_begin(AioWaiter *waiter, AioContext *ctx)
{
    waiter->ctx = qemu_get_current_aio_context();
    if (!waiter->ctx) {
        fprintf(stderr, "AIO_WAIT_WHILE: the calling thread has no AioContext to poll\n");
        abort();
    }
    pthread_mutex_lock(&waiters_lock);
    waiter->next = waiters;
    waiters = waiter;
    qatomic_set(&n_waiters, n_waiters + 1);
    pthread_mutex_unlock(&waiters_lock);
    smp_mb(); /* pairs with aio_wait_kick */
}

void aio_wait_end(AioWaiter *waiter)
{
    AioWaiter **slot = &waiters;

    pthread_mutex_lock(&waiters_lock);
    while (*slot != waiter) {
        slot = &(*slot)->next;
    }
    *slot = waiter->next;
    qatomic_set(&n_waiters, n_waiters - 1);
    pthread_mutex_unlock(&waiters_lock);
}

void aio_wait_kick(void)
{
    smp_mb(); /* pairs with aio_wait_begin */
    if (!qatomic_read(&n_waiters)) {
        return;
    }
    pthread_mutex_lock(&waiters_lock);
    for (AioWaiter *waiter = waiters; waiter; waiter = waiter->next) {
        aio_notify(waiter->ctx);
    }
    pthread_mutex_unlock(&waiters_lock);
}

typedef struct OneshotWait {
    QEMUBHFunc *cb;
    void *opaque;
    bool done;
} OneshotWait;

static void oneshot_wait_bh_cb(void *opaque)
{
    OneshotWait *wait = opaque;

    wait->cb(wait->opaque);
    /* Release: the waiter sees what cb did. Behind this, wait may be gone. */
    qatomic_store_release(&wait->done, true);
    aio_wait_kick();
}

void aio_wait_bh_oneshot(AioContext *ctx, QEMUBHFunc *cb, void *opaque)
{
    OneshotWait wait = { cb, opaque, false };

    g_assert(!in_aio_context_home_thread(ctx));
    aio_bh_schedule_oneshot(ctx, oneshot_wait_bh_cb, &wait);
    AIO_WAIT_WHILE(ctx, !qatomic_load_acquire(&wait.done));
}
