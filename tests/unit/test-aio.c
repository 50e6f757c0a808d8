/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one thread: timers, what wakes it, coroutines that it enters, the descriptor
 * that tells another loop of it, and a context's life. Bottom halves are in test-aio-bh.c,
 * descriptors in test-aio-fd.c.
 */
#include <fcntl.h>

#include "aio-cases.h"
#include "qemu/coroutine.h"
#include "qemu/thread.h"

/* For what cannot be seen from outside: that a system call was not made. */
#include "../../util/aio-internal.h"

/* ---- timers ---- */

static void test_timer_fires_after_its_time(void)
{
    TimerData data = { .max = 2, .ns = 20 * SCALE_MS, .clock = QEMU_CLOCK_VIRTUAL };
    int64_t start = get_clock();

    aio_timer_init(ctx, &data.timer, data.clock, SCALE_NS, timer_cb, &data);
    timer_mod(&data.timer, start + data.ns);
    settle();
    g_assert_cmpint(data.n, ==, 0);
    g_assert_true(timer_pending(&data.timer));
    while (data.n < 2) {
        poll_loop(true);
    }
    g_assert_cmpint(get_clock() - start, >=, 40 * SCALE_MS);
    g_assert_false(timer_pending(&data.timer));
    settle();
    g_assert_cmpint(data.n, ==, 2);
    timer_deinit(&data.timer);
}

static void test_timer_wait_is_exact_and_counts_as_progress(void)
{
    TimerData data = { .clock = QEMU_CLOCK_REALTIME };
    int64_t start = get_clock();

    aio_timer_init(ctx, &data.timer, data.clock, SCALE_NS, timer_cb, &data);
    timer_mod(&data.timer, start + 300 * SCALE_US);
    /* One call: arming it in this thread is no reason to return early. */
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(data.n, ==, 1);
    g_assert_cmpint(get_clock() - start, >=, 300 * SCALE_US);
}

static void *schedule_in_thread(void *opaque)
{
    qemu_bh_schedule(opaque);
    return NULL;
}

/* While home is awake nobody has to wake it: the eventfd stays as it is. */
static void test_awake_loop_needs_no_system_call(void)
{
    BHData data = { .bh = aio_bh_new(ctx, bh_count, &data) };
    TimerData timer = { .clock = QEMU_CLOCK_REALTIME };
    QemuThread thread;

    settle();
    /* What an earlier wake-up left: with epoll nobody reads the eventfd. */
    event_notifier_test_and_clear(&ctx->notifier);
    qemu_bh_schedule(data.bh);
    aio_bh_schedule_oneshot(ctx, bh_count, &data);
    aio_timer_init(ctx, &timer.timer, timer.clock, SCALE_NS, timer_cb, &timer);
    timer_mod(&timer.timer, 0);
    qemu_thread_create(&thread, "schedule", schedule_in_thread, data.bh,
                       QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    aio_notify(ctx);
    g_assert_false(event_notifier_test_and_clear(&ctx->notifier));
    settle();
    g_assert_cmpint(data.n, ==, 2);
    g_assert_cmpint(timer.n, ==, 1);
    qemu_bh_delete(data.bh);
}

static void *wake_sleeper(void *opaque)
{
    /* Until home is asleep, or as good as that. */
    while (!(qatomic_read(&ctx->notify_me) & ~AIO_IN_GSOURCE)) {
        g_thread_yield();
    }
    for (int i = 0; i < 10; i++) {
        aio_notify(ctx);
    }
    return NULL;
}

static void test_sleeping_loop_is_woken(void)
{
    QemuThread thread;

    settle();
    qemu_thread_create(&thread, "wake", wake_sleeper, NULL, QEMU_THREAD_JOINABLE);
    aio_poll(ctx, true);
    qemu_thread_join(&thread);
    g_assert_cmpuint(ctx->notify_me, ==, 0);
}

static void test_notify_makes_next_blocking_poll_return(void)
{
    aio_notify(ctx);
    g_assert_false(aio_poll(ctx, true));
    if (gmain) {
        aio_notify(ctx);
        g_main_context_iteration(gmain, true);
    }
    settle();
}

/* ---- coroutines ---- */

#ifdef QEMU_SANITIZE_THREAD
enum { CHAIN = 2500 }; /* it takes each for a thread, and has 8128 */
#else
enum { CHAIN = 25000 };
#endif
static Coroutine *chain[CHAIN];
static int chain_n;

static void coroutine_fn chain_fn(void *opaque)
{
    intptr_t i = (intptr_t)opaque;

    chain[i] = qemu_coroutine_self();
    qemu_coroutine_yield();
    chain_n++;
    if (i + 1 < CHAIN) {
        aio_co_enter(ctx, chain[i + 1]);
    }
}

static void test_co_chained_enter_needs_no_stack(void)
{
    qemu_set_current_aio_context(ctx);
    chain_n = 0;
    for (intptr_t i = 0; i < CHAIN; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(chain_fn, (void *)i));
    }
    aio_co_enter(ctx, chain[0]);
    g_assert_cmpint(chain_n, ==, CHAIN);
}

static void coroutine_fn record_fn(void *opaque)
{
    BHData *data = opaque;

    qemu_coroutine_yield();
    bh_count(data);
}

static void test_co_schedule_keeps_order(void)
{
    g_autoptr(GString) order = g_string_new(NULL);
    BHData d[5];
    Coroutine *co[5];

    for (int i = 0; i < 5; i++) {
        d[i] = (BHData){ .order = order, .name = 'a' + i };
        co[i] = qemu_coroutine_create(record_fn, &d[i]);
        qemu_coroutine_enter(co[i]);
    }
    for (int i = 0; i < 5; i++) {
        aio_co_schedule(ctx, co[i]);
    }
    g_assert_cmpstr(order->str, ==, "");
    g_assert_true(poll_loop(true));
    g_assert_cmpstr(order->str, ==, "abcde");
}

static void coroutine_fn waker_fn(void *opaque)
{
    BHData *d = opaque;

    aio_co_wake((Coroutine *)d[1].bh);
    /* The other one waits until this one yields or ends. */
    bh_count(d);
}

static void test_co_wake_in_coroutine_is_deferred(void)
{
    g_autoptr(GString) order = g_string_new(NULL);
    BHData d[2] = { { .order = order, .name = 'a' }, { .order = order, .name = 'b' } };
    Coroutine *co = qemu_coroutine_create(record_fn, &d[1]);

    qemu_coroutine_enter(co);
    d[1].bh = (QEMUBH *)co;
    qemu_coroutine_enter(qemu_coroutine_create(waker_fn, d));
    g_assert_cmpstr(order->str, ==, "ab");
}

static void coroutine_fn yield_fn(void *opaque)
{
    qemu_coroutine_yield();
}

static void test_die_scheduled_twice(void)
{
    if (g_test_subprocess()) {
        Coroutine *co = qemu_coroutine_create(yield_fn, NULL);

        qemu_coroutine_enter(co);
        aio_co_schedule(ctx, co);
        aio_co_schedule(ctx, co);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*already scheduled by aio_co_schedule*");
}

static void test_die_poll_in_foreign_thread(void)
{
    if (g_test_subprocess()) {
        qemu_set_current_aio_context(NULL);
        aio_poll(ctx, false);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*not the calling thread's own*");
}

/* ---- the pollable descriptor ---- */

static bool fd_readable(int fd, int64_t timeout)
{
    GPollFD pfd = { .fd = fd, .events = G_IO_IN };

    return qemu_poll_ns(&pfd, 1, timeout) == 1;
}

static void test_pollable_fd_shows_everything(void)
{
    AioContext *old = ctx;
    BHData bh = { .n = 0 };
    FDData data = { .n = 0 };
    TimerData timer = { .clock = QEMU_CLOCK_REALTIME };
    int fd;

    /* It costs something for ever: not in the context of the other tests. */
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
    fd = aio_context_get_pollable_fd(ctx);
    if (!strcmp(g_getenv("BLKCO_FDMON"), "poll")) {
        g_assert_cmpint(fd, ==, -1);
        g_assert_cmpint(errno, ==, ENOTSUP);
    } else {
        g_assert_cmpint(fd, >=, 0);
        settle();
        g_assert_false(fd_readable(fd, 0));

        bh.bh = aio_bh_new(ctx, bh_count, &bh);
        qemu_bh_schedule(bh.bh);
        g_assert_true(fd_readable(fd, 0));
        settle();
        g_assert_cmpint(bh.n, ==, 1);
        g_assert_false(fd_readable(fd, 0));
        aio_bh_schedule_oneshot(ctx, bh_count, &bh);
        g_assert_true(fd_readable(fd, 0));
        settle();
        g_assert_cmpint(bh.n, ==, 2);
        qemu_bh_delete(bh.bh);
        settle();

        fd_setup(&data, false);
        settle();
        g_assert_false(fd_readable(fd, 0));
        event_notifier_set(&data.e);
        g_assert_true(fd_readable(fd, 0));
        settle();
        g_assert_cmpint(data.n, ==, 1);
        g_assert_false(fd_readable(fd, 0));
        fd_cleanup(&data);
        settle();

        aio_timer_init(ctx, &timer.timer, timer.clock, SCALE_NS, timer_cb, &timer);
        timer_mod(&timer.timer, get_clock() + 3 * SCALE_MS);
        while (timer.n == 0) {
            g_assert_true(fd_readable(fd, -1));
            settle();
        }
        g_assert_false(fd_readable(fd, 0));
        aio_notify(ctx);
        g_assert_true(fd_readable(fd, 0));
        settle();
        g_assert_false(fd_readable(fd, 0));
    }
    aio_context_unref(ctx);
    ctx = old;
    qemu_set_current_aio_context(ctx);
}

/* ---- data, references ---- */

static int destroyed;

static void data_destroy(gpointer data)
{
    destroyed += GPOINTER_TO_INT(data);
}

static void test_context_data_dies_with_context(void)
{
    static const char key_a, key_b;
    AioContext *c = aio_context_new(&error_abort);

    destroyed = 0;
    g_assert_null(aio_context_get_data(c, &key_a));
    aio_context_set_data(c, &key_a, GINT_TO_POINTER(1), data_destroy);
    aio_context_set_data(c, &key_b, GINT_TO_POINTER(10), data_destroy);
    g_assert_true(aio_context_get_data(c, &key_a) == GINT_TO_POINTER(1));
    aio_context_set_data(c, &key_a, GINT_TO_POINTER(100), data_destroy);
    g_assert_cmpint(destroyed, ==, 1);
    aio_context_set_data(c, &key_b, NULL, NULL);
    g_assert_cmpint(destroyed, ==, 11);
    aio_context_unref(c);
    g_assert_cmpint(destroyed, ==, 111);
}

static void test_context_new_without_descriptors_is_an_error(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        while (open("/dev/null", O_RDONLY) >= 0) {
        }
        g_assert_null(aio_context_new(&err));
        g_assert_nonnull(err);
        g_error_free(err);
        /* Not past the leak check: GLib leaves its list of tests, and there are no descriptors. */
        _exit(0);
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static const Case cases[] = {
    { "timer/fires", test_timer_fires_after_its_time },
    { "timer/exact", test_timer_wait_is_exact_and_counts_as_progress, true },
    { "wake/awake", test_awake_loop_needs_no_system_call, true },
    { "wake/asleep", test_sleeping_loop_is_woken, true },
    { "notify", test_notify_makes_next_blocking_poll_return },
    { "co/chain", test_co_chained_enter_needs_no_stack },
    { "co/order", test_co_schedule_keeps_order },
    { "co/wake", test_co_wake_in_coroutine_is_deferred },
    { "die/double-schedule", test_die_scheduled_twice, true },
    { "die/foreign-poll", test_die_poll_in_foreign_thread, true },
    { "pollable-fd", test_pollable_fd_shows_everything, true },
    { "context/data", test_context_data_dies_with_context, true },
    { "context/no-descriptors", test_context_new_without_descriptors_is_an_error, true },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases(cases, G_N_ELEMENTS(cases));
    return g_test_run();
}
