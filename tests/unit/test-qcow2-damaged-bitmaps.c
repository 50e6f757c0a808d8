/* SPDX-License-Identifier: MIT */
/*
 * Damage in the directory and in the tables of persistent bitmaps, and bitmaps that an image is not
 * believed to have: each is told, or found by a check, and a bitmap that may lack a write is
 * inconsistent rather than wrong.
 */
#include "damaged-image.h"
#include "block/dirty-bitmap.h"
#include "../../block/qcow2/qcow2-bitmap-dir.h"

/* --- the directory of bitmaps --- */

#define D(field) offsetof(Qcow2DiskBitmapDirEntry, field)

typedef struct DirDamage {
    const char *name;
    size_t at;
    unsigned width;
    uint64_t value;
    bool opens;          /* the image can be opened all the same */
    bool check_is_right; /* nothing that a check would mind */
} DirDamage;

static const DirDamage dir_damages[] = {
    { "table-offset-0", D(table_offset), 8, 0, false, true },
    { "table-offset-unaligned", D(table_offset), 8, 0x10200, false, false },
    { "table-offset-huge", D(table_offset), 8, UINT64_C(1) << 63, false, false },
    { "table-beyond", D(table_offset), 8, UINT64_C(1) << 30, true, false },
    { "table-size-0", D(table_size), 4, 0, false, true },
    { "table-size-huge", D(table_size), 4, UINT32_MAX, false, false },
    { "table-size-large", D(table_size), 4, 1 << 16, false, true },
    { "table-size-beyond", D(table_size), 4, 8192, true, true },
    { "flags", D(flags), 4, 0x80, false, true },
    { "in-use", D(flags), 4, 1, true, true },
    { "type", D(type), 1, 7, false, true },
    { "granularity-small", D(granularity_bits), 1, 8, false, true },
    { "granularity-large", D(granularity_bits), 1, 40, false, true },
    { "name-0", D(name_size), 2, 0, false, false },
    { "name-long", D(name_size), 2, 2000, false, false },
    { "name-with-nul", D(extra_data_size) + 4, 1, 0, false, true },
    { "extra-huge", D(extra_data_size), 4, UINT32_MAX, false, false },
};

static void create_with_bitmap(void)
{
    BdrvDirtyBitmap *b;
    BlockBackend *blk;

    create("size=1M");
    blk = try_open(BDRV_O_RDWR, &error_abort);
    b = bdrv_create_dirty_bitmap(blk_bs(blk), 512, "bits", &error_abort);
    bdrv_dirty_bitmap_set_persistence(b, true);
    for (int i = 0; i < 50; i++) {
        bdrv_set_dirty_bitmap(b, i * 1024, 512);
    }
    blk_unref(blk);
}

/* The extension comes at once behind the header, or somewhere behind. */
static uint64_t directory(void)
{
    uint64_t pos = 112;

    while (peek64(pos) >> 32 != QCOW2_EXT_BITMAPS) {
        g_assert_cmpuint(peek64(pos) >> 32, !=, 0);
        pos += 8 + ROUND_UP(peek64(pos) & UINT32_MAX, 8);
    }
    return peek64(pos + 8 + offsetof(Qcow2DiskBitmapsExt, directory_offset));
}

static void bitmap_directory(gconstpointer data)
{
    const DirDamage *d = data;
    BdrvCheckResult r;
    Error *err = NULL;
    BlockBackend *blk;
    int ret;

    create_with_bitmap();
    poke(directory() + d->at, d->width, d->value);
    blk = try_open(0, &err);
    g_assert_cmpint(blk != NULL, ==, d->opens);
    if (!blk) {
        g_assert_nonnull(err);
        error_free(err);
    } else {
        BdrvDirtyBitmap *b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");

        g_assert_nonnull(b);
        if (!d->check_is_right) {
            g_assert_cmpint(bdrv_dirty_bitmap_load(b, NULL), <, 0);
        }
        blk_unref(blk);
    }
    ret = check(0, &r);
    if (!d->check_is_right) {
        g_assert_true(ret < 0 || r.corruptions || r.check_errors);
    }
}

/* --- the table of a bitmap --- */

typedef struct TableDamage {
    const char *name;
    uint64_t entry;
    int loads; /* 0 or -errno */
    bool found; /* by a check */
} TableDamage;

static const TableDamage table_damages[] = {
    { "reserved", 0x80, -EINVAL, true },
    { "unaligned", 0x10200, -EINVAL, true },
    { "ones-with-offset", 0x10001, -EINVAL, true },
    { "beyond", UINT64_C(1) << 40, -EINVAL, true },
    { "zeroes", 0, 0, false },
    { "ones", 1, 0, false },
};

static void bitmap_table(gconstpointer data)
{
    const TableDamage *d = data;
    BdrvDirtyBitmap *b;
    BdrvCheckResult r;
    BlockBackend *blk;

    create_with_bitmap();
    poke(peek64(directory()), 8, d->entry);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions > 0, ==, d->found);
    blk = try_open(0, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_cmpint(bdrv_dirty_bitmap_load(b, NULL), ==, d->loads);
    if (d->loads == 0) {
        g_assert_cmpint(bdrv_get_dirty_count(b), ==, d->entry ? DISK : 0);
    }
    blk_unref(blk);
    /* Whoever writes has no use for what cannot be read, and records anew. */
    blk = try_open(BDRV_O_RDWR, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    g_assert_cmpint(bdrv_dirty_bitmap_inconsistent(b), ==, d->loads < 0);
    g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(blk_bs(blk), "bits", &error_abort), ==, 0);
    bdrv_release_dirty_bitmap(b);
    blk_unref(blk);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
}

/* Bits in a place that other metadata has: who removes the bitmap does not set that free. */
static void bitmap_among_metadata(void)
{
    uint8_t buf[512];
    BdrvCheckResult r;
    BlockBackend *blk;
    uint64_t l1;

    create_with_bitmap();
    l1 = peek64(AT(l1_table_offset));
    poke(peek64(directory()), 8, l1);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, >, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(blk_bs(blk), "bits", &error_abort), ==, 0);
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    blk_unref(blk);
    g_assert_cmpuint(peek64(AT(l1_table_offset)), ==, l1);
    g_assert_cmpint(check(BDRV_FIX_LEAKS, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(blk_pread(blk, 0, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    blk_unref(blk);
}

/* --- bitmaps that the header says nothing of --- */

/* A program that knows no bitmaps has written: what is left of them goes with the first write. */
static void stale_bitmaps_go_with_the_first_write(void)
{
    BlockBackend *blk;
    Error *err = NULL;
    BdrvCheckResult r;

    create_with_bitmap();
    poke(AT(autoclear_features), 8, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_null(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
    g_assert_cmpint(check(BDRV_FIX_LEAKS, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    g_assert_cmpint(r.leaks_fixed, >, 0);
    poke(AT(autoclear_features), 8, QCOW2_AUTOCLEAR_BITMAPS);
    g_assert_null(try_open(0, &err));
    expect("bitmaps extension is missing", err);
}

/* Version 2 has no bit that says whether to believe them. */
static void bitmaps_of_version_2_are_not_believed(void)
{
    BlockBackend *blk;

    create("size=1M,compat=0.10");
    poke(72, 4, QCOW2_EXT_BITMAPS);
    poke(76, 4, 24);
    poke(80, 4, 1);
    poke(84, 4, 0);
    poke(88, 8, 32);
    poke(96, 8, CLUSTER * 4);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_null(bdrv_dirty_bitmap_first(blk_bs(blk)));
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
}

/* Nobody records for a bitmap that is disabled, whether or not the node still has it. */
static void disabled_bitmap_stays_consistent(void)
{
    BdrvDirtyBitmap *b;
    BlockBackend *blk;

    create_with_bitmap();
    blk = try_open(BDRV_O_RDWR, &error_abort);
    bdrv_disable_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    blk_unref(blk);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
    blk = try_open(0, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_false(bdrv_dirty_bitmap_inconsistent(b));
    g_assert_cmpint(bdrv_dirty_bitmap_load(b, NULL), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 50 * 512);
    blk_unref(blk);
}

/* The node has lost its bitmap, the image has not: a resize would leave that behind as it is. */
static void resize_with_released_bitmap(void)
{
    BlockBackend *blk;
    Error *err = NULL;

    create_with_bitmap();
    blk = try_open(BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    g_assert_cmpint(blk_truncate(blk, 2 * DISK, true, PREALLOC_MODE_OFF, 0, &err), ==, -ENOTSUP);
    expect("not loaded into memory", err);
    /* A write marks what is recorded on the disk only. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
    blk = try_open(0, &error_abort);
    g_assert_true(bdrv_dirty_bitmap_inconsistent(bdrv_find_dirty_bitmap(blk_bs(blk), "bits")));
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    damaged_image_init(&argc, &argv);
    ADD(dir_damages, "bitmap-directory/", bitmap_directory);
    ADD(table_damages, "bitmap-table/", bitmap_table);
    g_test_add_func("/qcow2/damaged-tables/bitmap-among-metadata", bitmap_among_metadata);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/stale-ones-go-with-the-first-write",
                    stale_bitmaps_go_with_the_first_write);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/of-version-2-are-not-believed",
                    bitmaps_of_version_2_are_not_believed);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/disabled-one-stays-consistent",
                    disabled_bitmap_stays_consistent);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/released-one-prevents-resize",
                    resize_with_released_bitmap);
    return damaged_image_run();
}
