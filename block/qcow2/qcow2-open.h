/* SPDX-License-Identifier: MIT */
/* Opening and closing. */
#ifndef BLOCK_QCOW2_OPEN_H
#define BLOCK_QCOW2_OPEN_H

#include "block/block-driver.h"

int qcow2_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp);
void qcow2_close(BlockDriverState *bs);
int coroutine_fn qcow2_co_finish_writing(BlockDriverState *bs, Error **errp);

#endif
