/* SPDX-License-Identifier: MIT */
/*
 * The switch of the backends that are made of sigsetjmp and siglongjmp: ucontext and
 * sigaltstack differ only in how they get onto a new stack. The jump buffer lies on the
 * stack of the coroutine that leaves; co->context points to it. The signal mask is
 * neither saved nor restored, so a switch makes no system call. Nor are the floating
 * point control words: those stay with the thread.
 *
 * Included by one file of a build of the library, which thereby defines coroutine_switch.
 */
#ifndef UTIL_COROUTINE_SIGJMP_H
#define UTIL_COROUTINE_SIGJMP_H

#include <setjmp.h>

#include "coroutine-sanitizer.h"

/* Not instrumented, or the buffer could be in a fake stack that goes away meanwhile. */
__attribute__((noinline, no_sanitize_address)) void coroutine_switch(Coroutine *from,
                                                                     Coroutine *to)
{
    sigjmp_buf env;

    from->context = &env;
    if (sigsetjmp(env, 0) == 0) {
        co_sanitizer_jump(to);
        siglongjmp(*(sigjmp_buf *)to->context, 1);
    }
}

/* The C library scrambles the addresses in a jump buffer. */
const void *coroutine_backend_pc(const Coroutine *co)
{
    return NULL;
}

#endif
