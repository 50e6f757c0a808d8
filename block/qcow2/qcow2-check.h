/* SPDX-License-Identifier: MIT */
/*
 * Checking an image: all references are counted, and compared with the refcounts that the
 * image holds; then the COPIED flags are. Leaks (a refcount too high) waste space,
 * everything else is corruption.
 */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/block-driver.h"

/*
 * bdrv_co_check() of the driver table. Findings go to stderr. 0 when the check could be
 * made, whatever it found; -errno otherwise. Nothing else may use the image meanwhile.
 */
int coroutine_fn qcow2_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                                BdrvCheckMode fix);

#endif
