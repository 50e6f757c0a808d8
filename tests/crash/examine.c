/* SPDX-License-Identifier: MIT */
/*
 * What is found after a power cut or after faults: opened for writing as its user would, the image
 * has at most leaks, reads as one of the versions it may have, sector by sector, and repair makes it
 * clean.
 *
 * One open does most of it, for speed; by the state's hash some are looked at more closely: a check
 * before anything is written, writing to the image afterwards, QEMU's check.
 */
#include "world.h"

#include <sys/mman.h>
#include <glib/gstdio.h>
#include "block/dirty-bitmap.h"
#include "block/snapshot.h"

#define HEADER_VERSION 7
#define HEADER_INCOMPATIBLE 79
#define INCOMPATIBLE_DIRTY 1

typedef struct Examination {
    Examiner *x;
    const World *w;
    unsigned lo, hi;
    uint64_t hash;
    bool dirty; /* refcounts may be behind until it is opened for writing */
    bool flags; /* COPIED flags of version 2 may be wrong */
    BlockBackend *blk;
    Contents is;
    char *wrong;
} Examination;

Examiner *examiner_new(unsigned qemu_every)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");
    Examiner *x = g_new0(Examiner, 1);

    x->power = sim_power_new(1);
    sim_power_set_log(x->power, false);
    x->seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    x->contents = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    x->buf = g_malloc(MAX_SECTORS * SECTOR);
    if (qemu_every && qemu) {
        x->qemu_every = qemu_every;
        x->dir = g_dir_make_tmp("blkco-crash-XXXXXX", NULL);
    }
    return x;
}

void examiner_free(Examiner *x)
{
    if (x->dir) {
        g_rmdir(x->dir);
    }
    sim_power_unref(x->power);
    g_hash_table_destroy(x->seen);
    g_hash_table_destroy(x->contents);
    g_free(x->dir);
    g_free(x->buf);
    g_free(x);
}

static bool G_GNUC_PRINTF(2, 3) wrong(Examination *e, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (!e->wrong) {
        e->wrong = g_strdup_vprintf(format, ap);
    }
    va_end(ap);
    return false;
}

static const Version *version(const Examination *e, unsigned j)
{
    return world_version(e->w, j);
}

/* --- opening and checks --- */

static bool open_image(Examination *e, int flags)
{
    g_autoptr(GError) err = NULL;

    e->blk = world_open(e->w->shape, e->x->power, flags, &err);
    return e->blk || wrong(e, "cannot open: %s", err->message);
}

static void close_image(Examination *e)
{
    blk_unref(e->blk);
    e->blk = NULL;
}

/* What a check prints; *@ret is what it returns. To be freed. */
static char *check_and_listen(Examination *e, BdrvCheckResult *r, int *ret)
{
    int spoken = dup(STDERR_FILENO), heard = memfd_create("check", MFD_CLOEXEC);
    off_t length;
    char *text;

    g_assert_true(spoken >= 0 && heard >= 0);
    dup2(heard, STDERR_FILENO);
    *ret = bdrv_check(blk_bs(e->blk), r, 0);
    dup2(spoken, STDERR_FILENO);
    length = lseek(heard, 0, SEEK_END);
    text = g_malloc0(length + 1);
    g_assert_cmpint(pread(heard, text, length, 0), ==, length);
    close(heard);
    close(spoken);
    return text;
}

/* A version 2 image in the middle of a snapshot: flags may be wrong, and counts too high. */
static bool check_flags_only(Examination *e, int *leaks)
{
    BdrvCheckResult r;
    int ret;
    g_autofree char *text = check_and_listen(e, &r, &ret);
    const char *low = strstr(text, "ERROR cluster ");

    *leaks = r.leaks + r.corruptions;
    if (ret < 0) {
        return wrong(e, "check: %s", g_strerror(-ret));
    }
    return !low || wrong(e, "a reference that is not counted: %.*s", (int)strcspn(low, "\n"), low);
}

/* @fix 0: at most leaks; else nothing is left. @leaks: how many were found. */
static bool check(Examination *e, BdrvCheckMode fix, int *leaks)
{
    BdrvCheckResult r;
    int ret;

    if (e->flags && !fix) {
        return check_flags_only(e, leaks);
    }
    ret = bdrv_check(blk_bs(e->blk), &r, fix);
    if (ret < 0) {
        return wrong(e, "check: %s", g_strerror(-ret));
    }
    *leaks = r.leaks;
    return (!r.corruptions && !r.check_errors && (!fix || !r.leaks)) ||
           wrong(e, "check%s: %d corruptions, %d errors, %d leaks", fix ? " after repair" : "",
                 r.corruptions, r.check_errors, r.leaks);
}

static void look_at_header(Examination *e)
{
    uint8_t header[HEADER_INCOMPATIBLE + 1];

    sim_disk_peek(sim_power_disk(e->x->power, 0), 0, header, sizeof(header));
    e->dirty = header[HEADER_VERSION] >= 3 && (header[HEADER_INCOMPATIBLE] & INCOMPATIBLE_DIRTY);
    for (unsigned i = e->lo; e->w->shape->v2 && i < e->hi; i++) {
        StepKind kind = world_event(e->w, i)->kind;

        e->flags |= kind == STEP_SNAPSHOT || kind == STEP_DELETE || kind == STEP_APPLY;
    }
}

static bool check_untouched(Examination *e)
{
    int leaks;
    bool ok;

    if (e->dirty) {
        return true;
    }
    ok = open_image(e, BDRV_O_CHECK) && check(e, 0, &leaks);
    close_image(e);
    return ok;
}

/* --- contents --- */

static bool read_all(Examination *e, Contents *c)
{
    int64_t length = blk_getlength(e->blk);
    int ret;

    if (length < 0 || length > MAX_SECTORS * SECTOR) {
        return wrong(e, "the length is %" PRId64, length);
    }
    ret = blk_pread(e->blk, 0, length, e->x->buf, 0);
    if (ret < 0) {
        return wrong(e, "cannot read: %s", g_strerror(-ret));
    }
    c->sectors = length / SECTOR;
    for (unsigned s = 0; s < c->sectors; s++) {
        int value = sector_value(e->x->buf + (size_t)s * SECTOR, s);

        if (value < 0) {
            return wrong(e, "sector %u holds garbage", s);
        }
        c->values[s] = value;
    }
    return true;
}

static bool sector_may_be(const Examination *e, unsigned s, uint16_t value)
{
    for (unsigned j = e->hi + 1; j-- > e->lo; ) {
        if (version(e, j)->now.values[s] == value) {
            return true;
        }
    }
    return false;
}

/* Has the backing file ever held that, from the beginning or by a commit? */
static bool below_has_held(const Examination *e, unsigned s, uint16_t value)
{
    bool held = value == 1;

    for (unsigned i = 0; i < e->hi && !held; i++) {
        held = world_event(e->w, i)->kind == STEP_COMMIT && version(e, i)->now.values[s] == value;
    }
    return held;
}

/*
 * While clusters are given up, the old end of a disk that shrinks shows what lies below, and so do
 * those that a discard has reached.
 */
static bool below_may_show(const Examination *e, unsigned s, uint16_t value)
{
    if (!e->w->shape->backing || !below_has_held(e, s, value)) {
        return false;
    }
    for (unsigned i = e->lo; i < e->hi; i++) {
        if (world_event(e->w, i)->kind == STEP_SHRINK && s >= version(e, i + 1)->now.sectors) {
            return true;
        }
    }
    return false;
}

static bool compare(Examination *e)
{
    bool length = false;

    if (!read_all(e, &e->is)) {
        return false;
    }
    for (unsigned j = e->lo; j <= e->hi; j++) {
        length |= version(e, j)->now.sectors == e->is.sectors;
    }
    if (!length) {
        return wrong(e, "a disk of %u sectors, instead of %u", e->is.sectors,
                     version(e, e->hi)->now.sectors);
    }
    for (unsigned s = 0; s < e->is.sectors; s++) {
        uint16_t value = e->is.values[s];

        if (!sector_may_be(e, s, value) && !below_may_show(e, s, value) &&
            !(value <= e->w->shape->backing && e->w->faulty && e->w->discarded[s])) {
            return wrong(e, "sector %u holds value %u, instead of %u (or %u)", s, value,
                         version(e, e->lo)->now.values[s], version(e, e->hi)->now.values[s]);
        }
    }
    return true;
}

/* --- snapshots --- */

static bool same_names(const Version *v, const QEMUSnapshotInfo *list, unsigned n)
{
    bool same = v->n_snaps == n;

    for (unsigned i = 0; same && i < n; i++) {
        same = !strcmp(v->snaps[i].name, list[i].name);
    }
    return same;
}

static bool snapshot_is(const Examination *e, const char *name, const Contents *is)
{
    for (unsigned j = e->lo; j <= e->hi; j++) {
        for (unsigned i = 0; i < version(e, j)->n_snaps; i++) {
            const KnownSnapshot *k = &version(e, j)->snaps[i];

            if (!strcmp(k->name, name) &&
                (!k->contents || (k->contents->sectors == is->sectors &&
                                  !memcmp(k->contents->values, is->values,
                                          is->sectors * sizeof(is->values[0]))))) {
                return true;
            }
        }
    }
    return false;
}

static bool compare_snapshot(Examination *e, const char *name)
{
    Contents is;
    bool ok = open_image(e, 0);
    g_autoptr(GError) err = NULL;

    if (ok && bdrv_snapshot_load_tmp(blk_bs(e->blk), NULL, name, &err) < 0) {
        ok = wrong(e, "snapshot %s: %s", name, err->message);
    }
    ok = ok && read_all(e, &is) &&
         (snapshot_is(e, name, &is) || wrong(e, "snapshot %s has changed", name));
    close_image(e);
    return ok;
}

/* Closes the image and opens it for each of them. */
static bool compare_snapshots(Examination *e)
{
    g_autofree QEMUSnapshotInfo *list = NULL;
    int n = bdrv_snapshot_list(blk_bs(e->blk), &list);
    bool known = false, ok = true;

    n = n == -ENOTSUP ? 0 : n;
    if (n < 0) {
        return wrong(e, "snapshots: %s", g_strerror(-n));
    }
    for (unsigned j = e->lo; j <= e->hi && !known; j++) {
        known = same_names(version(e, j), list, n);
    }
    if (!known) {
        return wrong(e, "%d snapshots, and not those that may be there", n);
    }
    close_image(e);
    for (int i = 0; i < n && ok; i++) {
        ok = compare_snapshot(e, list[i].name);
    }
    return ok;
}

/* --- bitmaps --- */

/* All that @k must hold, and what of the disk is not any more as it was then. */
static bool bitmap_is(const Examination *e, BdrvDirtyBitmap *bitmap, const Version *v,
                      const KnownBitmap *k)
{
    unsigned n = MIN(e->is.sectors, bdrv_dirty_bitmap_size(bitmap) / SECTOR);

    for (unsigned s = 0; s < n; s++) {
        bool must = k->must[s] || (k->enabled && e->is.values[s] != v->now.values[s]);

        if (must && !bdrv_dirty_bitmap_get(bitmap, (int64_t)s * SECTOR)) {
            return false;
        }
    }
    return true;
}

static bool compare_bitmap(Examination *e, unsigned b, const char *name)
{
    BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(blk_bs(e->blk), name);
    bool known = false;

    if (bitmap && !bdrv_dirty_bitmap_inconsistent(bitmap) &&
        bdrv_dirty_bitmap_load(bitmap, NULL) < 0) {
        return wrong(e, "bitmap %s cannot be read", name);
    }
    for (unsigned j = e->lo; j <= e->hi && !known; j++) {
        const KnownBitmap *k = &version(e, j)->bitmaps[b];

        known = bitmap ? k->there && (k->vague || bdrv_dirty_bitmap_inconsistent(bitmap) ||
                                      bitmap_is(e, bitmap, version(e, j), k))
                       : !k->there;
    }
    return known || wrong(e, "bitmap %s %s", name,
                          bitmap ? "does not hold all changes" : "is missing");
}

static bool compare_bitmaps(Examination *e)
{
    return compare_bitmap(e, 0, "a") && compare_bitmap(e, 1, "b");
}

/* --- QEMU's opinion --- */

/* The state as it is on the disks now; exit code 0, or 3: leaks. */
static bool ask_qemu(Examination *e)
{
    g_autofree char *image = g_strdup_printf("%s/image.qcow2", e->x->dir);
    g_autofree char *below = g_strdup_printf("%s/below", e->x->dir);
    g_autofree char *spec = NULL;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    const char *argv[] = { "qemu-img", "check", NULL, NULL };
    g_autoptr(GError) error = NULL;
    int status;

    sim_disk_export(sim_power_disk(e->x->power, 0), image, &error_abort);
    if (e->w->shape->data_file) {
        sim_disk_export(sim_power_disk(e->x->power, 1), below, &error_abort);
    }
    spec = g_strdup_printf("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":"
                           "\"%s\"}%s%s%s}", image,
                           e->w->shape->data_file ? ",\"data-file\":{\"driver\":\"file\","
                                                    "\"filename\":\"" : "",
                           e->w->shape->data_file ? below : "",
                           e->w->shape->data_file ? "\"}"
                           : e->w->shape->backing ? ",\"backing\":null" : "");
    argv[2] = spec;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err,
                      &status, &error)) {
        return wrong(e, "qemu-img: %s", error->message);
    }
    g_remove(image);
    g_remove(below);
    e->x->by_qemu++;
    status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return status == 0 || status == 3 || wrong(e, "qemu-img check: exit code %d\n%s%s", status, out,
                                               err);
}

/* --- all of it --- */

static bool write_again(Examination *e)
{
    int64_t length = blk_getlength(e->blk);
    unsigned sectors = length / SECTOR;
    int leaks, ret = 0;

    for (unsigned i = 0; i < 5 && ret >= 0; i++) {
        unsigned first = i * sectors / 5, count = MIN(3, sectors - first);

        sector_fill(e->x->buf, first, count, 0xfff0);
        ret = count ? blk_pwrite(e->blk, (int64_t)first * SECTOR, (int64_t)count * SECTOR,
                                 e->x->buf, 0) : 0;
    }
    ret = ret < 0 ? ret : blk_flush(e->blk);
    return (ret >= 0 || wrong(e, "writing afterwards: %s", g_strerror(-ret))) &&
           check(e, 0, &leaks);
}

static bool examine(Examination *e)
{
    bool closely = e->hash % 16 == 0;
    int leaks, none;

    if (closely && !e->flags && !check_untouched(e)) {
        return false;
    }
    return open_image(e, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP) && check(e, 0, &leaks) &&
           compare(e) && compare_bitmaps(e) &&
           (!leaks || check(e, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &none)) &&
           (!leaks || compare(e)) && (!closely || write_again(e)) && compare_snapshots(e);
}

static void load(Examiner *x, const SimState *state)
{
    sim_power_load(x->power, state);
    for (unsigned i = 0; i < sim_power_n_disks(x->power); i++) {
        sim_disk_set_instant(sim_power_disk(x->power, i));
    }
}

static uint64_t mix(uint64_t hash, const void *data, size_t n)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Of what may be there. */
static uint64_t expectation(const World *w, unsigned lo, unsigned hi)
{
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), w->shape->name, strlen(w->shape->name));

    for (unsigned j = lo; j <= hi; j++) {
        const Version *v = world_version(w, j);

        hash = mix(hash, &v->now.sectors, sizeof(v->now.sectors));
        hash = mix(hash, v->now.values, v->now.sectors * sizeof(v->now.values[0]));
        for (unsigned i = 0; i < v->n_snaps; i++) {
            hash = mix(hash, v->snaps[i].name, strlen(v->snaps[i].name));
            if (v->snaps[i].contents) {
                hash = mix(hash, v->snaps[i].contents->values, sizeof(v->now.values));
            }
        }
        for (unsigned b = 0; b < WORLD_BITMAPS; b++) {
            const KnownBitmap *k = &v->bitmaps[b];
            uint8_t bits[] = { k->there, k->enabled, k->vague };

            hash = mix(hash, bits, sizeof(bits));
            if (k->there) {
                hash = mix(hash, k->must, sizeof(k->must));
            }
        }
        if (j > lo) {
            hash = mix(hash, &world_event(w, j - 1)->kind, sizeof(StepKind));
        }
    }
    return hash;
}

static bool is_new(GHashTable *set, uint64_t key)
{
    return !g_hash_table_contains(set, &key) &&
           g_hash_table_add(set, g_memdup2(&key, sizeof(key)));
}

char *examiner_check(Examiner *x, const World *w, const SimState *state, unsigned lo,
                     unsigned hi)
{
    static const World *last_w;
    static unsigned last_lo, last_hi, last_n;
    static uint64_t expected;
    Examination e = { .x = x, .w = w, .lo = lo, .hi = hi, .hash = sim_state_hash(state) };

    if (w != last_w || lo != last_lo || hi != last_hi || w->versions->len != last_n) {
        expected = expectation(w, lo, hi);
        last_w = w;
        last_lo = lo;
        last_hi = hi;
        last_n = w->versions->len;
    }
    x->states++;
    x->distinct += is_new(x->contents, e.hash);
    if (!is_new(x->seen, e.hash * UINT64_C(0x9e3779b97f4a7c15) ^ expected)) {
        return NULL;
    }
    x->checked++;
    load(x, state);
    look_at_header(&e);
    if (x->qemu_every && x->checked % x->qemu_every == 0 && !e.dirty && !e.flags && !ask_qemu(&e)) {
        return e.wrong;
    }
    examine(&e);
    close_image(&e);
    return e.wrong;
}
