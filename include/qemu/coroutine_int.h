/* SPDX-License-Identifier: MIT */
/*
 * What is in a coroutine. For locks, event loops and debuggers; users of coroutines do
 * without. (What the library keeps to itself is in util/coroutine-backend.h.)
 *
 * Who may touch a coroutine's fields:
 *   active      the thread that runs it
 *   suspended   whoever will enter it; handed over through a lock or a queue
 *   ended       the pool that holds it (util/coroutine-pool.c)
 * Other threads may read ctx and scheduled at any time.
 */
#ifndef QEMU_COROUTINE_INT_H
#define QEMU_COROUTINE_INT_H

#include <stdint.h>

#include "qemu/coroutine-core.h"
#include "qemu/queue.h"

typedef QSIMPLEQ_HEAD(CoroutineQueue, Coroutine) CoroutineQueue;

/*
 * The first eight words are one cache line, all that a switch needs. The structure sits
 * at the top of the coroutine's stack, so that one that does little touches one page.
 */
struct Coroutine {
    /* Where to go on: the stack pointer (asm) or the jump buffer. The backend's. */
    void *context;
    /* Who entered this coroutine; NULL if it is suspended or ended, and for a leader. */
    Coroutine *caller;
    /* Written with release at each entry; any thread reads it with acquire. */
    AioContext *ctx;
    /* Who scheduled it for later, which makes entering it a mistake; or NULL. */
    const char *scheduled;
    /* Coroutines that this one woke: they run when it yields or ends. Its thread's. */
    CoroutineQueue co_queue_wakeup;
    /* Those that run before the call in which this one entered another returns. */
    CoroutineQueue co_queue_pending;

    CoroutineEntry *entry;
    void *entry_arg;
    /* CoMutexes and the like held: any at the end is a mistake. */
    size_t locks_held;
    /* What it waits for, for people: set before a yield, reset after. May be NULL. */
    const char *wait_reason;
    QSLIST_ENTRY(Coroutine) pool_next;
    /* The link in a co_queue_wakeup or in the queue of a CoQueue, one at a time. */
    QSIMPLEQ_ENTRY(Coroutine) co_queue_next;
    /* The link in an AioContext's list of scheduled coroutines. */
    QSLIST_ENTRY(Coroutine) co_scheduled_next;

    const char *name;
    /* The return address of the call that created it. */
    const void *creator;
    /* util/coroutine-stack.c; NULL for a leader. */
    void *stack_base;
    size_t stack_size;
    void *stack_chunk;
    /* util/coroutine-pool.c: in the first coroutine of a batch. */
    Coroutine *pool_batch_next;
    uint16_t pool_batch_size;
    /* Has the usual stack, so that any creation can use it again. */
    bool pooled;
    /* util/coroutine-sanitizer.h */
    unsigned int valgrind_stack_id;
    void *asan_fake_stack;
    void *tsan_fiber;
};

#endif
