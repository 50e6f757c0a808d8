/* SPDX-License-Identifier: MIT */
/*
 * The native engine on a real O_DIRECT file, with faults. The program's own io_setup,
 * io_submit and fdatasync stand before libaio's and libc's, and do to the requests what the
 * kernel rarely does: take a few of a batch, refuse, cut short.
 */
#include <libaio.h>

#include "engine-cases.h"

static const IOEngine *const engine_under_test = &io_engine_native;
static const int refusal = -EIO;

/* The completion ring looks unknown. */
static bool hide_ring;

static int prepare_engine(gconstpointer data)
{
    hide_ring = data != NULL;
    return O_DIRECT;
}

/* --- faults --- */

int io_setup(int max, io_context_t *ctx)
{
    int (*fn)(int, io_context_t *) = real("io_setup");
    int ret;

    if (!faults_here) {
        return fn(max, ctx);
    }
    if (fault.setup_error) {
        return -fault.setup_error;
    }
    ret = fn(max, ctx);
    if (ret == 0 && hide_ring) {
        ((uint32_t *)*ctx)[4] ^= 1;
    }
    return ret;
}

static int refuse(struct iocb *iocb)
{
    if (fault.no_fdsync && iocb->aio_lio_opcode == IO_CMD_FDSYNC) {
        return -EINVAL;
    }
    if (fault.no_dsync && iocb->aio_rw_flags) {
        return -EINVAL;
    }
    if (fault.coarse && iocb->u.c.offset % 4096) {
        return -EINVAL;
    }
    return fault.bad_offset >= 0 && iocb->u.c.offset == fault.bad_offset ? -EIO : 0;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocbs)
{
    int (*fn)(io_context_t, long, struct iocb **) = real("io_submit");
    int ret;

    if (!faults_here || iocbs[0]->aio_lio_opcode == IO_CMD_POLL) {
        return fn(ctx, n, iocbs);
    }
    if (fault.interrupts && fault.interrupts--) {
        return -EINTR;
    }
    if (fault.eagain && fault.eagain--) {
        return -EAGAIN;
    }
    if (refuse(iocbs[0])) {
        return refuse(iocbs[0]);
    }
    if (fault.most && n > fault.most) {
        n = fault.most;
    }
    for (int i = 0; i < n; i++) {
        if (refuse(iocbs[i])) {
            n = i;
            break;
        }
        fault.dsyncs += iocbs[i]->aio_rw_flags == RWF_DSYNC;
        fault.fdsyncs += iocbs[i]->aio_lio_opcode == IO_CMD_FDSYNC;
        if (fault.longest && iocbs[i]->aio_lio_opcode <= IO_CMD_PWRITE) {
            iocbs[i]->u.c.nbytes = MIN(iocbs[i]->u.c.nbytes, fault.longest);
        }
    }
    ret = fn(ctx, n, iocbs);
    for (int i = 0; i < ret; i++) {
        if (fault.requests < (int)G_N_ELEMENTS(fault.offsets)) {
            fault.offsets[fault.requests] = iocbs[i]->u.c.offset;
        }
        fault.requests++;
    }
    fault.calls += ret > 0;
    fault.full += ret == -EAGAIN;
    return ret;
}

int fdatasync(int fd)
{
    int (*fn)(int) = real("fdatasync");

    qatomic_inc(&fault.fdatasyncs);
    return fn(fd);
}

static void test_partial_submission(Fixture *f, gconstpointer data)
{
    Req reqs[30];

    fault.most = 7;
    run_many(f, reqs, 30, true);
    g_assert_cmpint(fault.requests, ==, 30);
    g_assert_cmpint(fault.calls, ==, 5);
    check_scratch(f->buf, 0, 30 * 512);
}

/* Nothing will complete, so waiting would be for ever; threads serve the request. */
static void test_eagain_with_nothing_in_flight(Fixture *f, gconstpointer data)
{
    Req reqs[10];

    fault.eagain = INT_MAX;
    run_many(f, reqs, 10, true);
    g_assert_cmpint(fault.requests, ==, 0);
    for (int i = 0; i < 10; i++) {
        g_assert_cmpint(reqs[i].ret, ==, 0);
    }
    check_scratch(f->buf, 0, 10 * 512);
}

static void test_flush_without_fdsync(Fixture *f, gconstpointer data)
{
    fault.no_fdsync = true;
    for (int i = 1; i <= 2; i++) {
        g_assert_cmpint(req_run(request(f, IO_ENGINE_FLUSH, 0, 0)), ==, 0);
        g_assert_cmpint(qatomic_read(&fault.fdatasyncs), ==, i);
    }
}

static void test_fua_without_dsync(Fixture *f, gconstpointer data)
{
    Req req = request(f, IO_ENGINE_WRITE, 0, 4096);

    fault.no_dsync = true;
    req.flags = BDRV_REQ_FUA;
    g_assert_cmpint(req_run(req), ==, 0);
    g_assert_cmpint(fault.dsyncs, ==, 0);
    g_assert_cmpint(fault.fdsyncs + fault.fdatasyncs, ==, 1);
}

static void test_buffered_file_is_refused(void)
{
    Error *err = NULL;

    g_assert_cmpint(io_engine_native.check_open(0, O_RDWR, &err), ==, -EINVAL);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "aio=native was specified, but it requires cache.direct=on, which was "
                    "not specified.");
    error_free(err);
}

static void test_limit_used_up(void)
{
    AioContext *ctx = aio_context_new(&error_abort);
    Error *err = NULL;

    fault_reset();
    fault.setup_error = EAGAIN;
    qemu_set_current_aio_context(ctx);
    g_assert_null(io_engine_get_state(&io_engine_native, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "aio-nr is "));
    g_assert_nonnull(strstr(error_get_pretty(err), "aio-max-nr is "));
    g_assert_nonnull(strstr(error_get_pretty(err), "aio=threads"));
    error_free(err);
    fault_reset();
    g_assert_nonnull(io_engine_get_state(&io_engine_native, &error_abort));
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

static void add(const char *name, void (*test)(Fixture *, gconstpointer))
{
    g_autofree char *path = g_strdup_printf("/engine/native/%s", name);
    g_autofree char *hidden = g_strdup_printf("/engine/native-getevents/%s", name);

    g_test_add(path, Fixture, NULL, setup, test, teardown);
    g_test_add(hidden, Fixture, "hide the ring", setup, test, teardown);
}

int main(int argc, char **argv)
{
    int fd;

    g_test_init(&argc, &argv, NULL);
    fd = scratch_file(4096, O_DIRECT);
    if (fd < 0) {
        g_print("1..0 # SKIP no O_DIRECT in this directory\n");
        return 0;
    }
    close(fd);

    add_cases("native", NULL);
    add_cases("native-getevents", "hide the ring");
    add("partial-submission", test_partial_submission);
    add("eagain-with-nothing-in-flight", test_eagain_with_nothing_in_flight);
    add("flush-without-fdsync", test_flush_without_fdsync);
    add("fua-without-dsync", test_fua_without_dsync);
    g_test_add_func("/engine/native/buffered-file-is-refused", test_buffered_file_is_refused);
    g_test_add_func("/engine/native/limit-used-up", test_limit_used_up);
    g_test_add_func("/engine/native/thread-without-context", test_thread_without_context);
    return g_test_run();
}
