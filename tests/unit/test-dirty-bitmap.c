/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps in RAM: against a model of one byte for each sector, what the request path
 * records, and writes from several threads. --seed replays a failure of the random ones.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/main-loop.h"
#include "block/block-backend.h"
#include "block/block-driver.h"
#include "block/dirty-bitmap.h"
#include "block/block-image.h"

#define SECTOR 512

static BlockBackend *open_null(int64_t size)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *text = g_strdup_printf("%" PRId64, size);

    blk_options_set(o, "driver", "null-co");
    blk_options_set(o, "size", text);
    return blk_new_open(NULL, NULL, o, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP, &error_abort);
}

/* A sparse file, for what has to change its size. */
static BlockBackend *open_file(int64_t size)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-dirty-bitmap-XXXXXX", &path, NULL);
    BlockBackend *blk;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    close(fd);
    blk_options_set(o, "driver", "raw");
    blk = blk_new_open(path, NULL, o, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    g_unlink(path);
    return blk;
}

static BdrvDirtyBitmap *add(BlockBackend *blk, uint32_t granularity, const char *name)
{
    return bdrv_create_dirty_bitmap(blk_bs(blk), granularity, name, &error_abort);
}

/* --- the model --- */

typedef struct Model {
    uint8_t *dirty; /* of each granule */
    int64_t size, granularity, n;
} Model;

static void model_init(Model *m, int64_t size, int64_t granularity)
{
    *m = (Model){ .size = size, .granularity = granularity,
                  .n = DIV_ROUND_UP(size, granularity) };
    m->dirty = g_malloc0(MAX(m->n, 1));
}

static void model_fill(Model *m, int64_t offset, int64_t bytes, bool value)
{
    int64_t end = MIN(offset + bytes, m->size);

    for (int64_t i = offset / m->granularity; offset < end && i * m->granularity < end; i++) {
        m->dirty[i] = value;
    }
}

static int64_t model_next(const Model *m, int64_t offset, int64_t end, bool value)
{
    for (end = MIN(end, m->size); offset < end;
         offset = (offset / m->granularity + 1) * m->granularity) {
        if (m->dirty[offset / m->granularity] == value) {
            return offset;
        }
    }
    return -1;
}

static void compare(const Model *m, BdrvDirtyBitmap *b)
{
    BdrvDirtyBitmapIter *iter = bdrv_dirty_iter_new(b);
    int64_t count = 0;

    g_assert_cmpint(bdrv_dirty_bitmap_size(b), ==, m->size);
    for (int64_t i = 0; i < m->n; i++) {
        count += m->dirty[i];
        if (m->dirty[i]) {
            g_assert_cmpint(bdrv_dirty_iter_next(iter), ==, i * m->granularity);
        }
    }
    g_assert_cmpint(bdrv_dirty_iter_next(iter), ==, -1);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, count * m->granularity);
    bdrv_dirty_iter_free(iter);
}

static void ask_randomly(const Model *m, BdrvDirtyBitmap *b, GRand *r)
{
    int64_t offset = g_rand_int_range(r, 0, m->size / SECTOR) * SECTOR + g_rand_int_range(r, 0, 512);
    int64_t bytes = g_rand_boolean(r) ? g_rand_int_range(r, 1, m->size) : INT64_MAX;
    int64_t end = MIN(bytes > INT64_MAX - offset ? INT64_MAX : offset + bytes, m->size);
    int64_t max = g_rand_int_range(r, 1, m->size), start, n, from = model_next(m, offset, end, true);
    bool dirty = m->dirty[offset / m->granularity], found;

    g_assert_cmpint(bdrv_dirty_bitmap_get(b, offset), ==, dirty);
    g_assert_cmpint(bdrv_dirty_bitmap_next_dirty(b, offset, bytes), ==, from);
    g_assert_cmpint(bdrv_dirty_bitmap_next_zero(b, offset, bytes), ==,
                    model_next(m, offset, end, false));
    found = bdrv_dirty_bitmap_next_dirty_area(b, offset, end, max, &start, &n);
    g_assert_cmpint(found, ==, from >= 0);
    if (found) {
        int64_t stop = model_next(m, from, MIN(end, from + max), false);

        g_assert_cmpint(start, ==, from);
        g_assert_cmpint(n, ==, (stop < 0 ? MIN(end, from + max) : stop) - from);
    }
    g_assert_cmpint(bdrv_dirty_bitmap_status(b, offset, bytes, &n), ==, dirty);
    start = model_next(m, offset, end, !dirty);
    g_assert_cmpint(n, ==, (start < 0 ? end : start) - offset);
}

/* Through bytes and back into another bitmap. */
static void serialize_randomly(const Model *m, BlockBackend *blk, BdrvDirtyBitmap *b, GRand *r)
{
    BdrvDirtyBitmap *copy = add(blk, bdrv_dirty_bitmap_granularity(b), "copy");
    int64_t step = bdrv_dirty_bitmap_serialization_align(b) * g_rand_int_range(r, 1, 2000);

    bdrv_disable_dirty_bitmap(copy);
    for (int64_t at = 0; at < m->size; at += step) {
        int64_t bytes = MIN(step, m->size - at);
        size_t length = bdrv_dirty_bitmap_serialization_size(b, at, bytes);
        g_autofree uint8_t *buf = g_malloc(length);

        memset(buf, 0x5a, length);
        bdrv_dirty_bitmap_serialize_part(b, buf, at, bytes);
        for (size_t i = 0; i < length * 8; i++) {
            int64_t bit = at / m->granularity + i;

            g_assert_cmpint(buf[i / 8] >> i % 8 & 1, ==, bit < m->n && m->dirty[bit]);
        }
        bdrv_dirty_bitmap_deserialize_part(copy, buf, at, bytes);
    }
    compare(m, copy);
    bdrv_release_dirty_bitmap(copy);
}

static void model_resize(Model *m, int64_t size)
{
    Model new;

    model_init(&new, size, m->granularity);
    memcpy(new.dirty, m->dirty, MIN(new.n, m->n));
    g_free(m->dirty);
    *m = new;
}

static void random_step(Model *m, BlockBackend *blk, BdrvDirtyBitmap *b, GRand *r)
{
    int64_t first = g_rand_int_range(r, 0, m->n);
    int64_t count = g_rand_int_range(r, 1, g_rand_boolean(r) ? 5 : m->n + 1);
    int64_t offset = first * m->granularity, bytes = MIN(count * m->granularity, m->size - offset);

    switch (g_rand_int_range(r, 0, 8)) {
    case 0 ... 2:
        offset += g_rand_int_range(r, 0, MIN(m->granularity, m->size - offset));
        bytes = g_rand_int_range(r, 0, 2) ? bytes : 1;
        bdrv_set_dirty_bitmap(b, offset, bytes);
        model_fill(m, offset, bytes, true);
        break;
    case 3 ... 4:
        bdrv_reset_dirty_bitmap(b, offset, bytes);
        model_fill(m, offset, bytes, false);
        break;
    case 5:
        for (int64_t i = first; i < MIN(first + 3000, m->n); i += 2) {
            bdrv_set_dirty_bitmap(b, i * m->granularity, 1);
            m->dirty[i] = 1;
        }
        break;
    case 6:
        g_assert_cmpint(blk_truncate(blk, offset + bytes, true, PREALLOC_MODE_OFF, 0, &error_abort),
                        ==, 0);
        g_assert_cmpint(blk_truncate(blk, m->size, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
        model_fill(m, ROUND_UP(offset + bytes, m->granularity), m->size, false);
        break;
    default:
        bdrv_clear_dirty_bitmap(b);
        memset(m->dirty, 0, m->n);
    }
}

static void random_operations(void)
{
    uint32_t seed = g_test_rand_int();
    g_autoptr(GRand) r = g_rand_new_with_seed(seed);

    g_test_message("seed %u", seed);
    for (int round = 0; round < 8; round++) {
        int64_t size = g_rand_int_range(r, 1, 400000) * (int64_t)SECTOR;
        uint32_t granularity = SECTOR << g_rand_int_range(r, 0, 6);
        BlockBackend *blk = open_file(size);
        BdrvDirtyBitmap *b = add(blk, granularity, "b");
        Model m;

        model_init(&m, size, granularity);
        for (int step = 0; step < 60; step++) {
            random_step(&m, blk, b, r);
            for (int i = 0; i < 12; i++) {
                ask_randomly(&m, b, r);
            }
        }
        compare(&m, b);
        serialize_randomly(&m, blk, b, r);
        model_resize(&m, size * 3);
        g_assert_cmpint(blk_truncate(blk, m.size, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
        compare(&m, b);
        g_free(m.dirty);
        blk_unref(blk);
    }
}

static void merges_between_granularities(void)
{
    uint32_t seed = g_test_rand_int();
    g_autoptr(GRand) r = g_rand_new_with_seed(seed);

    g_test_message("seed %u", seed);
    for (int round = 0; round < 100; round++) {
        int64_t size = g_rand_int_range(r, 1, 20000) * (int64_t)SECTOR;
        BlockBackend *blk = open_null(size), *other = open_null(size);
        BdrvDirtyBitmap *from = add(other, SECTOR << g_rand_int_range(r, 0, 8), "from");
        BdrvDirtyBitmap *to = add(blk, SECTOR << g_rand_int_range(r, 0, 8), "to");
        Model m;

        model_init(&m, size, bdrv_dirty_bitmap_granularity(to));
        for (int i = 0; i < 30; i++) {
            int64_t at = g_rand_int_range(r, 0, size), bytes = g_rand_int_range(r, 1, 5000);
            int64_t g = bdrv_dirty_bitmap_granularity(from);

            bdrv_set_dirty_bitmap(from, at, bytes);
            model_fill(&m, ROUND_DOWN(at, g), ROUND_UP(MIN(at + bytes, size), g) - ROUND_DOWN(at, g),
                       true);
            at = g_rand_int_range(r, 0, size);
            bdrv_set_dirty_bitmap(to, at, bytes);
            model_fill(&m, at, bytes, true);
        }
        g_assert_true(bdrv_merge_dirty_bitmap(to, from, &error_abort));
        compare(&m, to);
        g_free(m.dirty);
        blk_unref(blk);
        blk_unref(other);
    }
}

/* --- what is refused --- */

static void expect_error(Error *err, const char *text)
{
    g_assert_nonnull(err);
    g_assert_cmpstr(error_get_pretty(err), ==, text);
    error_free(err);
}

static void states_forbid_changes(void)
{
    BlockBackend *blk = open_null(1 << 20), *other = open_null(2 << 20);
    BdrvDirtyBitmap *a = add(blk, 512, "a"), *b = add(blk, 4096, "b"), *c = add(other, 512, "c");
    Error *err = NULL;

    g_assert_null(bdrv_create_dirty_bitmap(blk_bs(blk), 512, "a", &err));
    expect_error(g_steal_pointer(&err), "Bitmap already exists: a");
    g_assert_false(bdrv_merge_dirty_bitmap(a, c, &err));
    expect_error(g_steal_pointer(&err), "Bitmaps are of different sizes (destination size is "
                 "1048576, source size is 2097152) and can't be merged");
    bdrv_dirty_bitmap_set_readonly(a, true);
    g_assert_true(bdrv_merge_dirty_bitmap(b, a, &error_abort));
    g_assert_false(bdrv_merge_dirty_bitmap(a, b, &err));
    expect_error(g_steal_pointer(&err), "Bitmap 'a' is readonly and cannot be modified");
    bdrv_dirty_bitmap_set_busy(b, true);
    g_assert_cmpint(bdrv_dirty_bitmap_check(b, BDRV_BITMAP_ALLOW_RO, &err), ==, -1);
    expect_error(g_steal_pointer(&err),
                 "Bitmap 'b' is currently in use by another operation and cannot be used");
    bdrv_dirty_bitmap_set_inconsistent(c);
    g_assert_cmpint(bdrv_dirty_bitmap_check(c, BDRV_BITMAP_DEFAULT, &err), ==, -1);
    expect_error(g_steal_pointer(&err), "Bitmap 'c' is inconsistent and cannot be used");
    g_assert_false(bdrv_can_store_new_dirty_bitmap(blk_bs(blk), "x", 512, NULL));
    g_assert_true(bdrv_dirty_bitmap_first(blk_bs(blk)) == b);
    g_assert_true(bdrv_dirty_bitmap_next(b) == a);
    g_assert_null(bdrv_dirty_bitmap_next(a));
    blk_unref(blk);
    blk_unref(other);
}

/* --- recording --- */

static void writes_are_recorded(void)
{
    uint8_t buf[4096] = { 0 };
    BlockBackend *blk = open_null(INT64_C(1) << 50);
    BdrvDirtyBitmap *on = add(blk, 4096, "on"), *off = add(blk, 4096, "off");

    bdrv_disable_dirty_bitmap(off);
    g_assert_cmpint(blk_pwrite(blk, 8191, 2, buf, 0), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(on), ==, 8192);
    g_assert_cmpint(bdrv_dirty_bitmap_next_dirty(on, 0, INT64_MAX), ==, 4096);
    g_assert_cmpint(blk_pwrite_zeroes(blk, INT64_C(1) << 40, INT64_C(1) << 40, 0), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(on), ==, 8192 + (INT64_C(1) << 40));
    bdrv_clear_dirty_bitmap(on);
    g_assert_cmpint(blk_pread(blk, 0, 4096, buf, 0), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(on), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(off), ==, 0);
    bdrv_enable_dirty_bitmap(off);
    bdrv_disable_dirty_bitmap(on);
    g_assert_cmpint(blk_pwrite(blk, 0, 4096, buf, 0), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(on), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(off), ==, 4096);
    bdrv_release_dirty_bitmap(off);
    g_assert_cmpint(blk_pwrite(blk, 0, 4096, buf, 0), ==, 0);
    blk_unref(blk);
}

#define THREADS 4
#define STRIPE  (1 << 20)

typedef struct Writer {
    BlockBackend *blk;
    int number;
    uint32_t seed;
} Writer;

static gpointer write_stripes(gpointer opaque)
{
    Writer *w = opaque;
    g_autoptr(GRand) r = g_rand_new_with_seed(w->seed);
    uint8_t buf[512] = { 0 };

    /* Of each pair of sectors the first, in an order of the thread's own. */
    for (int i = 0, at = g_rand_int_range(r, 0, 1024); i < 1024; i++, at = (at + 389) % 1024) {
        g_assert_cmpint(blk_pwrite(w->blk, (int64_t)w->number * STRIPE + at * 1024, 512, buf, 0),
                        ==, 0);
    }
    return NULL;
}

static void several_threads(void)
{
    BlockBackend *blk = open_null(THREADS * STRIPE);
    BdrvDirtyBitmap *fine = add(blk, 512, "fine"), *coarse = add(blk, 65536, "coarse");
    GThread *threads[THREADS];
    Writer writers[THREADS];

    for (int i = 0; i < THREADS; i++) {
        writers[i] = (Writer){ blk, i, g_test_rand_int() };
        threads[i] = g_thread_new("writer", write_stripes, &writers[i]);
    }
    while (bdrv_get_dirty_count(coarse) < THREADS * STRIPE) {
        aio_poll(qemu_get_aio_context(), false);
    }
    for (int i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpint(bdrv_get_dirty_count(fine), ==, THREADS * STRIPE / 2);
    for (int64_t at = 0; at < THREADS * STRIPE; at += 1024) {
        g_assert_true(bdrv_dirty_bitmap_get(fine, at));
        g_assert_false(bdrv_dirty_bitmap_get(fine, at + 512));
    }
    blk_unref(blk);
}

static BlockBackend *open_qcow2(const char *path, int flags)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    return blk_new_open(path, NULL, o, flags, &error_abort);
}

/* Persistent bitmaps: one that is enabled and disabled under way does not disturb the other. */
static void toggled_while_written(void)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-dirty-bitmap-XXXXXX", &path, NULL);
    BlockBackend *blk;
    BdrvDirtyBitmap *on, *other;
    GThread *threads[THREADS];
    Writer writers[THREADS];

    close(fd);
    blk_options_set_number(o, "size", THREADS * STRIPE);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    blk = open_qcow2(path, BDRV_O_RDWR);
    bdrv_dirty_bitmap_set_persistence(add(blk, 512, "on"), true);
    bdrv_dirty_bitmap_set_persistence(add(blk, 65536, "other"), true);
    blk_unref(blk);

    blk = open_qcow2(path, BDRV_O_RDWR);
    on = bdrv_find_dirty_bitmap(blk_bs(blk), "on");
    other = bdrv_find_dirty_bitmap(blk_bs(blk), "other");
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (Writer){ blk, i, g_test_rand_int() };
        threads[i] = g_thread_new("writer", write_stripes, &writers[i]);
    }
    while (bdrv_get_dirty_count(on) < THREADS * STRIPE / 2) {
        bdrv_disable_dirty_bitmap(other);
        aio_poll(qemu_get_aio_context(), false);
        bdrv_enable_dirty_bitmap(other);
    }
    for (int i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    blk_unref(blk);

    blk = open_qcow2(path, 0);
    on = bdrv_find_dirty_bitmap(blk_bs(blk), "on");
    g_assert_false(bdrv_dirty_bitmap_inconsistent(on));
    g_assert_false(bdrv_dirty_bitmap_loaded(on));
    g_assert_cmpint(bdrv_get_dirty_count(on), ==, THREADS * STRIPE / 2);
    other = bdrv_find_dirty_bitmap(blk_bs(blk), "other");
    g_assert_true(bdrv_dirty_bitmap_enabled(other) && !bdrv_dirty_bitmap_inconsistent(other));
    blk_unref(blk);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/dirty-bitmap/random-operations", random_operations);
    g_test_add_func("/dirty-bitmap/merges-between-granularities", merges_between_granularities);
    g_test_add_func("/dirty-bitmap/states-forbid-changes", states_forbid_changes);
    g_test_add_func("/dirty-bitmap/writes-are-recorded", writes_are_recorded);
    g_test_add_func("/dirty-bitmap/several-threads", several_threads);
    g_test_add_func("/dirty-bitmap/toggled-while-written", toggled_while_written);
    return g_test_run();
}
