/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in block/block-backend.h. */
#ifndef SYSEMU_BLOCK_BACKEND_H
#define SYSEMU_BLOCK_BACKEND_H

#include "block/block-backend.h"

#endif
