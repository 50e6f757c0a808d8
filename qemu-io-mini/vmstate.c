/* SPDX-License-Identifier: MIT */
/* The area of an image that holds the saved state of a machine. */
#include "io.h"

int io_save_vmstate(BlockBackend *blk, const void *buf, int64_t offset, int64_t bytes)
{
    return -ENOTSUP;
}

int io_load_vmstate(BlockBackend *blk, void *buf, int64_t offset, int64_t bytes)
{
    return -ENOTSUP;
}
