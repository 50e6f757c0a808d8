/* SPDX-License-Identifier: MIT */
/*
 * Made-up L1 tables whose entries all name one L2 table: counting the references of each would take
 * minutes. Snapshots of such an image are refused, at once, and nothing changes.
 */
#include "qemu/osdep.h"

#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"

#include "../../block/qcow2/qcow2-format.h"

#define ENTRIES (1U << 20)
#define PATIENCE 10.0 /* seconds; it takes none, or some hundreds */

static char *path;

static BlockBackend *open_image(void)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    return blk_new_open(path, NULL, o, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
}

static uint64_t peek64(int fd, uint64_t offset)
{
    uint64_t value;

    g_assert_cmpint(pread(fd, &value, sizeof(value), offset), ==, sizeof(value));
    return GUINT64_FROM_BE(value);
}

/* All entries of the L1 table at @offset become the first one. */
static void repeat_first_entry(int fd, uint64_t offset)
{
    g_autofree uint64_t *table = g_new(uint64_t, ENTRIES);
    uint64_t entry = peek64(fd, offset) & ~QCOW2_OFLAG_COPIED;

    g_assert_cmpuint(entry, !=, 0);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        table[i] = GUINT64_TO_BE(entry);
    }
    g_assert_cmpint(pwrite(fd, table, ENTRIES * 8, offset), ==, ENTRIES * 8);
}

/* An image with 512 TiB, one L2 table, and a snapshot. */
static void create(void)
{
    QEMUSnapshotInfo info = { .name = "s" };
    BlockOptions *o = blk_options_new();
    BlockBackend *blk;

    blk_options_parse(o, "size=512T,refcount_bits=64", NULL, &error_abort);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    blk = open_image();
    for (int64_t at = 0; at < 4 << 20; at += 65536) {
        g_assert_cmpint(blk_pwrite(blk, at, 1, "x", 0), ==, 0);
    }
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &info), ==, 0);
    blk_unref(blk);
}

static unsigned count_snapshots(BlockBackend *blk)
{
    g_autofree QEMUSnapshotInfo *list = NULL;

    return bdrv_snapshot_list(blk_bs(blk), &list);
}

static void expect_refused(BlockBackend *blk, bool create_too)
{
    QEMUSnapshotInfo info = { .name = "t" };
    unsigned before = count_snapshots(blk);
    g_autoptr(GTimer) timer = g_timer_new();
    Error *err = NULL;
    char c;

    if (create_too) {
        g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &info), ==, -EIO);
    }
    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(blk), NULL, "s", &err), ==, -EIO);
    error_free(err);
    g_assert_cmpuint(count_snapshots(blk), ==, before);
    g_assert_cmpint(blk_pread(blk, 65536, 1, &c, 0), ==, 0);
    g_assert_cmpint(c, ==, 'x');
    err = NULL;
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "s", &err), ==, -EIO);
    error_free(err);
    g_assert_cmpfloat(g_timer_elapsed(timer, NULL), <, PATIENCE);
}

static void many_entries_one_table(gconstpointer data)
{
    bool active = GPOINTER_TO_INT(data);
    int fd = g_file_open_tmp("test-qcow2-bounds-XXXXXX", &path, NULL);
    uint64_t offset;
    BlockBackend *blk;

    g_assert_cmpint(fd, >=, 0);
    create();
    offset = peek64(fd, offsetof(Qcow2DiskHeader, l1_table_offset));
    if (!active) {
        /* The first field of the first entry. */
        offset = peek64(fd, peek64(fd, offsetof(Qcow2DiskHeader, snapshots_offset)));
    }
    repeat_first_entry(fd, offset);
    blk = open_image();
    expect_refused(blk, active);
    blk_unref(blk);
    close(fd);
    g_unlink(path);
    g_free(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_data_func("/qcow2/snapshot-bounds/active-table", GINT_TO_POINTER(true),
                         many_entries_one_table);
    g_test_add_data_func("/qcow2/snapshot-bounds/table-of-snapshot", GINT_TO_POINTER(false),
                         many_entries_one_table);
    return g_test_run();
}
