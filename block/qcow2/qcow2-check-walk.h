/* SPDX-License-Identifier: MIT */
/* What the two halves of a check share: the walk, and the comparison with its repairs. */
#ifndef BLOCK_QCOW2_CHECK_WALK_H
#define BLOCK_QCOW2_CHECK_WALK_H

#include "qcow2-check.h"
#include "qcow2-refmap.h"
#include "qcow2-state.h"

typedef struct Qcow2Check {
    BlockDriverState *bs;
    Qcow2CheckResult *r;
    unsigned fix;
    bool fix_flags;         /* repair COPIED flags too */
    Qcow2CheckReport *report;
    void *opaque;
    Qcow2RefMap map;        /* references counted */
    uint64_t file_clusters; /* of the file, the last one may be cut short */
    uint64_t used_end;      /* behind the last cluster in use, by refcount or reference */
    uint64_t end;           /* behind all of that and the file: where repairs put things */
    uint64_t next_host;     /* where the next data cluster would not be fragmented; 0: anywhere */
    uint64_t *l2;           /* room for a table */
} Qcow2Check;

void G_GNUC_PRINTF(2, 3) qcow2_check_say(Qcow2Check *c, const char *fmt, ...);

/* Compares refcounts and COPIED flags with the map, and repairs. */
int coroutine_fn qcow2_check_compare(Qcow2Check *c);

#endif
