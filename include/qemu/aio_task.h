/* SPDX-License-Identifier: MIT */
/*
 * Bounded parallelism: a coroutine starts tasks, each a coroutine, of which a limited
 * number run at a time. The pool belongs to the coroutine that created it, which alone
 * calls the functions; its tasks run in its AioContext.
 */
#ifndef QEMU_AIO_TASK_H
#define QEMU_AIO_TASK_H

#include <glib.h>
#include <stdbool.h>

#include "qemu/coroutine-core.h"

typedef struct AioTaskPool AioTaskPool;
typedef struct AioTask AioTask;
/* 0 or -errno. */
typedef int coroutine_fn (*AioTaskFunc)(AioTask *task);

/* The first member of the user's structure, which is allocated with g_malloc and kin. */
struct AioTask {
    AioTaskPool *pool;
    AioTaskFunc func;
    int ret;
};

G_BEGIN_DECLS
#pragma GCC visibility push(default)

AioTaskPool *coroutine_fn aio_task_pool_new(int max_busy_tasks);
/* No task may be running. */
void aio_task_pool_free(AioTaskPool *pool);

/* The first error of a task, or 0. */
int aio_task_pool_status(AioTaskPool *pool);
/* True when no task is running. */
bool aio_task_pool_empty(AioTaskPool *pool);

/*
 * Run task->func(task), at once up to its first yield; yields before while the pool is
 * full. The pool frees the task when it has ended.
 */
void coroutine_fn aio_task_pool_start_task(AioTaskPool *pool, AioTask *task);

/* Yield until fewer tasks run than may. */
void coroutine_fn aio_task_pool_wait_slot(AioTaskPool *pool);
/* Yield until one of the tasks has ended; there has to be one. */
void coroutine_fn aio_task_pool_wait_one(AioTaskPool *pool);
/* Yield until no task is running. */
void coroutine_fn aio_task_pool_wait_all(AioTaskPool *pool);

#pragma GCC visibility pop
G_END_DECLS

#endif
