/* SPDX-License-Identifier: MIT */
/* What blkco-test.c gives to blkco-crash.c. One test runs at a time, in the thread of GTest. */
#ifndef TESTLIB_TEST_FRAME_H
#define TESTLIB_TEST_FRAME_H

#include "blkco-test.h"

typedef struct BlkcoCase BlkcoCase;
struct BlkcoCase {
    BlkcoCase *next;
    const char *path;
    const BlkcoTestConfig *config;
    gpointer data;
    /* Inside of the simulation, outside of coroutines; makes t->power. */
    void (*body)(BlkcoTest *t, const BlkcoCase *c);
    BlkcoTestFunc *prepare, *work, *verify;
};

void blkco_frame_add(const BlkcoCase *c);
/* t->power and t->disk, with the image. */
void blkco_frame_make_disk(BlkcoTest *t);
/* t->blk. */
void blkco_frame_open(BlkcoTest *t);
void blkco_frame_close(BlkcoTest *t);
/* Those of the configuration: from now on. */
void blkco_frame_add_faults(BlkcoTest *t);
/* @func in a coroutine, to its end. */
void blkco_frame_run(BlkcoTest *t, BlkcoTestFunc *func);
/* What to print when the program aborts. */
void blkco_frame_say(const char *text);

#endif
