/* SPDX-License-Identifier: MIT */
/*
 * AioContext: its life, notification, parameters, its two faces for other loops (GSource,
 * pollable descriptor), and scheduling coroutines into it.
 *
 * A context is a GSource from birth, attached or not: one reference count serves both.
 * The thread's own context is kept by the coroutine core, whose thread-local state it is
 * part of, so that entering a coroutine need not look for it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "aio-internal.h"
#include "coroutine-backend.h"
#include "qemu/thread-pool.h"

/*
 * What a thread did with a context before it dropped its reference comes before the end
 * of the context. GLib's counter sees to that, but ThreadSanitizer does not see GLib.
 */
#ifdef QEMU_SANITIZE_THREAD
#include <sanitizer/tsan_interface.h>
#define tsan_last_use(ctx) __tsan_release(ctx)
#define tsan_all_gone(ctx) __tsan_acquire(ctx)
#else
#define tsan_last_use(ctx) ((void)0)
#define tsan_all_gone(ctx) ((void)0)
#endif

/* How often those look whom silent requests do not wake, see aio-sleeper.h. */
#define SILENT_POLL_NS (1000 * 1000)

/* ---- the thread's own context ---- */

QEMU_NOINLINE AioContext *qemu_get_current_aio_context(void)
{
    /* The asm keeps compilers from merging two calls around a yield. */
    __asm__ volatile("");
    return coroutine_thread.ctx;
}

QEMU_NOINLINE void qemu_set_current_aio_context(AioContext *ctx)
{
    coroutine_set_thread_aio_context(ctx);
}

bool in_aio_context_home_thread(AioContext *ctx)
{
    return ctx == qemu_get_current_aio_context();
}

/* ---- notification ---- */

void aio_kick(AioContext *ctx)
{
    if (!qatomic_xchg(&ctx->wake_sent, 1)) {
        event_notifier_set(&ctx->notifier);
    }
}

void aio_notify(AioContext *ctx)
{
    qatomic_set(&ctx->notified, true);
    aio_wake(ctx);
}

void aio_notify_accept(AioContext *ctx)
{
    qatomic_set(&ctx->notified, false);
    /* Whatever was published before the notification is seen behind; pairs with [A]. */
    smp_mb();
}

static void timer_list_notify(void *opaque, QEMUClockType type)
{
    aio_wake(opaque);
}

int64_t aio_soonest_ns(AioContext *ctx)
{
    int64_t timeout = aio_bh_timeout(ctx);

    if (timeout == 0) {
        return 0;
    }
    return qemu_soonest_timeout(timeout, timerlistgroup_deadline_ns(&ctx->tlg));
}

int64_t aio_compute_timeout(AioContext *ctx)
{
    int64_t timeout = aio_soonest_ns(ctx);

    return unlikely(aio_has_silent(ctx)) ? qemu_soonest_timeout(timeout, SILENT_POLL_NS) : timeout;
}

/* ---- as a GSource ---- */

/* From prepare on, GLib may sleep; aio_wake then has to write the eventfd. */
bool aio_prepare(AioContext *ctx)
{
    aio_watched(ctx);
    aio_stop_polling(ctx);
    if (!(ctx->notify_me & AIO_IN_GSOURCE)) {
        aio_sleep_begin(ctx, AIO_IN_GSOURCE);
    }
    return qatomic_read(&ctx->notified) || !QTAILQ_EMPTY(&ctx->ready);
}

static void leave_gsource_wait(AioContext *ctx)
{
    if (ctx->notify_me & AIO_IN_GSOURCE) {
        aio_sleep_end(ctx, AIO_IN_GSOURCE);
    }
}

bool aio_pending(AioContext *ctx)
{
    return ctx->fdmon->gsource_pending(ctx) || aio_has_silent(ctx);
}

static gboolean source_prepare(GSource *source, gint *timeout)
{
    AioContext *ctx = (AioContext *)source;

    *timeout = aio_prepare(ctx) ? 0 : qemu_timeout_ns_to_ms(aio_compute_timeout(ctx));
    return *timeout == 0;
}

static gboolean source_check(GSource *source)
{
    AioContext *ctx = (AioContext *)source;

    leave_gsource_wait(ctx);
    if (qatomic_read(&ctx->notified)) {
        aio_notify_accept(ctx);
    }
    /* Idle bottom halves come along with whatever else woke GLib. */
    return aio_bh_timeout(ctx) >= 0 || aio_pending(ctx) ||
           timerlistgroup_deadline_ns(&ctx->tlg) == 0;
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    AioContext *ctx = (AioContext *)source;
    bool adopt = qemu_get_current_aio_context() == NULL;

    /* GLib does not call check when prepare has found something. */
    leave_gsource_wait(ctx);
    if (qatomic_read(&ctx->notified)) {
        aio_notify_accept(ctx);
    }
    if (adopt) {
        qemu_set_current_aio_context(ctx);
    }
    aio_dispatch(ctx);
    if (adopt) {
        qemu_set_current_aio_context(NULL);
    }
    return G_SOURCE_CONTINUE;
}

static void context_data_destroy(AioContextData *entry)
{
    if (entry->destroy) {
        entry->destroy(entry->data);
    }
}

static void source_finalize(GSource *source)
{
    AioContext *ctx = (AioContext *)source;

    tsan_all_gone(ctx);
    /* Also the end of a context that could not be set up. */
    while (ctx->data && ctx->data->len) {
        AioContextData last =
            g_array_index(ctx->data, AioContextData, ctx->data->len - 1);

        /* Taken out first: destroy may set or take away others. */
        g_array_set_size(ctx->data, ctx->data->len - 1);
        context_data_destroy(&last);
    }
    thread_pool_free(ctx->thread_pool);
    if (ctx->co_schedule_bh) {
        g_assert(QSLIST_EMPTY(&ctx->scheduled_coroutines));
        qemu_bh_delete(ctx->co_schedule_bh);
    }
    aio_bh_cleanup(ctx);
    aio_handlers_cleanup(ctx);
    timerlistgroup_deinit(&ctx->tlg);
    if (ctx->timerfd >= 0) {
        close(ctx->timerfd);
    }
    event_notifier_cleanup(&ctx->notifier);
    if (ctx->data) {
        g_array_free(ctx->data, TRUE);
    }
}

static GSourceFuncs source_funcs = {
    .prepare = source_prepare,
    .check = source_check,
    .dispatch = source_dispatch,
    .finalize = source_finalize,
};

GSource *aio_get_g_source(AioContext *ctx)
{
    return g_source_ref(&ctx->source);
}

/* ---- life ---- */

static void co_schedule_bh_cb(void *opaque);

AioContext *aio_context_new(Error **errp)
{
    AioContext *ctx = (AioContext *)g_source_new(&source_funcs, sizeof(AioContext));
    int ret;

    g_source_set_name(&ctx->source, "blkco-aio");
    /* Handlers may run nested loops, in which this source goes on. */
    g_source_set_can_recurse(&ctx->source, TRUE);
    ctx->timerfd = -1;
    ctx->timerfd_deadline = -1;
    ctx->thread_pool_max = THREAD_POOL_MAX_THREADS_DEFAULT;
    aio_bh_setup(ctx);
    timerlistgroup_init(&ctx->tlg, timer_list_notify, ctx);

    ret = event_notifier_init(&ctx->notifier, false);
    if (ret == 0) {
        ret = aio_handlers_setup(ctx);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to initialize the event loop");
        g_source_unref(&ctx->source);
        return NULL;
    }
    ctx->co_schedule_bh = aio_bh_new(ctx, co_schedule_bh_cb, ctx);
    return ctx;
}

void aio_context_ref(AioContext *ctx)
{
    g_source_ref(&ctx->source);
}

void aio_context_unref(AioContext *ctx)
{
    tsan_last_use(ctx);
    g_source_unref(&ctx->source);
}

void aio_context_acquire(AioContext *ctx)
{
}

void aio_context_release(AioContext *ctx)
{
}

static AioContextData *find_data(AioContext *ctx, const void *key)
{
    for (guint i = 0; ctx->data && i < ctx->data->len; i++) {
        AioContextData *entry = &g_array_index(ctx->data, AioContextData, i);

        if (entry->key == key) {
            return entry;
        }
    }
    return NULL;
}

void *aio_context_get_data(AioContext *ctx, const void *key)
{
    AioContextData *entry = find_data(ctx, key);

    return entry ? entry->data : NULL;
}

void aio_context_set_data(AioContext *ctx, const void *key, void *data,
                          GDestroyNotify destroy)
{
    AioContextData *entry = find_data(ctx, key);

    if (entry) {
        AioContextData old = *entry;

        g_array_remove_index_fast(ctx->data, entry - (AioContextData *)ctx->data->data);
        context_data_destroy(&old);
    }
    if (data) {
        AioContextData fresh = { key, data, destroy };

        if (!ctx->data) {
            ctx->data = g_array_new(FALSE, FALSE, sizeof(AioContextData));
        }
        g_array_append_val(ctx->data, fresh);
    }
}

/* ---- parameters ---- */

void aio_context_set_aio_params(AioContext *ctx, int64_t max_batch)
{
    qatomic_set_i64(&ctx->aio_max_batch, max_batch);
}

int64_t aio_context_get_aio_max_batch(AioContext *ctx)
{
    return qatomic_read_i64(&ctx->aio_max_batch);
}

void aio_context_set_may_block(AioContext *ctx, bool may_block)
{
    ctx->may_block = may_block;
}

bool aio_context_may_block(AioContext *ctx)
{
    return ctx && ctx->may_block;
}

void aio_context_set_thread_pool_params(AioContext *ctx, int64_t min, int64_t max,
                                        Error **errp)
{
    if (min < 0 || max <= 0 || min > max || max > INT_MAX) {
        error_setg(errp, "bad thread-pool-min/thread-pool-max values");
        return;
    }
    qatomic_set_i64(&ctx->thread_pool_min, min);
    qatomic_set_i64(&ctx->thread_pool_max, max);
    if (ctx->thread_pool) {
        thread_pool_update_params(ctx->thread_pool, ctx);
    }
}

void aio_context_get_thread_pool_params(AioContext *ctx, int64_t *min, int64_t *max)
{
    *min = qatomic_read_i64(&ctx->thread_pool_min);
    *max = qatomic_read_i64(&ctx->thread_pool_max);
}

ThreadPool *aio_get_thread_pool(AioContext *ctx)
{
    if (!ctx->thread_pool) {
        ctx->thread_pool = thread_pool_new(ctx);
    }
    return ctx->thread_pool;
}

QEMUTimerListGroup *aio_context_get_timer_group(AioContext *ctx)
{
    return &ctx->tlg;
}

/* ---- coroutines ---- */

static void co_schedule_bh_cb(void *opaque)
{
    AioContext *ctx = opaque;
    Coroutine *co, *fifo = NULL;
    QSLIST_HEAD(, Coroutine) newest_first;

    /*
     * Takes what was pushed before the bottom half was scheduled; later pushes
     * reschedule.
     */
    QSLIST_MOVE_ATOMIC(&newest_first, &ctx->scheduled_coroutines);
    while ((co = QSLIST_FIRST(&newest_first))) {
        QSLIST_REMOVE_HEAD(&newest_first, co_scheduled_next);
        co->co_scheduled_next.sle_next = fifo;
        fifo = co;
    }
    while ((co = fifo)) {
        fifo = co->co_scheduled_next.sle_next;
        co->co_scheduled_next.sle_next = NULL;
        /* Release: whoever schedules it from now on may use the link above. */
        qatomic_store_release(&co->scheduled, NULL);
        qemu_aio_coroutine_enter(ctx, co);
    }
}

void aio_co_schedule(AioContext *ctx, Coroutine *co)
{
    const char *before = qatomic_cmpxchg(&co->scheduled, NULL, __func__);
    bool home = in_aio_context_home_thread(ctx);

    if (unlikely(before)) {
        fprintf(stderr, "%s: coroutine %p was already scheduled by %s\n", __func__,
                (void *)co, before);
        abort();
    }
    /*
     * In another thread the coroutine may run at once, end, and drop the last reference
     * to the context, before this function is done with it.
     */
    if (!home) {
        aio_context_ref(ctx);
    }
    QSLIST_INSERT_HEAD_ATOMIC(&ctx->scheduled_coroutines, co, co_scheduled_next);
    qemu_bh_schedule(ctx->co_schedule_bh);
    if (!home) {
        aio_context_unref(ctx);
    }
}

typedef struct Reschedule {
    Coroutine *co;
    AioContext *new_ctx;
} Reschedule;

/*
 * Runs once the coroutine has yielded, so that the new context can enter it at any time.
 */
static void reschedule_bh_cb(void *opaque)
{
    Reschedule *r = opaque;

    aio_co_schedule(r->new_ctx, r->co);
}

void coroutine_fn aio_co_reschedule_self(AioContext *new_ctx)
{
    AioContext *old_ctx = qemu_get_current_aio_context();

    if (old_ctx != new_ctx) {
        Reschedule r = { qemu_coroutine_self(), new_ctx };

        aio_bh_schedule_oneshot(old_ctx, reschedule_bh_cb, &r);
        qemu_coroutine_yield();
    }
}

void aio_co_wake(Coroutine *co)
{
    /* Acquire: pairs with the store when it was entered. */
    aio_co_enter(qatomic_load_acquire(&co->ctx), co);
}

void aio_co_enter(AioContext *ctx, Coroutine *co)
{
    if (!in_aio_context_home_thread(ctx)) {
        aio_co_schedule(ctx, co);
    } else if (qemu_in_coroutine()) {
        Coroutine *self = qemu_coroutine_self();

        g_assert(self != co);
        QSIMPLEQ_INSERT_TAIL(&self->co_queue_wakeup, co, co_queue_next);
    } else {
        qemu_aio_coroutine_enter(ctx, co);
    }
}
