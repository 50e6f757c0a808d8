/* SPDX-License-Identifier: MIT */
/* Aligned memory. Free it with qemu_vfree; free() and g_free() are not promised to work. */
#ifndef QEMU_MEMALIGN_H
#define QEMU_MEMALIGN_H

#include <glib.h>
#include <stddef.h>

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/*
 * size bytes (0: something that can be freed) at a multiple of alignment, a power of
 * two, in bytes. NULL when there is no memory: for sizes that come from outside.
 * Any thread. The caller owns the memory, which is not zeroed.
 */
void *qemu_try_memalign(size_t alignment, size_t size);

/* The same, but ends the program when there is no memory. */
void *qemu_memalign(size_t alignment, size_t size);

/* Frees what the two above gave; NULL is fine. Keeps errno. */
void qemu_vfree(void *ptr);

#pragma GCC visibility pop

static inline void qemu_cleanup_generic_vfree(void *p)
{
    qemu_vfree(*(void **)p);
}

G_END_DECLS

/* A local pointer that frees its memory at the end of its scope. */
#define QEMU_AUTO_VFREE __attribute__((__cleanup__(qemu_cleanup_generic_vfree)))

#endif
