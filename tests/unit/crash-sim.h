/* SPDX-License-Identifier: MIT */
/*
 * A simulated disk (block/sim.h) whose calls are counted, so that any of them can be made to fail
 * in several ways; and its copies as power cuts leave them. For tests of qcow2. One thread.
 */
#ifndef TESTS_CRASH_SIM_H
#define TESTS_CRASH_SIM_H

#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/sim.h"
#include "call-place.h"

#define CRASH_SECTOR 512

typedef enum CrashFault {
    CRASH_EIO_NOT_DONE, /* one call fails and had no effect, */
    CRASH_EIO_HALF,     /* half of its effect, */
    CRASH_EIO_DONE,     /* all of its effect */
    CRASH_FULL,         /* from then on the file does not get longer */
    CRASH_GONE,         /* from then on everything fails */
    CRASH_FAULTS
} CrashFault;

typedef struct CrashDisk {
    SimPower *power;
    SimDisk *disk;
    unsigned calls;   /* that could have failed; block status is not counted */
    unsigned fail_at; /* the number of the call that fails; 0: none */
    CrashFault fault;
    bool paused;      /* calls neither count nor fail */
    bool barrier_failed; /* a flush, or a change of the first sector */
    GArray *places;   /* of CallPlace, or NULL: where the calls that count came from */
    GArray *switches; /* of unsigned: when the first sector, and so a header, began to change */
} CrashDisk;

static inline bool crash_grows(const SimRequest *r)
{
    return (r->op & (SIM_WRITE | SIM_ZERO | SIM_TRUNCATE)) &&
           r->offset + r->bytes > sim_disk_length(r->disk);
}

/* This very request fails: the next that the faults are asked about. */
static inline void crash_fail_with_effect(CrashDisk *d, const SimRequest *r)
{
    static const SimEffect effects[] = { SIM_EFFECT_NONE, SIM_EFFECT_HALF, SIM_EFFECT_ALL };
    SimFault fault = { .effect = effects[d->fault] };

    sim_power_add_fault(d->power, &fault);
}

static inline int crash_hook(void *opaque, const SimRequest *r)
{
    CrashDisk *d = opaque;

    if (d->places && r->op != SIM_STATUS) {
        CallPlace place = call_place();

        g_array_append_val(d->places, place);
    }
    if (r->op == SIM_WRITE && r->offset < CRASH_SECTOR) {
        unsigned now = sim_power_now(d->power);

        g_array_append_val(d->switches, now);
    }
    if (r->op == SIM_STATUS || d->paused || !d->fail_at || ++d->calls < d->fail_at ||
        (d->fault == CRASH_FULL && !crash_grows(r)) ||
        (d->fault < CRASH_FULL && d->calls > d->fail_at)) {
        return 0;
    }
    d->barrier_failed |= r->op == SIM_FLUSH || ((r->op & (SIM_WRITE | SIM_ZERO | SIM_DISCARD)) &&
                                                r->offset < CRASH_SECTOR);
    if (d->fault == CRASH_FULL) {
        return -ENOSPC;
    }
    if (d->fault == CRASH_GONE) {
        return -EIO;
    }
    crash_fail_with_effect(d, r);
    return 0;
}

/* A disk in that state. */
static inline CrashDisk *crash_disk_from(const SimState *state)
{
    CrashDisk *d = g_new0(CrashDisk, 1);

    d->power = sim_power_new(g_test_rand_int());
    d->switches = g_array_new(false, false, sizeof(unsigned));
    sim_power_load(d->power, state);
    d->disk = sim_power_disk(d->power, 0);
    sim_power_set_hook(d->power, crash_hook, d);
    return d;
}

static inline CrashDisk *crash_disk_new(const uint8_t *contents, int64_t length)
{
    g_autoptr(SimPower) power = sim_power_new(0);
    g_autoptr(SimState) state = NULL;

    sim_disk_poke(sim_disk_new(power, NULL, length, &error_abort), 0, contents, length);
    state = sim_power_state(power);
    return crash_disk_from(state);
}

/* The disk as it is now, with nothing to be lost. */
static inline CrashDisk *crash_disk_settled(const CrashDisk *d)
{
    g_autoptr(SimState) state = sim_power_state(d->power);

    return crash_disk_from(state);
}

static inline void crash_disk_free(CrashDisk *d)
{
    sim_power_unref(d->power);
    g_array_free(d->switches, true);
    g_free(d);
}

/* Time now; and a moment later. */
static inline unsigned crash_now(const CrashDisk *d)
{
    return sim_power_now(d->power);
}

static inline unsigned crash_tick(CrashDisk *d)
{
    return sim_power_tick(d->power);
}

/* A disk as it may be found after a power cut at @time. */
static inline CrashDisk *crash_cut(const CrashDisk *d, unsigned time, GRand *r)
{
    g_autoptr(SimCut) cut = sim_cut_new(d->power, time);
    g_autoptr(SimState) state =
        sim_cut_state(cut, (SimChoice){ SIM_KEEP_RANDOM, 0, g_rand_int(r) });

    return crash_disk_from(state);
}

/* Does the qcow2 header say that refcounts are behind? */
static inline bool crash_says_dirty(const CrashDisk *d)
{
    uint8_t header[80];

    sim_disk_peek(d->disk, 0, header, sizeof(header));
    return header[7] >= 3 && (header[79] & 1);
}

/* Opens qcow2 on the disk; @more: further options. NULL with @errp. */
static inline BlockBackend *crash_open_qcow2(CrashDisk *d, const char *more, int flags,
                                             Error **errp)
{
    g_autofree char *options = g_strconcat("driver=qcow2,", more, NULL);

    return sim_disk_open(d->disk, options, flags, errp);
}

#endif
