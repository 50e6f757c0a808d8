/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps that are too much - of the disk, the name, the granularity, the directory - are refused before
 * anything is written; directories that do not add up are refused by open and by check; data that
 * belongs to a bitmap and means nothing here stays with it.
 */
#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/sim.h"
#include "../../block/qcow2/qcow2-bitmap-dir.h"
#include "../../block/qcow2/qcow2-format.h"
#include "qemu/main-loop.h"

#define AT(field) offsetof(Qcow2DiskHeader, field)
#define D(field)  offsetof(Qcow2DiskBitmapDirEntry, field)
#define MIB       (1 << 20)

typedef struct World {
    SimPower *power;
    SimDisk *disk;
} World;

static World new_image(const char *options)
{
    World w = { .power = sim_power_new(1) };

    w.disk = sim_disk_new(w.power, NULL, 0, &error_abort);
    g_assert_cmpint(sim_disk_create(w.disk, "qcow2", options, &error_abort), ==, 0);
    return w;
}

static BlockBackend *reopen(World *w, int flags, Error **errp)
{
    return sim_disk_open(w->disk, "driver=qcow2", flags, errp);
}

static BdrvDirtyBitmap *add_bitmap(BlockBackend *blk, const char *name, uint32_t granularity)
{
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(blk_bs(blk), granularity, name, &error_abort);

    bdrv_dirty_bitmap_set_persistence(b, true);
    return b;
}

/* --- new ones --- */

typedef struct Limit {
    const char *options, *name;
    uint32_t granularity;
    const char *message; /* part of it; NULL: no limit is met */
} Limit;

static const Limit limits[] = {
    { "size=1M", "bits", 512, NULL },
    { "size=1M", "bits", 1U << 31, NULL },
    { "size=1M", "bits", 256, "under minimum" },
    { "size=0", "bits", 65536, "no bytes" },
    { "size=64T,cluster_size=2M", "bits", 512, "larger granularity" },
    { "size=1M,compat=0.10", "bits", 65536, "qcow2 v2" },
    { "size=1M", NULL, 65536, "Name length" }, /* 1024 characters */
};

static void what_is_too_much(void)
{
    g_autofree char *long_name = g_strnfill(1024, 'b');

    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        const Limit *l = &limits[i];
        World w = new_image(l->options);
        BlockBackend *blk = reopen(&w, BDRV_O_RDWR, &error_abort);
        const char *name = l->name ? l->name : long_name;
        Error *err = NULL;
        bool ok = bdrv_can_store_new_dirty_bitmap(blk_bs(blk), name, l->granularity, &err);

        g_assert_cmpint(ok, ==, !l->message);
        if (l->message && !strstr(error_get_pretty(err), l->message)) {
            g_error("'%s' does not say '%s'", error_get_pretty(err), l->message);
        }
        g_clear_pointer(&err, error_free);
        /* And whoever does not want to know why. */
        g_assert_cmpint(bdrv_can_store_new_dirty_bitmap(blk_bs(blk), name, l->granularity, NULL), ==,
                        ok);
        if (ok) {
            g_assert_true(bdrv_can_store_new_dirty_bitmap(blk_bs(blk), name, l->granularity,
                                                          &error_fatal));
            g_assert_true(bdrv_can_store_new_dirty_bitmap(blk_bs(blk), name, l->granularity,
                                                          &error_warn));
        }
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* It was made without asking, is refused when it is to be stored, and the others stay. */
static void what_cannot_be_stored(void)
{
    World w = new_image("size=64T,cluster_size=2M");
    BlockBackend *blk = reopen(&w, BDRV_O_RDWR, &error_abort);
    BdrvDirtyBitmap *fine = add_bitmap(blk, "fine", 1U << 31), *large;
    Error *err = NULL;

    bdrv_set_dirty_bitmap(fine, 0, 1);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), &error_fatal), ==, 0);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), &error_warn), ==, 0);
    large = add_bitmap(blk, "large", 4096);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), &err), <, 0);
    g_assert_nonnull(strstr(error_get_pretty(err), "larger granularity"));
    error_free(err);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), NULL), <, 0);
    bdrv_release_dirty_bitmap(large);
    blk_unref(blk);
    blk = reopen(&w, 0, &error_abort);
    fine = bdrv_find_dirty_bitmap(blk_bs(blk), "fine");
    g_assert_nonnull(fine);
    g_assert_cmpint(bdrv_dirty_bitmap_load(fine, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(fine), ==, INT64_C(1) << 31);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* A cluster of nothing but ones takes no place in the file. */
static void all_ones(void)
{
    World w = new_image("size=8M,cluster_size=512");
    BlockBackend *blk = reopen(&w, BDRV_O_RDWR, &error_abort);
    BdrvDirtyBitmap *b = add_bitmap(blk, "bits", 512);

    bdrv_set_dirty_bitmap(b, 0, 5 * MIB);
    blk_unref(blk);
    blk = reopen(&w, 0, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_cmpint(bdrv_dirty_bitmap_load(b, &error_abort), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 5 * MIB);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- directories --- */

static void put_entry(uint8_t *e, uint32_t extra, uint32_t flags, const char *name)
{
    qcow2_put_be64(e + D(table_offset), 65536);
    qcow2_put_be32(e + D(table_size), 1);
    qcow2_put_be32(e + D(flags), flags);
    e[D(type)] = 1;
    e[D(granularity_bits)] = 16;
    qcow2_put_be16(e + D(name_size), strlen(name));
    qcow2_put_be32(e + D(extra_data_size), extra);
    memset(e + sizeof(Qcow2DiskBitmapDirEntry), 0x33, extra);
    memcpy(e + sizeof(Qcow2DiskBitmapDirEntry) + extra, name, strlen(name));
}

static void refuses(const uint8_t *dir, uint64_t size, uint32_t nb, uint64_t disk, const char *message)
{
    Error *err = NULL;

    g_assert_null(qcow2_bitmap_dir_parse(dir, size, nb, 16, disk, &err));
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), message);
    }
    error_free(err);
}

static void directories_that_do_not_add_up(void)
{
    uint8_t dir[4096] = { 0 };
    g_autofree char *long_name = g_strnfill(1024, 'b');

    put_entry(dir, 0, 0, "one");
    refuses(dir, 32, 2, MIB, "Less bitmaps");
    refuses(dir, 48, 2, MIB, "Broken bitmap directory");
    refuses(dir, 20, 1, MIB, "Broken bitmap directory");
    put_entry(dir + 32, 0, 0, "one");
    refuses(dir, 64, 2, MIB, "already exists");
    refuses(dir, 64, 1, MIB, "More bitmaps");
    refuses(dir, 32, 1, INT64_C(1) << 50, "bitmap_table_size");
    put_entry(dir, 0, 0, long_name);
    refuses(dir, sizeof(dir), 1, MIB, "name of 1024 bytes is invalid");
}

/* Extra data, marked as harmless or not, is written again as it was read. */
static void extra_data_comes_back(void)
{
    uint8_t dir[256] = { 0 }, again[256] = { 0 };
    g_autoptr(GPtrArray) bitmaps = NULL;
    Qcow2Bitmap *copy;

    put_entry(dir, 13, QCOW2_BITMAP_EXTRA_COMPATIBLE, "one");
    put_entry(dir + 40, 9, 0, "two");
    bitmaps = qcow2_bitmap_dir_parse(dir, 80, 2, 16, MIB, &error_abort);
    g_assert_false(qcow2_bitmap_is_foreign(bitmaps->pdata[0]));
    g_assert_true(qcow2_bitmap_is_foreign(bitmaps->pdata[1]));
    g_assert_cmpuint(qcow2_bitmap_dir_size(bitmaps), ==, 80);
    qcow2_bitmap_dir_build(bitmaps, again);
    g_assert_cmpmem(dir, sizeof(dir), again, sizeof(again));
    copy = qcow2_bitmap_copy(bitmaps->pdata[1]);
    g_assert_cmpmem(copy->extra, copy->extra_size, dir + 40 + 24, 9);
    qcow2_bitmap_free(copy);
}

/* --- in images --- */

static uint64_t peek64(World *w, uint64_t at)
{
    uint8_t buf[8];

    sim_disk_peek(w->disk, at, buf, 8);
    return qcow2_be64(buf);
}

/* Where the extension has its fields. */
static uint64_t bitmaps_extension(World *w)
{
    uint64_t pos = 112;

    while (peek64(w, pos) >> 32 != QCOW2_EXT_BITMAPS) {
        g_assert_cmpuint(peek64(w, pos) >> 32, !=, 0);
        pos += 8 + ROUND_UP(peek64(w, pos) & UINT32_MAX, 8);
    }
    return pos + 8;
}

static World image_with_bitmap(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, BDRV_O_RDWR, &error_abort);

    bdrv_set_dirty_bitmap(add_bitmap(blk, "bits", 65536), 0, 65536);
    blk_unref(blk);
    return w;
}

/* A bitmap that holds what nobody here understands is not used, and not lost. */
static void foreign_bitmaps_stay(void)
{
    World w = image_with_bitmap();
    uint64_t ext = bitmaps_extension(&w), dir = peek64(&w, ext + 16);
    uint8_t old[32], entry[40] = { 0 }, now[40], size[8];
    BdrvDirtyBitmap *b;
    BlockBackend *blk;

    sim_disk_peek(w.disk, dir, old, sizeof(old));
    memcpy(entry, old, 24);
    qcow2_put_be32(entry + D(extra_data_size), 9);
    memset(entry + 24, 0x33, 9);
    memcpy(entry + 33, "bits", 4);
    sim_disk_poke(w.disk, dir, entry, sizeof(entry));
    qcow2_put_be64(size, sizeof(entry));
    sim_disk_poke(w.disk, ext + 8, size, 8);
    blk = reopen(&w, BDRV_O_RDWR, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_nonnull(b);
    g_assert_true(bdrv_dirty_bitmap_inconsistent(b));
    add_bitmap(blk, "more", 65536);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 65536, 0), ==, 0);
    blk_unref(blk);
    dir = peek64(&w, bitmaps_extension(&w) + 16);
    sim_disk_peek(w.disk, dir, now, sizeof(now));
    g_assert_cmpmem(now + D(extra_data_size), 20, entry + D(extra_data_size), 20);
    blk = reopen(&w, 0, &error_abort);
    g_assert_nonnull(bdrv_find_dirty_bitmap(blk_bs(blk), "more"));
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* What open refuses ends a check, and a repair: whose clusters these are nobody knows. */
static void check_of_directories(void)
{
    static const struct {
        uint32_t nb;
        uint64_t size;
        uint16_t name_size;
    } wrong[] = { { 2, 48, 4 }, { 1, 4096, 1024 } };

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        World w = image_with_bitmap();
        uint64_t ext = bitmaps_extension(&w), dir = peek64(&w, ext + 16);
        uint8_t buf[16] = { 0 };
        BdrvCheckResult r;
        Error *err = NULL;
        BlockBackend *blk;

        qcow2_put_be32(buf, wrong[i].nb);
        qcow2_put_be64(buf + 8, wrong[i].size);
        sim_disk_poke(w.disk, ext, buf, sizeof(buf));
        qcow2_put_be16(buf, wrong[i].name_size);
        sim_disk_poke(w.disk, dir + D(name_size), buf, 2);
        g_assert_null(reopen(&w, 0, &err));
        g_assert_nonnull(err);
        error_free(err);
        for (int pass = 0; pass < 2; pass++) {
            blk = reopen(&w, BDRV_O_CHECK | (pass ? BDRV_O_RDWR : 0), &error_abort);
            g_assert_cmpint(bdrv_check(blk_bs(blk), &r, pass ? BDRV_FIX_LEAKS | BDRV_FIX_ERRORS : 0),
                            ==, -EINVAL);
            g_assert_cmpint(r.corruptions, ==, 1);
            blk_unref(blk);
        }
        sim_power_unref(w.power);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/qcow2/bitmap-limits/what-is-too-much", what_is_too_much);
    g_test_add_func("/qcow2/bitmap-limits/what-cannot-be-stored", what_cannot_be_stored);
    g_test_add_func("/qcow2/bitmap-limits/all-ones", all_ones);
    g_test_add_func("/qcow2/bitmap-limits/directories-that-do-not-add-up",
                    directories_that_do_not_add_up);
    g_test_add_func("/qcow2/bitmap-limits/extra-data-comes-back", extra_data_comes_back);
    g_test_add_func("/qcow2/bitmap-limits/foreign-bitmaps-stay", foreign_bitmaps_stay);
    g_test_add_func("/qcow2/bitmap-limits/check-of-directories", check_of_directories);
    return g_test_run();
}
