/* SPDX-License-Identifier: MIT */
/*
 * Writes in flight on a node, and who waits for whom. See node.h for the rule.
 *
 * A request's range and whether it serialises are fixed when it arrives, so the set of
 * requests that it has to wait for is known then and only shrinks: it counts them, and
 * each of them, when it ends, takes itself off the count of every later one. Nobody is
 * woken in vain.
 *
 * As long as nothing serialises, nobody waits: a request then only enters and leaves the list
 * (tracked_begin and tracked_end in node.h); all else is here.
 */
#include "node.h"

/* How often somebody looks whether a lock is free before it sleeps. */
#define SPINS 100

void node_lock_wait(NodeLock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        unsigned expected = NODE_LOCK_FREE;

        if (qatomic_read(&lock->state) == NODE_LOCK_FREE &&
            __atomic_compare_exchange_n(&lock->state, &expected, NODE_LOCK_TAKEN, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return;
        }
        cpu_relax();
    }
    /* Others may be asleep as well: whoever has slept passes that on. */
    while (__atomic_exchange_n(&lock->state, NODE_LOCK_CONTENDED, __ATOMIC_ACQUIRE) !=
           NODE_LOCK_FREE) {
        qemu_futex_wait(&lock->state, NODE_LOCK_CONTENDED);
    }
}

static bool conflict(const TrackedRequest *a, const TrackedRequest *b)
{
    return (a->serialising || b->serialising) && a->offset < b->end && b->offset < a->end;
}

/* Under reqs_lock; @req is not in the list yet, so all of it came earlier. */
static unsigned count_blockers(BlockNodeCore *core, const TrackedRequest *req)
{
    TrackedRequest *r;
    unsigned n = 0;

    QTAILQ_FOREACH (r, &core->reqs, next) {
        n += conflict(r, req);
    }
    return n;
}

int coroutine_fn tracked_begin_locked(TrackedRequest *req, bool no_wait)
{
    BlockNodeCore *core = req->bs->core;

    if (req->serialising) {
        int64_t mask = (int64_t)core->align_mask;

        req->offset &= ~mask;
        req->end = req->end > INT64_MAX - mask ? INT64_MAX : (req->end + mask) & ~mask;
    }
    req->blockers = count_blockers(core, req);
    if (req->blockers && no_wait) {
        node_unlock(&core->reqs_lock);
        return -EBUSY;
    }
    core->nb_serialising += req->serialising;
    QTAILQ_INSERT_TAIL(&core->reqs, req, next);
    if (req->blockers) {
        core->nb_waiting++;
        req->waiter.co = qemu_coroutine_self();
        node_unlock(&core->reqs_lock);
        /* The last blocker wakes us; from another thread it schedules us here. */
        qemu_coroutine_yield();
        return 0;
    }
    node_unlock(&core->reqs_lock);
    return 0;
}

void coroutine_fn tracked_end_locked(TrackedRequest *req)
{
    BlockNodeCore *core = req->bs->core;
    WaitList woken;
    TrackedRequest *r;

    wait_list_init(&woken);
    core->nb_serialising -= req->serialising;
    for (r = QTAILQ_NEXT(req, next); r; r = QTAILQ_NEXT(r, next)) {
        if (r->blockers && conflict(req, r) && --r->blockers == 0) {
            core->nb_waiting--;
            wait_list_add(&woken, &r->waiter);
        }
    }
    QTAILQ_REMOVE(&core->reqs, req, next);
    node_unlock(&core->reqs_lock);
    wait_list_wake(woken.first);
}
