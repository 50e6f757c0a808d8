/* SPDX-License-Identifier: MIT */
/* Timers and their lists, without a loop; the heap against a sorted array. */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qemu/thread.h"

static QEMUTimerListGroup tlg;
static int notified;

static void notify(void *opaque, QEMUClockType type)
{
    qatomic_inc(&notified);
}

typedef struct T {
    QEMUTimer timer;
    int64_t time;
    int id, n;
    GArray *order;
} T;

static void fired(void *opaque)
{
    T *t = opaque;

    t->n++;
    if (t->order) {
        g_array_append_val(t->order, t->id);
    }
}

static void init(T *t, int scale)
{
    *t = (T){ .n = 0 };
    timer_init_full(&t->timer, &tlg, QEMU_CLOCK_REALTIME, scale, 0, fired, t);
}

static QEMUTimerList *list(void)
{
    return tlg.tl[QEMU_CLOCK_REALTIME];
}

static void test_states(void)
{
    T t;
    int64_t now = get_clock();

    init(&t, SCALE_MS);
    g_assert_false(timer_pending(&t.timer));
    g_assert_cmpuint(timer_expire_time_ns(&t.timer), ==, UINT64_MAX);
    g_assert_false(timerlist_has_timers(list()));
    g_assert_cmpint(timerlistgroup_deadline_ns(&tlg), ==, -1);

    timer_mod(&t.timer, now / SCALE_MS + 100000);
    g_assert_true(timer_pending(&t.timer));
    g_assert_cmpuint(timer_expire_time_ns(&t.timer), ==,
                     (uint64_t)(now / SCALE_MS + 100000) * SCALE_MS);
    g_assert_false(timer_expired(&t.timer, now / SCALE_MS));
    g_assert_true(timer_expired(&t.timer, now / SCALE_MS + 100000));
    g_assert_cmpint(timerlist_deadline_ns(list()), >, 99LL * NANOSECONDS_PER_SECOND);
    g_assert_cmpint(timerlist_deadline_ns(list()), <=, 100LL * NANOSECONDS_PER_SECOND);
    g_assert_false(timerlistgroup_run_timers(&tlg));

    /* Nearer, not farther. */
    timer_mod_anticipate(&t.timer, now / SCALE_MS + 200000);
    g_assert_cmpint(timerlist_deadline_ns(list()), <=, 100LL * NANOSECONDS_PER_SECOND);
    timer_mod_anticipate(&t.timer, now / SCALE_MS + 1000);
    g_assert_cmpint(timerlist_deadline_ns(list()), <=, NANOSECONDS_PER_SECOND);

    timer_mod_ns(&t.timer, -5);
    g_assert_cmpuint(timer_expire_time_ns(&t.timer), ==, 0);
    g_assert_cmpint(timerlist_deadline_ns(list()), ==, 0);
    g_assert_true(timerlist_expired(list()));
    g_assert_true(timerlistgroup_run_timers(&tlg));
    g_assert_cmpint(t.n, ==, 1);
    g_assert_false(timer_pending(&t.timer));

    timer_mod(&t.timer, INT64_MAX);
    g_assert_cmpuint(timer_expire_time_ns(&t.timer), ==, INT64_MAX);
    timer_del(&t.timer);
    timer_del(&t.timer);
    g_assert_false(timerlist_has_timers(list()));
    timer_deinit(&t.timer);
}

static void test_timer_without_a_list_is_not_armed(void)
{
    QEMUTimer timer = { .timer_list = NULL };

    g_assert_false(timer_pending(&timer));
    g_assert_cmpuint(timer_expire_time_ns(&timer), ==, UINT64_MAX);
    g_assert_false(timer_expired(&timer, INT64_MAX));
    timer_del(&timer);
    g_assert_false(timer_pending(&timer));
}

static void test_times_that_no_ns_can_tell(void)
{
    T t;

    init(&t, SCALE_MS);
    g_assert_false(timer_expired(&t.timer, INT64_MAX));
    timer_mod(&t.timer, INT64_MIN);
    g_assert_cmpuint(timer_expire_time_ns(&t.timer), ==, 0);
    timer_mod(&t.timer, 5);
    g_assert_false(timer_expired(&t.timer, INT64_MIN));
    g_assert_false(timer_expired(&t.timer, 4));
    g_assert_true(timer_expired(&t.timer, INT64_MAX));
    timer_del(&t.timer);
    timer_deinit(&t.timer);
}

static void test_nobody_has_to_be_notified(void)
{
    QEMUTimerListGroup quiet;
    QEMUTimer timer;
    T t = { .n = 0 };

    timerlistgroup_init(&quiet, NULL, NULL);
    timer_init_full(&timer, &quiet, QEMU_CLOCK_REALTIME, SCALE_NS, 0, fired, &t);
    notified = 0;
    timer_mod(&timer, 1);
    timerlist_notify(quiet.tl[QEMU_CLOCK_REALTIME]);
    g_assert_cmpint(notified, ==, 0);
    g_assert_true(timerlistgroup_run_timers(&quiet));
    g_assert_cmpint(t.n, ==, 1);
    timer_deinit(&timer);
    timerlistgroup_deinit(&quiet);
}

static void test_notifies_when_first_deadline_comes_nearer(void)
{
    T a, b;

    init(&a, SCALE_NS);
    init(&b, SCALE_NS);
    notified = 0;
    timer_mod(&a.timer, INT64_MAX / 2);
    g_assert_cmpint(notified, ==, 1);
    timer_mod(&b.timer, INT64_MAX / 2 + 1);
    g_assert_cmpint(notified, ==, 1);
    timer_mod(&b.timer, INT64_MAX / 2 - 1);
    g_assert_cmpint(notified, ==, 2);
    timer_del(&a.timer);
    timer_del(&b.timer);
    g_assert_cmpint(notified, ==, 2);
}

static int by_time(const void *x, const void *y)
{
    const T *a = *(T *const *)x, *b = *(T *const *)y;

    if (a->time != b->time) {
        return a->time < b->time ? -1 : 1;
    }
    return a->timer.order < b->timer.order ? -1 : 1;
}

/* Random arming, moving and disarming; then everything fires in the order of a sort. */
static void test_order_is_that_of_a_sort(void)
{
    enum { N = 500 };
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(int));
    g_autofree T *t = g_new(T, N);
    T *sorted[N];
    size_t n = 0;

    for (int i = 0; i < N; i++) {
        init(&t[i], SCALE_NS);
        t[i].id = i;
        t[i].order = order;
    }
    for (int i = 0; i < 20 * N; i++) {
        T *one = &t[g_test_rand_int_range(0, N)];

        if (g_test_rand_int_range(0, 4) == 0) {
            timer_del(&one->timer);
        } else {
            one->time = g_test_rand_int_range(0, 200);
            timer_mod_ns(&one->timer, one->time);
        }
    }
    for (int i = 0; i < N; i++) {
        if (timer_pending(&t[i].timer)) {
            sorted[n++] = &t[i];
        }
    }
    qsort(sorted, n, sizeof(sorted[0]), by_time);
    g_assert_true(timerlistgroup_run_timers(&tlg));
    g_assert_cmpuint(order->len, ==, n);
    for (size_t i = 0; i < n; i++) {
        g_assert_cmpint(g_array_index(order, int, i), ==, sorted[i]->id);
    }
    g_assert_false(timerlist_has_timers(list()));
}

static T again, behind;

static void arm_again(void *opaque)
{
    again.n++;
    timer_mod_ns(&again.timer, 0);
}

static void test_armed_in_its_callback_for_the_past_waits_a_round(void)
{
    init(&again, SCALE_NS);
    again.timer.cb = arm_again;
    init(&behind, SCALE_NS);
    timer_mod_ns(&again.timer, 0);
    timer_mod_ns(&behind.timer, 5);
    g_assert_true(timerlistgroup_run_timers(&tlg));
    g_assert_cmpint(again.n, ==, 1);
    g_assert_cmpint(behind.n, ==, 1);
    g_assert_true(timerlistgroup_run_timers(&tlg));
    g_assert_cmpint(again.n, ==, 2);
    timer_del(&again.timer);
}

static void free_self(void *opaque)
{
    QEMUTimer **ts = opaque;

    timer_free(*ts);
    *ts = NULL;
}

static void test_callback_may_free_its_timer(void)
{
    QEMUTimer *ts = timer_new_full(&tlg, QEMU_CLOCK_HOST, SCALE_US, 0, free_self, &ts);

    timer_mod(ts, 1);
    g_assert_true(timerlistgroup_run_timers(&tlg));
    g_assert_null(ts);
    timer_free(NULL);
}

static void *arm_from_thread(void *opaque)
{
    T *t = opaque;

    for (int i = 0; i < 20000; i++) {
        timer_mod_ns(&t->timer, i % 7);
        if (i % 3 == 0) {
            timer_del(&t->timer);
        }
    }
    timer_mod_ns(&t->timer, 0);
    return NULL;
}

static void test_any_thread_may_arm(void)
{
    enum { N = 3 };
    QemuThread threads[N];
    T t[N];

    for (int i = 0; i < N; i++) {
        init(&t[i], SCALE_NS);
        qemu_thread_create(&threads[i], "arm", arm_from_thread, &t[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (int i = 0; i < 2000; i++) {
        timerlistgroup_run_timers(&tlg);
    }
    for (int i = 0; i < N; i++) {
        qemu_thread_join(&threads[i]);
    }
    timerlistgroup_run_timers(&tlg);
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(t[i].n, >, 0);
        g_assert_false(timer_pending(&t[i].timer));
    }
}

static void test_timeouts(void)
{
    g_assert_cmpint(qemu_timeout_ns_to_ms(-7), ==, -1);
    g_assert_cmpint(qemu_timeout_ns_to_ms(0), ==, 0);
    g_assert_cmpint(qemu_timeout_ns_to_ms(1), ==, 1);
    g_assert_cmpint(qemu_timeout_ns_to_ms(SCALE_MS), ==, 1);
    g_assert_cmpint(qemu_timeout_ns_to_ms(SCALE_MS + 1), ==, 2);
    g_assert_cmpint(qemu_timeout_ns_to_ms(INT64_MAX), ==, INT_MAX);
    g_assert_cmpint(qemu_soonest_timeout(-1, 5), ==, 5);
    g_assert_cmpint(qemu_soonest_timeout(5, -1), ==, 5);
    g_assert_cmpint(qemu_soonest_timeout(3, 5), ==, 3);
    g_assert_cmpint(qemu_soonest_timeout(-1, -1), ==, -1);
}

static void test_die_main_loop_timer_without_main_loop(void)
{
    if (g_test_subprocess()) {
        timer_new_ns(QEMU_CLOCK_REALTIME, fired, NULL);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*qemu_init_main_loop*");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    timerlistgroup_init(&tlg, notify, NULL);
    g_test_add_func("/timer/states", test_states);
    g_test_add_func("/timer/no-list", test_timer_without_a_list_is_not_armed);
    g_test_add_func("/timer/out-of-range", test_times_that_no_ns_can_tell);
    g_test_add_func("/timer/quiet", test_nobody_has_to_be_notified);
    g_test_add_func("/timer/notify", test_notifies_when_first_deadline_comes_nearer);
    g_test_add_func("/timer/order", test_order_is_that_of_a_sort);
    g_test_add_func("/timer/again",
                    test_armed_in_its_callback_for_the_past_waits_a_round);
    g_test_add_func("/timer/free-in-callback", test_callback_may_free_its_timer);
    g_test_add_func("/timer/threads", test_any_thread_may_arm);
    g_test_add_func("/timer/timeouts", test_timeouts);
    g_test_add_func("/timer/die/no-main-loop",
                    test_die_main_loop_timer_without_main_loop);
    ret = g_test_run();
    timerlistgroup_deinit(&tlg);
    return ret;
}
