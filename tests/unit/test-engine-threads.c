/* SPDX-License-Identifier: MIT */
/*
 * The threads engine on a buffered and on an O_DIRECT file, with faults: the program's
 * own pread, pwrite and fdatasync stand before libc's. To its preadv2 nothing is in the page
 * cache unless a test wants that.
 */
#include <dlfcn.h>
#include <sys/uio.h>

#include "engine-test.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"

/* Set before a request is sent, read by its worker. */
static struct {
    size_t longest;      /* longer transfers are cut to this, in bytes, vectors to one
                          * piece; 0: none */
    int interrupts;      /* atomic: the next so many calls fail with EINTR */
    bool coarse;         /* the disk has blocks of 4 KiB: other offsets are refused */
    int64_t bad_offset;  /* a transfer here fails with EIO; -1: none */
    bool full;           /* writes move nothing */
    int sync_error;      /* fdatasync fails with this errno */
    int calls;           /* atomic */
    bool in_cache;       /* what preadv2 finds there */
    int cached_reads;    /* calls of preadv2 */
    int fdatasyncs;      /* atomic */
} fault;

static void *real(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(fn);
    return fn;
}

/* 0: go on, else what the call fails with. */
static int disturb(off_t offset)
{
    qatomic_inc(&fault.calls);
    if (qatomic_read(&fault.interrupts) > 0) {
        qatomic_dec(&fault.interrupts);
        return EINTR;
    }
    if (fault.coarse && offset % 4096) {
        return EINVAL;
    }
    return fault.bad_offset >= 0 && offset == fault.bad_offset ? EIO : 0;
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t offset)
{
    ssize_t (*fn)(int, void *, size_t, off64_t) = real("pread64");

    errno = disturb(offset);
    return errno ? -1 : fn(fd, buf, fault.longest ? MIN(n, fault.longest) : n, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    ssize_t (*fn)(int, const void *, size_t, off64_t) = real("pwrite64");

    if (fault.full) {
        return 0;
    }
    errno = disturb(offset);
    return errno ? -1 : fn(fd, buf, fault.longest ? MIN(n, fault.longest) : n, offset);
}

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    ssize_t (*fn)(int, const struct iovec *, int, off64_t) = real("preadv64");

    errno = disturb(offset);
    return errno ? -1 : fn(fd, iov, fault.longest ? 1 : n, offset);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    ssize_t (*fn)(int, const struct iovec *, int, off64_t, int) = real("preadv64v2");

    fault.cached_reads++;
    errno = EAGAIN;
    return fault.in_cache ? fn(fd, iov, fault.longest ? 1 : n, offset, 0) : -1;
}

int fdatasync(int fd)
{
    int (*fn)(int) = real("fdatasync");

    qatomic_inc(&fault.fdatasyncs);
    if (fault.sync_error) {
        errno = fault.sync_error;
        return -1;
    }
    return fn(fd);
}

typedef struct Fixture {
    AioContext *ctx;
    int fd;
    uint8_t *buf;     /* 1 MiB */
} Fixture;

#define FILE_SIZE (1 * MIB)

static void setup(Fixture *f, gconstpointer flags)
{
    memset(&fault, 0, sizeof(fault));
    fault.bad_offset = -1;
    f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    f->fd = scratch_file(FILE_SIZE, GPOINTER_TO_INT(flags));
    f->buf = qemu_memalign(4096, MIB);
    memset(f->buf, 0, MIB);
}

static void teardown(Fixture *f, gconstpointer flags)
{
    qemu_vfree(f->buf);
    if (f->fd >= 0) {
        close(f->fd);
    }
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

static Req request(Fixture *f, IOEngineOp op, int64_t offset, size_t bytes)
{
    return (Req) {
        .engine = &io_engine_threads,
        .fd = f->fd,
        .op = op,
        .offset = offset,
        .bytes = bytes,
        .buf = f->buf,
    };
}

static bool lacks_file(Fixture *f)
{
    if (f->fd < 0) {
        g_test_skip("no O_DIRECT in this directory");
    }
    return f->fd < 0;
}

static void check_read(Fixture *f, int64_t offset, size_t bytes)
{
    memset(f->buf, 0xa5, bytes);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, offset, bytes)), ==, 0);
    check_scratch(f->buf, offset, bytes);
}

static void test_read_write(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    check_read(f, 0, 64 * KIB);
    memset(f->buf, 0x5a, 4096);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 4096, 4096)), ==, 0);
    check_read(f, 0, 4096);
    check_read(f, 8192, 4096);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 4096, 4096)), ==, 0);
    g_assert_cmphex(f->buf[0], ==, 0x5a);
    g_assert_cmphex(f->buf[4095], ==, 0x5a);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_FLUSH, 0, 0)), ==, 0);
    g_assert_cmpint(qatomic_read(&fault.fdatasyncs), ==, 1);
}

static void test_read_beyond_end_is_zero(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    g_assert_cmpint(ftruncate(f->fd, 10000), ==, 0);
    memset(f->buf, 0xa5, 16 * KIB);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 4096, 16 * KIB)), ==, 0);
    check_scratch(f->buf, 4096, 10000 - 4096);
    for (int i = 10000 - 4096; i < 16 * KIB; i++) {
        g_assert_cmphex(f->buf[i], ==, 0);
    }
}

/* A read stops where the file does, and cannot go on from there. */
static void test_file_ends_within_block(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    g_assert_cmpint(ftruncate(f->fd, 1536), ==, 0);
    fault.coarse = true;
    memset(f->buf, 0xa5, 8192);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 0, 8192)), ==, 0);
    check_scratch(f->buf, 0, 1536);
    g_assert_true(buffer_is_zero(f->buf + 1536, 8192 - 1536));
}

static void test_short_transfers_go_on(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    fault.longest = 4096;
    check_read(f, 8192, 32 * KIB);
    g_assert_cmpint(qatomic_read(&fault.calls), ==, 8);
    memset(f->buf, 0x5a, 32 * KIB);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 8192, 32 * KIB)), ==, 0);
    g_assert_cmpint(qatomic_read(&fault.calls), ==, 16);
    fault.longest = 0;
    memset(f->buf, 0, 32 * KIB);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 8192, 32 * KIB)), ==, 0);
    for (int i = 0; i < 32 * KIB; i++) {
        g_assert_cmphex(f->buf[i], ==, 0x5a);
    }
}

/* Without a worker: when submit returns it is done. */
static void test_small_cached_reads_are_done_at_once(Fixture *f, gconstpointer flags)
{
    bool direct = GPOINTER_TO_INT(flags) & O_DIRECT;
    Req req;

    if (lacks_file(f)) {
        return;
    }
    fault.in_cache = true;
    req = request(f, IO_ENGINE_READ, 4096, 64 * KIB);
    req_start(&req);
    g_assert_cmpint(req.ret, ==, direct ? REQ_PENDING : 0);
    g_assert_cmpint(req_wait(&req), ==, 0);
    check_scratch(f->buf, 4096, 64 * KIB);
    g_assert_cmpint(fault.cached_reads, ==, !direct);
    check_read(f, 0, 128 * KIB); /* too large to hold up the loop */
    g_assert_cmpint(fault.cached_reads, ==, !direct);
}

/* What is in the cache in part: the rest is for a worker, and so is the end of the file. */
static void test_incomplete_cached_reads_are_completed(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    fault.in_cache = true;
    g_assert_cmpint(ftruncate(f->fd, 10000), ==, 0);
    memset(f->buf, 0xa5, 16 * KIB);
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 4096, 16 * KIB)), ==, 0);
    check_scratch(f->buf, 4096, 10000 - 4096);
    g_assert_true(buffer_is_zero(f->buf + 10000 - 4096, 20 * KIB - 10000));
    g_assert_cmpint(qatomic_read(&fault.calls), >, 0);
}

static void test_vector_goes_on_in_the_middle(Fixture *f, gconstpointer flags)
{
    QEMUIOVector qiov;
    Req req;

    if (lacks_file(f)) {
        return;
    }
    req = request(f, IO_ENGINE_READ, 0, 12 * KIB);
    qemu_iovec_init(&qiov, 3);
    for (int i = 0; i < 3; i++) {
        qemu_iovec_add(&qiov, f->buf + i * 8 * KIB, 4 * KIB);
    }
    req.qiov = &qiov;
    fault.longest = 4096;
    g_assert_cmpint(req_run(req), ==, 0);
    for (int i = 0; i < 3; i++) {
        check_scratch(f->buf + i * 8 * KIB, i * 4 * KIB, 4 * KIB);
    }
    qemu_iovec_destroy(&qiov);
}

static void test_interrupts_are_not_errors(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    qatomic_set(&fault.interrupts, 3);
    check_read(f, 0, 4096);
}

static void test_error_in_the_middle(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    fault.longest = 4096;
    fault.bad_offset = 8192;
    g_assert_cmpint(req_run(request(f, IO_ENGINE_READ, 0, 16 * KIB)), ==, -EIO);
}

static void test_write_that_moves_nothing(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    fault.full = true;
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 0, 4096)), ==, -ENOSPC);
}

static void test_fua(Fixture *f, gconstpointer flags)
{
    Req req;

    if (lacks_file(f)) {
        return;
    }
    req = request(f, IO_ENGINE_WRITE, 0, 4096);
    req.flags = BDRV_REQ_FUA;
    g_assert_cmpint(req_run(req), ==, 0);
}

static void test_failed_flush(Fixture *f, gconstpointer flags)
{
    if (lacks_file(f)) {
        return;
    }
    fault.sync_error = EIO;
    g_assert_cmpint(req_run(request(f, IO_ENGINE_FLUSH, 0, 0)), ==, -EIO);
}

static void test_many(Fixture *f, gconstpointer flags)
{
    enum { N = 200 };
    g_autofree Req *reqs = g_new0(Req, N);

    if (lacks_file(f)) {
        return;
    }
    for (int i = 0; i < N; i++) {
        reqs[i] = request(f, IO_ENGINE_READ, i * 4096, 4096);
        reqs[i].buf = f->buf + i * 4096;
        req_start(&reqs[i]);
    }
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(req_wait(&reqs[i]), ==, 0);
    }
    check_scratch(f->buf, 0, N * 4096);
}

/* In a thread that is there for copying, requests of any size are done at once, and end as in a worker. */
static void test_a_context_that_may_block(Fixture *f, gconstpointer flags)
{
    bool direct = GPOINTER_TO_INT(flags) & O_DIRECT;
    int at_once = direct ? REQ_PENDING : 0;
    Req req;

    if (lacks_file(f)) {
        return;
    }
    aio_context_set_may_block(qemu_get_current_aio_context(), true);
    fault.in_cache = true;
    req = request(f, IO_ENGINE_READ, 0, 256 * KIB);
    req_start(&req);
    g_assert_cmpint(req.ret, ==, at_once);
    g_assert_cmpint(req_wait(&req), ==, 0);
    check_scratch(f->buf, 0, 256 * KIB);
    req = request(f, IO_ENGINE_WRITE, 4096, 256 * KIB);
    req_start(&req);
    g_assert_cmpint(req.ret, ==, at_once);
    g_assert_cmpint(req_wait(&req), ==, 0);
    fault.full = true;
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 0, 256 * KIB)), ==, -ENOSPC);
    fault.full = false;
    fault.bad_offset = 0;
    g_assert_cmpint(req_run(request(f, IO_ENGINE_WRITE, 0, 256 * KIB)), ==, -EIO);
    fault.bad_offset = -1;
    fault.in_cache = false;
    req = request(f, IO_ENGINE_READ, 4096, 256 * KIB); /* from the disk, by a worker */
    req_start(&req);
    g_assert_cmpint(req.ret, ==, REQ_PENDING);
    g_assert_cmpint(req_wait(&req), ==, 0);
    check_scratch(f->buf, 0, 256 * KIB);
    aio_context_set_may_block(qemu_get_current_aio_context(), false);
}

static void test_names(void)
{
    g_assert_true(io_engine_find("threads") == &io_engine_threads);
    g_assert_true(io_engine_find("native") == &io_engine_native);
    g_assert_null(io_engine_find("carrier-pigeon"));
}

static void add(const char *name, void (*test)(Fixture *, gconstpointer))
{
    g_autofree char *buffered = g_strdup_printf("/engine/threads/buffered/%s", name);
    g_autofree char *direct = g_strdup_printf("/engine/threads/direct/%s", name);

    g_test_add(buffered, Fixture, GINT_TO_POINTER(0), setup, test, teardown);
    g_test_add(direct, Fixture, GINT_TO_POINTER(O_DIRECT), setup, test, teardown);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("read-write", test_read_write);
    add("read-beyond-the-end-is-zero", test_read_beyond_end_is_zero);
    add("file-ends-within-block", test_file_ends_within_block);
    add("short-transfers-go-on", test_short_transfers_go_on);
    add("a-context-that-may-block-serves-the-cache-at-once", test_a_context_that_may_block);
    add("small-cached-reads-are-done-at-once", test_small_cached_reads_are_done_at_once);
    add("incomplete-cached-reads-are-completed-by-a-worker", test_incomplete_cached_reads_are_completed);
    add("vector-goes-on-in-the-middle", test_vector_goes_on_in_the_middle);
    add("interrupts-are-not-errors", test_interrupts_are_not_errors);
    add("error-in-the-middle", test_error_in_the_middle);
    add("write-that-moves-nothing", test_write_that_moves_nothing);
    add("fua", test_fua);
    add("failed-flush", test_failed_flush);
    add("many", test_many);
    g_test_add_func("/engine/names", test_names);
    return g_test_run();
}
