/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: whose handler is called when, also while handlers change; and io_poll, which is
 * asked before the loop sleeps.
 */
#include <sys/socket.h>

#include "aio-cases.h"

/* ---- descriptors ---- */

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

static const Case cases[] = {
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
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases(cases, G_N_ELEMENTS(cases));
    return g_test_run();
}
