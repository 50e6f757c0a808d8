/* SPDX-License-Identifier: MIT */
/*
 * Every driver call and every large allocation fails once: the same requests are run over
 * and over, each time with a fault one call later, until a run meets no fault.
 *
 * A request that meets the fault fails with the injected error; what it was to write then
 * holds old or new bytes. All other requests succeed and all other bytes are as the
 * model says. Nothing is left behind: stacks, requests, and (with LeakSanitizer) memory.
 *
 * Workers run as coroutines at once, each in its own part of the image, whose edges lie
 * within blocks.
 */
#include <dlfcn.h>

#include "ram-driver.h"
#include "qemu/main-loop.h"
#include "../../util/coroutine-stack.h"

enum {
    WORKERS = 4,
    PART = 9001,       /* bytes */
    LENGTH = 40 * 1024,
    REQUESTS = 8,      /* of each worker */
    LARGE = 512,       /* bytes: allocations from here on may fail */
};

/* --- allocations --- */

static unsigned allocations, failing_allocation; /* 0: none */

int posix_memalign(void **ptr, size_t alignment, size_t size)
{
    static int (*fn)(void **, size_t, size_t);

    if (!fn) {
        fn = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    }
    if (failing_allocation && size >= LARGE && ++allocations == failing_allocation) {
        return ENOMEM;
    }
    return fn(ptr, alignment, size);
}

/* --- the model --- */

typedef struct Run {
    BlockBackend *blk;
    uint8_t old[LENGTH], new[LENGTH]; /* each byte of the image is one of the two */
    int error;                        /* what the fault is reported as */
    bool flush_failed;                /* that error stays */
    unsigned failures;                /* requests that failed */
    int workers;
    uint32_t seed;
} Run;

typedef struct Worker {
    Run *run;
    int64_t start;
    uint32_t random;
} Worker;

static uint32_t next_random(Worker *w)
{
    w->random = w->random * 1664525 + 1013904223;
    return w->random >> 8;
}

static void check_bytes(Run *run, const uint8_t *buf, int64_t offset, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        if (buf[i] != run->old[offset + i] && buf[i] != run->new[offset + i]) {
            g_error("seed %u: byte %" PRId64 " is %02x, neither %02x nor %02x", run->seed,
                    offset + i, buf[i], run->old[offset + i], run->new[offset + i]);
        }
    }
}

/* The request was to make the bytes @value. */
static void wrote(Run *run, int64_t offset, int64_t bytes, uint8_t value, int ret)
{
    for (int64_t i = offset; i < offset + bytes; i++) {
        if (ret < 0 && run->old[i] != run->new[i]) {
            /* Three possibilities: none is worth remembering; what is there now is. */
            g_assert_cmpint(blk_co_pread(run->blk, i, 1, &run->old[i], 0), ==, 0);
            run->new[i] = run->old[i];
            continue;
        }
        run->new[i] = value;
        if (ret == 0) {
            run->old[i] = value;
        }
    }
}

static void check_ret(Run *run, int ret, bool flushes)
{
    if (ret < 0) {
        g_assert_cmpint(ret, ==, run->error);
        g_assert_true(run->failures == 0 || flushes);
        run->failures++;
    }
}

static void coroutine_fn one_request(Worker *w)
{
    Run *run = w->run;
    uint8_t buf[PART];
    int64_t offset = w->start + next_random(w) % PART;
    int64_t bytes = 1 + next_random(w) % (w->start + PART - offset);
    bool fua = next_random(w) % 4 == 0;
    int ret;

    switch (next_random(w) % 6) {
    case 0:
        ret = blk_co_pread(run->blk, offset, bytes, buf, 0);
        check_ret(run, ret, false);
        if (ret == 0) {
            check_bytes(run, buf, offset, bytes);
        }
        break;
    case 1:
        ret = blk_co_flush(run->blk);
        check_ret(run, ret, true);
        break;
    case 2:
        ret = blk_co_pwrite_zeroes(run->blk, offset, bytes, fua ? BDRV_REQ_FUA : 0);
        check_ret(run, ret, fua);
        wrote(run, offset, bytes, 0, ret);
        break;
    case 3: /* whole blocks only, others stay as they are */
        offset = ROUND_UP(offset, 512);
        bytes = ROUND_DOWN(w->start + PART, 512) - offset;
        if (bytes > 0) {
            ret = blk_co_pdiscard(run->blk, offset, bytes);
            check_ret(run, ret, false);
            wrote(run, offset, bytes, 0, ret);
        }
        break;
    default:
        memset(buf, 1 + next_random(w) % 255, bytes);
        ret = blk_co_pwrite(run->blk, offset, bytes, buf, fua ? BDRV_REQ_FUA : 0);
        check_ret(run, ret, fua);
        wrote(run, offset, bytes, buf[0], ret);
    }
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;

    for (int i = 0; i < REQUESTS; i++) {
        one_request(w);
    }
    w->run->workers--;
}

static void run_requests(Run *run)
{
    Worker w[WORKERS];

    run->workers = WORKERS;
    for (int i = 0; i < WORKERS; i++) {
        w[i] = (Worker){ .run = run, .start = i * PART, .random = run->seed + i };
        qemu_coroutine_enter(qemu_coroutine_create(worker_entry, &w[i]));
    }
    while (run->workers) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* Blocking, as another kind of caller; the length has the old value or the new one. */
static void resize(Run *run, RamDisk *d)
{
    static const int64_t lengths[] = { LENGTH - 4096, LENGTH };
    int64_t length = LENGTH;

    for (int i = 0; i < 2; i++) {
        Error *err = NULL;
        int ret = blk_truncate(run->blk, lengths[i], true, PREALLOC_MODE_OFF, 0, &err);

        check_ret(run, ret, false);
        g_assert_true((ret < 0) == (err != NULL));
        error_free(err);
        length = ret < 0 ? length : lengths[i];
        g_assert_cmpint(blk_getlength(run->blk), ==, length);
        g_assert_cmpint(d->length, ==, length);
    }
    if (length < LENGTH) {
        g_assert_cmpint(blk_truncate(run->blk, LENGTH, true, PREALLOC_MODE_OFF, 0,
                                     &error_abort),
                        ==, 0);
    }
    memset(run->old + LENGTH - 4096, 0, 4096);
    memset(run->new + LENGTH - 4096, 0, 4096);
}

static void check_image(Run *run)
{
    g_autofree uint8_t *buf = g_malloc(LENGTH);

    g_assert_cmpint(blk_pread(run->blk, 0, LENGTH, buf, 0), ==, 0);
    check_bytes(run, buf, 0, LENGTH);
}

/* --- running it over and over --- */

typedef struct Fault {
    int error;     /* 0: of an allocation */
    bool is_short;
    bool fua, zeroes;
} Fault;

/* One run with the fault at call number @at: whether it was met. */
static bool run_with_fault(const Fault *fault, unsigned at, uint32_t seed)
{
    g_autofree Run *run = g_new0(Run, 1);
    RamDisk *d = ram_disk_new(LENGTH);
    CoroutineStackStats stacks;
    bool met;

    d->limits = (BlockLimits){ .request_alignment = 512,
                               .max_transfer = 2048,
                               .max_iov = 4,
                               .max_pwrite_zeroes = 4096,
                               .max_pdiscard = 4096 };
    d->max_delay_ns = 200;
    d->fua = fault->fua;
    d->zeroes = fault->zeroes;
    run->seed = seed;
    run->error = fault->error ? fault->error : -ENOMEM;
    run->blk = ram_open_blk(d, "driver=raw");

    d->calls = 0;
    d->fail_at = fault->error ? at : 0;
    d->fail_with = fault->error;
    d->fail_short = fault->is_short;
    allocations = 0;
    failing_allocation = fault->error ? 0 : at;
    run_requests(run);
    if (run->failures == 0) {
        resize(run, d);
    }
    met = fault->error ? d->calls >= at : allocations >= at;
    d->fail_at = failing_allocation = 0;
    g_assert_true(met ? run->failures > 0 : run->failures == 0);
    g_assert_cmpuint(d->in_flight, ==, 0);

    check_image(run);
    blk_unref(run->blk);
    run->blk = ram_open_blk(d, "driver=raw");
    check_image(run);
    blk_unref(run->blk);
    /* Ended coroutines that wait for others are in it; those of all runs would be more. */
    coroutine_stack_get_stats(&stacks);
    g_assert_cmpuint(stacks.used, <, 200);
    ram_disk_free(d);
    return met;
}

static void test_fault(gconstpointer data)
{
    uint32_t seed = g_test_rand_int();
    unsigned at = 1;

    while (run_with_fault(data, at, seed)) {
        at++;
    }
    g_test_message("%u faults, seed %u", at - 1, seed);
    g_assert_cmpuint(at, >, 10);
}

int main(int argc, char **argv)
{
    static const Fault eio = { .error = -EIO }, enospc = { .error = -ENOSPC, .fua = true },
                       cut = { .error = -EIO, .is_short = true, .zeroes = true },
                       cut_fua = { .error = -ENOSPC, .is_short = true, .fua = true,
                                   .zeroes = true },
                       memory = { 0 };

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_data_func("/block/faults/io-error", &eio, test_fault);
    g_test_add_data_func("/block/faults/no-space", &enospc, test_fault);
    g_test_add_data_func("/block/faults/short", &cut, test_fault);
    g_test_add_data_func("/block/faults/short-no-space", &cut_fua, test_fault);
    g_test_add_data_func("/block/faults/no-memory", &memory, test_fault);
    return g_test_run();
}
