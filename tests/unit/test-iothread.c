/* SPDX-License-Identifier: MIT */
/* Threads with a context of their own, and waiting for what they do. */
#include <sys/resource.h>

#include "qemu/osdep.h"
#include "qemu/aio-wait.h"
#include "qemu/iothread.h"
#include "qemu/thread-pool.h"
#include "qemu/thread.h"

static AioContext *ctx;

static void count(void *opaque)
{
    ++*(int *)opaque;
}

static void test_work_scheduled_before_join_runs(void)
{
    IOThread *iothread = iothread_new();
    int n = 0;

    for (int i = 0; i < 1000; i++) {
        aio_bh_schedule_oneshot(iothread_get_aio_context(iothread), count, &n);
    }
    iothread_join(iothread);
    g_assert_cmpint(n, ==, 1000);
}

static void test_context_outlives_thread_with_a_reference(void)
{
    IOThread *iothread = iothread_new();
    AioContext *its = iothread_get_aio_context(iothread);

    aio_context_ref(its);
    iothread_join(iothread);
    /* Nobody's now: this thread may take it. */
    qemu_set_current_aio_context(its);
    g_assert_false(aio_poll(its, false));
    qemu_set_current_aio_context(ctx);
    aio_context_unref(its);
}

typedef struct Look {
    AioContext *seen;
    bool home;
} Look;

static void look(void *opaque)
{
    Look *l = opaque;

    l->seen = qemu_get_current_aio_context();
    l->home = in_aio_context_home_thread(l->seen);
}

static void test_bh_oneshot_waits_and_runs_at_home(void)
{
    IOThread *iothread = iothread_new_named("a name that is too long", &error_abort);
    Look l = { NULL, false };

    for (int i = 0; i < 200; i++) {
        l.seen = NULL;
        aio_wait_bh_oneshot(iothread_get_aio_context(iothread), look, &l);
        g_assert_true(l.seen == iothread_get_aio_context(iothread));
        g_assert_true(l.home);
    }
    iothread_join(iothread);
}

static bool flag;

static void set_flag_and_kick(void *opaque)
{
    g_usleep(*(int *)opaque);
    qatomic_set(&flag, true);
    aio_wait_kick();
}

static void test_wait_while_is_woken_by_kick(void)
{
    IOThread *iothread = iothread_new();

    for (int us = 0; us < 300; us += 3) {
        flag = false;
        aio_bh_schedule_oneshot(iothread_get_aio_context(iothread), set_flag_and_kick,
                                &us);
        AIO_WAIT_WHILE(iothread_get_aio_context(iothread), !qatomic_read(&flag));
    }
    g_assert_false(AIO_WAIT_WHILE(NULL, !qatomic_read(&flag)));
    iothread_join(iothread);
}

static void set_own_flag(void *opaque)
{
    *(bool *)opaque = true;
}

static void test_wait_while_in_own_context_needs_no_kick(void)
{
    bool done = false;

    aio_bh_schedule_oneshot(ctx, set_own_flag, &done);
    g_assert_true(AIO_WAIT_WHILE(ctx, !done));
}

/* Two threads wait at the same time, in contexts of their own, for a third. */
typedef struct Waiter {
    IOThread *iothread;
    AioContext *worker;
    QEMUBHFunc *wait;
    QemuSemaphore *done;
} Waiter;

static void nothing(void *opaque)
{
}

static void wait_many_times(void *opaque)
{
    Waiter *w = opaque;

    for (int i = 0; i < 300; i++) {
        aio_wait_bh_oneshot(w->worker, nothing, NULL);
    }
    qemu_sem_post(w->done);
}

static void test_several_waiters(void)
{
    IOThread *worker = iothread_new();
    QemuSemaphore done;
    Waiter w[2];

    qemu_sem_init(&done, 0);
    for (int i = 0; i < 2; i++) {
        w[i] = (Waiter){ iothread_new(), iothread_get_aio_context(worker), NULL, &done };
        aio_bh_schedule_oneshot(iothread_get_aio_context(w[i].iothread), wait_many_times,
                                &w[i]);
    }
    for (int i = 0; i < 2; i++) {
        qemu_sem_wait(&done);
    }
    for (int i = 0; i < 2; i++) {
        iothread_join(w[i].iothread);
    }
    iothread_join(worker);
    qemu_sem_destroy(&done);
}

static int pool_work(void *opaque)
{
    return 5;
}

typedef struct PoolRun {
    int sum;
    int left;
    QemuSemaphore done;
} PoolRun;

static void pool_done(void *opaque, int ret)
{
    PoolRun *run = opaque;

    run->sum += ret;
    if (--run->left == 0) {
        qemu_sem_post(&run->done);
    }
}

static void use_pool(void *opaque)
{
    PoolRun *run = opaque;

    for (int i = 0; i < 100; i++) {
        run->left++;
        thread_pool_submit_aio(pool_work, NULL, pool_done, run);
    }
}

static void test_each_thread_has_its_pool(void)
{
    IOThread *iothread = iothread_new();
    PoolRun run = { 0, 0 };

    qemu_sem_init(&run.done, 0);
    aio_bh_schedule_oneshot(iothread_get_aio_context(iothread), use_pool, &run);
    qemu_sem_wait(&run.done);
    g_assert_cmpint(run.sum, ==, 500);
    iothread_join(iothread);
    qemu_sem_destroy(&run.done);
}

static void test_no_thread_to_be_had_is_an_error(void)
{
    if (g_test_subprocess()) {
        struct rlimit none = { 1, 1 };
        Error *err = NULL;

        g_assert_cmpint(setrlimit(RLIMIT_NPROC, &none), ==, 0);
        if (getuid() == 0 && setuid(65534) != 0) {
            return;
        }
        g_assert_null(iothread_new_named("nobody", &err));
        g_assert_nonnull(err);
        error_free(err);
        /* Without exit handlers: LeakSanitizer's would want a thread. */
        _exit(0);
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static void test_die_wait_without_context(void)
{
    if (g_test_subprocess()) {
        qemu_set_current_aio_context(NULL);
        AIO_WAIT_WHILE(NULL, true);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*no AioContext to poll*");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
    g_test_add_func("/iothread/join", test_work_scheduled_before_join_runs);
    g_test_add_func("/iothread/context", test_context_outlives_thread_with_a_reference);
    g_test_add_func("/iothread/pool", test_each_thread_has_its_pool);
    g_test_add_func("/iothread/no-thread", test_no_thread_to_be_had_is_an_error);
    g_test_add_func("/aio-wait/bh-oneshot", test_bh_oneshot_waits_and_runs_at_home);
    g_test_add_func("/aio-wait/kick", test_wait_while_is_woken_by_kick);
    g_test_add_func("/aio-wait/own-context",
                    test_wait_while_in_own_context_needs_no_kick);
    g_test_add_func("/aio-wait/several", test_several_waiters);
    g_test_add_func("/aio-wait/die/no-context", test_die_wait_without_context);
    ret = g_test_run();
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    return ret;
}
