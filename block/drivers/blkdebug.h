/* SPDX-License-Identifier: MIT */
/*
 * blkdebug's parts: the rules, and the file that holds some. Private to the driver.
 */
#ifndef BLOCK_DRIVERS_BLKDEBUG_H
#define BLOCK_DRIVERS_BLKDEBUG_H

#include "qemu/osdep.h"
#include "qemu/thread.h"
#include "block/block-driver.h"

/* The kinds of requests that can be failed. */
typedef enum BlkdebugIOType {
    BLKDEBUG_READ,
    BLKDEBUG_WRITE,
    BLKDEBUG_WRITE_ZEROES,
    BLKDEBUG_DISCARD,
    BLKDEBUG_FLUSH,
    BLKDEBUG_BLOCK_STATUS,
    BLKDEBUG_IO_TYPES
} BlkdebugIOType;

/*
 * All under lock, which is a leaf and never held over a yield. Requests of any thread
 * raise events and ask for errors; break points are set and resumed from the home thread.
 */
typedef struct BlkdebugRules {
    QemuMutex lock;
    uint64_t state;
    GPtrArray *rules;     /* in the order they were given; owned */
    GPtrArray *active;    /* those of the last event that had any; borrowed */
    GPtrArray *suspended; /* requests that stand still, the latest first; on their stacks */
} BlkdebugRules;

void blkdebug_rules_init(BlkdebugRules *r);
void blkdebug_rules_destroy(BlkdebugRules *r);
/* Adds the rules of a file. 0 or -errno with @errp. */
int blkdebug_rules_from_file(BlkdebugRules *r, const char *filename, Error **errp);
/* Takes "inject-error.N.*" and "set-state.N.*" from @options. */
int blkdebug_rules_from_options(BlkdebugRules *r, BlockOptions *options, Error **errp);

/* May yield, at a break point; then only in a coroutine. */
void coroutine_fn blkdebug_rules_event(BlkdebugRules *r, BlkdebugEvent event);
/* What this request has to fail with: 0 or -errno. */
int coroutine_fn blkdebug_rules_check(BlkdebugRules *r, BlkdebugIOType type,
                                      int64_t offset, int64_t bytes);

int blkdebug_rules_break(BlkdebugRules *r, const char *event, const char *tag);
int blkdebug_rules_remove_break(BlkdebugRules *r, const char *tag);
int blkdebug_rules_resume(BlkdebugRules *r, const char *tag);
bool blkdebug_rules_is_suspended(BlkdebugRules *r, const char *tag);

/* --- blkdebug-config.c --- */

/* One section of a configuration file: "inject-error" or "set-state". */
typedef struct BlkdebugSection {
    char *name;
    char *id;           /* NULL: none */
    BlockOptions *keys; /* owned */
} BlkdebugSection;

/* The sections of a file, with a free function; NULL and @errp. *@ret: -errno. */
GPtrArray *blkdebug_read_config(const char *filename, int *ret, Error **errp);

#endif
