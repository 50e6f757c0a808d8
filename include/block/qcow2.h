/* SPDX-License-Identifier: MIT */
/*
 * What qcow2 images have beyond other images: facts for tools. Home
 * thread, not in a coroutine.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/block-common.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/* Strings belong to the node, and live as long as it. */
typedef struct BlockQcow2Info {
    unsigned version;             /* 2 ("compat 0.10") or 3 ("compat 1.1") */
    uint32_t cluster_size;        /* bytes */
    unsigned refcount_bits;
    const char *compression_type; /* "zlib" or "zstd" */
    bool lazy_refcounts, extended_l2, dirty, corrupt;
    const char *data_file;        /* as recorded, or NULL */
    bool external_data, data_file_raw;
    unsigned crypt_method;        /* 0: not encrypted */
    uint32_t nb_snapshots;
    uint32_t nb_bitmaps;          /* persistent ones that count */
} BlockQcow2Info;

/* False when the node is no qcow2 image. */
bool bdrv_qcow2_get_info(BlockDriverState *bs, BlockQcow2Info *info);

/*
 * The highest value of the open option compression-level, of which 1 is the lowest, in an image of
 * this compression type ("zlib" or "zstd"). Any thread.
 */
unsigned bdrv_qcow2_max_compression_level(const char *compression_type);

G_END_DECLS
#pragma GCC visibility pop

#endif
