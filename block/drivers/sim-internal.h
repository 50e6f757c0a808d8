/* SPDX-License-Identifier: MIT */
/*
 * Inside of "sim", shared by sim.c (the driver), sim-power.c (supplies, disks, names),
 * sim-log.c (what happened to the disks), sim-cut.c (what a power cut leaves),
 * sim-fault.c and sim-trace.c.
 *
 * Everything of a supply and its disks is under the supply's lock, but for what never
 * changes. References to supplies and names are under the lock of the names, which comes
 * first where both are held.
 */
#ifndef BLOCK_DRIVERS_SIM_INTERNAL_H
#define BLOCK_DRIVERS_SIM_INTERNAL_H

#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "block/sim.h"
#include "qemu/aio-sim.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qemu/thread.h"

#include "block/drivers/sim-bytes.h"

/* A request that changes a disk, in the log. */
typedef struct SimEvent {
    gint refs; /* atomic: cuts hold events too */
    SimDisk *disk;
    SimOp op;
    int64_t offset, bytes; /* what it does, or would have done; TRUNCATE: the length, 0 */
    uint8_t *data;         /* WRITE */
    uint64_t noise;        /* DISCARD with garbage: the seed of it */
    uint64_t begin, end;   /* time; end 0: in flight */
    uint64_t sync;         /* the time at which it became durable by itself; 0: not */
    bool fua;
    bool failed;           /* a later flush does not make it durable */
    bool nothing;          /* never has an effect */
} SimEvent;

/* What a successful flush has made durable. */
typedef struct SimPoint {
    uint64_t begin, end; /* of the flush */
    uint64_t first;      /* all events of the log before that number are in bytes, or another's */
    SimBytes bytes;      /* the disk when the flush began */
} SimPoint;

typedef struct SimDiskConfig {
    uint32_t sector_size, alignment;
    bool fixed;
    SimDiscard discard;
} SimDiskConfig;

typedef enum SimPace { SIM_PACE_DEFAULT, SIM_PACE_RANGE, SIM_PACE_INSTANT } SimPace;

struct SimDisk {
    SimPower *power; /* not counted: the supply owns the disk */
    char *name;
    unsigned index;  /* in the supply */
    SimDiskConfig config;
    SimPace pace;
    int64_t min_ns, max_ns;
    int64_t slow_offset, slow_bytes, slow_ns; /* a range that takes longer */
    SimBytes live;    /* as requests see it */
    SimBytes initial; /* when the log began */
    GArray *points;   /* of SimPoint, by end and by begin */
    uint64_t first_failed; /* the earliest end of an event that is failed; UINT64_MAX: none */
    SimStats stats;
};

typedef struct SimFaultState {
    SimFault fault;
    unsigned id;
    uint64_t matches, hits;
} SimFaultState;

struct SimPower {
    unsigned refs; /* under the names' lock */
    QemuMutex lock;
    GPtrArray *disks; /* of SimDisk, which it owns */
    uint64_t random;
    bool on;
    unsigned era; /* changes when power is cut, returns, or contents are replaced */
    uint64_t now;
    uint64_t requests; /* ever */
    uint64_t changes;  /* of them those that may change a disk */
    uint64_t cut_at_change;
    int64_t cut_at_ns;

    GPtrArray *log; /* of SimEvent, by begin */
    uint64_t log_first; /* the number of the first */
    uint64_t log_begin; /* the time when it was empty */
    uint64_t log_bytes; /* of data in it */
    bool keep_log;

    GArray *faults; /* of SimFaultState */
    unsigned last_fault_id;
    SimHook *hook;
    void *hook_opaque;
    GString *trace; /* NULL: off */
};

/* A disk of a state. */
typedef struct SimStateDisk {
    SimBytes bytes;
    SimDiskConfig config;
} SimStateDisk;

struct SimState {
    gint refs; /* atomic */
    unsigned n;
    SimStateDisk disks[];
};

/* --- sim-power.c --- */

uint64_t sim_random_below(SimPower *power, uint64_t n);
/* A reference to the supply of the disk of that name as well; NULL with @errp. */
SimDisk *sim_disk_get(const char *name, Error **errp);
/* Until there are @n. Without locks. */
void sim_power_add_disks(SimPower *power, unsigned n);
/* The power goes off. Under the lock. */
void sim_power_cut_locked(SimPower *power);

/* --- sim-log.c; under the lock --- */

/* Forgets what happened; what the disks hold now is durable. */
void sim_log_restart(SimPower *power);
SimEvent *sim_event_ref(SimEvent *e);
void sim_event_unref(SimEvent *e);
/* A new event that begins now; time moves. The log holds it. */
SimEvent *sim_log_begin(SimDisk *disk, SimOp op, int64_t offset, int64_t bytes);
/* It ends now; time moves. A failed one has had its effect all the same unless @e->nothing. */
void sim_log_end(SimEvent *e, int ret);
/* A flush that began with @e, when the disk was @then, has succeeded: takes @then. */
void sim_log_flushed(SimEvent *e, SimBytes *then);
/* A failed one: what of what it should have flushed is nevertheless durable, or lost. */
void sim_log_flush_failed(SimEvent *e, SimEffect effect);
/* The point before @time on which a cut then builds; NULL: @disk->initial. */
const SimPoint *sim_log_base(const SimDisk *disk, uint64_t time);
/* When the last flush that succeeded until @time had begun; 0: none. */
uint64_t sim_log_durable(const SimDisk *disk, uint64_t time);
/* Does the effect of the event, from @keep's sectors only (NULL: all). */
typedef bool SimKeepSector(void *opaque, unsigned i, unsigned n);
void sim_event_apply(const SimEvent *e, SimBytes *to, uint32_t sector_size, SimKeepSector *keep,
                     void *opaque);
unsigned sim_event_sectors(const SimEvent *e, uint32_t sector_size);

/* --- sim-fault.c; under the lock --- */

/* What @r shall return, and in that case its effect. 0: no fault. */
int sim_fault_check(SimPower *power, const SimRequest *r, bool growing, SimEffect *effect);

/* --- sim-trace.c --- */

/* Under the lock. @hash: of the data, 0: there is none. */
void sim_trace_begin(SimPower *power, const SimRequest *r, uint64_t hash);
void sim_trace_end(SimPower *power, const SimRequest *r, int ret, uint64_t hash);
void sim_trace_note(SimPower *power, const char *what);
const char *sim_op_name(SimOp op);
void sim_count(SimDisk *disk, const SimRequest *r);
/* Virtual time, or -1 */
int64_t sim_virtual_ns(void);

#endif
