/* SPDX-License-Identifier: MIT */
/*
 * The main loop: a context for the program's first thread (or whichever calls
 * qemu_init_main_loop), attached to GLib's default GMainContext. A program with a
 * GMainLoop of its own needs no more than qemu_init_main_loop; others call
 * main_loop_wait.
 *
 * What QEMU allows under its big lock belongs to the main thread here. There is such a lock
 * all the same, for programs whose threads exclude each other by it; the library takes it
 * nowhere, and holding it does not make a thread the main one.
 */
#ifndef QEMU_MAIN_LOOP_H
#define QEMU_MAIN_LOOP_H

#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/thread.h"

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/*
 * Makes the main context, which becomes the calling thread's current one, and attaches it
 * to the default GMainContext. 0, or -errno and an error. A second call does nothing.
 */
int qemu_init_main_loop(Error **errp);

/*
 * One round of the default GMainContext, with everything attached to it. nonblocking: do
 * not wait for something to happen. The thread that called qemu_init_main_loop. If that
 * holds the big lock, others can have it while this waits, not while callbacks run.
 */
void main_loop_wait(int nonblocking);

/*
 * The big lock. Any thread; not recursive: dies when the caller holds it, or for unlock,
 * does not. Like any QemuMutex it belongs to a thread: no coroutine may yield with it held.
 */
#define bql_lock() bql_lock_impl(__FILE__, __LINE__)
void bql_lock_impl(const char *file, int line);
void bql_unlock(void);
/* Whether the calling thread holds it. */
bool bql_locked(void);
/* As qemu_cond_wait and qemu_cond_timedwait with the big lock, which the caller holds. */
void qemu_cond_wait_bql(QemuCond *cond);
bool qemu_cond_timedwait_bql(QemuCond *cond, int ms);

/* Make main_loop_wait return. Any thread. */
void qemu_notify_event(void);

/* Whether this is the main loop's thread. */
bool qemu_in_main_thread(void);

/*
 * Descriptors of the program's own, looked at by the main loop but not by aio_poll of the
 * main context. As aio_set_fd_handler. The main thread.
 */
void qemu_set_fd_handler(int fd, IOHandler *fd_read, IOHandler *fd_write, void *opaque);
/* The same for an event notifier; handler NULL: remove. Returns 0. */
int event_notifier_set_handler(EventNotifier *notifier, EventNotifierHandler *handler);
/* The context behind these; not to be polled. NULL before qemu_init_main_loop. */
AioContext *iohandler_get_aio_context(void);

/* A bottom half of the main context: aio_bh_new_full. */
QEMUBH *qemu_bh_new_full(QEMUBHFunc *cb, void *opaque, const char *name,
                         MemReentrancyGuard *reentrancy_guard);
#define qemu_bh_new(cb, opaque) qemu_bh_new_full((cb), (opaque), stringify(cb), NULL)
#define qemu_bh_new_guarded(cb, opaque, guard)                                           \
    qemu_bh_new_full((cb), (opaque), stringify(cb), (guard))

#pragma GCC visibility pop

/* Behind BQL_LOCK_GUARD: not NULL when the guard has locked, and so is to unlock. */
typedef struct BQLLockAuto BQLLockAuto;

static inline BQLLockAuto *bql_auto_lock(const char *file, int line)
{
    if (bql_locked()) {
        return NULL;
    }
    bql_lock_impl(file, line);
    return (BQLLockAuto *)(uintptr_t)1;
}

static inline void bql_auto_unlock(BQLLockAuto *guard G_GNUC_UNUSED)
{
    bql_unlock();
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BQLLockAuto, bql_auto_unlock)

G_END_DECLS

/* Until the end of the enclosing scope; nothing happens where the thread holds it already. */
#define BQL_LOCK_GUARD()                                                                 \
    g_autoptr(BQLLockAuto) MAKE_IDENTIFIER(bql_guard_) G_GNUC_UNUSED =                   \
        bql_auto_lock(__FILE__, __LINE__)

/* The names that the lock had until QEMU 8.2. */
#define qemu_mutex_lock_iothread()            bql_lock()
#define qemu_mutex_unlock_iothread()          bql_unlock()
#define qemu_mutex_iothread_locked()          bql_locked()
#define qemu_cond_wait_iothread(cond)         qemu_cond_wait_bql(cond)
#define qemu_cond_timedwait_iothread(cond, ms) qemu_cond_timedwait_bql(cond, ms)
#define QEMU_IOTHREAD_LOCK_GUARD()            BQL_LOCK_GUARD()

/* Which thread a function belongs to: the main one; that of some context; either. */
#define GLOBAL_STATE_CODE() g_assert(qemu_in_main_thread())
#define IO_CODE()           ((void)0)
#define IO_OR_GS_CODE()     ((void)0)

#endif
