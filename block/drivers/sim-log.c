/* SPDX-License-Identifier: MIT */
/*
 * The log of a power supply: all changes of its disks in the order in which they began, and
 * for each disk the points that its flushes have made.
 *
 * Time moves at each begin and end, so no two of them are at the same time. A request takes
 * effect when it ends. Hence what a flush covers, all that had ended when it began, is just
 * what the disk held at that time: a copy of it, which costs nothing, is the point.
 *
 * An event that is "failed" has had an effect, but no flush makes it durable. Whatever
 * builds on a point has to use one from before the first such event, and to decide about
 * what came later one by one.
 */
#include "block/drivers/sim-internal.h"

/* Without a log to be kept, so much may be in the cache before the disk writes it out. */
#define CACHE_BYTES (32 << 20)

/* --- events --- */

SimEvent *sim_event_ref(SimEvent *e)
{
    g_atomic_int_inc(&e->refs);
    return e;
}

void sim_event_unref(SimEvent *e)
{
    if (g_atomic_int_dec_and_test(&e->refs)) {
        g_free(e->data);
        g_free(e);
    }
}

/* How many sectors the range touches. */
static unsigned sim_sectors(int64_t offset, int64_t bytes, uint32_t sector_size)
{
    return MIN((offset + bytes - 1) / sector_size - offset / sector_size + 1, UINT_MAX);
}

unsigned sim_event_sectors(const SimEvent *e, uint32_t sector_size)
{
    return e->op == SIM_TRUNCATE || !e->bytes ? 1 : sim_sectors(e->offset, e->bytes, sector_size);
}

/* A sector that was discarded with an unknown result. */
static void apply_noise(const SimEvent *e, SimBytes *to, int64_t at, int64_t bytes)
{
    uint64_t random = e->noise ^ sim_stir(at);
    g_autofree uint8_t *noise = NULL;

    switch (aio_sim_next_random(&random) % 3) {
    case 0:
        break;
    case 1:
        sim_bytes_write(to, at, NULL, bytes);
        break;
    default:
        noise = g_malloc(bytes);
        for (int64_t i = 0; i < bytes; i++) {
            noise[i] = aio_sim_next_random(&random) >> 56;
        }
        sim_bytes_write(to, at, noise, bytes);
    }
}

static void apply_piece(const SimEvent *e, SimBytes *to, int64_t at, int64_t bytes)
{
    if (e->op == SIM_WRITE) {
        sim_bytes_write(to, at, e->data + (at - e->offset), bytes);
    } else if (e->noise) {
        apply_noise(e, to, at, bytes);
    } else {
        sim_bytes_write(to, at, NULL, bytes);
    }
}

void sim_event_apply(const SimEvent *e, SimBytes *to, uint32_t sector_size, SimKeepSector *keep,
                     void *opaque)
{
    int64_t stop = e->offset + e->bytes, piece;
    unsigned n = sim_event_sectors(e, sector_size), i = 0;

    if (e->op == SIM_TRUNCATE) {
        sim_bytes_set_length(to, e->offset);
        return;
    }
    /* A disk that is shorter again has nothing to discard. */
    stop = e->op == SIM_DISCARD ? MIN(stop, to->length) : stop;
    if (!keep && !e->noise) {
        if (stop > e->offset) {
            apply_piece(e, to, e->offset, stop - e->offset);
        }
        return;
    }
    for (int64_t at = e->offset; at < stop; at += piece, i++) {
        if (e->op != SIM_WRITE && !sim_bytes_allocated(to, at, stop - at, &piece)) {
            /* There is nothing to become zero or noise; the end may move all the same. */
            i += sim_sectors(at, piece, sector_size) - 1;
            if (e->op == SIM_ZERO && (!keep || keep(opaque, i, n))) {
                to->length = MAX(to->length, at + piece);
            }
            continue;
        }
        piece = MIN(sector_size - at % sector_size, stop - at);
        if (!keep || keep(opaque, i, n)) {
            apply_piece(e, to, at, piece);
        }
    }
}

/* --- the log --- */

static void clear_point(SimPoint *p)
{
    sim_bytes_clear(&p->bytes);
}

static void clear_points(SimDisk *disk, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        clear_point(&g_array_index(disk->points, SimPoint, i));
    }
    if (n) {
        g_array_remove_range(disk->points, 0, n);
    }
}

void sim_log_restart(SimPower *power)
{
    power->log_first += power->log->len;
    g_ptr_array_set_size(power->log, 0);
    power->log_begin = power->now;
    power->log_bytes = 0;
    for (guint i = 0; i < power->disks->len; i++) {
        SimDisk *disk = g_ptr_array_index(power->disks, i);

        clear_points(disk, disk->points->len);
        sim_bytes_clear(&disk->initial);
        sim_bytes_copy(&disk->initial, &disk->live);
        disk->first_failed = UINT64_MAX;
    }
}

SimEvent *sim_log_begin(SimDisk *disk, SimOp op, int64_t offset, int64_t bytes)
{
    SimPower *power = disk->power;
    SimEvent *e = g_new0(SimEvent, 1);

    *e = (SimEvent){ .refs = 1, .disk = disk, .op = op, .offset = offset, .bytes = bytes,
                     .begin = ++power->now };
    g_ptr_array_add(power->log, e);
    return e;
}

/* The first number whose event is not yet, and another disk's never is, in a point of @disk. */
static uint64_t first_open(const SimDisk *disk, uint64_t from, uint64_t begin)
{
    const SimPower *power = disk->power;
    uint64_t i = MAX(from, power->log_first);

    for (; i < power->log_first + power->log->len; i++) {
        const SimEvent *e = g_ptr_array_index(power->log, i - power->log_first);

        if (e->disk == disk && (!e->end || e->end > begin)) {
            break;
        }
    }
    return i;
}

static void add_point(SimDisk *disk, uint64_t begin, uint64_t end, SimBytes *bytes)
{
    guint n = disk->points->len;
    const SimPoint *last = n ? &g_array_index(disk->points, SimPoint, n - 1) : NULL;
    SimPoint p = { .begin = begin, .end = end };

    if (last && last->begin > begin) {
        sim_bytes_clear(bytes); /* one that began later has ended before */
        return;
    }
    p.first = first_open(disk, last ? last->first : 0, begin);
    p.bytes = *bytes;
    *bytes = (SimBytes){ 0 };
    g_array_append_val(disk->points, p);
}

/* Nobody will ask for the past: drops what is before the points that count now. */
static void forget_past(SimPower *power)
{
    uint64_t first = power->log_first + power->log->len;

    for (guint i = 0; i < power->disks->len; i++) {
        SimDisk *disk = g_ptr_array_index(power->disks, i);
        const SimPoint *base = sim_log_base(disk, power->now);

        if (base) {
            guint n = base - &g_array_index(disk->points, SimPoint, 0);

            clear_points(disk, n);
            first = MIN(first, g_array_index(disk->points, SimPoint, 0).first);
        } else {
            first = MIN(first, first_open(disk, power->log_first, power->log_begin));
        }
    }
    for (uint64_t i = power->log_first; i < first; i++) {
        const SimEvent *e = g_ptr_array_index(power->log, i - power->log_first);

        power->log_bytes -= e->data ? e->bytes : 0;
    }
    if (first > power->log_first) {
        g_ptr_array_remove_range(power->log, 0, first - power->log_first);
        power->log_first = first;
    }
    /* Cuts before have nothing to stand on any more. */
    power->log_begin = power->now;
}

/* A cache that is full: all disks write out what they have. */
static void write_out(SimPower *power)
{
    for (guint i = 0; i < power->disks->len; i++) {
        SimDisk *disk = g_ptr_array_index(power->disks, i);
        SimBytes now = { 0 };

        sim_bytes_copy(&now, &disk->live);
        add_point(disk, power->now, power->now, &now);
    }
    forget_past(power);
}

void sim_log_end(SimEvent *e, int ret)
{
    SimDisk *disk = e->disk;
    SimPower *power = disk->power;

    e->end = ++power->now;
    e->failed = ret < 0;
    if (!e->nothing && e->op != SIM_FLUSH) {
        sim_event_apply(e, &disk->live, disk->config.sector_size, NULL, NULL);
        if (e->failed) {
            disk->first_failed = MIN(disk->first_failed, e->end);
        } else if (e->fua) {
            e->sync = e->end;
        }
    }
    if (!power->keep_log && power->log_bytes > CACHE_BYTES) {
        write_out(power);
    }
}

void sim_log_flushed(SimEvent *e, SimBytes *then)
{
    add_point(e->disk, e->begin, e->end, then);
    if (!e->disk->power->keep_log) {
        forget_past(e->disk->power);
    }
}

void sim_log_flush_failed(SimEvent *flush, SimEffect effect)
{
    SimDisk *disk = flush->disk;
    SimPower *power = disk->power;
    uint64_t durable = sim_log_durable(disk, flush->end);

    if (effect != SIM_EFFECT_HALF && effect != SIM_EFFECT_LOST) {
        return;
    }
    for (guint i = 0; i < power->log->len; i++) {
        SimEvent *e = g_ptr_array_index(power->log, i);

        if (e->disk != disk || !e->end || e->end > flush->begin || e->end <= durable ||
            e->sync || e->nothing || e->op == SIM_FLUSH) {
            continue;
        }
        if (effect == SIM_EFFECT_LOST) {
            e->failed = true;
            disk->first_failed = MIN(disk->first_failed, e->end);
        } else if (!e->failed && sim_random_below(power, 2)) {
            e->sync = flush->end;
        }
    }
}

/* The last of @disk's points that had ended at @time; NULL: none. */
static const SimPoint *last_point(const SimDisk *disk, uint64_t time)
{
    guint from = 0, to = disk->points->len;

    while (from < to) {
        guint mid = (from + to) / 2;

        if (g_array_index(disk->points, SimPoint, mid).end <= time) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return from ? &g_array_index(disk->points, SimPoint, from - 1) : NULL;
}

uint64_t sim_log_durable(const SimDisk *disk, uint64_t time)
{
    const SimPoint *p = last_point(disk, time);

    return p ? p->begin : 0;
}

const SimPoint *sim_log_base(const SimDisk *disk, uint64_t time)
{
    const SimPoint *first = (const SimPoint *)(void *)disk->points->data;
    const SimPoint *p = last_point(disk, time);

    while (p && p->begin >= disk->first_failed) {
        p = p == first ? NULL : p - 1;
    }
    return p;
}
