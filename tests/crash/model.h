/* SPDX-License-Identifier: MIT */
/*
 * What the parts of test-model.c share: an image of random shape on simulated disks, and in RAM what
 * it has to hold. A *life* is one image from its creation to its last check; everything in
 * it follows from one seed.
 */
#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/sim.h"
#include "block/snapshot.h"
#include "qemu/aio-sim.h"

#define MODEL_LAYERS    3 /* the image and the chain below it */
#define MODEL_SNAPSHOTS 4
#define MODEL_BITMAPS   3
#define MODEL_DISK_MAX  (6 << 20) /* bytes */

typedef struct Layer {
    SimDisk *disk, *data; /* data: NULL without an external data file */
    bool raw, v2;
} Layer;

typedef struct ModelSnapshot {
    char name[16];
    int64_t length;
    uint8_t *bytes;
} ModelSnapshot;

/* Of each granule: it is dirty for sure; it may be dirty. */
typedef struct ModelBitmap {
    char name[16];
    int64_t granularity;
    uint64_t since; /* requests with lower numbers began before it was made or cleared */
    bool enabled;
    uint8_t *must, *may;
} ModelBitmap;

typedef struct Model {
    uint64_t seed, rng;
    GString *shape; /* for people */
    char *wrong;    /* NULL: as it should be; atomic while threads run */

    SimPower *power;
    Layer layer[MODEL_LAYERS]; /* 0 is the image */
    unsigned n_layers;
    int64_t cluster, unit, max_length; /* bytes; unit: lengths are multiples of it */
    unsigned refcount_bits;
    bool raw, v2, extended, data_file, data_raw, garbage, instant;
    bool copy_on_read, write_through, unmap; /* as it is open now */

    BlockBackend *blk;
    uint8_t *bytes; /* max_length of them; zeroes behind length */
    int64_t length;
    GPtrArray *snapshots; /* of ModelSnapshot */
    GPtrArray *bitmaps;   /* of ModelBitmap */
    unsigned next_name;
    uint64_t operations, requests;
} Model;

/* Below n, which is not 0. */
static inline uint64_t model_random(Model *m, uint64_t n)
{
    return aio_sim_next_random(&m->rng) % n;
}

static inline bool model_chance(Model *m, unsigned one_in)
{
    return model_random(m, one_in) == 0;
}

/* Snapshots, or compressed clusters in one place, may be too many. */
static inline bool model_refcounts_are_small(const Model *m)
{
    return m->refcount_bits < 16;
}

/* Keeps the first. Any thread. */
void model_wrong(Model *m, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/*
 * Each byte of @buf, read at @offset, is that of @want or that of @or (NULL: of @want). False: it
 * is not, and has been reported as @what.
 */
bool model_compare(Model *m, const char *what, int64_t offset, const uint8_t *buf,
                   const uint8_t *want, const uint8_t *or, int64_t bytes);
/* Bytes that say where they come from; of which some are easily compressed, or zero. */
void model_fill(uint64_t *rng, uint8_t *buf, int64_t bytes);

/* --- model-world.c --- */

/* Describes itself in @shape. @latency: the disks take their time; false: at most a turn of the loop. */
Model *model_new(uint64_t seed, GString *shape, bool latency);
/* The image is closed. */
void model_free(Model *m);
/* Other options each time. */
void model_open(Model *m);
/* Closes it, and checks it unless that takes long and is not its turn. */
void model_close(Model *m, bool check);
/* The image as one that reads a snapshot beside it would open it; NULL: the snapshot is not there. */
BlockBackend *model_open_snapshot(Model *m, const ModelSnapshot *sn);
/* With the system's qemu-img, if there is one: check, and compare with the model. It is closed. */
void model_ask_qemu(Model *m);
/* Moves what the image holds to the layer below, which has to be there. No snapshot exists. */
void model_commit(Model *m);

/* --- model-manage.c: while no request is in flight, unless said otherwise --- */

void model_verify_all(Model *m);
void model_verify_snapshot(Model *m, const ModelSnapshot *sn);
void model_verify_bitmaps(Model *m);
/* Takes @bytes (length of the disk); NULL: what the model holds. */
void model_add_snapshot(Model *m, const char *name, uint8_t *bytes);
void model_delete_snapshot(Model *m, unsigned i);
/* Bitmaps record a request: it begins; it has ended. Any time. */
void model_bitmaps_begin(Model *m, int64_t offset, int64_t bytes);
void model_bitmaps_end(Model *m, uint64_t number, int64_t offset, int64_t bytes);
/* The disk has another length. */
void model_bitmaps_resize(Model *m, int64_t length);
/* A bitmap is made, cleared, removed, stored ...; requests may be in flight if @busy tells of them. */
ModelBitmap *model_change_bitmaps(Model *m);
/* One of all of these things. */
void model_manage(Model *m);

/* --- two kinds of lives: bursts of requests, management between them and among them --- */

/* In a simulated context, up to 16 requests in flight (model-simulated.c). */
void model_simulated(Model *m, unsigned bursts);
/* By several threads, without simulation (model-threads.c). */
void model_threads(Model *m, unsigned bursts);

#endif
