/* SPDX-License-Identifier: MIT */
/* Locks between coroutines: who gets them in which order, and what may not be done. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/aio_task.h"
#include "qemu/co-shared-resource.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"

#include <sys/socket.h>

/* What happened, a letter an event. */
static GString *events;

static void note(char what)
{
    g_string_append_c(events, what);
}

#define assert_events(expected)                                                          \
    do {                                                                                 \
        g_assert_cmpstr(events->str, ==, expected);                                      \
        g_string_truncate(events, 0);                                                    \
    } while (0)

static AioContext *ctx(void)
{
    return qemu_get_aio_context();
}

static void poll_until(const bool *done)
{
    while (!*done) {
        aio_poll(ctx(), true);
    }
}

static void enter_new(CoroutineEntry *entry, void *opaque)
{
    qemu_coroutine_enter(qemu_coroutine_create(entry, opaque));
}

/* ---- CoMutex ---- */

typedef struct Worker {
    CoMutex *mutex;
    char name;
    Coroutine *co;
    bool done;
} Worker;

static void coroutine_fn lock_note_yield(void *opaque)
{
    Worker *w = opaque;

    w->co = qemu_coroutine_self();
    qemu_co_mutex_lock(w->mutex);
    qemu_co_mutex_assert_locked(w->mutex);
    note(w->name);
    qemu_coroutine_yield();
    note((char)g_ascii_toupper(w->name));
    qemu_co_mutex_unlock(w->mutex);
    w->done = true;
}

static void a_mutex_is_handed_on_in_order(void)
{
    CoMutex mutex;
    Worker a = { &mutex, 'a' }, b = { &mutex, 'b' }, c = { &mutex, 'c' }, d = { &mutex, 'd' };

    qemu_co_mutex_init(&mutex);
    enter_new(lock_note_yield, &a);
    enter_new(lock_note_yield, &b);
    enter_new(lock_note_yield, &c);
    assert_events("a");

    /* The next one runs when the first ends, before enter returns. */
    qemu_coroutine_enter(a.co);
    assert_events("Ab");
    /* One that comes later stays behind those who wait. */
    enter_new(lock_note_yield, &d);
    qemu_coroutine_enter(b.co);
    assert_events("Bc");
    qemu_coroutine_enter(c.co);
    assert_events("Cd");
    qemu_coroutine_enter(d.co);
    assert_events("D");
    g_assert_true(a.done && b.done && c.done && d.done);
}

static void coroutine_fn unlock_and_lock_again(void *opaque)
{
    Worker *w = opaque;
    int i;

    for (i = 0; i < 3; i++) {
        qemu_co_mutex_lock(w->mutex);
        note(w->name);
        qemu_co_mutex_unlock(w->mutex);
    }
    w->done = true;
}

static void who_unlocks_cannot_take_it_back_at_once(void)
{
    CoMutex mutex;
    Worker a = { &mutex, 'a' }, b = { &mutex, 'b' }, c = { &mutex, 'c' };

    qemu_co_mutex_init(&mutex);
    enter_new(lock_note_yield, &a);
    enter_new(unlock_and_lock_again, &b);
    enter_new(unlock_and_lock_again, &c);
    qemu_coroutine_enter(a.co);
    /* They take turns: the mutex is c's when b unlocks it. */
    assert_events("aAbcbcbc");
    g_assert_true(a.done && b.done && c.done);
}

static void coroutine_fn uncontended(void *opaque)
{
    Worker *w = opaque;
    int i;

    for (i = 0; i < 1000; i++) {
        qemu_co_mutex_lock(w->mutex);
        qemu_co_mutex_unlock(w->mutex);
    }
    w->done = true;
}

static void without_contention_nobody_yields(void)
{
    CoMutex mutex = { 0 };
    Worker a = { &mutex, 'a' };

    enter_new(uncontended, &a);
    g_assert_true(a.done);
}

static void coroutine_fn free_after_lock(void *opaque)
{
    Worker *w = opaque;

    qemu_co_mutex_lock(w->mutex);
    qemu_co_mutex_unlock(w->mutex);
    g_free(w->mutex);
    w->done = true;
}

static void the_last_one_may_free_the_mutex(void)
{
    Worker a = { g_new0(CoMutex, 1), 'a' }, b = { a.mutex, 'b' };

    enter_new(lock_note_yield, &a);
    enter_new(free_after_lock, &b);
    qemu_coroutine_enter(a.co);
    assert_events("aA");
    g_assert_true(b.done);
}

static void coroutine_fn guarded(void *opaque)
{
    Worker *w = opaque;

    WITH_QEMU_LOCK_GUARD(w->mutex) {
        qemu_co_mutex_assert_locked(w->mutex);
        note(w->name);
        qemu_coroutine_yield();
    }
    note('-');
    {
        QEMU_LOCK_GUARD(w->mutex);
        qemu_co_mutex_assert_locked(w->mutex);
        note(w->name);
    }
    w->done = true;
}

static void guards_know_coroutine_mutexes(void)
{
    CoMutex mutex = { 0 };
    Worker a = { &mutex, 'a' };
    Coroutine *co = qemu_coroutine_create(guarded, &a);

    qemu_coroutine_enter(co);
    qemu_coroutine_enter(co);
    assert_events("a-a");
    g_assert_true(a.done);
}

/* ---- CoQueue ---- */

typedef struct Waiter {
    CoQueue *queue;
    CoMutex *mutex;
    QemuMutex *thread_mutex;
    char name;
    CoQueueWaitFlags flags;
    int rounds;
} Waiter;

static void coroutine_fn wait_and_note(void *opaque)
{
    Waiter *w = opaque;
    int i;

    for (i = 0; i < MAX(w->rounds, 1); i++) {
        if (w->mutex) {
            qemu_co_mutex_lock(w->mutex);
            qemu_co_queue_wait_flags(w->queue, w->mutex, w->flags);
            qemu_co_mutex_assert_locked(w->mutex);
            qemu_co_mutex_unlock(w->mutex);
        } else if (w->thread_mutex) {
            qemu_mutex_lock(w->thread_mutex);
            qemu_co_queue_wait(w->queue, w->thread_mutex);
            qemu_mutex_unlock(w->thread_mutex);
        } else {
            qemu_co_queue_wait_flags(w->queue, NULL, w->flags);
        }
        note(w->name);
    }
}

static void coroutine_fn wake_one_then_all(void *opaque)
{
    CoQueue *queue = opaque;

    note('(');
    g_assert_true(qemu_co_queue_next(queue));
    note(')');
    qemu_co_queue_restart_all(queue);
    note('!');
    g_assert_false(qemu_co_queue_next(queue));
}

static void a_queue_wakes_in_order_when_the_waker_yields(void)
{
    Waiter w[4];
    CoQueue queue;
    int i;

    qemu_co_queue_init(&queue);
    g_assert_true(qemu_co_queue_empty(&queue));
    for (i = 0; i < 4; i++) {
        w[i] = (Waiter){ .queue = &queue, .name = (char)('a' + i) };
        /* The last one goes before the others. */
        w[i].flags = i == 3 ? CO_QUEUE_WAIT_FRONT : (CoQueueWaitFlags)0;
        enter_new(wait_and_note, &w[i]);
    }
    g_assert_false(qemu_co_queue_empty(&queue));
    enter_new(wake_one_then_all, &queue);
    assert_events("()!dabc");
    g_assert_true(qemu_co_queue_empty(&queue));
}

static void the_last_to_come_to_the_front_is_first(void)
{
    Waiter w[3];
    CoQueue queue;

    qemu_co_queue_init(&queue);
    for (int i = 0; i < 3; i++) {
        w[i] = (Waiter){ .queue = &queue, .name = (char)('a' + i) };
        w[i].flags = CO_QUEUE_WAIT_FRONT;
        enter_new(wait_and_note, &w[i]);
    }
    enter_new(wake_one_then_all, &queue);
    assert_events("()!cba");
    g_assert_true(qemu_co_queue_empty(&queue));
}

static void outside_of_coroutines_a_waiter_runs_at_once(void)
{
    Waiter a, b;
    QemuMutex mutex;
    CoQueue queue;

    qemu_mutex_init(&mutex);
    qemu_co_queue_init(&queue);
    a = (Waiter){ .queue = &queue, .thread_mutex = &mutex, .name = 'a' };
    b = (Waiter){ .queue = &queue, .thread_mutex = &mutex, .name = 'b', .rounds = 3 };
    enter_new(wait_and_note, &a);
    enter_new(wait_and_note, &b);

    qemu_mutex_lock(&mutex);
    g_assert_true(qemu_co_enter_next(&queue, &mutex));
    assert_events("a");
    /* One that waits again is not woken again. */
    qemu_co_enter_all(&queue, &mutex);
    assert_events("b");
    qemu_co_enter_all(&queue, &mutex);
    qemu_co_enter_all(&queue, &mutex);
    assert_events("bb");
    g_assert_false(qemu_co_enter_next(&queue, &mutex));
    qemu_mutex_unlock(&mutex);
    qemu_mutex_destroy(&mutex);
}

static void coroutine_fn wake_under_mutex(void *opaque)
{
    Waiter *w = opaque;

    qemu_co_mutex_lock(w->mutex);
    qemu_co_queue_restart_all(w->queue);
    note('w');
    qemu_co_mutex_unlock(w->mutex);
}

static void a_woken_waiter_holds_its_mutex_again(void)
{
    CoMutex mutex = { 0 };
    CoQueue queue;
    Waiter a = { &queue, &mutex, NULL, 'a' }, b = { &queue, &mutex, NULL, 'b' };

    qemu_co_queue_init(&queue);
    enter_new(wait_and_note, &a);
    enter_new(wait_and_note, &b);
    enter_new(wake_under_mutex, &a);
    assert_events("wab");
}

/* ---- CoRwlock ---- */

typedef struct RwWorker {
    CoRwlock *lock;
    /* r w: lock; u d: upgrade, downgrade; x: unlock; .: yield. Noted when done. */
    const char *script;
    char name;
    Coroutine *co;
    bool done;
} RwWorker;

static void coroutine_fn rw_run(void *opaque)
{
    RwWorker *w = opaque;
    const char *step;

    w->co = qemu_coroutine_self();
    for (step = w->script; *step; step++) {
        switch (*step) {
        case 'r':
            qemu_co_rwlock_rdlock(w->lock);
            break;
        case 'w':
            qemu_co_rwlock_wrlock(w->lock);
            break;
        case 'u':
            qemu_co_rwlock_upgrade(w->lock);
            break;
        case 'd':
            qemu_co_rwlock_downgrade(w->lock);
            break;
        case 'x':
            qemu_co_rwlock_unlock(w->lock);
            break;
        case '.':
            qemu_coroutine_yield();
            continue;
        }
        note(w->name);
        note(*step);
    }
    w->done = true;
}

static void readers_share_and_writers_do_not(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.x", 'a' }, b = { &lock, "r.x", 'b' };
    RwWorker c = { &lock, "w.x", 'c' }, d = { &lock, "w.x", 'd' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    enter_new(rw_run, &c);
    enter_new(rw_run, &d);
    assert_events("arbr");
    qemu_coroutine_enter(a.co);
    assert_events("ax");
    qemu_coroutine_enter(b.co);
    assert_events("bxcw");
    qemu_coroutine_enter(c.co);
    assert_events("cxdw");
    qemu_coroutine_enter(d.co);
    assert_events("dx");
    g_assert_true(a.done && b.done && c.done && d.done);
}

static void a_reader_does_not_overtake_a_waiting_writer(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.x", 'a' }, b = { &lock, "w.x", 'b' };
    RwWorker c = { &lock, "r.x", 'c' }, d = { &lock, "r.x", 'd' }, e = { &lock, "w.x", 'e' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    enter_new(rw_run, &c);
    enter_new(rw_run, &d);
    enter_new(rw_run, &e);
    assert_events("ar");
    qemu_coroutine_enter(a.co);
    assert_events("axbw");
    /* The two readers that follow each other get in together. */
    qemu_coroutine_enter(b.co);
    assert_events("bxcrdr");
    qemu_coroutine_enter(d.co);
    qemu_coroutine_enter(c.co);
    assert_events("dxcxew");
    qemu_coroutine_enter(e.co);
    assert_events("ex");
}

static void an_upgrade_alone_is_immediate(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "rudxwdx", 'a' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    assert_events("arauadaxawadax");
    g_assert_true(a.done);
}

static void an_upgrade_queues_behind_writers_that_wait(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.u.x", 'a' }, b = { &lock, "w.x", 'b' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    assert_events("ar");
    /* a gives up its share for a place in the queue: the writer before it runs. */
    qemu_coroutine_enter(a.co);
    assert_events("bw");
    qemu_coroutine_enter(b.co);
    assert_events("bxau");
    qemu_coroutine_enter(a.co);
    assert_events("ax");
}

static void an_upgrade_waits_for_the_other_readers(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.u.x", 'a' }, b = { &lock, "r.x", 'b' };
    RwWorker c = { &lock, "r.x", 'c' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    qemu_coroutine_enter(a.co);
    assert_events("arbr");
    enter_new(rw_run, &c);
    qemu_coroutine_enter(b.co);
    assert_events("bxau");
    qemu_coroutine_enter(a.co);
    assert_events("axcr");
    qemu_coroutine_enter(c.co);
    assert_events("cx");
}

static void two_upgrades_do_not_wait_for_each_other(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.u.x", 'a' }, b = { &lock, "r.u.x", 'b' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    qemu_coroutine_enter(a.co);
    qemu_coroutine_enter(b.co);
    assert_events("arbrau");
    qemu_coroutine_enter(a.co);
    assert_events("axbu");
    qemu_coroutine_enter(b.co);
    assert_events("bx");
    g_assert_true(a.done && b.done);
}

static void a_downgrade_lets_waiting_readers_in_but_no_writer(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "wd.x", 'a' }, b = { &lock, "r.x", 'b' };
    RwWorker c = { &lock, "w.x", 'c' }, d = { &lock, "r.x", 'd' };
    RwWorker first = { &lock, "w.d.x", 'f' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &first);
    enter_new(rw_run, &b);
    enter_new(rw_run, &c);
    enter_new(rw_run, &d);
    assert_events("fw");
    qemu_coroutine_enter(first.co);
    assert_events("fdbr");
    qemu_coroutine_enter(first.co);
    assert_events("fx");
    qemu_coroutine_enter(b.co);
    assert_events("bxcw");
    qemu_coroutine_enter(c.co);
    assert_events("cxdr");
    qemu_coroutine_enter(d.co);
    assert_events("dx");

    enter_new(rw_run, &a);
    assert_events("awad");
    qemu_coroutine_enter(a.co);
    assert_events("ax");
}

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

static void coroutine_fn unlock_free_mutex(void *opaque)
{
    CoMutex mutex = { 0 };

    qemu_co_mutex_unlock(&mutex);
}

static void coroutine_fn unlock_others_mutex(void *opaque)
{
    Worker *a = opaque;

    qemu_co_mutex_unlock(a->mutex);
}

static void coroutine_fn lock_twice(void *opaque)
{
    CoMutex mutex = { 0 };

    qemu_co_mutex_lock(&mutex);
    qemu_co_mutex_lock(&mutex);
}

static void coroutine_fn end_with_mutex(void *opaque)
{
    static CoMutex mutex;

    qemu_co_mutex_lock(&mutex);
}

static void coroutine_fn end_with_rwlock(void *opaque)
{
    static CoRwlock lock;

    qemu_co_rwlock_init(&lock);
    qemu_co_rwlock_rdlock(&lock);
}

static void coroutine_fn unlock_free_rwlock(void *opaque)
{
    static CoRwlock lock;

    qemu_co_rwlock_init(&lock);
    qemu_co_rwlock_unlock(&lock);
}

static void coroutine_fn assert_unlocked_mutex(void *opaque)
{
    CoMutex mutex = { 0 };

    qemu_co_mutex_assert_locked(&mutex);
}

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
    CoMutex mutex = { 0 };
    Worker a = { &mutex, 'a' };

    if (!strcmp(how, "unlock free mutex")) {
        enter_new(unlock_free_mutex, NULL);
    } else if (!strcmp(how, "unlock another's mutex")) {
        enter_new(lock_note_yield, &a);
        enter_new(unlock_others_mutex, &a);
    } else if (!strcmp(how, "lock twice")) {
        enter_new(lock_twice, NULL);
    } else if (!strcmp(how, "end with a mutex held")) {
        enter_new(end_with_mutex, NULL);
    } else if (!strcmp(how, "end with a rwlock held")) {
        enter_new(end_with_rwlock, NULL);
    } else if (!strcmp(how, "unlock free rwlock")) {
        enter_new(unlock_free_rwlock, NULL);
    } else if (!strcmp(how, "assert an unlocked mutex")) {
        enter_new(assert_unlocked_mutex, NULL);
    } else if (!strcmp(how, "enter a sleeping coroutine")) {
        enter_sleeper();
    } else if (!strcmp(how, "sleep while scheduled")) {
        enter_new(sleep_while_scheduled, NULL);
    } else if (!strcmp(how, "sleep without a context")) {
        qemu_set_current_aio_context(NULL);
        enter_new(sleep_for_long, NULL);
    }
}

/* Each with a part of the message that it has to die with. */
static const char *const deaths[][2] = {
    { "unlock free mutex", "*qemu_co_mutex_unlock*does not hold*" },
    { "unlock another's mutex", "*qemu_co_mutex_unlock*does not hold*" },
    { "lock twice", "*qemu_co_mutex_lock*holds this mutex already*" },
    { "end with a mutex held", "*ends while it holds 1 lock*" },
    { "end with a rwlock held", "*ends while it holds 1 lock*" },
    { "unlock free rwlock", "*qemu_co_rwlock_unlock*not held*" },
    { "assert an unlocked mutex", "*qemu_co_mutex_assert_locked*does not hold*" },
    { "enter a sleeping coroutine", "*scheduled in 'qemu_co_sleep'*" },
    { "sleep while scheduled", "*qemu_co_sleep: *already scheduled in aio_co_schedule*" },
    { "sleep without a context", "*qemu_co_sleep_ns: the thread has no AioContext*" },
};

static void dies(gconstpointer opaque)
{
    const char *const *death = opaque;

    if (g_test_subprocess()) {
        die_by(death[0]);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(death[1]);
}

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    qemu_init_main_loop(&error_abort);
    events = g_string_new(NULL);

    g_test_add_func("/mutex/is handed on in order", a_mutex_is_handed_on_in_order);
    g_test_add_func("/mutex/who unlocks cannot take it back at once",
                    who_unlocks_cannot_take_it_back_at_once);
    g_test_add_func("/mutex/without contention nobody yields",
                    without_contention_nobody_yields);
    g_test_add_func("/mutex/the last one may free it", the_last_one_may_free_the_mutex);
    g_test_add_func("/mutex/guards know it", guards_know_coroutine_mutexes);
    g_test_add_func("/queue/wakes in order when the waker yields",
                    a_queue_wakes_in_order_when_the_waker_yields);
    g_test_add_func("/queue/the last to come to the front is first",
                    the_last_to_come_to_the_front_is_first);
    g_test_add_func("/queue/outside of coroutines a waiter runs at once",
                    outside_of_coroutines_a_waiter_runs_at_once);
    g_test_add_func("/queue/a woken waiter holds its mutex again",
                    a_woken_waiter_holds_its_mutex_again);
    g_test_add_func("/rwlock/readers share and writers do not",
                    readers_share_and_writers_do_not);
    g_test_add_func("/rwlock/a reader does not overtake a waiting writer",
                    a_reader_does_not_overtake_a_waiting_writer);
    g_test_add_func("/rwlock/an upgrade alone is immediate", an_upgrade_alone_is_immediate);
    g_test_add_func("/rwlock/an upgrade queues behind writers that wait",
                    an_upgrade_queues_behind_writers_that_wait);
    g_test_add_func("/rwlock/an upgrade waits for the other readers",
                    an_upgrade_waits_for_the_other_readers);
    g_test_add_func("/rwlock/two upgrades do not wait for each other",
                    two_upgrades_do_not_wait_for_each_other);
    g_test_add_func("/rwlock/a downgrade lets waiting readers in but no writer",
                    a_downgrade_lets_waiting_readers_in_but_no_writer);
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
    for (i = 0; i < ARRAY_SIZE(deaths); i++) {
        g_autofree char *name = g_strdup_printf("/dies/%s", deaths[i][0]);

        g_test_add_data_func(name, deaths[i], dies);
    }
    return g_test_run();
}
