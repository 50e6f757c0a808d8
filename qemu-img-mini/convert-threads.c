/* SPDX-License-Identifier: MIT */
/*
 * From one page cache to another a copy is all work of the processor. It goes fastest when the thread that reads a
 * chunk also looks for zeroes in it and writes it, out of its processor's cache, and when nobody has
 * to be woken for that. So the coroutines are spread over a thread for each processor, and the engine
 * makes their requests where they are (aio_context_set_may_block()); what has to be read from a disk
 * still goes to workers, while other coroutines of the thread go on.
 */
#include "convert-threads.h"

#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "block/block-image.h"

/* Below that a thread costs more than it saves. */
#define BYTES_PER_THREAD (16 * 1024 * 1024)
#define ENOUGH_BYTES (COPY_MAX_THREADS * BYTES_PER_THREAD)

/* In the page cache, and no driver that makes requests wait or does something else besides. */
static void look_at(void *opaque, const char *name, BlockDriverState *bs)
{
    static const char *const drivers[] = { "raw", "qcow2", "file", NULL };
    bool *plain = opaque;

    *plain = *plain && bs->drv && g_strv_contains(drivers, bs->drv->format_name) &&
             !(bs->open_flags & BDRV_O_NOCACHE);
    if (*plain) {
        bdrv_iterate_children(bs, look_at, plain);
    }
}

bool copy_is_cached(const CopyJob *job)
{
    bool plain = true;

    look_at(&plain, "target", blk_bs(job->target));
    for (size_t i = 0; i < job->num_sources; i++) {
        look_at(&plain, "source", blk_bs(job->sources[i].blk));
    }
    return plain;
}

/* Compressing has workers of its own, a rate needs none; the other two keep state in one thread. */
static bool is_for_threads(const CopyJob *job)
{
    return !job->compressed && !job->copy_offload && !job->rate_limit && !job->salvage &&
           copy_is_cached(job);
}

/* A device says that it has allocated nothing. */
static void add_allocated(void *opaque, const char *name, BlockDriverState *bs)
{
    uint64_t *bytes = opaque;

    if (strcmp(bs->drv->format_name, "file") == 0) {
        int64_t allocated = bdrv_get_allocated_file_size(bs);
        int64_t n = allocated > 0 ? allocated : bdrv_getlength(bs);

        *bytes += CLAMP(n, 0, ENOUGH_BYTES);
    }
    bdrv_iterate_children(bs, add_allocated, bytes);
}

/* About how much there is to read: little, of a disk that is mostly empty. */
static uint64_t estimate(const CopyJob *job)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < job->num_sources; i++) {
        add_allocated(&bytes, "source", blk_bs(job->sources[i].blk));
    }
    return bytes;
}

void copy_threads_start(CopyThreads *t, const CopyJob *job)
{
    unsigned most = MIN(MIN(g_get_num_processors(), COPY_MAX_THREADS), job->num_coroutines);
    uint64_t bytes;

    *t = (CopyThreads){ .main = qemu_get_current_aio_context(), .in_place = is_for_threads(job) };
    if (!t->in_place) {
        return;
    }
    bytes = estimate(job);
    while (t->num_others + 1 < most && bytes / (t->num_others + 2) >= BYTES_PER_THREAD) {
        IOThread *thread = iothread_new_named("convert", NULL);

        if (!thread) {
            break;
        }
        t->others[t->num_others++] = thread;
        aio_context_set_may_block(iothread_get_aio_context(thread), true);
    }
    aio_context_set_may_block(t->main, true);
}

void copy_threads_end(CopyThreads *t)
{
    aio_context_set_may_block(t->main, false);
    while (t->num_others > 0) {
        iothread_join(t->others[--t->num_others]);
    }
}

AioContext *copy_threads_context(const CopyThreads *t, unsigned i)
{
    unsigned k = i % (t->num_others + 1);

    return k < t->num_others ? iothread_get_aio_context(t->others[k]) : t->main;
}
