/* SPDX-License-Identifier: MIT */
/*
 * null-co and null-aio: an image that swallows writes and reads as zeroes or as whatever
 * was in the buffer. For benchmarks of everything above the driver, and for tests.
 *
 * This is also the example that docs/adding-a-driver.md walks through. The core
 * checks ranges, flags and results around every call here (block/driver-call.c), so none
 * of it is repeated.
 */
#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "qemu/timer.h"

#define NULL_DEFAULT_LENGTH (1LL << 30)

/*
 * What one node knows. The core allocates instance_size bytes, zeroed, as bs->opaque.
 * Set by open, only read afterwards: requests of several threads need no lock.
 */
typedef struct NullState {
    int64_t length;      /* bytes */
    uint64_t latency_ns; /* how long a request takes */
    bool read_zeroes;
} NullState;

/*
 * open takes its keys from @options. A key that nobody takes is reported by the core
 * as the user's mistake, so there is no list of known options to keep.
 */
static int null_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    NullState *s = bs->opaque;
    uint64_t length = NULL_DEFAULT_LENGTH;

    if (blk_options_take_size(options, "size", &length, errp) < 0 ||
        blk_options_take_number(options, "latency-ns", &s->latency_ns, errp) < 0 ||
        blk_options_take_bool(options, "read-zeroes", &s->read_zeroes, errp) < 0) {
        return -EINVAL;
    }
    if (length > BDRV_MAX_LENGTH) {
        error_setg(errp, "The size of '%s' is out of range", bs->drv->format_name);
        return -EINVAL;
    }
    if (s->latency_ns > INT64_MAX) {
        error_setg(errp, "latency-ns is invalid");
        return -EINVAL;
    }
    s->length = length;

    /* What the driver does by itself; the core emulates the rest or hides the flag. */
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    return 0;
}

/* "null-co://" is the whole name: everything else is said by options. */
static void null_parse_name(const char *filename, const char *only, Error **errp)
{
    if (strcmp(filename, only)) {
        error_setg(errp, "The only allowed filename for this driver is '%s'", only);
    }
}

static void null_co_parse_filename(const char *filename, BlockOptions *options,
                                   Error **errp)
{
    null_parse_name(filename, "null-co://", errp);
}

static void null_aio_parse_filename(const char *filename, BlockOptions *options,
                                    Error **errp)
{
    null_parse_name(filename, "null-aio://", errp);
}

static int64_t coroutine_fn null_co_getlength(BlockDriverState *bs)
{
    NullState *s = bs->opaque;

    return s->length;
}

static int64_t coroutine_fn null_co_get_allocated_file_size(BlockDriverState *bs)
{
    return 0;
}

/*
 * A coroutine waits by giving its thread to others: never sleep(), never a lock held
 * long.
 */
static inline int coroutine_fn null_wait(BlockDriverState *bs)
{
    NullState *s = bs->opaque;

    if (unlikely(s->latency_ns)) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, s->latency_ns);
    }
    return 0;
}

/* Data callbacks move all of @bytes and return 0 or -errno, never a count. */
static int coroutine_fn null_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                            int64_t bytes, QEMUIOVector *qiov,
                                            size_t qiov_offset, BdrvRequestFlags flags)
{
    NullState *s = bs->opaque;

    if (s->read_zeroes) {
        qemu_iovec_memset(qiov, qiov_offset, 0, bytes);
    }
    return null_wait(bs);
}

static int coroutine_fn null_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, QEMUIOVector *qiov,
                                             size_t qiov_offset, BdrvRequestFlags flags)
{
    return null_wait(bs);
}

static int coroutine_fn null_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                              int64_t bytes, BdrvRequestFlags flags)
{
    return null_wait(bs);
}

static int coroutine_fn null_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes)
{
    return null_wait(bs);
}

static int coroutine_fn null_co_flush(BlockDriverState *bs)
{
    return null_wait(bs);
}

/* Nothing is stored; whether it reads as zeroes depends. */
static int coroutine_fn null_co_block_status(BlockDriverState *bs, bool want_zero,
                                             int64_t offset, int64_t bytes, int64_t *pnum,
                                             int64_t *map, BlockDriverState **file)
{
    NullState *s = bs->opaque;

    *pnum = bytes;
    *map = offset;
    *file = bs;
    return BDRV_BLOCK_OFFSET_VALID | (s->read_zeroes ? BDRV_BLOCK_ZERO : 0);
}

/* The options that make this image what it is: "json:{...}" names of it hold them. */
static const char *const null_strong_options[] = { "size", "latency-ns", "read-zeroes",
                                                   NULL };

/*
 * The table. What is NULL is emulated or refused with -ENOTSUP: null cannot be resized or
 * created, for instance. After this: one line in block/meson.build, one in
 * block/drivers.h.
 */
BlockDriver bdrv_null_co = {
    .format_name = "null-co",
    .protocol_name = "null-co",
    .instance_size = sizeof(NullState),
    .bdrv_parse_filename = null_co_parse_filename,
    .bdrv_open = null_open,
    .bdrv_co_getlength = null_co_getlength,
    .bdrv_co_get_allocated_file_size = null_co_get_allocated_file_size,
    .bdrv_co_preadv_part = null_co_preadv_part,
    .bdrv_co_pwritev_part = null_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = null_co_pwrite_zeroes,
    .bdrv_co_pdiscard = null_co_pdiscard,
    .bdrv_co_flush_to_disk = null_co_flush,
    .bdrv_co_block_status = null_co_block_status,
    .strong_runtime_opts = null_strong_options,
};

/*
 * In QEMU this one completes through callbacks. Every request is a coroutine here, so the
 * two differ by name only.
 */
BlockDriver bdrv_null_aio = {
    .format_name = "null-aio",
    .protocol_name = "null-aio",
    .instance_size = sizeof(NullState),
    .bdrv_parse_filename = null_aio_parse_filename,
    .bdrv_open = null_open,
    .bdrv_co_getlength = null_co_getlength,
    .bdrv_co_get_allocated_file_size = null_co_get_allocated_file_size,
    .bdrv_co_preadv_part = null_co_preadv_part,
    .bdrv_co_pwritev_part = null_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = null_co_pwrite_zeroes,
    .bdrv_co_pdiscard = null_co_pdiscard,
    .bdrv_co_flush_to_disk = null_co_flush,
    .bdrv_co_block_status = null_co_block_status,
    .strong_runtime_opts = null_strong_options,
};
