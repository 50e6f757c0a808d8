/* SPDX-License-Identifier: MIT */
/* The driver, for the driver table. */
#ifndef BLOCK_QCOW2_QCOW2_H
#define BLOCK_QCOW2_QCOW2_H

#include "block/block-driver.h"

extern BlockDriver bdrv_qcow2;

#endif
