/* SPDX-License-Identifier: MIT */
/*
 * The option cache-clean-interval: every so many seconds what was not used since the last time
 * leaves the L2 cache, and its memory goes back. A timer in the node's home context.
 */
#ifndef BLOCK_QCOW2_CACHE_CLEAN_H
#define BLOCK_QCOW2_CACHE_CLEAN_H

#include "qcow2-state.h"

/* Home thread; @ctx is the home context. Nothing when the interval is 0. */
void qcow2_cache_clean_start(BlockDriverState *bs, AioContext *ctx);
void qcow2_cache_clean_stop(BlockDriverState *bs);

#endif
