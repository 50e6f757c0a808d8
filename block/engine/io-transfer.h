/* SPDX-License-Identifier: MIT */
/*
 * IOTransfer: what an engine still has to move for one request, and what to make of the
 * kernel's answers. All engines agree on it: short transfers are resumed, what lies beyond the
 * end of the file reads as zeroes, a write that moves nothing finds no space.
 *
 * It lives on the stack of the request's coroutine. An engine sends it, hands the result to
 * io_transfer_step(), and sends it again while that returns 1.
 */
#ifndef BLOCK_ENGINE_IO_TRANSFER_H
#define BLOCK_ENGINE_IO_TRANSFER_H

#include "block/engine/io-slice.h"
#include "block/io-engine.h"

typedef struct IOTransfer {
    int fd;
    IOEngineOp op;
    bool fua;       /* of a write */
    bool resumed;   /* part of it has been moved */
    int64_t offset; /* in the file, of what is left */
    IOSlice slice;  /* what is left; of a flush: nothing */
} IOTransfer;

/* io_transfer_step() of other results than success at the first go. */
int io_transfer_step_rare(IOTransfer *t, long result);

/*
 * @result: bytes that the kernel moved, or -errno. 1: send again what is left; 0: the request is
 * done; or the request's -errno. Any thread.
 */
static inline int io_transfer_step(IOTransfer *t, long result)
{
    return likely(result == (long)t->slice.bytes) ? 0 : io_transfer_step_rare(t, result);
}

/* Has the threads engine do what is left, as the kernel does not take it another way. 0 or -errno. */
int coroutine_fn io_transfer_by_threads(const IOTransfer *t);

/*
 * With many in flight a coroutine's stack has left the first level cache when its request
 * completes. Fetches what it touches first while another one still runs: the request @req lies
 * in the middle of that, the saved registers below, the callers' frames above.
 */
static inline void io_prefetch_request(const void *req)
{
    for (int line = -3; line <= 6; line++) {
        __builtin_prefetch((const char *)req + line * 64, 1);
    }
}

#endif
