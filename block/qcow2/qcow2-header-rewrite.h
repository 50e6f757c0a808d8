/* SPDX-License-Identifier: MIT */
/* Changes of the header that move its extensions about. */
#ifndef BLOCK_QCOW2_HEADER_REWRITE_H
#define BLOCK_QCOW2_HEADER_REWRITE_H

#include "qcow2-state.h"

/*
 * Under header_lock (qcow2-header-io.h): makes the first cluster @new, of which @end bytes are in
 * use, instead of @old; both s->cluster_size bytes. At every instant the disk holds one header or
 * the other. Durable when it returns 0. -errno: nothing has changed, or, as with
 * qcow2_co_switch_header(), nothing is written any more.
 */
int coroutine_fn qcow2_co_replace_header(BlockDriverState *bs, const uint8_t *old,
                                         const uint8_t *new, size_t end);

/*
 * Sets the bitmaps extension (in host byte order; NULL: none) and the feature bit that goes with
 * it, clears unknown autoclear bits, and updates s->hdr. -ENOSPC: the first cluster has no room.
 */
int coroutine_fn qcow2_co_write_header_bitmaps(BlockDriverState *bs, const Qcow2DiskBitmapsExt *b);

#endif
