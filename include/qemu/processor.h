/* SPDX-License-Identifier: MIT */
/* A hint to the processor that this is a loop waiting for another one. */
#ifndef QEMU_PROCESSOR_H
#define QEMU_PROCESSOR_H

static inline void cpu_relax(void)
{
#if defined(__i386__) || defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    /* On most ARM cores "yield" does nothing; isb waits about as long as x86's pause. */
    __asm__ __volatile__("isb" ::: "memory");
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

#endif
