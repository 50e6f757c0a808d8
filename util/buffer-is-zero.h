/* SPDX-License-Identifier: MIT */
/* The variants behind buffer_is_zero, for its test. */
#ifndef BLKCO_BUFFER_IS_ZERO_H
#define BLKCO_BUFFER_IS_ZERO_H

#include <stdbool.h>
#include <stddef.h>

typedef struct BufferIsZeroVariant {
    const char *name;
    /* Whether this machine can run it. */
    bool (*usable)(void);
    /* For len >= 256. */
    bool (*check)(const void *buf, size_t len);
} BufferIsZeroVariant;

/* The first usable one is taken; ends with a NULL name. */
extern const BufferIsZeroVariant buffer_is_zero_variants[];

#endif
