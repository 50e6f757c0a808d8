/* SPDX-License-Identifier: MIT */
/*
 * Metadata that a damaged image has in one place with other metadata. Reading is possible; whoever is
 * about to write there is refused, what lies there stays, and the image is marked as corrupt. On
 * simulated disks. And the map of metadata when there is no memory for it.
 */
#include "qemu/osdep.h"
#include "block/dirty-bitmap.h"
#include "qemu/main-loop.h"
#include "../../block/qcow2/qcow2-overlap.h"
#include "failing-memory.h"
#include "qcow2-world.h"

#define ENTRY(field) offsetof(Qcow2DiskSnapshot, field)

/* --- where a table that nobody needs is said to lie --- */

static uint64_t at_refcount_table(World *w)
{
    return peek64(w, AT(refcount_table_offset));
}

static uint64_t at_refcount_block(World *w)
{
    return peek64(w, at_refcount_table(w));
}

static uint64_t at_l1(World *w)
{
    return peek64(w, AT(l1_table_offset));
}

static uint64_t at_l2(World *w)
{
    return peek64(w, at_l1(w)) & QCOW2_L1_OFFSET_MASK;
}

static uint64_t at_bitmaps(World *w)
{
    uint64_t pos = sizeof(Qcow2DiskHeader);

    while (peek64(w, pos) >> 32 != QCOW2_EXT_BITMAPS) {
        g_assert_cmpuint(peek64(w, pos) >> 32, !=, QCOW2_EXT_END);
        pos += sizeof(Qcow2DiskExtension) + ROUND_UP(peek64(w, pos) & UINT32_MAX, 8);
    }
    return peek64(w, pos + sizeof(Qcow2DiskExtension) +
                         offsetof(Qcow2DiskBitmapsExt, directory_offset));
}

/* With refcounts of 64 bits a block of 4k counts 2 MiB, a table of blocks of 512 bytes 2 MiB too. */
static uint64_t at_second_range(World *w)
{
    return 2 * MIB;
}

/* The new table takes two clusters there. */
static uint64_t at_new_range_behind_table(World *w)
{
    return 2 * MIB + 2 * 512;
}

/* --- what would write there --- */

static int write_at(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret;

    memset(buf, 2, bytes);
    ret = blk_pwrite(blk, offset, bytes, buf, 0);
    return ret < 0 ? ret : blk_flush(blk);
}

/* In a table that is there. */
static int write_near(BlockBackend *blk)
{
    return write_at(blk, 128 << 10, 4096);
}

/* In one that is not. */
static int write_far(BlockBackend *blk)
{
    return write_at(blk, 4 * MIB, 4096);
}

/* More than the refcount blocks there are count. */
static int write_much(BlockBackend *blk)
{
    return write_at(blk, 512 << 10, 5 * MIB / 2);
}

static int amend(BlockBackend *blk, const char *text)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, text, NULL, &error_abort);
    return bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, NULL);
}

static int amend_to_version_2(BlockBackend *blk)
{
    return amend(blk, "compat=0.10");
}

static int amend_refcount_width(BlockBackend *blk)
{
    return amend(blk, "refcount_bits=8");
}

static int grow(BlockBackend *blk)
{
    return blk_truncate(blk, 16 * MIB, true, PREALLOC_MODE_OFF, 0, NULL);
}

/* The L1 table is long enough. */
static int grow_little(BlockBackend *blk)
{
    return blk_truncate(blk, 8 * MIB, true, PREALLOC_MODE_OFF, 0, NULL);
}

static int take_snapshot(BlockBackend *blk)
{
    QEMUSnapshotInfo sn = { .name = "t" };

    return bdrv_snapshot_create(blk_bs(blk), &sn);
}

static int name_backing_file(BlockBackend *blk)
{
    g_autofree char *name = g_strnfill(800, 'n'); /* of two sectors */

    return bdrv_change_backing_file(blk_bs(blk), name, "raw", false);
}

static int store_bitmap(BlockBackend *blk)
{
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(blk_bs(blk), 4096, "new", &error_abort);

    bdrv_dirty_bitmap_set_persistence(b, true);
    return bdrv_store_dirty_bitmaps(blk_bs(blk), NULL);
}

static int repair(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
}

/* --- what there is before --- */

static void add_bitmap(BlockBackend *blk)
{
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(blk_bs(blk), 4096, "bits", &error_abort);

    bdrv_dirty_bitmap_set_persistence(b, true);
}

static void add_zeroes(BlockBackend *blk)
{
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4096, 0), ==, 0);
}

static void add_snapshot(BlockBackend *blk)
{
    make_snapshot(blk, "s");
}

typedef struct Overlap {
    const char *name;
    uint64_t (*where)(World *w); /* NULL: the header, with the L1 table of a snapshot */
    int (*run)(BlockBackend *blk);
    void (*prepare)(BlockBackend *blk);
    const char *create;
    bool thrice; /* two tables are said to lie there */
} Overlap;

#define SMALL  "size=8M,cluster_size=4k,refcount_bits=64"
#define NARROW "size=8M,cluster_size=512,refcount_bits=64"

static const Overlap overlaps[] = {
    { "refcount-table", at_refcount_table, write_much, NULL, SMALL, false },
    { "refcount-table-thrice", at_refcount_table, write_much, NULL, SMALL, true },
    { "refcount-block", at_refcount_block, write_near, NULL, SMALL, false },
    { "new-refcount-block", at_second_range, write_much, NULL, SMALL, false },
    { "new-refcount-table", at_second_range, write_much, NULL, NARROW, false },
    { "block-of-new-refcount-table", at_new_range_behind_table, write_much, NULL, NARROW, false },
    { "l1", at_l1, write_far, NULL, SMALL, false },
    { "l1-repaired", at_l1, repair, NULL, SMALL, false },
    { "l2", at_l2, write_near, NULL, SMALL, false },
    { "bitmap-directory", at_bitmaps, write_near, add_bitmap, SMALL, false },
    { "l2-amended", at_l2, amend_to_version_2, add_zeroes, "size=8M,cluster_size=4k", false },
    { "header-l1", NULL, grow, add_snapshot, SMALL, false },
    { "header-size", NULL, grow_little, add_snapshot, "size=7M,cluster_size=4k", false },
    { "header-dirty", NULL, take_snapshot, add_snapshot, SMALL, false },
    { "header-snapshots", NULL, take_snapshot, add_snapshot,
      "size=8M,cluster_size=4k,compat=0.10", false },
    { "header-backing", NULL, name_backing_file, add_snapshot, SMALL, false },
    { "header-bitmaps", NULL, store_bitmap, add_snapshot, SMALL, false },
    { "header-refcounts", NULL, amend_refcount_width, add_snapshot, SMALL, false },
};

#define FILLED (64 << 10) /* bytes at the beginning of the disk */

static void damage(World *w, const Overlap *o, uint64_t where)
{
    uint64_t last = ((peek64(w, AT(l1_size)) >> 32) - 1) * 8;

    if (!o->where) {
        poke(w, peek64(w, AT(snapshots_offset)) + ENTRY(l1_table_offset), 8, 0);
        return;
    }
    g_assert_cmphex(peek64(w, at_l1(w) + last), ==, 0);
    poke(w, at_l1(w) + last, 8, where | QCOW2_OFLAG_COPIED);
    if (o->thrice) {
        poke(w, at_l1(w) + last - 8, 8, where | QCOW2_OFLAG_COPIED);
    }
}

static void overlap(gconstpointer data)
{
    const Overlap *o = data;
    World w = new_image(o->create);
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint8_t before[512], after[512];
    uint64_t where;

    fill(blk, 0, FILLED, 1);
    if (o->prepare) {
        o->prepare(blk);
    }
    blk_unref(blk);
    where = o->where ? o->where(&w) : 0;
    damage(&w, o, where);
    sim_disk_peek(w.disk, where, before, sizeof(before));
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_cmpint(o->run(blk), ==, -EIO);
    g_assert_cmpint(write_near(blk), <, 0);
    blk_unref(blk);
    sim_disk_peek(w.disk, where, after, sizeof(after));
    if (peek64(&w, 0) == (((uint64_t)QCOW2_MAGIC << 32) | 3)) {
        g_assert_cmphex(peek64(&w, AT(incompatible_features)) & QCOW2_INCOMPAT_CORRUPT, !=, 0);
        if (!where) {
            memcpy(before + AT(incompatible_features), after + AT(incompatible_features), 8);
        }
    }
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    blk = reopen(&w, 0, &error_abort);
    expect(blk, 4096, FILLED - 4096, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- repairs --- */

/* Two entries of the L1 table share one L2 table: what that refers to has two references from now on. */
static void repair_of_a_shared_table(void)
{
    World w = new_image(SMALL);
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    BdrvCheckResult r;

    fill(blk, 0, FILLED, 1);
    blk_unref(blk);
    poke(&w, at_l1(&w) + 8, 8, at_l2(&w) | QCOW2_OFLAG_COPIED);
    blk = reopen(&w, FLAGS | BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, 0);
    g_assert_cmpint(r.corruptions_fixed, >, 0);
    is_sound(blk);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort);
    expect(blk, 2 * MIB, FILLED, 1);
    fill(blk, 2 * MIB, FILLED, 2);
    expect(blk, 0, FILLED, 1);
    fill(blk, 4096, 4096, 3);
    expect(blk, 2 * MIB, FILLED, 2);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    /* What nobody shares any more may be written in place again. */
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_ERRORS), ==, 0);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Table and block in one place, and another table is said to be there, too. */
static void repair_of_a_place_claimed_thrice(void)
{
    World w = new_image(SMALL);
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t table;
    BdrvCheckResult r;

    fill(blk, 0, FILLED, 1);
    blk_unref(blk);
    table = at_refcount_table(&w);
    poke(&w, table, 8, table);
    poke(&w, at_l1(&w) + 8 * 3, 8, table);
    blk = reopen(&w, FLAGS | BDRV_O_CHECK, &error_abort);
    bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
    blk_unref(blk);
    g_assert_cmphex(at_refcount_table(&w), !=, table);
    blk = reopen(&w, BDRV_O_CHECK, &error_abort);
    expect(blk, 0, FILLED, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Where tables of snapshots lie cannot be told, but whoever opens it wants them to be heeded. */
static void no_rebuild_over_what_is_not_known(void)
{
    World w = new_image(SMALL);
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t table, block;
    BdrvCheckResult r;

    fill(blk, 0, FILLED, 1);
    make_snapshot(blk, "s");
    blk_unref(blk);
    table = at_refcount_table(&w);
    block = at_refcount_block(&w);
    poke(&w, peek64(&w, AT(snapshots_offset)) + ENTRY(l1_size), 4, 10000000);
    poke(&w, block, 8, 0); /* the header is not counted */
    blk = sim_disk_open(w.disk, "driver=qcow2,overlap-check=all", FLAGS | BDRV_O_CHECK,
                        &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, -EFBIG);
    g_assert_cmpint(r.check_errors, >, 0);
    expect(blk, 0, FILLED, 1);
    blk_unref(blk);
    g_assert_cmphex(at_refcount_table(&w), ==, table);
    g_assert_cmphex(peek64(&w, block), ==, 0);
    sim_power_unref(w.power);
}

/* --- a claim that goes --- */

/* A snapshot is said to have the disk's own L1 table: without it that is still the disk's. */
static void deleting_a_snapshot_that_shares_the_l1_table(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);

    fill(blk, 0, CLUSTER, 1);
    make_snapshot(blk, "s");
    blk_unref(blk);
    poke(&w, peek64(&w, AT(snapshots_offset)) + ENTRY(l1_table_offset), 8, at_l1(&w));
    blk = reopen(&w, FLAGS, &error_abort);
    bdrv_snapshot_delete(blk_bs(blk), NULL, "s", NULL);
    for (int64_t at = CLUSTER; at < MIB; at += CLUSTER) {
        write_at(blk, at, CLUSTER);
    }
    blk_unref(blk);
    blk = reopen(&w, 0, &error_abort);
    expect(blk, 0, CLUSTER, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- the map --- */

/* What has no place in it is not protected; looking for it ends all the same. */
static void map_without_memory(void)
{
    BDRVQcow2State *s = g_new0(BDRVQcow2State, 1);
    unsigned known = 0;

    s->cluster_bits = 16;
    qcow2_map_init(s);
    memory_calls = 0;
    memory_stays_short = true;
    memory_fail_at = 1;
    for (uint64_t i = 0; i < 1000; i++) {
        qcow2_map_add(s, QCOW2_META_L2, i << 16, CLUSTER);
    }
    memory_fail_at = 0;
    g_assert_cmpuint(memory_calls, >, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        known += qcow2_map_get(s, i << 16) == QCOW2_META_L2;
        qcow2_map_remove(s, QCOW2_META_L2, i << 16, CLUSTER);
    }
    g_assert_cmpuint(known, >=, 128);
    g_assert_cmpuint(known, <, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        g_assert_cmpint(qcow2_map_get(s, i << 16), ==, QCOW2_META_NONE);
        qcow2_map_add(s, QCOW2_META_REFBLOCK, i << 16, CLUSTER);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        g_assert_cmpint(qcow2_map_get(s, i << 16), ==, QCOW2_META_REFBLOCK);
    }
    qcow2_map_destroy(s);
    g_free(s);
}

/* Each structure gives up what it has claimed itself. */
static void claims_go_one_by_one(void)
{
    static const Qcow2MetaKind order[] = { QCOW2_META_L1, QCOW2_META_L2, QCOW2_META_L2,
                                           QCOW2_META_SNAPSHOT_L1, QCOW2_META_SNAPSHOT_L1 };
    BDRVQcow2State *s = g_new0(BDRVQcow2State, 1);

    s->cluster_bits = 16;
    qcow2_map_init(s);
    for (unsigned first = 0; first < G_N_ELEMENTS(order); first++) {
        unsigned last = (first + G_N_ELEMENTS(order) - 1) % G_N_ELEMENTS(order);

        for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
            qcow2_map_add(s, order[i], CLUSTER, CLUSTER);
        }
        qcow2_map_remove(s, QCOW2_META_REFBLOCK, CLUSTER, CLUSTER); /* it has not claimed it */
        for (unsigned i = first; i != last; i = (i + 1) % G_N_ELEMENTS(order)) {
            g_assert_cmpint(qcow2_map_get(s, CLUSTER), !=, QCOW2_META_NONE);
            qcow2_map_remove(s, order[i], CLUSTER, CLUSTER);
        }
        g_assert_cmpint(qcow2_map_get(s, CLUSTER), ==, order[last]);
        qcow2_map_remove(s, order[last], CLUSTER, CLUSTER);
        g_assert_cmpint(qcow2_map_get(s, CLUSTER), ==, QCOW2_META_NONE);
    }
    qcow2_map_destroy(s);
    g_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(overlaps); i++) {
        g_autofree char *name = g_strconcat("/qcow2/overlaps/", overlaps[i].name, NULL);

        g_test_add_data_func(name, &overlaps[i], overlap);
    }
    g_test_add_func("/qcow2/overlaps/repair-of-a-shared-table", repair_of_a_shared_table);
    g_test_add_func("/qcow2/overlaps/repair-of-a-place-claimed-thrice",
                    repair_of_a_place_claimed_thrice);
    g_test_add_func("/qcow2/overlaps/no-rebuild-over-what-is-not-known",
                    no_rebuild_over_what_is_not_known);
    g_test_add_func("/qcow2/overlaps/deleting-a-snapshot-that-shares-the-l1-table",
                    deleting_a_snapshot_that_shares_the_l1_table);
    g_test_add_func("/qcow2/overlaps/map-without-memory", map_without_memory);
    g_test_add_func("/qcow2/overlaps/claims-go-one-by-one", claims_go_one_by_one);
    return g_test_run();
}
