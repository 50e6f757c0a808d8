/* SPDX-License-Identifier: MIT */
/*
 * Changing the length of a node. The range between the old and the new end is kept for
 * the truncation alone: overlapping writes wait, as it is a serialising request.
 */
#include "node.h"

static int check_truncate(BlockDriverState *bs, int64_t offset, Error **errp)
{
    if (offset < 0) {
        error_setg(errp, "Image size cannot be negative");
        return -EINVAL;
    }
    if (offset > BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size is larger than %" PRId64 " bytes",
                   (int64_t)BDRV_MAX_LENGTH);
        return -EFBIG;
    }
    if (bs->read_only) {
        error_setg(errp, "Image is read-only");
        return -EACCES;
    }
    return 0;
}

/* New space must read as zeroes, not as what a longer backing file has there. */
static int coroutine_fn zero_flag_for_backing(BlockDriverState *bs, int64_t old_length,
                                              int64_t offset, BdrvRequestFlags *flags)
{
    int64_t backing_length;

    if (!bs->backing || offset <= old_length) {
        return 0;
    }
    backing_length = bdrv_co_getlength(bs->backing->bs);
    if (backing_length < 0) {
        return backing_length;
    }
    if (backing_length > old_length) {
        *flags |= BDRV_REQ_ZERO_WRITE;
    }
    return 0;
}

static int coroutine_fn truncate_tracked(BlockDriverState *bs, int64_t old_length,
                                         int64_t offset, bool exact,
                                         PreallocMode prealloc, BdrvRequestFlags flags,
                                         Error **errp)
{
    BdrvChild *filtered = bdrv_filter_child(bs);
    int64_t length;
    int ret = zero_flag_for_backing(bs, old_length, offset, &flags);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not get the size of the backing file");
        return ret;
    }
    if (bs->drv->bdrv_co_truncate) {
        if (flags & ~bs->supported_truncate_flags) {
            error_setg(errp, "Block driver does not support requested flags");
            return -ENOTSUP;
        }
        ret = driver_truncate(bs, offset, exact, prealloc, flags, errp);
    } else if (filtered) {
        ret = bdrv_co_truncate(filtered, offset, exact, prealloc, flags, errp);
    } else {
        error_setg(errp, "Image format driver does not support resize");
        return -ENOTSUP;
    }
    if (ret < 0) {
        return ret;
    }
    length = bdrv_co_refresh_length(bs);
    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the size of the resized image");
        return length;
    }
    bdrv_dirty_bitmaps_follow_length(bs);
    return 0;
}

int coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact,
                                  PreallocMode prealloc, BdrvRequestFlags flags,
                                  Error **errp)
{
    BlockDriverState *bs = child->bs;
    TrackedRequest req;
    int64_t old_length, from;
    int ret = check_truncate(bs, offset, errp);

    if (ret < 0) {
        return ret;
    }
    from = MIN(qatomic_read(&bs->core->length), offset);
    for (;;) {
        tracked_begin(&req, bs, from, INT64_MAX - from, true, false);
        old_length = bdrv_co_getlength(bs);
        if (old_length < 0) {
            ret = old_length;
            error_setg_errno(errp, -ret, "Could not get the size of the image");
            break;
        }
        if (MIN(old_length, offset) >= from) {
            ret = truncate_tracked(bs, old_length, offset, exact, prealloc, flags, errp);
            break;
        }
        /* Another truncation came first: more is new space than this one keeps. */
        tracked_end(&req);
        from = MIN(old_length, offset);
    }
    tracked_end(&req);
    return ret;
}
