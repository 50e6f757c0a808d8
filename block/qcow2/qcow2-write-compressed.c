/* SPDX-License-Identifier: MIT */
/*
 * Compressed writes: whole clusters (the last one of the disk may be short, and is filled up with
 * zeroes). A cluster that does not shrink is written as it is. What has data already, or a place for
 * it, is refused, as QEMU does: streams cannot be replaced in place, and are meant for images written
 * once. Without a host cluster subclusters may be zero and unallocated in any mixture.
 *
 * A request is cut into batches, each of which one worker compresses; several are under way at once,
 * of one request as of many. Streams of a batch that follow each other in the file, as nearly all
 * do, are written with one request, and linked together.
 *
 * Compressing takes long. The tickets that a request draws when it arrives, one for each batch,
 * decide when they get their places in the file, so a writer that sends its writes in order gets
 * the same file however many are under way, and however many workers there are.
 */
#include "qcow2-write.h"

#include "qemu/aio_task.h"
#include "qemu/thread-pool.h"

#include "qcow2-compress.h"
#include "qcow2-l2cache.h"
#include "qcow2-l2table.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"

/*
 * Guest data of a batch, if it is more than a cluster: enough to pay for the way to a worker and back,
 * and for streams that make up a long write.
 */
#define BATCH_BYTES (1024 * 1024)
/* Batches of one request at once. */
#define MAX_BATCHES 8

typedef struct Stream {
    uint64_t host; /* where it has been given a place */
    uint32_t at;   /* in the batch's buffer */
    uint32_t size; /* 0: it does not shrink */
} Stream;

typedef struct Batch {
    AioTask task;
    BlockDriverState *bs;
    uint64_t guest, bytes;  /* whole clusters, but at the end of the disk */
    QEMUIOVector *qiov;
    size_t qiov_offset;
    uint64_t ticket;
    bool turn_over;
    unsigned clusters;
    Stream *streams;        /* one for each cluster */
    uint8_t *buffer;        /* the streams */
} Batch;

static uint64_t stream_entry(const BDRVQcow2State *s, const Stream *stream)
{
    uint64_t sectors = ((stream->host + stream->size - 1) >> 9) - (stream->host >> 9);

    return stream->host | QCOW2_OFLAG_COMPRESSED | sectors << s->csize_shift;
}

/* --- turns --- */

/* The first of @count successive tickets. */
static uint64_t draw_tickets(BDRVQcow2State *s, uint64_t count)
{
    uint64_t first;

    qemu_mutex_lock(&s->meta);
    first = s->next_ticket;
    s->next_ticket += count;
    qemu_mutex_unlock(&s->meta);
    return first;
}

static void coroutine_fn wait_for_turn(BDRVQcow2State *s, uint64_t ticket)
{
    qemu_mutex_lock(&s->meta);
    while (s->serving != ticket) {
        qemu_co_queue_wait(&s->turns, &s->meta);
    }
    qemu_mutex_unlock(&s->meta);
}

static void coroutine_fn pass_turns(BDRVQcow2State *s, uint64_t first, uint64_t count)
{
    wait_for_turn(s, first);
    qemu_mutex_lock(&s->meta);
    s->serving += count;
    qemu_co_queue_restart_all(&s->turns);
    qemu_mutex_unlock(&s->meta);
}

/* Whether or not it was waited for; for the second time: nothing. */
static void coroutine_fn end_turn(Batch *b)
{
    if (!b->turn_over) {
        b->turn_over = true;
        pass_turns(b->bs->opaque, b->ticket, 1);
    }
}

/* --- compressing --- */

/*
 * In a worker. The guest may change its memory meanwhile, which no compressor is written for: each
 * cluster is copied first.
 */
static int compress_batch(void *opaque)
{
    Batch *b = opaque;
    const BDRVQcow2State *s = b->bs->opaque;
    g_autofree uint8_t *in = g_try_malloc(s->cluster_size);
    uint32_t at = 0;

    if (!in) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < b->clusters; i++) {
        uint64_t done = (uint64_t)i << s->cluster_bits;
        size_t n = MIN(b->bytes - done, s->cluster_size);
        ssize_t size;

        qemu_iovec_to_buf(b->qiov, b->qiov_offset + done, in, n);
        memset(in + n, 0, s->cluster_size - n);
        size = qcow2_compress(s->hdr.compression_type, s->compression_level, b->buffer + at,
                              s->cluster_size - 1, in, s->cluster_size);
        if (size < 0) {
            return size;
        }
        b->streams[i] = (Stream){ .at = at, .size = size };
        at += size;
    }
    return 0;
}

/* --- storing streams --- */

/* Places for @n streams, one behind the other as far as there is room. */
static int coroutine_fn place_streams(BlockDriverState *bs, Stream *streams, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int ret = qcow2_co_alloc_bytes(bs, streams[i].size, &streams[i].host);

        while (ret < 0 && i-- > 0) {
            qcow2_co_unalloc_bytes(bs, streams[i].host, streams[i].size);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int coroutine_fn write_streams(BlockDriverState *bs, const uint8_t *buffer,
                                      const Stream *streams, unsigned n)
{
    int ret = 0;

    for (unsigned i = 0, next; i < n && ret == 0; i = next) {
        uint64_t host = streams[i].host, bytes = streams[i].size;

        for (next = i + 1; next < n && streams[next].host == host + bytes; next++) {
            bytes += streams[next].size;
        }
        ret = qcow2_co_check_write(bs, QCOW2_META_NONE, host, bytes);
        if (ret == 0) {
            bdrv_co_debug_event(bs->file->bs, BLKDBG_WRITE_COMPRESSED);
            ret = bdrv_co_pwrite(bs->file, host, bytes, buffer + streams[i].at, 0);
        }
    }
    return ret;
}

/* Under the range lock, with the L2 table there; all are in one slice. */
static int coroutine_fn link_streams(BlockDriverState *bs, uint64_t guest, const Stream *streams,
                                     unsigned n)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned slot, index = qcow2_slice_index(s, guest);
    int ret = qcow2_l2cache_lock(bs, qcow2_slice_key(s, guest), &slot);

    if (ret < 0) {
        return ret;
    }
    qcow2_slot_change_begin(&s->l2, slot);
    for (unsigned i = 0; i < n; i++) {
        uint64_t old[2], word[2] = { stream_entry(s, &streams[i]), 0 };

        qcow2_get_entry(s, slot, index + i, old);
        qcow2_set_entry(s, slot, index + i, word);
        qcow2_drop_entry(bs, old);
    }
    qcow2_slot_change_end(&s->l2, slot);
    qcow2_slot_set_dirty(&s->l2, slot);
    s->l2_depends = true;
    qemu_mutex_unlock(&s->meta);
    return 0;
}

/* Streams @first and the @n - 1 behind it. With the last of the batch the next one has its turn. */
static int coroutine_fn store_streams(Batch *b, unsigned first, unsigned n)
{
    BDRVQcow2State *s = b->bs->opaque;
    Stream *streams = b->streams + first;
    int ret = place_streams(b->bs, streams, n);

    if (first + n == b->clusters) {
        end_turn(b);
    }
    if (ret < 0) {
        return ret;
    }
    ret = write_streams(b->bs, b->buffer, streams, n);
    if (ret == 0) {
        ret = link_streams(b->bs, b->guest + ((uint64_t)first << s->cluster_bits), streams, n);
    }
    for (unsigned i = 0; ret < 0 && i < n; i++) {
        qcow2_co_unalloc_bytes(b->bs, streams[i].host, streams[i].size);
    }
    return ret;
}

/* How many of the @n clusters at @guest may get a stream; -EIO: not even the first. */
static int coroutine_fn count_vacant(BlockDriverState *bs, uint64_t guest, unsigned n)
{
    BDRVQcow2State *s = bs->opaque;

    for (unsigned i = 0; i < n; i++) {
        Qcow2Extent ext;
        int ret = qcow2_co_map(bs, guest + ((uint64_t)i << s->cluster_bits), s->cluster_size,
                               &ext);

        if (ret == 0 && (qcow2_kind_has_host(ext.kind) || ext.kind == QCOW2_COMPRESSED)) {
            ret = -EIO;
        }
        if (ret < 0) {
            return i ? (int)i : ret;
        }
    }
    return n;
}

/* As many streams as can be stored in one go, of @n. Their number. */
static int coroutine_fn store_some(Batch *b, unsigned first, unsigned n)
{
    BDRVQcow2State *s = b->bs->opaque;
    uint64_t guest = b->guest + ((uint64_t)first << s->cluster_bits);
    uint64_t cluster = guest >> s->cluster_bits;
    Qcow2RangeLock lock;
    int ret;

    n = MIN(n, (1U << s->slice_bits) - qcow2_slice_index(s, guest));
    while (!qcow2_range_lock(s, &lock, cluster, cluster + n - 1)) {
        /* It has waited for whoever has the range. */
    }
    ret = qcow2_co_l2_ensure(b->bs, qcow2_slice_key(s, guest));
    if (ret == 0) {
        ret = count_vacant(b->bs, guest, lock.last - cluster + 1);
    }
    if (ret > 0) {
        n = ret;
        ret = store_streams(b, first, n);
    }
    qcow2_range_unlock(s, &lock);
    return ret < 0 ? ret : (int)n;
}

/* In the batch's turn. */
static int coroutine_fn store_batch(Batch *b)
{
    BDRVQcow2State *s = b->bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < b->clusters && ret >= 0; i += ret) {
        bool shrinks = b->streams[i].size;
        unsigned n = 1;

        while (i + n < b->clusters && shrinks == (b->streams[i + n].size > 0)) {
            n++;
        }
        if (shrinks) {
            ret = store_some(b, i, n);
        } else {
            uint64_t done = (uint64_t)i << s->cluster_bits;
            uint64_t bytes = MIN(b->bytes - done, (uint64_t)n << s->cluster_bits);

            ret = qcow2_co_pwritev_part(b->bs, b->guest + done, bytes, b->qiov,
                                        b->qiov_offset + done, 0);
            ret = ret < 0 ? ret : (int)n;
        }
    }
    return ret < 0 ? ret : 0;
}

/* --- requests --- */

static int coroutine_fn write_batch(AioTask *task)
{
    Batch *b = container_of(task, Batch, task);
    BDRVQcow2State *s = b->bs->opaque;
    int ret = -ENOMEM;

    b->clusters = DIV_ROUND_UP(b->bytes, s->cluster_size);
    b->streams = g_try_new(Stream, b->clusters);
    /* Not aligned: glibc would map and unmap an aligned block of this size each time. */
    b->buffer = g_try_malloc((size_t)b->clusters << s->cluster_bits);
    if (b->streams && b->buffer) {
        ret = thread_pool_submit_co(compress_batch, b);
    }
    if (ret == 0) {
        wait_for_turn(s, b->ticket);
        ret = store_batch(b);
    }
    end_turn(b);
    g_free(b->streams);
    g_free(b->buffer);
    return ret;
}

static int coroutine_fn check_request(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_co_begin_change(bs);

    if (ret < 0) {
        return ret;
    }
    if (s->external || !qcow2_compression_available(s->hdr.compression_type)) {
        return -ENOTSUP;
    }
    if (qcow2_in_cluster(s, offset) ||
        (qcow2_in_cluster(s, bytes) && offset + bytes != qatomic_read(&s->size))) {
        return -EINVAL;
    }
    return 0;
}

/* Batches end at multiples of their size, which is one of the cluster's. */
static uint64_t batch_size(const BDRVQcow2State *s)
{
    return MAX(BATCH_BYTES, s->cluster_size);
}

/* Uses the tickets from @ticket to @end - 1 up, whatever happens. */
static int coroutine_fn write_batches(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset, uint64_t ticket,
                                      uint64_t end)
{
    BDRVQcow2State *s = bs->opaque;
    AioTaskPool *pool = aio_task_pool_new(MAX_BATCHES);
    int ret = 0;

    while (bytes && ret == 0) {
        uint64_t n = MIN(bytes, batch_size(s) - offset % batch_size(s));
        Batch *b = g_new(Batch, 1);

        *b = (Batch){ .task.func = write_batch, .bs = bs, .guest = offset, .bytes = n,
                      .qiov = qiov, .qiov_offset = qiov_offset, .ticket = ticket++ };
        aio_task_pool_start_task(pool, &b->task);
        ret = aio_task_pool_status(pool);
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    if (ticket < end) {
        pass_turns(s, ticket, end - ticket);
    }
    aio_task_pool_wait_all(pool);
    ret = aio_task_pool_status(pool);
    aio_task_pool_free(pool);
    return ret;
}

int coroutine_fn qcow2_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                                  int64_t bytes, QEMUIOVector *qiov,
                                                  size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t size = batch_size(s);
    uint64_t count = DIV_ROUND_UP((uint64_t)offset + bytes, size) - offset / size;
    uint64_t ticket = draw_tickets(s, count);
    unsigned *users = qcow2_request_begin(s);
    int ret = check_request(bs, offset, bytes);

    if (ret == 0) {
        ret = write_batches(bs, offset, bytes, qiov, qiov_offset, ticket, ticket + count);
    } else {
        pass_turns(s, ticket, count);
    }
    qcow2_request_end(users);
    return ret;
}
