/* SPDX-License-Identifier: MIT */
/*
 * Damage in L1 and L2 tables and in refcounts, one entry at a time. Each is told, or found by a
 * check; what is read meanwhile is an error rather than somebody else's bytes, and a repair does no
 * harm to what was whole.
 */
#include "damaged-image.h"

/* --- entries of L2 tables --- */

typedef struct EntryDamage {
    const char *name, *create;
    uint64_t word[2]; /* of the guest's second cluster; offsets count from its host cluster */
    bool at_host;     /* add where the cluster lies */
    bool reads;       /* the guest's cluster can be read */
    bool check_is_right;
} EntryDamage;

static const EntryDamage entry_damages[] = {
    { "unaligned", "size=1M", { QCOW2_OFLAG_COPIED | 0x200 }, true, false, false },
    { "unaligned-zeroes", "size=1M", { QCOW2_OFLAG_COPIED | 0x201 }, true, false, false },
    { "zeroes-in-version-2", "size=1M,compat=0.10", { 1 }, false, false, true },
    { "reserved", "size=1M", { QCOW2_OFLAG_COPIED | 0x10 }, true, true, false },
    { "compressed-with-copied", "size=1M", { QCOW2_OFLAG_COPIED | QCOW2_OFLAG_COMPRESSED }, true,
      false, false },
    { "compressed-in-header", "size=1M", { QCOW2_OFLAG_COMPRESSED | 0x200 }, false, false, false },
    { "compressed-beyond", "size=1M", { QCOW2_OFLAG_COMPRESSED | UINT64_C(1) << 40 }, false, false,
      false },
    { "beyond", "size=1M", { QCOW2_OFLAG_COPIED | UINT64_C(1) << 40 }, false, true, false },
    { "beyond-refcount-table", "size=1M", { QCOW2_OFLAG_COPIED | UINT64_C(1) << 50 }, false, true,
      false },
    { "extended-both", "size=1M,extended_l2=on",
      { QCOW2_OFLAG_COPIED, UINT64_C(0x0000000100000001) }, true, false, false },
    { "extended-data-without-cluster", "size=1M,extended_l2=on", { 0, 1 }, false, false, false },
    { "extended-compressed-with-bits", "size=1M,extended_l2=on", { QCOW2_OFLAG_COMPRESSED, 1 },
      true, false, false },
    { "extended-unaligned-zeroes", "size=1M,extended_l2=on",
      { QCOW2_OFLAG_COPIED | 0x200, UINT64_C(0xffffffff00000000) }, true, false, false },
    { "extended-zeroes", "size=1M,extended_l2=on", { 0, UINT64_C(0xffffffff00000000) }, false, true,
      true },
};

static void l2_entry(gconstpointer data)
{
    const EntryDamage *d = data;
    bool extended = strstr(d->create, "extended");
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    uint64_t l2, at, host;
    BdrvCheckResult r;
    BlockBackend *blk;
    int ret;

    create(d->create);
    l2 = peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    at = l2 + (extended ? 16 : 8);
    host = peek64(at) & QCOW2_L2_OFFSET_MASK;
    poke(at, 8, d->word[0] + (d->at_host ? host : 0));
    if (extended) {
        poke(at + 8, 8, d->word[1]);
    }
    ret = check(0, &r);
    g_assert_cmpint(ret < 0 || r.corruptions || r.check_errors, ==, !d->check_is_right);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(blk_pread(blk, CLUSTER, CLUSTER, buf, 0) == 0, ==, d->reads);
    g_assert_cmpint(blk_pread(blk, 0, CLUSTER, buf, 0), ==, 0);
    g_assert_cmpint(buf[100], ==, 7);
    blk_unref(blk);
    /* A repair ends, and does no harm to what was whole. */
    check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r);
    blk = try_open(BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(blk_pread(blk, 2 * CLUSTER, CLUSTER, buf, 0), ==, 0);
    g_assert_cmpint(buf[100], ==, 7);
    blk_unref(blk);
    /* Nor do writes next to it. */
    blk = try_open(BDRV_O_RDWR, NULL);
    if (blk) {
        memset(buf, 8, CLUSTER);
        blk_pwrite(blk, CLUSTER + 512, 512, buf, 0);
        blk_pwrite_zeroes(blk, CLUSTER, CLUSTER, BDRV_REQ_MAY_UNMAP);
        blk_unref(blk);
    }
}

/* The entry says another cluster of the data file than the guest's, or a compressed one. */
static void l2_entry_with_data_file(void)
{
    g_autofree char *file = g_strconcat(path, ".data", NULL);
    g_autofree char *options = g_strdup_printf("size=1M,data_file=%s", file);
    static const uint64_t words[] = { QCOW2_OFLAG_COPIED | 3 * CLUSTER, QCOW2_OFLAG_COMPRESSED,
                                      QCOW2_OFLAG_COPIED | 0x200 };
    uint8_t buf[512];

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        BdrvCheckResult r;
        BlockBackend *blk;

        create(options);
        poke((peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK) + 8, 8, words[i]);
        blk = try_open(0, &error_abort);
        g_assert_cmpint(blk_pread(blk, CLUSTER, sizeof(buf), buf, 0), ==, -EIO);
        g_assert_cmpint(blk_pread(blk, 2 * CLUSTER, sizeof(buf), buf, 0), ==, 0);
        g_assert_cmpint(buf[0], ==, 7);
        blk_unref(blk);
        check(0, &r);
        blk = try_open(BDRV_O_RDWR, &error_abort);
        g_assert_cmpint(blk_pwrite(blk, CLUSTER, sizeof(buf), buf, 0), ==, -EIO);
        blk_unref(blk);
    }
    g_unlink(file);
}

static void l1_entry(void)
{
    static const uint64_t bits[] = { 0x200, UINT64_C(1) << 60, 1 };
    uint8_t buf[512];

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        BdrvCheckResult r;
        BlockBackend *blk;
        uint64_t l1;

        create("size=1M");
        l1 = peek64(AT(l1_table_offset));
        poke(l1, 8, peek64(l1) | bits[i]);
        blk = try_open(0, &error_abort);
        g_assert_cmpint(blk_pread(blk, 0, sizeof(buf), buf, 0) == 0, ==, bits[i] != 0x200);
        blk_unref(blk);
        g_assert_true(check(0, &r) < 0 || r.corruptions);
    }
}

/* --- references that snapshots and checks come to --- */

/* Whoever counts references for a snapshot does not count where no cluster begins, nor what is free. */
static void snapshot_of_damaged_tables(void)
{
    uint64_t l1, l2, block;
    QEMUSnapshotInfo *list = NULL;
    BlockBackend *blk;

    for (int i = 0; i < 3; i++) {
        create("size=1M");
        l1 = peek64(AT(l1_table_offset));
        l2 = peek64(l1) & QCOW2_L1_OFFSET_MASK;
        block = peek64(peek64(AT(refcount_table_offset)));
        if (i == 0) {
            poke(l2 + 8, 8, peek64(l2 + 8) | 0x200);
        } else if (i == 1) {
            poke(l1, 8, peek64(l1) | 0x200);
        } else {
            /* The first of two is given out at once. */
            poke(block + (peek64(l2 + 8) & QCOW2_L2_OFFSET_MASK) / CLUSTER * 2, 2, 0);
            poke(block + (peek64(l2 + 16) & QCOW2_L2_OFFSET_MASK) / CLUSTER * 2, 2, 0);
        }
        g_assert_cmpint(make_snapshot(), ==, -EIO);
        blk = try_open(BDRV_O_CHECK, &error_abort);
        g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 0);
        g_free(list);
        blk_unref(blk);
    }
}

/* Two entries of the refcount table name one block: it cannot describe both ranges. */
static void refcount_block_named_twice(void)
{
    BdrvCheckResult r;
    uint64_t table;

    create("size=1M");
    table = peek64(AT(refcount_table_offset));
    poke(table + 8, 8, peek64(table));
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, >, 0);
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
}

/*
 * Nor can a block lie where no file reaches, or only just does. The file does not become
 * that long in a repair, nor shorter where the end of the block is past what 64 bits hold.
 */
static void refcount_block_beyond_all_files(void)
{
    static const uint64_t places[] = {
        UINT64_C(0xffffffffffff0000), UINT64_C(1) << 63, UINT64_C(0x7fffffffffff0000),
        UINT64_C(1) << 57,
    };
    g_autofree uint8_t *buf = g_malloc(4 * CLUSTER);

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        BdrvCheckResult r;
        BlockBackend *blk;

        create("size=1M");
        poke(peek64(AT(refcount_table_offset)) + 8, 8, places[i]);
        g_assert_cmpint(check(0, &r), ==, 0);
        g_assert_cmpint(r.corruptions, >, 0);
        g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
        g_assert_cmpint(r.corruptions_fixed, >, 0);
        g_assert_cmpint(check(0, &r), ==, 0);
        g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
        blk = try_open(BDRV_O_RDWR, &error_abort);
        g_assert_cmpint(blk_pread(blk, 0, 4 * CLUSTER, buf, 0), ==, 0);
        g_assert_cmpint(buf[0], ==, 7);
        g_assert_cmpmem(buf, 4 * CLUSTER - 1, buf + 1, 4 * CLUSTER - 1);
        blk_unref(blk);
    }
}

/*
 * A refcount block lies far behind the end of the file, and on the way there a data cluster, which
 * counts when the file has become long enough for the block: by then the first new structures have
 * been planned without it.
 */
static void data_before_a_block_outside(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    BdrvCheckResult r;
    BlockBackend *blk;
    uint64_t l2;

    create("size=1M");
    l2 = peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    poke(peek64(AT(refcount_table_offset)) + CLUSTER - 8, 8, 4 * DISK);
    poke(l2 + 8 * 6, 8, QCOW2_OFLAG_COPIED | 3 * DISK);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, >, 0);
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    memset(buf, 9, CLUSTER);
    g_assert_cmpint(blk_pwrite(blk, 6 * CLUSTER, CLUSTER, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 7 * CLUSTER, CLUSTER, buf, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 0, CLUSTER, buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    blk_unref(blk);
    g_assert_cmpuint(peek64(l2 + 8 * 6), ==, QCOW2_OFLAG_COPIED | 3 * DISK);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
}

/*
 * A data cluster right behind the end of the file, where new refcount structures would go next: the
 * guest goes on to read zeroes there, not a refcount table.
 */
static void data_where_new_structures_would_go(void)
{
    g_autofree uint8_t *buf = g_malloc(2 * CLUSTER);
    BdrvCheckResult r;
    BlockBackend *blk;
    uint64_t l2, table;
    GStatBuf st;

    create("size=1M");
    l2 = peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    table = peek64(AT(refcount_table_offset));
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    poke(l2 + 8 * 6, 8, QCOW2_OFLAG_COPIED | ROUND_UP((uint64_t)st.st_size, CLUSTER));
    poke(table, 8, peek64(table) | 1); /* a reserved bit: there has to be a new table */
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(blk_pread(blk, 6 * CLUSTER, CLUSTER, buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 0);
    g_assert_cmpmem(buf, CLUSTER - 1, buf + 1, CLUSTER - 1);
    blk_unref(blk);
}

/* Some clusters in use count as free, another one leaks: new structures know better of both. */
static void leak_beside_lost_counters(void)
{
    uint8_t buf[512];
    BdrvCheckResult r;
    BlockBackend *blk;
    uint64_t l2, block;

    create("size=1M");
    l2 = peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    block = peek64(peek64(AT(refcount_table_offset)));
    poke(block + (peek64(l2 + 8) & QCOW2_L2_OFFSET_MASK) / CLUSTER * 2, 2, 0);
    poke(l2 + 16, 8, 0);
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(r.leaks_fixed, ==, 1);
    g_assert_cmpint(r.corruptions_fixed, ==, 1);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(blk_pread(blk, CLUSTER, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    blk_unref(blk);
}

/* As many clusters as a check has numbers for; the file has a hole. */
static void file_of_too_many_clusters(void)
{
    BdrvCheckResult r;

    create("size=1M,cluster_size=512");
    g_assert_cmpint(check(0, &r), ==, 0);
    if (truncate(path, INT64_C(512) << 31) < 0) {
        g_test_skip("the file system has no file of a terabyte");
        return;
    }
    g_assert_cmpint(check(0, &r), ==, -EFBIG);
    g_assert_cmpint(r.check_errors, >, 0);
}

/*
 * An L2 table is a refcount block: the counters 1, 1, 1, 1 look like a preallocated cluster that
 * begins nowhere, but whoever repaired that would write over counters.
 */
static void table_is_a_refcount_block(void)
{
    BdrvCheckResult r;
    uint64_t block, before;

    create("size=1M,cluster_size=2M");
    block = peek64(peek64(AT(refcount_table_offset)));
    poke(peek64(AT(l1_table_offset)), 8, block | QCOW2_OFLAG_COPIED);
    before = peek64(block);
    g_assert_cmphex(before, ==, UINT64_C(0x0001000100010001));
    g_assert_cmpint(check(BDRV_FIX_ERRORS, &r), ==, -EIO);
    g_assert_cmpint(r.check_errors, >, 0);
    g_assert_cmphex(peek64(block), ==, before);
}

int main(int argc, char **argv)
{
    damaged_image_init(&argc, &argv);
    ADD(entry_damages, "l2-entry/", l2_entry);
    g_test_add_func("/qcow2/damaged-tables/l2-entry/with-data-file", l2_entry_with_data_file);
    g_test_add_func("/qcow2/damaged-tables/l1-entry", l1_entry);
    g_test_add_func("/qcow2/damaged-tables/references/snapshot", snapshot_of_damaged_tables);
    g_test_add_func("/qcow2/damaged-tables/references/refcount-block-named-twice",
                    refcount_block_named_twice);
    g_test_add_func("/qcow2/damaged-tables/references/refcount-block-beyond-all-files",
                    refcount_block_beyond_all_files);
    g_test_add_func("/qcow2/damaged-tables/references/data-before-a-block-outside",
                    data_before_a_block_outside);
    g_test_add_func("/qcow2/damaged-tables/references/data-where-new-structures-would-go",
                    data_where_new_structures_would_go);
    g_test_add_func("/qcow2/damaged-tables/references/leak-beside-lost-counters",
                    leak_beside_lost_counters);
    g_test_add_func("/qcow2/damaged-tables/references/file-of-too-many-clusters",
                    file_of_too_many_clusters);
    g_test_add_func("/qcow2/damaged-tables/references/table-is-a-refcount-block",
                    table_is_a_refcount_block);
    return damaged_image_run();
}
