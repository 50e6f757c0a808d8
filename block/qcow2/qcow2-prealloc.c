/* SPDX-License-Identifier: MIT */
/* Slice by slice, under range locks, like a write without data. */
#include "qcow2-prealloc.h"

#include "../node.h" /* co_call() */
#include "qcow2-first-write.h"
#include "qcow2-l2cache.h"
#include "qcow2-l2table.h"
#include "qcow2-map.h"
#include "qcow2-range.h"
#include "qcow2-reclaim.h"
#include "qcow2-refcount.h"
#include "qcow2-write.h"

/*
 * Under alloc_lock: a file that ends before @end gets longer, as far as clusters have been given
 * out: others may write to some behind @end meanwhile. 1: it is long enough.
 */
static int coroutine_fn extend_file(BlockDriverState *bs, uint64_t end, PreallocMode mode)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_co_getlength(bs->file->bs);
    PreallocMode how = mode == PREALLOC_MODE_METADATA ? PREALLOC_MODE_OFF : mode;

    if (length < 0) {
        return length;
    }
    return (uint64_t)length >= end
               ? 1
               : bdrv_co_truncate(bs->file, MAX(end, s->rc.zero_from), false, how, 0, NULL);
}

/* The file gets the space, and reads as zeroes there. */
static int coroutine_fn prepare_space(BlockDriverState *bs, uint64_t host, uint64_t bytes,
                                      bool fresh, PreallocMode mode)
{
    BDRVQcow2State *s = bs->opaque;

    if (fresh) {
        int ret;

        qemu_co_mutex_lock(&s->alloc_lock);
        ret = extend_file(bs, host + bytes, mode);
        qemu_co_mutex_unlock(&s->alloc_lock);
        if (ret <= 0) {
            return ret;
        }
    }
    if (fresh && mode == PREALLOC_MODE_METADATA) {
        return 0;
    }
    return bdrv_co_pwrite_zeroes(bs->file, host, bytes, 0);
}

/* Host clusters for up to @clusters from @guest on. How many, or -errno. */
static int64_t coroutine_fn get_space(BlockDriverState *bs, uint64_t guest, uint64_t clusters,
                                      PreallocMode mode, uint64_t *host)
{
    BDRVQcow2State *s = bs->opaque;
    bool fresh;
    int64_t got;
    int ret;

    if (s->external) {
        *host = guest; /* whoever sizes that file decides on its space */
        return clusters;
    }
    got = qcow2_co_alloc_clusters(bs, clusters, false, host, &fresh);
    if (got < 0) {
        return got;
    }
    ret = prepare_space(bs, *host, (uint64_t)got << s->cluster_bits, fresh, mode);
    if (ret < 0) {
        qcow2_co_unalloc(bs, *host, got);
    }
    return ret < 0 ? ret : got;
}

static int coroutine_fn map_run(BlockDriverState *bs, uint64_t guest, uint64_t clusters,
                                PreallocMode mode, uint64_t *done)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned slot, index = qcow2_slice_index(s, guest);
    uint64_t host;
    int64_t got = get_space(bs, guest, clusters, mode, &host);
    int ret;

    if (got < 0) {
        return got;
    }
    ret = qcow2_l2cache_lock(bs, qcow2_slice_key(s, guest), &slot);
    if (ret < 0) {
        if (!s->external) {
            qcow2_co_unalloc(bs, host, got);
        }
        return ret;
    }
    qcow2_slot_change_begin(&s->l2, slot);
    for (int64_t i = 0; i < got; i++) {
        uint64_t word[2] = { (host + ((uint64_t)i << s->cluster_bits)) | QCOW2_OFLAG_COPIED, 0 };

        qcow2_set_entry(s, slot, index + i, word);
    }
    qcow2_slot_change_end(&s->l2, slot);
    qcow2_slot_set_dirty(&s->l2, slot);
    s->l2_depends = true;
    qemu_mutex_unlock(&s->meta);
    *done = (uint64_t)got << s->cluster_bits;
    return 0;
}

/* Under a range lock. */
static int coroutine_fn map_some(BlockDriverState *bs, uint64_t guest, uint64_t end,
                                 PreallocMode mode, uint64_t *done)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Extent ext;
    int ret = qcow2_co_l2_ensure(bs, qcow2_slice_key(s, guest));

    if (ret == 0) {
        ret = qcow2_co_map(bs, guest, end - guest, &ext);
    }
    if (ret < 0) {
        return ret;
    }
    if (ext.kind == QCOW2_UNALLOCATED && ext.bytes >= s->cluster_size) {
        return map_run(bs, guest, ext.bytes >> s->cluster_bits, mode, done);
    }
    *done = MIN(end - guest, ROUND_UP((uint64_t)ext.bytes, (uint64_t)s->cluster_size));
    return 0;
}

static void coroutine_fn fix_file_end(BDRVQcow2State *s, bool fixed)
{
    qemu_co_mutex_lock(&s->alloc_lock);
    s->rc.file_end_fixed = fixed;
    qemu_co_mutex_unlock(&s->alloc_lock);
}

int coroutine_fn qcow2_co_preallocate(BlockDriverState *bs, uint64_t offset, uint64_t end,
                                      PreallocMode mode)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned *users = qcow2_request_begin(s);
    int ret = qcow2_co_begin_change(bs);
    uint64_t start;

    /* Here the caller says how the file gets its space. */
    fix_file_end(s, true);
    offset = start = qcow2_cluster_start(s, offset);
    end = ROUND_UP(end, (uint64_t)s->cluster_size);
    while (offset < end && ret == 0) {
        uint64_t slice = (qcow2_slice_key(s, offset) + 1) << (s->cluster_bits + s->slice_bits);
        uint64_t stop = MIN(end, slice), done = 0;
        Qcow2RangeLock lock;

        if (!qcow2_range_lock(s, &lock, offset >> s->cluster_bits,
                              (stop - 1) >> s->cluster_bits)) {
            continue;
        }
        stop = MIN(stop, (lock.last + 1) << s->cluster_bits);
        ret = map_some(bs, offset, stop, mode, &done);
        qcow2_range_unlock(s, &lock);
        offset += done;
        bdrv_report_progress(bs, offset - start, end - start);
    }
    fix_file_end(s, false);
    qcow2_request_end(users);
    return ret;
}

typedef struct PreallocCall {
    CoCall call;
    BlockDriverState *bs;
    PreallocMode mode;
} PreallocCall;

static void coroutine_fn preallocate_entry(CoCall *call)
{
    PreallocCall *pc = container_of(call, PreallocCall, call);
    BDRVQcow2State *s = pc->bs->opaque;

    call->ret = qcow2_co_preallocate(pc->bs, 0, s->size, pc->mode);
}

int qcow2_preallocate(BlockDriverState *bs, PreallocMode mode)
{
    PreallocCall pc = { .call.fn = preallocate_entry, .bs = bs, .mode = mode };

    return co_call(&pc.call);
}
