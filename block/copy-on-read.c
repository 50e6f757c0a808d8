/* SPDX-License-Identifier: MIT */
/*
 * Copy on read: what a read finds in the layers below is written to the node, so that the
 * next read finds it there. The contents do not change (BDRV_REQ_WRITE_UNCHANGED).
 *
 * The clusters that the read touches are kept for it as a serialising request while the
 * missing ones are filled in; the data itself is read afterwards like any other.
 */
#include "node.h"
#include "qemu/cutils.h"

/* The most bytes that are copied at once, unless a cluster is larger. */
#define MAX_COPY (1024 * 1024)

static int64_t copy_unit(BlockDriverState *bs)
{
    BlockDriverInfo bdi = { 0 };
    int64_t unit = bs->bl.request_alignment;

    if (bs->drv->bdrv_co_get_info && bdrv_get_info(bs, &bdi) >= 0) {
        unit = MAX(unit, (int64_t)bdi.cluster_size);
    }
    return unit;
}

/* Copies up one piece that is not allocated. */
static int coroutine_fn copy_up(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(bs, bytes);
    QEMUIOVector qiov;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    qemu_iovec_init_buf(&qiov, buf, bytes);
    ret = read_aligned(bs, offset, bytes, &qiov, 0, 0);
    if (ret < 0) {
        return ret;
    }
    bdrv_co_debug_event(bs, BLKDBG_COR_WRITE);
    if (bs->drv->bdrv_co_pwrite_zeroes && buffer_is_zero(buf, bytes)) {
        return zero_quietly(bs, offset, bytes, BDRV_REQ_WRITE_UNCHANGED);
    }
    return write_quietly(bs, offset, bytes, &qiov, 0, BDRV_REQ_WRITE_UNCHANGED);
}

static int coroutine_fn fill_in(BlockDriverState *bs, int64_t start, int64_t end,
                                int64_t unit)
{
    int64_t most = MAX((int64_t)MAX_COPY / unit * unit, unit);
    int64_t n;

    for (int64_t at = start; at < end; at += n) {
        int ret = bdrv_co_is_allocated(bs, at, MIN(end - at, most), &n);

        if (ret == 0 && n > 0) {
            n = MIN(ROUND_UP(n, (int64_t)bs->bl.request_alignment), end - at);
            ret = copy_up(bs, at, n);
        }
        if (ret < 0) {
            return ret;
        }
        if (n == 0) {
            break; /* the end of the image */
        }
    }
    return 0;
}

int coroutine_fn copy_on_read(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int64_t mask = (int64_t)bs->core->align_mask;
    int64_t length = bdrv_co_length_for(bs, offset + bytes);
    int64_t unit, start, end, n;
    TrackedRequest req;
    int ret;

    if (length < 0) {
        return length;
    }
    if (bs->read_only || offset >= length) {
        return 0;
    }
    bytes = MIN(bytes, length - offset);
    ret = bdrv_co_is_allocated(bs, offset, bytes, &n);
    if (ret < 0 || (ret > 0 && n == bytes)) {
        return MIN(ret, 0);
    }
    unit = copy_unit(bs);
    start = QEMU_ALIGN_DOWN(offset, unit);
    end = MIN(QEMU_ALIGN_UP(offset + bytes, unit), (length + mask) & ~mask);
    ret = tracked_begin(&req, bs, start, end - start, true, false);
    if (ret == 0) {
        ret = fill_in(bs, start, end, unit);
        tracked_end(&req);
    }
    return ret;
}
