/* SPDX-License-Identifier: MIT */
/*
 * What the targets have instead of the world: the linker's --wrap sends the library's calls here.
 * There are no files but the one that fopen() finds, and no thread pool.
 */
#include "fuzz.h"
#include "qemu/thread-pool.h"

const uint8_t *fuzz_file_data;
size_t fuzz_file_size;

FILE *__wrap_fopen(const char *name, const char *mode);
FILE *__wrap_fopen64(const char *name, const char *mode);
int __wrap_open(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
int coroutine_fn __wrap_thread_pool_submit_co(ThreadPoolFunc *func, void *arg);
FILE *__real_fopen64(const char *name, const char *mode);
int __real_open64(const char *name, int flags, ...);

bool fuzz_in_input;

/* libFuzzer has files, and writes one when an input breaks something. */
FILE *__wrap_fopen64(const char *name, const char *mode)
{
    if (!fuzz_in_input || *mode != 'r') {
        return __real_fopen64(name, mode);
    }
    if (!fuzz_file_data) {
        errno = ENOENT;
        return NULL;
    }
    return fmemopen((void *)fuzz_file_data, fuzz_file_size, "r");
}

FILE *__wrap_fopen(const char *name, const char *mode)
{
    return __wrap_fopen64(name, mode);
}

static int open_outside(const char *name, int flags, va_list ap)
{
    if (!fuzz_in_input) {
        return __real_open64(name, flags, va_arg(ap, int));
    }
    errno = ENOENT;
    return -1;
}

int __wrap_open64(const char *name, int flags, ...)
{
    va_list ap;
    int ret;

    va_start(ap, flags);
    ret = open_outside(name, flags, ap);
    va_end(ap);
    return ret;
}

int __wrap_open(const char *name, int flags, ...)
{
    va_list ap;
    int ret;

    va_start(ap, flags);
    ret = open_outside(name, flags, ap);
    va_end(ap);
    return ret;
}

int coroutine_fn __wrap_thread_pool_submit_co(ThreadPoolFunc *func, void *arg)
{
    return func(arg);
}
