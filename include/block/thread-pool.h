/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in qemu/thread-pool.h. */
#ifndef BLOCK_THREAD_POOL_H
#define BLOCK_THREAD_POOL_H

#include "qemu/thread-pool.h"

#endif
