/* SPDX-License-Identifier: MIT */
/*
 * The main loop: a context for the program's first thread (or whichever calls
 * qemu_init_main_loop), attached to GLib's default GMainContext. A program with a
 * GMainLoop of its own needs no more than qemu_init_main_loop; others call
 * main_loop_wait.
 *
 * There is no big lock here: what QEMU allows under it belongs to the main thread.
 */
#ifndef QEMU_MAIN_LOOP_H
#define QEMU_MAIN_LOOP_H

#include "qapi/error.h"
#include "qemu/aio.h"

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/*
 * Makes the main context, which becomes the calling thread's current one, and attaches it
 * to the default GMainContext. 0, or -errno and an error. A second call does nothing.
 */
int qemu_init_main_loop(Error **errp);

/*
 * One round of the default GMainContext, with everything attached to it. nonblocking: do
 * not wait for something to happen. The thread that called qemu_init_main_loop.
 */
void main_loop_wait(int nonblocking);

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
G_END_DECLS

/* Which thread a function belongs to: the main one; that of some context; either. */
#define GLOBAL_STATE_CODE() g_assert(qemu_in_main_thread())
#define IO_CODE()           ((void)0)
#define IO_OR_GS_CODE()     ((void)0)

#endif
