/* SPDX-License-Identifier: MIT */
/*
 * What qcow2 images have beyond other images: facts for tools, and the check. Home
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

#define QCOW2_FIX_LEAKS  1U
#define QCOW2_FIX_ERRORS 2U

/* What qemu-img check reports. A leak wastes space; a corruption endangers data. */
typedef struct Qcow2CheckResult {
    uint64_t corruptions, leaks, check_errors; /* left */
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset; /* bytes: behind the last cluster in use */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
} Qcow2CheckResult;

/* Called for each finding, one line of text. */
typedef void Qcow2CheckReport(void *opaque, const char *line);

/*
 * Checks an image (opened with BDRV_O_CHECK, so that damage does not prevent that), and
 * repairs what @fix (QCOW2_FIX_*) allows if it is open for writing. 0 when the check could be made,
 * whatever it found; -ENOTSUP for other formats, or -errno. Nothing else may use the image
 * meanwhile. @report may be NULL.
 */
int bdrv_qcow2_check(BlockDriverState *bs, Qcow2CheckResult *result, unsigned fix,
                     Qcow2CheckReport *report, void *opaque);

G_END_DECLS
#pragma GCC visibility pop

#endif
