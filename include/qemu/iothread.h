/* SPDX-License-Identifier: MIT */
/*
 * A thread with an AioContext of its own, which it polls until it is joined.
 * Work reaches it through bottom halves and aio_co_schedule.
 */
#ifndef QEMU_IOTHREAD_H
#define QEMU_IOTHREAD_H

#include "qapi/error.h"
#include "qemu/aio.h"

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Any thread. Returns when the thread runs; ends the program when there is no thread. */
IOThread *iothread_new(void);

/* The same with a name for the thread (up to 15 bytes show) and an error: NULL then. */
IOThread *iothread_new_named(const char *name, Error **errp);

/* The thread's context; valid until iothread_join unless the caller takes a reference. */
AioContext *iothread_get_aio_context(IOThread *iothread);

/*
 * End the thread, wait for it, free everything. From any other thread. Bottom halves that
 * were scheduled before still run; handlers and timers have to be gone.
 */
void iothread_join(IOThread *iothread);

#pragma GCC visibility pop
G_END_DECLS

#endif
