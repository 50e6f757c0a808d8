/* SPDX-License-Identifier: MIT */
/*
 * For authors of I/O engines: how the file driver's requests reach the kernel.
 *
 * An engine is a table. The file driver opens the file, picks the engine, and asks
 * it to move data; everything else (fallocate, truncate, ...) goes to threads.
 *
 * One engine state (IOEngineState) per engine and AioContext, made at the first
 * request in that context and owned by its thread: no locks on the submission
 * path. A context's states die with the context.
 */
#ifndef BLOCK_IO_ENGINE_H
#define BLOCK_IO_ENGINE_H

#include <sys/types.h>
#include "block/block-common.h"
#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

typedef enum {
    IO_ENGINE_READ,
    IO_ENGINE_WRITE,
    IO_ENGINE_FLUSH,  /* fdatasync */
} IOEngineOp;

typedef struct IOEngineState IOEngineState;

typedef struct IOEngine {
    const char *name;             /* as in aio=NAME */

    /*
     * Can this engine serve a file opened with @open_flags (open(2))? 0 or -errno
     * with @errp, which tells the user what to change.
     */
    int (*check_open)(int fd, int open_flags, Error **errp);

    /*
     * State for one context, in that context's thread; NULL with @errp. An engine without
     * attach has no state: submit gets a pointer that it must not look at.
     */
    IOEngineState *(*attach)(AioContext *ctx, Error **errp);
    /* Nothing is in flight; same thread, or the context is already dead to others. */
    void (*detach)(IOEngineState *state, AioContext *ctx);

    /*
     * Moves @bytes at @offset to or from @qiov from @qiov_offset on; yields until
     * done. 0 or -errno. Short transfers are resumed inside; a read beyond
     * the end of the file fills with zeroes, as the file driver's length may be rounded up;
     * a write that moves nothing is -ENOSPC. BDRV_REQ_FUA: durable when it returns.
     * Buffers are as the file wants them (O_DIRECT's alignment). FLUSH: @qiov is NULL.
     * Inside a plug section (defer_call_begin) submission waits for its end.
     */
    int coroutine_fn (*submit)(IOEngineState *state, int fd, IOEngineOp op, int64_t offset,
                               int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags);
} IOEngine;

extern const IOEngine io_engine_native;
extern const IOEngine io_engine_threads;
/* Only in builds with liburing: ask io_engine_find(). */
extern const IOEngine io_engine_io_uring;

/* NULL: no engine of that name is built in. */
const IOEngine *io_engine_find(const char *name);

/*
 * For an engine whose request is complete: enters its coroutine @co, and calls back for
 * the blk_aio_* requests that ended with it; at once rather than from a bottom half, as
 * what they send next finds the memory of this one still in the cache. Home thread of @ctx,
 * not in a coroutine. The callbacks may poll @ctx, and so come back to the engine.
 */
void io_engine_complete(AioContext *ctx, Coroutine *co);

/*
 * The calling thread's state of @engine, made if need be. NULL with @errp
 * (for example no AIO context left in the system). Any thread that has an AioContext;
 * the state is for this thread only, so look it up again after a change of context.
 */
IOEngineState *io_engine_get_state(const IOEngine *engine, Error **errp);

G_END_DECLS
#pragma GCC visibility pop

#endif
