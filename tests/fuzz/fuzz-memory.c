/* SPDX-License-Identifier: MIT */
/*
 * Counts what an input allocates. AddressSanitizer has hooks for that; without a sanitizer the
 * functions of malloc are defined here, above those of glibc. TSan's allocator is left alone.
 */
#include "fuzz.h"

#include <malloc.h>

/* Bytes; not below 0 by what was allocated before. Other threads allocate as well. */
static int64_t live;
static bool counting;

void fuzz_memory_begin(void)
{
    qatomic_set(&live, 0);
    qatomic_set(&counting, true);
}

void fuzz_memory_end(void)
{
    qatomic_set(&counting, false);
}

#ifndef HAVE_TSAN
static void count(int64_t bytes)
{
    if (!qatomic_read(&counting)) {
        return;
    }
    if (qatomic_fetch_add(&live, bytes) + bytes > FUZZ_MEMORY_LIMIT && bytes > 0) {
        qatomic_set(&counting, false);
        fuzz_fail("the input allocates more than %d MiB: %" PRId64 " bytes, the last time %" PRId64,
                  FUZZ_MEMORY_LIMIT >> 20, qatomic_read(&live), bytes);
    }
}
#endif

#ifdef HAVE_ASAN
int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void *, size_t),
                                              void (*free_hook)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *p);

static void on_malloc(const volatile void *p, size_t size)
{
    count(size);
}

static void on_free(const volatile void *p)
{
    if (p && qatomic_read(&counting)) {
        count(-(int64_t)__sanitizer_get_allocated_size(p));
    }
}

void fuzz_memory_init(void)
{
    g_assert(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free));
}
#elif defined(HAVE_TSAN)
void fuzz_memory_init(void)
{
}
#else
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static void *counted(void *p)
{
    count(p ? malloc_usable_size(p) : 0);
    return p;
}

void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    int64_t before = p ? malloc_usable_size(p) : 0;
    void *q = __libc_realloc(p, size);

    if (q || !size) {
        count(-before);
    }
    return counted(q);
}

void *memalign(size_t align, size_t size)
{
    return counted(__libc_memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size)
{
    return counted(__libc_memalign(align, size));
}

int posix_memalign(void **p, size_t align, size_t size)
{
    void *q = counted(__libc_memalign(align, size));

    if (!q) {
        return ENOMEM;
    }
    *p = q;
    return 0;
}

void free(void *p)
{
    int saved_errno = errno;

    if (p) {
        count(-(int64_t)malloc_usable_size(p));
    }
    __libc_free(p);
    errno = saved_errno;
}

void fuzz_memory_init(void)
{
}
#endif
