/* SPDX-License-Identifier: MIT */
/*
 * The counter of visitors. While it stays above zero nobody needs the mutex: each change is
 * one compare-and-exchange that refuses to start from zero (or, in dec_and_lock, to arrive
 * there). Both of those steps are made under the mutex.
 *
 * All changes are sequentially consistent read-modify-writes, so what a visitor did before
 * it left is visible to whoever sees the counter that it left behind.
 */
#include "qemu/osdep.h"
#include "qemu/lockcnt.h"

/* Add delta to the counter unless it is at most floor; whether it was done. */
static bool count_add_above(QemuLockCnt *lockcnt, unsigned floor, int delta)
{
    unsigned seen = qatomic_read(&lockcnt->count);

    while (seen > floor) {
        unsigned found = qatomic_cmpxchg(&lockcnt->count, seen, seen + (unsigned)delta);

        if (found == seen) {
            return true;
        }
        seen = found;
    }
    return false;
}

void qemu_lockcnt_init(QemuLockCnt *lockcnt)
{
    qatomic_set(&lockcnt->count, 0);
    qemu_mutex_init(&lockcnt->lock);
}

void qemu_lockcnt_destroy(QemuLockCnt *lockcnt)
{
    qemu_mutex_destroy(&lockcnt->lock);
}

void qemu_lockcnt_inc(QemuLockCnt *lockcnt)
{
    if (!count_add_above(lockcnt, 0, 1)) {
        qemu_mutex_lock(&lockcnt->lock);
        qemu_lockcnt_inc_and_unlock(lockcnt);
    }
}

void qemu_lockcnt_dec(QemuLockCnt *lockcnt)
{
    unsigned before = qatomic_fetch_dec(&lockcnt->count);

    g_assert(before > 0);
}

bool qemu_lockcnt_dec_and_lock(QemuLockCnt *lockcnt)
{
    if (count_add_above(lockcnt, 1, -1)) {
        return false;
    }
    /* Others may have entered by the time we have the lock. */
    qemu_mutex_lock(&lockcnt->lock);
    g_assert(qatomic_read(&lockcnt->count) > 0);
    if (qatomic_fetch_dec(&lockcnt->count) == 1) {
        return true;
    }
    qemu_mutex_unlock(&lockcnt->lock);
    return false;
}

bool qemu_lockcnt_dec_if_lock(QemuLockCnt *lockcnt)
{
    unsigned seen = qatomic_read(&lockcnt->count);

    g_assert(seen > 0);
    if (seen > 1) {
        return false;
    }
    qemu_mutex_lock(&lockcnt->lock);
    if (qatomic_cmpxchg(&lockcnt->count, 1, 0) == 1) {
        return true;
    }
    qemu_mutex_unlock(&lockcnt->lock);
    return false;
}

void qemu_lockcnt_lock(QemuLockCnt *lockcnt)
{
    qemu_mutex_lock(&lockcnt->lock);
}

void qemu_lockcnt_unlock(QemuLockCnt *lockcnt)
{
    qemu_mutex_unlock(&lockcnt->lock);
}

void qemu_lockcnt_inc_and_unlock(QemuLockCnt *lockcnt)
{
    qatomic_inc(&lockcnt->count);
    qemu_mutex_unlock(&lockcnt->lock);
}

unsigned qemu_lockcnt_count(QemuLockCnt *lockcnt)
{
    /* Acquire: who sees zero sees what the visitors did. */
    return qatomic_load_acquire(&lockcnt->count);
}
