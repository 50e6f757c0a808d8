/* SPDX-License-Identifier: MIT */
/* The public face of what is special to qcow2: facts, for programs and for `info`, and the check. */
#include "block/qcow2.h"

#include "qcow2-check.h"
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

BlockOptions *qcow2_get_specific_info(BlockDriverState *bs, Error **errp)
{
    BlockOptions *opts = blk_options_new();
    BlockQcow2Info info;

    bdrv_qcow2_get_info(bs, &info);
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

int bdrv_qcow2_check(BlockDriverState *bs, Qcow2CheckResult *result, unsigned fix,
                     Qcow2CheckReport *report, void *opaque)
{
    if (bs->drv != &bdrv_qcow2) {
        return -ENOTSUP;
    }
    if (fix && bs->read_only) {
        return -EACCES;
    }
    return qcow2_check(bs, result, fix, report, opaque);
}
