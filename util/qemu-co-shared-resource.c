/* SPDX-License-Identifier: MIT */
/*
 * A budget for coroutines. Everything is under the mutex, which is never held across a
 * yield or a wake-up. Who gives back shares out what there is to the requests at the head
 * of the queue, each taken off the queue with its amount already subtracted.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/co-shared-resource.h"
#include "qemu/coroutine.h"

/* On the waiter's stack: gone when it is woken. */
typedef struct ShresRequest {
    Coroutine *co;
    uint64_t n;
    QSIMPLEQ_ENTRY(ShresRequest) next;
} ShresRequest;

typedef QSIMPLEQ_HEAD(, ShresRequest) RequestQueue;

struct SharedResource {
    uint64_t total;
    uint64_t available;
    RequestQueue queue;
    QemuMutex lock;
};

SharedResource *shres_create(uint64_t total)
{
    SharedResource *s = g_new0(SharedResource, 1);

    s->total = s->available = total;
    QSIMPLEQ_INIT(&s->queue);
    qemu_mutex_init(&s->lock);
    return s;
}

void shres_destroy(SharedResource *s)
{
    g_assert(s->available == s->total);
    qemu_mutex_destroy(&s->lock);
    g_free(s);
}

static bool try_get_locked(SharedResource *s, uint64_t n)
{
    if (s->available < n || !QSIMPLEQ_EMPTY(&s->queue)) {
        return false;
    }
    s->available -= n;
    return true;
}

bool co_try_get_from_shres(SharedResource *s, uint64_t n)
{
    QEMU_LOCK_GUARD(&s->lock);

    return try_get_locked(s, n);
}

void coroutine_fn co_get_from_shres(SharedResource *s, uint64_t n)
{
    ShresRequest request = { .co = qemu_coroutine_self(), .n = n };

    g_assert(n <= s->total);
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        if (try_get_locked(s, n)) {
            return;
        }
        QSIMPLEQ_INSERT_TAIL(&s->queue, &request, next);
    }
    /* May be woken from another thread before this: it runs here after the yield. */
    qemu_coroutine_yield();
}

void coroutine_fn co_put_to_shres(SharedResource *s, uint64_t n)
{
    RequestQueue served = QSIMPLEQ_HEAD_INITIALIZER(served);
    ShresRequest *request, *next;

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        g_assert(n <= s->total - s->available);
        s->available += n;
        while ((request = QSIMPLEQ_FIRST(&s->queue)) && request->n <= s->available) {
            s->available -= request->n;
            QSIMPLEQ_REMOVE_HEAD(&s->queue, next);
            QSIMPLEQ_INSERT_TAIL(&served, request, next);
        }
    }
    QSIMPLEQ_FOREACH_SAFE(request, &served, next, next) {
        aio_co_wake(request->co);
    }
}
