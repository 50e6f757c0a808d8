/* SPDX-License-Identifier: MIT */
/* Giving up what lies behind a new, smaller end of the disk. */
#ifndef BLOCK_QCOW2_SHRINK_H
#define BLOCK_QCOW2_SHRINK_H

#include "qcow2-state.h"

/*
 * Takes everything from @size on out of the tables, makes that durable, and gives the space
 * back to the file. The header still holds the old size on return: what is left of a disk that
 * is cut off there, by a failure or a power cut, reads as if it had never been written. Requests
 * behind @size are kept away by the caller. 0 or -errno with @errp.
 */
int coroutine_fn qcow2_co_shrink(BlockDriverState *bs, uint64_t size, Error **errp);

#endif
