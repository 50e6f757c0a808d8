/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini compare: do two images read the same?
 *
 * Some coroutines each take the next chunk, read it from both images and compare. Chunks
 * are handed out in ascending order under the planner's lock; what both images know to be
 * zero is not handed out at all. The finding with the lowest offset counts, as if the
 * images had been compared from the start to the end: once there is one, no further chunk
 * is handed out, and those below it are still waited for.
 *
 * The coroutines are spread over the main thread and some more, as most of the time goes to
 * copies out of the page cache and comparing them, which one processor should do for both
 * while the bytes are in its cache. So a chunk is read in small pieces as long as the block
 * layer serves them from there, and in a large one from a disk.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/iothread.h"
#include "qemu/timer.h"

#define CHUNK_BYTES  (1 * 1024 * 1024)
/* What a thread reads from the page cache at once: both halves fit in a core's cache. */
#define PIECE_BYTES  (256 * 1024)
/* A piece that takes as long came from a disk (or its thread had to wait). */
#define SLOW_PIECE_NS (1000 * 1000)
#define NUM_WORKERS  4
#define MAX_THREADS  4
/* Below that a thread costs more than it saves. */
#define BYTES_PER_THREAD (16 * 1024 * 1024)
/* As qemu-img: a difference is told by the sector. */
#define GRANULARITY  ((int64_t)BDRV_SECTOR_SIZE)
/* All that strict mode compares: not where the data stands, but how it is stored, and what ends there. */
#define STATUS_FLAGS (~BDRV_BLOCK_OFFSET_VALID)

/* Exit codes. */
enum {
    COMPARE_SAME = 0,
    COMPARE_DIFFERENT = 1,
    COMPARE_OPEN_FAILED = 2,
    COMPARE_STATUS_FAILED = 3,
    COMPARE_READ_FAILED = 4,
};

typedef enum Finding {
    FOUND_NOTHING,
    FOUND_CONTENT,      /* differs at .offset */
    FOUND_STATUS,       /* strict: allocation differs at .offset */
    FOUND_READ_ERROR,   /* of image .image */
    FOUND_STATUS_ERROR,
} Finding;

typedef struct Side {
    const char *name;
    BlockBackend *blk;
    int64_t length;     /* bytes */
    int64_t extent_end; /* up to here the status is the next one */
    int status;         /* STATUS_FLAGS */
} Side;

/* Bit i of readers: side i is read. Of the others the chunk reads as zeroes. */
typedef struct Chunk {
    int64_t offset;
    int64_t bytes;
    unsigned readers;
} Chunk;

typedef struct Compare Compare;

typedef struct Worker {
    Compare *compare;
    uint8_t *buffer[2]; /* CHUNK_BYTES each */
} Worker;

struct Compare {
    Side side[2];
    bool direct; /* past the page cache */
    bool strict;
    bool quiet;
    int64_t common; /* the length of the shorter image */
    int64_t total;  /* of the longer one */

    CoMutex planner; /* guards the sides' extents, the progress, and: */
    int64_t position;
    Finding finding;
    int64_t found_offset;
    int found_side;
    int found_error; /* errno */

    unsigned running; /* workers; atomic, each one's last access */
    Worker workers[NUM_WORKERS];
};

static const CliOption compare_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { CLI_OPT_IMAGE_OPTS, "image-opts", NULL, "the names are lists of options" },
    { 'f', NULL, "FMT", "format of the first image (default: look)" },
    { 'F', NULL, "FMT", "format of the second image (default: look)" },
    { 'T', NULL, "CACHE", "cache mode of both images (default: writeback)" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', NULL, NULL, "say nothing but errors; the exit code tells the result" },
    { 's', NULL, NULL, "strict: length and allocation must be the same too" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- findings --- */

/* With the planner's lock. */
static void found(Compare *c, Finding what, int64_t offset, int side, int error)
{
    if (c->finding == FOUND_NOTHING || offset < c->found_offset) {
        c->finding = what;
        c->found_offset = offset;
        c->found_side = side;
        c->found_error = error;
    }
}

/* --- planning --- */

/* Makes the extent of @s cover @offset. With the planner's lock, as find_work. */
static int coroutine_fn look_at(Compare *c, Side *s, int64_t offset)
{
    int64_t pnum = 0;

    if (offset < s->extent_end) {
        return 0;
    }
    if (offset >= s->length) {
        /* Beyond the end of the shorter image everything counts as zero. */
        s->status = BDRV_BLOCK_ZERO;
        s->extent_end = c->total;
        return 0;
    }
    int ret = blk_co_block_status(s->blk, offset, s->length - offset, &pnum);
    if (ret < 0) {
        found(c, FOUND_STATUS_ERROR, offset, s - c->side, -ret);
        return ret;
    }
    g_assert(pnum > 0);
    s->status = ret & STATUS_FLAGS;
    s->extent_end = offset + pnum;
    return 0;
}

static bool has_data(const Side *s)
{
    return (s->status & BDRV_BLOCK_ALLOCATED) && !(s->status & BDRV_BLOCK_ZERO);
}

/* False when no chunk is left or none below a finding. */
static bool coroutine_fn find_work(Compare *c, Chunk *chunk)
{
    Side *a = &c->side[0];
    Side *b = &c->side[1];

    while (c->finding == FOUND_NOTHING && c->position < c->total) {
        int64_t offset = c->position;

        if (look_at(c, a, offset) < 0 || look_at(c, b, offset) < 0) {
            return false;
        }
        if (c->strict && offset < c->common && a->status != b->status) {
            found(c, FOUND_STATUS, offset, 0, 0);
            return false;
        }
        chunk->offset = offset;
        chunk->readers = has_data(a) | has_data(b) << 1;
        chunk->bytes = MIN(a->extent_end, b->extent_end) - offset;
        if (chunk->readers) {
            chunk->bytes = MIN(chunk->bytes, CHUNK_BYTES - offset % CHUNK_BYTES);
        }
        c->position += chunk->bytes;
        progress_update(c->position, c->total);
        if (chunk->readers) {
            return true;
        }
    }
    return false;
}

static bool coroutine_fn next_chunk(Compare *c, Chunk *chunk)
{
    qemu_co_mutex_lock(&c->planner);
    bool ok = find_work(c, chunk);
    qemu_co_mutex_unlock(&c->planner);
    return ok;
}

/* --- comparing --- */

/* The first sector that differs, or @bytes. */
static int64_t first_difference(const uint8_t *a, const uint8_t *b, int64_t bytes)
{
    if (!memcmp(a, b, bytes)) {
        return bytes;
    }
    int64_t i = 0;
    while (!memcmp(a + i, b + i, MIN(GRANULARITY, bytes - i))) {
        i += GRANULARITY;
    }
    return i;
}

/* The first sector that is not all zeroes, or @bytes. */
static int64_t first_nonzero(const uint8_t *buf, int64_t bytes)
{
    if (buffer_is_zero(buf, bytes)) {
        return bytes;
    }
    int64_t i = 0;
    while (buffer_is_zero(buf + i, MIN(GRANULARITY, bytes - i))) {
        i += GRANULARITY;
    }
    return i;
}

static void coroutine_fn found_in_piece(Compare *c, Finding what, int64_t offset, int side,
                                        int error)
{
    qemu_co_mutex_lock(&c->planner);
    found(c, what, offset, side, error);
    qemu_co_mutex_unlock(&c->planner);
}

/* False: there is a finding. */
static bool coroutine_fn compare_piece(Compare *c, Worker *w, unsigned readers, int64_t offset,
                                       int64_t bytes)
{
    int64_t same;

    for (int i = 0; i < 2; i++) {
        if (readers & 1u << i) {
            int ret = blk_co_pread(c->side[i].blk, offset, bytes, w->buffer[i], 0);
            if (ret < 0) {
                found_in_piece(c, FOUND_READ_ERROR, offset, i, -ret);
                return false;
            }
        }
    }
    if (readers == 3) {
        same = first_difference(w->buffer[0], w->buffer[1], bytes);
    } else {
        same = first_nonzero(w->buffer[readers >> 1], bytes);
    }
    if (same < bytes) {
        found_in_piece(c, FOUND_CONTENT, offset + same, 0, 0);
        return false;
    }
    return true;
}

static void coroutine_fn compare_chunk(Compare *c, Worker *w, const Chunk *chunk)
{
    int64_t pos = chunk->offset, end = pos + chunk->bytes;
    int64_t piece = c->direct ? CHUNK_BYTES : PIECE_BYTES;

    while (pos < end) {
        int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        int64_t bytes = MIN(piece, end - pos);

        if (!compare_piece(c, w, chunk->readers, pos, bytes)) {
            return;
        }
        pos += bytes;
        if (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start > SLOW_PIECE_NS) {
            piece = CHUNK_BYTES;
        }
    }
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    Compare *c = w->compare;
    Chunk chunk;

    while (next_chunk(c, &chunk)) {
        compare_chunk(c, w, &chunk);
    }
    if (qatomic_fetch_dec(&c->running) == 1) {
        aio_wait_kick(); /* the main thread, in run_workers */
    }
}

/* How many threads besides this one; fewer if there are none to be had. */
static unsigned start_threads(const Compare *c, IOThread **threads)
{
    int64_t wanted = MIN(c->total / BYTES_PER_THREAD, MIN(g_get_num_processors(), MAX_THREADS)) - 1;
    unsigned n = 0;

    while (n < wanted && (threads[n] = iothread_new_named("compare", NULL))) {
        n++;
    }
    return n;
}

static void run_workers(Compare *c)
{
    IOThread *threads[MAX_THREADS - 1];
    unsigned n = start_threads(c, threads);

    aio_context_set_may_block(qemu_get_current_aio_context(), true);
    for (unsigned i = 0; i < n; i++) {
        aio_context_set_may_block(iothread_get_aio_context(threads[i]), true);
    }

    qemu_co_mutex_init(&c->planner);
    c->running = NUM_WORKERS;
    for (unsigned i = 0; i < NUM_WORKERS; i++) {
        unsigned k = i % (n + 1);

        aio_co_schedule(k < n ? iothread_get_aio_context(threads[k])
                              : qemu_get_current_aio_context(),
                        qemu_coroutine_create(worker_entry, &c->workers[i]));
    }
    AIO_WAIT_WHILE(NULL, qatomic_load_acquire(&c->running));
    while (n > 0) {
        iothread_join(threads[--n]);
    }
}

/* --- the result --- */

static void G_GNUC_PRINTF(2, 3) say(const Compare *c, const char *fmt, ...)
{
    va_list ap;

    if (!c->quiet) {
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
    }
}

/* Prints what was found; the exit code. */
static int tell_result(Compare *c)
{
    const char *name = c->side[c->found_side].name;

    progress_done(c->finding == FOUND_NOTHING);
    if (c->common != c->total && (c->finding == FOUND_NOTHING || c->found_offset >= c->common)) {
        say(c, "Warning: Image size mismatch!\n");
    }
    switch (c->finding) {
    case FOUND_NOTHING:
        say(c, "Images are identical.\n");
        return COMPARE_SAME;
    case FOUND_CONTENT:
        say(c, "Content mismatch at offset %" PRId64 "!\n", c->found_offset);
        return COMPARE_DIFFERENT;
    case FOUND_STATUS:
        say(c, "Strict mode: Offset %" PRId64 " block status mismatch!\n", c->found_offset);
        return COMPARE_DIFFERENT;
    case FOUND_READ_ERROR:
        error_report("Error while reading offset %" PRId64 " of %s: %s", c->found_offset, name,
                     strerror(c->found_error));
        return COMPARE_READ_FAILED;
    case FOUND_STATUS_ERROR:
        error_report("Sector allocation test failed for %s", name);
        return COMPARE_STATUS_FAILED;
    }
    g_assert_not_reached();
}

static int compare_contents(Compare *c)
{
    const size_t n = 2 * NUM_WORKERS;
    uint8_t *buffers = blk_try_blockalign(c->side[0].blk, n * CHUNK_BYTES);

    if (!buffers) {
        error_report("Not enough memory for %zu buffers of %d bytes", n, CHUNK_BYTES);
        return COMPARE_READ_FAILED;
    }
    for (size_t i = 0; i < n; i++) {
        c->workers[i / 2].compare = c;
        c->workers[i / 2].buffer[i % 2] = buffers + i * CHUNK_BYTES;
    }
    run_workers(c);
    qemu_vfree(buffers);
    int status = tell_result(c);
    progress_close();
    return status;
}

static int compare_images(Compare *c)
{
    for (int i = 0; i < 2; i++) {
        Side *s = &c->side[i];
        s->length = blk_getlength(s->blk);
        if (s->length < 0) {
            error_report("Can't get size of %s: %s", s->name, strerror(-s->length));
            return COMPARE_READ_FAILED;
        }
    }
    c->common = MIN(c->side[0].length, c->side[1].length);
    c->total = MAX(c->side[0].length, c->side[1].length);
    progress_begin(c->quiet);
    if (c->strict && c->common != c->total) {
        progress_done(false);
        say(c, "Strict mode: Image size mismatch!\n");
        progress_close();
        return COMPARE_DIFFERENT;
    }
    return compare_contents(c);
}

static int compare_run(const Command *cmd, int argc, char **argv)
{
    Compare compare = {};
    CliImage image[2] = {};
    const char *cache = "writeback";
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 'F': image[1].format = optarg; break;
        case 'T': cache = optarg; break;
        case 'q': compare.quiet = true; break;
        case 's': compare.strict = true; break;
        case 'U': image[0].force_share = image[1].force_share = true; break;
        case CLI_OPT_IMAGE_OPTS: image[0].image_opts = image[1].image_opts = true; break;
        default:
            if (!cli_image_option(c, &image[0])) {
                return COMPARE_OPEN_FAILED;
            }
            break;
        }
    }
    if (optind != argc - 2) {
        cli_usage_error("Expecting two image file names");
    }

    int status = COMPARE_OPEN_FAILED;
    for (int i = 0; i < 2; i++) {
        image[i].filename = compare.side[i].name = argv[optind + i];
        if (bdrv_parse_cache_mode(cache, &image[i].flags, &image[i].writethrough) < 0) {
            error_report("Invalid source cache option: %s", cache);
            progress_give_up(compare.quiet);
            return status;
        }
    }
    compare.direct = image[0].flags & BDRV_O_NOCACHE;
    compare.side[0].blk = cli_open_image(&image[0]);
    if (compare.side[0].blk) {
        compare.side[1].blk = cli_open_image(&image[1]);
    }
    if (compare.side[1].blk) {
        status = compare_images(&compare);
    } else {
        progress_give_up(compare.quiet);
    }
    blk_unref(compare.side[0].blk);
    blk_unref(compare.side[1].blk);
    return status;
}

const Command compare_command = {
    .name = "compare",
    .run = compare_run,
    .args = "IMAGE1 IMAGE2",
    .summary = "Tells whether two images have the same contents.",
    .options = compare_cli_options,
    .notes = "Exit codes: 0 the same, 1 different, 2 cannot be opened, 3 cannot be mapped, 4 cannot be\n"
             "read.",
    .example = "compare -f raw -F raw disk.img copy.img",
};
