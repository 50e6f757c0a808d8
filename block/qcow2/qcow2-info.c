/* SPDX-License-Identifier: MIT */
/* The public face of what is special to qcow2: facts, for programs and for `info`. */
#include "block/qcow2.h"

#include "qcow2-bitmap.h"
#include "qcow2-compress.h"
#include "qcow2-info.h"
#include "qcow2-state.h"
#include "../drivers.h"

bool bdrv_qcow2_get_info(BlockDriverState *bs, BlockQcow2Info *info)
{
    const BDRVQcow2State *s = bs->opaque;
    const Qcow2Header *h;

    if (bs->drv != &bdrv_qcow2) {
        return false;
    }
    h = &s->hdr;
    *info = (BlockQcow2Info){
        .version = h->version,
        .cluster_size = s->cluster_size,
        .refcount_bits = 1U << h->refcount_order,
        .compression_type = qcow2_compression_name(h->compression_type),
        .lazy_refcounts = h->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS,
        .extended_l2 = s->extended,
        .dirty = h->incompatible_features & QCOW2_INCOMPAT_DIRTY,
        .corrupt = (h->incompatible_features & QCOW2_INCOMPAT_CORRUPT) ||
                   qatomic_read(&s->corruption_reported),
        .data_file = h->data_file,
        .external_data = s->external,
        .data_file_raw = h->autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW,
        .crypt_method = h->crypt_method,
        .nb_snapshots = h->nb_snapshots,
        .nb_bitmaps = h->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS ? h->bitmaps.nb_bitmaps : 0,
    };
    return true;
}

/* As the image has them, whatever RAM says. */
static void add_bitmaps(BlockOptions *opts, const BDRVQcow2State *s)
{
    for (guint i = 0; i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *b = s->bitmaps->pdata[i];
        g_autofree char *prefix = g_strdup_printf("bitmaps.%u", i);
        g_autofree char *flags = g_strconcat(prefix, ".flags", NULL);
        g_autofree char *first = g_strconcat(flags, ".0", NULL);
        g_autofree char *second = g_strconcat(flags, ".1", NULL);
        g_autofree char *name = g_strconcat(prefix, ".name", NULL);
        g_autofree char *granularity = g_strconcat(prefix, ".granularity", NULL);
        bool in_use = b->flags & QCOW2_BITMAP_IN_USE, is_auto = b->flags & QCOW2_BITMAP_AUTO;

        if (in_use) {
            blk_options_set(opts, first, "in-use");
        }
        if (is_auto) {
            blk_options_set(opts, in_use ? second : first, "auto");
        }
        if (!in_use && !is_auto) {
            blk_options_set_empty_list(opts, flags);
        }
        blk_options_set(opts, name, b->name);
        blk_options_set_number(opts, granularity, INT64_C(1) << b->granularity_bits);
    }
}

BlockOptions *qcow2_get_specific_info(BlockDriverState *bs, Error **errp)
{
    BlockOptions *opts = blk_options_new();
    BlockQcow2Info info;

    bdrv_qcow2_get_info(bs, &info);
    add_bitmaps(opts, bs->opaque);
    blk_options_set(opts, "compat", info.version < 3 ? "0.10" : "1.1");
    blk_options_set(opts, "compression-type", info.compression_type);
    blk_options_set_number(opts, "refcount-bits", info.refcount_bits);
    if (info.version >= 3) {
        blk_options_set_bool(opts, "lazy-refcounts", info.lazy_refcounts);
        blk_options_set_bool(opts, "corrupt", info.corrupt);
        blk_options_set_bool(opts, "extended-l2", info.extended_l2);
        if (info.data_file) {
            blk_options_set(opts, "data-file", info.data_file);
        }
        if (info.external_data) {
            blk_options_set_bool(opts, "data-file-raw", info.data_file_raw);
        }
    }
    return opts;
}

unsigned bdrv_qcow2_max_compression_level(const char *compression_type)
{
    return qcow2_compression_max_level(!strcmp(compression_type, "zstd")
                                           ? QCOW2_COMPRESSION_ZSTD
                                           : QCOW2_COMPRESSION_DEFLATE);
}
