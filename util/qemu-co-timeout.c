/* SPDX-License-Identifier: MIT */
/*
 * qemu_co_timeout: two coroutines, the caller that sleeps and one that runs the function.
 * Whoever finishes first sets decided; the caller's result depends on who that was. Both
 * have a reference to the state, as the loser may still use it (the function's coroutine
 * can be in another thread by then).
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"

typedef struct CoTimeout {
    CoroutineEntry *entry;
    void *opaque;
    CleanupFunc *clean;
    QemuCoSleep sleep;
    bool decided;
    unsigned refs;
} CoTimeout;

static void timeout_unref(CoTimeout *s)
{
    if (qatomic_dec_fetch(&s->refs) == 0) {
        g_free(s);
    }
}

static void coroutine_fn timeout_entry(void *opaque)
{
    CoTimeout *s = opaque;

    s->entry(s->opaque);
    if (!qatomic_xchg(&s->decided, true)) {
        qemu_co_sleep_wake(&s->sleep);
    } else if (s->clean) {
        s->clean(s->opaque);
    }
    timeout_unref(s);
}

int coroutine_fn qemu_co_timeout(CoroutineEntry *entry, void *opaque, uint64_t timeout_ns,
                                 CleanupFunc clean)
{
    CoTimeout *s;
    int ret;

    if (timeout_ns == 0) {
        entry(opaque);
        return 0;
    }

    s = g_new0(CoTimeout, 1);
    s->entry = entry;
    s->opaque = opaque;
    s->clean = clean;
    s->refs = 2;

    /* It runs when this coroutine yields: in the sleep, so it finds somebody to wake. */
    aio_co_enter(qemu_get_current_aio_context(), qemu_coroutine_create(timeout_entry, s));
    qemu_co_sleep_ns_wakeable(&s->sleep, QEMU_CLOCK_REALTIME,
                              (int64_t)MIN(timeout_ns, (uint64_t)INT64_MAX / 2));

    ret = qatomic_xchg(&s->decided, true) ? 0 : -ETIMEDOUT;
    timeout_unref(s);
    return ret;
}
