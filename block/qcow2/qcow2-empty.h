/* SPDX-License-Identifier: MIT */
/* Emptying an image, so that its backing file shows. */
#ifndef BLOCK_QCOW2_EMPTY_H
#define BLOCK_QCOW2_EMPTY_H

#include "block/block-driver.h"

/* Nothing may be in flight. Durable when it returns 0; a failure leaves a part emptied. */
int coroutine_fn qcow2_co_make_empty(BlockDriverState *bs);

#endif
