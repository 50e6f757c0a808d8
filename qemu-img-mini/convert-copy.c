/* SPDX-License-Identifier: MIT */
/*
 * The copying of convert.
 *
 * Some coroutines each have a buffer and repeat: take the next chunk of the sources,
 * read it, look for zeroes, wait for their turn to write, write it. Chunks are handed out in ascending
 * order under the planner's lock and numbered. With in_order, writes start in that order,
 * and the second starts while the first is under way, so that the disk does not wait for
 * this program between them. Reads overlap with each other and with the writing.
 *
 * What the sources say about themselves (block status) saves reading: zeroes are not read,
 * and not written either where the target has zeroes already. In what is read, runs of
 * zeroes become holes. A target with a backing file gets only what the source's own layer holds.
 *
 * With copy_offload, data is not read: when it is the chunk's turn, the block layer is asked to have
 * it copied below, and only what it refuses is read and written here. Zeroes within
 * the data of a source are copied as they are.
 *
 * Compressed data goes out in whole clusters. The format keeps streams in the order in which the
 * writes arrive, so many may be under way at once, and the file is the same for any number.
 *
 * From one page cache to another the coroutines are spread over several threads (convert-threads.h), and each
 * does its requests itself. Otherwise they all run in the main thread. What they share has a lock or is
 * atomic; the planner's is held while the block layer is asked for the status.
 */
#include "convert-copy.h"

#include "qemu/osdep.h"
#include "qemu/aio_task.h"
#include "block/block-driver.h"
#include "block/block-image.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"

#include "cli.h"
#include "convert-runs.h"
#include "convert-threads.h"
#include "convert-turns.h"
#include "progress.h"

/*
 * By measurement: between two page caches so small that the bytes are still in the processor's cache
 * when they are written; for a disk, for compressing, and where chunks are woken for their turn, rather large.
 */
#define CACHED_CHUNK_BYTES (256 * 1024)
#define CHUNK_BYTES (1024 * 1024)
/* Zeroes that need no buffer come in larger pieces; the limit is for the progress. */
#define ZERO_CHUNK_BYTES (1024 * 1024 * 1024LL)
/*
 * As many chunks are being written at once with in_order, to a disk past the page cache. A format that allocates
 * clusters gets one, as otherwise their order in the file would depend on luck; but as many as there are if they
 * are compressed. Between page caches there is no order without clusters: the kernel lets one writer at a time
 * into a file, and its lock, which the others spin on, is handed over faster than a coroutine wakes.
 */
#define IN_ORDER_DIRECT_WRITES 2
/* Runs of compressed clusters of one chunk that are under way at once. */
#define COMPRESSED_RUNS 16
/* The survey of what there is to copy stops here: it must not take long itself. */
#define SURVEY_MAX_EXTENTS 20000
/*
 * Asking for the status costs more than reading such an extent. Behind that many of them in
 * a row, a chunk is read without asking; the holes in it are found by their zeroes. A few
 * questions then show whether the extents are still small.
 */
#define SMALL_EXTENT_BYTES (64 * 1024)
#define MANY_SMALL_EXTENTS 8
#define SMALL_EXTENT_PROBE 2
/* So many chunks refused in a row, and no more are offered: these two images do not go together. */
#define OFFLOAD_MAX_REFUSALS 8

typedef enum ExtentKind {
    EXTENT_DATA,
    EXTENT_ZERO,
    EXTENT_BACKING, /* the target's backing file has it */
} ExtentKind;

typedef enum ChunkKind {
    CHUNK_DATA,       /* read it */
    CHUNK_ZERO,       /* make it zero by pwrite_zeroes */
    CHUNK_ZERO_BYTES, /* write zero bytes, so that space is allocated */
} ChunkKind;

typedef struct Chunk {
    uint64_t number;
    ChunkKind kind;
    const CopySource *source;
    int64_t offset; /* in the target, bytes */
    int64_t bytes;
} Chunk;

typedef struct Copy Copy;

typedef struct Worker {
    Copy *copy;
    uint8_t *buffer; /* of chunk_bytes */
    GArray *runs;    /* of CopyRun: what the buffer is made of */
} Worker;

struct Copy {
    const CopyJob *job;
    int64_t chunk_bytes;
    int64_t granularity; /* holes begin and end at multiples of this */
    int64_t total;       /* bytes of the target that are covered */

    CoMutex planner;     /* guards the next six */
    const CopySource *source;
    int64_t position;    /* next byte to hand out */
    int64_t extent_end;  /* up to here it is of this kind */
    ExtentKind extent_kind;
    unsigned small_extents; /* seen in a row */
    uint64_t next_number;

    CopyTurns turns;
    QemuMutex progress;      /* guards the next two */
    uint64_t work_done;      /* bytes, for the progress; */
    uint64_t work_total;     /* in what is to be read and written */
    bool survey_tried;       /* atomic, as the next one; set by the planner */
    bool surveyed;           /* work_total is known */
    bool failed;             /* atomic */
    unsigned running;        /* atomic */
    bool done;               /* main thread */

    /* The rest is used by copies in one thread only. */
    unsigned refusals;       /* to copy below, since the last chunk that was */
    int64_t rate_start;      /* ns of QEMU_CLOCK_REALTIME */
    uint64_t rate_bytes;     /* written since */
    Worker workers[COPY_MAX_COROUTINES];
    CopyThreads threads;
};

/* --- errors --- */

/*
 * The first failure is reported, the others follow from it or from the same cause. Scripts get
 * qemu-img's words alone; people are told what it means. @s: the source that it is about, or NULL.
 */
static void G_GNUC_PRINTF(3, 4) fail(Copy *c, const CopySource *s, const char *fmt, ...)
{
    va_list ap;

    if (qatomic_xchg(&c->failed, true)) {
        return;
    }
    copy_turns_give_up(&c->turns);
    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    if (isatty(STDERR_FILENO)) {
        error_printf(s ? "The source was '%s'; the target '%s' is incomplete.\n"
                       : "%sThe target '%s' is incomplete.\n",
                     s ? s->name : "", c->job->target_name);
    }
}

/* Somebody who asks for the first time has the answer after a survey, in next_chunk(). */
static bool is_survey_due(const Copy *c)
{
    return progress_is_asked() && !qatomic_read(&c->survey_tried);
}

static void work_advance(Copy *c, int64_t bytes)
{
    qemu_mutex_lock(&c->progress);
    c->work_done += bytes;
    if (qatomic_load_acquire(&c->surveyed)) {
        progress_update(c->work_done, c->work_total);
    } else if (qatomic_read(&c->survey_tried)) {
        /* Too much to be surveyed. Nobody has asked before it was tried. */
        progress_update(qatomic_read(&c->position), c->total);
    }
    qemu_mutex_unlock(&c->progress);
}

/* --- planning: what comes next --- */

/* From which byte of the target on there is no backing file below; or none at all: never. */
static bool behind_backing(const CopyJob *job, int64_t offset)
{
    return job->target_backing_length >= 0 && offset >= job->target_backing_length;
}

static ExtentKind kind_of_status(const CopyJob *job, int64_t offset, int status)
{
    if (status & BDRV_BLOCK_ZERO) {
        return behind_backing(job, offset) ? EXTENT_BACKING : EXTENT_ZERO;
    }
    return job->target_has_backing && !(status & BDRV_BLOCK_DATA) ? EXTENT_BACKING : EXTENT_DATA;
}

/* The block status at @offset of the target. Bits with *@pnum, or -errno. */
static int coroutine_fn ask_status(Copy *c, const CopySource *s, int64_t offset, int64_t *pnum)
{
    int64_t in_source = offset - s->start, bytes = s->length - in_source;

    *pnum = 0;
    if (!c->job->target_has_backing) {
        return blk_co_block_status(s->blk, in_source, bytes, pnum);
    }
    if (c->job->target_backing_length > offset) {
        /* Zeroes count otherwise from there on. */
        bytes = MIN(bytes, c->job->target_backing_length - offset);
    }
    return bdrv_co_block_status_above(blk_bs(s->blk), s->base, in_source, bytes, pnum, NULL, NULL);
}

/* The kind of what is at @offset, which lies in @s, and up to *@end. 0 or -errno. */
static int coroutine_fn extent_at(Copy *c, const CopySource *s, int64_t offset, ExtentKind *kind,
                                  int64_t *end)
{
    int64_t in_source = offset - s->start;
    int64_t pnum = 0;

    if (in_source >= s->length) {
        /* The rest of the last sector. */
        *kind = kind_of_status(c->job, offset, BDRV_BLOCK_ZERO);
        *end = s->end;
        return 0;
    }
    if (c->small_extents >= MANY_SMALL_EXTENTS && !c->job->target_has_backing &&
        !c->job->copy_offload) {
        c->small_extents -= SMALL_EXTENT_PROBE;
        *kind = EXTENT_DATA;
        *end = MIN(ROUND_DOWN(offset + c->chunk_bytes, c->chunk_bytes), s->start + s->length);
        return 0;
    }
    int ret = ask_status(c, s, offset, &pnum);
    if (ret < 0) {
        if (!c->job->salvage) {
            fail(c, s, "error while reading block status at offset %" PRIu64 ": %s",
                 (uint64_t)offset, strerror(-ret));
            return ret;
        }
        /* Reading will show what is there. */
        ret = BDRV_BLOCK_DATA;
        pnum = MIN(c->chunk_bytes, s->length - in_source);
    }
    g_assert(pnum > 0);
    c->small_extents = pnum < SMALL_EXTENT_BYTES ? c->small_extents + 1 : 0;
    *kind = kind_of_status(c->job, offset, ret);
    *end = offset + pnum;
    if (*end - s->start == s->length && s->length < s->end && *kind != EXTENT_DATA) {
        *end = s->end;
    }
    return 0;
}

/* Clusters are compressed as a whole: those that are of several kinds count as data. */
static void round_extent(Copy *c)
{
    int64_t cluster = c->job->compressed, bytes = c->extent_end - c->position;

    if (!cluster) {
        return;
    }
    if (bytes >= cluster) {
        c->extent_end = c->position + ROUND_DOWN(bytes, cluster);
    } else if (c->extent_end < c->total) {
        c->extent_kind = EXTENT_DATA;
        c->extent_end = MIN(c->position + cluster, c->total);
    }
}

static bool needs_no_work(const Copy *c, ExtentKind kind)
{
    return kind == EXTENT_BACKING ||
           (kind == EXTENT_ZERO && c->job->target_is_zero && c->job->min_sparse);
}

/* Makes the fields of the planner describe c->position, going past what needs no work. */
static bool coroutine_fn find_work(Copy *c)
{
    while (!qatomic_read(&c->failed) && c->position < c->total) {
        while (c->position >= c->source->end) {
            c->source++;
        }
        if (c->position >= c->extent_end) {
            if (extent_at(c, c->source, c->position, &c->extent_kind, &c->extent_end) < 0) {
                return false;
            }
            round_extent(c);
        }
        if (!needs_no_work(c, c->extent_kind)) {
            return true;
        }
        qatomic_set(&c->position, c->extent_end);
        work_advance(c, 0);
    }
    return false;
}

/* How much there is to do, when somebody wants to know how far it is. With the planner's lock, or before all. */
static void coroutine_fn survey(Copy *c)
{
    const CopySource *s = c->job->sources;
    unsigned extents = 0;
    uint64_t total = 0;

    qatomic_set(&c->survey_tried, true);
    for (int64_t offset = 0, end; offset < c->total; offset = end) {
        ExtentKind kind;

        while (offset >= s->end) {
            s++;
        }
        if (++extents > SURVEY_MAX_EXTENTS || extent_at(c, s, offset, &kind, &end) < 0) {
            return;
        }
        if (!needs_no_work(c, kind)) {
            total += end - offset;
        }
    }
    c->work_total = total; /* nobody reads it before: pairs with the load in work_advance() */
    qatomic_store_release(&c->surveyed, true);
}

/* False when there is nothing more to do. */
static bool coroutine_fn next_chunk(Copy *c, Chunk *chunk)
{
    int64_t limit = c->chunk_bytes;

    qemu_co_mutex_lock(&c->planner);
    if (is_survey_due(c)) {
        survey(c);
        work_advance(c, 0);
    }
    if (!find_work(c)) {
        qemu_co_mutex_unlock(&c->planner);
        return false;
    }
    chunk->kind = CHUNK_DATA;
    if (c->extent_kind == EXTENT_ZERO) {
        chunk->kind = c->job->min_sparse ? CHUNK_ZERO : CHUNK_ZERO_BYTES;
    }
    if (chunk->kind == CHUNK_ZERO) {
        limit = ZERO_CHUNK_BYTES;
    }
    chunk->number = c->next_number++;
    chunk->source = c->source;
    chunk->offset = c->position;
    /* End at a multiple: later chunks are aligned whatever the extents look like. */
    chunk->bytes = MIN(c->extent_end, ROUND_DOWN(c->position + limit, limit)) - c->position;
    qatomic_set(&c->position, c->position + chunk->bytes);
    qemu_co_mutex_unlock(&c->planner);
    return true;
}

/* --- reading --- */

/* Sector by sector; what cannot be read becomes zeroes. */
static void coroutine_fn salvage(Copy *c, const CopySource *s, int64_t offset, int64_t bytes,
                                 uint8_t *buffer)
{
    for (int64_t done = 0; done < bytes; done += BDRV_SECTOR_SIZE) {
        int64_t n = MIN(bytes - done, (int64_t)BDRV_SECTOR_SIZE);
        int ret = blk_co_pread(s->blk, offset + done - s->start, n, buffer + done, 0);

        if (ret < 0) {
            if (!c->job->quiet) {
                warn_report("error while reading offset %" PRIu64 ": %s",
                            (uint64_t)(offset + done), strerror(-ret));
            }
            memset(buffer + done, 0, n);
        }
    }
}

/* The part of a chunk that lies in @s, into @buffer, with zeroes up to the end of its last sector. */
static int coroutine_fn read_part(Copy *c, const CopySource *s, int64_t offset, int64_t bytes,
                                  uint8_t *buffer)
{
    int64_t readable = CLAMP(s->length - (offset - s->start), 0, bytes);
    int ret = readable ? blk_co_pread(s->blk, offset - s->start, readable, buffer, 0) : 0;

    if (ret < 0 && c->job->salvage) {
        salvage(c, s, offset, readable, buffer);
        ret = 0;
    }
    if (ret < 0) {
        fail(c, s, "error while reading at byte %" PRId64 ": %s", offset, strerror(-ret));
        return ret;
    }
    memset(buffer + readable, 0, bytes - readable);
    return 0;
}

/* A cluster to be compressed may have parts of several sources. */
static void coroutine_fn read_chunk(Copy *c, const Chunk *chunk, uint8_t *buffer)
{
    const CopySource *s = chunk->source;

    for (int64_t done = 0, n; done < chunk->bytes; done += n, s++) {
        n = MIN(chunk->bytes - done, s->end - (chunk->offset + done));
        if (n && read_part(c, s, chunk->offset + done, n, buffer + done) < 0) {
            return;
        }
    }
}

/* --- writing --- */

/* What has been written so far has to take its time; the first request goes out at once. */
static void coroutine_fn limit_rate(Copy *c, int64_t bytes)
{
    int64_t rate = c->job->rate_limit;

    if (rate) {
        int64_t due = c->rate_start +
                      (int64_t)((double)c->rate_bytes * NANOSECONDS_PER_SECOND / rate);
        int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

        c->rate_bytes += bytes;
        if (due > now) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, due - now);
        }
    }
}

static int coroutine_fn write_zeroes(Copy *c, int64_t offset, int64_t bytes)
{
    if (c->job->target_is_zero) {
        return 0;
    }
    return blk_co_pwrite_zeroes(c->job->target, offset, bytes, BDRV_REQ_MAY_UNMAP);
}

static int coroutine_fn write_data(Copy *c, int64_t offset, int64_t bytes, const uint8_t *buf)
{
    limit_rate(c, bytes);
    return blk_co_pwrite(c->job->target, offset, bytes, buf,
                         c->job->compressed ? BDRV_REQ_WRITE_COMPRESSED : 0);
}

/* Sets *@at to where it failed. */
static int coroutine_fn write_runs(const Worker *w, int64_t *at)
{
    const uint8_t *buf = w->buffer;

    for (guint i = 0; i < w->runs->len; i++) {
        CopyRun run = g_array_index(w->runs, CopyRun, i);
        int ret = run.zero ? write_zeroes(w->copy, *at, run.bytes)
                           : write_data(w->copy, *at, run.bytes, buf);

        if (ret < 0) {
            return ret;
        }
        *at += run.bytes;
        buf += run.bytes;
    }
    return 0;
}

/* --- compressed runs --- */

typedef struct RunTask {
    AioTask task;
    Copy *copy;
    int64_t offset, bytes;
    const uint8_t *buf;
    int64_t *failed_at;
} RunTask;

static int coroutine_fn write_compressed_run(AioTask *task)
{
    RunTask *t = container_of(task, RunTask, task);
    int ret = write_data(t->copy, t->offset, t->bytes, t->buf);

    if (ret < 0) {
        *t->failed_at = t->offset;
    }
    return ret;
}

/*
 * The runs of a chunk are sent without waiting for each other, and only then those of the next chunk:
 * so they reach the format in the same order each time.
 */
static int coroutine_fn write_compressed_runs(const Worker *w, const Chunk *chunk, int64_t *at)
{
    AioTaskPool *pool = aio_task_pool_new(COMPRESSED_RUNS);
    Copy *c = w->copy;
    int64_t done = 0;
    int ret = 0;

    for (guint i = 0; i < w->runs->len && ret == 0; i++) {
        CopyRun run = g_array_index(w->runs, CopyRun, i);
        int64_t offset = chunk->offset + done;

        if (run.zero) {
            *at = offset;
            ret = write_zeroes(c, offset, run.bytes);
        } else {
            RunTask *t = g_new(RunTask, 1);

            *t = (RunTask){ .task.func = write_compressed_run, .copy = c, .offset = offset,
                            .bytes = run.bytes, .buf = w->buffer + done, .failed_at = at };
            aio_task_pool_start_task(pool, &t->task);
            ret = aio_task_pool_status(pool);
        }
        done += run.bytes;
    }
    copy_turns_pass(&c->turns, chunk->number);
    aio_task_pool_wait_all(pool);
    ret = ret < 0 ? ret : aio_task_pool_status(pool);
    aio_task_pool_free(pool);
    return ret;
}

/* --- a chunk --- */

static void coroutine_fn write_chunk(const Worker *w, const Chunk *chunk)
{
    Copy *c = w->copy;
    int64_t at = chunk->offset;
    int ret;

    if (c->job->compressed && chunk->kind != CHUNK_ZERO) {
        ret = write_compressed_runs(w, chunk, &at);
    } else {
        copy_turns_pass(&c->turns, chunk->number);
        ret = chunk->kind == CHUNK_ZERO ? write_zeroes(c, chunk->offset, chunk->bytes)
                                        : write_runs(w, &at);
    }
    if (ret < 0) {
        fail(c, NULL, "error while writing at byte %" PRId64 ": %s", at, strerror(-ret));
    }
}

/* --- copying below --- */

static bool may_offload(const Copy *c, const Chunk *chunk)
{
    const CopySource *s = chunk->source;

    return c->job->copy_offload && c->refusals < OFFLOAD_MAX_REFUSALS &&
           chunk->kind == CHUNK_DATA && chunk->offset + chunk->bytes - s->start <= s->length;
}

/*
 * False: it has to be read and written, whatever the reason; if it is a fault rather than a
 * refusal, that will show it.
 */
static bool coroutine_fn offload_chunk(Copy *c, const Chunk *chunk)
{
    const CopySource *s = chunk->source;

    limit_rate(c, chunk->bytes);
    if (blk_co_copy_range(s->blk, chunk->offset - s->start, c->job->target, chunk->offset,
                          chunk->bytes, 0, 0) < 0) {
        c->rate_bytes -= c->job->rate_limit ? chunk->bytes : 0;
        c->refusals++;
        return false;
    }
    c->refusals = 0;
    return true;
}

/* --- the coroutines --- */

static void coroutine_fn fill_buffer(Worker *w, const Chunk *chunk)
{
    if (chunk->kind == CHUNK_ZERO_BYTES) {
        memset(w->buffer, 0, chunk->bytes);
    } else if (chunk->kind == CHUNK_DATA) {
        read_chunk(w->copy, chunk, w->buffer);
    }
    if (chunk->kind != CHUNK_ZERO && !qatomic_read(&w->copy->failed)) {
        /* Before it is its turn: the others wait for the end of that. */
        copy_find_runs(w->copy->job, w->copy->granularity, w->buffer, chunk->offset, chunk->bytes,
                       w->runs);
    }
}

/* When it is its turn; the buffer is filled unless @offload. */
static void coroutine_fn move_chunk(Worker *w, const Chunk *chunk, bool offload)
{
    if (offload) {
        copy_turns_pass(&w->copy->turns, chunk->number);
        if (offload_chunk(w->copy, chunk)) {
            return;
        }
        fill_buffer(w, chunk);
    }
    if (!qatomic_read(&w->copy->failed)) {
        write_chunk(w, chunk);
    }
}

static void all_done(void *opaque)
{
    Copy *c = opaque;

    c->done = true;
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *w = opaque;
    Copy *c = w->copy;
    Chunk chunk;

    while (next_chunk(c, &chunk)) {
        bool offload = may_offload(c, &chunk);

        if (!offload) {
            fill_buffer(w, &chunk);
        }
        copy_turns_begin(&c->turns, chunk.number);
        if (!qatomic_read(&c->failed)) {
            move_chunk(w, &chunk, offload);
            work_advance(c, chunk.bytes);
        }
        copy_turns_end(&c->turns, chunk.number);
    }
    if (qatomic_fetch_dec(&c->running) == 1) {
        aio_bh_schedule_oneshot(c->threads.main, all_done, c);
    }
}

static void coroutine_fn copy_entry(void *opaque)
{
    Copy *c = opaque;

    if (progress_is_shown()) {
        survey(c);
    }
    c->running = c->job->num_coroutines;
    c->rate_start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    for (unsigned i = 0; i < c->job->num_coroutines; i++) {
        aio_co_schedule(copy_threads_context(&c->threads, i),
                        qemu_coroutine_create(worker_entry, &c->workers[i]));
    }
}

/* One block for all buffers. NULL when there is no memory. */
static uint8_t *make_buffers(Copy *c)
{
    unsigned n = c->job->num_coroutines;
    uint8_t *buffers = blk_try_blockalign(c->job->target, n * c->chunk_bytes);

    for (unsigned i = 0; buffers && i < n; i++) {
        c->workers[i] = (Worker) { .copy = c, .buffer = buffers + i * c->chunk_bytes,
                                   .runs = g_array_new(false, false, sizeof(CopyRun)) };
    }
    return buffers;
}

static int64_t pow2_floor(int64_t n)
{
    int64_t p = 1;

    while (p <= n / 2) {
        p *= 2;
    }
    return p;
}

static bool allocates_clusters(BlockDriverState *bs)
{
    BlockDriverInfo info;

    return bdrv_get_info(bs, &info) == 0 && info.cluster_size;
}

static int64_t chunk_bytes(const CopyJob *job)
{
    bool turns = job->in_order && allocates_clusters(blk_bs(job->target));

    return job->compressed ? MAX(job->compressed, CHUNK_BYTES)
                           : copy_is_cached(job) && !turns ? CACHED_CHUNK_BYTES : CHUNK_BYTES;
}

/* Makes out how many chunks may be written at once, and whether in order. */
static void prepare_turns(Copy *c)
{
    const CopyJob *job = c->job;
    bool clusters = allocates_clusters(blk_bs(job->target));
    /* The cache does not care in which order it is filled. */
    bool in_order = job->in_order && (clusters || !c->threads.in_place);
    bool direct = blk_bs(job->target)->open_flags & BDRV_O_NOCACHE;

    copy_turns_init(&c->turns, in_order,
                    job->compressed ? job->num_coroutines
                    : direct && !clusters ? IN_ORDER_DIRECT_WRITES : 1);
}

bool copy_run(const CopyJob *job)
{
    g_autofree Copy *c = g_new0(Copy, 1);

    c->job = job;
    c->source = job->sources;
    c->total = job->sources[job->num_sources - 1].end;
    c->chunk_bytes = chunk_bytes(job);
    c->granularity = BDRV_SECTOR_SIZE;
    if (job->min_sparse && !job->compressed) {
        /* A power of two; the buffer has to hold the shortest hole. */
        c->granularity = MAX(pow2_floor(job->min_sparse), blk_get_request_alignment(job->target));
        while (c->chunk_bytes < job->min_sparse) {
            c->chunk_bytes *= 2;
        }
    }
    uint8_t *buffers = make_buffers(c);
    if (!buffers) {
        error_report("Not enough memory for %u buffers of %" PRId64 " bytes", job->num_coroutines,
                     c->chunk_bytes);
        return false;
    }
    qemu_co_mutex_init(&c->planner);
    qemu_mutex_init(&c->progress);
    copy_threads_start(&c->threads, job);
    prepare_turns(c);
    cli_run_coroutine(copy_entry, c, &c->done);
    copy_threads_end(&c->threads);
    copy_turns_destroy(&c->turns);
    qemu_mutex_destroy(&c->progress);
    for (unsigned i = 0; i < job->num_coroutines; i++) {
        g_array_free(c->workers[i].runs, true);
    }
    qemu_vfree(buffers);
    return !c->failed;
}
