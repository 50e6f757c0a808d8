/* SPDX-License-Identifier: MIT */
/*
 * When a host cluster that nothing refers to any more may be used again. Two
 * things must have happened first:
 *
 *   1. The change that took the last reference away is durable. Otherwise a power cut could
 *      bring back a reference to a cluster that holds something else by then.
 *   2. Every request that might have looked the cluster up before that change has ended.
 *      Otherwise its data I/O, still under way, would hit the new owner.
 *
 * For 2, each request belongs to the epoch in which it began. The epoch advances when no
 * request of the one before is left; a cluster given up in epoch E is free of
 * users from E + 2 on. Until it is freed the cluster keeps its refcount: a crash leaks it.
 */
#ifndef BLOCK_QCOW2_RECLAIM_H
#define BLOCK_QCOW2_RECLAIM_H

#include "qcow2-state.h"

/* Around everything that looks clusters up and then uses them. What to give to the end. */
static inline unsigned *qcow2_request_begin(BDRVQcow2State *s)
{
    /* Any number will do; neighbours on one stack share a shard, threads do not. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    Qcow2EpochShard *shard = &s->shards[(here >> 16) % QCOW2_EPOCH_SHARDS];

    while (true) {
        uint64_t epoch = __atomic_load_n(&s->epoch, __ATOMIC_SEQ_CST);
        unsigned *users = &shard->users[epoch & 1];

        qatomic_inc(users);
        /* Once it is counted in the current epoch, that one cannot end before it does. */
        if (likely(__atomic_load_n(&s->epoch, __ATOMIC_SEQ_CST) == epoch)) {
            return users;
        }
        qatomic_dec(users);
    }
}

static inline void qcow2_request_end(unsigned *users)
{
    qatomic_dec(users);
}

/* Under meta: the last reference to one cluster (or one of several) is gone from RAM. */
void qcow2_free_later(BDRVQcow2State *s, uint64_t host_offset);
/* The same for all clusters that a compressed descriptor touches. */
void qcow2_free_compressed_later(BDRVQcow2State *s, uint64_t l2_entry);

/*
 * Under wb_lock, after a flush: lowers the refcounts of what freed_written holds, as far
 * as no request is in the way.
 */
int coroutine_fn qcow2_co_reclaim(BlockDriverState *bs);

/* So many entries wait that a write-back should be made for them. Under meta. */
static inline bool qcow2_reclaim_urgent(const BDRVQcow2State *s)
{
    return s->freed_new->len > 4096;
}

#endif
