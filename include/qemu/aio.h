/* SPDX-License-Identifier: MIT */
/*
 * AioContext: the event loop of one thread. It waits for file descriptors, event
 * notifiers, timers and bottom halves, and runs coroutines that were scheduled into it.
 *
 * A thread has at most one context that is "current": the one it called
 * qemu_set_current_aio_context for (an IOThread does so itself, qemu_init_main_loop does
 * so for the main loop's). That thread is the context's home, and alone calls aio_poll.
 *
 * "Any thread" below means: from wherever, also while the home thread sleeps; it is
 * woken. "Home thread" means: only there. Where nothing is said, it is the home thread.
 *
 * After fork() the child must not use any context of its parent: they would share the
 * descriptors that events arrive at.
 */
#ifndef QEMU_AIO_H
#define QEMU_AIO_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qapi/error.h"
#include "qemu/compiler.h"
#include "qemu/event_notifier.h"
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qemu/typedefs.h"

typedef struct BlockAIOCB BlockAIOCB;
/* ret: 0 or positive as the operation says, or -errno. */
typedef void BlockCompletionFunc(void *opaque, int ret);

/* What kind of request it is: one static object for each. */
typedef struct AIOCBInfo {
    /*
     * Ask for an early end. The callback is called in any case, later, with -ECANCELED
     * or with the result if it is too late. NULL: requests of this kind cannot be
     * stopped.
     */
    void (*cancel_async)(BlockAIOCB *acb);
    /* Bytes of the structure that begins with a BlockAIOCB. */
    size_t aiocb_size;
} AIOCBInfo;

/* The head of every request that completes through a callback. Home thread only. */
struct BlockAIOCB {
    const AIOCBInfo *aiocb_info;
    BlockDriverState *bs;
    BlockCompletionFunc *cb;
    void *opaque;
    int refcnt;
};

typedef void QEMUBHFunc(void *opaque);
typedef void IOHandler(void *opaque);
/*
 * Look, without a system call, whether a handler has something to do. Called by the home
 * thread often and at any time while the handler is set. Must neither block nor call
 * aio_poll, and should do nothing else: the work belongs to io_poll_ready.
 */
typedef bool AioPollFn(void *opaque);

/* Marks that one device's bottom halves are not to re-enter its I/O functions. */
typedef struct MemReentrancyGuard {
    bool engaged_in_io;
} MemReentrancyGuard;

struct ThreadPool;

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* ---- requests ---- */

/*
 * A request of aiocb_info->aiocb_size bytes, its head filled in, one reference. bs: or
 * NULL.
 */
void *qemu_aio_get(const AIOCBInfo *aiocb_info, BlockDriverState *bs,
                   BlockCompletionFunc *cb, void *opaque);
/* p points to a BlockAIOCB. The last unref frees it. One thread at a time. */
void qemu_aio_ref(void *p);
void qemu_aio_unref(void *p);

/* ---- contexts ---- */

/*
 * A new context without a home, with one reference; NULL (and an error) when there is
 * no descriptor left. Any thread.
 */
AioContext *aio_context_new(Error **errp);
/*
 * Any thread. The last unref frees: no handler may be set and no bottom half left then.
 */
void aio_context_ref(AioContext *ctx);
void aio_context_unref(AioContext *ctx);

/*
 * Contexts are not locked: each belongs to its home thread. These two exist for sources
 * that were written when they were, and do nothing.
 */
void aio_context_acquire(AioContext *ctx);
void aio_context_release(AioContext *ctx);

/*
 * Make ctx the calling thread's own, until the thread ends or sets another; NULL: none.
 */
void qemu_set_current_aio_context(AioContext *ctx);
/*
 * The calling thread's own context, or NULL. A function, not a variable, as a coroutine
 * can be on another thread after a yield.
 */
AioContext *qemu_get_current_aio_context(void);
/* Whether ctx is the calling thread's own. */
bool in_aio_context_home_thread(AioContext *ctx);

/* The main loop's context; NULL before qemu_init_main_loop. Any thread. */
AioContext *qemu_get_aio_context(void);

/*
 * Data that belongs to a context, found by a key (any address that is the caller's own,
 * such as that of a static variable). destroy(data) is called when the context is freed,
 * in whichever thread frees it, or when data is replaced; it may use the context.
 * Home thread, or while nobody else uses the context. Setting NULL takes it away.
 */
void *aio_context_get_data(AioContext *ctx, const void *key);
void aio_context_set_data(AioContext *ctx, const void *key, void *data,
                          GDestroyNotify destroy);

/* ---- polling ---- */

/*
 * Run what is ready: bottom halves, handlers, due timers. Blocking: wait until there is
 * something, or until the context is notified. True when progress was made, that is, when
 * a callback ran; idle bottom halves and the context's own notifications do not count.
 * Home thread. Callbacks may call it (nested); a coroutine may not, as it would block.
 */
bool aio_poll(AioContext *ctx, bool blocking);

/*
 * The steps of a loop that is driven from outside, as the GSource does it: is there
 * something to do before waiting; how long to wait, in ns (-1: for ever); is anything
 * ready after waiting; do it. Home thread.
 */
bool aio_prepare(AioContext *ctx);
int64_t aio_compute_timeout(AioContext *ctx);
bool aio_pending(AioContext *ctx);
void aio_dispatch(AioContext *ctx);

/* Make a blocking aio_poll return, the current or else the next. Any thread. */
void aio_notify(AioContext *ctx);
/* Forget notifications; whoever does so looks at everything again. Home thread. */
void aio_notify_accept(AioContext *ctx);

/*
 * The context as a source for a GMainContext, whose thread becomes (or is) the home: it
 * need not have set the context as its own, the source does so while it dispatches. The
 * caller owns a reference to the source. aio_poll still works beside it.
 */
GSource *aio_get_g_source(AioContext *ctx);

/*
 * The context as one descriptor, for a loop of any other kind: readable when
 * aio_poll(ctx, false) has something to do (also a timer that is due). When it is, call
 * that until it returns false. The descriptor is the context's. From the first call on,
 * the context keeps a timerfd and pays for rearming it. Home thread. -1, errno = ENOTSUP:
 * the context waits by poll(), as it does where there is no epoll.
 */
int aio_context_get_pollable_fd(AioContext *ctx);

/* ---- parameters ---- */

/*
 * Before the context sleeps, it asks the io_poll callbacks in a loop for up to max_ns
 * nanoseconds (0, the default: just once), a time that adapts: multiplied by grow (0: 2)
 * when waking up showed it was too short, divided by shrink (0: set to 0) when too long.
 * Home thread, or nobody uses the context.
 */
void aio_context_set_poll_params(AioContext *ctx, int64_t max_ns, int64_t grow,
                                 int64_t shrink, Error **errp);
/* How many requests an engine gathers at most into one submission; 0: its own limit. */
void aio_context_set_aio_params(AioContext *ctx, int64_t max_batch);
int64_t aio_context_get_aio_max_batch(AioContext *ctx);
/*
 * The context's thread is there for copying and has nothing else to do: requests that the page cache can serve
 * (reads of what is in it, buffered writes and block status, which may have to wait for the disk) are made in it
 * and hold up its coroutines, instead of in a worker, which would have to be woken and to fetch the bytes from
 * another processor's cache. Default: false. Home thread, or before the context has coroutines.
 */
void aio_context_set_may_block(AioContext *ctx, bool may_block);
/* Home thread; false for NULL, a thread's without a context. */
bool aio_context_may_block(AioContext *ctx);
/* Limits of the context's thread pool; 0 <= min <= max, 0 < max <= INT_MAX. */
void aio_context_set_thread_pool_params(AioContext *ctx, int64_t min, int64_t max,
                                        Error **errp);
void aio_context_get_thread_pool_params(AioContext *ctx, int64_t *min, int64_t *max);
/* The context's thread pool, made if need be. Home thread. */
struct ThreadPool *aio_get_thread_pool(AioContext *ctx);

/* ---- bottom halves ---- */

/*
 * A callback that runs in the home thread, soon, once for any number of schedules. Those
 * that one thread schedules run in that order. Callbacks may schedule, cancel and delete
 * any bottom half, also their own, and call aio_poll.
 *
 * name shows in messages; it must stay valid. reentrancy_guard may be NULL; one that is
 * engaged when the bottom half runs is warned of, one that is not is engaged meanwhile.
 * Any thread. Free with qemu_bh_delete.
 */
QEMUBH *aio_bh_new_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque, const char *name,
                        MemReentrancyGuard *reentrancy_guard);
#define aio_bh_new(ctx, cb, opaque)                                                      \
    aio_bh_new_full((ctx), (cb), (opaque), stringify(cb), NULL)
#define aio_bh_new_guarded(ctx, cb, opaque, guard)                                       \
    aio_bh_new_full((ctx), (cb), (opaque), stringify(cb), (guard))

/* A bottom half that runs once and frees itself. Any thread. */
void aio_bh_schedule_oneshot_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque,
                                  const char *name);
#define aio_bh_schedule_oneshot(ctx, cb, opaque)                                         \
    aio_bh_schedule_oneshot_full((ctx), (cb), (opaque), stringify(cb))

/* Run the callback in the next round. Any thread, also a signal handler. */
void qemu_bh_schedule(QEMUBH *bh);
/* The same at leisure: within 10 ms, or when the loop wakes up before. Any thread. */
void qemu_bh_schedule_idle(QEMUBH *bh);
/* Undo schedule if the callback has not begun. Any thread; it may just be beginning. */
void qemu_bh_cancel(QEMUBH *bh);
/*
 * Free as soon as possible; the callback does not begin any more. The home thread, or any
 * thread if the callback cannot just be beginning.
 */
void qemu_bh_delete(QEMUBH *bh);

/* Call the callback now. For use by schedulers other than the loop. */
void aio_bh_call(QEMUBH *bh);
/* Run scheduled bottom halves: 1 when there was a non-idle one, else 0. Home thread. */
int aio_bh_poll(AioContext *ctx);

/* ---- descriptors ---- */

/*
 * Set, replace or (io_read and io_write NULL) remove the handlers of a descriptor.
 * io_read is called when it is readable, has an error or hung up, io_write when it is
 * writable or has an error, for as long as that lasts (level triggered).
 *
 * io_poll (NULL: none) finds events without a system call; when it returns true,
 * io_poll_ready is called instead of io_read. Without io_poll_ready it is ignored. As
 * long as bottom halves or io_poll keep the loop busy and every descriptor has an
 * io_poll, the descriptors themselves are not looked at.
 *
 * Any thread; while the home thread is inside the callbacks the caller has to see to it
 * that opaque stays valid for it. Safe in callbacks, also for the one that is running.
 * Remove before closing the descriptor.
 */
void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read, IOHandler *io_write,
                        AioPollFn *io_poll, IOHandler *io_poll_ready, void *opaque);
/*
 * Called when the loop begins to ask io_poll in a loop instead of waiting, and when it
 * stops (also when the handler is removed meanwhile): the time for switching
 * notifications off and on. The handler has to be set. Home thread.
 */
void aio_set_fd_poll(AioContext *ctx, int fd, IOHandler *io_poll_begin,
                     IOHandler *io_poll_end);

/*
 * The same two for an event notifier; callbacks get the notifier. io_read NULL: remove.
 */
void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier,
                            EventNotifierHandler *io_read, AioPollFn *io_poll,
                            EventNotifierHandler *io_poll_ready);
void aio_set_event_notifier_poll(AioContext *ctx, EventNotifier *notifier,
                                 EventNotifierHandler *io_poll_begin,
                                 EventNotifierHandler *io_poll_end);

/* ---- coroutines ---- */

/*
 * Enter the coroutine in ctx's home thread, in its next round; those that one thread
 * schedules run in that order. Any thread. The coroutine may not be scheduled already
 * (aborts, naming who did), and must have yielded by the time the home thread gets there.
 */
void aio_co_schedule(AioContext *ctx, Coroutine *co);

/*
 * Go on in new_ctx. In a coroutine; on return it runs in new_ctx's home thread. Nothing
 * happens when it already does.
 */
void coroutine_fn aio_co_reschedule_self(AioContext *new_ctx);

/*
 * Enter a coroutine that has yielded, in the context it ran in. Any thread: entered at
 * once in the home thread (by a coroutine there: when that one yields or ends), else
 * scheduled.
 */
void aio_co_wake(Coroutine *co);
/* The same in the given context. */
void aio_co_enter(AioContext *ctx, Coroutine *co);

/* ---- timers ---- */

/* The context's group of timers, which fire in its home thread; for timer_init_full. */
QEMUTimerListGroup *aio_context_get_timer_group(AioContext *ctx);

#pragma GCC visibility pop

/*
 * A timer that fires in ctx's home thread. scale: see qemu/timer.h. Free with timer_free.
 */
static inline QEMUTimer *aio_timer_new_with_attrs(AioContext *ctx, QEMUClockType type,
                                                  int scale, int attributes,
                                                  QEMUTimerCB *cb, void *opaque)
{
    return timer_new_full(aio_context_get_timer_group(ctx), type, scale, attributes, cb,
                          opaque);
}

static inline QEMUTimer *aio_timer_new(AioContext *ctx, QEMUClockType type, int scale,
                                       QEMUTimerCB *cb, void *opaque)
{
    return aio_timer_new_with_attrs(ctx, type, scale, 0, cb, opaque);
}

/* The same in memory of the caller's. */
static inline void aio_timer_init_with_attrs(AioContext *ctx, QEMUTimer *ts,
                                             QEMUClockType type, int scale,
                                             int attributes, QEMUTimerCB *cb,
                                             void *opaque)
{
    timer_init_full(ts, aio_context_get_timer_group(ctx), type, scale, attributes, cb,
                    opaque);
}

static inline void aio_timer_init(AioContext *ctx, QEMUTimer *ts, QEMUClockType type,
                                  int scale, QEMUTimerCB *cb, void *opaque)
{
    aio_timer_init_with_attrs(ctx, ts, type, scale, 0, cb, opaque);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(AioContext, aio_context_unref)

G_END_DECLS

#endif
