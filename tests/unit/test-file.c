/* SPDX-License-Identifier: MIT */
/*
 * The file driver as a BlockBackend's user meets it, in a scratch directory: what is opened
 * and what is refused, holes, zeroes, failed flushes, callbacks, threads.
 */
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"

#include "file-fixture.h"

static struct {
    /* Atomic: an errno. */
    int sync_error;   /* of fdatasync, fsync, and RWF_DSYNC when the data is written */
    int write_error;  /* of pwrite and pwritev2 */
    int status_calls; /* atomic: lseek for data */
} fault;

static void *real(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(fn);
    return fn;
}

int fdatasync(int fd)
{
    int (*fn)(int) = real("fdatasync");

    errno = qatomic_read(&fault.sync_error);
    return errno ? -1 : fn(fd);
}

int fsync(int fd)
{
    int (*fn)(int) = real("fsync");

    errno = qatomic_read(&fault.sync_error);
    return errno ? -1 : fn(fd);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    ssize_t (*fn)(int, const void *, size_t, off64_t) = real("pwrite64");

    errno = qatomic_read(&fault.write_error);
    return errno ? -1 : fn(fd, buf, n, offset);
}

ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    ssize_t (*fn)(int, const struct iovec *, int, off64_t, int) = real("pwritev64v2");

    errno = qatomic_read(&fault.write_error);
    if (errno) {
        return -1;
    }
    if ((flags & RWF_DSYNC) && qatomic_read(&fault.sync_error)) {
        ssize_t ret = fn(fd, iov, n, offset, 0);

        errno = qatomic_read(&fault.sync_error);
        return ret < 0 ? ret : -1;
    }
    return fn(fd, iov, n, offset, flags);
}

off64_t lseek64(int fd, off64_t offset, int whence)
{
    off64_t (*fn)(int, off64_t, int) = real("lseek64");

    if (whence == SEEK_DATA) {
        qatomic_inc(&fault.status_calls);
    }
    return fn(fd, offset, whence);
}

/* --- open --- */

static void test_open_missing(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "nothing", NULL);
    g_autofree char *message = g_strdup_printf("Could not open '%s': No such file", path);

    check_refused(path, NULL, 0, message);
    check_refused("", NULL, 0, "The 'file' block driver requires a file name");
}

static void test_open_other_types(Fixture *f, gconstpointer data)
{
    g_autofree char *fifo = g_build_filename(f->dir, "fifo", NULL);

    check_refused(f->dir, NULL, 0, "to be a regular file");
    check_refused(f->dir, NULL, BDRV_O_RDWR, "Is a directory");
    check_refused("/dev/null", NULL, 0, "to be a regular file");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    alarm(5);
    check_refused(fifo, NULL, 0, "to be a regular file");
    check_refused(fifo, NULL, BDRV_O_RDWR, "to be a regular file");
    alarm(0);
}

static void test_open_socket(Fixture *f, gconstpointer data)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_autofree char *path = g_build_filename(f->dir, "s", NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (strlen(path) >= sizeof(addr.sun_path)) {
        g_test_skip("the directory's name is too long for a socket");
    } else {
        strcpy(addr.sun_path, path);
        g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
        check_refused(path, NULL, 0, "to be a regular file");
    }
    close(fd);
}

static void test_open_no_permission(Fixture *f, gconstpointer data)
{
    if (geteuid() == 0) {
        g_test_skip("root may read everything");
        return;
    }
    g_assert_cmpint(chmod(f->img, 0), ==, 0);
    check_refused(f->img, NULL, 0, "Permission denied");
}

static void test_open_bad_options(Fixture *f, gconstpointer data)
{
    check_refused(f->img, "aio=foo", 0, "invalid parameter value: foo");
    if (!io_engine_find("io_uring")) {
        check_refused(f->img, "aio=io_uring", 0,
                      "aio=io_uring was specified, but is not supported in this build.");
    }
    check_refused(f->img, "locking=foo", 0, "invalid parameter value: foo");
    check_refused(f->img, "aio=native", 0,
                  "aio=native was specified, but it requires cache.direct=on");
}

static void test_open_without_o_direct(Fixture *f, gconstpointer data)
{
    check_refused("/proc/version", NULL, BDRV_O_NOCACHE, "filesystem does not support O_DIRECT");
}

static void test_descriptors_are_closed(Fixture *f, gconstpointer data)
{
    int before = dup(0), after;

    for (int i = 0; i < 5; i++) {
        blk_unref(open_rw(f, 0));
        check_refused(f->img, "aio=native", 0, "cache.direct");
    }
    after = dup(0);
    g_assert_cmpint(after, <=, before + 3);
    close(before);
    close(after);
}

/* --- data --- */

static void test_any_buffer_will_do(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_image(f->img, NULL, BDRV_O_RDWR | GPOINTER_TO_INT(flags), NULL);
    g_autofree uint8_t *buf = g_malloc(3 * MIB);
    QEMUIOVector qiov;

    if (!blk) {
        g_test_skip("no O_DIRECT in this directory");
        return;
    }
    /* A buffer that is aligned to nothing, for offsets that are and are not. */
    memset(buf, 0x22, 3 * MIB);
    g_assert_cmpint(blk_pwrite(blk, 4096, 8192, buf + 1, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 65537, 1001, buf + 3, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 0, 16384, buf + 1, 0), ==, 0);
    g_assert_cmphex(buf[4096], ==, 0x11);
    g_assert_cmphex(buf[4097], ==, 0x22);
    g_assert_cmphex(buf[4096 + 8192], ==, 0x22);
    g_assert_cmphex(buf[4097 + 8192], ==, 0x11);
    check_bytes(blk, 65537, 1001, 0x22);
    check_bytes(blk, 65537 + 1001, 10, 0x11);
    check_bytes(blk, 65530, 7, 0x11);

    /* A vector of odd pieces. */
    qemu_iovec_init(&qiov, 4);
    qemu_iovec_add(&qiov, buf + 1, 100);
    qemu_iovec_add(&qiov, buf + 1000, 412);
    qemu_iovec_add(&qiov, buf + 4096, 7680);
    memset(buf, 0xa5, 16384);
    g_assert_cmpint(blk_preadv(blk, 128 * KIB, 8192, &qiov, 0), ==, 0);
    g_assert_cmphex(buf[0], ==, 0xa5);
    g_assert_cmphex(buf[1], ==, 0x11);
    g_assert_cmphex(buf[101], ==, 0xa5);
    g_assert_cmphex(buf[1411], ==, 0x11);
    g_assert_cmphex(buf[1412], ==, 0xa5);
    g_assert_cmphex(buf[4096 + 7679], ==, 0x11);
    g_assert_cmphex(buf[4096 + 7680], ==, 0xa5);
    qemu_iovec_destroy(&qiov);

    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 4096, buf, BDRV_REQ_FUA), ==, 0);
    blk_unref(blk);
}

static void test_file_shrinks_while_open(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);

    g_assert_cmpint(truncate(f->img, 100 * KIB + 10), ==, 0);
    check_bytes(blk, 100 * KIB, 10, 0x11);
    check_bytes(blk, 100 * KIB + 10, 64 * KIB, 0);
    check_bytes(blk, 512 * KIB, 4096, 0);
    blk_unref(blk);
}

/* A flush that failed once must not succeed later: the kernel has forgotten the pages. */
static void test_failed_flush_stays(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);
    uint8_t buf[512] = { 0 };

    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    qatomic_set(&fault.sync_error, EIO);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    qatomic_set(&fault.sync_error, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, BDRV_REQ_FUA), ==, -EIO);
    blk_unref(blk);

    blk = open_rw(f, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
}

/* A write that cannot be made durable may have swallowed the error of an earlier one. */
static void test_failed_durable_write_stays(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);
    uint8_t buf[512] = { 0 };

    /* That there is no space is no more than this write's problem. */
    qatomic_set(&fault.write_error, ENOSPC);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, BDRV_REQ_FUA), ==, -ENOSPC);
    qatomic_set(&fault.write_error, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);

    g_assert_cmpint(blk_pwrite(blk, 4096, 512, buf, 0), ==, 0);
    qatomic_set(&fault.sync_error, EIO);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, BDRV_REQ_FUA), ==, -EIO);
    qatomic_set(&fault.sync_error, 0);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, BDRV_REQ_FUA), ==, -EIO);
    blk_unref(blk);
}

static void test_failed_preallocation_sync_stays(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);
    uint8_t buf[512] = { 0 };
    Error *err = NULL;

    g_assert_cmpint(blk_pwrite(blk, 4096, 512, buf, 0), ==, 0);
    qatomic_set(&fault.sync_error, EIO);
    g_assert_cmpint(
        blk_truncate(blk, IMG_SIZE + MIB, true, PREALLOC_MODE_FULL, 0, &err), ==, -EIO);
    error_free(err);
    qatomic_set(&fault.sync_error, 0);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
}

/* --- callbacks --- */

enum { CALLBACK_DEPTH = 16, CALLBACK_REQUESTS = 400 };

typedef struct Burst {
    BlockBackend *blk;
    uint8_t *buf; /* a block for each request */
    QEMUIOVector qiov[CALLBACK_REQUESTS];
    int sent, done;
    int draining; /* under a drain that cannot end before this callback returns */
    bool sending, closed;
} Burst;

static void burst_send(Burst *b);

/* Does in turn what a callback may do: send, wait for another request, drain, close. */
static void burst_done(void *opaque, int ret)
{
    Burst *b = opaque;
    uint8_t byte;

    g_assert_cmpint(ret, ==, 0);
    g_assert_false(qemu_in_coroutine());
    g_assert_false(b->sending);
    b->done++;
    if (b->done % 7 == 3 && !b->draining) {
        g_assert_cmpint(blk_pread(b->blk, 5, 1, &byte, 0), ==, 0);
        g_assert_cmpint(byte, ==, 0x11);
    } else if (b->done % 50 == 49 && !b->draining) {
        b->draining++;
        blk_drain(b->blk);
        b->draining--;
    }
    if (b->sent < CALLBACK_REQUESTS) {
        burst_send(b);
    } else if (!b->closed) {
        b->closed = true;
        b->draining++;
        blk_unref(b->blk);
        g_assert_cmpint(b->done, ==, CALLBACK_REQUESTS);
    }
}

static void burst_send(Burst *b)
{
    int i = b->sent++;

    qemu_iovec_init_buf(&b->qiov[i], b->buf + i * 4096, 4096);
    b->sending = true;
    blk_aio_preadv(b->blk, i % 64 * 4096, &b->qiov[i], 0, burst_done, b);
    b->sending = false;
}

static void test_callbacks_may_do_anything(Fixture *f, gconstpointer data)
{
    Burst b = { .blk = open_rw(f, GPOINTER_TO_INT(data)) };

    b.buf = blk_blockalign(b.blk, CALLBACK_REQUESTS * 4096);
    for (int i = 0; i < CALLBACK_DEPTH; i++) {
        burst_send(&b);
    }
    while (b.done < CALLBACK_REQUESTS) {
        aio_poll(f->ctx, true);
    }
    g_assert_true(b.closed);
    for (int i = 0; i < CALLBACK_REQUESTS * 4096; i++) {
        g_assert_cmpint(b.buf[i], ==, 0x11);
    }
    qemu_vfree(b.buf);
}

/* --- several threads --- */

typedef struct Worker {
    QemuThread thread;
    BlockBackend *blk;
    int64_t start;      /* of its stripe */
    guint32 seed;
} Worker;

#define STRIPE (256 * KIB)

/* Random requests to a stripe, against a model of it. */
static void *worker_thread(void *opaque)
{
    Worker *w = opaque;
    AioContext *ctx = aio_context_new(&error_abort);
    GRand *rand = g_rand_new_with_seed(w->seed);
    g_autofree uint8_t *model = g_malloc(STRIPE), *buf = g_malloc(STRIPE);

    qemu_set_current_aio_context(ctx);
    memset(model, 0x11, STRIPE);
    for (int i = 0; i < 300; i++) {
        int64_t offset = g_rand_int_range(rand, 0, STRIPE / 512) * 512;
        int64_t len = g_rand_int_range(rand, 1, (STRIPE - offset) / 512 + 1) * 512, pnum;

        switch (g_rand_int_range(rand, 0, 5)) {
        case 0:
            memset(model + offset, i, len);
            g_assert_cmpint(blk_pwrite(w->blk, w->start + offset, len, model + offset, 0), ==,
                            0);
            break;
        case 1:
            memset(model + offset, 0, len);
            g_assert_cmpint(blk_pwrite_zeroes(w->blk, w->start + offset, len,
                                              i % 2 ? BDRV_REQ_MAY_UNMAP : 0), ==, 0);
            break;
        case 2:
            g_assert_cmpint(blk_flush(w->blk), ==, 0);
            break;
        case 3:
            pnum = 0;
            if (blk_block_status(w->blk, w->start + offset, len, &pnum) & BDRV_BLOCK_ZERO) {
                g_assert_cmpint(model[offset] | model[offset + pnum - 1], ==, 0);
            }
            g_assert_cmpint(pnum, >, 0);
            break;
        default:
            g_assert_cmpint(blk_pread(w->blk, w->start + offset, len, buf, 0), ==, 0);
            g_assert_cmpmem(buf, len, model + offset, len);
        }
    }
    g_rand_free(rand);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    return NULL;
}

static void test_threads_share_a_node(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_image(f->img, NULL, BDRV_O_RDWR | GPOINTER_TO_INT(flags), NULL);
    Worker workers[3];

    if (!blk) {
        g_test_skip("no O_DIRECT in this directory");
        return;
    }
    for (int i = 0; i < 3; i++) {
        workers[i] = (Worker) { .blk = blk, .start = i * STRIPE, .seed = g_test_rand_int() };
        qemu_thread_create(&workers[i].thread, "worker", worker_thread, &workers[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (int i = 0; i < 3; i++) {
        qemu_thread_join(&workers[i].thread);
    }
    blk_unref(blk);
}

/* --- status, zeroes, discards --- */

static void check_status(BlockBackend *blk, int64_t offset, int bits, int64_t len)
{
    int64_t pnum = 0;
    int ret = blk_block_status(blk, offset, IMG_SIZE - offset, &pnum);

    g_assert_cmphex(ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO), ==, bits);
    g_assert_cmpint(pnum, ==, len);
}

/* Not every file system has holes. */
static bool make_hole(BlockBackend *blk, const char *path, int64_t offset, int64_t len)
{
    int64_t before = allocated(path);

    g_assert_cmpint(blk_pwrite_zeroes(blk, offset, len, BDRV_REQ_MAY_UNMAP), ==, 0);
    if (allocated(path) >= before) {
        g_test_skip("no holes in this file system");
        return false;
    }
    return true;
}

static void test_status(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);

    if (make_hole(blk, f->img, 256 * KIB, 256 * KIB)) {
        check_status(blk, 0, BDRV_BLOCK_DATA, 256 * KIB);
        check_status(blk, 256 * KIB, BDRV_BLOCK_ZERO, 256 * KIB);
        check_status(blk, 384 * KIB, BDRV_BLOCK_ZERO, 128 * KIB);
        check_status(blk, 512 * KIB, BDRV_BLOCK_DATA, 512 * KIB);
        check_bytes(blk, 256 * KIB, 256 * KIB, 0);
    }
    blk_unref(blk);
}

static void test_status_is_remembered(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);
    int64_t pnum;

    blk_block_status(blk, 0, IMG_SIZE, &pnum);
    qatomic_set(&fault.status_calls, 0);
    for (int i = 1; i < 16; i++) {
        check_status(blk, i * 64 * KIB, BDRV_BLOCK_DATA, IMG_SIZE - i * 64 * KIB);
    }
    g_assert_cmpint(qatomic_read(&fault.status_calls), ==, 0);
    /* Until a hole is made. */
    if (make_hole(blk, f->img, 512 * KIB, 64 * KIB)) {
        check_status(blk, 448 * KIB, BDRV_BLOCK_DATA, 64 * KIB);
        check_status(blk, 512 * KIB, BDRV_BLOCK_ZERO, 64 * KIB);
        g_assert_cmpint(blk_pwrite(blk, 512 * KIB, 3, "abc", 0), ==, 0);
        check_status(blk, 512 * KIB, BDRV_BLOCK_DATA, 4 * KIB);
    }
    blk_unref(blk);
}

static void test_zeroes_keep_their_space(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_rw(f, 0);
    int64_t before = allocated(f->img);

    g_assert_cmpint(blk_pwrite_zeroes(blk, 128 * KIB, 256 * KIB, 0), ==, 0);
    check_bytes(blk, 128 * KIB, 256 * KIB, 0);
    check_bytes(blk, 128 * KIB - 512, 512, 0x11);
    check_bytes(blk, 384 * KIB, 512, 0x11);
    g_assert_cmpint(allocated(f->img), >=, before);
    /* Not on any boundary. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 700001, 12345, 0), ==, 0);
    check_bytes(blk, 700001, 12345, 0);
    check_bytes(blk, 700000, 1, 0x11);
    check_bytes(blk, 700001 + 12345, 1, 0x11);
    blk_unref(blk);
}

static void test_discard(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f, 0);

    g_assert_cmpint(blk_pdiscard(blk, 0, 512 * KIB), ==, 0);
    if (allocated(f->img) >= IMG_SIZE) {
        g_test_skip("no holes in this file system");
    } else {
        check_bytes(blk, 0, 512 * KIB, 0);
    }
    check_bytes(blk, 512 * KIB, 512 * KIB, 0x11);
    blk_unref(blk);
}

static void test_no_io_uring(Fixture *f, gconstpointer data)
{
    g_test_skip("not built in, or not permitted here");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    TEST("open/missing", test_open_missing, NULL);
    TEST("open/other-types", test_open_other_types, NULL);
    TEST("open/socket", test_open_socket, NULL);
    TEST("open/no-permission", test_open_no_permission, NULL);
    TEST("open/bad-options", test_open_bad_options, NULL);
    TEST("open/without-o-direct", test_open_without_o_direct, NULL);
    TEST("open/descriptors-are-closed", test_descriptors_are_closed, NULL);
    TEST("any-buffer-will-do/buffered", test_any_buffer_will_do, GINT_TO_POINTER(0));
    TEST("any-buffer-will-do/direct", test_any_buffer_will_do, GINT_TO_POINTER(BDRV_O_NOCACHE));
    TEST("any-buffer-will-do/native", test_any_buffer_will_do,
         GINT_TO_POINTER(BDRV_O_NOCACHE | BDRV_O_NATIVE_AIO));
    TEST("file-shrinks-while-open", test_file_shrinks_while_open, NULL);
    TEST("failed-flush-stays", test_failed_flush_stays, NULL);
    TEST("failed-durable-write-stays", test_failed_durable_write_stays, NULL);
    TEST("failed-preallocation-sync-stays", test_failed_preallocation_sync_stays, NULL);
    TEST("callbacks-may-do-anything/buffered", test_callbacks_may_do_anything,
         GINT_TO_POINTER(0));
    TEST("callbacks-may-do-anything/native", test_callbacks_may_do_anything,
         GINT_TO_POINTER(BDRV_O_NOCACHE | BDRV_O_NATIVE_AIO));
    TEST("threads-share-a-node/buffered", test_threads_share_a_node, GINT_TO_POINTER(0));
    TEST("threads-share-a-node/native", test_threads_share_a_node,
         GINT_TO_POINTER(BDRV_O_NOCACHE | BDRV_O_NATIVE_AIO));
    if (io_uring_works()) {
        TEST("any-buffer-will-do/io_uring", test_any_buffer_will_do,
             GINT_TO_POINTER(BDRV_O_IO_URING));
        TEST("any-buffer-will-do/io_uring-direct", test_any_buffer_will_do,
             GINT_TO_POINTER(BDRV_O_NOCACHE | BDRV_O_IO_URING));
        TEST("callbacks-may-do-anything/io_uring", test_callbacks_may_do_anything,
             GINT_TO_POINTER(BDRV_O_IO_URING));
        TEST("threads-share-a-node/io_uring", test_threads_share_a_node,
             GINT_TO_POINTER(BDRV_O_IO_URING));
    } else {
        TEST("io_uring", test_no_io_uring, NULL);
    }
    TEST("status", test_status, NULL);
    TEST("status-is-remembered", test_status_is_remembered, NULL);
    TEST("zeroes-keep-their-space", test_zeroes_keep_their_space, NULL);
    TEST("discard", test_discard, NULL);
    return g_test_run();
}
