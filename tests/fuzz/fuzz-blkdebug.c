/* SPDX-License-Identifier: MIT */
/*
 * Configuration files of blkdebug, and what their rules then do to requests: the input is the file.
 * Whatever the rules are, the image opens or says why not, and requests end.
 */
#include "fuzz.h"

static uint8_t buf[4096];

void fuzz_one(const uint8_t *data, size_t size)
{
    static const uint8_t disk[8192] = "disk";
    BlockBackend *blk;

    if (!size) {
        return;
    }
    fuzz_file_data = data;
    fuzz_file_size = size;
    fuzz_disk_set(0, disk, sizeof(disk));
    blk = fuzz_open("driver=raw,file.driver=blkdebug,file.config=rules,"
                    "file.image.driver=fuzz-mem", BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP);
    fuzz_file_data = NULL;
    if (!blk) {
        return;
    }
    for (int64_t offset = 0; offset < 8192; offset += 2048) {
        blk_pread(blk, offset, 2048, buf, 0);
        blk_pwrite(blk, offset + 7, 500, buf, 0);
    }
    blk_pwrite_zeroes(blk, 512, 1024, BDRV_REQ_MAY_UNMAP);
    blk_pdiscard(blk, 4096, 512);
    blk_flush(blk);
    blk_truncate(blk, 4096, false, PREALLOC_MODE_OFF, 0, NULL);
    blk_unref(blk);
}
