/* SPDX-License-Identifier: MIT */
/*
 * An I/O engine that waits for the loop.
 *
 * A loop that sleeps in epoll_wait needs a descriptor that each completion raises, and a system
 * call to lower it again. The kernel's interfaces for I/O can wait as well: for their completions,
 * and by a poll request for one descriptor. So while requests are under way that raise no
 * descriptor ("silent"), aio_poll has their engine sleep, on the epoll descriptor too.
 *
 * Whoever waits for the context in another way (GLib, a pollable descriptor) would not be woken
 * by such requests. From the first time that somebody does, and in a simulation, there are no
 * new ones; while the last of the old ones are under way, waiting from outside is cut into
 * milliseconds.
 *
 * Everything here is the home thread's.
 */
#ifndef QEMU_AIO_SLEEPER_H
#define QEMU_AIO_SLEEPER_H

#include "qemu/aio.h"

G_BEGIN_DECLS
#pragma GCC visibility push(default)

typedef struct AioSleeper AioSleeper;
struct AioSleeper {
    /*
     * Waits up to @timeout ns (-1: for ever) until there are completions, which io_poll of the engine's
     * handler tells then, or until @fd is readable. True: @fd may be. Coming back early is allowed.
     */
    bool (*sleep)(AioSleeper *sleeper, int64_t timeout);
    /*
     * Asked where a callback polls: the io_poll of a handler that has called it is not. True: there were
     * completions, and a bottom half is scheduled that hands them out.
     */
    bool (*look)(AioSleeper *sleeper);
    int fd;          /* the loop's: what to wait for besides completions */
    bool may_silent; /* the loop's: new requests may be silent */
    unsigned silent; /* the engine's: silent requests under way */
};

/*
 * Makes @sleeper, whose sleep and look are set, the context's. False: it has one, or sleeps otherwise than
 * by epoll. The sleeper stays the caller's.
 */
bool aio_context_set_sleeper(AioContext *ctx, AioSleeper *sleeper);
/* Takes it away; no silent request is under way. Nothing happens if another is set or none. */
void aio_context_unset_sleeper(AioContext *ctx, AioSleeper *sleeper);

#pragma GCC visibility pop
G_END_DECLS

#endif
