/* SPDX-License-Identifier: MIT */
/* Bottom halves: how often, when and in which order they run. */
#include "aio-cases.h"

static void bh_reschedule(void *opaque)
{
    BHData *data = opaque;

    if (++data->n < data->max) {
        qemu_bh_schedule(data->bh);
    }
}

static void bh_delete_self(void *opaque)
{
    BHData *data = opaque;

    if (++data->n < data->max) {
        qemu_bh_schedule(data->bh);
    } else {
        qemu_bh_delete(data->bh);
        data->bh = NULL;
    }
}

static void test_bh_runs_once_for_many_schedules(void)
{
    BHData data = { .bh = aio_bh_new(ctx, bh_count, &data) };

    qemu_bh_schedule(data.bh);
    qemu_bh_schedule(data.bh);
    g_assert_cmpint(data.n, ==, 0);
    g_assert_true(poll_loop(true));
    g_assert_cmpint(data.n, ==, 1);
    settle();
    g_assert_cmpint(data.n, ==, 1);
    qemu_bh_delete(data.bh);
}

static void test_bh_scheduled_by_itself_runs_in_next_poll(void)
{
    BHData data = { .bh = aio_bh_new(ctx, bh_reschedule, &data), .max = 5 };

    qemu_bh_schedule(data.bh);
    for (int i = 1; i <= 5; i++) {
        g_assert_true(poll_loop(true));
        g_assert_cmpint(data.n, ==, i);
    }
    settle();
    g_assert_cmpint(data.n, ==, 5);
    qemu_bh_delete(data.bh);
}

static void test_bh_cancelled_does_not_run(void)
{
    BHData data = { .bh = aio_bh_new(ctx, bh_count, &data) };

    qemu_bh_schedule(data.bh);
    qemu_bh_cancel(data.bh);
    if (!gmain) {
        g_assert_false(aio_poll(ctx, false));
    }
    settle();
    g_assert_cmpint(data.n, ==, 0);
    qemu_bh_schedule(data.bh);
    g_assert_true(poll_loop(true));
    g_assert_cmpint(data.n, ==, 1);
    qemu_bh_delete(data.bh);
}

static void test_bh_deleted_does_not_run(void)
{
    BHData data = { .bh = aio_bh_new(ctx, bh_count, &data) };

    qemu_bh_schedule(data.bh);
    qemu_bh_delete(data.bh);
    settle();
    g_assert_cmpint(data.n, ==, 0);
}

static void test_bh_deletes_itself_and_another(void)
{
    BHData a = { .bh = aio_bh_new(ctx, bh_delete_self, &a), .max = 3 };
    BHData b = { .bh = aio_bh_new(ctx, bh_delete_self, &b), .max = 1 };

    qemu_bh_schedule(a.bh);
    qemu_bh_schedule(b.bh);
    while (a.bh || b.bh) {
        g_assert_true(poll_loop(true));
    }
    settle();
    g_assert_cmpint(a.n, ==, 3);
    g_assert_cmpint(b.n, ==, 1);
}

static void test_bh_order_is_that_of_schedules(void)
{
    g_autoptr(GString) order = g_string_new(NULL);
    BHData d[6];

    for (int i = 0; i < 6; i++) {
        d[i] = (BHData){ .order = order, .name = 'a' + i };
        if (i % 2) {
            d[i].bh = NULL;
            aio_bh_schedule_oneshot(ctx, bh_count, &d[i]);
        } else {
            d[i].bh = aio_bh_new(ctx, bh_count, &d[i]);
            qemu_bh_schedule(d[i].bh);
        }
    }
    settle();
    g_assert_cmpstr(order->str, ==, "abcdef");
    for (int i = 0; i < 6; i += 2) {
        qemu_bh_delete(d[i].bh);
    }
}

static void test_bh_oneshot_chain_takes_one_poll_each(void)
{
    BHData data = { .max = 1000 };

    aio_bh_schedule_oneshot(ctx, bh_oneshot_chain, &data);
    for (int i = 1; i <= 1000; i++) {
        g_assert_true(poll_loop(true));
        g_assert_cmpint(data.n, ==, i);
    }
    settle();
    g_assert_cmpint(data.n, ==, 1000);
}

static void bh_nested(void *opaque)
{
    BHData *data = opaque;

    data->n++;
    /* Runs what is left of the outer round, and what is scheduled here. */
    aio_bh_schedule_oneshot(ctx, bh_count, data + 2);
    while (data[1].n == 0 || data[2].n == 0) {
        g_assert_true(aio_poll(ctx, true));
    }
}

static void test_bh_nested_poll_finishes_outer_round(void)
{
    g_autoptr(GString) order = g_string_new(NULL);
    BHData d[3] = { { .n = 0 },
                    { .order = order, .name = '1' },
                    { .order = order, .name = '2' } };

    aio_bh_schedule_oneshot(ctx, bh_nested, d);
    aio_bh_schedule_oneshot(ctx, bh_count, d + 1);
    g_assert_true(poll_loop(true));
    g_assert_cmpstr(order->str, ==, "12");
    settle();
    g_assert_cmpstr(order->str, ==, "12");
}

static void test_bh_idle_runs_within_ten_ms_and_is_no_progress(void)
{
    BHData data = { .bh = aio_bh_new(ctx, bh_count, &data) };
    int64_t start = get_clock();

    qemu_bh_schedule_idle(data.bh);
    if (!gmain) {
        g_assert_false(aio_poll(ctx, true));
    }
    while (data.n == 0) {
        poll_loop(true);
    }
    g_assert_cmpint(get_clock() - start, <, 2 * NANOSECONDS_PER_SECOND);
    g_assert_cmpint(data.n, ==, 1);
    qemu_bh_delete(data.bh);
}

static MemReentrancyGuard guard;

static void bh_check_guard(void *opaque)
{
    g_assert_true(guard.engaged_in_io);
    bh_count(opaque);
}

static void test_bh_guard_is_engaged_meanwhile(void)
{
    BHData data = { .bh = aio_bh_new_guarded(ctx, bh_check_guard, &data, &guard) };

    qemu_bh_schedule(data.bh);
    settle();
    g_assert_cmpint(data.n, ==, 1);
    g_assert_false(guard.engaged_in_io);
    qemu_bh_delete(data.bh);
    settle();
}

static void test_die_bh_outlives_context(void)
{
    if (g_test_subprocess()) {
        AioContext *other = aio_context_new(&error_abort);

        qemu_bh_schedule(aio_bh_new(other, bh_count, NULL));
        aio_context_unref(other);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*'bh_count' outlives*");
}

static const Case cases[] = {
    { "bh/once", test_bh_runs_once_for_many_schedules },
    { "bh/reschedule", test_bh_scheduled_by_itself_runs_in_next_poll },
    { "bh/cancel", test_bh_cancelled_does_not_run },
    { "bh/delete", test_bh_deleted_does_not_run },
    { "bh/delete-in-callback", test_bh_deletes_itself_and_another },
    { "bh/order", test_bh_order_is_that_of_schedules },
    { "bh/oneshot-chain", test_bh_oneshot_chain_takes_one_poll_each },
    { "bh/nested", test_bh_nested_poll_finishes_outer_round },
    { "bh/idle", test_bh_idle_runs_within_ten_ms_and_is_no_progress },
    { "bh/guard", test_bh_guard_is_engaged_meanwhile },
    { "die/leaked-bh", test_die_bh_outlives_context, true },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases(cases, G_N_ELEMENTS(cases));
    return g_test_run();
}
