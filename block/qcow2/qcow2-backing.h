/* SPDX-License-Identifier: MIT */
/* The name of the backing file in the header. */
#ifndef BLOCK_QCOW2_BACKING_H
#define BLOCK_QCOW2_BACKING_H

#include "block/block-driver.h"

/*
 * Records another backing file (NULL: none) and its format (NULL: none is recorded); durable on
 * return 0, after everything that was written before. -EINVAL for a name that is too long or an image that must not have
 * one, -ENOSPC when it does not fit behind the other extensions.
 */
int coroutine_fn qcow2_co_change_backing_file(BlockDriverState *bs, const char *file,
                                              const char *format);

#endif
