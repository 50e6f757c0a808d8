/* SPDX-License-Identifier: MIT */
/*
 * qcow2 on a file that fails: the same random guest again and again, each time with another call
 * to the file failing, with no, half or all of its effect, for once or from then on. What the
 * guest reads next, after reopening, and after a power cut, is what it wrote and flushed, and
 * the image has at worst leaked clusters. --seed replays a failure; -m slow leaves no call out.
 */
#include "crash-guest.h"

#define STEPS 60
#define RUNS  (g_test_slow() ? 100000 : 20) /* for each kind of fault */

static const char *const fault_names[CRASH_FAULTS] = {
    "one call fails", "one call fails half done", "one call fails though done", "no space",
    "everything fails",
};

/* False: the run was over before it came to that call. */
static bool fail_at(const GuestVariant *v, const char *image, gsize length, uint32_t seed,
                    CrashFault fault, unsigned call)
{
    CrashDisk *disk = crash_disk_new((const uint8_t *)image, length), *cut;
    bool failed;
    Guest g;

    guest_init(&g, v, disk, seed);
    disk->fault = fault;
    disk->fail_at = call;
    g_test_message("guest %u: %s, call %u", seed, fault_names[fault], call);
    if (guest_run(&g, STEPS)) {
        disk->paused = true;
        /* That sticks, and a read may need a write: to make room for an L2 table. */
        if (!disk->barrier_failed) {
            guest_compare(&g, g.blk, GUEST_ALL);
        }
        disk->paused = false;
        blk_unref(g.blk);
    }
    failed = disk->calls >= call;
    disk->fail_at = 0;
    cut = crash_cut(disk, crash_now(disk), g.r);
    guest_examine(&g, cut, crash_now(disk));
    crash_disk_free(cut);
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

        /* All of the first calls, which open the image, and then random ones. */
        for (int i = 0; i < RUNS && fail_at(v, image, length, seed, fault, call); i++) {
            call += i < 6 || g_test_slow() ? 1 : g_test_rand_int_range(1, 40);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(guest_variants); i++) {
        g_autofree char *path = g_strconcat("/qcow2/faults/", guest_variants[i].name, NULL);

        g_test_add_data_func(path, &guest_variants[i], every_call_fails);
    }
    return g_test_run();
}
