/* SPDX-License-Identifier: MIT */
/*
 * sim in a loop of virtual time: how long requests take, in which order they end, what a cut meets
 * in flight; and that a seed gives the same run, request by request.
 */
#include "sim-fixture.h"
#include "qemu/aio-sim.h"
#include "qemu/main-loop.h"

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/sim/latency-is-virtual", test_latency_is_virtual);
    g_test_add_func("/sim/requests-end-in-the-seeds-order", test_requests_end_in_the_seeds_order);
    g_test_add_func("/sim/cut-hits-what-is-in-flight", test_cut_hits_what_is_in_flight);
    g_test_add_func("/sim/cut-at-a-virtual-time", test_cut_at_a_virtual_time);
    g_test_add_func("/sim/same-seed-same-trace", test_same_seed_same_trace);
    return g_test_run();
}
