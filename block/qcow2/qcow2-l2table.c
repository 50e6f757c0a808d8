/* SPDX-License-Identifier: MIT */
/*
 * A new table is written out whole before the L1 entry in RAM points to it; the L1 entry
 * reaches the disk with the next write-back, behind a flush. A table that was shared with a
 * snapshot loses one reference then. Its copy has no COPIED flags, as whoever shares a
 * table shares what it points to; cached slices of the old table are dropped for that.
 */
#include "qcow2-l2table.h"

#include "qcow2-inactive-l2.h"
#include "qcow2-l2cache.h"
#include "qcow2-lazy.h"
#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"

static int coroutine_fn read_old_table(BlockDriverState *bs, uint64_t l1_index, uint64_t old,
                                       uint64_t *buf)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned words = s->cluster_size / 8;
    int ret;

    if (!old) {
        memset(buf, 0, s->cluster_size);
        return 0;
    }
    if (old & (s->cluster_size - 1)) {
        qcow2_signal_corruption(bs, true, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#"
                                PRIx64 ")", old, l1_index);
        return -EIO;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_L2_ALLOC_COW_READ);
    ret = bdrv_co_pread(bs->file, old, s->cluster_size, buf, 0);
    for (unsigned i = 0; ret == 0 && i < words; i += s->entry_words) {
        if (!(buf[i] & GUINT64_TO_BE(QCOW2_OFLAG_COMPRESSED))) {
            buf[i] &= GUINT64_TO_BE(~QCOW2_OFLAG_COPIED);
        }
    }
    return ret;
}

/* Under l1_lock. */
static int coroutine_fn replace_table(BlockDriverState *bs, uint64_t key, uint64_t old)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned bits = s->l2_bits - s->slice_bits;
    uint64_t l1_index = key >> bits, part = key & ((UINT64_C(1) << bits) - 1);
    QEMU_AUTO_VFREE uint64_t *buf = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    uint64_t offset;
    int64_t got;
    bool fresh;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    ret = read_old_table(bs, l1_index, old, buf);
    if (ret < 0) {
        return ret;
    }
    got = qcow2_co_alloc_named(bs, "L2 table", 1, true, &offset, &fresh);
    if (got < 0) {
        return got;
    }
    ret = qcow2_co_lazy_table(bs);
    if (ret < 0) {
        qcow2_co_unalloc(bs, offset, 1);
        return ret;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_L2_ALLOC_WRITE);
    ret = bdrv_co_pwrite(bs->file, offset, s->cluster_size, buf, 0);
    if (ret < 0) {
        qcow2_co_unalloc(bs, offset, 1);
        return ret;
    }
    qcow2_map_add(s, QCOW2_META_L2, offset, s->cluster_size);

    qemu_mutex_lock(&s->meta);
    qatomic_set(&s->l1[l1_index], offset | QCOW2_OFLAG_COPIED);
    set_bit(l1_index / 64, s->l1_dirty);
    s->any_l1_dirty = true;
    if (old) {
        qcow2_l2cache_forget(s, l1_index);
        qcow2_free_later(s, old);
    }
    qcow2_l2cache_fill(s, key, buf + part * s->slice_words);
    qemu_mutex_unlock(&s->meta);
    if (old) {
        /* No longer an active one, and no table at all when that was the last reference. */
        qcow2_map_remove(s, QCOW2_META_L2, old, s->cluster_size);
        qcow2_co_note_left_l2(bs, old);
    }
    return 0;
}

int coroutine_fn qcow2_co_l2_ensure(BlockDriverState *bs, uint64_t key)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t l1_index = key >> (s->l2_bits - s->slice_bits), entry;
    int ret = 0;

    g_assert(l1_index < qatomic_read(&s->l1_size));
    entry = qatomic_read(&qatomic_rcu_read(&s->l1)[l1_index]);
    if (likely((entry & QCOW2_OFLAG_COPIED) && (entry & QCOW2_L1_OFFSET_MASK))) {
        return 0;
    }
    qemu_co_mutex_lock(&s->l1_lock);
    entry = qatomic_read(&s->l1[l1_index]);
    if (!(entry & QCOW2_OFLAG_COPIED) || !(entry & QCOW2_L1_OFFSET_MASK)) {
        ret = replace_table(bs, key, entry & QCOW2_L1_OFFSET_MASK);
    }
    qemu_co_mutex_unlock(&s->l1_lock);
    return ret;
}
