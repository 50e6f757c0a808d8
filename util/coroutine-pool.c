/* SPDX-License-Identifier: MIT */
/*
 * The coroutine pool.
 *
 * A thread has a list of up to 64 ended coroutines, which only it touches, and behind it
 * a second, full batch or none. Creating takes from the list, ending puts there: no
 * lock, no atomic operation. A third batch goes to the list that the threads share, and
 * an empty thread takes one from there, so a thread that only ends coroutines feeds one
 * that only creates them. The second batch keeps a thread that goes to and fro at a
 * batch's edge away from the shared list.
 *
 * An ending coroutine puts itself into the list while it still runs on its own stack.
 * That is safe because only this thread takes from the list, and because what goes to
 * other threads or back to the kernel is always the batch behind: all its members ended
 * before one that ended later in the same thread, hence were left for good. A coroutine
 * that cannot go into the list (its stack has a size of its own) waits as thread.dying in
 * the same way until the next one comes.
 *
 * The shared list is bounded (pool.max). Beyond that, batches are freed at once, and
 * their memory goes back to the kernel. What is below is freed by a thread, the reaper,
 * that lives only while the list is not empty: each half second it frees as many as were not
 * needed at any time of that half second. So after a second of rest the shared list is
 * empty. No event loop is needed for that; a resting thread keeps 128 coroutines at most,
 * and gives them to the shared list when it ends.
 *
 * pool.lock owns the shared list and its counts; it is never held together with the
 * stacks' lock, save around fork.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coroutine-pool.h"
#include "coroutine-sanitizer.h"

enum {
    BATCH = COROUTINE_POOL_BATCH,
    /* Some 64 MB if each has touched a page. */
    SHARED_MAX_DEFAULT = 16384,
    REAPER_PERIOD_MS = 500,
};

static struct {
    pthread_mutex_t lock;
    Coroutine *batches;
    /* Also read without the lock, to find out whether it is worth taking. */
    unsigned int count;
    /* The lowest count since the reaper last looked. */
    unsigned int low_water;
    unsigned int max;
    bool reaper_runs;
    pthread_once_t once;
    pthread_key_t thread_key;
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .max = SHARED_MAX_DEFAULT,
    .once = PTHREAD_ONCE_INIT,
};

/* --- making and unmaking --- */

static Coroutine *coroutine_new(size_t stack_size)
{
    CoroutineStack stack;
    Coroutine *co;
    int ret = coroutine_stack_alloc(stack_size, &stack);

    if (ret < 0) {
        errno = -ret;
        return NULL;
    }
    co = coroutine_in_stack(&stack);
    co->stack_base = stack.base;
    co->stack_size = stack.size;
    co->pooled = stack_size == 0;
    co->scheduled = coroutine_ended;
    QSIMPLEQ_INIT(&co->co_queue_wakeup);
    QSIMPLEQ_INIT(&co->co_queue_pending);
    co_sanitizer_birth(co);
    ret = coroutine_backend_new(co);
    if (ret < 0) {
        co_sanitizer_death(co);
        coroutine_stack_free(&stack, 1);
        errno = -ret;
        return NULL;
    }
    co->stack_chunk = stack.chunk;
    return co;
}

/* Free a list linked by pool_next, of at most BATCH. */
static void free_list(Coroutine *co)
{
    CoroutineStack gone[BATCH];
    size_t n = 0;

    while (co) {
        Coroutine *next = QSLIST_NEXT(co, pool_next);

        gone[n++] = (CoroutineStack) {
            .base = co->stack_base,
            .size = co->stack_size,
            .chunk = co->stack_chunk,
        };
        coroutine_backend_delete(co);
        co_sanitizer_death(co);
        co = next;
    }
    coroutine_stack_free(gone, n);
}

/* --- the shared list --- */

/* pool.lock is held. */
static Coroutine *take_batch(void)
{
    Coroutine *batch = pool.batches;

    if (batch) {
        pool.batches = batch->pool_batch_next;
        qatomic_set(&pool.count, pool.count - batch->pool_batch_size);
        if (pool.count < pool.low_water) {
            pool.low_water = pool.count;
        }
    }
    return batch;
}

/* Free n or a little more. pool.lock is held, and dropped meanwhile. */
static void shrink_by(unsigned int n)
{
    while (n > 0 && pool.batches) {
        Coroutine *batch = take_batch();

        n -= n < batch->pool_batch_size ? n : batch->pool_batch_size;
        pthread_mutex_unlock(&pool.lock);
        free_list(batch);
        pthread_mutex_lock(&pool.lock);
    }
}

static void *reaper_thread(void *opaque)
{
    const struct timespec period = { .tv_nsec = REAPER_PERIOD_MS * 1000000L };

    pthread_mutex_lock(&pool.lock);
    do {
        pthread_mutex_unlock(&pool.lock);
        nanosleep(&period, NULL);
        pthread_mutex_lock(&pool.lock);
        shrink_by(pool.low_water);
        pool.low_water = pool.count;
    } while (pool.batches);
    pool.reaper_runs = false;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* pool.lock is held. Without the thread the list stays as it is, within its bound. */
static void start_reaper(void)
{
    sigset_t all, old;
    pthread_t thread;

    /* Signals are for the program's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&thread, NULL, reaper_thread, NULL) == 0) {
        pthread_detach(thread);
        pool.reaper_runs = true;
        pool.low_water = pool.count;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void give_batch(Coroutine *batch, unsigned int size)
{
    size_t limit = coroutine_stack_limit() / 2;

    pthread_mutex_lock(&pool.lock);
    if (pool.count + size <= pool.max && pool.count + size <= limit) {
        batch->pool_batch_size = size;
        batch->pool_batch_next = pool.batches;
        pool.batches = batch;
        qatomic_set(&pool.count, pool.count + size);
        batch = NULL;
        if (!pool.reaper_runs) {
            start_reaper();
        }
    }
    pthread_mutex_unlock(&pool.lock);
    if (batch) {
        free_list(batch);
    }
}

void qemu_coroutine_inc_pool_size(unsigned int additional_pool_size)
{
    pthread_mutex_lock(&pool.lock);
    pool.max += additional_pool_size;
    pthread_mutex_unlock(&pool.lock);
}

void qemu_coroutine_dec_pool_size(unsigned int additional_pool_size)
{
    pthread_mutex_lock(&pool.lock);
    pool.max -= additional_pool_size < pool.max ? additional_pool_size : pool.max;
    if (pool.count > pool.max) {
        shrink_by(pool.count - pool.max);
    }
    pthread_mutex_unlock(&pool.lock);
}

/* --- a thread's list --- */

static void before_fork(void)
{
    pthread_mutex_lock(&pool.lock);
    coroutine_stack_lock();
}

static void after_fork_parent(void)
{
    coroutine_stack_unlock();
    pthread_mutex_unlock(&pool.lock);
}

static void after_fork_child(void)
{
    pool.reaper_runs = false;
    after_fork_parent();
}

/* The thread ends; it is on its own stack, so each of its ended coroutines was left. */
static void thread_exit(void *opaque)
{
    CoroutineThread *t = opaque;
    Coroutine *list = t->pool, *spare = t->pool_spare, *dying = t->dying;
    unsigned int size = BATCH - t->pool_room;

    t->pool = t->pool_spare = t->dying = NULL;
    t->pool_room = 0;
    if (spare) {
        give_batch(spare, BATCH);
    }
    if (list) {
        give_batch(list, size);
    }
    if (dying) {
        free_list(dying);
    }
}

static void init_once(void)
{
    pthread_key_create(&pool.thread_key, thread_exit);
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* Both lists' invariants hold from here on: room + length == BATCH. */
static void thread_init(CoroutineThread *t)
{
    pthread_once(&pool.once, init_once);
    pthread_setspecific(pool.thread_key, t);
    t->pool_room = BATCH;
}

Coroutine *coroutine_pool_refill(void)
{
    CoroutineThread *t = &coroutine_thread;
    Coroutine *co;

    if (!t->pool_room) {
        thread_init(t);
    }
    if (t->pool_spare) {
        t->pool = t->pool_spare;
        t->pool_room = 0;
        t->pool_spare = NULL;
    } else if (qatomic_read(&pool.count)) {
        pthread_mutex_lock(&pool.lock);
        t->pool = take_batch();
        t->pool_room = BATCH - (t->pool ? t->pool->pool_batch_size : 0);
        pthread_mutex_unlock(&pool.lock);
    }
    co = t->pool;
    if (!co) {
        return coroutine_new(0);
    }
    t->pool = QSLIST_NEXT(co, pool_next);
    t->pool_room++;
    return co;
}

Coroutine *coroutine_pool_get_sized(size_t stack_size)
{
    CoroutineThread *t = &coroutine_thread;
    Coroutine *co = t->dying;

    if (co) {
        t->dying = NULL;
        if (co->stack_size >= stack_size && co->stack_size / 2 < stack_size) {
            return co;
        }
        free_list(co);
    }
    return coroutine_new(stack_size);
}

void coroutine_pool_put_slow(Coroutine *co)
{
    CoroutineThread *t = &coroutine_thread;

    QSLIST_NEXT(co, pool_next) = NULL;
    if (!t->pool_room && !t->pool) {
        thread_init(t);
    }
    if (!co->pooled) {
        if (t->dying) {
            free_list(t->dying);
        }
        t->dying = co;
        return;
    }
    if (!t->pool_room) {
        if (t->pool_spare) {
            give_batch(t->pool_spare, BATCH);
        }
        t->pool_spare = t->pool;
        t->pool = NULL;
        t->pool_room = BATCH;
    }
    QSLIST_NEXT(co, pool_next) = t->pool;
    t->pool = co;
    t->pool_room--;
}

void coroutine_pool_get_stats(CoroutinePoolStats *stats)
{
    CoroutineThread *t = &coroutine_thread;
    Coroutine *co;

    pthread_mutex_lock(&pool.lock);
    stats->shared = pool.count;
    stats->shared_max = pool.max;
    pthread_mutex_unlock(&pool.lock);
    stats->local = t->pool_spare ? BATCH : 0;
    for (co = t->pool; co; co = QSLIST_NEXT(co, pool_next)) {
        stats->local++;
    }
}
