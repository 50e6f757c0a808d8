/* SPDX-License-Identifier: MIT */
/*
 * Stacks for coroutines, cut from shared mappings. Needs no GLib. All functions may be
 * called from any thread.
 */
#ifndef UTIL_COROUTINE_STACK_H
#define UTIL_COROUTINE_STACK_H

#include <stdbool.h>
#include <stddef.h>

typedef struct CoroutineStackChunk CoroutineStackChunk;

typedef struct CoroutineStack {
    /* The lowest usable byte: the guard lies right below. */
    void *base;
    size_t size;
    /* Where the stack's owner may begin, at or a little below base + size; 64-aligned. */
    void *top;
    CoroutineStackChunk *chunk;
} CoroutineStack;

/* The usable bytes of a stack when nothing else is asked for. */
size_t coroutine_stack_default_size(void);

/*
 * A zeroed stack with a guard below, of at least size bytes (0: the default).
 * 0, -EINVAL or -ENOMEM.
 */
int coroutine_stack_alloc(size_t size, CoroutineStack *stack);

/*
 * Give stacks back; their memory returns to the kernel at once, most cheaply when
 * neighbours come one after the other. Nobody may be running on them.
 */
void coroutine_stack_free(const CoroutineStack *stacks, size_t n);

/* How much of the stack has been touched, in bytes, down from its end. */
size_t coroutine_stack_high_water(const void *base, size_t size);

/*
 * Call fn for each allocated stack. No stack is unmapped meanwhile; fn must not call
 * anything of this header but coroutine_stack_high_water.
 */
void coroutine_stack_foreach(void (*fn)(const CoroutineStack *stack, void *opaque),
                             void *opaque);

/* How many stacks there may be at once, SIZE_MAX when no limit is known. */
size_t coroutine_stack_limit(void);

typedef struct CoroutineStackStats {
    size_t chunks;      /* mappings of this allocator */
    size_t mapped;      /* stacks in them */
    size_t guarded;     /* stacks that have their guard, used or free */
    size_t used;        /* allocated stacks */
    bool by_mprotect;   /* how they are guarded */
} CoroutineStackStats;
void coroutine_stack_get_stats(CoroutineStackStats *stats);

/*
 * For tests: guard with mprotect from now on, as on a kernel older than 6.13, at most
 * limit stacks (0: as vm.max_map_count allows). Before the first stack, or when none is
 * in use.
 */
void coroutine_stack_force_mprotect(size_t limit);

/* Around fork(), so that the child does not inherit a held lock. */
void coroutine_stack_lock(void);
void coroutine_stack_unlock(void);

#endif
