/* SPDX-License-Identifier: MIT */
/*
 * What a chunk that has been read is made of: runs of data, which are written, and of zeroes, which
 * become holes. Nothing here waits or has a state.
 */
#ifndef QEMU_IMG_MINI_CONVERT_RUNS_H
#define QEMU_IMG_MINI_CONVERT_RUNS_H

#include "convert-copy.h"

typedef struct CopyRun {
    int64_t bytes;
    bool zero;
} CopyRun;

/*
 * The runs of the @bytes in @buf, which belong at @offset of the target, into @runs (of CopyRun,
 * emptied first). Holes begin and end at multiples of @granularity (bytes), or of clusters if they are
 * compressed; with no min_sparse all is data.
 */
void copy_find_runs(const CopyJob *job, int64_t granularity, const uint8_t *buf, int64_t offset,
                    int64_t bytes, GArray *runs);

#endif
