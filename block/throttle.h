/* SPDX-License-Identifier: MIT */
/*
 * How long a request has to wait: leaky buckets, one for each kind of limit. Pure
 * arithmetic; no locks, the time comes from the caller. And groups, for the driver.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "qemu/osdep.h"
#include "block/block-driver.h"

typedef enum ThrottleKind {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE_KINDS
} ThrottleKind;

/*
 * Requests fill the bucket by their units (bytes or operations), it leaks avg units a
 * second, and while it is fuller than its size requests wait. Its size is what a burst of
 * max units a second for burst_length seconds brings. A burst that is longer than a second
 * has a bucket of its own, which keeps it at max a second.
 */
typedef struct ThrottleBucket {
    uint64_t avg;          /* units a second; 0: no limit */
    uint64_t max;          /* units a second; 0: no bursts */
    uint64_t burst_length; /* seconds, at least 1 */
    double level, burst_level;
} ThrottleBucket;

typedef struct ThrottleConfig {
    ThrottleBucket buckets[THROTTLE_KINDS];
    uint64_t op_size; /* bytes that count as one operation; 0: any number does */
} ThrottleConfig;

void throttle_config_init(ThrottleConfig *cfg);
bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp);
/* @ns have passed. */
void throttle_leak(ThrottleConfig *cfg, int64_t ns);
/* Nanoseconds until a request of this direction may go; 0: now. */
int64_t throttle_wait(const ThrottleConfig *cfg, bool is_write);
void throttle_account(ThrottleConfig *cfg, bool is_write, int64_t bytes);

/* --- groups --- */

typedef struct ThrottleGroup ThrottleGroup;

/* A new reference; NULL: there is none of this name. */
ThrottleGroup *throttle_group_find(const char *id);
void throttle_group_unref(ThrottleGroup *group);
/*
 * Waits until the group lets the request pass, in the order of arrival for each direction.
 * While *@disabled (atomic) is not 0 nobody waits for a limit.
 */
void coroutine_fn throttle_group_co_wait(ThrottleGroup *group, const int *disabled,
                                         bool is_write, int64_t bytes);

#endif
