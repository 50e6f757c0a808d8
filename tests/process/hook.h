/* SPDX-License-Identifier: MIT */
/*
 * What the preloaded library (hook.c) and the programs that use it agree on. The environment
 * variable PROCESS_HOOK names a file that holds a Hook; both map it, so it is there after a kill.
 *
 * The driver fills in @at, @kinds and @action before the program starts. @count is atomic, and
 * counts the calls of these kinds, from 1; the call with number @at is the one that is changed.
 */
#ifndef TESTS_PROCESS_HOOK_H
#define TESTS_PROCESS_HOOK_H

#include <stdint.h>

enum {
    HOOK_READ = 1,    /* pread and its kin */
    HOOK_WRITE = 2,   /* pwrite and its kin */
    HOOK_SYNC = 4,    /* fsync, fdatasync */
    HOOK_SIZE = 8,    /* ftruncate, fallocate */
    HOOK_OPEN = 16,
    HOOK_COPY = 32,   /* copy_file_range */
    HOOK_SETUP = 64,  /* io_setup */
    HOOK_SUBMIT = 128,/* io_submit */
    HOOK_EVENTS = 256,/* io_getevents */
    HOOK_ASK = 512,   /* lseek, fstat */
    HOOK_REMOVE = 1024, /* unlink */
    HOOK_ALLOC = 2048, /* allocations of HOOK_LARGE bytes and more */
    HOOK_IO = HOOK_ALLOC - 1,
    /* After which a disk may be different from before. */
    HOOK_CHANGES = HOOK_WRITE | HOOK_SYNC | HOOK_SIZE | HOOK_OPEN | HOOK_COPY | HOOK_SUBMIT |
                   HOOK_REMOVE,
};

#define HOOK_LARGE 65536 /* bytes */

enum {
    HOOK_NOTHING, /* only count */
    HOOK_KILL,    /* SIGKILL before the call */
    HOOK_TEAR,    /* a write of a part of what it should write, then SIGKILL */
    HOOK_FAIL,    /* @error */
    HOOK_SHORT,   /* transfers less than it is asked to; other calls are left alone */
};

typedef struct Hook {
    uint32_t kinds;
    uint32_t action;
    uint32_t at;     /* 0: no call at all */
    int32_t error;   /* errno */
    uint32_t sticky; /* all calls from @at on */
    uint32_t count;
    uint32_t hits;   /* calls that were changed */
    char what[32];   /* the name of the first one */
} Hook;

#endif
