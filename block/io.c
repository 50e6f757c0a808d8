/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes: from what a parent asks to what a driver takes.
 *
 *   simple      fits the driver as it is: goes straight through (request_is_simple)
 *   unaligned   padded to whole blocks; a write reads the blocks at its ends first
 *               and serialises against overlapping writes meanwhile (read-modify-write)
 *   too large   split at max_transfer and max_iov
 *   too many    small buffers, more than max_iov for a block: copied into one
 *
 * Plain reads are not tracked: a read-modify-write puts the same bytes back around its
 * own, so a reader never sees anything that was not written. Nodes that raise debug events
 * track them, so that a test finds a read waiting for the write that it has stopped.
 */
#include "node.h"

/* The largest bounce buffer in bytes; what is larger is done in pieces. */
#define MAX_BOUNCE (1024 * 1024)

int check_range(int64_t offset, int64_t bytes)
{
    return offset < 0 || bytes < 0 || bytes > BDRV_MAX_LENGTH - offset ? -EIO : 0;
}

int check_range_qiov(int64_t offset, int64_t bytes, const QEMUIOVector *qiov,
                     size_t qiov_offset)
{
    if (check_range(offset, bytes) < 0 || bytes > BDRV_REQUEST_MAX_BYTES) {
        return -EIO;
    }
    return qiov_offset > qiov->size || (size_t)bytes > qiov->size - qiov_offset ? -EIO
                                                                                : 0;
}

int coroutine_fn check_write_end(const BdrvChild *child, int64_t end, bool was_inside)
{
    int64_t length = bdrv_co_length_for(child->bs, end);

    if (length < 0) {
        return length;
    }
    return end <= length || (!was_inside && (child->perm & BLK_PERM_RESIZE)) ? 0 : -EIO;
}

int64_t coroutine_fn bdrv_co_length_for(BlockDriverState *bs, int64_t end)
{
    int64_t length = qatomic_read(&bs->core->length);

    return unlikely(end > length && bs->bl.has_variable_length)
               ? bdrv_co_refresh_length(bs)
               : length;
}

int64_t coroutine_fn bdrv_co_getlength(BlockDriverState *bs)
{
    return bdrv_co_length_for(bs, INT64_MAX);
}

/* --- pieces that a driver takes --- */

/* The bytes that the first bl.max_iov elements hold, in whole blocks. */
static int64_t bytes_in_max_iov(const BlockDriverState *bs, QEMUIOVector *qiov,
                                size_t qiov_offset, int64_t bytes)
{
    size_t head, tail, sum = 0;
    struct iovec *iov;
    int niov;

    iov = qemu_iovec_slice(qiov, qiov_offset, bytes, &head, &tail, &niov);
    if (niov <= bs->bl.max_iov) {
        return bytes;
    }
    for (int i = 0; i < bs->bl.max_iov; i++) {
        sum += iov[i].iov_len;
    }
    return (sum - head) & ~(size_t)bs->core->align_mask;
}

/*
 * The next piece of a request; *@bounce: not even a block of it fits into max_iov
 * buffers.
 */
static int64_t next_piece(const BlockDriverState *bs, QEMUIOVector *qiov,
                          size_t qiov_offset, int64_t bytes, bool *bounce)
{
    int64_t n = MIN_NON_ZERO(bs->bl.max_transfer, bytes);
    int64_t fits = bytes_in_max_iov(bs, qiov, qiov_offset, n);

    *bounce = fits == 0;
    return fits ? fits
                : MIN(n, MAX((int64_t)MAX_BOUNCE, (int64_t)bs->bl.request_alignment));
}

static int coroutine_fn write_piece(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset,
                                    BdrvRequestFlags flags)
{
    if (flags & BDRV_REQ_WRITE_COMPRESSED) {
        return driver_pwritev_compressed(bs, offset, bytes, qiov, qiov_offset);
    }
    return driver_pwritev(bs, offset, bytes, qiov, qiov_offset,
                          flags & bs->supported_write_flags);
}

static int coroutine_fn bounce_piece(BlockDriverState *bs, bool write, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset, BdrvRequestFlags flags)
{
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(bs, bytes);
    QEMUIOVector local;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    qemu_iovec_init_buf(&local, buf, bytes);
    if (write) {
        qemu_iovec_to_buf(qiov, qiov_offset, buf, bytes);
        return write_piece(bs, offset, bytes, &local, 0, flags);
    }
    ret = driver_preadv(bs, offset, bytes, &local, 0, flags & bs->supported_read_flags);
    if (ret == 0) {
        qemu_iovec_from_buf(qiov, qiov_offset, buf, bytes);
    }
    return ret;
}

static int coroutine_fn transfer(BlockDriverState *bs, bool write, int64_t offset,
                                 int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                                 BdrvRequestFlags flags)
{
    int ret = 0;

    while (bytes > 0 && ret == 0) {
        bool bounce;
        int64_t n = next_piece(bs, qiov, qiov_offset, bytes, &bounce);

        if (unlikely(bounce)) {
            ret = bounce_piece(bs, write, offset, n, qiov, qiov_offset, flags);
        } else if (write) {
            ret = write_piece(bs, offset, n, qiov, qiov_offset, flags);
        } else {
            ret = driver_preadv(bs, offset, n, qiov, qiov_offset,
                                flags & bs->supported_read_flags);
        }
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    return ret;
}

/* --- aligned requests --- */

/* Beyond the end of the image there are zeroes. */
int coroutine_fn read_aligned(BlockDriverState *bs, int64_t offset, int64_t bytes,
                              QEMUIOVector *qiov, size_t qiov_offset,
                              BdrvRequestFlags flags)
{
    int64_t length = bdrv_co_length_for(bs, offset + bytes);
    int64_t mask = (int64_t)bs->core->align_mask;
    int64_t there;
    int ret = 0;

    if (length < 0) {
        return length;
    }
    if (!bs->drv->bdrv_co_preadv_part) {
        return -ENOTSUP;
    }
    there = offset >= length ? 0 : MIN(bytes, (length - offset + mask) & ~mask);
    ret = transfer(bs, false, offset, there, qiov, qiov_offset, flags);
    if (ret == 0 && there < bytes) {
        qemu_iovec_memset(qiov, qiov_offset + there, 0, bytes - there);
    }
    return ret;
}

/* A format's file grows when the format writes behind its end. */
static void grow_length(BlockDriverState *bs, int64_t end)
{
    int64_t *length = &bs->core->length;
    int64_t old = qatomic_read(length);

    end = ROUND_UP(end, (int64_t)BDRV_SECTOR_SIZE);
    while (old < end) {
        int64_t seen = qatomic_cmpxchg(length, old, end);

        if (seen == old) {
            break;
        }
        old = seen;
    }
}

int coroutine_fn write_finish(BlockDriverState *bs, int64_t end, int ret, bool flush)
{
    BlockNodeCore *core = bs->core;

    if (ret < 0) {
        return ret;
    }
    if (unlikely(end > qatomic_read(&core->length))) {
        grow_length(bs, end);
        bdrv_dirty_bitmaps_follow_length(bs);
    }
    if (flush) {
        /* tracked_end() will count the write, but this flush has to see it already. */
        node_lock(&core->reqs_lock);
        core->write_gen++;
        node_unlock(&core->reqs_lock);
        return bdrv_co_flush(bs);
    }
    return 0;
}

static inline bool fua_needs_flush(const BlockDriverState *bs, BdrvRequestFlags flags)
{
    return (flags & BDRV_REQ_FUA) && (!(bs->supported_write_flags & BDRV_REQ_FUA) ||
                                      (flags & BDRV_REQ_WRITE_COMPRESSED));
}

/* A sync for each piece of a long write would take much longer than one flush behind it. */
static bool is_in_pieces(const BlockDriverState *bs, QEMUIOVector *qiov, size_t qiov_offset,
                         int64_t bytes)
{
    bool bounce;

    return bytes > 0 && next_piece(bs, qiov, qiov_offset, bytes, &bounce) < bytes;
}

int coroutine_fn write_aligned(BlockDriverState *bs, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags)
{
    int ret;

    if (unlikely(bs->core->detect_zeroes) && bs->drv->bdrv_co_pwrite_zeroes &&
        qemu_iovec_is_zero(qiov, qiov_offset, bytes)) {
        flags &= ~BDRV_REQ_WRITE_COMPRESSED;
        flags |= bs->core->detect_zeroes_unmap ? BDRV_REQ_MAY_UNMAP : 0;
        return zero_aligned(bs, offset, bytes, flags);
    }
    if (!(flags & BDRV_REQ_WRITE_COMPRESSED)) {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV);
    }
    ret = write_quietly(bs, offset, bytes, qiov, qiov_offset, flags);
    bdrv_co_debug_event(bs, BLKDBG_PWRITEV_DONE);
    return ret;
}

int coroutine_fn write_quietly(BlockDriverState *bs, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags)
{
    bool possible = flags & BDRV_REQ_WRITE_COMPRESSED
                        ? bs->drv->bdrv_co_pwritev_compressed_part != NULL
                        : bs->drv->bdrv_co_pwritev_part != NULL;
    bool flush = false;
    int ret;

    if (!possible) {
        return -ENOTSUP;
    }
    if (unlikely(flags & BDRV_REQ_FUA)) {
        ret = qatomic_read(&bs->core->flush_error);
        if (ret < 0) {
            return ret;
        }
        flush = fua_needs_flush(bs, flags) || is_in_pieces(bs, qiov, qiov_offset, bytes);
        if (flush) {
            flags &= ~(BdrvRequestFlags)BDRV_REQ_FUA;
        }
    }
    ret = transfer(bs, true, offset, bytes, qiov, qiov_offset, flags);
    return write_finish(bs, offset + bytes, ret, flush);
}

/* --- padding --- */

/*
 * What an unaligned request gets around it: head bytes before, tail bytes behind, out of
 * one or two blocks in buf. With both ends in the same block there is one.
 */
typedef struct Padding {
    int64_t head, tail;
    int64_t start, bytes; /* of the padded request */
    uint8_t *buf;
    int64_t buf_bytes;
    QEMUIOVector qiov;
} Padding;

static int padding_init(Padding *pad, BlockDriverState *bs, int64_t offset, int64_t bytes,
                        QEMUIOVector *qiov, size_t qiov_offset)
{
    int64_t mask = (int64_t)bs->core->align_mask;
    int64_t block = mask + 1, end;
    int ret;

    if (offset + bytes > INT64_MAX - mask) {
        return -EIO;
    }
    end = (offset + bytes + mask) & ~mask;
    pad->start = offset & ~mask;
    pad->bytes = end - pad->start;
    pad->head = offset - pad->start;
    pad->tail = end - (offset + bytes);
    pad->buf_bytes = pad->bytes == block ? block : (!!pad->head + !!pad->tail) * block;
    pad->buf = qemu_try_blockalign(bs, pad->buf_bytes);
    if (!pad->buf) {
        return -ENOMEM;
    }
    ret =
        qemu_iovec_init_extended(&pad->qiov, pad->buf, pad->head, qiov, qiov_offset,
                                 bytes, pad->buf + pad->buf_bytes - pad->tail, pad->tail);
    if (ret < 0) {
        qemu_vfree(pad->buf);
    }
    return ret;
}

static void padding_destroy(Padding *pad)
{
    qemu_iovec_destroy(&pad->qiov);
    qemu_vfree(pad->buf);
}

int coroutine_fn read_for_rmw(BlockDriverState *bs, int64_t offset, uint8_t *buf,
                              bool head, bool tail)
{
    QEMUIOVector local;
    int ret;

    if (head) {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_HEAD);
    }
    if (tail) {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_TAIL);
    }
    qemu_iovec_init_buf(&local, buf, bs->bl.request_alignment);
    ret = read_aligned(bs, offset, local.size, &local, 0, 0);
    if (ret == 0 && head) {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_AFTER_HEAD);
    }
    if (ret == 0 && tail) {
        bdrv_co_debug_event(bs, BLKDBG_PWRITEV_RMW_AFTER_TAIL);
    }
    return ret;
}

/* Reads the blocks at both ends of a write. */
static int coroutine_fn padding_read(Padding *pad, BlockDriverState *bs)
{
    int64_t block = bs->bl.request_alignment;
    int ret = 0;

    if (pad->head || pad->bytes == block) {
        bool tail = pad->tail && pad->bytes == block;

        ret = read_for_rmw(bs, pad->start, pad->buf, pad->head, tail);
    }
    if (ret == 0 && pad->tail && pad->bytes > block) {
        ret = read_for_rmw(bs, pad->start + pad->bytes - block,
                           pad->buf + pad->buf_bytes - block, false, true);
    }
    return ret;
}

static int coroutine_fn padded_request(BlockDriverState *bs, bool write, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset, BdrvRequestFlags flags);

static int coroutine_fn linear_request(BlockDriverState *bs, bool write, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset, BdrvRequestFlags flags)
{
    QEMU_AUTO_VFREE void *buf = qemu_try_blockalign(bs, bytes);
    QEMUIOVector local;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    qemu_iovec_init_buf(&local, buf, bytes);
    if (write) {
        qemu_iovec_to_buf(qiov, qiov_offset, buf, bytes);
    }
    ret = padded_request(bs, write, offset, bytes, &local, 0, flags);
    if (!write && ret == 0) {
        qemu_iovec_from_buf(qiov, qiov_offset, buf, bytes);
    }
    return ret;
}

static int coroutine_fn padded_request(BlockDriverState *bs, bool write, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset, BdrvRequestFlags flags)
{
    Padding pad;
    int ret;

    if (qemu_iovec_subvec_niov(qiov, qiov_offset, bytes) > IOV_MAX - 2) {
        return linear_request(bs, write, offset, bytes, qiov, qiov_offset, flags);
    }
    ret = padding_init(&pad, bs, offset, bytes, qiov, qiov_offset);
    if (ret < 0) {
        return ret == -EINVAL ? -EIO : ret;
    }
    if (write) {
        ret = padding_read(&pad, bs);
        if (ret == 0) {
            ret = write_aligned(bs, pad.start, pad.bytes, &pad.qiov, 0, flags);
        }
    } else {
        ret = read_aligned(bs, pad.start, pad.bytes, &pad.qiov, 0, flags);
    }
    padding_destroy(&pad);
    return ret;
}

static inline bool is_aligned(const BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return (((uint64_t)offset | (uint64_t)bytes) & bs->core->align_mask) == 0;
}

/* --- what parents call --- */

static int coroutine_fn read_untracked(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, size_t qiov_offset,
                                       BdrvRequestFlags flags)
{
    if (is_aligned(bs, offset, bytes)) {
        return read_aligned(bs, offset, bytes, qiov, qiov_offset, flags);
    }
    return padded_request(bs, false, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn read_tracked(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    TrackedRequest req;
    int ret = tracked_begin(&req, bs, offset, bytes, false, false);

    if (ret == 0) {
        req.read = true;
        ret = read_untracked(bs, offset, bytes, qiov, qiov_offset, flags);
        tracked_end(&req);
    }
    return ret;
}

static int coroutine_fn QEMU_NOINLINE read_general(BlockDriverState *bs, int64_t offset,
                                                   int64_t bytes, QEMUIOVector *qiov,
                                                   size_t qiov_offset,
                                                   BdrvRequestFlags flags)
{
    int ret = check_range_qiov(offset, bytes, qiov, qiov_offset);

    if (ret < 0 || bytes == 0) {
        return ret;
    }
    if (bs->core->copy_on_read || (flags & BDRV_REQ_COPY_ON_READ)) {
        ret = copy_on_read(bs, offset, bytes);
        if (ret < 0 || (flags & BDRV_REQ_PREFETCH)) {
            return ret;
        }
    }
    if (unlikely(bs->debug_events)) {
        return read_tracked(bs, offset, bytes, qiov, qiov_offset, flags);
    }
    return read_untracked(bs, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn bdrv_co_preadv_part(BdrvChild *child, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;

    if (likely(flags == 0 && request_is_simple(bs, offset, bytes, qiov, qiov_offset))) {
        return driver_preadv(bs, offset, bytes, qiov, qiov_offset, 0);
    }
    return read_general(bs, offset, bytes, qiov, qiov_offset, flags);
}

/* What a node has to see to that takes the write as it is otherwise. */
#define WRITE_FLAGS_OF_NODE (BDRV_REQ_ZERO_WRITE | BDRV_REQ_FUA | BDRV_REQ_WRITE_COMPRESSED | \
                             BDRV_REQ_SERIALISING | BDRV_REQ_NO_WAIT)

static inline bool write_is_simple(const BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   const QEMUIOVector *qiov, size_t qiov_offset,
                                   BdrvRequestFlags flags)
{
    return !(flags & WRITE_FLAGS_OF_NODE) && !bs->read_only &&
           request_is_simple(bs, offset, bytes, qiov, qiov_offset) &&
           bs->drv->bdrv_co_pwritev_part;
}

/* Tracked: @flags are those of the request, the range is checked. */
static int coroutine_fn write_tracked(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    if (write_is_simple(bs, offset, bytes, qiov, qiov_offset,
                        flags & ~(BDRV_REQ_SERIALISING | BDRV_REQ_NO_WAIT))) {
        return driver_pwritev(bs, offset, bytes, qiov, qiov_offset,
                              flags & bs->supported_write_flags);
    }
    if (is_aligned(bs, offset, bytes)) {
        return write_aligned(bs, offset, bytes, qiov, qiov_offset, flags);
    }
    return padded_request(bs, true, offset, bytes, qiov, qiov_offset, flags);
}

/* In the list, and perhaps after a wait; takes it off. @inside: what it was when sent. */
static int coroutine_fn QEMU_NOINLINE write_entered(BdrvChild *child, TrackedRequest *req,
                                                    int64_t offset, int64_t bytes,
                                                    QEMUIOVector *qiov, size_t qiov_offset,
                                                    BdrvRequestFlags flags, bool inside)
{
    BlockDriverState *bs = child->bs;
    int ret = 0;

    if (unlikely(!ends_inside(bs, offset + bytes))) {
        ret = check_write_end(child, offset + bytes, inside);
    }
    if (likely(ret == 0)) {
        ret = write_tracked(bs, offset, bytes, qiov, qiov_offset, flags);
        bdrv_record_write(bs, offset, bytes);
    }
    tracked_end(req);
    return ret;
}

static int coroutine_fn QEMU_NOINLINE write_general(BdrvChild *child, int64_t offset,
                                                    int64_t bytes, QEMUIOVector *qiov,
                                                    size_t qiov_offset, BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    TrackedRequest req;
    bool serialising, inside;
    int ret;

    if (flags & BDRV_REQ_ZERO_WRITE) {
        return bdrv_co_pwrite_zeroes(child, offset, bytes, flags);
    }
    if (bs->read_only) {
        return -EPERM;
    }
    ret = check_range_qiov(offset, bytes, qiov, qiov_offset);
    if (ret < 0 || bytes == 0) {
        return ret;
    }
    serialising = (flags & BDRV_REQ_SERIALISING) || !is_aligned(bs, offset, bytes);
    inside = ends_inside(bs, offset + bytes);
    ret = tracked_begin(&req, bs, offset, bytes, serialising, flags & BDRV_REQ_NO_WAIT);
    return ret < 0 ? ret
                   : write_entered(child, &req, offset, bytes, qiov, qiov_offset, flags, inside);
}

int coroutine_fn bdrv_co_pwritev_part(BdrvChild *child, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    TrackedRequest req;
    int ret;

    if (unlikely(!write_is_simple(bs, offset, bytes, qiov, qiov_offset, flags))) {
        return write_general(child, offset, bytes, qiov, qiov_offset, flags);
    }
    /* Cannot fail, as it may wait; the image may have become shorter meanwhile. */
    tracked_begin(&req, bs, offset, bytes, false, false);
    if (unlikely(!ends_inside(bs, offset + bytes))) {
        return write_entered(child, &req, offset, bytes, qiov, qiov_offset, flags, true);
    }
    ret = driver_pwritev(bs, offset, bytes, qiov, qiov_offset,
                         flags & bs->supported_write_flags);
    bdrv_record_write(bs, offset, bytes);
    tracked_end(&req);
    return ret;
}

int coroutine_fn bdrv_co_preadv(BdrvChild *child, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(child, offset, bytes, qiov, 0, flags);
}

int coroutine_fn bdrv_co_pwritev(BdrvChild *child, int64_t offset, int64_t bytes,
                                 QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return bdrv_co_pwritev_part(child, offset, bytes, qiov, 0, flags);
}

int coroutine_fn bdrv_co_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf,
                               BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return bdrv_co_preadv_part(child, offset, bytes, &qiov, 0, flags);
}

int coroutine_fn bdrv_co_pwrite(BdrvChild *child, int64_t offset, int64_t bytes,
                                const void *buf, BdrvRequestFlags flags)
{
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);

    return bdrv_co_pwritev_part(child, offset, bytes, &qiov, 0, flags);
}
