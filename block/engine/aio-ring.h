/* SPDX-License-Identifier: MIT */
/*
 * The completion ring of a Linux AIO context, read without a system call.
 *
 * io_setup(2) maps a ring into the process; the context's handle is its address. The
 * kernel fills event slots and then moves tail; the reader consumes slots and then moves
 * head. Where the ring is not of the layout known here, io_getevents(2) is used; and for
 * waiting, as it fetches events on the way, which come before those of the ring.
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
    uint32_t tail;              /* how far the kernel was when we last looked */
    io_context_t ctx;
    struct io_event *fetched;   /* of the last io_getevents */
    uint32_t next, count;       /* of fetched */
} AioRing;

/* @ctx: as io_setup gave it. */
void aio_ring_init(AioRing *ring, io_context_t ctx);
void aio_ring_cleanup(AioRing *ring);

/* Slow path of aio_ring_next: more events by system call. */
bool aio_ring_fetch(AioRing *ring);

/*
 * Waits up to @timeout ns (-1: for ever) until there are events, or a signal comes. What was read
 * has been released. A ring that is readable.
 */
void aio_ring_wait(AioRing *ring, int64_t timeout);

/* Takes the event of @data out of those that aio_ring_wait has fetched: whether there is one. */
bool aio_ring_drop(AioRing *ring, const void *data);

/* Events are read from lines that another processor has written: a little ahead of their use. */
#define AIO_RING_AHEAD 6

/*
 * Whether there are slots to read. The kernel moves tail with each completion, perhaps on another
 * processor at this moment: its line is asked for only when all up to the last tail has been read.
 */
static inline bool aio_ring_look(AioRing *ring)
{
    if (ring->head == ring->tail) {
        /* Pairs with the kernel's barrier between filling the slots and moving tail. */
        ring->tail = qatomic_load_acquire(&ring->map->tail);
    }
    return ring->head != ring->tail;
}

static inline bool aio_ring_has_events(AioRing *ring)
{
    return ring->next < ring->count || (likely(ring->map) && aio_ring_look(ring));
}

/* Takes the next event; false when there is none. */
static inline bool aio_ring_next(AioRing *ring, struct io_event *event)
{
    if (ring->next == ring->count && likely(ring->map)) {
        if (!aio_ring_look(ring)) {
            return false;
        }
        if (ring->head + AIO_RING_AHEAD < ring->tail) {
            __builtin_prefetch(&ring->map->slots[ring->head + AIO_RING_AHEAD]);
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

/*
 * What the request of the event behind the next @n was given as data, if it is known to be there and the
 * ring does not begin anew before it; or NULL.
 */
static inline void *aio_ring_peek(const AioRing *ring, uint32_t n)
{
    if (ring->next + n < ring->count) {
        return ring->fetched[ring->next + n].data;
    }
    return ring->map && ring->head + n < ring->tail ? ring->map->slots[ring->head + n].data : NULL;
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
