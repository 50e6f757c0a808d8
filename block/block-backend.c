/* SPDX-License-Identifier: MIT */
/*
 * BlockBackend: the image as its user has it. Here: life, requests by coroutine, blocking
 * requests. Requests by callback are in blk-aio.c, what one can ask in blk-info.c.
 *
 * The backend is where requests are counted and, while drained, held back; see drain.c.
 */
#include "node.h"
#include "qemu/aio-wait.h"
#include "qemu/defer-call.h"

/* All backends, for blk_drain_all(). */
static QTAILQ_HEAD(, BlockBackend) all_backends = QTAILQ_HEAD_INITIALIZER(all_backends);
static GMutex all_backends_lock;

/* --- life --- */

BlockBackend *blk_new(AioContext *ctx, uint64_t perm, uint64_t shared_perm)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    blk->ctx = ctx;
    aio_context_ref(ctx);
    blk->refcnt = 1;
    blk->root.perm = perm;
    blk->root.shared_perm = shared_perm;
    qemu_mutex_init(&blk->queue_lock);
    wait_list_init(&blk->waiting);
    g_mutex_lock(&all_backends_lock);
    QTAILQ_INSERT_TAIL(&all_backends, blk, next);
    g_mutex_unlock(&all_backends_lock);
    return blk;
}

static void open_perms(int flags, uint64_t *perm, uint64_t *shared)
{
    *perm = flags & BDRV_O_NO_IO ? 0 : BLK_PERM_CONSISTENT_READ;
    *shared = BLK_PERM_ALL;
    if (flags & BDRV_O_NO_SHARE) {
        *shared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    }
    if (flags & BDRV_O_RDWR) {
        *perm |= BLK_PERM_WRITE;
    }
    if (flags & BDRV_O_RESIZE) {
        *perm |= BLK_PERM_RESIZE;
    }
}

BlockBackend *blk_new_open(const char *filename, const char *reference,
                           BlockOptions *options, int flags, Error **errp)
{
    AioContext *ctx = thread_context_begin();
    BlockBackend *blk = NULL;
    BlockDriverState *bs;
    uint64_t perm, shared;

    if (!ctx) {
        error_setg_errno(errp, EMFILE, "Could not make an event loop");
        blk_options_free(options);
        return NULL;
    }
    bs = bdrv_open(filename, reference, options, flags, errp);
    if (bs) {
        open_perms(flags, &perm, &shared);
        blk = blk_new(ctx, perm, shared);
        if (blk_insert_bs(blk, bs, errp) < 0) {
            blk_unref(blk);
            blk = NULL;
        }
        bdrv_unref(bs);
    }
    thread_context_end();
    return blk;
}

void blk_ref(BlockBackend *blk)
{
    qatomic_inc(&blk->refcnt);
}

/* In the home thread. */
static void blk_free(void *opaque)
{
    BlockBackend *blk = opaque;

    /* Nobody is left who could end them, and requests may wait for that. */
    while (blk->drained) {
        blk_drained_end(blk);
    }
    blk_wait_idle(blk);
    blk_remove_bs(blk);
    /* Those that waited for the end of a drained section of the node. */
    blk_wait_idle(blk);
    g_assert(!blk->waiting.first);
    g_mutex_lock(&all_backends_lock);
    QTAILQ_REMOVE(&all_backends, blk, next);
    g_mutex_unlock(&all_backends_lock);
    qemu_mutex_destroy(&blk->queue_lock);
    aio_context_unref(blk->ctx);
    g_free(blk);
}

/*
 * The count of a backend that closes: the callbacks of its last requests may still take
 * and drop references.
 */
#define REFCNT_CLOSING (1u << 30)

void blk_unref(BlockBackend *blk)
{
    unsigned old, seen;

    if (!blk) {
        return;
    }
    for (old = qatomic_read(&blk->refcnt);; old = seen) {
        g_assert(old > 0);
        seen = qatomic_cmpxchg(&blk->refcnt, old, old == 1 ? REFCNT_CLOSING : old - 1);
        if (seen == old) {
            break;
        }
    }
    if (old == 1) {
        drain_step(qatomic_read(&blk->ctx), blk_free, blk);
    }
}

/* For those who find it in a list: false when it closes already. */
static bool blk_try_ref(BlockBackend *blk)
{
    unsigned old, seen;

    for (old = qatomic_read(&blk->refcnt); old < REFCNT_CLOSING / 2; old = seen) {
        seen = qatomic_cmpxchg(&blk->refcnt, old, old + 1);
        if (seen == old) {
            return true;
        }
    }
    return false;
}

int blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp)
{
    int ret;

    if (blk->root.bs) {
        error_setg(errp, "The backend has an image already");
        return -EBUSY;
    }
    if (bs->core->ctx != blk->ctx) {
        if (bs->core->parents->len) {
            error_setg(errp, "Image '%s' is in use in another context", bs->filename);
            return -EBUSY;
        }
        bdrv_set_node_context(bs, blk->ctx);
    }
    /* The drained sections of the backend become those of its image, too. */
    for (int i = 0; i < blk->drained; i++) {
        bdrv_drained_begin(bs);
    }
    ret = bdrv_attach_root(&blk->root, bs, blk->root.perm, blk->root.shared_perm, errp);
    for (int i = 0; ret < 0 && i < blk->drained; i++) {
        bdrv_drained_end(bs);
    }
    return ret;
}

void blk_remove_bs(BlockBackend *blk)
{
    if (blk->root.bs) {
        blk_drained_begin(blk);
        for (int i = 0; i < blk->drained; i++) {
            bdrv_unquiesce(blk->root.bs);
        }
        bdrv_detach_root(&blk->root);
        blk_drained_end(blk);
    }
}

void blk_get_perm(BlockBackend *blk, uint64_t *perm, uint64_t *shared_perm)
{
    *perm = blk->root.perm;
    *shared_perm = blk->root.shared_perm;
}

int blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm, Error **errp)
{
    uint64_t old_perm = blk->root.perm;
    uint64_t old_shared = blk->root.shared_perm;
    int ret = 0;

    blk_drained_begin(blk);
    blk->root.perm = perm;
    blk->root.shared_perm = shared_perm;
    if (blk->root.bs) {
        ret = bdrv_refresh_perms(blk->root.bs, errp);
    }
    if (ret < 0) {
        blk->root.perm = old_perm;
        blk->root.shared_perm = old_shared;
    }
    blk_drained_end(blk);
    return ret;
}

BlockDriverState *blk_bs(BlockBackend *blk)
{
    return blk->root.bs;
}

AioContext *blk_get_aio_context(BlockBackend *blk)
{
    return blk->ctx;
}

typedef struct ContextMove {
    BlockBackend *blk;
    AioContext *to;
} ContextMove;

/* In the old home thread, drained. */
static void move_to_context(void *opaque)
{
    ContextMove *move = opaque;
    BlockBackend *blk = move->blk;

    if (blk->root.bs) {
        bdrv_set_node_context(blk->root.bs, move->to);
    }
    /*
     * Requests may have begun in one thread and ended in another: only the sum is zero,
     * and the new home thread begins with all of it in the shared counter.
     */
    qatomic_add(&blk->other_in_flight, blk->home_in_flight);
    blk->home_in_flight = 0;
    qatomic_store_release(&blk->ctx, move->to); /* pairs with blk_at_home() */
}

int blk_set_aio_context(BlockBackend *blk, AioContext *new_context, Error **errp)
{
    BlockDriverState *bs = blk->root.bs;
    AioContext *old = blk->ctx;
    ContextMove move = { blk, new_context };

    if (new_context == old) {
        return 0;
    }
    if (bs && bs->core->parents->len > 1) {
        error_setg(errp, "Image '%s' has other users in its context", bs->filename);
        return -EBUSY;
    }
    blk_drained_begin(blk);
    aio_context_ref(new_context);
    run_in_context(old, move_to_context, &move);
    /* In the new home: the old one has no say in the counters any more. */
    blk_drained_end(blk);
    aio_context_unref(old);
    return 0;
}

/* --- requests by coroutine --- */

/*
 * Waits until nobody drains. Nothing is in flight meanwhile, so the request is not
 * counted: but it is in the list before it counts itself out, and blk_unquiesce() counts
 * it before it takes it off, so that the backend does not go away.
 */
void coroutine_fn blk_wait_while_drained(BlockBackend *blk, bool *home)
{
    while (blk_is_quiesced(blk)) {
        Waiter waiter = { .co = qemu_coroutine_self() };

        qemu_mutex_lock(&blk->queue_lock);
        if (!blk->quiesce) {
            qemu_mutex_unlock(&blk->queue_lock);
            return;
        }
        wait_list_add(&blk->waiting, &waiter);
        blk_end_request(blk, *home);
        qemu_mutex_unlock(&blk->queue_lock);
        /* Who wakes us from another thread schedules us here, see wait_list_sleep(). */
        qemu_coroutine_yield();
        *home = false;
    }
}

/* Counts a request, and holds it back while drained; the counterpart is end_here(). */
static inline void coroutine_fn begin_here(BlockBackend *blk)
{
    bool home = blk_at_home(blk);

    blk_begin_request(blk, home);
    if (unlikely(blk_is_quiesced(blk))) {
        blk_wait_while_drained(blk, &home);
    }
}

/* The thread at the end may be another than at the beginning: only the sum counts. */
static void coroutine_fn end_here(BlockBackend *blk)
{
    blk_end_request(blk, blk_at_home(blk));
}

/* The range lies within an image that is there. */
static int coroutine_fn check_request(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    int64_t length;

    if (bytes < 0) {
        return -EIO;
    }
    if (!blk_is_available(blk)) {
        return -ENOMEDIUM;
    }
    if (check_range(offset, bytes) < 0) {
        return -EIO;
    }
    length = bdrv_co_length_for(blk->root.bs, offset + bytes);
    if (length < 0) {
        return length;
    }
    return offset > length || length - offset < bytes ? -EIO : 0;
}

static int coroutine_fn check_write(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    int ret = check_request(blk, offset, bytes);

    if (ret == 0 && !(blk->root.perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED))) {
        return -EPERM;
    }
    return ret;
}

int coroutine_fn blk_do_preadv(BlockBackend *blk, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags)
{
    BlockDriverState *bs;
    int ret;

    bs = blk->root.bs;
    if (likely(bs && flags == 0 &&
               request_is_simple(bs, offset, bytes, qiov, qiov_offset))) {
        return driver_preadv(bs, offset, bytes, qiov, qiov_offset, 0);
    }
    ret = check_request(blk, offset, bytes);
    return ret < 0
               ? ret
               : bdrv_co_preadv_part(&blk->root, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn blk_do_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset,
                                BdrvRequestFlags flags)
{
    int ret;

    ret = check_write(blk, offset, bytes);
    if (ret < 0) {
        return ret;
    }
    if (blk->write_through) {
        flags |= BDRV_REQ_FUA;
    }
    return bdrv_co_pwritev_part(&blk->root, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn blk_do_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags)
{
    int ret;

    ret = check_write(blk, offset, bytes);
    if (ret < 0) {
        return ret;
    }
    if (blk->write_through) {
        flags |= BDRV_REQ_FUA;
    }
    return bdrv_co_pwrite_zeroes(&blk->root, offset, bytes, flags);
}

int coroutine_fn blk_do_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    int ret;

    ret = check_write(blk, offset, bytes);
    return ret < 0 ? ret : bdrv_co_pdiscard(&blk->root, offset, bytes);
}

int coroutine_fn blk_do_flush(BlockBackend *blk)
{
    return blk_is_available(blk) ? bdrv_co_flush(blk->root.bs) : -ENOMEDIUM;
}

int coroutine_fn blk_co_preadv_part(BlockBackend *blk, int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset,
                                    BdrvRequestFlags flags)
{
    int ret;

    begin_here(blk);
    ret = blk_do_preadv(blk, offset, bytes, qiov, qiov_offset, flags);
    end_here(blk);
    return ret;
}

int coroutine_fn blk_co_pwritev_part(BlockBackend *blk, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    int ret;

    begin_here(blk);
    ret = blk_do_pwritev(blk, offset, bytes, qiov, qiov_offset, flags);
    end_here(blk);
    return ret;
}

int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return blk_co_preadv_part(blk, offset, bytes, qiov, 0, flags);
}

int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return blk_co_pwritev_part(blk, offset, bytes, qiov, 0, flags);
}

int coroutine_fn blk_co_pread(BlockBackend *blk, int64_t offset, int64_t bytes, void *buf,
                              BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return blk_co_preadv_part(blk, offset, bytes, &qiov, 0, flags);
}

int coroutine_fn blk_co_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes,
                               const void *buf, BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return blk_co_pwritev_part(blk, offset, bytes, &qiov, 0, flags);
}

int coroutine_fn blk_co_pwrite_compressed(BlockBackend *blk, int64_t offset,
                                          int64_t bytes, const void *buf)
{
    return blk_co_pwrite(blk, offset, bytes, buf, BDRV_REQ_WRITE_COMPRESSED);
}

int coroutine_fn blk_co_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags)
{
    int ret;

    begin_here(blk);
    ret = blk_do_pwrite_zeroes(blk, offset, bytes, flags);
    end_here(blk);
    return ret;
}

int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    int ret;

    begin_here(blk);
    ret = blk_do_pdiscard(blk, offset, bytes);
    end_here(blk);
    return ret;
}

/*
 * As begin_here() for both. Who waits for one to be drained must not be counted in the other, which a
 * drain of both would wait for.
 */
static void coroutine_fn begin_both(BlockBackend *in, BlockBackend *out)
{
    while (true) {
        bool home;

        begin_here(in);
        home = blk_at_home(out);
        blk_begin_request(out, home);
        if (likely(!blk_is_quiesced(out))) {
            return;
        }
        end_here(in);
        blk_wait_while_drained(out, &home);
        end_here(out);
    }
}

int coroutine_fn blk_co_copy_range(BlockBackend *blk_in, int64_t off_in, BlockBackend *blk_out,
                                   int64_t off_out, int64_t bytes, BdrvRequestFlags read_flags,
                                   BdrvRequestFlags write_flags)
{
    int ret;

    begin_both(blk_in, blk_out);
    ret = check_request(blk_in, off_in, bytes);
    if (ret == 0) {
        ret = check_write(blk_out, off_out, bytes);
    }
    if (ret == 0) {
        write_flags |= blk_out->write_through ? BDRV_REQ_FUA : 0;
        ret = bdrv_co_copy_range(&blk_in->root, off_in, &blk_out->root, off_out, bytes,
                                 read_flags, write_flags);
    }
    end_here(blk_out);
    end_here(blk_in);
    return ret;
}

int coroutine_fn blk_co_flush(BlockBackend *blk)
{
    int ret;

    begin_here(blk);
    ret = blk_do_flush(blk);
    end_here(blk);
    return ret;
}

static int coroutine_fn truncate_checked(BlockBackend *blk, int64_t offset, bool exact,
                                         PreallocMode prealloc, BdrvRequestFlags flags,
                                         Error **errp)
{
    if (!blk_is_available(blk)) {
        error_setg(errp, "No medium inserted");
        return -ENOMEDIUM;
    }
    if (!blk->root.bs->read_only && !(blk->root.perm & BLK_PERM_RESIZE)) {
        error_setg(errp, "The image was not opened for resizing");
        return -EPERM;
    }
    return bdrv_co_truncate(&blk->root, offset, exact, prealloc, flags, errp);
}

int coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact,
                                 PreallocMode prealloc, BdrvRequestFlags flags,
                                 Error **errp)
{
    int ret;

    begin_here(blk);
    ret = truncate_checked(blk, offset, exact, prealloc, flags, errp);
    end_here(blk);
    return ret;
}

int coroutine_fn blk_co_block_status(BlockBackend *blk, int64_t offset, int64_t bytes,
                                     int64_t *pnum)
{
    int ret;

    *pnum = 0;
    begin_here(blk);
    ret = blk_is_available(blk) ? bdrv_co_block_status_above(blk->root.bs, NULL, offset, bytes,
                                                           pnum, NULL, NULL)
                                : -ENOMEDIUM;
    end_here(blk);
    return ret;
}

/* --- blocking requests --- */

typedef struct BlkCall {
    CoCall call;
    BlockBackend *blk;
    int64_t offset, bytes;
    QEMUIOVector *qiov;
    BdrvRequestFlags flags;
    bool exact;
    PreallocMode prealloc;
    int64_t *pnum;
    Error **errp;
} BlkCall;

#define BLK_CALL(c) container_of(c, BlkCall, call)

static void coroutine_fn call_preadv(CoCall *c)
{
    BlkCall *b = BLK_CALL(c);

    c->ret = blk_co_preadv(b->blk, b->offset, b->bytes, b->qiov, b->flags);
}

static void coroutine_fn call_pwritev(CoCall *c)
{
    BlkCall *b = BLK_CALL(c);

    c->ret = blk_co_pwritev(b->blk, b->offset, b->bytes, b->qiov, b->flags);
}

static void coroutine_fn call_pwrite_zeroes(CoCall *c)
{
    BlkCall *b = BLK_CALL(c);

    c->ret = blk_co_pwrite_zeroes(b->blk, b->offset, b->bytes, b->flags);
}

static void coroutine_fn call_pdiscard(CoCall *c)
{
    BlkCall *b = BLK_CALL(c);

    c->ret = blk_co_pdiscard(b->blk, b->offset, b->bytes);
}

static void coroutine_fn call_flush(CoCall *c)
{
    c->ret = blk_co_flush(BLK_CALL(c)->blk);
}

static void coroutine_fn call_truncate(CoCall *c)
{
    BlkCall *b = BLK_CALL(c);

    c->ret = blk_co_truncate(b->blk, b->offset, b->exact, b->prealloc, b->flags, b->errp);
}

static void coroutine_fn call_block_status(CoCall *c)
{
    BlkCall *b = BLK_CALL(c);

    c->ret = blk_co_block_status(b->blk, b->offset, b->bytes, b->pnum);
}

int blk_preadv(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
               BdrvRequestFlags flags)
{
    BlkCall b = { .call.fn = call_preadv,
                  .blk = blk,
                  .offset = offset,
                  .bytes = bytes,
                  .qiov = qiov,
                  .flags = flags };

    return co_call(&b.call);
}

int blk_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                BdrvRequestFlags flags)
{
    BlkCall b = { .call.fn = call_pwritev,
                  .blk = blk,
                  .offset = offset,
                  .bytes = bytes,
                  .qiov = qiov,
                  .flags = flags };

    return co_call(&b.call);
}

int blk_pread(BlockBackend *blk, int64_t offset, int64_t bytes, void *buf,
              BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return blk_preadv(blk, offset, bytes, &qiov, flags);
}

int blk_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes, const void *buf,
               BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return blk_pwritev(blk, offset, bytes, &qiov, flags);
}

int blk_pwrite_compressed(BlockBackend *blk, int64_t offset, int64_t bytes,
                          const void *buf)
{
    return blk_pwrite(blk, offset, bytes, buf, BDRV_REQ_WRITE_COMPRESSED);
}

int blk_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                      BdrvRequestFlags flags)
{
    BlkCall b = { .call.fn = call_pwrite_zeroes,
                  .blk = blk,
                  .offset = offset,
                  .bytes = bytes,
                  .flags = flags };

    return co_call(&b.call);
}

int blk_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    BlkCall b = {
        .call.fn = call_pdiscard, .blk = blk, .offset = offset, .bytes = bytes
    };

    return co_call(&b.call);
}

int blk_flush(BlockBackend *blk)
{
    BlkCall b = { .call.fn = call_flush, .blk = blk };

    return co_call(&b.call);
}

int blk_truncate(BlockBackend *blk, int64_t offset, bool exact, PreallocMode prealloc,
                 BdrvRequestFlags flags, Error **errp)
{
    ERRP_GUARD();
    BlkCall b = { .call.fn = call_truncate,
                  .blk = blk,
                  .offset = offset,
                  .exact = exact,
                  .prealloc = prealloc,
                  .flags = flags,
                  .errp = errp };
    int ret = co_call(&b.call);

    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not resize the image");
    }
    return ret;
}

int blk_block_status(BlockBackend *blk, int64_t offset, int64_t bytes, int64_t *pnum)
{
    BlkCall b = { .call.fn = call_block_status,
                  .blk = blk,
                  .offset = offset,
                  .bytes = bytes,
                  .pnum = pnum };

    return co_call(&b.call);
}

int blk_make_zero(BlockBackend *blk, BdrvRequestFlags flags)
{
    int64_t length = blk_getlength(blk);
    int64_t n;

    if (length < 0) {
        return length;
    }
    for (int64_t offset = 0; offset < length; offset += n) {
        int ret = blk_block_status(blk, offset,
                                   MIN(length - offset, BDRV_REQUEST_MAX_BYTES), &n);

        if (ret >= 0 && !(ret & BDRV_BLOCK_ZERO)) {
            ret = blk_pwrite_zeroes(blk, offset, n, flags | BDRV_REQ_NO_FALLBACK);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* --- drain, plug --- */

void blk_drain_all(void)
{
    g_autoptr(GPtrArray) mine = g_ptr_array_new();
    BlockBackend *blk;

    g_mutex_lock(&all_backends_lock);
    QTAILQ_FOREACH (blk, &all_backends, next) {
        if (thread_owns_context(qatomic_read(&blk->ctx)) && blk_try_ref(blk)) {
            g_ptr_array_add(mine, blk);
        }
    }
    g_mutex_unlock(&all_backends_lock);
    for (guint i = 0; i < mine->len; i++) {
        blk_drained_begin(g_ptr_array_index(mine, i));
    }
    for (guint i = 0; i < mine->len; i++) {
        blk_drained_end(g_ptr_array_index(mine, i));
        blk_unref(g_ptr_array_index(mine, i));
    }
}

void blk_io_plug(void)
{
    defer_call_begin();
}

void blk_io_unplug(void)
{
    defer_call_end();
}
