/* SPDX-License-Identifier: MIT */
/*
 * "test-ram": a disk in memory for the tests of the block layer, with settable alignment,
 * limits, delays and errors, that counts what it is asked. Each test program includes it
 * once.
 *
 * The disk outlives its node, so that a test can look at it after closing. Requests of
 * several threads are allowed: lock covers data and counters.
 */
#ifndef TESTS_RAM_DRIVER_H
#define TESTS_RAM_DRIVER_H

#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "block/block-image.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

typedef struct RamDisk {
    /* Set by the test before opening. */
    int64_t length;        /* bytes */
    BlockLimits limits;    /* 0: the default */
    unsigned max_delay_ns; /* each request sleeps up to so long */
    bool zeroes, discards, fua;
    bool resizable;
    /* Set by the test at any time (-errno): what the next calls return. */
    int read_error, write_error, flush_error, zero_error;
    bool hold; /* requests wait until ram_release() */
    /*
     * The so-manieth call (from 1 on; 0: none) fails with fail_with; with fail_short it
     * moves half of its bytes before.
     */
    unsigned fail_at;
    int fail_with;
    bool fail_short;

    /* Under lock. */
    QemuMutex lock;
    uint8_t *data;
    int64_t capacity;
    unsigned reads, writes, zero_writes, nb_discards, flushes, fua_writes;
    unsigned in_flight, max_in_flight;
    unsigned calls; /* of all kinds that can fail */
    int64_t largest; /* bytes of the largest request */
    int largest_iov;
    unsigned drain_begins, drain_ends;
    GPtrArray *held; /* of Coroutine */
} RamDisk;

typedef struct RamState {
    RamDisk *disk;
} RamState;

static RamDisk *ram_disk_to_open;

static inline RamDisk *ram_disk_new(int64_t length)
{
    RamDisk *d = g_new0(RamDisk, 1);

    d->length = length;
    d->capacity = ROUND_UP(length, 65536) * 2;
    d->data = g_malloc0(d->capacity);
    d->zeroes = d->discards = d->resizable = true;
    d->held = g_ptr_array_new();
    qemu_mutex_init(&d->lock);
    return d;
}

static inline void ram_disk_free(RamDisk *d)
{
    g_assert_cmpuint(d->in_flight, ==, 0);
    qemu_mutex_destroy(&d->lock);
    g_ptr_array_free(d->held, true);
    g_free(d->data);
    g_free(d);
}

static inline int ram_open(BlockDriverState *bs, BlockOptions *options, int flags,
                           Error **errp)
{
    RamState *s = bs->opaque;

    g_assert(ram_disk_to_open);
    s->disk = g_steal_pointer(&ram_disk_to_open);
    bs->supported_write_flags = s->disk->fua ? BDRV_REQ_FUA : 0;
    bs->supported_zero_flags =
        BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK | (s->disk->fua ? BDRV_REQ_FUA : 0);
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    return 0;
}

static inline void ram_refresh_limits(BlockDriverState *bs, Error **errp)
{
    const BlockLimits *l = &((RamState *)bs->opaque)->disk->limits;

    bs->bl.request_alignment = MAX(l->request_alignment, 1);
    bs->bl.max_transfer = l->max_transfer;
    bs->bl.max_pdiscard = l->max_pdiscard;
    bs->bl.pdiscard_alignment = l->pdiscard_alignment;
    bs->bl.max_pwrite_zeroes = l->max_pwrite_zeroes;
    bs->bl.pwrite_zeroes_alignment = l->pwrite_zeroes_alignment;
    bs->bl.max_iov = l->max_iov ? l->max_iov : IOV_MAX;
}

/* Lets go what waits because of hold. */
static inline void ram_release(RamDisk *d)
{
    g_autoptr(GPtrArray) held = NULL;

    qemu_mutex_lock(&d->lock);
    qatomic_set(&d->hold, false);
    held = g_steal_pointer(&d->held);
    d->held = g_ptr_array_new();
    qemu_mutex_unlock(&d->lock);
    for (guint i = 0; i < held->len; i++) {
        aio_co_wake(g_ptr_array_index(held, i));
    }
}

static inline void coroutine_fn ram_begin(RamDisk *d, unsigned *counter, int64_t bytes)
{
    qemu_mutex_lock(&d->lock);
    ++*counter;
    d->largest = MAX(d->largest, bytes);
    d->max_in_flight = MAX(d->max_in_flight, ++d->in_flight);
    if (d->hold) {
        g_ptr_array_add(d->held, qemu_coroutine_self());
        qemu_mutex_unlock(&d->lock);
        qemu_coroutine_yield();
    } else {
        qemu_mutex_unlock(&d->lock);
    }
    if (d->max_delay_ns) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, (uint64_t)g_random_int() % d->max_delay_ns);
    }
    qemu_mutex_lock(&d->lock);
}

/* Called with the lock. */
static inline int ram_end(RamDisk *d, int ret)
{
    d->in_flight--;
    qemu_mutex_unlock(&d->lock);
    return ret;
}

/* Called with the lock: what this call fails with, and how many of its bytes it moves. */
static inline int ram_fault(RamDisk *d, int error, int64_t *bytes)
{
    if (++d->calls == d->fail_at) {
        *bytes = d->fail_short ? *bytes / 2 : 0;
        return d->fail_with;
    }
    if (error) {
        *bytes = 0;
    }
    return error;
}

static inline void ram_check(RamDisk *d, int64_t offset, int64_t bytes)
{
    uint32_t align = MAX(d->limits.request_alignment, 1);

    g_assert_cmpint(offset % align, ==, 0);
    g_assert_cmpint(bytes % align, ==, 0);
    g_assert_cmpint(offset + bytes, <=, d->capacity);
}

static inline int coroutine_fn ram_preadv(BlockDriverState *bs, int64_t offset,
                                          int64_t bytes, QEMUIOVector *qiov,
                                          size_t qiov_offset, BdrvRequestFlags flags)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int ret;

    ram_begin(d, &d->reads, bytes);
    ram_check(d, offset, bytes);
    d->largest_iov =
        MAX(d->largest_iov, qemu_iovec_subvec_niov(qiov, qiov_offset, bytes));
    ret = ram_fault(d, d->read_error, &bytes);
    qemu_iovec_from_buf(qiov, qiov_offset, d->data + offset, bytes);
    return ram_end(d, ret);
}

static inline int coroutine_fn ram_pwritev(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes, QEMUIOVector *qiov,
                                           size_t qiov_offset, BdrvRequestFlags flags)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int ret;

    ram_begin(d, &d->writes, bytes);
    ram_check(d, offset, bytes);
    d->fua_writes += !!(flags & BDRV_REQ_FUA);
    d->largest_iov =
        MAX(d->largest_iov, qemu_iovec_subvec_niov(qiov, qiov_offset, bytes));
    ret = ram_fault(d, d->write_error, &bytes);
    qemu_iovec_to_buf(qiov, qiov_offset, d->data + offset, bytes);
    if (bytes) {
        d->length = MAX(d->length, offset + bytes);
    }
    return ram_end(d, ret);
}

static inline int coroutine_fn ram_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                                 int64_t bytes, BdrvRequestFlags flags)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int ret = d->zeroes ? d->zero_error : -ENOTSUP;

    ram_begin(d, &d->zero_writes, bytes);
    ram_check(d, offset, bytes);
    ret = ram_fault(d, ret, &bytes);
    memset(d->data + offset, 0, bytes);
    return ram_end(d, ret);
}

/* Discarded data reads as zeroes. */
static inline int coroutine_fn ram_pdiscard(BlockDriverState *bs, int64_t offset,
                                            int64_t bytes)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int ret;

    ram_begin(d, &d->nb_discards, bytes);
    ram_check(d, offset, bytes);
    ret = ram_fault(d, d->discards ? 0 : -ENOTSUP, &bytes);
    memset(d->data + offset, 0, bytes);
    return ram_end(d, ret);
}

static inline int coroutine_fn ram_flush(BlockDriverState *bs)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int64_t none = 0;
    int ret;

    ram_begin(d, &d->flushes, 0);
    ret = ram_fault(d, d->flush_error, &none);
    return ram_end(d, ret);
}

static inline int64_t coroutine_fn ram_getlength(BlockDriverState *bs)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int64_t length;

    qemu_mutex_lock(&d->lock);
    length = d->length;
    qemu_mutex_unlock(&d->lock);
    return length;
}

static inline int coroutine_fn ram_truncate(BlockDriverState *bs, int64_t offset,
                                            bool exact, PreallocMode prealloc,
                                            BdrvRequestFlags flags, Error **errp)
{
    RamDisk *d = ((RamState *)bs->opaque)->disk;
    int64_t none = 0;
    int ret;

    if (!d->resizable || offset > d->capacity) {
        error_setg(errp, "The RAM disk is full");
        return -ENOSPC;
    }
    qemu_mutex_lock(&d->lock);
    ret = ram_fault(d, 0, &none);
    if (ret == 0 && offset < d->length) {
        memset(d->data + offset, 0, d->capacity - offset);
    }
    if (ret == 0) {
        d->length = offset;
    }
    qemu_mutex_unlock(&d->lock);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Injected");
    }
    return ret;
}

static inline void ram_drain_begin(BlockDriverState *bs)
{
    ((RamState *)bs->opaque)->disk->drain_begins++;
}

static inline void ram_drain_end(BlockDriverState *bs)
{
    ((RamState *)bs->opaque)->disk->drain_ends++;
}

static BlockDriver bdrv_test_ram = {
    .format_name = "test-ram",
    .protocol_name = "test-ram",
    .instance_size = sizeof(RamState),
    .bdrv_open = ram_open,
    .bdrv_refresh_limits = ram_refresh_limits,
    .bdrv_co_preadv_part = ram_preadv,
    .bdrv_co_pwritev_part = ram_pwritev,
    .bdrv_co_pwrite_zeroes = ram_pwrite_zeroes,
    .bdrv_co_pdiscard = ram_pdiscard,
    .bdrv_co_flush_to_disk = ram_flush,
    .bdrv_co_getlength = ram_getlength,
    .bdrv_co_truncate = ram_truncate,
    .bdrv_drain_begin = ram_drain_begin,
    .bdrv_drain_end = ram_drain_end,
};

/*
 * @more: further options, as "key=value,..."; NULL: the disk itself ("driver=raw": in
 * raw).
 */
static inline BlockBackend *ram_try_open(RamDisk *d, const char *more, int flags,
                                         Error **errp)
{
    static bool registered;
    BlockOptions *options = blk_options_new();

    if (!registered) {
        bdrv_register(&bdrv_test_ram);
        registered = true;
    }
    if (more) {
        blk_options_parse(options, more, NULL, &error_abort);
        blk_options_set(options, "file.driver", "test-ram");
    } else {
        blk_options_set(options, "driver", "test-ram");
    }
    ram_disk_to_open = d;
    return blk_new_open(NULL, NULL, options, flags, errp);
}

static inline BlockBackend *ram_open_blk(RamDisk *d, const char *more)
{
    return ram_try_open(d, more, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP,
                        &error_abort);
}

#endif
