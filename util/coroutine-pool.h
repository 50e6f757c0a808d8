/* SPDX-License-Identifier: MIT */
/*
 * Ended coroutines kept for the next creations, and the making and unmaking of them.
 * Needs no GLib.
 */
#ifndef UTIL_COROUTINE_POOL_H
#define UTIL_COROUTINE_POOL_H

#include "coroutine-backend.h"
#include "coroutine-stack.h"

/* Where the coroutine of this stack stands: at its top, in cache lines of its own. */
static inline Coroutine *coroutine_in_stack(const CoroutineStack *stack)
{
    return (Coroutine *)(((uintptr_t)stack->top - sizeof(Coroutine)) & ~(uintptr_t)63);
}

/*
 * A coroutine with the default stack for the calling thread, when its own list is empty.
 * NULL with errno when there is none to be had.
 */
Coroutine *coroutine_pool_refill(void);

/* A coroutine with a stack of at least stack_size bytes, or NULL with errno. */
Coroutine *coroutine_pool_get_sized(size_t stack_size);

/*
 * The running coroutine co ends and the calling thread's list has no room for it, or
 * it does not belong there. Afterwards co is in that list or otherwise taken care of,
 * but its stack can be used until the thread's next call of anything in here.
 */
void coroutine_pool_put_slow(Coroutine *co);

/* For tests. */
enum { COROUTINE_POOL_BATCH = 64 };
typedef struct CoroutinePoolStats {
    unsigned int shared;     /* ended coroutines in the list that all threads share */
    unsigned int shared_max;
    unsigned int local;      /* in the calling thread's */
} CoroutinePoolStats;
void coroutine_pool_get_stats(CoroutinePoolStats *stats);

#endif
