/* SPDX-License-Identifier: MIT */
/* The threads that a copy's coroutines are spread over. Main thread. */
#ifndef IMG_CONVERT_THREADS_H
#define IMG_CONVERT_THREADS_H

#include "convert-copy.h"

#include "qemu/aio.h"
#include "qemu/iothread.h"

#define COPY_MAX_THREADS 4

typedef struct CopyThreads {
    AioContext *main;
    bool in_place; /* the coroutines make their requests themselves */
    IOThread *others[COPY_MAX_THREADS - 1];
    unsigned num_others;
} CopyThreads;

/* Does the job go from one page cache to another, by nodes that any thread may use and that do not wait? */
bool copy_is_cached(const CopyJob *job);

/* Starts as many as what there is to copy is worth, perhaps none. */
void copy_threads_start(CopyThreads *t, const CopyJob *job);
/* No coroutine of the copy is left. */
void copy_threads_end(CopyThreads *t);

/* Where coroutine @i runs. */
AioContext *copy_threads_context(const CopyThreads *t, unsigned i);

#endif
