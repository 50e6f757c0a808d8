/* SPDX-License-Identifier: MIT */
/*
 * Damage that is met while an image is open, or is done to it meanwhile: what is refused from then on,
 * what goes on, and what is left. On simulated disks.
 */
#include "qemu/osdep.h"
#include "block/dirty-bitmap.h"
#include "block/qcow2.h"
#include "qemu/main-loop.h"
#include "qcow2-world.h"

/* What is found while it is open shows as well. */
static void corruption_met_on_the_way(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint8_t buf[512], l1[8], l2[8];
    BlockQcow2Info info;

    fill(blk, 0, CLUSTER, 1);
    blk_unref(blk);
    sim_disk_peek(w.disk, AT(l1_table_offset), l1, 8);
    sim_disk_peek(w.disk, qcow2_be64(l1), l2, 8);
    poke(&w, qcow2_be64(l2) & QCOW2_L1_OFFSET_MASK, 8, QCOW2_OFLAG_COPIED | 512);
    blk = reopen(&w, 0, &error_abort);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, -EIO);
    g_assert_true(bdrv_qcow2_get_info(blk_bs(blk), &info));
    g_assert_true(info.corrupt);
    blk_unref(blk);
    sim_power_unref(w.power);
}

typedef struct Copy {
    BlockBackend *from, *to;
    int ret;
} Copy;

static void coroutine_fn copy_entry(void *opaque)
{
    Copy *c = opaque;

    c->ret = blk_co_copy_range(c->from, 0, c->to, 8 * CLUSTER, CLUSTER, 0, 0);
}

static int copy(BlockBackend *from, BlockBackend *to)
{
    Copy c = { from, to, -EINPROGRESS };

    qemu_coroutine_enter(qemu_coroutine_create(copy_entry, &c));
    while (c.ret == -EINPROGRESS) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return c.ret;
}

/* A writer that has met it changes nothing any more, and a check says what it is. */
static void writers_stop_at_corruption(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort), *other;
    SimDisk *whole = sim_disk_new(w.power, NULL, MIB, &error_abort);
    QEMUSnapshotInfo sn = { .name = "s" };
    g_autofree uint8_t *buf = g_malloc0(CLUSTER);
    BlockOptions *o = blk_options_new();
    uint64_t l2, hash;
    BdrvCheckResult r;

    fill(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    l2 = peek64(&w, peek64(&w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    poke(&w, l2, 8, QCOW2_OFLAG_COPIED | 512);
    blk = reopen(&w, FLAGS, &error_abort);
    bdrv_dirty_bitmap_set_persistence(
        bdrv_create_dirty_bitmap(blk_bs(blk), CLUSTER, "b", &error_abort), true);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, -EIO);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, QCOW2_INCOMPAT_CORRUPT);
    hash = sim_disk_hash(w.disk);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
    g_assert_cmpint(r.corruptions, >, 0);
    g_assert_cmpint(blk_pread(blk, CLUSTER, 512, buf, 0), <, 0);
    g_assert_cmpint(blk_pwrite(blk, 4 * CLUSTER, CLUSTER, buf, 0), <, 0);
    g_assert_cmpint(blk_pwrite(blk, 4 * CLUSTER, CLUSTER, buf, BDRV_REQ_WRITE_COMPRESSED), <, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, CLUSTER, CLUSTER, 0), <, 0);
    g_assert_cmpint(blk_pdiscard(blk, CLUSTER, CLUSTER), <, 0);
    g_assert_cmpint(blk_save_vmstate(blk, buf, 0, 512), <, 0);
    g_assert_cmpint(blk_truncate(blk, 2 * MIB, true, PREALLOC_MODE_OFF, 0, NULL), <, 0);
    g_assert_cmpint(blk_make_empty(blk, NULL), <, 0);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), <, 0);
    g_assert_cmpint(bdrv_change_backing_file(blk_bs(blk), "b", "raw", false), <, 0);
    g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(blk_bs(blk), "b", NULL), ==, -EACCES);
    blk_options_set(o, "lazy_refcounts", "on");
    g_assert_cmpint(bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, NULL), <, 0);
    other = sim_disk_open(whole, "driver=raw", FLAGS, &error_abort);
    g_assert_cmpint(copy(blk, other), <, 0);
    g_assert_cmpint(copy(other, blk), <, 0);
    g_assert_cmpint(copy(blk, blk), <, 0);
    blk_unref(other);
    bdrv_store_dirty_bitmaps(blk_bs(blk), NULL);
    blk_unref(blk);
    g_assert_cmphex(sim_disk_hash(w.disk), ==, hash);
    sim_power_unref(w.power);
}

/* Emptying a damaged image: the file is cut where it is sure to end, or not at all. */
static void emptied_with_damaged_refcounts(void)
{
    static const uint8_t zeroes[CLUSTER];

    for (int i = 0; i < 3; i++) {
        World w = new_image("size=2M");
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
        int64_t length;
        uint64_t block;
        BdrvCheckResult r;

        fill(blk, 0, MIB, 1);
        blk_unref(blk);
        length = sim_disk_length(w.disk);
        block = peek64(&w, peek64(&w, AT(refcount_table_offset)));
        if (i == 1) {
            sim_disk_poke(w.disk, block, zeroes, sizeof(zeroes));
        } else if (i == 2) {
            poke(&w, block + CLUSTER - 2, 2, 1);
        }
        blk = reopen(&w, FLAGS, &error_abort);
        g_assert_cmpint(blk_make_empty(blk, &error_abort), ==, 0);
        blk_unref(blk);
        g_assert_cmpint(sim_disk_length(w.disk), <=, length);
        g_assert_cmpint(sim_disk_length(w.disk) < MIB, ==, i == 0);
        blk = reopen(&w, FLAGS | BDRV_O_CHECK, &error_abort);
        expect(blk, 0, 2 * MIB, 0);
        g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, 0);
        is_sound(blk);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* The header's cluster has changed since the image was opened: nothing is made of what it says. */
static void header_changed_underneath(void)
{
    static const struct {
        size_t at;
        unsigned width;
        uint64_t value;
    } changes[] = {
        { AT(header_length), 4, 96 },
        { AT(header_length), 4, 2 * CLUSTER },
        { AT(backing_file_offset), 8, 2 * CLUSTER },
        { AT(backing_file_size), 4, CLUSTER }, /* of a name within the cluster */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        World w = new_image("size=1M");
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
        uint8_t before[512], after[512];
        Error *err = NULL;

        bdrv_dirty_bitmap_set_persistence(
            bdrv_create_dirty_bitmap(blk_bs(blk), CLUSTER, "b", &error_abort), true);
        poke(&w, changes[i].at, changes[i].width, changes[i].value);
        if (changes[i].at == AT(backing_file_size)) {
            poke(&w, AT(backing_file_offset), 8, 512);
        }
        sim_disk_peek(w.disk, 0, before, sizeof(before));
        g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), &err), ==, -EIO);
        error_free(err);
        sim_disk_peek(w.disk, 0, after, sizeof(after));
        g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* The same with an extension that became longer than what is there. */
static void extension_changed_underneath(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t first = peek64(&w, AT(refcount_order)) & UINT32_MAX; /* header_length */
    BlockOptions *o = blk_options_new();

    poke(&w, first + 4, 4, 2 * CLUSTER);
    g_assert_cmpint(bdrv_change_backing_file(blk_bs(blk), "b", "raw", false), ==, -EINVAL);
    blk_options_set(o, "lazy_refcounts", "on");
    g_assert_cmpint(bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, &error_abort), ==, 0);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort);
    poke(&w, first, 4, 0x1234);
    poke(&w, first + 4, 4, 2 * CLUSTER);
    bdrv_dirty_bitmap_set_persistence(
        bdrv_create_dirty_bitmap(blk_bs(blk), CLUSTER, "b", &error_abort), true);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), &error_abort), ==, 0);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_nonnull(bdrv_find_dirty_bitmap(blk_bs(blk), "b"));
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Repairs in an image that has been written to: what they free is where the next cluster goes. */
static void leaks_repaired_between_writes(void)
{
    static const unsigned lost[] = { 3, 4, 8 };
    World w = new_image("size=2M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t l2, leaked = 0;
    SimStats before, after;
    BdrvCheckResult r;
    int64_t length;

    fill(blk, 0, MIB, 1);
    blk_unref(blk);
    l2 = peek64(&w, peek64(&w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    for (size_t i = G_N_ELEMENTS(lost); i-- > 0;) {
        leaked = peek64(&w, l2 + 8 * lost[i]) & QCOW2_L2_OFFSET_MASK;
        poke(&w, l2 + 8 * lost[i], 8, 0);
    }
    blk = reopen(&w, FLAGS, &error_abort);
    fill(blk, MIB, CLUSTER, 2);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    length = sim_disk_length(w.disk);
    sim_disk_get_stats(w.disk, &before);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS), ==, 0);
    sim_disk_get_stats(w.disk, &after);
    g_assert_cmpint(r.leaks_fixed, ==, G_N_ELEMENTS(lost));
    g_assert_cmpint(after.discards - before.discards, ==, 2); /* the first two are neighbours */
    fill(blk, MIB + CLUSTER, 3 * CLUSTER, 3);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmphex(peek64(&w, l2 + 8 * 17) & QCOW2_L2_OFFSET_MASK, ==, leaked);
    g_assert_cmpint(sim_disk_length(w.disk), ==, length);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- repairs, and what is written after them --- */

/* A cluster that a repair has freed is another's when the next stream is written. */
static void streams_stay_out_of_repaired_leaks(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    uint64_t l2, stream;
    BdrvCheckResult r;

    memset(buf, 1, CLUSTER);
    g_assert_cmpint(blk_pwrite(blk, 0, CLUSTER, buf, BDRV_REQ_WRITE_COMPRESSED), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    l2 = peek64(&w, peek64(&w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    stream = peek64(&w, l2) & QCOW2_L2_OFFSET_MASK;
    poke(&w, l2, 8, 0);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS), ==, 0);
    g_assert_cmpint(r.leaks_fixed, ==, 1);
    fill(blk, 4 * CLUSTER, CLUSTER, 5);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmphex(peek64(&w, l2 + 8 * 4) & QCOW2_L2_OFFSET_MASK, ==, stream);
    g_assert_cmpint(blk_pwrite(blk, 8 * CLUSTER, CLUSTER, buf, BDRV_REQ_WRITE_COMPRESSED), ==, 0);
    for (int i = 0; i < 2; i++) {
        expect(blk, 0, CLUSTER, 0);
        expect(blk, 4 * CLUSTER, CLUSTER, 5);
        expect(blk, 8 * CLUSTER, CLUSTER, 1);
        is_sound(blk);
        blk_unref(blk);
        blk = reopen(&w, FLAGS, &error_abort);
    }
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* A repair that allocates clusters ends with a clean image; what is postponed later marks it again. */
static void postponed_after_a_repair(void)
{
    World w = new_image("size=1M,lazy_refcounts=on");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t entry;

    fill(blk, 0, CLUSTER, 1);
    make_snapshot(blk, "s");
    blk_unref(blk);
    /* An entry without extra data, which version 3 does not allow: the table has to be written anew. */
    entry = peek64(&w, AT(snapshots_offset));
    poke(&w, entry + offsetof(Qcow2DiskSnapshot, extra_data_size), 4, 0);
    poke(&w, entry + sizeof(Qcow2DiskSnapshot), 2, '1' << 8 | 's');
    poke(&w, AT(incompatible_features), 8, QCOW2_INCOMPAT_DIRTY);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, 0);
    g_assert_cmphex(peek64(&w, AT(snapshots_offset)), !=, entry);
    fill(blk, 4 * CLUSTER, CLUSTER, 2);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, QCOW2_INCOMPAT_DIRTY);
    blk_unref(blk);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, 0);
    blk = reopen(&w, FLAGS, &error_abort);
    expect(blk, 0, CLUSTER, 1);
    expect(blk, 4 * CLUSTER, CLUSTER, 2);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* The write that takes the mark away fails, and yet has done it. */
static void postponed_after_a_failed_end(void)
{
    World w = new_image("size=1M,lazy_refcounts=on");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    SimFault fault = { .disk = w.disk, .ops = SIM_WRITE, .offset = AT(incompatible_features),
                       .bytes = 8, .effect = SIM_EFFECT_ALL };
    Error *err = NULL;

    fill(blk, 0, CLUSTER, 1);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, QCOW2_INCOMPAT_DIRTY);
    sim_power_add_fault(w.power, &fault);
    g_assert_cmpint(blk_finish_writing(blk, &err), <, 0);
    error_free(err);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, 0);
    fill(blk, 4 * CLUSTER, CLUSTER, 2);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, QCOW2_INCOMPAT_DIRTY);
    g_assert_cmpint(blk_finish_writing(blk, &error_abort), ==, 0);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, 0);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Flags that a repair has corrected on the disk count, even if it fails behind that. */
static void failed_repair_does_not_hide_flags(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t l1 = peek64(&w, AT(l1_table_offset)), l2;
    SimFault fault = { .disk = w.disk, .ops = SIM_WRITE, .offset = l1, .bytes = 8 };
    BdrvCheckResult r;

    fill(blk, 0, CLUSTER, 1);
    make_snapshot(blk, "s");
    fill(blk, 4 * CLUSTER, CLUSTER, 2);
    blk_unref(blk);
    l2 = peek64(&w, l1) & QCOW2_L1_OFFSET_MASK;
    poke(&w, l1, 8, l2);
    poke(&w, l2, 8, peek64(&w, l2) | QCOW2_OFLAG_COPIED); /* the snapshot's as well */
    blk = reopen(&w, FLAGS, &error_abort);
    expect(blk, 0, CLUSTER, 1);
    sim_power_add_fault(w.power, &fault);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, -EIO);
    fill(blk, 0, CLUSTER, 3);
    blk_unref(blk);
    blk = reopen(&w, 0, &error_abort);
    expect(blk, 0, CLUSTER, 3);
    is_sound(blk);
    g_assert_cmpint(bdrv_snapshot_load_tmp(blk_bs(blk), NULL, "s", &error_abort), ==, 0);
    expect(blk, 0, CLUSTER, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* What was planned for new refcount structures is free again when they cannot be written. */
static void failed_rebuild_leaves_the_old(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t l2, data, block = peek64(&w, peek64(&w, AT(refcount_table_offset)));
    SimFault fault = { .disk = w.disk, .ops = SIM_WRITE, .growing = true };
    BdrvCheckResult r;

    fill(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    l2 = peek64(&w, peek64(&w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    data = peek64(&w, l2) & QCOW2_L2_OFFSET_MASK;
    poke(&w, block + data / CLUSTER * 2, 2, 0);
    blk = reopen(&w, FLAGS, &error_abort);
    sim_power_add_fault(w.power, &fault);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, -EIO);
    fill(blk, 4 * CLUSTER, 8 * CLUSTER, 2);
    expect(blk, CLUSTER, CLUSTER, 1);
    expect(blk, 4 * CLUSTER, 8 * CLUSTER, 2);
    blk_unref(blk);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, 0);
    sim_power_unref(w.power);
}

#define COVERED (INT64_C(512) << 30) /* bytes of the disk that an L2 table of 2 MiB describes */
#define SHARING 32900U               /* L1 entries with the same table, together above all bounds */

/* So many tables are named that not all are looked at: what the others refer to is not leaked. */
static void nothing_is_repaired_unseen(void)
{
    BlockBackend *blk;
    uint64_t l1, first, last;
    BdrvCheckResult r;
    World w;

    if (!g_test_slow()) {
        g_test_skip("it takes half a minute");
        return;
    }
    w = new_image("size=1T,cluster_size=2M,refcount_bits=64");
    blk = reopen(&w, FLAGS, &error_abort);
    l1 = peek64(&w, AT(l1_table_offset));
    fill(blk, 0, CLUSTER, 1);
    fill(blk, COVERED, CLUSTER, 2);
    blk_unref(blk);
    first = peek64(&w, l1);
    last = peek64(&w, l1 + 8);
    for (uint64_t i = 0; i < SHARING; i++) {
        poke(&w, l1 + 8 * i, 8, first & ~QCOW2_OFLAG_COPIED);
    }
    poke(&w, l1 + 8 * SHARING, 8, last);
    poke(&w, AT(l1_size), 4, SHARING + 1);
    blk = reopen(&w, FLAGS | BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS), ==, -EFBIG);
    g_assert_cmpint(r.leaks_fixed, ==, 0);
    g_assert_cmpint(r.check_errors, >, 0);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- refcounts that are too low or too high --- */

/* The counters of all clusters from the L2 table on. */
static void lose_counters_from_l2(World *w)
{
    uint64_t l2 = peek64(w, peek64(w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    uint64_t block = peek64(w, peek64(w, AT(refcount_table_offset)));

    for (uint64_t i = l2 / CLUSTER; i * 2 < CLUSTER; i++) {
        poke(w, block + i * 2, 2, 0);
    }
}

/* An image with so many bytes of 1, and L2 tables that are not counted. */
static World with_uncounted_tables(int64_t bytes)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);

    fill(blk, 0, bytes, 1);
    blk_unref(blk);
    lose_counters_from_l2(&w);
    return w;
}

static int amend(BlockBackend *blk, const char *text)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, text, NULL, &error_abort);
    return bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, NULL);
}

/* New refcount structures do not go over tables that the old ones do not count. */
static void refcount_width_over_uncounted_tables(void)
{
    World w = with_uncounted_tables(2 * CLUSTER);
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);

    g_assert_cmpint(amend(blk, "refcount_bits=32"), ==, -EIO);
    blk_unref(blk);
    g_assert_cmphex(peek64(&w, AT(incompatible_features)), ==, QCOW2_INCOMPAT_CORRUPT);
    blk = reopen(&w, 0, &error_abort);
    expect(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Of a change that fails nothing is left in the file. */
static void refcount_width_that_cannot_be_written(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    SimFault fault = { .disk = w.disk, .ops = SIM_WRITE, .bytes = CLUSTER };
    int64_t length;

    fill(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    length = fault.offset = sim_disk_length(w.disk); /* where the table goes, behind its blocks */
    sim_power_add_fault(w.power, &fault);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_cmpint(amend(blk, "refcount_bits=32"), ==, -EIO);
    g_assert_cmpint(sim_disk_length(w.disk), ==, length);
    g_assert_cmpint(amend(blk, "refcount_bits=32"), ==, 0);
    expect(blk, 0, 2 * CLUSTER, 1);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* A disk gets shorter, but its file does not lose tables that the refcounts do not count. */
static void shrunk_with_uncounted_tables(void)
{
    World w = with_uncounted_tables(4 * CLUSTER);
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);

    g_assert_cmpint(blk_truncate(blk, 2 * CLUSTER, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    blk_unref(blk);
    blk = reopen(&w, 0, &error_abort);
    expect(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

#define LARGE (UINT64_C(2) << 20) /* a cluster */

/* A counter of a cluster at 16 EiB and a little more. */
static void shrunk_with_counters_of_no_place(void)
{
    World w = new_image("size=8M,cluster_size=2M,refcount_bits=1");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t block = peek64(&w, peek64(&w, AT(refcount_table_offset))), table = 16 * LARGE;

    fill(blk, 0, 8 * MIB, 1);
    blk_unref(blk);
    poke(&w, table + 4 * LARGE, 1, 1);        /* another block: its first counter */
    poke(&w, table, 8, block);
    poke(&w, table + (UINT64_C(8) << 19), 8, table + 4 * LARGE);
    poke(&w, AT(refcount_table_offset), 8, table);
    poke(&w, AT(refcount_table_clusters), 4, 3);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_cmpint(blk_truncate(blk, 6 * MIB, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    expect(blk, 0, 6 * MIB, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- entries that name metadata --- */

/* What is given up with them is not discarded, neither by the guest nor with a snapshot. */
static void discard_metadata(bool with_snapshot)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t l1 = peek64(&w, AT(l1_table_offset)), l2;

    fill(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    l2 = peek64(&w, l1) & QCOW2_L1_OFFSET_MASK;
    poke(&w, l2 + 8, 8, l1 | QCOW2_OFLAG_COPIED);
    blk = reopen(&w, FLAGS, &error_abort);
    if (with_snapshot) {
        make_snapshot(blk, "s");
    }
    g_assert_cmpint(blk_pdiscard(blk, CLUSTER, CLUSTER), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    if (with_snapshot) {
        g_assert_cmpint(bdrv_snapshot_delete(blk_bs(blk), NULL, "s", &error_abort), ==, 0);
    }
    blk_unref(blk);
    blk = reopen(&w, 0, &error_abort);
    expect(blk, 0, CLUSTER, 1);
    expect(blk, CLUSTER, CLUSTER, 0);
    blk_unref(blk);
    sim_power_unref(w.power);
}

static void metadata_is_not_discarded(void)
{
    discard_metadata(false);
    discard_metadata(true);
}

/* --- what the end says --- */

/* That something harmless was reported before is no reason to be silent. */
static void end_after_a_failed_switch(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    SimFault fault = { .disk = w.disk, .ops = SIM_WRITE, .offset = AT(l1_size), .bytes = 4 };
    uint8_t buf[512];
    Error *err = NULL;
    uint64_t l2;

    fill(blk, 0, CLUSTER, 1);
    blk_unref(blk);
    l2 = peek64(&w, peek64(&w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    poke(&w, l2 + 8, 8, QCOW2_OFLAG_COMPRESSED | 0x200);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_cmpint(blk_pread(blk, CLUSTER, 512, buf, 0), ==, -EIO);
    sim_power_add_fault(w.power, &fault);
    g_assert_cmpint(blk_truncate(blk, INT64_C(1) << 30, true, PREALLOC_MODE_OFF, 0, &err), <, 0);
    error_free(err);
    err = NULL;
    g_assert_cmpint(blk_finish_writing(blk, &err), ==, -EIO);
    error_free(err);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* A repair that counts references anew tells of each cluster once. */
static void a_rebuild_counts_clusters_once(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint64_t table;
    BdrvCheckResult r;

    fill(blk, 0, 4 * CLUSTER, 1);
    blk_unref(blk);
    table = peek64(&w, AT(refcount_table_offset));
    poke(&w, table, 8, peek64(&w, table) | 512);
    blk = reopen(&w, FLAGS | BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, 0);
    g_assert_cmphex(peek64(&w, AT(refcount_table_offset)), !=, table);
    g_assert_cmpuint(r.bfi.total_clusters, ==, 16);
    g_assert_cmpuint(r.bfi.allocated_clusters, ==, 4);
    blk_unref(blk);
    sim_power_unref(w.power);
}

int main(int argc, char **argv)
{
    static const WorldTest tests[] = {
        { "corruption-met-on-the-way", corruption_met_on_the_way },
        { "writers-stop-at-corruption", writers_stop_at_corruption },
        { "emptied-with-damaged-refcounts", emptied_with_damaged_refcounts },
        { "header-changed-underneath", header_changed_underneath },
        { "extension-changed-underneath", extension_changed_underneath },
        { "leaks-repaired-between-writes", leaks_repaired_between_writes },
        { "streams-stay-out-of-repaired-leaks", streams_stay_out_of_repaired_leaks },
        { "postponed-after-a-repair", postponed_after_a_repair },
        { "postponed-after-a-failed-end", postponed_after_a_failed_end },
        { "failed-repair-does-not-hide-flags", failed_repair_does_not_hide_flags },
        { "failed-rebuild-leaves-the-old", failed_rebuild_leaves_the_old },
        { "refcount-width-over-uncounted-tables", refcount_width_over_uncounted_tables },
        { "refcount-width-that-cannot-be-written", refcount_width_that_cannot_be_written },
        { "shrunk-with-uncounted-tables", shrunk_with_uncounted_tables },
        { "shrunk-with-counters-of-no-place", shrunk_with_counters_of_no_place },
        { "metadata-is-not-discarded", metadata_is_not_discarded },
        { "nothing-is-repaired-unseen", nothing_is_repaired_unseen },
        { "end-after-a-failed-switch", end_after_a_failed_switch },
        { "a-rebuild-counts-clusters-once", a_rebuild_counts_clusters_once },
    };

    return run_world_tests(argc, argv, "damage-met", tests, G_N_ELEMENTS(tests));
}
