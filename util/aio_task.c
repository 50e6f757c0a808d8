/* SPDX-License-Identifier: MIT */
/*
 * A pool of tasks. All is in the thread of the coroutine that made the pool: main_co waits
 * for room or for ends, and each task that ends wakes it when it does.
 */
#include "qemu/osdep.h"
#include "qemu/aio_task.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"

struct AioTaskPool {
    Coroutine *main_co;
    int status;
    int max_busy_tasks;
    int busy_tasks;
    /* main_co has yielded until a task ends. */
    bool waiting;
};

static void coroutine_fn task_entry(void *opaque)
{
    AioTask *task = opaque;
    AioTaskPool *pool = task->pool;

    task->ret = task->func(task);
    if (task->ret < 0 && pool->status == 0) {
        pool->status = task->ret;
    }
    g_free(task);

    pool->busy_tasks--;
    if (pool->waiting) {
        pool->waiting = false;
        aio_co_wake(pool->main_co);
    }
}

AioTaskPool *coroutine_fn aio_task_pool_new(int max_busy_tasks)
{
    AioTaskPool *pool = g_new0(AioTaskPool, 1);

    g_assert(max_busy_tasks > 0);
    pool->main_co = qemu_coroutine_self();
    pool->max_busy_tasks = max_busy_tasks;
    return pool;
}

void aio_task_pool_free(AioTaskPool *pool)
{
    if (pool) {
        g_assert(pool->busy_tasks == 0);
        g_free(pool);
    }
}

int aio_task_pool_status(AioTaskPool *pool)
{
    return pool ? pool->status : 0;
}

bool aio_task_pool_empty(AioTaskPool *pool)
{
    return pool->busy_tasks == 0;
}

void coroutine_fn aio_task_pool_wait_one(AioTaskPool *pool)
{
    g_assert(pool->busy_tasks > 0);
    g_assert(qemu_coroutine_self() == pool->main_co);

    pool->waiting = true;
    qemu_coroutine_yield();
    g_assert(!pool->waiting);
}

void coroutine_fn aio_task_pool_wait_slot(AioTaskPool *pool)
{
    while (pool->busy_tasks >= pool->max_busy_tasks) {
        aio_task_pool_wait_one(pool);
    }
}

void coroutine_fn aio_task_pool_wait_all(AioTaskPool *pool)
{
    while (pool->busy_tasks > 0) {
        aio_task_pool_wait_one(pool);
    }
}

void coroutine_fn aio_task_pool_start_task(AioTaskPool *pool, AioTask *task)
{
    aio_task_pool_wait_slot(pool);

    pool->busy_tasks++;
    task->pool = pool;
    qemu_coroutine_enter(qemu_coroutine_create(task_entry, task));
}
