/* SPDX-License-Identifier: MIT */
/* sim: requests that fail, by a script, at random or as a hook says, and what they do even so. */
#include "sim-fixture.h"
#include "qemu/main-loop.h"

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/sim/nth-request-fails", test_nth_request_fails);
    g_test_add_func("/sim/faults-in-a-range-and-when-growing",
                    test_faults_in_a_range_and_when_growing);
    g_test_add_func("/sim/failed-write-with-an-effect", test_failed_write_with_an_effect);
    g_test_add_func("/sim/failed-flushes", test_failed_flushes);
    g_test_add_func("/sim/error-rate", test_error_rate);
    g_test_add_func("/sim/wrong-scripts", test_wrong_scripts);
    g_test_add_func("/sim/hook", test_hook);
    return g_test_run();
}
