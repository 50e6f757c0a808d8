/* SPDX-License-Identifier: MIT */
/* Creating images. */
#ifndef BLOCK_QCOW2_CREATE_H
#define BLOCK_QCOW2_CREATE_H

#include "block/block-driver.h"

extern const BlockCreateOption qcow2_create_options[];

int coroutine_fn qcow2_co_create_opts(BlockDriver *drv, const char *filename,
                                      BlockOptions *opts, Error **errp);

#endif
