/* SPDX-License-Identifier: MIT */
/*
 * Both go slice by slice under a range lock, and decide for each entry what it becomes:
 *
 *   zeroes, may unmap    "reads as zeroes" without a host cluster
 *   zeroes               the same, but a host cluster of the guest's own is kept
 *   discard              as zeroes with unmap, where the entry has something to give up, or
 *                        where a backing file would shine through
 *   empty                nothing at all, so that a backing file does
 *
 * Zeroes in a part of a subcluster make all of it zeroes if the rest reads as such.
 *
 * Version 2 has no "reads as zeroes": without a backing file an empty entry does it, with one
 * the core is told to write zeroes (or to leave the discard).
 */
#include "qcow2-zero.h"

#include "qcow2-l2cache.h"
#include "qcow2-l2table.h"
#include "qcow2-map.h"
#include "qcow2-reclaim.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"

typedef enum ZeroMode { ZERO_KEEP, ZERO_UNMAP, ZERO_DISCARD, ZERO_EMPTY } ZeroMode;

/* An image without a backing file reads as zeroes where nothing is allocated. */
static bool has_backing(const BlockDriverState *bs)
{
    const BDRVQcow2State *s = bs->opaque;

    return bs->backing || s->hdr.backing_file;
}

/* Which subclusters of the cluster at @guest does [@offset, @end) cover? */
static uint64_t covered(const BDRVQcow2State *s, uint64_t guest, uint64_t offset, uint64_t end)
{
    uint64_t from = MAX(guest, offset) - guest, to = MIN(guest + s->cluster_size, end) - guest;
    uint64_t granule = UINT64_C(1) << s->subcluster_bits;

    if (end >= qatomic_read(&s->size)) {
        to = s->cluster_size; /* what lies behind the end of the disk goes with it */
    }
    from >>= s->subcluster_bits;
    to = DIV_ROUND_UP(to, granule);
    return MAKE_64BIT_MASK(from, to - from);
}

/* Does the entry refer to anything? Cluster 0 of an external file is told by COPIED. */
static bool has_something(const BDRVQcow2State *s, const uint64_t old[2])
{
    return (old[0] & (QCOW2_OFLAG_COMPRESSED | QCOW2_L2_OFFSET_MASK)) ||
           (s->external && (old[0] & QCOW2_OFLAG_COPIED));
}

/* The entry's new value; false when it stays. *@drop: the old host cluster is given up. */
static bool change_extended(const BlockDriverState *bs, const uint64_t old[2], uint64_t mask,
                            ZeroMode mode, uint64_t word[2], bool *drop)
{
    bool compressed = old[0] & QCOW2_OFLAG_COMPRESSED;
    bool whole = mask == QCOW2_BITMAP_ALL_ALLOC;
    bool something = has_something(bs->opaque, old);
    bool own = !compressed && (old[0] & QCOW2_OFLAG_COPIED);

    if (mode == ZERO_DISCARD && !something && !has_backing(bs)) {
        return false;
    }
    *drop = whole && something && (mode != ZERO_KEEP || !own);
    word[0] = *drop || !something ? 0 : old[0];
    word[1] = whole ? QCOW2_BITMAP_ALL_ZEROES
                    : (old[1] & ~QCOW2_BITMAP_ALLOC(mask)) | QCOW2_BITMAP_ZERO(mask);
    return word[0] != old[0] || word[1] != old[1];
}

static bool change_standard(const BlockDriverState *bs, const uint64_t old[2], ZeroMode mode,
                            uint64_t word[2], bool *drop)
{
    const BDRVQcow2State *s = bs->opaque;
    bool compressed = old[0] & QCOW2_OFLAG_COMPRESSED;
    bool something = has_something(s, old);
    bool own = !compressed && (old[0] & QCOW2_OFLAG_COPIED);

    word[1] = 0;
    if (!something && !has_backing(bs) && (mode == ZERO_DISCARD || s->hdr.version < 3)) {
        *drop = false;
        return false; /* reads as zeroes as it is */
    }
    *drop = something && (mode != ZERO_KEEP || !own || s->hdr.version < 3);
    if (s->hdr.version < 3) {
        word[0] = 0;
    } else {
        word[0] = (*drop || !something ? 0 : old[0]) | QCOW2_OFLAG_ZERO;
    }
    return word[0] != old[0];
}

static bool change_to_empty(const BDRVQcow2State *s, const uint64_t old[2], uint64_t word[2],
                            bool *drop)
{
    *drop = has_something(s, old);
    word[0] = word[1] = 0;
    return old[0] || old[1];
}

/* Under meta. */
static void change_slot(BlockDriverState *bs, unsigned slot, uint64_t offset, uint64_t end,
                        ZeroMode mode)
{
    BDRVQcow2State *s = bs->opaque;
    bool any = false;

    qcow2_slot_change_begin(&s->l2, slot);
    for (uint64_t guest = qcow2_cluster_start(s, offset); guest < end; guest += s->cluster_size) {
        unsigned index = qcow2_slice_index(s, guest);
        uint64_t old[2], word[2];
        bool drop, changed;

        qcow2_get_entry(s, slot, index, old);
        changed = mode == ZERO_EMPTY ? change_to_empty(s, old, word, &drop)
                  : s->extended      ? change_extended(bs, old, covered(s, guest, offset, end), mode,
                                                word, &drop)
                                     : change_standard(bs, old, mode, word, &drop);
        if (changed) {
            qcow2_set_entry(s, slot, index, word);
            any = true;
            if (drop) {
                qcow2_drop_entry(bs, old);
            }
        }
    }
    qcow2_slot_change_end(&s->l2, slot);
    if (any) {
        qcow2_slot_set_dirty(&s->l2, slot);
    }
}

/*
 * Is there anything to change? Looked up first, so as not to make tables for nothing. Zeroes
 * that the guest wrote are recorded even where nothing is below, as in QEMU: they are allocated then.
 */
static bool nothing_there(const BlockDriverState *bs, uint64_t offset, ZeroMode mode)
{
    const BDRVQcow2State *s = bs->opaque;
    uint64_t *table = qatomic_rcu_read(&s->l1);

    if (mode != ZERO_EMPTY && (has_backing(bs) || (mode != ZERO_DISCARD && s->hdr.version >= 3))) {
        return false;
    }
    return !(qatomic_read(&table[qcow2_l1_index(s, offset)]) & QCOW2_L1_OFFSET_MASK);
}

/* A compressed cluster cannot lose a part of itself by a change of its entry. */
static int coroutine_fn check_parts(BlockDriverState *bs, uint64_t offset, uint64_t end)
{
    BDRVQcow2State *s = bs->opaque;

    while (offset < end) {
        Qcow2Extent ext;
        uint64_t next = qcow2_cluster_start(s, offset) + s->cluster_size;
        bool whole = !qcow2_in_cluster(s, offset) && (next <= end ||
                                                      end >= qatomic_read(&s->size));
        int ret = whole ? 0 : qcow2_co_map(bs, offset, end - offset, &ext);

        if (ret < 0) {
            return ret;
        }
        if (!whole && ext.kind == QCOW2_COMPRESSED) {
            return -ENOTSUP;
        }
        offset = next;
    }
    return 0;
}

/* Under meta: does any of the subclusters of [@offset, @end), in one cluster, hold data? */
static bool holds_data(const BDRVQcow2State *s, unsigned slot, uint64_t offset, uint64_t end)
{
    uint64_t entry[2];

    qcow2_get_entry(s, slot, qcow2_slice_index(s, offset), entry);
    if (entry[0] & QCOW2_OFLAG_COMPRESSED) {
        return true;
    }
    if (s->extended) {
        return entry[1] & QCOW2_BITMAP_ALLOC(covered(s, qcow2_cluster_start(s, offset), offset, end));
    }
    return has_something(s, entry) && !(s->hdr.version >= 3 && (entry[0] & QCOW2_OFLAG_ZERO));
}

/*
 * Does the range stop within a subcluster, though the disk goes on? It ended with the disk when
 * it was sent, and who made the disk longer meanwhile may have written to the rest.
 */
static bool ends_midway(const BDRVQcow2State *s, uint64_t end)
{
    return (end & ((UINT64_C(1) << s->subcluster_bits) - 1)) && end < qatomic_read(&s->size);
}

/* @no_data: -ENOTSUP where there are data; the range then lies in one subcluster. */
static int coroutine_fn zero_slice(BlockDriverState *bs, uint64_t offset, uint64_t end,
                                   ZeroMode mode, bool no_data, uint64_t *done)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2RangeLock lock;
    unsigned slot;
    int ret;

    if (!qcow2_range_lock(s, &lock, offset >> s->cluster_bits, (end - 1) >> s->cluster_bits)) {
        return 0;
    }
    end = MIN(end, (lock.last + 1) << s->cluster_bits);
    ret = qcow2_co_l2_ensure(bs, qcow2_slice_key(s, offset));
    if (ret == 0 && s->extended && mode != ZERO_EMPTY) {
        ret = check_parts(bs, offset, end);
    }
    if (ret == 0) {
        ret = qcow2_l2cache_lock(bs, qcow2_slice_key(s, offset), &slot);
    }
    if (ret == 0) {
        if ((no_data && holds_data(s, slot, offset, end)) ||
            (mode != ZERO_EMPTY && ends_midway(s, end))) {
            ret = -ENOTSUP;
        } else {
            change_slot(bs, slot, offset, end, mode);
            *done = end - offset;
        }
        qemu_mutex_unlock(&s->meta);
    }
    qcow2_range_unlock(s, &lock);
    return ret;
}

static int coroutine_fn zero_range(BlockDriverState *bs, uint64_t offset, uint64_t bytes,
                                   ZeroMode mode, bool no_data)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = offset + bytes;
    int ret = 0;

    while (offset < end && ret == 0) {
        uint64_t slice = (qcow2_slice_key(s, offset) + 1) << (s->cluster_bits + s->slice_bits);
        uint64_t stop = MIN(end, slice), done = 0;
        bool urgent;

        if (nothing_there(bs, offset, mode)) {
            offset = (qcow2_l1_index(s, offset) + 1) << (s->cluster_bits + s->l2_bits);
            continue;
        }
        ret = zero_slice(bs, offset, stop, mode, no_data, &done);
        offset += done;
        qemu_mutex_lock(&s->meta);
        urgent = qcow2_reclaim_urgent(s);
        qemu_mutex_unlock(&s->meta);
        if (ret == 0 && urgent) {
            ret = qcow2_co_writeback(bs);
        }
    }
    return ret;
}

/* Aligned to subclusters, or ending with the disk? */
static bool zeroes_aligned(const BDRVQcow2State *s, uint64_t offset, uint64_t bytes)
{
    uint64_t mask = (UINT64_C(1) << s->subcluster_bits) - 1;

    return (offset & mask) == 0 &&
           ((bytes & mask) == 0 || offset + bytes == qatomic_read(&s->size));
}

/* An external file that has to be right by itself gets real zeroes. */
static int coroutine_fn zero_raw_data(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;

    if (!s->external || !(s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW)) {
        return 0;
    }
    return bdrv_co_pwrite_zeroes(s->data_file, offset, bytes, flags);
}

/*
 * Other external files give the space back. By zeroes, not a discard: until the metadata
 * is on the disk, a power cut may bring the data clusters back, and these must not show garbage.
 */
static void coroutine_fn unmap_data(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length;

    if (!s->external || !s->may_discard_host ||
        (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW)) {
        return;
    }
    length = bdrv_co_getlength(s->data_file->bs);
    if (length > 0 && offset < (uint64_t)length) {
        /* A hint, as far as the guest is concerned. */
        bdrv_co_pwrite_zeroes(s->data_file, offset, MIN(bytes, length - offset),
                              BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK);
    }
}

static bool coroutine_fn reads_as_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    for (int64_t n; bytes > 0; offset += n, bytes -= n) {
        int ret = bdrv_co_block_status_above(bs, NULL, offset, bytes, &n, NULL, NULL);

        if (ret < 0 || !(ret & BDRV_BLOCK_ZERO) || !n) {
            return false;
        }
    }
    return true;
}

/*
 * Zeroes within a subcluster whose rest reads as zeroes, too, make all of it zeroes. Somebody
 * may write to the rest after it was looked at: then the entry holds data, see zero_slice().
 * A raw external file has no such entry to tell by.
 */
static int coroutine_fn round_to_subcluster(BlockDriverState *bs, int64_t *offset, int64_t *bytes)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t granule = INT64_C(1) << s->subcluster_bits;
    int64_t from = ROUND_DOWN(*offset, granule), end = *offset + *bytes;
    int64_t to = MIN(ROUND_UP(end, granule), (int64_t)qatomic_read(&s->size));

    if (to - from > granule || (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW) ||
        !reads_as_zeroes(bs, from, *offset - from) ||
        !reads_as_zeroes(bs, end, to - end)) {
        return -ENOTSUP;
    }
    *offset = from;
    *bytes = to - from;
    return 0;
}

int coroutine_fn qcow2_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned *users;
    bool rounded;
    int ret = qcow2_co_begin_change(bs);

    if (ret < 0) {
        return ret;
    }
    if (s->hdr.version < 3 && has_backing(bs)) {
        return -ENOTSUP;
    }
    rounded = !zeroes_aligned(s, offset, bytes);
    if (rounded && round_to_subcluster(bs, &offset, &bytes) < 0) {
        return -ENOTSUP;
    }
    users = qcow2_request_begin(s);
    ret = zero_raw_data(bs, offset, bytes, flags & BDRV_REQ_MAY_UNMAP);
    if (ret == 0) {
        ret = zero_range(bs, offset, bytes, flags & BDRV_REQ_MAY_UNMAP ? ZERO_UNMAP : ZERO_KEEP,
                         rounded);
    }
    if (ret == 0 && !rounded && (flags & BDRV_REQ_MAY_UNMAP)) {
        unmap_data(bs, offset, bytes);
    }
    qcow2_request_end(users);
    return ret;
}

int coroutine_fn qcow2_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t size = qatomic_read(&s->size), end = offset + bytes;
    unsigned *users;
    int ret = qcow2_co_begin_change(bs);

    if (ret < 0) {
        return ret;
    }
    if (qcow2_in_cluster(s, offset) || (qcow2_in_cluster(s, end) && end != size)) {
        return -ENOTSUP;
    }
    if (s->hdr.version < 3 && has_backing(bs)) {
        return -ENOTSUP;
    }
    users = qcow2_request_begin(s);
    ret = zero_raw_data(bs, offset, bytes, BDRV_REQ_MAY_UNMAP);
    if (ret == 0) {
        ret = zero_range(bs, offset, bytes, ZERO_DISCARD, false);
    }
    if (ret == 0) {
        unmap_data(bs, offset, bytes);
    }
    qcow2_request_end(users);
    return ret;
}

int coroutine_fn qcow2_co_cut_entries(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = (uint64_t)s->l1_size << (s->cluster_bits + s->l2_bits);
    unsigned *users = qcow2_request_begin(s);
    int ret = offset < end ? zero_range(bs, offset, end - offset, ZERO_EMPTY, false) : 0;

    qcow2_request_end(users);
    return ret;
}
