/* SPDX-License-Identifier: MIT */
/*
 * Block status: data, zeroes or a hole, and where. A driver answers for itself; the core
 * rounds to its alignment, follows RAW answers to the child, and adds what a driver
 * cannot know: that nothing below means zeroes.
 */
#include "node.h"

/* What the driver says, rounded to its blocks; *@pnum and *@map are for @offset itself.
 */
static int coroutine_fn ask_driver(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    int64_t mask = (int64_t)bs->core->align_mask;
    int64_t start = offset & ~mask;
    int64_t end = (offset + bytes + mask) & ~mask;
    int ret = driver_block_status(bs, true, start, end - start, pnum, map, file);

    if (ret < 0) {
        return ret;
    }
    *pnum = MIN(*pnum - (offset - start), bytes);
    if (ret & (BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_RAW)) {
        *map += offset - start;
    }
    return ret;
}

/* For drivers without an opinion. */
static int default_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                          int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    BdrvChild *filtered = bdrv_filter_child(bs);

    *pnum = bytes;
    *map = offset;
    if (filtered) {
        *file = filtered->bs;
        return BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID;
    }
    *file = bs;
    return BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED |
           (bs->drv->protocol_name ? BDRV_BLOCK_OFFSET_VALID : 0);
}

/*
 * A RAW answer: the child knows. Beyond its end there is nothing, and that reads as
 * zeroes.
 */
static int coroutine_fn status_of_raw(int64_t bytes, int64_t *pnum, int64_t *map,
                                      BlockDriverState **file)
{
    int ret = bdrv_co_block_status(*file, *map, bytes, pnum, map, file);

    if (ret >= 0 && *pnum == 0) {
        *pnum = bytes;
        return BDRV_BLOCK_ZERO;
    }
    return ret;
}

/* Data in the child may turn out to be a hole there. */
static int coroutine_fn refine_by_child(BlockDriverState *file, int64_t map, int ret,
                                        int64_t *pnum)
{
    BlockDriverState *child_file;
    int64_t child_pnum, child_map;
    int child =
        bdrv_co_block_status(file, map, *pnum, &child_pnum, &child_map, &child_file);

    if (child < 0) {
        return ret; /* it was only to know better */
    }
    if ((child & BDRV_BLOCK_EOF) && (child_pnum == 0 || (child & BDRV_BLOCK_ZERO))) {
        return ret | BDRV_BLOCK_ZERO; /* up to the end of the child and beyond there are zeroes */
    }
    *pnum = child_pnum;
    return ret | (child & BDRV_BLOCK_ZERO);
}

static int coroutine_fn status_without_data(BlockDriverState *bs, int64_t offset, int ret)
{
    int64_t length;

    if (!bs->drv->supports_backing) {
        return ret;
    }
    if (!bs->backing) {
        return ret | BDRV_BLOCK_ZERO;
    }
    length = bdrv_co_getlength(bs->backing->bs);
    return length >= 0 && offset >= length ? ret | BDRV_BLOCK_ZERO : ret;
}

int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      int64_t *pnum, int64_t *map,
                                      BlockDriverState **file)
{
    int64_t length, local_map = 0;
    BlockDriverState *local_file = NULL;
    int ret;

    *pnum = 0;
    length = bdrv_co_getlength(bs);
    if (length < 0) {
        return length;
    }
    if (offset < 0 || bytes < 0) {
        return -EINVAL;
    }
    if (offset >= length) {
        return BDRV_BLOCK_EOF;
    }
    bytes = MIN(bytes, length - offset);
    if (bytes == 0) {
        return 0;
    }
    ret = bs->drv->bdrv_co_block_status
              ? ask_driver(bs, offset, bytes, pnum, &local_map, &local_file)
              : default_status(bs, offset, bytes, pnum, &local_map, &local_file);
    if (ret >= 0 && (ret & BDRV_BLOCK_RAW)) {
        ret = status_of_raw(*pnum, pnum, &local_map, &local_file);
    } else if (ret >= 0) {
        if (ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO)) {
            ret |= BDRV_BLOCK_ALLOCATED;
        } else {
            ret = status_without_data(bs, offset, ret);
        }
        if ((ret & BDRV_BLOCK_RECURSE) && (ret & BDRV_BLOCK_DATA) &&
            (ret & BDRV_BLOCK_OFFSET_VALID) && local_file != bs) {
            ret = refine_by_child(local_file, local_map, ret, pnum);
        }
    }
    if (ret < 0) {
        *pnum = 0;
        return ret;
    }
    ret &= ~(BDRV_BLOCK_EOF | BDRV_BLOCK_RECURSE | BDRV_BLOCK_RAW);
    if (offset + *pnum == length) {
        ret |= BDRV_BLOCK_EOF;
    }
    if (map) {
        *map = local_map;
    }
    if (file) {
        *file = ret & BDRV_BLOCK_OFFSET_VALID ? local_file : NULL;
    }
    return ret;
}

static BlockDriverState *next_below(BlockDriverState *bs)
{
    BdrvChild *filtered = bdrv_filter_child(bs);

    return filtered ? filtered->bs : bs->backing ? bs->backing->bs : NULL;
}

int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs, BlockDriverState *base,
                                            int64_t offset, int64_t bytes, int64_t *pnum,
                                            int64_t *map, BlockDriverState **file)
{
    int ret;
    bool eof;

    *pnum = 0;
    if (bs == base) {
        return 0;
    }
    ret = bdrv_co_block_status(bs, offset, bytes, pnum, map, file);
    if (ret < 0 || *pnum == 0) {
        return ret;
    }
    eof = ret & BDRV_BLOCK_EOF;
    bytes = *pnum;
    /* Zeroes that are not allocated are those behind the end of a layer below. */
    while (!(ret & BDRV_BLOCK_ALLOCATED) && (bs = next_below(bs)) && bs != base) {
        int64_t n;

        ret = bdrv_co_block_status(bs, offset, bytes, &n, map, file);
        if (ret < 0) {
            *pnum = 0;
            return ret;
        }
        if (n == 0) { /* a backing file that ends before */
            ret = BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED;
            break;
        }
        eof = eof && n == bytes;
        bytes = n;
    }
    *pnum = bytes;
    return (ret & ~BDRV_BLOCK_EOF) | (eof ? BDRV_BLOCK_EOF : 0);
}

int coroutine_fn bdrv_co_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      int64_t *pnum)
{
    int64_t n;
    int ret = bdrv_co_block_status(bs, offset, bytes, pnum ? pnum : &n, NULL, NULL);

    return ret < 0 ? ret : !!(ret & BDRV_BLOCK_ALLOCATED);
}

int coroutine_fn bdrv_co_is_allocated_above(BlockDriverState *bs, BlockDriverState *base,
                                            bool include_base, int64_t offset,
                                            int64_t bytes, int64_t *pnum)
{
    BlockDriverState *below = base && include_base ? next_below(base) : base;
    int ret =
        bdrv_co_block_status_above(bs, below, offset, bytes, pnum, NULL, NULL);

    return ret < 0 ? ret : !!(ret & BDRV_BLOCK_ALLOCATED);
}
