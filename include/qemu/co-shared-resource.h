/* SPDX-License-Identifier: MIT */
/*
 * A budget (of bytes of memory, say) that coroutines take from and give back to, waiting
 * when there is not enough. Coroutines in any threads. First come, first served: a small
 * demand does not overtake a large one that waits.
 */
#ifndef QEMU_CO_SHARED_RESOURCE_H
#define QEMU_CO_SHARED_RESOURCE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "qemu/compiler.h"
#include "qemu/coroutine-core.h"

typedef struct SharedResource SharedResource;

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* The caller owns it. Any context, as for destroy. */
SharedResource *shres_create(uint64_t total);

/* Everything has to be given back. */
void shres_destroy(SharedResource *s);

/* Take n, or nothing: true when n were to be had at once. Any context. */
bool QEMU_WARN_UNUSED_RESULT co_try_get_from_shres(SharedResource *s, uint64_t n);

/* Take n, which is at most the total; yields until they are to be had. */
void coroutine_fn co_get_from_shres(SharedResource *s, uint64_t n);

/* Give n back. */
void coroutine_fn co_put_to_shres(SharedResource *s, uint64_t n);

#pragma GCC visibility pop
G_END_DECLS

#endif
