/* SPDX-License-Identifier: MIT */
/*
 * What the compiler offers beyond the C standard, under QEMU's names.
 * gcc 12 and clang 14 both know every attribute used here.
 */
#ifndef QEMU_COMPILER_H
#define QEMU_COMPILER_H

#include <stddef.h>

/* Paste two tokens; xglue pastes before, glue after its arguments are expanded. */
#define xglue(x, y)    x##y
#define glue(x, y)     xglue(x, y)
#define tostring(s)    #s
#define stringify(s)   tostring(s)
/* A name that no other use of the macro on any line yields again. */
#define MAKE_IDENTIFIER(prefix) glue(prefix, __COUNTER__)

#ifndef likely
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

#define QEMU_NORETURN            __attribute__((__noreturn__))
#define QEMU_WARN_UNUSED_RESULT  __attribute__((__warn_unused_result__))
#define QEMU_SENTINEL            __attribute__((__sentinel__))
#define QEMU_PACKED              __attribute__((__packed__))
#define QEMU_ALIGNED(bytes)      __attribute__((__aligned__(bytes)))
#define QEMU_ALWAYS_INLINE       inline __attribute__((__always_inline__))
#define QEMU_FLATTEN             __attribute__((__flatten__))
#define QEMU_NOINLINE            __attribute__((__noinline__))
#define QEMU_FALLTHROUGH         __attribute__((__fallthrough__))
#define QEMU_USED                __attribute__((__used__))
#define GCC_FMT_ATTR(fmt, first) __attribute__((__format__(__printf__, fmt, first)))

#if defined(__has_attribute) && __has_attribute(__nonstring__)
#define QEMU_NONSTRING __attribute__((__nonstring__))
#else
#define QEMU_NONSTRING
#endif

#if defined(__clang__)
#define QEMU_ANNOTATE(text) __attribute__((__annotate__(text)))
#define QEMU_DISABLE_CFI    __attribute__((__no_sanitize__("cfi-icall")))
#else
#define QEMU_ANNOTATE(text)
#define QEMU_DISABLE_CFI
#endif

/*
 * Locking annotations of clang's thread safety analysis. The project does not
 * run that analysis; the names keep annotated code compiling.
 */
#define TSA_NO_TSA
#define TSA_GUARDED_BY(x)
#define TSA_PT_GUARDED_BY(x)
#define TSA_REQUIRES(...)
#define TSA_REQUIRES_SHARED(...)
#define TSA_EXCLUDES(...)
#define TSA_ACQUIRE(...)
#define TSA_ACQUIRE_SHARED(...)
#define TSA_RELEASE(...)
#define TSA_RELEASE_SHARED(...)
#define TSA_ASSERT(...)
#define TSA_ASSERT_SHARED(...)

/* One of the sanitizers whose view of memory the code has to help along. */
#if defined(__SANITIZE_THREAD__)
#define QEMU_SANITIZE_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QEMU_SANITIZE_THREAD 1
#endif
#endif

#define typeof_field(type, field) __typeof__(((type *)0)->field)
#define sizeof_field(type, field) sizeof(((type *)0)->field)
/* Offset of the first byte behind a field. */
#define endof(type, field) (offsetof(type, field) + sizeof_field(type, field))

/* The structure of the given type whose member ptr points to. */
#ifndef container_of
#define container_of(ptr, type, member)                                                  \
    (__extension__({                                                                     \
        const __typeof__(((type *)0)->member) *member_ptr_ = (ptr);                      \
        (type *)((char *)member_ptr_ - offsetof(type, member));                          \
    }))
#endif
#define DO_UPCAST(type, field, dev) container_of(dev, type, field)

#if defined(__cplusplus)
#define QEMU_BUILD_BUG_MSG(cond, msg) static_assert(!(cond), msg)
#else
#define QEMU_BUILD_BUG_MSG(cond, msg) _Static_assert(!(cond), msg)
#endif
#define QEMU_BUILD_BUG_ON(cond) QEMU_BUILD_BUG_MSG(cond, "not expecting: " #cond)
/* The same inside an expression: has the value 0, or does not compile. */
#define QEMU_BUILD_BUG_ON_ZERO(cond) \
    ((int)(0 * sizeof(struct { int unexpected : (cond) ? -1 : 1; })))

#endif
