/* SPDX-License-Identifier: MIT */
/*
 * Inside of the coroutine core: what it knows of a thread, and the contract that a
 * backend fulfils. Needs no GLib.
 */
#ifndef UTIL_COROUTINE_BACKEND_H
#define UTIL_COROUTINE_BACKEND_H

#include "qemu/coroutine_int.h"

/*
 * What the core knows of a thread. Initial-exec: in a shared library the general model
 * would call __tls_get_addr at each switch, which costs as much as the switch. Touch it
 * only in functions that are not inlined and do not use its address again after a
 * switch: the coroutine may be in another thread by then.
 */
typedef struct CoroutineThread {
    /* NULL until the first use of coroutines in this thread. */
    Coroutine *current;
    /* What qemu_coroutine_enter gives to coroutines. */
    AioContext *ctx;
    /* Ended coroutines for the next creations, and how many more fit there. */
    Coroutine *pool;
    unsigned int pool_room;
    /* A second, full batch or NULL: moving between the two needs no lock. */
    Coroutine *pool_spare;
    /* One that ended and is of no use to the pool; released once it is left for sure. */
    Coroutine *dying;
    Coroutine leader;
} CoroutineThread;

#pragma GCC visibility push(hidden)

extern __thread CoroutineThread coroutine_thread
    __attribute__((tls_model("initial-exec")));

/* The name that stands in scheduled once a coroutine has ended, so that using it dies. */
extern const char coroutine_ended[];

/*
 * The event loop tells the core which AioContext the calling thread runs, so that
 * qemu_coroutine_enter need not ask. NULL when the thread has none (any more).
 */
void coroutine_set_thread_aio_context(AioContext *ctx);

/*
 * The backend contract. One backend is linked into a library; the core calls it
 * directly.
 */

/*
 * Prepare co, whose stack_base and stack_size are set: the first switch to it is to call
 * coroutine_trampoline(co) on that stack, which grows down from co itself. 0 or -errno.
 */
int coroutine_backend_new(Coroutine *co);

/* Release what coroutine_backend_new took; co is not running. */
void coroutine_backend_delete(Coroutine *co);

/*
 * Save where the caller is in from->context, and go on where to->context says. Returns
 * when something switches back to from, perhaps in another thread. Called in tail
 * position by enter and yield, so that its return is theirs.
 */
void coroutine_switch(Coroutine *from, Coroutine *to);

/* The code address where the suspended coroutine will go on, or NULL if not known. */
const void *coroutine_backend_pc(const Coroutine *co);

/* The name of the backend, as in the Meson option. */
extern const char coroutine_backend_name[];

/* Runs the coroutine's function, again for each reuse; never returns. The core's. */
QEMU_NORETURN void coroutine_trampoline(Coroutine *co);

#pragma GCC visibility pop

#endif
