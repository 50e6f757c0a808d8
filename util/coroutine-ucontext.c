/* SPDX-License-Identifier: MIT */
/*
 * Backend for any machine with a C library that has ucontext. makecontext gets onto a new
 * stack once, when the coroutine is made, and plants a sigsetjmp there; all further
 * switches are jumps to such buffers, since swapcontext would make a system call each.
 */
/* Its check of siglongjmp takes a jump to another stack for an error. */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <ucontext.h>

#include "coroutine-sigjmp.h"

const char coroutine_backend_name[] = "ucontext";

/* What coroutine_backend_new leaves for bootstrap in co->context. */
typedef struct Boot {
    ucontext_t creator_context, first_context;
    Coroutine *creator;
} Boot;

/* makecontext passes integers only: the coroutine's address comes in two halves. */
__attribute__((no_sanitize_address)) static void bootstrap(unsigned int high,
                                                           unsigned int low)
{
    Coroutine *co = (Coroutine *)(uintptr_t)((uint64_t)high << 32 | low);
    Boot *boot = co->context;
    sigjmp_buf env;

    co->context = &env;
    if (sigsetjmp(env, 0) == 0) {
        co_sanitizer_jump(boot->creator);
        setcontext(&boot->creator_context);
    }
    coroutine_trampoline(co);
}

int coroutine_backend_new(Coroutine *co)
{
    Boot boot;

    if (getcontext(&boot.first_context) < 0) {
        return -errno;
    }
    boot.first_context.uc_stack.ss_sp = co->stack_base;
    boot.first_context.uc_stack.ss_size = (char *)co - (char *)co->stack_base;
    boot.first_context.uc_link = NULL;
    boot.creator = qemu_coroutine_self();
    makecontext(&boot.first_context, (void (*)(void))bootstrap, 2,
                (unsigned int)((uint64_t)(uintptr_t)co >> 32),
                (unsigned int)(uintptr_t)co);
    co->context = &boot;
    co_sanitizer_jump(co);
    if (swapcontext(&boot.creator_context, &boot.first_context) < 0) {
        return -errno;
    }
    return 0;
}

void coroutine_backend_delete(Coroutine *co)
{
}
