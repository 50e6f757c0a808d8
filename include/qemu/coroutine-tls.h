/* SPDX-License-Identifier: MIT */
/*
 * Thread-local variables that coroutines may use.
 *
 * A coroutine that yields may go on in another thread. A compiler does not know that: it
 * computes the address of a thread-local variable once in a function and uses it again
 * after the call in which the thread changed, and so touches the old thread's variable.
 * These macros define accessors that are never inlined and that the optimiser cannot see
 * through, so that the address is computed in the thread that makes the access.
 *
 *     QEMU_DEFINE_STATIC_CO_TLS(int, depth)       in one source file, or
 *     QEMU_DECLARE_CO_TLS(int, depth)             in a header and
 *     QEMU_DEFINE_CO_TLS(int, depth)              in one source file
 *
 *     int get_depth(void)   void set_depth(int v)   int *get_ptr_depth(void)
 *
 * What get_ptr_depth returned is of no use after the next yield.
 */
#ifndef QEMU_COROUTINE_TLS_H
#define QEMU_COROUTINE_TLS_H

#include "qemu/compiler.h"

/*
 * noinline alone lets a compiler find out within one file that two calls have the same
 * result and make one of them; the asm is what it cannot see through.
 */
#define QEMU_CO_TLS_ATTRS_ QEMU_NOINLINE __attribute__((__unused__))

#define QEMU_CO_TLS_ACCESSORS_(linkage, type, var)                                       \
    linkage QEMU_CO_TLS_ATTRS_ type get_##var(void)                                      \
    {                                                                                    \
        __asm__ volatile("");                                                            \
        return co_tls_##var;                                                             \
    }                                                                                    \
    linkage QEMU_CO_TLS_ATTRS_ void set_##var(type v)                                    \
    {                                                                                    \
        __asm__ volatile("");                                                            \
        co_tls_##var = v;                                                                \
    }                                                                                    \
    linkage QEMU_CO_TLS_ATTRS_ type *get_ptr_##var(void)                                 \
    {                                                                                    \
        type *ptr = &co_tls_##var;                                                       \
        __asm__ volatile("" : "+r"(ptr));                                                \
        return ptr;                                                                      \
    }

/* Inside the library: the general model would call __tls_get_addr at each access. */
#ifdef BLKCO_BUILD
#define QEMU_CO_TLS_MODEL_ __attribute__((tls_model("initial-exec")))
#else
#define QEMU_CO_TLS_MODEL_
#endif

#define QEMU_DECLARE_CO_TLS(type, var)                                                   \
    type get_##var(void);                                                                \
    void set_##var(type v);                                                              \
    type *get_ptr_##var(void);

#define QEMU_DEFINE_CO_TLS(type, var)                                                    \
    static __thread type co_tls_##var QEMU_CO_TLS_MODEL_;                                \
    QEMU_CO_TLS_ACCESSORS_(, type, var)

#define QEMU_DEFINE_STATIC_CO_TLS(type, var)                                             \
    static __thread type co_tls_##var QEMU_CO_TLS_MODEL_;                                \
    QEMU_CO_TLS_ACCESSORS_(static, type, var)

#endif
