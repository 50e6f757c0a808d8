/* SPDX-License-Identifier: MIT */
/*
 * Persistent bitmaps on a disk that fails or loses its power: whatever is left, the image is whole
 * but for leaks, a bitmap that is enabled and not marked in use has recorded every write that can be
 * read, one that was never touched is as it was, and the backing file's name is in its place.
 * --seed replays a failure; -m slow tries more.
 */
#include "crash-guest.h"

#include "block/dirty-bitmap.h"
#include "qemu/timer.h"

#define STEPS    25
#define SESSIONS 4
#define ROUNDS   (g_test_slow() ? 1000 : 5)
#define FLAGS    (BDRV_O_RDWR | BDRV_O_UNMAP | BDRV_O_NO_BACKING)

static const GuestVariant variants[] = {
    { "default", "cluster_size=64k", "l2-cache-entry-size=512", 1 << 20, 65536, false },
    { "clusters-512", "cluster_size=512", "l2-cache-size=4096,l2-cache-entry-size=512", 512 << 10,
      512, false },
    { "backing", "cluster_size=4k,backing_file=a-name-that-is-longer-than-a-bitmap-extension.img,"
      "backing_fmt=raw", "l2-cache-entry-size=512", 1 << 20, 4096, false },
    { "backing-64k", "cluster_size=64k,backing_file=another-name-that-is-longer-than-it.img,"
      "backing_fmt=qcow2", "l2-cache-entry-size=512", 1 << 20, 65536, false },
};

typedef struct Bitmaps {
    const GuestVariant *v;
    CrashDisk *disk;
    GRand *r;
    char *backing;
} Bitmaps;

static BdrvDirtyBitmap *add(BlockBackend *blk, uint32_t granularity, const char *name)
{
    BlockDriverState *bs = blk_bs(blk);
    BdrvDirtyBitmap *b = NULL;

    if (bdrv_can_store_new_dirty_bitmap(bs, name, granularity, NULL)) {
        b = bdrv_create_dirty_bitmap(bs, granularity, name, &error_abort);
        bdrv_dirty_bitmap_set_persistence(b, true);
    }
    return b;
}

/* Every third of 1000 bits at the start, and a long run behind. */
static bool in_pattern(int64_t offset)
{
    int64_t bit = offset / 512;

    return bit < 1000 ? bit % 3 == 0 : bit >= 1010 && bit < 1020;
}

static void create(Bitmaps *t, const GuestVariant *v)
{
    g_autofree char *image = NULL;
    gsize length;
    BlockBackend *blk;
    BdrvDirtyBitmap *off;

    *t = (Bitmaps){ .v = v, .r = g_rand_new() };
    guest_create(v, &image, &length);
    t->disk = crash_disk_new((uint8_t *)image, length);
    blk = crash_open_qcow2(t->disk, v->open, FLAGS, &error_abort);
    t->backing = g_strdup(bdrv_get_backing_filename(blk_bs(blk)));
    g_assert_nonnull(add(blk, 4096, "on"));
    off = add(blk, 512, "off");
    bdrv_disable_dirty_bitmap(off);
    for (int64_t at = 0; at < v->size; at += 512) {
        if (in_pattern(at)) {
            bdrv_set_dirty_bitmap(off, at, 1);
        }
    }
    blk_unref(blk);
}

/* --- what happens --- */

static void change_bitmaps(Bitmaps *t, BlockBackend *blk)
{
    static const char *const names[] = { "a", "another", "a-third" };
    const char *name = names[g_rand_int_range(t->r, 0, 3)];
    BlockDriverState *bs = blk_bs(blk);
    BdrvDirtyBitmap *b = bdrv_find_dirty_bitmap(bs, name);

    if (!b) {
        add(blk, 512 << g_rand_int_range(t->r, 0, 4), name);
    } else if (bdrv_dirty_bitmap_check(b, BDRV_BITMAP_DEFAULT, NULL) < 0 ||
               g_rand_boolean(t->r)) {
        if (bdrv_remove_persistent_dirty_bitmap(bs, name, NULL) == 0) {
            bdrv_release_dirty_bitmap(b);
        }
    } else if (bdrv_dirty_bitmap_enabled(b)) {
        bdrv_disable_dirty_bitmap(b);
        bdrv_merge_dirty_bitmap(b, bdrv_find_dirty_bitmap(bs, "off"), NULL);
    } else {
        bdrv_enable_dirty_bitmap(b);
    }
}

static void step(Bitmaps *t, BlockBackend *blk)
{
    unsigned sectors = t->v->size / CRASH_SECTOR, count = g_rand_int_range(t->r, 1, 20);
    unsigned first = g_rand_int_range(t->r, 0, sectors - count);
    uint8_t buf[20 * CRASH_SECTOR];

    switch (g_rand_int_range(t->r, 0, 8)) {
    case 0: case 1: case 2:
        memset(buf, g_rand_int_range(t->r, 1, 256), sizeof(buf));
        blk_pwrite(blk, first * CRASH_SECTOR, count * CRASH_SECTOR, buf, 0);
        break;
    case 3:
        blk_pwrite_zeroes(blk, first * CRASH_SECTOR, count * CRASH_SECTOR, BDRV_REQ_MAY_UNMAP);
        break;
    case 4:
        blk_flush(blk);
        break;
    case 5:
        bdrv_store_dirty_bitmaps(blk_bs(blk), NULL);
        break;
    default:
        change_bitmaps(t, blk);
    }
}

/* The image open once; false: it could not be opened. */
static bool session(Bitmaps *t)
{
    BlockBackend *blk = crash_open_qcow2(t->disk, t->v->open, FLAGS, NULL);

    for (int i = 0; blk && i < STEPS; i++) {
        step(t, blk);
    }
    blk_unref(blk);
    return blk;
}

/* --- what is left --- */

static void check(const Bitmaps *t, CrashDisk *d, unsigned fix)
{
    BlockBackend *blk = crash_open_qcow2(
        d, t->v->open, BDRV_O_CHECK | BDRV_O_NO_BACKING | (fix ? BDRV_O_RDWR : 0), &error_abort);
    BdrvCheckResult r;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, fix), ==, 0);
    if (r.corruptions || r.check_errors || (fix && r.leaks)) {
        g_error("%d corruptions, %d errors", r.corruptions, r.check_errors);
    }
    blk_unref(blk);
}

static void examine_on(BlockBackend *blk, BdrvDirtyBitmap *b, bool whole)
{
    int64_t length = blk_getlength(blk);
    g_autofree uint8_t *buf = g_malloc(length);

    g_assert_true(bdrv_dirty_bitmap_enabled(b));
    if (bdrv_dirty_bitmap_inconsistent(b)) {
        g_assert_false(whole);
        return;
    }
    g_assert_cmpint(blk_pread(blk, 0, length, buf, 0), ==, 0);
    for (int64_t at = 0; at < length; at += CRASH_SECTOR) {
        if (buf[at] && !bdrv_dirty_bitmap_get(b, at)) {
            g_error("the write at %" PRId64 " was not recorded", at);
        }
    }
}

static void examine_off(BlockBackend *blk, BdrvDirtyBitmap *b)
{
    g_assert_false(bdrv_dirty_bitmap_enabled(b));
    g_assert_false(bdrv_dirty_bitmap_inconsistent(b));
    for (int64_t at = 0; at < blk_getlength(blk); at += 512) {
        g_assert_cmpint(bdrv_dirty_bitmap_get(b, at), ==, in_pattern(at));
    }
}

static void examine(const Bitmaps *t, CrashDisk *d, bool whole)
{
    BlockBackend *blk;
    BlockDriverState *bs;

    check(t, d, 0);
    blk = crash_open_qcow2(d, t->v->open, BDRV_O_NO_BACKING, &error_abort);
    bs = blk_bs(blk);
    g_assert_cmpstr(bdrv_get_backing_filename(bs), ==, t->backing);
    examine_on(blk, bdrv_find_dirty_bitmap(bs, "on"), whole);
    examine_off(blk, bdrv_find_dirty_bitmap(bs, "off"));
    for (BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(bs); b; b = bdrv_dirty_bitmap_next(b)) {
        if (!bdrv_dirty_bitmap_inconsistent(b)) {
            g_assert_cmpint(bdrv_dirty_bitmap_load(b, &error_abort), ==, 0);
        }
    }
    blk_unref(blk);
}

/* It can go on from there; nothing is leaked for good. */
static void go_on(const Bitmaps *t, CrashDisk *d)
{
    Bitmaps after = { .v = t->v, .disk = d, .r = t->r, .backing = t->backing };

    g_assert_true(session(&after));
    examine(&after, d, false);
    check(t, d, BDRV_FIX_LEAKS);
    examine(&after, d, false);
}

/* @first: what create() made. */
static void start(Bitmaps *t, const Bitmaps *first, uint32_t seed)
{
    *t = (Bitmaps){ .v = first->v, .r = g_rand_new_with_seed(seed), .disk = crash_disk_settled(first->disk),
                    .backing = g_strdup(first->backing) };
    examine(t, t->disk, true);
}

static void end(Bitmaps *t)
{
    crash_disk_free(t->disk);
    g_rand_free(t->r);
    g_free(t->backing);
}

static void power_cuts(gconstpointer data)
{
    uint32_t seed = g_test_rand_int();
    Bitmaps first, t;

    create(&first, data);
    start(&t, &first, seed);
    for (int i = 0; i < SESSIONS; i++) {
        g_assert_true(session(&t));
        examine(&t, t.disk, true);
    }
    for (int i = 0; i < (g_test_slow() ? 3000 : 60); i++) {
        unsigned time = g_rand_int_range(t.r, 0, crash_now(t.disk) + 1);
        CrashDisk *cut = crash_cut(t.disk, time, t.r);

        g_test_message("seed %u: power cut %d at %u of %u", seed, i, time, crash_now(t.disk));
        examine(&t, cut, false);
        go_on(&t, cut);
        crash_disk_free(cut);
    }
    end(&t);
    end(&first);
}

/*
 * The first bitmap puts an extension into the header, and the removal of the last takes it out, which
 * moves the backing file's name: cuts at every instant of that.
 */
static void first_and_last(gconstpointer data)
{
    Bitmaps t = { .v = data, .r = g_rand_new_with_seed(g_test_rand_int()) };
    g_autofree char *image = NULL;
    BlockBackend *blk;
    gsize length;

    guest_create(t.v, &image, &length);
    t.disk = crash_disk_new((uint8_t *)image, length);
    for (int i = 0; i < 2; i++) {
        blk = crash_open_qcow2(t.disk, t.v->open, FLAGS, &error_abort);
        if (i == 0) {
            t.backing = g_strdup(bdrv_get_backing_filename(blk_bs(blk)));
            g_assert_nonnull(add(blk, 4096, "b"));
        } else {
            g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(blk_bs(blk), "b", &error_abort),
                            ==, 0);
            bdrv_release_dirty_bitmap(bdrv_find_dirty_bitmap(blk_bs(blk), "b"));
        }
        blk_unref(blk);
    }
    for (unsigned time = 0; time <= crash_now(t.disk); time++) {
        for (int i = 0; i < 5; i++) {
            CrashDisk *cut = crash_cut(t.disk, time, t.r);
            BdrvDirtyBitmap *b;

            check(&t, cut, 0);
            blk = crash_open_qcow2(cut, t.v->open, BDRV_O_NO_BACKING, &error_abort);
            g_assert_cmpstr(bdrv_get_backing_filename(blk_bs(blk)), ==, t.backing);
            b = bdrv_dirty_bitmap_first(blk_bs(blk));
            g_assert_cmpint(b ? bdrv_get_dirty_count(b) : 0, ==, 0);
            blk_unref(blk);
            crash_disk_free(cut);
        }
    }
    end(&t);
}

/* False: the run was over before that call. */
static bool fail_at(const Bitmaps *first, uint32_t seed, CrashFault fault, unsigned call)
{
    CrashDisk *cut;
    bool failed;
    Bitmaps t;

    start(&t, first, seed);
    t.disk->fault = fault;
    t.disk->fail_at = call;
    g_test_message("seed %u: fault %d, call %u", seed, fault, call);
    session(&t);
    failed = t.disk->calls >= call;
    t.disk->fail_at = 0;
    cut = crash_cut(t.disk, crash_now(t.disk), t.r);
    examine(&t, cut, false);
    crash_disk_free(cut);
    examine(&t, t.disk, false);
    go_on(&t, t.disk);
    end(&t);
    return failed;
}

static void every_call_fails(gconstpointer data)
{
    uint32_t seed = g_test_rand_int();
    Bitmaps first;

    create(&first, data);
    for (int fault = 0; fault < CRASH_FAULTS; fault++) {
        unsigned call = 1;

        for (int i = 0; i < (g_test_slow() ? 100000 : 12) && fail_at(&first, seed, fault, call); i++) {
            call += g_test_slow() ? 1 : g_test_rand_int_range(1, 40);
        }
    }
    end(&first);
}

/* --- at the same time --- */

#define FLIGHT_BYTES (512 << 10)

/*
 * Storing makes a new header out of the old one; a write that lets the refcount table grow changes
 * it, too. Neither may get lost.
 */
static void stored_while_written(void)
{
    static const GuestVariant v = { "growing", "cluster_size=512,refcount_bits=64",
                                    "l2-cache-entry-size=512", GUEST_MAX, 512, false };
    unsigned sectors = FLIGHT_BYTES / CRASH_SECTOR;
    g_autofree char *image = NULL;
    uint32_t seed = g_test_rand_int();
    gsize length;

    guest_create(&v, &image, &length);
    for (int round = 0; round < ROUNDS; round++) {
        CrashDisk *disk = crash_disk_new((uint8_t *)image, length);
        Guest g;

        guest_init(&g, &v, disk, seed + round);
        g.blk = crash_open_qcow2(disk, v.open, FLAGS, &error_abort);
        sim_disk_set_slow_range(disk->disk, 0, CRASH_SECTOR, 5 * SCALE_MS);
        g_assert_nonnull(add(g.blk, 4096, "b"));
        /* All L2 tables, as storing keeps writes waiting that need a new one. */
        for (unsigned at = 0; at < g.sectors; at += 64) {
            guest_start(&g, GUEST_WRITE, at, 1);
        }
        for (unsigned at = 0; at + sectors <= g.sectors; at += sectors) {
            guest_start(&g, GUEST_WRITE, at, sectors);
            for (int polls = g_rand_int_range(g.r, 0, 8); polls > 0; polls--) {
                aio_poll(qemu_get_aio_context(), false);
            }
            if (at) {
                g_assert_cmpint(bdrv_store_dirty_bitmaps(blk_bs(g.blk), &error_abort), ==, 0);
            }
        }
        guest_wait_all(&g);
        blk_unref(g.blk);
        g_test_message("guest %u", seed + round);
        guest_examine(&g, disk, GUEST_ALL);
        guest_destroy(&g);
        crash_disk_free(disk);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/qcow2/bitmap/stored-while-written", stored_while_written);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *cuts = g_strconcat("/qcow2/bitmap/power-cut/", variants[i].name, NULL);
        g_autofree char *faults = g_strconcat("/qcow2/bitmap/faults/", variants[i].name, NULL);
        g_autofree char *header = g_strconcat("/qcow2/bitmap/header/", variants[i].name, NULL);

        g_test_add_data_func(header, &variants[i], first_and_last);
        g_test_add_data_func(cuts, &variants[i], power_cuts);
        g_test_add_data_func(faults, &variants[i], every_call_fails);
    }
    return g_test_run();
}
