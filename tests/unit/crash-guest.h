/* SPDX-License-Identifier: MIT */
/*
 * A guest of a disk that may fail (crash-sim.h): random requests, some at the same time, and
 * what may be read afterwards. Each sector is filled with one byte, and for each the guest
 * knows all values that it may have by now: what was last written and flushed, and
 * everything that was tried since. Requests for the same sector are never under way together.
 */
#ifndef TESTS_CRASH_GUEST_H
#define TESTS_CRASH_GUEST_H

#include "crash-sim.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "qemu/aio-sim.h"
#include "qemu/main-loop.h"

#define GUEST_MAX    (3 << 20) /* bytes: the disk after it has grown */
#define GUEST_DEPTH  4
#define GUEST_SECTORS (GUEST_MAX / CRASH_SECTOR)

typedef struct GuestVariant {
    const char *name, *create, *open;
    int64_t size;
    uint32_t cluster;
    bool prealloc; /* growth allocates metadata */
} GuestVariant;

static const GuestVariant guest_variants[] = {
    { "default", "cluster_size=64k", "l2-cache-entry-size=512", 1 << 20, 65536, false },
    /* The refcount table grows: a cluster of it is enough for 2 MiB. */
    { "clusters-512-refcount-64", "cluster_size=512,refcount_bits=64",
      "l2-cache-size=4096,l2-cache-entry-size=512,refcount-cache-size=2048", 512 << 10, 512, true },
    { "clusters-4k-refcount-1", "cluster_size=4k,refcount_bits=1", "l2-cache-entry-size=512",
      1 << 20, 4096, false },
    { "v2", "cluster_size=1k,compat=0.10", "l2-cache-size=4096,l2-cache-entry-size=512", 512 << 10,
      1024, false },
    { "extended", "cluster_size=16k,extended_l2=on", "l2-cache-entry-size=512", 1 << 20, 16384,
      true },
    { "lazy-refcounts", "cluster_size=4k,lazy_refcounts=on", "l2-cache-entry-size=512", 1 << 20,
      4096, false },
    /* Refcount blocks leave the cache when they like, and the refcount table grows. */
    { "lazy-refcounts-512", "cluster_size=512,refcount_bits=64,lazy_refcounts=on",
      "l2-cache-size=4096,l2-cache-entry-size=512,refcount-cache-size=2048", 512 << 10, 512, true },
};

typedef enum GuestKind {
    GUEST_WRITE, GUEST_COMPRESSED, GUEST_ZERO, GUEST_DISCARD, GUEST_GROW, GUEST_SHRINK, GUEST_FLUSH
} GuestKind;

typedef struct GuestEvent {
    GuestKind kind;
    unsigned begin, end; /* the disk's time; end 0: not successful (yet) */
    unsigned first, count; /* sectors; GROW, SHRINK: count is the new size */
    uint8_t value;
} GuestEvent;

struct Guest;

typedef struct GuestFlight {
    struct Guest *g;
    bool busy;
    guint event;
    uint8_t *buf;
    QEMUIOVector qiov;
} GuestFlight;

typedef struct Guest {
    const GuestVariant *v;
    CrashDisk *disk;
    BlockBackend *blk;
    AioSim *sim;
    GRand *r;
    GArray *history; /* of GuestEvent */
    GuestFlight flights[GUEST_DEPTH];
    unsigned sectors; /* now */
    unsigned zeroed;  /* the first sector of the last zeroes */
    uint8_t next_value;
} Guest;

/* The image that all runs of a variant begin with. */
static inline void guest_create(const GuestVariant *v, char **image, gsize *length)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *size = g_strdup_printf("%" PRId64, v->size);
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-qcow2-crash-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    blk_options_parse(o, v->create, NULL, &error_abort);
    blk_options_set(o, "size", size);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    g_assert_true(g_file_get_contents(path, image, length, NULL));
    g_unlink(path);
}

/* From here to guest_destroy() the main loop is simulated: all that happens is the seed's. */
static inline void guest_init(Guest *g, const GuestVariant *v, CrashDisk *disk, uint32_t seed)
{
    *g = (Guest){ .v = v, .disk = disk, .r = g_rand_new_with_seed(seed),
                  .history = g_array_new(false, false, sizeof(GuestEvent)),
                  .sectors = v->size / CRASH_SECTOR };
    for (int i = 0; i < GUEST_DEPTH; i++) {
        g->flights[i].g = g;
    }
    g->sim = aio_sim_begin(qemu_get_aio_context(), seed);
}

static inline void guest_destroy(Guest *g)
{
    aio_sim_end(g->sim);
    g_rand_free(g->r);
    g_array_free(g->history, true);
}

/* --- requests --- */

static inline guint guest_begin(Guest *g, GuestKind kind, unsigned first, unsigned count)
{
    GuestEvent e = { kind, crash_tick(g->disk), 0, first, count, 0 };

    if (kind == GUEST_WRITE || kind == GUEST_COMPRESSED) {
        e.value = ++g->next_value ? g->next_value : ++g->next_value;
    }
    g_array_append_val(g->history, e);
    return g->history->len - 1;
}

static inline void guest_end(Guest *g, guint event, int ret)
{
    unsigned now = crash_tick(g->disk);

    g_array_index(g->history, GuestEvent, event).end = ret < 0 ? 0 : now;
}

static inline void guest_landed(void *opaque, int ret)
{
    GuestFlight *f = opaque;

    guest_end(f->g, f->event, ret);
    g_clear_pointer(&f->buf, g_free);
    f->busy = false;
}

static inline void guest_wait(GuestFlight *f)
{
    while (f->busy) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static inline void guest_wait_all(Guest *g)
{
    for (int i = 0; i < GUEST_DEPTH; i++) {
        guest_wait(&g->flights[i]);
    }
}

/* Waits until no request for these sectors is under way; a flight that is free. */
static inline GuestFlight *guest_flight(Guest *g, unsigned first, unsigned count)
{
    for (int i = 0; i < GUEST_DEPTH; i++) {
        GuestFlight *f = &g->flights[i];

        if (f->busy) {
            const GuestEvent *e = &g_array_index(g->history, GuestEvent, f->event);

            if (e->first < first + count && first < e->first + e->count) {
                guest_wait(f);
            }
        }
    }
    for (int i = 0; i < GUEST_DEPTH; i++) {
        if (!g->flights[i].busy) {
            return &g->flights[i];
        }
    }
    guest_wait(&g->flights[0]);
    return &g->flights[0];
}

static inline void guest_start(Guest *g, GuestKind kind, unsigned first, unsigned count)
{
    GuestFlight *f = guest_flight(g, first, count);
    int64_t offset = (int64_t)first * CRASH_SECTOR, bytes = (int64_t)count * CRASH_SECTOR;

    f->busy = true;
    f->event = guest_begin(g, kind, first, count);
    switch (kind) {
    case GUEST_WRITE:
    case GUEST_COMPRESSED:
        f->buf = g_malloc(bytes);
        memset(f->buf, g_array_index(g->history, GuestEvent, f->event).value, bytes);
        qemu_iovec_init_buf(&f->qiov, f->buf, bytes);
        blk_aio_pwritev(g->blk, offset, &f->qiov,
                        kind == GUEST_COMPRESSED ? BDRV_REQ_WRITE_COMPRESSED : 0, guest_landed, f);
        break;
    case GUEST_ZERO:
        blk_aio_pwrite_zeroes(g->blk, offset, bytes,
                              g_rand_boolean(g->r) ? BDRV_REQ_MAY_UNMAP : 0, guest_landed, f);
        break;
    case GUEST_DISCARD:
        blk_aio_pdiscard(g->blk, offset, bytes, guest_landed, f);
        break;
    default:
        blk_aio_flush(g->blk, guest_landed, f);
        break;
    }
}

static inline void guest_compressed(Guest *g)
{
    unsigned per = g->v->cluster / CRASH_SECTOR;

    guest_start(g, GUEST_COMPRESSED, g_rand_int_range(g->r, 0, g->sectors / per) * per, per);
}

static inline void guest_resize(Guest *g, unsigned sectors)
{
    GuestKind kind = sectors < g->sectors ? GUEST_SHRINK : GUEST_GROW;
    bool prealloc = kind == GUEST_GROW && g->v->prealloc;
    guint e;
    int ret;

    guest_wait_all(g);
    e = guest_begin(g, kind, 0, sectors);
    ret = blk_truncate(g->blk, (int64_t)sectors * CRASH_SECTOR, false,
                       prealloc ? PREALLOC_MODE_METADATA : PREALLOC_MODE_OFF, 0, NULL);
    guest_end(g, e, ret);
    g->sectors = ret < 0 ? g->sectors : sectors;
    g->zeroed = g->zeroed < g->sectors ? g->zeroed : 0;
}

static inline void guest_grow(Guest *g)
{
    guest_resize(g, g->v->prealloc ? GUEST_SECTORS
                                   : MIN(g->sectors + g->sectors / 2, (unsigned)GUEST_SECTORS));
}

static inline void guest_shrink(Guest *g)
{
    guest_resize(g, g_rand_int_range(g->r, g->sectors / 3, g->sectors));
}

static inline void guest_step(Guest *g)
{
    unsigned most = MIN(2 * g->v->cluster / CRASH_SECTOR, 64U);
    unsigned count = 1 + g_rand_int_range(g->r, 0, g_rand_boolean(g->r) ? 4 : most);
    unsigned first = g_rand_int_range(g->r, 0, g->sectors - count + 1), per;

    switch (g_rand_int_range(g->r, 0, 20)) {
    case 0: case 1:
        guest_start(g, GUEST_FLUSH, 0, 0);
        break;
    case 2: case 3:
        guest_compressed(g);
        break;
    case 4:
        guest_start(g, GUEST_ZERO, first, count);
        break;
    case 5: case 6: case 7: case 8:
        per = g->v->cluster / CRASH_SECTOR;
        first = ROUND_DOWN(first, per);
        count = MIN(ROUND_UP(count, per) + per, g->sectors - first);
        g->zeroed = first;
        guest_start(g, g_rand_boolean(g->r) ? GUEST_DISCARD : GUEST_ZERO, first, count);
        break;
    case 9: case 10:
        /* A part of a cluster that reads as zeroes, and may hold something else. */
        guest_start(g, GUEST_WRITE, g->zeroed, 1);
        break;
    default:
        guest_start(g, GUEST_WRITE, first, count);
        break;
    }
}

/* Opening may fail when a fault comes early: false. Does not close. */
static inline bool guest_run(Guest *g, int steps)
{
    g->blk = crash_open_qcow2(g->disk, g->v->open, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP,
                              NULL);
    if (!g->blk) {
        return false;
    }
    for (int i = 0; i < steps; i++) {
        if (i == steps / 2 || i == steps - steps / 8) {
            guest_grow(g);
        } else if (i == steps / 3 || i == steps - steps / 4) {
            guest_shrink(g);
        }
        guest_step(g);
    }
    guest_wait_all(g);
    return true;
}

/* --- what may be read --- */

#define GUEST_ALL UINT_MAX

/*
 * The values that each sector may have after a power cut at @time, a set of 256 bits for each,
 * and the size that the disk has at least. @time GUEST_ALL: nothing was cut, and
 * what ended well counts whether it was flushed or not.
 */
static inline void guest_possible(const Guest *g, unsigned time, uint32_t (*set)[8],
                                  unsigned *sectors)
{
    unsigned durable = time == GUEST_ALL ? GUEST_ALL : 0;

    *sectors = g->v->size / CRASH_SECTOR;
    for (guint i = 0; i < g->history->len; i++) {
        const GuestEvent *e = &g_array_index(g->history, GuestEvent, i);

        if (e->kind == GUEST_FLUSH && e->end && e->end <= time) {
            durable = MAX(durable, e->begin);
        }
    }
    memset(set, 0, GUEST_SECTORS * sizeof(*set));
    for (unsigned s = 0; s < GUEST_SECTORS; s++) {
        set[s][0] = 1;
    }
    for (guint i = 0; i < g->history->len; i++) {
        const GuestEvent *e = &g_array_index(g->history, GuestEvent, i);
        bool firm = e->end && e->end <= durable;

        if (e->begin > time || e->kind == GUEST_FLUSH) {
            continue;
        }
        if (e->kind == GUEST_GROW) {
            *sectors = firm ? e->count : *sectors;
            continue;
        }
        if (e->kind == GUEST_SHRINK) {
            *sectors = firm ? e->count : MIN(*sectors, e->count);
        }
        for (unsigned s = e->kind == GUEST_SHRINK ? e->count : GUEST_SECTORS; s < GUEST_SECTORS;
             s++) {
            if (firm) {
                memset(set[s], 0, sizeof(*set));
            }
            set[s][0] |= 1;
        }
        for (unsigned s = e->first; e->kind != GUEST_SHRINK && s < e->first + e->count;
             s++) {
            if (firm && e->kind != GUEST_DISCARD) {
                memset(set[s], 0, sizeof(*set));
            }
            set[s][e->value / 32] |= 1U << e->value % 32;
        }
    }
}

static inline void guest_compare(const Guest *g, BlockBackend *blk, unsigned time)
{
    static uint32_t set[GUEST_SECTORS][8];
    g_autofree uint8_t *buf = g_malloc(GUEST_MAX);
    int64_t length = blk_getlength(blk);
    unsigned sectors;

    guest_possible(g, time, set, &sectors);
    g_assert_cmpint(length, >=, (int64_t)sectors * CRASH_SECTOR);
    g_assert_cmpint(length, <=, GUEST_MAX);
    g_assert_cmpint(blk_pread(blk, 0, length, buf, 0), ==, 0);
    for (unsigned s = 0; s < length / CRASH_SECTOR; s++) {
        const uint8_t *p = buf + (size_t)s * CRASH_SECTOR;

        for (int i = 1; i < CRASH_SECTOR; i++) {
            if (p[i] != p[0]) {
                g_error("sector %u, byte %d: 0x%02x behind 0x%02x", s, i, p[i], p[0]);
            }
        }
        if (!(set[s][p[0] / 32] >> p[0] % 32 & 1)) {
            g_error("sector %u: 0x%02x was not written there, or not last", s, p[0]);
        }
    }
}

/* --- what is left --- */

static inline void guest_check(const Guest *g, CrashDisk *d, BdrvCheckMode fix)
{
    BlockBackend *blk = crash_open_qcow2(d, g->v->open, BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0),
                                         &error_abort);
    BdrvCheckResult r;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, fix), ==, 0);
    if (r.corruptions || r.check_errors || (fix && r.leaks)) {
        g_error("%d corruptions, %d errors", r.corruptions, r.check_errors);
    }
    blk_unref(blk);
}

/* The image is whole, holds what it has to, and can be written to again. */
static inline void guest_examine(const Guest *g, CrashDisk *d, unsigned time)
{
    uint8_t buf[4 * CRASH_SECTOR];
    BlockBackend *blk;
    int64_t length;

    /* If its refcounts are behind, whoever opens it for writing repairs it first. */
    if (!crash_says_dirty(d)) {
        guest_check(g, d, 0);
    }
    blk = crash_open_qcow2(d, g->v->open, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    guest_compare(g, blk, time);
    length = blk_getlength(blk);
    for (int i = 0; i < 6; i++) {
        int64_t offset = length / 6 * i / CRASH_SECTOR * CRASH_SECTOR;

        memset(buf, 0xe0 + i, sizeof(buf));
        g_assert_cmpint(blk_pwrite(blk, offset, sizeof(buf), buf, 0), ==, 0);
    }
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    g_assert_false(crash_says_dirty(d));
    guest_check(g, d, 0);
    guest_check(g, d, BDRV_FIX_LEAKS);
}

#endif
