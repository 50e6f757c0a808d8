/* SPDX-License-Identifier: MIT */
/*
 * The metadata counts as for a disk that is written to everywhere, so that what is said to be
 * required suffices whichever clusters the data falls into.
 */
#include "qcow2-measure.h"

#include "block/block-driver.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/qcow2.h"

#include "qcow2-format.h"
#include "qemu/osdep.h"
#include "qemu/host-utils.h"

typedef struct Measure {
    uint64_t cluster;       /* bytes */
    uint64_t l2_entry;      /* bytes */
    uint64_t refcount_bits;
    uint64_t size;          /* of the disk, whole clusters */
    uint64_t data;          /* bytes that will be written */
    unsigned version;
    bool backing, extended, all_data;
} Measure;

/* --- the options that matter; the others do not change the size --- */

static int take_mode(BlockOptions *opts, bool *all_data, Error **errp)
{
    g_autofree char *mode = blk_options_take(opts, "preallocation");

    if (mode && strcmp(mode, "off") && strcmp(mode, "metadata") && strcmp(mode, "falloc") &&
        strcmp(mode, "full")) {
        error_setg(errp, "invalid parameter value: %s", mode);
        return -EINVAL;
    }
    *all_data = mode && mode[0] == 'f';
    return 0;
}

static int take_version(BlockOptions *opts, unsigned *version, Error **errp)
{
    g_autofree char *compat = blk_options_take(opts, "compat");

    if (!compat || !strcmp(compat, "1.1") || !strcmp(compat, "v3")) {
        *version = 3;
    } else if (!strcmp(compat, "0.10") || !strcmp(compat, "v2")) {
        *version = 2;
    } else {
        error_setg(errp, "Invalid compatibility level: '%s'", compat);
        return -EINVAL;
    }
    return 0;
}

static int check_numbers(const Measure *m, Error **errp)
{
    if (m->cluster < 512 || m->cluster > 2 * 1024 * 1024 || !is_power_of_2(m->cluster)) {
        error_setg(errp, "Cluster size must be a power of two between 512 and 2048k");
        return -EINVAL;
    }
    if (m->extended && m->cluster < 1U << QCOW2_MIN_CLUSTER_BITS_EXTL2) {
        error_setg(errp, "Extended L2 entries are only supported with cluster sizes of at least"
                   " %u bytes", 1U << QCOW2_MIN_CLUSTER_BITS_EXTL2);
        return -EINVAL;
    }
    if (m->refcount_bits > 64 || !is_power_of_2(m->refcount_bits)) {
        error_setg(errp, "Refcount width must be a power of two and may not exceed 64 bits");
        return -EINVAL;
    }
    if (m->version < 3 && m->refcount_bits != 16) {
        error_setg(errp, "Different refcount widths than 16 bits require compatibility level 1.1"
                   " or above (use compat=1.1 or greater)");
        return -EINVAL;
    }
    return 0;
}

/* As when an image is created: there is no LUKS, and its header would need room. */
static int refuse_luks(BlockOptions *opts, Error **errp)
{
    g_autofree char *format = blk_options_take(opts, "encrypt.format");
    g_autofree char *secret = blk_options_take(opts, "encrypt.key-secret");

    if (!format || strcmp(format, "luks") != 0) {
        return 0;
    }
    error_setg(errp, "%s", secret ? "Encrypted qcow2 images are not supported"
                                  : "Parameter 'encrypt.key-secret' is required for cipher");
    return -ENOTSUP;
}

static int take_options(BlockOptions *opts, Measure *m, Error **errp)
{
    g_autofree char *backing = blk_options_take(opts, "backing_file");
    int ret;

    *m = (Measure){ .cluster = 65536, .refcount_bits = 16, .backing = backing };
    if (blk_options_take_bool(opts, "extended_l2", &m->extended, errp) < 0 ||
        blk_options_take_size(opts, "cluster_size", &m->cluster, errp) < 0 ||
        take_mode(opts, &m->all_data, errp) < 0 || take_version(opts, &m->version, errp) < 0 ||
        blk_options_take_number(opts, "refcount_bits", &m->refcount_bits, errp) < 0 ||
        blk_options_take_size(opts, "size", &m->size, errp) < 0) {
        return -EINVAL;
    }
    ret = check_numbers(m, errp);
    m->l2_entry = m->extended ? 16 : 8;
    return ret;
}

/* --- what there is to copy --- */

static int count_data(Measure *m, BlockDriverState *in_bs, uint64_t length, Error **errp)
{
    uint64_t done = 0; /* all below is counted, in whole clusters of the new image */

    for (uint64_t offset = 0; offset < length;) {
        int64_t pnum = 0;
        int ret = bdrv_block_status_above(in_bs, NULL, offset, length - offset, &pnum, NULL, NULL);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Unable to get block status");
            return ret;
        }
        if (!(ret & BDRV_BLOCK_ZERO) && (ret & BDRV_BLOCK_DATA) && (ret & BDRV_BLOCK_ALLOCATED)) {
            uint64_t from = MAX(done, ROUND_DOWN(offset, m->cluster));

            done = ROUND_UP(offset + pnum, m->cluster);
            m->data += done - from;
        }
        offset += pnum;
        bdrv_report_progress(in_bs, offset, length);
    }
    return 0;
}

static int measure_source(Measure *m, BlockDriverState *in_bs, Error **errp)
{
    int64_t length = bdrv_getlength(in_bs);

    if (length < 0) {
        error_setg_errno(errp, -length, "Unable to get image virtual_size");
        return length;
    }
    m->size = ROUND_UP((uint64_t)length, m->cluster);
    /* How much of it the new backing file has already is not known: nothing, at worst. */
    m->all_data |= m->backing;
    return m->all_data ? 0 : count_data(m, in_bs, length, errp);
}

/* --- sizes --- */

/* Refcount blocks and table for so many clusters, themselves included. */
static uint64_t refcount_clusters(const Measure *m, uint64_t clusters)
{
    uint64_t per_block = m->cluster * 8 / m->refcount_bits, own = 0, before;

    do {
        uint64_t blocks = DIV_ROUND_UP(clusters + own, per_block);

        before = own;
        own = blocks + DIV_ROUND_UP(blocks * 8, m->cluster);
    } while (own != before);
    return own;
}

static int metadata_bytes(const Measure *m, uint64_t *bytes, Error **errp)
{
    uint64_t data = m->size / m->cluster;
    uint64_t l2_tables = DIV_ROUND_UP(data, m->cluster / m->l2_entry);
    uint64_t clusters = 1 + l2_tables + DIV_ROUND_UP(l2_tables * 8, m->cluster);

    if (l2_tables * 8 > QCOW2_MAX_L1_BYTES) {
        error_setg(errp, "The image size is too large (try using a larger cluster size)");
        return -EFBIG;
    }
    *bytes = (clusters + refcount_clusters(m, clusters + data)) * m->cluster;
    return 0;
}

/* Directory, tables and contents of all persistent bitmaps, when each bit has a place. */
static uint64_t bitmaps_bytes(const Measure *m, BlockDriverState *in_bs)
{
    uint64_t bytes = 0, directory = 0;

    for (BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(in_bs); b; b = bdrv_dirty_bitmap_next(b)) {
        uint64_t bits, clusters;

        if (!bdrv_dirty_bitmap_get_persistence(b)) {
            continue;
        }
        bits = DIV_ROUND_UP((uint64_t)bdrv_dirty_bitmap_size(b), bdrv_dirty_bitmap_granularity(b));
        clusters = DIV_ROUND_UP(DIV_ROUND_UP(bits, 8), m->cluster);
        bytes += clusters * m->cluster + ROUND_UP(clusters * 8, m->cluster);
        directory += ROUND_UP(sizeof(Qcow2DiskBitmapDirEntry) + strlen(bdrv_dirty_bitmap_name(b)),
                              (size_t)8);
    }
    return bytes + ROUND_UP(directory, m->cluster);
}

int qcow2_measure(BlockOptions *opts, BlockDriverState *in_bs, BlockMeasureInfo *info,
                  Error **errp)
{
    Measure m;
    BlockQcow2Info source;
    uint64_t metadata;
    int ret = refuse_luks(opts, errp);

    if (ret == 0) {
        ret = take_options(opts, &m, errp);
    }
    if (ret < 0) {
        return ret;
    }
    if (m.size > BDRV_MAX_LENGTH) {
        error_setg(errp, "The image size is too large (try using a larger cluster size)");
        return -EFBIG;
    }
    m.size = ROUND_UP(m.size, m.cluster);
    ret = metadata_bytes(&m, &metadata, errp);
    if (ret == 0 && in_bs) {
        ret = measure_source(&m, in_bs, errp);
        if (ret == 0) {
            ret = metadata_bytes(&m, &metadata, errp);
        }
    }
    if (ret < 0) {
        return ret;
    }
    info->fully_allocated = metadata + m.size;
    info->required = metadata + (m.all_data ? m.size : m.data);
    /* Only images that can have bitmaps are asked for some. */
    info->has_bitmaps = m.version >= 3 && in_bs && bdrv_qcow2_get_info(in_bs, &source) &&
                        source.version >= 3;
    if (info->has_bitmaps) {
        info->bitmaps = bitmaps_bytes(&m, in_bs);
    }
    return 0;
}
