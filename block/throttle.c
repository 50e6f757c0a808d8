/* SPDX-License-Identifier: MIT */
/* Leaky buckets; see throttle.h. */
#include "throttle.h"

#include "qemu/timer.h"

#define MAX_VALUE UINT64_C(1000000000000000)

void throttle_config_init(ThrottleConfig *cfg)
{
    memset(cfg, 0, sizeof(*cfg));
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        cfg->buckets[i].burst_length = 1;
    }
}

/* Total and one direction of the same thing. */
static bool conflict(const ThrottleBucket *b)
{
    return (b[0].avg && (b[1].avg || b[2].avg)) || (b[0].max && (b[1].max || b[2].max));
}

static const char *check_bucket(const ThrottleBucket *b)
{
    if (b->burst_length == 0) {
        return "the burst length cannot be 0";
    }
    if (b->burst_length > 1 && !b->max) {
        return "burst length set without burst rate";
    }
    if (b->max && b->burst_length > MAX_VALUE / b->max) {
        return "burst length too high for this burst rate";
    }
    if (b->max && !b->avg) {
        return "bps_max/iops_max require corresponding bps/iops values";
    }
    if (b->max && b->max < b->avg) {
        return "bps_max/iops_max cannot be lower than bps/iops";
    }
    return NULL;
}

bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp)
{
    const ThrottleBucket *b = cfg->buckets;

    if (conflict(&b[THROTTLE_BPS_TOTAL]) || conflict(&b[THROTTLE_IOPS_TOTAL])) {
        error_setg(errp, "bps/iops/max total values and read/write values cannot be used "
                         "at the same time");
        return false;
    }
    if (cfg->op_size && !b[THROTTLE_IOPS_TOTAL].avg && !b[THROTTLE_IOPS_READ].avg &&
        !b[THROTTLE_IOPS_WRITE].avg) {
        error_setg(errp, "iops size requires an iops value to be set");
        return false;
    }
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        const char *wrong;

        if (b[i].avg > MAX_VALUE || b[i].max > MAX_VALUE) {
            error_setg(errp, "bps/iops/max values must be within [0, %" PRIu64 "]", MAX_VALUE);
            return false;
        }
        wrong = check_bucket(&b[i]);
        if (wrong) {
            error_setg(errp, "%s", wrong);
            return false;
        }
    }
    return true;
}

void throttle_leak(ThrottleConfig *cfg, int64_t ns)
{
    double seconds = (double)MAX(ns, 0) / NANOSECONDS_PER_SECOND;

    for (int i = 0; i < THROTTLE_KINDS; i++) {
        ThrottleBucket *b = &cfg->buckets[i];

        b->level = MAX(b->level - (double)b->avg * seconds, 0);
        b->burst_level = MAX(b->burst_level - (double)b->max * seconds, 0);
    }
}

/* Nanoseconds until @level has sunk to @size at @rate. */
static int64_t time_to_sink(double level, double size, uint64_t rate)
{
    return level > size ? (int64_t)((level - size) * NANOSECONDS_PER_SECOND / (double)rate) : 0;
}

/* Without bursts there is room for what comes within a tenth of a second. */
static int64_t bucket_wait(const ThrottleBucket *b)
{
    int64_t wait;

    if (!b->avg) {
        return 0;
    }
    if (!b->max) {
        return time_to_sink(b->level, (double)b->avg / 10, b->avg);
    }
    wait = time_to_sink(b->level, (double)b->max * (double)b->burst_length, b->avg);
    if (!wait && b->burst_length > 1) {
        wait = time_to_sink(b->burst_level, (double)b->max / 10, b->max);
    }
    return wait;
}

static bool concerns(ThrottleKind kind, bool is_write)
{
    switch (kind) {
    case THROTTLE_BPS_READ:
    case THROTTLE_IOPS_READ:
        return !is_write;
    case THROTTLE_BPS_WRITE:
    case THROTTLE_IOPS_WRITE:
        return is_write;
    default:
        return true;
    }
}

int64_t throttle_wait(const ThrottleConfig *cfg, bool is_write)
{
    int64_t wait = 0;

    for (int i = 0; i < THROTTLE_KINDS; i++) {
        if (concerns(i, is_write)) {
            wait = MAX(wait, bucket_wait(&cfg->buckets[i]));
        }
    }
    return wait;
}

void throttle_account(ThrottleConfig *cfg, bool is_write, int64_t bytes)
{
    double operations = 1;

    if (cfg->op_size && (uint64_t)bytes > cfg->op_size) {
        operations = (double)bytes / (double)cfg->op_size;
    }
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        double units = i <= THROTTLE_BPS_WRITE ? (double)bytes : operations;

        if (concerns(i, is_write)) {
            cfg->buckets[i].level += units;
            cfg->buckets[i].burst_level += cfg->buckets[i].burst_length > 1 ? units : 0;
        }
    }
}
