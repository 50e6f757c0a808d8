/* SPDX-License-Identifier: MIT */
/*
 * Damage below the header's fields, one at a time: header extensions, the directory and the tables of
 * bitmaps, entries of L1 and L2 tables, compressed clusters. Each is told, or found by a check; what
 * is read meanwhile is an error rather than somebody else's bytes.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <zlib.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/snapshot.h"
#include "../../block/qcow2/qcow2-bitmap-dir.h"
#include "../../block/qcow2/qcow2-compress.h"
#include "../../block/qcow2/qcow2-format.h"
#include "../../block/qcow2/qcow2-header.h"
#include "qemu/main-loop.h"

#define CLUSTER   65536U
#define DISK      (1U << 20)
#define AT(field) offsetof(Qcow2DiskHeader, field)

static char *dir, *path;

/* --- header extensions --- */

typedef struct Extensions {
    const char *name;
    struct {
        uint32_t type, length;
        const char *data;
    } ext[3];
    const char *message; /* part of it; NULL: they are right */
} Extensions;

#define BITMAPS(nb, reserved, size, offset)                                                        \
    { QCOW2_EXT_BITMAPS, 24, "\0\0\0" nb "\0\0\0" reserved "\0\0\0\0" size "\0\0\0\0" offset }

static const Extensions extensions[] = {
    { "format", { { QCOW2_EXT_BACKING_FORMAT, 3, "raw" } }, NULL },
    { "format-twice",
      { { QCOW2_EXT_BACKING_FORMAT, 3, "raw" }, { QCOW2_EXT_BACKING_FORMAT, 3, "raw" } }, "twice" },
    { "format-with-nul", { { QCOW2_EXT_BACKING_FORMAT, 4, "r\0aw" } }, "holds a NUL" },
    { "data-file", { { QCOW2_EXT_DATA_FILE, 4, "file" } }, NULL },
    { "data-file-long", { { QCOW2_EXT_DATA_FILE, 1100, NULL } }, "is too long" },
    { "unknown-empty", { { 0x1234, 0, "" }, { 0x1235, 3, "xyz" } }, NULL },
    { "names-twice",
      { { QCOW2_EXT_FEATURE_NAMES, 5, "short" }, { QCOW2_EXT_FEATURE_NAMES, 5, "again" } }, NULL },
    { "bitmaps", { BITMAPS("\1", "\0", "\0\0\0\x20", "\0\4\0\0") }, NULL },
    { "bitmaps-twice",
      { BITMAPS("\1", "\0", "\0\0\0\x20", "\0\4\0\0"), BITMAPS("\1", "\0", "\0\0\0\x20", "\0\4\0\0") }, "twice" },
    { "bitmaps-length", { { QCOW2_EXT_BITMAPS, 16, "0123456789abcdef" } }, "must be 24" },
    { "bitmaps-none", { BITMAPS("\0", "\0", "\0\0\0\x20", "\0\4\0\0") }, "nb_bitmaps is 0" },
    { "bitmaps-reserved", { BITMAPS("\1", "\1", "\0\0\0\x20", "\0\4\0\0") }, "reserved" },
    { "bitmaps-directory-short", { BITMAPS("\2", "\0", "\0\0\0\x20", "\0\4\0\0") },
      "bitmap_directory_size is 32" },
    { "bitmaps-directory-huge", { BITMAPS("\1", "\0", "\x7f\0\0\x20", "\0\4\0\0") },
      "bitmap_directory_size" },
    { "bitmaps-offset", { BITMAPS("\1", "\0", "\0\0\0\x20", "\0\4\2\0") }, "Bitmap directory" },
};

static void header(uint8_t *p)
{
    memset(p, 0, CLUSTER);
    qcow2_put_be32(p + AT(magic), QCOW2_MAGIC);
    qcow2_put_be32(p + AT(version), 3);
    qcow2_put_be32(p + AT(cluster_bits), 16);
    qcow2_put_be64(p + AT(size), DISK);
    qcow2_put_be32(p + AT(l1_size), 1);
    qcow2_put_be64(p + AT(l1_table_offset), CLUSTER * 3);
    qcow2_put_be64(p + AT(refcount_table_offset), CLUSTER);
    qcow2_put_be32(p + AT(refcount_table_clusters), 1);
    qcow2_put_be64(p + AT(autoclear_features), QCOW2_AUTOCLEAR_BITMAPS);
    qcow2_put_be32(p + AT(refcount_order), 4);
    qcow2_put_be32(p + AT(header_length), 112);
}

static void expect(const char *message, Error *err)
{
    if (!message) {
        g_assert_no_error(err);
        return;
    }
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), message);
    }
    error_free(err);
}

static void header_extensions(gconstpointer data)
{
    const Extensions *x = data;
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    bool bitmaps = strstr(x->name, "bitmaps");
    size_t pos = 112;
    Error *err = NULL;
    Qcow2Header h;
    int ret;

    header(buf);
    if (!bitmaps) {
        qcow2_put_be64(buf + AT(autoclear_features), 0);
    }
    for (int i = 0; i < 3 && x->ext[i].type; i++) {
        qcow2_put_be32(buf + pos, x->ext[i].type);
        qcow2_put_be32(buf + pos + 4, x->ext[i].length);
        if (x->ext[i].data) {
            memcpy(buf + pos + 8, x->ext[i].data, x->ext[i].length);
        } else {
            memset(buf + pos + 8, 'x', x->ext[i].length);
        }
        pos += 8 + ROUND_UP(x->ext[i].length, 8);
    }
    g_assert_cmpint(qcow2_header_parse_fields(&h, buf, 112, &error_abort), ==, 0);
    ret = qcow2_header_parse_extensions(&h, buf, CLUSTER, &err);
    g_assert_cmpint(ret < 0, ==, x->message != NULL);
    expect(x->message, err);
    qcow2_header_clear(&h);
}

typedef struct Field {
    const char *name;
    size_t at;
    unsigned width;
    uint64_t value;
    size_t at2; /* and another one */
    unsigned width2;
    uint64_t value2;
    const char *message;
} Field;

static const Field fields[] = {
    { "compression-type", AT(compression_type), 1, 9, AT(incompatible_features) + 7, 1, 8,
      "unknown compression type: 9" },
    { "raw-data-with-backing", AT(autoclear_features), 8, 2, AT(incompatible_features) + 7, 1, 4,
      "backing_file_offset" },
    { "backing-name-long", AT(backing_file_size), 4, 2000, 0, 0, 0, "Backing file name too long" },
    { "backing-name-beyond-cluster", AT(backing_file_offset), 8, CLUSTER - 8, AT(backing_file_size),
      4, 100, "Backing file name too long" },
    { "size-negative", AT(size), 8, UINT64_C(1) << 63, 0, 0, 0, "Image is too big" },
    { "size-huge", AT(size), 8, UINT64_C(0x7ffffffffffffff0), 0, 0, 0, "too big" },
    { "nb-bitmaps", 112, 8, UINT64_C(0x2385287500000018), 120, 4, 70000, "nb_bitmaps is 70000" },
};

static void put(uint8_t *p, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++) {
        p[i] = value >> (8 * (width - 1 - i));
    }
}

static void header_fields(gconstpointer data)
{
    const Field *f = data;
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    Error *err = NULL;
    Qcow2Header h;
    int ret;

    header(buf);
    if (!strstr(f->name, "bitmaps")) {
        qcow2_put_be64(buf + AT(autoclear_features), 0);
    }
    if (strstr(f->name, "backing")) {
        qcow2_put_be64(buf + AT(backing_file_offset), 512);
    }
    put(buf + f->at, f->width, f->value);
    put(buf + f->at2, f->width2, f->value2);
    ret = qcow2_header_parse_fields(&h, buf, 112, &err);
    if (ret == 0) {
        ret = qcow2_header_parse_extensions(&h, buf, CLUSTER, &err);
        qcow2_header_clear(&h);
    }
    g_assert_cmpint(ret, <, 0);
    expect(f->message, err);
}

/* --- the directory of bitmaps --- */

#define D(field) offsetof(Qcow2DiskBitmapDirEntry, field)

typedef struct DirDamage {
    const char *name;
    size_t at;
    unsigned width;
    uint64_t value;
    bool opens;          /* the image can be opened all the same */
    bool check_is_right; /* nothing that a check would mind */
} DirDamage;

static const DirDamage dir_damages[] = {
    { "table-offset-0", D(table_offset), 8, 0, false, true },
    { "table-offset-unaligned", D(table_offset), 8, 0x10200, false, false },
    { "table-offset-huge", D(table_offset), 8, UINT64_C(1) << 63, false, false },
    { "table-beyond", D(table_offset), 8, UINT64_C(1) << 30, true, false },
    { "table-size-0", D(table_size), 4, 0, false, true },
    { "table-size-huge", D(table_size), 4, UINT32_MAX, false, false },
    { "table-size-large", D(table_size), 4, 1 << 16, false, true },
    { "table-size-beyond", D(table_size), 4, 8192, true, true },
    { "flags", D(flags), 4, 0x80, false, true },
    { "in-use", D(flags), 4, 1, true, true },
    { "type", D(type), 1, 7, false, true },
    { "granularity-small", D(granularity_bits), 1, 8, false, true },
    { "granularity-large", D(granularity_bits), 1, 40, false, true },
    { "name-0", D(name_size), 2, 0, false, false },
    { "name-long", D(name_size), 2, 2000, false, false },
    { "name-with-nul", D(extra_data_size) + 4, 1, 0, false, true },
    { "extra-huge", D(extra_data_size), 4, UINT32_MAX, false, false },
};

static uint64_t peek64(uint64_t offset)
{
    uint8_t buf[8];
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(pread(fd, buf, 8, offset), ==, 8);
    close(fd);
    return qcow2_be64(buf);
}

static void poke(uint64_t offset, unsigned width, uint64_t value)
{
    uint8_t buf[8];
    int fd = open(path, O_WRONLY);

    put(buf, width, value);
    g_assert_cmpint(pwrite(fd, buf, width, offset), ==, width);
    close(fd);
}

static BlockBackend *try_open(int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    return blk_new_open(path, NULL, o, flags, errp);
}

static void create(const char *options)
{
    BlockOptions *o = blk_options_new();
    uint8_t *buf = g_malloc(4 * CLUSTER);
    BlockBackend *blk;

    g_unlink(path);
    blk_options_parse(o, options, NULL, &error_abort);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    memset(buf, 7, 4 * CLUSTER);
    g_assert_cmpint(blk_pwrite(blk, 0, 4 * CLUSTER, buf, 0), ==, 0);
    blk_unref(blk);
    g_free(buf);
}

static void create_with_bitmap(void)
{
    BdrvDirtyBitmap *b;
    BlockBackend *blk;

    create("size=1M");
    blk = try_open(BDRV_O_RDWR, &error_abort);
    b = bdrv_create_dirty_bitmap(blk_bs(blk), 512, "bits", &error_abort);
    bdrv_dirty_bitmap_set_persistence(b, true);
    for (int i = 0; i < 50; i++) {
        bdrv_set_dirty_bitmap(b, i * 1024, 512);
    }
    blk_unref(blk);
}

/* The extension comes at once behind the header, or somewhere behind. */
static uint64_t directory(void)
{
    uint64_t pos = 112;

    while (peek64(pos) >> 32 != QCOW2_EXT_BITMAPS) {
        g_assert_cmpuint(peek64(pos) >> 32, !=, 0);
        pos += 8 + ROUND_UP(peek64(pos) & UINT32_MAX, 8);
    }
    return peek64(pos + 8 + offsetof(Qcow2DiskBitmapsExt, directory_offset));
}

static int check(BdrvCheckMode fix, BdrvCheckResult *r)
{
    BlockBackend *blk = try_open(BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0), &error_abort);
    int ret = bdrv_check(blk_bs(blk), r, fix);

    blk_unref(blk);
    return ret;
}

static void bitmap_directory(gconstpointer data)
{
    const DirDamage *d = data;
    BdrvCheckResult r;
    Error *err = NULL;
    BlockBackend *blk;
    int ret;

    create_with_bitmap();
    poke(directory() + d->at, d->width, d->value);
    blk = try_open(0, &err);
    g_assert_cmpint(blk != NULL, ==, d->opens);
    if (!blk) {
        g_assert_nonnull(err);
        error_free(err);
    } else {
        BdrvDirtyBitmap *b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");

        g_assert_nonnull(b);
        if (!d->check_is_right) {
            g_assert_cmpint(bdrv_dirty_bitmap_load(b, NULL), <, 0);
        }
        blk_unref(blk);
    }
    ret = check(0, &r);
    if (!d->check_is_right) {
        g_assert_true(ret < 0 || r.corruptions || r.check_errors);
    }
}

/* --- the table of a bitmap --- */

typedef struct TableDamage {
    const char *name;
    uint64_t entry;
    int loads; /* 0 or -errno */
    bool found; /* by a check */
} TableDamage;

static const TableDamage table_damages[] = {
    { "reserved", 0x80, -EINVAL, true },
    { "unaligned", 0x10200, -EINVAL, true },
    { "ones-with-offset", 0x10001, -EINVAL, true },
    { "beyond", UINT64_C(1) << 40, -EINVAL, true },
    { "zeroes", 0, 0, false },
    { "ones", 1, 0, false },
};

static void bitmap_table(gconstpointer data)
{
    const TableDamage *d = data;
    BdrvDirtyBitmap *b;
    BdrvCheckResult r;
    BlockBackend *blk;

    create_with_bitmap();
    poke(peek64(directory()), 8, d->entry);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions > 0, ==, d->found);
    blk = try_open(0, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_cmpint(bdrv_dirty_bitmap_load(b, NULL), ==, d->loads);
    if (d->loads == 0) {
        g_assert_cmpint(bdrv_get_dirty_count(b), ==, d->entry ? DISK : 0);
    }
    blk_unref(blk);
    /* Whoever writes has no use for what cannot be read, and records anew. */
    blk = try_open(BDRV_O_RDWR, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    g_assert_cmpint(bdrv_dirty_bitmap_inconsistent(b), ==, d->loads < 0);
    g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(blk_bs(blk), "bits", &error_abort), ==, 0);
    bdrv_release_dirty_bitmap(b);
    blk_unref(blk);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
}

/* Bits in a place that other metadata has: who removes the bitmap does not set that free. */
static void bitmap_among_metadata(void)
{
    uint8_t buf[512];
    BdrvCheckResult r;
    BlockBackend *blk;
    uint64_t l1;

    create_with_bitmap();
    l1 = peek64(AT(l1_table_offset));
    poke(peek64(directory()), 8, l1);
    g_assert_cmpint(check(0, &r), ==, 0);
    g_assert_cmpint(r.corruptions, >, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(blk_bs(blk), "bits", &error_abort), ==, 0);
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    blk_unref(blk);
    g_assert_cmpuint(peek64(AT(l1_table_offset)), ==, l1);
    g_assert_cmpint(check(BDRV_FIX_LEAKS, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    blk = try_open(0, &error_abort);
    g_assert_cmpint(blk_pread(blk, 0, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    blk_unref(blk);
}

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

/* Opened for a check, which does not look before it is asked. */
static int make_snapshot(void)
{
    BlockBackend *blk = try_open(BDRV_O_RDWR, NULL);
    QEMUSnapshotInfo sn = { .name = "s" };
    int ret = blk ? bdrv_snapshot_create(blk_bs(blk), &sn) : -ENOTSUP;

    blk_unref(blk);
    return ret;
}

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

/* --- bitmaps that the header says nothing of --- */

/* A program that knows no bitmaps has written: what is left of them goes with the first write. */
static void stale_bitmaps_go_with_the_first_write(void)
{
    BlockBackend *blk;
    Error *err = NULL;
    BdrvCheckResult r;

    create_with_bitmap();
    poke(AT(autoclear_features), 8, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_null(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
    g_assert_cmpint(check(BDRV_FIX_LEAKS, &r), ==, 0);
    g_assert_cmpint(r.corruptions, ==, 0);
    g_assert_cmpint(r.leaks_fixed, >, 0);
    poke(AT(autoclear_features), 8, QCOW2_AUTOCLEAR_BITMAPS);
    g_assert_null(try_open(0, &err));
    expect("bitmaps extension is missing", err);
}

/* Version 2 has no bit that says whether to believe them. */
static void bitmaps_of_version_2_are_not_believed(void)
{
    BlockBackend *blk;

    create("size=1M,compat=0.10");
    poke(72, 4, QCOW2_EXT_BITMAPS);
    poke(76, 4, 24);
    poke(80, 4, 1);
    poke(84, 4, 0);
    poke(88, 8, 32);
    poke(96, 8, CLUSTER * 4);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    g_assert_null(bdrv_dirty_bitmap_first(blk_bs(blk)));
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
}

/* Nobody records for a bitmap that is disabled, whether or not the node still has it. */
static void disabled_bitmap_stays_consistent(void)
{
    BdrvDirtyBitmap *b;
    BlockBackend *blk;

    create_with_bitmap();
    blk = try_open(BDRV_O_RDWR, &error_abort);
    bdrv_disable_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    blk_unref(blk);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
    blk = try_open(0, &error_abort);
    b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    g_assert_false(bdrv_dirty_bitmap_inconsistent(b));
    g_assert_cmpint(bdrv_dirty_bitmap_load(b, NULL), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(b), ==, 50 * 512);
    blk_unref(blk);
}

/* The node has lost its bitmap, the image has not: a resize would leave that behind as it is. */
static void resize_with_released_bitmap(void)
{
    BlockBackend *blk;
    Error *err = NULL;

    create_with_bitmap();
    blk = try_open(BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "bits"));
    g_assert_cmpint(blk_truncate(blk, 2 * DISK, true, PREALLOC_MODE_OFF, 0, &err), ==, -ENOTSUP);
    expect("not loaded into memory", err);
    /* A write marks what is recorded on the disk only. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, CLUSTER, 0), ==, 0);
    blk_unref(blk);
    blk = try_open(0, &error_abort);
    g_assert_true(bdrv_dirty_bitmap_inconsistent(bdrv_find_dirty_bitmap(blk_bs(blk), "bits")));
    blk_unref(blk);
}

/* --- compressed clusters --- */

static void decompression_of_garbage(void)
{
    g_autofree uint8_t *in = g_malloc(CLUSTER), *out = g_malloc(CLUSTER), *back = g_malloc(CLUSTER);

    for (unsigned type = QCOW2_COMPRESSION_DEFLATE; type <= QCOW2_COMPRESSION_ZSTD; type++) {
        ssize_t n;

        g_assert_true(qcow2_compression_available(type));
        memset(in, 0xee, CLUSTER);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, in, CLUSTER), ==, -EIO);
        for (unsigned i = 0; i < CLUSTER; i++) {
            in[i] = i >> 4;
        }
        n = qcow2_compress(type, 0, out, CLUSTER, in, CLUSTER);
        g_assert_cmpint(n, >, 0);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, out, n), ==, 0);
        g_assert_cmpmem(back, CLUSTER, in, CLUSTER);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, out, n / 2), ==, -EIO);
        /* Half a cluster is too little. */
        n = qcow2_compress(type, 0, out, CLUSTER, in, CLUSTER / 2);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, out, n), ==, -EIO);
    }
    g_assert_false(qcow2_compression_available(77));
    g_assert_cmpint(qcow2_decompress(77, back, CLUSTER, in, CLUSTER), ==, -ENOTSUP);
    g_assert_cmpint(qcow2_compress(77, 0, back, CLUSTER, in, CLUSTER), ==, -ENOTSUP);
}

/* A cluster may come in several frames, and with some that are to be skipped; but whole. */
static void zstd_streams_of_several_frames(void)
{
    static const uint8_t skipped[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3 };
    g_autofree uint8_t *in = g_malloc(CLUSTER), *out = g_malloc(3 * CLUSTER);
    g_autofree uint8_t *back = g_malloc(CLUSTER);
    ssize_t half, other;
    uint8_t *p;

    for (unsigned i = 0; i < CLUSTER; i++) {
        in[i] = i >> 6;
    }
    half = qcow2_compress(QCOW2_COMPRESSION_ZSTD, 0, out, CLUSTER, in, CLUSTER / 2);
    g_assert_cmpint(half, >, 0);
    memcpy(out + half, skipped, sizeof(skipped));
    p = out + half + sizeof(skipped);
    other = qcow2_compress(QCOW2_COMPRESSION_ZSTD, 0, p, CLUSTER, in + CLUSTER / 2, CLUSTER / 2);
    g_assert_cmpint(other, >, 0);
    other += sizeof(skipped);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other), ==,
                    0);
    g_assert_cmpmem(back, CLUSTER, in, CLUSTER);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other - 1),
                    ==, -EIO);
    /* The second frame does not end where the cluster does. */
    other = qcow2_compress(QCOW2_COMPRESSION_ZSTD, 0, out + half, CLUSTER, in, CLUSTER);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other), ==,
                    -EIO);
    memset(out + half, 0xee, CLUSTER);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other), ==,
                    -EIO);
}

/* Streams of more than a cluster give its beginning; zlib would stop there by itself. */
static void overlong_streams(void)
{
    g_autofree uint8_t *in = g_malloc(64 * CLUSTER), *out = g_malloc(2 * CLUSTER);
    g_autofree uint8_t *back = g_malloc(CLUSTER);

    for (unsigned i = 0; i < 64 * CLUSTER; i++) {
        in[i] = i >> 12;
    }
    for (unsigned factor = 2; factor <= 64; factor *= 2) {
        z_stream z = { .next_in = in, .avail_in = factor * CLUSTER, .next_out = out,
                       .avail_out = 2 * CLUSTER };
        int ret;

        g_assert_cmpint(deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), ==, Z_OK);
        g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
        ret = qcow2_decompress(QCOW2_COMPRESSION_DEFLATE, back, CLUSTER, out, z.total_out);
        g_assert_true(ret == 0 || (ret == -EIO && factor > 2));
        if (ret == 0) {
            g_assert_cmpmem(back, CLUSTER, in, CLUSTER);
        }
        /* The end of the stream is broken: it shows only behind the cluster. */
        memset(out + z.total_out - 8, 0xff, 8);
        ret = qcow2_decompress(QCOW2_COMPRESSION_DEFLATE, back, CLUSTER, out, z.total_out - 4);
        g_assert_true(ret == 0 || ret == -EIO);
        deflateEnd(&z);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_dir_make_tmp("test-qcow2-XXXXXX", NULL);
    path = g_build_filename(dir, "t.qcow2", NULL);
#define ADD(array, prefix, function)                                                               \
    for (size_t i = 0; i < G_N_ELEMENTS(array); i++) {                                             \
        g_autofree char *name = g_strconcat("/qcow2/damaged-tables/" prefix, array[i].name, NULL); \
        g_test_add_data_func(name, &array[i], function);                                           \
    }
    ADD(extensions, "extensions/", header_extensions);
    ADD(fields, "fields/", header_fields);
    ADD(dir_damages, "bitmap-directory/", bitmap_directory);
    ADD(table_damages, "bitmap-table/", bitmap_table);
    ADD(entry_damages, "l2-entry/", l2_entry);
    g_test_add_func("/qcow2/damaged-tables/l2-entry/with-data-file", l2_entry_with_data_file);
    g_test_add_func("/qcow2/damaged-tables/l1-entry", l1_entry);
    g_test_add_func("/qcow2/damaged-tables/references/snapshot", snapshot_of_damaged_tables);
    g_test_add_func("/qcow2/damaged-tables/references/refcount-block-named-twice",
                    refcount_block_named_twice);
    g_test_add_func("/qcow2/damaged-tables/references/refcount-block-beyond-all-files",
                    refcount_block_beyond_all_files);
    g_test_add_func("/qcow2/damaged-tables/bitmap-among-metadata", bitmap_among_metadata);
    g_test_add_func("/qcow2/damaged-tables/references/data-before-a-block-outside",
                    data_before_a_block_outside);
    g_test_add_func("/qcow2/damaged-tables/references/leak-beside-lost-counters",
                    leak_beside_lost_counters);
    g_test_add_func("/qcow2/damaged-tables/references/file-of-too-many-clusters",
                    file_of_too_many_clusters);
    g_test_add_func("/qcow2/damaged-tables/references/table-is-a-refcount-block",
                    table_is_a_refcount_block);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/second-piece-cannot-be-read",
                    second_piece_of_snapshot_table);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/stale-ones-go-with-the-first-write",
                    stale_bitmaps_go_with_the_first_write);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/of-version-2-are-not-believed",
                    bitmaps_of_version_2_are_not_believed);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/too-many", too_many_snapshots);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/ids", ids_of_snapshots);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/data-file", snapshots_of_a_data_file);
    g_test_add_func("/qcow2/damaged-tables/snapshot-table/too-much-extra-data",
                    too_much_extra_data);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/disabled-one-stays-consistent",
                    disabled_bitmap_stays_consistent);
    g_test_add_func("/qcow2/damaged-tables/bitmaps/released-one-prevents-resize",
                    resize_with_released_bitmap);
    g_test_add_func("/qcow2/damaged-tables/compressed/garbage", decompression_of_garbage);
    g_test_add_func("/qcow2/damaged-tables/compressed/several-frames",
                    zstd_streams_of_several_frames);
    g_test_add_func("/qcow2/damaged-tables/compressed/overlong", overlong_streams);
    ret = g_test_run();
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}
