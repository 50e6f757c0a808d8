/* SPDX-License-Identifier: MIT */
/*
 * "test-crash": a disk in memory with a volatile cache. It keeps a log of what was
 * written to it, from which the contents after a power cut at any instant can be made, and
 * any call to it can be made to fail. Each test program includes it once.
 *
 * Time is a counter that moves when a request begins and when it ends. A flush makes
 * durable what had ended before the flush began. Of the rest a power cut keeps any sectors: lost,
 * torn and reordered writes are all among the results. One thread only.
 */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "block/block-image.h"

#define CRASH_SECTOR   512
#define CRASH_CAPACITY (12 << 20) /* bytes */

typedef enum CrashEventKind { CRASH_WRITE, CRASH_ZERO, CRASH_LENGTH, CRASH_FLUSH } CrashEventKind;

typedef struct CrashEvent {
    CrashEventKind kind;
    unsigned begin, end; /* time; end 0: still under way, or failed */
    int64_t offset, bytes;
    uint8_t *data;
} CrashEvent;

typedef enum CrashFault {
    CRASH_EIO_NOT_DONE, /* one call fails and had no effect, */
    CRASH_EIO_HALF,     /* half of its effect, */
    CRASH_EIO_DONE,     /* all of its effect */
    CRASH_FULL,         /* from then on the file does not get longer */
    CRASH_GONE,         /* from then on everything fails */
    CRASH_FAULTS
} CrashFault;

typedef struct CrashDisk {
    uint8_t *data, *initial;
    int64_t length, initial_length;
    GArray *log; /* of CrashEvent */
    unsigned now;

    unsigned calls;   /* that could have failed */
    unsigned fail_at; /* the number of the call that fails; 0: none */
    CrashFault fault;
    bool paused;      /* calls neither count nor fail */
    unsigned header_delay; /* a read of the first sector lets others run so many times */
    bool barrier_failed; /* a flush, or a change of the first sector */
} CrashDisk;

typedef struct CrashState {
    CrashDisk *disk;
} CrashState;

static CrashDisk *crash_disk_to_open;

static inline void crash_event_clear(gpointer data)
{
    g_free(((CrashEvent *)data)->data);
}

static inline CrashDisk *crash_disk_new(const uint8_t *contents, int64_t length)
{
    CrashDisk *d = g_new0(CrashDisk, 1);

    g_assert_cmpint(length, <=, CRASH_CAPACITY);
    d->data = g_malloc0(CRASH_CAPACITY);
    d->initial = g_memdup2(contents, length);
    memcpy(d->data, contents, length);
    d->length = d->initial_length = length;
    d->log = g_array_new(false, false, sizeof(CrashEvent));
    g_array_set_clear_func(d->log, crash_event_clear);
    return d;
}

static inline void crash_disk_free(CrashDisk *d)
{
    g_array_free(d->log, true);
    g_free(d->initial);
    g_free(d->data);
    g_free(d);
}

/* --- faults --- */

/* What this call is to return; *@effect: how much of it is to happen. */
static inline int crash_fault(CrashDisk *d, int64_t end, int64_t bytes, int64_t *effect)
{
    *effect = bytes;
    if (d->paused || !d->fail_at) {
        return 0;
    }
    if (++d->calls < d->fail_at) {
        return 0;
    }
    if (d->fault == CRASH_FULL) {
        if (end <= d->length) {
            return 0;
        }
        *effect = 0;
        return -ENOSPC;
    }
    if (d->fault != CRASH_GONE && d->calls > d->fail_at) {
        return 0;
    }
    *effect = d->fault == CRASH_EIO_DONE ? bytes
              : d->fault == CRASH_EIO_HALF ? ROUND_DOWN(bytes / 2, CRASH_SECTOR) : 0;
    return -EIO;
}

/* --- the driver --- */

static inline void coroutine_fn crash_let_others(void)
{
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
}

static inline guint crash_begin(CrashDisk *d, CrashEventKind kind, int64_t offset, int64_t bytes)
{
    CrashEvent e = { .kind = kind, .begin = ++d->now, .offset = offset, .bytes = bytes };

    g_array_append_val(d->log, e);
    return d->log->len - 1;
}

static inline int coroutine_fn crash_end(CrashDisk *d, guint event, int ret)
{
    crash_let_others();
    d->now++;
    g_array_index(d->log, CrashEvent, event).end = ret < 0 ? 0 : d->now;
    return ret;
}

static inline int crash_open(BlockDriverState *bs, BlockOptions *options, int flags,
                             Error **errp)
{
    CrashState *s = bs->opaque;

    g_assert(crash_disk_to_open);
    s->disk = g_steal_pointer(&crash_disk_to_open);
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    return 0;
}

static inline int coroutine_fn crash_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov, size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    CrashDisk *d = ((CrashState *)bs->opaque)->disk;
    int64_t effect;
    int ret = crash_fault(d, 0, bytes, &effect);

    qemu_iovec_from_buf(qiov, qiov_offset, d->data + offset, effect);
    for (unsigned i = 0; i < d->header_delay && offset == 0; i++) {
        crash_let_others();
    }
    crash_let_others();
    return ret;
}

static inline int coroutine_fn crash_put(CrashDisk *d, CrashEventKind kind, int64_t offset,
                                         int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    int64_t effect;
    int ret;
    guint e;

    if (offset + bytes > CRASH_CAPACITY) {
        return -ENOSPC;
    }
    ret = crash_fault(d, offset + bytes, bytes, &effect);
    d->barrier_failed |= ret < 0 && offset < CRASH_SECTOR;
    e = crash_begin(d, kind, offset, effect);
    if (kind == CRASH_ZERO) {
        memset(d->data + offset, 0, effect);
    } else {
        qemu_iovec_to_buf(qiov, qiov_offset, d->data + offset, effect);
        g_array_index(d->log, CrashEvent, e).data = g_memdup2(d->data + offset, effect);
    }
    d->length = effect ? MAX(d->length, offset + effect) : d->length;
    return crash_end(d, e, ret);
}

static inline int coroutine_fn crash_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov, size_t qiov_offset,
                                             BdrvRequestFlags flags)
{
    return crash_put(((CrashState *)bs->opaque)->disk, CRASH_WRITE, offset, bytes, qiov,
                     qiov_offset);
}

static inline int coroutine_fn crash_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                                   int64_t bytes, BdrvRequestFlags flags)
{
    return crash_put(((CrashState *)bs->opaque)->disk, CRASH_ZERO, offset, bytes, NULL, 0);
}

static inline int coroutine_fn crash_pdiscard(BlockDriverState *bs, int64_t offset,
                                              int64_t bytes)
{
    CrashDisk *d = ((CrashState *)bs->opaque)->disk;

    bytes = MIN(bytes, MAX(d->length - offset, 0));
    return bytes ? crash_put(d, CRASH_ZERO, offset, bytes, NULL, 0) : 0;
}

static inline int coroutine_fn crash_flush(BlockDriverState *bs)
{
    CrashDisk *d = ((CrashState *)bs->opaque)->disk;
    int64_t effect;
    int ret = crash_fault(d, 0, 1, &effect);

    d->barrier_failed |= ret < 0;
    return crash_end(d, crash_begin(d, CRASH_FLUSH, 0, 0), ret);
}

static inline int64_t coroutine_fn crash_getlength(BlockDriverState *bs)
{
    return ((CrashState *)bs->opaque)->disk->length;
}

static inline int coroutine_fn crash_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                              PreallocMode prealloc, BdrvRequestFlags flags,
                                              Error **errp)
{
    CrashDisk *d = ((CrashState *)bs->opaque)->disk;
    int64_t effect;
    int ret = offset > CRASH_CAPACITY ? -ENOSPC : crash_fault(d, offset, 1, &effect);
    guint e;

    if (ret < 0) {
        error_setg_errno(errp, -ret, "The disk failed");
        if (offset > CRASH_CAPACITY || !effect) {
            return ret;
        }
    }
    e = crash_begin(d, CRASH_LENGTH, offset, 0);
    if (offset < d->length) {
        memset(d->data + offset, 0, d->length - offset);
    }
    d->length = offset;
    return crash_end(d, e, ret);
}

static BlockDriver bdrv_test_crash = {
    .format_name = "test-crash",
    .protocol_name = "test-crash",
    .instance_size = sizeof(CrashState),
    .bdrv_open = crash_open,
    .bdrv_co_preadv_part = crash_preadv,
    .bdrv_co_pwritev_part = crash_pwritev,
    .bdrv_co_pwrite_zeroes = crash_pwrite_zeroes,
    .bdrv_co_pdiscard = crash_pdiscard,
    .bdrv_co_flush_to_disk = crash_flush,
    .bdrv_co_getlength = crash_getlength,
    .bdrv_co_truncate = crash_truncate,
};

/* --- power cuts --- */

/* Where a durable flush has begun at the latest, for a cut at @time. */
static inline unsigned crash_durable_before(const CrashDisk *d, unsigned time)
{
    unsigned latest = 0;

    for (guint i = 0; i < d->log->len; i++) {
        const CrashEvent *e = &g_array_index(d->log, CrashEvent, i);

        if (e->kind == CRASH_FLUSH && e->end && e->end <= time) {
            latest = MAX(latest, e->begin);
        }
    }
    return latest;
}

/* Applies an event but for the sectors that are lost. */
static inline void crash_apply(CrashDisk *to, const CrashEvent *e, GRand *r, int loss)
{
    int64_t stop = e->offset + e->bytes, n;

    for (int64_t at = e->offset; at < stop; at += n) {
        n = MIN(ROUND_UP(at + 1, CRASH_SECTOR), stop) - at;
        if (loss && g_rand_int_range(r, 0, 100) < loss) {
            continue;
        }
        if (e->kind == CRASH_ZERO) {
            memset(to->data + at, 0, n);
        } else {
            memcpy(to->data + at, e->data + (at - e->offset), n);
        }
        to->length = MAX(to->length, at + n);
    }
}

/* A disk as it may be found after a power cut at @time. */
static inline CrashDisk *crash_cut(const CrashDisk *d, unsigned time, GRand *r)
{
    CrashDisk *to = crash_disk_new(d->initial, d->initial_length);
    unsigned durable = crash_durable_before(d, time);
    int lost = g_rand_int_range(r, 0, 5) * 25;           /* per cent of the requests, */
    int torn = g_rand_boolean(r) ? 0 : g_rand_int_range(r, 0, 100); /* of sectors of others */

    for (guint i = 0; i < d->log->len; i++) {
        const CrashEvent *e = &g_array_index(d->log, CrashEvent, i);
        bool firm = e->end && e->end <= durable;

        if (e->begin > time || e->kind == CRASH_FLUSH ||
            (!firm && g_rand_int_range(r, 0, 100) < lost)) {
            continue;
        }
        if (e->kind != CRASH_LENGTH) {
            crash_apply(to, e, r, firm ? 0 : torn);
            continue;
        }
        if (e->offset < to->length) {
            memset(to->data + e->offset, 0, to->length - e->offset);
        }
        to->length = e->offset;
    }
    g_free(to->initial);
    to->initial = g_memdup2(to->data, to->length);
    to->initial_length = to->length;
    return to;
}

/* Opens qcow2 on the disk; @more: further options. NULL with @errp. */
static inline BlockBackend *crash_open_qcow2(CrashDisk *d, const char *more, int flags,
                                             Error **errp)
{
    static bool registered;
    BlockOptions *options = blk_options_new();

    if (!registered) {
        bdrv_register(&bdrv_test_crash);
        registered = true;
    }
    blk_options_parse(options, more, NULL, &error_abort);
    blk_options_set(options, "driver", "qcow2");
    blk_options_set(options, "file.driver", "test-crash");
    crash_disk_to_open = d;
    return blk_new_open(NULL, NULL, options, flags, errp);
}

#endif
