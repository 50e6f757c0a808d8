/* SPDX-License-Identifier: MIT */
/*
 * Engine "io_uring": every file, buffered or O_DIRECT, in one ring per context.
 *
 * A request lies on the stack of its coroutine, which fills an entry of the submission ring
 * and yields until the completion. The kernel is given the entries in one io_uring_enter(2):
 *   - at once, for a request that comes alone;
 *   - at the end of a defer_call section, for those sent inside one;
 *   - behind a batch of completions, for those that woken coroutines send.
 * There are never more requests in the rings than the completion ring has room for, so it does
 * not overflow; what comes on top waits, in order, until completions make room.
 *
 * Completions are read from the ring without a system call. The loop sleeps on the ring's own
 * descriptor, which is readable while there are some, so nothing has to be read or reset; awake,
 * the loop finds them through io_poll, as well as entries left behind. An aio_poll inside of a
 * callback, whose handler is not asked, finds the descriptor readable, and has a bottom half for
 * the entries (schedule_bh).
 *
 * Everything belongs to the thread of the state's context. The kernel shares the rings.
 */
#include <liburing.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/queue.h"

#include "block/engine/io-transfer.h"
#include "block/engine/memcheck.h"
#include "block/io-engine.h"

/* Entries of the submission ring; the completion ring has twice as many. */
#define URING_ENTRIES 128
#define URING_MAX_IN_FLIGHT (2 * URING_ENTRIES)

/* Completions handed out in one go; others of the loop's handlers have their turn then. */
#define URING_MAX_ROUND 256

/* Longest queue that waits for a batch to end: as for Linux AIO. */
#define URING_DEFAULT_BATCH 64

/* The result of a request that is not complete; outside the range of -errno and of lengths. */
#define URING_IN_PROGRESS INT_MIN

typedef struct UringRequest {
    const IOTransfer *transfer;
    Coroutine *co;
    int result;               /* of the kernel: bytes or -errno */
    QSIMPLEQ_ENTRY(UringRequest) next;
} UringRequest;

typedef struct UringState {
    AioContext *aio_context;
    struct io_uring ring;
    QSIMPLEQ_HEAD(, UringRequest) waiting; /* for room in the rings, in order */
    unsigned unsent;          /* entries of the submission ring, not yet in the kernel */
    unsigned in_flight;       /* in the kernel */
    unsigned max_batch;
    QEMUBH *bh;               /* sends entries, for an aio_poll inside of process_completions */
    bool bh_scheduled;
    bool processing;          /* completions are being handed out: the entries can wait */
    bool blocked;             /* the kernel took none: wait for completions */
    bool memcheck;            /* Valgrind wants to hear what reads have filled */
} UringState;

static UringState *to_uring(IOEngineState *state)
{
    return (UringState *)state;
}

static inline void schedule_bh(UringState *s)
{
    if (!s->bh_scheduled) {
        s->bh_scheduled = true;
        qemu_bh_schedule(s->bh);
    }
}

/* --- submission --- */

static void fill_entry(struct io_uring_sqe *sqe, UringRequest *req)
{
    const IOTransfer *t = req->transfer;
    const bool reads = t->op == IO_ENGINE_READ;

    if (t->op == IO_ENGINE_FLUSH) {
        io_uring_prep_fsync(sqe, t->fd, IORING_FSYNC_DATASYNC);
    } else if (t->slice.niov == 1) {
        /* Lengths are those of one block layer request, below 2 GiB. */
        io_uring_prep_rw(reads ? IORING_OP_READ : IORING_OP_WRITE, sqe, t->fd,
                         t->slice.iov[0].iov_base, t->slice.iov[0].iov_len, t->offset);
    } else {
        io_uring_prep_rw(reads ? IORING_OP_READV : IORING_OP_WRITEV, sqe, t->fd, t->slice.iov,
                         MIN(t->slice.niov, IOV_MAX), t->offset);
    }
    if (t->fua) {
        sqe->rw_flags = RWF_DSYNC;
    }
    io_uring_sqe_set_data(sqe, req);
}

/* Gives the request an entry; false: the rings have no room. */
static bool try_push(UringState *s, UringRequest *req)
{
    struct io_uring_sqe *sqe;

    if (s->in_flight + s->unsent == URING_MAX_IN_FLIGHT) {
        return false;
    }
    sqe = io_uring_get_sqe(&s->ring);
    if (!sqe) {
        return false;
    }
    fill_entry(sqe, req);
    s->unsent++;
    return true;
}

static void push_waiting(UringState *s)
{
    UringRequest *req;

    while ((req = QSIMPLEQ_FIRST(&s->waiting)) && try_push(s, req)) {
        QSIMPLEQ_REMOVE_HEAD(&s->waiting, next);
    }
}

static QEMU_NORETURN void submission_broken(int err)
{
    fprintf(stderr, "blkco: io_uring_enter: %s\n", strerror(err));
    abort();
}

/* Sends what has an entry, and what gets one meanwhile. Enters no coroutine. */
static void submit_entries(UringState *s)
{
    push_waiting(s);
    while (s->unsent && !s->blocked) {
        int ret = io_uring_submit(&s->ring);

        if (ret > 0) {
            s->in_flight += ret;
            s->unsent -= ret;
            push_waiting(s);
        } else if (ret == 0 || ret == -EAGAIN || ret == -EBUSY) {
            /* The kernel is short of memory. */
            s->blocked = true;
            if (!s->in_flight) {
                schedule_bh(s); /* nothing will complete: try again in the next round */
            }
        } else if (ret != -EINTR) {
            submission_broken(-ret); /* not about a request: those fail by a completion */
        }
    }
}

/* At the end of a defer_call section, or at once outside of any. */
static void submit_deferred(void *opaque)
{
    submit_entries(opaque);
}

static void enqueue(UringState *s, UringRequest *req)
{
    if (unlikely(!QSIMPLEQ_EMPTY(&s->waiting) || !try_push(s, req))) {
        QSIMPLEQ_INSERT_TAIL(&s->waiting, req, next);
    }
    if (s->unsent >= s->max_batch) {
        submit_entries(s);
    } else if (!s->processing) {
        defer_call(submit_deferred, s);
    } else {
        schedule_bh(s);
    }
}

/* --- completion --- */

/*
 * Some kernel work that ends in a completion is left for the next system call, of any kind, if
 * the kernel knows IORING_SETUP_COOP_TASKRUN; it then says so in the ring.
 */
static bool has_completions(const UringState *s)
{
    return io_uring_cq_ready(&s->ring) ||
           (qatomic_read(s->ring.sq.kflags) & IORING_SQ_TASKRUN);
}

/* Takes the next completion; NULL: there is none. */
static UringRequest *next_completion(UringState *s)
{
    struct io_uring_cqe *cqe;
    UringRequest *req;

    /* A system call only for work that was left. */
    if (io_uring_peek_cqe(&s->ring, &cqe) < 0) {
        return NULL;
    }
    req = io_uring_cqe_get_data(cqe);
    req->result = cqe->res;
    io_uring_cqe_seen(&s->ring, cqe);
    s->in_flight--;
    s->blocked = false;
    return req;
}

static void prefetch_next(const UringState *s)
{
    const struct io_uring_cq *cq = &s->ring.cq;

    if (io_uring_cq_ready(&s->ring)) {
        io_prefetch_request(io_uring_cqe_get_data(&cq->cqes[*cq->khead & *cq->kring_mask]));
    }
}

/* True: there may be more. */
static bool process_completions(UringState *s)
{
    const bool nested = s->processing;
    UringRequest *req;
    int n = 0;

    s->processing = true;
    /* Each is taken before its coroutine runs: a nested aio_poll finds the others. */
    while (n++ < URING_MAX_ROUND && (req = next_completion(s))) {
        prefetch_next(s);
        io_engine_complete(s->aio_context, req->co);
    }
    s->processing = nested;
    if (s->bh_scheduled) {
        s->bh_scheduled = false;
        qemu_bh_cancel(s->bh);
    }
    submit_entries(s);
    return has_completions(s);
}

static void submit_bh(void *opaque)
{
    UringState *s = opaque;

    s->bh_scheduled = false;
    if (!s->in_flight) {
        s->blocked = false; /* the other try */
    }
    submit_entries(s);
}

static bool uring_poll(void *opaque)
{
    UringState *s = opaque;

    return has_completions(s) || (s->unsent && !s->blocked);
}

/* The descriptor stays readable while there are completions: no bottom half for the rest. */
static void uring_readable(void *opaque)
{
    process_completions(opaque);
}

/* --- one request --- */

static void note_filled(const IOSlice *slice, size_t bytes)
{
    for (int i = 0; bytes > 0; i++) {
        size_t len = MIN(bytes, slice->iov[i].iov_len);

        memcheck_filled(slice->iov[i].iov_base, len);
        bytes -= len;
    }
}

static int coroutine_fn run(UringState *s, const IOTransfer *t)
{
    UringRequest req = { .transfer = t, .co = qemu_coroutine_self(), .result = URING_IN_PROGRESS };

    enqueue(s, &req);
    while (req.result == URING_IN_PROGRESS) {
        qemu_coroutine_yield();
    }
    if (unlikely(s->memcheck) && t->op == IO_ENGINE_READ && req.result > 0) {
        note_filled(&t->slice, req.result);
    }
    return req.result;
}

static int coroutine_fn uring_submit(IOEngineState *state, int fd, IOEngineOp op,
                                     int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset, BdrvRequestFlags flags)
{
    IOTransfer t = { .fd = fd, .op = op, .fua = flags & BDRV_REQ_FUA, .offset = offset };
    int ret = 0;

    if (op != IO_ENGINE_FLUSH) {
        if (bytes == 0) {
            return 0;
        }
        ret = io_slice_init(&t.slice, qiov, qiov_offset, bytes);
    }
    if (ret < 0) {
        return ret;
    }
    do {
        int result = run(to_uring(state), &t);

        /*
         * Files that can only be waited for, such as some devices; and what the kernel cancels by itself
         * when it cannot make a thread that waits (limits, signals).
         */
        ret = unlikely(result == -EAGAIN || result == -ECANCELED) ? io_transfer_by_threads(&t)
                                                                  : io_transfer_step(&t, result);
    } while (ret > 0);
    io_slice_destroy(&t.slice);
    return ret;
}

/* --- open, attach, detach --- */

static int uring_check_open(int fd, int open_flags, Error **errp)
{
    return 0;
}

static void set_setup_error(Error **errp, int err)
{
    if (err == EPERM || err == EACCES) {
        error_setg(errp, "Could not set up io_uring: the system forbids it (sysctl "
                         "kernel.io_uring_disabled, or a filter such as that of a container); "
                         "use aio=threads, or aio=native with cache.direct=on");
    } else if (err == ENOSYS) {
        error_setg(errp, "The kernel has no io_uring, or one before Linux 5.6; use aio=threads, "
                         "or aio=native with cache.direct=on");
    } else {
        error_setg_errno(errp, err, "Could not set up io_uring (aio=threads works without)");
    }
}

/*
 * Atomic: rings that are gone. liburing maps and unmaps without the C library, so
 * ThreadSanitizer takes a ring for one of another thread that was at the same address: this
 * tells it of the order.
 */
static unsigned rings_gone;

static void free_ring(struct io_uring *ring)
{
    qatomic_inc(&rings_gone);
    io_uring_queue_exit(ring);
}

/* Does the kernel also take requests? A filter of system calls may permit the set-up alone. */
static int try_ring(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    int ret;

    io_uring_prep_nop(io_uring_get_sqe(ring));
    do {
        ret = io_uring_submit_and_wait(ring, 1);
    } while (ret == -EINTR);
    if (ret >= 0) {
        ret = io_uring_wait_cqe(ring, &cqe);
    }
    if (ret >= 0) {
        io_uring_cqe_seen(ring, cqe);
    }
    return ret;
}

/* 0 or -errno. */
static int make_ring(struct io_uring *ring)
{
    struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN |
                                               IORING_SETUP_TASKRUN_FLAG };
    int ret = io_uring_queue_init_params(URING_ENTRIES, ring, &params);

    if (ret == -EINVAL) {
        params = (struct io_uring_params) { 0 }; /* before Linux 5.19 */
        ret = io_uring_queue_init_params(URING_ENTRIES, ring, &params);
    }
    if (ret < 0) {
        return ret;
    }
    (void)qatomic_load_acquire(&rings_gone);
    /* IORING_OP_READ and _WRITE came together with this, in Linux 5.6. */
    ret = params.features & IORING_FEAT_RW_CUR_POS ? try_ring(ring) : -ENOSYS;
    if (ret < 0) {
        free_ring(ring);
    }
    return MIN(ret, 0);
}

static IOEngineState *uring_attach(AioContext *ctx, Error **errp)
{
    UringState *s = g_new0(UringState, 1);
    int64_t max_batch = aio_context_get_aio_max_batch(ctx);
    int ret = make_ring(&s->ring);

    if (ret < 0) {
        set_setup_error(errp, -ret);
        g_free(s);
        return NULL;
    }
    s->aio_context = ctx;
    s->memcheck = memcheck_runs();
    s->max_batch = MIN(max_batch > 0 ? max_batch : URING_DEFAULT_BATCH, URING_ENTRIES);
    QSIMPLEQ_INIT(&s->waiting);
    s->bh = aio_bh_new(ctx, submit_bh, s);
    aio_set_fd_handler(ctx, s->ring.ring_fd, uring_readable, NULL, uring_poll, uring_readable, s);
    return (IOEngineState *)s;
}

static void uring_detach(IOEngineState *state, AioContext *ctx)
{
    UringState *s = to_uring(state);

    g_assert(!s->in_flight && !s->unsent && QSIMPLEQ_EMPTY(&s->waiting));
    aio_set_fd_handler(ctx, s->ring.ring_fd, NULL, NULL, NULL, NULL, NULL);
    qemu_bh_delete(s->bh);
    free_ring(&s->ring);
    g_free(s);
}

const IOEngine io_engine_io_uring = {
    .name = "io_uring",
    .check_open = uring_check_open,
    .attach = uring_attach,
    .detach = uring_detach,
    .submit = uring_submit,
};
