/* SPDX-License-Identifier: MIT */
/*
 * Builds a qcow2 image of some clusters from a description: header, refcount table and block, L1
 * table, one L2 table for each entry of it, then what the records ask for. Offsets, lengths and refcounts
 * are right by construction, so that an input gets far; records that are hostile change them afterwards.
 * One refcount block covers all that fits in the disk.
 */
#include "fuzz-image.h"

#include "../../block/qcow2/qcow2-compress.h"
#include "../../block/qcow2/qcow2-format.h"

/* FUZZ_POKE reaches no further. */
#define MAX_POKED (65536 * 8 + 256)

typedef struct Image {
    uint8_t *data; /* of the disk, FUZZ_DISK_BYTES */
    unsigned bits, refcount_order, l1_size, nb_refcounts;
    bool v3, extl2, sound, full;
    unsigned compression;
    size_t end;        /* clusters in use */
    size_t ext_end;    /* bytes: where the next header extension goes */
    size_t byte_end;   /* behind the last compressed stream; 0: none */
    unsigned nb_snapshots, nb_bitmaps;
    uint8_t snapshots[4096], bitmaps[4096];
    size_t snapshots_len, bitmaps_len;
    uint64_t last_cluster; /* host offset of the last data cluster, or 0 */
    uint64_t refblock, l1;
    size_t length; /* of the file; 0: behind the last cluster */
} Image;

static size_t cluster_size(const Image *im)
{
    return (size_t)1 << im->bits;
}

static void set_refcount(Image *im, uint64_t cluster, uint64_t value)
{
    uint8_t *block = im->data + im->refblock;
    unsigned width = 1U << im->refcount_order;

    if (cluster >= im->nb_refcounts) {
        return;
    }
    switch (im->refcount_order) {
    case 0:
    case 1:
    case 2: {
        unsigned shift = cluster * width % 8;
        uint8_t *p = block + cluster * width / 8;
        uint8_t mask = ((1U << width) - 1) << shift;

        *p = (*p & ~mask) | ((value << shift) & mask);
        break;
    }
    case 3: block[cluster] = value; break;
    case 4: qcow2_put_be16(block + cluster * 2, value); break;
    case 5: qcow2_put_be32(block + cluster * 4, value); break;
    default: qcow2_put_be64(block + cluster * 8, value); break;
    }
}

static uint64_t get_refcount(const Image *im, uint64_t cluster)
{
    const uint8_t *block = im->data + im->refblock;
    unsigned width = 1U << im->refcount_order;

    if (cluster >= im->nb_refcounts) {
        return 0;
    }
    switch (im->refcount_order) {
    case 3: return block[cluster];
    case 4: return qcow2_be16(block + cluster * 2);
    case 5: return qcow2_be32(block + cluster * 4);
    case 6: return qcow2_be64(block + cluster * 8);
    default:
        return block[cluster * width / 8] >> (cluster * width % 8) & ((1U << width) - 1);
    }
}

/* One more reference; an image whose refcounts cannot hold it is not sound. */
static void take_ref(Image *im, uint64_t cluster)
{
    uint64_t value = get_refcount(im, cluster) + 1;

    set_refcount(im, cluster, value);
    if (get_refcount(im, cluster) != value) {
        im->sound = false;
    }
}

/* The host offset of @n new clusters in a row; 0: the image is full. */
static uint64_t alloc(Image *im, size_t n)
{
    size_t first = im->end;

    if ((first + n) << im->bits > FUZZ_DISK_BYTES / 2 || first + n > im->nb_refcounts) {
        im->full = true;
        return 0;
    }
    im->end += n;
    for (size_t i = 0; i < n; i++) {
        set_refcount(im, first + i, 1);
    }
    return (uint64_t)first << im->bits;
}

/* --- the frame --- */

static void put_header(Image *im, uint64_t virtual_size, uint64_t reftable)
{
    Qcow2DiskHeader h = {
        .magic = GUINT32_TO_BE(QCOW2_MAGIC),
        .version = GUINT32_TO_BE(im->v3 ? 3 : 2),
        .cluster_bits = GUINT32_TO_BE(im->bits),
        .size = GUINT64_TO_BE(virtual_size),
        .l1_size = GUINT32_TO_BE(im->l1_size),
        .l1_table_offset = GUINT64_TO_BE(im->l1),
        .refcount_table_offset = GUINT64_TO_BE(reftable),
        .refcount_table_clusters = GUINT32_TO_BE(1),
        .refcount_order = GUINT32_TO_BE(im->refcount_order),
        .header_length = GUINT32_TO_BE(112),
        .compression_type = im->compression,
        .incompatible_features =
            GUINT64_TO_BE((im->compression ? QCOW2_INCOMPAT_COMPRESSION : 0) |
                          (im->extl2 ? QCOW2_INCOMPAT_EXTL2 : 0)),
    };

    im->ext_end = im->v3 ? sizeof(h) : QCOW2_HEADER_V2_LENGTH;
    memcpy(im->data, &h, im->ext_end);
}

/* @head: [version 3, cluster bits, refcount order, compression, extended L2, disk in L2 tables, ...]. */
static void build_frame(Image *im, const uint8_t *head)
{
    /* Small ones are the rule: the tables of large ones take a hundred times as long to walk. */
    static const uint8_t bits[] = {
        9, 9, 9, 10, 12, 12, 14, 16, 9, 9, 9, 9, 9, 9, 9, 9,
        9, 10, 10, 10, 9, 9, 9, 9, 9, 10, 12, 9, 9, 9, 9, 9,
    };
    uint64_t reftable, l2, covered;

    im->v3 = head[0] & 3;
    im->bits = bits[head[1] % G_N_ELEMENTS(bits)];
    im->refcount_order = im->v3 ? head[2] % 7 : 4;
    im->compression = im->v3 && head[3] & 1 ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_DEFLATE;
    im->extl2 = im->v3 && im->bits >= QCOW2_MIN_CLUSTER_BITS_EXTL2 && head[4] & 1;
    im->l1_size = 1 + head[5] % 3;
    im->nb_refcounts = (cluster_size(im) * 8) >> im->refcount_order;
    im->sound = true;
    im->end = 1;
    im->refblock = 2 << im->bits;
    set_refcount(im, 0, 1);
    reftable = alloc(im, 1);
    alloc(im, 1);
    im->l1 = alloc(im, 1);
    qcow2_put_be64(im->data + reftable, im->refblock);
    for (unsigned i = 0; i < im->l1_size; i++) {
        l2 = alloc(im, 1);
        qcow2_put_be64(im->data + im->l1 + i * 8, l2 ? l2 | QCOW2_OFLAG_COPIED : 0);
    }
    covered = cluster_size(im) << (im->bits - (im->extl2 ? 4 : 3));
    put_header(im, covered * im->l1_size - (head[5] & 0x80 ? 1536 : 0), reftable);
}

/* --- records --- */

/* The entry of a guest cluster; NULL without an L2 table. */
static uint8_t *l2_entry(Image *im, unsigned guest)
{
    unsigned size = im->extl2 ? 16 : 8, per_table = cluster_size(im) / size;
    unsigned table = guest / per_table % im->l1_size;
    uint64_t l2 = qcow2_be64(im->data + im->l1 + table * 8) & QCOW2_L1_OFFSET_MASK;

    if (!l2 || l2 + cluster_size(im) > FUZZ_DISK_BYTES) {
        return NULL;
    }
    return im->data + l2 + guest % per_table * size;
}

/* Where a stream of @n bytes goes: behind the last one if it fits there. */
static uint64_t place_stream(Image *im, size_t n)
{
    uint64_t at = im->byte_end, end = at + n;

    if (!at || ((end - 1) >> im->bits) != (at >> im->bits)) {
        at = alloc(im, 1 + (n - 1) / cluster_size(im));
        im->byte_end = 0;
    } else {
        take_ref(im, at >> im->bits);
    }
    return at;
}

static uint64_t compressed_entry(Image *im, const uint8_t *stream, size_t n)
{
    unsigned offset_bits = 62 - (im->bits - 8);
    uint64_t at = n ? place_stream(im, n) : 0, sectors;

    if (!at) {
        return 0;
    }
    memcpy(im->data + at, stream, n);
    im->byte_end = at + n;
    if (!(im->byte_end & (cluster_size(im) - 1))) {
        im->byte_end = 0;
    }
    sectors = ((at + n - 1) >> 9) - (at >> 9);
    return QCOW2_OFLAG_COMPRESSED | sectors << offset_bits | at;
}

/* A whole cluster that repeats the payload, packed. */
static uint64_t packed_entry(Image *im, const FuzzRecord *r)
{
    static uint8_t plain[1 << 16], packed[1 << 16];
    ssize_t n;

    for (size_t i = 0; i < cluster_size(im); i++) {
        plain[i] = r->len ? r->data[i % r->len] : 0;
    }
    n = qcow2_compress(im->compression, 0, packed, cluster_size(im) - 1, plain, cluster_size(im));
    return n > 0 ? compressed_entry(im, packed, n) : 0;
}

static uint64_t data_entry(Image *im, const FuzzRecord *r)
{
    uint64_t at = alloc(im, 1);

    if (!at) {
        return 0;
    }
    memcpy(im->data + at, r->data, r->len);
    im->last_cluster = at;
    return at | QCOW2_OFLAG_COPIED;
}

static void add_l2(Image *im, const FuzzRecord *r)
{
    uint8_t *p = l2_entry(im, r->a);
    uint64_t value = 0, bitmap = 0;
    unsigned how = r->b % 8;

    if (!p || (qcow2_be64(p) && how < 6)) {
        return; /* what was there would leak */
    }
    switch (how) {
    case 0:
    case 1: value = data_entry(im, r); bitmap = QCOW2_BITMAP_ALL_ALLOC; break;
    case 2: value = im->v3 && !im->extl2 ? QCOW2_OFLAG_ZERO : 0; break;
    case 3: value = packed_entry(im, r); break;
    case 4:
        value = compressed_entry(im, r->data, MIN(r->len, cluster_size(im)));
        break;
    case 5:
        value = data_entry(im, r);
        bitmap = fuzz_record_value(r, 0, 4) & ~fuzz_record_value(r, 4, 4);
        bitmap |= fuzz_record_value(r, 4, 4) << 32;
        break;
    default:
        im->sound = false;
        value = fuzz_record_value(r, 0, 8);
        bitmap = fuzz_record_value(r, 8, 8);
        break;
    }
    qcow2_put_be64(p, value);
    if (im->extl2) {
        qcow2_put_be64(p + 8, bitmap);
    }
}

static void add_extension(Image *im, const FuzzRecord *r)
{
    static const uint32_t types[] = {
        QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_DATA_FILE, QCOW2_EXT_CRYPTO_HEADER,
        QCOW2_EXT_FEATURE_NAMES, QCOW2_EXT_BITMAPS, 0x12345678,
    };
    uint32_t type = r->a < 0x80 ? types[r->a % G_N_ELEMENTS(types)] : fuzz_record_value(r, 0, 4);
    size_t len = ROUND_UP(r->len, 8);

    if (im->ext_end + 16 + len > cluster_size(im)) {
        return;
    }
    qcow2_put_be32(im->data + im->ext_end, type);
    qcow2_put_be32(im->data + im->ext_end + 4, r->b & 0x80 ? fuzz_record_value(r, 4, 4) : r->len);
    memcpy(im->data + im->ext_end + 8, r->data, r->len);
    im->ext_end += 8 + len;
    im->sound = false;
}

/* A snapshot of a disk without data, or with the L1 table that the payload names. */
static void add_snapshot(Image *im, const FuzzRecord *r)
{
    uint8_t *p = im->snapshots + im->snapshots_len;
    unsigned extra = r->b & 1 ? 24 : 16, name = MIN(r->len, 16);
    size_t len = ROUND_UP(40 + extra + 4 + name, 8);
    uint64_t l1 = r->b & 2 ? fuzz_record_value(r, 0, 8) : alloc(im, 1);

    if (im->snapshots_len + len > sizeof(im->snapshots) || !l1) {
        im->sound = false;
        return;
    }
    memset(p, 0, len);
    qcow2_put_be64(p, l1);
    qcow2_put_be32(p + 8, r->b & 4 ? fuzz_record_value(r, 8, 4) : im->l1_size);
    qcow2_put_be16(p + 12, r->b & 8 ? fuzz_record_value(r, 12, 2) : 4);
    qcow2_put_be16(p + 14, r->b & 16 ? fuzz_record_value(r, 14, 2) : name);
    qcow2_put_be32(p + 36, r->b & 32 ? fuzz_record_value(r, 16, 4) : extra);
    qcow2_put_be64(p + 48, r->b & 64 ? fuzz_record_value(r, 20, 8)
                                     : qcow2_be64(im->data + 24));
    g_snprintf((char *)p + 40 + extra, 5, "%4u", 1000U + r->a);
    memcpy(p + 40 + extra + 4, r->data, name);
    im->snapshots_len += len;
    im->nb_snapshots++;
    im->sound = im->sound && r->b < 2 && r->len;
}

/* A bitmap with a table of one entry, which the payload says. */
static void add_bitmap(Image *im, const FuzzRecord *r)
{
    uint8_t *p = im->bitmaps + im->bitmaps_len;
    unsigned name = MIN(r->len, 24);
    size_t len = ROUND_UP(24 + name, 8);
    uint64_t table = alloc(im, 1);

    if (!table || im->bitmaps_len + len > sizeof(im->bitmaps)) {
        im->sound = false;
        return;
    }
    memset(p, 0, len);
    qcow2_put_be64(p, r->b & 0x80 ? fuzz_record_value(r, 8, 8) : table);
    qcow2_put_be32(p + 8, r->b & 0x40 ? fuzz_record_value(r, 16, 4) : 1);
    qcow2_put_be32(p + 12, r->b & 7);
    p[16] = r->b & 0x20 ? 0 : QCOW2_BITMAP_TYPE_DIRTY;
    p[17] = r->a;
    qcow2_put_be16(p + 18, name);
    qcow2_put_be32(p + 20, r->b & 0x10 ? fuzz_record_value(r, 20, 4) : 0);
    memcpy(p + 24, r->data, name);
    qcow2_put_be64(im->data + table, fuzz_record_value(r, 0, 8));
    im->bitmaps_len += len;
    im->nb_bitmaps++;
    im->sound = false;
}

static void add_backing(Image *im, const FuzzRecord *r)
{
    size_t at = cluster_size(im) - 256;

    if (!r->len || qcow2_be64(im->data + 8)) {
        return;
    }
    memcpy(im->data + at, r->data, r->len);
    qcow2_put_be64(im->data + 8, at);
    qcow2_put_be32(im->data + 16, r->len);
    im->sound = false; /* names are any bytes */
}

/* Tables that are there once, behind all else. */
static void finish(Image *im)
{
    uint64_t at;

    if (im->nb_snapshots) {
        at = alloc(im, 1 + (im->snapshots_len - 1) / cluster_size(im));
        memcpy(im->data + at, im->snapshots, at ? im->snapshots_len : 0);
        qcow2_put_be32(im->data + 60, at ? im->nb_snapshots : 0);
        qcow2_put_be64(im->data + 64, at);
    }
    if (im->nb_bitmaps && im->v3 && im->ext_end + 32 <= cluster_size(im)) {
        at = alloc(im, 1 + (im->bitmaps_len - 1) / cluster_size(im));
        memcpy(im->data + at, im->bitmaps, at ? im->bitmaps_len : 0);
        qcow2_put_be32(im->data + im->ext_end, QCOW2_EXT_BITMAPS);
        qcow2_put_be32(im->data + im->ext_end + 4, 24);
        qcow2_put_be32(im->data + im->ext_end + 8, im->nb_bitmaps);
        qcow2_put_be64(im->data + im->ext_end + 16, im->bitmaps_len);
        qcow2_put_be64(im->data + im->ext_end + 24, at);
        qcow2_put_be64(im->data + 88, QCOW2_AUTOCLEAR_BITMAPS);
    }
}

/* What is hostile comes when all else is in place. */
static void spoil(Image *im, const FuzzRecord *r)
{
    uint8_t value[8];
    size_t at = (size_t)(r->a | r->b << 8) * 8, width = 1U << (r->b & 3);

    qcow2_put_be64(value, fuzz_record_value(r, 0, 8));
    switch (r->kind) {
    case FUZZ_L1: memcpy(im->data + im->l1 + r->a % 64 * 8, value, 8); break;
    case FUZZ_REFCOUNT: set_refcount(im, r->a, fuzz_record_value(r, 0, 8)); break;
    case FUZZ_REFTABLE: memcpy(im->data + cluster_size(im) + r->a % 64 * 8, value, 8); break;
    /* The magic stays. */
    case FUZZ_HEADER: memcpy(im->data + 4 + r->a % 108, value + 8 - width, width); break;
    case FUZZ_POKE: memcpy(im->data + MAX(at, 8), r->data, r->len); break;
    case FUZZ_LENGTH: im->length = at * 8; break;
    default: return;
    }
    im->sound = false;
}

bool fuzz_image_build(const uint8_t *head, const FuzzRecord *records, size_t n)
{
    static Image im;
    size_t end;

    memset(&im, 0, sizeof(im));
    fuzz_disk_set(0, NULL, 0);
    im.data = fuzz_disk_data(0);
    build_frame(&im, head);
    for (size_t i = 0; i < n; i++) {
        switch (records[i].kind) {
        case FUZZ_L2: add_l2(&im, &records[i]); break;
        case FUZZ_EXTENSION: add_extension(&im, &records[i]); break;
        case FUZZ_SNAPSHOT: add_snapshot(&im, &records[i]); break;
        case FUZZ_BITMAP: add_bitmap(&im, &records[i]); break;
        case FUZZ_BACKING: add_backing(&im, &records[i]); break;
        default: break;
        }
    }
    finish(&im);
    for (size_t i = 0; i < n; i++) {
        spoil(&im, &records[i]);
    }
    end = MAX(im.end << im.bits, 1U << 9);
    fuzz_disk_set_length(0, im.length ? MIN(im.length, FUZZ_DISK_BYTES / 2) : end,
                         MAX(end, MAX_POKED));
    return im.sound && !im.full;
}
