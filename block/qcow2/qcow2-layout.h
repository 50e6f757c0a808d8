/* SPDX-License-Identifier: MIT */
/* What the file of a fresh image looks like, byte by byte. Pure functions, no I/O. */
#ifndef BLOCK_QCOW2_LAYOUT_H
#define BLOCK_QCOW2_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qapi/error.h"
#include "qcow2-format.h"

typedef struct Qcow2NewImage {
    uint64_t size;          /* bytes, whole sectors */
    uint32_t version;
    unsigned cluster_bits;
    unsigned refcount_order;
    unsigned compression_type;
    bool lazy_refcounts, extended_l2, data_file_raw;
    const char *backing_file, *backing_format, *data_file; /* NULL: none */
} Qcow2NewImage;

typedef struct Qcow2Layout {
    uint64_t l1_size;       /* entries */
    uint64_t l1_offset;     /* bytes; 0 when there is no entry */
    uint64_t reftable_clusters;
    uint64_t blocks;        /* the first follows the table, the others the L1 table */
    uint64_t clusters;      /* in use */
    uint64_t file_length;   /* bytes */
} Qcow2Layout;

/* -EFBIG with @errp when no table could describe it. */
int qcow2_plan_layout(const Qcow2NewImage *image, Qcow2Layout *layout, Error **errp);

/* The first cluster, zeroed before by the caller. -EINVAL when names do not fit in it. */
int qcow2_build_header(const Qcow2NewImage *image, const Qcow2Layout *layout, uint8_t *cluster,
                       Error **errp);

/* Where block @i lies, in clusters. */
uint64_t qcow2_layout_block(const Qcow2NewImage *image, const Qcow2Layout *layout, uint64_t i);

/* The data of the feature name extension that images made here have. */
const void *qcow2_feature_names(size_t *bytes);

#endif
