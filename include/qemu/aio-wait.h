/* SPDX-License-Identifier: MIT */
/*
 * Waiting, outside coroutines, for a condition that work in some context will make
 * true: the waiting thread polls its own context meanwhile.
 */
#ifndef QEMU_AIO_WAIT_H
#define QEMU_AIO_WAIT_H

#include "qemu/aio.h"

/* One thread that waits. On its stack, in a list under a lock of aio-wait.c. */
typedef struct AioWaiter AioWaiter;
struct AioWaiter {
    AioContext *ctx;
    AioWaiter *next;
};

/*
 * Poll the calling thread's context while cond is true; the value tells whether there was
 * a need to. ctx is where the work is done: this thread's own context, or any other (or
 * NULL); whoever changes from elsewhere what cond depends on calls aio_wait_kick then.
 * cond is evaluated by this thread only. The thread needs a current context. Not in a
 * coroutine.
 */
#define AIO_WAIT_WHILE(ctx_, cond)                                                       \
    (__extension__({                                                                     \
        AioWaiter aio_waiter_;                                                           \
        bool aio_waited_ = false;                                                        \
        aio_wait_begin(&aio_waiter_, (ctx_));                                            \
        while ((cond)) {                                                                 \
            aio_poll(aio_waiter_.ctx, true);                                             \
            aio_waited_ = true;                                                          \
        }                                                                                \
        aio_wait_end(&aio_waiter_);                                                      \
        aio_waited_;                                                                     \
    }))
/* Contexts have no lock, so there is nothing to unlock. */
#define AIO_WAIT_WHILE_UNLOCKED(ctx, cond) AIO_WAIT_WHILE(ctx, cond)

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* The two ends of AIO_WAIT_WHILE. */
void aio_wait_begin(AioWaiter *waiter, AioContext *ctx);
void aio_wait_end(AioWaiter *waiter);

/*
 * Let every AIO_WAIT_WHILE look at its condition again. Any thread; call it after the
 * change (a qatomic store where waiters of other threads read it). Cheap when nobody
 * waits.
 */
void aio_wait_kick(void);

/*
 * Run cb(opaque) in a bottom half of ctx and wait for its end. From another thread than
 * ctx's home; the calling thread polls its own context meanwhile.
 */
void aio_wait_bh_oneshot(AioContext *ctx, QEMUBHFunc *cb, void *opaque);

#pragma GCC visibility pop
G_END_DECLS

#endif
