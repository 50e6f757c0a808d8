/* SPDX-License-Identifier: MIT */
/* How large the file of a new image will be. */
#ifndef BLOCK_QCOW2_MEASURE_H
#define BLOCK_QCOW2_MEASURE_H

#include "block/block-driver.h"

int qcow2_measure(BlockOptions *opts, BlockDriverState *in_bs, BlockMeasureInfo *info,
                  Error **errp);

#endif
