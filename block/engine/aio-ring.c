/* SPDX-License-Identifier: MIT */
/* The rarely used part of aio-ring.h: setting up, and rings that cannot be read directly. */
#include <time.h>

#include "qemu/osdep.h"

#include "block/engine/aio-ring.h"

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/*
 * Valgrind learns from io_getevents that buffers have been written, and knows only part of
 * the ring.
 */
static bool must_call_getevents(void)
{
#ifdef RUNNING_ON_VALGRIND
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

void aio_ring_init(AioRing *ring, io_context_t ctx)
{
    AioRingHeader *map = (AioRingHeader *)ctx;

    *ring = (AioRing) { .ctx = ctx };
    if (map->magic == AIO_RING_MAGIC && map->incompat_features == 0 &&
        map->header_length == sizeof(*map) && !must_call_getevents()) {
        ring->map = map;
        ring->head = qatomic_read(&map->head);
    } else {
        ring->fetched = g_new(struct io_event, AIO_RING_FETCH);
    }
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
