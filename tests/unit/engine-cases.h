/* SPDX-License-Identifier: MIT */
/*
 * The tests that every asynchronous engine has to pass, with faults. A program includes this,
 * defines what is declared first here, and stands before the library that the engine sends
 * its requests with, to do to them what fault says: what the kernel rarely does.
 */
#ifndef TESTS_UNIT_ENGINE_CASES_H
#define TESTS_UNIT_ENGINE_CASES_H

#include <dlfcn.h>

#include "engine-test.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/defer-call.h"
#include "qemu/thread.h"

/* --- the program's --- */

static const IOEngine *const engine_under_test;
/* What a request at fault.bad_offset ends with. */
static const int refusal;
/* For a test that add_case() got @data for; what to open its file with besides O_RDWR. */
static int prepare_engine(gconstpointer data);

/* --- faults --- */

static struct {
    int calls;              /* of the engine, to send something */
    int full;               /* calls that the kernel itself refused with EAGAIN */
    int requests;           /* sent */
    int setup_error;        /* io_setup fails with this errno */
    int eagain;             /* the next so many calls fail with EAGAIN */
    int most;               /* no call takes more than this; 0: no limit */
    int64_t bad_offset;     /* a request here is refused; -1: none */
    size_t longest;         /* longer transfers are cut to this, in bytes; 0: none */
    int interrupts;         /* the next so many calls fail with EINTR */
    bool coarse;            /* the disk has blocks of 4 KiB: other offsets are refused */
    bool no_fdsync;         /* IO_CMD_FDSYNC is refused */
    bool no_dsync;          /* RWF_DSYNC is refused */
    int enter_error;        /* a ring that was made takes nothing, with this errno */
    bool old_kernel;        /* flags of rings are unknown */
    int fdatasyncs, dsyncs, fdsyncs;
    int64_t offsets[2000];  /* in the order sent */
} fault;

/* Only the thread of the test is disturbed and counted. */
static __thread bool faults_here;

static void fault_reset(void)
{
    faults_here = true;
    memset(&fault, 0, sizeof(fault));
    fault.bad_offset = -1;
}

static void *real(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(fn);
    return fn;
}

/* --- the fixture: a context and a file --- */

typedef struct Fixture {
    AioContext *ctx;
    int fd;
    uint8_t *buf;     /* 1 MiB */
} Fixture;

#define FILE_SIZE (2 * MIB)

static void setup(Fixture *f, gconstpointer data)
{
    fault_reset();
        f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    f->fd = scratch_file(FILE_SIZE, prepare_engine(data));
    g_assert_cmpint(f->fd, >=, 0);
    f->buf = qemu_memalign(4096, MIB);
    memset(f->buf, 0, MIB);
    io_engine_get_state(engine_under_test, &error_abort);
}

static void teardown(Fixture *f, gconstpointer data)
{
    qemu_vfree(f->buf);
    close(f->fd);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

static Req request(Fixture *f, IOEngineOp op, int64_t offset, size_t bytes)
{
    return (Req) {
        .engine = engine_under_test,
        .fd = f->fd,
        .op = op,
        .offset = offset,
        .bytes = bytes,
        .buf = f->buf,
    };
}

static void check_read(Fixture *f, int64_t offset, size_t bytes)
{
    memset(f->buf, 0xa5, bytes);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, offset, bytes)), ==, 0);
    check_scratch(f->buf, offset, bytes);
}

/* --- tests --- */

static void test_read(Fixture *f, gconstpointer data)
{
    check_read(f, 0, 4096);
    check_read(f, 12345 * 16 / 4096 * 4096, 64 * KIB);
    check_read(f, FILE_SIZE - MIB, MIB);
}

static void test_write(Fixture *f, gconstpointer data)
{
    memset(f->buf, 0x5a, 8192);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 4096, 8192)), ==, 0);
    memset(f->buf, 0, 16384);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 0, 16384)), ==, 0);
    check_scratch(f->buf, 0, 4096);
    for (int i = 4096; i < 12288; i++) {
        g_assert_cmphex(f->buf[i], ==, 0x5a);
    }
    check_scratch(f->buf + 12288, 12288, 4096);
}

static void test_part_of_vector(Fixture *f, gconstpointer data)
{
    QEMUIOVector qiov;
    Req req = request(f, IO_ENGINE_READ, 8192, 12 * KIB);

    qemu_iovec_init(&qiov, 4);
    for (int i = 0; i < 4; i++) {
        qemu_iovec_add(&qiov, f->buf + i * 64 * KIB, 8 * KIB);
    }
    memset(f->buf, 0xa5, 256 * KIB);
    req.qiov = &qiov;
    req.qiov_offset = 12 * KIB;
    g_assert_cmpint(req_run(req), ==, 0);
    /* 4 KiB at the end of the second piece, 8 KiB the third, and nothing beside. */
    g_assert_cmphex(f->buf[64 * KIB + 4 * KIB - 1], ==, 0xa5);
    check_scratch(f->buf + 64 * KIB + 4 * KIB, 8192, 4 * KIB);
    check_scratch(f->buf + 128 * KIB, 12288, 8 * KIB);
    g_assert_cmphex(f->buf[192 * KIB], ==, 0xa5);
    qemu_iovec_destroy(&qiov);
}

static void test_read_beyond_end_is_zero(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(ftruncate(f->fd, 10000), ==, 0);
    memset(f->buf, 0xa5, 32 * KIB);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 4096, 16 * KIB)), ==, 0);
    check_scratch(f->buf, 4096, 10000 - 4096);
    for (int i = 10000 - 4096; i < 16 * KIB; i++) {
        g_assert_cmphex(f->buf[i], ==, 0);
    }
    memset(f->buf, 0xa5, 4096);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 64 * KIB, 4096)), ==, 0);
    g_assert_cmphex(f->buf[0] | f->buf[4095], ==, 0);
}

/* A read stops where the file does, and cannot go on from there. */
static void test_file_ends_within_block(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(ftruncate(f->fd, 1536), ==, 0);
    fault.coarse = true;
    memset(f->buf, 0xee, 8192);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 0, 8192)), ==, 0);
    check_scratch(f->buf, 0, 1536);
    g_assert_true(buffer_is_zero(f->buf + 1536, 8192 - 1536));
}

static void test_short_transfers_go_on(Fixture *f, gconstpointer data)
{
    fault.longest = 4096;
    check_read(f, 16384, 64 * KIB);
    g_assert_cmpint(fault.requests, ==, 16);

    for (int i = 0; i < 32 * KIB; i++) {
        f->buf[i] = i >> 10;
    }
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 0, 32 * KIB)), ==, 0);
    fault.longest = 0;
    memset(f->buf, 0xa5, 32 * KIB);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 0, 32 * KIB)), ==, 0);
    for (int i = 0; i < 32 * KIB; i++) {
        g_assert_cmphex(f->buf[i], ==, i >> 10);
    }
}

static void test_interrupted_submission(Fixture *f, gconstpointer data)
{
    fault.interrupts = 3;
    check_read(f, 0, 4096);
}

static void run_many(Fixture *f, Req *reqs, int n, bool section)
{
    if (section) {
        defer_call_begin();
    }
    for (int i = 0; i < n; i++) {
        reqs[i] = request(f, IO_ENGINE_READ, i * 512 % (MIB / 2), 512);
        reqs[i].buf = f->buf + i * 512 % (MIB / 2);
        req_start(&reqs[i]);
    }
    if (section) {
        g_assert_cmpint(fault.calls, ==, 0);
        defer_call_end();
    }
    for (int i = 0; i < n; i++) {
        req_wait(&reqs[i]);
    }
}

static void test_section_is_one_submission(Fixture *f, gconstpointer data)
{
    Req reqs[24];

    run_many(f, reqs, 24, true);
    g_assert_cmpint(fault.calls, ==, 1);
    for (int i = 0; i < 24; i++) {
        g_assert_cmpint(reqs[i].ret, ==, 0);
    }
}

static void test_alone_is_sent_at_once(Fixture *f, gconstpointer data)
{
    Req req = request(f, IO_ENGINE_READ, 0, 4096);

    req_start(&req);
    g_assert_cmpint(fault.calls, ==, 1);
    g_assert_cmpint(req_wait(&req), ==, 0);
}

/* More than one context takes: all are served, and go out in the order of their requests. */
static void test_longer_than_the_ring(Fixture *f, gconstpointer data)
{
    enum { N = 1000 };
    g_autofree Req *reqs = g_new0(Req, N);

    run_many(f, reqs, N, false);
    g_assert_cmpint(fault.requests, ==, N);
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(reqs[i].ret, ==, 0);
        g_assert_cmpint(fault.offsets[i], ==, reqs[i].offset);
    }
    check_scratch(f->buf, 0, N * 512);
}

static void test_eagain_with_others_in_flight(Fixture *f, gconstpointer data)
{
    Req first = request(f, IO_ENGINE_READ, 0, 512);
    Req reqs[20];

    first.buf = f->buf + MIB - 512;
    req_start(&first);
    fault.eagain = 1;
    fault.calls = 0;
    run_many(f, reqs, 20, true);
    g_assert_cmpint(req_wait(&first), ==, 0);
    g_assert_cmpint(fault.requests, ==, 21);
    check_scratch(f->buf, 0, 20 * 512);
}

static void test_hard_error_hits_its_request_only(Fixture *f, gconstpointer data)
{
    Req reqs[20];

    fault.bad_offset = 7 * 512;
    run_many(f, reqs, 20, true);
    for (int i = 0; i < 20; i++) {
        g_assert_cmpint(reqs[i].ret, ==, i == 7 ? refusal : 0);
    }
    fault.bad_offset = 0;
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 0, 512)), ==, refusal);
}

static void test_kernel_error(Fixture *f, gconstpointer data)
{
    Req req = request(f, IO_ENGINE_READ, 0, 4096);

    req.fd = open("/dev/null", O_WRONLY);
    g_assert_cmpint(req_run(req), ==, -EBADF);
    close(req.fd);
}

static void test_flush(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(req_run(request(f, IO_ENGINE_FLUSH, 0, 0)), ==, 0);
    g_assert_cmpint(fault.fdsyncs + fault.fdatasyncs, ==, 1);
}

static void test_fua(Fixture *f, gconstpointer data)
{
    Req req = request(f, IO_ENGINE_WRITE, 0, 4096);

    req.flags = BDRV_REQ_FUA;
    g_assert_cmpint(req_run(req), ==, 0);
    g_assert_cmpint(fault.dsyncs, ==, 1);
}

typedef struct Chain {
    Fixture *f;
    int left;
    int active;
} Chain;

/* Reads block after block, as each completion wakes it. */
static void coroutine_fn chain_entry(void *opaque)
{
    Chain *c = opaque;
    uint8_t *buf = qemu_memalign(4096, 512);

    while (c->left-- > 0) {
        Req req = request(c->f, IO_ENGINE_READ, c->left % 1000 * 512, 512);

        req.buf = buf;
        req_entry(&req);
        g_assert_cmpint(req.ret, ==, 0);
        check_scratch(buf, req.offset, 512);
    }
    qemu_vfree(buf);
    c->active--;
}

/* What completions trigger is gathered: clearly fewer system calls than requests. */
static void test_completions_batch_what_they_trigger(Fixture *f, gconstpointer data)
{
    Chain c = { .f = f, .left = 20000, .active = 32 };

    defer_call_begin();
    for (int i = 0; i < 32; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(chain_entry, &c));
    }
    defer_call_end();
    while (c.active) {
        aio_poll(f->ctx, true);
    }
    g_assert_cmpint(fault.requests, ==, 20000);
    g_test_message("%d requests in %d io_submit", fault.requests, fault.calls);
    g_assert_cmpint(fault.calls, <, 20000 * 3 / 4);
}

typedef struct Nest {
    Req *inner;
    int polls;
} Nest;

static void nest_bh(void *opaque)
{
    Nest *n = opaque;

    req_start(n->inner);
    g_assert_cmpint(req_wait(n->inner), ==, 0);
}

/* A callback that waits for another request by itself must not wait for ever. */
static void test_nested_poll(Fixture *f, gconstpointer data)
{
    Req inner = request(f, IO_ENGINE_READ, 4096, 4096);
    Req outer[4];
    Nest nest = { .inner = &inner };

    for (int i = 0; i < 4; i++) {
        outer[i] = request(f, IO_ENGINE_READ, 65536 * i, 4096);
        outer[i].buf = f->buf + 65536 * (i + 1);
        req_start(&outer[i]);
    }
    inner.ret = REQ_PENDING;
    aio_bh_schedule_oneshot(f->ctx, nest_bh, &nest);
    for (int i = 0; i < 4; i++) {
        g_assert_cmpint(req_wait(&outer[i]), ==, 0);
        check_scratch(outer[i].buf, outer[i].offset, 4096);
    }
    g_assert_cmpint(req_wait(&inner), ==, 0);
    check_scratch(f->buf, 4096, 4096);
}

/* --- fairness --- */

typedef struct Endless {
    int fd;
    bool stop;
    int active;
} Endless;

static void coroutine_fn endless_entry(void *opaque)
{
    Endless *e = opaque;
    uint8_t *buf = qemu_memalign(4096, 4096);
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, 4096);
    while (!e->stop) {
        IOEngineState *state = io_engine_get_state(engine_under_test, &error_abort);

        g_assert_cmpint(engine_under_test->submit(state, e->fd, IO_ENGINE_READ, 0, 4096, &qiov, 0,
                                                0), ==, 0);
    }
    qemu_vfree(buf);
    e->active--;
}

static void stop_bh(void *opaque)
{
    Endless *e = opaque;

    e->stop = true;
}

/* In memory, requests complete as fast as they are sent; others must have their turn. */
static void test_others_have_their_turn(Fixture *f, gconstpointer data)
{
    char name[] = "/dev/shm/engine-test-XXXXXX";
    Endless e = { .fd = mkostemp(name, O_DIRECT), .active = 64 };

    if (e.fd < 0) {
        g_test_skip("no file system in memory with O_DIRECT");
        return;
    }
    unlink(name);
    g_assert_cmpint(ftruncate(e.fd, 4096), ==, 0);
    for (int i = 0; i < 64; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(endless_entry, &e));
    }
    for (int i = 0; i < 10; i++) {
        aio_poll(f->ctx, true);
    }
    aio_bh_schedule_oneshot(f->ctx, stop_bh, &e);
    while (e.active) {
        aio_poll(f->ctx, true);
    }
    /* Nor must the ring run full of completions that are read but not given back. */
    g_assert_cmpint(fault.full, ==, 0);
    close(e.fd);
}

static void test_thread_without_context(void)
{
    Error *err = NULL;

    g_assert_null(io_engine_get_state(engine_under_test, &err));
    g_assert_nonnull(err);
    error_free(err);
}

/* --- several threads on one file --- */

static void *reader_thread(void *opaque)
{
    Fixture *shared = opaque;

    /* More contexts than one in turn: a new one may stand at the old one's address. */
    for (int round = 0; round < 5; round++) {
        AioContext *ctx = aio_context_new(&error_abort);
        Fixture f = { .ctx = ctx, .fd = shared->fd };
        Chain c = { .f = &f, .left = 300, .active = 8 };

        qemu_set_current_aio_context(ctx);
        for (int i = 0; i < 8; i++) {
            qemu_coroutine_enter(qemu_coroutine_create(chain_entry, &c));
        }
        while (c.active) {
            aio_poll(ctx, true);
        }
        qemu_set_current_aio_context(NULL);
        aio_context_unref(ctx);
    }
    return NULL;
}

static void test_threads_share_a_file(Fixture *f, gconstpointer data)
{
    QemuThread threads[3];

    for (int i = 0; i < 3; i++) {
        qemu_thread_create(&threads[i], "reader", reader_thread, f, QEMU_THREAD_JOINABLE);
    }
    for (int i = 0; i < 3; i++) {
        qemu_thread_join(&threads[i]);
    }
}

/* Under "/engine/PREFIX/"; every test gets @data. */
static void add_cases(const char *prefix, gconstpointer data)
{
    static const struct {
        const char *name;
        void (*test)(Fixture *f, gconstpointer data);
    } cases[] = {
        { "read", test_read },
        { "write", test_write },
        { "part-of-a-vector", test_part_of_vector },
        { "read-beyond-the-end-is-zero", test_read_beyond_end_is_zero },
        { "file-ends-within-block", test_file_ends_within_block },
        { "short-transfers-go-on", test_short_transfers_go_on },
        { "interrupted-submission", test_interrupted_submission },
        { "section-is-one-submission", test_section_is_one_submission },
        { "alone-is-sent-at-once", test_alone_is_sent_at_once },
        { "longer-than-the-ring", test_longer_than_the_ring },
        { "eagain-with-others-in-flight", test_eagain_with_others_in_flight },
        { "hard-error-hits-its-request-only", test_hard_error_hits_its_request_only },
        { "kernel-error", test_kernel_error },
        { "flush", test_flush },
        { "fua", test_fua },
        { "completions-batch-what-they-trigger", test_completions_batch_what_they_trigger },
        { "nested-poll", test_nested_poll },
        { "others-have-their-turn", test_others_have_their_turn },
        { "threads-share-a-file", test_threads_share_a_file },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/engine/%s/%s", prefix, cases[i].name);

        g_test_add(path, Fixture, data, setup, cases[i].test, teardown);
    }
}

#endif
