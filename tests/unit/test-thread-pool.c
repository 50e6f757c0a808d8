/* SPDX-License-Identifier: MIT */
/*
 * The thread pool: results, order, cancelling, limits, and what happens without threads.
 */
#include <malloc.h>
#include <sys/resource.h>

#include "qemu/osdep.h"
#include "block/block.h"
#include "qemu/coroutine.h"
#include "qemu/thread-pool.h"
#include "qemu/thread.h"

static AioContext *ctx;
static int active;

typedef struct Work {
    BlockAIOCB *acb;
    int n;
    int ret;
    bool done;
    QemuSemaphore *gate;
    QemuSemaphore *begun;
} Work;

static int inc_worker(void *opaque)
{
    Work *work = opaque;

    return qatomic_inc_fetch(&work->n) + 41;
}

static int gated_worker(void *opaque)
{
    Work *work = opaque;

    qatomic_inc(&work->n);
    qemu_sem_post(work->begun);
    qemu_sem_wait(work->gate);
    return 7;
}

static void done_cb(void *opaque, int ret)
{
    Work *work = opaque;

    g_assert_false(work->done);
    work->done = true;
    work->ret = ret;
    active--;
}

static void wait_for_all(void)
{
    while (active > 0) {
        aio_poll(ctx, true);
    }
}

static void submit(Work *work, ThreadPoolFunc *fn)
{
    active++;
    work->acb = thread_pool_submit_aio(fn, work, done_cb, work);
    g_assert_false(work->done);
}

static void test_result_reaches_the_callback(void)
{
    Work work = { .n = 0 };

    submit(&work, inc_worker);
    wait_for_all();
    g_assert_cmpint(work.n, ==, 1);
    g_assert_cmpint(work.ret, ==, 42);
}

static void test_without_callback(void)
{
    Work work = { .n = 0 };

    thread_pool_submit(inc_worker, &work);
    while (qatomic_read(&work.n) == 0) {
        aio_poll(ctx, true);
    }
    while (aio_poll(ctx, false)) {
    }
    g_assert_cmpint(work.n, ==, 1);
}

static void coroutine_fn co_submit(void *opaque)
{
    Work *work = opaque;

    work->ret = thread_pool_submit_co(inc_worker, work);
    active--;
}

static void test_coroutine_gets_the_result(void)
{
    Work work = { .n = 0, .ret = -1 };

    active++;
    qemu_coroutine_enter(qemu_coroutine_create(co_submit, &work));
    g_assert_cmpint(work.ret, ==, -1);
    wait_for_all();
    g_assert_cmpint(work.ret, ==, 42);
}

static void test_many(void)
{
    enum { N = 1000 };
    g_autofree Work *work = g_new0(Work, N);

    for (int i = 0; i < N; i++) {
        submit(&work[i], inc_worker);
    }
    wait_for_all();
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(work[i].n, ==, 1);
        g_assert_cmpint(work[i].ret, ==, 42);
    }
}

static void nested_cb(void *opaque, int ret)
{
    Work *work = opaque;

    done_cb(work, ret);
    /* The others complete in here, although they were found together with this one. */
    wait_for_all();
}

static void test_completion_in_nested_loop(void)
{
    enum { N = 20 };
    Work work[N] = { { .n = 0 } };

    for (int i = 0; i < N; i++) {
        active++;
        work[i].acb = thread_pool_submit_aio(inc_worker, &work[i], nested_cb, &work[i]);
    }
    wait_for_all();
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(work[i].ret, ==, 42);
    }
}

/* Fill all threads, queue more, cancel every third of the latter. */
static void test_cancel_queued_but_not_running(void)
{
    enum { THREADS = 4, N = 30 };
    QemuSemaphore gate, begun;
    Work work[N] = { { .n = 0 } };
    AIOCBInfo const *info;

    qemu_sem_init(&gate, 0);
    qemu_sem_init(&begun, 0);
    aio_context_set_thread_pool_params(ctx, 0, THREADS, &error_abort);
    for (int i = 0; i < N; i++) {
        work[i].gate = &gate;
        work[i].begun = &begun;
        submit(&work[i], i < THREADS ? gated_worker : inc_worker);
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_sem_wait(&begun);
    }
    for (int i = 0; i < N; i += 3) {
        info = work[i].acb->aiocb_info;
        qemu_aio_ref(work[i].acb);
        info->cancel_async(work[i].acb);
        /* Never from inside cancel. */
        g_assert_false(work[i].done);
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_sem_post(&gate);
    }
    wait_for_all();
    for (int i = 0; i < N; i++) {
        bool cancelled = i % 3 == 0 && i >= THREADS;

        g_assert_cmpint(work[i].n, ==, cancelled ? 0 : 1);
        g_assert_cmpint(work[i].ret, ==, cancelled ? -ECANCELED : i < THREADS ? 7 : 42);
        if (i % 3 == 0) {
            /* Too late: nothing happens. */
            work[i].acb->aiocb_info->cancel_async(work[i].acb);
            qemu_aio_unref(work[i].acb);
        }
    }
    while (aio_poll(ctx, false)) {
    }
    qemu_sem_destroy(&gate);
    qemu_sem_destroy(&begun);
    aio_context_set_thread_pool_params(ctx, 0, 64, &error_abort);
}

static void open_the_gate(void *opaque)
{
    qemu_sem_post(opaque);
}

/* The calls of block/block.h, on what the thread pool made. */
static void test_bdrv_aio_cancel_waits_for_the_callback(void)
{
    QemuSemaphore gate, begun;
    Work runs = { .gate = &gate, .begun = &begun }, queued = { .n = 0 }, asked = { .n = 0 };

    qemu_sem_init(&gate, 0);
    qemu_sem_init(&begun, 0);
    aio_context_set_thread_pool_params(ctx, 0, 1, &error_abort);
    submit(&runs, gated_worker);
    submit(&queued, inc_worker);
    submit(&asked, inc_worker);
    qemu_sem_wait(&begun);

    bdrv_aio_cancel(queued.acb);
    g_assert_true(queued.done);
    g_assert_cmpint(queued.ret, ==, -ECANCELED);
    g_assert_cmpint(queued.n, ==, 0);

    bdrv_aio_cancel_async(asked.acb);
    g_assert_false(asked.done);

    /* The one that runs ends as if nothing had happened. */
    aio_bh_schedule_oneshot(ctx, open_the_gate, &gate);
    bdrv_aio_cancel(runs.acb);
    g_assert_true(runs.done);
    g_assert_cmpint(runs.ret, ==, 7);

    wait_for_all();
    g_assert_cmpint(asked.ret, ==, -ECANCELED);
    g_assert_cmpint(asked.n, ==, 0);
    qemu_sem_destroy(&gate);
    qemu_sem_destroy(&begun);
    aio_context_set_thread_pool_params(ctx, 0, 64, &error_abort);
}

static int running, most_running;

static int count_running(void *opaque)
{
    int now = qatomic_inc_fetch(&running), most = qatomic_read(&most_running);

    while (now > most) {
        most = qatomic_cmpxchg(&most_running, most, now);
    }
    g_usleep(500);
    qatomic_dec(&running);
    return 0;
}

static void test_never_more_threads_than_the_maximum(void)
{
    enum { N = 100 };
    g_autofree Work *work = g_new0(Work, N);

    most_running = 0;
    aio_context_set_thread_pool_params(ctx, 1, 3, &error_abort);
    for (int i = 0; i < N; i++) {
        submit(&work[i], count_running);
    }
    wait_for_all();
    g_assert_cmpint(most_running, <=, 3);
    g_assert_cmpint(most_running, >=, 1);
    aio_context_set_thread_pool_params(ctx, 0, 64, &error_abort);
}

static unsigned count_threads(void)
{
    GDir *dir = g_dir_open("/proc/self/task", 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

/* With nothing to do for them. In a process of its own: no threads of other tests end. */
static void test_minimum_of_threads_is_there_at_once(void)
{
    AioContext *other;
    Work work = { .n = 0 };
    unsigned before;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    other = aio_context_new(&error_abort);
    qemu_set_current_aio_context(other);
    /* One that has a pool already, and a thread in it. */
    active++;
    thread_pool_submit_aio(inc_worker, &work, done_cb, &work);
    while (active > 0) {
        aio_poll(other, true);
    }
    before = count_threads();
    aio_context_set_thread_pool_params(other, 5, 8, &error_abort);
    g_assert_cmpuint(count_threads(), ==, before + 4);
    aio_context_set_thread_pool_params(other, 2, 8, &error_abort);
    aio_context_set_thread_pool_params(other, 4, 8, &error_abort);
    g_assert_cmpuint(count_threads(), ==, before + 4);
    qemu_set_current_aio_context(ctx);
    aio_context_unref(other);
    /* A thread that was joined may be seen a little longer. */
    while (count_threads() > before - 1) {
        g_usleep(1000);
    }
    g_assert_cmpuint(count_threads(), ==, before - 1);
}

/* Those above a new maximum end when they have done what they are at. */
static void test_busy_threads_leave_when_the_maximum_falls(void)
{
    enum { THREADS = 4, N = 20 };
    QemuSemaphore gate, begun;
    Work busy[THREADS] = { { .n = 0 } }, work[N] = { { .n = 0 } };

    qemu_sem_init(&gate, 0);
    qemu_sem_init(&begun, 0);
    /* Idle workers of other tests go first. */
    aio_context_set_thread_pool_params(ctx, 0, 64, &error_abort);
    for (int i = 0; i < THREADS; i++) {
        busy[i].gate = &gate;
        busy[i].begun = &begun;
        submit(&busy[i], gated_worker);
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_sem_wait(&begun);
    }
    aio_context_set_thread_pool_params(ctx, 0, 1, &error_abort);
    for (int i = 0; i < THREADS; i++) {
        qemu_sem_post(&gate);
    }
    wait_for_all();
    for (int i = 0; i < THREADS; i++) {
        g_assert_cmpint(busy[i].ret, ==, 7);
    }
    most_running = 0;
    for (int i = 0; i < N; i++) {
        submit(&work[i], count_running);
    }
    wait_for_all();
    g_assert_cmpint(most_running, ==, 1);
    qemu_sem_destroy(&gate);
    qemu_sem_destroy(&begun);
    aio_context_set_thread_pool_params(ctx, 0, 64, &error_abort);
}

static void test_bad_limits_are_refused(void)
{
    static const int64_t bad[][2] = { { -1, 5 }, { 0, 0 }, { 6, 5 }, { 0, 1LL << 40 } };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Error *err = NULL;

        aio_context_set_thread_pool_params(ctx, bad[i][0], bad[i][1], &err);
        g_assert_nonnull(err);
        error_free(err);
    }
}

static void test_no_threads_to_be_had_is_an_error(void)
{
    if (g_test_subprocess()) {
        struct rlimit none = { 1, 1 };
        Work work = { .n = 0 };

        /* Root may have as many as it likes: be nobody. */
        g_assert_cmpint(setrlimit(RLIMIT_NPROC, &none), ==, 0);
        if (getuid() == 0 && setuid(65534) != 0) {
            return;
        }
        submit(&work, inc_worker);
        wait_for_all();
        g_assert_cmpint(work.ret, ==, -EAGAIN);
        g_assert_cmpint(work.n, ==, 0);
        /* Without exit handlers: LeakSanitizer's would want a thread. */
        _exit(0);
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static void test_die_without_context(void)
{
    if (g_test_subprocess()) {
        qemu_set_current_aio_context(NULL);
        thread_pool_submit(inc_worker, NULL);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*has no AioContext*");
}

int main(int argc, char **argv)
{
    int ret;

    /* What malloc gives is garbage: a request's state has to be set, not to be 0 by chance. */
    mallopt(M_PERTURB, 0xa5);
    g_test_init(&argc, &argv, NULL);
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
    g_test_add_func("/thread-pool/aio", test_result_reaches_the_callback);
    g_test_add_func("/thread-pool/no-callback", test_without_callback);
    g_test_add_func("/thread-pool/co", test_coroutine_gets_the_result);
    g_test_add_func("/thread-pool/many", test_many);
    g_test_add_func("/thread-pool/nested", test_completion_in_nested_loop);
    g_test_add_func("/thread-pool/cancel", test_cancel_queued_but_not_running);
    g_test_add_func("/thread-pool/bdrv_aio_cancel waits for the callback",
                    test_bdrv_aio_cancel_waits_for_the_callback);
    g_test_add_func("/thread-pool/max", test_never_more_threads_than_the_maximum);
    g_test_add_func("/thread-pool/min", test_minimum_of_threads_is_there_at_once);
    g_test_add_func("/thread-pool/max-falls", test_busy_threads_leave_when_the_maximum_falls);
    g_test_add_func("/thread-pool/limits", test_bad_limits_are_refused);
    g_test_add_func("/thread-pool/no-threads", test_no_threads_to_be_had_is_an_error);
    g_test_add_func("/thread-pool/die/no-context", test_die_without_context);
    ret = g_test_run();
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    return ret;
}
