/* SPDX-License-Identifier: MIT */
/*
 * Requests through the public block API at a fixed depth, for comparing one format with
 * another in the same program:
 *
 *     bench-block [-r] [-w] [-s BLOCK] [-d DEPTH] [-c COUNT] [-t THREADS] OPTIONS
 *
 * OPTIONS are as for --image-opts. -r takes random blocks, otherwise they run through the
 * image and wrap at its end. With -t that many threads, each with a depth of its own, share
 * the image. Each slot is a coroutine that sends one request after the other. The time is
 * printed as qemu-img bench prints it.
 */
#include "qemu/osdep.h"

#include <sys/resource.h>

#include "block/block-backend.h"
#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/coroutine.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"

typedef struct Bench {
    BlockBackend *blk;
    uint64_t blocks;  /* of the image */
    int64_t block_size;
    bool random;
    bool write;
    long depth;
    long count;       /* requests of each thread */
} Bench;

/* One thread's part; touched by that thread alone. */
typedef struct Worker {
    const Bench *bench;
    uint64_t next;
    uint64_t seed;
    long sent;
    long running; /* slots */
    int error;
    bool done;    /* atomic, for the main thread */
    AioContext *ctx;
    IOThread *thread;
} Worker;

static uint64_t next_block(Worker *w)
{
    if (w->bench->random) {
        /* xorshift64 */
        w->seed ^= w->seed << 13;
        w->seed ^= w->seed >> 7;
        w->seed ^= w->seed << 17;
        return w->seed % w->bench->blocks;
    }
    return w->next++ % w->bench->blocks;
}

static void coroutine_fn slot_entry(void *opaque)
{
    Worker *w = opaque;
    const Bench *b = w->bench;
    void *buf = blk_blockalign(b->blk, b->block_size);

    memset(buf, 0xa5, b->block_size);
    while (w->sent < b->count && w->error == 0) {
        int64_t offset = next_block(w) * b->block_size;
        int ret;

        w->sent++;
        ret = b->write ? blk_co_pwrite(b->blk, offset, b->block_size, buf, 0)
                       : blk_co_pread(b->blk, offset, b->block_size, buf, 0);
        if (ret < 0) {
            w->error = ret;
        }
    }
    qemu_vfree(buf);
    if (--w->running == 0) {
        qatomic_store_release(&w->done, true);
        aio_wait_kick();
    }
}

static void start_slots(void *opaque)
{
    Worker *w = opaque;

    w->running = w->bench->depth;
    defer_call_begin();
    for (long i = 0; i < w->bench->depth; i++) {
        Coroutine *co = qemu_coroutine_create(slot_entry, w);

        qemu_coroutine_enter(co);
    }
    defer_call_end();
}

static double now(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int run_workers(const Bench *b, long threads)
{
    g_autofree Worker *workers = g_new0(Worker, threads);
    int error = 0;

    for (long i = 0; i < threads; i++) {
        Worker *w = &workers[i];

        w->bench = b;
        w->seed = 88172645463325252ULL + i * 7919;
        w->next = b->blocks / threads * i;
        if (threads == 1) {
            start_slots(w);
        } else {
            w->thread = iothread_new();
            w->ctx = iothread_get_aio_context(w->thread);
            aio_bh_schedule_oneshot(w->ctx, start_slots, w);
        }
    }
    for (long i = 0; i < threads; i++) {
        AIO_WAIT_WHILE(workers[i].ctx, !qatomic_load_acquire(&workers[i].done));
        error = error ? error : workers[i].error;
        if (workers[i].thread) {
            iothread_join(workers[i].thread);
        }
    }
    return error;
}

static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || value <= 0) {
        error_report("not a positive number: %s", text);
        exit(EXIT_FAILURE);
    }
    return value;
}

int main(int argc, char **argv)
{
    Bench b = { .block_size = 4096, .depth = 32, .count = 75000 };
    BlockOptions *options = blk_options_new();
    double start, cpu;
    long threads = 1;
    int opt, ret;

    error_init(argv[0]);
    while ((opt = getopt(argc, argv, "rws:d:c:t:")) != -1) {
        switch (opt) {
        case 'r':
            b.random = true;
            break;
        case 'w':
            b.write = true;
            break;
        case 's':
            b.block_size = number(optarg);
            break;
        case 'd':
            b.depth = number(optarg);
            break;
        case 'c':
            b.count = number(optarg);
            break;
        case 't':
            threads = number(optarg);
            break;
        default:
            return EXIT_FAILURE;
        }
    }
    if (optind != argc - 1) {
        error_report("usage: bench-block [-rw] [-s BLOCK] [-d DEPTH] [-c COUNT] [-t THREADS] "
                     "OPTIONS");
        return EXIT_FAILURE;
    }
    qemu_init_main_loop(&error_fatal);
    if (!blk_options_parse(options, argv[optind], NULL, &error_fatal)) {
        return EXIT_FAILURE;
    }
    b.blk = blk_new_open(NULL, NULL, options, b.write ? BDRV_O_RDWR : 0, &error_fatal);
    b.blocks = blk_getlength(b.blk) / b.block_size;
    if (b.blocks == 0) {
        error_report("the image is smaller than a block");
        return EXIT_FAILURE;
    }
    start = now(CLOCK_MONOTONIC);
    cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    ret = run_workers(&b, threads);
    if (ret < 0) {
        error_report("request failed: %s", strerror(-ret));
        return EXIT_FAILURE;
    }
    printf("Run completed in %.3f seconds.\n", now(CLOCK_MONOTONIC) - start);
    printf("%.3f us CPU/request\n",
           (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / b.count / threads);
    blk_unref(b.blk);
    return EXIT_SUCCESS;
}
