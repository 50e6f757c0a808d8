/* SPDX-License-Identifier: MIT */
/*
 * Coroutines: functions that can stop in the middle, each on a stack of its own, and
 * later go on from there, in the same thread or another.
 *
 * Entering a coroutine is like calling a function: it runs in the caller's thread, and
 * the call returns when the coroutine yields or ends. Scheduling is depth first: what a
 * running coroutine wakes (aio_co_enter, CoQueue, CoMutex) runs when that coroutine
 * yields or ends, in the order woken, before its caller goes on.
 *
 * This header needs neither GLib nor an event loop. The locks are in qemu/coroutine.h.
 */
#ifndef QEMU_COROUTINE_CORE_H
#define QEMU_COROUTINE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "qemu/compiler.h"
#include "qemu/typedefs.h"

/*
 * Which functions may yield. Readers (and QEMU's checkers) use the marks:
 *   coroutine_fn        runs in a coroutine only
 *   coroutine_mixed_fn  runs in a coroutine or outside, and behaves accordingly
 *   no_coroutine_fn     must not run in a coroutine (it would block it)
 */
#ifndef coroutine_fn
#define coroutine_fn       QEMU_ANNOTATE("coroutine_fn")
#define coroutine_mixed_fn QEMU_ANNOTATE("coroutine_mixed_fn")
#define no_coroutine_fn    QEMU_ANNOTATE("no_coroutine_fn")
#endif

/* QEMU generates functions for declarations with these marks; here they only inform. */
#ifndef co_wrapper
#define co_wrapper                   no_coroutine_fn
#define co_wrapper_mixed             coroutine_mixed_fn
#define co_wrapper_bdrv_rdlock       no_coroutine_fn
#define co_wrapper_mixed_bdrv_rdlock coroutine_mixed_fn
#endif

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What a coroutine executes. It has ended when this function returns. */
typedef void coroutine_fn CoroutineEntry(void *opaque);

/*
 * Create a coroutine that will run entry(opaque) when it is entered. Any thread, in a
 * coroutine or not; the thread that enters it may be another.
 *
 * The coroutine belongs to the library and is gone once it has ended; one that was
 * created must be entered, or it is never released. Aborts when there is no stack to
 * be had: who has an error path uses qemu_coroutine_create_attr.
 */
Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque);

/* Choices for one coroutine; zero means the default. */
typedef struct CoroutineAttr {
    /* Usable bytes of stack, rounded up; by default the build's coroutine_stack_size. */
    size_t stack_size;
    /* For qemu_coroutine_dump_all and debuggers; not copied. */
    const char *name;
} CoroutineAttr;

/*
 * As qemu_coroutine_create, with attributes (attr may be NULL), and able to fail:
 * returns NULL with errno ENOMEM (no address space, memory or mappings left) or EINVAL
 * (a stack size that cannot be).
 */
Coroutine *qemu_coroutine_create_attr(CoroutineEntry *entry, void *opaque,
                                      const CoroutineAttr *attr);

/*
 * Run the coroutine, which was just created or has yielded, until it yields or ends.
 * Aborts, and names the culprit, when it is active already or is scheduled to run later.
 * Its AioContext becomes that of the calling thread.
 */
void qemu_coroutine_enter(Coroutine *co);

/* The same if the coroutine has yielded; nothing if it is active. */
void qemu_coroutine_enter_if_inactive(Coroutine *co);

/* As qemu_coroutine_enter; its AioContext becomes ctx, which is the calling thread's. */
void qemu_aio_coroutine_enter(AioContext *ctx, Coroutine *co);

/*
 * Stop here until somebody enters the coroutine again. On return the thread may be
 * another: do not keep a thread-local address or errno across it.
 */
void coroutine_fn qemu_coroutine_yield(void);

/* The AioContext in which the coroutine was last entered, NULL if never. Any thread. */
AioContext *qemu_coroutine_get_aio_context(Coroutine *co);

/* The running coroutine; outside of any, the leader: it stands for the thread's stack. */
Coroutine *qemu_coroutine_self(void);

/* Whether the caller runs in a coroutine. */
bool qemu_in_coroutine(void);

/* Whether the coroutine was entered and has neither yielded nor ended since. */
bool qemu_coroutine_entered(Coroutine *co);

/*
 * Raise or lower how many ended coroutines the process keeps for the next creations, by
 * the number that the caller expects to use at once. Any thread.
 */
void qemu_coroutine_inc_pool_size(unsigned int additional_pool_size);
void qemu_coroutine_dec_pool_size(unsigned int additional_pool_size);

/* See qemu/coroutine.h; they stand here for qemu/lockable.h. */
void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex);
void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex);

/*
 * The most bytes of its stack that the coroutine has used, in whole pages, since the
 * memory was last given back to the kernel (the pool does so when idle). Any thread; the
 * coroutine must not end meanwhile.
 */
size_t qemu_coroutine_stack_used(Coroutine *co);

/*
 * Write a line for each coroutine that has not ended: its name, whether it is suspended
 * or active, who created it, where it waits and for what, its stack use. Any thread. For
 * debugging: other threads go on meanwhile, so what it says of theirs is a snapshot.
 */
void qemu_coroutine_dump_all(FILE *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
