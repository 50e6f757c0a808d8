/* SPDX-License-Identifier: MIT */
/*
 * Coroutines with all that goes with them: the core (qemu/coroutine-core.h), and the
 * locks, queues, sleeps and time-outs between coroutines.
 */
#ifndef QEMU_COROUTINE_H
#define QEMU_COROUTINE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "qemu/coroutine-core.h"
#include "qemu/lockable.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

/*
 * Lets one coroutine at a time into a section, in which it may yield. The coroutines may
 * be in any threads that have an AioContext (or all in one thread). Those that wait are
 * served in the order in which they came, and the mutex is handed to the next without
 * being free in between.
 *
 * Without contention lock and unlock are one atomic read-modify-write each.
 */
struct CoMutex {
    /*
     * 0: free. Else bit 0 is set, and the rest points to the newest of those that came
     * to wait since the holder last looked (CoWaitRecord, or NULL).
     */
    uintptr_t state;
    /* Those that wait, oldest first, before all in state. The holder's. */
    void *to_pop;
    /* For messages and for the decision whether to spin: written by the holder. */
    Coroutine *holder;
    AioContext *ctx;
};

/*
 * Coroutines that wait for something to happen. The user's lock protects the queue
 * (none if all is in one thread); it is given to qemu_co_queue_wait as for a condition.
 */
struct CoQueue {
    QSIMPLEQ_HEAD(, Coroutine) entries;
};

typedef enum {
    /* Wait before those that wait already. */
    CO_QUEUE_WAIT_FRONT = 0x1,
} CoQueueWaitFlags;

/*
 * Many readers or one writer, coroutines in any threads; they may yield while they hold
 * it. Fair: served in the order of arrival, readers that follow each other together, so
 * neither side starves. Not recursive, not even for readers: with a writer waiting in
 * between that would be a deadlock.
 */
typedef struct CoRwTicket CoRwTicket;
typedef struct CoRwlock {
    /* See qemu-coroutine-rwlock.c; changed by compare-and-exchange. */
    unsigned state;
    /* Protects tickets, and state while there are any. Never held across a yield. */
    QemuMutex mutex;
    QSIMPLEQ_HEAD(, CoRwTicket) tickets;
} CoRwlock;

/* A sleep that can be ended: { NULL } at first; to_wake is NULL while nobody sleeps. */
typedef struct QemuCoSleep {
    Coroutine *to_wake;
} QemuCoSleep;

/* Called with the opaque pointer of the entry function. */
typedef void CleanupFunc(void *opaque);

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Zeroed memory is a free mutex as well. There is nothing to destroy. Any context. */
void qemu_co_mutex_init(CoMutex *mutex);

/*
 * qemu_co_mutex_lock, declared in coroutine-core.h: returns when the caller holds the
 * mutex; may yield until then. When the holder runs in another thread and nobody waits,
 * it spins for a moment before. Aborts when the caller holds the mutex already.
 *
 * qemu_co_mutex_unlock: by the coroutine that locked it, or it aborts. Does not yield;
 * the next one runs when the caller yields or ends, or in its own thread. The mutex may
 * be freed by whoever locks it next.
 */

/* Aborts unless the running coroutine holds the mutex. */
void coroutine_fn qemu_co_mutex_assert_locked(CoMutex *mutex);

void qemu_co_queue_init(CoQueue *queue);

/*
 * Yield until woken; gives the lock up meanwhile. lock is a pointer to any lock that
 * QemuLockable knows, or NULL. The condition may have changed again by the time the lock
 * is back: test it in a loop.
 */
#define qemu_co_queue_wait(queue, lock) \
    qemu_co_queue_wait_impl((queue), QEMU_MAKE_LOCKABLE(lock), (CoQueueWaitFlags)0)
#define qemu_co_queue_wait_flags(queue, lock, flags) \
    qemu_co_queue_wait_impl((queue), QEMU_MAKE_LOCKABLE(lock), (flags))
void coroutine_fn qemu_co_queue_wait_impl(CoQueue *queue, QemuLockable *lock,
                                          CoQueueWaitFlags flags);

/*
 * Wake the first, or all in order. They run when the calling coroutine yields or ends,
 * or in their threads. next: false when nobody waits. The caller holds the queue's lock.
 */
bool coroutine_fn qemu_co_queue_next(CoQueue *queue);
void coroutine_fn qemu_co_queue_restart_all(CoQueue *queue);

/*
 * The same for callers that may be outside of coroutines: there, a waiter of the same
 * thread runs before the call returns. The lock is given up meanwhile.
 */
#define qemu_co_enter_next(queue, lock) \
    qemu_co_enter_next_impl((queue), QEMU_MAKE_LOCKABLE(lock))
bool qemu_co_enter_next_impl(CoQueue *queue, QemuLockable *lock);
#define qemu_co_enter_all(queue, lock) \
    qemu_co_enter_all_impl((queue), QEMU_MAKE_LOCKABLE(lock))
void qemu_co_enter_all_impl(CoQueue *queue, QemuLockable *lock);

/* True when nobody waits. The caller holds the queue's lock. */
bool qemu_co_queue_empty(CoQueue *queue);

void qemu_co_rwlock_init(CoRwlock *lock);

/* Lock for reading or for writing; may yield. */
void coroutine_fn qemu_co_rwlock_rdlock(CoRwlock *lock);
void coroutine_fn qemu_co_rwlock_wrlock(CoRwlock *lock);

/* A reader becomes the writer. Others may write in between, as it queues behind them. */
void coroutine_fn qemu_co_rwlock_upgrade(CoRwlock *lock);

/* The writer becomes a reader, with no writer in between. Does not yield. */
void coroutine_fn qemu_co_rwlock_downgrade(CoRwlock *lock);

/* Either kind. Does not yield. Aborts when nobody holds the lock. */
void coroutine_fn qemu_co_rwlock_unlock(CoRwlock *lock);

/* Yield for ns nanoseconds of the clock. The thread needs an AioContext. */
void coroutine_fn qemu_co_sleep_ns(QEMUClockType type, int64_t ns);

/* The same, but qemu_co_sleep_wake(w) ends it early. Entering it otherwise aborts. */
void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w, QEMUClockType type, int64_t ns);

/* Yield until qemu_co_sleep_wake(w). */
void coroutine_fn qemu_co_sleep(QemuCoSleep *w);

/*
 * Wake who sleeps in w, as aio_co_wake does; nothing when nobody does. Any thread; w has
 * to stay valid during the call.
 */
void qemu_co_sleep_wake(QemuCoSleep *w);

/*
 * Run entry(opaque) in a coroutine of its own. 0 when that ended within timeout_ns
 * nanoseconds (0: as long as it takes). Else -ETIMEDOUT: it goes on by itself, and
 * clean(opaque) is called when it ends (NULL: nothing is).
 */
int coroutine_fn qemu_co_timeout(CoroutineEntry *entry, void *opaque, uint64_t timeout_ns,
                                 CleanupFunc clean);

/* Yield until the descriptor, which nobody else handles, is readable or hung up. */
void coroutine_fn yield_until_fd_readable(int fd);

struct iovec;

/*
 * Send or receive bytes bytes, from offset of the vector, through a non-blocking socket
 * that nobody else handles; yields until all have gone or come. Returns how many did:
 * fewer at the end of the stream or after an error, -errno when it hit the first byte.
 */
ssize_t coroutine_fn qemu_co_sendv_recvv(int sockfd, struct iovec *iov, unsigned iov_cnt,
                                         size_t offset, size_t bytes, bool do_send);
/* The same for one buffer. */
ssize_t coroutine_fn qemu_co_send_recv(int sockfd, void *buf, size_t bytes, bool do_send);

#pragma GCC visibility pop

#define qemu_co_recvv(sockfd, iov, iov_cnt, offset, bytes) \
    qemu_co_sendv_recvv(sockfd, iov, iov_cnt, offset, bytes, false)
#define qemu_co_sendv(sockfd, iov, iov_cnt, offset, bytes) \
    qemu_co_sendv_recvv(sockfd, iov, iov_cnt, offset, bytes, true)
#define qemu_co_recv(sockfd, buf, bytes) qemu_co_send_recv(sockfd, buf, bytes, false)
#define qemu_co_send(sockfd, buf, bytes) qemu_co_send_recv(sockfd, buf, bytes, true)

G_END_DECLS

#endif
