/* SPDX-License-Identifier: MIT */
/*
 * Engine "native": Linux AIO (io_setup(2), io_submit(2)) on O_DIRECT files.
 *
 * A request lies on the stack of its coroutine, iocb included; nothing is allocated.
 * It is queued, the queue goes to the kernel in one io_submit, and the coroutine yields
 * until the completion. When the queue is sent:
 *   - at once, for a request that comes alone;
 *   - at the end of a defer_call section, for those sent inside one;
 *   - behind a batch of completions, for those that woken coroutines send.
 * What the kernel does not take (its ring or ours is full) stays queued, in order, until
 * completions make room.
 *
 * Completions are read from the ring that the kernel maps into the process. An eventfd
 * wakes the loop when it sleeps; awake, the loop finds completions through io_poll,
 * which also finds a queue left behind. As the loop asks io_poll before it sleeps, no
 * completion is lost that was signalled before the eventfd was read. An aio_poll inside
 * of a callback has a bottom half instead (schedule_bh).
 *
 * Where nobody but aio_poll waits for the context, the eventfd is left out: requests are silent
 * then, and the loop sleeps here, in io_getevents (qemu/aio-sleeper.h). A poll request for the epoll
 * descriptor, fd_poll, wakes it for everything else.
 *
 * Everything belongs to the thread of the state's context. The kernel shares the ring:
 * it writes events and tail, we write head.
 */
#include <libaio.h>

#include <poll.h>

#include "qemu/osdep.h"
#include "qemu/aio-sleeper.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/event_notifier.h"
#include "qemu/queue.h"
#include "qemu/timer.h"

#include "block/engine/aio-ring.h"
#include "block/engine/io-transfer.h"
#include "block/io-engine.h"

/*
 * Requests in the kernel per context. The system has room for fs.aio-max-nr (65536 by
 * default) in all; few disks profit from more in flight than this.
 */
#define LAIO_MAX_EVENTS 256

/*
 * Completions handed out in one go; others of the loop's handlers have their turn then. The
 * slots go back to the kernel a few at a time: with those of the requests in flight, it
 * must not run out of them.
 */
#define LAIO_MAX_ROUND 256
#define LAIO_RELEASE_EVERY 32

/*
 * Longest queue that waits for a batch to end. Longer makes the disk wait; shorter costs
 * system calls, and the kernel merges neighbours only within one.
 */
#define LAIO_DEFAULT_BATCH 64

/* The stack of the event behind the next is fetched: from the third level cache that takes as long as one runs. */
#define LAIO_PREFETCH_AHEAD 1

typedef struct LaioRequest {
    struct iocb iocb;
    Coroutine *co;
    long result;              /* of the kernel: bytes or -errno; LAIO_* below */
    QSIMPLEQ_ENTRY(LaioRequest) next;
} LaioRequest;

/* How long a sleep lasts at most while fd_poll cannot be sent. */
#define LAIO_BLIND_SLEEP_NS (1000 * 1000)

/* Outside the range of -errno and of lengths. */
enum {
    LAIO_IN_PROGRESS = -100000,
    LAIO_USE_THREADS,         /* the kernel cannot take it now: do it another way */
};

typedef struct LaioState {
    AioContext *aio_context;
    io_context_t ctx;
    EventNotifier notifier;
    int resfd;                /* of notifier: what the kernel signals */
    AioRing ring;
    AioSleeper sleeper;
    struct iocb fd_poll;      /* completes when sleeper.fd is readable */
    bool fd_polled;           /* fd_poll is in the kernel, or its event not yet seen */
    bool fd_ready;            /* it has completed, and the loop has not been told */

    QSIMPLEQ_HEAD(, LaioRequest) queue; /* not yet in the kernel, in order */
    unsigned queued;          /* length of queue */
    unsigned in_flight;       /* in the kernel */
    unsigned max_batch;
    QEMUBH *bh;               /* process_completions, for an aio_poll inside of it */
    bool bh_scheduled;
    bool processing;          /* completions are being handed out: the queue can wait */
    bool blocked;             /* the kernel said EAGAIN: wait for completions */
    bool no_fdsync;           /* the kernel lacks IO_CMD_FDSYNC */
    bool no_dsync;            /* the kernel lacks RWF_DSYNC */
    struct iocb *batch[LAIO_MAX_EVENTS]; /* argument of one io_submit */
} LaioState;

static LaioState *to_laio(IOEngineState *state)
{
    return (LaioState *)state;
}

/* --- submission --- */

static bool can_submit(const LaioState *s)
{
    return s->queued && !s->blocked && s->in_flight < LAIO_MAX_EVENTS;
}

/* Fills s->batch from the head of the queue, which stays as it is. */
static int gather(LaioState *s)
{
    int room = MIN(LAIO_MAX_EVENTS - s->in_flight, s->queued);
    LaioRequest *req = QSIMPLEQ_FIRST(&s->queue);

    for (int i = 0; i < room; i++) {
        s->batch[i] = &req->iocb;
        req = QSIMPLEQ_NEXT(req, next);
    }
    return room;
}

static void unqueue(LaioState *s, unsigned n)
{
    if (n == s->queued) {
        /* As nearly always; the kernel has had the requests in the meantime: not touched once more. */
        s->queued = 0;
        QSIMPLEQ_INIT(&s->queue);
        return;
    }
    s->queued -= n;
    while (n-- > 0) {
        QSIMPLEQ_REMOVE_HEAD(&s->queue, next);
    }
}

/* Ends the first request of the queue without the kernel. */
static void reject_first(LaioState *s, long result)
{
    LaioRequest *req = QSIMPLEQ_FIRST(&s->queue);

    unqueue(s, 1);
    req->result = result;
    /* Its own coroutine, if it is this one, has not yielded: it looks at the result. */
    if (!qemu_coroutine_entered(req->co)) {
        aio_co_wake(req->co);
    }
}

/*
 * Sends the queue. May enter coroutines (of requests that failed), which may come back
 * here: nothing is kept across that.
 */
static void submit_queue(LaioState *s)
{
    while (can_submit(s)) {
        int n = gather(s);
        int ret = io_submit(s->ctx, n, s->batch);

        if (ret > 0) {
            s->in_flight += ret;
            unqueue(s, ret);
        } else if (ret == -EAGAIN || ret == 0) {
            if (s->in_flight) {
                s->blocked = true;
            } else {
                /* Nothing will complete and make room: no use in waiting. */
                reject_first(s, LAIO_USE_THREADS);
            }
        } else if (ret != -EINTR) {
            /* The kernel looks at the requests one by one; this is about the first. */
            reject_first(s, ret);
        }
    }
}

/* At the end of a defer_call section, or at once outside of any. */
static void submit_deferred(void *opaque)
{
    submit_queue(opaque);
}

/*
 * While completions are handed out, a callback may poll: the bottom half is then what finds
 * the other completions (the loop does not ask io_poll again, and the eventfd has
 * been read) and sends the queue.
 */
static inline void schedule_bh(LaioState *s)
{
    if (!s->bh_scheduled) {
        s->bh_scheduled = true;
        qemu_bh_schedule(s->bh);
    }
}

static void enqueue(LaioState *s, LaioRequest *req)
{
    QSIMPLEQ_INSERT_TAIL(&s->queue, req, next);
    s->queued++;
    if (s->queued >= s->max_batch) {
        submit_queue(s);
    } else if (!s->processing) {
        defer_call(submit_deferred, s);
    } else {
        schedule_bh(s);
    }
}

/* --- completion --- */

static void request_done(LaioState *s, const struct io_event *event)
{
    LaioRequest *req = event->data;

    s->in_flight--;
    s->blocked = false;
    req->result = (long)event->res;
    schedule_bh(s);
    io_engine_complete(s->aio_context, req->co);
}

static void fd_poll_done(LaioState *s)
{
    s->fd_polled = false;
    s->fd_ready = true;
}

/* True: there may be more. */
static bool process_completions(LaioState *s)
{
    const bool nested = s->processing;
    struct io_event event;
    int n;

    s->processing = true;
    /* Each event is taken before its coroutine runs: a nested aio_poll finds the others. */
    for (n = 1; n <= LAIO_MAX_ROUND && aio_ring_next(&s->ring, &event); n++) {
        const void *after = aio_ring_peek(&s->ring, LAIO_PREFETCH_AHEAD);

        if (after) {
            io_prefetch_request(after);
        }
        if (n % LAIO_RELEASE_EVERY == 0) {
            aio_ring_release(&s->ring);
        }
        if (unlikely(event.data == &s->fd_poll)) {
            fd_poll_done(s);
        } else {
            request_done(s, &event);
        }
    }
    aio_ring_release(&s->ring);
    s->processing = nested;
    submit_queue(s);
    if (s->bh_scheduled) {
        s->bh_scheduled = false;
        qemu_bh_cancel(s->bh);
    }
    return n > LAIO_MAX_ROUND || aio_ring_has_events(&s->ring);
}

static void process_bh(void *opaque)
{
    LaioState *s = opaque;

    s->bh_scheduled = false;
    if (process_completions(s)) {
        schedule_bh(s);
    }
}

static bool laio_poll(void *opaque)
{
    EventNotifier *notifier = opaque;
    LaioState *s = container_of(notifier, LaioState, notifier);

    return aio_ring_has_events(&s->ring) || can_submit(s);
}

static void laio_poll_ready(EventNotifier *notifier)
{
    LaioState *s = container_of(notifier, LaioState, notifier);

    if (process_completions(s)) {
        schedule_bh(s);
    }
}

static void laio_notified(EventNotifier *notifier)
{
    LaioState *s = container_of(notifier, LaioState, notifier);

    event_notifier_test_and_clear(notifier);
    if (process_completions(s)) {
        /* Left over, and their signals are taken back. */
        event_notifier_set(notifier);
    }
}

/* --- sleeping --- */

static bool send_fd_poll(LaioState *s)
{
    struct iocb *iocb = &s->fd_poll;

    if (!s->fd_polled) {
        io_prep_poll(iocb, s->sleeper.fd, POLLIN);
        iocb->data = iocb;
        s->fd_polled = io_submit(s->ctx, 1, &iocb) == 1;
    }
    return s->fd_polled;
}

static bool laio_sleep(AioSleeper *sleeper, int64_t timeout)
{
    LaioState *s = container_of(sleeper, LaioState, sleeper);
    bool blind = !s->fd_ready && !send_fd_poll(s);

    if (!s->fd_ready) {
        aio_ring_wait(&s->ring, blind ? qemu_soonest_timeout(timeout, LAIO_BLIND_SLEEP_NS) : timeout);
        if (aio_ring_drop(&s->ring, &s->fd_poll)) {
            fd_poll_done(s);
        }
    }
    if (s->fd_ready) {
        s->fd_ready = false;
        return true;
    }
    return blind;
}

static bool laio_look(AioSleeper *sleeper)
{
    LaioState *s = container_of(sleeper, LaioState, sleeper);

    if (!s->processing || !aio_ring_has_events(&s->ring)) {
        return false;
    }
    schedule_bh(s);
    return true;
}

/* Before Linux 4.19 there is no fd_poll, and where the ring cannot be read nothing is gained. */
static void set_sleeper(LaioState *s)
{
    s->sleeper.sleep = laio_sleep;
    s->sleeper.look = laio_look;
    if (s->ring.map && aio_context_set_sleeper(s->aio_context, &s->sleeper) && !send_fd_poll(s)) {
        aio_context_unset_sleeper(s->aio_context, &s->sleeper);
        s->sleeper.may_silent = false;
    }
}

/* --- one request --- */

static void prepare(LaioState *s, LaioRequest *req, const IOTransfer *t, bool dsync)
{
    struct iocb *iocb = &req->iocb;
    const bool reads = t->op == IO_ENGINE_READ;

    *iocb = (struct iocb) {
        .data = req,
        .aio_fildes = t->fd,
        .aio_rw_flags = dsync ? RWF_DSYNC : 0,
    };
    if (!s->sleeper.may_silent) {
        iocb->u.c.flags = 1; /* IOCB_FLAG_RESFD: signal resfd, an eventfd */
        iocb->u.c.resfd = s->resfd;
    }
    if (t->op == IO_ENGINE_FLUSH) {
        iocb->aio_lio_opcode = IO_CMD_FDSYNC;
        return;
    }
    iocb->u.c.offset = t->offset;
    if (t->slice.niov == 1) {
        iocb->aio_lio_opcode = reads ? IO_CMD_PREAD : IO_CMD_PWRITE;
        iocb->u.c.buf = t->slice.iov[0].iov_base;
        iocb->u.c.nbytes = t->slice.iov[0].iov_len;
    } else {
        iocb->aio_lio_opcode = reads ? IO_CMD_PREADV : IO_CMD_PWRITEV;
        iocb->u.v.vec = t->slice.iov;
        iocb->u.v.nr = MIN(t->slice.niov, IOV_MAX);
    }
}

/* Sends a prepared request and waits; the kernel's result, or LAIO_USE_THREADS. */
static long coroutine_fn run(LaioState *s, LaioRequest *req)
{
    const bool silent = !req->iocb.u.c.flags;

    req->co = qemu_coroutine_self();
    req->result = LAIO_IN_PROGRESS;
    s->sleeper.silent += silent;
    enqueue(s, req);
    while (req->result == LAIO_IN_PROGRESS) {
        qemu_coroutine_yield();
    }
    s->sleeper.silent -= silent;
    return req->result;
}

/* Out of line, so that a transfer's frame does not hold a second request. */
static QEMU_NOINLINE int coroutine_fn flush(LaioState *s, int fd)
{
    const IOTransfer t = { .fd = fd, .op = IO_ENGINE_FLUSH };
    LaioRequest req;
    long result = LAIO_USE_THREADS;

    if (!s->no_fdsync) {
        prepare(s, &req, &t, false);
        result = run(s, &req);
        if (result == -EINVAL) {
            s->no_fdsync = true;
            result = LAIO_USE_THREADS;
        }
    }
    if (result == LAIO_USE_THREADS) {
        return io_transfer_by_threads(&t);
    }
    return result < 0 ? result : 0;
}

static int coroutine_fn transfer(LaioState *s, IOTransfer *t)
{
    LaioRequest req;
    int ret;

    do {
        bool dsync = t->fua && !s->no_dsync;
        long result;

        prepare(s, &req, t, dsync);
        result = run(s, &req);
        if (unlikely(result == LAIO_USE_THREADS || result == -EAGAIN)) {
            return io_transfer_by_threads(t);
        }
        if (unlikely(dsync && (result == -EINVAL || result == -EOPNOTSUPP))) {
            s->no_dsync = true;
            ret = 1;
        } else {
            ret = io_transfer_step(t, result);
        }
    } while (ret > 0);
    return ret;
}

static int coroutine_fn laio_submit(IOEngineState *state, int fd, IOEngineOp op,
                                    int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset, BdrvRequestFlags flags)
{
    LaioState *s = to_laio(state);
    IOTransfer t;
    int ret;

    if (op == IO_ENGINE_FLUSH) {
        return flush(s, fd);
    }
    if (bytes == 0) {
        return 0;
    }
    t.fd = fd;
    t.op = op;
    t.fua = flags & BDRV_REQ_FUA;
    t.resumed = false;
    t.offset = offset;
    ret = io_slice_init(&t.slice, qiov, qiov_offset, bytes);
    if (ret < 0) {
        return ret;
    }
    ret = transfer(s, &t);
    io_slice_destroy(&t.slice);
    if (ret == 0 && t.fua && s->no_dsync) {
        ret = flush(s, fd);
    }
    return ret;
}

/* --- open, attach, detach --- */

static int laio_check_open(int fd, int open_flags, Error **errp)
{
    if (!(open_flags & O_DIRECT)) {
        error_setg(errp, "aio=native was specified, but it requires cache.direct=on, "
                         "which was not specified.");
        return -EINVAL;
    }
    return 0;
}

/* A number from /proc/sys/fs, or -1. */
static long read_limit(const char *path)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return -1;
    }
    return strtol(text, NULL, 10);
}

static void set_setup_error(Error **errp, int err)
{
    if (err == EAGAIN) {
        error_setg(errp,
                   "Could not set up Linux AIO: the system's limit is used up (aio-nr is %ld, "
                   "aio-max-nr is %ld); raise it with 'sysctl fs.aio-max-nr=...', or use "
                   "aio=threads",
                   read_limit("/proc/sys/fs/aio-nr"), read_limit("/proc/sys/fs/aio-max-nr"));
    } else if (err == ENOSYS) {
        error_setg(errp, "The kernel has no Linux AIO; use aio=threads");
    } else {
        error_setg_errno(errp, err, "Could not set up Linux AIO (aio=threads works without)");
    }
}

static IOEngineState *laio_attach(AioContext *ctx, Error **errp)
{
    LaioState *s = g_new0(LaioState, 1);
    int64_t max_batch = aio_context_get_aio_max_batch(ctx);
    int ret = event_notifier_init(&s->notifier, false);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not create an event descriptor for Linux AIO");
        g_free(s);
        return NULL;
    }
    ret = io_setup(LAIO_MAX_EVENTS + 1, &s->ctx); /* and fd_poll */
    if (ret < 0) {
        set_setup_error(errp, -ret);
        event_notifier_cleanup(&s->notifier);
        g_free(s);
        return NULL;
    }
    s->aio_context = ctx;
    s->resfd = event_notifier_get_wfd(&s->notifier);
    s->max_batch = max_batch > 0 ? MIN(max_batch, LAIO_MAX_EVENTS) : LAIO_DEFAULT_BATCH;
    QSIMPLEQ_INIT(&s->queue);
    aio_ring_init(&s->ring, s->ctx);
    s->bh = aio_bh_new(ctx, process_bh, s);
    aio_set_event_notifier(ctx, &s->notifier, laio_notified, laio_poll, laio_poll_ready);
    set_sleeper(s);
    return (IOEngineState *)s;
}

static void laio_detach(IOEngineState *state, AioContext *ctx)
{
    LaioState *s = to_laio(state);

    g_assert(!s->in_flight && !s->queued);
    aio_context_unset_sleeper(ctx, &s->sleeper);
    aio_set_event_notifier(ctx, &s->notifier, NULL, NULL, NULL);
    qemu_bh_delete(s->bh);
    io_destroy(s->ctx);
    aio_ring_cleanup(&s->ring);
    event_notifier_cleanup(&s->notifier);
    g_free(s);
}

const IOEngine io_engine_native = {
    .name = "native",
    .check_open = laio_check_open,
    .attach = laio_attach,
    .detach = laio_detach,
    .submit = laio_submit,
};
