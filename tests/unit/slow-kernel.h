/* SPDX-License-Identifier: MIT */
/*
 * A kernel whose Linux AIO is slow and fails, by chance. A program includes this for its own io_setup,
 * io_submit and io_getevents, which stand before libaio's. Requests that they hold back make loops sleep;
 * late_kernel(), a thread, sends them later.
 */
#ifndef TESTS_UNIT_SLOW_KERNEL_H
#define TESTS_UNIT_SLOW_KERNEL_H

#include <dlfcn.h>
#include <libaio.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"

/* --- chance --- */

static __thread uint64_t dice;

/* Out of line: a coroutine may have changed its thread. */
static QEMU_NOINLINE uint32_t roll(uint32_t n)
{
    dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(dice >> 33) % n;
}

static bool chance(unsigned percent)
{
    return roll(100) < percent;
}

static QEMU_NOINLINE void seed_dice(uint32_t seed, int index)
{
    dice = seed * UINT64_C(0x9e3779b97f4a7c15) + index;
    for (int i = 0; i < 4; i++) {
        roll(2);
    }
}

/* --- the kernel --- */

typedef struct Held {
    io_context_t ctx;
    struct iocb *iocb;
    int64_t due; /* us; KEPT: when requests go on */
} Held;

#define KEPT INT64_MAX

static struct {
    /* Percent of calls; set while there is one thread. */
    unsigned hold, no_poll, no_setup, early;
    bool keep; /* atomic: no request goes on */
    unsigned silent, signalled, sleeps; /* atomic */
    QemuMutex lock;
    GArray *held; /* under lock */
    bool stop;    /* atomic */
} kernel;

typedef int SubmitFn(io_context_t ctx, long n, struct iocb **iocbs);
typedef int SetupFn(int n, io_context_t *ctx);
typedef int GetEventsFn(io_context_t ctx, long min, long n, struct io_event *events, struct timespec *timeout);

static int send_really(io_context_t ctx, long n, struct iocb **iocbs)
{
    return ((SubmitFn *)dlsym(RTLD_NEXT, "io_submit"))(ctx, n, iocbs);
}

static void hold(io_context_t ctx, struct iocb *iocb, int64_t due)
{
    Held held = { ctx, iocb, due };

    qemu_mutex_lock(&kernel.lock);
    g_array_append_val(kernel.held, held);
    qemu_mutex_unlock(&kernel.lock);
}

int io_submit(io_context_t ctx, long n, struct iocb **iocbs)
{
    if (iocbs[0]->aio_lio_opcode == IO_CMD_POLL) {
        return chance(kernel.no_poll) ? -EAGAIN : send_really(ctx, n, iocbs);
    }
    for (long i = 0; i < n; i++) {
        int ret = 1;

        /* Behind the call it may have completed. */
        qatomic_inc(iocbs[i]->u.c.flags ? &kernel.signalled : &kernel.silent);
        if (qatomic_read(&kernel.keep)) {
            hold(ctx, iocbs[i], KEPT);
        } else if (chance(kernel.hold)) {
            hold(ctx, iocbs[i], g_get_monotonic_time() + roll(chance(10) ? 3000 : 200));
        } else {
            ret = send_really(ctx, 1, &iocbs[i]);
        }
        if (ret != 1) {
            return i ? i : ret;
        }
    }
    return n;
}

int io_setup(int n, io_context_t *ctx)
{
    return chance(kernel.no_setup) ? -EAGAIN : ((SetupFn *)dlsym(RTLD_NEXT, "io_setup"))(n, ctx);
}

int io_getevents(io_context_t ctx, long min, long n, struct io_event *events, struct timespec *timeout)
{
    if (min > 0) {
        qatomic_inc(&kernel.sleeps);
        if (chance(kernel.early)) {
            return chance(50) ? -EINTR : 0;
        }
    }
    return ((GetEventsFn *)dlsym(RTLD_NEXT, "io_getevents"))(ctx, min, n, events, timeout);
}

/* Takes out one that is due. */
static bool take_held(Held *held)
{
    int64_t now = g_get_monotonic_time();
    bool found = false;

    qemu_mutex_lock(&kernel.lock);
    for (guint i = 0; i < kernel.held->len && !found; i++) {
        *held = g_array_index(kernel.held, Held, i);
        found = held->due == KEPT ? !qatomic_read(&kernel.keep) : held->due <= now;
        if (found) {
            g_array_remove_index_fast(kernel.held, i);
        }
    }
    qemu_mutex_unlock(&kernel.lock);
    return found;
}

/* Sends later what was held. */
static inline void *late_kernel(void *opaque)
{
    Held held;

    while (!qatomic_read(&kernel.stop)) {
        while (take_held(&held)) {
            int ret;

            do {
                ret = send_really(held.ctx, 1, &held.iocb);
            } while (ret == -EAGAIN || ret == -EINTR);
            g_assert_cmpint(ret, ==, 1);
        }
        g_usleep(50);
    }
    return NULL;
}

#endif
