/* SPDX-License-Identifier: MIT */
/*
 * writer IMAGE CLUSTER SEED: random requests for a qcow2 image, several at a time, and a log of
 * them in shared memory (writer.h). It is there to be killed. Exit code 1: some of it failed.
 */
#include "writer.h"

#include <sys/mman.h>

#include "block/block-backend.h"
#include "place.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"

#define DEPTH 5

typedef struct Writer {
    BlockBackend *blk;
    WriterLog *log;
    GRand *random;
    uint32_t cluster; /* sectors */
    bool busy[WRITER_SECTORS];
    int running;      /* coroutines */
    int error;        /* the first one, negative */
} Writer;

static WriterLog *map_log(void)
{
    int fd = openat(AT_FDCWD, g_getenv("PROCESS_HOOK"), O_RDWR | O_CLOEXEC); /* does not count */
    char *map = mmap(NULL, HOOK_PAGE + sizeof(WriterLog), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     0);

    g_assert_true(map != MAP_FAILED);
    close(fd);
    return (WriterLog *)(map + HOOK_PAGE);
}

static WriterKind choose_kind(Writer *w)
{
    static const WriterKind kinds[] = {
        WRITER_WRITE, WRITER_WRITE, WRITER_WRITE, WRITER_WRITE, WRITER_WRITE, WRITER_COMPRESSED,
        WRITER_ZERO, WRITER_ZERO, WRITER_DISCARD, WRITER_FLUSH, WRITER_FLUSH,
    };

    return kinds[g_rand_int_range(w->random, 0, G_N_ELEMENTS(kinds))];
}

/* False: other requests are in the way. */
static bool reserve(Writer *w, WriterEvent *e)
{
    if (e->kind == WRITER_FLUSH) {
        return true;
    }
    e->first = g_rand_int_range(w->random, 0, WRITER_SECTORS);
    e->count = g_rand_int_range(w->random, 1, g_rand_boolean(w->random) ? 9 : 200);
    if (e->kind == WRITER_COMPRESSED || g_rand_int_range(w->random, 0, 3) == 0) {
        e->first = QEMU_ALIGN_DOWN(e->first, w->cluster);
        e->count = w->cluster;
    }
    e->count = MIN(e->count, WRITER_SECTORS - e->first);
    for (uint32_t i = 0; i < e->count; i++) {
        if (w->busy[e->first + i]) {
            return false;
        }
    }
    memset(w->busy + e->first, true, e->count);
    return true;
}

static int coroutine_fn request(Writer *w, const WriterEvent *e, uint32_t number)
{
    int64_t offset = (int64_t)e->first * WRITER_SECTOR, bytes = (int64_t)e->count * WRITER_SECTOR;
    g_autofree uint64_t *data = NULL;

    switch ((WriterKind)e->kind) {
    case WRITER_FLUSH:
        return blk_co_flush(w->blk);
    case WRITER_ZERO:
        return blk_co_pwrite_zeroes(w->blk, offset, bytes, number % 2 ? BDRV_REQ_MAY_UNMAP : 0);
    case WRITER_DISCARD:
        return blk_co_pdiscard(w->blk, offset, bytes);
    default:
        break;
    }
    data = g_try_malloc(bytes);
    if (!data) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < e->count; i++) {
        writer_fill_sector(data + (size_t)i * WRITER_SECTOR / 8, number, e->first + i);
    }
    return e->kind == WRITER_COMPRESSED
        ? blk_co_pwrite_compressed(w->blk, offset, bytes, data)
        : blk_co_pwrite(w->blk, offset, bytes, data, number % 16 ? 0 : BDRV_REQ_FUA);
}

static void coroutine_fn write_on(void *opaque)
{
    Writer *w = opaque;

    while (w->log->n < WRITER_EVENTS && w->error == 0) {
        WriterEvent e = { .kind = choose_kind(w) };
        uint32_t number = w->log->n;
        int ret;

        if (!reserve(w, &e)) {
            continue;
        }
        e.begin = ++w->log->now;
        w->log->events[number] = e;
        w->log->n = number + 1; /* a kill leaves memory as the program had it */
        ret = request(w, &e, number);
        /* Where there is something already, there is no compressed write. */
        if (ret == 0) {
            w->log->events[number].end = ++w->log->now;
        } else if (w->error == 0 && !(e.kind == WRITER_COMPRESSED && ret == -EIO)) {
            w->error = ret;
        }
        memset(w->busy + e.first, false, e.count);
    }
    w->running--;
}

int main(int argc, char **argv)
{
    Writer w = { .log = map_log() };
    BlockOptions *options = blk_options_new();
    uint32_t seed = argc == 4 ? atoi(argv[3]) : 0;
    Error *err = NULL;
    int ret;

    if (argc != 4 || qemu_init_main_loop(&err) < 0) {
        fprintf(stderr, "usage: writer IMAGE CLUSTER SEED\n");
        return 2;
    }
    w.cluster = atoi(argv[2]) / WRITER_SECTOR;
    w.random = g_rand_new_with_seed(seed);
    memset(w.log, 0, sizeof(*w.log));
    blk_options_set(options, "driver", "qcow2");
    if (seed % 3 == 0) { /* tables come and go */
        blk_options_set(options, "l2-cache-size", "4096");
        blk_options_set(options, "l2-cache-entry-size", "512");
    }
    w.blk = blk_new_open(argv[1], NULL, options, BDRV_O_RDWR | BDRV_O_UNMAP, &err);
    if (!w.blk) {
        fprintf(stderr, "writer: %s\n", error_get_pretty(err));
        return 1;
    }
    w.log->through = seed % 5 == 0;
    blk_set_enable_write_cache(w.blk, !w.log->through);
    for (int i = 0; i < DEPTH; i++) {
        w.running++;
        qemu_coroutine_enter(qemu_coroutine_create(write_on, &w));
    }
    while (w.running) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
    ret = blk_finish_writing(w.blk, NULL);
    w.log->closed = ret == 0;
    blk_unref(w.blk);
    g_rand_free(w.random);
    ret = w.error ? w.error : ret;
    if (ret < 0) {
        fprintf(stderr, "writer: %s\n", g_strerror(-ret));
    }
    return ret < 0;
}
