/* SPDX-License-Identifier: MIT */
/*
 * Images whose format nobody names: [flags, offset, size], then the bytes of the file. One that was
 * guessed to be raw stays raw, whatever a guest writes to it.
 */
#include "fuzz.h"

#include "../../block/node.h"

static uint8_t buf[1 << 16];

static void read_all(BlockBackend *blk)
{
    int64_t length = MIN(blk_getlength(blk), (int64_t)sizeof(buf)), n;

    for (int64_t offset = 0; offset < length; offset += 4096) {
        blk_pread(blk, offset, MIN(4096, length - offset), buf, 0);
    }
    for (int64_t offset = 0; offset < length; offset += n) {
        if (blk_block_status(blk, offset, length - offset, &n) < 0) {
            break;
        }
    }
}

/* The guest writes what the input says where the file begins. */
static void guest_writes(BlockBackend *blk, const uint8_t *data, size_t size)
{
    size_t half = size / 2;

    if (blk_getlength(blk) >= (int64_t)half) {
        blk_pwrite(blk, 0, half, data + half, 0);
    }
    blk_pwrite_zeroes(blk, 0, 4, 0);
    blk_pwrite(blk, 0, MIN(size, 4), data, 0);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    BlockBackend *blk;
    bool was_raw;
    char options[128] = "";

    if (size < 8) {
        return;
    }
    fuzz_disk_set(0, data + 8, size - 8);
    was_raw = bdrv_probe_all(data + 8, MIN(size - 8, 512), "") == &bdrv_raw;
    if (data[0] & 1) {
        snprintf(options, sizeof(options), "driver=raw,offset=%u,size=%u", data[2] | data[3] << 8,
                 data[4] | data[5] << 8);
    }
    blk = fuzz_open(options, BDRV_O_NO_EXTERNAL | (data[0] & 2 ? BDRV_O_RDWR : 0));
    if (!blk) {
        return;
    }
    read_all(blk);
    if (data[0] & 2) {
        guest_writes(blk, data + 8, size - 8);
    }
    blk_unref(blk);
    if (was_raw && !(data[0] & 1) && size > 8 &&
        bdrv_probe_all(fuzz_disk_data(0), 512, "") != &bdrv_raw) {
        fuzz_fail("an image that was guessed to be raw has become another");
    }
}
