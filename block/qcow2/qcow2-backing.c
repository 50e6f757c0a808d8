/* SPDX-License-Identifier: MIT */
/*
 * The first cluster is written anew: fixed fields, the format of the backing file, all other
 * extensions as they were (those that are not known here too), the name behind them. It goes out behind
 * a flush of all that the image held before, and so that a power cut leaves one header or the other.
 */
#include "qcow2-backing.h"

#include "qcow2-header-io.h"
#include "qcow2-header-rewrite.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"

typedef struct NewHeader {
    const uint8_t *old; /* the first cluster, size bytes */
    uint8_t *buf;       /* the new one */
    size_t size, used;
} NewHeader;

/* An extension with its padding. False when there is no room. */
static bool put_extension(NewHeader *n, uint32_t type, const void *data, uint32_t length)
{
    size_t padded = ROUND_UP((size_t)length, 8);

    if (n->size - n->used < 8 + padded) {
        return false;
    }
    qcow2_put_be32(n->buf + n->used, type);
    qcow2_put_be32(n->buf + n->used + 4, length);
    if (length) {
        memcpy(n->buf + n->used + 8, data, length);
    }
    n->used += 8 + padded;
    return true;
}

/* All but the backing format, up to @end. -EINVAL: what open has checked has changed since. */
static int copy_extensions(NewHeader *n, size_t at, size_t end)
{
    while (at + 8 <= end) {
        uint32_t type = qcow2_be32(n->old + at), length = qcow2_be32(n->old + at + 4);

        if (type == QCOW2_EXT_END) {
            return 0;
        }
        if (length > end - at - 8) {
            return -EINVAL;
        }
        if (type != QCOW2_EXT_BACKING_FORMAT && !put_extension(n, type, n->old + at + 8, length)) {
            return -ENOSPC;
        }
        at += 8 + ROUND_UP((size_t)length, 8);
    }
    return 0;
}

static int build(NewHeader *n, const Qcow2Header *h, const char *file, const char *format)
{
    /* The extensions end at the old name at the latest. */
    size_t end = h->backing_file_offset ? h->backing_file_offset : n->size;
    size_t length = file ? strlen(file) : 0;
    int ret;

    memcpy(n->buf, n->old, h->header_length);
    n->used = h->header_length;
    if (format && !put_extension(n, QCOW2_EXT_BACKING_FORMAT, format, strlen(format))) {
        return -ENOSPC;
    }
    ret = copy_extensions(n, h->header_length, end);
    if (ret < 0) {
        return ret;
    }
    if (!put_extension(n, QCOW2_EXT_END, NULL, 0) || n->size - n->used < length) {
        return -ENOSPC;
    }
    if (length) {
        memcpy(n->buf + n->used, file, length);
    }
    qcow2_put_be64(n->buf + offsetof(Qcow2DiskHeader, backing_file_offset), file ? n->used : 0);
    qcow2_put_be32(n->buf + offsetof(Qcow2DiskHeader, backing_file_size), length);
    return 0;
}

static void remember(Qcow2Header *h, const NewHeader *n, const char *file, const char *format)
{
    g_free(h->backing_file);
    g_free(h->backing_format);
    h->backing_file = g_strdup(file);
    h->backing_format = g_strdup(format);
    h->backing_file_offset = file ? n->used : 0;
    h->backing_file_size = file ? strlen(file) : 0;
}

static int coroutine_fn change_header(BlockDriverState *bs, const char *file, const char *format)
{
    BDRVQcow2State *s = bs->opaque;
    QEMU_AUTO_VFREE uint8_t *old = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    QEMU_AUTO_VFREE uint8_t *buf = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    NewHeader n = { .old = old, .buf = buf, .size = s->cluster_size };
    int ret;

    if (!old || !buf) {
        return -ENOMEM;
    }
    memset(buf, 0, n.size);
    ret = bdrv_co_pread(bs->file, 0, n.size, old, 0);
    if (ret == 0) {
        ret = build(&n, &s->hdr, file, format);
    }
    if (ret == 0) {
        ret = qcow2_co_replace_header(bs, old, buf, n.used + (file ? strlen(file) : 0));
    }
    if (ret == 0) {
        remember(&s->hdr, &n, file, format);
    }
    return ret;
}

int coroutine_fn qcow2_co_change_backing_file(BlockDriverState *bs, const char *file,
                                              const char *format)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (file && !*file) {
        file = NULL;
    }
    if (file && (strlen(file) > QCOW2_MAX_BACKING_NAME ||
                 (s->external && (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW)))) {
        return -EINVAL;
    }
    ret = qcow2_co_begin_change(bs);
    if (ret == 0) {
        ret = qcow2_co_writeback(bs);
    }
    if (ret == 0 && s->external) {
        ret = bdrv_co_flush(s->data_file->bs);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        ret = qcow2_co_header_lock(bs);
    }
    if (ret == 0) {
        ret = change_header(bs, file, file ? format : NULL);
        qcow2_co_header_unlock(bs);
    }
    return ret;
}
