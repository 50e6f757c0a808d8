/* SPDX-License-Identifier: MIT */
/*
 * Sleeping coroutines. Whoever wakes one (its timer, or qemu_co_sleep_wake in any thread)
 * takes to_wake by an exchange, so that it is woken once.
 *
 * The timer lies on the sleeper's stack. Its callback runs in the sleeper's thread, and so
 * does what comes behind the yield: the callback is over when the timer is deleted.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"

/* While a coroutine sleeps, entering it otherwise is a mistake; this is what the core names. */
static const char sleeping[] = "qemu_co_sleep";

static G_NORETURN void die(const char *what, const char *who)
{
    fprintf(stderr, "blkco: %s%s%s\n", what, who ? " " : "", who ? who : "");
    abort();
}

void qemu_co_sleep_wake(QemuCoSleep *w)
{
    /* Acquire pairs with the store in qemu_co_sleep: scheduled is set. */
    Coroutine *co = qatomic_xchg(&w->to_wake, NULL);

    if (co) {
        qatomic_set(&co->scheduled, NULL);
        aio_co_wake(co);
    }
}

void coroutine_fn qemu_co_sleep(QemuCoSleep *w)
{
    Coroutine *self = qemu_coroutine_self();
    const char *scheduled = qatomic_cmpxchg(&self->scheduled, NULL, sleeping);

    if (scheduled) {
        die("qemu_co_sleep: the coroutine was already scheduled in", scheduled);
    }
    self->wait_reason = "a sleep to end";
    qatomic_store_release(&w->to_wake, self);
    qemu_coroutine_yield();
    self->wait_reason = NULL;
}

static void sleep_is_over(void *opaque)
{
    qemu_co_sleep_wake(opaque);
}

void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w, QEMUClockType type, int64_t ns)
{
    AioContext *ctx = qemu_get_current_aio_context();
    QEMUTimer timer;

    if (!ctx) {
        die("qemu_co_sleep_ns: the thread has no AioContext", NULL);
    }
    aio_timer_init(ctx, &timer, type, SCALE_NS, sleep_is_over, w);
    timer_mod(&timer, qemu_clock_get_ns(type) + ns);
    qemu_co_sleep(w);
    timer_del(&timer);
    timer_deinit(&timer);
}

void coroutine_fn qemu_co_sleep_ns(QEMUClockType type, int64_t ns)
{
    QemuCoSleep w = { NULL };

    qemu_co_sleep_ns_wakeable(&w, type, ns);
}
