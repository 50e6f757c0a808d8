/* SPDX-License-Identifier: MIT */
/*
 * Checking an image: all references are counted, and compared with the refcounts that the
 * image holds; then the COPIED flags are. Leaks (a refcount too high) waste space,
 * everything else is corruption.
 */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/block-driver.h"

#define QCOW2_FIX_LEAKS  1U
#define QCOW2_FIX_ERRORS 2U

/* What qemu-img check reports. */
typedef struct Qcow2CheckResult {
    uint64_t corruptions, leaks, check_errors; /* left */
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset;                 /* bytes: behind the last cluster in use */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
} Qcow2CheckResult;

/* Called for each finding, one line of text. */
typedef void Qcow2CheckReport(void *opaque, const char *line);

/*
 * Checks, and repairs what @fix allows. 0 when the check could be made, whatever it found;
 * -errno otherwise. Nothing else may use the image meanwhile. @report may be NULL.
 */
int coroutine_fn qcow2_co_check(BlockDriverState *bs, Qcow2CheckResult *result, unsigned fix,
                                Qcow2CheckReport *report, void *opaque);

/* The same, not in a coroutine. */
int qcow2_check(BlockDriverState *bs, Qcow2CheckResult *result, unsigned fix,
                Qcow2CheckReport *report, void *opaque);

#endif
