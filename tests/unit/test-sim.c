/* SPDX-License-Identifier: MIT */
/* sim: the simulated disk. What is durable when, what a power cut leaves, faults, the trace. */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-driver.h"
#include "block/block-image.h"
#include "block/sim.h"
#include "qemu/aio-sim.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define S 512

static SimPower *power;
static SimDisk *disk;
static BlockBackend *blk;

static void setup(int64_t size)
{
    power = sim_power_new(g_test_rand_int());
    disk = sim_disk_new(power, NULL, size, &error_abort);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP, &error_abort);
}

static void teardown(void)
{
    blk_unref(blk);
    sim_power_unref(power);
}

static int put_flags(int64_t sector, unsigned n, uint8_t value, BdrvRequestFlags flags)
{
    g_autofree uint8_t *buf = g_malloc(n * S);

    memset(buf, value, n * S);
    return blk_pwrite(blk, sector * S, n * S, buf, flags);
}

static void put(int64_t sector, unsigned n, uint8_t value)
{
    g_assert_cmpint(put_flags(sector, n, value, 0), ==, 0);
}

static void flush(void)
{
    g_assert_cmpint(blk_flush(blk), ==, 0);
}

/* A supply with the disks of the state. */
static SimPower *load(SimState *state)
{
    SimPower *to = sim_power_new(0);

    sim_power_load(to, state);
    sim_state_unref(state);
    return to;
}

/* The first bytes of the first sectors as a cut at @time with that choice leaves them. */
static char *after_disk(uint64_t time, const char *choice, unsigned number)
{
    g_autoptr(SimCut) cut = sim_cut_new(power, time);
    g_autoptr(SimPower) to = NULL;
    GString *s = g_string_new(NULL);
    SimChoice c;

    g_assert_true(sim_choice_parse(choice, &c, &error_abort));
    to = load(sim_cut_state(cut, c));
    for (int i = 0; i < 8; i++) {
        uint8_t byte;

        sim_disk_peek(sim_power_disk(to, number), i * S + 3, &byte, 1);
        g_string_append_c(s, byte ? byte : '.');
    }
    return g_string_free(s, FALSE);
}

static char *after(uint64_t time, const char *choice)
{
    return after_disk(time, choice, 0);
}

#define assert_after(time, choice, expected)        \
    do {                                            \
        g_autofree char *found_ = after(time, choice); \
        g_assert_cmpstr(found_, ==, expected);      \
    } while (0)

/* --- contents --- */

static void test_reads_what_was_written(void)
{
    uint8_t out[3000], in[3000];

    setup(1 << 20);
    for (unsigned i = 0; i < sizeof(out); i++) {
        out[i] = i * 7 + 1;
    }
    g_assert_cmpint(blk_pwrite(blk, 4000, sizeof(out), out, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4000, sizeof(in), in, 0), ==, 0);
    g_assert_cmpmem(out, sizeof(out), in, sizeof(in));
    g_assert_cmpint(blk_pread(blk, 3999, 1, in, 0), ==, 0);
    g_assert_cmpint(in[0], ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 4001, 2998, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4000, sizeof(in), in, 0), ==, 0);
    g_assert_cmpint(in[0], ==, 1);
    g_assert_cmpint(in[1], ==, 0);
    g_assert_cmpint(in[2999], ==, out[2999]);
    teardown();
}

static void test_terabyte_is_cheap(void)
{
    const int64_t size = INT64_C(1) << 40;
    int64_t pnum, map;
    BlockDriverState *file;
    uint8_t byte;

    setup(size);
    put(0, 1, 'a');
    put(size / S - 1, 1, 'b');
    put(size / S / 2, 1, 'c');
    g_assert_cmpint(sim_disk_allocated(disk), ==, 3 * 4096);
    g_assert_cmpint(blk_pread(blk, size - 1, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 'b');
    g_assert_cmpint(bdrv_block_status(blk_bs(blk), 4096, size - 4096, &pnum, &map, &file), ==,
                    BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED);
    g_assert_cmpint(pnum, ==, size / 2 - 4096);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, size, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(sim_disk_allocated(disk), ==, 0);
    assert_after(sim_power_now(power), "tear-back:3", "a.......");
    teardown();
}

static void test_equal_contents_have_equal_hashes(void)
{
    uint64_t empty, hash;

    setup(1 << 20);
    empty = sim_disk_hash(disk);
    put(5, 3, 'x');
    put(9, 1, 'y');
    hash = sim_disk_hash(disk);
    g_assert_cmpuint(hash, !=, empty);
    put(5, 3, 'z');
    g_assert_cmpuint(sim_disk_hash(disk), !=, hash);
    put(5, 3, 'x');
    g_assert_cmpuint(sim_disk_hash(disk), ==, hash);
    put(5, 3, 'y');
    put(9, 1, 'x');
    g_assert_cmpuint(sim_disk_hash(disk), !=, hash);
    put(0, 20, 0);
    g_assert_cmpuint(sim_disk_hash(disk), ==, empty);
    g_assert_cmpint(blk_truncate(blk, 2 << 20, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    g_assert_cmpuint(sim_disk_hash(disk), !=, empty);
    teardown();
}

/* Random changes, states in between, against plain arrays. */
static void test_states_share_and_stay(void)
{
    enum { SIZE = 300 * 1024, ROUNDS = 40 };
    g_autofree uint8_t *model = g_malloc0(SIZE), *buf = g_malloc(SIZE);
    SimState *states[ROUNDS];
    uint8_t *models[ROUNDS];

    setup(SIZE);
    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < 5; k++) {
            int offset = g_test_rand_int_range(0, SIZE - 1);
            int bytes = g_test_rand_int_range(1, MIN(SIZE - offset, 20000) + 1);

            memset(buf, g_test_rand_int(), bytes);
            if (g_test_rand_bit()) {
                memset(buf, 0, bytes);
                g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes, 0), ==, 0);
            } else {
                g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
            }
            memcpy(model + offset, buf, bytes);
        }
        states[i] = sim_power_state(power);
        models[i] = g_memdup2(model, SIZE);
    }
    for (int i = 0; i < ROUNDS; i++) {
        g_autoptr(SimPower) to = sim_power_new(0);
        SimDisk *d = sim_disk_new(to, NULL, SIZE, &error_abort);

        sim_disk_poke(d, 0, models[i], SIZE);
        g_assert_cmpuint(sim_disk_hash(d), ==, sim_disk_hash(d));
        sim_power_load(to, states[i]);
        sim_disk_peek(d, 0, buf, SIZE);
        g_assert_cmpmem(buf, SIZE, models[i], SIZE);
        sim_disk_poke(d, 0, models[i], SIZE);
        g_assert_cmpint(sim_disk_length(d), ==, SIZE);
        {
            g_autoptr(SimState) again = sim_power_state(to);

            g_assert_cmpuint(sim_state_hash(again), ==, sim_state_hash(states[i]));
        }
        sim_state_unref(states[i]);
        g_free(models[i]);
    }
    teardown();
}

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

/* --- faults --- */

static void fail(const char *script)
{
    g_assert_true(sim_power_script_faults(power, disk, script, &error_abort));
}

static void test_nth_request_fails(void)
{
    unsigned id;
    SimStats stats;

    setup(1 << 20);
    fail("write#3x2=ENOSPC");
    id = sim_power_add_fault(power, &(SimFault){ .ops = SIM_FLUSH, .count = SIM_FOREVER });
    put(0, 1, 'a');
    put(1, 1, 'b');
    g_assert_cmpint(put_flags(2, 1, 'c', 0), ==, -ENOSPC);
    g_assert_cmpint(put_flags(3, 1, 'd', 0), ==, -ENOSPC);
    put(4, 1, 'e');
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    g_assert_cmpuint(sim_power_fault_hits(power, id), ==, 1);
    sim_disk_get_stats(disk, &stats);
    g_assert_cmpuint(stats.writes, ==, 5);
    g_assert_cmpuint(stats.failed, ==, 3);
    g_assert_cmpuint(stats.written_bytes, ==, 5 * S);
    assert_after(sim_power_now(power), "all", "ab..e...");
    teardown();
}

static void test_faults_in_a_range_and_when_growing(void)
{
    setup(8 * S);
    fail("write@1024+512#1x*=EAGAIN;growing#1x*=ENOSPC");
    put(0, 2, 'a');
    put(3, 2, 'b');
    g_assert_cmpint(put_flags(1, 2, 'c', 0), ==, -EAGAIN);
    put(7, 1, 'd');
    g_assert_cmpint(blk_truncate(blk, 9 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, -ENOSPC);
    g_assert_cmpint(blk_truncate(blk, 8 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    assert_after(sim_power_now(power), "all", "aa.bb..d");
    teardown();
}

static void test_failed_write_with_an_effect(void)
{
    uint8_t buf[8 * S] = { 0 };

    setup(8 * S);
    fail("write#1=EIO/half;write#2=EIO/all");
    g_assert_cmpint(put_flags(0, 4, 'a', 0), ==, -EIO);
    g_assert_cmpint(put_flags(4, 2, 'b', 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 0, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(buf[S], ==, 'a');
    g_assert_cmpint(buf[2 * S], ==, 0);
    g_assert_cmpint(buf[5 * S], ==, 'b');
    put(0, 1, 'c');
    flush();
    put(7, 1, 'd');
    /* The flush that succeeded has made durable only what had succeeded. */
    assert_after(sim_power_now(power), "none", "c.......");
    assert_after(sim_power_now(power), "all", "ca..bb.d");
    assert_after(sim_power_now(power), "keep-one:0", "ca......");
    teardown();
}

static void test_failed_flushes(void)
{
    setup(8 * S);
    put(0, 1, 'a');
    fail("flush#1=EIO;flush#2=EIO/lost;flush#3=EIO/all");
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    assert_after(sim_power_now(power), "none", "........");
    /* A node remembers; the disk itself goes on. */
    blk_unref(blk);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR, &error_abort);
    put(1, 1, 'b');
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR, &error_abort);
    put(2, 1, 'c');
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    assert_after(sim_power_now(power), "none", "..c.....");
    assert_after(sim_power_now(power), "all", "abc.....");
    blk_unref(blk);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR, &error_abort);
    put(0, 1, 'd');
    flush();
    assert_after(sim_power_now(power), "none", "d.c.....");
    assert_after(sim_power_now(power), "all", "dbc.....");
    teardown();
}

static void test_error_rate(void)
{
    int failed = 0;

    setup(1 << 20);
    fail("write#1x*%100000=EIO");
    for (int i = 0; i < 2000; i++) {
        failed += put_flags(i, 1, 'a', 0) < 0;
    }
    g_assert_cmpint(failed, >, 100);
    g_assert_cmpint(failed, <, 300);
    teardown();
}

static void test_wrong_scripts(void)
{
    static const char *const wrong[] = { "write", "write=", "write=EWHAT", "writes=EIO", "=EIO",
                                         "write#0=EIO", "write#1x=EIO", "write%0=EIO",
                                         "write@5=EIO", "write@5+0=EIO", "write=EIO/some",
                                         "write=EIO flush=EIO", "write|=EIO", "read=EIO;x" };

    setup(1 << 20);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_false(sim_power_script_faults(power, disk, wrong[i], &err));
        g_assert_nonnull(err);
    }
    put(0, 1, 'a'); /* nothing was added */
    g_assert_false(sim_choice_parse("lose-one", &(SimChoice){ 0 }, NULL));
    g_assert_false(sim_choice_parse("lose-one:x", &(SimChoice){ 0 }, NULL));
    g_assert_false(sim_choice_parse("none:1", &(SimChoice){ 0 }, NULL));
    teardown();
}

static int cut_at_fifth(void *opaque, const SimRequest *r)
{
    unsigned *calls = opaque;

    if (++*calls == 5) {
        sim_power_cut(sim_disk_power(r->disk));
    }
    return *calls == 2 ? -EBUSY : 0;
}

static void test_hook(void)
{
    unsigned calls = 0;

    setup(8 * S);
    sim_power_set_hook(power, cut_at_fifth, &calls);
    put(0, 1, 'a');
    g_assert_cmpint(put_flags(1, 1, 'b', 0), ==, -EBUSY);
    put(2, 1, 'c');
    put(3, 1, 'd');
    g_assert_cmpint(put_flags(4, 1, 'e', 0), ==, -EIO);
    assert_after(sim_power_now(power), "all", "a.cd....");
    teardown();
}

/* --- options and names --- */

static void test_options(void)
{
    BlockOptions *o = blk_options_new();
    uint8_t byte = 1;

    g_assert_true(blk_options_parse(o, "driver=sim,size=1M,seed=7,alignment=4096,faults=read#3=EIO,"
                                    "latency-min-ns=1000,latency-max-ns=2000", NULL, &error_abort));
    blk = blk_new_open(NULL, NULL, o, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_getlength(blk), ==, 1 << 20);
    g_assert_cmpint(blk_pread(blk, 100, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 100, 1, "x", 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 100, 1, &byte, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 100, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 'x');
    blk_unref(blk);
}

static void test_wrong_options(void)
{
    static const char *const wrong[] = {
        "driver=sim", "driver=sim,size=1M,sector-size=1000", "driver=sim,size=1M,alignment=3",
        "driver=sim,size=1M,discard-mode=maybe", "driver=sim,disk=nobody",
        "driver=sim,size=1M,latency-min-ns=5,latency-max-ns=4", "driver=sim,size=1M,faults=x",
        "driver=sim,size=16E", "driver=sim,size=1M,what=ever",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) err = NULL;
        BlockOptions *o = blk_options_new();

        g_assert_true(blk_options_parse(o, wrong[i], NULL, &error_abort));
        g_assert_null(blk_new_open(NULL, NULL, o, BDRV_O_RDWR, &err));
        g_assert_nonnull(err);
    }
}

static void test_names(void)
{
    g_autoptr(GError) err = NULL;
    SimDisk *named;

    setup(1 << 20);
    named = sim_disk_new(power, "test-sim-name", 0, &error_abort);
    g_assert_true(sim_disk_find("test-sim-name") == named);
    g_assert_null(sim_disk_new(power, "test-sim-name", 0, &err));
    g_assert_nonnull(err);
    blk_unref(blk);
    blk = blk_new_open("sim:test-sim-name", NULL, NULL, BDRV_O_RDWR, &error_abort);
    sim_power_unref(power);
    /* The node keeps the supply. */
    g_assert_true(sim_disk_find("test-sim-name") == named);
    blk_unref(blk);
    g_assert_null(sim_disk_find("test-sim-name"));
}

/* A new image with a raw data file has its clusters from the start, and so is opened at once. */
static void test_raw_data_file_is_created(void)
{
    SimDisk *image, *data;
    g_autofree char *create = NULL, *open = NULL;
    g_autofree char *name = NULL;
    BlockDriverState *below;
    uint8_t buf[S], seen[S];

    setup(0);
    image = sim_disk_new(power, NULL, 0, &error_abort);
    data = sim_disk_new(power, NULL, 0, &error_abort);
    create = g_strdup_printf("size=1M,data_file_raw=on,data_file=sim:%s", sim_disk_name(data));
    g_assert_cmpint(sim_disk_create(image, "qcow2", create, &error_abort), ==, 0);
    g_assert_cmpint(sim_disk_length(data), ==, 1 << 20);
    /* A node that is open already can be the data file as well. */
    name = g_strconcat("sim:", sim_disk_name(data), NULL);
    below = bdrv_open(name, NULL, NULL, BDRV_O_RDWR | BDRV_O_PROTOCOL, &error_abort);
    open = g_strdup_printf("driver=qcow2,data-file=%s", bdrv_get_node_name(below));
    blk_unref(blk);
    blk = sim_disk_open(image, open, BDRV_O_RDWR, &error_abort);
    memset(buf, 0x5a, S);
    g_assert_cmpint(blk_pwrite(blk, 7 * S, S, buf, 0), ==, 0);
    sim_disk_peek(data, 7 * S, seen, S);
    g_assert_cmpmem(seen, S, buf, S);
    bdrv_unref(below);
    teardown();
}

static void test_fixed_disk_keeps_its_length(void)
{
    setup(8 * S);
    sim_disk_set_fixed(disk, true);
    g_assert_cmpint(blk_truncate(blk, 9 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, -ENOTSUP);
    g_assert_cmpint(blk_truncate(blk, 8 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    teardown();
}

static void test_export_and_import(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-sim-XXXXXX", &path, NULL);
    uint64_t hash;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    setup(3 << 20);
    put(7, 3, 'a');
    put(5000, 3, 'b');
    hash = sim_disk_hash(disk);
    g_assert_cmpint(sim_disk_export(disk, path, &error_abort), ==, 0);
    put(7, 3, 'c');
    g_assert_cmpint(blk_truncate(blk, 4 << 20, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    g_assert_cmpint(sim_disk_import(disk, path, &error_abort), ==, 0);
    g_assert_cmpuint(sim_disk_hash(disk), ==, hash);
    g_unlink(path);
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

/* --- in virtual time --- */

static AioContext *own_ctx, *sim_ctx;
static AioSim *sim;

static void begin_sim(uint64_t seed)
{
    own_ctx = qemu_get_current_aio_context();
    sim_ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(sim_ctx);
    sim = aio_sim_begin(sim_ctx, seed);
}

static void end_sim(void)
{
    aio_sim_end(sim);
    qemu_set_current_aio_context(own_ctx);
    aio_context_unref(sim_ctx);
}

static void test_latency_is_virtual(void)
{
    int64_t start;
    uint8_t byte;

    begin_sim(1);
    setup(8 * S);
    sim_disk_set_latency(disk, 5000000, 5000000);
    start = aio_sim_now_ns(sim);
    put(0, 1, 'a');
    g_assert_cmpint(aio_sim_now_ns(sim) - start, ==, 5000000);
    sim_disk_set_latency(disk, 100, 200);
    sim_disk_set_slow_range(disk, 4 * S, S, INT64_C(3600000000000));
    start = aio_sim_now_ns(sim);
    g_assert_cmpint(blk_pread(blk, 5 * S, 1, &byte, 0), ==, 0);
    g_assert_cmpint(aio_sim_now_ns(sim) - start, >=, 100);
    g_assert_cmpint(aio_sim_now_ns(sim) - start, <=, 200);
    g_assert_cmpint(blk_pread(blk, 5 * S - 1, 1, &byte, 0), ==, 0);
    g_assert_cmpint(aio_sim_now_ns(sim) - start, >=, INT64_C(3600000000000));
    start = aio_sim_now_ns(sim);
    sim_disk_set_instant(disk);
    put(4, 1, 'b');
    g_assert_cmpint(aio_sim_now_ns(sim), ==, start);
    teardown();
    end_sim();
}

typedef struct Landing {
    unsigned number;
    int ret;
    GString *order;
} Landing;

static void landed(void *opaque, int ret)
{
    Landing *l = opaque;

    l->ret = ret;
    g_string_append_c(l->order, 'a' + l->number);
}

/* Eight writes at once, of which power is cut under the last; how they ended, as letters. */
static char *order_of_eight(uint64_t seed, bool cut)
{
    static uint8_t bufs[8][S];
    QEMUIOVector qiov[8];
    Landing landing[8];
    GString *order = g_string_new(NULL);

    begin_sim(seed);
    power = sim_power_new(seed);
    disk = sim_disk_new(power, NULL, 8 * S, &error_abort);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR, &error_abort);
    for (int i = 0; i < 8; i++) {
        landing[i] = (Landing){ i, 1, order };
        memset(bufs[i], 'a' + i, S);
        qemu_iovec_init_buf(&qiov[i], bufs[i], S);
        blk_aio_pwritev(blk, i * S, &qiov[i], 0, landed, &landing[i]);
    }
    if (cut) {
        while (order->len < 4) {
            aio_poll(sim_ctx, true);
        }
        sim_power_cut(power);
    }
    while (order->len < 8) {
        aio_poll(sim_ctx, true);
    }
    for (int i = 0; i < 8; i++) {
        bool late = cut && strchr(order->str, 'a' + i) - order->str >= 4;

        g_assert_cmpint(landing[i].ret, ==, late ? -EIO : 0);
    }
    blk_unref(blk);
    if (cut) {
        g_autoptr(SimCut) c = sim_cut_new(power, sim_power_now(power));
        g_autofree char *all = after(sim_power_now(power), "all");
        g_autofree char *last = sim_cut_describe(c, 7);

        /* What was in flight can be there, and comes last in the list. */
        g_assert_cmpint(sim_cut_n_pending(c), ==, 8);
        g_assert_cmpstr(all, ==, "abcdefgh");
        g_assert_nonnull(strstr(last, "in flight"));
    }
    sim_power_unref(power);
    end_sim();
    return g_string_free(order, FALSE);
}

static void test_requests_end_in_the_seeds_order(void)
{
    g_autofree char *first = order_of_eight(5, false), *again = order_of_eight(5, false);
    g_autofree char *other = order_of_eight(6, false);

    g_assert_cmpstr(first, ==, again);
    g_assert_cmpstr(first, !=, other);
    g_assert_cmpstr(first, !=, "abcdefgh");
}

static void test_cut_hits_what_is_in_flight(void)
{
    g_autofree char *order = order_of_eight(g_test_rand_int(), true);

    g_assert_cmpint(strlen(order), ==, 8);
}

static void test_cut_at_a_virtual_time(void)
{
    int written = 0;

    begin_sim(1);
    setup(1 << 20);
    sim_disk_set_latency(disk, 1000, 1000);
    sim_power_cut_at_ns(power, aio_sim_now_ns(sim) + 10000);
    while (put_flags(written, 1, 'a', 0) == 0) {
        written++;
    }
    g_assert_cmpint(written, ==, 10);
    teardown();
    end_sim();
}

/* --- several threads --- */

static void *write_own_part(void *opaque)
{
    unsigned n = GPOINTER_TO_UINT(opaque);
    uint8_t buf[3 * S], back[3 * S];

    for (int i = 0; i < 300; i++) {
        int64_t offset = (n * 1000 + i % 300 * 3) * S;

        memset(buf, n * 50 + i, sizeof(buf));
        g_assert_cmpint(blk_pwrite(blk, offset, sizeof(buf), buf, 0), ==, 0);
        g_assert_cmpint(blk_pread(blk, offset, sizeof(back), back, 0), ==, 0);
        g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
        if (i % 50 == 0) {
            g_assert_cmpint(blk_flush(blk), ==, 0);
        }
    }
    return NULL;
}

static void test_threads_share_a_disk(void)
{
    QemuThread threads[4];

    setup(4000 * S);
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_create(&threads[i], "writer", write_own_part, GUINT_TO_POINTER(i),
                           QEMU_THREAD_JOINABLE);
    }
    for (int i = 0; i < 200; i++) {
        SimCut *cut = sim_cut_new(power, sim_power_now(power));
        SimState *state = sim_cut_state(cut, (SimChoice){ SIM_KEEP_RANDOM, 0, i });

        sim_state_unref(state);
        sim_cut_free(cut);
        aio_poll(qemu_get_aio_context(), false);
    }
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_join(&threads[i]);
    }
    teardown();
}

static void *change_copy(void *opaque)
{
    SimState *state = opaque;
    uint64_t hash = sim_state_hash(state);

    for (int i = 0; i < 100; i++) {
        g_autoptr(SimPower) own = sim_power_new(0);
        g_autoptr(SimState) changed = NULL;
        uint8_t value = 'b' + i;

        sim_power_load(own, state);
        sim_disk_poke(sim_power_disk(own, 0), i * 4096 + 5, &value, 1);
        changed = sim_power_state(own);
        g_assert_cmpuint(sim_state_hash(changed), !=, hash);
        g_assert_cmpuint(sim_state_hash(state), ==, hash);
    }
    return NULL;
}

static void test_threads_share_a_state(void)
{
    QemuThread threads[4];
    g_autoptr(SimState) state = NULL;

    setup(1 << 20);
    put(0, 2048, 'a');
    state = sim_power_state(power);
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_create(&threads[i], "changer", change_copy, state, QEMU_THREAD_JOINABLE);
    }
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_join(&threads[i]);
    }
    teardown();
}

/* --- the same seed, the same trace --- */

typedef struct Job {
    BlockBackend *blk;
    uint8_t *buf;
    int64_t offset;
    int *left;
    int kind;
} Job;

static void coroutine_fn job_entry(void *opaque)
{
    Job *job = opaque;

    switch (job->kind) {
    case 0:
        blk_co_pwrite(job->blk, job->offset, 65536, job->buf, BDRV_REQ_WRITE_COMPRESSED);
        break;
    case 1:
        blk_co_pwrite_zeroes(job->blk, job->offset, 65536, BDRV_REQ_MAY_UNMAP);
        break;
    case 2:
        blk_co_flush(job->blk);
        break;
    case 3:
        blk_co_pread(job->blk, job->offset, 65536, job->buf, 0);
        break;
    default:
        blk_co_pwrite(job->blk, job->offset + 512 * job->kind, 3000, job->buf, 0);
    }
    --*job->left;
}

static char *run_with_seed(uint64_t seed)
{
    enum { JOBS = 60 };
    Job jobs[JOBS];
    int left = JOBS;
    char *trace;
    uint64_t random = seed;

    begin_sim(seed);
    power = sim_power_new(seed);
    disk = sim_disk_new(power, NULL, 0, &error_abort);
    sim_power_set_trace(power, true);
    g_assert_cmpint(sim_disk_create(disk, "qcow2", "size=4M", &error_abort), ==, 0);
    fail("write#40x*%50000=EIO");
    blk = sim_disk_open(disk, "driver=qcow2", BDRV_O_RDWR, &error_abort);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (Job){ blk, g_malloc(65536), (aio_sim_next_random(&random) % 64) * 65536, &left,
                         aio_sim_next_random(&random) % 8 };
        for (int k = 0; k < 65536; k++) {
            jobs[i].buf[k] = k % 3 ? aio_sim_next_random(&random) : 0;
        }
        qemu_coroutine_enter(qemu_coroutine_create(job_entry, &jobs[i]));
    }
    while (left) {
        aio_poll(sim_ctx, true);
    }
    for (int i = 0; i < JOBS; i++) {
        g_free(jobs[i].buf);
    }
    blk_unref(blk);
    trace = sim_power_get_trace(power);
    sim_power_unref(power);
    end_sim();
    return trace;
}

static void test_same_seed_same_trace(void)
{
    uint64_t seed = g_test_rand_int();
    g_autofree char *first = run_with_seed(seed), *second = run_with_seed(seed);
    g_autofree char *other = run_with_seed(seed + 1);

    g_assert_cmpstr(first, ==, second);
    g_assert_cmpstr(first, !=, other);
    g_assert_cmpint(strlen(first), >, 3000);
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

static void test_other_names_are_refused(void)
{
    static const char *const names[] = { "", "f", "sim", "sim:", "sim://x", "file:x" };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_strdup(names[i]); /* of its own length, for sanitizers */
        BlockOptions *o = blk_options_new();
        g_autoptr(GError) err = NULL;

        blk_options_set(o, "driver", "sim");
        g_assert_null(blk_new_open(name, NULL, o, BDRV_O_RDWR, &err));
        g_assert_nonnull(err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/sim/reads-what-was-written", test_reads_what_was_written);
    g_test_add_func("/sim/terabyte-is-cheap", test_terabyte_is_cheap);
    g_test_add_func("/sim/equal-contents-have-equal-hashes", test_equal_contents_have_equal_hashes);
    g_test_add_func("/sim/states-share-and-stay", test_states_share_and_stay);
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
    g_test_add_func("/sim/nth-request-fails", test_nth_request_fails);
    g_test_add_func("/sim/faults-in-a-range-and-when-growing",
                    test_faults_in_a_range_and_when_growing);
    g_test_add_func("/sim/failed-write-with-an-effect", test_failed_write_with_an_effect);
    g_test_add_func("/sim/failed-flushes", test_failed_flushes);
    g_test_add_func("/sim/error-rate", test_error_rate);
    g_test_add_func("/sim/wrong-scripts", test_wrong_scripts);
    g_test_add_func("/sim/hook", test_hook);
    g_test_add_func("/sim/options", test_options);
    g_test_add_func("/sim/wrong-options", test_wrong_options);
    g_test_add_func("/sim/names", test_names);
    g_test_add_func("/sim/fixed-disk-keeps-its-length", test_fixed_disk_keeps_its_length);
    g_test_add_func("/sim/export-and-import", test_export_and_import);
    g_test_add_func("/sim/qcow2-survives-cuts", test_qcow2_survives_cuts);
    g_test_add_func("/sim/latency-is-virtual", test_latency_is_virtual);
    g_test_add_func("/sim/requests-end-in-the-seeds-order", test_requests_end_in_the_seeds_order);
    g_test_add_func("/sim/cut-hits-what-is-in-flight", test_cut_hits_what_is_in_flight);
    g_test_add_func("/sim/raw-data-file-is-created", test_raw_data_file_is_created);
    g_test_add_func("/sim/names-of-other-kinds-are-refused", test_other_names_are_refused);
    g_test_add_func("/sim/cut-at-a-virtual-time", test_cut_at_a_virtual_time);
    g_test_add_func("/sim/threads-share-a-disk", test_threads_share_a_disk);
    g_test_add_func("/sim/threads-share-a-state", test_threads_share_a_state);
    g_test_add_func("/sim/same-seed-same-trace", test_same_seed_same_trace);
    g_test_add_func("/sim/long-runs-take-little-memory", test_long_runs_take_little_memory);
    return g_test_run();
}
