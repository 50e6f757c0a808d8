/* SPDX-License-Identifier: MIT */
/* See the header. Both changes are durable before the write that they are for goes on. */
#include "qcow2-first-write.h"

#include "qcow2-header-io.h"
#include "qcow2-overlap.h"

/* Sets the flag of enabled bitmaps in the directory; *@changed says whether there were any. */
static int mark_directory(uint8_t *dir, uint64_t size, uint32_t nb, bool *changed)
{
    uint64_t pos = 0;

    for (uint32_t i = 0; i < nb; i++) {
        const uint8_t *e = dir + pos;
        uint64_t length;
        uint32_t flags;

        if (size - pos < sizeof(Qcow2DiskBitmapDirEntry)) {
            return -EINVAL;
        }
        flags = qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry, flags));
        length = sizeof(Qcow2DiskBitmapDirEntry) +
                 (uint64_t)qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry, extra_data_size)) +
                 qcow2_be16(e + offsetof(Qcow2DiskBitmapDirEntry, name_size));
        length = ROUND_UP(length, UINT64_C(8));
        if (length > size - pos) {
            return -EINVAL;
        }
        if ((flags & QCOW2_BITMAP_AUTO) && !(flags & QCOW2_BITMAP_IN_USE)) {
            qcow2_put_be32(dir + pos + offsetof(Qcow2DiskBitmapDirEntry, flags),
                           flags | QCOW2_BITMAP_IN_USE);
            *changed = true;
        }
        pos += length;
    }
    return 0;
}

/* -EINVAL: the directory makes no sense, so none of its bitmaps does. */
static int coroutine_fn mark_bitmaps(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2DiskBitmapsExt *b = &s->hdr.bitmaps;
    QEMU_AUTO_VFREE uint8_t *dir = qemu_try_blockalign(bs->file->bs, b->directory_size);
    bool changed = false;
    int ret;

    if (!dir) {
        return -ENOMEM;
    }
    ret = bdrv_co_pread(bs->file, b->directory_offset, b->directory_size, dir, 0);
    if (ret == 0) {
        ret = mark_directory(dir, b->directory_size, b->nb_bitmaps, &changed);
    }
    if (ret < 0 || !changed) {
        return ret;
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_BITMAPS, b->directory_offset, b->directory_size);
    if (ret == 0) {
        ret = bdrv_co_pwrite(bs->file, b->directory_offset, b->directory_size, dir, 0);
    }
    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

static int coroutine_fn first_write_locked(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t keep = QCOW2_AUTOCLEAR_DATA_RAW | QCOW2_AUTOCLEAR_BITMAPS;
    uint64_t old = s->hdr.autoclear_features;
    int ret = 0;

    if (old & QCOW2_AUTOCLEAR_BITMAPS) {
        ret = mark_bitmaps(bs);
        if (ret == -EINVAL) {
            keep &= ~QCOW2_AUTOCLEAR_BITMAPS;
            ret = 0;
        }
    }
    if (ret == 0 && (old & ~keep)) {
        s->hdr.autoclear_features = old & keep;
        ret = qcow2_co_write_header_features(bs);
        if (ret == 0) {
            ret = bdrv_co_flush(bs->file->bs);
        }
        if (ret < 0) {
            s->hdr.autoclear_features = old;
        }
    }
    return ret;
}

int coroutine_fn qcow2_co_first_write(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    qemu_co_mutex_lock(&s->l1_lock);
    if (!s->first_write_done) {
        ret = first_write_locked(bs);
        qatomic_store_release(&s->first_write_done, ret == 0);
    }
    qemu_co_mutex_unlock(&s->l1_lock);
    return ret;
}
