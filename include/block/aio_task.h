/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in qemu/aio_task.h. */
#ifndef BLOCK_AIO_TASK_H
#define BLOCK_AIO_TASK_H

#include "qemu/aio_task.h"

#endif
