/* SPDX-License-Identifier: MIT */
/* The copying itself: from one or more open images to an open target. */
#ifndef IMG_CONVERT_COPY_H
#define IMG_CONVERT_COPY_H

#include "block/block-backend.h"

#define COPY_MAX_COROUTINES 16

typedef struct CopySource {
    const char *name;
    BlockBackend *blk;
    BlockDriverState *base; /* what this and the layers below it hold is not copied; or NULL */
    int64_t length; /* bytes that can be read */
    int64_t start;  /* where it stands in the target, a multiple of 512 */
    int64_t end;    /* where the next one starts: length rounded up to 512 */
} CopySource;

typedef struct CopyJob {
    CopySource *sources; /* one behind the other without gaps */
    size_t num_sources;
    BlockBackend *target;
    const char *target_name; /* for messages */
    bool target_has_backing; /* only what the source's own layer holds is copied */
    int64_t target_backing_length; /* bytes; -1: there is none, or it is not known */
    uint32_t compressed;     /* bytes of a cluster, which are then written compressed; or 0 */
    int64_t min_sparse;      /* bytes of zeroes that make a hole; 0: write everything */
    int64_t rate_limit;      /* bytes per second written; 0: none */
    unsigned num_coroutines; /* 1 to COPY_MAX_COROUTINES */
    bool in_order;           /* start the writes in ascending order */
    bool target_is_zero;     /* what is not written reads as zeroes */
    bool copy_offload;       /* let the file system copy what it can */
    bool salvage;            /* unreadable sectors become zeroes */
    bool quiet;              /* no warnings about these */
} CopyJob;

/* False when something failed; the message has been given. Not in a coroutine. */
bool copy_run(const CopyJob *job);

#endif
