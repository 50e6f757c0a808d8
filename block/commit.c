/* SPDX-License-Identifier: MIT */
/*
 * Commit: what the layers above a base hold goes into the base.
 *
 * Some coroutines each take the next piece under the planner's lock, read it through the
 * top and write it to the base. A piece is a whole number of granules (clusters of the base, within
 * bounds), all of which hold something above the base; what a granule shows besides is written along
 * with it. Pieces do not overlap, and what is read does not come from what is being written, except
 * for those parts, which stay the same. Areas without data are written as zeroes.
 *
 * All coroutines run in the calling thread.
 */
#include "node.h"

#define NUM_WORKERS     8
#define PIECE_BYTES     (1024 * 1024)
#define ZERO_BYTES      (256 * 1024 * 1024LL)
#define MIN_GRANULARITY 4096
#define MAX_GRANULARITY 65536

typedef struct Commit {
    CoCall call;
    BlockBackend *from, *to;
    BlockDriverState *top, *base;
    int64_t length, granularity;
    int64_t rate;        /* bytes per second; 0: any */
    BlockProgress *progress;
    void *opaque;

    CoMutex planner;     /* guards the next two */
    int64_t position;    /* next byte to look at */
    int64_t run_end;     /* up to here there is something above the base */

    int64_t rate_start;  /* ns */
    uint64_t rate_bytes; /* sent since */
    unsigned running;
    Coroutine *main;
    int ret;
} Commit;

typedef struct Piece {
    int64_t offset, bytes;
    bool zero;
} Piece;

/* --- what comes next --- */

/* Moves position to the next granule that has something above the base. 1, 0: none, or -errno. */
static int coroutine_fn find_run(Commit *c)
{
    while (c->position < c->length && c->position >= c->run_end) {
        int64_t n;
        int ret = bdrv_co_is_allocated_above(c->top, c->base, false, c->position,
                                             c->length - c->position, &n);

        if (ret < 0) {
            return ret;
        }
        if (ret) {
            c->run_end = MIN(ROUND_UP(c->position + n, c->granularity), c->length);
            c->position = ROUND_DOWN(c->position, c->granularity);
        } else {
            c->position += n;
        }
    }
    return c->position < c->length;
}

/* Is there no data in whole granules from position on? Then how much; otherwise a piece of data. */
static int coroutine_fn size_piece(Commit *c, Piece *piece)
{
    int64_t bytes = c->run_end - c->position, n;
    int ret = bdrv_co_block_status_above(c->top, NULL, c->position, bytes, &n, NULL, NULL);

    if (ret < 0) {
        return ret;
    }
    if (n < bytes) {
        n = MIN(bytes, MAX(ROUND_DOWN(n, c->granularity), c->granularity));
    }
    piece->zero = !(ret & BDRV_BLOCK_DATA) && (ret & BDRV_BLOCK_ZERO);
    if (piece->zero && n <= c->granularity) {
        /* It may have been rounded up. */
        ret = bdrv_co_block_status_above(c->top, NULL, c->position, n, &bytes, NULL, NULL);
        piece->zero = ret >= 0 && bytes == n;
    }
    piece->offset = c->position;
    piece->bytes = MIN(n, piece->zero ? ZERO_BYTES : PIECE_BYTES);
    return 0;
}

/* 1, 0 at the end, or -errno. */
static int coroutine_fn next_piece(Commit *c, Piece *piece)
{
    int ret;

    qemu_co_mutex_lock(&c->planner);
    ret = c->ret < 0 ? 0 : find_run(c);
    if (ret > 0) {
        int sized = size_piece(c, piece);

        ret = sized < 0 ? sized : 1;
    }
    if (ret > 0) {
        c->position += piece->bytes;
    }
    if (c->progress) {
        c->progress(c->opaque, MIN(c->position, c->length), c->length);
    }
    qemu_co_mutex_unlock(&c->planner);
    return ret;
}

/* --- copying --- */

static void coroutine_fn limit_rate(Commit *c, int64_t bytes)
{
    int64_t due, now;

    if (!c->rate) {
        return;
    }
    due = c->rate_start + (int64_t)((double)c->rate_bytes * NANOSECONDS_PER_SECOND / c->rate);
    now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    c->rate_bytes += bytes;
    if (due > now) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, due - now);
    }
}

static int coroutine_fn copy_piece(Commit *c, const Piece *piece, uint8_t *buf)
{
    int ret;

    limit_rate(c, piece->zero ? 0 : piece->bytes);
    if (piece->zero) {
        return blk_co_pwrite_zeroes(c->to, piece->offset, piece->bytes, BDRV_REQ_MAY_UNMAP);
    }
    ret = blk_co_pread(c->from, piece->offset, piece->bytes, buf, 0);
    return ret < 0 ? ret : blk_co_pwrite(c->to, piece->offset, piece->bytes, buf, 0);
}

static void coroutine_fn worker_entry(void *opaque)
{
    Commit *c = opaque;
    uint8_t *buf = blk_try_blockalign(c->to, PIECE_BYTES);
    Piece piece;
    int ret = buf ? 0 : -ENOMEM;

    while (ret == 0) {
        ret = next_piece(c, &piece);
        if (ret <= 0) {
            break;
        }
        ret = copy_piece(c, &piece, buf);
    }
    qemu_vfree(buf);
    if (ret < 0 && c->ret == 0) {
        c->ret = ret;
    }
    if (--c->running == 0) {
        aio_co_wake(c->main);
    }
}

static void coroutine_fn commit_entry(CoCall *call)
{
    Commit *c = container_of(call, Commit, call);

    c->main = qemu_coroutine_self();
    c->rate_start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    c->running = NUM_WORKERS + 1; /* one is this one's, so that nobody wakes it too early */
    for (unsigned i = 0; i < NUM_WORKERS; i++) {
        Coroutine *worker = qemu_coroutine_create_attr(worker_entry, c, NULL);

        if (worker) {
            qemu_coroutine_enter(worker);
        } else {
            c->running--;
            c->ret = c->ret ?: -ENOMEM;
        }
    }
    if (--c->running) {
        qemu_coroutine_yield();
    }
    call->ret = c->ret ?: blk_co_flush(c->to);
}

/* --- preparations --- */

static int64_t granularity_of(BlockDriverState *base)
{
    BlockDriverInfo info;

    if (bdrv_get_info(base, &info) < 0 || info.cluster_size <= 0) {
        return MAX_GRANULARITY;
    }
    return CLAMP(info.cluster_size, MIN_GRANULARITY, MAX_GRANULARITY);
}

static bool is_below(BlockDriverState *top, const BlockDriverState *base)
{
    BlockDriverState *bs = bdrv_skip_filters(top);

    while (bs && bs != base) {
        bs = bs->backing ? bs->backing->bs : bs->file && bs->drv->is_filter ? bs->file->bs : NULL;
    }
    return bs && bs != bdrv_skip_filters(top);
}

static int grow_base(Commit *c, Error **errp)
{
    int64_t base_length = blk_getlength(c->to);
    int ret;

    if (base_length < 0) {
        error_setg_errno(errp, -base_length, "Could not get the size of '%s'", c->base->filename);
        return base_length;
    }
    if (base_length >= c->length) {
        return 0;
    }
    /* Part of the job as far as messages go, as in QEMU. */
    ret = blk_truncate(c->to, c->length, false, PREALLOC_MODE_OFF, 0, NULL);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Block job failed");
    }
    return ret;
}

int blk_commit(BlockBackend *blk, BlockDriverState *base, int64_t rate, BlockProgress *progress,
               void *opaque, Error **errp)
{
    Commit c = { .call.fn = commit_entry,
                 .from = blk,
                 .top = blk_bs(blk),
                 .base = base,
                 .granularity = granularity_of(base),
                 .length = blk_getlength(blk),
                 .rate = rate,
                 .progress = progress,
                 .opaque = opaque };
    int ret = c.length;

    if (c.length < 0 || !is_below(c.top, base)) {
        ret = c.length < 0 ? c.length : -EINVAL;
        error_setg_errno(errp, -ret, "Cannot commit to '%s'", base->filename);
        return ret;
    }
    c.to = blk_new(blk_get_aio_context(blk),
                   BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL);
    ret = blk_insert_bs(c.to, base, errp);
    if (ret == 0) {
        ret = grow_base(&c, errp);
    }
    if (ret == 0) {
        qemu_co_mutex_init(&c.planner);
        ret = co_call(&c.call);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Block job failed");
        }
    }
    blk_unref(c.to);
    return ret;
}
