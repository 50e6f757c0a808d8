/* SPDX-License-Identifier: MIT */
/*
 * The read path: map a run, fetch it, go on. A request that turns out to be in several pieces
 * has them fetched side by side, up to MAX_PIECES at a time.
 */
#include "qcow2-read.h"

#include "qemu/aio_task.h"

#include "qcow2-packed.h"
#include "qcow2-reclaim.h"
#include "qcow2-vmstate.h"

#define MAX_PIECES 8

static int coroutine_fn read_extent(BlockDriverState *bs, const Qcow2Extent *ext,
                                    uint64_t offset, uint64_t bytes, QEMUIOVector *qiov,
                                    size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;

    switch (ext->kind) {
    case QCOW2_NORMAL:
        bdrv_co_debug_event(bs->file->bs, BLKDBG_READ_AIO);
        return bdrv_co_preadv_part(s->data_file, ext->host, bytes, qiov, qiov_offset, 0);
    case QCOW2_COMPRESSED:
        g_assert_not_reached(); /* qcow2_co_read_packed() */
    case QCOW2_UNALLOCATED:
    case QCOW2_UNALLOCATED_ALLOC:
        /* Machine state above the disk is not the backing file's business. */
        if (bs->backing && offset < qatomic_read(&s->size)) {
            bdrv_co_debug_event(bs->file->bs, BLKDBG_READ_BACKING_AIO);
            return bdrv_co_preadv_part(bs->backing, offset, bytes, qiov, qiov_offset, 0);
        }
        break;
    case QCOW2_ZERO_PLAIN:
    case QCOW2_ZERO_ALLOC:
        break;
    }
    qemu_iovec_memset(qiov, qiov_offset, 0, bytes);
    return 0;
}

/* --- pieces side by side --- */

typedef struct ReadPiece {
    AioTask task;
    BlockDriverState *bs;
    Qcow2Extent ext;
    Qcow2Packed packed; /* if it is compressed */
    uint64_t offset, bytes;
    QEMUIOVector *qiov;
    size_t qiov_offset;
} ReadPiece;

static int coroutine_fn read_piece(const ReadPiece *p)
{
    if (p->ext.kind == QCOW2_COMPRESSED) {
        return qcow2_co_read_packed(p->bs, &p->packed, p->offset, p->bytes, p->qiov,
                                    p->qiov_offset);
    }
    return read_extent(p->bs, &p->ext, p->offset, p->bytes, p->qiov, p->qiov_offset);
}

static int coroutine_fn piece_entry(AioTask *task)
{
    return read_piece(container_of(task, ReadPiece, task));
}

static void coroutine_fn start_piece(AioTaskPool **pool, const ReadPiece *piece)
{
    ReadPiece *p = g_new(ReadPiece, 1);

    *p = *piece;
    p->task.func = piece_entry;
    if (!*pool) {
        *pool = aio_task_pool_new(MAX_PIECES);
    }
    aio_task_pool_start_task(*pool, &p->task);
}

/* What is to be read at p->offset with one request; at most @bytes. */
static int coroutine_fn find_piece(ReadPiece *p, uint64_t bytes)
{
    int ret = qcow2_co_map(p->bs, p->offset, MIN(bytes, (uint64_t)INT_MAX), &p->ext);

    if (ret == 0) {
        p->bytes = p->ext.kind == QCOW2_COMPRESSED
                       ? qcow2_co_gather_packed(p->bs, p->offset, bytes, &p->ext, &p->packed)
                       : (uint64_t)p->ext.bytes;
    }
    return ret;
}

static bool takes_time(const BlockDriverState *bs, const Qcow2Extent *ext)
{
    return ext->kind == QCOW2_NORMAL || ext->kind == QCOW2_COMPRESSED ||
           (bs->backing && (ext->kind == QCOW2_UNALLOCATED ||
                            ext->kind == QCOW2_UNALLOCATED_ALLOC));
}

static int coroutine_fn read_mapped(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset)
{
    AioTaskPool *pool = NULL;
    ReadPiece p = { .bs = bs, .offset = offset, .qiov = qiov, .qiov_offset = qiov_offset };
    int ret = 0;

    while (bytes && ret == 0) {
        ret = find_piece(&p, bytes);
        if (ret < 0) {
            break;
        }
        if (takes_time(bs, &p.ext) && (pool || p.bytes < bytes)) {
            start_piece(&pool, &p);
            ret = aio_task_pool_status(pool);
        } else {
            ret = read_piece(&p);
        }
        p.offset += p.bytes;
        p.qiov_offset += p.bytes;
        bytes -= p.bytes;
    }
    if (pool) {
        aio_task_pool_wait_all(pool);
        ret = ret < 0 ? ret : aio_task_pool_status(pool);
        aio_task_pool_free(pool);
    }
    return ret;
}

int coroutine_fn qcow2_co_read_range(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t size = qatomic_read(&s->size);
    uint64_t there = offset >= size ? 0 : MIN(bytes, size - offset);

    if (offset >= qcow2_vmstate_offset(s)) {
        there = bytes;
    }

    if (there < bytes) {
        qemu_iovec_memset(qiov, qiov_offset + there, 0, bytes - there);
    }
    return read_mapped(bs, offset, there, qiov, qiov_offset);
}

int coroutine_fn qcow2_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned *users;
    uint64_t host;
    int ret;

    if (unlikely(qatomic_read(&s->dead))) {
        return -ENOMEDIUM;
    }
    users = qcow2_request_begin(s);

    if (likely(qcow2_map_direct(s, offset, bytes, false, &host))) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_READ_AIO);
        ret = bdrv_co_preadv_part(s->data_file, host, bytes, qiov, qiov_offset, 0);
    } else {
        ret = read_mapped(bs, offset, bytes, qiov, qiov_offset);
    }
    qcow2_request_end(users);
    return ret;
}

/* --- copying out of the image without looking at the data --- */

typedef struct CopyOut {
    BdrvChild *dst;
    BdrvRequestFlags read_flags, write_flags;
} CopyOut;

/* What the backing file does not reach is zero. */
static int coroutine_fn copy_backing(BlockDriverState *bs, const CopyOut *c, int64_t offset,
                                     int64_t dst_offset, int64_t *bytes)
{
    int64_t length = bs->backing ? bdrv_co_getlength(bs->backing->bs) : 0;

    if (length < 0) {
        return length;
    }
    if (offset < length) {
        *bytes = MIN(*bytes, length - offset);
        return bdrv_co_copy_range_from(bs->backing, offset, c->dst, dst_offset, *bytes,
                                       c->read_flags, c->write_flags);
    }
    return bdrv_co_pwrite_zeroes(c->dst, dst_offset, *bytes, c->write_flags);
}

/* *@bytes comes as those of the extent, and goes as those that are copied. */
static int coroutine_fn copy_extent(BlockDriverState *bs, const CopyOut *c, const Qcow2Extent *ext,
                                    int64_t offset, int64_t dst_offset, int64_t *bytes)
{
    BDRVQcow2State *s = bs->opaque;

    switch (ext->kind) {
    case QCOW2_NORMAL:
        return bdrv_co_copy_range_from(s->data_file, ext->host, c->dst, dst_offset, *bytes,
                                       c->read_flags, c->write_flags);
    case QCOW2_COMPRESSED:
        return -ENOTSUP;
    case QCOW2_UNALLOCATED:
    case QCOW2_UNALLOCATED_ALLOC:
        return copy_backing(bs, c, offset, dst_offset, bytes);
    case QCOW2_ZERO_PLAIN:
    case QCOW2_ZERO_ALLOC:
        break;
    }
    return bdrv_co_pwrite_zeroes(c->dst, dst_offset, *bytes, c->write_flags);
}

int coroutine_fn qcow2_co_copy_range_from(BlockDriverState *bs, BdrvChild *src,
                                          int64_t src_offset, BdrvChild *dst, int64_t dst_offset,
                                          int64_t bytes, BdrvRequestFlags read_flags,
                                          BdrvRequestFlags write_flags)
{
    BDRVQcow2State *s = bs->opaque;
    CopyOut c = { .dst = dst, .read_flags = read_flags, .write_flags = write_flags };
    unsigned *users;
    int ret = 0;

    if (qatomic_read(&s->dead)) {
        return -ENOMEDIUM;
    }
    /* The clusters stay what they are until they have been copied. */
    users = qcow2_request_begin(s);
    while (bytes && ret == 0) {
        Qcow2Extent ext;

        ret = qcow2_co_map(bs, src_offset, MIN(bytes, INT_MAX), &ext);
        if (ret == 0) {
            ret = copy_extent(bs, &c, &ext, src_offset, dst_offset, &ext.bytes);
        }
        if (ret == 0) {
            src_offset += ext.bytes;
            dst_offset += ext.bytes;
            bytes -= ext.bytes;
        }
    }
    qcow2_request_end(users);
    return ret;
}
