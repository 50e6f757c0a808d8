/* SPDX-License-Identifier: MIT */
/*
 * Functions that block, run by worker threads; the result comes back to the event loop.
 *
 * Each AioContext has its pool, made when first used (aio_get_thread_pool). Requests are
 * sent from the context's thread, completions run there, in a bottom half, in the order
 * the functions ended. Workers start when there is work and nobody idle, up to the
 * maximum (64), and end when idle for ten seconds, down to the minimum (0); see
 * aio_context_set_thread_pool_params.
 */
#ifndef QEMU_THREAD_POOL_H
#define QEMU_THREAD_POOL_H

#include "qemu/aio.h"
#include "qemu/osdep.h"

#define THREAD_POOL_MAX_THREADS_DEFAULT 64

/* Runs in a worker, with all signals blocked. Returns what the callback gets as ret. */
typedef int ThreadPoolFunc(void *opaque);

typedef struct ThreadPool ThreadPool;

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* The context's thread. A context makes its own; a second one is possible. */
ThreadPool *thread_pool_new(AioContext *ctx);
/* No request may be left. Waits for the workers to end. NULL is fine. */
void thread_pool_free(ThreadPool *pool);

/*
 * Run func(arg) in a worker of the current context's pool, then cb(opaque, ret) in the
 * context. cb is never called before this returns; it may be NULL. The result is valid
 * until the request has completed; qemu_aio_ref holds it longer.
 *
 * Cancelling (aiocb_info->cancel_async): a request that no worker has begun completes
 * with -ECANCELED; one that runs completes as if nothing had happened. When not even one
 * worker thread can be started, the request completes with the system's -errno.
 */
BlockAIOCB *thread_pool_submit_aio(ThreadPoolFunc *func, void *arg,
                                   BlockCompletionFunc *cb, void *opaque);

/* The same for a coroutine, which yields meanwhile: func's result or -errno as above. */
int coroutine_fn thread_pool_submit_co(ThreadPoolFunc *func, void *arg);

/* The same when nobody wants to know about the end. */
void thread_pool_submit(ThreadPoolFunc *func, void *arg);

/* Take over the context's limits; called by aio_context_set_thread_pool_params. */
void thread_pool_update_params(ThreadPool *pool, AioContext *ctx);

#pragma GCC visibility pop
G_END_DECLS

#endif
