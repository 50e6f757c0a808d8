/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls: coroutine code for callers outside of coroutines, in any thread.
 *
 * A thread without an AioContext gets a private one. It is the thread's current context
 * only while a blocking call runs, as nobody polls it otherwise: requests by callback
 * that such a thread sends go to the backend's home context instead.
 */
#include "node.h"
#include "qemu/aio-wait.h"

typedef struct ThreadContext {
    AioContext *ctx;
    unsigned depth; /* begins without their end */
} ThreadContext;

static void thread_context_free(void *opaque)
{
    ThreadContext *tc = opaque;

    aio_context_unref(tc->ctx);
    g_free(tc);
}

/* The thread's own; freed when it ends. */
static GPrivate private_context = G_PRIVATE_INIT(thread_context_free);

static ThreadContext *make_thread_context(void)
{
    ThreadContext *tc = g_private_get(&private_context);

    if (!tc) {
        AioContext *ctx = aio_context_new(NULL);

        if (!ctx) {
            return NULL;
        }
        tc = g_new0(ThreadContext, 1);
        tc->ctx = ctx;
        g_private_set(&private_context, tc);
    }
    return tc;
}

AioContext *thread_context_begin(void)
{
    AioContext *ctx = qemu_get_current_aio_context();
    ThreadContext *tc = g_private_get(&private_context);

    if (ctx && !(tc && tc->depth && tc->ctx == ctx)) {
        return ctx;
    }
    tc = make_thread_context();
    if (!tc) {
        return NULL;
    }
    if (tc->depth++ == 0) {
        qemu_set_current_aio_context(tc->ctx);
    }
    return tc->ctx;
}

void thread_context_end(void)
{
    ThreadContext *tc = g_private_get(&private_context);

    if (tc && tc->depth && --tc->depth == 0) {
        qemu_set_current_aio_context(NULL);
    }
}

AioContext *thread_context_peek(void)
{
    AioContext *ctx = qemu_get_current_aio_context();
    ThreadContext *tc = ctx ? NULL : g_private_get(&private_context);

    return tc ? tc->ctx : ctx;
}

bool thread_owns_context(AioContext *ctx)
{
    ThreadContext *tc;

    if (qemu_get_current_aio_context() == ctx) {
        return true;
    }
    tc = g_private_get(&private_context);
    return tc && tc->ctx == ctx;
}

static void coroutine_fn co_call_entry(void *opaque)
{
    CoCall *call = opaque;

    call->fn(call);
    /* The coroutine may have moved: the waiter can be in another thread. */
    qatomic_store_release(&call->done, true);
    aio_wait_kick();
}

int64_t co_call(CoCall *call)
{
    AioContext *ctx;
    Coroutine *co;

    if (qemu_in_coroutine()) {
        call->fn(call);
        return call->ret;
    }
    ctx = thread_context_begin();
    if (!ctx) {
        return -EMFILE;
    }
    co = qemu_coroutine_create_attr(co_call_entry, call, NULL);
    if (!co) {
        thread_context_end();
        return -ENOMEM;
    }
    qemu_coroutine_enter(co);
    if (!qatomic_load_acquire(&call->done)) {
        AIO_WAIT_WHILE(ctx, !qatomic_load_acquire(&call->done));
    }
    thread_context_end();
    return call->ret;
}

/* --- work for the home thread --- */

typedef struct HomeCall {
    void (*fn)(void *opaque);
    void *opaque;
} HomeCall;

static void home_call_bh(void *opaque)
{
    HomeCall *call = opaque;

    call->fn(call->opaque);
}

/* The context is a GSource of a GMainContext that this thread runs. */
static bool thread_runs_source_of(AioContext *ctx)
{
    g_autoptr(GSource) source = aio_get_g_source(ctx);
    GMainContext *runs_it = g_source_get_context(source);

    return runs_it && g_main_context_is_owner(runs_it);
}

void run_in_context(AioContext *ctx, void (*fn)(void *opaque), void *opaque)
{
    HomeCall call = { fn, opaque };
    AioContext *own;

    /*
     * Also when this thread has got a context of its own since it opened the image in
     * the private one: that is where its requests are now, and what is to be polled.
     */
    if (thread_owns_context(ctx)) {
        own = thread_context_begin();
        fn(opaque);
        thread_context_end();
        return;
    }
    /*
     * In another callback of that GMainContext the home thread does not know that it is at
     * home. Waiting for a bottom half there would be waiting for itself.
     */
    if (thread_runs_source_of(ctx)) {
        own = qemu_get_current_aio_context();
        qemu_set_current_aio_context(ctx);
        fn(opaque);
        qemu_set_current_aio_context(own);
        return;
    }
    own = thread_context_begin();
    if (!own) {
        g_error("no file descriptors left for an event loop");
    }
    aio_wait_bh_oneshot(ctx, home_call_bh, &call);
    thread_context_end();
}
