/* SPDX-License-Identifier: MIT */
/*
 * Worker threads of one AioContext.
 *
 *     home                     lock                    worker
 *     submit  ---------------> requests, idle -------> runs func
 *     completion bottom half <------------- done ----- pushes the request
 *
 * requests, idle and the numbers of threads are under lock. done is a list that workers
 * push to and home takes whole; completions is home's. A request's state is under lock,
 * its ret is written by whoever makes it REQUEST_DONE, before the push.
 *
 * Idle workers wait each on a condition of its own, the last one to become idle on top:
 * submitting wakes exactly one, the one whose caches are warm, and the others get their
 * ten seconds of idleness together and end.
 *
 * In the child of a fork() there are no workers: do not use its copy of a pool.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/queue.h"
#include "qemu/thread-pool.h"
#include "qemu/thread.h"
#include "aio-sim-internal.h"
#include "thread-spawn.h"

#define IDLE_MS 10000

/* In a simulated context: a request's function runs up to that much later, in virtual time. */
#define SIM_DELAY_NS 50000

typedef enum {
    REQUEST_QUEUED,
    REQUEST_ACTIVE,
    REQUEST_DONE,
} RequestState;

typedef struct PoolRequest PoolRequest;
struct PoolRequest {
    BlockAIOCB common;
    ThreadPool *pool;
    ThreadPoolFunc *func;
    void *arg;
    RequestState state;
    bool simulated; /* in no list: the loop itself will run it */
    int ret;
    QTAILQ_ENTRY(PoolRequest) queue_node; /* in requests */
    PoolRequest *done_next;               /* in done or completions */
};

/* On the worker's stack. woken says that somebody took it off idle. Under lock. */
typedef struct PoolWorker PoolWorker;
struct PoolWorker {
    QemuCond cond;
    bool woken;
    QLIST_ENTRY(PoolWorker) idle_node;
};

struct ThreadPool {
    QEMUBH *completion_bh;

    /* Any thread pushes, home takes all: newest first. */
    PoolRequest *done;
    /* How many ended threads wait to be joined: a hint for home. Atomic. */
    unsigned n_ended;

    /* Home's. */
    PoolRequest *completions;
    unsigned n_requests;

    QemuMutex lock;
    QemuCond thread_ended;
    QTAILQ_HEAD(, PoolRequest) requests;
    QLIST_HEAD(, PoolWorker) idle;
    int cur_threads;
    int min_threads;
    int max_threads;
    bool stopping;
    GArray *ended; /* pthread_t */
};

/* ---- completion ---- */

/* The request is REQUEST_DONE and nobody else's any more. Any thread. */
static void push_done(PoolRequest *req)
{
    ThreadPool *pool = req->pool;
    PoolRequest *head = qatomic_read(&pool->done);

    do {
        req->done_next = head;
    } while (!__atomic_compare_exchange_n(&pool->done, &head, req, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    qemu_bh_schedule(pool->completion_bh);
}

/* Append done, oldest first, to completions: whether there is any. Home. */
static bool take_done(ThreadPool *pool)
{
    PoolRequest *req, *next, *fifo = NULL, **tail = &pool->completions;

    for (req = qatomic_xchg(&pool->done, NULL); req; req = next) {
        next = req->done_next;
        req->done_next = fifo;
        fifo = req;
    }
    while (*tail) {
        tail = &(*tail)->done_next;
    }
    *tail = fifo;
    return pool->completions != NULL;
}

static void completion_bh_cb(void *opaque)
{
    ThreadPool *pool = opaque;

    while (take_done(pool)) {
        /* Callbacks may run inner loops, which then complete the rest. */
        if (pool->completions->done_next) {
            qemu_bh_schedule(pool->completion_bh);
        }
        while (pool->completions) {
            PoolRequest *req = pool->completions;

            pool->completions = req->done_next;
            pool->n_requests--;
            if (req->common.cb) {
                req->common.cb(req->common.opaque, req->ret);
            }
            qemu_aio_unref(req);
        }
        /*
         * Nothing to do for the bottom half, unless somebody pushed meanwhile: pushes
         * come before their schedules, so none that this cancels goes unseen.
         */
        qemu_bh_cancel(pool->completion_bh);
    }
}

/* ---- workers ---- */

/* Wait for work. False: there has been none for a long time. Under lock. */
static bool wait_idle(ThreadPool *pool, PoolWorker *worker)
{
    worker->woken = false;
    QLIST_INSERT_HEAD(&pool->idle, worker, idle_node);
    while (!worker->woken) {
        if (!qemu_cond_timedwait(&worker->cond, &pool->lock, IDLE_MS) && !worker->woken) {
            QLIST_REMOVE(worker, idle_node);
            return false;
        }
    }
    return true;
}

/* Under lock. */
static void wake_worker(PoolWorker *worker)
{
    QLIST_REMOVE(worker, idle_node);
    worker->woken = true;
    /* Before unlocking: behind that the worker may end, and its condition with it. */
    qemu_cond_signal(&worker->cond);
}

static void run_request(ThreadPool *pool, PoolRequest *req)
{
    QTAILQ_REMOVE(&pool->requests, req, queue_node);
    req->state = REQUEST_ACTIVE;
    qemu_mutex_unlock(&pool->lock);

    req->ret = req->func(req->arg);

    qemu_mutex_lock(&pool->lock);
    req->state = REQUEST_DONE;
    qemu_mutex_unlock(&pool->lock);
    push_done(req);
    qemu_mutex_lock(&pool->lock);
}

static void *worker_thread(void *opaque)
{
    ThreadPool *pool = opaque;
    PoolWorker worker = { .woken = false };
    pthread_t self = pthread_self();

    qemu_cond_init(&worker.cond);
    qemu_mutex_lock(&pool->lock);
    while (!pool->stopping && pool->cur_threads <= pool->max_threads) {
        PoolRequest *req = QTAILQ_FIRST(&pool->requests);

        if (req) {
            run_request(pool, req);
        } else if (!wait_idle(pool, &worker) && pool->cur_threads > pool->min_threads) {
            break;
        }
    }
    pool->cur_threads--;
    g_array_append_val(pool->ended, self);
    qatomic_set(&pool->n_ended, pool->ended->len);
    qemu_cond_signal(&pool->thread_ended);
    qemu_mutex_unlock(&pool->lock);
    qemu_cond_destroy(&worker.cond);
    return NULL;
}

static void join_ended(ThreadPool *pool)
{
    g_autoptr(GArray) ended = NULL;

    if (!qatomic_read(&pool->n_ended)) {
        return;
    }
    qemu_mutex_lock(&pool->lock);
    ended = pool->ended;
    pool->ended = g_array_new(FALSE, FALSE, sizeof(pthread_t));
    qatomic_set(&pool->n_ended, 0);
    qemu_mutex_unlock(&pool->lock);
    for (guint i = 0; i < ended->len; i++) {
        pthread_join(g_array_index(ended, pthread_t, i), NULL);
    }
}

/* Nobody will ever run what is queued: complete it with the error. */
static void fail_requests(ThreadPool *pool, int ret)
{
    PoolRequest *req;

    qemu_mutex_lock(&pool->lock);
    while (pool->cur_threads == 0 && (req = QTAILQ_FIRST(&pool->requests))) {
        QTAILQ_REMOVE(&pool->requests, req, queue_node);
        req->state = REQUEST_DONE;
        req->ret = ret;
        push_done(req);
    }
    qemu_mutex_unlock(&pool->lock);
}

/* The new thread was counted in cur_threads. Without lock. False: there is none. */
static bool start_worker(ThreadPool *pool)
{
    pthread_t thread;
    int ret = thread_spawn(&thread, "blkco-worker", worker_thread, pool);

    if (ret == 0) {
        return true;
    }
    qemu_mutex_lock(&pool->lock);
    pool->cur_threads--;
    qemu_mutex_unlock(&pool->lock);
    fail_requests(pool, ret);
    return false;
}

/* ---- in a simulated context ---- */

static void run_simulated(void *opaque)
{
    PoolRequest *req = opaque;

    if (req->state == REQUEST_QUEUED) {
        req->state = REQUEST_ACTIVE;
        req->ret = req->func(req->arg);
    }
    req->state = REQUEST_DONE;
    push_done(req);
}

/* ---- submission ---- */

static void pool_cancel(BlockAIOCB *acb)
{
    PoolRequest *req = container_of(acb, PoolRequest, common);
    ThreadPool *pool = req->pool;
    bool cancelled;

    qemu_mutex_lock(&pool->lock);
    cancelled = req->state == REQUEST_QUEUED;
    if (cancelled) {
        req->state = REQUEST_DONE;
        req->ret = -ECANCELED;
    }
    if (cancelled && !req->simulated) {
        QTAILQ_REMOVE(&pool->requests, req, queue_node);
    }
    qemu_mutex_unlock(&pool->lock);
    /* A simulated one ends when its turn comes. */
    if (cancelled && !req->simulated) {
        push_done(req);
    }
}

static const AIOCBInfo pool_aiocb_info = {
    .aiocb_size = sizeof(PoolRequest),
    .cancel_async = pool_cancel,
};

BlockAIOCB *thread_pool_submit_aio(ThreadPoolFunc *func, void *arg,
                                   BlockCompletionFunc *cb, void *opaque)
{
    AioContext *ctx = qemu_get_current_aio_context();
    ThreadPool *pool;
    PoolRequest *req;
    bool start = false;

    if (unlikely(!ctx)) {
        fprintf(stderr, "thread_pool_submit: the calling thread has no AioContext\n");
        abort();
    }
    pool = aio_get_thread_pool(ctx);
    join_ended(pool);
    req = qemu_aio_get(&pool_aiocb_info, NULL, cb, opaque);
    req->pool = pool;
    req->func = func;
    req->arg = arg;
    req->state = REQUEST_QUEUED;
    req->simulated = aio_sim_of_thread;
    pool->n_requests++;
    if (unlikely(req->simulated)) {
        AioSim *sim = aio_sim_of_thread;

        aio_sim_call_later(sim, aio_sim_random_below(sim, SIM_DELAY_NS), run_simulated, req);
        return &req->common;
    }

    qemu_mutex_lock(&pool->lock);
    QTAILQ_INSERT_TAIL(&pool->requests, req, queue_node);
    if (!QLIST_EMPTY(&pool->idle)) {
        wake_worker(QLIST_FIRST(&pool->idle));
    } else if (pool->cur_threads < pool->max_threads) {
        pool->cur_threads++;
        start = true;
    }
    qemu_mutex_unlock(&pool->lock);
    if (start) {
        start_worker(pool);
    }
    return &req->common;
}

void thread_pool_submit(ThreadPoolFunc *func, void *arg)
{
    thread_pool_submit_aio(func, arg, NULL, NULL);
}

typedef struct CoWait {
    Coroutine *co;
    int ret;
} CoWait;

static void co_wait_cb(void *opaque, int ret)
{
    CoWait *wait = opaque;

    wait->ret = ret;
    aio_co_wake(wait->co);
}

int coroutine_fn thread_pool_submit_co(ThreadPoolFunc *func, void *arg)
{
    CoWait wait = { .co = qemu_coroutine_self(), .ret = -EINPROGRESS };

    g_assert(qemu_in_coroutine());
    thread_pool_submit_aio(func, arg, co_wait_cb, &wait);
    qemu_coroutine_yield();
    return wait.ret;
}

/* ---- the pool ---- */

void thread_pool_update_params(ThreadPool *pool, AioContext *ctx)
{
    int64_t min, max;
    int missing = 0;

    aio_context_get_thread_pool_params(ctx, &min, &max);
    qemu_mutex_lock(&pool->lock);
    pool->min_threads = (int)min;
    pool->max_threads = (int)max;
    if (pool->cur_threads < pool->min_threads) {
        missing = pool->min_threads - pool->cur_threads;
        pool->cur_threads += missing;
    }
    /* Those who are too many see it when they wake up. */
    for (int excess = pool->cur_threads - pool->max_threads;
         excess > 0 && !QLIST_EMPTY(&pool->idle); excess--) {
        wake_worker(QLIST_FIRST(&pool->idle));
    }
    qemu_mutex_unlock(&pool->lock);
    while (missing-- > 0) {
        start_worker(pool);
    }
}

ThreadPool *thread_pool_new(AioContext *ctx)
{
    ThreadPool *pool = g_new0(ThreadPool, 1);

    pool->completion_bh = aio_bh_new(ctx, completion_bh_cb, pool);
    qemu_mutex_init(&pool->lock);
    qemu_cond_init(&pool->thread_ended);
    QTAILQ_INIT(&pool->requests);
    QLIST_INIT(&pool->idle);
    pool->ended = g_array_new(FALSE, FALSE, sizeof(pthread_t));
    thread_pool_update_params(pool, ctx);
    return pool;
}

void thread_pool_free(ThreadPool *pool)
{
    if (!pool) {
        return;
    }
    g_assert(pool->n_requests == 0);
    qemu_mutex_lock(&pool->lock);
    pool->stopping = true;
    while (!QLIST_EMPTY(&pool->idle)) {
        wake_worker(QLIST_FIRST(&pool->idle));
    }
    while (pool->cur_threads > 0) {
        qemu_cond_wait(&pool->thread_ended, &pool->lock);
    }
    qemu_mutex_unlock(&pool->lock);
    join_ended(pool);
    g_array_free(pool->ended, TRUE);
    qemu_cond_destroy(&pool->thread_ended);
    qemu_mutex_destroy(&pool->lock);
    qemu_bh_delete(pool->completion_bh);
    g_free(pool);
}
