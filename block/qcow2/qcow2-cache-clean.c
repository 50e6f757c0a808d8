/* SPDX-License-Identifier: MIT */
/* See the header. "Used" is what eviction looks at too, so both are a little kinder for it. */
#include "qcow2-cache-clean.h"

#include <sys/mman.h>

#include "qcow2-l2cache.h"

/* Gives the pages back that lie wholly within a slot. Readers notice the sequence number. */
static void release_memory(BDRVQcow2State *s, unsigned slot)
{
    uintptr_t page = getpagesize();
    uintptr_t from = ROUND_UP((uintptr_t)qcow2_slot_data(s, slot), page);
    uintptr_t to = ROUND_DOWN((uintptr_t)qcow2_slot_data(s, slot + 1), page);

    if (from < to) {
        madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

static void clean(BDRVQcow2State *s)
{
    Qcow2L2Cache *c = &s->l2;

    qemu_mutex_lock(&s->meta);
    for (unsigned i = 0; i < c->nb_slots; i++) {
        Qcow2Slot *slot = &c->slots[i];

        if (qatomic_read(&slot->referenced)) {
            qatomic_set(&slot->referenced, false);
        } else if (c->keys[i] && !slot->dirty && !slot->writing && !slot->loading) {
            qcow2_slot_change_begin(c, i);
            qatomic_set(&c->keys[i], 0);
            release_memory(s, i);
            qcow2_slot_change_end(c, i);
        }
    }
    qemu_mutex_unlock(&s->meta);
}

static void rearm(BDRVQcow2State *s)
{
    timer_mod(s->clean_timer, qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + s->clean_interval * 1000);
}

static void tick(void *opaque)
{
    BlockDriverState *bs = opaque;

    clean(bs->opaque);
    rearm(bs->opaque);
}

void qcow2_cache_clean_start(BlockDriverState *bs, AioContext *ctx)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->clean_interval && !s->clean_timer) {
        s->clean_timer = aio_timer_new(ctx, QEMU_CLOCK_VIRTUAL, SCALE_MS, tick, bs);
        rearm(s);
    }
}

void qcow2_cache_clean_stop(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->clean_timer) {
        timer_free(s->clean_timer);
        s->clean_timer = NULL;
    }
}
