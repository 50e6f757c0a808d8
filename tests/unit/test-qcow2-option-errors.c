/* SPDX-License-Identifier: MIT */
/*
 * Wrong options of qcow2 - for creating, opening, measuring and amending - are refused with a message
 * that says which, and leave things as they were; some right ones, which are accepted, stand
 * beside them.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"

typedef struct Case {
    const char *options;
    const char *message; /* part of it; NULL: they are accepted */
} Case;

static char *dir, *path;

/* The error must say what the case expects. */
static void expect(const Case *c, int ret, Error *err)
{
    g_test_message("%s: %s", c->options, err ? error_get_pretty(err) : "accepted");
    if (!c->message) {
        g_assert_no_error(err);
        g_assert_cmpint(ret, ==, 0);
        return;
    }
    g_assert_cmpint(ret, <, 0);
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), c->message)) {
        g_error("%s: '%s' does not say '%s'", c->options, error_get_pretty(err), c->message);
    }
    error_free(err);
}

static int create(const char *name, const char *options, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, options, NULL, &error_abort);
    return bdrv_create(bdrv_find_format("qcow2"), name, o, errp);
}

static const Case creations[] = {
    { "size=some", "size" },
    { "size=7E", "too large for file format" },
    { "size=1G", NULL },
    { "size=9223372036854775807", "larger than" },
    { "size=1M,cluster_size=big", "cluster_size" },
    { "size=1M,cluster_size=256", "power of two between 512" },
    { "size=1M,cluster_size=1000", "power of two between 512" },
    { "size=1M,cluster_size=4M", "power of two between 512" },
    { "size=1M,refcount_bits=few", "refcount_bits" },
    { "size=1M,refcount_bits=3", "Refcount width" },
    { "size=1M,refcount_bits=128", "Refcount width" },
    { "size=1M,compat=4", "'version' does not accept value '4'" },
    { "size=1M,compat=v2", NULL },
    { "size=1M,preallocation=most", "'preallocation' does not accept value 'most'" },
    { "size=1M,compression_type=lz4", "'compression-type' does not accept value 'lz4'" },
    { "size=1M,lazy_refcounts=perhaps", "lazy_refcounts" },
    { "size=1M,extended_l2=perhaps", "extended_l2" },
    { "size=1M,data_file_raw=perhaps", "data_file_raw" },
    { "size=1M,encryption=perhaps", "does not accept value 'perhaps'" },
    { "size=1M,encryption=on", "'encrypt.key-secret' is required" },
    { "size=1M,encrypt.format=rot13", "'format' does not accept value 'rot13'" },
    { "size=1M,encrypt.format=luks,encrypt.key-secret=s", "not supported" },
    { "size=1M,encrypt.format=aes", "'encrypt.key-secret' is required" },
    { "size=1M,extended_l2=on,cluster_size=4k", "at least 16384 bytes" },
    { "size=1M,backing_file=b,backing_fmt=raw,preallocation=metadata", "extended_l2 is on" },
    { "size=1M,data_file=", "data file is empty" },
    { "size=1M,data_file_raw=on", "data-file-raw requires data-file" },
    { "size=1M,data_file=d,data_file_raw=on,backing_file=b,backing_fmt=raw",
      "cannot be used at the same time" },
    { "size=1M,backing_fmt=raw", "without backing file" },
    { "size=1M,backing_file=b", "without backing format" },
    { "size=1M,backing_file=b,backing_fmt=none", "'backing-fmt' does not accept value 'none'" },
    { "backing_file=/no/such/file,backing_fmt=raw", "/no/such/file" },
    { "backing_file=json:{},backing_fmt=raw", "block device must be specified" },
    { "backing_file=nbd://host/x,backing_fmt=raw", "Unknown protocol" },
    { "cluster_size=64k", "needs a size parameter" },
    { "size=1M,compat=0.10,extended_l2=on", "Extended L2 entries are only supported" },
    { "size=1M,compat=0.10,lazy_refcounts=on", "Lazy refcounts only supported" },
    { "size=1M,compat=0.10,refcount_bits=8", "Different refcount widths" },
    { "size=1M,compat=0.10,data_file=d", "External data files are only supported" },
    { "size=1M,compat=0.10,compression_type=zstd", "Non-zlib compression type" },
};

static void creation(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(creations); i++) {
        Error *err = NULL;
        int ret = create(path, creations[i].options, &err);

        expect(&creations[i], ret, err);
        g_assert_cmpint(g_file_test(path, G_FILE_TEST_EXISTS), ==, !creations[i].message);
        g_unlink(path);
    }
}

static void creation_of_what_cannot_be(void)
{
    static const struct {
        const char *name, *message;
    } places[] = {
        { "null-co://", "does not support image creation" },
        { "nosuch:name", "nosuch" },
        { "/no/such/directory/x", "No such file" },
    };
    g_autofree char *self = g_strdup_printf("size=1M,data_file=%s", path);
    g_autofree char *long_name = g_strnfill(1100, 'x');
    g_autofree char *backing = g_strdup_printf("size=1M,backing_fmt=raw,backing_file=%s", long_name);
    Case own = { self, "is the image itself" }, too_long = { backing, "file name too long" };
    Error *err = NULL;
    int ret;

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        Case c = { "size=1M", places[i].message };

        ret = create(places[i].name, c.options, &err);
        expect(&c, ret, g_steal_pointer(&err));
    }
    ret = create(path, own.options, &err);
    expect(&own, ret, g_steal_pointer(&err));
    ret = create(path, too_long.options, &err);
    expect(&too_long, ret, g_steal_pointer(&err));
}

static const Case openings[] = {
    { "overlap-check=some", "'some'" },
    { "overlap-check=all,overlap-check.template=none", "Conflicting values" },
    { "overlap-check=none,overlap-check.template=none", NULL },
    { "overlap-check.main-header=perhaps", "main-header" },
    { "overlap-check.main-header=off", NULL },
    { "cache-size=some", "cache-size" },
    { "l2-cache-size=some", "l2-cache-size" },
    { "refcount-cache-size=some", "refcount-cache-size" },
    { "cache-size=1M,l2-cache-size=512k,refcount-cache-size=512k", "same time" },
    { "cache-size=1M,l2-cache-size=2M", "l2-cache-size may not exceed" },
    { "cache-size=1M,refcount-cache-size=2M", "refcount-cache-size may not exceed" },
    { "cache-size=1M,l2-cache-size=512k", NULL },
    { "cache-size=1M,refcount-cache-size=512k", NULL },
    { "cache-size=1M", NULL },
    { "cache-size=4k", NULL },
    { "l2-cache-entry-size=some", "l2-cache-entry-size" },
    { "l2-cache-entry-size=1000", "must be a power of two" },
    { "l2-cache-entry-size=128k", "must be a power of two" },
    { "l2-cache-entry-size=256", "must be a power of two" },
    { "pass-discard-request=perhaps", "pass-discard-request" },
    { "pass-discard-snapshot=perhaps", "pass-discard-snapshot" },
    { "pass-discard-other=perhaps", "pass-discard-other" },
    { "cache-clean-interval=some", "cache-clean-interval" },
    { "cache-clean-interval=5000000000", "interval too big" },
    { "cache-clean-interval=0", NULL },
    { "lazy-refcounts=perhaps", "lazy-refcounts" },
    { "refcount-cache-size=1E", "too big" },
};

static BlockBackend *try_open(const char *options, int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    if (options) {
        blk_options_parse(o, options, NULL, &error_abort);
    }
    return blk_new_open(path, NULL, o, flags, errp);
}

static void opening(void)
{
    g_assert_cmpint(create(path, "size=1M", &error_abort), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(openings); i++) {
        Error *err = NULL;
        BlockBackend *blk = try_open(openings[i].options, BDRV_O_RDWR, &err);

        expect(&openings[i], blk ? 0 : -EINVAL, err);
        blk_unref(blk);
    }
    g_unlink(path);
}

static void lazy_refcounts_need_version_3(void)
{
    Case c = { "lazy-refcounts=on", "Lazy refcounts require" };
    Error *err = NULL;
    BlockBackend *blk;

    g_assert_cmpint(create(path, "size=1M,compat=0.10", &error_abort), ==, 0);
    blk = try_open(c.options, BDRV_O_RDWR, &err);
    expect(&c, blk ? 0 : -EINVAL, err);
    g_unlink(path);
}

static const Case measures[] = {
    { "size=1M,compat=v2", NULL },
    { "size=1M,compat=0.10", NULL },
    { "size=1M,compat=v3,preallocation=off", NULL },
    { "size=1M,compat=1.1,preallocation=metadata", NULL },
    { "size=1M,preallocation=falloc", NULL },
    { "size=1M,preallocation=full", NULL },
    { "size=1M,compat=3", "compatibility level: '3'" },
    { "size=1M,preallocation=most", "most" },
    { "size=1M,cluster_size=some", "cluster_size" },
    { "size=1M,cluster_size=256", "power of two between" },
    { "size=1M,cluster_size=3k", "power of two between" },
    { "size=1M,cluster_size=4M", "power of two between" },
    { "size=1M,extended_l2=perhaps", "extended_l2" },
    { "size=1M,extended_l2=on,cluster_size=8k", "at least 16384" },
    { "size=1M,refcount_bits=few", "refcount_bits" },
    { "size=1M,refcount_bits=5", "Refcount width" },
    { "size=1M,refcount_bits=128", "Refcount width" },
    { "size=1M,compat=v2,refcount_bits=8", "Different refcount widths" },
    { "size=some", "size" },
    { "size=9223372036854775807", "too large" },
    { "size=4E,cluster_size=512", "too large" },
};

static void measuring(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(measures); i++) {
        BlockOptions *o = blk_options_new();
        BlockMeasureInfo info = { 0 };
        Error *err = NULL;
        int ret;

        blk_options_parse(o, measures[i].options, NULL, &error_abort);
        ret = bdrv_measure(bdrv_find_format("qcow2"), o, NULL, &info, &err);
        expect(&measures[i], ret, err);
        if (ret == 0) {
            g_assert_cmpuint(info.fully_allocated, >, 1 << 20);
            g_assert_cmpint(info.required == info.fully_allocated, ==,
                            strstr(measures[i].options, "=f") != NULL);
            g_assert_false(info.has_bitmaps);
        }
    }
}

static int amend(BlockBackend *blk, const char *options, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, options, NULL, &error_abort);
    return bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, errp);
}

static void amend_all(const char *image, const Case *cases, size_t n,
                      void (*prepare)(BlockBackend *blk))
{
    g_autofree char *before = NULL, *after = NULL;
    BlockBackend *blk;
    gsize length, now;

    g_assert_cmpint(create(path, image, &error_abort), ==, 0);
    blk = try_open(NULL, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    if (prepare) {
        prepare(blk);
        g_assert_cmpint(blk_flush(blk), ==, 0);
    }
    g_assert_true(g_file_get_contents(path, &before, &length, NULL));
    for (size_t i = 0; i < n; i++) {
        Error *err = NULL;
        int ret = amend(blk, cases[i].options, &err);

        expect(&cases[i], ret, err);
        g_assert_nonnull(cases[i].message);
    }
    g_assert_true(g_file_get_contents(path, &after, &now, NULL));
    g_assert_cmpmem(before, length, after, now);
    blk_unref(blk);
    g_unlink(path);
}

static void amending_version_3(void)
{
    static const Case cases[] = {
        { "compat=4", "Unknown compatibility level 4" },
        { "refcount_bits=few", "refcount_bits" },
        { "refcount_bits=0", "Refcount width" },
        { "refcount_bits=3", "Refcount width" },
        { "refcount_bits=128", "Refcount width" },
        { "lazy_refcounts=perhaps", "lazy_refcounts" },
        { "data_file_raw=perhaps", "data_file_raw" },
        { "data_file_raw=on", "cannot be set on existing images" },
        { "size=some", "size" },
        { "data_file=x", "use an external data file" },
        { "backing_file=x", "Cannot amend the backing file" },
        { "backing_fmt=raw", "Cannot amend the backing file" },
        { "compat=0.10,refcount_bits=8", "Refcount widths other than 16" },
        { "compat=0.10,lazy_refcounts=on", "Lazy refcounts only supported" },
        { "encrypt.format=luks", "needs an encrypted image" },
    };

    amend_all("size=1M", cases, G_N_ELEMENTS(cases), NULL);
}

static void downgrade_of_wide_refcounts(void)
{
    static const Case c = { "compat=0.10", "requires refcount_bits=16" };

    amend_all("size=1M,refcount_bits=64", &c, 1, NULL);
}

static void downgrade_of_extended_entries(void)
{
    static const Case c = { "compat=0.10", "incompatible features 0x10" };

    amend_all("size=1M,extended_l2=on", &c, 1, NULL);
}

static void add_bitmap(BlockBackend *blk)
{
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(blk_bs(blk), 65536, "b", &error_abort);

    bdrv_dirty_bitmap_set_persistence(b, true);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(blk), &error_abort), ==, 0);
}

static void downgrade_of_bitmaps(void)
{
    static const Case c = { "compat=0.10", "image with bitmaps" };

    amend_all("size=1M", &c, 1, add_bitmap);
}

static void snapshot_and_grow(BlockBackend *blk)
{
    QEMUSnapshotInfo sn = { .name = "s" };

    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, 0);
    g_assert_cmpint(blk_truncate(blk, 2 << 20, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
}

static void downgrade_of_snapshots_of_another_size(void)
{
    static const Case cases[] = { { "compat=0.10", "snapshots prevent downgrade" },
                                  { "compat=0.10,size=3M", "snapshots prevent downgrade" } };

    amend_all("size=1M", cases, G_N_ELEMENTS(cases), snapshot_and_grow);
}

static void snapshot_of_much_state(BlockBackend *blk)
{
    QEMUSnapshotInfo sn = { .name = "s", .vm_state_size = UINT64_C(5) << 30 };

    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, 0);
}

static void downgrade_of_snapshots_of_much_state(void)
{
    static const Case c = { "compat=0.10", "snapshots prevent downgrade" };

    amend_all("size=1M", &c, 1, snapshot_of_much_state);
}

static void images_with_a_data_file(void)
{
    g_autofree char *data = g_strconcat(path, ".data", NULL);
    g_autofree char *image = g_strdup_printf("size=1M,data_file=%s,data_file_raw=on", data);
    g_autofree char *long_name = g_strnfill(1100, 'x');
    g_autofree char *renaming = g_strdup_printf("data_file=%s", long_name);
    Case cases[] = {
        { "compat=0.10", "image with a data file" },
        { renaming, "name of the data file is too long" },
    };
    QEMUSnapshotInfo sn = { .name = "s" };
    BlockBackend *blk;
    uint8_t buf[65536] = { 1 };

    amend_all(image, cases, G_N_ELEMENTS(cases), NULL);
    g_assert_cmpint(create(path, image, &error_abort), ==, 0);
    blk = try_open(NULL, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, -ENOTSUP);
    g_assert_cmpint(bdrv_change_backing_file(blk_bs(blk), "b", "raw", false), ==, -EINVAL);
    g_assert_cmpint(blk_pwrite(blk, 0, sizeof(buf), buf, BDRV_REQ_WRITE_COMPRESSED), ==, -ENOTSUP);
    g_assert_cmpint(amend(blk, "data_file_raw=off", &error_abort), ==, 0);
    g_assert_cmpint(amend(blk, "data_file=", &error_abort), ==, 0);
    blk_unref(blk);
    g_assert_null(try_open(NULL, 0, NULL)); /* nothing says where it is */
    g_unlink(path);
    g_unlink(data);
}

static void images_open_for_reading_are_not_amended(void)
{
    static const Case c = { "lazy_refcounts=on", "cannot be changed" };
    Error *err = NULL;
    BlockBackend *blk;
    int ret;

    g_assert_cmpint(create(path, "size=1M", &error_abort), ==, 0);
    blk = try_open(NULL, 0, &error_abort);
    ret = amend(blk, c.options, &err);
    expect(&c, ret, err);
    blk_unref(blk);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_dir_make_tmp("test-qcow2-XXXXXX", NULL);
    path = g_build_filename(dir, "t.qcow2", NULL);
    g_test_add_func("/qcow2/options/creation", creation);
    g_test_add_func("/qcow2/options/creation-of-what-cannot-be", creation_of_what_cannot_be);
    g_test_add_func("/qcow2/options/opening", opening);
    g_test_add_func("/qcow2/options/lazy-refcounts-need-version-3", lazy_refcounts_need_version_3);
    g_test_add_func("/qcow2/options/measuring", measuring);
    g_test_add_func("/qcow2/options/amending", amending_version_3);
    g_test_add_func("/qcow2/options/downgrade/wide-refcounts", downgrade_of_wide_refcounts);
    g_test_add_func("/qcow2/options/downgrade/extended-entries", downgrade_of_extended_entries);
    g_test_add_func("/qcow2/options/downgrade/bitmaps", downgrade_of_bitmaps);
    g_test_add_func("/qcow2/options/downgrade/snapshots-of-another-size",
                    downgrade_of_snapshots_of_another_size);
    g_test_add_func("/qcow2/options/downgrade/snapshots-of-much-state",
                    downgrade_of_snapshots_of_much_state);
    g_test_add_func("/qcow2/options/data-file", images_with_a_data_file);
    g_test_add_func("/qcow2/options/open-for-reading-is-not-amended",
                    images_open_for_reading_are_not_amended);
    ret = g_test_run();
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}
