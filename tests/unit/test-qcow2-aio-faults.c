/* SPDX-License-Identifier: MIT */
/*
 * qcow2 on a real file through Linux AIO that refuses: in each workload every io_submit fails once,
 * for good, for the moment, or takes only the first request. What is only for the moment nobody
 * sees. After the rest the image has at most leaks, or is dirty and can be repaired, and each sector
 * reads as before or as after. The program's own io_setup and io_submit stand before libaio's.
 */
#include <dlfcn.h>
#include <libaio.h>

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"

#define SECTOR  512
#define SIZE    (256 << 10) /* bytes */
#define GROWN   (SIZE + (64 << 10))
#define CLUSTER 4096

static char *dir, *path;

/* --- the kernel --- */

typedef enum Refusal { SUBMIT_EIO, SUBMIT_EAGAIN, SUBMIT_ONE, REFUSALS } Refusal;

static struct {
    unsigned calls, fail_at; /* 0: none fails */
    Refusal how;
    int setup_error;
} kernel;

static void *next_symbol(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(fn);
    return fn;
}

int io_setup(int max, io_context_t *ctx)
{
    int (*next)(int, io_context_t *) = next_symbol("io_setup");

    return kernel.setup_error ? -kernel.setup_error : next(max, ctx);
}

int io_submit(io_context_t ctx, long n, struct iocb **iocbs)
{
    int (*next)(io_context_t, long, struct iocb **) = next_symbol("io_submit");

    if (++kernel.calls != kernel.fail_at) {
        return next(ctx, n, iocbs);
    }
    switch (kernel.how) {
    case SUBMIT_EIO:
        return -EIO;
    case SUBMIT_EAGAIN:
        return -EAGAIN;
    default:
        return next(ctx, 1, iocbs);
    }
}

/* --- the image --- */

static BlockBackend *try_open(int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, "driver=qcow2,l2-cache-entry-size=512,cache.direct=on,file.aio=native",
                      NULL, &error_abort);
    return blk_new_open(path, NULL, o, flags, errp);
}

static BlockBackend *open_image(int flags)
{
    return try_open(flags | BDRV_O_UNMAP, NULL);
}

/* Several requests at once, so that one io_submit takes them all. */
typedef struct Write {
    BlockBackend *blk;
    int64_t offset;
    uint8_t buf[3 * CLUSTER] __attribute__((aligned(4096)));
    int ret;
} Write;

static void write_done(void *opaque, int ret)
{
    ((Write *)opaque)->ret = ret;
}

static int write_together(BlockBackend *blk, int64_t first, int64_t distance, uint8_t value)
{
    static Write w[4];
    QEMUIOVector qiov[G_N_ELEMENTS(w)];
    int ret = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = (Write){ .blk = blk, .offset = first + i * distance, .ret = -EINPROGRESS };
        memset(w[i].buf, value + i, sizeof(w[i].buf));
        qemu_iovec_init_buf(&qiov[i], w[i].buf, sizeof(w[i].buf));
        blk_aio_pwritev(blk, w[i].offset, &qiov[i], 0, write_done, &w[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        while (w[i].ret == -EINPROGRESS) {
            aio_poll(qemu_get_aio_context(), true);
        }
        ret = ret < 0 ? ret : w[i].ret;
    }
    return ret;
}

/* --- workloads --- */

static int overwrite(BlockBackend *blk)
{
    int ret = write_together(blk, SECTOR, 5 * CLUSTER, 20);

    return ret < 0 ? ret : blk_flush(blk);
}

static int allocate(BlockBackend *blk)
{
    int ret = write_together(blk, SIZE / 2 + SECTOR, 4 * CLUSTER, 30);

    return ret < 0 ? ret : blk_flush(blk);
}

static int zero_and_discard(BlockBackend *blk)
{
    int ret = blk_pwrite_zeroes(blk, 2 * SECTOR, 3 * CLUSTER, BDRV_REQ_MAY_UNMAP);

    ret = ret < 0 ? ret : blk_pdiscard(blk, 8 * CLUSTER, 4 * CLUSTER);
    ret = ret < 0 ? ret : blk_pwrite_zeroes(blk, SIZE / 2 + SECTOR, CLUSTER, 0);
    return ret < 0 ? ret : blk_flush(blk);
}

static int compress(BlockBackend *blk)
{
    uint8_t buf[CLUSTER];
    int ret = 0;

    memset(buf, 40, sizeof(buf));
    for (unsigned i = 0; i < 3 && ret == 0; i++) {
        ret = blk_pwrite(blk, SIZE / 2 + 9 * i * CLUSTER, CLUSTER, buf, BDRV_REQ_WRITE_COMPRESSED);
    }
    return ret < 0 ? ret : blk_flush(blk);
}

static int make_snapshot(BlockBackend *blk)
{
    QEMUSnapshotInfo sn = { .name = "new" };
    int ret = bdrv_snapshot_create(blk_bs(blk), &sn);

    return ret < 0 ? ret : overwrite(blk);
}

static int delete_snapshot(BlockBackend *blk)
{
    return bdrv_snapshot_delete(blk_bs(blk), NULL, "old", NULL);
}

static int grow_and_shrink(BlockBackend *blk)
{
    int ret = blk_truncate(blk, GROWN, true, PREALLOC_MODE_METADATA, 0, NULL);

    return ret < 0 ? ret : blk_truncate(blk, SIZE - 3 * CLUSTER, true, PREALLOC_MODE_OFF, 0, NULL);
}

static int store_bitmap(BlockBackend *blk)
{
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(blk_bs(blk), CLUSTER, "b", &error_abort);

    bdrv_dirty_bitmap_set_persistence(b, true);
    bdrv_set_dirty_bitmap(b, 0, 3 * CLUSTER);
    return bdrv_store_dirty_bitmaps(blk_bs(blk), NULL);
}

typedef struct Workload {
    const char *name;
    int (*run)(BlockBackend *blk);
} Workload;

static const Workload workloads[] = {
    { "overwrite", overwrite },
    { "allocate", allocate },
    { "zero-and-discard", zero_and_discard },
    { "compress", compress },
    { "snapshot", make_snapshot },
    { "delete-snapshot", delete_snapshot },
    { "resize", grow_and_shrink },
    { "bitmap", store_bitmap },
};

/* --- what is left --- */

typedef struct Contents {
    int64_t length;
    uint8_t bytes[GROWN];
} Contents;

static void read_contents(Contents *c)
{
    BlockBackend *blk = open_image(0);

    g_assert_nonnull(blk);
    c->length = blk_getlength(blk);
    g_assert_cmpint(c->length, <=, GROWN);
    g_assert_cmpint(blk_pread(blk, 0, c->length, c->bytes, 0), ==, 0);
    blk_unref(blk);
}

/* What the library reports meanwhile is what the test is about. */
static void quietly(bool on)
{
    static int saved = -1;
    int null;

    if (on) {
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        saved = dup(STDERR_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    } else {
        dup2(saved, STDERR_FILENO);
        close(saved);
    }
}

static void check_image(void)
{
    BlockBackend *blk;
    BdrvCheckResult r;
    int ret;

    quietly(true);
    blk = open_image(BDRV_O_RDWR); /* repairs what is dirty */
    ret = blk ? bdrv_check(blk_bs(blk), &r, 0) : -EIO;
    quietly(false);
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    g_assert_cmpint(r.check_errors, ==, 0);
    blk_unref(blk);
}

/* A disk that grows or shrinks may stop on the way, with zeroes at its end. */
static void compare(const Contents *c, const Contents *before, const Contents *after)
{
    for (int64_t at = 0; at < c->length; at += SECTOR) {
        const uint8_t *p = c->bytes + at;
        bool known = at >= MIN(before->length, after->length);

        known |= !memcmp(p, before->bytes + at, SECTOR) || !memcmp(p, after->bytes + at, SECTOR);
        if (!known) {
            g_error("at %" PRId64 " there is neither what was nor what comes", at);
        }
    }
}

/* --- the runs --- */

static void restore(const char *image, gsize length)
{
    g_assert_true(g_file_set_contents(path, image, length, NULL));
}

static void create_empty(void)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, "size=262144,cluster_size=4k", NULL, &error_abort);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
}

static void create(void)
{
    QEMUSnapshotInfo sn = { .name = "old" };
    BlockBackend *blk;

    create_empty();
    blk = open_image(BDRV_O_RDWR);
    g_assert_nonnull(blk);
    g_assert_cmpint(write_together(blk, 0, 3 * CLUSTER, 1), ==, 0);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, 0);
    g_assert_cmpint(write_together(blk, 6 * CLUSTER, 3 * CLUSTER, 7), ==, 0);
    blk_unref(blk);
}

static int run(const Workload *w)
{
    BlockBackend *blk;
    int ret;

    quietly(true);
    blk = open_image(BDRV_O_RDWR | BDRV_O_RESIZE);
    ret = blk ? w->run(blk) : -EIO;
    blk_unref(blk);
    quietly(false);
    return ret;
}

static void every_submission_fails(gconstpointer data)
{
    static Contents before, after, now;
    g_autofree char *image = NULL;
    unsigned calls, seen = 0;
    gsize length;

    create();
    g_assert_true(g_file_get_contents(path, &image, &length, NULL));
    read_contents(&before);
    kernel.calls = kernel.fail_at = 0;
    g_assert_cmpint(run(data), ==, 0);
    calls = kernel.calls;
    g_assert_cmpuint(calls, >, 2);
    read_contents(&after);
    for (Refusal how = 0; how < REFUSALS; how++) {
        for (unsigned call = 1; call <= calls; call++) {
            int ret;

            restore(image, length);
            kernel.calls = 0;
            kernel.how = how;
            kernel.fail_at = call;
            ret = run(data);
            kernel.fail_at = 0;
            g_test_message("refusal %d of call %u: %d", how, call, ret);
            seen += ret < 0;
            g_assert_true(ret == 0 || (how == SUBMIT_EIO && ret == -EIO));
            check_image();
            read_contents(&now);
            compare(&now, &before, &after);
            if (how != SUBMIT_EIO) {
                g_assert_cmpint(now.length, ==, after.length);
                g_assert_cmpmem(now.bytes, now.length, after.bytes, after.length);
            }
        }
    }
    g_assert_cmpuint(seen, >, 0);
}

/* The context has no queue of its own yet. Nothing is opened, and the message says what helps. */
static void setup_fails(void)
{
    static const int errors[] = { EAGAIN, ENOSYS, ENOMEM };

    create_empty();
    for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
        Error *err = NULL;

        kernel.setup_error = errors[i];
        g_assert_null(try_open(BDRV_O_RDWR, &err));
        kernel.setup_error = 0;
        g_assert_nonnull(strstr(error_get_pretty(err), "aio=threads"));
        error_free(err);
    }
    check_image();
}

/* Does the file system of the test's directory let O_DIRECT pass? */
static bool direct_works(void)
{
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

int main(int argc, char **argv)
{
    int ret = 0;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_strdup("/var/tmp/test-qcow2-aio-XXXXXX");
    g_assert_nonnull(g_mkdtemp(dir));
    path = g_build_filename(dir, "t.qcow2", NULL);
    if (direct_works()) {
        g_test_add_func("/qcow2/aio-faults/setup", setup_fails);
        for (size_t i = 0; i < G_N_ELEMENTS(workloads); i++) {
            g_autofree char *name = g_strconcat("/qcow2/aio-faults/", workloads[i].name, NULL);

            g_test_add_data_func(name, &workloads[i], every_submission_fails);
        }
        ret = g_test_run();
    } else {
        printf("1..0 # SKIP no O_DIRECT in /var/tmp\n");
    }
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}
