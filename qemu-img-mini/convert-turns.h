/* SPDX-License-Identifier: MIT */
/*
 * Turns: chunks are written in the order of their numbers, so many at once. Coroutines of any threads.
 */
#ifndef IMG_CONVERT_TURNS_H
#define IMG_CONVERT_TURNS_H

#include "qemu/coroutine.h"
#include "qemu/thread.h"

typedef struct CopyTurns {
    QemuMutex lock;   /* guards the rest */
    bool in_order;    /* else nobody waits */
    bool given_up;
    uint64_t next;    /* the chunk whose turn it is */
    unsigned writing; /* chunks */
    unsigned most;    /* of them at once */
    struct CopyTurnsWaiter *waiting;
} CopyTurns;

void copy_turns_init(CopyTurns *t, bool in_order, unsigned most);
void copy_turns_destroy(CopyTurns *t);

/* Waits until chunk @number may be written. */
void coroutine_fn copy_turns_begin(CopyTurns *t, uint64_t number);
/* Chunk @number is under way: the next one need not wait for its end. Once or more, or never. */
void copy_turns_pass(CopyTurns *t, uint64_t number);
/* It is written. */
void copy_turns_end(CopyTurns *t, uint64_t number);
/* After a failure nobody waits any more, as the one to wait for may not come. */
void copy_turns_give_up(CopyTurns *t);

#endif
