/* SPDX-License-Identifier: MIT */
/* Throttling: the arithmetic of the buckets, and requests that wait for their group. */
#include "../../block/throttle.h"
#include "block/throttle-group.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

#define MS INT64_C(1000000)
#define S  (1000 * MS)

/* --- arithmetic --- */

static void test_rate(void)
{
    ThrottleConfig cfg;

    throttle_config_init(&cfg);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 0);
    cfg.buckets[THROTTLE_BPS_WRITE].avg = 1000;
    throttle_account(&cfg, true, 600);
    /* Reads are another matter; 100 of 600 bytes have room, the rest leaks at 1000 a second. */
    g_assert_cmpint(throttle_wait(&cfg, false), ==, 0);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 500 * MS);
    throttle_leak(&cfg, 250 * MS);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 250 * MS);
    throttle_leak(&cfg, 3600 * S);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 0);
    throttle_leak(&cfg, -S); /* a clock that went back changes nothing */
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 0);
}

static void test_burst(void)
{
    ThrottleConfig cfg;
    ThrottleBucket *b = &cfg.buckets[THROTTLE_IOPS_TOTAL];

    throttle_config_init(&cfg);
    b->avg = 10;
    b->max = 100;
    for (int i = 0; i < 100; i++) {
        g_assert_cmpint(throttle_wait(&cfg, i & 1), ==, 0);
        throttle_account(&cfg, i & 1, 4096);
    }
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 0);
    throttle_account(&cfg, true, 4096);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 100 * MS);
}

/* A burst of 10 seconds at 100 a second is no 1000 at once. */
static void test_long_burst(void)
{
    ThrottleConfig cfg;
    ThrottleBucket *b = &cfg.buckets[THROTTLE_IOPS_TOTAL];

    throttle_config_init(&cfg);
    b->avg = 10;
    b->max = 100;
    b->burst_length = 10;
    for (int i = 0; i < 60; i++) {
        throttle_account(&cfg, true, 1);
    }
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 500 * MS);
    throttle_leak(&cfg, 500 * MS);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 0);
}

static void test_operation_size(void)
{
    ThrottleConfig cfg;

    throttle_config_init(&cfg);
    cfg.buckets[THROTTLE_IOPS_TOTAL].avg = 10;
    cfg.op_size = 4096;
    throttle_account(&cfg, true, 512);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, 0);
    throttle_account(&cfg, true, 10 * 4096);
    g_assert_cmpint(throttle_wait(&cfg, true), ==, S);
}

/* --- groups --- */

static int make_group(const char *id, const char *props, Error **errp)
{
    g_autoptr(BlockOptions) opts = blk_options_new();

    blk_options_parse(opts, props, NULL, &error_abort);
    return throttle_group_create(id, opts, errp);
}

static void assert_refused(const char *props, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(make_group("bad", props, &err), <, 0);
    g_assert_cmpstr(err->message, ==, message);
}

static void test_bad_properties(void)
{
    static const char together[] =
        "bps/iops/max total values and read/write values cannot be used at the same time";

    assert_refused("x-bps-total=100,x-bps-read=20", together);
    assert_refused("limits.iops-total=100,x-iops-write=20", together);
    assert_refused("x-bps-total-max=20", "bps_max/iops_max require corresponding bps/iops values");
    assert_refused("x-bps-total=-1", "Property values cannot be negative");
    assert_refused("x-bps-total=2000000000000000",
                   "bps/iops/max values must be within [0, 1000000000000000]");
    assert_refused("x-bps-total=100,x-bps-total-max=20",
                   "bps_max/iops_max cannot be lower than bps/iops");
    assert_refused("x-bps-total=100,x-bps-total-max-length=20",
                   "burst length set without burst rate");
    assert_refused("x-bps-total=100,x-bps-total-max=200,x-bps-total-max-length=0",
                   "the burst length cannot be 0");
    assert_refused("x-bps-total=1,x-bps-total-max=1000000000000,"
                   "x-bps-total-max-length=2000000000",
                   "burst length too high for this burst rate");
    assert_refused("x-iops-size=20", "iops size requires an iops value to be set");
    assert_refused("foo=1", "Parameter 'foo' is unexpected");
    assert_refused("x-bps-total=abc", "Parameter 'x-bps-total' expects integer");
    assert_refused("x-bps-total=", "Parameter 'x-bps-total' expects integer");
    g_assert_cmpint(throttle_group_delete("bad"), ==, -ENOENT);
}

static BlockBackend *open_throttled(const char *group, Error **errp)
{
    BlockOptions *options = blk_options_new();

    blk_options_set(options, "driver", "throttle");
    blk_options_set(options, "file.driver", "null-co");
    if (group) {
        blk_options_set(options, "throttle-group", group);
    }
    return blk_new_open(NULL, NULL, options, BDRV_O_RDWR, errp);
}

static void test_open(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GError) err2 = NULL;
    g_autoptr(GError) err3 = NULL;

    g_assert_null(open_throttled(NULL, &err));
    g_assert_cmpstr(err->message, ==, "Please specify a throttle group");
    g_assert_null(open_throttled("x", &err2));
    g_assert_cmpstr(err2->message, ==, "Throttle group 'x' does not exist");
    g_assert_cmpint(make_group("x", "", &error_abort), ==, 0);
    g_assert_cmpint(make_group("x", "", &err3), ==, -EEXIST);
    blk_unref(open_throttled("x", &error_abort));
    g_assert_cmpint(throttle_group_delete("x"), ==, 0);
}

static void count_down(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    --*(int *)opaque;
}

static int64_t now_ms(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME) / MS;
}

/* Two nodes share what the group allows. The group outlives its name. */
static void test_waits(void)
{
    BlockBackend *a, *b;
    QEMUIOVector qiov;
    uint8_t buf[512] = { 0 };
    int left = 24;
    int64_t begin;

    make_group("slow", "x-iops-total=100", &error_abort);
    a = open_throttled("slow", &error_abort);
    b = open_throttled("slow", &error_abort);
    throttle_group_delete("slow");
    qemu_iovec_init_buf(&qiov, buf, sizeof(buf));
    begin = now_ms();
    for (int i = 0; i < 24; i++) {
        BlockBackend *blk = i & 1 ? a : b;

        if (i & 2) {
            blk_aio_preadv(blk, 0, &qiov, 0, count_down, &left);
        } else {
            blk_aio_pwritev(blk, 0, &qiov, 0, count_down, &left);
        }
    }
    while (left) {
        aio_poll(blk_get_aio_context(a), true);
    }
    /* Of 24 requests the first ten or so go at once, the others take 10 ms each. */
    g_assert_cmpint(now_ms() - begin, >=, 100);
    blk_unref(a);
    blk_unref(b);
}

/* What would wait for hours does not make a drain wait. */
static void test_drain_does_not_wait(void)
{
    BlockBackend *blk;
    QEMUIOVector qiov;
    uint8_t buf[512] = { 0 };
    int left = 20;

    make_group("stuck", "limits.bps-write=1", &error_abort);
    blk = open_throttled("stuck", &error_abort);
    qemu_iovec_init_buf(&qiov, buf, sizeof(buf));
    for (int i = 0; i < 20; i++) {
        blk_aio_pwritev(blk, 0, &qiov, 0, count_down, &left);
    }
    blk_drain(blk);
    g_assert_cmpint(left, ==, 0);
    blk_unref(blk);
    throttle_group_delete("stuck");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/throttle/rate", test_rate);
    g_test_add_func("/throttle/burst", test_burst);
    g_test_add_func("/throttle/long-burst", test_long_burst);
    g_test_add_func("/throttle/operation-size", test_operation_size);
    g_test_add_func("/throttle/bad-properties", test_bad_properties);
    g_test_add_func("/throttle/open", test_open);
    g_test_add_func("/throttle/waits", test_waits);
    g_test_add_func("/throttle/drain-does-not-wait", test_drain_does_not_wait);
    return g_test_run();
}
