/* SPDX-License-Identifier: MIT */
/* A list: as many entries as requests that allocate right now, which is a few dozen. */
#include "qcow2-range.h"

bool coroutine_fn qcow2_range_lock(BDRVQcow2State *s, Qcow2RangeLock *lock, uint64_t first,
                                   uint64_t last)
{
    Qcow2RangeLock *other;

    qemu_mutex_lock(&s->meta);
    QTAILQ_FOREACH (other, &s->ranges, next) {
        if (other->first <= first && first <= other->last) {
            qemu_co_queue_wait(&other->waiters, &s->meta);
            qemu_mutex_unlock(&s->meta);
            return false;
        }
        if (other->first > first) {
            last = MIN(last, other->first - 1);
        }
    }
    lock->first = first;
    lock->last = last;
    qemu_co_queue_init(&lock->waiters);
    QTAILQ_INSERT_TAIL(&s->ranges, lock, next);
    qemu_mutex_unlock(&s->meta);
    return true;
}

void coroutine_fn qcow2_range_unlock(BDRVQcow2State *s, Qcow2RangeLock *lock)
{
    qemu_mutex_lock(&s->meta);
    QTAILQ_REMOVE(&s->ranges, lock, next);
    qemu_co_queue_restart_all(&lock->waiters);
    qemu_mutex_unlock(&s->meta);
}
