/* SPDX-License-Identifier: MIT */
/*
 * Groups of throttled nodes. Of the requests of one direction the oldest sleeps until the
 * buckets have room, the others wait in line behind it. Its sleep is cut into pieces, so
 * that it notices within one of them when a drain switches the limits off.
 */
#include "throttle.h"

#include "block/throttle-group.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

/* The longest sleep in nanoseconds before another look. */
#define LONGEST_SLEEP (50 * SCALE_MS)

struct ThrottleGroup {
    char *id;
    unsigned refcnt; /* under groups_lock */
    QemuMutex lock;  /* of all that follows; never over a yield */
    ThrottleConfig cfg;
    int64_t last_leak; /* QEMU_CLOCK_REALTIME */
    bool busy[2];      /* somebody is the oldest, for reads and writes */
    CoQueue line[2];   /* behind it */
};

static GHashTable *groups; /* id -> group, which holds a reference; under groups_lock */
static GMutex groups_lock;

static const char *const kind_names[THROTTLE_KINDS] = {
    [THROTTLE_BPS_TOTAL] = "bps-total",   [THROTTLE_BPS_READ] = "bps-read",
    [THROTTLE_BPS_WRITE] = "bps-write",   [THROTTLE_IOPS_TOTAL] = "iops-total",
    [THROTTLE_IOPS_READ] = "iops-read",   [THROTTLE_IOPS_WRITE] = "iops-write",
};

/* --- properties --- */

static int take_value(BlockOptions *props, const char *prefix, const char *name,
                      const char *suffix, uint64_t *value, Error **errp)
{
    g_autofree char *key = g_strconcat(prefix, name, suffix, NULL);
    g_autofree char *text = blk_options_take(props, key);
    char *end;

    if (!text) {
        return 0;
    }
    errno = 0;
    *value = g_ascii_strtoull(text, &end, 10);
    if (!(g_ascii_isdigit(*text) || *text == '-') || *end || end == text || errno) {
        error_setg(errp, "Parameter '%s' expects integer", key);
        return -EINVAL;
    }
    if (*text == '-' || *value > INT64_MAX) {
        error_setg(errp, "Property values cannot be negative");
        return -EINVAL;
    }
    return 0;
}

static int take_limits(ThrottleConfig *cfg, BlockOptions *props, const char *prefix,
                       Error **errp)
{
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        ThrottleBucket *b = &cfg->buckets[i];

        if (take_value(props, prefix, kind_names[i], "", &b->avg, errp) < 0 ||
            take_value(props, prefix, kind_names[i], "-max", &b->max, errp) < 0 ||
            take_value(props, prefix, kind_names[i], "-max-length", &b->burst_length, errp) <
                0) {
            return -EINVAL;
        }
    }
    return take_value(props, prefix, "iops-size", "", &cfg->op_size, errp);
}

static int take_config(ThrottleConfig *cfg, BlockOptions *props, Error **errp)
{
    throttle_config_init(cfg);
    if (take_limits(cfg, props, "x-", errp) < 0 ||
        take_limits(cfg, props, "limits.", errp) < 0) {
        return -EINVAL;
    }
    if (blk_options_count(props)) {
        error_setg(errp, "Parameter '%s' is unexpected", blk_options_key(props, 0));
        return -EINVAL;
    }
    return throttle_is_valid(cfg, errp) ? 0 : -EINVAL;
}

/* --- life --- */

int throttle_group_create(const char *id, BlockOptions *props, Error **errp)
{
    ThrottleGroup *group;
    ThrottleConfig cfg;
    int ret = take_config(&cfg, props, errp);

    if (ret < 0) {
        return ret;
    }
    g_mutex_lock(&groups_lock);
    if (!groups) {
        groups = g_hash_table_new(g_str_hash, g_str_equal);
    }
    if (g_hash_table_contains(groups, id)) {
        error_setg(errp, "attempt to add duplicate property '%s' to object (type 'container')",
                   id);
        ret = -EEXIST;
    } else {
        group = g_new0(ThrottleGroup, 1);
        group->id = g_strdup(id);
        group->refcnt = 1;
        group->cfg = cfg;
        group->last_leak = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        qemu_mutex_init(&group->lock);
        qemu_co_queue_init(&group->line[0]);
        qemu_co_queue_init(&group->line[1]);
        g_hash_table_insert(groups, group->id, group);
    }
    g_mutex_unlock(&groups_lock);
    return ret;
}

int throttle_group_delete(const char *id)
{
    ThrottleGroup *group;

    g_mutex_lock(&groups_lock);
    group = groups ? g_hash_table_lookup(groups, id) : NULL;
    if (group) {
        g_hash_table_remove(groups, id);
    }
    g_mutex_unlock(&groups_lock);
    if (!group) {
        return -ENOENT;
    }
    throttle_group_unref(group);
    return 0;
}

ThrottleGroup *throttle_group_find(const char *id)
{
    ThrottleGroup *group;

    g_mutex_lock(&groups_lock);
    group = groups ? g_hash_table_lookup(groups, id) : NULL;
    if (group) {
        group->refcnt++;
    }
    g_mutex_unlock(&groups_lock);
    return group;
}

void throttle_group_unref(ThrottleGroup *group)
{
    bool last;

    g_mutex_lock(&groups_lock);
    last = --group->refcnt == 0;
    g_mutex_unlock(&groups_lock);
    if (last) {
        qemu_mutex_destroy(&group->lock);
        g_free(group->id);
        g_free(group);
    }
}

/* --- requests --- */

/* Under lock. */
static int64_t time_to_wait(ThrottleGroup *group, bool is_write)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    throttle_leak(&group->cfg, now - group->last_leak);
    group->last_leak = now;
    return throttle_wait(&group->cfg, is_write);
}

/* The oldest waits for the buckets. Called and returns with lock held. */
static void coroutine_fn wait_for_room(ThrottleGroup *group, const int *disabled,
                                       bool is_write)
{
    int64_t wait;

    while (!qatomic_read(disabled) && (wait = time_to_wait(group, is_write)) > 0) {
        qemu_mutex_unlock(&group->lock);
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, MIN(wait, (int64_t)LONGEST_SLEEP));
        qemu_mutex_lock(&group->lock);
    }
}

void coroutine_fn throttle_group_co_wait(ThrottleGroup *group, const int *disabled,
                                         bool is_write, int64_t bytes)
{
    qemu_mutex_lock(&group->lock);
    if (group->busy[is_write]) {
        /* Who wakes us hands its place over: busy stays set. */
        qemu_co_queue_wait(&group->line[is_write], &group->lock);
    }
    group->busy[is_write] = true;
    wait_for_room(group, disabled, is_write);
    throttle_account(&group->cfg, is_write, bytes);
    group->busy[is_write] = qemu_co_queue_next(&group->line[is_write]);
    qemu_mutex_unlock(&group->lock);
}
