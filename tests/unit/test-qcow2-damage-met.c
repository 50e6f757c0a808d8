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

int main(int argc, char **argv)
{
    static const WorldTest tests[] = {
        { "corruption-met-on-the-way", corruption_met_on_the_way },
        { "writers-stop-at-corruption", writers_stop_at_corruption },
        { "emptied-with-damaged-refcounts", emptied_with_damaged_refcounts },
        { "header-changed-underneath", header_changed_underneath },
        { "extension-changed-underneath", extension_changed_underneath },
        { "leaks-repaired-between-writes", leaks_repaired_between_writes },
    };

    return run_world_tests(argc, argv, "damage-met", tests, G_N_ELEMENTS(tests));
}
