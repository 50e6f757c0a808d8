/* SPDX-License-Identifier: MIT */
/*
 * qcow2 both ways against the system's qemu-img: images that it makes are written here by a
 * random sequence of operations, compared with a model in RAM, and then checked and
 * read by qemu-img. A failing run prints the seed; QCOW2_SEED=N replays it.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "qemu/main-loop.h"

typedef struct Variant {
    const char *name, *options;
    uint32_t cluster;
    bool backing, compress;
} Variant;

static const Variant variants[] = {
    { "default", "compat=1.1", 65536, false, true },
    { "v2", "compat=0.10,cluster_size=4k", 4096, false, true },
    { "v2-backing", "compat=0.10,cluster_size=2k", 2048, true, true },
    { "clusters-512", "cluster_size=512", 512, false, true },
    { "clusters-1k-refcount-1", "cluster_size=1k,refcount_bits=1", 1024, false, true },
    { "clusters-4k-refcount-2", "cluster_size=4k,refcount_bits=2", 4096, true, true },
    { "clusters-2M-refcount-64", "cluster_size=2M,refcount_bits=64", 2 << 20, false, true },
    { "refcount-4", "cluster_size=8k,refcount_bits=4", 8192, true, true },
    { "refcount-8", "cluster_size=16k,refcount_bits=8", 16384, false, true },
    { "refcount-32", "cluster_size=32k,refcount_bits=32", 32768, true, true },
    { "backing", "cluster_size=64k", 65536, true, true },
    { "backing-512", "cluster_size=512", 512, true, true },
    { "zstd", "cluster_size=16k,compression_type=zstd", 16384, true, true },
    { "extended", "cluster_size=16k,extended_l2=on", 16384, false, true },
    { "extended-backing", "cluster_size=64k,extended_l2=on", 65536, true, true },
    { "extended-zstd", "cluster_size=32k,extended_l2=on,compression_type=zstd", 32768, true, true },
    { "preallocated", "cluster_size=8k,preallocation=metadata", 8192, false, false },
    { "lazy", "cluster_size=4k,lazy_refcounts=on", 4096, false, true },
};

#define DISK_SIZE    (4 * 1024 * 1024 + 3 * 512)
#define BACKING_SIZE (3 * 1024 * 1024 + 512)

static bool have_qemu;
static char *dir;

static int run(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static int run(const char *fmt, ...)
{
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *line = NULL;
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

static uint32_t rnd(GRand *r, uint32_t below)
{
    return g_rand_int_range(r, 0, below);
}

static void fill(GRand *r, uint8_t *buf, size_t bytes)
{
    uint8_t value = rnd(r, 255) + 1;
    int kind = rnd(r, 3);
    /* Far back, so that compressed clusters need a large window. */
    size_t period = bytes / 3 + 1;

    for (size_t i = 0; i < bytes; i++) {
        buf[i] = kind == 0             ? value
                 : kind == 1 && i >= period ? buf[i - period]
                                            : (uint8_t)g_rand_int(r);
    }
}

static BlockBackend *open_image(const char *path, int flags)
{
    Error *err = NULL;
    BlockOptions *o = blk_options_new();
    BlockBackend *blk;

    blk_options_set(o, "driver", "qcow2");
    /* A cache of a few slices, so that they have to leave. */
    blk_options_set(o, "l2-cache-size", "16384");
    blk_options_set(o, "l2-cache-entry-size", "512");
    blk_options_set(o, "refcount-cache-size", "2048");
    blk = blk_new_open(path, NULL, o, flags, &err);
    if (err) {
        g_test_message("%s", error_get_pretty(err));
    }
    g_assert_nonnull(blk);
    return blk;
}

static void compare(BlockBackend *blk, const uint8_t *model, uint64_t offset, size_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    g_assert_cmpint(blk_pread(blk, offset, bytes, buf, 0), ==, 0);
    for (size_t i = 0; i < bytes; i++) {
        if (buf[i] != model[offset + i]) {
            g_error("byte %" PRIu64 ": 0x%02x, expected 0x%02x", offset + i, buf[i],
                    model[offset + i]);
        }
    }
}

/* A discard may leave what was there, or zeroes. */
static void after_discard(BlockBackend *blk, uint8_t *model, uint64_t offset, size_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    g_assert_cmpint(blk_pread(blk, offset, bytes, buf, 0), ==, 0);
    for (size_t i = 0; i < bytes; i++) {
        g_assert_true(buf[i] == 0 || buf[i] == model[offset + i]);
    }
    memcpy(model + offset, buf, bytes);
}

static void random_op(GRand *r, BlockBackend *blk, const Variant *v, uint8_t *model)
{
    uint32_t max = rnd(r, 4) ? MIN(v->cluster * 2, 65536U) : 256 * 1024;
    uint64_t offset = rnd(r, DISK_SIZE);
    size_t bytes = 1 + rnd(r, MIN(max, DISK_SIZE - (uint32_t)offset));
    g_autofree uint8_t *buf = NULL;
    int ret;

    if (rnd(r, 2)) {
        offset = ROUND_DOWN(offset, 512U);
        bytes = MIN(ROUND_UP(bytes, 512U), DISK_SIZE - offset);
    }
    switch (rnd(r, 10)) {
    case 0: case 1: case 2: case 3:
        buf = g_malloc(bytes);
        fill(r, buf, bytes);
        g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
        memcpy(model + offset, buf, bytes);
        break;
    case 4:
        g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes,
                                          rnd(r, 2) ? BDRV_REQ_MAY_UNMAP : 0), ==, 0);
        memset(model + offset, 0, bytes);
        break;
    case 5:
        g_assert_cmpint(blk_pdiscard(blk, offset, bytes), ==, 0);
        after_discard(blk, model, offset, bytes);
        break;
    case 6:
        g_assert_cmpint(blk_flush(blk), ==, 0);
        break;
    case 7:
        if (v->compress) {
            offset = ROUND_DOWN(offset, v->cluster);
            bytes = MIN((uint64_t)v->cluster, DISK_SIZE - offset);
            buf = g_malloc(bytes);
            fill(r, buf, bytes);
            ret = blk_pwrite_compressed(blk, offset, bytes, buf);
            if (ret == 0) {
                memcpy(model + offset, buf, bytes);
            } else {
                g_assert_cmpint(ret, ==, -EIO);
            }
            break;
        }
        QEMU_FALLTHROUGH;
    default:
        compare(blk, model, offset, bytes);
        break;
    }
}

static void check_with_qemu(const char *path, const uint8_t *model)
{
    g_autofree char *raw = g_build_filename(dir, "out.raw", NULL);
    g_autofree char *contents = NULL;
    gsize length;

    g_assert_cmpint(run("qemu-img check -q -f qcow2 %s", path), ==, 0);
    g_assert_cmpint(run("qemu-img convert -f qcow2 -O raw %s %s", path, raw), ==, 0);
    g_assert_true(g_file_get_contents(raw, &contents, &length, NULL));
    g_assert_cmpuint(length, ==, DISK_SIZE);
    for (size_t i = 0; i < length; i++) {
        if ((uint8_t)contents[i] != model[i]) {
            g_error("qemu-img reads byte %zu as 0x%02x, expected 0x%02x", i,
                    (uint8_t)contents[i], model[i]);
        }
    }
    g_unlink(raw);
}

static void make_backing(GRand *r, const char *path, uint8_t *model)
{
    fill(r, model, BACKING_SIZE);
    memset(model + 1024 * 1024, 0, 300000);
    g_assert_true(g_file_set_contents(path, (char *)model, BACKING_SIZE, NULL));
}

static uint32_t new_seed(void)
{
    const char *given = g_getenv("QCOW2_SEED");

    return given ? strtoul(given, NULL, 0) : g_random_int();
}

static void random_ops(gconstpointer data)
{
    const Variant *v = data;
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree char *base = g_build_filename(dir, "base.raw", NULL);
    g_autofree uint8_t *model = g_malloc0(DISK_SIZE);
    uint32_t seed = new_seed();
    GRand *r = g_rand_new_with_seed(seed);
    int flags = BDRV_O_RDWR | BDRV_O_UNMAP;
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    g_test_message("QCOW2_SEED=%u", seed);
    if (v->backing) {
        make_backing(r, base, model);
        g_assert_cmpint(run("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw %s %d",
                            v->options, path, DISK_SIZE), ==, 0);
    } else {
        g_assert_cmpint(run("qemu-img create -q -f qcow2 -o %s %s %d", v->options, path,
                            DISK_SIZE), ==, 0);
    }
    for (int round = 0; round < 3; round++) {
        blk = open_image(path, flags);
        g_assert_cmpint(blk_getlength(blk), ==, DISK_SIZE);
        for (int i = 0; i < 120; i++) {
            random_op(r, blk, v, model);
        }
        compare(blk, model, 0, DISK_SIZE);
        blk_unref(blk);
        check_with_qemu(path, model);
    }
    g_unlink(path);
    g_rand_free(r);
}

/* The data lies in another file, which only the caller can name. */
static void external_data_file(gconstpointer data)
{
    const char *options = data;
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree char *file = g_build_filename(dir, "t.data", NULL);
    g_autofree uint8_t *model = g_malloc0(DISK_SIZE);
    Variant v = { "external", options, 65536, false, false };
    GRand *r = g_rand_new_with_seed(new_seed());
    BlockOptions *o;
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    g_assert_cmpint(run("qemu-img create -q -f qcow2 -o data_file=%s,%s %s %d", file, options, path,
                        DISK_SIZE), ==, 0);
    for (int round = 0; round < 2; round++) {
        o = blk_options_new();
        blk_options_set(o, "driver", "qcow2");
        if (round) {
            blk_options_set(o, "data-file.filename", file);
        }
        blk = blk_new_open(path, NULL, o, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
        for (int i = 0; i < 150; i++) {
            random_op(r, blk, &v, model);
        }
        compare(blk, model, 0, DISK_SIZE);
        blk_unref(blk);
        check_with_qemu(path, model);
        if (strstr(options, "raw")) {
            g_autofree char *contents = NULL;
            gsize length;

            /* It has to be right without the metadata. */
            g_assert_true(g_file_get_contents(file, &contents, &length, NULL));
            /* qemu-img made it whole clusters long. */
            g_assert_cmpuint(length, >=, DISK_SIZE);
            g_assert_cmpmem(contents, DISK_SIZE, model, DISK_SIZE);
        }
    }
    g_rand_free(r);
}

/* Grows an overlay whose backing file is longer: what is new must read as zeroes. */
static void growing(gconstpointer data)
{
    const char *options = data;
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree char *base = g_build_filename(dir, "base.raw", NULL);
    g_autofree uint8_t *model = g_malloc0(DISK_SIZE), *ones = g_malloc(DISK_SIZE);
    int64_t size = 100 * 1024 + 512;
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    memset(ones, 0x11, DISK_SIZE);
    g_assert_true(g_file_set_contents(base, (char *)ones, DISK_SIZE, NULL));
    memset(model, 0x11, size);
    g_assert_cmpint(run("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw %s %" PRId64,
                        options, path, size), ==, 0);
    blk = open_image(path, BDRV_O_RDWR | BDRV_O_RESIZE);
    while (size < DISK_SIZE) {
        int64_t more = MIN(size * 2 + 512, (int64_t)DISK_SIZE);

        g_assert_cmpint(blk_truncate(blk, more, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
        g_assert_cmpint(blk_getlength(blk), ==, more);
        g_assert_cmpint(blk_pwrite(blk, more - 512, 512, ones, 0), ==, 0);
        memset(model + more - 512, 0x11, 512);
        size = more;
    }
    compare(blk, model, 0, DISK_SIZE);
    blk_unref(blk);
    check_with_qemu(path, model);
}

/* Enough clusters for the refcount table to grow, several times. */
static void refcount_table_grows(void)
{
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree uint8_t *buf = g_malloc(1024 * 1024);
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    memset(buf, 0x42, 1024 * 1024);
    g_assert_cmpint(run("qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 %s 24M",
                        path), ==, 0);
    blk = open_image(path, BDRV_O_RDWR);
    for (int i = 0; i < 24; i++) {
        g_assert_cmpint(blk_pwrite(blk, (i * 7 % 24) * 1048576LL, 1024 * 1024, buf, 0), ==, 0);
    }
    blk_unref(blk);
    g_assert_cmpint(run("qemu-img check -q -f qcow2 %s", path), ==, 0);
    g_assert_cmpint(run("qemu-io -f qcow2 -c 'read -P 0x42 0 24M' %s", path), ==, 0);
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
        g_autofree char *path = g_strconcat("/qcow2/interop/random/", variants[i].name, NULL);

        g_test_add_data_func(path, &variants[i], random_ops);
    }
    g_test_add_data_func("/qcow2/interop/external/default", "compat=1.1", external_data_file);
    g_test_add_data_func("/qcow2/interop/external/raw", "data_file_raw=on", external_data_file);
    g_test_add_data_func("/qcow2/interop/external/extended", "extended_l2=on",
                         external_data_file);
    g_test_add_data_func("/qcow2/interop/growing/default", "compat=1.1", growing);
    g_test_add_data_func("/qcow2/interop/growing/512", "cluster_size=512", growing);
    g_test_add_data_func("/qcow2/interop/growing/extended", "extended_l2=on", growing);
    g_test_add_func("/qcow2/interop/refcount-table-grows", refcount_table_grows);
    ret = g_test_run();
    run("rm -rf %s", dir);
    g_free(dir);
    return ret;
}
