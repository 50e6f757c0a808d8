/* SPDX-License-Identifier: MIT */
/*
 * qcow2 checks and repairs, measured against the system's qemu-img: the same counts for the same
 * damage, and what has been repaired here is clean there and reads as before.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <jansson.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/qcow2.h"
#include "../../block/qcow2/qcow2-format.h"
#include "qemu/main-loop.h"

static bool have_qemu;
static char *dir, *path;

static int run_out(char **out, const char *line)
{
    g_autofree char *err = NULL, *text = NULL;
    g_autoptr(GError) error = NULL;
    int status = -1;

    g_spawn_command_line_sync(line, &text, &err, &status, &error);
    g_assert_no_error(error);
    if (out) {
        *out = g_steal_pointer(&text);
    }
    return g_spawn_check_wait_status(status, NULL) ? 0 : status;
}

static void must(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static void must(const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list ap;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_test_message("%s", line);
    if (run_out(NULL, line)) {
        g_error("failed: %s", line);
    }
}

static BdrvCheckResult check(BdrvCheckMode fix)
{
    BlockOptions *o = blk_options_new();
    BdrvCheckResult r;
    BlockBackend *blk;

    blk_options_set(o, "driver", "qcow2");
    blk = blk_new_open(path, NULL, o, BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0), &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, fix), ==, 0);
    blk_unref(blk);
    return r;
}

static uint64_t member(json_t *report, const char *name)
{
    return json_integer_value(json_object_get(report, name));
}

/* Both say the same of the image at path. */
static BdrvCheckResult same_report(void)
{
    g_autofree char *line = g_strdup_printf("qemu-img check -f qcow2 --output=json %s", path);
    g_autofree char *out = NULL;
    BdrvCheckResult r = check(0);
    json_t *report;

    run_out(&out, line);
    report = json_loads(out, 0, NULL);
    g_assert_nonnull(report);
    g_assert_cmpuint(r.corruptions, ==, member(report, "corruptions"));
    g_assert_cmpuint(r.leaks, ==, member(report, "leaks"));
    g_assert_cmpuint(r.check_errors, ==, member(report, "check-errors"));
    g_assert_cmpuint(r.bfi.total_clusters, ==, member(report, "total-clusters"));
    g_assert_cmpuint(r.bfi.allocated_clusters, ==, member(report, "allocated-clusters"));
    g_assert_cmpuint(r.bfi.fragmented_clusters, ==, member(report, "fragmented-clusters"));
    g_assert_cmpuint(r.bfi.compressed_clusters, ==, member(report, "compressed-clusters"));
    g_assert_cmpint(r.image_end_offset, ==, member(report, "image-end-offset"));
    json_decref(report);
    return r;
}

static void make(const char *options)
{
    g_unlink(path);
    must("qemu-img create -q -f qcow2 -o %s %s 8M", options, path);
    must("qemu-io -f qcow2 -c 'write -P 1 0 300k' -c 'write -P 2 1M 64k' -c 'write -P 3 5M 1M'"
         " -c 'write -z 1M 32k' -c 'discard 5M 128k' %s", path);
    must("qemu-io -f qcow2 -c 'write -c -P 4 2M 64k' -c 'write -c -P 4 3M 64k' %s", path);
}

static void poke(uint64_t offset, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "r+");

    g_assert_nonnull(f);
    g_assert_cmpint(fseek(f, offset, SEEK_SET), ==, 0);
    g_assert_cmpuint(fwrite(data, 1, bytes, f), ==, bytes);
    fclose(f);
}

static uint64_t peek64(uint64_t offset)
{
    FILE *f = fopen(path, "r");
    uint64_t value = 0;

    g_assert_cmpint(fseek(f, offset, SEEK_SET), ==, 0);
    g_assert_cmpuint(fread(&value, 8, 1, f), ==, 1);
    fclose(f);
    return GUINT64_FROM_BE(value);
}

static const char *const options[] = {
    "compat=1.1", "compat=0.10", "cluster_size=512", "cluster_size=4k,refcount_bits=64",
    "extended_l2=on", "cluster_size=8k,refcount_bits=8",
};

static void sound_images(void)
{
    for (size_t i = 0; have_qemu && i < G_N_ELEMENTS(options); i++) {
        make(options[i]);
        BdrvCheckResult r = same_report();
        g_assert_cmpuint(r.leaks + r.corruptions, ==, 0);
    }
}

static void snapshots_are_counted(void)
{
    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    make("cluster_size=4k");
    must("qemu-img snapshot -c one %s", path);
    must("qemu-io -f qcow2 -c 'write -P 9 64k 100k' %s", path);
    must("qemu-img snapshot -c two %s", path);
    must("qemu-img bitmap --add -f qcow2 %s b0", path);
    BdrvCheckResult r = same_report();
    g_assert_cmpuint(r.leaks + r.corruptions, ==, 0);
}

static void facts_are_told(void)
{
    BlockOptions *o = blk_options_new();
    BlockQcow2Info info;
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        blk_options_free(o);
        return;
    }
    make("cluster_size=16k,refcount_bits=8,lazy_refcounts=on,extended_l2=on,compression_type=zstd");
    must("qemu-img snapshot -c one %s", path);
    must("qemu-img bitmap --add -f qcow2 %s b0", path);
    blk_options_set(o, "driver", "qcow2");
    blk = blk_new_open(path, NULL, o, 0, &error_abort);
    g_assert_true(bdrv_qcow2_get_info(blk_bs(blk), &info));
    g_assert_cmpuint(info.version, ==, 3);
    g_assert_cmpuint(info.cluster_size, ==, 16384);
    g_assert_cmpuint(info.refcount_bits, ==, 8);
    g_assert_cmpstr(info.compression_type, ==, "zstd");
    g_assert_true(info.lazy_refcounts && info.extended_l2);
    g_assert_false(info.dirty || info.corrupt || info.external_data);
    g_assert_cmpuint(info.nb_snapshots, ==, 1);
    g_assert_cmpuint(info.nb_bitmaps, ==, 1);
    blk_unref(blk);
}

/* Refcounts of 16 bits, in the first block. */
static void set_refcount(uint64_t cluster, uint16_t value)
{
    uint64_t table = peek64(offsetof(Qcow2DiskHeader, refcount_table_offset));

    value = GUINT16_TO_BE(value);
    poke(peek64(table) + cluster * 2, &value, 2);
}

static void leaks_are_repaired(void)
{
    BdrvCheckResult r;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    make("cluster_size=64k");
    set_refcount(8, 7);
    set_refcount(9, 2);
    set_refcount(10, 65535);
    r = same_report();
    g_assert_cmpuint(r.leaks, ==, 3);
    r = check(BDRV_FIX_LEAKS);
    g_assert_cmpuint(r.leaks_fixed, ==, 3);
    must("qemu-img check -q -f qcow2 %s", path);
}

static void lost_refcounts_are_repaired(void)
{
    BdrvCheckResult r;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    make("cluster_size=64k");
    for (int i = 3; i < 12; i++) {
        set_refcount(i, 0);
    }
    r = same_report();
    g_assert_cmpuint(r.corruptions, >, 0);
    r = check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
    g_assert_cmpuint(r.corruptions, ==, 0);
    must("qemu-img check -q -f qcow2 %s", path);
    must("qemu-io -f qcow2 -c 'read -P 1 0 300k' -c 'read -P 4 3M 64k' %s", path);
}

/* The only block is gone: a new one has to be found a place. */
static void lost_refcount_block_is_replaced(void)
{
    uint64_t zero = 0;
    BdrvCheckResult r;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    make("cluster_size=64k");
    poke(peek64(offsetof(Qcow2DiskHeader, refcount_table_offset)), &zero, 8);
    r = check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
    g_assert_cmpuint(r.corruptions, ==, 0);
    must("qemu-img check -q -f qcow2 %s", path);
    must("qemu-io -f qcow2 -c 'read -P 1 0 300k' -c 'read -P 4 3M 64k' %s", path);
}

static void copied_flags_are_repaired(void)
{
    uint64_t l1, l2, entry;
    BdrvCheckResult r;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        return;
    }
    make("cluster_size=64k");
    l1 = peek64(offsetof(Qcow2DiskHeader, l1_table_offset));
    l2 = peek64(l1) & QCOW2_L1_OFFSET_MASK;
    entry = GUINT64_TO_BE(peek64(l2) & ~QCOW2_OFLAG_COPIED);
    poke(l2, &entry, 8);
    r = same_report();
    g_assert_cmpuint(r.corruptions, ==, 1);
    r = check(BDRV_FIX_ERRORS);
    g_assert_cmpuint(r.corruptions_fixed, ==, 1);
    must("qemu-img check -q -f qcow2 %s", path);
}

/* What is still in RAM is neither damage nor repaired away, nor is the mark of postponed refcounts. */
static void image_in_use_is_checked(void)
{
    BlockOptions *o = blk_options_new(), *open = blk_options_new();
    uint8_t buf[65536];
    BdrvCheckResult r;
    BlockBackend *blk;

    g_unlink(path);
    blk_options_parse(o, "size=8M,lazy_refcounts=on", NULL, &error_abort);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    blk_options_set(open, "driver", "qcow2");
    blk = blk_new_open(path, NULL, open, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    for (int fix = 0; fix <= (BDRV_FIX_LEAKS | BDRV_FIX_ERRORS); fix++) {
        memset(buf, fix + 1, sizeof(buf));
        for (int i = 0; i < 2; i++) {
            g_assert_cmpint(blk_pwrite(blk, (2 * fix + i) * sizeof(buf), sizeof(buf), buf, 0), ==,
                            0);
        }
        g_assert_cmpint(blk_pdiscard(blk, 2 * fix * sizeof(buf), sizeof(buf)), ==, 0);
        g_assert_cmpuint(peek64(offsetof(Qcow2DiskHeader, incompatible_features)), ==,
                         QCOW2_INCOMPAT_DIRTY);
        g_assert_cmpint(bdrv_check(blk_bs(blk), &r, fix), ==, 0);
        g_assert_cmpint(r.corruptions + r.corruptions_fixed, ==, 0);
        g_assert_cmpint(r.leaks + r.leaks_fixed, ==, 0);
    }
    for (int fix = 0; fix <= (BDRV_FIX_LEAKS | BDRV_FIX_ERRORS); fix++) {
        g_assert_cmpint(blk_pread(blk, (2 * fix + 1) * sizeof(buf), sizeof(buf), buf, 0), ==, 0);
        g_assert_cmpint(buf[17], ==, fix + 1);
    }
    blk_unref(blk);
    r = check(0);
    g_assert_cmpint(r.corruptions + r.leaks, ==, 0);
}

/* A writer with postponed refcounts dies; opening the image for writing repairs it. */
static void dirty_image_is_repaired_at_open(void)
{
    g_autofree char *line = NULL;
    BlockOptions *o = blk_options_new();
    BlockBackend *blk;
    uint8_t buf[4096];

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        blk_options_free(o);
        return;
    }
    g_unlink(path);
    must("qemu-img create -q -f qcow2 -o lazy_refcounts=on %s 8M", path);
    line = g_strdup_printf("qemu-io -f qcow2 -c 'write -P 5 0 200k' -c flush -c abort %s", path);
    run_out(NULL, line);
    g_assert_cmpuint(peek64(offsetof(Qcow2DiskHeader, incompatible_features)), ==,
                     QCOW2_INCOMPAT_DIRTY);
    blk_options_set(o, "driver", "qcow2");
    blk = blk_new_open(path, NULL, o, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_pread(blk, 100 * 1024, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(buf[17], ==, 5);
    g_assert_cmpint(blk_pwrite(blk, 1024 * 1024, sizeof(buf), buf, 0), ==, 0);
    blk_unref(blk);
    g_assert_cmpuint(peek64(offsetof(Qcow2DiskHeader, incompatible_features)), ==, 0);
    must("qemu-img check -q -f qcow2 %s", path);
    must("qemu-io -f qcow2 -c 'read -P 5 0 200k' -c 'read -P 5 1M 4k' %s", path);
}

/* Snapshots keep their contents, and bitmaps are kept up to date when the disk is written to. */
static void writes_preserve_snapshots_and_bitmaps(void)
{
    BlockOptions *o = blk_options_new();
    g_autofree uint8_t *buf = g_malloc(256 * 1024);
    g_autofree char *line = g_strdup_printf("qemu-img info -f qcow2 %s", path);
    g_autofree char *out = NULL;
    BlockBackend *blk;

    if (!have_qemu) {
        g_test_skip("no qemu-img");
        blk_options_free(o);
        return;
    }
    make("cluster_size=8k");
    must("qemu-img snapshot -c one %s", path);
    must("qemu-img bitmap --add -f qcow2 %s enabled", path);
    must("qemu-img bitmap --add --disable -f qcow2 %s disabled", path);
    blk_options_set(o, "driver", "qcow2");
    blk = blk_new_open(path, NULL, o, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    memset(buf, 0x77, 256 * 1024);
    g_assert_cmpint(blk_pwrite(blk, 100, 200 * 1024, buf, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 5 * 1024 * 1024 + 256 * 1024, 256 * 1024), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 2 * 1024 * 1024, 65536, BDRV_REQ_MAY_UNMAP), ==, 0);
    blk_unref(blk);
    must("qemu-img check -q -f qcow2 %s", path);
    run_out(&out, line);
    g_assert_null(strstr(out, "in-use"));
    g_assert_nonnull(strstr(out, "auto"));
    must("qemu-io -f qcow2 -r -c 'read -P 0x77 100 200k' %s", path);
    must("qemu-img bitmap --remove -f qcow2 %s enabled", path);
    must("qemu-img bitmap --remove -f qcow2 %s disabled", path);
    must("qemu-img snapshot -a one %s", path);
    must("qemu-img check -q -f qcow2 %s", path);
    must("qemu-io -f qcow2 -r -c 'read -P 1 0 300k' -c 'read -P 3 5373952 896k'"
         " -c 'read -P 4 2M 64k' %s", path);
}

int main(int argc, char **argv)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-io");
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    have_qemu = qemu != NULL;
    dir = g_dir_make_tmp("test-qcow2-XXXXXX", NULL);
    path = g_build_filename(dir, "t.qcow2", NULL);
    g_test_add_func("/qcow2/info/facts-are-told", facts_are_told);
    g_test_add_func("/qcow2/check/sound-images", sound_images);
    g_test_add_func("/qcow2/check/snapshots-are-counted", snapshots_are_counted);
    g_test_add_func("/qcow2/check/leaks-are-repaired", leaks_are_repaired);
    g_test_add_func("/qcow2/check/lost-refcounts-are-repaired", lost_refcounts_are_repaired);
    g_test_add_func("/qcow2/check/lost-block-is-replaced", lost_refcount_block_is_replaced);
    g_test_add_func("/qcow2/check/copied-flags-are-repaired", copied_flags_are_repaired);
    g_test_add_func("/qcow2/check/image-in-use", image_in_use_is_checked);
    g_test_add_func("/qcow2/check/dirty-is-repaired-at-open", dirty_image_is_repaired_at_open);
    g_test_add_func("/qcow2/check/writes-preserve-snapshots-and-bitmaps",
                    writes_preserve_snapshots_and_bitmaps);
    ret = g_test_run();
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}
