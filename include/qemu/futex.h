/* SPDX-License-Identifier: MIT */
/* The two futex calls that locks are built of. Any thread; they block the thread. */
#ifndef QEMU_FUTEX_H
#define QEMU_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define qemu_futex(...) syscall(__NR_futex, __VA_ARGS__)

/* Wake up to n threads that wait on the word at f. */
static inline void qemu_futex_wake(void *f, int n)
{
    qemu_futex(f, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Wake every thread that waits on the word at f. */
static inline void qemu_futex_wake_all(void *f)
{
    qemu_futex_wake(f, INT_MAX);
}

/* Wake one thread that waits on the word at f. */
static inline void qemu_futex_wake_single(void *f)
{
    qemu_futex_wake(f, 1);
}

/*
 * Sleep while *f is val, until woken. May return early (signal): look at the word
 * again. The kernel compares and goes to sleep in one step as seen by qemu_futex_wake.
 */
static inline void qemu_futex_wait(void *f, unsigned val)
{
    while (qemu_futex(f, FUTEX_WAIT_PRIVATE, (int)val, NULL, NULL, 0) != 0) {
        if (errno == EWOULDBLOCK) {
            return;
        }
        if (errno != EINTR) {
            abort();
        }
    }
}

/* The same for at most ns nanoseconds; false when they have passed. */
static inline bool qemu_futex_timedwait(void *f, unsigned val, int64_t ns)
{
    struct timespec ts = {
        .tv_sec = (time_t)(ns / 1000000000),
        .tv_nsec = (long)(ns % 1000000000),
    };

    return !(qemu_futex(f, FUTEX_WAIT_PRIVATE, (int)val, &ts, NULL, 0) != 0 &&
             errno == ETIMEDOUT);
}

#endif
