/* SPDX-License-Identifier: MIT */
/* What tests of the coroutine core let coroutines do, and how many of them there can be. */
#ifndef TESTS_COROUTINE_ENTRIES_H
#define TESTS_COROUTINE_ENTRIES_H

#include <glib.h>

#include "qemu/coroutine.h"
#include "../../util/coroutine-sanitizer.h"

#ifdef CO_TSAN
/* It knows some 8000 fibers at most. */
#define MANY(n) MIN(n, 1000)
#elif defined(CO_ASAN)
/* Its shadow memory would fill the machine. */
#define MANY(n) MIN(n, 10000)
#else
#define MANY(n) (n)
#endif

static inline void coroutine_fn set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static inline void coroutine_fn just_yield(void *opaque)
{
    qemu_coroutine_yield();
}

#endif
