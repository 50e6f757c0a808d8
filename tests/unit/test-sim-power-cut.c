/* SPDX-License-Identifier: MIT */
/* sim: what is durable when, and each state that a power cut can leave. */
#include "sim-fixture.h"
#include "block/block-image.h"
#include "qemu/main-loop.h"

/* --- power cuts --- */

static void test_flush_makes_durable(void)
{
    uint64_t before, flushed;

    setup(1 << 20);
    put(0, 2, 'a');
    before = sim_power_now(power);
    flush();
    flushed = sim_power_now(power);
    put(1, 2, 'b');
    assert_after(0, "all", "........");
    assert_after(before, "none", "........");
    assert_after(before, "all", "aa......");
    assert_after(flushed - 1, "none", "........");
    assert_after(flushed, "none", "aa......");
    assert_after(sim_power_now(power), "none", "aa......");
    assert_after(sim_power_now(power), "all", "abb.....");
    assert_after(sim_power_now(power), "tear-front:0", "ab......");
    assert_after(sim_power_now(power), "tear-back:0", "aab.....");
    /* In flight: it had begun, not ended. */
    assert_after(flushed + 1, "all", "abb.....");
    assert_after(flushed + 1, "none", "aa......");
    teardown();
}

static void test_requests_are_lost_and_reordered(void)
{
    uint64_t now;

    setup(1 << 20);
    put(0, 4, 'a');
    put(1, 1, 'b');
    put(2, 1, 'c');
    put(2, 2, 'd');
    now = sim_power_now(power);
    assert_after(now, "all", "abdd....");
    assert_after(now, "lose-one:3", "abca....");
    assert_after(now, "lose-one:0", ".bdd....");
    assert_after(now, "keep-one:2", "..c.....");
    assert_after(now, "keep-prefix:2", "abaa....");
    assert_after(now, "keep-suffix:2", "..dd....");
    assert_after(now, "tear-last:0", "aa......");
    assert_after(now, "tear-odd:0", "abdd....");
    teardown();
}

static void test_fua_is_durable_alone(void)
{
    setup(1 << 20);
    put(0, 2, 'a');
    g_assert_cmpint(put_flags(1, 1, 'f', BDRV_REQ_FUA), ==, 0);
    put(2, 1, 'c');
    assert_after(sim_power_now(power), "none", ".f......");
    assert_after(sim_power_now(power), "all", "afc.....");
    assert_after(sim_power_now(power), "keep-one:0", "af......");
    teardown();
}

static void test_length_is_volatile_too(void)
{
    g_autoptr(SimCut) cut = NULL;
    g_autoptr(SimPower) to = NULL;

    setup(4 * S);
    put(0, 4, 'a');
    flush();
    g_assert_cmpint(blk_truncate(blk, 2 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    g_assert_cmpint(blk_truncate(blk, 8 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    put(7, 1, 'b');
    assert_after(sim_power_now(power), "none", "aaaa....");
    assert_after(sim_power_now(power), "all", "aa.....b");
    assert_after(sim_power_now(power), "lose-one:0", "aaaa...b");
    cut = sim_cut_new(power, sim_power_now(power));
    to = load(sim_cut_state(cut, (SimChoice){ SIM_KEEP_NONE, 0, 0 }));
    g_assert_cmpint(sim_disk_length(sim_power_disk(to, 0)), ==, 4 * S);
    teardown();
}

static void test_disks_of_one_supply_flush_apart_and_fail_together(void)
{
    SimDisk *second;
    BlockBackend *first_blk, *second_blk;

    setup(8 * S);
    second = sim_disk_new(power, NULL, 8 * S, &error_abort);
    first_blk = blk;
    second_blk = sim_disk_open(second, NULL, BDRV_O_RDWR, &error_abort);
    put(0, 1, 'a');
    blk = second_blk;
    put(0, 1, 'A');
    flush();
    put(1, 1, 'B');
    {
        g_autofree char *one = after_disk(sim_power_now(power), "none", 0);
        g_autofree char *two = after_disk(sim_power_now(power), "none", 1);
        g_autofree char *all = after_disk(sim_power_now(power), "all", 1);

        g_assert_cmpstr(one, ==, "........");
        g_assert_cmpstr(two, ==, "A.......");
        g_assert_cmpstr(all, ==, "AB......");
    }
    sim_power_cut(power);
    g_assert_cmpint(put_flags(2, 1, 'C', 0), ==, -EIO);
    blk = first_blk;
    g_assert_cmpint(put_flags(2, 1, 'c', 0), ==, -EIO);
    blk_unref(second_blk);
    teardown();
}

/* Each choice differs from the others when every sector that is written is. */
static void test_systematic_choices_are_all_different(void)
{
    setup(1 << 20);
    for (int n = 0; n < 7; n++) {
        g_autoptr(SimCut) cut = sim_cut_new(power, sim_power_now(power));
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                                           NULL);

        g_assert_cmpint(sim_cut_n_pending(cut), ==, n);
        g_assert_cmpint(sim_cut_n_choices(cut), >=, n ? 2 : 1);
        for (unsigned i = 0; i < sim_cut_n_choices(cut); i++) {
            SimChoice choice = sim_cut_choice(cut, i), again;
            g_autoptr(SimState) state = sim_cut_state(cut, choice);
            g_autofree char *text = sim_choice_to_string(choice);
            uint64_t hash = sim_state_hash(state);

            if (!g_hash_table_add(seen, g_memdup2(&hash, sizeof(hash)))) {
                g_error("of %d requests, %s is there twice", n, text);
            }
            g_assert_true(sim_choice_parse(text, &again, &error_abort));
            g_assert_cmpmem(&choice, sizeof(choice), &again, sizeof(again));
        }
        put(n * 10, 1 + n % 4, 'a' + n);
    }
    teardown();
}

/* From enough seeds come all results for two sectors, and none that is impossible. */
static void test_random_choices_reach_everything(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    setup(8 * S);
    put(0, 2, 'a');
    flush();
    put(0, 2, 'b');
    put(1, 2, 'c');
    for (int seed = 0; seed < 2000; seed++) {
        g_autofree char *choice = g_strdup_printf("random:%d", seed);
        char *found = after(sim_power_now(power), choice), *again = after(sim_power_now(power),
                                                                          choice);

        g_assert_cmpstr(found, ==, again);
        g_assert_nonnull(strchr("ab", found[0]));
        g_assert_nonnull(strchr("abc", found[1]));
        g_assert_nonnull(strchr(".c", found[2]));
        g_free(again);
        g_hash_table_add(seen, found);
    }
    g_assert_cmpint(g_hash_table_size(seen), ==, 2 * 3 * 2);
    teardown();
}

static void test_live_cut_and_return(void)
{
    uint8_t byte;
    uint64_t now;

    setup(8 * S);
    put(0, 1, 'a');
    flush();
    put(1, 1, 'b');
    put(2, 1, 'c');
    sim_power_cut_at_request(power, 2);
    put(3, 1, 'd');
    g_assert_true(sim_power_is_on(power));
    g_assert_cmpint(put_flags(4, 1, 'e', 0), ==, -EIO);
    g_assert_false(sim_power_is_on(power));
    g_assert_cmpint(blk_pread(blk, 0, 1, &byte, 0), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
    now = sim_power_now(power);
    sim_power_on(power, (SimChoice){ SIM_KEEP_ONE, 1, 0 });
    g_assert_true(sim_power_is_on(power));
    g_assert_cmpuint(sim_power_now(power), >=, now);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR, &error_abort);
    assert_after(sim_power_now(power), "none", "a.c.....");
    put(5, 1, 'f');
    assert_after(sim_power_now(power), "all", "a.c..f..");
    teardown();
}

static void test_sector_size_is_the_unit(void)
{
    setup(1 << 20);
    sim_disk_set_sector_size(disk, 4096);
    put(0, 16, 'a');
    assert_after(sim_power_now(power), "tear-front:0", "aaaaaaaa");
    assert_after(sim_power_now(power), "tear-back:0", "........");
    teardown();
}

static void test_discards(void)
{
    int kept = 0, zero = 0, other = 0;

    setup(1 << 20);
    put(0, 4, 'a');
    g_assert_cmpint(blk_pdiscard(blk, S, 2 * S), ==, 0);
    assert_after(sim_power_now(power), "all", "a..a....");
    assert_after(sim_power_now(power), "keep-one:0", "aaaa....");
    sim_disk_set_discard(disk, SIM_DISCARD_KEEP);
    g_assert_cmpint(blk_pdiscard(blk, 0, S), ==, 0);
    assert_after(sim_power_now(power), "all", "a..a....");
    put(0, 300, 'x');
    sim_disk_set_discard(disk, SIM_DISCARD_GARBAGE);
    g_assert_cmpint(blk_pdiscard(blk, 0, 300 * S), ==, 0);
    for (int i = 0; i < 300; i++) {
        uint8_t buf[2];

        sim_disk_peek(disk, i * S, buf, 2);
        kept += buf[0] == 'x' && buf[1] == 'x';
        zero += !buf[0] && !buf[1];
        other += buf[0] != buf[1];
    }
    g_assert_cmpint(MIN(kept, MIN(zero, other)), >, 50);
    teardown();
}

static void test_long_runs_take_little_memory(void)
{
    setup(1 << 20);
    sim_power_set_log(power, false);
    sim_disk_set_instant(disk);
    for (int i = 0; i < 3000; i++) {
        put(i * 64 % 2048, 64, i);
    }
    {
        g_autoptr(SimCut) cut = sim_cut_new(power, sim_power_now(power));

        /* 32 KiB each: no more than what 32 MiB hold, and one. */
        g_assert_cmpint(sim_cut_n_pending(cut), <=, 1025);
        g_assert_cmpint(sim_cut_n_pending(cut), >, 0);
    }
    flush();
    {
        g_autoptr(SimCut) cut = sim_cut_new(power, sim_power_now(power));

        g_assert_cmpint(sim_cut_n_pending(cut), ==, 0);
    }
    teardown();
}

/* --- a whole image --- */

static void test_qcow2_survives_cuts(void)
{
    g_autoptr(SimPower) other = sim_power_new(0);
    unsigned states = 0;

    power = sim_power_new(g_test_rand_int());
    disk = sim_disk_new(power, NULL, 0, &error_abort);
    g_assert_cmpint(sim_disk_create(disk, "qcow2", "size=1M,cluster_size=4k", &error_abort), ==, 0);
    {
        g_autoptr(SimState) state = sim_power_state(power);

        sim_power_load(power, state);
    }
    blk = sim_disk_open(disk, "driver=qcow2", BDRV_O_RDWR, &error_abort);
    put(0, 8, 'a');
    flush();
    put(100, 20, 'b');
    blk_unref(blk);
    for (uint64_t t = 0; t <= sim_power_now(power); t++) {
        g_autoptr(SimCut) cut = sim_cut_new(power, t);

        for (unsigned i = 0; i < sim_cut_n_choices(cut); i++) {
            g_autoptr(SimState) state = sim_cut_state(cut, sim_cut_choice(cut, i));
            BdrvCheckResult r;

            sim_power_load(other, state);
            sim_disk_set_instant(sim_power_disk(other, 0));
            blk = sim_disk_open(sim_power_disk(other, 0), "driver=qcow2",
                                BDRV_O_RDWR | BDRV_O_CHECK, &error_abort);
            g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
            g_assert_cmpint(r.corruptions, ==, 0);
            blk_unref(blk);
            states++;
        }
    }
    g_test_message("%u states", states);
    g_assert_cmpint(states, >, 50);
    sim_power_unref(power);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/sim/flush-makes-durable", test_flush_makes_durable);
    g_test_add_func("/sim/requests-are-lost-and-reordered", test_requests_are_lost_and_reordered);
    g_test_add_func("/sim/fua-is-durable-alone", test_fua_is_durable_alone);
    g_test_add_func("/sim/length-is-volatile-too", test_length_is_volatile_too);
    g_test_add_func("/sim/disks-of-one-supply-flush-apart-and-fail-together",
                    test_disks_of_one_supply_flush_apart_and_fail_together);
    g_test_add_func("/sim/systematic-choices-are-all-different",
                    test_systematic_choices_are_all_different);
    g_test_add_func("/sim/random-choices-reach-everything", test_random_choices_reach_everything);
    g_test_add_func("/sim/live-cut-and-return", test_live_cut_and_return);
    g_test_add_func("/sim/sector-size-is-the-unit", test_sector_size_is_the_unit);
    g_test_add_func("/sim/discards", test_discards);
    g_test_add_func("/sim/qcow2-survives-cuts", test_qcow2_survives_cuts);
    g_test_add_func("/sim/long-runs-take-little-memory", test_long_runs_take_little_memory);
    return g_test_run();
}
