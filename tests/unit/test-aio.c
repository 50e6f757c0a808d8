/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one thread: bottom halves, descriptors, timers, polling. Every test
 * runs through aio_poll with epoll and with poll(), and once more through a GMainContext.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/thread.h"

/* For what cannot be seen from outside: that a system call was not made. */
#include "../../util/aio-internal.h"

static AioContext *ctx;
static GMainContext *gmain; /* NULL: aio_poll */

/*
 * One round of whichever loop is being tested; whether a callback ran is not known to
 * GLib.
 */
static bool poll_loop(bool blocking)
{
    return gmain ? g_main_context_iteration(gmain, blocking) : aio_poll(ctx, blocking);
}

static void settle(void)
{
    while (poll_loop(false)) {
    }
}

/* ---- bottom halves ---- */

typedef struct BHData {
    QEMUBH *bh;
    int n;
    int max;
    GString *order;
    char name;
} BHData;

static void bh_count(void *opaque)
{
    BHData *data = opaque;

    data->n++;
    if (data->order) {
        g_string_append_c(data->order, data->name);
    }
}

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

static void bh_oneshot_chain(void *opaque)
{
    BHData *data = opaque;

    if (++data->n < data->max) {
        aio_bh_schedule_oneshot(ctx, bh_oneshot_chain, data);
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

/* ---- descriptors ---- */

typedef struct FDData {
    EventNotifier e;
    int n;
    int polled;
    int ready;
    bool has_event;
    bool delete_self;
    struct FDData *delete_other;
    int begun, ended;
    bool nest;
} FDData;

static void fd_read(EventNotifier *e)
{
    FDData *data = container_of(e, FDData, e);

    g_assert_true(event_notifier_test_and_clear(e));
    data->n++;
    if (data->delete_self) {
        aio_set_event_notifier(ctx, e, NULL, NULL, NULL);
    }
    if (data->delete_other) {
        aio_set_event_notifier(ctx, &data->delete_other->e, NULL, NULL, NULL);
    }
    if (data->nest) {
        while (aio_poll(ctx, false)) {
        }
    }
}

static void fd_setup(FDData *data, bool active)
{
    g_assert_cmpint(event_notifier_init(&data->e, active), ==, 0);
    aio_set_event_notifier(ctx, &data->e, fd_read, NULL, NULL);
}

static void fd_cleanup(FDData *data)
{
    aio_set_event_notifier(ctx, &data->e, NULL, NULL, NULL);
    event_notifier_cleanup(&data->e);
}

static void test_fd_handler_runs_when_raised(void)
{
    FDData data = { .n = 0 };

    fd_setup(&data, false);
    settle();
    g_assert_cmpint(data.n, ==, 0);
    event_notifier_set(&data.e);
    g_assert_true(poll_loop(false));
    g_assert_cmpint(data.n, ==, 1);
    settle();
    g_assert_cmpint(data.n, ==, 1);
    fd_cleanup(&data);
    event_notifier_set(&data.e);
    settle();
    g_assert_cmpint(data.n, ==, 1);
}

static void test_fd_handler_is_removed_by_itself_and_by_others(void)
{
    FDData self = { .delete_self = true };
    FDData a = { .n = 0 }, b = { .n = 0 };

    fd_setup(&self, true);
    fd_setup(&a, true);
    fd_setup(&b, true);
    a.delete_other = &b;
    b.delete_other = &a;
    settle();
    g_assert_cmpint(self.n, ==, 1);
    /* Whichever came first took the other one away, although it was ready. */
    g_assert_cmpint(a.n + b.n, ==, 1);
    event_notifier_set(&self.e);
    settle();
    g_assert_cmpint(self.n, ==, 1);
    fd_cleanup(&self);
    fd_cleanup(&a);
    fd_cleanup(&b);
}

static void test_fd_nested_poll_calls_each_ready_handler_once(void)
{
    FDData d[8] = { { .n = 0 } };

    for (int i = 0; i < 8; i++) {
        fd_setup(&d[i], true);
        d[i].nest = true;
    }
    settle();
    for (int i = 0; i < 8; i++) {
        /* fd_read would have found the notifier lowered at a second call. */
        g_assert_cmpint(d[i].n, ==, 1);
        fd_cleanup(&d[i]);
    }
}

typedef struct RW {
    int fd;
    int reads, writes;
    bool drop_write;
} RW;

static void rw_write(void *opaque)
{
    RW *rw = opaque;

    rw->writes++;
}

static void rw_read(void *opaque)
{
    RW *rw = opaque;
    char c;

    g_assert_cmpint(read(rw->fd, &c, 1), ==, 1);
    rw->reads++;
    if (rw->drop_write) {
        aio_set_fd_handler(ctx, rw->fd, rw_read, NULL, NULL, NULL, rw);
    }
}

static void test_fd_read_and_write_and_replace(void)
{
    RW rw = { .reads = 0 };
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    rw.fd = sv[0];
    aio_set_fd_handler(ctx, sv[0], rw_read, rw_write, NULL, NULL, &rw);
    g_assert_true(poll_loop(false));
    g_assert_cmpint(rw.writes, ==, 1);
    g_assert_cmpint(rw.reads, ==, 0);
    g_assert_true(poll_loop(false));
    g_assert_cmpint(rw.writes, ==, 2);
    rw.drop_write = true;
    g_assert_cmpint(write(sv[1], "x", 1), ==, 1);
    /* The write handler was replaced by the read handler: not called any more. */
    g_assert_true(poll_loop(false));
    g_assert_cmpint(rw.reads, ==, 1);
    g_assert_cmpint(rw.writes, ==, 2);
    settle();
    g_assert_cmpint(rw.writes, ==, 2);
    aio_set_fd_handler(ctx, sv[0], NULL, NULL, NULL, NULL, NULL);
    settle();
    close(sv[0]);
    close(sv[1]);
}

static void hup_read(void *opaque)
{
    RW *rw = opaque;
    char c;

    g_assert_cmpint(read(rw->fd, &c, 1), ==, 0);
    rw->reads++;
    aio_set_fd_handler(ctx, rw->fd, NULL, NULL, NULL, NULL, NULL);
}

static void test_fd_hangup_is_read(void)
{
    RW rw = { .reads = 0 };
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    rw.fd = fds[0];
    aio_set_fd_handler(ctx, fds[0], hup_read, NULL, NULL, NULL, &rw);
    settle();
    close(fds[1]);
    g_assert_true(poll_loop(true));
    g_assert_cmpint(rw.reads, ==, 1);
    settle();
    close(fds[0]);
}

static void file_read(void *opaque)
{
    RW *rw = opaque;

    if (++rw->reads == 3) {
        aio_set_fd_handler(ctx, rw->fd, NULL, NULL, NULL, NULL, NULL);
    }
}

static void hup_write(void *opaque)
{
    RW *rw = opaque;

    rw->writes++;
    aio_set_fd_handler(ctx, rw->fd, NULL, NULL, NULL, NULL, NULL);
}

/*
 * Full, then left alone by its reader: whatever poll() calls that, the writer learns it.
 */
static void test_fd_writer_learns_of_hangup(void)
{
    RW rw = { .reads = 0 };
    char full[4096] = "";
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
    while (write(fds[1], full, sizeof(full)) > 0) {
    }
    rw.fd = fds[1];
    aio_set_fd_handler(ctx, fds[1], NULL, hup_write, NULL, NULL, &rw);
    settle();
    g_assert_cmpint(rw.writes, ==, 0);
    close(fds[0]);
    g_assert_true(poll_loop(true));
    g_assert_cmpint(rw.writes, ==, 1);
    settle();
    close(fds[1]);
}

/* epoll refuses regular files, poll() finds them always ready. */
static void test_fd_regular_file_is_always_ready(void)
{
    g_autofree char *name = NULL;
    RW rw = { .fd = g_file_open_tmp(NULL, &name, NULL) };

    unlink(name);
    aio_set_fd_handler(ctx, rw.fd, file_read, NULL, NULL, NULL, &rw);
    while (rw.reads < 3) {
        g_assert_true(poll_loop(true));
    }
    settle();
    g_assert_cmpint(rw.reads, ==, 3);
    close(rw.fd);
}

static void test_fd_many_are_all_served(void)
{
    enum { N = 300 };
    FDData *d = g_new0(FDData, N);

    for (int i = 0; i < N; i++) {
        fd_setup(&d[i], true);
    }
    settle();
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(d[i].n, ==, 1);
        fd_cleanup(&d[i]);
    }
    settle();
    g_free(d);
}

/* ---- io_poll ---- */

static bool fd_poll(void *opaque)
{
    FDData *data = container_of((EventNotifier *)opaque, FDData, e);

    data->polled++;
    return data->has_event;
}

static void fd_poll_ready(EventNotifier *e)
{
    FDData *data = container_of(e, FDData, e);

    data->ready++;
    if (data->nest) {
        /* io_poll still says that there is something: it must not lead here again. */
        aio_poll(ctx, false);
    }
    data->has_event = false;
}

static void fd_begin(EventNotifier *e)
{
    container_of(e, FDData, e)->begun++;
}

static void fd_end(EventNotifier *e)
{
    container_of(e, FDData, e)->ended++;
}

static void set_event(void *opaque)
{
    ((FDData *)opaque)->has_event = true;
}

static void test_poll_is_asked_before_sleeping(void)
{
    FDData data = { .has_event = true, .nest = true };

    g_assert_cmpint(event_notifier_init(&data.e, false), ==, 0);
    aio_set_event_notifier(ctx, &data.e, fd_read, fd_poll, fd_poll_ready);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(data.ready, ==, 1);
    g_assert_cmpint(data.n, ==, 0);
    g_assert_false(aio_poll(ctx, false));

    /* The descriptor is what wakes a sleeper. */
    event_notifier_set(&data.e);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(data.ready, ==, 1);
    g_assert_cmpint(data.n, ==, 1);

    /* A bottom half makes the event come up: seen in the next round. */
    aio_bh_schedule_oneshot(ctx, set_event, &data);
    while (data.ready < 2) {
        g_assert_true(aio_poll(ctx, true));
    }
    fd_cleanup(&data);
}

static void test_poll_adapts_and_tells_begin_and_end(void)
{
    FDData data = { .n = 0 }, plain = { .n = 0 };
    QEMUTimer timer;
    Error *err = NULL;

    aio_context_set_poll_params(ctx, -1, 0, 0, &err);
    g_assert_nonnull(err);
    g_clear_error(&err);
    aio_context_set_poll_params(ctx, 50 * SCALE_MS, 0, 0, &err);
    g_assert_null(err);
    settle();

    g_assert_cmpint(event_notifier_init(&data.e, false), ==, 0);
    aio_set_event_notifier(ctx, &data.e, fd_read, fd_poll, fd_poll_ready);
    aio_set_event_notifier_poll(ctx, &data.e, fd_begin, fd_end);
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, set_event, &data);

    /* Sleeps at first; each time that was too long makes the busy time longer. */
    for (int i = 0; i < 50 && data.begun == 0; i++) {
        timer_mod(&timer, get_clock() + 2 * SCALE_MS);
        data.ready = 0;
        while (data.ready == 0) {
            aio_poll(ctx, true);
        }
    }
    g_assert_cmpint(data.begun, >, 0);
    g_assert_cmpint(data.polled, >, 0);

    /* Removed while polling busily: told at once. Set anew: begins anew. */
    aio_set_event_notifier(ctx, &data.e, NULL, NULL, NULL);
    g_assert_cmpint(data.begun, ==, data.ended);
    fd_setup(&plain, false);
    settle();
    fd_cleanup(&plain);
    event_notifier_cleanup(&data.e);
    timer_deinit(&timer);
    aio_context_set_poll_params(ctx, 0, 0, 0, &err);
    settle();
}

static void test_poll_handlers_are_served_beside_busy_bottom_halves(void)
{
    FDData data = { .n = 0 }, plain = { .n = 0 };
    BHData bh = { .max = 100 };

    g_assert_cmpint(event_notifier_init(&data.e, false), ==, 0);
    aio_set_event_notifier(ctx, &data.e, fd_read, fd_poll, fd_poll_ready);
    fd_setup(&plain, true);
    aio_bh_schedule_oneshot(ctx, bh_oneshot_chain, &bh);
    data.has_event = true;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(data.ready, ==, 1);
    g_assert_cmpint(plain.n, ==, 1);
    settle();
    fd_cleanup(&data);
    fd_cleanup(&plain);
}

/* ---- timers ---- */

typedef struct TimerData {
    QEMUTimer timer;
    int n, max;
    int64_t ns;
    QEMUClockType clock;
} TimerData;

static void timer_cb(void *opaque)
{
    TimerData *data = opaque;

    if (++data->n < data->max) {
        timer_mod(&data->timer, qemu_clock_get_ns(data->clock) + data->ns);
    }
}

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

/* ---- the ways to run them ---- */

typedef struct Mode {
    const char *name;
    bool poll, glib;
} Mode;

static const Mode modes[] = {
    { "epoll", false, false },
    { "poll", true, false },
    { "gsource-epoll", false, true },
    { "gsource-poll", true, true },
};

typedef struct Case {
    const char *name;
    void (*fn)(void);
    bool aio_poll_only;
} Case;

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
    { "fd/notifier", test_fd_handler_runs_when_raised },
    { "fd/remove-in-callback", test_fd_handler_is_removed_by_itself_and_by_others },
    { "fd/nested", test_fd_nested_poll_calls_each_ready_handler_once },
    { "fd/read-write-replace", test_fd_read_and_write_and_replace },
    { "fd/hangup", test_fd_hangup_is_read },
    { "fd/hangup-write", test_fd_writer_learns_of_hangup },
    { "fd/regular-file", test_fd_regular_file_is_always_ready },
    { "fd/many", test_fd_many_are_all_served },
    { "poll/before-sleep", test_poll_is_asked_before_sleeping, true },
    { "poll/adaptive", test_poll_adapts_and_tells_begin_and_end, true },
    { "poll/beside-bh", test_poll_handlers_are_served_beside_busy_bottom_halves, true },
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
    { "die/leaked-bh", test_die_bh_outlives_context, true },
    { "pollable-fd", test_pollable_fd_shows_everything, true },
    { "context/data", test_context_data_dies_with_context, true },
    { "context/no-descriptors", test_context_new_without_descriptors_is_an_error, true },
};

typedef struct Run {
    const Mode *mode;
    const Case *c;
} Run;

static void run_case(gconstpointer opaque)
{
    const Run *run = opaque;
    GSource *source = NULL;

    g_setenv("BLKCO_FDMON", run->mode->poll ? "poll" : "epoll", true);
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
    if (run->mode->glib) {
        gmain = g_main_context_new();
        source = aio_get_g_source(ctx);
        g_source_attach(source, gmain);
    }

    run->c->fn();
    settle();

    if (run->mode->glib) {
        g_source_destroy(source);
        g_source_unref(source);
        g_main_context_unref(gmain);
        gmain = NULL;
    }
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            g_autofree char *path =
                g_strdup_printf("/aio/%s/%s", modes[m].name, cases[i].name);
            Run *run = g_new(Run, 1);

            if (cases[i].aio_poll_only && modes[m].glib) {
                g_free(run);
                continue;
            }
            *run = (Run){ &modes[m], &cases[i] };
            g_test_add_data_func_full(path, run, run_case, g_free);
        }
    }
    return g_test_run();
}
