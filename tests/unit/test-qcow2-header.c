/* SPDX-License-Identifier: MIT */
/*
 * Hostile qcow2 headers and tables: each row of the table damages one field of a good image, and
 * opening must fail cleanly with a message that names the field (or, where the damage
 * concerns only writing, must fail for writing alone). Then random damage everywhere.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "../../block/qcow2/qcow2-format.h"
#include "../../block/qcow2/qcow2-header.h"
#include "qemu/main-loop.h"

#define CLUSTER   4096U
#define DISK      (64U * 1024)
#define AT(field) offsetof(Qcow2DiskHeader, field)

static char *dir, *path;

/* A small image, by hand: header, refcount table, one block, L1, L2, one data cluster. */
static GByteArray *good_image(uint32_t version)
{
    GByteArray *a = g_byte_array_new();
    uint8_t *p;

    g_byte_array_set_size(a, CLUSTER * 6);
    p = a->data;
    memset(p, 0, a->len);
    qcow2_put_be32(p + AT(magic), QCOW2_MAGIC);
    qcow2_put_be32(p + AT(version), version);
    qcow2_put_be32(p + AT(cluster_bits), 12);
    qcow2_put_be64(p + AT(size), DISK);
    qcow2_put_be32(p + AT(l1_size), 1);
    qcow2_put_be64(p + AT(l1_table_offset), CLUSTER * 3);
    qcow2_put_be64(p + AT(refcount_table_offset), CLUSTER);
    qcow2_put_be32(p + AT(refcount_table_clusters), 1);
    if (version == 3) {
        qcow2_put_be32(p + AT(refcount_order), 4);
        qcow2_put_be32(p + AT(header_length), 112);
    }
    qcow2_put_be64(p + CLUSTER, CLUSTER * 2);
    for (int i = 0; i < 6; i++) {
        p[CLUSTER * 2 + i * 2 + 1] = 1;
    }
    qcow2_put_be64(p + CLUSTER * 3, CLUSTER * 4 | QCOW2_OFLAG_COPIED);
    qcow2_put_be64(p + CLUSTER * 4, CLUSTER * 5 | QCOW2_OFLAG_COPIED);
    memset(p + CLUSTER * 5, 0x5a, CLUSTER);
    return a;
}

/* The file as it is by now. Nothing here is about power cuts: no flushes. */
static BlockBackend *open_again(int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    return blk_new_open(path, NULL, o, flags | BDRV_O_NO_FLUSH, errp);
}

static BlockBackend *try_open(const GByteArray *image, int flags, Error **errp)
{
    g_unlink(path);
    g_assert_true(g_file_set_contents_full(path, (const char *)image->data, image->len,
                                           G_FILE_SET_CONTENTS_NONE, 0666, NULL));
    return open_again(flags, errp);
}

typedef struct Damage {
    const char *name;
    uint32_t version;
    size_t at;
    unsigned width; /* bytes */
    uint64_t value;
    bool only_writing;
    const char *message; /* part of it */
} Damage;

static const Damage damages[] = {
    { "magic", 3, AT(magic), 4, 0x514649fa, false, "not in qcow2 format" },
    { "version-1", 3, AT(version), 4, 1, false, "version" },
    { "version-4", 3, AT(version), 4, 4, false, "version" },
    { "cluster-bits-8", 3, AT(cluster_bits), 4, 8, false, "2^8" },
    { "cluster-bits-22", 3, AT(cluster_bits), 4, 22, false, "2^22" },
    { "cluster-bits-huge", 3, AT(cluster_bits), 4, UINT32_MAX, false, "Unsupported cluster size" },
    { "size-negative", 3, AT(size), 8, UINT64_MAX, false, "Image is too big" },
    { "size-beyond-l1", 3, AT(size), 8, UINT64_C(1) << 40, false, "L1 table is too small" },
    { "crypt", 3, AT(crypt_method), 4, 1, false, "crypt_method" },
    { "crypt-unknown", 3, AT(crypt_method), 4, 7, false, "Unsupported encryption method 7" },
    { "l1-size-0", 3, AT(l1_size), 4, 0, false, "L1 table is too small" },
    { "l1-size-huge", 3, AT(l1_size), 4, UINT32_MAX, false, "Active L1 table too large" },
    { "l1-offset-0", 3, AT(l1_table_offset), 8, 0, false, "l1_table_offset" },
    { "l1-offset-unaligned", 3, AT(l1_table_offset), 8, 1, false, "Active L1 table offset invalid" },
    { "l1-offset-negative", 3, AT(l1_table_offset), 8, UINT64_MAX - CLUSTER + 1, false,
      "Active L1 table offset invalid" },
    { "l1-offset-beyond", 3, AT(l1_table_offset), 8, UINT64_C(1) << 50, false,
      "Could not read L1 table" },
    { "refcount-table-0", 3, AT(refcount_table_offset), 8, 0, false, "refcount_table_offset" },
    { "refcount-table-unaligned", 3, AT(refcount_table_offset), 8, 8, false,
      "Reference count table offset invalid" },
    { "refcount-table-beyond", 3, AT(refcount_table_offset), 8, UINT64_C(1) << 55, false,
      "Could not initialize refcount handling" },
    { "refcount-clusters-0", 3, AT(refcount_table_clusters), 4, 0, false,
      "Image does not contain a reference count table" },
    { "refcount-clusters-huge", 3, AT(refcount_table_clusters), 4, UINT32_MAX, false,
      "Reference count table too large" },
    { "snapshots-many", 3, AT(nb_snapshots), 4, 65537, false, "Snapshot table too large" },
    { "snapshots-unaligned", 3, AT(nb_snapshots), 4, 1, false, "Snapshot table offset invalid" },
    { "backing-offset-beyond", 3, AT(backing_file_offset), 8, CLUSTER + 1, false,
      "Invalid backing file offset" },
    { "backing-offset-in-header", 3, AT(backing_file_offset), 8, 8, false,
      "backing_file_offset" },
    { "incompatible-unknown", 3, AT(incompatible_features), 8, UINT64_C(1) << 40, false,
      "10000000000" },
    { "corrupt", 3, AT(incompatible_features), 8, 2, true, "corrupt" },
    { "data-file", 3, AT(incompatible_features), 8, 4, false, "data-file" },
    { "compression-bit-alone", 3, AT(incompatible_features), 8, 8, false, "feature bit must not be set" },
    { "compression-type-alone", 3, AT(compression_type), 1, 1, false, "feature bit must be set" },
    { "extended-l2-small", 3, AT(incompatible_features), 8, 16, false, "Unsupported subcluster size: 128" },
    { "bitmaps-missing", 3, AT(autoclear_features), 8, 1, false, "bitmaps" },
    { "raw-data-alone", 3, AT(autoclear_features), 8, 2, false, "autoclear_features" },
    { "refcount-order", 3, AT(refcount_order), 4, 7, false, "Reference count entry width too large" },
    { "header-length-short", 3, AT(header_length), 4, 72, false, "qcow2 header too short" },
    { "header-length-odd", 3, AT(header_length), 4, 113, false, "header_length" },
    { "header-length-long", 3, AT(header_length), 4, CLUSTER + 8, false, "qcow2 header exceeds cluster size" },
    { "extension-too-long", 3, 112, 8, UINT64_C(0x12345678fffffff0), false, "Header extension too large" },
    { "extension-backing-format-long", 3, 112, 8, UINT64_C(0xe2792aca00000100), false,
      "len=256 too large" },
    { "extension-bitmaps-short", 3, 112, 8, UINT64_C(0x2385287500000008), false, "bitmaps" },
    { "v2-cluster-bits", 2, AT(cluster_bits), 4, 0, false, "2^0" },
    { "v2-l1-size", 2, AT(l1_size), 4, UINT32_MAX, false, "Active L1 table too large" },
};

static void put(uint8_t *p, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++) {
        p[i] = value >> (8 * (width - 1 - i));
    }
}

static void damaged_field(gconstpointer data)
{
    const Damage *d = data;
    g_autoptr(GByteArray) image = good_image(d->version);
    Error *err = NULL;
    BlockBackend *blk;

    if (d->at == AT(snapshots_offset) || !strcmp(d->name, "snapshots-unaligned")) {
        put(image->data + AT(snapshots_offset), 8, 12345);
    }
    put(image->data + d->at, d->width, d->value);
    blk = try_open(image, 0, &err);
    if (d->only_writing) {
        g_assert_no_error(err);
        blk_unref(blk);
        blk = try_open(image, BDRV_O_RDWR, &err);
    }
    g_assert_null(blk);
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), d->message)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), d->message);
    }
    error_free(err);
}

static void good_images_open(void)
{
    for (uint32_t version = 2; version <= 3; version++) {
        g_autoptr(GByteArray) image = good_image(version);
        uint8_t buf[CLUSTER];
        BlockBackend *blk = try_open(image, BDRV_O_RDWR, &error_abort);

        g_assert_cmpint(blk_getlength(blk), ==, DISK);
        g_assert_cmpint(blk_pread(blk, 0, CLUSTER, buf, 0), ==, 0);
        g_assert_cmpint(buf[0], ==, 0x5a);
        g_assert_cmpint(blk_pwrite(blk, 8192, CLUSTER, buf, 0), ==, 0);
        blk_unref(blk);
    }
}

/* A header cut short at every length. */
static void truncated_files(void)
{
    g_autoptr(GByteArray) image = good_image(3);

    for (guint len = 0; len < 120; len++) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        Error *err = NULL;

        g_byte_array_append(cut, image->data, len);
        g_assert_null(try_open(cut, 0, &err));
        g_assert_nonnull(err);
        error_free(err);
    }
}

static void unknown_extensions_are_kept(void)
{
    g_autoptr(GByteArray) image = good_image(3);
    Qcow2Header h;

    put(image->data + 112, 8, UINT64_C(0xaabbccdd00000005));
    memcpy(image->data + 120, "hello", 5);
    g_assert_cmpint(qcow2_header_parse_fields(&h, image->data, 112, &error_abort), ==, 0);
    g_assert_cmpint(qcow2_header_parse_extensions(&h, image->data, CLUSTER, &error_abort), ==, 0);
    g_assert_cmpuint(h.unknown_exts->len, ==, 1);
    g_assert_cmpmem(g_array_index(h.unknown_exts, Qcow2UnknownExt, 0).data, 5, "hello", 5);
    qcow2_header_clear(&h);
}

static void feature_table_names_unknown_feature(void)
{
    g_autoptr(GByteArray) image = good_image(3);
    Error *err = NULL;

    put(image->data + AT(incompatible_features), 8, UINT64_C(1) << 17);
    put(image->data + 112, 8, UINT64_C(0x6803f85700000030));
    image->data[120] = 0;
    image->data[121] = 17;
    strcpy((char *)image->data + 122, "time travel");
    g_assert_null(try_open(image, 0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "time travel"));
    error_free(err);
}

static void own_backing_file_is_refused(void)
{
    g_autoptr(GByteArray) image = good_image(3);
    Error *err = NULL;
    const char *name = "t.qcow2";

    put(image->data + AT(backing_file_offset), 8, 512);
    put(image->data + AT(backing_file_size), 4, strlen(name));
    memcpy(image->data + 512, name, strlen(name));
    g_assert_null(try_open(image, 0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "loop"));
    error_free(err);
}

static void protocols_in_images_are_refused(void)
{
    const char *names[] = { "json:{\"driver\":\"null-co\"}", "null-co://", "nbd://host/x" };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GByteArray) image = good_image(3);
        Error *err = NULL;

        put(image->data + AT(backing_file_offset), 8, 512);
        put(image->data + AT(backing_file_size), 4, strlen(names[i]));
        memcpy(image->data + 512, names[i], strlen(names[i]));
        g_assert_null(try_open(image, 0, &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "plain file names"));
        error_free(err);
    }
}

/* --- damage that only shows when it is used --- */

static void use_image(BlockBackend *blk, bool write)
{
    static uint8_t buf[DISK];
    int64_t length = MIN(blk_getlength(blk), (int64_t)DISK), n;

    blk_pread(blk, 0, length, buf, 0);
    for (int64_t at = 0; at < length; at += n) {
        if (blk_block_status(blk, at, length - at, &n) < 0 || n <= 0) {
            break;
        }
    }
    if (write) {
        for (int64_t at = 0; at + 512 <= length; at += 3000) {
            blk_pwrite(blk, at, 512, buf, 0);
        }
        blk_pwrite_zeroes(blk, 0, MIN(length, 8192), BDRV_REQ_MAY_UNMAP);
        blk_pdiscard(blk, 0, length);
        blk_flush(blk);
    }
}

static void write_into_metadata_is_refused(void)
{
    g_autoptr(GByteArray) image = good_image(3);
    g_autofree char *after = NULL;
    uint8_t buf[512] = { 0 };
    BlockBackend *blk;
    gsize length;

    /* The guest's first cluster is said to lie where the L1 table is. */
    qcow2_put_be64(image->data + CLUSTER * 4, CLUSTER * 3 | QCOW2_OFLAG_COPIED);
    blk = try_open(image, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 8192, 512, buf, 0), ==, -ENOMEDIUM);
    blk_unref(blk);
    g_assert_true(g_file_get_contents(path, &after, &length, NULL));
    g_assert_cmpmem(after + CLUSTER * 3, CLUSTER, image->data + CLUSTER * 3, CLUSTER);
    g_assert_cmpint(after[AT(incompatible_features) + 7], ==, QCOW2_INCOMPAT_CORRUPT);
}

static void refcount_0_of_metadata_is_found(void)
{
    g_autoptr(GByteArray) image = good_image(3);
    uint8_t buf[512] = { 0 };
    BlockBackend *blk;

    image->data[CLUSTER * 2 + 3 * 2 + 1] = 0; /* of the L1 table */
    blk = try_open(image, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 8192, 512, buf, 0), ==, -EIO);
    blk_unref(blk);
}

/* Structures that claim each other's places: reading is no harm, writing is refused. */
static void metadata_claimed_twice(void)
{
    static const struct {
        size_t at;
        uint64_t value;
    } claims[] = {
        { AT(l1_table_offset), CLUSTER },
        { CLUSTER, CLUSTER },
        { CLUSTER, 0 },
        { CLUSTER + 8, 0x200 },
    };
    uint8_t buf[512] = { 1 };

    for (size_t i = 0; i < G_N_ELEMENTS(claims); i++) {
        g_autoptr(GByteArray) image = good_image(3);
        BlockBackend *blk;

        put(image->data + claims[i].at, 8, claims[i].value);
        blk = try_open(image, BDRV_O_RDWR, &error_abort);
        if (blk_pwrite(blk, 8192, 512, buf, 0) == 0 && blk_flush(blk) == 0) {
            g_assert_cmpuint(claims[i].at, ==, CLUSTER + 8); /* not looked at for that */
        } else {
            g_assert_cmpint(blk_pwrite(blk, 8192, 512, buf, 0), <, 0);
        }
        blk_unref(blk);
    }
}

/* A check ends, whatever it finds; so does a repair, and what that calls good is good. */
static void check_image(const GByteArray *image, bool fix)
{
    BdrvCheckResult r;
    BlockBackend *blk = try_open(image, BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0), NULL);
    int ret;

    if (!blk) {
        return;
    }
    ret = bdrv_check(blk_bs(blk), &r, fix ? BDRV_FIX_LEAKS | BDRV_FIX_ERRORS : 0);
    blk_unref(blk);
    if (!fix || ret < 0 || r.corruptions || r.check_errors) {
        return;
    }
    blk = open_again(BDRV_O_CHECK, &error_abort);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    blk_unref(blk);
}

static void random_damage(void)
{
    uint32_t seed = g_random_int();
    const char *given = g_getenv("QCOW2_SEED");
    GRand *r;

    seed = given ? strtoul(given, NULL, 0) : seed;
    r = g_rand_new_with_seed(seed);
    g_test_message("QCOW2_SEED=%u", seed);
    for (int i = 0; i < 150; i++) {
        g_autoptr(GByteArray) image = good_image(2 + g_rand_int_range(r, 0, 2));
        int hits = g_rand_int_range(r, 1, 4);
        bool write = g_rand_boolean(r);
        Error *err = NULL;
        BlockBackend *blk;

        while (hits--) {
            guint cluster = g_rand_int_range(r, 0, 5);
            guint at = cluster * CLUSTER + g_rand_int_range(r, 0, cluster ? 64 : 120);

            image->data[at] = g_rand_boolean(r) ? g_rand_int(r) : 0xff;
        }
        blk = try_open(image, write ? BDRV_O_RDWR | BDRV_O_UNMAP : 0, &err);
        if (blk) {
            use_image(blk, write);
            blk_unref(blk);
        } else {
            g_assert_nonnull(err);
            g_clear_error(&err);
        }
        check_image(image, write);
    }
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_dir_make_tmp("test-qcow2-XXXXXX", NULL);
    path = g_build_filename(dir, "t.qcow2", NULL);
    g_test_add_func("/qcow2/header/good-images-open", good_images_open);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *name = g_strconcat("/qcow2/header/refused/", damages[i].name, NULL);

        g_test_add_data_func(name, &damages[i], damaged_field);
    }
    g_test_add_func("/qcow2/header/truncated-files", truncated_files);
    g_test_add_func("/qcow2/header/unknown-extensions-are-kept", unknown_extensions_are_kept);
    g_test_add_func("/qcow2/header/feature-table", feature_table_names_unknown_feature);
    g_test_add_func("/qcow2/header/own-backing-file", own_backing_file_is_refused);
    g_test_add_func("/qcow2/header/protocols-in-images", protocols_in_images_are_refused);
    g_test_add_func("/qcow2/damage/write-into-metadata", write_into_metadata_is_refused);
    g_test_add_func("/qcow2/damage/metadata-claimed-twice", metadata_claimed_twice);
    g_test_add_func("/qcow2/damage/refcount-0-of-metadata", refcount_0_of_metadata_is_found);
    g_test_add_func("/qcow2/damage/random", random_damage);
    ret = g_test_run();
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}
