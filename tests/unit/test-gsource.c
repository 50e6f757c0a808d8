/* SPDX-License-Identifier: MIT */
/*
 * The main loop and GMainContexts: sources beside ours, wake-ups from other threads, the
 * program's own descriptors and timers, and the same work through GLib and aio_poll.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/thread-pool.h"
#include "qemu/thread.h"

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

static gboolean count_source(gpointer opaque)
{
    ++*(int *)opaque;
    return G_SOURCE_CONTINUE;
}

/* ---- the main loop ---- */

static void test_init_makes_the_context_current(void)
{
    g_assert_cmpint(qemu_init_main_loop(&error_abort), ==, 0);
    g_assert_nonnull(qemu_get_aio_context());
    g_assert_true(qemu_get_current_aio_context() == qemu_get_aio_context());
    g_assert_true(qemu_in_main_thread());
    GLOBAL_STATE_CODE();
}

static void test_main_loop_wait_runs_bottom_halves_and_timers(void)
{
    bool bh_ran = false, fired = false;
    QEMUBH *bh = qemu_bh_new(set_true, &bh_ran);
    QEMUTimer *timer = timer_new_ns(QEMU_CLOCK_REALTIME, set_true, &fired);

    qemu_bh_schedule(bh);
    main_loop_wait(false);
    g_assert_true(bh_ran);
    timer_mod(timer, get_clock() + 2 * SCALE_MS);
    g_assert_true(qemu_clock_has_timers(QEMU_CLOCK_REALTIME));
    /* A timer of the program's own does not run in aio_poll. */
    g_usleep(3000);
    aio_poll(qemu_get_aio_context(), false);
    g_assert_false(fired);
    while (!fired) {
        main_loop_wait(false);
    }
    timer_free(timer);
    qemu_bh_delete(bh);
    main_loop_wait(true);
}

static void *notify_thread(void *opaque)
{
    g_usleep(2000);
    qemu_notify_event();
    return NULL;
}

static void test_notify_event_ends_the_wait(void)
{
    QemuThread thread;

    while (g_main_context_iteration(NULL, FALSE)) {
    }
    qemu_thread_create(&thread, "notify", notify_thread, NULL, QEMU_THREAD_JOINABLE);
    main_loop_wait(false);
    qemu_thread_join(&thread);
}

typedef struct Fd {
    EventNotifier e;
    int n;
} Fd;

static void fd_read(EventNotifier *e)
{
    event_notifier_test_and_clear(e);
    container_of(e, Fd, e)->n++;
}

static void test_own_descriptors_run_in_the_main_loop_only(void)
{
    Fd fd = { .n = 0 };

    g_assert_cmpint(event_notifier_init(&fd.e, true), ==, 0);
    event_notifier_set_handler(&fd.e, fd_read);
    g_assert_false(aio_poll(qemu_get_aio_context(), false));
    g_assert_cmpint(fd.n, ==, 0);
    main_loop_wait(false);
    g_assert_cmpint(fd.n, ==, 1);
    event_notifier_set_handler(&fd.e, NULL);
    main_loop_wait(true);
    event_notifier_cleanup(&fd.e);
}

/* ---- beside other sources ---- */

static gboolean schedule_bh(gpointer opaque)
{
    qemu_bh_schedule(opaque);
    return G_SOURCE_CONTINUE;
}

/*
 * A bottom half that is scheduled while GLib runs other sources must not be slept
 * through.
 */
static void test_bh_scheduled_by_another_source(void)
{
    int n = 0;
    QEMUBH *bh = qemu_bh_new(count, &n);
    guint id = g_timeout_add(1, schedule_bh, bh);

    while (n < 5) {
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(id);
    qemu_bh_delete(bh);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

static void test_other_sources_are_not_starved(void)
{
    int bh_runs = 0, idle_runs = 0;
    QEMUBH *bh = qemu_bh_new(count, &bh_runs);
    guint id = g_timeout_add_full(G_PRIORITY_DEFAULT, 0, count_source, &idle_runs, NULL);

    for (int i = 0; i < 100; i++) {
        qemu_bh_schedule(bh);
        g_main_context_iteration(NULL, TRUE);
    }
    g_assert_cmpint(bh_runs, ==, 100);
    g_assert_cmpint(idle_runs, >=, 99);
    g_source_remove(id);
    qemu_bh_delete(bh);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

/* ---- a thread that runs GMainLoop and has set no context ---- */

typedef struct Adopt {
    AioContext *ctx;
    GMainLoop *loop;
    AioContext *seen;
    bool was_none;
} Adopt;

static void look_and_quit(void *opaque)
{
    Adopt *adopt = opaque;

    adopt->seen = qemu_get_current_aio_context();
    g_main_loop_quit(adopt->loop);
}

static void *adopt_thread(void *opaque)
{
    Adopt *adopt = opaque;

    adopt->was_none = qemu_get_current_aio_context() == NULL;
    g_main_loop_run(adopt->loop);
    adopt->was_none &= qemu_get_current_aio_context() == NULL;
    return NULL;
}

static void test_source_sets_its_context_while_it_dispatches(void)
{
    g_autoptr(GMainContext) gctx = g_main_context_new();
    Adopt adopt = { aio_context_new(&error_abort), g_main_loop_new(gctx, FALSE), NULL,
                    false };
    GSource *source = aio_get_g_source(adopt.ctx);
    QemuThread thread;

    g_source_attach(source, gctx);
    qemu_thread_create(&thread, "adopt", adopt_thread, &adopt, QEMU_THREAD_JOINABLE);
    g_usleep(1000);
    aio_bh_schedule_oneshot(adopt.ctx, look_and_quit, &adopt);
    qemu_thread_join(&thread);
    g_assert_true(adopt.seen == adopt.ctx);
    g_assert_true(adopt.was_none);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(adopt.loop);
    aio_context_unref(adopt.ctx);
}

/* ---- the same results ---- */

/*
 * A little of everything, driven by either loop: bottom halves that reschedule, a timer
 * that rearms, thread-pool requests in coroutines, notifiers that raise each other.
 */
typedef struct Mix {
    AioContext *ctx;
    QEMUBH *bh;
    QEMUTimer timer;
    Fd fds[4];
    int bh_n, timer_n, co_n, left;
} Mix;

enum { ROUNDS = 50 };

static void mix_bh(void *opaque)
{
    Mix *mix = opaque;

    if (++mix->bh_n < ROUNDS) {
        qemu_bh_schedule(mix->bh);
    } else {
        mix->left--;
    }
}

static void mix_timer(void *opaque)
{
    Mix *mix = opaque;

    if (++mix->timer_n < 10) {
        timer_mod_ns(&mix->timer, get_clock() + 100 * SCALE_US);
    } else {
        mix->left--;
    }
}

static int work(void *opaque)
{
    return 1;
}

static void coroutine_fn mix_co(void *opaque)
{
    Mix *mix = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        mix->co_n += thread_pool_submit_co(work, NULL);
    }
    mix->left--;
}

static Mix *mix_of_fds;

static void mix_fd(EventNotifier *e)
{
    Fd *fd = container_of(e, Fd, e);
    Mix *mix = mix_of_fds;
    Fd *next = &mix->fds[(fd - mix->fds + 1) % 4];

    event_notifier_test_and_clear(e);
    if (++fd->n < ROUNDS) {
        event_notifier_set(&next->e);
    } else {
        mix->left--;
    }
}

static void mix_start(Mix *mix, AioContext *ctx)
{
    *mix = (Mix){ .ctx = ctx, .left = 6 };
    mix_of_fds = mix;
    mix->bh = aio_bh_new(ctx, mix_bh, mix);
    qemu_bh_schedule(mix->bh);
    aio_timer_init(ctx, &mix->timer, QEMU_CLOCK_REALTIME, SCALE_NS, mix_timer, mix);
    timer_mod_ns(&mix->timer, get_clock() + 100 * SCALE_US);
    for (int i = 0; i < 4; i++) {
        event_notifier_init(&mix->fds[i].e, i == 0);
        aio_set_event_notifier(ctx, &mix->fds[i].e, mix_fd, NULL, NULL);
    }
    for (int i = 0; i < 3; i++) {
        aio_co_enter(ctx, qemu_coroutine_create(mix_co, mix));
    }
}

static void mix_end(Mix *mix)
{
    g_assert_cmpint(mix->bh_n, ==, ROUNDS);
    g_assert_cmpint(mix->timer_n, ==, 10);
    g_assert_cmpint(mix->co_n, ==, 3 * ROUNDS);
    g_assert_cmpint(mix->fds[0].n, ==, ROUNDS);
    for (int i = 1; i < 4; i++) {
        g_assert_cmpint(mix->fds[i].n, ==, ROUNDS - 1);
    }
    for (int i = 0; i < 4; i++) {
        aio_set_event_notifier(mix->ctx, &mix->fds[i].e, NULL, NULL, NULL);
        event_notifier_cleanup(&mix->fds[i].e);
    }
    qemu_bh_delete(mix->bh);
}

static void test_same_results(gconstpointer opaque)
{
    const char *fdmon = opaque;
    AioContext *before = qemu_get_current_aio_context(), *ctx;
    g_autoptr(GMainContext) gctx = g_main_context_new();
    GSource *source;
    Mix mix;

    g_setenv("BLKCO_FDMON", fdmon, TRUE);
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);

    mix_start(&mix, ctx);
    while (mix.left > 0) {
        aio_poll(ctx, true);
    }
    mix_end(&mix);

    source = aio_get_g_source(ctx);
    g_source_attach(source, gctx);
    mix_start(&mix, ctx);
    while (mix.left > 0) {
        g_main_context_iteration(gctx, TRUE);
    }
    mix_end(&mix);

    /* And both in turn. */
    mix_start(&mix, ctx);
    for (int i = 0; mix.left > 0; i++) {
        if (i % 2) {
            aio_poll(ctx, true);
        } else {
            g_main_context_iteration(gctx, FALSE);
        }
    }
    mix_end(&mix);

    g_source_destroy(source);
    g_source_unref(source);
    qemu_set_current_aio_context(before);
    aio_context_unref(ctx);
    g_unsetenv("BLKCO_FDMON");
}

/* ---- a stream of wake-ups from another thread ---- */

typedef struct Stream {
    AioContext *ctx;
    int n;
} Stream;

enum { STREAM = 20000 };

static void count_atomic(void *opaque)
{
    qatomic_inc((int *)opaque);
}

static void *stream_thread(void *opaque)
{
    Stream *stream = opaque;

    for (int i = 0; i < STREAM; i++) {
        int before = qatomic_read(&stream->n);

        aio_bh_schedule_oneshot(stream->ctx, count_atomic, &stream->n);
        while (i % 8 == 0 && qatomic_read(&stream->n) == before) {
            g_thread_yield();
        }
    }
    return NULL;
}

static void test_no_wake_up_is_lost(void)
{
    Stream stream = { qemu_get_aio_context(), 0 };
    QemuThread thread;

    qemu_thread_create(&thread, "stream", stream_thread, &stream, QEMU_THREAD_JOINABLE);
    while (qatomic_read(&stream.n) < STREAM) {
        main_loop_wait(false);
    }
    qemu_thread_join(&thread);
    g_assert_cmpint(stream.n, ==, STREAM);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/main-loop/init", test_init_makes_the_context_current);
    g_test_add_func("/main-loop/bh-timer",
                    test_main_loop_wait_runs_bottom_halves_and_timers);
    g_test_add_func("/main-loop/notify", test_notify_event_ends_the_wait);
    g_test_add_func("/main-loop/fd", test_own_descriptors_run_in_the_main_loop_only);
    g_test_add_func("/gsource/bh-from-source", test_bh_scheduled_by_another_source);
    g_test_add_func("/gsource/fair", test_other_sources_are_not_starved);
    g_test_add_func("/gsource/adopt", test_source_sets_its_context_while_it_dispatches);
    g_test_add_data_func("/gsource/same-results/epoll", "epoll", test_same_results);
    g_test_add_data_func("/gsource/same-results/poll", "poll", test_same_results);
    g_test_add_func("/gsource/no-lost-wake-up", test_no_wake_up_is_lost);
    return g_test_run();
}
