/* SPDX-License-Identifier: MIT */
/*
 * Inside of the event loop: shared by async.c (life of a context, notification, GSource),
 * aio-bh.c (bottom halves), aio-posix.c (handlers, aio_poll) and the fdmon-*.c files
 * (waiting).
 *
 * A child of fork() must leave its parent's contexts alone: epoll set, eventfd and
 * timerfd would be shared.
 *
 * Who owns a field is said at each group. "Home" is the thread that polls: the one whose
 * current context this is, or that dispatches its GSource.
 *
 * How nobody sleeps through an event:
 *
 *     waker                              home, before it sleeps
 *     publish (bottom half, timer, ...)  notify_me += AIO_POLLING
 *     full barrier            [A]        full barrier             [B]
 *     notify_me set? write eventfd       look at everything; sleep if there is nothing
 *
 * [A] is in aio_wake, [B] in aio_sleep_begin (and in prepare of the GSource): at least
 * one side sees the other's store. While the home thread is awake, notify_me is 0 and
 * waking it costs no system call, as it looks at everything before it sleeps.
 *
 * wake_sent makes one eventfd write do for all wakers: it is set before the write, and
 * reset when the event has been taken from the descriptor, before home looks at
 * everything.
 *
 *     waker: publish, barrier [A], wake_sent already 1?    nothing to do
 *     home:  take event, wake_sent = 0, barrier [C], look at everything
 */
#ifndef UTIL_AIO_INTERNAL_H
#define UTIL_AIO_INTERNAL_H

#include "qemu/aio-sleeper.h"
#include "qemu/aio.h"
#include "qemu/atomic.h"
#include "qemu/queue.h"
#include "qemu/thread.h"

/* notify_me: reasons why home may be asleep, to be woken through the eventfd. */
enum {
    AIO_IN_GSOURCE = 1, /* between prepare and check */
    AIO_OUTSIDE = 2, /* outside aio_poll, and somebody watches the pollable descriptor */
    AIO_POLLING = 4, /* times the depth of blocking aio_poll calls */
};

/*
 * A handler never changes but for the fields that say so: setting it again makes a new
 * one, so that other threads may do that while home reads the old one.
 */
typedef struct AioHandler AioHandler;
struct AioHandler {
    IOHandler *io_read;
    IOHandler *io_write;
    AioPollFn *io_poll;
    IOHandler *io_poll_ready;
    void *opaque;
    /* Descriptor, wanted events; revents is home's: found, not yet dispatched. */
    GPollFD pfd;
    /* fdmon-poll: the same for GLib, which writes revents. */
    GPollFD gsource_pfd;
    /* What epoll watches if it refuses pfd.fd (a regular file): always ready. Or -1. */
    int substitute_fd;
    /* Store-release at the end of set-up, and under list_lock when removed. */
    bool deleted;

    /* Home's. */
    IOHandler *io_poll_begin;
    IOHandler *io_poll_end;
    bool poll_active;   /* io_poll_begin was called, io_poll_end not yet */
    bool poll_ready;    /* io_poll returned true; not yet dispatched */
    bool in_poll_ready; /* do not call io_poll: its work is being done */
    QTAILQ_ENTRY(AioHandler) ready_node;

    /* Under list_lock. */
    QLIST_ENTRY(AioHandler) node;
    QSLIST_ENTRY(AioHandler) deleted_node;
};

/* A way to wait for descriptors. Chosen when the context is made, for its whole life. */
typedef struct FDMonOps {
    const char *name;
    /* 0 or -errno; and undo it. */
    int (*setup)(AioContext *ctx);
    void (*cleanup)(AioContext *ctx);
    /*
     * old was replaced by new; either may be NULL. Any thread, under list_lock. What
     * cannot be watched is a bug of the caller's or an exhausted system: aborts with a
     * message.
     */
    void (*update)(AioContext *ctx, AioHandler *old, AioHandler *new);
    /*
     * Wait up to timeout ns (-1: for ever) and pass what is ready to aio_add_ready. Home.
     * aio_wake_consumed is called when the context's own notifier was raised.
     */
    void (*wait)(AioContext *ctx, int64_t timeout);
    /* What GLib's poll found: anything; pass it to aio_add_ready as wait does. Home. */
    bool (*gsource_pending)(AioContext *ctx);
    void (*gsource_collect)(AioContext *ctx);
} FDMonOps;

extern const FDMonOps fdmon_epoll_ops;
extern const FDMonOps fdmon_poll_ops;

typedef struct BHQueue {
    QEMUBH *head;
    QEMUBH **tail;
} BHQueue;

/*
 * What one aio_bh_poll has to run; on its stack. Inner calls finish outer slices first.
 */
typedef struct BHSlice BHSlice;
struct BHSlice {
    BHQueue queue;
    QSIMPLEQ_ENTRY(BHSlice) next;
};

typedef struct AioContextData {
    const void *key;
    void *data;
    GDestroyNotify destroy;
} AioContextData;

struct AioContext {
    /* First: the context is a GSource, and counted as one. */
    GSource source;

    /* Any thread, atomic; see above. notify_me is written by home only. */
    unsigned notify_me;
    unsigned wake_sent;
    /* aio_notify was called: the next blocking aio_poll returns. */
    bool notified;
    /* Scheduled by other threads, newest first; home takes all of it. */
    QEMUBH *bh_shared;
    QSLIST_HEAD(, Coroutine) scheduled_coroutines;

    /* Home's. */
    BHQueue bh_queue;
    QSIMPLEQ_HEAD(, BHSlice) bh_slices;
    QEMUBH *bh_free;
    unsigned bh_free_count;
    unsigned depth; /* of aio_poll and aio_dispatch */
    QTAILQ_HEAD(, AioHandler) ready;
    AioHandler **pollers; /* handlers that have io_poll, as of pollers_generation */
    unsigned n_pollers;
    unsigned pollers_generation;
    bool poll_started;
    int64_t poll_ns; /* how long the next busy polling lasts */
    int64_t poll_max_ns;
    int64_t poll_grow;
    int64_t poll_shrink;

    /* Handlers: changed under list_lock by any thread. Atomic reads by home. */
    QemuMutex list_lock;
    GHashTable *handlers; /* descriptor -> AioHandler */
    QLIST_HEAD(, AioHandler) handler_list;
    QSLIST_HEAD(, AioHandler) deleted_handlers;
    bool has_deleted;    /* deleted_handlers is not empty */
    unsigned generation; /* changes with the set of handlers that have io_poll */
    unsigned n_unpolled; /* handlers without io_poll */
    unsigned n_handlers;

    /* Waiting. */
    const FDMonOps *fdmon;
    int epollfd;        /* -1 without epoll */
    GPollFD source_pfd; /* the epoll descriptor or the notifier, for GLib */
    GArray *pollfds;    /* fdmon-poll's: GPollFD, and the handlers from the second on */
    GPtrArray *pollhandlers;
    bool pollfds_stale;       /* set under list_lock */
    int timerfd;              /* -1 until the pollable descriptor was asked for */
    int64_t timerfd_deadline; /* what it is set to, monotonic ns; -1: disarmed */
    EventNotifier notifier;

    QEMUTimerListGroup tlg;
    QEMUBH *co_schedule_bh;
    struct AioSim *sim; /* home's; NULL: real time */
    AioSleeper *sleeper; /* home's; or NULL */
    bool watched; /* home's: somebody waits otherwise than by aio_poll */

    /* Set while nobody else uses the context, or by home. */
    struct ThreadPool *thread_pool;
    int64_t thread_pool_min;
    int64_t thread_pool_max;
    int64_t aio_max_batch;
    bool may_block;
    GArray *data; /* AioContextData */
};

/* ---- async.c ---- */

/* Write the eventfd, once until home has seen it. Any thread. */
void aio_kick(AioContext *ctx);

/*
 * Wake home if it sleeps or is about to. Any thread, behind the store that home is to
 * find. Pairs with [B].
 */
static inline void aio_wake(AioContext *ctx)
{
    smp_mb(); /* [A] */
    if (unlikely(qatomic_read(&ctx->notify_me))) {
        aio_kick(ctx);
    }
}

/* The same right behind a read-modify-write. */
static inline void aio_wake_after_rmw(AioContext *ctx)
{
    smp_mb__after_rmw(); /* [A] */
    if (unlikely(qatomic_read(&ctx->notify_me))) {
        aio_kick(ctx);
    }
}

/* The event of the context's notifier was taken. Home. */
static inline void aio_wake_consumed(AioContext *ctx)
{
    qatomic_set(&ctx->wake_sent, 0);
    smp_mb(); /* [C], pairs with [A] */
}

static inline void aio_sleep_begin(AioContext *ctx, unsigned reason)
{
    qatomic_set(&ctx->notify_me, ctx->notify_me + reason);
    smp_mb(); /* [B], pairs with [A] */
}

static inline void aio_sleep_end(AioContext *ctx, unsigned reason)
{
    qatomic_store_release(&ctx->notify_me, ctx->notify_me - reason);
}

/* ns until a bottom half or a timer wants to run; -1: never. Home. */
int64_t aio_soonest_ns(AioContext *ctx);

/* ---- aio-bh.c ---- */

void aio_bh_setup(AioContext *ctx);
/* Frees deleted bottom halves; aborts, naming it, if one was not. Nobody uses ctx. */
void aio_bh_cleanup(AioContext *ctx);
/* ns until bottom halves want to run: 0, 10 ms (idle ones only) or -1. Home. */
int64_t aio_bh_timeout(AioContext *ctx);

/* Anything queued at all, perhaps cancelled since. Home. */
static inline bool aio_bh_queued(AioContext *ctx)
{
    return ctx->bh_queue.head || qatomic_read(&ctx->bh_shared) ||
           !QSIMPLEQ_EMPTY(&ctx->bh_slices);
}

/* ---- aio-sleeper.c ---- */

/* From now on others wait for the context: no new silent requests. Home. */
void aio_watched(AioContext *ctx);
/* Whether silent requests are under way. Home. */
static inline bool aio_has_silent(const AioContext *ctx)
{
    return ctx->sleeper && ctx->sleeper->silent;
}

/* ---- aio-posix.c ---- */

/* 0 or -errno. */
int aio_handlers_setup(AioContext *ctx);
void aio_handlers_cleanup(AioContext *ctx);
/* For fdmon: the handler has these events. Home. */
void aio_add_ready(AioContext *ctx, AioHandler *handler, int revents);
/* Leave busy polling; that may find handlers that are ready. Home. */
void aio_stop_polling(AioContext *ctx);

/* ---- fdmon-epoll.c ---- */

/* Make the timerfd and watch it. 0 or -errno. Home. */
int fdmon_epoll_add_timerfd(AioContext *ctx);
/* Set it to expire in timeout ns (-1: never). Home. */
void fdmon_epoll_set_timerfd(AioContext *ctx, int64_t timeout);

#endif
