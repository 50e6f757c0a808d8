/* SPDX-License-Identifier: MIT */
/*
 * What sources written for QEMU take for granted: the standard headers, GLib,
 * rounding, and a few facts about the host. QEMU sources include it first.
 *
 * The rounding words are macros because they serve every integer type and have
 * to work in constant expressions.
 */
#ifndef QEMU_OSDEP_H
#define QEMU_OSDEP_H

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>

#include "qemu/compiler.h"
#include "qemu/typedefs.h"
#include "qemu/memalign.h"

#define HOST_BIG_ENDIAN (G_BYTE_ORDER == G_BIG_ENDIAN)

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

#ifndef O_BINARY
#define O_BINARY 0
#endif

#ifndef G_NORETURN
#define G_NORETURN QEMU_NORETURN
#endif

/*
 * Which functions may yield. Readers (and QEMU's checkers) use the marks:
 *   coroutine_fn        runs in a coroutine only
 *   coroutine_mixed_fn  runs in a coroutine or outside, and behaves accordingly
 *   no_coroutine_fn     must not run in a coroutine (it would block it)
 */
#ifndef coroutine_fn
#define coroutine_fn       QEMU_ANNOTATE("coroutine_fn")
#define coroutine_mixed_fn QEMU_ANNOTATE("coroutine_mixed_fn")
#define no_coroutine_fn    QEMU_ANNOTATE("no_coroutine_fn")
#endif

/* Round to a multiple of m, any m > 0; the result has n's and m's common type. */
#define QEMU_ALIGN_DOWN(n, m) ((n) / (m) * (m))
#define QEMU_ALIGN_UP(n, m)   QEMU_ALIGN_DOWN((n) + (m) - 1, (m))
#define QEMU_IS_ALIGNED(n, m) (((n) % (m)) == 0)

/* The same for pointers; m is a power of two or not, as above. */
#define QEMU_ALIGN_PTR_DOWN(p, m) ((__typeof__(p))QEMU_ALIGN_DOWN((uintptr_t)(p), (m)))
#define QEMU_ALIGN_PTR_UP(p, m)   ((__typeof__(p))QEMU_ALIGN_UP((uintptr_t)(p), (m)))
#define QEMU_PTR_IS_ALIGNED(p, m) QEMU_IS_ALIGNED((uintptr_t)(p), (m))

/* Round to a multiple of d, a power of two of whatever width: no division. */
#define ROUND_DOWN(n, d) ((n) & ~((__typeof__(0 ? (n) : (d)))(d) - 1))
#define ROUND_UP(n, d)   ROUND_DOWN((n) + (d) - 1, (d))

/* How many pieces of d cover n. */
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

/*
 * MIN and MAX evaluate each argument once, which GLib's do not; the _CONST forms are
 * for constant expressions and for the outside of functions.
 */
#define MIN_CONST(a, b) ((a) < (b) ? (a) : (b))
#define MAX_CONST(a, b) ((a) > (b) ? (a) : (b))
#if !defined(__cplusplus)
#undef MIN
#undef MAX
#define QEMU_PICK_(a, b, va, vb, pick)                                                   \
    (__extension__({                                                                     \
        __typeof__(1 ? (a) : (b)) va = (a), vb = (b);                                    \
        pick;                                                                            \
    }))
#define QEMU_MIN_(a, b, va, vb) QEMU_PICK_(a, b, va, vb, va < vb ? va : vb)
#define QEMU_MAX_(a, b, va, vb) QEMU_PICK_(a, b, va, vb, va > vb ? va : vb)
#define QEMU_MINNZ_(a, b, va, vb) \
    QEMU_PICK_(a, b, va, vb, !va || (vb && vb < va) ? vb : va)
#define MIN(a, b) QEMU_MIN_(a, b, MAKE_IDENTIFIER(min_a_), MAKE_IDENTIFIER(min_b_))
#define MAX(a, b) QEMU_MAX_(a, b, MAKE_IDENTIFIER(max_a_), MAKE_IDENTIFIER(max_b_))
/* The smaller of two limits where 0 means that there is no limit. */
#define MIN_NON_ZERO(a, b) \
    QEMU_MINNZ_(a, b, MAKE_IDENTIFIER(min_a_), MAKE_IDENTIFIER(min_b_))
#endif

/* Number of elements of an array; a pointer does not compile (in C). */
#undef ARRAY_SIZE
#if defined(__cplusplus)
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#else
#define QEMU_IS_ARRAY(x) \
    (!__builtin_types_compatible_p(__typeof__(x), __typeof__(&(x)[0])))
#define ARRAY_SIZE(x) \
    (sizeof(x) / sizeof((x)[0]) + QEMU_BUILD_BUG_ON_ZERO(!QEMU_IS_ARRAY(x)))
#endif

/* Repeat a call that fails with -1 and EINTR until it does something else. */
#define RETRY_ON_EINTR(expr)                                                             \
    (__extension__({                                                                     \
        __typeof__(expr) retry_result_;                                                  \
        do {                                                                             \
            retry_result_ = (expr);                                                      \
        } while (retry_result_ == -1 && errno == EINTR);                                 \
        retry_result_;                                                                   \
    }))

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Bytes of a page of this machine; a power of two. Any thread. */
uintptr_t qemu_real_host_page_size(void);

/* The mask that rounds an address down to its page: minus the page size. Any thread. */
intptr_t qemu_real_host_page_mask(void);

/* The kernel's number of the calling thread, as ps -L and gdb show it. */
int qemu_get_thread_id(void);

#pragma GCC visibility pop
G_END_DECLS

#endif
