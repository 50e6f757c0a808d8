/* SPDX-License-Identifier: MIT */
/*
 * Sections at whose end deferred calls are made: how many requests become one
 * submission (virtio-blk's plug and unplug).
 *
 *     defer_call_begin();
 *     ... send requests; each does defer_call(submit_queue, queue) ...
 *     defer_call_end();              <- submit_queue(queue) runs once, here
 *
 * Sections belong to the calling thread and nest; the calls are made at the end of
 * the outermost. A coroutine may open one only if it does not yield inside: another
 * coroutine of the thread would run in the section, or the end be on another thread.
 */
#ifndef QEMU_DEFER_CALL_H
#define QEMU_DEFER_CALL_H

#include <glib.h>

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Any thread, coroutine or not; each begin needs its end in the same thread. */
void defer_call_begin(void);
/* Ends a section; aborts when none is open. */
void defer_call_end(void);

/*
 * In a section: remember the call; the same pair of fn and opaque counts once, and
 * calls are made in the order of their first defer_call. Outside: calls fn(opaque) now.
 * fn may open sections and defer calls of its own; those run before it returns.
 */
void defer_call(void (*fn)(void *), void *opaque);

/*
 * Makes the calls that wait for the end of a section now; the section stays open. aio_poll
 * begins with it: who waits inside a section would wait for what was never submitted.
 */
void defer_call_flush(void);

#pragma GCC visibility pop
G_END_DECLS

#endif
