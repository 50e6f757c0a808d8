/* SPDX-License-Identifier: MIT */
/* What is not inline of aio-ring.h: setting up, waiting, and rings that cannot be read directly. */
#include <time.h>

#include "qemu/osdep.h"
#include "qemu/timer.h"

#include "block/engine/aio-ring.h"
#include "block/engine/memcheck.h"

void aio_ring_init(AioRing *ring, io_context_t ctx)
{
    AioRingHeader *map = (AioRingHeader *)ctx;

    *ring = (AioRing) { .ctx = ctx };
    /* Valgrind knows only part of the ring, and learns from io_getevents what was filled. */
    if (map->magic == AIO_RING_MAGIC && map->incompat_features == 0 &&
        map->header_length == sizeof(*map) && !memcheck_runs()) {
        ring->map = map;
        ring->head = ring->tail = qatomic_read(&map->head);
    }
    ring->fetched = g_new(struct io_event, AIO_RING_FETCH);
}

void aio_ring_cleanup(AioRing *ring)
{
    g_free(ring->fetched);
}

bool aio_ring_fetch(AioRing *ring)
{
    struct timespec no_wait = { 0, 0 };
    int ret;

    do {
        ret = io_getevents(ring->ctx, 0, AIO_RING_FETCH, ring->fetched, &no_wait);
    } while (ret == -EINTR);
    ring->next = 0;
    ring->count = MAX(ret, 0);
    return ring->count > 0;
}

void aio_ring_wait(AioRing *ring, int64_t timeout)
{
    struct timespec ts = {
        .tv_sec = timeout / NANOSECONDS_PER_SECOND,
        .tv_nsec = timeout % NANOSECONDS_PER_SECOND,
    };
    int ret;

    if (ring->next < ring->count) {
        return;
    }
    /* The kernel would hand out again what it does not know to be read. */
    g_assert(ring->head == qatomic_read(&ring->map->head));
    /* Those in the ring already are fetched, too: aio_ring_drop looks for its own among them. */
    ret = io_getevents(ring->ctx, 1, AIO_RING_FETCH, ring->fetched, timeout < 0 ? NULL : &ts);
    ring->next = 0;
    ring->count = MAX(ret, 0);
    /* The kernel has moved it. */
    ring->head = ring->tail = qatomic_read(&ring->map->head);
}

bool aio_ring_drop(AioRing *ring, const void *data)
{
    for (uint32_t i = ring->next; i < ring->count; i++) {
        if (ring->fetched[i].data == data) {
            /* The order of completions means nothing. */
            ring->fetched[i] = ring->fetched[--ring->count];
            return true;
        }
    }
    return false;
}
