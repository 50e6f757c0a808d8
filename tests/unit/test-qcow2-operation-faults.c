/* SPDX-License-Identifier: MIT */
/*
 * What changes or looks at an image as a whole - amend, resize, snapshots, bitmaps, commit, repairs
 * and so on - on a file that fails; operation-faults.h says what must hold.
 */
#include "operation-faults.h"

/* --- operations --- */

static int amend(BlockBackend *blk, const char *text)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, text, NULL, &error_abort);
    return bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, NULL);
}

static int amend_to_version_2(BlockBackend *blk)
{
    int ret = amend(blk, "refcount_bits=16");

    return ret < 0 ? ret : amend(blk, "compat=0.10");
}

static int amend_to_version_3(BlockBackend *blk)
{
    return amend(blk, "compat=1.1,lazy_refcounts=on");
}

static int amend_refcount_width(BlockBackend *blk)
{
    int ret = amend(blk, "refcount_bits=32");

    return ret < 0 ? ret : amend(blk, "refcount_bits=8");
}

static int grow(BlockBackend *blk, PreallocMode mode)
{
    int ret = blk_truncate(blk, SIZE + 5 * CRASH_SECTOR, true, mode, 0, NULL);

    return ret < 0 ? ret : blk_truncate(blk, GROWN, true, mode, 0, NULL);
}

static int grow_with_metadata(BlockBackend *blk)
{
    return grow(blk, PREALLOC_MODE_METADATA);
}

static int grow_with_data(BlockBackend *blk)
{
    return grow(blk, PREALLOC_MODE_FULL);
}

static int shrink(BlockBackend *blk)
{
    return blk_truncate(blk, SIZE / 4 + 3 * CRASH_SECTOR, true, PREALLOC_MODE_OFF, 0, NULL);
}

/* With clusters of 512 bytes and counters of 64 bits a refcount table ends at 2 MiB. */
static void fill_to_the_brim(BlockBackend *blk)
{
    g_assert_cmpint(blk_truncate(blk, LARGEST, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    put(blk, 12, 46, 6);
}

static int go_over_the_brim(BlockBackend *blk)
{
    g_autofree uint8_t *buf = g_malloc(8 * UNIT);
    int ret = blk_pwrite_zeroes(blk, 7 * UNIT, UNIT, 0);

    memset(buf, 7, 8 * UNIT);
    for (int unit = 60; unit < 76 && ret == 0; unit += 4) {
        ret = blk_pwrite(blk, unit * UNIT, 4 * UNIT, buf, 0);
    }
    return ret < 0 ? ret : blk_flush(blk);
}

static int zero_and_discard(BlockBackend *blk)
{
    int ret = blk_pwrite_zeroes(blk, CRASH_SECTOR, 2 * UNIT, BDRV_REQ_MAY_UNMAP);

    if (ret == 0) {
        ret = blk_pdiscard(blk, 9 * UNIT, UNIT);
    }
    return ret < 0 ? ret : blk_pwrite_zeroes(blk, 20 * UNIT, UNIT / 2, 0);
}

static int use_snapshots(BlockBackend *blk)
{
    uint8_t state[3000];
    int ret = make_snapshot(blk, "three", 70000);

    if (ret == 0) {
        ret = bdrv_snapshot_goto(blk_bs(blk), "two", NULL);
    }
    if (ret == 0) {
        ret = blk_load_vmstate(blk, state, 0, sizeof(state));
    }
    if (ret == 0) {
        ret = bdrv_snapshot_delete(blk_bs(blk), NULL, "one", NULL);
    }
    return ret < 0 ? ret : bdrv_snapshot_delete(blk_bs(blk), NULL, "three", NULL);
}

static int show_snapshot(BlockBackend *blk)
{
    int ret = bdrv_snapshot_load_tmp_by_id_or_name(blk_bs(blk), "one", NULL);
    g_autofree uint8_t *buf = g_malloc(SIZE);

    return ret < 0 ? ret : blk_pread(blk, 0, SIZE, buf, 0);
}

static int use_bitmaps(BlockBackend *blk)
{
    BlockDriverState *bs = blk_bs(blk);
    BdrvDirtyBitmap *old = bdrv_find_dirty_bitmap(bs, "bits"), *b;
    int ret = old ? bdrv_dirty_bitmap_load(old, NULL) : -ENOENT;

    b = ret == 0 ? add_bitmap(blk, "new", 1024) : NULL;
    if (!b) {
        return ret < 0 ? ret : -EIO;
    }
    bdrv_merge_dirty_bitmap(b, old, NULL);
    ret = bdrv_store_dirty_bitmaps(bs, NULL);
    if (ret == 0) {
        ret = bdrv_remove_persistent_dirty_bitmap(bs, "bits", NULL);
    }
    if (ret == 0) {
        bdrv_release_dirty_bitmap(old);
        ret = blk_pwrite_zeroes(blk, 0, UNIT, 0);
    }
    return ret;
}

static int grow_with_bitmaps(BlockBackend *blk)
{
    int ret = bdrv_snapshot_delete(blk_bs(blk), NULL, "one", NULL);

    if (ret == 0) {
        ret = bdrv_snapshot_delete(blk_bs(blk), NULL, "two", NULL);
    }
    return ret < 0 ? ret : blk_truncate(blk, GROWN, true, PREALLOC_MODE_OFF, 0, NULL);
}

static int measure(BlockBackend *blk)
{
    BlockOptions *o = blk_options_new();
    BlockMeasureInfo info;

    return bdrv_measure(bdrv_find_format("qcow2"), o, blk_bs(blk), &info, NULL);
}

static int commit(BlockBackend *blk)
{
    int ret = blk_commit(blk, bdrv_backing_chain_next(blk_bs(blk)), 0, NULL, NULL, NULL);

    return ret < 0 ? ret : blk_make_empty(blk, NULL);
}

static int make_empty(BlockBackend *blk)
{
    return blk_make_empty(blk, NULL);
}

static int name_another_backing_file(BlockBackend *blk)
{
    int ret = bdrv_change_backing_file(blk_bs(blk), "a-longer-name", "raw", false);

    return ret < 0 ? ret : bdrv_change_backing_file(blk_bs(blk), "b", "raw", false);
}

static int compressed_writes(BlockBackend *blk)
{
    int ret = write_compressed(blk, 6, 8);

    if (ret == 0) {
        ret = write_compressed(blk, 7, 8);
    }
    if (ret == 0) {
        ret = blk_pwrite_zeroes(blk, 14 * UNIT + CRASH_SECTOR, CRASH_SECTOR, 0);
    }
    return ret < 0 ? ret : blk_pdiscard(blk, 9 * UNIT, UNIT);
}

static int all_statuses(BlockBackend *blk)
{
    int64_t n;
    int ret = 0;

    for (int64_t at = 0; at < SIZE && ret >= 0; at += n) {
        ret = blk_block_status(blk, at, SIZE - at, &n);
    }
    return MIN(ret, 0);
}

static int check_only(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, 0);
}

static int repair_leaks(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS);
}

static int repair(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
}

/* --- with more refcount blocks than are in RAM --- */

static void fill_with_zeroes(BlockBackend *blk)
{
    fill_to_the_brim(blk);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 20 * UNIT, 2 * UNIT, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 50 * UNIT, 2 * UNIT, BDRV_REQ_MAY_UNMAP), ==, 0);
}

static void fill_and_mark(BlockBackend *blk)
{
    fill_to_the_brim(blk);
    bdrv_set_dirty_bitmap(add_bitmap(blk, "bits", 512), 0, UNIT);
    bdrv_set_dirty_bitmap(add_bitmap(blk, "more", 512), SIZE, UNIT);
}

static int discard_everything(BlockBackend *blk)
{
    int ret = blk_pdiscard(blk, 0, LARGEST);

    return ret < 0 ? ret : blk_flush(blk);
}

/* The same bytes are written that are there already, as the snapshot is gone back to. */
static int snapshot_large(BlockBackend *blk)
{
    g_autofree uint8_t *buf = g_malloc(30 * UNIT);
    int ret = make_snapshot(blk, "one", 0);

    memset(buf, 6, 30 * UNIT);
    if (ret == 0) {
        ret = blk_pwrite(blk, 14 * UNIT, 30 * UNIT, buf, 0);
    }
    if (ret == 0) {
        ret = bdrv_snapshot_goto(blk_bs(blk), "one", NULL);
    }
    return ret < 0 ? ret : bdrv_snapshot_delete(blk_bs(blk), NULL, "one", NULL);
}

/* --- damage --- */

static uint8_t *at_field(Image *d, size_t field)
{
    uint64_t offset = qcow2_be64(d->data + field);

    g_assert_cmpuint(offset, <, d->length);
    return d->data + offset;
}

#define AT(field) offsetof(Qcow2DiskHeader, field)

static uint8_t *first_l2(Image *d)
{
    uint8_t *l1 = at_field(d, AT(l1_table_offset));

    return d->data + (qcow2_be64(l1) & QCOW2_L1_OFFSET_MASK);
}

/* Counters of the first block, whichever their width: all in use, most of them wrongly. */
static void leak_clusters(Image *d)
{
    uint8_t *table = at_field(d, AT(refcount_table_offset));
    uint64_t cluster = UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits));
    uint8_t *block = d->data + qcow2_be64(table);

    for (uint64_t i = cluster * 3 / 4; i < cluster; i += 8) {
        block[i + 7] = 1;
    }
}

static void lose_refcount_block(Image *d)
{
    memset(at_field(d, AT(refcount_table_offset)), 0, 8);
}

static void place_refcount_block_outside(Image *d)
{
    uint64_t end = ROUND_UP(d->length, UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits)));

    qcow2_put_be64(at_field(d, AT(refcount_table_offset)), end + (end >> 1 & ~UINT64_C(0xfffff)));
}

static void flip_copied_flags(Image *d)
{
    first_l2(d)[0] ^= 0x80;
    at_field(d, AT(l1_table_offset))[0] ^= 0x80;
}

/* The first entry: preallocated zeroes, at a place that no cluster can have. */
static void misplace_zero_cluster(Image *d)
{
    uint8_t *l2 = first_l2(d);
    bool extended = d->data[79] & QCOW2_INCOMPAT_EXTL2;

    l2[6] |= 2;
    if (extended) {
        qcow2_put_be64(l2 + 8, QCOW2_BITMAP_ALL_ZEROES);
    } else {
        l2[7] |= 1;
    }
}

/* The first snapshot has no extra data, which version 3 asks for: id and name follow at once. */
static void cut_snapshot_entry(Image *d)
{
    uint8_t *e = at_field(d, AT(snapshots_offset));
    uint32_t extra = qcow2_be32(e + offsetof(Qcow2DiskSnapshot, extra_data_size));

    g_assert_cmpuint(extra, >=, 8);
    qcow2_put_be32(e + offsetof(Qcow2DiskSnapshot, extra_data_size), 8);
    qcow2_put_be16(e + offsetof(Qcow2DiskSnapshot, name_size),
                   qcow2_be16(e + offsetof(Qcow2DiskSnapshot, name_size)) + extra - 8);
}

static void mark_dirty(Image *d)
{
    d->data[79] |= QCOW2_INCOMPAT_DIRTY;
    leak_clusters(d);
}

static void lose_everything_counted(Image *d)
{
    uint8_t *table = at_field(d, AT(refcount_table_offset));
    uint64_t cluster = UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits));

    memset(d->data + qcow2_be64(table), 0, cluster);
}

static const Operation operations[] = {
    { "amend-to-version-2", .run = amend_to_version_2, .plain = true, .not_extended = true },
    { "amend-to-version-2-with-snapshots", .run = amend_to_version_2, .no_bitmaps = true,
      .not_extended = true },
    { "amend-to-version-2-over-backing", .run = amend_to_version_2, .no_bitmaps = true,
      .not_extended = true, .backing = true },
    { "amend-to-version-3", .run = amend_to_version_3, .not_extended = true, .no_bitmaps = true,
      .create = "compat=0.10,refcount_bits=16" },
    { "amend-refcount-width", .run = amend_refcount_width },
    { "grow-with-metadata", .run = grow_with_metadata },
    { "grow-with-data", .run = grow_with_data, .plain = true },
    { "grow-with-bitmaps", .run = grow_with_bitmaps },
    { "shrink", .run = shrink, .plain = true },
    { "grow-refcount-table", .prepare = fill_to_the_brim, .run = go_over_the_brim, .plain = true },
    { "shrink-large", .prepare = fill_to_the_brim, .run = shrink, .plain = true,
      .small_clusters = true },
    { "discard-large", .prepare = fill_to_the_brim, .run = discard_everything, .plain = true,
      .small_clusters = true },
    { "snapshot-large", .prepare = fill_to_the_brim, .run = snapshot_large, .plain = true,
      .small_clusters = true },
    { "amend-large-refcount-width", .prepare = fill_to_the_brim, .run = amend_refcount_width,
      .plain = true, .small_clusters = true },
    { "amend-large-to-version-2", .prepare = fill_with_zeroes, .run = amend_to_version_2,
      .plain = true, .small_clusters = true, .backing = true },
    { "make-empty-large", .prepare = fill_to_the_brim, .run = make_empty, .plain = true,
      .small_clusters = true, .backing = true },
    { "statuses-large", .prepare = fill_to_the_brim, .run = all_statuses, .plain = true,
      .small_clusters = true },
    { "check-large-while-open", .prepare = fill_to_the_brim, .run = check_only, .plain = true,
      .small_clusters = true },
    { "use-bitmaps-large", .prepare = fill_and_mark, .run = use_bitmaps, .plain = true,
      .small_clusters = true },
    { "data-file-shrink", .run = shrink, .plain = true, .data_file = true },
    { "data-file-grow", .run = grow_with_data, .plain = true, .data_file = true },
    { "data-file-grow-with-metadata", .run = grow_with_metadata, .plain = true,
      .data_file = true },
    { "data-file-raw-grow", .run = grow_with_metadata, .plain = true, .data_file = true,
      .create = "data_file_raw=on" },
    { "data-file-zeroes", .run = zero_and_discard, .plain = true, .data_file = true },
    { "data-file-raw-zeroes", .run = zero_and_discard, .plain = true, .data_file = true,
      .create = "data_file_raw=on" },
    { "data-file-statuses", .run = all_statuses, .plain = true, .data_file = true },
    { "data-file-check", .run = repair, .flags = BDRV_O_CHECK | BDRV_O_RDWR, .plain = true,
      .data_file = true },
    { "use-snapshots", .run = use_snapshots, .no_bitmaps = true },
    { "show-snapshot", .run = show_snapshot, .flags = BDRV_O_NO_BACKING },
    { "use-bitmaps", .run = use_bitmaps },
    { "measure", .run = measure, .flags = BDRV_O_NO_BACKING },
    { "commit", .run = commit, .plain = true, .backing = true },
    { "make-empty", .run = make_empty, .plain = true, .backing = true },
    { "make-empty-with-snapshots", .run = make_empty, .backing = true },
    { "name-another-backing-file", .run = name_another_backing_file, .backing = true },
    { "compressed-writes", .run = compressed_writes },
    { "compressed-writes-zstd", .run = compressed_writes, .create = "compression_type=zstd" },
    { "statuses", .run = all_statuses, .backing = true },
    { "check", .run = check_only, .flags = BDRV_O_CHECK },
    { "check-while-open", .run = check_only },
    { "repair-nothing", .run = repair, .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-leaks", .damage = leak_clusters, .run = repair_leaks,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-lost-block", .damage = lose_refcount_block, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-lost-counters", .damage = lose_everything_counted, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-block-outside", .damage = place_refcount_block_outside, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-flags", .damage = flip_copied_flags, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-misplaced-zeroes", .damage = misplace_zero_cluster, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR, .plain = true },
    { "repair-snapshot-table", .damage = cut_snapshot_entry, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "open-dirty", .damage = mark_dirty, .run = all_statuses },
};

int main(int argc, char **argv)
{
    return operation_faults_main(argc, argv, operations, G_N_ELEMENTS(operations));
}
