/* SPDX-License-Identifier: MIT */
/* aio-sim: virtual time, work of the thread pool in the loop, calls and numbers from the seed. */
#include "qemu/osdep.h"
#include "qemu/aio-sim.h"
#include "qemu/coroutine.h"
#include "qemu/event_notifier.h"
#include "qemu/thread-pool.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

#define HOUR_NS (3600 * NANOSECONDS_PER_SECOND)

static AioContext *ctx;
static AioSim *sim;
static GString *order;

static void setup(uint64_t seed)
{
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
    sim = aio_sim_begin(ctx, seed);
    order = g_string_new(NULL);
}

static void teardown(void)
{
    aio_sim_end(sim);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    g_string_free(order, TRUE);
}

static void note(void *opaque)
{
    g_string_append_c(order, GPOINTER_TO_INT(opaque));
}

static void set_flag(void *opaque)
{
    *(bool *)opaque = true;
}

/* --- time --- */

static void test_hours_pass_at_once(void)
{
    int64_t real = g_get_monotonic_time(), start;
    bool done = false;
    QEMUTimer *timer;

    setup(1);
    start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    g_assert_cmpint(start, ==, AIO_SIM_START_NS);
    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        g_assert_cmpint(qemu_clock_get_ns(type), ==, start);
    }
    timer = aio_timer_new(ctx, QEMU_CLOCK_VIRTUAL, SCALE_NS, set_flag, &done);
    timer_mod(timer, start + 5 * HOUR_NS);
    while (!done) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(aio_sim_now_ns(sim), ==, start + 5 * HOUR_NS);
    g_assert_cmpint(g_get_monotonic_time() - real, <, 60 * G_USEC_PER_SEC);
    timer_free(timer);
    teardown();
    /* The clocks are the machine's again. */
    start = g_get_monotonic_time() * 1000;
    g_assert_cmpint(ABS(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start), <, HOUR_NS);
}

static void test_time_stands_still_while_there_is_work(void)
{
    bool done = false;

    setup(1);
    aio_sim_call_later(sim, HOUR_NS, set_flag, &done);
    for (int i = 0; i < 10; i++) {
        aio_bh_schedule_oneshot(ctx, note, GINT_TO_POINTER('x'));
        g_assert_true(aio_poll(ctx, true));
        g_assert_cmpint(aio_sim_now_ns(sim), ==, AIO_SIM_START_NS);
    }
    /* Nor does it pass when nobody waits for it. */
    aio_poll(ctx, false);
    g_assert_cmpint(aio_sim_now_ns(sim), ==, AIO_SIM_START_NS);
    g_assert_false(done);
    g_assert_cmpuint(aio_sim_n_pending(sim), ==, 1);
    while (!done) {
        aio_poll(ctx, true);
    }
    teardown();
}

static void coroutine_fn sleeper(void *opaque)
{
    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, 3 * HOUR_NS);
    g_string_append_c(order, GPOINTER_TO_INT(opaque));
}

static void test_coroutines_sleep_in_virtual_time(void)
{
    setup(1);
    qemu_coroutine_enter(qemu_coroutine_create(sleeper, GINT_TO_POINTER('b')));
    aio_sim_call_later(sim, 2 * HOUR_NS, note, GINT_TO_POINTER('a'));
    aio_sim_call_later(sim, 4 * HOUR_NS, note, GINT_TO_POINTER('c'));
    while (order->len < 3) {
        aio_poll(ctx, true);
    }
    g_assert_cmpstr(order->str, ==, "abc");
    teardown();
}

static void event_ready(EventNotifier *e)
{
    g_assert_true(event_notifier_test_and_clear(e));
    g_string_append_c(order, 'e');
}

/* A descriptor that is ready goes first; one that is not is not waited for. */
static void test_descriptors_are_seen_before_time_passes(void)
{
    EventNotifier e;

    setup(1);
    g_assert_cmpint(event_notifier_init(&e, false), ==, 0);
    aio_set_event_notifier(ctx, &e, event_ready, NULL, NULL);
    aio_sim_call_later(sim, HOUR_NS, note, GINT_TO_POINTER('t'));
    event_notifier_set(&e);
    aio_poll(ctx, true);
    g_assert_cmpstr(order->str, ==, "e");
    g_assert_cmpint(aio_sim_now_ns(sim), ==, AIO_SIM_START_NS);
    aio_poll(ctx, true);
    g_assert_cmpstr(order->str, ==, "et");
    aio_set_event_notifier(ctx, &e, NULL, NULL, NULL);
    event_notifier_cleanup(&e);
    teardown();
}

static void *set_later(void *opaque)
{
    g_usleep(20000);
    event_notifier_set(opaque);
    return NULL;
}

static void test_without_timers_it_waits_for_descriptors(void)
{
    EventNotifier e;
    QemuThread thread;

    setup(1);
    g_assert_cmpint(event_notifier_init(&e, false), ==, 0);
    aio_set_event_notifier(ctx, &e, event_ready, NULL, NULL);
    qemu_thread_create(&thread, "set", set_later, &e, QEMU_THREAD_JOINABLE);
    while (!order->len) {
        aio_poll(ctx, true);
    }
    qemu_thread_join(&thread);
    g_assert_cmpint(aio_sim_now_ns(sim), ==, AIO_SIM_START_NS);
    aio_set_event_notifier(ctx, &e, NULL, NULL, NULL);
    event_notifier_cleanup(&e);
    teardown();
}

static void test_busy_polling_does_not_wait_for_the_clock(void)
{
    setup(1);
    aio_context_set_poll_params(ctx, 1000000, 0, 0, &error_abort);
    aio_sim_call_later(sim, HOUR_NS, note, GINT_TO_POINTER('t'));
    while (!order->len) {
        aio_poll(ctx, true);
    }
    teardown();
}

/* --- calls --- */

/* 20 calls for one instant: in which order? */
static char *order_of_ties(uint64_t seed)
{
    char *found;

    setup(seed);
    for (int i = 0; i < 20; i++) {
        aio_sim_call_later(sim, 1000, note, GINT_TO_POINTER('a' + i));
    }
    while (order->len < 20) {
        aio_poll(ctx, true);
    }
    found = g_strdup(order->str);
    teardown();
    return found;
}

static void test_ties_are_the_seeds(void)
{
    g_autofree char *first = order_of_ties(7), *again = order_of_ties(7);
    g_autofree char *other = order_of_ties(8);

    g_assert_cmpstr(first, ==, again);
    g_assert_cmpstr(first, !=, other);
    g_assert_cmpstr(first, !=, "abcdefghijklmnopqrst");
}

static void poll_for_others(void *opaque)
{
    unsigned *left = opaque;

    --*left;
    while (*left) {
        aio_poll(ctx, true);
    }
}

/* A call that runs an inner loop does not hold up the rest. */
static void test_inner_loops_run_other_calls(void)
{
    unsigned left = 5;

    setup(1);
    for (int i = 0; i < 5; i++) {
        aio_sim_call_later(sim, i / 2, poll_for_others, &left);
    }
    while (left) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(aio_sim_n_pending(sim), ==, 0);
    teardown();
}

static void again(void *opaque)
{
    unsigned *left = opaque;

    if (--*left) {
        aio_sim_call_later(sim, 0, again, left);
    }
}

static void test_calls_without_delay_come_in_the_next_round(void)
{
    unsigned left = 4;

    setup(1);
    aio_sim_call_later(sim, 0, again, &left);
    for (unsigned expected = 3; expected; expected--) {
        aio_poll(ctx, true);
        g_assert_cmpuint(left, ==, expected);
    }
    aio_poll(ctx, true);
    g_assert_cmpint(aio_sim_now_ns(sim), ==, AIO_SIM_START_NS);
    teardown();
}

/* Whether somebody has waited in the loop before is nothing that a simulation depends on. */
static void test_notifications_from_before_do_not_count(void)
{
    bool done = false;

    setup(1);
    aio_sim_end(sim);
    aio_notify(ctx);
    sim = aio_sim_begin(ctx, 1);
    aio_sim_call_later(sim, HOUR_NS, set_flag, &done);
    g_assert_true(aio_poll(ctx, true));
    g_assert_true(done);
    /* Those that come later do. */
    aio_notify(ctx);
    aio_sim_call_later(sim, HOUR_NS, set_flag, &done);
    g_assert_false(aio_poll(ctx, true));
    g_assert_true(aio_poll(ctx, true));
    teardown();
}

static void test_random_numbers(void)
{
    uint64_t bits = 0, buckets[10] = { 0 };

    setup(42);
    for (int i = 0; i < 10000; i++) {
        bits |= aio_sim_random(sim);
        buckets[aio_sim_random_below(sim, 10)]++;
    }
    g_assert_cmpuint(bits, ==, UINT64_MAX);
    for (int i = 0; i < 10; i++) {
        g_assert_cmpuint(buckets[i], >, 850);
        g_assert_cmpuint(buckets[i], <, 1150);
    }
    g_assert_cmpuint(aio_sim_seed(sim), ==, 42);
    teardown();
}

/* --- the thread pool --- */

static GThread *loop_thread;

static int work(void *opaque)
{
    g_assert_true(g_thread_self() == loop_thread);
    g_string_append_c(order, GPOINTER_TO_INT(opaque));
    return 5;
}

static void worked(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, 5);
    ++*(unsigned *)opaque;
}

static char *order_of_work(uint64_t seed)
{
    unsigned done = 0;
    char *found;

    setup(seed);
    loop_thread = g_thread_self();
    for (int i = 0; i < 10; i++) {
        thread_pool_submit_aio(work, GINT_TO_POINTER('a' + i), worked, &done);
        g_assert_cmpuint(order->len, ==, 0);
    }
    while (done < 10) {
        aio_poll(ctx, true);
    }
    found = g_strdup(order->str);
    teardown();
    return found;
}

static void test_work_runs_in_the_loop(void)
{
    g_autofree char *first = order_of_work(7), *again_ = order_of_work(7);
    g_autofree char *other = order_of_work(8);

    g_assert_cmpstr(first, ==, again_);
    g_assert_cmpstr(first, !=, other);
}

static void cancelled(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, -ECANCELED);
    *(bool *)opaque = true;
}

static void test_work_can_be_cancelled(void)
{
    bool done = false;
    BlockAIOCB *acb;

    setup(1);
    acb = thread_pool_submit_aio(work, GINT_TO_POINTER('x'), cancelled, &done);
    acb->aiocb_info->cancel_async(acb);
    acb->aiocb_info->cancel_async(acb);
    g_assert_false(done);
    while (!done) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(order->len, ==, 0);
    teardown();
}

/* --- several, and the wrong use --- */

static void *own_simulation(void *opaque)
{
    AioContext *own = aio_context_new(&error_abort);
    unsigned n = GPOINTER_TO_UINT(opaque), left = 1000;
    AioSim *s;

    qemu_set_current_aio_context(own);
    s = aio_sim_begin(own, n);
    g_assert_true(aio_sim_current() == s);
    while (left) {
        bool done = false;

        aio_sim_call_later(s, n, set_flag, &done);
        while (!done) {
            aio_poll(own, true);
        }
        left--;
    }
    g_assert_cmpint(aio_sim_now_ns(s), ==, AIO_SIM_START_NS + 1000 * (int64_t)n);
    aio_sim_end(s);
    g_assert_null(aio_sim_current());
    qemu_set_current_aio_context(NULL);
    aio_context_unref(own);
    return NULL;
}

static void test_threads_have_their_own(void)
{
    QemuThread threads[4];

    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_create(&threads[i], "sim", own_simulation, GUINT_TO_POINTER(i + 1),
                           QEMU_THREAD_JOINABLE);
    }
    g_assert_null(aio_sim_current());
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_join(&threads[i]);
    }
}

static void test_end_with_calls_pending_dies(void)
{
    if (g_test_subprocess()) {
        setup(1);
        aio_sim_call_later(sim, 1, note, GINT_TO_POINTER('x'));
        aio_sim_end(sim);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*aio_sim_end: there are calls or timers*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aio-sim/hours-pass-at-once", test_hours_pass_at_once);
    g_test_add_func("/aio-sim/time-stands-still-while-there-is-work",
                    test_time_stands_still_while_there_is_work);
    g_test_add_func("/aio-sim/coroutines-sleep-in-virtual-time",
                    test_coroutines_sleep_in_virtual_time);
    g_test_add_func("/aio-sim/descriptors-are-seen-before-time-passes",
                    test_descriptors_are_seen_before_time_passes);
    g_test_add_func("/aio-sim/without-timers-it-waits-for-descriptors",
                    test_without_timers_it_waits_for_descriptors);
    g_test_add_func("/aio-sim/busy-polling-does-not-wait-for-the-clock",
                    test_busy_polling_does_not_wait_for_the_clock);
    g_test_add_func("/aio-sim/ties-are-the-seeds", test_ties_are_the_seeds);
    g_test_add_func("/aio-sim/inner-loops-run-other-calls", test_inner_loops_run_other_calls);
    g_test_add_func("/aio-sim/calls-without-delay-come-in-the-next-round",
                    test_calls_without_delay_come_in_the_next_round);
    g_test_add_func("/aio-sim/notifications-from-before-do-not-count",
                    test_notifications_from_before_do_not_count);
    g_test_add_func("/aio-sim/random-numbers", test_random_numbers);
    g_test_add_func("/aio-sim/work-runs-in-the-loop", test_work_runs_in_the_loop);
    g_test_add_func("/aio-sim/work-can-be-cancelled", test_work_can_be_cancelled);
    g_test_add_func("/aio-sim/threads-have-their-own", test_threads_have_their_own);
    g_test_add_func("/aio-sim/end-with-calls-pending-dies", test_end_with_calls_pending_dies);
    return g_test_run();
}
