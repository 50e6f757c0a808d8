/* SPDX-License-Identifier: MIT */
/* Reading compressed clusters, several at a time where their streams lie together. */
#ifndef BLOCK_QCOW2_PACKED_H
#define BLOCK_QCOW2_PACKED_H

#include "qcow2-map.h"

#define QCOW2_PACKED_MAX 16

/* Streams of successive clusters of the guest's disk. */
typedef struct Qcow2Packed {
    unsigned count;
    uint64_t entry[QCOW2_PACKED_MAX]; /* L2 entries */
    uint64_t start, end;              /* of all of them in the file, in bytes */
} Qcow2Packed;

/*
 * @first is what the map says at @offset, a compressed cluster. Adds those behind it as far as they
 * can be read with it; the guest's bytes that they hold, at most @bytes.
 */
uint64_t coroutine_fn qcow2_co_gather_packed(BlockDriverState *bs, uint64_t offset,
                                             uint64_t bytes, const Qcow2Extent *first,
                                             Qcow2Packed *packed);

/* Reads what was gathered for [@offset, @offset + @bytes). In the caller's request. */
int coroutine_fn qcow2_co_read_packed(BlockDriverState *bs, const Qcow2Packed *packed,
                                      uint64_t offset, uint64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset);

#endif
