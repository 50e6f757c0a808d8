/* SPDX-License-Identifier: MIT */
/*
 * Checking an image: all references are counted, and compared with the refcounts that the
 * image holds; then the COPIED flags are. Leaks (a refcount too high) waste space,
 * everything else is corruption.
 */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/block-driver.h"
#include "block/qcow2.h"

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
