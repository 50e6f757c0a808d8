/* SPDX-License-Identifier: MIT */
/*
 * The drivers that are built in: one line each, sorted. From this list come their
 * declarations, here, and the table that block/drivers.c registers.
 */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/block-driver.h"

/* clang-format off */
#define BUILT_IN_DRIVERS(DRIVER) \
    DRIVER(bdrv_blkdebug)        \
    DRIVER(bdrv_blkverify)       \
    DRIVER(bdrv_compress)        \
    DRIVER(bdrv_copy_on_read)    \
    DRIVER(bdrv_file)            \
    DRIVER(bdrv_host_device)     \
    DRIVER(bdrv_null_aio)        \
    DRIVER(bdrv_null_co)         \
    DRIVER(bdrv_qcow2)           \
    DRIVER(bdrv_quorum)          \
    DRIVER(bdrv_raw)             \
    DRIVER(bdrv_sim)             \
    DRIVER(bdrv_throttle)        \
    /* end of the list */
/* clang-format on */

#define DECLARE_DRIVER(name) extern BlockDriver name;
BUILT_IN_DRIVERS(DECLARE_DRIVER)
#undef DECLARE_DRIVER

#endif
