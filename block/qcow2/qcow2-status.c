/* SPDX-License-Identifier: MIT */
/* Block status: what is known of a range without reading it. */
#include "block/block-image.h"

#include "qcow2-read.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"

static int status_of(const BDRVQcow2State *s, const Qcow2Extent *ext, int64_t *map,
                     BlockDriverState **file)
{
    switch (ext->kind) {
    case QCOW2_NORMAL:
        *map = ext->host;
        *file = s->data_file->bs;
        return BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
    case QCOW2_ZERO_ALLOC:
        *map = ext->host;
        *file = s->data_file->bs;
        return BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID;
    case QCOW2_ZERO_PLAIN:
        return BDRV_BLOCK_ZERO;
    case QCOW2_COMPRESSED:
        return BDRV_BLOCK_DATA | BDRV_BLOCK_COMPRESSED;
    case QCOW2_UNALLOCATED_ALLOC:
        *map = ext->host;
        *file = s->data_file->bs;
        return BDRV_BLOCK_OFFSET_VALID;
    case QCOW2_UNALLOCATED:
        break;
    }
    return 0;
}

/*
 * Fewer clusters take space in the file than are in use: metadata was preallocated, or the
 * file was copied sparsely. The margins are QEMU's, for what map and convert tell depends on it.
 */
static bool coroutine_fn detect_holes(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_co_getlength(bs->file->bs);
    int64_t allocated = bdrv_get_allocated_file_size(bs->file->bs);
    uint64_t real, threshold, used = 0;

    if (length < 0 || allocated < 0) {
        return false;
    }
    real = allocated >> s->cluster_bits;
    threshold = MAX(real * 10 / 9, real + 2);
    length = (length + s->cluster_size - 1) >> s->cluster_bits;
    qemu_co_mutex_lock(&s->alloc_lock);
    qcow2_refcounts_count_used(bs, length, threshold, &used); /* what can be read counts */
    qemu_co_mutex_unlock(&s->alloc_lock);
    return used >= threshold;
}

/* Found out once; several requests may do so at the same time. */
static bool coroutine_fn file_has_holes(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Holes holes = qatomic_read(&s->holes);

    if (holes == QCOW2_HOLES_UNKNOWN) {
        holes = detect_holes(bs) ? QCOW2_HOLES_SOME : QCOW2_HOLES_NONE;
        qatomic_set(&s->holes, holes);
    }
    return holes == QCOW2_HOLES_SOME;
}

int coroutine_fn qcow2_co_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                       int64_t bytes, int64_t *pnum, int64_t *map,
                                       BlockDriverState **file)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned *users = qcow2_request_begin(s);
    Qcow2Extent ext, next;
    int ret = qcow2_co_map(bs, offset, bytes, &ext);

    if (ret == 0) {
        int64_t total = ext.bytes;

        /* Runs end with their slice: join what belongs together. */
        while (total < bytes && ext.kind != QCOW2_COMPRESSED) {
            if (qcow2_co_map(bs, offset + total, bytes - total, &next) < 0 ||
                next.kind != ext.kind ||
                (qcow2_kind_has_host(ext.kind) && next.host != ext.host + total)) {
                break;
            }
            total += next.bytes;
        }
        *pnum = total;
        ret = status_of(s, &ext, map, file);
        if (want_zero && (ret & BDRV_BLOCK_DATA) && (ret & BDRV_BLOCK_OFFSET_VALID) &&
            file_has_holes(bs)) {
            ret |= BDRV_BLOCK_RECURSE;
        }
    }
    qcow2_request_end(users);
    return ret;
}
