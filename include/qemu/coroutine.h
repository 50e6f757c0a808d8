/* SPDX-License-Identifier: MIT */
/*
 * Coroutines with all that goes with them: the core (qemu/coroutine-core.h), and the
 * locks, queues, sleeps and time-outs between coroutines.
 */
#ifndef QEMU_COROUTINE_H
#define QEMU_COROUTINE_H

#include "qemu/coroutine-core.h"
#include "qemu/queue.h"

/* --- locks, queues, sleep, time-outs --- */

#endif
