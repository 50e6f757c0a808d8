/* SPDX-License-Identifier: MIT */
/*
 * Header, refcount table, first refcount block, L1 table, in this order, each at a cluster; when
 * the L1 table is so large that one block does not count all this, further blocks follow
 * it. The file ends with the last byte in use. This is what qemu-img makes, as far as one
 * cluster of refcount table is enough; beyond that ours is simply longer.
 */
#include "qcow2-layout.h"

#include "qcow2-header.h"
#include "qemu/osdep.h"

int qcow2_plan_layout(const Qcow2NewImage *image, Qcow2Layout *layout, Error **errp)
{
    uint64_t cs = UINT64_C(1) << image->cluster_bits;
    uint64_t per_block = cs * 8 >> image->refcount_order;
    uint64_t l1_clusters, before = 0;

    memset(layout, 0, sizeof(*layout));
    layout->l1_size =
        qcow2_l1_entries_needed(image->size, image->cluster_bits, image->extended_l2);
    if (layout->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        error_setg(errp, "The image size is too large for file format 'qcow2' (try using a larger"
                   " cluster size)");
        return -EFBIG;
    }
    l1_clusters = DIV_ROUND_UP(layout->l1_size * 8, cs);
    layout->reftable_clusters = layout->blocks = 1;
    do {
        before = layout->clusters;
        layout->clusters = 1 + layout->reftable_clusters + layout->blocks + l1_clusters;
        layout->blocks = DIV_ROUND_UP(layout->clusters, per_block);
        layout->reftable_clusters = DIV_ROUND_UP(layout->blocks * 8, cs);
    } while (layout->clusters != before);
    layout->l1_offset = layout->l1_size ? (2 + layout->reftable_clusters) * cs : 0;
    layout->file_length = layout->clusters * cs;
    if (layout->blocks == 1 && layout->l1_size) {
        layout->file_length = layout->l1_offset + layout->l1_size * 8;
    }
    return 0;
}

uint64_t qcow2_layout_block(const Qcow2NewImage *image, const Qcow2Layout *layout, uint64_t i)
{
    return i == 0 ? 1 + layout->reftable_clusters : layout->clusters - layout->blocks + i;
}

/* --- the header --- */

typedef struct Cursor {
    uint8_t *cluster;
    size_t size, pos;
    bool full;
} Cursor;

static uint8_t *take_space(Cursor *c, size_t bytes)
{
    uint8_t *p = c->cluster + c->pos;

    if (c->full || c->size - c->pos < bytes) {
        c->full = true;
        return NULL;
    }
    c->pos += bytes;
    return p;
}

static void add_extension(Cursor *c, uint32_t type, const void *data, size_t bytes)
{
    uint8_t *p = take_space(c, sizeof(Qcow2DiskExtension) + ROUND_UP(bytes, (size_t)8));

    if (p) {
        qcow2_put_be32(p, type);
        qcow2_put_be32(p + 4, bytes);
        if (bytes) {
            memcpy(p + sizeof(Qcow2DiskExtension), data, bytes);
        }
    }
}

const void *qcow2_feature_names(size_t *bytes)
{
    static const Qcow2DiskFeatureName names[] = {
        { 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" },
        { 0, 3, "compression type" }, { 0, 4, "extended L2 entries" },
        { 1, 0, "lazy refcounts" }, { 2, 0, "bitmaps" }, { 2, 1, "raw external data" },
    };

    *bytes = sizeof(names);
    return names;
}

static void put_fields(const Qcow2NewImage *image, const Qcow2Layout *layout, uint8_t *p)
{
    uint64_t incompatible = 0;

    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, magic), QCOW2_MAGIC);
    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, version), image->version);
    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, cluster_bits), image->cluster_bits);
    qcow2_put_be64(p + offsetof(Qcow2DiskHeader, size), image->size);
    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, l1_size), layout->l1_size);
    qcow2_put_be64(p + offsetof(Qcow2DiskHeader, l1_table_offset), layout->l1_offset);
    qcow2_put_be64(p + offsetof(Qcow2DiskHeader, refcount_table_offset),
                   UINT64_C(1) << image->cluster_bits);
    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, refcount_table_clusters),
                   layout->reftable_clusters);
    if (image->version < 3) {
        return;
    }
    incompatible |= image->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0;
    incompatible |= image->compression_type ? QCOW2_INCOMPAT_COMPRESSION : 0;
    incompatible |= image->extended_l2 ? QCOW2_INCOMPAT_EXTL2 : 0;
    qcow2_put_be64(p + offsetof(Qcow2DiskHeader, incompatible_features), incompatible);
    qcow2_put_be64(p + offsetof(Qcow2DiskHeader, compatible_features),
                   image->lazy_refcounts ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0);
    qcow2_put_be64(p + offsetof(Qcow2DiskHeader, autoclear_features),
                   image->data_file_raw ? QCOW2_AUTOCLEAR_DATA_RAW : 0);
    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, refcount_order), image->refcount_order);
    qcow2_put_be32(p + offsetof(Qcow2DiskHeader, header_length), sizeof(Qcow2DiskHeader));
    p[offsetof(Qcow2DiskHeader, compression_type)] = image->compression_type;
}

int qcow2_build_header(const Qcow2NewImage *image, const Qcow2Layout *layout, uint8_t *cluster,
                       Error **errp)
{
    Cursor c = { .cluster = cluster, .size = (size_t)1 << image->cluster_bits };
    size_t name_bytes = image->backing_file ? strlen(image->backing_file) : 0;
    uint8_t *p;

    put_fields(image, layout, cluster);
    c.pos = image->version >= 3 ? sizeof(Qcow2DiskHeader) : QCOW2_HEADER_V2_LENGTH;
    if (image->backing_format) {
        add_extension(&c, QCOW2_EXT_BACKING_FORMAT, image->backing_format,
                      strlen(image->backing_format));
    }
    if (image->data_file) {
        add_extension(&c, QCOW2_EXT_DATA_FILE, image->data_file, strlen(image->data_file));
    }
    if (image->version >= 3 && c.size > 4096) {
        size_t bytes;
        const void *names = qcow2_feature_names(&bytes);

        add_extension(&c, QCOW2_EXT_FEATURE_NAMES, names, bytes);
    }
    add_extension(&c, QCOW2_EXT_END, NULL, 0);
    p = take_space(&c, name_bytes);
    if (c.full) {
        error_setg(errp, "The names of the backing file or data file are too long for the cluster"
                   " size of %zu", c.size);
        return -EINVAL;
    }
    if (name_bytes) {
        memcpy(p, image->backing_file, name_bytes);
        qcow2_put_be64(cluster + offsetof(Qcow2DiskHeader, backing_file_offset), p - cluster);
        qcow2_put_be32(cluster + offsetof(Qcow2DiskHeader, backing_file_size), name_bytes);
    }
    return 0;
}
