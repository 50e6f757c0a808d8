/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in qemu/aio.h. */
#ifndef BLOCK_AIO_H
#define BLOCK_AIO_H

#include "qemu/aio.h"

#endif
