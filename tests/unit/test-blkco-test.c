/* SPDX-License-Identifier: MIT */
/* blkco-test.h: what the harness gives to tests, and how it fails. */
#include "qemu/osdep.h"
#include <signal.h>
#include <sys/wait.h>
#include "../../util/coroutine-sanitizer.h"
#include "blkco-test.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

static const char *program;

/* --- plain tests --- */

static void coroutine_fn plain(BlkcoTest *t)
{
    char byte = 0;

    g_assert_true(qemu_in_coroutine());
    g_assert_true(qemu_get_current_aio_context() == t->ctx);
    g_assert_true(aio_sim_current() == t->sim);
    g_assert_cmpint(blk_co_getlength(t->blk), ==, 64 << 20);
    g_assert_cmpint(blk_co_pwrite(t->blk, 12345, 1, "x", 0), ==, 0);
    blkco_test_reopen(t);
    g_assert_cmpint(blk_co_pread(t->blk, 12345, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 'x');
    ++*(unsigned *)t->data;
}

static void coroutine_fn power_cycle(BlkcoTest *t)
{
    char bytes[2] = "";

    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "a", 0), ==, 0);
    g_assert_cmpint(blk_co_flush(t->blk), ==, 0);
    g_assert_cmpint(blk_co_pwrite(t->blk, 512, 1, "b", 0), ==, 0);
    blkco_test_power_cycle(t, (SimChoice){ SIM_KEEP_NONE, 0, 0 });
    g_assert_cmpint(blk_co_pread(t->blk, 0, 1, &bytes[0], 0), ==, 0);
    g_assert_cmpint(blk_co_pread(t->blk, 512, 1, &bytes[1], 0), ==, 0);
    g_assert_cmpint(bytes[0], ==, 'a');
    g_assert_cmpint(bytes[1], ==, 0);
    /* It is on again. */
    g_assert_cmpint(blk_co_pwrite(t->blk, 512, 1, "b", 0), ==, 0);
}

static void coroutine_fn sleeps_for_an_hour(BlkcoTest *t)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    blkco_test_sleep_ns(t, 3500 * NANOSECONDS_PER_SECOND);
    g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start, >=,
                    3500 * NANOSECONDS_PER_SECOND);
}

static void coroutine_fn faulty(BlkcoTest *t)
{
    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "a", 0), ==, 0);
    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "a", 0), ==, -ENOSPC);
    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "a", 0), ==, 0);
}

/* Each run has a seed of its own. */
static void coroutine_fn run_differs(BlkcoTest *t)
{
    GHashTable *seeds = t->data;

    g_assert_true(g_hash_table_add(seeds, g_memdup2(&t->seed, sizeof(t->seed))));
}

/* --- the deadlines, and what is printed --- */

static void coroutine_fn hangs(BlkcoTest *t)
{
    qemu_coroutine_yield();
}

static void coroutine_fn spins(BlkcoTest *t)
{
    for (;;) {
        g_thread_yield();
    }
}

static void coroutine_fn sleeps_too_long(BlkcoTest *t)
{
    for (;;) {
        blkco_test_sleep_ns(t, NANOSECONDS_PER_SECOND);
    }
}

static void coroutine_fn fails(BlkcoTest *t)
{
    g_assert_cmpint(1, ==, 2);
}

/* A device that forgets to flush: written at once is not durable. */
static uint64_t promised;

static void coroutine_fn forgetful_work(BlkcoTest *t)
{
    promised = 0;
    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "a", 0), ==, 0);
    promised = blkco_test_mark(t);
}

/* The same, the second time only; the first does nothing, and its time ends at once. */
static void coroutine_fn forgetful_in_run_1(BlkcoTest *t)
{
    promised = 0;
    if (t->run == 1) {
        forgetful_work(t);
    }
}

static void coroutine_fn work(BlkcoTest *t)
{
    promised = 0;
    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "a", 0), ==, 0);
    g_assert_cmpint(blk_co_flush(t->blk), ==, 0);
    promised = blkco_test_mark(t);
    g_assert_cmpint(blk_co_pwrite(t->blk, 4096, 8192, t->data, 0), ==, 0);
}

static void coroutine_fn prepare(BlkcoTest *t)
{
    g_assert_cmpint(blk_co_pwrite(t->blk, 1024, 1, "p", 0), ==, 0);
    blkco_test_mark(t);
}

static void coroutine_fn verify(BlkcoTest *t)
{
    char byte = 0;

    g_assert_cmpint(blk_co_pread(t->blk, 0, 1, &byte, 0), ==, 0);
    if (promised && promised <= t->cut_time) {
        g_assert_cmpint(byte, ==, 'a');
    }
}

static void coroutine_fn verify_prepared(BlkcoTest *t)
{
    char byte = 0;

    g_assert_cmpint(blk_co_pread(t->blk, 1024, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 'p');
    verify(t);
    /* What a verification writes is not there for the next. */
    g_assert_cmpint(blk_co_pread(t->blk, 2048, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 0);
    g_assert_cmpint(blk_co_pwrite(t->blk, 2048, 1, "v", 0), ==, 0);
}

/* This program, with a case that must abort with that message (not as a subprocess of GTest:
 * there an assertion that fails does not abort). */
static void dies_of(int sig, const char *name, const char *cut, const char *message)
{
    g_autofree char *path = g_strconcat("/blkco-test/bad/", name, NULL);
    g_autofree char *err = NULL;
    g_auto(GStrv) env = g_environ_setenv(g_get_environ(), "TEST_BLKCO_TEST_BAD", "1", TRUE);
    const char *argv[] = { program, "-p", path, NULL };
    int status;

    env = cut ? g_environ_setenv(env, "BLKCO_TEST_CUT", cut, TRUE) : env;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, env, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                               NULL, &err, &status, NULL));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != sig ||
        !g_pattern_match_simple(message, err)) {
        g_error("%s: status 0x%x, printed:\n%s", path, status, err);
    }
}

static void dies(const char *name, const char *message)
{
    dies_of(SIGABRT, name, NULL, message);
}

static void test_hanging(void)
{
    dies("hangs", "*the deadline of 1 s has passed*Its coroutines:\n*, suspended*in run 0 (seed 0x*"
         "bad/hangs*");
}

static void test_spinning(void)
{
    dies("spins", "*the deadline of 1 s has passed*in run 0 (seed 0x*bad/spins*");
}

static void test_sleeping_too_long(void)
{
    dies("sleeps-too-long", "*of virtual time has passed*in run 0*");
}

static void test_failing(void)
{
    dies("fails", "*1 == 2*blkco-test: in run 0 (seed 0x*of /blkco-test/bad/fails*");
}

static void test_missing_flush(void)
{
    dies("missing-flush", "*BLKCO_TEST_CUT=*0: disk 0 write 0+1, time 1*");
}

/* The cut goes with its run: that of a later one may lie behind the end of the first. */
static void test_cut_of_a_later_run(void)
{
    dies("later-run", "*BLKCO_TEST_CUT=1/3:none;*");
    dies_of(SIGABRT, "later-run", "1/3:none", "*BLKCO_TEST_CUT=1/3:none;*");
}

static void test_wrong_cut(void)
{
    dies_of(SIGTRAP, "missing-flush", "3", "*'3', not TIME:CHOICE or RUN/TIME:CHOICE*");
    dies_of(SIGTRAP, "missing-flush", "1/3:none", "*with a run below 1*");
    dies_of(SIGTRAP, "missing-flush", "3:lose-one", "*'lose-one' is not a choice*");
    dies_of(SIGTRAP, "missing-flush", "-1:none", "*'-1:none', not TIME:CHOICE*");
    dies_of(SIGTRAP, "missing-flush", "0/:none", "*'0/:none', not TIME:CHOICE*");
    dies_of(SIGTRAP, "missing-flush", "0/ -1:none", "*'0/ -1:none', not TIME:CHOICE*");
    dies_of(SIGTRAP, "missing-flush", "99999999999999999999:none", "*not TIME:CHOICE*");
    dies_of(SIGTRAP, "later-run", "99999999999999999999/0:none", "*not TIME:CHOICE*");
}

/* A cut that is not there is skipped, but not when the work has failed already. */
static void test_failed_work_is_not_skipped(void)
{
    dies_of(SIGABRT, "failing-work", "77:none", "*"); /* GTest's way out of a failed test */
}

/* What is wrong in a configuration is named, and the test whose it is. */
static void test_wrong_configuration(void)
{
    dies_of(SIGTRAP, "wrong-faults", NULL, "*blkco-test: faults: *in run 0*bad/wrong-faults*");
    dies_of(SIGTRAP, "wrong-image", NULL, "*create_options: Cluster size*in run 0*bad/wrong-image*");
    dies_of(SIGTRAP, "wrong-size", NULL, "*disk_size: *in run 0*bad/wrong-size*");
}

static void test_full_stack(void)
{
#if defined(CO_ASAN) || defined(CO_TSAN)
    g_test_skip("a sanitizer ends the program in its own way");
#else
    dies_of(SIGSEGV, "fills-stack", NULL, "*in run 0*bad/fills-stack*");
#endif
}

/* Nothing is done again that would send it again. */
static void test_sent_signal(void)
{
#if defined(CO_ASAN) || defined(CO_TSAN)
    g_test_skip("a sanitizer ends the program in its own way");
#else
    dies_of(SIGSEGV, "raises", NULL, "*in run 0*bad/raises*");
#endif
}

static void coroutine_fn raises(BlkcoTest *t)
{
    raise(SIGSEGV);
}

static void coroutine_fn failing_work(BlkcoTest *t)
{
    promised = 0;
    g_test_fail();
}

static void coroutine_fn fills_stack(BlkcoTest *t)
{
    volatile char buf[1 << 20];

    for (size_t i = sizeof(buf); i > 0; i -= 512) {
        buf[i - 1] = 1;
    }
    g_assert_cmpint(buf[0], ==, 1);
}

/* Faults count from when the image is open: the first request that fails is one of the test. */
static void coroutine_fn first_request_fails(BlkcoTest *t)
{
    char byte;

    g_assert_cmpint(blk_co_pread(t->blk, 0, 1, &byte, 0), ==, 0); /* nothing is allocated */
    g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "x", 0), ==, -EIO);
}

static void add_bad_cases(void)
{
    static const BlkcoTestConfig twice = { .runs = 2 };
    static const BlkcoTestConfig hasty = { .timeout_s = 1,
                                           .virtual_timeout_ns = 100 * NANOSECONDS_PER_SECOND };
    static const BlkcoTestConfig wrong_faults = { .faults = "write#x=EIO" };
    static const BlkcoTestConfig wrong_image = { .format = "qcow2",
                                                 .create_options = "cluster_size=3" };
    static const BlkcoTestConfig wrong_size = { .disk_size = -5 };

    blkco_test_add("/blkco-test/bad/wrong-faults", &wrong_faults, fails, NULL);
    blkco_test_add("/blkco-test/bad/wrong-image", &wrong_image, fails, NULL);
    blkco_test_add("/blkco-test/bad/wrong-size", &wrong_size, fails, NULL);
    blkco_test_add("/blkco-test/bad/fills-stack", NULL, fills_stack, NULL);
    blkco_test_add("/blkco-test/bad/raises", NULL, raises, NULL);
    blkco_test_add_crash("/blkco-test/bad/failing-work", NULL, NULL, failing_work, verify, NULL);
    blkco_test_add("/blkco-test/bad/hangs", &hasty, hangs, NULL);
    blkco_test_add("/blkco-test/bad/spins", &hasty, spins, NULL);
    blkco_test_add("/blkco-test/bad/sleeps-too-long", &hasty, sleeps_too_long, NULL);
    blkco_test_add("/blkco-test/bad/fails", NULL, fails, NULL);
    blkco_test_add_crash("/blkco-test/bad/missing-flush", NULL, NULL, forgetful_work, verify,
                         NULL);
    blkco_test_add_crash("/blkco-test/bad/later-run", &twice, NULL, forgetful_in_run_1, verify,
                         NULL);
}

int main(int argc, char **argv)
{
    static const BlkcoTestConfig qcow2 = { .disk_size = 64 << 20, .format = "qcow2",
                                           .create_options = "cluster_size=4k",
                                           .open_options = "l2-cache-size=64k" };
    static const BlkcoTestConfig failing = { .faults = "write#2=ENOSPC" };
    static const BlkcoTestConfig from_first = { .format = "qcow2", .faults = "any#1=EIO" };
    static const BlkcoTestConfig often = { .runs = 20 };
    static const BlkcoTestConfig few = { .max_states = 10 };
    static unsigned count;
    g_autoptr(GHashTable) seeds = NULL;
    static uint8_t data[8192] = { 1 };

    program = argv[0];
    g_test_init(&argc, &argv, NULL);
    /* The harness's contexts do not mind that there is another. */
    qemu_init_main_loop(&error_abort);
    if (g_getenv("TEST_BLKCO_TEST_BAD")) {
        add_bad_cases();
        return g_test_run();
    }
    blkco_test_add("/blkco-test/plain-disk", NULL, plain, &count);
    blkco_test_add("/blkco-test/image", &qcow2, plain, &count);
    blkco_test_add("/blkco-test/power-cycle", &qcow2, power_cycle, NULL);
    blkco_test_add("/blkco-test/an-hour-takes-no-time", NULL, sleeps_for_an_hour, NULL);
    blkco_test_add("/blkco-test/faults", &failing, faulty, NULL);
    blkco_test_add("/blkco-test/faults-begin-with-the-test", &from_first, first_request_fails, NULL);
    seeds = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    blkco_test_add("/blkco-test/runs-have-different-seeds", &often, run_differs, seeds);
    blkco_test_add_crash("/blkco-test/crash", NULL, prepare, work, verify_prepared, data);
    blkco_test_add_crash("/blkco-test/crash-in-qcow2", &qcow2, NULL, work, verify, data);
    blkco_test_add_crash("/blkco-test/crash-sampled", &few, NULL, work, verify, data);
    g_test_add_func("/blkco-test/hanging-test-dies", test_hanging);
    g_test_add_func("/blkco-test/spinning-test-dies", test_spinning);
    g_test_add_func("/blkco-test/virtual-deadline", test_sleeping_too_long);
    g_test_add_func("/blkco-test/failure-names-the-seed", test_failing);
    g_test_add_func("/blkco-test/failure-names-the-cut", test_missing_flush);
    g_test_add_func("/blkco-test/cut-of-a-later-run-is-repeated", test_cut_of_a_later_run);
    g_test_add_func("/blkco-test/wrong-cut-is-told", test_wrong_cut);
    g_test_add_func("/blkco-test/wrong-configuration-is-told", test_wrong_configuration);
    g_test_add_func("/blkco-test/full-stack-is-told", test_full_stack);
    g_test_add_func("/blkco-test/sent-signal-kills", test_sent_signal);
    g_test_add_func("/blkco-test/unknown-cut-hides-no-failure", test_failed_work_is_not_skipped);
    return g_test_run();
}
