/* SPDX-License-Identifier: MIT */
/*
 * "fuzz-mem": a disk in static memory that costs next to nothing. Bytes behind the length are
 * zero at all times. Requests end at once, in the thread of the target.
 */
#include "fuzz.h"

typedef struct FuzzDisk {
    uint8_t data[FUZZ_DISK_BYTES];
    size_t length;
} FuzzDisk;

typedef struct FuzzDiskState {
    FuzzDisk *disk;
    uint32_t align;
} FuzzDiskState;

static FuzzDisk disks[2];
static unsigned writes_left = UINT_MAX;
uint64_t fuzz_disk_requests;

static FuzzDisk *disk_of(BlockDriverState *bs)
{
    fuzz_disk_requests++;
    return ((FuzzDiskState *)bs->opaque)->disk;
}

static bool write_fails(void)
{
    if (writes_left == 0) {
        return true;
    }
    writes_left -= writes_left != UINT_MAX;
    return false;
}

static int mem_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    FuzzDiskState *s = bs->opaque;
    uint64_t i = 0, align = 1;

    if (blk_options_take_number(options, "disk", &i, errp) < 0 ||
        blk_options_take_number(options, "align", &align, errp) < 0) {
        return -EINVAL;
    }
    if (i >= G_N_ELEMENTS(disks) || (align != 1 && align != 512 && align != 4096)) {
        error_setg(errp, "No such disk");
        return -EINVAL;
    }
    s->disk = &disks[i];
    s->align = align;
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    return 0;
}

static void mem_parse_filename(const char *filename, BlockOptions *options, Error **errp)
{
}

static void mem_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = ((FuzzDiskState *)bs->opaque)->align;
}

static int coroutine_fn mem_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset, BdrvRequestFlags flags)
{
    FuzzDisk *d = disk_of(bs);

    if (offset + bytes > FUZZ_DISK_BYTES) {
        return -EIO;
    }
    qemu_iovec_from_buf(qiov, qiov_offset, d->data + offset, bytes);
    return 0;
}

static int coroutine_fn mem_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset,
                                    BdrvRequestFlags flags)
{
    FuzzDisk *d = disk_of(bs);

    if (write_fails()) {
        return -EIO;
    }
    if (offset + bytes > FUZZ_DISK_BYTES) {
        return -ENOSPC;
    }
    qemu_iovec_to_buf(qiov, qiov_offset, d->data + offset, bytes);
    d->length = MAX(d->length, (size_t)(offset + bytes));
    return 0;
}

static int coroutine_fn mem_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                          BdrvRequestFlags flags)
{
    FuzzDisk *d = disk_of(bs);

    if (write_fails()) {
        return -EIO;
    }
    if (offset + bytes > FUZZ_DISK_BYTES) {
        return -ENOSPC;
    }
    memset(d->data + offset, 0, bytes);
    d->length = MAX(d->length, (size_t)(offset + bytes));
    return 0;
}

static int coroutine_fn mem_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    FuzzDisk *d = disk_of(bs);

    if (offset + bytes > FUZZ_DISK_BYTES) {
        return -EIO;
    }
    memset(d->data + offset, 0, bytes);
    return 0;
}

static int coroutine_fn mem_flush(BlockDriverState *bs)
{
    fuzz_disk_requests++;
    return 0;
}

static int64_t coroutine_fn mem_getlength(BlockDriverState *bs)
{
    return ((FuzzDiskState *)bs->opaque)->disk->length;
}

static int coroutine_fn mem_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                     PreallocMode prealloc, BdrvRequestFlags flags, Error **errp)
{
    FuzzDisk *d = disk_of(bs);

    if (offset > FUZZ_DISK_BYTES || write_fails()) {
        error_setg(errp, "The disk is full");
        return -ENOSPC;
    }
    if ((size_t)offset < d->length) {
        memset(d->data + offset, 0, d->length - offset);
    }
    d->length = offset;
    return 0;
}

static BlockDriver bdrv_fuzz_mem = {
    .format_name = "fuzz-mem",
    .protocol_name = "fuzz-mem",
    .instance_size = sizeof(FuzzDiskState),
    .bdrv_parse_filename = mem_parse_filename,
    .bdrv_open = mem_open,
    .bdrv_refresh_limits = mem_refresh_limits,
    .bdrv_co_preadv_part = mem_preadv,
    .bdrv_co_pwritev_part = mem_pwritev,
    .bdrv_co_pwrite_zeroes = mem_pwrite_zeroes,
    .bdrv_co_pdiscard = mem_pdiscard,
    .bdrv_co_flush_to_disk = mem_flush,
    .bdrv_co_getlength = mem_getlength,
    .bdrv_co_truncate = mem_truncate,
};

void fuzz_disk_init(void)
{
    bdrv_register(&bdrv_fuzz_mem);
}

void fuzz_disk_set(unsigned i, const uint8_t *data, size_t bytes)
{
    FuzzDisk *d = &disks[i];

    g_assert(bytes <= FUZZ_DISK_BYTES);
    if (bytes && data != d->data) {
        memcpy(d->data, data, bytes);
    }
    if (bytes < d->length) {
        memset(d->data + bytes, 0, d->length - bytes);
    }
    d->length = bytes;
}

void fuzz_disk_set_length(unsigned i, size_t bytes, size_t touched)
{
    FuzzDisk *d = &disks[i];

    touched = MAX(touched, d->length);
    if (touched > bytes) {
        memset(d->data + bytes, 0, touched - bytes);
    }
    d->length = bytes;
}

uint8_t *fuzz_disk_data(unsigned i)
{
    return disks[i].data;
}

void fuzz_disk_fail_after(unsigned writes)
{
    writes_left = writes;
}

BlockBackend *fuzz_open(const char *options, int flags)
{
    BlockOptions *opts = blk_options_new();

    blk_options_parse(opts, options, NULL, &error_abort);
    blk_options_set_default(opts, "file.driver", "fuzz-mem");
    return blk_new_open(NULL, NULL, opts, flags, NULL);
}
