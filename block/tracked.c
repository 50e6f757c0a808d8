/* SPDX-License-Identifier: MIT */
/*
 * Writes in flight on a node, and who waits for whom. See node.h for the rule.
 *
 * A request's range and whether it serialises are fixed when it arrives, so the set of
 * requests that it has to wait for is known then and only shrinks: it counts them, and
 * each of them, when it ends, takes itself off the count of every later one. Nobody is
 * woken in vain.
 */
#include "node.h"

static bool conflict(const TrackedRequest *a, const TrackedRequest *b)
{
    return (a->serialising || b->serialising) && a->offset < b->end && b->offset < a->end;
}

/* Under reqs_lock; @req is not in the list yet, so all of it came earlier. */
static unsigned count_blockers(BlockNodeCore *core, const TrackedRequest *req)
{
    TrackedRequest *r;
    unsigned n = 0;

    if (!req->serialising && !core->nb_serialising) {
        return 0;
    }
    QTAILQ_FOREACH (r, &core->reqs, next) {
        n += conflict(r, req);
    }
    return n;
}

int coroutine_fn tracked_begin(TrackedRequest *req, BlockDriverState *bs, int64_t offset,
                               int64_t bytes, bool serialising, bool no_wait)
{
    BlockNodeCore *core = bs->core;
    int64_t end = bytes > INT64_MAX - offset ? INT64_MAX : offset + bytes;

    *req = (TrackedRequest){
        .bs = bs, .offset = offset, .end = end, .serialising = serialising
    };
    if (serialising) {
        int64_t mask = (int64_t)core->align_mask;

        req->offset &= ~mask;
        req->end = end > INT64_MAX - mask ? INT64_MAX : (end + mask) & ~mask;
    }

    qemu_mutex_lock(&core->reqs_lock);
    req->blockers = count_blockers(core, req);
    if (unlikely(req->blockers && no_wait)) {
        qemu_mutex_unlock(&core->reqs_lock);
        return -EBUSY;
    }
    core->nb_serialising += serialising;
    QTAILQ_INSERT_TAIL(&core->reqs, req, next);
    if (unlikely(req->blockers)) {
        core->nb_waiting++;
        req->waiter.co = qemu_coroutine_self();
        qemu_mutex_unlock(&core->reqs_lock);
        /* The last blocker wakes us; from another thread it schedules us here. */
        qemu_coroutine_yield();
        return 0;
    }
    qemu_mutex_unlock(&core->reqs_lock);
    return 0;
}

void coroutine_fn tracked_end(TrackedRequest *req)
{
    BlockNodeCore *core = req->bs->core;
    WaitList woken;
    TrackedRequest *r;

    wait_list_init(&woken);
    qemu_mutex_lock(&core->reqs_lock);
    core->write_gen += !req->read;
    core->nb_serialising -= req->serialising;
    if (unlikely(core->nb_waiting)) {
        for (r = QTAILQ_NEXT(req, next); r; r = QTAILQ_NEXT(r, next)) {
            if (r->blockers && conflict(req, r) && --r->blockers == 0) {
                core->nb_waiting--;
                wait_list_add(&woken, &r->waiter);
            }
        }
    }
    QTAILQ_REMOVE(&core->reqs, req, next);
    qemu_mutex_unlock(&core->reqs_lock);
    wait_list_wake(woken.first);
}
