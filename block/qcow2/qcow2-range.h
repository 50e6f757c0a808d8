/* SPDX-License-Identifier: MIT */
/*
 * Range locks: who changes the L2 entries of guest clusters holds their range, from before
 * it decides on the change until the entries are changed. Ranges that do not overlap go on
 * in parallel; readers and writes in place do not care.
 */
#ifndef BLOCK_QCOW2_RANGE_H
#define BLOCK_QCOW2_RANGE_H

#include "qcow2-state.h"

/* On the stack of the coroutine that holds it. */
struct Qcow2RangeLock {
    uint64_t first, last; /* guest clusters */
    CoQueue waiters;      /* under meta */
    QTAILQ_ENTRY(Qcow2RangeLock) next;
};

/*
 * Takes the clusters from @first on, up to @last but no further than to the next range that
 * somebody holds (lock->last says). When @first itself is held, waits for that to end and
 * returns false without having taken anything: the world has changed, so look again.
 */
bool coroutine_fn qcow2_range_lock(BDRVQcow2State *s, Qcow2RangeLock *lock, uint64_t first,
                                   uint64_t last);
void coroutine_fn qcow2_range_unlock(BDRVQcow2State *s, Qcow2RangeLock *lock);

#endif
