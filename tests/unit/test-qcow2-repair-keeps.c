/* SPDX-License-Identifier: MIT */
/*
 * What could be read before a repair can be read after it, and what is written then stays: damage that made
 * a repair give away clusters which something still referred to. All found in a review.
 */
#include "damaged-image.h"

#define REPAIR (BDRV_FIX_LEAKS | BDRV_FIX_ERRORS)

static uint64_t l2_table(void)
{
    return peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
}

/* Where the refcount of a cluster lies, of 16 bits in the first block. */
static uint64_t counter(uint64_t cluster)
{
    return peek64(peek64(AT(refcount_table_offset))) + 2 * cluster;
}

static uint64_t file_length(void)
{
    GStatBuf st;

    g_assert_cmpint(g_stat(path, &st), ==, 0);
    return st.st_size;
}

static void make_longer(uint64_t length)
{
    poke(length - 8, 8, 0);
}

/* Guest clusters from @first to @last read as @byte. */
static void expect_bytes(BlockBackend *blk, unsigned first, unsigned last, uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);

    for (unsigned i = first; i <= last; i++) {
        g_assert_cmpint(blk_pread(blk, (uint64_t)i * CLUSTER, CLUSTER, buf, 0), ==, 0);
        for (unsigned k = 0; k < CLUSTER; k++) {
            g_assert_cmpint(buf[k], ==, byte);
        }
    }
}

static void fill(BlockBackend *blk, unsigned first, unsigned last, uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);

    memset(buf, byte, CLUSTER);
    for (unsigned i = first; i <= last; i++) {
        g_assert_cmpint(blk_pwrite(blk, (uint64_t)i * CLUSTER, CLUSTER, buf, 0), ==, 0);
        g_assert_cmpint(blk_flush(blk), ==, 0);
    }
}

/* New data does not go where guest cluster 6 refers to, whatever is written there afterwards. */
static void expect_no_cross_link(void)
{
    BlockBackend *blk = try_open(BDRV_O_RDWR, &error_abort);

    fill(blk, 8, 15, 9);
    fill(blk, 6, 6, 3);
    fill(blk, 4, 5, 1); /* not where that one has been, either, should something else be there */
    expect_bytes(blk, 8, 15, 9);
    expect_bytes(blk, 6, 6, 3);
    expect_bytes(blk, 0, 3, 7);
    blk_unref(blk);
}

/* A table that goes on behind the end of the file: what the file has of it stays in use. */
static void l1_table_cut_off(void)
{
    BlockBackend *blk;
    BdrvCheckResult r;

    create("size=1M,cluster_size=512");
    blk = try_open(BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    g_assert_cmpint(blk_truncate(blk, 64 << 20, false, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    blk_unref(blk);
    g_assert_cmpint(truncate(path, peek64(AT(l1_table_offset)) + 512), ==, 0);
    check(REPAIR, &r);
    g_assert_cmpint(r.corruptions, >, 0); /* which only the user can mend */
    blk = try_open(0, &error_abort);
    expect_bytes(blk, 0, 3, 7);
    blk_unref(blk);
}

static void snapshot_table_cut_off(void)
{
    const uint64_t table = 16 * CLUSTER;
    QEMUSnapshotInfo *list = NULL;
    BlockBackend *blk;
    BdrvCheckResult r;

    create("size=1M");
    make_longer(table + CLUSTER);
    poke(counter(16), 2, 1);
    poke(table + offsetof(Qcow2DiskSnapshot, id_str_size), 2, 65535);
    poke(table + offsetof(Qcow2DiskSnapshot, name_size), 2, 65535);
    poke(table + offsetof(Qcow2DiskSnapshot, extra_data_size), 4, 24);
    poke(table + sizeof(Qcow2DiskSnapshot) + 24, 1, 'i');
    poke(AT(nb_snapshots), 4, 1);
    poke(AT(snapshots_offset), 8, table);
    check(BDRV_FIX_LEAKS, &r);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 1);
    g_assert_cmpstr(list[0].id_str, ==, "i");
    g_free(list);
    blk_unref(blk);
}

/* A cluster behind the end that an entry names is not free, however new the refcounts. */
static void rebuild_with_an_entry_behind_the_end(void)
{
    uint64_t end;
    BdrvCheckResult r;

    create("size=1M");
    end = file_length();
    make_longer(end + 4 * CLUSTER); /* room enough for new structures */
    poke(l2_table() + 8 * 6, 8, QCOW2_OFLAG_COPIED | (end + 6 * CLUSTER));
    poke(counter(end / CLUSTER + 6), 2, 1);
    poke(counter((peek64(l2_table()) & QCOW2_L2_OFFSET_MASK) / CLUSTER), 2, 0);
    check(REPAIR, &r);
    expect_no_cross_link();
}

/* Two entries name it: what is written through one does not show in the other. */
static void rebuild_with_two_entries_behind_the_end(void)
{
    uint64_t named;
    BlockBackend *blk;
    BdrvCheckResult r;

    create("size=1M");
    named = file_length() + 6 * CLUSTER;
    make_longer(named - 2 * CLUSTER);
    poke(l2_table() + 8 * 6, 8, QCOW2_OFLAG_COPIED | named);
    poke(l2_table() + 8 * 7, 8, QCOW2_OFLAG_COPIED | named);
    poke(counter((peek64(l2_table()) & QCOW2_L2_OFFSET_MASK) / CLUSTER), 2, 0);
    check(REPAIR, &r);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    fill(blk, 6, 6, 3);
    expect_bytes(blk, 6, 6, 3);
    expect_bytes(blk, 7, 7, 0);
    blk_unref(blk);
}

/* A refcount block behind the end for two ranges: each gets its own. */
static void shared_refcount_block_behind_the_end(void)
{
    uint64_t named;
    BdrvCheckResult r;

    create("size=1M");
    named = file_length() + 6 * CLUSTER;
    poke(counter(named / CLUSTER), 2, 2);
    poke(peek64(AT(refcount_table_offset)) + 8, 8, named);
    poke(peek64(AT(refcount_table_offset)) + 16, 8, named);
    g_assert_cmpint(check(REPAIR, &r), ==, 0);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
}

/* The last cluster of a table that ends with less than a cluster behind the end: nothing of it is leaked. */
static void moved_snapshot_table_is_not_leaked(void)
{
    const uint64_t table = 16 * CLUSTER;
    uint8_t count[2];
    BdrvCheckResult r;
    int fd;

    create("size=1M");
    make_longer(table + CLUSTER);
    poke(counter(16), 2, 1);
    poke(counter(17), 2, 1);
    poke(table + offsetof(Qcow2DiskSnapshot, id_str_size), 2, 10);
    poke(table + offsetof(Qcow2DiskSnapshot, name_size), 2, 65535);
    poke(AT(nb_snapshots), 4, 1); /* without extra data: incomplete */
    poke(AT(snapshots_offset), 8, table);
    g_assert_cmpint(check(REPAIR, &r), ==, 0);
    g_assert_cmphex(peek64(AT(snapshots_offset)), !=, table);
    fd = open(path, O_RDONLY);
    g_assert_cmpint(pread(fd, count, 2, counter(17)), ==, 2);
    close(fd);
    g_assert_cmpint(count[0] | count[1], ==, 0);
}

/* The file is made longer for a refcount block: what an entry names there is in use. */
static void refcount_block_behind_the_end(void)
{
    static const unsigned distances[] = { 20, 100 };

    for (size_t i = 0; i < G_N_ELEMENTS(distances); i++) {
        uint64_t end, named;
        BdrvCheckResult r;

        create("size=1M");
        end = file_length();
        named = end + distances[i] * CLUSTER;
        poke(l2_table() + 8 * 6, 8, QCOW2_OFLAG_COPIED | named);
        poke(counter(named / CLUSTER), 2, 1);
        poke(counter(named / CLUSTER + 20), 2, 1);
        poke(peek64(AT(refcount_table_offset)) + 8, 8, named + 20 * CLUSTER);
        g_assert_cmpint(check(REPAIR, &r), ==, 0);
        g_assert_cmpint(r.corruptions_fixed, ==, 1);
        g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
        g_assert_cmpint(check(0, &r), ==, 0);
        g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
        expect_no_cross_link();
    }
}

/* The mark of a dirty image stays when opening it could not repair all. */
static void dirty_bit_of_what_is_still_corrupt(void)
{
    BlockBackend *blk;

    create("size=1M,lazy_refcounts=on");
    poke(l2_table() + 8 * 6, 8, QCOW2_OFLAG_COPIED | UINT64_C(1) << 50);
    poke(AT(incompatible_features), 8, QCOW2_INCOMPAT_DIRTY);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    fill(blk, 8, 8, 9);
    blk_unref(blk);
    g_assert_cmphex(peek64(AT(incompatible_features)), ==, QCOW2_INCOMPAT_DIRTY);
}

/* An L1 entry into the middle of a cluster of data: nothing is mended there. */
static void l2_table_within_data(void)
{
    BlockBackend *blk;
    BdrvCheckResult r;
    uint64_t data;

    create("size=1G");
    data = peek64(l2_table()) & QCOW2_L2_OFFSET_MASK;
    poke(peek64(AT(l1_table_offset)) + 8, 8, QCOW2_OFLAG_COPIED | (data + 512));
    check(REPAIR, &r);
    g_assert_cmpint(r.corruptions, >, 0);
    blk = try_open(0, &error_abort);
    expect_bytes(blk, 0, 3, 7);
    blk_unref(blk);
}

/* A compressed cluster whose bitmap says something: readers do not mind, so it is in use. */
static void compressed_cluster_with_a_bitmap(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    BlockBackend *blk;
    BdrvCheckResult r;

    create("size=1M,extended_l2=on");
    blk = try_open(BDRV_O_RDWR, &error_abort);
    memset(buf, 5, CLUSTER);
    g_assert_cmpint(blk_pwrite_compressed(blk, 8 * CLUSTER, CLUSTER, buf), ==, 0);
    blk_unref(blk);
    poke(l2_table() + 8 * 16 + 8, 8, 1);
    check(REPAIR, &r);
    g_assert_cmpint(r.corruptions, >, 0);
    blk = try_open(0, &error_abort);
    expect_bytes(blk, 8, 8, 5);
    expect_bytes(blk, 0, 3, 7);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    damaged_image_init(&argc, &argv);
    g_test_add_func("/qcow2/repair-keeps/l1-table-cut-off", l1_table_cut_off);
    g_test_add_func("/qcow2/repair-keeps/snapshot-table-cut-off", snapshot_table_cut_off);
    g_test_add_func("/qcow2/repair-keeps/entry-behind-the-end", rebuild_with_an_entry_behind_the_end);
    g_test_add_func("/qcow2/repair-keeps/entries-behind-the-end", rebuild_with_two_entries_behind_the_end);
    g_test_add_func("/qcow2/repair-keeps/refcount-block-of-two-ranges", shared_refcount_block_behind_the_end);
    g_test_add_func("/qcow2/repair-keeps/nothing-of-a-moved-table", moved_snapshot_table_is_not_leaked);
    g_test_add_func("/qcow2/repair-keeps/what-a-longer-file-holds", refcount_block_behind_the_end);
    g_test_add_func("/qcow2/repair-keeps/dirty-bit", dirty_bit_of_what_is_still_corrupt);
    g_test_add_func("/qcow2/repair-keeps/data-an-l1-entry-points-into", l2_table_within_data);
    g_test_add_func("/qcow2/repair-keeps/compressed-cluster-with-a-bitmap",
                    compressed_cluster_with_a_bitmap);
    return damaged_image_run();
}
