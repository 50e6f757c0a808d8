/* SPDX-License-Identifier: MIT */
/*
 * Start a thread, for callers who can do without: no abort when there is none to be had.
 */
#ifndef UTIL_THREAD_SPAWN_H
#define UTIL_THREAD_SPAWN_H

#include <pthread.h>

/*
 * Runs fn(arg) in a joinable thread with all signals blocked; name has up to 15 bytes.
 * 0 or -errno. Any thread.
 */
int thread_spawn(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg);

#endif
