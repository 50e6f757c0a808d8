/* SPDX-License-Identifier: MIT */
/*
 * Callbacks of filters that pass requests on to bs->file as they are. A filter puts those
 * into its table that it has nothing to add to; what they do not name the core passes on.
 */
#ifndef BLOCK_DRIVERS_FILTER_H
#define BLOCK_DRIVERS_FILTER_H

#include "block/block-driver.h"

/* For open: the flags that bs->file handles are handled. */
void filter_take_flags(BlockDriverState *bs);
/* As bs->file, except for the alignment, which the core sees to below. */
void filter_refresh_limits(BlockDriverState *bs, Error **errp);

int coroutine_fn filter_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, size_t qiov_offset,
                                       BdrvRequestFlags flags);
int coroutine_fn filter_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        QEMUIOVector *qiov, size_t qiov_offset,
                                        BdrvRequestFlags flags);
int coroutine_fn filter_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                         BdrvRequestFlags flags);
int coroutine_fn filter_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn filter_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                                   int64_t bytes, QEMUIOVector *qiov,
                                                   size_t qiov_offset);

#endif
