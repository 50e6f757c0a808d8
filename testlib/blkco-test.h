/* SPDX-License-Identifier: MIT */
/*
 * Tests of device models, and of whatever else uses images, with GTest: each runs inside a
 * coroutine, on a context of its own in virtual time, on a simulated disk, with deadlines.
 * Link with `pkg-config --libs blkco-test`; docs/testing-your-device.md has an example.
 *
 *     static void coroutine_fn test_reads_back(BlkcoTest *t)
 *     {
 *         char byte = 0;
 *         g_assert_cmpint(blk_co_pwrite(t->blk, 0, 1, "x", 0), ==, 0);
 *         blkco_test_power_cycle(t, (SimChoice){ SIM_KEEP_NONE, 0, 0 });
 *         g_assert_cmpint(blk_co_pread(t->blk, 0, 1, &byte, 0), ==, 0);
 *     }
 *     int main(int argc, char **argv)
 *     {
 *         g_test_init(&argc, &argv, NULL);
 *         blkco_test_add("/disk/reads-back", NULL, test_reads_back, NULL);
 *         return g_test_run();
 *     }
 *
 * Everything random comes from GTest's seed, which it prints at the start: the same program
 * with --seed=R02S... and -p PATH does the same again. What a test asserts may be wrong in one
 * of thousands of runs or states; which it was is printed when the program aborts, or ends by
 * g_error() or a wrong access to memory.
 */
#ifndef BLKCO_TEST_H
#define BLKCO_TEST_H

#include "block/block-backend.h"
#include "block/sim.h"
#include "qemu/aio-sim.h"
#include "qemu/coroutine.h"

G_BEGIN_DECLS

/* Zeroed members mean what stands in brackets. Must live as long as the tests. */
typedef struct BlkcoTestConfig {
    int64_t disk_size;          /* bytes [64 MiB] */
    const char *format;         /* an image of it is made on the disk [none: the plain disk] */
    const char *create_options; /* for that: "cluster_size=4k" [none]; its size is disk_size */
    const char *open_options;   /* "l2-cache-size=64k" [none] */
    int flags;                  /* BDRV_O_* besides RDWR, RESIZE and UNMAP */
    const char *faults;         /* sim_power_script_faults(), when the image is open [none] */
    unsigned runs;              /* how often, each time with another seed [1] */
    unsigned timeout_s;         /* real seconds for all runs [60] */
    int64_t virtual_timeout_ns; /* for one run, in virtual time [1 hour] */
    /* Crash tests only. */
    unsigned random_choices;    /* for each cut, besides the systematic choices [4] */
    unsigned max_states;        /* more than that are sampled [20000] */
} BlkcoTestConfig;

/* A running test. What stands here may be used, not changed, but for data. */
typedef struct BlkcoTest {
    const BlkcoTestConfig *config;
    gpointer data;    /* as it was given to blkco_test_add() */
    uint64_t seed;    /* of this run */
    AioContext *ctx;
    AioSim *sim;
    SimPower *power;
    SimDisk *disk;
    BlockBackend *blk; /* the image on the disk, open */
    uint64_t cut_time; /* when a crash test verifies: the time of the cut, see block/sim.h */
    unsigned run;      /* below config->runs */
} BlkcoTest;

typedef void coroutine_fn BlkcoTestFunc(BlkcoTest *t);

/*
 * Adds the test case @path to GTest: @func, in a coroutine, once for each run. @config NULL:
 * all members 0. The test fails when it aborts, or g_test_fail(); when a deadline passes, it
 * aborts.
 */
void blkco_test_add(const char *path, const BlkcoTestConfig *config, BlkcoTestFunc *func,
                    gpointer data);

/*
 * A crash test: @work once; then for every instant at which power could have been cut, and
 * every choice of what the disk had kept of what was not flushed, @verify on a disk in that
 * state, t->blk open on it. @prepare, or NULL, comes first; what it leaves is durable.
 *
 * What must be there depends on t->cut_time: @work calls blkco_test_mark() when it has been
 * promised something, and keeps the result in t->data; @verify expects it if the mark is at
 * or before t->cut_time. Equal states are verified once for each number of marks.
 *
 * To repeat a single state, set BLKCO_TEST_CUT to what was printed: "17:lose-one:2"; in the
 * fourth run "3/17:lose-one:2".
 */
void blkco_test_add_crash(const char *path, const BlkcoTestConfig *config,
                          BlkcoTestFunc *prepare, BlkcoTestFunc *work, BlkcoTestFunc *verify,
                          gpointer data);

/* The following are for a test's coroutine. */

/* Moves the disk's clock (sim_power_tick()); the time, which is never 0. */
uint64_t blkco_test_mark(BlkcoTest *t);
/* A random number from the run's seed; below @n. */
uint64_t blkco_test_random(BlkcoTest *t);
uint64_t blkco_test_random_below(BlkcoTest *t, uint64_t n);
/*
 * Closes t->blk and opens it anew. Nobody else uses it any more. Fails the test if it cannot
 * be opened.
 */
void coroutine_fn blkco_test_reopen(BlkcoTest *t);
/*
 * The same with a power cut in between: what was not durable survives as @choice says. If power
 * is off already (sim_power_cut_at_request() and the like), it returns. Faults stay.
 */
void coroutine_fn blkco_test_power_cycle(BlkcoTest *t, SimChoice choice);
/* Waits until virtual time has passed. */
void coroutine_fn blkco_test_sleep_ns(BlkcoTest *t, int64_t ns);
/*
 * Runs @fn(@opaque) in the loop, outside of coroutines, and waits for it: for what must not
 * be called in one, such as opening and closing images.
 */
void coroutine_fn blkco_test_outside(BlkcoTest *t, void (*fn)(void *opaque), void *opaque);

G_END_DECLS

#endif
