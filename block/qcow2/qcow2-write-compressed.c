/* SPDX-License-Identifier: MIT */
/*
 * Compressed writes: whole clusters (the last one of the disk may be short, and is filled up with
 * zeroes). A cluster that does not shrink is written as it is. What has data already, or a place for
 * it, is refused, as QEMU does: streams cannot be replaced in place, and are meant for images written
 * once. Without a host cluster subclusters may be zero and unallocated in any mixture.
 *
 * Compressing takes long, and is done for many writes at once. A ticket that a write draws when it
 * arrives decides when it gets its place in the file, so a writer that sends its writes in order
 * gets the same file however many are under way.
 */
#include "qcow2-write.h"

#include "qcow2-compress.h"
#include "qcow2-l2cache.h"
#include "qcow2-l2table.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"

static uint64_t stream_entry(const BDRVQcow2State *s, uint64_t offset, uint32_t bytes)
{
    uint64_t sectors = ((offset + bytes - 1) >> 9) - (offset >> 9);

    return offset | QCOW2_OFLAG_COMPRESSED | sectors << s->csize_shift;
}

/* --- turns --- */

typedef struct Turn {
    uint64_t ticket;
    bool over;
} Turn;

static void draw_ticket(BDRVQcow2State *s, Turn *turn)
{
    qemu_mutex_lock(&s->meta);
    *turn = (Turn){ .ticket = s->next_ticket++ };
    qemu_mutex_unlock(&s->meta);
}

static void coroutine_fn wait_for_turn(BDRVQcow2State *s, const Turn *turn)
{
    qemu_mutex_lock(&s->meta);
    while (s->serving != turn->ticket) {
        qemu_co_queue_wait(&s->turns, &s->meta);
    }
    qemu_mutex_unlock(&s->meta);
}

/* Whether or not it was waited for; for the second time: nothing. */
static void coroutine_fn end_turn(BDRVQcow2State *s, Turn *turn)
{
    if (turn->over) {
        return;
    }
    wait_for_turn(s, turn);
    turn->over = true;
    qemu_mutex_lock(&s->meta);
    s->serving++;
    qemu_co_queue_restart_all(&s->turns);
    qemu_mutex_unlock(&s->meta);
}

/* --- storing a stream --- */

/* Under the range lock, with the L2 table there. */
static int coroutine_fn link_stream(BlockDriverState *bs, uint64_t guest, uint64_t entry)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t old[2], word[2] = { entry, 0 };
    unsigned slot, index = qcow2_slice_index(s, guest);
    int ret = qcow2_l2cache_lock(bs, qcow2_slice_key(s, guest), &slot);

    if (ret < 0) {
        return ret;
    }
    qcow2_get_entry(s, slot, index, old);
    qcow2_slot_change_begin(&s->l2, slot);
    qcow2_set_entry(s, slot, index, word);
    qcow2_slot_change_end(&s->l2, slot);
    qcow2_slot_set_dirty(&s->l2, slot);
    qcow2_drop_entry(bs, old);
    s->l2_depends = true;
    qemu_mutex_unlock(&s->meta);
    return 0;
}

static int coroutine_fn store_stream(BlockDriverState *bs, uint64_t guest, const uint8_t *stream,
                                     uint32_t bytes, Turn *turn)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host;
    int ret = qcow2_co_alloc_bytes(bs, bytes, &host);

    end_turn(s, turn);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_NONE, host, bytes);
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_WRITE_COMPRESSED);
        ret = bdrv_co_pwrite(bs->file, host, bytes, stream, 0);
    }
    if (ret == 0) {
        ret = link_stream(bs, guest, stream_entry(s, host, bytes));
    }
    if (ret < 0) {
        qcow2_co_unalloc_bytes(bs, host, bytes);
    }
    return ret;
}

static int coroutine_fn store_cluster(BlockDriverState *bs, uint64_t guest, const uint8_t *stream,
                                      uint32_t bytes, Turn *turn)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t cluster = guest >> s->cluster_bits;
    Qcow2RangeLock lock;
    Qcow2Extent ext;
    int ret;

    while (!qcow2_range_lock(s, &lock, cluster, cluster)) {
        /* It has waited for whoever has the range. */
    }
    ret = qcow2_co_l2_ensure(bs, qcow2_l1_index(s, guest));
    if (ret == 0) {
        ret = qcow2_co_map(bs, guest, s->cluster_size, &ext);
    }
    if (ret == 0 && (qcow2_kind_has_host(ext.kind) || ext.kind == QCOW2_COMPRESSED)) {
        ret = -EIO;
    }
    if (ret == 0) {
        ret = store_stream(bs, guest, stream, bytes, turn);
    }
    qcow2_range_unlock(s, &lock);
    return ret;
}

/* One cluster, or the part of it that the disk has. */
static int coroutine_fn write_cluster(BlockDriverState *bs, uint64_t guest, uint64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset, Turn *turn)
{
    BDRVQcow2State *s = bs->opaque;
    QEMU_AUTO_VFREE uint8_t *in = qemu_try_memalign(4096, s->cluster_size);
    QEMU_AUTO_VFREE uint8_t *out = qemu_try_memalign(4096, s->cluster_size);
    ssize_t size;

    if (!in || !out) {
        return -ENOMEM;
    }
    qemu_iovec_to_buf(qiov, qiov_offset, in, bytes);
    memset(in + bytes, 0, s->cluster_size - bytes);
    size = qcow2_co_compress(s->hdr.compression_type, out, s->cluster_size - 1, in,
                             s->cluster_size);
    if (size < 0) {
        return size;
    }
    wait_for_turn(s, turn);
    if (size == 0) {
        return qcow2_co_pwritev_part(bs, guest, bytes, qiov, qiov_offset, 0);
    }
    return store_cluster(bs, guest, out, size, turn);
}

static int coroutine_fn write_clusters(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                       QEMUIOVector *qiov, size_t qiov_offset, Turn *turn)
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
    while (bytes && ret == 0) {
        uint64_t n = MIN(bytes, (uint64_t)s->cluster_size);

        ret = write_cluster(bs, offset, n, qiov, qiov_offset, turn);
        offset += n;
        qiov_offset += n;
        bytes -= n;
        if (bytes && ret == 0) {
            end_turn(s, turn);
            draw_ticket(s, turn);
        }
    }
    return ret;
}

int coroutine_fn qcow2_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                                  int64_t bytes, QEMUIOVector *qiov,
                                                  size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned *users;
    Turn turn;
    int ret;

    draw_ticket(s, &turn);
    users = qcow2_request_begin(s);
    ret = write_clusters(bs, offset, bytes, qiov, qiov_offset, &turn);
    end_turn(s, &turn);
    qcow2_request_end(users);
    return ret;
}
