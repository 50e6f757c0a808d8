/* SPDX-License-Identifier: MIT */
/*
 * Coroutines, of any threads, that wait for the same thing, oldest first. The caller's
 * lock covers the list.
 *
 * Unlike a CoQueue, waking takes the whole list off first: a waiter that finds that it
 * has to wait again is not woken once more by the same call.
 */
#ifndef BLOCK_WAIT_LIST_H
#define BLOCK_WAIT_LIST_H

#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "node-lock.h"

typedef struct Waiter Waiter;
struct Waiter { /* on the waiting coroutine's stack */
    Coroutine *co;
    Waiter *next;
};

typedef struct WaitList {
    Waiter *first;
    Waiter **last; /* where the next one is linked in */
} WaitList;

static inline void wait_list_init(WaitList *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static inline void wait_list_add(WaitList *list, Waiter *waiter)
{
    waiter->next = NULL;
    *list->last = waiter;
    list->last = &waiter->next;
}

/* Waits until woken. Called with @lock held, returns without it. */
static inline void coroutine_fn wait_list_sleep(WaitList *list, Waiter *self,
                                                NodeLock *lock)
{
    self->co = qemu_coroutine_self();
    wait_list_add(list, self);
    node_unlock(lock);
    /*
     * A waker of another thread may be here already: it schedules us into our own
     * context, which cannot run before we have yielded.
     */
    qemu_coroutine_yield();
}

/* Takes all waiters off; call under the lock, then wake them without it. */
static inline Waiter *wait_list_take(WaitList *list)
{
    Waiter *first = list->first;

    wait_list_init(list);
    return first;
}

static inline void wait_list_wake(Waiter *first)
{
    while (first) {
        Waiter *next = first->next; /* it is gone once its coroutine runs */

        aio_co_wake(first->co);
        first = next;
    }
}

#endif
