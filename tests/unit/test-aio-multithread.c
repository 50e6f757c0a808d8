/* SPDX-License-Identifier: MIT */
/*
 * Several contexts at work on each other: coroutines that schedule each other and move,
 * handlers that are set and removed from other threads, timers and bottom halves from
 * everywhere. Each test says at its end what must have come out, so that a lost wake-up
 * shows as a test that does not end.
 */
#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "qemu/coroutine.h"
#include "qemu/iothread.h"
#include "qemu/thread.h"

enum { THREADS = 4 };

static IOThread *threads[THREADS];
static AioContext *ctxs[THREADS];
static AioContext *main_ctx;
static bool stop;

static void create_threads(void)
{
    qatomic_set(&stop, false);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new();
        ctxs[i] = iothread_get_aio_context(threads[i]);
        aio_context_ref(ctxs[i]);
    }
}

/*
 * A thread may still be at the end of waking another that has done its work already: no
 * context goes before all threads have.
 */
static void join_threads(void)
{
    for (int i = 0; i < THREADS; i++) {
        iothread_join(threads[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        aio_context_unref(ctxs[i]);
    }
}

static int thread_index(void)
{
    AioContext *current = qemu_get_current_aio_context();

    for (int i = 0; i < THREADS; i++) {
        if (ctxs[i] == current) {
            return i;
        }
    }
    g_assert_not_reached();
}

/* ---- each coroutine waits in a slot until another thread picks it up ---- */

typedef struct Slot {
    Coroutine *co;
    uint64_t passes;
} Slot;

static Slot slots[THREADS];
static int running;

/*
 * Puts itself into its thread's slot and yields; wakes, before that, whoever it finds in
 * a random slot. A coroutine in a slot always has somebody who will look there later.
 */
static void coroutine_fn pass_round(void *opaque)
{
    Slot *mine = opaque;
    unsigned seed = thread_index() + 1;

    while (!qatomic_read(&stop)) {
        Slot *other;
        Coroutine *co;

        seed = seed * 1103515245 + 12345;
        other = &slots[(seed >> 16) % THREADS];
        co = qatomic_xchg(&other->co, NULL);
        if (co) {
            aio_co_wake(co);
        }
        mine->passes++;
        /* Scheduled by itself, or published: the two ways to be woken, in turn. */
        if (seed & 0x10000) {
            aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
            qemu_coroutine_yield();
        } else if (!qatomic_xchg(&mine->co, qemu_coroutine_self())) {
            qemu_coroutine_yield();
        }
    }
    qatomic_dec(&running);
    aio_wait_kick();
}

static void start_pass_round(void *opaque)
{
    Slot *slot = opaque;

    aio_co_enter(qemu_get_current_aio_context(), qemu_coroutine_create(pass_round, slot));
}

static void test_coroutines_wake_each_other(void)
{
    uint64_t sum = 0;
    int64_t end;

    create_threads();
    running = THREADS;
    memset(slots, 0, sizeof(slots));
    for (int i = 0; i < THREADS; i++) {
        aio_bh_schedule_oneshot(ctxs[i], start_pass_round, &slots[i]);
    }
    end = get_clock() + 700 * SCALE_MS;
    /* This thread picks up those whom nobody else does. */
    while (qatomic_read(&running) > 0) {
        if (get_clock() > end) {
            qatomic_set(&stop, true);
        }
        for (int i = 0; i < THREADS; i++) {
            Coroutine *co = qatomic_xchg(&slots[i].co, NULL);

            if (co) {
                aio_co_wake(co);
            }
        }
        g_thread_yield();
    }
    join_threads();
    for (int i = 0; i < THREADS; i++) {
        g_assert_cmpuint(slots[i].passes, >, 0);
        sum += slots[i].passes;
    }
    g_test_message("%" PRIu64 " passes", sum);
}

/* ---- moving ---- */

static void coroutine_fn traveller(void *opaque)
{
    int *trips = opaque;

    for (int i = 0; i < 300; i++) {
        AioContext *to = ctxs[i * 7 % THREADS];

        aio_co_reschedule_self(to);
        g_assert_true(qemu_get_current_aio_context() == to);
        ++*trips;
    }
    aio_co_reschedule_self(main_ctx);
    g_assert_true(qemu_get_current_aio_context() == main_ctx);
    running--;
}

static void test_coroutines_travel(void)
{
    enum { N = 20 };
    int trips[N] = { 0 };

    create_threads();
    running = N;
    for (int i = 0; i < N; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(traveller, &trips[i]));
    }
    AIO_WAIT_WHILE(main_ctx, running > 0);
    join_threads();
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(trips[i], ==, 300);
    }
}

/* ---- one bottom half, many schedulers ---- */

typedef struct SharedBH {
    QEMUBH *bh;
    int wanted; /* by schedulers */
    int seen;   /* by the bottom half */
} SharedBH;

static void shared_bh(void *opaque)
{
    SharedBH *shared = opaque;

    shared->seen = qatomic_load_acquire(&shared->wanted);
    if (shared->seen == THREADS * 5000) {
        qatomic_set(&stop, true);
        aio_wait_kick();
    }
}

static void *schedule_shared(void *opaque)
{
    SharedBH *shared = opaque;

    for (int i = 0; i < 5000; i++) {
        qatomic_inc(&shared->wanted);
        qemu_bh_schedule(shared->bh);
        if (i % 16 == 0) {
            g_thread_yield();
        }
    }
    return NULL;
}

static void test_last_schedule_is_never_lost(void)
{
    QemuThread schedulers[THREADS];
    SharedBH shared = { NULL, 0, 0 };

    create_threads();
    shared.bh = aio_bh_new(ctxs[0], shared_bh, &shared);
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_create(&schedulers[i], "schedule", schedule_shared, &shared,
                           QEMU_THREAD_JOINABLE);
    }
    AIO_WAIT_WHILE(ctxs[0], !qatomic_read(&stop));
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&schedulers[i]);
    }
    qemu_bh_delete(shared.bh);
    join_threads();
    g_assert_cmpint(shared.seen, ==, THREADS * 5000);
}

/* ---- handlers from another thread ---- */

typedef struct Remote {
    EventNotifier e;
    int n;
} Remote;

static void remote_read(EventNotifier *e)
{
    Remote *remote = container_of(e, Remote, e);

    event_notifier_test_and_clear(e);
    qatomic_inc(&remote->n);
}

static void nothing(void *opaque)
{
}

static void test_handlers_change_while_home_polls(gconstpointer opaque)
{
    enum { N = 8 };
    Remote remote[N] = { { .n = 0 } };

    g_setenv("BLKCO_FDMON", opaque, TRUE);
    create_threads();
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(event_notifier_init(&remote[i].e, true), ==, 0);
    }
    for (int round = 0; round < 300; round++) {
        Remote *r = &remote[round % N];
        int before = qatomic_read(&r->n);

        event_notifier_set(&r->e);
        aio_set_event_notifier(ctxs[0], &r->e, remote_read, NULL, NULL);
        while (qatomic_read(&r->n) == before) {
            g_thread_yield();
        }
        aio_set_event_notifier(ctxs[0], &r->e, NULL, NULL, NULL);
        if (round % N == N - 1) {
            /* Behind this, home is not inside a handler that was removed before. */
            aio_wait_bh_oneshot(ctxs[0], nothing, NULL);
        }
    }
    aio_wait_bh_oneshot(ctxs[0], nothing, NULL);
    join_threads();
    for (int i = 0; i < N; i++) {
        event_notifier_cleanup(&remote[i].e);
    }
    g_unsetenv("BLKCO_FDMON");
}

/* ---- timers from another thread ---- */

static void timer_fired(void *opaque)
{
    qatomic_inc((int *)opaque);
}

static void test_timer_armed_from_another_thread_wakes_home(void)
{
    QEMUTimer timer;
    int fired = 0;

    create_threads();
    aio_timer_init(ctxs[0], &timer, QEMU_CLOCK_REALTIME, SCALE_NS, timer_fired, &fired);
    for (int i = 0; i < 200; i++) {
        /* First far away: home sleeps on that. Then soon. */
        timer_mod(&timer, get_clock() + 1000 * NANOSECONDS_PER_SECOND);
        timer_mod(&timer, get_clock() + i * SCALE_US);
        while (qatomic_read(&fired) == i) {
            g_thread_yield();
        }
    }
    aio_wait_bh_oneshot(ctxs[0], nothing, NULL);
    timer_deinit(&timer);
    join_threads();
}

/* ---- oneshots from everywhere to everywhere ---- */

static int oneshots;

static void count_oneshot(void *opaque)
{
    qatomic_inc(&oneshots);
}

static void spray(void *opaque)
{
    for (int i = 0; i < 2000; i++) {
        aio_bh_schedule_oneshot(ctxs[i % THREADS], count_oneshot, NULL);
    }
}

static void test_oneshots_all_run(void)
{
    create_threads();
    oneshots = 0;
    for (int i = 0; i < THREADS; i++) {
        aio_bh_schedule_oneshot(ctxs[i], spray, NULL);
    }
    while (qatomic_read(&oneshots) < THREADS * 2000) {
        g_thread_yield();
    }
    join_threads();
    g_assert_cmpint(oneshots, ==, THREADS * 2000);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    main_ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(main_ctx);
    g_test_add_func("/aio/multi/co-schedule", test_coroutines_wake_each_other);
    g_test_add_func("/aio/multi/co-reschedule-self", test_coroutines_travel);
    g_test_add_func("/aio/multi/bh-schedule", test_last_schedule_is_never_lost);
    g_test_add_func("/aio/multi/bh-oneshot", test_oneshots_all_run);
    g_test_add_data_func("/aio/multi/handlers/epoll", "epoll",
                         test_handlers_change_while_home_polls);
    g_test_add_data_func("/aio/multi/handlers/poll", "poll",
                         test_handlers_change_while_home_polls);
    g_test_add_func("/aio/multi/timer", test_timer_armed_from_another_thread_wakes_home);
    ret = g_test_run();
    qemu_set_current_aio_context(NULL);
    aio_context_unref(main_ctx);
    return ret;
}
