/* SPDX-License-Identifier: MIT */
/*
 * Handlers of descriptors, and the loop.
 *
 * The set of handlers changes under list_lock, by any thread. Home reads it without the
 * lock: it gets handlers from fdmon (epoll hands back their addresses) and from pollers,
 * its own copy of those that have io_poll, renewed when generation says so. A removed
 * handler is marked deleted and freed by home when no aio_poll is under way that could
 * still hold its address.
 *
 * What fdmon or io_poll found goes to one list, ready, which inner aio_poll calls empty
 * as well: no handler is called twice for one event.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "qemu/defer-call.h"

#include "aio-internal.h"
#include "aio-sim-internal.h"

/* Where adaptive busy polling starts. */
#define POLL_START_NS 4000

#define EVENTS_READ  (G_IO_IN | G_IO_HUP | G_IO_ERR)
#define EVENTS_WRITE (G_IO_OUT | G_IO_ERR)

/* ---- the set of handlers ---- */

static const FDMonOps *choose_fdmon(void)
{
    /* For tests, and for systems whose epoll is broken. */
    const char *name = g_getenv("BLKCO_FDMON");

    return name && !strcmp(name, "poll") ? &fdmon_poll_ops : &fdmon_epoll_ops;
}

int aio_handlers_setup(AioContext *ctx)
{
    int ret;

    qemu_mutex_init(&ctx->list_lock);
    ctx->handlers = g_hash_table_new(NULL, NULL);
    QTAILQ_INIT(&ctx->ready);
    ctx->epollfd = -1;
    ctx->fdmon = choose_fdmon();
    ret = ctx->fdmon->setup(ctx);
    if (ret == -ENOSYS) {
        ctx->fdmon = &fdmon_poll_ops;
        ret = ctx->fdmon->setup(ctx);
    }
    return ret;
}

static void free_handler(AioHandler *handler)
{
    if (handler->substitute_fd >= 0) {
        close(handler->substitute_fd);
    }
    g_free(handler);
}

static void free_deleted(AioContext *ctx)
{
    AioHandler *handler;
    QSLIST_HEAD(, AioHandler) list;

    qemu_mutex_lock(&ctx->list_lock);
    QSLIST_MOVE(&list, &ctx->deleted_handlers);
    qatomic_set(&ctx->has_deleted, false);
    qemu_mutex_unlock(&ctx->list_lock);

    while ((handler = QSLIST_FIRST(&list))) {
        QSLIST_REMOVE_HEAD(&list, deleted_node);
        free_handler(handler);
    }
}

void aio_handlers_cleanup(AioContext *ctx)
{
    if (!ctx->handlers) {
        return;
    }
    g_assert(QTAILQ_EMPTY(&ctx->ready));
    /* Whoever forgot to remove a handler would find out when its memory is used again. */
    g_assert(QLIST_EMPTY(&ctx->handler_list));
    free_deleted(ctx);
    ctx->fdmon->cleanup(ctx);
    g_hash_table_destroy(ctx->handlers);
    g_free(ctx->pollers);
    qemu_mutex_destroy(&ctx->list_lock);
}

/* Under list_lock. */
static void count_handler(AioContext *ctx, AioHandler *handler, int n)
{
    qatomic_set(&ctx->n_handlers, ctx->n_handlers + n);
    if (handler->io_poll) {
        qatomic_set(&ctx->generation, ctx->generation + 1);
    } else {
        qatomic_set(&ctx->n_unpolled, ctx->n_unpolled + n);
    }
}

/*
 * Put fresh, or nothing, in the place of the descriptor's handler; returns the old one,
 * which is good until the end of home's round.
 */
static AioHandler *replace_handler(AioContext *ctx, int fd, AioHandler *fresh)
{
    AioHandler *old;

    qemu_mutex_lock(&ctx->list_lock);
    old = g_hash_table_lookup(ctx->handlers, GINT_TO_POINTER(fd));
    if (fresh) {
        if (old) {
            fresh->io_poll_begin = old->io_poll_begin;
            fresh->io_poll_end = old->io_poll_end;
        }
        g_hash_table_insert(ctx->handlers, GINT_TO_POINTER(fd), fresh);
        QLIST_INSERT_HEAD(&ctx->handler_list, fresh, node);
        count_handler(ctx, fresh, 1);
        qatomic_store_release(&fresh->deleted, false);
    } else if (old) {
        g_hash_table_remove(ctx->handlers, GINT_TO_POINTER(fd));
    }
    if (old) {
        QLIST_REMOVE(old, node);
        count_handler(ctx, old, -1);
        qatomic_store_release(&old->deleted, true);
    }
    if (old || fresh) {
        ctx->fdmon->update(ctx, old, fresh);
    }
    if (old) {
        QSLIST_INSERT_HEAD(&ctx->deleted_handlers, old, deleted_node);
        qatomic_set(&ctx->has_deleted, true);
    }
    qemu_mutex_unlock(&ctx->list_lock);
    return old;
}

void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read, IOHandler *io_write,
                        AioPollFn *io_poll, IOHandler *io_poll_ready, void *opaque)
{
    AioHandler *handler = NULL, *old;

    if (io_read || io_write) {
        handler = g_new0(AioHandler, 1);
        handler->io_read = io_read;
        handler->io_write = io_write;
        handler->io_poll = io_poll_ready ? io_poll : NULL;
        handler->io_poll_ready = io_poll_ready;
        handler->opaque = opaque;
        handler->pfd.fd = fd;
        handler->pfd.events = io_read ? EVENTS_READ : G_IO_HUP;
        handler->pfd.events |= io_write ? EVENTS_WRITE : 0;
        handler->substitute_fd = -1;
        handler->deleted = true;
    }
    old = replace_handler(ctx, fd, handler);
    if (old && in_aio_context_home_thread(ctx) && old->poll_active && old->io_poll_end) {
        /* Now, not later: opaque may be freed next. */
        old->io_poll_end(old->opaque);
    }
    /* A home that sleeps takes up a new io_poll, and poll() a new set. */
    aio_wake(ctx);
}

void aio_set_fd_poll(AioContext *ctx, int fd, IOHandler *io_poll_begin,
                     IOHandler *io_poll_end)
{
    AioHandler *handler;

    qemu_mutex_lock(&ctx->list_lock);
    handler = g_hash_table_lookup(ctx->handlers, GINT_TO_POINTER(fd));
    if (handler) {
        handler->io_poll_begin = io_poll_begin;
        handler->io_poll_end = io_poll_end;
    }
    qemu_mutex_unlock(&ctx->list_lock);
}

/* Handlers get a pointer, whatever its type: the detour tells compilers that we know. */
static IOHandler *as_io_handler(EventNotifierHandler *handler)
{
    return (IOHandler *)(void (*)(void))handler;
}

void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier,
                            EventNotifierHandler *io_read, AioPollFn *io_poll,
                            EventNotifierHandler *io_poll_ready)
{
    aio_set_fd_handler(ctx, event_notifier_get_fd(notifier), as_io_handler(io_read), NULL,
                       io_poll, as_io_handler(io_poll_ready), notifier);
}

void aio_set_event_notifier_poll(AioContext *ctx, EventNotifier *notifier,
                                 EventNotifierHandler *io_poll_begin,
                                 EventNotifierHandler *io_poll_end)
{
    aio_set_fd_poll(ctx, event_notifier_get_fd(notifier), as_io_handler(io_poll_begin),
                    as_io_handler(io_poll_end));
}

/* ---- dispatch ---- */

static void queue_ready(AioContext *ctx, AioHandler *handler)
{
    if (!QTAILQ_IN_USE(handler, ready_node)) {
        QTAILQ_INSERT_TAIL(&ctx->ready, handler, ready_node);
    }
}

void aio_add_ready(AioContext *ctx, AioHandler *handler, int revents)
{
    handler->pfd.revents = revents;
    queue_ready(ctx, handler);
}

/* Call what belongs to the events that were found. True: something was called. */
static bool dispatch_handler(AioContext *ctx, AioHandler *handler)
{
    /* Acquire: the handler may come from another thread, by way of epoll. */
    bool deleted = qatomic_load_acquire(&handler->deleted);
    int revents = handler->pfd.revents & handler->pfd.events;
    bool poll_ready = handler->poll_ready;
    bool progress = false;

    handler->pfd.revents = 0;
    handler->poll_ready = false;
    if (!deleted && poll_ready && revents == 0) {
        /* io_poll would say the same again to an inner aio_poll. */
        handler->in_poll_ready = true;
        handler->io_poll_ready(handler->opaque);
        handler->in_poll_ready = false;
        return true;
    }
    if (!deleted && (revents & EVENTS_READ) && handler->io_read) {
        handler->io_read(handler->opaque);
        progress = true;
        deleted = qatomic_load_acquire(&handler->deleted);
    }
    /* A hang-up is the reader's; without one, the writer has to see to its going away. */
    if (!deleted && (revents & (EVENTS_WRITE | (handler->io_read ? 0 : G_IO_HUP))) &&
        handler->io_write) {
        handler->io_write(handler->opaque);
        progress = true;
    }
    return progress;
}

static bool dispatch_ready(AioContext *ctx)
{
    AioHandler *handler;
    bool progress = false;

    while ((handler = QTAILQ_FIRST(&ctx->ready))) {
        QTAILQ_REMOVE(&ctx->ready, handler, ready_node);
        progress |= dispatch_handler(ctx, handler);
    }
    return progress;
}

/* Behind a round; only the outermost call may free handlers. */
static void end_round(AioContext *ctx)
{
    ctx->depth--;
    if (ctx->depth == 0 && qatomic_read(&ctx->has_deleted)) {
        free_deleted(ctx);
    }
}

/* ---- asking io_poll ---- */

static void renew_pollers(AioContext *ctx)
{
    AioHandler *handler;
    unsigned n = 0;

    qemu_mutex_lock(&ctx->list_lock);
    ctx->pollers_generation = ctx->generation;
    ctx->pollers = g_renew(AioHandler *, ctx->pollers, ctx->n_handlers);
    QLIST_FOREACH(handler, &ctx->handler_list, node) {
        if (handler->io_poll) {
            ctx->pollers[n++] = handler;
        }
    }
    ctx->n_pollers = n;
    qemu_mutex_unlock(&ctx->list_lock);
}

static inline void check_pollers(AioContext *ctx)
{
    if (unlikely(qatomic_read(&ctx->generation) != ctx->pollers_generation)) {
        renew_pollers(ctx);
    }
}

/* Ask each io_poll once: whether one has something. */
static bool poll_once(AioContext *ctx)
{
    /* Silent requests raise nothing that would be found instead of an io_poll that is not asked. */
    bool found = unlikely(ctx->depth > 1) && aio_has_silent(ctx) && ctx->sleeper->look(ctx->sleeper);

    check_pollers(ctx);
    for (unsigned i = 0; i < ctx->n_pollers; i++) {
        AioHandler *handler = ctx->pollers[i];

        if (!qatomic_load_acquire(&handler->deleted) && !handler->in_poll_ready &&
            handler->io_poll(handler->opaque)) {
            handler->poll_ready = true;
            queue_ready(ctx, handler);
            found = true;
        }
    }
    return found;
}

/* Tell those handlers who want to know that busy polling begins or ends. */
static void set_poll_started(AioContext *ctx, bool started)
{
    check_pollers(ctx);
    ctx->poll_started = started;
    for (unsigned i = 0; i < ctx->n_pollers; i++) {
        AioHandler *handler = ctx->pollers[i];
        IOHandler *fn = started ? handler->io_poll_begin : handler->io_poll_end;

        if (handler->poll_active != started && !qatomic_load_acquire(&handler->deleted)) {
            handler->poll_active = started;
            if (fn) {
                fn(handler->opaque);
            }
        }
    }
}

void aio_stop_polling(AioContext *ctx)
{
    if (ctx->poll_started) {
        set_poll_started(ctx, false);
        /* What came in before notifications were on again raised none. */
        poll_once(ctx);
    }
}

/* Ask again and again, up to the time that has proved useful. */
static bool poll_busily(AioContext *ctx, int64_t timeout, int64_t start)
{
    int64_t max_ns = qemu_soonest_timeout(timeout, ctx->poll_ns);

    /* Each time, as there may be new handlers. */
    set_poll_started(ctx, true);
    do {
        if (poll_once(ctx)) {
            return true;
        }
        if (qatomic_read(&ctx->notified) || qatomic_read(&ctx->bh_shared)) {
            return false;
        }
    } while (get_clock() - start < max_ns);
    return false;
}

/*
 * How long it took until something happened tells how long polling would have had to
 * last.
 */
static void adapt_poll_ns(AioContext *ctx, int64_t waited_ns)
{
    int64_t old = ctx->poll_ns;

    if (waited_ns <= old) {
        return;
    }
    if (waited_ns > ctx->poll_max_ns) {
        ctx->poll_ns = ctx->poll_shrink ? old / ctx->poll_shrink : 0;
    } else {
        int64_t grow = ctx->poll_grow ? ctx->poll_grow : 2;

        /* old * grow, unless that is beyond the maximum. */
        ctx->poll_ns = !old ? MIN(POLL_START_NS, ctx->poll_max_ns)
                       : old > ctx->poll_max_ns / grow ? ctx->poll_max_ns
                                                       : old * grow;
    }
}

void aio_context_set_poll_params(AioContext *ctx, int64_t max_ns, int64_t grow,
                                 int64_t shrink, Error **errp)
{
    if (max_ns < 0 || grow < 0 || shrink < 0) {
        error_setg(errp, "polling parameters must not be negative");
        return;
    }
    ctx->poll_max_ns = max_ns;
    ctx->poll_grow = grow;
    ctx->poll_shrink = shrink;
    ctx->poll_ns = 0;
    aio_notify(ctx);
}

/* ---- the loop ---- */

/*
 * Collect what is ready without sleeping. A system call only if user space has found
 * nothing, or does not know about every descriptor; or if somebody watches the epoll
 * descriptor, whose events have to be taken.
 */
static void collect_now(AioContext *ctx, bool found)
{
    unsigned unseen =
        found ? qatomic_read(&ctx->n_unpolled) : qatomic_read(&ctx->n_handlers);

    if (unseen || ctx->timerfd >= 0) {
        ctx->fdmon->wait(ctx, 0);
    }
}

static void sleep_for(AioContext *ctx, int64_t timeout)
{
    if (aio_has_silent(ctx)) {
        if (ctx->sleeper->sleep(ctx->sleeper, timeout)) {
            ctx->fdmon->wait(ctx, 0);
        }
        poll_once(ctx);
    } else {
        ctx->fdmon->wait(ctx, timeout);
    }
}

/* Sleep until something happens, if nothing has. */
static void collect_or_sleep(AioContext *ctx)
{
    int64_t timeout;

    aio_sleep_begin(ctx, AIO_POLLING);
    timeout = qatomic_read(&ctx->notified) ? 0 : aio_soonest_ns(ctx);
    if (timeout) {
        sleep_for(ctx, timeout);
    }
    aio_sleep_end(ctx, AIO_POLLING);
    if (!timeout) {
        collect_now(ctx, false);
    }
}

/*
 * Where a loop would sleep until a timer is due, virtual time jumps to it, unless something
 * real has happened. When nothing is planned, it is somebody else's turn: sleep.
 */
static void collect_simulated(AioContext *ctx)
{
    int64_t timeout = qatomic_read(&ctx->notified) ? 0 : aio_soonest_ns(ctx);

    if (timeout < 0) {
        collect_or_sleep(ctx);
        return;
    }
    collect_now(ctx, false);
    if (timeout > 0 && QTAILQ_EMPTY(&ctx->ready) && !qatomic_read(&ctx->notified)) {
        aio_sim_pass(ctx->sim, timeout);
    }
}

static void collect_with_busy_polling(AioContext *ctx)
{
    int64_t start = get_clock();
    int64_t timeout = aio_soonest_ns(ctx);
    bool found = ctx->poll_ns && ctx->n_pollers && poll_busily(ctx, timeout, start);

    if (!found) {
        aio_stop_polling(ctx);
        found = !QTAILQ_EMPTY(&ctx->ready);
    }
    if (found) {
        collect_now(ctx, true);
    } else {
        collect_or_sleep(ctx);
    }
    adapt_poll_ns(ctx, get_clock() - start);
}

/*
 * From here to the next aio_poll the loop of somebody else waits, on the epoll
 * descriptor: have it wake up for whatever there is, and other threads write the eventfd.
 */
static void arm_pollable_fd(AioContext *ctx)
{
    int64_t timeout;

    aio_sleep_begin(ctx, AIO_OUTSIDE);
    timeout = qatomic_read(&ctx->notified) ? 0 : aio_compute_timeout(ctx);
    if (timeout == 0) {
        aio_kick(ctx);
    } else {
        fdmon_epoll_set_timerfd(ctx, timeout);
    }
}

int aio_context_get_pollable_fd(AioContext *ctx)
{
    if (ctx->timerfd < 0) {
        int ret = fdmon_epoll_add_timerfd(ctx);

        if (ret < 0) {
            errno = -ret;
            return -1;
        }
        aio_watched(ctx);
        if (ctx->depth == 0) {
            arm_pollable_fd(ctx);
        }
    }
    return ctx->epollfd;
}

void aio_dispatch(AioContext *ctx)
{
    ctx->depth++;
    ctx->fdmon->gsource_collect(ctx);
    if (unlikely(aio_has_silent(ctx))) {
        poll_once(ctx);
    }
    aio_bh_poll(ctx);
    dispatch_ready(ctx);
    timerlistgroup_run_timers(&ctx->tlg);
    end_round(ctx);
}

bool aio_poll(AioContext *ctx, bool blocking)
{
    bool found, progress;

    if (unlikely(!in_aio_context_home_thread(ctx))) {
        fprintf(stderr, "aio_poll: the AioContext is not the calling thread's own "
                        "(qemu_set_current_aio_context)\n");
        abort();
    }
    defer_call_flush();
    ctx->depth++;
    if (ctx->notify_me & AIO_OUTSIDE) {
        aio_sleep_end(ctx, AIO_OUTSIDE);
    }

    /* What an outer call has found and not yet dispatched counts as well. */
    found = poll_once(ctx) || !QTAILQ_EMPTY(&ctx->ready) || aio_bh_timeout(ctx) == 0;
    if (found || !blocking) {
        collect_now(ctx, found);
    } else if (unlikely(ctx->sim)) {
        collect_simulated(ctx);
    } else if (ctx->poll_max_ns) {
        collect_with_busy_polling(ctx);
    } else {
        collect_or_sleep(ctx);
    }
    if (qatomic_read(&ctx->notified)) {
        aio_notify_accept(ctx);
    }

    progress = aio_bh_poll(ctx);
    progress |= dispatch_ready(ctx);
    progress |= timerlistgroup_run_timers(&ctx->tlg);

    end_round(ctx);
    if (unlikely(ctx->timerfd >= 0) && ctx->depth == 0) {
        arm_pollable_fd(ctx);
    }
    return progress;
}
