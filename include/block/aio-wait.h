/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in qemu/aio-wait.h. */
#ifndef BLOCK_AIO_WAIT_H
#define BLOCK_AIO_WAIT_H

#include "qemu/aio-wait.h"

#endif
