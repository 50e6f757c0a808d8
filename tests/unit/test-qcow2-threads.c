/* SPDX-License-Identifier: MIT */
/*
 * qcow2 under many requests at once: several threads, each the owner of every n-th sector, so that
 * they meet in the same clusters all the time, write, zero and read back; others flush
 * and discard. Every sector must hold what its owner wrote last, and the image must be clean.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define THREADS 4
#define SECTORS 4096 /* of the disk */
#define SECTOR  512

typedef struct Variant {
    const char *name, *options;
    bool backing;
} Variant;

static const Variant variants[] = {
    { "default", "compat=1.1", false },
    { "small-clusters", "cluster_size=1k", false },
    { "backing", "cluster_size=4k", true },
    { "extended", "cluster_size=16k,extended_l2=on", true },
    { "v2", "compat=0.10,cluster_size=512", false },
};

typedef struct Worker {
    BlockBackend *blk;
    int number;
    uint32_t seed;
    uint8_t model[SECTORS / THREADS]; /* each sector is filled with one byte */
    QemuThread thread;
} Worker;

static bool have_qemu;
static char *dir;

static int run(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static int run(const char *fmt, ...)
{
    g_autofree char *out = NULL, *err = NULL, *line = NULL;
    g_autoptr(GError) error = NULL;
    int status = -1;
    va_list ap;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_spawn_command_line_sync(line, &out, &err, &status, &error);
    g_assert_no_error(error);
    if (status) {
        g_test_message("%s: status %d\n%s%s", line, status, out, err);
    }
    return status;
}

static void check_sector(Worker *w, int i)
{
    int64_t offset = ((int64_t)i * THREADS + w->number) * SECTOR;
    uint8_t buf[SECTOR];

    g_assert_cmpint(blk_pread(w->blk, offset, SECTOR, buf, 0), ==, 0);
    for (int k = 0; k < SECTOR; k++) {
        if (buf[k] != w->model[i]) {
            g_error("thread %d, sector %d, byte %d: 0x%02x, expected 0x%02x", w->number, i, k,
                    buf[k], w->model[i]);
        }
    }
}

static void *work(void *opaque)
{
    Worker *w = opaque;
    GRand *r = g_rand_new_with_seed(w->seed + w->number);
    uint8_t buf[SECTOR];

    for (int n = 0; n < 700; n++) {
        int i = g_rand_int_range(r, 0, SECTORS / THREADS);
        int64_t offset = ((int64_t)i * THREADS + w->number) * SECTOR;

        switch (g_rand_int_range(r, 0, 8)) {
        case 0:
            g_assert_cmpint(blk_pwrite_zeroes(w->blk, offset, SECTOR, BDRV_REQ_MAY_UNMAP), ==, 0);
            w->model[i] = 0;
            break;
        case 1:
            if (g_rand_int_range(r, 0, 8) == 0) {
                g_assert_cmpint(blk_flush(w->blk), ==, 0);
            }
            QEMU_FALLTHROUGH;
        case 2: case 3:
            check_sector(w, i);
            break;
        default:
            w->model[i] = g_rand_int(r);
            memset(buf, w->model[i], SECTOR);
            g_assert_cmpint(blk_pwrite(w->blk, offset, SECTOR, buf, 0), ==, 0);
            break;
        }
    }
    g_rand_free(r);
    return NULL;
}

static BlockBackend *open_image(const char *path)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    blk_options_set(o, "l2-cache-size", "8192");
    blk_options_set(o, "l2-cache-entry-size", "512");
    blk_options_set(o, "refcount-cache-size", "1024");
    return blk_new_open(path, NULL, o, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

static void create(const Variant *v, const char *path)
{
    g_autofree char *base = g_build_filename(dir, "base.raw", NULL);
    g_autofree char *ones = g_malloc(SECTORS * SECTOR);

    if (v->backing) {
        memset(ones, 0x11, SECTORS * SECTOR);
        g_assert_true(g_file_set_contents(base, ones, SECTORS * SECTOR, NULL));
        g_assert_cmpint(run("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw %s %d",
                            v->options, path, SECTORS * SECTOR), ==, 0);
    } else {
        g_assert_cmpint(run("qemu-img create -q -f qcow2 -o %s %s %d", v->options, path,
                            SECTORS * SECTOR), ==, 0);
    }
}

static uint32_t new_seed(void)
{
    const char *given = g_getenv("QCOW2_SEED");
    uint32_t seed = given ? strtoul(given, NULL, 0) : g_random_int();

    g_test_message("QCOW2_SEED=%u", seed);
    return seed;
}

static void threads_share_clusters(gconstpointer data)
{
    const Variant *v = data;
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree Worker *workers = g_new0(Worker, THREADS);
    uint32_t seed = new_seed();
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    create(v, path);
    blk = open_image(path);
    for (int i = 0; i < THREADS; i++) {
        workers[i].blk = blk;
        workers[i].number = i;
        workers[i].seed = seed;
        memset(workers[i].model, v->backing ? 0x11 : 0, sizeof(workers[i].model));
        qemu_thread_create(&workers[i].thread, "worker", work, &workers[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&workers[i].thread);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < THREADS; i++) {
            workers[i].blk = blk;
            for (int k = 0; k < SECTORS / THREADS; k++) {
                check_sector(&workers[i], k);
            }
        }
        blk_unref(blk);
        g_assert_cmpint(run("qemu-img check -q -f qcow2 %s", path), ==, 0);
        blk = pass == 0 ? open_image(path) : NULL;
    }
    g_unlink(path);
}

/* --- many in flight from one thread --- */

typedef struct Flight {
    QEMUIOVector qiov;
    uint8_t *buf;
    bool busy;
} Flight;

static void landed(void *opaque, int ret)
{
    Flight *f = opaque;

    g_assert_cmpint(ret, ==, 0);
    f->busy = false;
}

static void deep_queue(gconstpointer data)
{
    enum { DEPTH = 32, BYTES = 4096 };
    const Variant *v = data;
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree uint8_t *model = g_malloc(SECTORS * SECTOR);
    g_autofree uint8_t *got = g_malloc(SECTORS * SECTOR);
    GRand *r = g_rand_new_with_seed(new_seed());
    Flight flights[DEPTH] = { 0 };
    bool in_use[SECTORS * SECTOR / BYTES] = { false };
    int where[DEPTH];
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    memset(model, v->backing ? 0x11 : 0, SECTORS * SECTOR);
    create(v, path);
    blk = open_image(path);
    for (int i = 0; i < DEPTH; i++) {
        flights[i].buf = g_malloc(BYTES);
        where[i] = -1;
    }
    for (int n = 0; n < 3000; n++) {
        int i = n % DEPTH, at;
        Flight *f = &flights[i];

        while (f->busy) {
            aio_poll(qemu_get_aio_context(), true);
        }
        if (where[i] >= 0) {
            in_use[where[i]] = false;
        }
        do {
            at = g_rand_int_range(r, 0, SECTORS * SECTOR / BYTES);
        } while (in_use[at]);
        in_use[at] = true;
        where[i] = at;
        f->busy = true;
        memset(f->buf, g_rand_int(r), BYTES);
        qemu_iovec_init_buf(&f->qiov, f->buf, BYTES);
        if (n % 200 == 199) {
            blk_aio_pdiscard(blk, (int64_t)at * BYTES, BYTES, landed, f);
            while (f->busy) {
                aio_poll(qemu_get_aio_context(), true);
            }
            g_assert_cmpint(blk_pread(blk, (int64_t)at * BYTES, BYTES, model + at * BYTES, 0), ==,
                            0);
        } else if (n % 100 == 99) {
            blk_aio_flush(blk, landed, f);
        } else {
            memcpy(model + at * BYTES, f->buf, BYTES);
            blk_aio_pwritev(blk, (int64_t)at * BYTES, &f->qiov, 0, landed, f);
        }
    }
    blk_drain(blk);
    g_assert_cmpint(blk_pread(blk, 0, SECTORS * SECTOR, got, 0), ==, 0);
    g_assert_cmpmem(got, SECTORS * SECTOR, model, SECTORS * SECTOR);
    blk_unref(blk);
    g_assert_cmpint(run("qemu-img check -q -f qcow2 %s", path), ==, 0);
    for (int i = 0; i < DEPTH; i++) {
        g_free(flights[i].buf);
    }
    g_unlink(path);
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    have_qemu = qemu != NULL;
    dir = g_dir_make_tmp("test-qcow2-XXXXXX", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *threads = g_strconcat("/qcow2/threads/", variants[i].name, NULL);
        g_autofree char *deep = g_strconcat("/qcow2/deep-queue/", variants[i].name, NULL);

        g_test_add_data_func(threads, &variants[i], threads_share_clusters);
        g_test_add_data_func(deep, &variants[i], deep_queue);
    }
    ret = g_test_run();
    run("rm -rf %s", dir);
    g_free(dir);
    return ret;
}
