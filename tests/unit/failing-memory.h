/* SPDX-License-Identifier: MIT */
/*
 * The allocations that may fail - g_try_*() and aligned buffers - in the hands of a test program:
 * its own definitions take the place of the libraries'. Each program includes it once.
 */
#ifndef TESTS_FAILING_MEMORY_H
#define TESTS_FAILING_MEMORY_H

#include <malloc.h>
#include <glib.h>
#include "call-place.h"

static unsigned memory_calls;   /* since the test set it to 0 */
static unsigned memory_fail_at; /* the number of the call that fails; 0: none */
static bool memory_stays_short; /* and all that follow it */
static GArray *memory_places;   /* of CallPlace, or NULL: where the calls came from */

static inline bool memory_fails(void)
{
    if (memory_places) {
        GArray *places = memory_places;
        CallPlace place;

        memory_places = NULL; /* the array's own memory does not count */
        place = call_place();
        g_array_append_val(places, place);
        memory_places = places;
    }
    if (!memory_fail_at) {
        return false;
    }
    memory_calls++;
    return memory_calls == memory_fail_at || (memory_stays_short && memory_calls > memory_fail_at);
}

int posix_memalign(void **ptr, size_t alignment, size_t size)
{
    if (memory_fails()) {
        return ENOMEM;
    }
    *ptr = aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));
    return *ptr ? 0 : ENOMEM;
}

gpointer (g_try_malloc)(gsize size)
{
    return size && !memory_fails() ? malloc(size) : NULL;
}

gpointer (g_try_malloc0)(gsize size)
{
    return size && !memory_fails() ? calloc(1, size) : NULL;
}

gpointer (g_try_malloc_n)(gsize n, gsize size)
{
    return n && size && n <= G_MAXSIZE / size ? (g_try_malloc)(n * size) : NULL;
}

gpointer (g_try_malloc0_n)(gsize n, gsize size)
{
    return n && size && n <= G_MAXSIZE / size ? (g_try_malloc0)(n * size) : NULL;
}

gpointer (g_try_realloc)(gpointer old, gsize size)
{
    return memory_fails() ? NULL : realloc(old, size);
}

gpointer (g_try_realloc_n)(gpointer old, gsize n, gsize size)
{
    return n <= G_MAXSIZE / size ? (g_try_realloc)(old, n * size) : NULL;
}

#endif
