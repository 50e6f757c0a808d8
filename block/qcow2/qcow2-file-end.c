/* SPDX-License-Identifier: MIT */
/* A failure here is no failure of the request: the write itself will make the file longer. */
#include "qcow2-file-end.h"

#include "qcow2-overlap.h"
#include "qcow2-refblock.h"

#define MIN_STEP (UINT64_C(1) << 20)
#define MAX_STEP (UINT64_C(64) << 20)

void coroutine_fn qcow2_file_end_reserve(BlockDriverState *bs, uint64_t end)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Refcounts *rc = &s->rc;
    uint64_t step = MIN(MAX(end / 4, MIN_STEP), MAX_STEP);
    /* Others' clusters may lie behind this one, and their data be on the way. */
    uint64_t target = MAX(end, rc->zero_from) + step;
    int64_t length;

    if (end <= rc->file_end || rc->file_end_fixed) {
        return;
    }
    length = bdrv_co_getlength(bs->file->bs);
    if (length >= 0 && (uint64_t)length >= end) {
        rc->file_end = length; /* it has been there all the time: a device, or preallocated */
        return;
    }
    if (bdrv_co_truncate(bs->file, target, false, PREALLOC_MODE_FALLOC, 0, NULL) < 0 &&
        bdrv_co_truncate(bs->file, target, false, PREALLOC_MODE_OFF, 0, NULL) < 0) {
        rc->file_end_fixed = true;
        return;
    }
    rc->file_end = target;
    rc->file_end_ahead = true;
}

/* Where the last cluster ends, or the compressed data in it: readers take whole sectors. */
static uint64_t used_end(const BDRVQcow2State *s)
{
    uint64_t end = s->rc.zero_from, cursor = ROUND_UP(s->rc.cursor, BDRV_SECTOR_SIZE);

    return cursor < end && end - cursor < s->cluster_size ? cursor : end;
}

void coroutine_fn qcow2_file_end_trim(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = used_end(s), known = MAX(s->rc.file_end, s->rc.zero_from);
    int64_t length;

    if (!s->rc.file_end_ahead) {
        return;
    }
    length = bdrv_co_getlength(bs->file->bs);
    /* A still longer one holds what a damaged table has led behind the end. */
    if (length >= 0 && (uint64_t)length > end && (uint64_t)length <= known &&
        bdrv_co_truncate(bs->file, end, true, PREALLOC_MODE_OFF, 0, NULL) == 0) {
        s->rc.file_end = end;
    }
    s->rc.file_end_ahead = false;
}

void coroutine_fn qcow2_file_end_cut(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_co_getlength(bs->file->bs);
    uint64_t end;

    /* In clusters, as a damaged table may count some that have no offset. */
    if (length < 0 || qcow2_refcounts_used_end(bs, &end) < 0 || qcow2_map_end(s) > end ||
        end > (uint64_t)length >> s->cluster_bits) {
        return;
    }
    end <<= s->cluster_bits;
    if (bdrv_co_truncate(bs->file, end, false, PREALLOC_MODE_OFF, 0, NULL) < 0) {
        return;
    }
    length = bdrv_co_getlength(bs->file->bs);
    if (length >= 0 && (uint64_t)length <= end) { /* a device stays as long as it is */
        s->rc.zero_from = s->rc.file_end = end;
        s->rc.file_end_ahead = false;
    }
}
