/* SPDX-License-Identifier: MIT */
/*
 * From where in the program a call came, as one number: the return addresses on this stack, down
 * to where the coroutine or the thread begins. So a test of faults can let each place fail once,
 * where counting calls would try a loop a hundred times and a rare branch never. The numbers
 * differ from run to run.
 */
#ifndef TESTS_CALL_PLACE_H
#define TESTS_CALL_PLACE_H

#include <glib.h>
#include <unwind.h>

typedef struct CallPlace {
    uint64_t hash;
    unsigned depth;
} CallPlace;

static inline _Unwind_Reason_Code call_place_add(struct _Unwind_Context *context, void *opaque)
{
    CallPlace *p = opaque;

    p->hash = (p->hash ^ _Unwind_GetIP(context)) * UINT64_C(0x9e3779b97f4a7c15);
    p->hash ^= p->hash >> 29;
    return ++p->depth < 100 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static inline CallPlace call_place(void)
{
    CallPlace p = { 1, 0 };

    _Unwind_Backtrace(call_place_add, &p);
    return p;
}

#endif
