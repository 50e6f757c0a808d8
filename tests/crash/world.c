/* SPDX-License-Identifier: MIT */
/* Images, steps and versions; see world.h. */
#include "world.h"

#include "block/dirty-bitmap.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"

#define OPEN_FLAGS (BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP)
#define SMALL_CACHES "l2-cache-size=1024,l2-cache-entry-size=512,refcount-cache-size=2048"

const Shape shapes[] = {
    { "default", "cluster_size=64k", "l2-cache-entry-size=512", 65536, 3, false, false, false },
    { "small-refcount-64", "cluster_size=512,refcount_bits=64", SMALL_CACHES, 512, 70, false, false,
      false },
    { "small-refcount-1", "cluster_size=512,refcount_bits=1", SMALL_CACHES, 512, 70, false, false,
      false },
    { "extended", "cluster_size=16k,extended_l2=on", "l2-cache-entry-size=512", 16384, 4, false,
      false, false },
    { "lazy", "cluster_size=4k,lazy_refcounts=on", "l2-cache-entry-size=512", 4096, 6, false, false,
      false },
    { "lazy-small", "cluster_size=512,refcount_bits=64,lazy_refcounts=on", SMALL_CACHES, 512, 70,
      false, false, false },
    { "v2", "cluster_size=1k,compat=0.10", SMALL_CACHES, 1024, 8, false, false, true },
    { "backing", "cluster_size=4k", "l2-cache-entry-size=512", 4096, 6, true, false, false },
    { "backing-small", "cluster_size=512", SMALL_CACHES, 512, 70, true, false, false },
    { "backing-extended", "cluster_size=16k,extended_l2=on", "l2-cache-entry-size=512", 16384, 4,
      true, false, false },
    { "data-file", "cluster_size=4k", "l2-cache-entry-size=512", 4096, 6, false, true, false },
};
const unsigned n_shapes = G_N_ELEMENTS(shapes);

const char *const step_names[STEP_KINDS] = {
    [STEP_WRITE] = "write", [STEP_WRITE_ONE] = "write-one", [STEP_COMPRESSED] = "compressed",
    [STEP_ZERO] = "zero", [STEP_DISCARD] = "discard", [STEP_FLUSH] = "flush",
    [STEP_GROW] = "grow", [STEP_SHRINK] = "shrink", [STEP_SNAPSHOT] = "snapshot",
    [STEP_APPLY] = "apply", [STEP_DELETE] = "delete", [STEP_COMMIT] = "commit",
    [STEP_BITMAP_ADD] = "bitmap-add", [STEP_BITMAP_TOGGLE] = "bitmap-toggle",
    [STEP_BITMAP_CLEAR] = "bitmap-clear", [STEP_BITMAP_MERGE] = "bitmap-merge",
    [STEP_BITMAP_REMOVE] = "bitmap-remove",
};

static const char *const bitmap_names[WORLD_BITMAPS] = { "a", "b" };

void world_wrong(World *w, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (!w->wrong) {
        w->wrong = g_strdup_vprintf(format, ap);
    }
    va_end(ap);
}

/* --- sectors --- */

static uint64_t sector_word(unsigned sector, uint16_t value)
{
    return value ? (uint64_t)value << 48 | UINT64_C(0xa5) << 40 | sector : 0;
}

void sector_fill(uint8_t *buf, unsigned first, unsigned count, uint16_t value)
{
    for (unsigned s = 0; s < count; s++) {
        uint64_t word = sector_word(first + s, value);

        for (unsigned i = 0; i < SECTOR; i += sizeof(word)) {
            memcpy(buf + (size_t)s * SECTOR + i, &word, sizeof(word));
        }
    }
}

int sector_value(const uint8_t *p, unsigned sector)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    if (memcmp(p, p + sizeof(word), SECTOR - sizeof(word)) ||
        word != sector_word(sector, word >> 48)) {
        return -1;
    }
    return word >> 48;
}

/* --- disks --- */

/* The disks of a world, in this order: the image, and what is below it. */
BlockBackend *world_open(const Shape *shape, SimPower *power, int flags, Error **errp)
{
    g_autofree char *options = NULL;

    if (shape->backing) {
        options = g_strdup_printf("driver=qcow2,%s,backing.driver=raw,backing.file.driver=sim,"
                                  "backing.file.disk=%s%s", shape->open,
                                  sim_disk_name(sim_power_disk(power, 1)),
                                  flags & BDRV_O_RDWR ? ",backing.read-only=off" : "");
    } else if (shape->data_file) {
        options = g_strdup_printf("driver=qcow2,%s,data-file.driver=sim,data-file.disk=%s",
                                  shape->open, sim_disk_name(sim_power_disk(power, 1)));
    } else {
        options = g_strdup_printf("driver=qcow2,%s", shape->open);
    }
    return sim_disk_open(sim_power_disk(power, 0), options, flags, errp);
}

static void create_disks(World *w)
{
    const Shape *shape = w->shape;
    int64_t size = (int64_t)shape->cluster * shape->clusters;
    SimDisk *image = sim_disk_new(w->power, NULL, 0, &error_abort), *below;
    g_autofree char *options = NULL;

    if (shape->backing) {
        g_autofree uint8_t *buf = g_malloc(size);

        below = sim_disk_new(w->power, NULL, size, &error_abort);
        sector_fill(buf, 0, size / SECTOR, 1);
        sim_disk_poke(below, 0, buf, size);
        options = g_strdup_printf("size=%" PRId64 ",%s,backing_file=sim:%s,backing_fmt=raw", size,
                                  shape->create, sim_disk_name(below));
    } else if (shape->data_file) {
        below = sim_disk_new(w->power, NULL, 0, &error_abort);
        options = g_strdup_printf("size=%" PRId64 ",%s,data_file=sim:%s", size, shape->create,
                                  sim_disk_name(below));
    } else {
        options = g_strdup_printf("size=%" PRId64 ",%s", size, shape->create);
    }
    sim_disk_create(image, "qcow2", options, &error_abort);
}

static Version *new_version(World *w)
{
    Version *v = w->versions->len ? g_memdup2(world_last(w), sizeof(*v)) : g_new0(Version, 1);

    g_ptr_array_add(w->versions, v);
    return v;
}

static World *blank_world(const Shape *shape, uint64_t seed)
{
    World *w = g_new0(World, 1);
    Version *v;

    w->shape = shape;
    w->random = seed;
    w->power = sim_power_new(seed);
    w->versions = g_ptr_array_new_with_free_func(g_free);
    w->contents = g_ptr_array_new_with_free_func(g_free);
    w->events = g_array_new(false, false, sizeof(Event));
    w->next_value = 2;
    v = new_version(w);
    v->now.sectors = shape->cluster / SECTOR * shape->clusters;
    for (unsigned s = 0; shape->backing && s < v->now.sectors; s++) {
        v->now.values[s] = 1;
    }
    return w;
}

/* Everything so far is durable, and long ago. */
static void settle(World *w)
{
    g_autoptr(SimState) state = sim_power_state(w->power);
    Version *last = g_memdup2(world_last(w), sizeof(*last));

    sim_power_load(w->power, state);
    g_array_set_size(w->events, 0);
    g_ptr_array_set_size(w->versions, 0);
    g_ptr_array_add(w->versions, last);
}

World *world_new(const Shape *shape, unsigned start, uint64_t seed)
{
    static const StepKind before[] = { STEP_WRITE_ONE, STEP_COMPRESSED, STEP_WRITE, STEP_SNAPSHOT,
                                       STEP_WRITE_ONE, STEP_BITMAP_ADD, STEP_WRITE };
    unsigned n = start == 2 ? G_N_ELEMENTS(before) : start ? 5 : 0;
    World *w = blank_world(shape, seed);

    create_disks(w);
    if (start) {
        w->blk = world_open(shape, w->power, OPEN_FLAGS, &error_abort);
        for (unsigned i = 0; i < n; i++) {
            world_step(w, before[i]);
        }
        world_close(w);
    }
    settle(w);
    w->blk = world_open(shape, w->power, OPEN_FLAGS, &error_abort);
    return w;
}

void world_close(World *w)
{
    blk_unref(w->blk);
    w->blk = NULL;
}

void world_free(World *w)
{
    world_close(w);
    sim_power_unref(w->power);
    g_ptr_array_free(w->versions, true);
    g_ptr_array_free(w->contents, true);
    g_array_free(w->events, true);
    g_free(w->wrong);
    g_free(w);
}

void world_range(const World *w, uint64_t time, unsigned *lo, unsigned *hi)
{
    *lo = *hi = 0;
    for (unsigned i = 0; i < w->events->len; i++) {
        const Event *e = world_event(w, i);

        if (e->begin <= time) {
            *hi = i + 1;
        }
        if (e->durable && e->end <= time) {
            *lo = i + 1;
        }
    }
}

/* --- what requests change --- */

static void note_dirty(Version *v, unsigned first, unsigned count)
{
    for (unsigned b = 0; b < WORLD_BITMAPS; b++) {
        if (v->bitmaps[b].there && v->bitmaps[b].enabled) {
            memset(v->bitmaps[b].must + first, 1, count);
        }
    }
}

static void note_vague(Version *v)
{
    for (unsigned b = 0; b < WORLD_BITMAPS; b++) {
        v->bitmaps[b].vague = true;
    }
}

/* The last version becomes what can be read. What a discard has left is known only so. */
static bool read_contents(World *w, Contents *c)
{
    int64_t length = blk_getlength(w->blk);
    g_autofree uint8_t *buf = NULL;
    int ret;

    if (length < 0 || length > MAX_SECTORS * SECTOR) {
        world_wrong(w, "the length is %" PRId64, length);
        return false;
    }
    buf = g_malloc(length + 1);
    ret = blk_pread(w->blk, 0, length, buf, 0);
    if (ret < 0) {
        world_wrong(w, "cannot read: %s", g_strerror(-ret));
        return false;
    }
    c->sectors = length / SECTOR;
    for (unsigned s = 0; s < c->sectors; s++) {
        int value = sector_value(buf + (size_t)s * SECTOR, s);

        if (value < 0) {
            world_wrong(w, "sector %u holds garbage", s);
            return false;
        }
        c->values[s] = value;
    }
    memset(c->values + c->sectors, 0, (MAX_SECTORS - c->sectors) * sizeof(c->values[0]));
    return true;
}

bool world_verify_live(World *w)
{
    const Contents *want = &world_last(w)->now;
    Contents is;

    if (!read_contents(w, &is)) {
        return false;
    }
    if (is.sectors != want->sectors) {
        world_wrong(w, "%u sectors instead of %u", is.sectors, want->sectors);
        return false;
    }
    for (unsigned s = 0; s < is.sectors; s++) {
        if (is.values[s] != want->values[s]) {
            world_wrong(w, "sector %u reads as value %u instead of %u", s, is.values[s],
                        want->values[s]);
            return false;
        }
    }
    return true;
}

static void note_request(World *w, Version *v, const Request *r)
{
    bool writes = r->kind == STEP_WRITE || r->kind == STEP_WRITE_ONE ||
                  r->kind == STEP_COMPRESSED;

    if (r->kind == STEP_FLUSH) {
        return;
    }
    note_dirty(v, r->first, r->count);
    memset(w->discarded + r->first, r->kind == STEP_DISCARD, r->count);
    for (unsigned s = r->first; r->kind != STEP_DISCARD && s < r->first + r->count; s++) {
        v->now.values[s] = writes ? r->value : 0;
    }
}

/* Of a discarded sector each of: as it was, zeroes, what lies below. */
static void learn_discards(World *w, Version *v, const Request *r, unsigned n)
{
    Contents is;

    if (w->faulty || !read_contents(w, &is)) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        for (unsigned s = r[i].first; r[i].kind == STEP_DISCARD && s < r[i].first + r[i].count;
             s++) {
            if (is.values[s] > 1 && is.values[s] != v->now.values[s]) {
                world_wrong(w, "sector %u, discarded, reads as value %u instead of %u", s,
                            is.values[s], v->now.values[s]);
            }
            v->now.values[s] = is.values[s];
        }
    }
}

/* --- requests --- */

typedef struct Flight {
    int *left;
    int ret;
    uint8_t *buf;
    QEMUIOVector qiov;
} Flight;

static void landed(void *opaque, int ret)
{
    Flight *f = opaque;

    f->ret = ret;
    --*f->left;
}

static void take_off(World *w, Flight *f, const Request *r)
{
    int64_t offset = (int64_t)r->first * SECTOR, bytes = (int64_t)r->count * SECTOR;

    switch (r->kind) {
    case STEP_ZERO:
        blk_aio_pwrite_zeroes(w->blk, offset, bytes, r->unmap ? BDRV_REQ_MAY_UNMAP : 0, landed, f);
        break;
    case STEP_DISCARD:
        blk_aio_pdiscard(w->blk, offset, bytes, landed, f);
        break;
    case STEP_FLUSH:
        blk_aio_flush(w->blk, landed, f);
        break;
    default:
        f->buf = g_malloc(bytes);
        sector_fill(f->buf, r->first, r->count, r->value);
        qemu_iovec_init_buf(&f->qiov, f->buf, bytes);
        blk_aio_pwritev(w->blk, offset, &f->qiov,
                        r->kind == STEP_COMPRESSED ? BDRV_REQ_WRITE_COMPRESSED : 0, landed, f);
        break;
    }
}

/*
 * Compressed writes may be refused: over a cluster that is allocated already, and with a data
 * file. Nothing has changed then.
 */
static bool refused(const World *w, const Request *r, int ret)
{
    return r->kind == STEP_COMPRESSED && !w->faulty && (ret == -EIO || ret == -ENOTSUP);
}

static void take_back(World *w, const Request *r)
{
    memcpy(world_last(w)->now.values + r->first,
           world_version(w, w->versions->len - 2)->now.values + r->first,
           r->count * sizeof(r->value));
}

/* All at once; the first error. */
static int fly(World *w, const Request *r, unsigned n)
{
    Flight flights[MAX_BATCH] = { 0 };
    int left = n, ret = 0;

    for (unsigned i = 0; i < n; i++) {
        flights[i].left = &left;
        take_off(w, &flights[i], &r[i]);
    }
    while (left) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
    for (unsigned i = 0; i < n; i++) {
        g_free(flights[i].buf);
        if (refused(w, &r[i], flights[i].ret)) {
            take_back(w, &r[i]);
        } else {
            ret = ret < 0 ? ret : flights[i].ret;
        }
    }
    return ret;
}

static Event *begin_event(World *w, StepKind kind)
{
    Event e = { .kind = kind, .begin = sim_power_tick(w->power), .end = UINT64_MAX };

    g_array_append_val(w->events, e);
    new_version(w);
    return &g_array_index(w->events, Event, w->events->len - 1);
}

static void end_event(World *w, Event *e, int ret, bool durable)
{
    e->ret = ret;
    e->end = sim_power_tick(w->power);
    e->durable = durable && ret >= 0;
    if (ret >= 0) {
        return;
    }
    w->failed++;
    if (!w->faulty) {
        world_wrong(w, "%s: %s", step_names[e->kind], g_strerror(-ret));
    }
}

static void do_requests(World *w, const Request *r, unsigned n)
{
    Event *e = begin_event(w, r[0].kind);
    Version *v = world_last(w);
    int ret;

    for (unsigned i = 0; i < n; i++) {
        note_request(w, v, &r[i]);
    }
    ret = fly(w, r, n);
    if (ret >= 0) {
        learn_discards(w, v, r, n);
    }
    end_event(w, e, ret, n == 1 && r[0].kind == STEP_FLUSH);
}

/* The part of it that the disk has. */
static bool do_request(World *w, StepKind kind, unsigned first, unsigned count)
{
    unsigned sectors = world_last(w)->now.sectors;
    Request r = { kind, first, count, 0, true };

    if (first >= sectors || (kind == STEP_COMPRESSED && first + count > sectors)) {
        return false;
    }
    r.count = MIN(count, sectors - first);
    r.value = w->next_value++;
    do_requests(w, &r, 1);
    return true;
}

/* --- operations --- */

static bool do_resize(World *w, unsigned sectors, PreallocMode prealloc)
{
    Version *old = world_last(w), *v;
    StepKind kind = sectors < old->now.sectors ? STEP_SHRINK : STEP_GROW;
    Event *e;
    int ret;

    if (sectors == old->now.sectors || sectors > MAX_SECTORS ||
        (w->shape->v2 && old->n_snaps)) {
        return false;
    }
    prealloc = kind == STEP_GROW ? prealloc : PREALLOC_MODE_OFF;
    e = begin_event(w, kind);
    v = world_last(w);
    v->now.sectors = sectors;
    for (unsigned s = sectors; s < MAX_SECTORS; s++) {
        v->now.values[s] = 0;
    }
    note_vague(v);
    ret = blk_truncate(w->blk, (int64_t)sectors * SECTOR, false, prealloc, 0, NULL);
    if (ret == -ENOTSUP && prealloc != PREALLOC_MODE_OFF) {
        ret = blk_truncate(w->blk, (int64_t)sectors * SECTOR, false, PREALLOC_MODE_OFF, 0, NULL);
    }
    end_event(w, e, ret, false);
    return true;
}

static bool do_snapshot(World *w)
{
    QEMUSnapshotInfo info = { .icount = UINT64_MAX };
    Version *v;
    Event *e;
    int ret;

    if (world_last(w)->n_snaps == MAX_SNAPS || w->shape->data_file ||
        strstr(w->shape->create, "refcount_bits=1")) {
        return false;
    }
    g_snprintf(info.name, sizeof(info.name), "s%u", w->next_snapshot++);
    e = begin_event(w, STEP_SNAPSHOT);
    v = world_last(w);
    g_strlcpy(v->snaps[v->n_snaps].name, info.name, sizeof(v->snaps[0].name));
    if (!w->faulty || !memchr(w->discarded, true, sizeof(w->discarded))) {
        v->snaps[v->n_snaps].contents = g_memdup2(&v->now, sizeof(v->now));
        g_ptr_array_add(w->contents, (gpointer)v->snaps[v->n_snaps].contents);
    } else {
        v->snaps[v->n_snaps].contents = NULL;
    }
    v->n_snaps++;
    ret = bdrv_snapshot_create(blk_bs(w->blk), &info);
    end_event(w, e, ret, true);
    return true;
}

static bool do_apply(World *w)
{
    Version *v = world_last(w);
    Event *e;
    int ret;

    if (!v->n_snaps || (w->faulty && !v->snaps[0].contents) || v->bitmaps[0].there ||
        v->bitmaps[1].there || (w->shape->v2 && v->snaps[0].contents &&
                                v->snaps[0].contents->sectors != v->now.sectors)) {
        return false;
    }
    e = begin_event(w, STEP_APPLY);
    v = world_last(w);
    note_vague(v);
    if (v->snaps[0].contents) {
        v->now = *v->snaps[0].contents;
    }
    ret = bdrv_snapshot_goto(blk_bs(w->blk), v->snaps[0].name, NULL);
    if (ret >= 0 && !v->snaps[0].contents && !w->faulty) {
        read_contents(w, &v->now);
    }
    end_event(w, e, ret, true);
    return true;
}

static bool do_delete(World *w)
{
    char name[16];
    Version *v;
    Event *e;

    if (!world_last(w)->n_snaps) {
        return false;
    }
    e = begin_event(w, STEP_DELETE);
    v = world_last(w);
    g_strlcpy(name, v->snaps[0].name, sizeof(name));
    v->n_snaps--;
    memmove(v->snaps, v->snaps + 1, v->n_snaps * sizeof(v->snaps[0]));
    end_event(w, e, bdrv_snapshot_delete(blk_bs(w->blk), NULL, name, NULL), true);
    return true;
}

/* What snapshots show of the backing file changes. */
static bool do_commit(World *w)
{
    BlockDriverState *base = bdrv_backing_bs(blk_bs(w->blk));
    Version *v;
    Event *e;
    int ret;

    if (!w->shape->backing) {
        return false;
    }
    /* From its beginning on. */
    v = world_last(w);
    for (unsigned i = 0; i < v->n_snaps; i++) {
        v->snaps[i].contents = NULL;
    }
    e = begin_event(w, STEP_COMMIT);
    ret = blk_commit(w->blk, base, 0, NULL, NULL, NULL);
    ret = ret < 0 ? ret : blk_make_empty(w->blk, NULL);
    end_event(w, e, ret, false);
    return true;
}

/* --- bitmaps --- */

static BdrvDirtyBitmap *find_bitmap(World *w, unsigned i)
{
    return bdrv_find_dirty_bitmap(blk_bs(w->blk), bitmap_names[i]);
}

static int store_bitmaps(World *w)
{
    return bdrv_store_dirty_bitmaps(blk_bs(w->blk), NULL);
}

static bool do_bitmap_add(World *w)
{
    const Version *last = world_last(w);
    unsigned i = last->bitmaps[0].there;
    BdrvDirtyBitmap *bitmap;
    Event *e;

    if (last->bitmaps[i].there || w->shape->v2) {
        return false;
    }
    e = begin_event(w, STEP_BITMAP_ADD);
    bitmap = bdrv_create_dirty_bitmap(blk_bs(w->blk), SECTOR, bitmap_names[i], NULL);
    if (!bitmap) {
        end_event(w, e, -ENOMEM, false);
        return true;
    }
    world_last(w)->bitmaps[i] = (KnownBitmap){ .there = true, .enabled = true };
    bdrv_dirty_bitmap_set_persistence(bitmap, true);
    end_event(w, e, store_bitmaps(w), false);
    return true;
}

static bool do_bitmap_change(World *w, StepKind kind)
{
    const Version *last = world_last(w);
    BdrvDirtyBitmap *bitmap = find_bitmap(w, 0);
    KnownBitmap *b;
    Event *e;

    if (!last->bitmaps[0].there || !bitmap || bdrv_dirty_bitmap_load(bitmap, NULL) < 0) {
        return false;
    }
    e = begin_event(w, kind);
    b = &world_last(w)->bitmaps[0];
    if (kind == STEP_BITMAP_CLEAR) {
        memset(b->must, 0, sizeof(b->must));
        bdrv_clear_dirty_bitmap(bitmap);
    } else {
        b->enabled = !b->enabled;
        (b->enabled ? bdrv_enable_dirty_bitmap : bdrv_disable_dirty_bitmap)(bitmap);
    }
    end_event(w, e, store_bitmaps(w), false);
    return true;
}

static bool do_bitmap_merge(World *w)
{
    const Version *last = world_last(w);
    BdrvDirtyBitmap *from = find_bitmap(w, 0), *to = find_bitmap(w, 1);
    KnownBitmap *b;
    Event *e;
    bool done;

    if (!last->bitmaps[0].there || !last->bitmaps[1].there || !from || !to) {
        return false;
    }
    e = begin_event(w, STEP_BITMAP_MERGE);
    b = world_last(w)->bitmaps;
    for (unsigned s = 0; s < MAX_SECTORS; s++) {
        b[1].must[s] |= b[0].must[s];
    }
    b[1].vague |= b[0].vague;
    done = bdrv_merge_dirty_bitmap(to, from, NULL);
    end_event(w, e, done ? store_bitmaps(w) : -EIO, false);
    return true;
}

static bool do_bitmap_remove(World *w)
{
    BdrvDirtyBitmap *bitmap = find_bitmap(w, 0);
    Event *e;
    int ret;

    if (!world_last(w)->bitmaps[0].there || !bitmap) {
        return false;
    }
    e = begin_event(w, STEP_BITMAP_REMOVE);
    world_last(w)->bitmaps[0].there = false;
    ret = bdrv_remove_persistent_dirty_bitmap(blk_bs(w->blk), bitmap_names[0], NULL);
    if (ret >= 0) {
        bdrv_release_dirty_bitmap(bitmap);
    }
    end_event(w, e, ret, false);
    return true;
}

/* --- steps --- */

bool world_step(World *w, StepKind kind)
{
    unsigned c = w->shape->cluster / SECTOR;
    unsigned sectors = world_last(w)->now.sectors;

    switch (kind) {
    case STEP_WRITE:
        return do_request(w, kind, c / 2, MAX(c, 2));
    case STEP_WRITE_ONE:
        return do_request(w, kind, 2 * c + (c > 1), 1);
    case STEP_COMPRESSED:
        return do_request(w, kind, c, c);
    case STEP_ZERO:
        return do_request(w, kind, 0, 2 * c);
    case STEP_DISCARD:
        return do_request(w, kind, c, 2 * c);
    case STEP_FLUSH:
        return do_request(w, kind, 0, 0);
    case STEP_GROW:
        return do_resize(w, sectors + 2 * c, PREALLOC_MODE_OFF);
    case STEP_SHRINK:
        return sectors > c + 1 + c / 2 && do_resize(w, c + 1 + c / 2, PREALLOC_MODE_OFF);
    case STEP_SNAPSHOT:
        return do_snapshot(w);
    case STEP_APPLY:
        return do_apply(w);
    case STEP_DELETE:
        return do_delete(w);
    case STEP_COMMIT:
        return do_commit(w);
    case STEP_BITMAP_ADD:
        return do_bitmap_add(w);
    case STEP_BITMAP_TOGGLE:
    case STEP_BITMAP_CLEAR:
        return do_bitmap_change(w, kind);
    case STEP_BITMAP_MERGE:
        return do_bitmap_merge(w);
    case STEP_BITMAP_REMOVE:
        return do_bitmap_remove(w);
    default:
        return false;
    }
}

static unsigned below(World *w, unsigned n)
{
    return aio_sim_next_random(&w->random) % n;
}

static Request random_request(World *w)
{
    static const StepKind kinds[] = { STEP_WRITE, STEP_WRITE, STEP_WRITE, STEP_WRITE_ONE,
                                      STEP_WRITE_ONE, STEP_COMPRESSED, STEP_ZERO, STEP_DISCARD,
                                      STEP_DISCARD };
    unsigned c = w->shape->cluster / SECTOR, sectors = world_last(w)->now.sectors;
    Request r = { .kind = kinds[below(w, G_N_ELEMENTS(kinds))], .unmap = below(w, 2) };
    bool whole = r.kind == STEP_COMPRESSED || (r.kind >= STEP_ZERO && below(w, 4));

    r.value = w->next_value++;
    r.first = below(w, sectors);
    r.count = r.kind == STEP_WRITE_ONE ? 1 : 1 + below(w, MIN(2 * c + 2, 40U));
    if (whole) {
        r.first -= r.first % c;
        r.count = c * (r.kind == STEP_COMPRESSED ? 1 : 1 + below(w, 3));
    }
    r.count = MIN(r.count, sectors - r.first);
    if (r.kind == STEP_COMPRESSED && r.count < c) {
        r.kind = STEP_WRITE;
    }
    return r;
}

/* Requests that touch no sector in common. */
static void random_batch(World *w)
{
    Request batch[MAX_BATCH];
    unsigned n = 0, wanted = 1 + below(w, MAX_BATCH);

    for (unsigned tries = 0; tries < 2 * MAX_BATCH && n < wanted; tries++) {
        Request r = random_request(w);
        bool apart = true;

        for (unsigned i = 0; i < n; i++) {
            apart &= r.first >= batch[i].first + batch[i].count ||
                     batch[i].first >= r.first + r.count;
        }
        if (apart) {
            batch[n++] = r;
        }
    }
    if (n) {
        do_requests(w, batch, n);
    }
}

void world_random_step(World *w)
{
    unsigned most = MIN(MAX_SECTORS, 2 * w->shape->clusters * w->shape->cluster / SECTOR);
    unsigned dice = below(w, 40);

    if (dice < 8) {
        do_request(w, STEP_FLUSH, 0, 0);
    } else if (dice == 8) {
        do_resize(w, 1 + below(w, most), below(w, 2) ? PREALLOC_MODE_OFF : PREALLOC_MODE_METADATA);
    } else if (dice < 13) {
        world_step(w, STEP_SNAPSHOT + below(w, STEP_KINDS - STEP_SNAPSHOT));
    } else {
        random_batch(w);
    }
}
