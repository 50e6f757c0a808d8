/* SPDX-License-Identifier: MIT */
/*
 * What AddressSanitizer, ThreadSanitizer and Valgrind must hear of coroutines. Nothing
 * else in the tree knows these tools. They are called at three points: where a stack gets
 * and loses its coroutine (co_sanitizer_birth, _planted, _death, _leader), around a switch
 * (co_sanitizer_leave, _jump, _arrive), and around a look at what other threads change
 * (co_sanitizer_peek_begin, _end). In an ordinary build those around a switch are empty, so
 * that it stays in tail position, and those around a look, too; the first tell Valgrind.
 */
#ifndef UTIL_COROUTINE_SANITIZER_H
#define UTIL_COROUTINE_SANITIZER_H

#include "coroutine-backend.h"
#include "coroutine-stack.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CO_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CO_TSAN 1
#endif

#ifdef CO_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CO_TSAN
#include <sanitizer/tsan_interface.h>
/* Of ThreadSanitizer's run time; no header of gcc or clang declares them. */
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#endif
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define CO_VALGRIND 1
#endif
#endif

/* Instrumented code needs several times the stack. */
#if defined(CO_ASAN) || defined(CO_TSAN)
#define CO_SANITIZER_STACK_FACTOR 4
#else
#define CO_SANITIZER_STACK_FACTOR 1
#endif

/* Valgrind does not know of guard marks, but passes them on to the kernel. */
static inline bool co_sanitizer_emulated(void)
{
#ifdef CO_VALGRIND
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

/* The coroutine got its stack. */
static inline void co_sanitizer_birth(Coroutine *co)
{
#ifdef CO_TSAN
    co->tsan_fiber = __tsan_create_fiber(0);
#endif
#ifdef CO_VALGRIND
    co->valgrind_stack_id =
        VALGRIND_STACK_REGISTER(co->stack_base, (char *)co->stack_base + co->stack_size);
#endif
}

/*
 * A signal handler left its frame on the stack and will be jumped back into. To Valgrind
 * everything below the stack pointer is gone.
 */
static inline void co_sanitizer_planted(Coroutine *co)
{
#ifdef CO_VALGRIND
    VALGRIND_MAKE_MEM_DEFINED(co->stack_base, (char *)co - (char *)co->stack_base);
#endif
}

/* The coroutine loses its stack; it is not running. */
static inline void co_sanitizer_death(Coroutine *co)
{
#ifdef CO_ASAN
    /* What was never used is clean; to touch its shadow would make that resident. */
    size_t used = coroutine_stack_high_water(co->stack_base, co->stack_size);

    __asan_unpoison_memory_region((char *)co->stack_base + co->stack_size - used, used);
#endif
#ifdef CO_TSAN
    __tsan_destroy_fiber(co->tsan_fiber);
#endif
#ifdef CO_VALGRIND
    VALGRIND_STACK_DEREGISTER(co->valgrind_stack_id);
#endif
}

/* A thread's leader: stands for the stack on which the caller runs. */
static inline void co_sanitizer_leader(Coroutine *leader)
{
#ifdef CO_ASAN
    pthread_attr_t attr;

    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &leader->stack_base, &leader->stack_size);
        pthread_attr_destroy(&attr);
    }
#endif
#ifdef CO_TSAN
    leader->tsan_fiber = __tsan_get_current_fiber();
#endif
}

/* Before a switch. ending: from's frames are of no more use. */
static QEMU_ALWAYS_INLINE void co_sanitizer_leave(Coroutine *from, Coroutine *to,
                                                  bool ending)
{
#ifdef CO_ASAN
    if (ending) {
        from->asan_fake_stack = NULL;
    }
    __sanitizer_start_switch_fiber(ending ? NULL : &from->asan_fake_stack,
                                   to->stack_base, to->stack_size);
#endif
}

/*
 * In the backend's switch, with from's context saved and right before the jump:
 * ThreadSanitizer files a sigsetjmp under the fiber that is current.
 */
static QEMU_ALWAYS_INLINE void co_sanitizer_jump(Coroutine *to)
{
#ifdef CO_TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
}

/*
 * A debugger's look at coroutines of other threads, which go on meanwhile: it takes no lock
 * that they hold. Until co_sanitizer_peek_end() this thread's reads are no data races.
 */
static inline void co_sanitizer_peek_begin(void)
{
#ifdef CO_TSAN
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
#endif
}

static inline void co_sanitizer_peek_end(void)
{
#ifdef CO_TSAN
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

/* After a switch to self: the first thing on its stack. */
static QEMU_ALWAYS_INLINE void co_sanitizer_arrive(Coroutine *self)
{
#ifdef CO_ASAN
    __sanitizer_finish_switch_fiber(self->asan_fake_stack, NULL, NULL);
#endif
}

#endif
