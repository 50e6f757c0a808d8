/* SPDX-License-Identifier: MIT */
/*
 * A counter of visitors together with a lock: for a data structure that many threads (or
 * nested callers) walk, and from which elements may be freed only while nobody walks it.
 *
 *     visitor                                 writer
 *     qemu_lockcnt_inc(&l);                   qemu_lockcnt_lock(&l);
 *     ... walk ...                            ... add; mark as deleted, and free at once
 *     if (qemu_lockcnt_dec_and_lock(&l)) {        only if qemu_lockcnt_count(&l) == 0
 *         ... free what is marked ...         qemu_lockcnt_unlock(&l);
 *         qemu_lockcnt_unlock(&l);
 *     }
 *
 * The rule that makes it work: the counter leaves zero only while the lock is held. So who
 * holds the lock and sees zero is alone until unlocking. A count that is above zero goes up
 * and down without the lock, also while somebody holds it. Writers exclude each other.
 */
#ifndef QEMU_LOCKCNT_H
#define QEMU_LOCKCNT_H

#include "qemu/thread.h"

struct QemuLockCnt {
    /* Changed atomically; 0 -> 1 and 1 -> 0 by dec_and_lock, dec_if_lock: under lock. */
    unsigned count;
    QemuMutex lock;
};

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* No visitor, not locked. */
void qemu_lockcnt_init(QemuLockCnt *lockcnt);
/* Nobody may use it any more. */
void qemu_lockcnt_destroy(QemuLockCnt *lockcnt);

/* Enter. Waits while the counter is zero and somebody holds the lock. Any thread. */
void qemu_lockcnt_inc(QemuLockCnt *lockcnt);
/* Leave, when it does not matter who was last. Never waits. */
void qemu_lockcnt_dec(QemuLockCnt *lockcnt);

/* Leave. True: this was the last visitor, and holds the lock now. */
bool qemu_lockcnt_dec_and_lock(QemuLockCnt *lockcnt);
/* Leave if this is the last visitor, true and with the lock; else stay: false. */
bool qemu_lockcnt_dec_if_lock(QemuLockCnt *lockcnt);

/* The lock alone; visitors may be there. Not recursive. Blocks the thread. */
void qemu_lockcnt_lock(QemuLockCnt *lockcnt);
void qemu_lockcnt_unlock(QemuLockCnt *lockcnt);
/* Unlock and enter, with nobody in between. */
void qemu_lockcnt_inc_and_unlock(QemuLockCnt *lockcnt);

/* How many visitors there are. Zero stays zero for who holds the lock. */
unsigned qemu_lockcnt_count(QemuLockCnt *lockcnt);

#pragma GCC visibility pop
G_END_DECLS

#endif
