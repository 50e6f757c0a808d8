/* SPDX-License-Identifier: MIT */
/*
 * Snapshots on a file that fails, and over power cuts. A guest goes one step after the other, each
 * durable when it ends: writes, growth, snapshots made, applied and deleted. So at any time the
 * image is what it was after a step or, in the middle of one, before it: the disk (sector by
 * sector, where the step writes to it), the list of snapshots and what each of them holds.
 *
 * Until it has been opened for writing, an image may be marked as dirty and its COPIED flags be
 * wrong; version 2 has no mark. Apart from those there are leaks at worst. --seed replays a
 * failure; -m slow tries every call.
 */
#include "crash-sim.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/qcow2.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"

#define SECTORS_MAX 512  /* of the disk after it has grown */
#define SECTORS     256
#define STEPS       24
#define SNAPSHOTS   8    /* at most, at any time */
#define CUTS        (g_test_slow() ? 3000 : 60)
#define RUNS        (g_test_slow() ? 100000 : 25) /* for each kind of fault */

typedef struct Variant {
    const char *name, *create, *open;
    bool v2;
} Variant;

static const Variant variants[] = {
    { "default", "cluster_size=4k", "l2-cache-entry-size=512,overlap-check=all", false },
    { "clusters-512-refcount-64", "cluster_size=512,refcount_bits=64",
      "l2-cache-size=4096,l2-cache-entry-size=512,refcount-cache-size=2048", false },
    { "v2", "cluster_size=1k,compat=0.10", "l2-cache-size=4096,l2-cache-entry-size=512", true },
    { "extended", "cluster_size=16k,extended_l2=on", "l2-cache-entry-size=512", false },
};

typedef struct Contents {
    unsigned sectors;
    uint8_t value[SECTORS_MAX]; /* each sector is filled with one byte */
} Contents;

typedef struct State {
    Contents disk;
    unsigned nb_snapshots;
    int names[SNAPSHOTS];
    Contents snapshots[SNAPSHOTS];
    unsigned begin, end; /* of the step that led here: the file's time */
} State;

typedef struct Guest {
    const Variant *v;
    CrashDisk *file;
    BlockBackend *blk;
    GRand *r;
    State *states; /* STEPS + 1 */
    int nb_states; /* those that were reached; after a failed step one more was tried */
    bool failed;
    int next_name;
} Guest;

static uint32_t rnd(Guest *g, uint32_t below)
{
    return g_rand_int_range(g->r, 0, below);
}

static void create_image(const Variant *v, char **image, gsize *length)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-qcow2-snapshot-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    blk_options_parse(o, v->create, NULL, &error_abort);
    blk_options_setf(o, "size", "%d", SECTORS * CRASH_SECTOR);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    g_assert_true(g_file_get_contents(path, image, length, NULL));
    g_unlink(path);
}

/* --- steps: each changes @to, which begins as a copy of the state before --- */

static int write_step(Guest *g, State *to, uint8_t value)
{
    unsigned first = rnd(g, to->disk.sectors), n = 1 + rnd(g, MIN(to->disk.sectors - first, 60U));
    g_autofree uint8_t *buf = g_malloc(n * CRASH_SECTOR);
    int64_t offset = (int64_t)first * CRASH_SECTOR;
    int ret;

    if (rnd(g, 4) == 0) {
        value = 0;
        ret = blk_pwrite_zeroes(g->blk, offset, n * CRASH_SECTOR,
                                rnd(g, 2) ? BDRV_REQ_MAY_UNMAP : 0);
    } else {
        memset(buf, value, n * CRASH_SECTOR);
        ret = blk_pwrite(g->blk, offset, n * CRASH_SECTOR, buf, 0);
    }
    memset(to->disk.value + first, value, n);
    return ret;
}

static int grow_step(Guest *g, State *to)
{
    unsigned old = to->disk.sectors;

    if (g->v->v2) {
        return 0;
    }
    to->disk.sectors = MIN(old + rnd(g, 50), (unsigned)SECTORS_MAX);
    memset(to->disk.value + old, 0, to->disk.sectors - old);
    return blk_truncate(g->blk, (int64_t)to->disk.sectors * CRASH_SECTOR, true, PREALLOC_MODE_OFF,
                        0, NULL);
}

static int create_step(Guest *g, State *to)
{
    QEMUSnapshotInfo sn = { 0 };

    if (to->nb_snapshots == SNAPSHOTS) {
        return 0;
    }
    to->names[to->nb_snapshots] = g->next_name++;
    g_snprintf(sn.name, sizeof(sn.name), "sn%d", to->names[to->nb_snapshots]);
    if (rnd(g, 3) == 0) {
        uint8_t state[3000];

        memset(state, 0x55, sizeof(state));
        sn.vm_state_size = sizeof(state);
        blk_save_vmstate(g->blk, state, 0, sizeof(state));
    }
    to->snapshots[to->nb_snapshots++] = to->disk;
    return bdrv_snapshot_create(blk_bs(g->blk), &sn);
}

static int apply_step(Guest *g, State *to)
{
    unsigned i;
    char name[32];

    if (!to->nb_snapshots) {
        return 0;
    }
    i = rnd(g, to->nb_snapshots);
    g_snprintf(name, sizeof(name), "sn%d", to->names[i]);
    to->disk = to->snapshots[i];
    return bdrv_snapshot_goto(blk_bs(g->blk), name, NULL);
}

static int delete_step(Guest *g, State *to)
{
    unsigned i;
    char name[32];

    if (!to->nb_snapshots) {
        return 0;
    }
    i = rnd(g, to->nb_snapshots);
    g_snprintf(name, sizeof(name), "sn%d", to->names[i]);
    to->nb_snapshots--;
    memmove(to->names + i, to->names + i + 1, (to->nb_snapshots - i) * sizeof(int));
    memmove(to->snapshots + i, to->snapshots + i + 1,
            (to->nb_snapshots - i) * sizeof(Contents));
    return bdrv_snapshot_delete(blk_bs(g->blk), NULL, name, NULL);
}

static int one_step(Guest *g, State *to, int number)
{
    int ret;

    switch (rnd(g, 8)) {
    case 0: case 1: return create_step(g, to);
    case 2: return apply_step(g, to);
    case 3: return delete_step(g, to);
    case 4: ret = grow_step(g, to); break;
    default: ret = write_step(g, to, number + 1); break;
    }
    return ret < 0 ? ret : blk_flush(g->blk);
}

/* Until a step fails. False: the image did not open. */
static bool run_guest(Guest *g)
{
    g->blk = crash_open_qcow2(g->file, g->v->open, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP,
                              NULL);
    for (int i = 0; g->blk && i < STEPS && !g->failed; i++) {
        State *to = &g->states[g->nb_states];

        *to = g->states[g->nb_states - 1];
        to->begin = crash_tick(g->file);
        g->failed = one_step(g, to, i) < 0;
        to->end = crash_tick(g->file);
        g->nb_states += !g->failed;
    }
    return g->blk;
}

/* --- what is left --- */

static bool read_contents(BlockBackend *blk, Contents *c)
{
    int64_t length = blk_getlength(blk);
    g_autofree uint8_t *buf = g_malloc(SECTORS_MAX * CRASH_SECTOR);

    g_assert_cmpint(length, <=, SECTORS_MAX * CRASH_SECTOR);
    memset(c, 0, sizeof(*c));
    c->sectors = length / CRASH_SECTOR;
    if (blk_pread(blk, 0, length, buf, 0) < 0) {
        return false;
    }
    for (unsigned s = 0; s < c->sectors; s++) {
        const uint8_t *p = buf + (size_t)s * CRASH_SECTOR;

        for (int i = 1; i < CRASH_SECTOR; i++) {
            g_assert_cmpint(p[i], ==, p[0]);
        }
        c->value[s] = p[0];
    }
    return true;
}

static bool same_contents(const Contents *a, const Contents *b)
{
    return a->sectors == b->sectors && !memcmp(a->value, b->value, a->sectors);
}

/* Is the disk as before or after the step? Between two of the same size each sector may be either. */
static bool disk_between(const Contents *c, const Contents *a, const Contents *b)
{
    if (a->sectors != b->sectors || same_contents(c, a) || same_contents(c, b)) {
        return same_contents(c, a) || same_contents(c, b);
    }
    for (unsigned s = 0; s < c->sectors; s++) {
        if (c->value[s] != a->value[s] && c->value[s] != b->value[s]) {
            return false;
        }
    }
    return c->sectors == a->sectors;
}

static bool same_list(const QEMUSnapshotInfo *list, int n, const State *state)
{
    bool same = n == (int)state->nb_snapshots;

    for (int i = 0; i < n && same; i++) {
        same = atoi(list[i].name + 2) == state->names[i];
    }
    return same;
}

/* @blk holds what the state @a or the state @b says. */
static void compare_state(const Guest *g, BlockBackend *blk, const State *a, const State *b)
{
    g_autofree QEMUSnapshotInfo *list = NULL;
    int n = bdrv_snapshot_list(blk_bs(blk), &list);
    Contents c;

    g_assert_true(read_contents(blk, &c));
    if (!disk_between(&c, &a->disk, &b->disk)) {
        g_error("the disk of %u sectors is neither as before (%u) nor as after the step (%u)",
                c.sectors, a->disk.sectors, b->disk.sectors);
    }
    g_assert_true(same_list(list, n, a) || same_list(list, n, b));
}

/* Each snapshot that the image @file has holds what one of the states knows of it. */
static void compare_snapshots(const Guest *g, CrashDisk *file, const State *a, const State *b)
{
    const State *states[2] = { a, b };

    for (int which = 0; which < 2; which++) {
        for (unsigned i = 0; i < states[which]->nb_snapshots; i++) {
            BlockBackend *blk = crash_open_qcow2(file, g->v->open, 0, &error_abort);
            g_autofree char *name = g_strdup_printf("sn%d", states[which]->names[i]);
            Contents c;

            if (bdrv_snapshot_load_tmp_by_id_or_name(blk_bs(blk), name, NULL) == 0) {
                g_assert_true(read_contents(blk, &c));
                g_assert_true(same_contents(&c, &states[which]->snapshots[i]));
            } else {
                g_assert_true(a != b && a->nb_snapshots != b->nb_snapshots);
            }
            blk_unref(blk);
        }
    }
}

/* What bdrv_check() says on stderr meanwhile, which is the only place that tells flags apart. */
static GString *check_findings(BlockBackend *blk, BdrvCheckMode fix, BdrvCheckResult *r)
{
    g_autofree char *name = NULL;
    int old = dup(STDERR_FILENO), fd = g_file_open_tmp(NULL, &name, NULL);
    GString *lines = g_string_new(NULL);
    char buf[4096];
    ssize_t n;

    g_unlink(name);
    dup2(fd, STDERR_FILENO);
    g_assert_cmpint(bdrv_check(blk_bs(blk), r, fix), ==, 0);
    dup2(old, STDERR_FILENO);
    close(old);
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        g_string_append_len(lines, buf, n);
    }
    close(fd);
    return lines;
}

static int count_wrong_flags(const char *lines)
{
    int n = 0;

    while ((lines = strstr(lines, "OFLAG_COPIED"))) {
        lines++;
        n++;
    }
    return n;
}

/* @after_cut: nobody has opened it for writing since. */
static void check(const Guest *g, CrashDisk *file, BdrvCheckMode fix, bool after_cut)
{
    GString *lines;
    BlockBackend *blk = crash_open_qcow2(file, g->v->open,
                                         BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0), &error_abort);
    BlockQcow2Info info;
    BdrvCheckResult r;
    bool flags_may_be_wrong;

    g_assert_true(bdrv_qcow2_get_info(blk_bs(blk), &info));
    flags_may_be_wrong = !fix && (info.dirty || (g->v->v2 && after_cut));
    g_assert_true(!info.dirty || after_cut);
    g_assert_false(info.corrupt);
    lines = check_findings(blk, fix, &r);
    if (r.check_errors ||
        r.corruptions != (flags_may_be_wrong ? count_wrong_flags(lines->str) : 0) ||
        (fix && r.leaks)) {
        g_error("%d corruptions, %d errors: %s", r.corruptions, r.check_errors, lines->str);
    }
    blk_unref(blk);
    g_string_free(lines, true);
}

/* The image is whole, holds what it has to, and goes on: snapshots can be made and deleted. */
static void examine(const Guest *g, CrashDisk *file, const State *a, const State *b)
{
    QEMUSnapshotInfo sn = { .name = "after" };
    uint8_t buf[4 * CRASH_SECTOR];
    BlockBackend *blk;

    check(g, file, 0, true);
    compare_snapshots(g, file, a, b);
    if (g->v->v2) {
        check(g, file, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, true);
    }
    blk = crash_open_qcow2(file, g->v->open, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    compare_state(g, blk, a, b);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, 0);
    for (int i = 0; i < 4; i++) {
        memset(buf, 0xe0 + i, sizeof(buf));
        g_assert_cmpint(blk_pwrite(blk, SECTORS / 4 * i * CRASH_SECTOR, sizeof(buf), buf, 0), ==, 0);
    }
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "after", &error_abort), ==, 0);
    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(blk), NULL, "after", &error_abort), ==, 0);
    compare_state(g, blk, a, b);
    blk_unref(blk);
    compare_snapshots(g, file, a, b);
    check(g, file, 0, false);
    check(g, file, BDRV_FIX_LEAKS, false);
}

static void guest_begin(Guest *g, const Variant *v, const char *image, gsize length, uint32_t seed)
{
    *g = (Guest){ .v = v, .file = crash_disk_new((const uint8_t *)image, length),
                  .r = g_rand_new_with_seed(seed), .states = g_new0(State, STEPS + 1),
                  .nb_states = 1 };
    g->states[0].disk.sectors = SECTORS;
}

static void guest_end(Guest *g)
{
    g_rand_free(g->r);
    g_free(g->states);
    crash_disk_free(g->file);
}

/* --- tests --- */

static void power_cuts(gconstpointer data)
{
    const Variant *v = data;
    g_autofree char *image = NULL;
    uint32_t seed = g_test_rand_int();
    gsize length;
    Guest g;

    create_image(v, &image, &length);
    guest_begin(&g, v, image, length, seed);
    g_assert_true(run_guest(&g) && !g.failed);
    blk_unref(g.blk);
    for (int i = 0; i < CUTS; i++) {
        unsigned time = rnd(&g, crash_now(g.file) + 1);
        CrashDisk *cut = crash_cut(g.file, time, g.r);
        int k = 0;

        while (k + 1 < g.nb_states && g.states[k + 1].end <= time) {
            k++;
        }
        g_test_message("guest %u: power cut at %u of %u, after step %d", seed, time,
                       crash_now(g.file), k);
        examine(&g, cut, &g.states[k],
                &g.states[k + 1 < g.nb_states && g.states[k + 1].begin <= time ? k + 1 : k]);
        crash_disk_free(cut);
    }
    guest_end(&g);
}

/* False: the run was over before it came to that call. */
static bool fail_at(const Variant *v, const char *image, gsize length, uint32_t seed,
                    CrashFault fault, unsigned call)
{
    const State *before, *after;
    Guest g;
    bool failed;

    g_test_message("guest %u: fault %d at call %u", seed, fault, call);
    guest_begin(&g, v, image, length, seed);
    g.file->fault = fault;
    g.file->fail_at = call;
    run_guest(&g);
    before = &g.states[g.nb_states - 1];
    after = g.failed ? &g.states[g.nb_states] : before;
    if (g.blk) {
        g.file->paused = true;
        if (!g.file->barrier_failed) {
            compare_state(&g, g.blk, before, after);
        }
        g.file->paused = false;
        blk_unref(g.blk);
    }
    failed = g.file->calls >= call;
    g.file->fail_at = 0;
    examine(&g, g.file, before, after);
    guest_end(&g);
    return failed;
}

static void every_call_fails(gconstpointer data)
{
    const Variant *v = data;
    g_autofree char *image = NULL;
    uint32_t seed = g_test_rand_int();
    GRand *r = g_rand_new_with_seed(seed);
    gsize length;

    create_image(v, &image, &length);
    for (int fault = 0; fault < CRASH_FAULTS; fault++) {
        unsigned call = 1;

        for (int i = 0; i < RUNS && fail_at(v, image, length, seed, fault, call); i++) {
            call += g_test_slow() ? 1 : g_rand_int_range(r, 1, 60);
        }
    }
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *cut = g_strconcat("/qcow2/snapshot/power-cut/", variants[i].name, NULL);
        g_autofree char *faults = g_strconcat("/qcow2/snapshot/faults/", variants[i].name, NULL);

        g_test_add_data_func(cut, &variants[i], power_cuts);
        g_test_add_data_func(faults, &variants[i], every_call_fails);
    }
    return g_test_run();
}
