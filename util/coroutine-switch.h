/* SPDX-License-Identifier: MIT */
/* What coroutine-asm.c and the coroutine-switch-*.S agree on; C and assembler read it. */
#ifndef UTIL_COROUTINE_SWITCH_H
#define UTIL_COROUTINE_SWITCH_H

/* offsetof(Coroutine, context) */
#define CO_CONTEXT 0

/* The saved registers, from the saved stack pointer upwards: see the .S files. */
#if defined(__x86_64__)
#define CO_FRAME_CONTROL 0
#define CO_FRAME_RBX     40
#define CO_FRAME_PC      56
#define CO_FRAME_SIZE    64
#elif defined(__aarch64__)
#define CO_FRAME_X19     0
#define CO_FRAME_X29     80
#define CO_FRAME_PC      88
#define CO_FRAME_CONTROL 160
#define CO_FRAME_SIZE    176
#endif

#endif
