/* SPDX-License-Identifier: MIT */
/*
 * The completion ring of a Linux AIO context, read without a system call.
 *
 * io_setup(2) maps a ring into the process; the context's handle is its address. The
 * kernel fills event slots and then moves tail; the reader consumes slots and then moves
 * head. Where the ring is not of the layout known here, io_getevents(2) is used.
 *
 * One thread reads.
 */
#ifndef BLOCK_ENGINE_AIO_RING_H
#define BLOCK_ENGINE_AIO_RING_H

#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>

#include "qemu/atomic.h"

/* The kernel's layout (fs/aio.c of Linux 2.6 and later); part of its interface since libaio. */
typedef struct AioRingHeader {
    uint32_t id;
    uint32_t nr;                /* slots */
    uint32_t head;              /* next slot to read; ours to write */
    uint32_t tail;              /* next slot to fill; the kernel's to write */
    uint32_t magic;
    uint32_t compat_features;
    uint32_t incompat_features;
    uint32_t header_length;     /* bytes before the first slot */
    struct io_event slots[];
} AioRingHeader;

#define AIO_RING_MAGIC 0xa10a10a1u

/* How many events one io_getevents fetches where the ring cannot be read. */
#define AIO_RING_FETCH 64

typedef struct AioRing {
    AioRingHeader *map;         /* NULL: not readable, use io_getevents */
    uint32_t head;              /* how far we have read; map->head follows in _release */
    io_context_t ctx;
    struct io_event *fetched;   /* of the last io_getevents */
    int next, count;
} AioRing;

/* @ctx: as io_setup gave it. */
void aio_ring_init(AioRing *ring, io_context_t ctx);
void aio_ring_cleanup(AioRing *ring);

/* Slow path of aio_ring_next: more events by system call. */
bool aio_ring_fetch(AioRing *ring);

static inline bool aio_ring_has_events(const AioRing *ring)
{
    if (likely(ring->map)) {
        return ring->head != qatomic_read(&ring->map->tail);
    }
    return ring->next < ring->count;
}

/* Takes the next event; false when there is none. */
static inline bool aio_ring_next(AioRing *ring, struct io_event *event)
{
    if (likely(ring->map)) {
        /* Pairs with the kernel's barrier between filling the slot and moving tail. */
        if (ring->head == qatomic_load_acquire(&ring->map->tail)) {
            return false;
        }
        *event = ring->map->slots[ring->head];
        ring->head = ring->head + 1 == ring->map->nr ? 0 : ring->head + 1;
        return true;
    }
    if (ring->next == ring->count && !aio_ring_fetch(ring)) {
        return false;
    }
    *event = ring->fetched[ring->next++];
    return true;
}

/* What the next event's request was given as data, if the event is there already; or NULL. */
static inline void *aio_ring_peek(const AioRing *ring)
{
    if (ring->map && ring->head != qatomic_load_acquire(&ring->map->tail)) {
        return ring->map->slots[ring->head].data;
    }
    return NULL;
}

/*
 * Gives the slots read so far back to the kernel. It has at least twice as many slots as
 * io_setup was asked for, so this need not follow each aio_ring_next.
 */
static inline void aio_ring_release(AioRing *ring)
{
    if (likely(ring->map)) {
        /* The slots are read before the kernel may fill them again. */
        qatomic_store_release(&ring->map->head, ring->head);
    }
}

#endif
