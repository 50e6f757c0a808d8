/* SPDX-License-Identifier: MIT */
/*
 * Inside of the coroutine core: struct Coroutine, what a thread knows, and the contract
 * that a backend fulfils. For the locks, the event loop and the backends; users of
 * coroutines do without.
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
    /* Who entered this coroutine; NULL when it is suspended or ended, and for a leader. */
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
