/* SPDX-License-Identifier: MIT */
/* Where QEMU has what is in qemu/iothread.h. */
#ifndef SYSEMU_IOTHREAD_H
#define SYSEMU_IOTHREAD_H

#include "qemu/iothread.h"

#endif
