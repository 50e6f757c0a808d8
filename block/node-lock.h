/* SPDX-License-Identifier: MIT */
/*
 * The lock of what a node keeps about its requests. Each write takes it four times and holds it
 * for some ten instructions, nearly always without a competitor: so taking and giving back are
 * one atomic instruction each, inline. Who finds it taken looks again for a short while, then
 * sleeps on it (futex).
 *
 * Not recursive, not for a QemuCond, never held over a yield. All zeroes: free; there is nothing
 * to destroy.
 */
#ifndef BLOCK_NODE_LOCK_H
#define BLOCK_NODE_LOCK_H

#include "qemu/atomic.h"
#include "qemu/compiler.h"
#include "qemu/futex.h"

typedef struct NodeLock {
    unsigned state; /* NODE_LOCK_*; atomic */
} NodeLock;

enum {
    NODE_LOCK_FREE,
    NODE_LOCK_TAKEN,
    NODE_LOCK_CONTENDED, /* taken, and somebody may be asleep */
};

/* The slow path of node_lock() (block/tracked.c). */
void node_lock_wait(NodeLock *lock);

static inline void node_lock(NodeLock *lock)
{
    unsigned expected = NODE_LOCK_FREE;

    if (unlikely(!__atomic_compare_exchange_n(&lock->state, &expected, NODE_LOCK_TAKEN, false,
                                              __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))) {
        node_lock_wait(lock);
    }
}

static inline void node_unlock(NodeLock *lock)
{
    /* The next owner may free the lock at once: the wake-up uses nothing but its address. */
    if (unlikely(__atomic_exchange_n(&lock->state, NODE_LOCK_FREE, __ATOMIC_RELEASE) ==
                 NODE_LOCK_CONTENDED)) {
        qemu_futex_wake_single(&lock->state);
    }
}

#endif
