/* SPDX-License-Identifier: MIT */
/*
 * "sim": disks in memory for tests, with a volatile write cache, power cuts, faults, latency
 * and a trace. Everything random comes from a seed.
 *
 *     SimPower *power = sim_power_new(seed);
 *     SimDisk *disk = sim_disk_new(power, NULL, 0, NULL);
 *     sim_disk_create(disk, "qcow2", "size=1M", NULL, &error_abort);
 *     BlockBackend *blk = sim_disk_open(disk, "driver=qcow2", BDRV_O_RDWR, &error_abort);
 *     ... requests ...
 *     blk_unref(blk);
 *     for (uint64_t t = 0; t <= sim_power_now(power); t++) {
 *         SimCut *cut = sim_cut_new(power, t);
 *         for (unsigned i = 0; i < sim_cut_n_choices(cut); i++) {
 *             SimState *state = sim_cut_state(cut, sim_cut_choice(cut, i));
 *             sim_power_load(other, state);
 *             ... open and examine the disks of "other" ...
 *
 * A *power supply* has disks. They lose power at the same instant, and share a clock, a log
 * of all that was written, faults, random numbers and a trace. In options a disk is
 * "driver=sim,disk=NAME", as a file name "sim:NAME"; "driver=sim,size=1G,seed=5" is a new
 * disk with a supply of its own, gone when it is closed.
 *
 * *Time* is a counter: it moves by one when a request that may change the disk (a write,
 * zeroes, a discard, a change of length, a flush) begins, by one when it ends, and at
 * sim_power_tick(). A cut at time T comes behind what has happened at T.
 *
 * *The cache.* A request takes effect when it ends. A flush that succeeds makes durable what
 * had ended before the flush began, on its disk; a FUA write makes durable itself. Of the
 * rest (what was in flight at the cut as well) any sectors may be on the disk after a power
 * cut, the others have their former contents, and a change of length has happened or not.
 *
 * Any thread may send requests and call these functions, except where it is said; but only
 * one thread gives the same trace again. See qemu/aio-sim.h for virtual time.
 */
#ifndef BLOCK_SIM_H
#define BLOCK_SIM_H

#include "block/block-backend.h"
#include "block/block-common.h"
#include "block/block-options.h"
#include "qapi/error.h"

typedef struct SimPower SimPower;
typedef struct SimDisk SimDisk;
typedef struct SimCut SimCut;
typedef struct SimState SimState;

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/* --- power supplies and disks --- */

/* A supply that is on, without disks. One reference. */
SimPower *sim_power_new(uint64_t seed);
/*
 * An open node holds a reference to its disk's supply. With the last one the disks go, and
 * their names. NULL is fine for unref.
 */
SimPower *sim_power_ref(SimPower *power);
void sim_power_unref(SimPower *power);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimPower, sim_power_unref)

/*
 * A new disk of zeroes; it belongs to @power. @name: how options call it, unique in the
 * program; NULL makes one up. @size in bytes; it grows like a file unless
 * sim_disk_set_fixed(). NULL with @errp: the name is taken, or the size out of range.
 */
SimDisk *sim_disk_new(SimPower *power, const char *name, int64_t size, Error **errp);
/* The disk of that name, or NULL; its supply's owner must keep it alive meanwhile. */
SimDisk *sim_disk_find(const char *name);
const char *sim_disk_name(const SimDisk *disk);
SimPower *sim_disk_power(const SimDisk *disk);
unsigned sim_power_n_disks(SimPower *power);
/* In the order in which they were made. */
SimDisk *sim_power_disk(SimPower *power, unsigned i);

/*
 * The unit that a power cut keeps or loses as a whole; 512 unless set. A power of two from
 * 512 to 65536. Before the first request. (A request may have any length; see
 * sim_disk_set_alignment.)
 */
void sim_disk_set_sector_size(SimDisk *disk, uint32_t bytes);
/* The request_alignment of nodes that are opened from now on; 1 unless set. */
void sim_disk_set_alignment(SimDisk *disk, uint32_t bytes);
/* A device: its length never changes. */
void sim_disk_set_fixed(SimDisk *disk, bool fixed);
/* What is read where something was discarded; zeroes unless set. */
typedef enum SimDiscard {
    SIM_DISCARD_ZEROES,
    SIM_DISCARD_KEEP,    /* nothing happens */
    SIM_DISCARD_GARBAGE, /* each sector: old data, zeroes or noise, by the seed */
} SimDiscard;
void sim_disk_set_discard(SimDisk *disk, SimDiscard discard);

/*
 * How long each request takes: from @min_ns to @max_ns, by the seed. In virtual time if the
 * context is simulated, really otherwise. Requests end in the order of their times. Unless
 * set: 1 to 100 us in a simulated context, one turn of the loop otherwise.
 */
void sim_disk_set_latency(SimDisk *disk, int64_t min_ns, int64_t max_ns);
/* Those that touch [@offset, +@bytes) take @ns longer. @bytes 0: none do. */
void sim_disk_set_slow_range(SimDisk *disk, int64_t offset, int64_t bytes, int64_t ns);
/* Requests end at once, without a yield. The quickest; nothing is ever in flight. */
void sim_disk_set_instant(SimDisk *disk);

/* --- what is on them, without requests --- */

int64_t sim_disk_length(SimDisk *disk);
/*
 * Reads what a request would see; writes what was always there: it is durable, not in the
 * log, and no fault applies. Not while requests are in flight. Behind the end a read finds
 * zeroes, and a write makes the disk longer.
 */
void sim_disk_peek(SimDisk *disk, int64_t offset, void *buf, size_t bytes);
void sim_disk_poke(SimDisk *disk, int64_t offset, const void *buf, size_t bytes);
/* Hash of length and contents, as in sim_state_hash(). */
uint64_t sim_disk_hash(SimDisk *disk);
/* Bytes of memory that the contents take. */
int64_t sim_disk_allocated(SimDisk *disk);
/*
 * Copy to a (sparse) file, and from one: that replaces contents and length, all of it durable,
 * and the log of the supply begins anew. 0 or -errno with @errp. Both block.
 */
int sim_disk_export(SimDisk *disk, const char *filename, Error **errp);
int sim_disk_import(SimDisk *disk, const char *filename, Error **errp);

/* --- opening --- */

/*
 * bdrv_create() on the disk. @format NULL is raw; @options "key=value,..." or NULL. Main or
 * home thread, outside of coroutines. 0 or -errno with @errp.
 */
int sim_disk_create(SimDisk *disk, const char *format, const char *options, Error **errp);
/*
 * blk_new_open() with the disk below. @options such as "driver=qcow2,backing.driver=raw,
 * backing.file.driver=sim,backing.file.disk=base"; "file.driver" and "file.disk" are set
 * here unless there. NULL: the plain disk, without a format. NULL with @errp.
 */
BlockBackend *sim_disk_open(SimDisk *disk, const char *options, int flags, Error **errp);

/* --- time --- */

/* Time now. */
uint64_t sim_power_now(SimPower *power);
/* Moves it by one, for events of the test's own; the new time. */
uint64_t sim_power_tick(SimPower *power);

/* --- power cuts while it runs --- */

/*
 * The choice of what survives of the requests that were not durable at a cut: see
 * sim_cut_choice(). @request is a number below sim_cut_n_pending().
 */
typedef enum SimKeep {
    SIM_KEEP_NONE,
    SIM_KEEP_ALL,
    SIM_LOSE_ONE,    /* all but @request */
    SIM_KEEP_ONE,    /* only @request */
    SIM_KEEP_PREFIX, /* those before @request */
    SIM_KEEP_SUFFIX, /* @request and those behind */
    SIM_TEAR_FRONT,  /* all; of @request only the first half of its sectors */
    SIM_TEAR_BACK,   /* all; of @request only the second half */
    SIM_TEAR_LAST,   /* those before @request, and the first half of its sectors */
    SIM_TEAR_ODD,    /* all; of @request only each second sector, from the first on */
    SIM_TEAR_ALONE,  /* nothing but the first half of @request's sectors */
    SIM_TEAR_ALONE_BACK, /* nothing but the second half */
    SIM_KEEP_RANDOM, /* from @seed: which requests, and which sectors of some of them */
} SimKeep;

typedef struct SimChoice {
    SimKeep keep;
    unsigned request;
    uint64_t seed;
} SimChoice;

/* "lose-one:3", "random:0x1234"; to be freed with g_free(). */
char *sim_choice_to_string(SimChoice choice);
/* The reverse; false with @errp. */
bool sim_choice_parse(const char *text, SimChoice *choice, Error **errp);

/*
 * Cuts the power now. What is in flight, and every request from now on, fails with -EIO.
 * Nothing happens if it is off.
 */
void sim_power_cut(SimPower *power);
/*
 * The same by itself: right when the request with that number begins (1 is the first write,
 * zero write, discard, change of length or flush from now on), before it does anything; or,
 * in a simulated context, at the first request at or behind that virtual time. 0: never.
 */
void sim_power_cut_at_request(SimPower *power, uint64_t number);
void sim_power_cut_at_ns(SimPower *power, int64_t virtual_ns);
bool sim_power_is_on(SimPower *power);
/*
 * Power returns: the disks have what survived by @choice, all of it durable; time goes on, the
 * log begins anew, planned cuts are gone; faults stay. What there was to choose from: sim_cut_new(power, sim_power_now(power)).
 * Close the nodes before: what they believe of the disk is not so any more. If power is on,
 * it is cut first.
 */
void sim_power_on(SimPower *power, SimChoice choice);

/* --- power cuts in the log --- */

/*
 * Whether all that happens is kept, for cuts at any time; it is unless set. Without it a cut
 * can only be made now, the log holds what is not durable, and if that is more than 32 MiB
 * the disks write it out by themselves. For long runs.
 */
void sim_power_set_log(SimPower *power, bool keep);

/*
 * A cut at @time, which is since the last sim_power_on(), sim_power_load() or the beginning
 * and not after now. Independent of what happens to @power later. Free with sim_cut_free().
 */
SimCut *sim_cut_new(SimPower *power, uint64_t time);
void sim_cut_free(SimCut *cut);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimCut, sim_cut_free)
/* How many requests may have survived or not: those that took effect first come first. */
unsigned sim_cut_n_pending(const SimCut *cut);
/* One line about it, such as "disk x write 65536+512, in flight"; free with g_free(). */
char *sim_cut_describe(const SimCut *cut, unsigned request);
/* The systematic choices: nothing but SIM_KEEP_RANDOM is missing, none is there twice. */
unsigned sim_cut_n_choices(const SimCut *cut);
SimChoice sim_cut_choice(const SimCut *cut, unsigned i);
/* The disks as they are found after the cut. Cheap: what did not change is shared. */
SimState *sim_cut_state(const SimCut *cut, SimChoice choice);

/* --- states: contents of all disks of a supply --- */

/* As requests see it now. */
SimState *sim_power_state(SimPower *power);
SimState *sim_state_ref(SimState *state);
/* NULL is fine. */
void sim_state_unref(SimState *state);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimState, sim_state_unref)
/* Equal for equal contents and lengths; different contents share one by chance of 2^-64. */
uint64_t sim_state_hash(const SimState *state);
/*
 * @power's disks, by their numbers, get these contents, all durable; disks that are missing
 * are made. Power is on, the log begins anew at time 0, faults and what was planned are gone. No
 * request is in flight; nodes should be closed.
 */
void sim_power_load(SimPower *power, const SimState *state);

/* --- faults --- */

typedef enum SimOp {
    SIM_READ = 0x01,
    SIM_WRITE = 0x02,
    SIM_ZERO = 0x04,
    SIM_DISCARD = 0x08,
    SIM_FLUSH = 0x10,
    SIM_TRUNCATE = 0x20,
    SIM_STATUS = 0x40,  /* block status */
    SIM_OP_CHANGE = SIM_WRITE | SIM_ZERO | SIM_DISCARD | SIM_FLUSH | SIM_TRUNCATE,
    SIM_OP_ALL = 0x7f,
} SimOp;

/* What a request that fails has done. */
typedef enum SimEffect {
    SIM_EFFECT_NONE,
    SIM_EFFECT_HALF, /* the first half of its sectors; of a flush: some of the requests */
    SIM_EFFECT_ALL,
    /*
     * Of a flush: what it should have made durable never will be, also by later flushes
     * that succeed, as with Linux's page cache. Of others: as ALL.
     */
    SIM_EFFECT_LOST,
} SimEffect;

/* Zeroed members mean the ordinary. Effects of failed requests are never durable by a flush. */
typedef struct SimFault {
    SimDisk *disk;     /* NULL: all disks of the supply */
    unsigned ops;      /* SIM_* bits; 0: all kinds */
    int64_t offset;    /* only requests that touch [@offset, +@bytes), */
    int64_t bytes;     /* if @bytes is not 0 (flushes touch nothing) */
    bool growing;      /* only requests that would make the disk longer */
    uint64_t nth;      /* the first request that fails, of those that match; 0 is 1: the next */
    uint64_t count;    /* how many fail; 0: one; SIM_FOREVER */
    uint32_t ppm;      /* each of these fails by chance only, in millionths; 0: surely */
    int error;         /* errno, positive; 0: EIO */
    SimEffect effect;
} SimFault;

#define SIM_FOREVER UINT64_MAX

/*
 * Adds a fault; the number to remove it by. Of several that match, the first one that was
 * added decides, and all count.
 */
unsigned sim_power_add_fault(SimPower *power, const SimFault *fault);
void sim_power_remove_fault(SimPower *power, unsigned id);
void sim_power_clear_faults(SimPower *power);
/* Requests that this fault failed so far; those that matched. */
uint64_t sim_power_fault_hits(SimPower *power, unsigned id);
uint64_t sim_power_fault_matches(SimPower *power, unsigned id);
/*
 * Adds faults from text: items with ';' between them,
 *
 *     OPS[@OFFSET+BYTES][#NTH[xCOUNT]][%PPM]=ERROR[/EFFECT]
 *
 * OPS: any, change, or names with '|' between them (read, write, zero, discard, flush, truncate,
 * status; growing restricts it); COUNT * is for ever; ERROR a name (EIO, ENOSPC, EAGAIN,
 * ...); EFFECT none, half, all or lost. "write#3=EIO/half;flush#1x*=EIO;growing#1x*=ENOSPC". @disk:
 * NULL for all. False with @errp: nothing was added.
 */
bool sim_power_script_faults(SimPower *power, SimDisk *disk, const char *text, Error **errp);

/* --- watching --- */

typedef struct SimRequest {
    SimDisk *disk;
    SimOp op;
    int64_t offset, bytes; /* TRUNCATE: the new length, 0 */
    unsigned flags;        /* BDRV_REQ_* */
    uint64_t number;       /* of all requests of the supply, from 1 on */
    uint64_t time;         /* at its beginning (reads and status: now) */
} SimRequest;

/*
 * Called when a request begins, before faults are looked at, without locks, in its coroutine;
 * must not yield. Returns 0, or -errno with which the request fails without effect. NULL: none.
 * Set while nothing is in flight.
 */
typedef int SimHook(void *opaque, const SimRequest *request);
void sim_power_set_hook(SimPower *power, SimHook *hook, void *opaque);

typedef struct SimStats {
    uint64_t requests; /* all, */
    uint64_t reads, writes, zeroes, discards, flushes, truncates, statuses; /* by kind */
    uint64_t fua;      /* of the writes and zeroes */
    uint64_t read_bytes, written_bytes;
    uint64_t failed;
} SimStats;

/* Of one disk; or of all. */
void sim_disk_get_stats(SimDisk *disk, SimStats *stats);
void sim_power_get_stats(SimPower *power, SimStats *stats);

/*
 * One line for each request when it begins and when it ends, with the virtual time (without
 * a simulated context: "-"), its number, and a hash of what was written or read. Off unless
 * set; setting it empties the trace.
 */
void sim_power_set_trace(SimPower *power, bool on);
/* What there is so far; free with g_free(). */
char *sim_power_get_trace(SimPower *power);

G_END_DECLS
#pragma GCC visibility pop

#endif
