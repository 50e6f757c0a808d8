/* SPDX-License-Identifier: MIT */
/* The library's threads. They leave signals to the program's own. */
#include <signal.h>
#include <string.h>

#include "thread-spawn.h"

int thread_spawn(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;
    int ret;

    /* Inherited by the thread, so that it has no moment in which signals reach it. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret == 0) {
        char kernel_name[16];

        strncpy(kernel_name, name, sizeof(kernel_name) - 1);
        kernel_name[sizeof(kernel_name) - 1] = '\0';
        pthread_setname_np(*thread, kernel_name);
    }
    return -ret;
}
