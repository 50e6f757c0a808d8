/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini bench: how many requests a second an image takes.
 *
 * A fixed number of slots each hold one request. A completion only marks its slot as free;
 * the loop then fills all free slots inside one plug section, so that what completed
 * together is submitted together. Everything runs in the main thread.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"

typedef struct BenchArgs {
    CliImage image;
    unsigned long count;
    unsigned long depth;
    unsigned long flush_interval; /* requests; 0: no flushes */
    int64_t offset;               /* bytes, as the next four */
    int64_t buffer_size;
    int64_t step;                 /* 0: buffer_size */
    int pattern;
    bool write;
    bool drain_on_flush;
} BenchArgs;

typedef struct Bench Bench;

typedef struct Slot {
    Bench *bench;
    QEMUIOVector qiov;
    struct Slot *next_free;
} Slot;

struct Bench {
    const BenchArgs *args;
    BlockBackend *blk;
    int64_t image_size;    /* bytes */
    int64_t offset;        /* of the next request */
    unsigned long unsent;  /* requests */
    unsigned long in_flight;
    unsigned long flushes_in_flight;
    unsigned long until_flush; /* requests to send before the next flush */
    bool flush_due;            /* waits for the queue to drain */
    Slot *free;
    Slot *slots;
    uint8_t *buffers;
    int error;             /* of the first request that failed, negative */
    const char *failed_what;
};

static const CliOption bench_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { 'c', NULL, "COUNT", "number of requests (default: 75000)" },
    { 'd', NULL, "DEPTH", "requests in flight (default: 64)" },
    { 'f', NULL, "FMT", "format of the image (default: look)" },
    CLI_IMAGE_OPTS_OPTION,
    { 'i', NULL, "AIO", "how the host's file is read: threads (default), native, io_uring" },
    { 'n', NULL, NULL, "the same as -i native" },
    { 'o', NULL, "OFFSET", "where to begin, in bytes (default: 0)" },
    { 'q', NULL, NULL, "quiet; bench has nothing to leave out" },
    { 's', NULL, "SIZE", "size of a request (default: 4k)" },
    { 'S', NULL, "STEP", "from one request's start to the next (default: SIZE)" },
    { 't', NULL, "CACHE", "cache mode (default: writeback)" },
    { 'w', NULL, NULL, "write instead of read" },
    { CLI_OPT_PATTERN, "pattern", "BYTE", "what to write (default: 0)" },
    { CLI_OPT_FLUSH_INTERVAL, "flush-interval", "N", "flush after every N writes" },
    { CLI_OPT_NO_DRAIN, "no-drain", NULL, "do not wait for writes before a flush" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- the loop --- */

static void fail(Bench *b, const char *what, int ret)
{
    if (!b->error) {
        b->error = ret;
        b->failed_what = what;
    }
}

static void request_done(void *opaque, int ret)
{
    Slot *slot = opaque;
    Bench *b = slot->bench;

    if (unlikely(ret < 0)) {
        fail(b, "Failed request", ret);
    }
    b->in_flight--;
    slot->next_free = b->free;
    b->free = slot;
}

static void flush_done(void *opaque, int ret)
{
    Bench *b = opaque;

    if (ret < 0) {
        fail(b, "Failed flush request", ret);
    }
    b->flushes_in_flight--;
}

static void send_flush(Bench *b)
{
    b->flushes_in_flight++;
    blk_aio_flush(b->blk, flush_done, b);
    b->flush_due = false;
    b->until_flush = b->args->flush_interval;
}

/* No request may be sent before a flush that is due has been sent and, draining, is done. */
static bool hold_for_flush(Bench *b)
{
    if (b->flush_due) {
        if (b->args->drain_on_flush && b->in_flight) {
            return true;
        }
        send_flush(b);
    }
    return b->args->drain_on_flush && b->flushes_in_flight;
}

static void send_request(Bench *b)
{
    Slot *slot = b->free;

    b->free = slot->next_free;
    b->in_flight++;
    b->unsent--;
    if (b->args->write) {
        blk_aio_pwritev(b->blk, b->offset, &slot->qiov, 0, request_done, slot);
    } else {
        blk_aio_preadv(b->blk, b->offset, &slot->qiov, 0, request_done, slot);
    }
    /* The first offset may be anything up to 2^63 - 1. */
    uint64_t next = (uint64_t)b->offset + b->args->step;
    if (next >= (uint64_t)b->image_size && b->image_size) {
        next %= b->image_size;
    }
    b->offset = next;
    if (b->until_flush && !--b->until_flush) {
        b->flush_due = true;
    }
}

static void fill_slots(Bench *b)
{
    blk_io_plug();
    while (b->unsent && b->free && !hold_for_flush(b)) {
        send_request(b);
    }
    blk_io_unplug();
}

static void run(Bench *b)
{
    AioContext *ctx = blk_get_aio_context(b->blk);

    while (!b->error && (b->unsent || b->in_flight || b->flushes_in_flight || b->flush_due)) {
        if (b->unsent) {
            fill_slots(b);
        } else if (b->flush_due) {
            hold_for_flush(b);
        }
        aio_poll(ctx, true);
    }
    /* The buffers must outlive what is still under way after a failure. */
    while (b->in_flight || b->flushes_in_flight) {
        aio_poll(ctx, true);
    }
}

/* False and a message when there is not enough memory. */
static bool make_slots(Bench *b)
{
    const BenchArgs *args = b->args;
    size_t n = MIN(args->depth, MAX(args->count, 1));
    size_t size = args->buffer_size;
    size_t stride = MAX(size, 1u);

    b->slots = g_try_new0(Slot, n);
    if (!b->slots || n > SIZE_MAX / stride || !(b->buffers = blk_try_blockalign(b->blk, n * stride))) {
        error_report("Not enough memory for %zu requests of %zu bytes", n, size);
        return false;
    }
    memset(b->buffers, args->write ? args->pattern : 0, n * stride);
    for (size_t i = n; i-- > 0;) {
        Slot *slot = &b->slots[i];
        slot->bench = b;
        qemu_iovec_init_buf(&slot->qiov, b->buffers + i * stride, size);
        slot->next_free = b->free;
        b->free = slot;
    }
    return true;
}

static int bench_image(BlockBackend *blk, const BenchArgs *args)
{
    Bench b = { .args = args, .blk = blk, .offset = args->offset, .unsent = args->count };
    int status = EXIT_FAILURE;

    b.image_size = blk_getlength(blk);
    if (args->flush_interval) {
        /* Flushes fall where what remains is a multiple; one comes at the very end. */
        b.until_flush = args->count % args->flush_interval ?: args->flush_interval;
    }
    if (b.image_size < 0) {
        error_report("Can't get image size: %s", strerror(-b.image_size));
    } else if (make_slots(&b)) {
        printf("Sending %lu %s requests, %" PRId64 " bytes each, %lu in parallel "
               "(starting at offset %" PRId64 ", step size %" PRId64 ")\n",
               args->count, args->write ? "write" : "read", args->buffer_size, args->depth,
               args->offset, args->step);
        if (args->flush_interval) {
            printf("Sending flush every %lu requests\n", args->flush_interval);
        }
        fflush(stdout);

        int64_t start = g_get_monotonic_time();
        run(&b);
        int64_t end = g_get_monotonic_time();

        if (b.error) {
            error_report("%s: %s", b.failed_what, strerror(-b.error));
        } else {
            printf("Run completed in %3.3f seconds.\n", (end - start) / (double)G_USEC_PER_SEC);
            status = EXIT_SUCCESS;
        }
    }
    qemu_vfree(b.buffers);
    g_free(b.slots);
    return status;
}

/* --- the command --- */

/* False and a message when a value is wrong. */
static bool parse_option(int c, BenchArgs *args)
{
    unsigned long number;

    switch (c) {
    case 'c':
        if (!cli_parse_count(optarg, INT_MAX, &args->count)) {
            error_report("Invalid request count specified");
            return false;
        }
        break;
    case 'd':
        /* Without a request in flight the run would never end. */
        if (!cli_parse_count(optarg, INT_MAX, &args->depth) || !args->depth) {
            error_report("Invalid queue depth specified");
            return false;
        }
        break;
    case 'f':
        args->image.format = optarg;
        break;
    case 'i':
        return cli_parse_aio(optarg, &args->image.flags);
    case 'n':
        args->image.flags |= BDRV_O_NATIVE_AIO;
        break;
    case 'o':
        args->offset = cli_parse_size("offset", optarg, 0, INT64_MAX);
        return args->offset >= 0;
    case 'q':
        break; /* there is nothing to leave out */
    case 's':
        args->buffer_size = cli_parse_size("buffer size", optarg, 0, INT_MAX);
        return args->buffer_size >= 0;
    case 'S':
        args->step = cli_parse_size("step_size", optarg, 0, INT_MAX);
        return args->step >= 0;
    case 't':
        if (bdrv_parse_cache_mode(optarg, &args->image.flags, &args->image.writethrough) < 0) {
            error_report("Invalid cache mode");
            return false;
        }
        break;
    case 'w':
        args->image.flags |= BDRV_O_RDWR;
        args->write = true;
        break;
    case CLI_OPT_PATTERN:
        if (!cli_parse_count(optarg, 0xff, &number)) {
            error_report("Invalid pattern byte specified");
            return false;
        }
        args->pattern = number;
        break;
    case CLI_OPT_FLUSH_INTERVAL:
        if (!cli_parse_count(optarg, INT_MAX, &args->flush_interval)) {
            error_report("Invalid flush interval specified");
            return false;
        }
        break;
    case CLI_OPT_NO_DRAIN:
        args->drain_on_flush = false;
        break;
    default:
        return cli_image_option(c, &args->image);
    }
    return true;
}

static int bench_run(const Command *cmd, int argc, char **argv)
{
    BenchArgs args = { .count = 75000, .depth = 64, .buffer_size = 4096, .drain_on_flush = true };
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!parse_option(c, &args)) {
            return EXIT_FAILURE;
        }
    }
    args.image.filename = cli_one_filename(argc, argv);
    if (args.flush_interval && !args.write) {
        error_report("--flush-interval is only available in write tests");
        return EXIT_FAILURE;
    }
    if (args.flush_interval && args.flush_interval < args.depth) {
        error_report("Flush interval can't be smaller than depth");
        return EXIT_FAILURE;
    }
    if (!args.step) {
        args.step = args.buffer_size;
    }
    g_autoptr(BlockBackend) blk = cli_open_image(&args.image);
    if (!blk && (args.image.flags & BDRV_O_NATIVE_AIO) && !(args.image.flags & BDRV_O_NOCACHE)) {
        cli_hint("Native AIO goes with '-t none' or '-t directsync'");
    }
    if (!blk) {
        return EXIT_FAILURE;
    }
    int status = bench_image(blk, &args);
    return status == EXIT_SUCCESS && !cli_finish_image(blk) ? EXIT_FAILURE : status;
}

const Command bench_command = {
    .name = "bench",
    .run = bench_run,
    .args = "FILENAME",
    .summary = "Sends requests to an image and takes the time.",
    .options = bench_cli_options,
    .example = "bench -c 100000 -d 32 -t none -i native -f raw disk.img",
};
