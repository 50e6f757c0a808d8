/* SPDX-License-Identifier: MIT */
/*
 * Code in the manner of QEMU's devices and block jobs, which shows that sources written
 * for QEMU's headers compile and behave here. The table at the top holds the types that
 * callers rely on, argument by argument.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/aio-wait.h"
#include "block/aio.h"
#include "block/aio_task.h"
#include "block/block.h"
#include "block/thread-pool.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/co-shared-resource.h"
#include "qemu/coroutine-tls.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "qemu/cutils.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/futex.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/rcu_queue.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "system/block-backend.h"
#include "system/iothread.h"

/* ---- types ---- */

#define HAS_TYPE(function, ret, ...)                                                     \
    QEMU_BUILD_BUG_MSG(                                                                  \
        !__builtin_types_compatible_p(__typeof__(&function), ret (*)(__VA_ARGS__)),      \
        #function " has another type")

HAS_TYPE(qemu_coroutine_create, Coroutine *, CoroutineEntry *, void *);
HAS_TYPE(qemu_coroutine_enter, void, Coroutine *);
HAS_TYPE(qemu_coroutine_enter_if_inactive, void, Coroutine *);
HAS_TYPE(qemu_aio_coroutine_enter, void, AioContext *, Coroutine *);
HAS_TYPE(qemu_coroutine_yield, void, void);
HAS_TYPE(qemu_coroutine_self, Coroutine *, void);
HAS_TYPE(qemu_in_coroutine, bool, void);
HAS_TYPE(qemu_coroutine_entered, bool, Coroutine *);
HAS_TYPE(qemu_coroutine_get_aio_context, AioContext *, Coroutine *);
HAS_TYPE(qemu_coroutine_inc_pool_size, void, unsigned int);
HAS_TYPE(qemu_coroutine_dec_pool_size, void, unsigned int);
HAS_TYPE(qemu_co_mutex_init, void, CoMutex *);
HAS_TYPE(qemu_co_mutex_lock, void, CoMutex *);
HAS_TYPE(qemu_co_mutex_unlock, void, CoMutex *);
HAS_TYPE(qemu_co_mutex_assert_locked, void, CoMutex *);
HAS_TYPE(qemu_co_queue_init, void, CoQueue *);
HAS_TYPE(qemu_co_queue_wait_impl, void, CoQueue *, QemuLockable *, CoQueueWaitFlags);
HAS_TYPE(qemu_co_queue_next, bool, CoQueue *);
HAS_TYPE(qemu_co_queue_restart_all, void, CoQueue *);
HAS_TYPE(qemu_co_queue_empty, bool, CoQueue *);
HAS_TYPE(qemu_co_enter_next_impl, bool, CoQueue *, QemuLockable *);
HAS_TYPE(qemu_co_enter_all_impl, void, CoQueue *, QemuLockable *);
HAS_TYPE(qemu_co_rwlock_init, void, CoRwlock *);
HAS_TYPE(qemu_co_rwlock_rdlock, void, CoRwlock *);
HAS_TYPE(qemu_co_rwlock_upgrade, void, CoRwlock *);
HAS_TYPE(qemu_co_rwlock_downgrade, void, CoRwlock *);
HAS_TYPE(qemu_co_rwlock_wrlock, void, CoRwlock *);
HAS_TYPE(qemu_co_rwlock_unlock, void, CoRwlock *);
HAS_TYPE(qemu_co_sleep_ns_wakeable, void, QemuCoSleep *, QEMUClockType, int64_t);
HAS_TYPE(qemu_co_sleep_ns, void, QEMUClockType, int64_t);
HAS_TYPE(qemu_co_sleep, void, QemuCoSleep *);
HAS_TYPE(qemu_co_sleep_wake, void, QemuCoSleep *);
HAS_TYPE(qemu_co_timeout, int, CoroutineEntry *, void *, uint64_t, CleanupFunc);
HAS_TYPE(yield_until_fd_readable, void, int);
HAS_TYPE(shres_create, SharedResource *, uint64_t);
HAS_TYPE(co_get_from_shres, void, SharedResource *, uint64_t);
HAS_TYPE(co_try_get_from_shres, bool, SharedResource *, uint64_t);
HAS_TYPE(co_put_to_shres, void, SharedResource *, uint64_t);
HAS_TYPE(aio_task_pool_new, AioTaskPool *, int);
HAS_TYPE(aio_task_pool_start_task, void, AioTaskPool *, AioTask *);
HAS_TYPE(aio_context_new, AioContext *, Error **);
HAS_TYPE(aio_poll, bool, AioContext *, bool);
HAS_TYPE(aio_set_fd_handler, void, AioContext *, int, IOHandler *, IOHandler *, AioPollFn *,
         IOHandler *, void *);
HAS_TYPE(aio_set_event_notifier, void, AioContext *, EventNotifier *, EventNotifierHandler *,
         AioPollFn *, EventNotifierHandler *);
HAS_TYPE(aio_bh_new_full, QEMUBH *, AioContext *, QEMUBHFunc *, void *, const char *,
         MemReentrancyGuard *);
HAS_TYPE(aio_bh_schedule_oneshot_full, void, AioContext *, QEMUBHFunc *, void *,
         const char *);
HAS_TYPE(aio_co_schedule, void, AioContext *, Coroutine *);
HAS_TYPE(aio_co_wake, void, Coroutine *);
HAS_TYPE(aio_co_enter, void, AioContext *, Coroutine *);
HAS_TYPE(aio_co_reschedule_self, void, AioContext *);
HAS_TYPE(aio_get_g_source, GSource *, AioContext *);
HAS_TYPE(aio_context_set_poll_params, void, AioContext *, int64_t, int64_t, int64_t,
         Error **);
HAS_TYPE(qemu_aio_get, void *, const AIOCBInfo *, BlockDriverState *, BlockCompletionFunc *,
         void *);
HAS_TYPE(thread_pool_submit_aio, BlockAIOCB *, ThreadPoolFunc *, void *,
         BlockCompletionFunc *, void *);
HAS_TYPE(thread_pool_submit_co, int, ThreadPoolFunc *, void *);
HAS_TYPE(timer_init_full, void, QEMUTimer *, QEMUTimerListGroup *, QEMUClockType, int, int,
         QEMUTimerCB *, void *);
HAS_TYPE(timer_mod, void, QEMUTimer *, int64_t);
HAS_TYPE(qemu_clock_get_ns, int64_t, QEMUClockType);
HAS_TYPE(event_notifier_init, int, EventNotifier *, int);
HAS_TYPE(event_notifier_test_and_clear, int, EventNotifier *);
HAS_TYPE(qemu_iovec_init, void, QEMUIOVector *, int);
HAS_TYPE(qemu_iovec_add, void, QEMUIOVector *, void *, size_t);
HAS_TYPE(qemu_iovec_to_buf, size_t, QEMUIOVector *, size_t, void *, size_t);
HAS_TYPE(qemu_init_main_loop, int, Error **);
HAS_TYPE(main_loop_wait, void, int);
HAS_TYPE(qemu_thread_create, void, QemuThread *, const char *, void *(*)(void *), void *,
         int);
HAS_TYPE(qemu_cond_init, void, QemuCond *);
HAS_TYPE(qemu_sem_timedwait, int, QemuSemaphore *, int);
HAS_TYPE(qemu_event_wait, void, QemuEvent *);
HAS_TYPE(notifier_list_notify, void, NotifierList *, void *);
HAS_TYPE(call_rcu1, void, struct rcu_head *, RCUCBFunc *);
HAS_TYPE(qemu_strtosz, int, const char *, const char **, uint64_t *);
HAS_TYPE(qemu_strtoi64, int, const char *, const char **, int, int64_t *);
HAS_TYPE(parse_uint, int, const char *, const char **, int, uint64_t *);
HAS_TYPE(buffer_is_zero, bool, const void *, size_t);
HAS_TYPE(qemu_try_memalign, void *, size_t, size_t);
HAS_TYPE(error_propagate, void, Error **, Error *);
HAS_TYPE(defer_call, void, void (*)(void *), void *);
HAS_TYPE(bql_locked, bool, void);
HAS_TYPE(notifier_with_return_list_notify, int, NotifierWithReturnList *, void *, Error **);
HAS_TYPE(error_get_class, ErrorClass, const Error *);
HAS_TYPE(find_next_bit, unsigned long, const unsigned long *, unsigned long, unsigned long);
HAS_TYPE(bdrv_aio_cancel, void, BlockAIOCB *);
HAS_TYPE(bdrv_aio_cancel_async, void, BlockAIOCB *);
HAS_TYPE(qemu_lockcnt_inc, void, QemuLockCnt *);
HAS_TYPE(qemu_lockcnt_dec_and_lock, bool, QemuLockCnt *);
HAS_TYPE(qemu_lockcnt_count, unsigned, QemuLockCnt *);

/* Fields that code outside of QEMU's util/ touches. */
QEMU_BUILD_BUG_ON(sizeof(((BlockAIOCB *)0)->aiocb_info) != sizeof(AIOCBInfo *));
QEMU_BUILD_BUG_ON(sizeof(((QemuCoSleep *)0)->to_wake) != sizeof(Coroutine *));
QEMU_BUILD_BUG_ON(sizeof(((Coroutine *)0)->caller) != sizeof(Coroutine *));
QEMU_BUILD_BUG_ON(sizeof(((AioTask *)0)->ret) != sizeof(int));

/* ---- a device: a request queue, a limit, completions in a bottom half ---- */

typedef struct ToyReq {
    QTAILQ_ENTRY(ToyReq) next;
    struct ToyDev *dev;
    QEMUIOVector qiov;
    uint64_t sector;
    int ret;
} ToyReq;

typedef struct ToyDev {
    QemuMutex lock;
    QTAILQ_HEAD(, ToyReq) inflight;
    CoQueue free_slots;
    CoMutex media_lock;
    unsigned slots;
    unsigned batches;
    int completed;
    uint8_t *media;
    QEMUBH *bh;
    QEMUTimer *watchdog;
    EventNotifier irq;
    bool irq_seen;
    NotifierList on_idle;
} ToyDev;

#define TOY_SECTORS 64

static void toy_submit_batch(void *opaque)
{
    ToyDev *dev = opaque;

    dev->batches++;
}

static void toy_complete_bh(void *opaque)
{
    ToyDev *dev = opaque;

    dev->completed++;
    event_notifier_set(&dev->irq);
}

static void toy_irq(EventNotifier *notifier)
{
    ToyDev *dev = container_of(notifier, ToyDev, irq);

    if (event_notifier_test_and_clear(notifier)) {
        dev->irq_seen = true;
        notifier_list_notify(&dev->on_idle, dev);
    }
}

static void toy_watchdog(void *opaque)
{
    error_report("the toy device hangs");
    abort();
}

static int toy_read_media(void *opaque)
{
    ToyReq *req = opaque;
    ToyDev *dev = req->dev;

    return (int)qemu_iovec_from_buf(&req->qiov, 0, dev->media + req->sector * 512, 512);
}

static void coroutine_fn toy_co_read(void *opaque)
{
    ToyReq *req = opaque;
    ToyDev *dev = req->dev;

    WITH_QEMU_LOCK_GUARD(&dev->lock) {
        while (dev->slots == 0) {
            qemu_co_queue_wait(&dev->free_slots, &dev->lock);
        }
        dev->slots--;
        QTAILQ_INSERT_TAIL(&dev->inflight, req, next);
    }

    qemu_co_mutex_lock(&dev->media_lock);
    req->ret = thread_pool_submit_co(toy_read_media, req);
    qemu_co_mutex_unlock(&dev->media_lock);

    qemu_mutex_lock(&dev->lock);
    QTAILQ_REMOVE(&dev->inflight, req, next);
    dev->slots++;
    qemu_co_queue_next(&dev->free_slots);
    qemu_mutex_unlock(&dev->lock);
    qemu_bh_schedule(dev->bh);
    if (req->sector == 0) {
        AioContext *ctx = qemu_get_current_aio_context();

        aio_co_schedule(ctx, qemu_coroutine_self());
        qemu_coroutine_yield();
    }
}

static void toy_init(ToyDev *dev, AioContext *ctx, Error **errp)
{
    ERRP_GUARD();
    int ret;

    memset(dev, 0, sizeof(*dev));
    ret = event_notifier_init(&dev->irq, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "No interrupt");
        error_prepend(errp, "toy: ");
        return;
    }
    qemu_mutex_init(&dev->lock);
    qemu_co_mutex_init(&dev->media_lock);
    qemu_co_queue_init(&dev->free_slots);
    QTAILQ_INIT(&dev->inflight);
    notifier_list_init(&dev->on_idle);
    dev->slots = 2;
    dev->media = qemu_memalign(512, TOY_SECTORS * 512);
    dev->bh = aio_bh_new(ctx, toy_complete_bh, dev);
    dev->watchdog = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_MS, toy_watchdog, dev);
    timer_mod(dev->watchdog, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 60000);
    aio_set_event_notifier(ctx, &dev->irq, toy_irq, NULL, NULL);
}

static void toy_exit(ToyDev *dev, AioContext *ctx)
{
    aio_set_event_notifier(ctx, &dev->irq, NULL, NULL, NULL);
    event_notifier_cleanup(&dev->irq);
    timer_free(dev->watchdog);
    qemu_bh_delete(dev->bh);
    qemu_vfree(dev->media);
    qemu_mutex_destroy(&dev->lock);
}

typedef struct IdleCounter {
    Notifier notifier;
    int calls;
} IdleCounter;

static void count_idle(Notifier *notifier, void *data)
{
    container_of(notifier, IdleCounter, notifier)->calls++;
}

static void a_device_runs(void)
{
    AioContext *ctx = qemu_get_aio_context();
    IdleCounter idle = { .notifier.notify = count_idle };
    uint8_t buf[8][512];
    ToyReq reqs[8];
    ToyDev dev;
    size_t i;

    toy_init(&dev, ctx, &error_abort);
    notifier_list_add(&dev.on_idle, &idle.notifier);
    for (i = 0; i < TOY_SECTORS; i++) {
        memset(dev.media + i * 512, (int)i + 1, 512);
    }

    defer_call_begin();
    for (i = 0; i < ARRAY_SIZE(reqs); i++) {
        Coroutine *co = qemu_coroutine_create(toy_co_read, &reqs[i]);

        reqs[i] = (ToyReq){ .dev = &dev, .sector = i * 3 };
        qemu_iovec_init(&reqs[i].qiov, 2);
        qemu_iovec_add(&reqs[i].qiov, buf[i], 100);
        qemu_iovec_add(&reqs[i].qiov, buf[i] + 100, 412);
        defer_call(toy_submit_batch, &dev);
        qemu_coroutine_enter(co);
    }
    defer_call_end();
    g_assert_cmpuint(dev.batches, ==, 1);

    AIO_WAIT_WHILE(ctx, !QTAILQ_EMPTY(&dev.inflight) || !qemu_co_queue_empty(&dev.free_slots));
    while (!dev.irq_seen || aio_poll(ctx, false)) {
        aio_poll(ctx, false);
    }
    for (i = 0; i < ARRAY_SIZE(reqs); i++) {
        g_assert_cmpint(reqs[i].ret, ==, 512);
        g_assert_cmpint(buf[i][0], ==, i * 3 + 1);
        g_assert_cmpint(buf[i][511], ==, i * 3 + 1);
        qemu_iovec_destroy(&reqs[i].qiov);
    }
    g_assert_cmpint(dev.completed, >, 0);
    g_assert_cmpint(idle.calls, >, 0);
    notifier_remove(&idle.notifier);
    toy_exit(&dev, ctx);
}

/* ---- an AIOCB of one's own, with cancel ---- */

typedef struct ToyAIOCB {
    BlockAIOCB common;
    QEMUBH *bh;
    int ret;
} ToyAIOCB;

static void toy_aio_cancel(BlockAIOCB *acb)
{
    container_of(acb, ToyAIOCB, common)->ret = -ECANCELED;
}

static const AIOCBInfo toy_aiocb_info = {
    .aiocb_size = sizeof(ToyAIOCB),
    .cancel_async = toy_aio_cancel,
};

static void toy_aio_bh(void *opaque)
{
    ToyAIOCB *acb = opaque;

    acb->common.cb(acb->common.opaque, acb->ret);
    qemu_bh_delete(acb->bh);
    qemu_aio_unref(acb);
}

static void store_ret(void *opaque, int ret)
{
    *(int *)opaque = ret;
}

static void an_aiocb_is_cancelled(void)
{
    int ret = -EINPROGRESS;
    ToyAIOCB *acb = qemu_aio_get(&toy_aiocb_info, NULL, store_ret, &ret);

    acb->ret = 0;
    acb->bh = qemu_bh_new(toy_aio_bh, acb);
    qemu_bh_schedule(acb->bh);
    bdrv_aio_cancel_async(&acb->common);
    g_assert_cmpint(ret, ==, -EINPROGRESS);
    while (ret == -EINPROGRESS) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(ret, ==, -ECANCELED);
}

/* ---- a job: tasks, a budget, a sleep that ends early, a thread-local ---- */

QEMU_DEFINE_STATIC_CO_TLS(int, tasks_begun)

typedef struct JobTask {
    AioTask task;
    SharedResource *mem;
    int bytes;
} JobTask;

typedef struct Job {
    QemuCoSleep sleep;
    CoRwlock graph;
    int moved;
    bool paused, done;
    int ret;
} Job;

static int coroutine_fn job_task(AioTask *task)
{
    JobTask *t = container_of(task, JobTask, task);

    set_tasks_begun(get_tasks_begun() + 1);
    co_get_from_shres(t->mem, (uint64_t)t->bytes);
    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, 10 * SCALE_US);
    co_put_to_shres(t->mem, (uint64_t)t->bytes);
    return t->bytes == 40 ? -EIO : 0;
}

static void coroutine_fn job_run(void *opaque)
{
    SharedResource *mem = shres_create(64);
    AioTaskPool *pool = aio_task_pool_new(4);
    Job *job = opaque;
    int i;

    qemu_co_rwlock_rdlock(&job->graph);
    for (i = 1; i <= 6; i++) {
        JobTask *t = g_new(JobTask, 1);

        *t = (JobTask){ .task.func = job_task, .mem = mem, .bytes = i * 10 };
        aio_task_pool_start_task(pool, &t->task);
    }
    aio_task_pool_wait_all(pool);
    qemu_co_rwlock_upgrade(&job->graph);
    job->moved++;
    qemu_co_rwlock_unlock(&job->graph);

    job->ret = aio_task_pool_status(pool);
    aio_task_pool_free(pool);
    shres_destroy(mem);

    job->paused = true;
    qemu_co_sleep_ns_wakeable(&job->sleep, QEMU_CLOCK_REALTIME,
                              100LL * NANOSECONDS_PER_SECOND);
    job->done = true;
}

static void a_job_runs_to_its_end(void)
{
    Job job = { .ret = -EINPROGRESS };

    qemu_co_rwlock_init(&job.graph);
    aio_co_enter(qemu_get_aio_context(), qemu_coroutine_create(job_run, &job));
    AIO_WAIT_WHILE(NULL, !job.paused);
    qemu_co_sleep_wake(&job.sleep);
    g_assert_true(job.done);
    g_assert_cmpint(job.ret, ==, -EIO);
    g_assert_cmpint(job.moved, ==, 1);
    g_assert_cmpint(get_tasks_begun(), ==, 6);
}

/* ---- lists that readers walk under RCU ---- */

typedef struct Listener {
    struct rcu_head rcu;
    int id;
    QLIST_ENTRY(Listener) node;
} Listener;

static QLIST_HEAD(, Listener) listeners = QLIST_HEAD_INITIALIZER(listeners);

static int sum_of_listeners(void)
{
    Listener *l;
    int sum = 0;

    RCU_READ_LOCK_GUARD();
    QLIST_FOREACH_RCU(l, &listeners, node) {
        sum += l->id;
    }
    return sum;
}

static void *sum_in_a_thread(void *opaque)
{
    bool *stop = opaque;
    int sum = 0;

    rcu_register_thread();
    do {
        sum = sum_of_listeners();
        g_assert_cmpint(sum, >=, 0);
    } while (!qatomic_read(stop));
    rcu_unregister_thread();
    return GINT_TO_POINTER(sum);
}

static void readers_walk_a_list_that_changes(void)
{
    QemuThread thread;
    bool stop = false;
    Listener *l, *next;
    int i;

    qemu_thread_create(&thread, "walker", sum_in_a_thread, &stop, QEMU_THREAD_JOINABLE);
    for (i = 1; i <= 100; i++) {
        l = g_new0(Listener, 1);
        l->id = i;
        QLIST_INSERT_HEAD_RCU(&listeners, l, node);
        if (i % 2 == 0) {
            l = QLIST_FIRST(&listeners);
            QLIST_REMOVE_RCU(l, node);
            g_free_rcu(l, rcu);
        }
    }
    qatomic_set(&stop, true);
    qemu_thread_join(&thread);
    g_assert_cmpint(sum_of_listeners(), ==, 2500);
    QLIST_FOREACH_SAFE_RCU(l, &listeners, node, next) {
        QLIST_REMOVE_RCU(l, node);
        g_free_rcu(l, rcu);
    }
    drain_call_rcu();
    g_assert_true(QLIST_EMPTY_RCU(&listeners));
}

/* ---- a context of one's own in a thread, with work from outside ---- */

typedef struct Remote {
    AioContext *ctx;
    CoMutex *mutex;
    QemuEvent ready;
    int *counter;
    int running;
} Remote;

static void *remote_loop(void *opaque)
{
    Remote *r = opaque;

    qemu_set_current_aio_context(r->ctx);
    qemu_event_set(&r->ready);
    while (qatomic_read(&r->running)) {
        aio_poll(r->ctx, true);
    }
    return NULL;
}

static void coroutine_fn remote_count(void *opaque)
{
    Remote *r = opaque;
    int i;

    for (i = 0; i < 500; i++) {
        QEMU_LOCK_GUARD(r->mutex);
        ++*r->counter;
    }
    /* Home again, where the main thread waits. */
    aio_co_reschedule_self(qemu_get_aio_context());
    qatomic_dec(&r->running);
    aio_notify(r->ctx);
}

static void two_threads_share_a_mutex(void)
{
    CoMutex mutex;
    QemuThread threads[2];
    Remote r[2];
    int counter = 0, i;

    qemu_co_mutex_init(&mutex);
    for (i = 0; i < 2; i++) {
        r[i] = (Remote){ .ctx = aio_context_new(&error_abort), .mutex = &mutex,
                         .counter = &counter, .running = 1 };
        qemu_event_init(&r[i].ready, false);
        qemu_thread_create(&threads[i], "remote", remote_loop, &r[i], QEMU_THREAD_JOINABLE);
        qemu_event_wait(&r[i].ready);
        aio_co_schedule(r[i].ctx, qemu_coroutine_create(remote_count, &r[i]));
    }
    while (qatomic_read(&r[0].running) || qatomic_read(&r[1].running)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    for (i = 0; i < 2; i++) {
        qemu_thread_join(&threads[i]);
        aio_context_unref(r[i].ctx);
        qemu_event_destroy(&r[i].ready);
    }
    g_assert_cmpint(counter, ==, 1000);
}

/* ---- a scheduler of one's own, with the fields of coroutine_int.h ---- */

static void coroutine_fn count_twice(void *opaque)
{
    ++*(int *)opaque;
    qemu_coroutine_yield();
    ++*(int *)opaque;
}

static void coroutine_fn wake_by_hand(void *opaque)
{
    Coroutine *self = qemu_coroutine_self();

    QSIMPLEQ_INSERT_TAIL(&self->co_queue_wakeup, (Coroutine *)opaque, co_queue_next);
}

static void an_ended_coroutine_is_not_touched(void)
{
    int count = 0;
    Coroutine *woken = qemu_coroutine_create(count_twice, &count);
    Coroutine *waker = qemu_coroutine_create(wake_by_hand, woken);
    Coroutine saved;

    qemu_coroutine_enter(waker);
    /* It ran when the one that woke it had ended. */
    g_assert_cmpint(count, ==, 1);
    saved = *waker;
    memset(waker, 0xff, sizeof(*waker));
    qemu_coroutine_enter(woken);
    g_assert_cmpint(count, ==, 2);
    *waker = saved;
}

/* ---- bit arrays ---- */

static void bits_are_found(void)
{
    enum { BITS = 200 };
    unsigned long map[BITS_TO_LONGS(BITS)] = { 0 };

    g_assert_cmpuint(find_first_bit(map, BITS), ==, BITS);
    g_assert_cmpuint(find_last_bit(map, BITS), ==, BITS);
    for (int round = 0; round < 50; round++) {
        unsigned long size = (unsigned long)g_test_rand_int_range(1, BITS + 1);
        unsigned long last = size;

        change_bit(g_test_rand_int_range(0, BITS), map);
        for (unsigned long from = 0; from <= size; from++) {
            unsigned long one = from, zero = from;

            while (one < size && !test_bit((long)one, map)) {
                one++;
            }
            while (zero < size && test_bit((long)zero, map)) {
                zero++;
            }
            g_assert_cmpuint(find_next_bit(map, size, from), ==, one);
            g_assert_cmpuint(find_next_zero_bit(map, size, from), ==, zero);
            if (from < size && test_bit((long)from, map)) {
                last = from;
            }
        }
        g_assert_cmpuint(find_last_bit(map, size), ==, last);
    }
    clear_bit(77, map);
    g_assert_false(test_and_set_bit(77, map));
    g_assert_true(test_and_set_bit(77, map));
    g_assert_true(test_and_clear_bit(77, map));
    g_assert_false(test_and_change_bit(77, map));
    g_assert_true(test_bit(77, map));
    g_assert_cmpint(sextract32(0x0000f800, 8, 8), ==, -8);
    g_assert_cmpint(sextract64(0x7f000000000, 36, 8), ==, 0x7f);
}

/* ---- a veto, kinds of errors ---- */

static int refuse(NotifierWithReturn *notifier, void *data, Error **errp)
{
    ++*(int *)data;
    error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "refused");
    return -EBUSY;
}

static int agree(NotifierWithReturn *notifier, void *data, Error **errp)
{
    ++*(int *)data;
    return 0;
}

static void a_notifier_can_refuse(void)
{
    NotifierWithReturn yes = { .notify = agree }, no = { .notify = refuse };
    NotifierWithReturnList list = NOTIFIER_WITH_RETURN_LIST_INITIALIZER(list);
    Error *err = NULL;
    int calls = 0;

    notifier_with_return_list_init(&list);
    notifier_with_return_list_add(&list, &yes);
    g_assert_cmpint(notifier_with_return_list_notify(&list, &calls, &error_abort), ==, 0);
    notifier_with_return_list_add(&list, &no);
    g_assert_cmpint(notifier_with_return_list_notify(&list, &calls, &err), ==, -EBUSY);
    g_assert_cmpint(calls, ==, 2);
    g_assert_cmpint(error_get_class(err), ==, ERROR_CLASS_DEVICE_NOT_FOUND);
    error_free_or_abort(&err);
    notifier_with_return_remove(&no);
    notifier_with_return_list_notify(&list, &calls, &error_abort);
    g_assert_cmpint(calls, ==, 3);
    error_setg(&err, "plain");
    g_assert_cmpint(error_get_class(err), ==, ERROR_CLASS_GENERIC_ERROR);
    error_free(err);
}

static void fail_with_hint(Error **errp)
{
    ERRP_GUARD();

    error_setg(errp, "cannot");
    error_prepend(errp, "today: ");
    error_append_hint(errp, "Try tomorrow\n");
}

static void a_warning_goes_on(void)
{
    if (g_test_subprocess()) {
        Error *local_err = NULL;

        fail_with_hint(&error_warn);
        error_setg(&error_warn, "second");
        error_setg(&local_err, "third");
        error_propagate(&error_warn, local_err);
        g_assert_null(error_warn);
        exit(0);
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*warning: today: cannot\nTry tomorrow\n"
                              "*warning: second\n*warning: third\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_fatal);
    g_test_add_func("/qemu-compat/a device runs", a_device_runs);
    g_test_add_func("/qemu-compat/an aiocb is cancelled", an_aiocb_is_cancelled);
    g_test_add_func("/qemu-compat/a job runs to its end", a_job_runs_to_its_end);
    g_test_add_func("/qemu-compat/readers walk a list that changes",
                    readers_walk_a_list_that_changes);
    g_test_add_func("/qemu-compat/two threads share a mutex", two_threads_share_a_mutex);
    g_test_add_func("/qemu-compat/an ended coroutine is not touched",
                    an_ended_coroutine_is_not_touched);
    g_test_add_func("/qemu-compat/bits are found", bits_are_found);
    g_test_add_func("/qemu-compat/a notifier can refuse", a_notifier_can_refuse);
    g_test_add_func("/qemu-compat/a warning goes on", a_warning_goes_on);
    return g_test_run();
}
