/* SPDX-License-Identifier: MIT */
/*
 * Damage in the first cluster, one field or extension at a time: a header that is not right is not
 * taken for one, and the message says what is wrong with it.
 */
#include "damaged-image.h"
#include "../../block/qcow2/qcow2-header.h"

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(extensions, "extensions/", header_extensions);
    ADD(fields, "fields/", header_fields);
    return g_test_run();
}
