/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine on a real file, O_DIRECT and buffered, with faults. The program's own
 * functions stand before liburing's, and do to the entries that are about to be sent what the
 * kernel rarely does: refuse, cut short, be out of memory.
 */
#ifndef CONFIG_LIBURING

#include <stdio.h>

int main(void)
{
    puts("1..0 # SKIP built without liburing");
    return 0;
}

#else

#include <liburing.h>

#include "engine-cases.h"

static const IOEngine *const engine_under_test = &io_engine_io_uring;
static const int refusal = -EINVAL;

static int prepare_engine(gconstpointer data)
{
    return data ? O_DIRECT : 0;
}

/* --- faults --- */

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
    int (*fn)(unsigned, struct io_uring *, struct io_uring_params *) =
        real("io_uring_queue_init_params");

    if (faults_here && fault.setup_error) {
        return -fault.setup_error;
    }
    if (faults_here && fault.old_kernel && p->flags) {
        return -EINVAL;
    }
    return fn(entries, ring, p);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    int (*fn)(struct io_uring *, unsigned) = real("io_uring_submit_and_wait");

    return faults_here && fault.enter_error ? -fault.enter_error : fn(ring, wait_nr);
}

static bool is_refused(const struct io_uring_sqe *sqe)
{
    return (fault.coarse && sqe->off % 4096) ||
           (fault.bad_offset >= 0 && sqe->off == (uint64_t)fault.bad_offset);
}

/* Those of one call make a chain: when one does not move all its bytes the kernel cancels the others. */
static bool link_entries;

/* An entry on its way to the kernel. */
static void disturb(struct io_uring_sqe *sqe)
{
    const bool plain = sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_WRITE;

    fault.fdsyncs += sqe->opcode == IORING_OP_FSYNC && sqe->fsync_flags == IORING_FSYNC_DATASYNC;
    fault.dsyncs += sqe->opcode == IORING_OP_WRITE && sqe->rw_flags == RWF_DSYNC;
    if (plain && fault.requests < (int)G_N_ELEMENTS(fault.offsets)) {
        fault.offsets[fault.requests] = sqe->off;
    }
    fault.requests++;
    if (plain && is_refused(sqe)) {
        sqe->opcode = 0xff; /* completes with EINVAL */
    } else if (plain && fault.longest) {
        sqe->len = MIN(sqe->len, fault.longest);
    }
    if (link_entries) {
        sqe->flags |= IOSQE_IO_LINK;
    }
}

int io_uring_submit(struct io_uring *ring)
{
    int (*fn)(struct io_uring *) = real("io_uring_submit");
    struct io_uring_sq *sq = &ring->sq;
    int ret;

    if (!faults_here) {
        return fn(ring);
    }
    if (fault.interrupts && fault.interrupts--) {
        return -EINTR;
    }
    if (fault.eagain && fault.eagain--) {
        return -EAGAIN;
    }
    for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
        disturb(&sq->sqes[i & *sq->kring_mask]);
    }
    ret = fn(ring);
    fault.calls += ret > 0;
    fault.full += ret == -EAGAIN || ret == -EBUSY;
    return ret;
}

/* --- what only io_uring does --- */

static void test_eagain_with_nothing_in_flight(Fixture *f, gconstpointer data)
{
    Req reqs[10];

    fault.eagain = 5;
    run_many(f, reqs, 10, true);
    g_assert_cmpint(fault.eagain, ==, 0);
    g_assert_cmpint(fault.requests, ==, 10);
    check_scratch(f->buf, 0, 10 * 512);
}

/* Nobody has asked for that: they are done in another way. */
static void test_cancelled_by_kernel(Fixture *f, gconstpointer data)
{
    Req reqs[10];

    link_entries = true;
    defer_call_begin();
    for (int i = 0; i < 10; i++) {
        /* The first stops at the end of the file. */
        reqs[i] = request(f, IO_ENGINE_READ, i ? i * 512 : FILE_SIZE - 256, 512);
        reqs[i].buf = f->buf + i * 512;
        req_start(&reqs[i]);
    }
    defer_call_end();
    for (int i = 0; i < 10; i++) {
        g_assert_cmpint(req_wait(&reqs[i]), ==, 0);
    }
    link_entries = false;
    /* The first in two pieces; the others have not been sent again. */
    g_assert_cmpint(fault.requests, ==, 11);
    check_scratch(f->buf + 512, 512, 9 * 512);
}

/* More entries than the kernel is asked for. */
static void test_vector_of_many_pieces(Fixture *f, gconstpointer data)
{
    enum { PIECES = 2 * IOV_MAX };
    Req req = request(f, IO_ENGINE_READ, 0, PIECES * 512);
    QEMUIOVector qiov;

    qemu_iovec_init(&qiov, PIECES);
    for (int i = 0; i < PIECES; i++) {
        qemu_iovec_add(&qiov, f->buf + i * 512, 512);
    }
    req.qiov = &qiov;
    g_assert_cmpint(req_run(req), ==, 0);
    g_assert_cmpint(fault.requests, ==, 2);
    check_scratch(f->buf, 0, PIECES * 512);
    qemu_iovec_destroy(&qiov);
}

static void test_kernel_before_5_19(void)
{
    AioContext *ctx = aio_context_new(&error_abort);
    Fixture f = { .ctx = ctx, .fd = scratch_file(MIB, 0), .buf = qemu_memalign(4096, MIB) };

    fault_reset();
    fault.old_kernel = true;
    qemu_set_current_aio_context(ctx);
    check_read(&f, 0, 64 * KIB);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    qemu_vfree(f.buf);
    close(f.fd);
}

/* @says is part of the message; *@error is what fails. */
static void check_refused(int *error, int err, const char *says)
{
    AioContext *ctx = aio_context_new(&error_abort);
    Error *local_err = NULL;

    *error = err;
    qemu_set_current_aio_context(ctx);
    g_assert_null(io_engine_get_state(engine_under_test, &local_err));
    g_assert_nonnull(strstr(error_get_pretty(local_err), says));
    g_assert_nonnull(strstr(error_get_pretty(local_err), "aio=threads"));
    error_free(local_err);
    fault_reset();
    /* It can be had later. */
    g_assert_nonnull(io_engine_get_state(engine_under_test, &error_abort));
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

static void test_refusals_tell_what_to_do(void)
{
    fault_reset();
    check_refused(&fault.setup_error, EPERM, "the system forbids it");
    check_refused(&fault.setup_error, ENOSYS, "The kernel has no io_uring");
    check_refused(&fault.setup_error, ENOMEM, "Cannot allocate memory");
    /* Filters of system calls that know io_uring_setup only. */
    check_refused(&fault.enter_error, EPERM, "the system forbids it");
    check_refused(&fault.enter_error, ENOSYS, "The kernel has no io_uring");
}

static void add(const char *name, void (*test)(Fixture *, gconstpointer))
{
    g_autofree char *path = g_strdup_printf("/engine/io_uring/%s", name);

    g_test_add(path, Fixture, NULL, setup, test, teardown);
}

/* Why io_uring cannot be tested here; NULL: it can. */
static const char *why_not(void)
{
    struct io_uring_params params = {};
    struct io_uring ring;
    int ret = io_uring_queue_init_params(1, &ring, &params);

    if (ret < 0) {
        return strerror(-ret);
    }
    io_uring_queue_exit(&ring);
    return NULL;
}

int main(int argc, char **argv)
{
    int fd;

    g_test_init(&argc, &argv, NULL);
    if (why_not()) {
        g_print("1..0 # SKIP no io_uring here: %s\n", why_not());
        return 0;
    }
    fd = scratch_file(4096, O_DIRECT);
    if (fd >= 0) {
        close(fd);
        add_cases("io_uring-direct", "O_DIRECT");
    }
    add_cases("io_uring", NULL);
    add("eagain-with-nothing-in-flight", test_eagain_with_nothing_in_flight);
    add("cancelled-by-kernel", test_cancelled_by_kernel);
    add("vector-of-many-pieces", test_vector_of_many_pieces);
    g_test_add_func("/engine/io_uring/kernel-before-5.19", test_kernel_before_5_19);
    g_test_add_func("/engine/io_uring/refusals-tell-what-to-do", test_refusals_tell_what_to_do);
    g_test_add_func("/engine/io_uring/thread-without-context", test_thread_without_context);
    return g_test_run();
}

#endif
