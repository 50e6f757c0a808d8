/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in qemu/iothread.h. */
#ifndef SYSTEM_IOTHREAD_H
#define SYSTEM_IOTHREAD_H

#include "qemu/iothread.h"

#endif
