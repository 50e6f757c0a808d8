/* SPDX-License-Identifier: MIT */
/*
 * qcow2 and power cuts: a random guest works on a disk with a volatile cache, and the power is cut
 * at many instants (-m slow: many more). Whatever the disk kept of what was not flushed, the image has at worst
 * leaked clusters, and holds all that the guest had flushed. --seed replays a failure.
 */
#include "crash-guest.h"

#define STEPS 150
#define CUTS  (g_test_slow() ? 2000 : 80)
#define CUTS_AT_SWITCH (g_test_slow() ? 100 : 10)

/* Any time, or, as that is when most metadata is written, one during a flush. */
static unsigned choose_time(const Guest *g)
{
    const GuestEvent *e = &g_array_index(g->history, GuestEvent,
                                         g_rand_int_range(g->r, 0, g->history->len));

    while (g_rand_boolean(g->r) && e->kind != GUEST_FLUSH) {
        e = &g_array_index(g->history, GuestEvent, g_rand_int_range(g->r, 0, g->history->len));
    }
    return e->kind == GUEST_FLUSH && e->end ? g_rand_int_range(g->r, e->begin, e->end + 1)
                                            : g_rand_int_range(g->r, 0, crash_now(g->disk) + 1);
}

static void cut_at(Guest *g, unsigned time)
{
    CrashDisk *cut = crash_cut(g->disk, time, g->r);

    g_test_message("power cut at %u of %u", time, crash_now(g->disk));
    guest_examine(g, cut, time);
    crash_disk_free(cut);
}

/* While a header changes: what it newly refers to is durable by then. */
static void cut_at_switches(Guest *g)
{
    const GArray *switches = g->disk->switches;

    for (guint i = 0; i < switches->len; i++) {
        unsigned time = g_array_index(switches, unsigned, i);

        /* It is being written; it was, and is being flushed; a moment later. */
        for (unsigned k = 0; k < 4 * CUTS_AT_SWITCH; k++) {
            cut_at(g, MIN(time + k % 4, crash_now(g->disk)));
        }
    }
}

static void power_cuts(gconstpointer data)
{
    const GuestVariant *v = data;
    g_autofree char *image = NULL;
    uint32_t seed = g_test_rand_int();
    CrashDisk *disk;
    gsize length;
    Guest g;

    guest_create(v, &image, &length);
    disk = crash_disk_new((uint8_t *)image, length);
    guest_init(&g, v, disk, seed);
    g_assert_true(guest_run(&g, STEPS));
    guest_compare(&g, g.blk, GUEST_ALL);
    blk_unref(g.blk);
    g_test_message("guest %u: until %u, %u header changes", seed, crash_now(disk),
                   disk->switches->len);
    for (int i = 0; i < CUTS; i++) {
        cut_at(&g, choose_time(&g));
    }
    cut_at_switches(&g);
    guest_examine(&g, disk, GUEST_ALL);
    guest_destroy(&g);
    crash_disk_free(disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(guest_variants); i++) {
        g_autofree char *path = g_strconcat("/qcow2/power-cut/", guest_variants[i].name, NULL);

        g_test_add_data_func(path, &guest_variants[i], power_cuts);
    }
    return g_test_run();
}
