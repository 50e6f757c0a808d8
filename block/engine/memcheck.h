/* SPDX-License-Identifier: MIT */
/*
 * What Valgrind's memcheck must hear of kernels that write to memory without a system call
 * that it knows. Built without Valgrind's headers, nothing here does anything.
 */
#ifndef BLOCK_ENGINE_MEMCHECK_H
#define BLOCK_ENGINE_MEMCHECK_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define BLKCO_MEMCHECK 1
#endif
#endif

/* Whether the program runs on Valgrind; always the same answer. */
static inline bool memcheck_runs(void)
{
#ifdef BLKCO_MEMCHECK
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

/* The kernel has filled this memory. */
static inline void memcheck_filled(void *buf, size_t len)
{
#ifdef BLKCO_MEMCHECK
    VALGRIND_MAKE_MEM_DEFINED(buf, len);
#endif
}

#endif
