/* SPDX-License-Identifier: MIT */
/*
 * Backend for C libraries without ucontext. To get onto a new stack, a signal is
 * delivered on it as the alternate signal stack, its handler plants a sigsetjmp and
 * returns. Nothing runs on that stack any more, so the handler's frame stays as it is,
 * and the first switch jumps back into it, as into a function that had not returned.
 *
 * SIGUSR2's action is the process's, therefore the mutex; it is as before afterwards.
 */
/* Its check of siglongjmp takes a jump to another stack for an error. */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "coroutine-sigjmp.h"

const char coroutine_backend_name[] = "sigaltstack";

static struct {
    pthread_mutex_t lock;
    Coroutine *co;
    Coroutine *creator;
    pthread_t thread;
} boot = { .lock = PTHREAD_MUTEX_INITIALIZER };

__attribute__((no_sanitize_address)) static void bootstrap(int sig)
{
    Coroutine *co = boot.co;
    sigjmp_buf env;

    /* Somebody else's SIGUSR2, at the wrong moment. */
    if (!co || !pthread_equal(boot.thread, pthread_self())) {
        return;
    }
    boot.co = NULL;
    co->context = &env;
    co_sanitizer_jump(co);
    if (sigsetjmp(env, 0) == 0) {
        co_sanitizer_jump(boot.creator);
        return;
    }
    coroutine_trampoline(co);
}

/*
 * Valgrind takes a disabled alternate stack for one in use as long as the stack pointer
 * is in it, which it is when the new coroutine creates another. It forgets the address
 * when given another. boot.lock is held.
 */
static void forget_stack_address(void)
{
    static char unused[64 * 1024];
    stack_t stack = { .ss_sp = unused, .ss_size = sizeof(unused) };

    if (co_sanitizer_emulated()) {
        sigaltstack(&stack, NULL);
    }
}

/* boot.lock is held. */
static int run_on_stack_of(Coroutine *co)
{
    struct sigaction action = { .sa_handler = bootstrap, .sa_flags = SA_ONSTACK };
    struct sigaction old_action;
    stack_t stack = {
        .ss_sp = co->stack_base,
        .ss_size = (char *)co - (char *)co->stack_base,
    };
    stack_t old_stack;
    sigset_t unblock, old_mask;
    int ret = 0;

    if (sigaltstack(&stack, &old_stack) < 0) {
        return -errno;
    }
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, &old_action);
    boot.co = co;
    boot.creator = qemu_coroutine_self();
    boot.thread = pthread_self();
    sigemptyset(&unblock);
    sigaddset(&unblock, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &unblock, &old_mask);

    /* POSIX: as it is not blocked, it is delivered before the call returns. */
    pthread_kill(pthread_self(), SIGUSR2);
    if (boot.co) {
        boot.co = NULL;
        ret = -EAGAIN;
    }

    pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    sigaction(SIGUSR2, &old_action, NULL);
    forget_stack_address();
    sigaltstack(&old_stack, NULL);
    co_sanitizer_planted(co);
    return ret;
}

int coroutine_backend_new(Coroutine *co)
{
    int ret;

    pthread_mutex_lock(&boot.lock);
    ret = run_on_stack_of(co);
    pthread_mutex_unlock(&boot.lock);
    return ret;
}

void coroutine_backend_delete(Coroutine *co)
{
}
