/* SPDX-License-Identifier: MIT */
/*
 * An image that was written compressed has its streams one behind the other. They are fetched with
 * one request, and unpacked by one worker: the way to a worker and back costs as much as a good part
 * of a small cluster. A long read is cut into several such pieces, which run side by side.
 */
#include "qcow2-packed.h"

#include "qemu/thread-pool.h"

#include "qcow2-compress.h"

/* Guest data of one piece, if it is more than a cluster. */
#define PIECE_BYTES (256 * 1024)
/* So many bytes between two streams are read for nothing rather than with another request. */
#define MAX_GAP 4096

static bool joins(const Qcow2Packed *p, uint64_t start)
{
    return start >= p->start && start <= p->end + MAX_GAP;
}

uint64_t coroutine_fn qcow2_co_gather_packed(BlockDriverState *bs, uint64_t offset,
                                             uint64_t bytes, const Qcow2Extent *first,
                                             Qcow2Packed *packed)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t gathered = first->bytes, span;
    Qcow2Extent next;

    packed->count = 1;
    packed->entry[0] = first->entry;
    qcow2_compressed_span(s, first->entry, &packed->start, &span);
    packed->end = packed->start + span;
    while (gathered < bytes && gathered + s->cluster_size <= PIECE_BYTES &&
           packed->count < QCOW2_PACKED_MAX) {
        uint64_t start;

        /* An error is found again, by a read that begins there. */
        if (qcow2_co_map(bs, offset + gathered, MIN(bytes - gathered, s->cluster_size),
                         &next) < 0 ||
            next.kind != QCOW2_COMPRESSED) {
            break;
        }
        qcow2_compressed_span(s, next.entry, &start, &span);
        if (!joins(packed, start)) {
            break;
        }
        packed->entry[packed->count++] = next.entry;
        packed->end = MAX(packed->end, start + span);
        gathered += next.bytes;
    }
    return gathered;
}

/* --- unpacking --- */

typedef struct UnpackJob {
    const BDRVQcow2State *s;
    const Qcow2Packed *packed;
    const uint8_t *in; /* the file from packed->start on */
    uint64_t offset, bytes;
    QEMUIOVector *qiov;
    size_t qiov_offset;
} UnpackJob;

/* The place in memory of @bytes of the vector; NULL: they are in several. */
static uint8_t *find_place(const QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    for (int i = 0; i < qiov->niov; i++) {
        if (offset < qiov->iov[i].iov_len) {
            return bytes <= qiov->iov[i].iov_len - offset ? (uint8_t *)qiov->iov[i].iov_base + offset
                                                          : NULL;
        }
        offset -= qiov->iov[i].iov_len;
    }
    return NULL;
}

/* @bytes of a cluster from @skip on, to @qiov_offset. */
static int unpack_cluster(const UnpackJob *j, uint64_t entry, uint64_t skip, uint64_t bytes,
                          size_t qiov_offset)
{
    const BDRVQcow2State *s = j->s;
    uint8_t *place = NULL;
    QEMU_AUTO_VFREE uint8_t *bounce = NULL;
    uint64_t start, span;
    int ret;

    if (bytes == s->cluster_size) {
        place = find_place(j->qiov, qiov_offset, bytes);
    }
    if (!place) {
        bounce = qemu_try_memalign(4096, s->cluster_size);
        if (!bounce) {
            return -ENOMEM;
        }
    }
    qcow2_compressed_span(s, entry, &start, &span);
    ret = qcow2_decompress(s->hdr.compression_type, place ?: bounce, s->cluster_size,
                           j->in + (start - j->packed->start), span);
    if (ret == 0 && bounce) {
        qemu_iovec_from_buf(j->qiov, qiov_offset, bounce + skip, bytes);
    }
    return ret;
}

/* In a worker. */
static int unpack(void *opaque)
{
    const UnpackJob *j = opaque;
    uint64_t done = 0;
    int ret = 0;

    for (unsigned i = 0; i < j->packed->count && ret == 0; i++) {
        uint64_t skip = qcow2_in_cluster(j->s, j->offset + done);
        uint64_t n = MIN(j->bytes - done, j->s->cluster_size - skip);

        ret = unpack_cluster(j, j->packed->entry[i], skip, n, j->qiov_offset + done);
        done += n;
    }
    return ret;
}

int coroutine_fn qcow2_co_read_packed(BlockDriverState *bs, const Qcow2Packed *packed,
                                      uint64_t offset, uint64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset)
{
    uint64_t span = packed->end - packed->start;
    g_autofree uint8_t *in = g_try_malloc(span);
    UnpackJob job = { .s = bs->opaque, .packed = packed, .in = in, .offset = offset,
                      .bytes = bytes, .qiov = qiov, .qiov_offset = qiov_offset };
    int ret;

    if (!in) {
        return -ENOMEM;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_READ_COMPRESSED);
    ret = bdrv_co_pread(bs->file, packed->start, span, in, 0);
    return ret < 0 ? ret : thread_pool_submit_co(unpack, &job);
}
