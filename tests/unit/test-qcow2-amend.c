/* SPDX-License-Identifier: MIT */
/*
 * Changing what an image is (bdrv_amend_options()) on a disk that fails, and whose power is cut in
 * the middle: a random guest fills the disk, snapshots are made, then version and refcount width
 * change a few times. At every instant the image is whole and holds what the guest wrote.
 * --seed replays a failure; -m slow leaves no call out.
 */
#include "crash-guest.h"
#include "block/block-image.h"
#include "block/snapshot.h"

#define STEPS 60
#define CUTS  (g_test_slow() ? 2000 : 60)
#define RUNS  (g_test_slow() ? 100000 : 15)

static const GuestVariant variants[] = {
    { "default", "cluster_size=64k", "l2-cache-entry-size=512", 1 << 20, 65536, false },
    { "clusters-512", "cluster_size=512", "l2-cache-entry-size=512", 512 << 10, 512, false },
    { "clusters-4k-refcount-1", "cluster_size=4k,refcount_bits=1",
      "l2-cache-entry-size=512", 1 << 20, 4096, false },
    { "v2", "cluster_size=1k,compat=0.10", "l2-cache-entry-size=512", 512 << 10, 1024, false },
};

static const char *const changes[] = {
    "compat=1.1,refcount_bits=64", "compat=0.10,refcount_bits=16", "compat=1.1,lazy_refcounts=on",
    "refcount_bits=8", "lazy_refcounts=off,refcount_bits=16", "compat=0.10",
};

static int change(Guest *g, const char *text)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, text, NULL, &error_abort);
    return bdrv_amend_options(blk_bs(g->blk), o, NULL, NULL, false, NULL);
}

/* False: opening failed. What the guest wrote is flushed. */
static bool fill(Guest *g)
{
    QEMUSnapshotInfo sn = { .name = "s" };
    guint e;

    if (!guest_run(g, STEPS)) {
        return false;
    }
    e = guest_begin(g, GUEST_FLUSH, 0, 0);
    guest_end(g, e, blk_flush(g->blk));
    if (!strstr(g->v->create, "refcount_bits=1")) {
        bdrv_snapshot_create(blk_bs(g->blk), &sn);
        for (int i = 0; i < 8; i++) {
            guest_step(g);
        }
        guest_wait_all(g);
    }
    return true;
}

static void power_cuts(gconstpointer data)
{
    const GuestVariant *v = data;
    g_autofree char *image = NULL;
    uint32_t seed = g_test_rand_int();
    unsigned begin;
    CrashDisk *disk;
    gsize length;
    Guest g;

    guest_create(v, &image, &length);
    disk = crash_disk_new((uint8_t *)image, length);
    guest_init(&g, v, disk, seed);
    g_assert_true(fill(&g));
    begin = crash_now(disk);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_assert_cmpint(change(&g, changes[i]), ==, 0);
        guest_compare(&g, g.blk, GUEST_ALL);
    }
    guest_start(&g, GUEST_WRITE, 0, 4);
    guest_wait_all(&g);
    blk_unref(g.blk);
    for (int i = 0; i < CUTS; i++) {
        unsigned time = g_rand_int_range(g.r, begin, crash_now(disk) + 1);
        CrashDisk *cut = crash_cut(disk, time, g.r);

        g_test_message("guest %u: power cut at %u of %u to %u", seed, time, begin, crash_now(disk));
        guest_examine(&g, cut, time);
        crash_disk_free(cut);
    }
    guest_examine(&g, disk, GUEST_ALL);
    guest_destroy(&g);
    crash_disk_free(disk);
}

/* Call number @call of those that changes make fails. False: there are not so many. */
static bool fail_at(const GuestVariant *v, const char *image, gsize length, uint32_t seed,
                    CrashFault fault, unsigned call)
{
    CrashDisk *disk = crash_disk_new((const uint8_t *)image, length);
    bool failed;
    Guest g;

    guest_init(&g, v, disk, seed);
    g_assert_true(fill(&g));
    disk->fault = fault;
    disk->fail_at = disk->calls + call;
    g_test_message("guest %u: fault %d, call %u", seed, fault, call);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        change(&g, changes[i]); /* whichever of them fails, the image is one */
    }
    failed = disk->calls >= disk->fail_at;
    blk_unref(g.blk);
    disk->fail_at = 0;
    guest_examine(&g, disk, crash_now(disk));
    guest_destroy(&g);
    crash_disk_free(disk);
    return failed;
}

static void every_call_fails(gconstpointer data)
{
    const GuestVariant *v = data;
    g_autofree char *image = NULL;
    uint32_t seed = g_test_rand_int();
    gsize length;

    guest_create(v, &image, &length);
    for (int fault = 0; fault < CRASH_FAULTS; fault++) {
        unsigned call = 1;

        for (int i = 0; i < RUNS && fail_at(v, image, length, seed, fault, call); i++) {
            call += g_test_slow() ? 1 : g_test_rand_int_range(1, 30);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *cuts = g_strconcat("/qcow2/amend/power-cut/", variants[i].name, NULL);
        g_autofree char *faults = g_strconcat("/qcow2/amend/faults/", variants[i].name, NULL);

        g_test_add_data_func(cuts, &variants[i], power_cuts);
        g_test_add_data_func(faults, &variants[i], every_call_fails);
    }
    return g_test_run();
}
