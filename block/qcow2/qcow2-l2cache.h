/* SPDX-License-Identifier: MIT */
/*
 * The cache of L2 slices. A slice is the part of an L2 table that is loaded at once
 * (4 KiB unless set otherwise), and is known by its number counted from the start of the
 * guest's disk; where it lies in the file follows from the L1 table.
 *
 * Readers take no lock. They note the slot's sequence counter, read what they want, and
 * start again when the counter has moved meanwhile. Whoever changes a slot holds meta.
 */
#ifndef BLOCK_QCOW2_L2CACHE_H
#define BLOCK_QCOW2_L2CACHE_H

#include "qcow2-state.h"

/* @bytes: the bound; less is used when the disk needs less. -ENOMEM with @errp. */
int qcow2_l2cache_init(BDRVQcow2State *s, uint64_t bytes, Error **errp);
void qcow2_l2cache_destroy(BDRVQcow2State *s);

/*
 * Brings slice @key into the cache. It may have left again on return: look, and repeat. *@no_room:
 * it failed because a write-back that would have made room did.
 */
int coroutine_fn qcow2_l2cache_load(BlockDriverState *bs, uint64_t key, bool *no_room);

/*
 * Reads slice @key, which is not in the cache, from the disk into @buf, in host byte order, and
 * leaves the cache alone. 1: it is there by now.
 */
int coroutine_fn qcow2_l2cache_read_past(BlockDriverState *bs, uint64_t key, uint64_t *buf);

/*
 * Returns with meta locked and the slice's slot in *@slot, so that it can be changed; on
 * failure -errno and nothing locked.
 */
int coroutine_fn qcow2_l2cache_lock(BlockDriverState *bs, uint64_t key, unsigned *slot);

/*
 * Puts slice @key, @from as on the disk, where there is room for it: nobody need read it again.
 * Under meta.
 */
void qcow2_l2cache_fill(BDRVQcow2State *s, uint64_t key, const uint64_t *from);

/* Forgets the clean slices of an L1 entry, as the table behind it is another now. Under meta. */
void qcow2_l2cache_forget(BDRVQcow2State *s, uint64_t l1_index);

/* The same for all slices, when nothing is in flight. */
void qcow2_l2cache_forget_all(BDRVQcow2State *s);

/* Under meta: where the slice lies in the file, 0 when there is no table. */
uint64_t qcow2_l2cache_host_offset(const BDRVQcow2State *s, uint64_t key);

static inline uint64_t *qcow2_slot_data(const BDRVQcow2State *s, unsigned slot)
{
    return s->l2.data + (size_t)slot * s->slice_words;
}

/*
 * The slot that holds @key, and its sequence number; -1 when none does. What was read is
 * true only if qcow2_slot_unchanged() says so afterwards.
 */
static inline int qcow2_l2cache_find(const Qcow2L2Cache *c, uint64_t key, unsigned *seq)
{
    unsigned set = ((unsigned)key & c->set_mask) * QCOW2_L2_WAYS;

    for (unsigned i = 0; i < QCOW2_L2_WAYS; i++) {
        Qcow2Slot *slot = &c->slots[set + i];

        if (qatomic_read(&c->keys[set + i]) != key + 1) {
            continue;
        }
        /* Pairs with the release in qcow2_slot_change_end(). */
        while ((*seq = qatomic_load_acquire(&slot->seq)) & 1) {
            cpu_relax();
        }
        if (qatomic_read(&c->keys[set + i]) == key + 1) {
            if (!qatomic_read(&slot->referenced)) {
                qatomic_set(&slot->referenced, true);
            }
            return set + i;
        }
    }
    return -1;
}

static inline bool qcow2_slot_unchanged(const Qcow2L2Cache *c, unsigned slot, unsigned seq)
{
    smp_rmb(); /* pairs with smp_wmb() in qcow2_slot_change_begin() */
    return likely(qatomic_read(&c->slots[slot].seq) == seq);
}

/* Around changes of a slot's key or data. Under meta, and without a yield between. */
static inline void qcow2_slot_change_begin(Qcow2L2Cache *c, unsigned slot)
{
    qatomic_set(&c->slots[slot].seq, c->slots[slot].seq + 1);
    smp_wmb(); /* the odd number before any of the changes */
}

static inline void qcow2_slot_change_end(Qcow2L2Cache *c, unsigned slot)
{
    qatomic_store_release(&c->slots[slot].seq, c->slots[slot].seq + 1);
}

static inline void qcow2_slot_set_dirty(Qcow2L2Cache *c, unsigned slot)
{
    if (!c->slots[slot].dirty) {
        c->slots[slot].dirty = true;
        g_array_append_val(c->dirty, slot);
    }
}

#endif
