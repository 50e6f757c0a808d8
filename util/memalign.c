/* SPDX-License-Identifier: MIT */
/* Aligned memory from the C library, and the page size that most alignments come from. */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/memalign.h"

uintptr_t qemu_real_host_page_size(void)
{
    static uintptr_t page_size;
    uintptr_t size = qatomic_read(&page_size);

    if (size == 0) {
        size = (uintptr_t)sysconf(_SC_PAGESIZE);
        qatomic_set(&page_size, size);
    }
    return size;
}

intptr_t qemu_real_host_page_mask(void)
{
    return -(intptr_t)qemu_real_host_page_size();
}

void *qemu_try_memalign(size_t alignment, size_t size)
{
    void *ptr = NULL;

    g_assert(alignment > 0 && (alignment & (alignment - 1)) == 0);
    /* posix_memalign takes nothing smaller, and may return NULL for no bytes at all. */
    if (posix_memalign(&ptr, MAX(alignment, sizeof(void *)), MAX(size, 1)) != 0) {
        return NULL;
    }
    return ptr;
}

void *qemu_memalign(size_t alignment, size_t size)
{
    void *ptr = qemu_try_memalign(alignment, size);

    if (!ptr) {
        fprintf(stderr, "cannot allocate %zu bytes aligned to %zu\n", size, alignment);
        abort();
    }
    return ptr;
}

void qemu_vfree(void *ptr)
{
    int saved_errno = errno;

    free(ptr);
    errno = saved_errno;
}
