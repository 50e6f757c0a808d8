/* SPDX-License-Identifier: MIT */
/*
 * The file driver as a BlockBackend's user meets it, in a scratch directory: what is opened
 * and what is refused, sizes, holes, zeroes, failed flushes, creation.
 */
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"

#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/io-engine.h"

#define KIB 1024
#define MIB (1024 * 1024)

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

/* --- the fixture: a context, and a directory with a file --- */

typedef struct Fixture {
    AioContext *ctx;
    char *dir;
    char *img;     /* in dir: 1 MiB of 0x11 */
} Fixture;

#define IMG_SIZE (1 * MIB)

static void setup(Fixture *f, gconstpointer data)
{
    g_autofree char *contents = g_malloc(IMG_SIZE), *here = g_get_current_dir();

    memset(&fault, 0, sizeof(fault));
    f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    /* Here, not in /tmp, which may be a tmpfs. */
    f->dir = g_build_filename(here, "test-file-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->img = g_build_filename(f->dir, "a.img", NULL);
    memset(contents, 0x11, IMG_SIZE);
    g_assert_true(g_file_set_contents(f->img, contents, IMG_SIZE, NULL));
}

static void teardown(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) dir = g_dir_open(f->dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(f->dir, name, NULL);

        remove(path);
    }
    rmdir(f->dir);
    g_free(f->img);
    g_free(f->dir);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

static BlockBackend *open_image(const char *path, const char *more, int flags, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    blk_options_set(opts, "driver", "file");
    blk_options_set(opts, "filename", path);
    if (more) {
        g_assert_true(blk_options_parse(opts, more, NULL, &error_abort));
    }
    return blk_new_open(NULL, NULL, opts, flags, errp);
}

static BlockBackend *open_rw(Fixture *f, int flags)
{
    return open_image(f->img, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP | flags,
                      &error_abort);
}

static void check_refused(const char *path, const char *more, int flags, const char *message)
{
    Error *err = NULL;

    g_assert_null(open_image(path, more, flags, &err));
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static int64_t allocated(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return (int64_t)st.st_blocks * 512;
}

static int64_t file_length(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_size;
}

static void check_bytes(BlockBackend *blk, int64_t offset, size_t len, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, 0xa5, len);
    g_assert_cmpint(blk_pread(blk, offset, len, buf, 0), ==, 0);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, value);
    }
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

/* --- size --- */

static void resize_refused(BlockBackend *blk, int64_t size, PreallocMode prealloc,
                           const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(blk_truncate(blk, size, true, prealloc, 0, &err), <, 0);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static void resize(BlockBackend *blk, int64_t size, PreallocMode prealloc)
{
    g_assert_cmpint(blk_truncate(blk, size, true, prealloc, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, size);
}

static void test_resize(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_rw(f, 0);
    int64_t before = allocated(f->img);

    resize(blk, 3 * MIB, PREALLOC_MODE_OFF);
    g_assert_cmpint(allocated(f->img), <=, before + 64 * KIB);
    check_bytes(blk, MIB, 2 * MIB, 0);
    resize(blk, 512 * KIB, PREALLOC_MODE_OFF);
    check_bytes(blk, 0, 512 * KIB, 0x11);
    resize(blk, 1 * MIB, PREALLOC_MODE_OFF);
    check_bytes(blk, 512 * KIB, 512 * KIB, 0);

    resize(blk, 2 * MIB, PREALLOC_MODE_FALLOC);
    g_assert_cmpint(allocated(f->img), >=, 1 * MIB + 512 * KIB);
    resize(blk, 3 * MIB + 512, PREALLOC_MODE_FULL);
    g_assert_cmpint(allocated(f->img), >=, 2 * MIB + 512 * KIB);
    check_bytes(blk, 512 * KIB, 2 * MIB + 512 * KIB + 512, 0);
    g_assert_cmpint(file_length(f->img), ==, 3 * MIB + 512);
    blk_unref(blk);
}

static void test_resize_direct(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_image(f->img, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_NOCACHE,
                                   NULL);

    if (!blk) {
        g_test_skip("no O_DIRECT in this directory");
        return;
    }
    resize(blk, 2 * MIB, PREALLOC_MODE_FULL);
    check_bytes(blk, 0, 1 * MIB, 0x11);
    check_bytes(blk, 1 * MIB, 1 * MIB, 0);
    g_assert_cmpint(file_length(f->img), ==, 2 * MIB);
    blk_unref(blk);
}

static void test_resize_refused(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_rw(f, 0);

    resize_refused(blk, 512 * KIB, PREALLOC_MODE_FALLOC,
                   "Cannot use preallocation for shrinking files");
    resize_refused(blk, 2 * MIB, PREALLOC_MODE_METADATA,
                   "Unsupported preallocation mode: metadata");
    g_assert_cmpint(file_length(f->img), ==, IMG_SIZE);
    check_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
}

/* --- devices --- */

static BlockBackend *open_device(const char *path, int flags, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    blk_options_set(opts, "driver", "host_device");
    blk_options_set(opts, "filename", path);
    return blk_new_open(NULL, NULL, opts, flags, errp);
}

/* A loop device over the image; NULL: not allowed here, or none free. */
static char *loop_device(const char *image)
{
    const char *argv[] = { "losetup", "-f", "--show", image, NULL };
    char *name = NULL;
    int status = -1;

    if (!g_spawn_sync(NULL, (char **)argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &name, NULL,
                      &status, NULL) || status != 0) {
        g_free(name);
        return NULL;
    }
    return g_strchomp(name);
}

static void free_loop_device(const char *name)
{
    const char *argv[] = { "losetup", "-d", name, NULL };

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
}

static void test_device(Fixture *f, gconstpointer flags)
{
    g_autofree char *name = loop_device(f->img);
    g_autofree uint8_t *buf = g_malloc0(8192);
    BlockBackend *blk;

    if (!name) {
        g_test_skip("no loop device to be had");
        return;
    }
    check_refused(name, NULL, 0, "'file' driver requires");
    blk = open_device(name, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP | GPOINTER_TO_INT(flags),
                      &error_abort);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    check_bytes(blk, 0, IMG_SIZE, 0x11);
    g_assert_cmpint(blk_pwrite(blk, 5000, 7000, buf + 1, 0), ==, 0);
    check_bytes(blk, 4999, 1, 0x11);
    check_bytes(blk, 5000, 7000, 0);
    check_bytes(blk, 12000, 1000, 0x11);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 64 * KIB, 64 * KIB, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 256 * KIB, 64 * KIB, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 400000, 1001, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 512 * KIB, 64 * KIB), ==, 0);
    check_bytes(blk, 64 * KIB, 64 * KIB, 0);
    check_bytes(blk, 256 * KIB, 64 * KIB, 0);
    check_bytes(blk, 400000, 1001, 0);
    check_bytes(blk, 768 * KIB, 64 * KIB, 0x11);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    resize_refused(blk, 2 * MIB, PREALLOC_MODE_OFF, "Cannot resize device files");
    blk_unref(blk);
    free_loop_device(name);
}

static void test_file_is_no_device(Fixture *f, gconstpointer data)
{
    Error *err = NULL;

    g_assert_null(open_device(f->img, 0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "to be either a character or block device"));
    error_free(err);
}

/* --- create --- */

static int create(const char *path, const char *text, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    g_assert_true(blk_options_parse(opts, text, NULL, &error_abort));
    return bdrv_create(bdrv_find_format("raw"), path, opts, errp);
}

static void create_refused(const char *path, const char *text, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(create(path, text, &err), <, 0);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static void test_create(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "new.img", NULL);

    bdrv_init();
    g_assert_cmpint(create(path, "size=2097152", &error_abort), ==, 0);
    g_assert_cmpint(file_length(path), ==, 2 * MIB);
    g_assert_cmpint(allocated(path), <, 64 * KIB);
    g_assert_cmpint(create(path, "size=1048576,preallocation=falloc", &error_abort), ==, 0);
    g_assert_cmpint(file_length(path), ==, 1 * MIB);
    g_assert_cmpint(allocated(path), >=, 1 * MIB);
    g_assert_cmpint(create(path, "size=1048577,preallocation=full,nocow=on", &error_abort), ==,
                    0);
    /* In whole sectors. */
    g_assert_cmpint(file_length(path), ==, 1 * MIB + 512);
}

static void test_create_fails(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "new.img", NULL);
    g_autofree char *nowhere = g_build_filename(f->dir, "missing", "new.img", NULL);

    bdrv_init();
    create_refused(path, "size=1048576,preallocation=foo", "invalid parameter value: foo");
    create_refused(path, "size=1048576,preallocation=metadata", "Unsupported preallocation");
    create_refused(path, "size=8070450532247928832", "The image size is too large");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    create_refused(nowhere, "size=512", "Could not create '");
    create_refused(f->dir, "size=512", "Is a directory");
}

/* More than the disk has is refused before the disk is filled. */
static void test_create_larger_than_the_disk(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "new.img", NULL);
    g_autofree char *text = NULL;
    struct statvfs vfs;

    g_assert_cmpint(statvfs(f->dir, &vfs), ==, 0);
    text = g_strdup_printf("size=%" PRIu64 ",preallocation=falloc",
                           (uint64_t)vfs.f_blocks * vfs.f_frsize / 512 * 512 + MIB);
    bdrv_init();
    create_refused(path, text, "Could not preallocate new data: No space left on device");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_create_respects_locks(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;
    struct flock fl = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1,
    };
    int fd = open(f->img, O_RDWR | O_CLOEXEC);

    bdrv_init();
    if (fcntl(fd, F_OFD_SETLK, &fl) < 0) {
        g_test_skip("no OFD locks in this directory");
        close(fd);
        return;
    }
    /* Byte 201: somebody does not want others to write. */
    create_refused(f->img, "size=512", "Failed to get \"write\" lock");
    check_refused(f->img, NULL, BDRV_O_RDWR, "Failed to get \"write\" lock");
    g_assert_cmpint(file_length(f->img), ==, IMG_SIZE);
    blk = open_image(f->img, NULL, 0, &error_abort);
    check_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
    blk = open_image(f->img, "locking=off", BDRV_O_RDWR, &error_abort);
    blk_unref(blk);
    close(fd);
    blk_unref(open_rw(f, 0));
}

static bool io_uring_works(void)
{
    const IOEngine *engine = io_engine_find("io_uring");
    AioContext *ctx = aio_context_new(&error_abort);
    bool works;

    qemu_set_current_aio_context(ctx);
    works = engine && io_engine_get_state(engine, NULL);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    return works;
}

static void test_no_io_uring(Fixture *f, gconstpointer data)
{
    g_test_skip("not built in, or not permitted here");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

#define TEST(name, fn, data) g_test_add("/file/" name, Fixture, data, setup, fn, teardown)
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
        TEST("device/io_uring", test_device, GINT_TO_POINTER(BDRV_O_IO_URING));
    } else {
        TEST("io_uring", test_no_io_uring, NULL);
    }
    TEST("status", test_status, NULL);
    TEST("status-is-remembered", test_status_is_remembered, NULL);
    TEST("zeroes-keep-their-space", test_zeroes_keep_their_space, NULL);
    TEST("discard", test_discard, NULL);
    TEST("resize", test_resize, NULL);
    TEST("resize-direct", test_resize_direct, NULL);
    TEST("resize-refused", test_resize_refused, NULL);
    TEST("device/buffered", test_device, GINT_TO_POINTER(0));
    TEST("device/native", test_device, GINT_TO_POINTER(BDRV_O_NOCACHE | BDRV_O_NATIVE_AIO));
    TEST("device/file-is-none", test_file_is_no_device, NULL);
    TEST("create", test_create, NULL);
    TEST("create-fails", test_create_fails, NULL);
    TEST("create-larger-than-the-disk", test_create_larger_than_the_disk, NULL);
    TEST("create-respects-locks", test_create_respects_locks, NULL);
#undef TEST
    return g_test_run();
}
