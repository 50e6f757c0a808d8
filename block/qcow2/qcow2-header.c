/* SPDX-License-Identifier: MIT */
/*
 * Parsing of the header. Every number is hostile until it has passed its check here;
 * each check stands beside the field it is for. The messages are QEMU's where QEMU refuses
 * the same; elsewhere they name the field.
 */
#include "qcow2-header.h"

#include "block/block-common.h"
#include "qemu/osdep.h"

#define FIELD32(buf, field) qcow2_be32((buf) + offsetof(Qcow2DiskHeader, field))
#define FIELD64(buf, field) qcow2_be64((buf) + offsetof(Qcow2DiskHeader, field))

uint64_t qcow2_l1_entries_needed(uint64_t size, uint32_t cluster_bits, bool extended_l2)
{
    unsigned shift = cluster_bits + cluster_bits - (extended_l2 ? 4 : 3);

    return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

/*
 * Offset and bytes of a table: aligned, not within the header's cluster, no overflow. @what
 * as it stands in a message, @field for what QEMU does not refuse.
 */
static int check_table(const Qcow2Header *h, const char *what, const char *field, uint64_t offset,
                       uint64_t bytes, Error **errp)
{
    if (offset & ((UINT64_C(1) << h->cluster_bits) - 1) || offset > INT64_MAX ||
        bytes > INT64_MAX - offset) {
        error_setg(errp, "%s offset invalid", what);
        return -EINVAL;
    }
    if (offset == 0) {
        error_setg(errp, "Invalid qcow2 header: %s is 0", field);
        return -EINVAL;
    }
    return 0;
}

static int parse_identity(Qcow2Header *h, const uint8_t *buf, size_t len, Error **errp)
{
    if (len < QCOW2_HEADER_V2_LENGTH || FIELD32(buf, magic) != QCOW2_MAGIC) {
        error_setg(errp, "Image is not in qcow2 format");
        return -EINVAL;
    }
    h->version = FIELD32(buf, version);
    if (h->version < 2 || h->version > 3) {
        error_setg(errp, "Unsupported qcow2 version %" PRIu32, h->version);
        return -ENOTSUP;
    }
    h->cluster_bits = FIELD32(buf, cluster_bits);
    if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS || h->cluster_bits > QCOW2_MAX_CLUSTER_BITS) {
        error_setg(errp, "Unsupported cluster size: 2^%" PRIu32, h->cluster_bits);
        return -EINVAL;
    }
    return 0;
}

static int parse_v3(Qcow2Header *h, const uint8_t *buf, size_t len, Error **errp)
{
    if (h->version < 3) {
        h->refcount_order = 4;
        h->header_length = QCOW2_HEADER_V2_LENGTH;
        return 0;
    }
    if (len < QCOW2_HEADER_V3_MIN) {
        error_setg(errp, "Invalid qcow2 header: the file ends within it");
        return -EINVAL;
    }
    h->incompatible_features = FIELD64(buf, incompatible_features);
    h->compatible_features = FIELD64(buf, compatible_features);
    h->autoclear_features = FIELD64(buf, autoclear_features);
    h->refcount_order = FIELD32(buf, refcount_order);
    h->header_length = FIELD32(buf, header_length);
    if (h->header_length < QCOW2_HEADER_V3_MIN) {
        error_setg(errp, "qcow2 header too short");
        return -EINVAL;
    }
    if (h->header_length > UINT32_C(1) << h->cluster_bits) {
        error_setg(errp, "qcow2 header exceeds cluster size");
        return -EINVAL;
    }
    if (h->header_length % 8) {
        error_setg(errp, "Invalid qcow2 header: header_length is %" PRIu32 ", must be a multiple"
                   " of 8", h->header_length);
        return -EINVAL;
    }
    if (h->refcount_order > 6) {
        error_setg(errp, "Reference count entry width too large; may not exceed 64 bits");
        return -EINVAL;
    }
    if (h->header_length > offsetof(Qcow2DiskHeader, compression_type)) {
        if (len <= offsetof(Qcow2DiskHeader, compression_type)) {
            error_setg(errp, "Invalid qcow2 header: the file ends within it");
            return -EINVAL;
        }
        h->compression_type = buf[offsetof(Qcow2DiskHeader, compression_type)];
    }
    return 0;
}

/* What the feature bits say of each other and of the fields before them. */
static int check_features(const Qcow2Header *h, Error **errp)
{
    bool has_type = h->incompatible_features & QCOW2_INCOMPAT_COMPRESSION;

    if (h->compression_type > QCOW2_COMPRESSION_ZSTD) {
        error_setg(errp, "qcow2: unknown compression type: %u", h->compression_type);
        return -ENOTSUP;
    }
    if (has_type != (h->compression_type != 0)) {
        error_setg(errp, "qcow2: Compression type incompatible feature bit must %sbe set",
                   has_type ? "not " : "");
        return -EINVAL;
    }
    if ((h->incompatible_features & QCOW2_INCOMPAT_EXTL2) &&
        h->cluster_bits < QCOW2_MIN_CLUSTER_BITS_EXTL2) {
        error_setg(errp, "Unsupported subcluster size: %u",
                   (1U << h->cluster_bits) / QCOW2_SUBCLUSTERS);
        return -EINVAL;
    }
    if (h->autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW) {
        if (!(h->incompatible_features & QCOW2_INCOMPAT_DATA_FILE)) {
            error_setg(errp, "Invalid qcow2 header: autoclear_features says raw external data,"
                       " but there is no external data file");
            return -EINVAL;
        }
        if (h->backing_file_offset) {
            error_setg(errp, "Invalid qcow2 header: backing_file_offset is set in an image with"
                       " raw external data");
            return -EINVAL;
        }
    }
    if (h->crypt_method > 2) {
        error_setg(errp, "Unsupported encryption method %" PRIu32, h->crypt_method);
        return -EINVAL;
    }
    return 0;
}

static int parse_backing_place(Qcow2Header *h, const uint8_t *buf, Error **errp)
{
    uint64_t cluster_size = UINT64_C(1) << h->cluster_bits;

    h->backing_file_offset = FIELD64(buf, backing_file_offset);
    if (!h->backing_file_offset) {
        return 0;
    }
    h->backing_file_size = FIELD32(buf, backing_file_size);
    if (h->backing_file_offset > cluster_size) {
        error_setg(errp, "Invalid backing file offset");
        return -EINVAL;
    }
    if (h->backing_file_size > QCOW2_MAX_BACKING_NAME ||
        h->backing_file_size > cluster_size - h->backing_file_offset) {
        error_setg(errp, "Backing file name too long");
        return -EINVAL;
    }
    if (h->backing_file_offset < QCOW2_HEADER_V2_LENGTH) {
        error_setg(errp, "Invalid qcow2 header: backing_file_offset is %" PRIu64
                   ", within the header", h->backing_file_offset);
        return -EINVAL;
    }
    return 0;
}

static int parse_disk(Qcow2Header *h, const uint8_t *buf, Error **errp)
{
    bool extended = h->incompatible_features & QCOW2_INCOMPAT_EXTL2;
    uint64_t needed;

    h->size = FIELD64(buf, size);
    h->l1_size = FIELD32(buf, l1_size);
    h->l1_table_offset = FIELD64(buf, l1_table_offset);
    if (h->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        error_setg(errp, "Active L1 table too large");
        return -EFBIG;
    }
    needed = qcow2_l1_entries_needed(MIN(h->size, (uint64_t)INT64_MAX), h->cluster_bits, extended);
    if (needed > INT_MAX) {
        error_setg(errp, "Image is too big");
        return -EFBIG;
    }
    if (needed > h->l1_size) {
        error_setg(errp, "L1 table is too small");
        return -EINVAL;
    }
    if (h->size > BDRV_MAX_LENGTH) {
        error_setg(errp, "Could not refresh total sector count: File too large");
        return -EFBIG;
    }
    h->size = ROUND_DOWN(h->size, BDRV_SECTOR_SIZE);
    if (h->l1_size || h->l1_table_offset) {
        return check_table(h, "Active L1 table", "l1_table_offset", h->l1_table_offset,
                           h->l1_size * 8ULL, errp);
    }
    return 0;
}

static int parse_refcounts(Qcow2Header *h, const uint8_t *buf, Error **errp)
{
    uint64_t bytes;

    h->refcount_table_offset = FIELD64(buf, refcount_table_offset);
    h->refcount_table_clusters = FIELD32(buf, refcount_table_clusters);
    bytes = (uint64_t)h->refcount_table_clusters << h->cluster_bits;
    if (bytes > QCOW2_MAX_REFTABLE_BYTES) {
        error_setg(errp, "Reference count table too large");
        return -EFBIG;
    }
    if (!bytes && !h->refcount_table_offset) {
        return 0; /* there is none: a check can make one, see qcow2_header_check_repairable() */
    }
    return check_table(h, "Reference count table", "refcount_table_offset",
                       h->refcount_table_offset, bytes, errp);
}

int qcow2_header_check_repairable(const Qcow2Header *h, Error **errp)
{
    if (h->refcount_table_clusters == 0) {
        error_setg(errp, "Image does not contain a reference count table");
        return -EINVAL;
    }
    if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS) {
        error_setg(errp, "Snapshot table too large");
        return -EFBIG;
    }
    if (h->snapshots_offset & ((UINT64_C(1) << h->cluster_bits) - 1) ||
        h->snapshots_offset > INT64_MAX - QCOW2_MAX_SNAPSHOT_TABLE) {
        error_setg(errp, "Snapshot table offset invalid");
        return -EINVAL;
    }
    return 0;
}

int qcow2_header_parse_fields(Qcow2Header *h, const uint8_t *buf, size_t len, Error **errp)
{
    int ret;

    memset(h, 0, sizeof(*h));
    ret = parse_identity(h, buf, len, errp);
    if (ret == 0) {
        ret = parse_v3(h, buf, len, errp);
    }
    if (ret == 0) {
        h->crypt_method = FIELD32(buf, crypt_method);
        ret = parse_backing_place(h, buf, errp);
    }
    if (ret == 0) {
        ret = check_features(h, errp);
    }
    if (ret == 0) {
        ret = parse_disk(h, buf, errp);
    }
    if (ret == 0) {
        ret = parse_refcounts(h, buf, errp);
    }
    if (ret == 0) {
        h->nb_snapshots = FIELD32(buf, nb_snapshots);
        h->snapshots_offset = FIELD64(buf, snapshots_offset);
    }
    return ret;
}

/* --- extensions --- */

/* A string of an extension, which must come once; @max bounds it, NULs are refused. */
static int take_string(char **to, const char *what, const uint8_t *data, uint32_t length,
                       uint32_t max, Error **errp)
{
    if (*to) {
        error_setg(errp, "Invalid qcow2 header extension: %s comes twice", what);
        return -EINVAL;
    }
    if (length > max || memchr(data, 0, length)) {
        error_setg(errp, "Invalid qcow2 header extension: the %s of %" PRIu32 " bytes %s", what,
                   length, length > max ? "is too long" : "holds a NUL");
        return -EINVAL;
    }
    *to = g_strndup((const char *)data, length);
    return 0;
}

static int take_bitmaps(Qcow2Header *h, const uint8_t *data, uint32_t length, Error **errp)
{
    Qcow2DiskBitmapsExt *b = &h->bitmaps;

    if (length != sizeof(*b) || h->has_bitmaps_ext) {
        error_setg(errp, "Invalid bitmaps extension: %s",
                   h->has_bitmaps_ext ? "it comes twice" : "its length must be 24");
        return -EINVAL;
    }
    h->has_bitmaps_ext = true;
    b->nb_bitmaps = qcow2_be32(data);
    b->directory_size = qcow2_be64(data + offsetof(Qcow2DiskBitmapsExt, directory_size));
    b->directory_offset = qcow2_be64(data + offsetof(Qcow2DiskBitmapsExt, directory_offset));
    if (!(h->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS)) {
        return 0; /* stale: the bitmaps count for nothing */
    }
    if (b->nb_bitmaps == 0 || b->nb_bitmaps > QCOW2_MAX_BITMAPS) {
        error_setg(errp, "Invalid bitmaps extension: nb_bitmaps is %" PRIu32, b->nb_bitmaps);
        return -EINVAL;
    }
    if (qcow2_be32(data + offsetof(Qcow2DiskBitmapsExt, reserved))) {
        error_setg(errp, "Invalid bitmaps extension: the reserved field is not zero");
        return -EINVAL;
    }
    if (b->directory_size < b->nb_bitmaps * (uint64_t)sizeof(Qcow2DiskBitmapDirEntry) ||
        b->directory_size > QCOW2_MAX_BITMAP_DIRECTORY) {
        error_setg(errp, "Invalid bitmaps extension: bitmap_directory_size is %" PRIu64,
                   b->directory_size);
        return -EINVAL;
    }
    return check_table(h, "Bitmap directory", "bitmap_directory_offset", b->directory_offset,
                       b->directory_size, errp);
}

static int take_feature_names(Qcow2Header *h, const uint8_t *data, uint32_t length)
{
    /* Only for messages: a trailing part of an entry is ignored. */
    if (!h->feature_names) {
        h->feature_names = g_array_new(false, false, sizeof(Qcow2DiskFeatureName));
        g_array_append_vals(h->feature_names, data, length / sizeof(Qcow2DiskFeatureName));
    }
    return 0;
}

static int take_unknown(Qcow2Header *h, uint32_t type, const uint8_t *data, uint32_t length)
{
    Qcow2UnknownExt ext = { type, length, length ? g_memdup2(data, length) : NULL };

    if (!h->unknown_exts) {
        h->unknown_exts = g_array_new(false, false, sizeof(Qcow2UnknownExt));
    }
    g_array_append_val(h->unknown_exts, ext);
    return 0;
}

static int take_extension(Qcow2Header *h, uint32_t type, const uint8_t *data, uint32_t length,
                          Error **errp)
{
    switch (type) {
    case QCOW2_EXT_BACKING_FORMAT:
        if (length > QCOW2_MAX_BACKING_FORMAT) {
            error_setg(errp, "ERROR: ext_backing_format: len=%" PRIu32 " too large (>=%u)", length,
                       QCOW2_MAX_BACKING_FORMAT + 1);
            return -EINVAL;
        }
        return take_string(&h->backing_format, "backing format", data, length,
                           QCOW2_MAX_BACKING_FORMAT, errp);
    case QCOW2_EXT_DATA_FILE:
        return take_string(&h->data_file, "external data file name", data, length,
                           QCOW2_MAX_BACKING_NAME, errp);
    case QCOW2_EXT_FEATURE_NAMES:
        return take_feature_names(h, data, length);
    case QCOW2_EXT_BITMAPS:
        return take_bitmaps(h, data, length, errp);
    default:
        return take_unknown(h, type, data, length);
    }
}

static int parse_extension_area(Qcow2Header *h, const uint8_t *buf, size_t len, Error **errp)
{
    size_t pos = h->header_length;
    size_t end = h->backing_file_offset ? MIN(len, h->backing_file_offset) : len;

    while (pos < end && end - pos >= sizeof(Qcow2DiskExtension)) {
        uint32_t type = qcow2_be32(buf + pos);
        uint32_t length = qcow2_be32(buf + pos + 4);
        int ret;

        if (type == QCOW2_EXT_END) {
            return 0;
        }
        pos += sizeof(Qcow2DiskExtension);
        if (length > end - pos) {
            error_setg(errp, "Header extension too large");
            return -EINVAL;
        }
        ret = take_extension(h, type, buf + pos, length, errp);
        if (ret < 0) {
            return ret;
        }
        pos += ROUND_UP((size_t)length, 8);
    }
    return 0;
}

char *qcow2_feature_name(const Qcow2Header *h, unsigned word, unsigned bit)
{
    for (guint i = 0; h->feature_names && i < h->feature_names->len; i++) {
        const Qcow2DiskFeatureName *f =
            &g_array_index(h->feature_names, Qcow2DiskFeatureName, i);

        if (f->word == word && f->bit == bit && f->name[0]) {
            g_autofree char *name = g_strndup(f->name, sizeof(f->name));

            /* It comes from the image and goes to a terminal. */
            return g_utf8_validate(name, -1, NULL) ? g_strescape(name, NULL)
                                                   : g_strescape(name, "");
        }
    }
    return NULL;
}

static int check_incompatible(const Qcow2Header *h, Error **errp)
{
    uint64_t unknown = h->incompatible_features & ~QCOW2_INCOMPAT_KNOWN;
    g_autoptr(GString) names = NULL;

    if (!unknown) {
        return 0;
    }
    names = g_string_new(NULL);
    for (unsigned bit = 0; bit < 64; bit++) {
        g_autofree char *name = unknown >> bit & 1 ? qcow2_feature_name(h, 0, bit) : NULL;

        if (name) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
            unknown &= ~(UINT64_C(1) << bit);
        }
    }
    if (unknown) {
        g_string_append_printf(names, "%sUnknown incompatible feature: %" PRIx64,
                               names->len ? ", " : "", unknown);
    }
    error_setg(errp, "Unsupported qcow2 feature(s): %s", names->str);
    return -ENOTSUP;
}

int qcow2_header_parse_extensions(Qcow2Header *h, const uint8_t *buf, size_t len, Error **errp)
{
    Error *err = NULL;
    int read = parse_extension_area(h, buf, len, &err);
    int ret = check_incompatible(h, errp);

    /* What is unknown may well be why an extension cannot be read: that goes first. */
    if (ret < 0) {
        error_free(err);
        return ret;
    }
    if (read < 0) {
        error_propagate(errp, err);
        return read;
    }
    if ((h->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS) && !h->has_bitmaps_ext) {
        error_setg(errp, "Invalid qcow2 header: autoclear_features says bitmaps, but the bitmaps"
                   " extension is missing");
        return -EINVAL;
    }
    if (h->backing_file_size) {
        if (h->backing_file_offset + h->backing_file_size > len) {
            error_setg(errp, "Invalid qcow2 header: the backing file name reaches beyond the end"
                       " of the file");
            return -EINVAL;
        }
        return take_string(&h->backing_file, "backing file name", buf + h->backing_file_offset,
                           h->backing_file_size, QCOW2_MAX_BACKING_NAME, errp);
    }
    return 0;
}

void qcow2_header_clear(Qcow2Header *h)
{
    g_free(h->backing_file);
    g_free(h->backing_format);
    g_free(h->data_file);
    if (h->feature_names) {
        g_array_free(h->feature_names, true);
    }
    for (guint i = 0; h->unknown_exts && i < h->unknown_exts->len; i++) {
        g_free(g_array_index(h->unknown_exts, Qcow2UnknownExt, i).data);
    }
    if (h->unknown_exts) {
        g_array_free(h->unknown_exts, true);
    }
    memset(h, 0, sizeof(*h));
}
