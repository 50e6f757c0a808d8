/* SPDX-License-Identifier: MIT */
/*
 * The ends of what qcow2 images do: sizes, positions and sources that only just are possible or are not
 * any more, images that are marked corrupt, data files that are longer than the disk, fields of the
 * header that point nowhere. On simulated disks.
 */
#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "block/dirty-bitmap.h"
#include "block/qcow2.h"
#include "qemu/cutils.h"
#include "qcow2-world.h"

extern BlockDriver bdrv_qcow2;

/* --- sizes --- */

/* A disk that is made smaller has no space to be set up beforehand. */
static void shrinking_does_not_preallocate(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    Error *err = NULL;

    g_assert_cmpint(blk_truncate(blk, MIB / 2, true, PREALLOC_MODE_FULL, 0, &err), <, 0);
    g_assert_nonnull(err);
    error_free(err);
    g_assert_cmpint(blk_getlength(blk), ==, MIB);
    g_assert_cmpint(blk_truncate(blk, MIB, true, PREALLOC_MODE_FULL, 0, &error_abort), ==, 0);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Bytes of the data file behind the disk's end do not come to light when the disk grows. */
static void data_file_longer_than_the_disk(void)
{
    static const struct {
        int64_t file, grown;
    } lengths[] = { { 3 * MIB, 2 * MIB }, { 3 * MIB / 2, 2 * MIB }, { MIB + 512, 2 * MIB } };

    for (size_t i = 0; i < G_N_ELEMENTS(lengths) * 2; i++) {
        World w = new_image(i < 3 ? "size=1M,data_file=sim:data"
                                  : "size=1M,cluster_size=2M,data_file=sim:data");
        g_autofree uint8_t *old = g_malloc(lengths[i % 3].file);
        BlockBackend *blk;

        memset(old, 0xee, lengths[i % 3].file);
        sim_disk_poke(w.data, 0, old, lengths[i % 3].file);
        blk = reopen_with_data_file(&w, "driver=qcow2");
        fill(blk, 0, MIB, 1);
        g_assert_cmpint(blk_truncate(blk, MIB, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
        blk_unref(blk);
        sim_disk_poke(w.data, MIB, old, lengths[i % 3].file - MIB);
        blk = reopen_with_data_file(&w, "driver=qcow2");
        g_assert_cmpint(blk_truncate(blk, lengths[i % 3].grown, true, PREALLOC_MODE_OFF, 0,
                                     &error_abort), ==, 0);
        expect(blk, 0, MIB, 1);
        expect(blk, MIB, lengths[i % 3].grown - MIB, 0);
        is_sound(blk);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* --- shrinking beside a write --- */

typedef struct Shrink {
    BlockBackend *blk;
    int64_t size;
    int write_ret, ret; /* 1: under way */
} Shrink;

static void shrink_write_done(void *opaque, int ret)
{
    Shrink *s = opaque;

    s->write_ret = ret;
}

static void coroutine_fn shrink_entry(void *opaque)
{
    Shrink *s = opaque;

    s->ret = blk_co_truncate(s->blk, s->size, true, PREALLOC_MODE_OFF, 0, &error_abort);
}

/*
 * A write before the new end, which fills its cluster up to the old one, is stopped when it knows that:
 * the data file is not cut before it goes on. Otherwise it would grow again, or, if it is being cut
 * at that moment, the write fail.
 */
static void shrinking_beside_a_write(void)
{
    World w = { .power = sim_power_new(1) };
    uint8_t buf[1024];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, sizeof(buf));
    Shrink s = { .size = MIB / 2 + 4096, .write_ret = 1, .ret = 1 };

    w.disk = sim_disk_new(w.power, "image", 0, &error_abort);
    w.data = sim_disk_new(w.power, "data", 0, &error_abort);
    g_assert_cmpint(sim_disk_create(w.disk, "qcow2", "size=1M,data_file=sim:data", &error_abort), ==, 0);
    s.blk = reopen_with_data_file(&w, "driver=qcow2,file.driver=blkdebug,file.image.driver=sim,"
                                      "file.image.disk=image");
    memset(buf, 7, sizeof(buf));
    g_assert_cmpint(bdrv_debug_breakpoint(blk_bs(s.blk), "cow_write", "A"), ==, 0);
    blk_aio_pwritev(s.blk, s.size - sizeof(buf), &qiov, 0, shrink_write_done, &s);
    while (!bdrv_debug_is_suspended(blk_bs(s.blk), "A")) {
        aio_poll(blk_get_aio_context(s.blk), true);
    }
    qemu_coroutine_enter(qemu_coroutine_create(shrink_entry, &s));
    while (aio_poll(blk_get_aio_context(s.blk), false)) {
    }
    g_assert_cmpint(bdrv_debug_resume(blk_bs(s.blk), "A"), ==, 0);
    while (s.write_ret == 1 || s.ret == 1) {
        aio_poll(blk_get_aio_context(s.blk), true);
    }
    g_assert_cmpint(s.write_ret, ==, 0);
    g_assert_cmpint(s.ret, ==, 0);
    g_assert_cmpint(blk_getlength(s.blk), ==, s.size);
    g_assert_cmpint(sim_disk_length(w.data), ==, s.size);
    expect(s.blk, 0, s.size - sizeof(buf), 0);
    expect(s.blk, s.size - sizeof(buf), sizeof(buf), 7);
    is_sound(s.blk);
    blk_unref(s.blk);
    sim_power_unref(w.power);
}

/* --- preallocation --- */

static void preallocation_over_what_is_there(void)
{
    static const PreallocMode modes[] = { PREALLOC_MODE_METADATA, PREALLOC_MODE_FALLOC,
                                          PREALLOC_MODE_FULL };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        World w = new_image("size=96k");
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);

        fill(blk, 0, 96 << 10, 1); /* half of the last cluster */
        g_assert_cmpint(blk_truncate(blk, MIB, true, modes[i], 0, &error_abort), ==, 0);
        expect(blk, 0, 96 << 10, 1);
        expect(blk, 96 << 10, MIB - (96 << 10), 0);
        is_sound(blk);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* --- machine state --- */

static void machine_state_beyond_all_bounds(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    uint8_t buf[512] = { 1 };

    g_assert_cmpint(blk_save_vmstate(blk, buf, INT64_MAX - 100, 50), <, 0);
    /* It lies behind what one L2 table describes, here 512 MiB. */
    g_assert_cmpint(blk_save_vmstate(blk, buf, INT64_MAX - INT64_C(512) * MIB - 100, 512), <, 0);
    g_assert_cmpint(blk_load_vmstate(blk, buf, INT64_MAX - 100, 50), <, 0);
    g_assert_cmpint(blk_save_vmstate(blk, buf, 0, 512), ==, 512);
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(blk_load_vmstate(blk, buf, 0, 512), ==, 512);
    g_assert_cmpint(buf[0], ==, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* It lies behind the disk's end in the data file as well, and is none of the disk's business. */
static void machine_state_in_a_data_file(void)
{
    World w = new_image("size=1M,data_file=sim:data");
    BlockBackend *blk = reopen_with_data_file(&w, "driver=qcow2");
    uint8_t buf[1536];

    fill(blk, MIB - CLUSTER, CLUSTER, 1);
    memset(buf, 2, sizeof(buf));
    g_assert_cmpint(blk_save_vmstate(blk, buf, 512, sizeof(buf)), ==, sizeof(buf));
    blk_unref(blk);
    blk = reopen_with_data_file(&w, "driver=qcow2");
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(blk_load_vmstate(blk, buf, 512, sizeof(buf)), ==, sizeof(buf));
    g_assert_cmpint(buf[0], ==, 2);
    g_assert_cmpmem(buf, sizeof(buf) - 1, buf + 1, sizeof(buf) - 1);
    expect(blk, MIB - CLUSTER, CLUSTER, 1);
    is_sound(blk);
    g_assert_cmpint(blk_truncate(blk, 2 * MIB, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    expect(blk, MIB, MIB, 0);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- caches --- */

static void caches_larger_than_anything(void)
{
    World w = new_image("size=1M,cluster_size=512");
    BlockBackend *blk = sim_disk_open(w.disk, "driver=qcow2,refcount-cache-size=64M", FLAGS,
                                      &error_abort);
    Error *err = NULL;

    fill(blk, 0, MIB, 1);
    expect(blk, 0, MIB, 1);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);

    w = new_image("size=256P,cluster_size=2M");
    g_assert_null(sim_disk_open(w.disk, "driver=qcow2,l2-cache-size=2T,l2-cache-entry-size=512",
                                FLAGS, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(error_get_pretty(err), "l2-cache-size is too large"));
    error_free(err);
    sim_power_unref(w.power);
}

/* --- images that say what they are --- */

static void images_marked_corrupt(void)
{
    World w = new_image("size=1M");
    Error *err = NULL;
    BlockQcow2Info info;
    BdrvCheckResult r;
    BlockBackend *blk;

    poke(&w, AT(incompatible_features), 8, QCOW2_INCOMPAT_CORRUPT);
    g_assert_null(reopen(&w, FLAGS, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "Image is corrupt"));
    error_free(err);
    blk = reopen(&w, 0, &error_abort);
    g_assert_true(bdrv_qcow2_get_info(blk_bs(blk), &info));
    g_assert_true(info.corrupt);
    blk_unref(blk);
    blk = reopen(&w, FLAGS | BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS), ==, 0);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort); /* the repair has taken the mark away */
    g_assert_true(bdrv_qcow2_get_info(blk_bs(blk), &info));
    g_assert_false(info.corrupt);
    blk_unref(blk);
    sim_power_unref(w.power);
}

static void encrypted_images(void)
{
    World w = new_image("size=1M");
    Error *err = NULL;

    poke(&w, AT(crypt_method), 4, 2);
    g_assert_null(reopen(&w, 0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "Encrypted"));
    g_clear_pointer(&err, error_free);
    g_assert_null(reopen(&w, FLAGS | BDRV_O_NO_IO, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "cannot be written"));
    g_clear_pointer(&err, error_free);
    blk_unref(reopen(&w, BDRV_O_NO_IO, &error_abort)); /* to be looked at */
    sim_power_unref(w.power);
}

static void probing(void)
{
    static const uint8_t magic[8] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
    static const uint8_t version_1[8] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 1 };

    g_assert_cmpint(bdrv_qcow2.bdrv_probe(magic, 8, "x"), ==, 100);
    g_assert_cmpint(bdrv_qcow2.bdrv_probe(magic, 7, "x"), ==, 0);
    g_assert_cmpint(bdrv_qcow2.bdrv_probe(version_1, 8, "x"), ==, 0);
}

static void zeroes_at_first(void)
{
    World w = new_image("size=1M,data_file=sim:data");
    BlockBackend *blk = reopen_with_data_file(&w, "driver=qcow2");

    g_assert_cmpint(bdrv_has_zero_init(blk_bs(blk)), ==, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- snapshots --- */

static void snapshot_tables_that_lie_nowhere(void)
{
    static const struct {
        size_t at;
        unsigned width;
        uint64_t value;
    } wrong[] = { { AT(snapshots_offset), 8, 512 },
                  { AT(snapshots_offset), 8, UINT64_C(0x7fffffffffff0000) },
                  { AT(nb_snapshots), 4, 70000 } };

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        World w = new_image("size=1M");
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
        BdrvCheckResult r;
        Error *err = NULL;

        fill(blk, 0, CLUSTER, 1);
        make_snapshot(blk, "one");
        blk_unref(blk);
        poke(&w, wrong[i].at, wrong[i].width, wrong[i].value);
        g_assert_null(reopen(&w, 0, &err));
        g_assert_nonnull(err);
        error_free(err);
        blk = reopen(&w, BDRV_O_CHECK, NULL);
        if (!blk) {
            g_assert_cmpint(wrong[i].value, >, INT64_MAX / 2); /* no disk is so long */
            sim_power_unref(w.power);
            continue;
        }
        g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), <, 0);
        g_assert_cmpint(r.check_errors, >, 0);
        expect(blk, 0, CLUSTER, 1);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* Version 2 does not say how large a snapshot is: it has the image's size. */
static void snapshots_of_version_2(void)
{
    World w = new_image("size=1M,compat=0.10");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    Error *err = NULL;

    fill(blk, 0, CLUSTER, 1);
    make_snapshot(blk, "one");
    fill(blk, 0, CLUSTER, 2);
    g_assert_cmpint(blk_truncate(blk, 2 * MIB, true, PREALLOC_MODE_OFF, 0, &err), <, 0);
    g_assert_nonnull(err);
    error_free(err);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "one", &error_abort), ==, 0);
    expect(blk, 0, CLUSTER, 1);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

static void no_snapshots_of_data_files(void)
{
    World w = new_image("size=1M,data_file=sim:data");
    BlockBackend *blk = reopen_with_data_file(&w, "driver=qcow2");
    Error *err = NULL;

    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "one", &err), ==, -ENOTSUP);
    g_clear_pointer(&err, error_free);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* A disk of no bytes has no L1 table, nor have its snapshots. */
static void snapshots_of_an_empty_disk(void)
{
    World w = new_image("size=0");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    QEMUSnapshotInfo *list = NULL;

    g_assert_cmpuint(peek64(&w, AT(l1_size)) >> 32, ==, 0);
    make_snapshot(blk, "one");
    make_snapshot(blk, "two");
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "one", &error_abort), ==, 0);
    is_sound(blk);
    g_assert_cmpint(blk_truncate(blk, MIB, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    fill(blk, 0, CLUSTER, 1);
    make_snapshot(blk, "three");
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "two", &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, 0);
    is_sound(blk);
    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(blk), NULL, "one", &error_abort), ==, 0);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "three", &error_abort), ==, 0);
    expect(blk, 0, CLUSTER, 1);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(blk), &list), ==, 2);
    g_free(list);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* All checks for overlaps: tables of snapshots are known, though several share them. */
static void snapshots_with_all_overlap_checks(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk;

    blk = sim_disk_open(w.disk, "driver=qcow2,overlap-check=all", FLAGS, &error_abort);
    for (int i = 0; i < 4; i++) {
        fill(blk, i * CLUSTER, CLUSTER, i + 1);
        make_snapshot(blk, i & 1 ? "odd" : "even");
        make_snapshot(blk, "again");
        blk_unref(blk);
        blk = sim_disk_open(w.disk, "driver=qcow2,overlap-check=all", FLAGS, &error_abort);
    }
    is_sound(blk);
    for (int i = 0; i < 4; i++) {
        expect(blk, i * CLUSTER, CLUSTER, i + 1);
        g_assert_cmpint(bdrv_snapshot_delete(blk_bs(blk), NULL, "again", &error_abort), ==, 0);
    }
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- callers that do not ask for the error, or die of it --- */

static void places_for_errors(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_fatal);
    Error **const places[] = { NULL, &error_fatal, &error_warn };

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        BlockOptions *o = blk_options_new();

        blk_options_set(o, "lazy_refcounts", i & 1 ? "on" : "off");
        g_assert_cmpint(bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, places[i]), ==, 0);
        bdrv_dirty_bitmap_set_persistence(
            bdrv_create_dirty_bitmap(blk_bs(blk), 65536 << i, i ? i > 1 ? "c" : "b" : "a",
                                     &error_abort), true);
        g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), places[i]), ==, 0);
    }
    blk_unref(blk);
    blk = reopen(&w, 0, &error_warn);
    g_assert_nonnull(bdrv_find_dirty_bitmap(blk_bs(blk), "c"));
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- sources of a measurement --- */

static void measuring_sources(void)
{
    static const char *const sources[] = { "size=1M", "size=1M,compat=0.10" };

    for (size_t i = 0; i < G_N_ELEMENTS(sources); i++) {
        World w = new_image(sources[i]);
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
        BlockMeasureInfo info;

        fill(blk, CLUSTER, 2 * CLUSTER, 1);
        bdrv_create_dirty_bitmap(blk_bs(blk), 65536, "for-a-while", &error_abort);
        g_assert_cmpint(bdrv_measure(bdrv_find_format("qcow2"), blk_options_new(), blk_bs(blk),
                                     &info, &error_abort), ==, 0);
        g_assert_cmpint(info.has_bitmaps, ==, i == 0);
        if (info.has_bitmaps) {
            g_assert_cmpuint(info.bitmaps, ==, 0);
        }
        g_assert_cmpuint(info.fully_allocated - info.required, ==, MIB - 2 * CLUSTER);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* --- zeroes and discards --- */

/* Each kind of cluster, in parts: zeroes where asked for, and nowhere else. */
static void zeroes_over_each_kind(void)
{
    static const struct {
        const char *create, *open;
        bool data_file;
    } shapes[] = {
        { "size=1M", "driver=qcow2", false },
        { "size=1M,compat=0.10", "driver=qcow2", false },
        { "size=1M,extended_l2=on", "driver=qcow2", false },
        { "size=1M,data_file=sim:data", "driver=qcow2,discard=unmap", true },
        { "size=1M,data_file=sim:data", "driver=qcow2,pass-discard-request=off", true },
    };
    g_autofree uint8_t *buf = g_malloc(CLUSTER);

    memset(buf, 5, CLUSTER);
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        World w = new_image(shapes[i].create);
        BlockBackend *blk = shapes[i].data_file
                                ? reopen_with_data_file(&w, shapes[i].open)
                                : sim_disk_open(w.disk, shapes[i].open, FLAGS, &error_abort);

        fill(blk, 0, 2 * CLUSTER, 5);
        if (!shapes[i].data_file) {
            g_assert_cmpint(blk_pwrite(blk, 2 * CLUSTER, CLUSTER, buf, BDRV_REQ_WRITE_COMPRESSED),
                            ==, 0);
        } else {
            fill(blk, 2 * CLUSTER, CLUSTER, 5);
        }
        for (int at = 0; at < 4 * CLUSTER; at += CLUSTER) {
            g_assert_cmpint(blk_pwrite_zeroes(blk, at + 512, 1024, BDRV_REQ_MAY_UNMAP), ==, 0);
            g_assert_cmpint(blk_pwrite_zeroes(blk, at + 8192, 1024, 0), ==, 0);
        }
        for (int at = 0; at < 3 * CLUSTER; at += CLUSTER) {
            expect(blk, at, 512, 5);
            expect(blk, at + 512, 1024, 0);
            expect(blk, at + 1536, 512, 5);
            expect(blk, at + 8192, 1024, 0);
            expect(blk, at + 9216, CLUSTER - 9216, 5);
        }
        expect(blk, 3 * CLUSTER, CLUSTER, 0);
        g_assert_cmpint(blk_pwrite_zeroes(blk, CLUSTER, 2 * CLUSTER, BDRV_REQ_MAY_UNMAP), ==, 0);
        expect(blk, CLUSTER, 2 * CLUSTER, 0);
        g_assert_cmpint(blk_pdiscard(blk, 0, 4 * CLUSTER), ==, 0);
        is_sound(blk);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* --- writes --- */

/* As many pieces as a system call takes, and the rest of the cluster besides. */
static void many_pieces_into_a_new_cluster(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    g_autofree uint8_t *buf = g_malloc(IOV_MAX * 4);
    QEMUIOVector qiov;

    memset(buf, 8, IOV_MAX * 4);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    qemu_iovec_init(&qiov, IOV_MAX);
    for (int i = 0; i < IOV_MAX; i++) {
        qemu_iovec_add(&qiov, buf + i * 4, 4);
    }
    g_assert_cmpint(blk_pwritev(blk, CLUSTER + 512, qiov.size, &qiov, 0), ==, 0);
    g_assert_cmpint(blk_pwritev(blk, 512, qiov.size, &qiov, 0), ==, 0);
    for (int at = 0; at < 2 * CLUSTER; at += CLUSTER) {
        expect(blk, at, 512, 0);
        expect(blk, at + 512, IOV_MAX * 4, 8);
        expect(blk, at + 512 + IOV_MAX * 4, CLUSTER - 512 - IOV_MAX * 4, 0);
    }
    is_sound(blk);
    qemu_iovec_destroy(&qiov);
    blk_unref(blk);
    sim_power_unref(w.power);
}

static void backing_files_of_images_with_a_data_file(void)
{
    World w = new_image("size=1M,data_file=sim:data");
    BlockBackend *blk = reopen_with_data_file(&w, "driver=qcow2");

    fill(blk, 0, MIB, 1);
    g_assert_cmpint(bdrv_change_backing_file(blk_bs(blk), "b", "raw", false), ==, 0);
    g_assert_cmpint(bdrv_change_backing_file(blk_bs(blk), NULL, NULL, false), ==, 0);
    expect(blk, 0, MIB, 1);
    blk_unref(blk);
    blk = reopen_with_data_file(&w, "driver=qcow2");
    expect(blk, 0, MIB, 1);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* The last cluster may be cut short by the end of the disk, no other. */
static void compressed_writes_are_whole_clusters(void)
{
    World w = new_image("size=163840");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    g_autofree uint8_t *buf = g_malloc0(CLUSTER);

    memset(buf, 5, CLUSTER);
    g_assert_cmpint(blk_pwrite(blk, 512, CLUSTER, buf, BDRV_REQ_WRITE_COMPRESSED), ==, -EINVAL);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, BDRV_REQ_WRITE_COMPRESSED), ==, -EINVAL);
    expect(blk, 0, 163840, 0);
    g_assert_cmpint(blk_pwrite(blk, 2 * CLUSTER, CLUSTER / 2, buf, BDRV_REQ_WRITE_COMPRESSED), ==,
                    0);
    expect(blk, 0, 2 * CLUSTER, 0);
    expect(blk, 2 * CLUSTER, CLUSTER / 2, 5);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort);
    expect(blk, 2 * CLUSTER, CLUSTER / 2, 5);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Larger clusters than are compressed in one go otherwise. */
static void compressed_writes_of_large_clusters(void)
{
    World w = new_image("size=4M,cluster_size=2M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    g_autofree uint8_t *buf = g_malloc(4 * MIB);

    memset(buf, 5, 4 * MIB);
    g_assert_cmpint(blk_pwrite(blk, 0, 4 * MIB, buf, BDRV_REQ_WRITE_COMPRESSED), ==, 0);
    expect(blk, 0, 4 * MIB, 5);
    is_sound(blk);
    blk_unref(blk);
    g_assert_cmpint(sim_disk_length(w.disk), <, 12 * MIB);
    sim_power_unref(w.power);
}

/*
 * A request is cut into more parts than are compressed at once, and the first fails: those that are never
 * begun do not keep the next request waiting for its turn.
 */
static void compressed_write_that_fails_early(void)
{
    World w = new_image("size=32M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    g_autofree uint8_t *buf = g_malloc(16 * MIB);

    memset(buf, 5, 16 * MIB);
    g_assert_true(sim_power_script_faults(w.power, w.disk, "write#1=EIO", &error_abort));
    g_assert_cmpint(blk_pwrite(blk, 0, 16 * MIB, buf, BDRV_REQ_WRITE_COMPRESSED), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 16 * MIB, 16 * MIB, buf, BDRV_REQ_WRITE_COMPRESSED), ==, 0);
    expect(blk, 16 * MIB, 16 * MIB, 5);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/*
 * Streams of nearly a cluster, one behind the other: some begin where a refcount block's range
 * ends and go on where the next block has to be made, which takes that cluster.
 */
static void streams_across_refcount_blocks(void)
{
    World w = new_image("size=1M,cluster_size=512,refcount_bits=64");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    g_autofree uint8_t *data = g_malloc(MIB), *back = g_malloc(MIB);

    for (int i = 0; i < MIB; i++) {
        data[i] = g_test_rand_int_range(0, 64);
    }
    g_assert_cmpint(blk_pwrite(blk, 0, MIB, data, BDRV_REQ_WRITE_COMPRESSED), ==, 0);
    g_assert_cmpint(blk_pread(blk, 0, MIB, back, 0), ==, 0);
    g_assert_cmpmem(data, MIB, back, MIB);
    is_sound(blk);
    blk_unref(blk);
    g_assert_cmpint(sim_disk_length(w.disk), <, MIB);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_cmpint(blk_pread(blk, 0, MIB, back, 0), ==, 0);
    g_assert_cmpmem(data, MIB, back, MIB);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* What one request sets free in thousands of pieces is given back before it ends. */
static void pieces_freed_by_one_request(void)
{
    g_autofree uint8_t *buf = g_malloc(8 * MIB);

    for (int discard = 0; discard < 2; discard++) {
        World w = new_image("size=8M,cluster_size=512");
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
        int64_t length;
        uint64_t root;

        memset(buf, 1, 8 * MIB);
        g_assert_cmpint(blk_pwrite(blk, 0, 8 * MIB, buf, BDRV_REQ_WRITE_COMPRESSED), ==, 0);
        g_assert_cmpint(blk_flush(blk), ==, 0);
        length = sim_disk_length(w.disk);
        root = peek64(&w, AT(l1_table_offset));
        if (discard) {
            g_assert_cmpint(blk_pdiscard(blk, 0, 8 * MIB), ==, 0);
            /* The first entry of the first table; nobody has flushed. */
            g_assert_cmphex(peek64(&w, peek64(&w, root) & QCOW2_L1_OFFSET_MASK), ==,
                            QCOW2_OFLAG_ZERO);
            g_assert_cmpint(sim_disk_length(w.disk), <=, length);
        } else {
            memset(buf, 2, 8 * MIB);
            g_assert_cmpint(blk_pwrite(blk, 0, 8 * MIB, buf, 0), ==, 0);
            g_assert_cmphex(peek64(&w, peek64(&w, root) & QCOW2_L1_OFFSET_MASK) &
                            QCOW2_OFLAG_COPIED, !=, 0);
        }
        expect(blk, 0, 8 * MIB, discard ? 0 : 2);
        blk_unref(blk);
        blk = reopen(&w, 0, &error_abort);
        expect(blk, 0, 8 * MIB, discard ? 0 : 2);
        is_sound(blk);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* A long file is made longer in large steps, and ends with its last cluster when it is closed. */
static void end_of_a_long_file(void)
{
    World w = new_image("size=512M,cluster_size=2M,preallocation=metadata");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    int64_t length = sim_disk_length(w.disk);

    g_assert_cmpint(blk_truncate(blk, INT64_C(1) << 30, true, PREALLOC_MODE_OFF, 0, &error_abort),
                    ==, 0);
    fill(blk, INT64_C(600) << 20, 512, 1);
    g_assert_cmpint(sim_disk_length(w.disk), >=, length + (64 << 20));
    g_assert_cmpint(sim_disk_length(w.disk), <=, length + (70 << 20));
    blk_unref(blk);
    g_assert_cmpint(sim_disk_length(w.disk), <=, length + (6 << 20));
    blk = reopen(&w, 0, &error_abort);
    expect(blk, INT64_C(600) << 20, 512, 1);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* An image is made where files can be made. */
static void images_need_a_protocol_that_creates(void)
{
    static const struct {
        const char *name, *message;
    } names[] = { { "null-co://", "does not support image creation" },
                  { "nowhere:x", "Unknown protocol" } };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        BlockOptions *o = blk_options_new();
        Error *err = NULL;

        blk_options_set(o, "size", "1M");
        g_assert_cmpint(bdrv_create(&bdrv_qcow2, names[i].name, o, &err), <, 0);
        g_assert_nonnull(err);
        g_assert_nonnull(strstr(error_get_pretty(err), names[i].message));
        error_free(err);
    }
}

/* Closing the image would store it, and version 2 has no place for it. */
static void no_downgrade_with_a_bitmap_in_memory(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    BlockOptions *opts = blk_options_new();
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 65536, "b", &error_abort);
    Error *err = NULL;

    bdrv_dirty_bitmap_set_persistence(bitmap, true);
    blk_options_parse(opts, "compat=0.10", NULL, &error_abort);
    g_assert_cmpint(bdrv_amend_options(blk_bs(blk), opts, NULL, NULL, false, &err), ==, -ENOTSUP);
    g_assert_cmpstr(error_get_pretty(err), ==, "Cannot downgrade an image with bitmaps");
    error_free(err);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort);
    g_assert_nonnull(bdrv_find_dirty_bitmap(blk_bs(blk), "b"));
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* Tables of tables: L2 tables of a huge disk that were made from its end to its beginning. */
static void snapshot_of_a_huge_disk(void)
{
    World w = new_image("size=40T,cluster_size=2M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    QEMUSnapshotInfo sn = { .name = "s" };

    fill(blk, INT64_C(39) << 40, 512, 1);
    fill(blk, INT64_C(20) << 40, 512, 2);
    fill(blk, 0, 512, 3);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, 0);
    fill(blk, 0, 512, 4);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "s", &error_abort), ==, 0);
    expect(blk, INT64_C(39) << 40, 512, 1);
    expect(blk, 0, 512, 3);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

int main(int argc, char **argv)
{
    static const WorldTest tests[] = {
        { "shrinking-does-not-preallocate", shrinking_does_not_preallocate },
        { "data-file-longer-than-the-disk", data_file_longer_than_the_disk },
        { "shrinking-beside-a-write", shrinking_beside_a_write },
        { "preallocation-over-what-is-there", preallocation_over_what_is_there },
        { "machine-state-beyond-all-bounds", machine_state_beyond_all_bounds },
        { "machine-state-in-a-data-file", machine_state_in_a_data_file },
        { "caches-larger-than-anything", caches_larger_than_anything },
        { "images-marked-corrupt", images_marked_corrupt },
        { "encrypted-images", encrypted_images },
        { "probing", probing },
        { "zeroes-at-first", zeroes_at_first },
        { "snapshot-tables-that-lie-nowhere", snapshot_tables_that_lie_nowhere },
        { "snapshots-of-version-2", snapshots_of_version_2 },
        { "no-snapshots-of-data-files", no_snapshots_of_data_files },
        { "snapshots-of-an-empty-disk", snapshots_of_an_empty_disk },
        { "snapshots-with-all-overlap-checks", snapshots_with_all_overlap_checks },
        { "places-for-errors", places_for_errors },
        { "measuring-sources", measuring_sources },
        { "zeroes-over-each-kind", zeroes_over_each_kind },
        { "many-pieces-into-a-new-cluster", many_pieces_into_a_new_cluster },
        { "backing-files-of-images-with-a-data-file", backing_files_of_images_with_a_data_file },
        { "compressed-writes-are-whole-clusters", compressed_writes_are_whole_clusters },
        { "compressed-writes-of-large-clusters", compressed_writes_of_large_clusters },
        { "streams-across-refcount-blocks", streams_across_refcount_blocks },
        { "compressed-write-that-fails-early", compressed_write_that_fails_early },
        { "pieces-freed-by-one-request", pieces_freed_by_one_request },
        { "end-of-a-long-file", end_of_a_long_file },
        { "images-need-a-protocol-that-creates", images_need_a_protocol_that_creates },
        { "no-downgrade-with-a-bitmap-in-memory", no_downgrade_with_a_bitmap_in_memory },
        { "snapshot-of-a-huge-disk", snapshot_of_a_huge_disk },
    };

    return run_world_tests(argc, argv, "edges", tests, G_N_ELEMENTS(tests));
}
