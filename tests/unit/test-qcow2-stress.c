/* SPDX-License-Identifier: MIT */
/*
 * Eight threads write blocks that say what they should hold, through warm L2 tables and over a
 * backing file, while the main thread makes, checks, applies and deletes snapshots and resizes the
 * disk. Every block is right all the time and at the end, in every snapshot too, and the image is
 * clean. Three seconds; QCOW2_STRESS_SECONDS=600 is the long form, QCOW2_SEED=N chooses the same
 * operations again (not the same timing).
 *
 * A block holds its number, a generation that counts up with each write to it, and a stream of
 * numbers that follow from both. Each block has one thread that writes to it. A snapshot has to
 * hold, of each block, a generation between the last one whose write had ended when it was
 * begun and the last one whose write had begun when it was there.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/qcow2.h"
#include "block/snapshot.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define THREADS   8
#define BLOCK     4096 /* bytes */
#define WORDS     (BLOCK / 8)
#define BLOCKS    1024 /* of the part of the disk that the threads write to */
#define DISK      (BLOCKS * BLOCK)
#define TAIL      (700 * 1024) /* bytes that come and go behind it, at most */
#define SNAPSHOTS 6
#define BATCH     64   /* blocks read at once for a comparison */

typedef struct Variant {
    const char *name, *create, *open;
    bool v2;
} Variant;

static const Variant variants[] = {
    { "default", "cluster_size=64k", "discard=unmap", false },
    { "clusters-2k", "cluster_size=2k", "l2-cache-entry-size=512,overlap-check=all", false },
    { "small-cache", "cluster_size=4k",
      "l2-cache-size=4096,l2-cache-entry-size=512,refcount-cache-size=2048", false },
    { "extended", "cluster_size=16k,extended_l2=on", "l2-cache-entry-size=512", false },
    { "v2", "cluster_size=4k,compat=0.10", "l2-cache-entry-size=512", true },
};

typedef struct Saved {
    char name[32];
    uint32_t low[BLOCKS], high[BLOCKS]; /* generations */
    int64_t size;
} Saved;

typedef struct Stress {
    const Variant *v;
    BlockBackend *blk;
    char *path, *base;
    GRand *r;
    uint32_t begun[BLOCKS], ended[BLOCKS]; /* atomic: generations whose write has begun, ended */
    bool stop, pause; /* atomic */
    int paused;       /* atomic */
    uint64_t writes;  /* atomic */
    GPtrArray *saved; /* of Saved */
    int next_name, made, applied, deleted, resized;
} Stress;

typedef struct Worker {
    Stress *s;
    int number;
    uint32_t seed;
    QemuThread thread;
} Worker;

/* --- blocks --- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void fill_block(uint64_t *buf, uint32_t block, uint32_t generation)
{
    uint64_t key = (uint64_t)block << 32 | generation;

    buf[0] = key;
    for (int i = 1; i < WORDS; i++) {
        buf[i] = mix(key + (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15));
    }
}

/* Its generation, which must lie between the two. */
static uint32_t expect_block(const uint64_t *buf, uint32_t block, uint32_t low, uint32_t high,
                             const char *where)
{
    uint32_t generation = (uint32_t)buf[0];
    uint64_t want[WORDS];

    if (buf[0] >> 32 != block || generation < low || generation > high) {
        g_error("%s: block %u says that it is block %u of generation %u, which should be %u to %u",
                where, block, (uint32_t)(buf[0] >> 32), generation, low, high);
    }
    fill_block(want, block, generation);
    for (int i = 0; i < WORDS; i++) {
        if (buf[i] != want[i]) {
            g_error("%s: block %u of generation %u, word %d: 0x%" PRIx64 ", expected 0x%" PRIx64,
                    where, block, generation, i, buf[i], want[i]);
        }
    }
    return generation;
}

/* --- the threads --- */

static void write_block(Stress *s, uint32_t block, uint64_t *buf)
{
    uint32_t generation = s->begun[block] + 1;

    fill_block(buf, block, generation);
    qatomic_store_release(&s->begun[block], generation);
    g_assert_cmpint(blk_pwrite(s->blk, (int64_t)block * BLOCK, BLOCK, buf, 0), ==, 0);
    qatomic_store_release(&s->ended[block], generation);
    qatomic_inc(&s->writes);
}

static void wait_while_paused(Stress *s)
{
    if (qatomic_load_acquire(&s->pause)) {
        qatomic_inc(&s->paused);
        while (qatomic_load_acquire(&s->pause)) {
            g_usleep(200);
        }
        qatomic_dec(&s->paused);
    }
}

static void *work(void *opaque)
{
    Worker *w = opaque;
    Stress *s = w->s;
    GRand *r = g_rand_new_with_seed(w->seed + w->number);
    uint64_t buf[WORDS];

    while (!qatomic_load_acquire(&s->stop)) {
        uint32_t block = g_rand_int_range(r, 0, BLOCKS / THREADS) * THREADS + w->number;

        wait_while_paused(s);
        switch (g_rand_int_range(r, 0, 16)) {
        case 0: case 1: case 2: case 3: case 4: case 5:
            g_assert_cmpint(blk_pread(s->blk, (int64_t)block * BLOCK, BLOCK, buf, 0), ==, 0);
            expect_block(buf, block, s->ended[block], s->ended[block], "the disk");
            break;
        case 6:
            if (g_rand_int_range(r, 0, 32) == 0) {
                g_assert_cmpint(blk_flush(s->blk), ==, 0);
            }
            break;
        default:
            write_block(s, block, buf);
            break;
        }
    }
    g_rand_free(r);
    return NULL;
}

/* Until no thread is in the middle of anything. */
static void pause_threads(Stress *s)
{
    qatomic_store_release(&s->pause, true);
    while (qatomic_load_acquire(&s->paused) < THREADS) {
        g_usleep(200);
    }
}

static void resume_threads(Stress *s)
{
    qatomic_store_release(&s->pause, false);
    while (qatomic_load_acquire(&s->paused)) {
        g_usleep(200);
    }
}

/* --- looking at all blocks --- */

/* What generation has each? They must lie in the ranges; @found may be NULL. */
static void compare_all(BlockBackend *blk, const uint32_t *low, const uint32_t *high,
                        const char *where, uint32_t *found)
{
    g_autofree uint64_t *buf = g_malloc(BATCH * BLOCK);

    for (uint32_t first = 0; first < BLOCKS; first += BATCH) {
        g_assert_cmpint(blk_pread(blk, (int64_t)first * BLOCK, BATCH * BLOCK, buf, 0), ==, 0);
        for (uint32_t i = 0; i < BATCH; i++) {
            uint32_t block = first + i;
            uint32_t generation = expect_block(buf + i * WORDS, block, low[block], high[block],
                                               where);

            if (found) {
                found[block] = generation;
            }
        }
    }
}

static BlockBackend *open_image(const Stress *s, int flags)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, s->v->open, NULL, &error_abort);
    blk_options_set(o, "driver", "qcow2");
    if (!(flags & BDRV_O_RDWR)) {
        blk_options_set(o, "force-share", "on"); /* the writer goes on */
    }
    return blk_new_open(s->path, NULL, o, flags, &error_abort);
}

/* In a second, read-only opening of the image, while the threads write. */
static void compare_snapshot(const Stress *s, const Saved *sn)
{
    BlockBackend *blk = open_image(s, 0);

    g_assert_cmpint(bdrv_snapshot_load_tmp_by_id_or_name(blk_bs(blk), sn->name, &error_abort), ==,
                    0);
    g_assert_cmpint(blk_getlength(blk), ==, sn->size);
    compare_all(blk, sn->low, sn->high, sn->name, NULL);
    blk_unref(blk);
}

/* --- what the main thread does --- */

static void create(Stress *s)
{
    Saved *sn = g_new0(Saved, 1);
    QEMUSnapshotInfo info = { 0 };

    g_snprintf(sn->name, sizeof(sn->name), "sn%d", s->next_name++);
    g_strlcpy(info.name, sn->name, sizeof(info.name));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        sn->low[i] = qatomic_load_acquire(&s->ended[i]);
    }
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(s->blk), &info), ==, 0);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        sn->high[i] = qatomic_load_acquire(&s->begun[i]);
    }
    sn->size = blk_getlength(s->blk);
    g_ptr_array_add(s->saved, sn);
    s->made++;
}

/* Afterwards each block goes on from the generation that it has got back. */
static void apply(Stress *s)
{
    const Saved *sn = s->saved->pdata[g_rand_int_range(s->r, 0, s->saved->len)];

    pause_threads(s);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(s->blk), sn->name, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(s->blk), ==, sn->size);
    compare_all(s->blk, sn->low, sn->high, "after applying", s->ended);
    memcpy(s->begun, s->ended, sizeof(s->begun));
    resume_threads(s);
    s->applied++;
}

static void delete(Stress *s)
{
    guint i = g_rand_int_range(s->r, 0, s->saved->len);
    const Saved *sn = s->saved->pdata[i];

    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(s->blk), NULL, sn->name, &error_abort), ==, 0);
    g_ptr_array_remove_index(s->saved, i);
    s->deleted++;
}

/* The tail reads as zeroes whatever it held before it went. */
static void resize(Stress *s)
{
    int64_t size = DISK + (int64_t)g_rand_int_range(s->r, 0, TAIL / 512 + 1) * 512;
    int64_t old = blk_getlength(s->blk);
    g_autofree uint8_t *buf = g_malloc0(TAIL);

    if (s->v->v2 && s->saved->len) {
        return;
    }
    g_assert_cmpint(blk_truncate(s->blk, size, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    if (size > old) {
        g_assert_cmpint(blk_pread(s->blk, old, size - old, buf, 0), ==, 0);
        for (int64_t i = 0; i < size - old; i++) {
            g_assert_cmpint(buf[i], ==, 0);
        }
    }
    memset(buf, 0xaa, TAIL);
    g_assert_cmpint(blk_pwrite(s->blk, DISK, size - DISK, buf, 0), ==, 0);
    s->resized++;
}

static void main_step(Stress *s)
{
    switch (g_rand_int_range(s->r, 0, 8)) {
    case 0: case 1:
        if (s->saved->len < SNAPSHOTS) {
            create(s);
        }
        break;
    case 2: case 3:
        if (s->saved->len) {
            compare_snapshot(s, s->saved->pdata[g_rand_int_range(s->r, 0, s->saved->len)]);
        }
        break;
    case 4:
        if (s->saved->len) {
            apply(s);
        }
        break;
    case 5: case 6:
        if (s->saved->len) {
            delete(s);
        }
        break;
    default:
        resize(s);
        break;
    }
    g_usleep(g_rand_int_range(s->r, 0, 4000));
}

/* --- all together --- */

static void create_image(Stress *s, const char *dir)
{
    g_autofree uint64_t *contents = g_malloc(DISK);
    BlockOptions *o = blk_options_new();

    for (uint32_t i = 0; i < BLOCKS; i++) {
        fill_block(contents + (size_t)i * WORDS, i, 0);
    }
    s->base = g_build_filename(dir, "base.raw", NULL);
    s->path = g_build_filename(dir, "stress.qcow2", NULL);
    g_assert_true(g_file_set_contents(s->base, (char *)contents, DISK, NULL));
    blk_options_parse(o, s->v->create, NULL, &error_abort);
    blk_options_setf(o, "size", "%d", DISK);
    blk_options_set(o, "backing_file", "base.raw");
    blk_options_set(o, "backing_fmt", "raw");
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), s->path, o, &error_abort), ==, 0);
}

static void check(const Stress *s)
{
    BlockBackend *blk = open_image(s, BDRV_O_CHECK);
    BdrvCheckResult r;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    blk_unref(blk);
}

static void run_stress(Stress *s, double seconds, uint32_t seed)
{
    Worker workers[THREADS];
    gint64 end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    compare_all(s->blk, s->ended, s->ended, "at the start", NULL); /* the tables are warm now */
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (Worker){ .s = s, .number = i, .seed = seed };
        qemu_thread_create(&workers[i].thread, "worker", work, &workers[i],
                           QEMU_THREAD_JOINABLE);
    }
    while (g_get_monotonic_time() < end) {
        main_step(s);
    }
    qatomic_store_release(&s->stop, true);
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&workers[i].thread);
    }
}

static double total_seconds(void)
{
    const char *given = g_getenv("QCOW2_STRESS_SECONDS");

    return given ? g_ascii_strtod(given, NULL) : 3;
}

static void stress(gconstpointer data)
{
    g_autofree char *dir = g_dir_make_tmp("test-qcow2-stress-XXXXXX", NULL);
    g_autofree Stress *s = g_new0(Stress, 1);
    const char *given = g_getenv("QCOW2_SEED");
    uint32_t seed = given ? strtoul(given, NULL, 0) : g_random_int();

    g_test_message("QCOW2_SEED=%u", seed);
    s->v = data;
    s->r = g_rand_new_with_seed(seed);
    s->saved = g_ptr_array_new_with_free_func(g_free);
    create_image(s, dir);
    s->blk = open_image(s, BDRV_O_RDWR | BDRV_O_RESIZE);
    run_stress(s, total_seconds() / G_N_ELEMENTS(variants), seed);
    for (int pass = 0; pass < 2; pass++) {
        compare_all(s->blk, s->ended, s->begun, "at the end", NULL);
        blk_unref(s->blk);
        check(s);
        s->blk = open_image(s, BDRV_O_RDWR);
    }
    for (guint i = 0; i < s->saved->len; i++) {
        compare_snapshot(s, s->saved->pdata[i]);
    }
    blk_unref(s->blk);
    g_test_message("%" PRIu64 " writes; snapshots: %d made, %d applied, %d deleted; %d resizes",
                   s->writes, s->made, s->applied, s->deleted, s->resized);
    g_unlink(s->path);
    g_unlink(s->base);
    g_rmdir(dir);
    g_free(s->path);
    g_free(s->base);
    g_ptr_array_free(s->saved, true);
    g_rand_free(s->r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *path = g_strconcat("/qcow2/stress/", variants[i].name, NULL);

        g_test_add_data_func(path, &variants[i], stress);
    }
    return g_test_run();
}
