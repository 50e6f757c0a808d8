/* SPDX-License-Identifier: MIT */
/* See the header. Who waits is in a list, each on its own stack; who makes room wakes. */
#include "convert-turns.h"

#include "qemu/osdep.h"
#include "qemu/aio.h"

typedef struct CopyTurnsWaiter {
    Coroutine *co;
    uint64_t number;
    bool woken;
    struct CopyTurnsWaiter *next;
} CopyTurnsWaiter;

void copy_turns_init(CopyTurns *t, bool in_order, unsigned most)
{
    *t = (CopyTurns){ .in_order = in_order, .most = most };
    qemu_mutex_init(&t->lock);
}

void copy_turns_destroy(CopyTurns *t)
{
    qemu_mutex_destroy(&t->lock);
}

/* These three with the lock. */

static bool may_write(const CopyTurns *t, uint64_t number)
{
    return !t->in_order || t->given_up || (t->next == number && t->writing < t->most);
}

/* A waiter that is woken runs later, at the earliest when this coroutine yields. */
static void wake(CopyTurns *t)
{
    CopyTurnsWaiter **link = &t->waiting, *w;

    while ((w = *link)) {
        if (may_write(t, w->number)) {
            *link = w->next;
            w->woken = true;
            aio_co_wake(w->co);
        } else {
            link = &w->next;
        }
    }
}

static void pass(CopyTurns *t, uint64_t number)
{
    if (t->next == number) {
        t->next++;
    }
    wake(t);
}

void coroutine_fn copy_turns_begin(CopyTurns *t, uint64_t number)
{
    qemu_mutex_lock(&t->lock);
    while (!may_write(t, number)) {
        CopyTurnsWaiter self = { qemu_coroutine_self(), number, false, t->waiting };

        t->waiting = &self;
        do {
            qemu_mutex_unlock(&t->lock);
            qemu_coroutine_yield();
            qemu_mutex_lock(&t->lock);
        } while (!self.woken);
    }
    t->writing++;
    qemu_mutex_unlock(&t->lock);
}

void copy_turns_pass(CopyTurns *t, uint64_t number)
{
    qemu_mutex_lock(&t->lock);
    pass(t, number);
    qemu_mutex_unlock(&t->lock);
}

void copy_turns_end(CopyTurns *t, uint64_t number)
{
    qemu_mutex_lock(&t->lock);
    t->writing--;
    pass(t, number);
    qemu_mutex_unlock(&t->lock);
}

void copy_turns_give_up(CopyTurns *t)
{
    qemu_mutex_lock(&t->lock);
    t->given_up = true;
    wake(t);
    qemu_mutex_unlock(&t->lock);
}
