/* SPDX-License-Identifier: MIT */
/*
 * Growing: a larger L1 table if need be, then the new area gets its contents, then the header
 * its size, each durable before the next. Shrinking: what lies behind the new end goes
 * (qcow2-shrink.h), then the header gets its size. A failure on the way leaves the old size in
 * force. The core keeps other requests away from what comes or goes meanwhile.
 */
#include "qcow2-truncate.h"

#include "block/block-image.h"
#include "qcow2-bitmap.h"
#include "qcow2-header-io.h"
#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-prealloc.h"
#include "qcow2-range.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"
#include "qcow2-shrink.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"
#include "qcow2-zero.h"

static int check_truncate(BlockDriverState *bs, int64_t offset, PreallocMode prealloc,
                          Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const char *what = NULL;

    if (offset & (BDRV_SECTOR_SIZE - 1)) {
        error_setg(errp, "The new size must be a multiple of %u", (unsigned)BDRV_SECTOR_SIZE);
        return -EINVAL;
    }
    if (s->hdr.nb_snapshots && s->hdr.version < 3) {
        what = "Can't resize a v2 image which has snapshots";
    }
    if (what) {
        error_setg(errp, "%s", what);
        return -ENOTSUP;
    }
    if ((uint64_t)offset < s->size && prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation can't be used for shrinking an image");
        return -EINVAL;
    }
    return 0;
}

/* --- the L1 table --- */

static int coroutine_fn write_new_l1(BlockDriverState *bs, uint64_t offset, const uint64_t *table,
                                     uint32_t entries)
{
    uint64_t bytes = entries * 8ULL;
    QEMU_AUTO_VFREE uint64_t *raw = qemu_try_blockalign(bs->file->bs, bytes);
    int ret;

    if (!raw) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < entries; i++) {
        raw[i] = GUINT64_TO_BE(table[i]);
    }
    ret = qcow2_co_check_write(bs, QCOW2_META_L1, offset, bytes);
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_L1_GROW_WRITE_TABLE);
        ret = bdrv_co_pwrite(bs->file, offset, bytes, raw, 0);
    }
    /* Refcounts of the new place, and L2 tables that only the old table knew in RAM. */
    return ret == 0 ? qcow2_co_writeback_locked(bs) : ret;
}

/* From here on the new table is the one that counts; readers may still look at the old one. */
static void switch_l1(BDRVQcow2State *s, uint64_t *table, uint32_t entries, uint64_t offset,
                      unsigned long *dirty)
{
    qemu_mutex_lock(&s->meta);
    g_ptr_array_add(s->old_l1, s->l1);
    g_free(s->l1_dirty);
    s->l1_dirty = dirty;
    s->l1_table_offset = offset;
    qatomic_rcu_set(&s->l1, table);
    qatomic_store_release(&s->l1_size, entries);
    qemu_mutex_unlock(&s->meta);
}

/*
 * Under wb_lock and l1_lock: nobody changes L1 entries or writes them out. What is in RAM is
 * on the disk already after a write-back, so the new table may hold all of it.
 */
static int coroutine_fn replace_l1(BlockDriverState *bs, uint32_t entries)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = entries * 8ULL, old_offset = s->l1_table_offset, offset;
    uint64_t old_bytes = s->l1_size * 8ULL, clusters = DIV_ROUND_UP(bytes, s->cluster_size);
    uint64_t *table = g_try_new0(uint64_t, entries);
    unsigned long *dirty = g_try_new0(unsigned long, BITS_TO_LONGS(entries / 64 + 1));
    bool fresh;
    int64_t got = table && dirty ? qcow2_co_writeback_locked(bs) : -ENOMEM;
    int ret;

    if (got == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_L1_GROW_ALLOC_TABLE);
        got = qcow2_co_alloc_clusters(bs, clusters, true, &offset, &fresh);
    }
    if (got < 0) {
        g_free(table);
        g_free(dirty);
        return got;
    }
    memcpy(table, s->l1, old_bytes);
    qcow2_map_add(s, QCOW2_META_L1, offset, bytes);
    ret = write_new_l1(bs, offset, table, entries);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_L1_GROW_ACTIVATE_TABLE);
        ret = qcow2_co_write_header_l1(bs, entries, offset);
    }
    if (ret < 0) {
        qcow2_map_remove(s, QCOW2_META_L1, offset, bytes);
        qcow2_co_unalloc(bs, offset, clusters);
        g_free(table);
        g_free(dirty);
        return ret;
    }
    switch_l1(s, table, entries, offset, dirty);
    if (old_bytes) {
        qcow2_map_remove(s, QCOW2_META_L1, old_offset, old_bytes);
        qcow2_co_unalloc(bs, old_offset, DIV_ROUND_UP(old_bytes, s->cluster_size));
    }
    return 0;
}

int coroutine_fn qcow2_co_grow_l1(BlockDriverState *bs, uint64_t needed)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (needed > QCOW2_MAX_L1_BYTES / 8) {
        return -EFBIG;
    }
    if (needed <= qatomic_read(&s->l1_size)) {
        return 0;
    }
    qemu_co_mutex_lock(&s->wb_lock);
    qemu_co_mutex_lock(&s->l1_lock);
    /* Others may have made it longer while this one waited: it never gets shorter. */
    if (needed > s->l1_size) {
        ret = replace_l1(bs, needed);
    }
    qemu_co_mutex_unlock(&s->l1_lock);
    qemu_co_mutex_unlock(&s->wb_lock);
    return ret;
}

/* --- the new area --- */

/* The rest of the old last cluster is not aligned to anything: real zeroes. */
static int coroutine_fn zero_cluster_end(BlockDriverState *bs, uint64_t from, uint64_t to)
{
    QEMU_AUTO_VFREE uint8_t *buf = NULL;
    QEMUIOVector qiov;

    if (from >= to) {
        return 0;
    }
    buf = qemu_try_memalign(4096, to - from);
    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, to - from);
    qemu_iovec_init_buf(&qiov, buf, to - from);
    return qcow2_co_pwritev_part(bs, from, to - from, &qiov, 0, 0);
}

/*
 * Does the cluster at the end of the disk hold something behind that end? A disk that was
 * larger once, or came from elsewhere, can: it must not come to light again. 1, 0 or -errno.
 */
static int coroutine_fn has_old_data(BlockDriverState *bs, uint64_t from)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = ROUND_UP(from, (uint64_t)s->cluster_size);
    unsigned *users = qcow2_request_begin(s);
    int ret = 0;

    while (from < end && ret == 0) {
        Qcow2Extent ext;

        ret = qcow2_co_map(bs, from, end - from, &ext);
        if (ret == 0) {
            ret = ext.kind == QCOW2_NORMAL || ext.kind == QCOW2_COMPRESSED;
            from += ext.bytes;
        }
    }
    qcow2_request_end(users);
    return ret;
}

static void report_on_image(void *opaque, uint64_t done, uint64_t total)
{
    bdrv_report_progress(opaque, done, total);
}

/* An external file that is longer than the disk holds who knows what there. */
static int coroutine_fn grow_data_file(BlockDriverState *bs, uint64_t from, uint64_t to,
                                       bool exact, PreallocMode prealloc, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_co_getlength(s->data_file->bs);
    int ret = length < 0 ? length : 0;

    if (ret == 0 && (uint64_t)length > from) {
        ret = bdrv_co_pwrite_zeroes(s->data_file, from, MIN((uint64_t)length, to) - from,
                                    BDRV_REQ_MAY_UNMAP);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not clear the new area of the data file");
        return ret;
    }
    prealloc = prealloc == PREALLOC_MODE_METADATA ? PREALLOC_MODE_OFF : prealloc;
    bdrv_set_progress(s->data_file->bs, report_on_image, bs);
    ret = bdrv_co_truncate(s->data_file, to, exact, prealloc, 0, errp);
    bdrv_set_progress(s->data_file->bs, NULL, NULL);
    return ret;
}

/* @allocated: all whole clusters of the new area are the disk's own already, and hold zeroes. */
static int coroutine_fn zero_new_area(BlockDriverState *bs, uint64_t from, uint64_t to,
                                      bool allocated, BdrvRequestFlags flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t cluster_end = MIN(ROUND_UP(from, (uint64_t)s->cluster_size), to);
    int ret = flags & BDRV_REQ_ZERO_WRITE ? 1 : has_old_data(bs, from);

    if (ret > 0) {
        ret = zero_cluster_end(bs, from, cluster_end);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to zero out the new area");
        return ret;
    }
    if ((flags & BDRV_REQ_ZERO_WRITE) && cluster_end < to && !allocated) {
        ret = qcow2_co_pwrite_zeroes(bs, cluster_end, to - cluster_end, 0);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to zero out new clusters");
    }
    return ret;
}

static int coroutine_fn fill_new_area(BlockDriverState *bs, uint64_t from, uint64_t to, bool exact,
                                      PreallocMode prealloc, BdrvRequestFlags flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = s->external ? grow_data_file(bs, from, to, exact, prealloc, errp) : 0;

    if (ret < 0) {
        return ret;
    }
    /* A raw data file is the truth, so every cluster has to be looked for there. */
    if (s->external && (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW)) {
        prealloc = PREALLOC_MODE_METADATA;
    }
    if (prealloc != PREALLOC_MODE_OFF) {
        uint64_t start = from;

        if (bs->backing) {
            /* What the overlay has of its last cluster may still lie in the backing file. */
            start = MIN(ROUND_UP(from, (uint64_t)s->cluster_size), to);
            ret = zero_cluster_end(bs, from, start);
        }
        if (ret == 0 && start < to) {
            ret = qcow2_co_preallocate(bs, start, to, prealloc);
        }
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not preallocate the new area");
            return ret;
        }
    }
    /* Extended entries were given a place, but still show what lies below. */
    return zero_new_area(bs, from, to,
                         !s->external && !s->extended && prealloc >= PREALLOC_MODE_FALLOC, flags,
                         errp);
}

/* What is in RAM is durable, and then the size counts. */
static int coroutine_fn set_size(BlockDriverState *bs, uint64_t size, uint64_t old_size,
                                 Error **errp)
{
    int ret = qcow2_co_writeback(bs);

    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret == 0) {
        ret = qcow2_co_write_header_size(bs, size, old_size);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to update the image size");
    }
    return ret;
}

static int coroutine_fn grow(BlockDriverState *bs, uint64_t size, bool exact,
                             PreallocMode prealloc, BdrvRequestFlags flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t old_size = s->size;
    /* Saved machine state, or what a foreign tool left there, is no part of the disk. */
    int ret = qcow2_co_cut_entries(bs, ROUND_UP(old_size, (uint64_t)s->cluster_size));

    if (ret == 0) {
        ret = qcow2_co_grow_l1(bs, qcow2_l1_entries_needed(size, s->cluster_bits, s->extended));
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to grow the L1 table");
        return ret;
    }
    /* Only this request knows the new area; the length that the core has is the old one. */
    qatomic_set(&s->size, size);
    ret = fill_new_area(bs, old_size, size, exact, prealloc, flags, errp);
    if (ret == 0) {
        ret = set_size(bs, size, old_size, errp);
    }
    if (ret < 0) {
        qatomic_set(&s->size, old_size);
    }
    return ret;
}

/*
 * A write before the new end may fill its cluster up to the end of the disk that it knew: those that do wait
 * here, and later ones find the new end.
 */
static int coroutine_fn cut_data_file(BlockDriverState *bs, uint64_t size, bool exact, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t cluster = size >> s->cluster_bits;
    Qcow2RangeLock lock;
    int ret;

    while (!qcow2_range_lock(s, &lock, cluster, cluster)) {
    }
    qatomic_set(&s->size, size);
    ret = bdrv_co_truncate(s->data_file, size, exact, PREALLOC_MODE_OFF, 0, errp);
    qcow2_range_unlock(s, &lock);
    return ret;
}

static int coroutine_fn shrink(BlockDriverState *bs, uint64_t size, bool exact, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t old_size = s->size;
    int ret = qcow2_co_shrink(bs, size, errp);

    if (ret == 0 && s->external) {
        ret = cut_data_file(bs, size, exact, errp);
    }
    if (ret == 0) {
        ret = set_size(bs, size, old_size, errp);
    }
    qatomic_set(&s->size, ret == 0 ? size : old_size);
    return ret;
}

int coroutine_fn qcow2_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                   PreallocMode prealloc, BdrvRequestFlags flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t size = offset;
    int ret = check_truncate(bs, offset, prealloc, errp);

    if (ret < 0) {
        return ret;
    }
    /* What forbids a resize does so too when the size stays what it is, as in QEMU. */
    ret = qcow2_co_bitmaps_before_resize(bs, errp);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_co_begin_change(bs);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not resize the image");
        return ret;
    }
    if (size < s->size) {
        return shrink(bs, size, exact, errp);
    }
    return size > s->size || s->external ? grow(bs, size, exact, prealloc, flags, errp) : 0;
}
