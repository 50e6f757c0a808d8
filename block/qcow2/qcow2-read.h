/* SPDX-License-Identifier: MIT */
/* Reading guest data, and what is known of it without reading. */
#ifndef BLOCK_QCOW2_READ_H
#define BLOCK_QCOW2_READ_H

#include "qcow2-map.h"

int coroutine_fn qcow2_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags);

/*
 * The same for callers that are inside qcow2_request_begin/end already; the range may reach
 * beyond the end of the disk, where there are zeroes.
 */
int coroutine_fn qcow2_co_read_range(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset);

/* Of clusters that hold data of their own; compressed ones: -ENOTSUP. */
int coroutine_fn qcow2_co_copy_range_from(BlockDriverState *bs, BdrvChild *src,
                                          int64_t src_offset, BdrvChild *dst, int64_t dst_offset,
                                          int64_t bytes, BdrvRequestFlags read_flags,
                                          BdrvRequestFlags write_flags);

int coroutine_fn qcow2_co_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                       int64_t bytes, int64_t *pnum, int64_t *map,
                                       BlockDriverState **file);

#endif
