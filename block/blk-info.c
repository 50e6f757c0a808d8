/* SPDX-License-Identifier: MIT */
/*
 * What a BlockBackend tells of its image, and its small settings. Home thread or a
 * coroutine.
 */
#include "node.h"

bool blk_is_available(BlockBackend *blk)
{
    return blk->root.bs;
}

bool blk_is_writable(BlockBackend *blk)
{
    return blk_is_available(blk) && !blk->root.bs->read_only &&
           (blk->root.perm & BLK_PERM_WRITE);
}

int64_t coroutine_fn blk_co_getlength(BlockBackend *blk)
{
    return blk_is_available(blk) ? bdrv_co_getlength(blk->root.bs) : -ENOMEDIUM;
}

int64_t blk_getlength(BlockBackend *blk)
{
    return blk_is_available(blk) ? bdrv_getlength(blk->root.bs) : -ENOMEDIUM;
}

int64_t blk_nb_sectors(BlockBackend *blk)
{
    int64_t length = blk_getlength(blk);

    return length < 0 ? length : length >> BDRV_SECTOR_BITS;
}

uint32_t blk_get_request_alignment(BlockBackend *blk)
{
    uint32_t align = 1;

    if (!blk_is_available(blk)) {
        return BDRV_SECTOR_SIZE;
    }
    /* What lies below pays for what this node lets through. */
    for (BlockDriverState *bs = blk->root.bs; bs; bs = bs->file ? bs->file->bs : NULL) {
        align = MAX(align, bs->bl.request_alignment);
    }
    return align;
}

int64_t blk_get_max_transfer(BlockBackend *blk)
{
    int64_t align = blk_get_request_alignment(blk);
    int64_t max = blk_is_available(blk) ? blk->root.bs->bl.max_transfer : 0;

    return ROUND_DOWN(MIN_NON_ZERO(max, BDRV_REQUEST_MAX_BYTES), align);
}

int blk_get_max_iov(BlockBackend *blk)
{
    return blk_is_available(blk) ? blk->root.bs->bl.max_iov : IOV_MAX;
}

bool blk_enable_write_cache(BlockBackend *blk)
{
    return !blk->write_through;
}

void blk_set_enable_write_cache(BlockBackend *blk, bool wce)
{
    blk->write_through = !wce;
}

void *blk_blockalign(BlockBackend *blk, size_t size)
{
    return qemu_blockalign(blk_bs(blk), size);
}

void *blk_try_blockalign(BlockBackend *blk, size_t size)
{
    return qemu_try_blockalign(blk_bs(blk), size);
}
