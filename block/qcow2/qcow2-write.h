/* SPDX-License-Identifier: MIT */
/* Writing guest data. */
#ifndef BLOCK_QCOW2_WRITE_H
#define BLOCK_QCOW2_WRITE_H

#include "qcow2-map.h"
#include "qcow2-range.h"

int coroutine_fn qcow2_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, size_t qiov_offset,
                                       BdrvRequestFlags flags);

int coroutine_fn qcow2_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                                  int64_t bytes, QEMUIOVector *qiov,
                                                  size_t qiov_offset);

/* The same for data that another image has; its file and that of this one copy it. */
int coroutine_fn qcow2_co_copy_range_to(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                        BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                        BdrvRequestFlags read_flags,
                                        BdrvRequestFlags write_flags);

/* Under meta: what the old words of an entry referred to is not needed any more. */
void qcow2_drop_entry(BlockDriverState *bs, const uint64_t word[2]);

/* Under meta, between slot_change_begin and _end: replaces entry @index of the slot. */
void qcow2_set_entry(BDRVQcow2State *s, unsigned slot, unsigned index, const uint64_t word[2]);
void qcow2_get_entry(const BDRVQcow2State *s, unsigned slot, unsigned index, uint64_t word[2]);

/* Every change of the guest's disk begins with this: 0, or why the image takes none now. */
int coroutine_fn qcow2_co_begin_change(BlockDriverState *bs);

#endif
