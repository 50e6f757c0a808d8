/* SPDX-License-Identifier: MIT */
/*
 * A guest of a qcow2 image on simulated disks, and what it knows of it.
 *
 * A *world* is an image of some shape with the disks below it. It goes through *steps*: one
 * request, one operation on the whole image, or a batch of requests in flight together. After
 * each step there is a *version*: what the disk, its snapshots and its bitmaps hold. After a power
 * cut between the end of the last step that made things durable and the end of the one under way,
 * each sector has its value of one of the versions between them.
 *
 * A sector is filled with words of a value and the sector's number, so one that is found at
 * a wrong place is told from one that is old. Value 0 is zeroes, 1 the backing file's contents.
 */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include "qemu/osdep.h"
#include "block/block-image.h"
#include "block/sim.h"
#include "qemu/aio-sim.h"

#define SECTOR      512
#define MAX_SECTORS 1024
#define MAX_SNAPS   4
#define MAX_BATCH   4
#define WORLD_BITMAPS 2

typedef struct Shape {
    const char *name, *create, *open;
    uint32_t cluster;  /* bytes */
    unsigned clusters; /* of the disk, at first */
    bool backing;      /* a raw disk as long as the image is at first */
    bool data_file;
    bool v2;
} Shape;

extern const Shape shapes[];
extern const unsigned n_shapes;

typedef enum StepKind {
    STEP_WRITE,        /* over a cluster's boundary */
    STEP_WRITE_ONE,    /* one sector: allocates, with the rest from below */
    STEP_COMPRESSED,
    STEP_ZERO,
    STEP_DISCARD,
    STEP_FLUSH,
    STEP_GROW,
    STEP_SHRINK,
    STEP_SNAPSHOT,
    STEP_APPLY,        /* the first snapshot */
    STEP_DELETE,       /* the first snapshot */
    STEP_COMMIT,       /* and empty the image */
    STEP_BITMAP_ADD,   /* a persistent one, stored */
    STEP_BITMAP_TOGGLE, /* enable or disable the first */
    STEP_BITMAP_CLEAR,
    STEP_BITMAP_MERGE, /* the first one into the other, stored */
    STEP_BITMAP_REMOVE,
    STEP_KINDS
} StepKind;

extern const char *const step_names[STEP_KINDS];

typedef struct Request {
    StepKind kind;         /* up to STEP_FLUSH */
    unsigned first, count; /* sectors */
    uint16_t value;
    bool unmap;
} Request;

typedef struct Contents {
    unsigned sectors;
    uint16_t values[MAX_SECTORS];
} Contents;

typedef struct KnownSnapshot {
    char name[16];
    const Contents *contents; /* NULL: what it shows is not known */
} KnownSnapshot;

/* A bitmap of the image. What @must holds is dirty; and so are enabled ones' later changes. */
typedef struct KnownBitmap {
    bool there, enabled;
    bool vague; /* it may hold anything */
    uint8_t must[MAX_SECTORS];
} KnownBitmap;

typedef struct Version {
    Contents now;
    unsigned n_snaps;
    KnownSnapshot snaps[MAX_SNAPS];
    KnownBitmap bitmaps[WORLD_BITMAPS];
} Version;

/* A step that was taken. */
typedef struct Event {
    StepKind kind;
    uint64_t begin, end; /* of the disks' time */
    bool durable;        /* all before it, and itself */
    int ret;
} Event;

typedef struct World {
    const Shape *shape;
    uint64_t random; /* state of the generator */
    SimPower *power;
    BlockBackend *blk;
    GPtrArray *versions; /* of Version; one more than events */
    GArray *events;      /* of Event */
    GPtrArray *contents; /* of Contents, of snapshots */
    uint16_t next_value;
    unsigned next_snapshot;
    bool faulty;         /* steps may fail */
    bool discarded[MAX_SECTORS]; /* by the last request for it; with faults nobody looked at it */
    unsigned failed;     /* steps that did */
    char *wrong;         /* what was found, or NULL */
} World;

#define STARTS 3
/* @start 0: an empty image; 1: one with data and a snapshot; 2: and a bitmap. Opened. */
World *world_new(const Shape *shape, unsigned start, uint64_t seed);
void world_free(World *w);
/* Opens the image on the disks of @power; NULL with @errp. */
BlockBackend *world_open(const Shape *shape, SimPower *power, int flags, Error **errp);
void world_close(World *w);

/* A step as the systematic tests take it. False: there is nothing to do it with. */
bool world_step(World *w, StepKind kind);
/* A random one, or a batch of requests. */
void world_random_step(World *w);

/* Checks that the image now reads as the last version says. */
bool world_verify_live(World *w);

static inline const Event *world_event(const World *w, unsigned i)
{
    return &g_array_index(w->events, Event, i);
}
static inline Version *world_version(const World *w, unsigned i)
{
    return g_ptr_array_index(w->versions, i);
}
static inline Version *world_last(const World *w)
{
    return world_version(w, w->versions->len - 1);
}

/* The versions from which a disk that was cut at @time may have its contents: @*lo to @*hi. */
void world_range(const World *w, uint64_t time, unsigned *lo, unsigned *hi);

/* Notes what is wrong, unless something is already. */
void world_wrong(World *w, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* --- sectors --- */

void sector_fill(uint8_t *buf, unsigned first, unsigned count, uint16_t value);
/* The value of a sector, or -1: garbage, or another sector's. */
int sector_value(const uint8_t *p, unsigned sector);

/* --- examine.c: what is left after a cut, or after faults --- */

typedef struct Examiner {
    SimPower *power;      /* where states are loaded */
    GHashTable *seen;     /* of content and expectation */
    GHashTable *contents; /* of content alone */
    uint64_t states, distinct, checked, by_qemu;
    unsigned qemu_every;  /* distinct states; 0: never */
    char *dir;            /* for qemu-img */
    uint8_t *buf;
} Examiner;

Examiner *examiner_new(unsigned qemu_every);
void examiner_free(Examiner *x);
/*
 * Opens, checks, reads and repairs the state of the disks. NULL: all is well, or it was seen before; otherwise
 * what is wrong, to be freed.
 */
char *examiner_check(Examiner *x, const World *w, const SimState *state, unsigned lo,
                     unsigned hi);

#endif
