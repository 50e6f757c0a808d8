/* SPDX-License-Identifier: MIT */
/*
 * copy-on-read: a filter whose reads copy what they find in the layers below to the image
 * (block/copy-on-read.c does it). With "bottom", only what lies in a layer down to that
 * node, and it.
 */
#include "qemu/osdep.h"
#include "filter.h"
#include "block/block-image.h"

typedef struct CopyOnReadState {
    BlockDriverState *bottom; /* NULL: all layers; a reference */
} CopyOnReadState;

static int take_bottom(BlockDriverState *bs, BlockOptions *options, Error **errp)
{
    CopyOnReadState *s = bs->opaque;
    g_autofree char *name = blk_options_take(options, "bottom");
    BlockDriverState *bottom, *at = bs->file->bs;

    if (!name) {
        return 0;
    }
    bottom = bdrv_find_node(name);
    if (!bottom) {
        error_setg(errp, "Bottom node '%s' not found", name);
        return -EINVAL;
    }
    if (bdrv_is_filter(bottom)) {
        error_setg(errp, "Bottom node '%s' is a filter", name);
        return -EINVAL;
    }
    while (at && at != bottom) {
        at = bdrv_is_filter(at) ? bdrv_primary_bs(at) : bdrv_backing_bs(at);
    }
    if (!at) {
        error_setg(errp, "Bottom node '%s' is not below the image", name);
        return -EINVAL;
    }
    bdrv_ref(bottom);
    s->bottom = bottom;
    return 0;
}

static int cor_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    int ret = take_bottom(bs, options, errp);

    if (ret == 0) {
        filter_take_flags(bs);
        bs->supported_read_flags = BDRV_REQ_PREFETCH;
    }
    return ret;
}

static void cor_close(BlockDriverState *bs)
{
    CopyOnReadState *s = bs->opaque;

    bdrv_unref(s->bottom);
}

/* Reads write; but nobody sees a difference. */
static void cor_child_perm(BlockDriverState *bs, const BdrvChild *child, uint64_t perm,
                           uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    *nperm = perm | BLK_PERM_WRITE_UNCHANGED;
    *nshared = shared | BLK_PERM_WRITE_UNCHANGED;
}

/* Does what is read come from a layer that shall be copied? *@n bytes are alike. */
static int coroutine_fn shall_copy(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   int64_t *n)
{
    CopyOnReadState *s = bs->opaque;
    BlockDriverState *image = bs->file->bs;
    int ret = bdrv_co_is_allocated(image, offset, bytes, n);

    if (ret != 0 || *n == 0) {
        *n = *n ? *n : bytes;
        return MIN(ret, 0);
    }
    ret = bdrv_co_is_allocated_above(image, s->bottom, true, offset, *n, n);
    *n = *n ? *n : bytes;
    return ret;
}

static int coroutine_fn cor_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes, QEMUIOVector *qiov,
                                           size_t qiov_offset, BdrvRequestFlags flags)
{
    CopyOnReadState *s = bs->opaque;
    int64_t n;
    int ret = 0;

    if (!s->bottom) {
        return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                                   flags | BDRV_REQ_COPY_ON_READ);
    }
    for (; bytes > 0 && ret == 0; offset += n, bytes -= n, qiov_offset += n) {
        int copy = shall_copy(bs, offset, bytes, &n);

        if (copy < 0) {
            return copy;
        }
        if (copy || !(flags & BDRV_REQ_PREFETCH)) {
            ret = bdrv_co_preadv_part(bs->file, offset, n, qiov, qiov_offset,
                                      copy ? flags | BDRV_REQ_COPY_ON_READ : flags);
        }
    }
    return ret;
}

BlockDriver bdrv_copy_on_read = {
    .format_name = "copy-on-read",
    .instance_size = sizeof(CopyOnReadState),
    .is_filter = true,
    .bdrv_open = cor_open,
    .bdrv_close = cor_close,
    .bdrv_refresh_limits = filter_refresh_limits,
    .bdrv_child_perm = cor_child_perm,
    .bdrv_co_preadv_part = cor_co_preadv_part,
    .bdrv_co_pwritev_part = filter_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = filter_co_pwrite_zeroes,
    .bdrv_co_pdiscard = filter_co_pdiscard,
    .bdrv_co_pwritev_compressed_part = filter_co_pwritev_compressed_part,
};
