/* SPDX-License-Identifier: MIT */
/* Names of structures that headers mention before, or without, knowing their contents. */
#ifndef QEMU_TYPEDEFS_H
#define QEMU_TYPEDEFS_H

typedef struct AioContext AioContext;
typedef struct BlockBackend BlockBackend;
typedef struct BlockDriverState BlockDriverState;
typedef struct BdrvChild BdrvChild;
typedef struct CoMutex CoMutex;
typedef struct CoQueue CoQueue;
typedef struct Coroutine Coroutine;
typedef struct EventNotifier EventNotifier;
typedef struct IOThread IOThread;
typedef struct Notifier Notifier;
typedef struct QEMUBH QEMUBH;
typedef struct QEMUIOVector QEMUIOVector;
typedef struct QEMUTimer QEMUTimer;
typedef struct QEMUTimerList QEMUTimerList;
typedef struct QEMUTimerListGroup QEMUTimerListGroup;
typedef struct QemuCond QemuCond;
typedef struct QemuEvent QemuEvent;
typedef struct QemuLockCnt QemuLockCnt;
typedef struct QemuLockable QemuLockable;
typedef struct QemuMutex QemuMutex;
typedef struct QemuRecMutex QemuRecMutex;
typedef struct QemuSemaphore QemuSemaphore;
typedef struct QemuSpin QemuSpin;
typedef struct QemuThread QemuThread;

#endif
