/* SPDX-License-Identifier: MIT */
/*
 * Snapshot tables of several pieces, with more in them than there can be, or where there can be
 * none: what of it is refused, listed, and left by a repair.
 */
#include "damaged-image.h"

/* --- a snapshot table of several pieces --- */

#define TABLE (16 * CLUSTER) /* where it lies */
#define EXTRA 40             /* bytes: more than is known */
#define NAME  16             /* and of an id */

/* The entry at @at of the table, with an id of @id bytes. Returns where the next one begins. */
static uint64_t put_snapshot(uint64_t at, uint32_t id)
{
    uint64_t offset = TABLE + at;

    for (unsigned i = 0; i < sizeof(Qcow2DiskSnapshot) + EXTRA; i += 8) {
        poke(offset + i, 8, 0);
    }
    poke(offset + offsetof(Qcow2DiskSnapshot, id_str_size), 2, id);
    poke(offset + offsetof(Qcow2DiskSnapshot, name_size), 2, NAME);
    poke(offset + offsetof(Qcow2DiskSnapshot, extra_data_size), 4, EXTRA);
    return ROUND_UP(at + sizeof(Qcow2DiskSnapshot) + EXTRA + id + NAME, 8);
}

/* The second piece cannot be read, whichever part of an entry goes on there. */
static void second_piece_of_snapshot_table(void)
{
    static const unsigned parts[] = {
        8, sizeof(Qcow2DiskSnapshot) + 8, sizeof(Qcow2DiskSnapshot) + 32,
        sizeof(Qcow2DiskSnapshot) + EXTRA + 8, sizeof(Qcow2DiskSnapshot) + EXTRA + NAME + 8,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        uint64_t at = CLUSTER - parts[i];
        BlockOptions *o = blk_options_new();
        QEMUSnapshotInfo *list = NULL;
        BlockBackend *blk;
        Error *err = NULL;

        create("size=1M");
        poke(TABLE + 2 * CLUSTER - 8, 8, 0);
        g_assert_cmpuint(put_snapshot(0, at - sizeof(Qcow2DiskSnapshot) - EXTRA - NAME), ==, at);
        put_snapshot(at, NAME);
        poke(AT(nb_snapshots), 4, 2);
        poke(AT(snapshots_offset), 8, TABLE);
        blk = try_open(0, &error_abort);
        g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 2);
        g_free(list);
        blk_unref(blk);
        blk_options_parse(o, "driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=none,"
                          "file.inject-error.0.iotype=read", NULL, &error_abort);
        blk_options_set(o, "file.image.filename", path);
        blk_options_setf(o, "file.inject-error.0.sector", "%u", (TABLE + CLUSTER) / 512);
        g_assert_null(blk_new_open(NULL, NULL, o, 0, &err));
        expect("Failed to read snapshot table", err);
    }
}

/* A sector behind the table, within what is read with it at once, cannot be read: nobody needs it. */
static void bad_sector_behind_snapshot_table(void)
{
    for (int checks = 0; checks < 2; checks++) {
        BlockOptions *o = blk_options_new();
        QEMUSnapshotInfo *list = NULL;
        BdrvCheckResult r = { 0 };
        BlockBackend *blk;
        uint64_t end;

        create("size=1M");
        poke(TABLE + 2 * CLUSTER - 8, 8, 0);
        end = TABLE + put_snapshot(0, NAME);
        end = TABLE + put_snapshot(end - TABLE, 2 * NAME);
        poke(AT(nb_snapshots), 4, 2);
        poke(AT(snapshots_offset), 8, TABLE);
        blk_options_parse(o, "driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=none,"
                          "file.inject-error.0.iotype=read", NULL, &error_abort);
        blk_options_set(o, "file.image.filename", path);
        blk_options_setf(o, "file.inject-error.0.sector", "%" PRIu64, ROUND_UP(end, 512) / 512);
        blk = blk_new_open(NULL, NULL, o, checks ? BDRV_O_CHECK : 0, &error_abort);
        if (checks) {
            bdrv_check(blk_bs(blk), &r, 0);
            g_assert_cmpint(r.check_errors, ==, 0);
        } else {
            g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 2);
            g_free(list);
        }
        blk_unref(blk);
    }
}

/*
 * What the header points to is the header itself, which a repair has to write all the same. Nor may it take the
 * header's cluster for the old table's alone where a refcount cannot say that there are two.
 */
static void snapshot_table_on_the_header(void)
{
    static const char *const shapes[] = { "size=1M,refcount_bits=1", "size=1M,refcount_bits=2", "size=1M" };
    BdrvCheckResult r;
    uint64_t features;

    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        create(shapes[i]);
        poke(AT(nb_snapshots), 4, 1);
        poke(AT(snapshots_offset), 8, 0);
        g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
        g_assert_cmpint(r.check_errors, ==, 0);
        features = peek64(AT(incompatible_features));
        g_assert_cmphex(features & QCOW2_INCOMPAT_CORRUPT, ==, 0);
        g_assert_cmphex(peek64(AT(snapshots_offset)), !=, 0);
        g_assert_cmpint(check(0, &r), ==, 0);
        g_assert_cmpint(r.leaks, ==, 0);
    }
}

/* Found in a review: the refcounts were lowered, and the L2 table discarded as if it were the old snapshot table's alone. */
static void snapshot_table_on_an_l2_table(void)
{
    static const char *const shapes[] = { "size=1M,refcount_bits=1", "size=1M,refcount_bits=2", "size=1M" };
    uint64_t l2;
    BdrvCheckResult r;
    BlockBackend *blk;
    uint8_t byte = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        create(shapes[i]);
        l2 = peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
        poke(AT(nb_snapshots), 4, 1);
        poke(AT(snapshots_offset), 8, l2);
        g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
        g_assert_cmphex(peek64(AT(snapshots_offset)), !=, l2);
        g_assert_cmpint(check(0, &r), ==, 0);
        g_assert_cmpint(r.leaks, ==, 0);
        blk = try_open(0, &error_abort);
        g_assert_cmpint(blk_pread(blk, 0, 1, &byte, 0), ==, 0);
        g_assert_cmpint(byte, ==, 7);
        blk_unref(blk);
    }
}

/* Found in a review: completing the entries of the largest table that may be made it larger. The last one goes. */
static void completed_table_is_too_big(void)
{
    const uint32_t extra = 8, name = 65512, n = 512;
    const uint32_t bytes = sizeof(Qcow2DiskSnapshot) + extra + 2 * name;
    g_autofree uint8_t *table = g_malloc(QCOW2_MAX_SNAPSHOT_TABLE);
    QEMUSnapshotInfo *list = NULL;
    BlockBackend *blk;
    BdrvCheckResult r;
    int fd;

    g_assert_cmpuint(n * bytes, ==, QCOW2_MAX_SNAPSHOT_TABLE);
    memset(table, 'a', QCOW2_MAX_SNAPSHOT_TABLE);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *p = table + (size_t)i * bytes;

        memset(p, 0, sizeof(Qcow2DiskSnapshot) + extra);
        put(p + offsetof(Qcow2DiskSnapshot, id_str_size), 2, name);
        put(p + offsetof(Qcow2DiskSnapshot, name_size), 2, name);
        put(p + offsetof(Qcow2DiskSnapshot, extra_data_size), 4, extra);
    }
    create("size=1M");
    fd = open(path, O_WRONLY);
    g_assert_cmpint(pwrite(fd, table, QCOW2_MAX_SNAPSHOT_TABLE, TABLE), ==, QCOW2_MAX_SNAPSHOT_TABLE);
    close(fd);
    poke(AT(nb_snapshots), 4, n);
    poke(AT(snapshots_offset), 8, TABLE);
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks, ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, n - 1);
    g_free(list);
    blk_unref(blk);
}

/* The header promises more snapshots than there can be. A repair leaves those that there can. */
static void too_many_snapshots(void)
{
    BlockBackend *blk;
    BdrvCheckResult r;
    Error *err = NULL;

    create("size=1M");
    g_assert_cmpint(make_snapshot(), ==, 0);
    poke(AT(nb_snapshots), 4, UINT32_MAX);
    g_assert_null(try_open(0, &err));
    expect("too large", err);
    g_assert_cmpint(check(0, &r), ==, -EFBIG);
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(r.corruptions_fixed, >, 1 << 20);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "s", &error_abort), ==, 0);
    blk_unref(blk);
}

/*
 * A new snapshot is numbered behind the largest number, in whatever order they come. Some ids are no
 * numbers that one can count on from: this one begins in what was the name.
 */
static void ids_of_snapshots(void)
{
    static const char name[] = "8446744073709551615x";
    const size_t extra = sizeof(Qcow2DiskSnapshotExtra);
    QEMUSnapshotInfo *list = NULL, first = { 0 };
    uint64_t table, second;
    BlockBackend *blk;

    create("size=1M");
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_strlcpy(first.name, name, sizeof(first.name));
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &first), ==, 0);
    blk_unref(blk);
    g_assert_cmpint(make_snapshot(), ==, 0);
    table = peek64(AT(snapshots_offset));
    poke(table + offsetof(Qcow2DiskSnapshot, id_str_size), 2, strlen(name));
    poke(table + offsetof(Qcow2DiskSnapshot, name_size), 2, 1);
    g_assert_cmpint(make_snapshot(), ==, 0); /* 3: the second one is 2, */
    second = peek64(AT(snapshots_offset)) +
             ROUND_UP(sizeof(Qcow2DiskSnapshot) + extra + strlen(name) + 1, 8);
    poke(second + sizeof(Qcow2DiskSnapshot) + extra, 1, '9'); /* and now 9 */
    g_assert_cmpint(make_snapshot(), ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 4);
    g_assert_cmpstr(list[0].id_str, ==, "18446744073709551615");
    g_assert_cmpstr(list[0].name, ==, "x");
    g_assert_cmpstr(list[1].id_str, ==, "9");
    g_assert_cmpstr(list[2].id_str, ==, "3");
    g_assert_cmpstr(list[3].id_str, ==, "10");
    g_free(list);
    blk_unref(blk);
}

/* There is none in an image with a data file, whose clusters nobody counts; a table may say so. */
static void snapshots_of_a_data_file(void)
{
    g_autofree char *file = g_strconcat(path, ".data", NULL);
    g_autofree char *options = g_strdup_printf("size=1M,data_file=%s", file);
    QEMUSnapshotInfo sn = { .name = "t" }, *list = NULL;
    uint8_t buf[512];
    BdrvCheckResult r;
    BlockBackend *blk;
    Error *err = NULL;

    create(options);
    poke(TABLE + CLUSTER - 8, 8, 0);
    put_snapshot(0, NAME);
    poke(AT(nb_snapshots), 4, 1);
    poke(AT(snapshots_offset), 8, TABLE);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, >, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 1);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, -ENOTSUP);
    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(blk), list[0].id_str, NULL, &err), ==, -ENOTSUP);
    g_clear_pointer(&err, error_free);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), list[0].id_str, &err), ==, -ENOTSUP);
    g_clear_pointer(&err, error_free);
    g_assert_cmpint(blk_pread(blk, 0, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    g_free(list);
    blk_unref(blk);
    g_unlink(file);
}

/* More extra data than there can be: a check tells how to be rid of it, a repair is. */
static void too_much_extra_data(void)
{
    QEMUSnapshotInfo *list = NULL;
    BlockBackend *blk;
    BdrvCheckResult r;

    create("size=1M");
    g_assert_cmpint(make_snapshot(), ==, 0);
    poke(peek64(AT(snapshots_offset)) + offsetof(Qcow2DiskSnapshot, extra_data_size), 4, 2000);
    g_assert_null(try_open(0, NULL));
    g_assert_cmpint(check(0, &r), ==, -EFBIG);
    g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
    g_assert_cmpint(r.corruptions_fixed, >, 0);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 1);
    g_free(list);
    blk_unref(blk);
}

/*
 * The repaired table makes the file longer, over a cluster that was counted behind the end, and
 * one there that an entry refers to: what mattered to nobody is mended as well.
 */
static void table_that_lengthens_the_file(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    uint64_t block, end, l2;
    BlockBackend *blk;
    BdrvCheckResult r;

    for (unsigned referred = 0; referred < 2; referred++) {
        create("size=1M");
        g_assert_cmpint(make_snapshot(), ==, 0);
        g_assert_cmpint(check(0, &r), ==, 0);
        end = r.image_end_offset;
        l2 = peek64(peek64(AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
        block = peek64(peek64(AT(refcount_table_offset)));
        g_assert_cmpint(truncate(path, end), ==, 0);
        poke(block + end / CLUSTER * 2, 2, 1);
        poke(block + (end / CLUSTER + 1) * 2, 2, 1);
        if (referred) {
            poke(l2 + 8 * 6, 8, QCOW2_OFLAG_COPIED | (end + CLUSTER));
        }
        poke(peek64(AT(snapshots_offset)) + offsetof(Qcow2DiskSnapshot, extra_data_size), 4, 2000);
        g_assert_cmpint(check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &r), ==, 0);
        g_assert_cmpuint(peek64(AT(snapshots_offset)), ==, end + 2 * CLUSTER);
        g_assert_cmpint(r.leaks_fixed, ==, 2 - (int)referred);
        g_assert_cmpint(r.image_end_offset, ==, end + 3 * CLUSTER);
        g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
        g_assert_cmpint(check(0, &r), ==, 0);
        g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
        blk = try_open(0, &error_abort);
        g_assert_cmpint(blk_pread(blk, 6 * CLUSTER, CLUSTER, buf, 0), ==, 0);
        g_assert_cmpint(buf[0], ==, 0);
        blk_unref(blk);
    }
}

int main(int argc, char **argv)
{
    damaged_image_init(&argc, &argv);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/second-piece-cannot-be-read",
                    second_piece_of_snapshot_table);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/bad-sector-behind-it",
                    bad_sector_behind_snapshot_table);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/on-the-header",
                    snapshot_table_on_the_header);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/on-an-l2-table",
                    snapshot_table_on_an_l2_table);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/completed-one-is-too-big",
                    completed_table_is_too_big);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/too-many", too_many_snapshots);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/ids", ids_of_snapshots);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/data-file", snapshots_of_a_data_file);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/too-much-extra-data",
                    too_much_extra_data);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/repaired-one-lengthens-the-file",
                    table_that_lengthens_the_file);
    return damaged_image_run();
}
