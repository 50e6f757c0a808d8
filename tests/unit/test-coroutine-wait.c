/* SPDX-License-Identifier: MIT */
/*
 * What coroutines wait for besides locks: a time, a descriptor, a socket, a share of a budget,
 * tasks; and what may not be done meanwhile.
 */
#include <sys/socket.h>

#include "coroutine-events.h"
#include "qemu/aio_task.h"
#include "qemu/co-shared-resource.h"

/* ---- sleeping ---- */

typedef struct Sleeper {
    QemuCoSleep sleep;
    int64_t ns;
    bool done;
} Sleeper;

static void coroutine_fn sleep_ns(void *opaque)
{
    Sleeper *s = opaque;

    if (s->ns) {
        qemu_co_sleep_ns_wakeable(&s->sleep, QEMU_CLOCK_REALTIME, s->ns);
    } else {
        qemu_co_sleep(&s->sleep);
    }
    g_assert_null(s->sleep.to_wake);
    s->done = true;
}

static void a_sleep_lasts_its_time(void)
{
    Sleeper s = { .ns = 20 * SCALE_MS };
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    enter_new(sleep_ns, &s);
    poll_until(&s.done);
    g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start, >=, s.ns);
}

static void a_sleep_can_be_ended(void)
{
    Sleeper s = { .ns = 3600LL * NANOSECONDS_PER_SECOND }, t = { .ns = 0 };

    enter_new(sleep_ns, &s);
    enter_new(sleep_ns, &t);
    g_assert_false(s.done || t.done);
    qemu_co_sleep_wake(&s.sleep);
    g_assert_true(s.done);
    g_assert_false(t.done);
    qemu_co_sleep_wake(&t.sleep);
    g_assert_true(t.done);
    /* Nobody sleeps any more. */
    qemu_co_sleep_wake(&s.sleep);
}

typedef struct TimeoutTest {
    int64_t takes_ns;
    uint64_t timeout_ns;
    int ret;
    bool ran, cleaned, done;
} TimeoutTest;

static void coroutine_fn timeout_work(void *opaque)
{
    TimeoutTest *t = opaque;

    if (t->takes_ns) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, t->takes_ns);
    }
    t->ran = true;
}

static void timeout_clean(void *opaque)
{
    TimeoutTest *t = opaque;

    t->cleaned = true;
}

static void coroutine_fn timeout_caller(void *opaque)
{
    TimeoutTest *t = opaque;

    t->ret = qemu_co_timeout(timeout_work, t, t->timeout_ns, timeout_clean);
    t->done = true;
}

static void a_timeout_tells_who_was_first(void)
{
    TimeoutTest in_time = { .takes_ns = SCALE_MS, .timeout_ns = 60 * NANOSECONDS_PER_SECOND };
    TimeoutTest at_once = { .takes_ns = 0, .timeout_ns = 60 * NANOSECONDS_PER_SECOND };
    TimeoutTest unlimited = { .takes_ns = SCALE_MS, .timeout_ns = 0 };
    TimeoutTest late = { .takes_ns = 500 * SCALE_MS, .timeout_ns = 5 * SCALE_MS };

    enter_new(timeout_caller, &at_once);
    g_assert_true(at_once.done && at_once.ran && at_once.ret == 0 && !at_once.cleaned);

    enter_new(timeout_caller, &in_time);
    enter_new(timeout_caller, &unlimited);
    poll_until(&in_time.done);
    poll_until(&unlimited.done);
    g_assert_true(in_time.ran && in_time.ret == 0 && !in_time.cleaned);
    g_assert_true(unlimited.ran && unlimited.ret == 0 && !unlimited.cleaned);

    enter_new(timeout_caller, &late);
    poll_until(&late.done);
    g_assert_cmpint(late.ret, ==, -ETIMEDOUT);
    g_assert_false(late.ran || late.cleaned);
    poll_until(&late.cleaned);
    g_assert_true(late.ran);
}

static void coroutine_fn timeout_caller_without_clean(void *opaque)
{
    TimeoutTest *t = opaque;

    t->ret = qemu_co_timeout(timeout_work, t, t->timeout_ns, NULL);
    t->done = true;
}

static void a_timeout_needs_no_clean_up_and_may_be_endless(void)
{
    TimeoutTest late = { .takes_ns = 500 * SCALE_MS, .timeout_ns = 5 * SCALE_MS };
    TimeoutTest endless = { .takes_ns = SCALE_MS, .timeout_ns = UINT64_MAX };

    enter_new(timeout_caller_without_clean, &endless);
    poll_until(&endless.done);
    g_assert_cmpint(endless.ret, ==, 0);
    g_assert_true(endless.ran);

    enter_new(timeout_caller_without_clean, &late);
    poll_until(&late.done);
    g_assert_cmpint(late.ret, ==, -ETIMEDOUT);
    poll_until(&late.ran);
}

typedef struct FdReader {
    int fd;
    bool done;
} FdReader;

static void coroutine_fn read_fd(void *opaque)
{
    FdReader *r = opaque;
    char c;

    yield_until_fd_readable(r->fd);
    g_assert_cmpint(read(r->fd, &c, 1), ==, 1);
    note(c);
    r->done = true;
}

static void a_coroutine_waits_for_a_descriptor(void)
{
    FdReader r = { .done = false };
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    r.fd = fds[0];
    enter_new(read_fd, &r);
    g_assert_false(aio_poll(ctx(), false));
    g_assert_cmpint(write(fds[1], "z", 1), ==, 1);
    poll_until(&r.done);
    assert_events("z");
    close(fds[0]);
    close(fds[1]);
}

typedef struct SocketEnd {
    int fd;
    char *buf;
    size_t size;
    ssize_t ret;
    bool send, done;
} SocketEnd;

static void coroutine_fn transfer(void *opaque)
{
    SocketEnd *end = opaque;

    end->ret = end->send ? qemu_co_send(end->fd, end->buf, end->size)
                         : qemu_co_recv(end->fd, end->buf, end->size);
    end->done = true;
}

static void a_peer_that_goes_away_leaves_what_was_sent(void)
{
    SocketEnd from = { .size = 8 << 20, .send = true };
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
    from.buf = g_malloc0(from.size);
    from.fd = fds[0];
    enter_new(transfer, &from);
    g_assert_false(from.done);
    close(fds[1]);
    poll_until(&from.done);
    g_assert_cmpint(from.ret, >, 0);
    g_assert_cmpint(from.ret, <, 8 << 20);
    close(fds[0]);
    g_free(from.buf);
}

static void no_pool_has_no_failed_task(void)
{
    g_assert_cmpint(aio_task_pool_status(NULL), ==, 0);
    aio_task_pool_free(NULL);
}

static void a_socket_is_waited_for_in_both_directions(void)
{
    SocketEnd from = { .size = 1 << 20, .send = true }, to = { .size = 1 << 20 };
    int fds[2];
    size_t i;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
    from.buf = g_malloc(from.size);
    to.buf = g_malloc0(to.size);
    for (i = 0; i < from.size; i++) {
        from.buf[i] = (char)(i * 7 + i / 251);
    }
    from.fd = fds[0];
    to.fd = fds[1];
    enter_new(transfer, &from);
    g_assert_false(from.done);
    enter_new(transfer, &to);
    poll_until(&from.done);
    poll_until(&to.done);
    g_assert_cmpint(from.ret, ==, 1 << 20);
    g_assert_cmpint(to.ret, ==, 1 << 20);
    g_assert_cmpmem(from.buf, from.size, to.buf, to.size);

    /* The end of the stream in the middle, then at once; and nobody to send to. */
    g_assert_cmpint(write(fds[0], "abc", 3), ==, 3);
    close(fds[0]);
    to.done = false;
    enter_new(transfer, &to);
    poll_until(&to.done);
    g_assert_cmpint(to.ret, ==, 3);
    enter_new(transfer, &to);
    g_assert_cmpint(to.ret, ==, 0);
    to.send = true;
    enter_new(transfer, &to);
    g_assert_cmpint(to.ret, ==, -EPIPE);
    close(fds[1]);
    g_free(from.buf);
    g_free(to.buf);
}

/* ---- budget, tasks ---- */

typedef struct Taker {
    SharedResource *budget;
    uint64_t n;
    char name;
    Coroutine *co;
} Taker;

static void coroutine_fn take_yield_give(void *opaque)
{
    Taker *t = opaque;

    t->co = qemu_coroutine_self();
    co_get_from_shres(t->budget, t->n);
    note(t->name);
    qemu_coroutine_yield();
    co_put_to_shres(t->budget, t->n);
}

static void a_budget_is_shared_out_in_order(void)
{
    SharedResource *s = shres_create(10);
    Taker a = { s, 6, 'a' }, b = { s, 8, 'b' }, c = { s, 2, 'c' }, d = { s, 10, 'd' };

    g_assert_true(co_try_get_from_shres(s, 4));
    enter_new(take_yield_give, &a);
    g_assert_false(co_try_get_from_shres(s, 1));
    enter_new(take_yield_give, &b);
    enter_new(take_yield_give, &c);
    enter_new(take_yield_give, &d);
    assert_events("a");
    /* 6 are there now: enough for c, but b was first. */
    qemu_coroutine_enter(a.co);
    assert_events("");
    g_assert_false(co_try_get_from_shres(s, 1));
    co_put_to_shres(s, 4);
    assert_events("bc");
    qemu_coroutine_enter(b.co);
    assert_events("");
    qemu_coroutine_enter(c.co);
    assert_events("d");
    qemu_coroutine_enter(d.co);
    shres_destroy(s);
}

typedef struct CountTask {
    AioTask task;
    int *running, *most;
    int result;
} CountTask;

static int coroutine_fn count_task(AioTask *task)
{
    CountTask *t = container_of(task, CountTask, task);

    *t->running += 1;
    *t->most = MAX(*t->most, *t->running);
    if (t->result != 2) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SCALE_MS / 4);
    }
    *t->running -= 1;
    return MIN(t->result, 0);
}

static void coroutine_fn run_tasks(void *opaque)
{
    static const int results[] = { 0, 2, 0, 1, -EIO, 0, -ENOSPC, 2, 2, 0, 1, 0 };
    AioTaskPool *pool = aio_task_pool_new(3);
    int running = 0, most = 0;
    size_t i;

    g_assert_true(aio_task_pool_empty(pool));
    for (i = 0; i < ARRAY_SIZE(results); i++) {
        CountTask *t = g_new0(CountTask, 1);

        t->task.func = count_task;
        t->running = &running;
        t->most = &most;
        t->result = results[i];
        aio_task_pool_start_task(pool, &t->task);
    }
    aio_task_pool_wait_slot(pool);
    aio_task_pool_wait_all(pool);
    g_assert_true(aio_task_pool_empty(pool));
    g_assert_cmpint(running, ==, 0);
    g_assert_cmpint(most, ==, 3);
    g_assert_cmpint(aio_task_pool_status(pool), ==, -EIO);
    aio_task_pool_free(pool);
    *(bool *)opaque = true;
}

static void tasks_run_in_parallel_up_to_the_bound(void)
{
    bool done = false;

    enter_new(run_tasks, &done);
    poll_until(&done);
}

/* ---- what may not be done ---- */

static void enter_sleeper(void)
{
    Sleeper s = { .ns = 0 };
    Coroutine *co = qemu_coroutine_create(sleep_ns, &s);

    qemu_coroutine_enter(co);
    qemu_coroutine_enter(co);
}

static void coroutine_fn sleep_for_long(void *opaque)
{
    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, NANOSECONDS_PER_SECOND);
}

static void coroutine_fn sleep_while_scheduled(void *opaque)
{
    aio_co_schedule(ctx(), qemu_coroutine_self());
    sleep_for_long(NULL);
}

static void die_by(const char *how)
{
    if (!strcmp(how, "enter a sleeping coroutine")) {
        enter_sleeper();
    } else if (!strcmp(how, "sleep while scheduled")) {
        enter_new(sleep_while_scheduled, NULL);
    } else if (!strcmp(how, "sleep without a context")) {
        qemu_set_current_aio_context(NULL);
        enter_new(sleep_for_long, NULL);
    }
}

static const char *const deaths[][2] = {
    { "enter a sleeping coroutine", "*scheduled in 'qemu_co_sleep'*" },
    { "sleep while scheduled", "*qemu_co_sleep: *already scheduled in aio_co_schedule*" },
    { "sleep without a context", "*qemu_co_sleep_ns: the thread has no AioContext*" },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    qemu_init_main_loop(&error_abort);
    events = g_string_new(NULL);

    g_test_add_func("/sleep/lasts its time", a_sleep_lasts_its_time);
    g_test_add_func("/sleep/can be ended", a_sleep_can_be_ended);
    g_test_add_func("/timeout/tells who was first", a_timeout_tells_who_was_first);
    g_test_add_func("/timeout/needs no clean-up and may be endless",
                    a_timeout_needs_no_clean_up_and_may_be_endless);
    g_test_add_func("/fd/a peer that goes away leaves what was sent",
                    a_peer_that_goes_away_leaves_what_was_sent);
    g_test_add_func("/tasks/no pool has no failed task", no_pool_has_no_failed_task);
    g_test_add_func("/fd/a coroutine waits for a descriptor",
                    a_coroutine_waits_for_a_descriptor);
    g_test_add_func("/fd/a socket is waited for in both directions",
                    a_socket_is_waited_for_in_both_directions);
    g_test_add_func("/budget/is shared out in order", a_budget_is_shared_out_in_order);
    g_test_add_func("/tasks/run in parallel up to the bound",
                    tasks_run_in_parallel_up_to_the_bound);
    add_deaths(deaths, ARRAY_SIZE(deaths));
    return g_test_run();
}
