/* SPDX-License-Identifier: MIT */
/*
 * CoRwlock. state holds the owners and whether anybody is in the queue:
 *
 *     bit 0      QUEUED: there are tickets
 *     bit 1      WRITER: one owner, for writing
 *     the rest   how many owners for reading, in units of READER
 *
 * Nobody enters past a queue: without QUEUED, locking and unlocking are one
 * compare-and-exchange. With QUEUED, the last owner to leave shares out the lock on behalf
 * of the tickets at the head of the queue (one writer, or all readers up to the next
 * writer) and wakes them; who wakes up owns the lock already.
 *
 * No wake-up is lost: QUEUED is set, under the mutex, by a compare-and-exchange from a
 * state with owners (or with QUEUED, which has been set in this way). As it is in the same
 * word, the last owner cannot leave without seeing it, and takes the mutex, behind which
 * the ticket is in the queue.
 *
 * Once QUEUED is set, the owners can only become fewer, except by who holds the mutex; and
 * when there are none, or just one and that is the caller, state changes only under it.
 *
 * Owned by: state, everybody through atomic operations, as said; tickets, the mutex. The
 * mutex is held for a few instructions, never across a yield or a wake-up. A ticket is on
 * the waiter's stack: it is gone when the waiter is woken.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"

#define QUEUED 1u
#define WRITER 2u
#define READER 4u

struct CoRwTicket {
    Coroutine *co;
    bool write;
    QSIMPLEQ_ENTRY(CoRwTicket) next;
};

typedef QSIMPLEQ_HEAD(, CoRwTicket) TicketQueue;

/* What a coroutine wants: from which states it may have it at once, and what follows. */
typedef enum Want { WANT_READ, WANT_WRITE, WANT_UPGRADE } Want;

static bool may_have(unsigned state, Want want)
{
    switch (want) {
    case WANT_READ:
        return !(state & (QUEUED | WRITER));
    case WANT_WRITE:
        return state == 0;
    case WANT_UPGRADE:
        return state == READER;
    }
    g_assert_not_reached();
}

static unsigned after_having(unsigned state, Want want)
{
    return want == WANT_READ ? state + READER : WRITER;
}

static G_NORETURN QEMU_NOINLINE void die(const char *what)
{
    fprintf(stderr, "blkco: %s\n", what);
    abort();
}

/*
 * Acquire pairs with the release of who leaves. On failure *state is the current one.
 * Release as well: an upgrade passes on what the reader did, and in the chain of
 * exchanges each reader's release reaches the writer that follows them all.
 */
static bool change(CoRwlock *lock, unsigned *state, unsigned to)
{
    return __atomic_compare_exchange_n(&lock->state, state, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

void qemu_co_rwlock_init(CoRwlock *lock)
{
    lock->state = 0;
    qemu_mutex_init(&lock->mutex);
    QSIMPLEQ_INIT(&lock->tickets);
}

/*
 * Share the lock out, beside owners that it has already: to the tickets at the head,
 * which move to granted. Under the mutex, when nobody else can change the state.
 */
static void grant(CoRwlock *lock, unsigned owners, TicketQueue *granted)
{
    CoRwTicket *ticket;

    while ((ticket = QSIMPLEQ_FIRST(&lock->tickets)) != NULL) {
        if (ticket->write ? owners != 0 : owners == WRITER) {
            break;
        }
        owners += ticket->write ? WRITER : READER;
        QSIMPLEQ_REMOVE_HEAD(&lock->tickets, next);
        QSIMPLEQ_INSERT_TAIL(granted, ticket, next);
    }
    qatomic_store_release(&lock->state,
                          owners | (QSIMPLEQ_EMPTY(&lock->tickets) ? 0 : QUEUED));
}

/* In order; without the mutex, and without touching the lock, which may be gone. */
static void wake(TicketQueue *granted)
{
    CoRwTicket *ticket, *next;

    QSIMPLEQ_FOREACH_SAFE(ticket, granted, next, next) {
        aio_co_wake(ticket->co);
    }
}

/* The last owner leaves, or becomes a reader, and there is a queue. */
static QEMU_NOINLINE void coroutine_fn grant_and_wake(CoRwlock *lock, unsigned owners)
{
    TicketQueue granted = QSIMPLEQ_HEAD_INITIALIZER(granted);

    qemu_mutex_lock(&lock->mutex);
    /* Acquire: what the other owners did goes before what the next ones do. */
    (void)qatomic_load_acquire(&lock->state);
    grant(lock, owners, &granted);
    qemu_mutex_unlock(&lock->mutex);
    wake(&granted);
}

static QEMU_NOINLINE void coroutine_fn wait_in_line(CoRwlock *lock, Coroutine *self, Want want)
{
    CoRwTicket ticket = { .co = self, .write = want != WANT_READ };
    unsigned gives_up = want == WANT_UPGRADE ? READER : 0;
    TicketQueue granted = QSIMPLEQ_HEAD_INITIALIZER(granted);
    unsigned state, to;

    qemu_mutex_lock(&lock->mutex);
    state = qatomic_read(&lock->state);
    for (;;) {
        bool now = may_have(state, want);

        to = now ? after_having(state, want) : (state - gives_up) | QUEUED;
        if (change(lock, &state, to)) {
            if (now) {
                qemu_mutex_unlock(&lock->mutex);
                return;
            }
            break;
        }
    }
    QSIMPLEQ_INSERT_TAIL(&lock->tickets, &ticket, next);
    if (to == QUEUED) {
        /* An upgrade has given up the last share; somebody else is first in the queue. */
        g_assert(QSIMPLEQ_FIRST(&lock->tickets) != &ticket);
        grant(lock, 0, &granted);
    }
    qemu_mutex_unlock(&lock->mutex);
    wake(&granted);

    self->wait_reason = ticket.write ? "a CoRwlock, to write" : "a CoRwlock, to read";
    qemu_coroutine_yield();
    self->wait_reason = NULL;
}

static void coroutine_fn get(CoRwlock *lock, Coroutine *self, Want want)
{
    unsigned state = qatomic_read(&lock->state);

    while (likely(may_have(state, want))) {
        if (likely(change(lock, &state, after_having(state, want)))) {
            return;
        }
    }
    wait_in_line(lock, self, want);
}

void coroutine_fn qemu_co_rwlock_rdlock(CoRwlock *lock)
{
    Coroutine *self = qemu_coroutine_self();

    get(lock, self, WANT_READ);
    self->locks_held++;
}

void coroutine_fn qemu_co_rwlock_wrlock(CoRwlock *lock)
{
    Coroutine *self = qemu_coroutine_self();

    get(lock, self, WANT_WRITE);
    self->locks_held++;
}

void coroutine_fn qemu_co_rwlock_upgrade(CoRwlock *lock)
{
    unsigned state = qatomic_read(&lock->state);

    if (state < READER) {
        die("qemu_co_rwlock_upgrade: the lock is not held for reading");
    }
    get(lock, qemu_coroutine_self(), WANT_UPGRADE);
}

void coroutine_fn qemu_co_rwlock_downgrade(CoRwlock *lock)
{
    unsigned state = qatomic_read(&lock->state);

    if (!(state & WRITER)) {
        die("qemu_co_rwlock_downgrade: the lock is not held for writing");
    }
    /* Only QUEUED can come in between. */
    if ((state & QUEUED) || !change(lock, &state, READER)) {
        grant_and_wake(lock, READER);
    }
}

void coroutine_fn qemu_co_rwlock_unlock(CoRwlock *lock)
{
    Coroutine *self = qemu_coroutine_self();
    unsigned state = qatomic_read(&lock->state);

    if (unlikely(!(state & ~QUEUED) || !self->locks_held)) {
        die("qemu_co_rwlock_unlock: the lock is not held");
    }
    self->locks_held--;

    for (;;) {
        unsigned share = state & WRITER ? WRITER : READER;

        if ((state & QUEUED) && (state & ~QUEUED) == share) {
            grant_and_wake(lock, 0);
            return;
        }
        if (likely(change(lock, &state, state - share))) {
            return;
        }
    }
}
