/* SPDX-License-Identifier: MIT */
/*
 * Copying below the program: contents, what is refused, short copies and errors of the kernel,
 * and random copies between images of several kinds against buffers. --seed replays those.
 */
#include "qemu/osdep.h"

#include <dlfcn.h>
#include <glib/gstdio.h>

#include "block/block-driver.h"
#include "block/block-image.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"

#define SIZE (1024 * 1024)

static char *dir;

/* --- the kernel, which worker threads call --- */

static struct {
    int fail_with;   /* errno of the next call; 0: none */
    size_t at_most;  /* bytes that a call copies; 0: no limit */
    bool at_end;     /* the source seems to have ended */
    unsigned calls;
} kernel;

ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes,
                        unsigned flags)
{
    ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned) =
        dlsym(RTLD_NEXT, "copy_file_range");
    int fail_with = qatomic_xchg(&kernel.fail_with, 0);

    qatomic_inc(&kernel.calls);
    if (fail_with) {
        errno = fail_with;
        return -1;
    }
    if (kernel.at_end) {
        return 0;
    }
    return real(in, in_offset, out, out_offset,
                kernel.at_most ? MIN(kernel.at_most, bytes) : bytes, flags);
}

/* --- requests --- */

typedef struct Copy {
    BlockBackend *in, *out;
    int64_t in_offset, out_offset, bytes;
    BdrvRequestFlags flags;
    int ret;
    bool done;
} Copy;

static void coroutine_fn copy_entry(void *opaque)
{
    Copy *c = opaque;

    c->ret = blk_co_copy_range(c->in, c->in_offset, c->out, c->out_offset, c->bytes, 0, c->flags);
    c->done = true;
}

static void copy_start(Copy *c)
{
    qemu_coroutine_enter(qemu_coroutine_create(copy_entry, c));
}

static int copy_finish(Copy *c)
{
    while (!c->done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return c->ret;
}

static int copy(BlockBackend *in, int64_t in_offset, BlockBackend *out, int64_t out_offset,
                int64_t bytes)
{
    Copy c = { .in = in, .out = out, .in_offset = in_offset, .out_offset = out_offset,
               .bytes = bytes };

    copy_start(&c);
    return copy_finish(&c);
}

/* --- images --- */

static char *create(const char *name, const char *format, const char *options)
{
    char *path = g_build_filename(dir, name, NULL);
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, options, NULL, &error_abort);
    blk_options_setf(o, "size", "%d", SIZE);
    g_assert_cmpint(bdrv_create(bdrv_find_format(format), path, o, &error_abort), ==, 0);
    return path;
}

static BlockBackend *open_options(const char *options)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, options, NULL, &error_abort);
    return blk_new_open(NULL, NULL, o, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

static BlockBackend *open_image(const char *path, const char *format, const char *more)
{
    g_autofree char *options =
        g_strdup_printf("driver=%s,file.driver=file,file.filename=%s%s", format, path, more);

    return open_options(options);
}

static BlockBackend *new_image(const char *name, const char *format, const char *options)
{
    g_autofree char *path = create(name, format, options);

    return open_image(path, format, "");
}

static void fill(BlockBackend *blk, uint8_t *model, int64_t offset, int64_t bytes, uint8_t byte)
{
    memset(model + offset, byte, bytes);
    g_assert_cmpint(blk_pwrite(blk, offset, bytes, model + offset, 0), ==, 0);
}

static void assert_contents(BlockBackend *blk, const uint8_t *model)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);

    g_assert_cmpint(blk_pread(blk, 0, SIZE, buf, 0), ==, 0);
    for (int i = 0; i < SIZE; i++) {
        g_assert_cmphex(buf[i] | i << 8, ==, model[i] | i << 8);
    }
}

/* After closing, as an open image gives clusters back late. */
static void assert_check(const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    BlockBackend *blk = open_image(path, "qcow2", "");
    BdrvCheckResult result;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &result, 0), ==, 0);
    g_assert_cmpint(result.corruptions, ==, 0);
    g_assert_cmpint(result.leaks, ==, 0);
    g_assert_cmpint(result.check_errors, ==, 0);
    blk_unref(blk);
}

/* --- tests --- */

static const struct {
    const char *format, *options;
} kinds[] = {
    { "raw", "" },
    { "qcow2", "" },
    { "qcow2", "cluster_size=4096" },
    { "qcow2", "extended_l2=on,cluster_size=16384" },
};

/* Data, zeroes and what was never written, to where something else was. */
static void test_contents(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(kinds); i++) {
        unsigned from = i / ARRAY_SIZE(kinds), to = i % ARRAY_SIZE(kinds);
        g_autofree uint8_t *a = g_malloc0(SIZE), *b = g_malloc0(SIZE);
        BlockBackend *in = new_image("a", kinds[from].format, kinds[from].options);
        BlockBackend *out = new_image("b", kinds[to].format, kinds[to].options);

        fill(in, a, 0, 100000, 1);
        fill(in, a, 300000, 12345, 2);
        g_assert_cmpint(blk_pwrite_zeroes(in, 65536, 8192, 0), ==, 0);
        memset(a + 65536, 0, 8192);
        fill(out, b, 0, SIZE, 3);
        kernel.calls = 0;
        g_assert_cmpint(copy(in, 512, out, 70000 / 512 * 512, 400 * 1024), ==, 0);
        g_assert_cmpuint(kernel.calls, >, 0);
        memcpy(b + 70000 / 512 * 512, a + 512, 400 * 1024);
        assert_contents(out, b);
        assert_contents(in, a);
        blk_unref(in);
        blk_unref(out);
        if (to) {
            assert_check("b");
        }
    }
}

static void test_short(void)
{
    g_autofree uint8_t *a = g_malloc0(SIZE);
    BlockBackend *in = new_image("a", "raw", ""), *out = new_image("b", "qcow2", "");

    fill(in, a, 0, SIZE, 9);
    kernel.at_most = 5000;
    kernel.fail_with = EINTR;
    g_assert_cmpint(copy(in, 0, out, 0, SIZE), ==, 0);
    kernel.at_most = 0;
    assert_contents(out, a);
    blk_unref(in);
    blk_unref(out);
}

/* An error leaves the image as it was, with no cluster lost. */
static void test_errors(void)
{
    static const int unsupported[] = { EXDEV, ENOSYS, EOPNOTSUPP, EINVAL };
    g_autofree uint8_t *a = g_malloc0(SIZE), *b = g_malloc0(SIZE);
    BlockBackend *in = new_image("a", "raw", ""), *out = new_image("b", "qcow2", "");

    fill(in, a, 0, SIZE, 9);
    for (unsigned i = 0; i < ARRAY_SIZE(unsupported); i++) {
        kernel.fail_with = unsupported[i];
        g_assert_cmpint(copy(in, 0, out, 0, SIZE), ==, -ENOTSUP);
    }
    kernel.fail_with = EIO;
    g_assert_cmpint(copy(in, 0, out, 0, SIZE), ==, -EIO);
    kernel.fail_with = ENOSPC;
    g_assert_cmpint(copy(in, 0, out, 0, SIZE), ==, -ENOSPC);
    kernel.at_end = true;
    g_assert_cmpint(copy(in, 0, out, 0, SIZE), ==, -ENOTSUP);
    kernel.at_end = false;
    assert_contents(out, b);
    blk_unref(in);
    blk_unref(out);
    assert_check("b");
}

static void test_refused(void)
{
    g_autofree uint8_t *a = g_malloc0(SIZE);
    g_autofree char *path = create("c", "raw", "");
    BlockBackend *in = new_image("a", "raw", ""), *out = new_image("b", "qcow2", "");
    static const char *const filters[] = { "blkdebug,image.", "copy-on-read,file." };

    fill(in, a, 0, SIZE, 9);
    kernel.calls = 0;
    g_assert_cmpint(copy(in, 0, in, 512, 1024), ==, -ENOTSUP);
    g_assert_cmpint(copy(in, 0, in, 1024, 1024), ==, 0);
    g_assert_cmpuint(kernel.calls, ==, 1);
    g_assert_cmpint(copy(in, 0, out, SIZE, 512), ==, -EIO);
    g_assert_cmpint(copy(in, SIZE, out, 0, 512), ==, -EIO);
    g_assert_cmpint(copy(in, 0, out, 0, -1), ==, -EIO);
    g_assert_cmpint(copy(in, 0, out, 0, 0), ==, 0);
    g_assert_cmpint(copy(in, INT64_MAX, out, 0, 512), ==, -EIO);
    for (unsigned i = 0; i < ARRAY_SIZE(filters); i++) {
        g_autofree char *options =
            g_strdup_printf("driver=%sdriver=%s,%sfilename=%s", filters[i],
                            i ? "raw,file.file.driver=file" : "file",
                            i ? "file.file." : "image.", path);
        BlockBackend *filter = open_options(options);

        g_assert_cmpint(copy(in, 0, filter, 0, 512), ==, -ENOTSUP);
        g_assert_cmpint(copy(filter, 0, in, 0, 512), ==, -ENOTSUP);
        blk_unref(filter);
    }
    BlockBackend *detect = open_image(path, "raw", ",detect-zeroes=on");
    g_assert_cmpint(copy(in, 0, detect, 0, 512), ==, -ENOTSUP);
    blk_unref(detect);
    BlockBackend *window = open_image(path, "raw", ",offset=4096,size=8192");
    g_assert_cmpint(copy(in, 0, window, 4096, 4096), ==, 0);
    g_assert_cmpint(copy(window, 4096, in, 0, 8192), ==, -EIO);
    blk_unref(window);
    BlockBackend *whole = open_image(path, "raw", "");
    memset(a, 0, SIZE);
    memset(a + 8192, 9, 4096);
    assert_contents(whole, a);
    blk_unref(whole);
    BlockOptions *o = blk_options_new();
    blk_options_set(o, "driver", "raw");
    BlockBackend *read_only = blk_new_open(path, NULL, o, 0, &error_abort);
    g_assert_cmpint(copy(in, 0, read_only, 0, 512), ==, -EPERM);
    blk_unref(read_only);
    blk_unref(in);
    blk_unref(out);
}

static void test_dirty(void)
{
    g_autofree uint8_t *a = g_malloc0(SIZE);
    BlockBackend *in = new_image("a", "raw", ""), *out = new_image("b", "raw", "");
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(out), 512, "x", &error_abort);

    fill(in, a, 0, SIZE, 9);
    g_assert_cmpint(copy(in, 0, out, 4096, 8192), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 8192);
    kernel.fail_with = EIO; /* part of it may have been copied */
    g_assert_cmpint(copy(in, 0, out, 65536, 8192), ==, -EIO);
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 16384);
    bdrv_release_dirty_bitmap(bitmap);
    blk_unref(in);
    blk_unref(out);
}

/* Sent while both are drained, one after the other; a drain of both ends nevertheless. */
static void test_drained(void)
{
    g_autofree uint8_t *a = g_malloc0(SIZE);
    BlockBackend *in = new_image("a", "raw", ""), *out = new_image("b", "raw", "");

    fill(in, a, 0, SIZE, 9);
    for (int order = 0; order < 2; order++) {
        Copy c = { .in = in, .out = out, .bytes = SIZE, .flags = BDRV_REQ_FUA };
        BlockBackend *first = order ? in : out, *second = order ? out : in;

        blk_drained_begin(first);
        copy_start(&c);
        blk_drained_begin(second);
        g_assert_false(c.done);
        blk_drained_end(first);
        while (aio_poll(qemu_get_aio_context(), false)) {
        }
        g_assert_false(c.done);
        blk_drained_end(second);
        g_assert_cmpint(copy_finish(&c), ==, 0);
    }
    assert_contents(out, a);
    blk_unref(in);
    blk_unref(out);
}

typedef struct Model {
    BlockBackend *blk;
    uint8_t *bytes;
} Model;

static void copy_at_random(Model *from, Model *to)
{
    int64_t bytes = g_test_rand_int_range(1, 400) * 512;
    int64_t in = g_test_rand_int_range(0, (SIZE - bytes) / 512 + 1) * 512;
    int64_t out = g_test_rand_int_range(0, (SIZE - bytes) / 512 + 1) * 512;
    int ret;

    kernel.fail_with = g_test_rand_int_range(0, 8) ? 0 : g_test_rand_bit() ? EXDEV : EIO;
    kernel.at_most = g_test_rand_bit() ? 0 : g_test_rand_int_range(1000, 100000);
    ret = copy(from->blk, in, to->blk, out, bytes);
    kernel.fail_with = 0;
    kernel.at_most = 0;
    memmove(to->bytes + out, from->bytes + in, bytes);
    if (ret < 0) { /* what convert does */
        g_autofree uint8_t *buf = g_malloc(bytes);

        g_assert_cmpint(blk_pread(from->blk, in, bytes, buf, 0), ==, 0);
        g_assert_cmpint(blk_pwrite(to->blk, out, bytes, buf, 0), ==, 0);
    }
}

static void change_at_random(Model *m)
{
    int64_t bytes = g_test_rand_int_range(1, 100) * 512;
    int64_t at = g_test_rand_int_range(0, (SIZE - bytes) / 512 + 1) * 512;

    if (g_test_rand_bit()) {
        fill(m->blk, m->bytes, at, bytes, g_test_rand_int());
    } else {
        memset(m->bytes + at, 0, bytes);
        g_assert_cmpint(blk_pwrite_zeroes(m->blk, at, bytes, BDRV_REQ_MAY_UNMAP), ==, 0);
    }
}

static void test_random(void)
{
    g_autofree char *base = create("base", "raw", "");
    BlockBackend *base_blk = open_image(base, "raw", "");
    g_autofree uint8_t *base_bytes = g_malloc0(SIZE);
    Model m[5];

    fill(base_blk, base_bytes, 12345, 700000, 77);
    blk_unref(base_blk);
    for (unsigned i = 0; i < ARRAY_SIZE(m); i++) {
        char name[] = { 'm', '0' + i, 0 };
        bool backed = i == 4;
        g_autofree char *with_backing =
            g_strdup_printf("backing_file=%s,backing_fmt=raw,cluster_size=8192", base);

        m[i].blk = backed ? new_image(name, "qcow2", with_backing)
                          : new_image(name, kinds[i].format, kinds[i].options);
        m[i].bytes = backed ? g_memdup2(base_bytes, SIZE) : g_malloc0(SIZE);
    }
    for (int i = 0; i < 300; i++) {
        change_at_random(&m[g_test_rand_int_range(0, ARRAY_SIZE(m))]);
        copy_at_random(&m[g_test_rand_int_range(0, ARRAY_SIZE(m))],
                       &m[g_test_rand_int_range(0, ARRAY_SIZE(m))]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(m); i++) {
        assert_contents(m[i].blk, m[i].bytes);
        blk_unref(m[i].blk);
        g_free(m[i].bytes);
        if (i > 0) {
            char name[] = { 'm', '0' + i, 0 };

            assert_check(name);
        }
    }
}

/* Several at once to one image, next to each other in the same clusters. */
static void test_parallel(void)
{
    g_autofree uint8_t *a = g_malloc0(SIZE);
    BlockBackend *in = new_image("a", "raw", ""), *out = new_image("b", "qcow2", "");
    enum { N = 128 };
    Copy c[N];

    for (int i = 0; i < N; i++) {
        fill(in, a, i * (SIZE / N), SIZE / N, i + 1);
    }
    for (int i = 0; i < N; i++) {
        c[i] = (Copy){ .in = in, .out = out, .in_offset = i * (SIZE / N),
                       .out_offset = i * (SIZE / N), .bytes = SIZE / N };
        copy_start(&c[i]);
    }
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(copy_finish(&c[i]), ==, 0);
    }
    assert_contents(out, a);
    blk_unref(in);
    blk_unref(out);
    assert_check("b");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_dir_make_tmp("test-copy-range-XXXXXX", NULL);
    g_assert_nonnull(dir);
    g_test_add_func("/copy-range/contents", test_contents);
    g_test_add_func("/copy-range/short", test_short);
    g_test_add_func("/copy-range/errors", test_errors);
    g_test_add_func("/copy-range/refused", test_refused);
    g_test_add_func("/copy-range/dirty-bitmap", test_dirty);
    g_test_add_func("/copy-range/drained", test_drained);
    g_test_add_func("/copy-range/parallel", test_parallel);
    g_test_add_func("/copy-range/random", test_random);
    ret = g_test_run();
    static const char *const names[] = { "a", "b", "c", "base", "m0", "m1", "m2", "m3", "m4" };
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_build_filename(dir, names[i], NULL);

        g_unlink(path);
    }
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
