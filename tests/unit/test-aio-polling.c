/* SPDX-License-Identifier: MIT */
/*
 * Busy polling in detail: how its time adapts, handlers that come and go meanwhile, what ends
 * it; and sources of GLib's that begin to wait while there is something.
 */
#include <sys/socket.h>

#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/thread.h"

/* For the time that the next busy polling may take, and whether one is under way. */
#include "../../util/aio-internal.h"

static AioContext *ctx;

typedef struct Device Device;
struct Device {
    EventNotifier e;
    int reads, polls, readies, begun, ended;
    int ready_at; /* io_poll finds something in its call of this number, and later; 0: never */
    void (*when_polled)(Device *d);
    void (*when_begun)(Device *d);
    Device *other;
};

static Device *device_of(EventNotifier *e)
{
    return container_of(e, Device, e);
}

static void device_read(EventNotifier *e)
{
    g_assert_true(event_notifier_test_and_clear(e));
    device_of(e)->reads++;
}

static bool device_poll(void *opaque)
{
    Device *d = device_of(opaque);

    d->polls++;
    if (d->when_polled) {
        d->when_polled(d);
    }
    return d->ready_at && d->polls >= d->ready_at;
}

static void device_ready(EventNotifier *e)
{
    device_of(e)->readies++;
    device_of(e)->ready_at = 0;
}

static void device_begin(EventNotifier *e)
{
    Device *d = device_of(e);

    d->begun++;
    if (d->when_begun) {
        d->when_begun(d);
    }
}

static void device_end(EventNotifier *e)
{
    device_of(e)->ended++;
}

static void device_on(Device *d)
{
    *d = (Device){ .reads = 0 };
    g_assert_cmpint(event_notifier_init(&d->e, false), ==, 0);
    aio_set_event_notifier(ctx, &d->e, device_read, device_poll, device_ready);
    aio_set_event_notifier_poll(ctx, &d->e, device_begin, device_end);
}

static void device_remove(Device *d)
{
    aio_set_event_notifier(ctx, &d->e, NULL, NULL, NULL);
}

static void device_off(Device *d)
{
    device_remove(d);
    event_notifier_cleanup(&d->e);
}

static void settle(void)
{
    while (aio_poll(ctx, false)) {
    }
}

static void begin(const char *fdmon)
{
    g_setenv("BLKCO_FDMON", fdmon, true);
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
}

static void begin_polling(void)
{
    begin("epoll");
    /* Longer than a test takes: what is to end busy polling has to do it. */
    aio_context_set_poll_params(ctx, 1000 * NANOSECONDS_PER_SECOND, 0, 0, &error_abort);
    settle();
    ctx->poll_ns = ctx->poll_max_ns;
}

static void end(void)
{
    settle();
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* ---- its time ---- */

static void sleep_ms(int ms)
{
    QEMUTimer timer;
    int fired = 0;

    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, count, &fired);
    timer_mod(&timer, get_clock() + ms * SCALE_MS);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(fired, ==, 1);
    timer_deinit(&timer);
}

/* A busy machine may get here late, when there is nothing left to sleep. */
static void sleep_until_adapted(void)
{
    int64_t before = ctx->poll_ns;

    while (ctx->poll_ns == before) {
        sleep_ms(1);
    }
}

static void set_params(int64_t max, int64_t grow, int64_t shrink)
{
    aio_context_set_poll_params(ctx, max, grow, shrink, &error_abort);
    /* The call wakes the loop. */
    aio_poll(ctx, false);
    g_assert_cmpint(ctx->poll_ns, ==, 0);
}

static void test_time_grows_to_what_would_have_been_enough(void)
{
    static const int64_t day = 86400 * NANOSECONDS_PER_SECOND;

    begin("epoll");
    set_params(day, 0, 0);
    sleep_until_adapted();
    g_assert_cmpint(ctx->poll_ns, ==, 4000);
    sleep_until_adapted();
    g_assert_cmpint(ctx->poll_ns, ==, 8000);
    set_params(day, 5, 0);
    sleep_until_adapted();
    sleep_until_adapted();
    g_assert_cmpint(ctx->poll_ns, ==, 20000);
    /* Never beyond the maximum, and not at all when it was enough. */
    set_params(day, INT64_MAX, 0);
    sleep_until_adapted();
    sleep_until_adapted();
    g_assert_cmpint(ctx->poll_ns, ==, day);
    sleep_ms(1);
    g_assert_cmpint(ctx->poll_ns, ==, day);
    end();
}

static void test_time_shrinks_when_waits_are_too_long(void)
{
    begin("epoll");
    set_params(4001, 0, 4);
    ctx->poll_ns = 4000;
    sleep_until_adapted();
    g_assert_cmpint(ctx->poll_ns, ==, 1000);
    set_params(4001, 0, 0);
    ctx->poll_ns = 4000;
    sleep_until_adapted();
    g_assert_cmpint(ctx->poll_ns, ==, 0);
    /* A maximum below the first step is the first step. */
    set_params(3000, 0, 0);
    for (int i = 0; i < 200 && ctx->poll_ns == 0; i++) {
        aio_notify(ctx);
        aio_poll(ctx, true);
    }
    g_assert_true(ctx->poll_ns == 0 || ctx->poll_ns == 3000);
    end();
}

static void test_negative_parameters_are_refused(void)
{
    Error *err = NULL;

    begin("epoll");
    set_params(5000, 2, 3);
    aio_context_set_poll_params(ctx, -1, 0, 0, &err);
    error_free_or_abort(&err);
    aio_context_set_poll_params(ctx, 0, -1, 0, &err);
    error_free_or_abort(&err);
    aio_context_set_poll_params(ctx, 0, 0, -1, &err);
    error_free_or_abort(&err);
    g_assert_cmpint(ctx->poll_max_ns, ==, 5000);
    g_assert_cmpint(ctx->poll_grow, ==, 2);
    g_assert_cmpint(ctx->poll_shrink, ==, 3);
    end();
}

/* ---- what ends it ---- */

static void test_found_while_polling_busily(void)
{
    Device d;

    begin_polling();
    device_on(&d);
    d.ready_at = 100;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(d.readies, ==, 1);
    g_assert_cmpint(d.polls, ==, 100);
    g_assert_cmpint(d.begun, ==, 1);
    g_assert_cmpint(d.ended, ==, 0);
    /* Goes on with it: not begun again. */
    d.ready_at = 200;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(d.readies, ==, 2);
    g_assert_cmpint(d.begun, ==, 1);
    g_assert_cmpint(d.ended, ==, 0);
    /* What it tells its device at the end may not wait until the device is gone. */
    device_remove(&d);
    g_assert_cmpint(d.ended, ==, 1);
    event_notifier_cleanup(&d.e);
    end();
}

static void test_removed_without_anybody_to_tell(void)
{
    Device d;

    begin_polling();
    device_on(&d);
    aio_set_event_notifier_poll(ctx, &d.e, NULL, NULL);
    d.ready_at = 10;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(d.readies, ==, 1);
    device_off(&d);
    g_assert_cmpint(d.begun + d.ended, ==, 0);
    end();
}

static void notify_at_50(Device *d)
{
    if (d->polls == 50) {
        aio_notify(ctx);
    }
}

static void *schedule_elsewhere(void *opaque)
{
    aio_bh_schedule_oneshot(ctx, count, opaque);
    return NULL;
}

static void schedule_at_50(Device *d)
{
    QemuThread thread;

    if (d->polls == 50) {
        qemu_thread_create(&thread, "schedule", schedule_elsewhere, &d->reads,
                           QEMU_THREAD_JOINABLE);
        qemu_thread_join(&thread);
    }
}

static void test_ended_by_notify_and_by_bottom_halves_of_others(void)
{
    Device d;

    begin_polling();
    device_on(&d);
    d.when_polled = notify_at_50;
    g_assert_false(aio_poll(ctx, true));
    /* Asked once more behind the end, when notifications are on again. */
    g_assert_cmpint(d.polls, ==, 51);
    g_assert_cmpint(d.begun, ==, 1);
    g_assert_cmpint(d.ended, ==, 1);

    d.polls = 0;
    d.when_polled = schedule_at_50;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(d.reads, ==, 1);
    g_assert_cmpint(d.polls, ==, 51);
    g_assert_cmpint(d.begun, ==, 2);
    g_assert_cmpint(d.ended, ==, 2);
    device_off(&d);
    end();
}

/* ---- handlers that come and go ---- */

static void remove_other(Device *d)
{
    device_remove(d->other);
}

static void two_devices(Device *a, Device *b)
{
    device_on(a);
    device_on(b);
    a->other = b;
    b->other = a;
}

static void test_removed_by_the_poll_of_another(void)
{
    Device a, b;

    begin_polling();
    two_devices(&a, &b);
    a.ready_at = b.ready_at = 1;
    a.when_polled = b.when_polled = remove_other;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(a.polls + b.polls, ==, 1);
    g_assert_cmpint(a.readies + b.readies, ==, 1);
    device_off(&a);
    device_off(&b);
    end();
}

static void test_removed_by_the_begin_of_another(void)
{
    Device a, b;

    begin_polling();
    two_devices(&a, &b);
    a.when_begun = b.when_begun = remove_other;
    a.ready_at = b.ready_at = 10;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(a.begun + b.begun, ==, 1);
    g_assert_cmpint(a.readies + b.readies, ==, 1);
    device_off(&a);
    device_off(&b);
    g_assert_cmpint(a.ended + b.ended, ==, 1);
    end();
}

static void test_descriptor_without_handler_is_nobodys(void)
{
    Device d;

    begin_polling();
    d = (Device){ .reads = 0 };
    g_assert_cmpint(event_notifier_init(&d.e, false), ==, 0);
    aio_set_event_notifier_poll(ctx, &d.e, device_begin, device_end);
    aio_set_event_notifier(ctx, &d.e, device_read, device_poll, device_ready);
    d.ready_at = 5;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(d.readies, ==, 1);
    g_assert_cmpint(d.begun, ==, 0);
    device_off(&d);
    end();
}

/* One event that the poll sees and the descriptor as well is the descriptor's. */
static void test_found_both_ways_is_handled_once(void)
{
    Device d, plain;

    begin("epoll");
    device_on(&d);
    device_on(&plain);
    aio_set_event_notifier(ctx, &plain.e, device_read, NULL, NULL);
    d.ready_at = 1;
    event_notifier_set(&d.e);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(d.reads, ==, 1);
    g_assert_cmpint(d.readies, ==, 0);
    g_assert_cmpint(plain.reads, ==, 0);
    device_off(&d);
    device_off(&plain);
    end();
}

static void gone_read(void *opaque)
{
    ++*(int *)opaque;
}

/* An error is for whoever there is: a writing end that is only read from. */
static void test_error_is_readers_without_a_writer(void)
{
    static const char *const fdmons[] = { "epoll", "poll" };

    for (size_t i = 0; i < G_N_ELEMENTS(fdmons); i++) {
        int fds[2], n = 0;

        begin(fdmons[i]);
        g_assert_cmpint(pipe(fds), ==, 0);
        aio_set_fd_handler(ctx, fds[1], gone_read, NULL, NULL, NULL, &n);
        settle();
        g_assert_cmpint(n, ==, 0);
        close(fds[0]);
        g_assert_true(aio_poll(ctx, true));
        g_assert_cmpint(n, ==, 1);
        aio_set_fd_handler(ctx, fds[1], NULL, NULL, NULL, NULL, NULL);
        close(fds[1]);
        end();
    }
}

/* ---- as a source of GLib's ---- */

static void test_glib_finds_what_came_while_polling_busily(void)
{
    GMainContext *gmain = g_main_context_new();
    GSource *source;
    Device d;

    begin_polling();
    device_on(&d);
    d.ready_at = 10;
    g_assert_true(aio_poll(ctx, true));
    g_assert_true(ctx->poll_started);
    /* From here on GLib waits, and the device has not raised its notifier. */
    source = aio_get_g_source(ctx);
    g_source_attach(source, gmain);
    d.ready_at = d.polls + 1;
    g_assert_true(g_main_context_iteration(gmain, true));
    g_assert_cmpint(d.readies, ==, 2);
    g_assert_cmpint(d.ended, ==, 1);
    device_off(&d);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_context_unref(gmain);
    end();
}

static void test_notify_between_prepare_and_check_is_taken(void)
{
    GMainContext *gmain = g_main_context_new();
    GSource *source;
    GPollFD fds[8];
    int priority, timeout, n, ran = 0;

    begin("epoll");
    source = aio_get_g_source(ctx);
    g_source_attach(source, gmain);
    g_assert_true(g_main_context_acquire(gmain));
    g_assert_false(g_main_context_prepare(gmain, &priority));
    /* Somebody may ask twice before he waits. */
    g_assert_false(g_main_context_prepare(gmain, &priority));
    n = g_main_context_query(gmain, G_MAXINT, &timeout, fds, G_N_ELEMENTS(fds));
    g_assert_cmpint(n, <=, (int)G_N_ELEMENTS(fds));
    g_assert_cmpint(timeout, ==, -1);

    aio_notify(ctx);
    aio_bh_schedule_oneshot(ctx, count, &ran);
    g_assert_cmpint(g_poll(fds, n, timeout), >, 0);
    g_assert_true(g_main_context_check(gmain, G_MAXINT, fds, n));
    g_assert_false(ctx->notified);
    g_main_context_dispatch(gmain);
    g_assert_cmpint(ran, ==, 1);
    g_main_context_release(gmain);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_context_unref(gmain);
    end();
}

static void test_handlers_outlive_a_destroyed_source(void)
{
    GMainContext *gmain = g_main_context_new();
    GSource *source;
    Device before, behind;

    begin("poll");
    source = aio_get_g_source(ctx);
    g_source_attach(source, gmain);
    device_on(&before);
    g_source_destroy(source);
    g_source_unref(source);
    device_on(&behind);
    event_notifier_set(&before.e);
    event_notifier_set(&behind.e);
    settle();
    g_assert_cmpint(before.reads, ==, 1);
    g_assert_cmpint(behind.reads, ==, 1);
    device_off(&before);
    device_off(&behind);
    g_main_context_unref(gmain);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aio-polling/time/grows", test_time_grows_to_what_would_have_been_enough);
    g_test_add_func("/aio-polling/time/shrinks", test_time_shrinks_when_waits_are_too_long);
    g_test_add_func("/aio-polling/time/negative", test_negative_parameters_are_refused);
    g_test_add_func("/aio-polling/found", test_found_while_polling_busily);
    g_test_add_func("/aio-polling/nobody-to-tell", test_removed_without_anybody_to_tell);
    g_test_add_func("/aio-polling/ended", test_ended_by_notify_and_by_bottom_halves_of_others);
    g_test_add_func("/aio-polling/removed/poll", test_removed_by_the_poll_of_another);
    g_test_add_func("/aio-polling/removed/begin", test_removed_by_the_begin_of_another);
    g_test_add_func("/aio-polling/no-handler", test_descriptor_without_handler_is_nobodys);
    g_test_add_func("/aio-polling/both-ways", test_found_both_ways_is_handled_once);
    g_test_add_func("/aio-polling/error", test_error_is_readers_without_a_writer);
    g_test_add_func("/aio-polling/glib/found", test_glib_finds_what_came_while_polling_busily);
    g_test_add_func("/aio-polling/glib/notify", test_notify_between_prepare_and_check_is_taken);
    g_test_add_func("/aio-polling/glib/destroyed", test_handlers_outlive_a_destroyed_source);
    return g_test_run();
}
