/* SPDX-License-Identifier: MIT */
/*
 * Atomic operations and memory barriers under QEMU's names.
 *
 * They are macros because they take a pointer to any integer or pointer type up to the
 * width of a register. Orders:
 *   qatomic_read, qatomic_set              relaxed: no tearing, no order
 *   qatomic_load_acquire, _store_release   one-way
 *   every read-modify-write                sequentially consistent
 *
 * Mixing relaxed accesses with smp_mb() orders them; a comment at each barrier names the
 * barrier (or the read-modify-write) it pairs with. A read-modify-write is a full barrier
 * to its own variable only, as far as C11 goes: put smp_mb__before_rmw() or
 * smp_mb__after_rmw() beside it where it also has to order relaxed accesses to others.
 * Both cost nothing on x86.
 */
#ifndef QEMU_ATOMIC_H
#define QEMU_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "qemu/compiler.h"

/* Widest type that is atomic on every host of this pointer size. */
#if defined(__x86_64__)
#define ATOMIC_REG_SIZE 8
#else
#define ATOMIC_REG_SIZE sizeof(void *)
#endif

/* A scalar's type without const, volatile and _Atomic: what a load of it gives. */
#define typeof_strip_qual(expr) __typeof__(__atomic_load_n(&(expr), __ATOMIC_RELAXED))

#define qatomic_check_(ptr) \
    QEMU_BUILD_BUG_MSG(sizeof(*(ptr)) > ATOMIC_REG_SIZE, "wider than a register")

/* Keeps the compiler from moving accesses across; the processor is free to. */
static inline void barrier(void)
{
    __asm__ __volatile__("" ::: "memory");
}

/* Orders against a signal handler of the same thread. */
static inline void signal_barrier(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * ThreadSanitizer does not model fences (and gcc says so at each). Under it the fence is
 * plain assembly: the processor's order is kept, and TSan sees exactly the order that
 * atomic variables make, which is the stricter test.
 */
static inline void smp_mb(void)
{
#if !defined(QEMU_SANITIZE_THREAD)
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#elif defined(__x86_64__)
    __asm__ __volatile__("mfence" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("dmb ish" ::: "memory");
#else
    __sync_synchronize();
#endif
}

/* Accesses before stay before later stores. */
static inline void smp_mb_release(void)
{
#if !defined(QEMU_SANITIZE_THREAD)
    __atomic_thread_fence(__ATOMIC_RELEASE);
#elif defined(__x86_64__)
    barrier();
#else
    smp_mb();
#endif
}

/* Earlier loads stay before all accesses behind. */
static inline void smp_mb_acquire(void)
{
#if !defined(QEMU_SANITIZE_THREAD)
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#elif defined(__x86_64__)
    barrier();
#else
    smp_mb();
#endif
}

static inline void smp_wmb(void)
{
    smp_mb_release();
}

static inline void smp_rmb(void)
{
    smp_mb_acquire();
}

/* Address dependencies order by themselves on every processor we build for. */
static inline void smp_read_barrier_depends(void)
{
    barrier();
}

/* A full barrier between a read-modify-write and what comes before it. */
static inline void smp_mb__before_rmw(void)
{
#if defined(__x86_64__) || defined(__i386__)
    barrier();
#else
    smp_mb();
#endif
}

/* A full barrier between a read-modify-write and what comes behind it. */
static inline void smp_mb__after_rmw(void)
{
#if defined(__x86_64__) || defined(__i386__)
    barrier();
#else
    smp_mb();
#endif
}

/* The __nocheck forms are for 64-bit values that a 32-bit host reads in two halves. */
#define qatomic_read__nocheck(ptr)   __atomic_load_n(ptr, __ATOMIC_RELAXED)
#define qatomic_set__nocheck(ptr, i) __atomic_store_n(ptr, i, __ATOMIC_RELAXED)

#define qatomic_read(ptr)                                                                \
    (__extension__({                                                                     \
        qatomic_check_(ptr);                                                             \
        qatomic_read__nocheck(ptr);                                                      \
    }))
#define qatomic_set(ptr, i)                                                              \
    do {                                                                                 \
        qatomic_check_(ptr);                                                             \
        qatomic_set__nocheck(ptr, i);                                                    \
    } while (0)

#define qatomic_load_acquire(ptr)                                                        \
    (__extension__({                                                                     \
        qatomic_check_(ptr);                                                             \
        __atomic_load_n(ptr, __ATOMIC_ACQUIRE);                                          \
    }))
#define qatomic_store_release(ptr, i)                                                    \
    do {                                                                                 \
        qatomic_check_(ptr);                                                             \
        __atomic_store_n(ptr, i, __ATOMIC_RELEASE);                                      \
    } while (0)

#define qatomic_rcu_read__nocheck(ptr, valptr) __atomic_load(ptr, valptr, __ATOMIC_ACQUIRE)
/* Publish and follow a pointer to something that RCU (or a life-time rule) keeps. */
#define qatomic_rcu_read(ptr)   qatomic_load_acquire(ptr)
#define qatomic_rcu_set(ptr, i) qatomic_store_release(ptr, i)

/* A store and a full barrier behind it, cheaper than the two apart. */
#define qatomic_set_mb(ptr, i)                                                           \
    do {                                                                                 \
        qatomic_check_(ptr);                                                             \
        (void)__atomic_exchange_n(ptr, i, __ATOMIC_SEQ_CST);                             \
        smp_mb__after_rmw();                                                             \
    } while (0)
#define qatomic_mb_set(ptr, i) qatomic_set_mb(ptr, i)
#define qatomic_mb_read(ptr)   qatomic_load_acquire(ptr)

#define qatomic_xchg__nocheck(ptr, i) __atomic_exchange_n(ptr, i, __ATOMIC_SEQ_CST)
#define qatomic_xchg(ptr, i)                                                             \
    (__extension__({                                                                     \
        qatomic_check_(ptr);                                                             \
        qatomic_xchg__nocheck(ptr, i);                                                   \
    }))

/* Stores new_ if *ptr equals old_; returns what was there before, either way. */
#define qatomic_cmpxchg_(ptr, old_, new_, seen)                                          \
    (__extension__({                                                                     \
        __typeof__(__atomic_load_n(ptr, __ATOMIC_RELAXED)) seen = (old_);                \
        (void)__atomic_compare_exchange_n(ptr, &seen, new_, false, __ATOMIC_SEQ_CST,     \
                                          __ATOMIC_SEQ_CST);                             \
        seen;                                                                            \
    }))
#define qatomic_cmpxchg__nocheck(ptr, old_, new_) \
    qatomic_cmpxchg_(ptr, old_, new_, MAKE_IDENTIFIER(cmpxchg_seen_))
#define qatomic_cmpxchg(ptr, old_, new_)                                                 \
    (__extension__({                                                                     \
        qatomic_check_(ptr);                                                             \
        qatomic_cmpxchg__nocheck(ptr, old_, new_);                                       \
    }))

/* Return the value from before. */
#define qatomic_fetch_inc(ptr)    __atomic_fetch_add(ptr, 1, __ATOMIC_SEQ_CST)
#define qatomic_fetch_dec(ptr)    __atomic_fetch_sub(ptr, 1, __ATOMIC_SEQ_CST)
#define qatomic_fetch_add(ptr, n) __atomic_fetch_add(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_sub(ptr, n) __atomic_fetch_sub(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_and(ptr, n) __atomic_fetch_and(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_or(ptr, n)  __atomic_fetch_or(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_xor(ptr, n) __atomic_fetch_xor(ptr, n, __ATOMIC_SEQ_CST)

/* Return the value from behind. */
#define qatomic_inc_fetch(ptr)    __atomic_add_fetch(ptr, 1, __ATOMIC_SEQ_CST)
#define qatomic_dec_fetch(ptr)    __atomic_sub_fetch(ptr, 1, __ATOMIC_SEQ_CST)
#define qatomic_add_fetch(ptr, n) __atomic_add_fetch(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_sub_fetch(ptr, n) __atomic_sub_fetch(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_and_fetch(ptr, n) __atomic_and_fetch(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_or_fetch(ptr, n)  __atomic_or_fetch(ptr, n, __ATOMIC_SEQ_CST)
#define qatomic_xor_fetch(ptr, n) __atomic_xor_fetch(ptr, n, __ATOMIC_SEQ_CST)

/* Return nothing. */
#define qatomic_inc(ptr)    ((void)qatomic_fetch_inc(ptr))
#define qatomic_dec(ptr)    ((void)qatomic_fetch_dec(ptr))
#define qatomic_add(ptr, n) ((void)qatomic_fetch_add(ptr, n))
#define qatomic_sub(ptr, n) ((void)qatomic_fetch_sub(ptr, n))
#define qatomic_and(ptr, n) ((void)qatomic_fetch_and(ptr, n))
#define qatomic_or(ptr, n)  ((void)qatomic_fetch_or(ptr, n))
#define qatomic_xor(ptr, n) ((void)qatomic_fetch_xor(ptr, n))

/* 64-bit values whatever the host; blkco runs on hosts where these are plain. */
typedef int64_t aligned_int64_t __attribute__((__aligned__(8)));
typedef uint64_t aligned_uint64_t __attribute__((__aligned__(8)));

static inline int64_t qatomic_read_i64(const int64_t *ptr)
{
    return __atomic_load_n(ptr, __ATOMIC_RELAXED);
}

static inline uint64_t qatomic_read_u64(const uint64_t *ptr)
{
    return __atomic_load_n(ptr, __ATOMIC_RELAXED);
}

static inline void qatomic_set_i64(int64_t *ptr, int64_t value)
{
    __atomic_store_n(ptr, value, __ATOMIC_RELAXED);
}

static inline void qatomic_set_u64(uint64_t *ptr, uint64_t value)
{
    __atomic_store_n(ptr, value, __ATOMIC_RELAXED);
}

#endif
