/* SPDX-License-Identifier: MIT */
/* What qcow2 alone knows of an image, by QEMU's names. */
#ifndef BLOCK_QCOW2_INFO_H
#define BLOCK_QCOW2_INFO_H

#include "block/block-driver.h"

/* bdrv_get_specific_info of the driver. */
BlockOptions *qcow2_get_specific_info(BlockDriverState *bs, Error **errp);

#endif
