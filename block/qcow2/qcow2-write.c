/* SPDX-License-Identifier: MIT */
/*
 * The write path.
 *
 * Clusters that are the guest's own are overwritten in place, without any lock. For all others
 * a Plan is made under a range lock: which host clusters get the data, and what around the
 * guest's bytes has to be filled in from the old contents (head and tail). Guest data, head
 * and tail go out in one request; then the L2 entries are changed in RAM. A failure
 * before that gives the new clusters back, and the guest sees the old contents.
 */
#include "qcow2-write.h"

#include "qcow2-first-write.h"
#include "qcow2-l2cache.h"
#include "qcow2-l2table.h"
#include "qcow2-overlap.h"
#include "qcow2-read.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"
#include "qcow2-writeback.h"

/* What the guest writes: bytes in memory or, when @src is there, those of another image. */
typedef struct Payload {
    QEMUIOVector *qiov;
    size_t qiov_offset;
    BdrvChild *src;
    int64_t src_offset;
    BdrvRequestFlags read_flags, write_flags; /* of a copy */
} Payload;

typedef struct Plan {
    uint64_t offset, bytes;  /* the guest's part */
    uint64_t start, end;     /* with head and tail: guest offsets */
    uint64_t write_end;      /* end, but an external file does not grow behind the disk */
    uint64_t clusters;       /* that it touches */
    uint64_t host;           /* of the first of them */
    bool keep;               /* they are there already, and the guest's own */
    bool fresh;              /* they read as zeroes */
} Plan;

int coroutine_fn qcow2_co_begin_change(BlockDriverState *bs)
{
    const BDRVQcow2State *s = bs->opaque;

    if (unlikely(!s->writable)) {
        return -EACCES;
    }
    if (unlikely(qatomic_read(&s->corrupt))) {
        return qatomic_read(&s->dead) ? -ENOMEDIUM : -EIO;
    }
    return qcow2_co_before_write(bs);
}

void qcow2_get_entry(const BDRVQcow2State *s, unsigned slot, unsigned index, uint64_t word[2])
{
    const uint64_t *p = qcow2_slot_data(s, slot) + (size_t)index * s->entry_words;

    word[0] = p[0];
    word[1] = s->extended ? p[1] : 0;
}

void qcow2_set_entry(BDRVQcow2State *s, unsigned slot, unsigned index, const uint64_t word[2])
{
    uint64_t *p = qcow2_slot_data(s, slot) + (size_t)index * s->entry_words;

    qatomic_set(&p[0], word[0]);
    if (s->extended) {
        qatomic_set(&p[1], word[1]);
    }
}

void qcow2_drop_entry(BlockDriverState *bs, const uint64_t word[2])
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host = word[0] & QCOW2_L2_OFFSET_MASK;

    if (word[0] & QCOW2_OFLAG_COMPRESSED) {
        qcow2_free_compressed_later(s, word[0]);
    } else if (unlikely(qcow2_in_cluster(s, host))) {
        qcow2_signal_corruption(bs, false, "Cannot free unaligned cluster %#" PRIx64, host);
    } else if (host && !s->external) {
        qcow2_free_later(s, host);
    }
}

/* --- planning; under the range lock --- */

/* Subclusters of the cluster at @offset that a new host cluster must take over from the old. */
static int coroutine_fn old_data_span(BlockDriverState *bs, uint64_t offset, uint64_t *start,
                                      uint64_t *end)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t at = qcow2_cluster_start(s, offset), stop = at + s->cluster_size;

    while (at < stop) {
        Qcow2Extent ext;
        int ret = qcow2_co_map(bs, at, stop - at, &ext);

        if (ret < 0) {
            return ret;
        }
        if (ext.kind == QCOW2_NORMAL || ext.kind == QCOW2_COMPRESSED) {
            *start = MIN(*start, at);
            *end = MAX(*end, at + ext.bytes);
        }
        at += ext.bytes;
    }
    return 0;
}

/*
 * Decides on as much of the request as can be done in one go. The extent is what the map
 * said under the range lock; @limit is the first guest offset behind the lock.
 */
static int coroutine_fn make_plan(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                  uint64_t limit, const Qcow2Extent *ext, Plan *plan)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t cluster_end = qcow2_cluster_start(s, offset) + s->cluster_size;
    uint64_t granule = UINT64_C(1) << s->subcluster_bits;
    int ret = 0;

    bytes = MIN(MIN(bytes, (uint64_t)ext->bytes), limit - offset);
    *plan = (Plan){ .offset = offset };
    plan->keep = ext->copied && ext->kind != QCOW2_UNALLOCATED &&
                 ext->kind != QCOW2_ZERO_PLAIN && ext->kind != QCOW2_COMPRESSED;
    if (!plan->keep && s->extended &&
        (qcow2_in_cluster(s, offset) || bytes < s->cluster_size ||
         (ext->kind != QCOW2_UNALLOCATED && ext->kind != QCOW2_ZERO_PLAIN))) {
        bytes = MIN(bytes, cluster_end - offset);
    } else if (!plan->keep && s->extended) {
        bytes = ROUND_DOWN(bytes, s->cluster_size);
    }
    plan->bytes = bytes;
    plan->start = ROUND_DOWN(offset, granule);
    plan->end = ROUND_UP(offset + bytes, granule);
    if (!plan->keep && s->extended && bytes <= s->cluster_size) {
        ret = old_data_span(bs, offset, &plan->start, &plan->end);
    }
    plan->clusters = ((offset + bytes - 1) >> s->cluster_bits) - (offset >> s->cluster_bits) + 1;
    if (plan->keep) {
        plan->host = qcow2_cluster_start(s, ext->host);
    }
    return ret;
}

/* Host clusters for the plan; fewer than wanted make it shorter. */
static int coroutine_fn allocate(BlockDriverState *bs, Plan *plan)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t got;

    if (plan->keep) {
        return 0;
    }
    if (s->external) {
        plan->host = qcow2_cluster_start(s, plan->offset);
        return 0;
    }
    got = qcow2_co_alloc_clusters(bs, plan->clusters, false, &plan->host, &plan->fresh);
    if (got < 0) {
        return got;
    }
    if ((uint64_t)got < plan->clusters) {
        uint64_t end = qcow2_cluster_start(s, plan->offset) + ((uint64_t)got << s->cluster_bits);

        plan->clusters = got;
        plan->bytes = end - plan->offset;
        plan->end = end;
    }
    return 0;
}

/* --- data --- */

/* True when the range, outside of what has data of its own, is known to read as zeroes. */
static bool coroutine_fn reads_as_zeroes(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    while (bytes) {
        Qcow2Extent ext;

        if (qcow2_co_map(bs, offset, bytes, &ext) < 0) {
            return false;
        }
        if (ext.kind == QCOW2_NORMAL || ext.kind == QCOW2_COMPRESSED ||
            (bs->backing &&
             (ext.kind == QCOW2_UNALLOCATED || ext.kind == QCOW2_UNALLOCATED_ALLOC))) {
            return false;
        }
        offset += ext.bytes;
        bytes -= ext.bytes;
    }
    return true;
}

static int coroutine_fn read_old(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                 uint8_t *buf)
{
    QEMUIOVector qiov;

    if (bytes == 0) {
        return 0;
    }
    qemu_iovec_init_buf(&qiov, buf, bytes);
    bdrv_co_debug_event(bs->file->bs, BLKDBG_COW_READ);
    return qcow2_co_read_range(bs, offset, bytes, &qiov, 0);
}

static int coroutine_fn write_data(BlockDriverState *bs, uint64_t host, uint64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset,
                                   BlkdebugEvent event)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = s->external ? 0 : qcow2_co_check_write(bs, QCOW2_META_NONE, host, bytes);

    bdrv_co_debug_event(bs->file->bs, event);
    return ret < 0 ? ret
                   : bdrv_co_pwritev_part(s->data_file, host, bytes, qiov, qiov_offset, 0);
}

/* Head, guest data and tail in one request; a guest's vector that is full is copied first. */
static int coroutine_fn write_merged(BlockDriverState *bs, const Plan *plan, uint64_t host,
                                     QEMUIOVector *qiov, size_t qiov_offset)
{
    uint64_t head = plan->offset - plan->start;
    uint64_t tail = plan->write_end - (plan->offset + plan->bytes);
    QEMU_AUTO_VFREE uint8_t *buf = qemu_try_memalign(4096, head + tail);
    QEMU_AUTO_VFREE uint8_t *copy = NULL;
    QEMUIOVector all, linear;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    ret = read_old(bs, plan->start, head, buf);
    if (ret == 0) {
        ret = read_old(bs, plan->offset + plan->bytes, tail, buf + head);
    }
    if (ret < 0) {
        return ret;
    }
    if (qemu_iovec_subvec_niov(qiov, qiov_offset, plan->bytes) > IOV_MAX - 2) {
        copy = qemu_try_memalign(4096, plan->bytes);
        if (!copy) {
            return -ENOMEM;
        }
        qemu_iovec_to_buf(qiov, qiov_offset, copy, plan->bytes);
        qemu_iovec_init_buf(&linear, copy, plan->bytes);
        qiov = &linear;
        qiov_offset = 0;
    }
    ret = qemu_iovec_init_extended(&all, buf, head, qiov, qiov_offset, plan->bytes, buf + head,
                                   tail);
    if (ret < 0) {
        return ret;
    }
    /* Both in one: rules for either apply. */
    bdrv_co_debug_event(bs->file->bs, BLKDBG_WRITE_AIO);
    ret = write_data(bs, host, plan->write_end - plan->start, &all, 0, BLKDBG_COW_WRITE);
    qemu_iovec_destroy(&all);
    return ret;
}

/* The payload's bytes from @at on, to where nothing else is to be written. */
static int coroutine_fn write_payload(BlockDriverState *bs, uint64_t host, uint64_t bytes,
                                      const Payload *p, uint64_t at)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!p->src) {
        return write_data(bs, host, bytes, p->qiov, p->qiov_offset + at, BLKDBG_WRITE_AIO);
    }
    ret = s->external ? 0 : qcow2_co_check_write(bs, QCOW2_META_NONE, host, bytes);
    return ret < 0 ? ret
                   : bdrv_co_copy_range_to(p->src, p->src_offset + at, s->data_file, host, bytes,
                                           p->read_flags, p->write_flags);
}

/* Old contents of [@from, @to) to where they lie in the new cluster. */
static int coroutine_fn move_old(BlockDriverState *bs, uint64_t host, uint64_t from, uint64_t to)
{
    uint64_t bytes = to - from;
    QEMU_AUTO_VFREE uint8_t *buf = qemu_try_memalign(4096, bytes);
    QEMUIOVector qiov;
    int ret;

    if (bytes == 0) {
        return 0;
    }
    if (!buf) {
        return -ENOMEM;
    }
    ret = read_old(bs, from, bytes, buf);
    if (ret < 0) {
        return ret;
    }
    qemu_iovec_init_buf(&qiov, buf, bytes);
    return write_data(bs, host, bytes, &qiov, 0, BLKDBG_COW_WRITE);
}

/* Head and tail around what is copied by others; @host: of the plan's first cluster. */
static int coroutine_fn write_around_copy(BlockDriverState *bs, const Plan *plan,
                                          const Payload *p, uint64_t at)
{
    uint64_t base = plan->host - qcow2_cluster_start(bs->opaque, plan->offset);
    uint64_t data_end = plan->offset + plan->bytes;
    int ret = write_payload(bs, base + plan->offset, plan->bytes, p, at);

    if (ret == 0) {
        ret = move_old(bs, base + plan->start, plan->start, plan->offset);
    }
    return ret < 0 ? ret : move_old(bs, base + data_end, data_end, plan->write_end);
}

static int coroutine_fn write_plan_data(BlockDriverState *bs, Plan *plan, const Payload *p,
                                        uint64_t at)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t base = qcow2_cluster_start(s, plan->offset);
    uint64_t data_end = plan->offset + plan->bytes;
    bool whole;

    plan->write_end = plan->end;
    if (s->external) {
        plan->write_end = MIN(plan->end, MAX(qatomic_read(&s->size), data_end));
    }
    whole = plan->start == plan->offset && plan->write_end == data_end;
    if (!whole && plan->fresh &&
        reads_as_zeroes(bs, plan->start, plan->offset - plan->start) &&
        reads_as_zeroes(bs, data_end, plan->end - data_end)) {
        whole = true;
    }
    if (whole) {
        return write_payload(bs, plan->host + (plan->offset - base), plan->bytes, p, at);
    }
    if (p->src) {
        return write_around_copy(bs, plan, p, at);
    }
    return write_merged(bs, plan, plan->host + (plan->start - base), p->qiov,
                        p->qiov_offset + at);
}

/* --- L2 entries --- */

static void new_entry(const BDRVQcow2State *s, const Plan *plan, uint64_t guest,
                      const uint64_t old[2], uint64_t word[2])
{
    uint64_t base = qcow2_cluster_start(s, plan->offset);
    uint64_t from = MAX(plan->start, guest), to = MIN(plan->end, guest + s->cluster_size);
    uint64_t mask;

    word[0] = (plan->host + (guest - base)) | QCOW2_OFLAG_COPIED;
    word[1] = 0;
    if (!s->extended) {
        return;
    }
    mask = MAKE_64BIT_MASK((from - guest) >> s->subcluster_bits,
                           (to - from) >> s->subcluster_bits);
    word[1] = old[0] & QCOW2_OFLAG_COMPRESSED ? 0 : old[1];
    if (!plan->keep) {
        word[1] &= QCOW2_BITMAP_ALL_ZEROES; /* all data of the old cluster lies in mask */
    }
    word[1] &= ~QCOW2_BITMAP_ZERO(mask);
    word[1] |= QCOW2_BITMAP_ALLOC(mask);
}

static int coroutine_fn link_plan(BlockDriverState *bs, const Plan *plan)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned slot, index = qcow2_slice_index(s, plan->offset);
    int ret = qcow2_l2cache_lock(bs, qcow2_slice_key(s, plan->offset), &slot);

    if (ret < 0) {
        return ret;
    }
    qcow2_slot_change_begin(&s->l2, slot);
    for (uint64_t i = 0; i < plan->clusters; i++) {
        uint64_t guest = qcow2_cluster_start(s, plan->offset) + (i << s->cluster_bits);
        uint64_t old[2], word[2];

        qcow2_get_entry(s, slot, index + i, old);
        new_entry(s, plan, guest, old, word);
        qcow2_set_entry(s, slot, index + i, word);
        if (!plan->keep) {
            qcow2_drop_entry(bs, old);
        }
    }
    qcow2_slot_change_end(&s->l2, slot);
    qcow2_slot_set_dirty(&s->l2, slot);
    s->l2_depends = true;
    qemu_mutex_unlock(&s->meta);
    return 0;
}

/* --- a request --- */

/* Under the range lock. *@done bytes are written; 0 when it has become a write in place. */
static int coroutine_fn write_planned(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                      uint64_t limit, const Payload *p, uint64_t at,
                                      uint64_t *done)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Extent ext;
    Plan plan;
    int ret = qcow2_co_l2_ensure(bs, qcow2_slice_key(s, offset));

    if (ret == 0) {
        ret = qcow2_co_map_for_write(bs, offset, bytes, &ext);
    }
    if (ret < 0 || (ext.kind == QCOW2_NORMAL && ext.copied)) {
        return ret;
    }
    ret = make_plan(bs, offset, bytes, limit, &ext, &plan);
    if (ret == 0) {
        ret = allocate(bs, &plan);
    }
    if (ret < 0) {
        return ret;
    }
    ret = write_plan_data(bs, &plan, p, at);
    if (ret == 0) {
        ret = link_plan(bs, &plan);
    }
    if (ret < 0) {
        if (!plan.keep && !s->external) {
            qcow2_co_unalloc(bs, plan.host, plan.clusters);
        }
        return ret;
    }
    *done = plan.bytes;
    return 0;
}

static int coroutine_fn write_allocating(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                         const Payload *p, uint64_t at, uint64_t *done)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t slice_end = (qcow2_slice_key(s, offset) + 1) << (s->cluster_bits + s->slice_bits);
    Qcow2RangeLock lock;
    bool urgent;
    int ret;

    bytes = MIN(bytes, slice_end - offset);
    if (!qcow2_range_lock(s, &lock, offset >> s->cluster_bits,
                          (offset + bytes - 1) >> s->cluster_bits)) {
        return 0;
    }
    ret = write_planned(bs, offset, bytes, (lock.last + 1) << s->cluster_bits, p, at, done);
    qcow2_range_unlock(s, &lock);
    if (ret == 0) {
        qemu_mutex_lock(&s->meta);
        urgent = qcow2_reclaim_urgent(s);
        qemu_mutex_unlock(&s->meta);
        if (urgent) {
            ret = qcow2_co_writeback(bs);
        }
    }
    return ret;
}

static int coroutine_fn write_request(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                      const Payload *p)
{
    uint64_t at = 0;
    int ret = 0;

    while (bytes && ret == 0) {
        uint64_t done = 0;
        Qcow2Extent ext;

        ret = qcow2_co_map_for_write(bs, offset, bytes, &ext);
        if (ret == 0) {
            if (likely(ext.kind == QCOW2_NORMAL && ext.copied)) {
                ret = write_payload(bs, ext.host, ext.bytes, p, at);
                done = ext.bytes;
            } else {
                ret = write_allocating(bs, offset, bytes, p, at, &done);
            }
        }
        offset += done;
        at += done;
        bytes -= done;
    }
    return ret;
}

int coroutine_fn qcow2_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, size_t qiov_offset,
                                       BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned *users;
    uint64_t host;
    int ret = qcow2_co_begin_change(bs);

    if (ret < 0) {
        return ret;
    }
    users = qcow2_request_begin(s);
    if (likely(qcow2_map_direct(s, offset, bytes, true, &host))) {
        ret = write_data(bs, host, bytes, qiov, qiov_offset, BLKDBG_WRITE_AIO);
    } else {
        Payload p = { .qiov = qiov, .qiov_offset = qiov_offset };

        ret = write_request(bs, offset, bytes, &p);
    }
    qcow2_request_end(users);
    return ret;
}

int coroutine_fn qcow2_co_copy_range_to(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                        BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                        BdrvRequestFlags read_flags,
                                        BdrvRequestFlags write_flags)
{
    Payload p = { .src = src, .src_offset = src_offset, .read_flags = read_flags,
                  .write_flags = write_flags };
    unsigned *users;
    int ret = qcow2_co_begin_change(bs);

    if (ret < 0) {
        return ret;
    }
    users = qcow2_request_begin(bs->opaque);
    ret = write_request(bs, dst_offset, bytes, &p);
    qcow2_request_end(users);
    return ret;
}
