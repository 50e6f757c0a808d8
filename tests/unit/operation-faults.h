/* SPDX-License-Identifier: MIT */
/*
 * Operations on an image as a whole while its file fails. Each is run again and again, each time with
 * another call to the file failing, or another allocation, opening the image included. Each place of
 * the code that such a call comes from fails once, and some calls at random in several ways.
 * Whatever the operation reports, afterwards the image is whole but for what a repair mends, and every
 * sector reads as before the operation or as after it. --seed replays a failure; -m slow leaves no
 * call out. For test programs that bring a table of operations.
 */
#ifndef TESTS_OPERATION_FAULTS_H
#define TESTS_OPERATION_FAULTS_H

#include "crash-sim.h"
#include "failing-memory.h"
#include "ram-driver.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/dirty-bitmap.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"
#include "../../block/qcow2/qcow2-format.h"

extern BlockDriver bdrv_sim;

#define SIZE    (1 << 20) /* bytes */
#define LARGEST (3 << 20)
#define GROWN   (SIZE + (SIZE >> 1))
#define UNIT    (32 << 10) /* bytes: a multiple of all cluster sizes */
#define FLAGS   (BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP)

/* The bytes of a disk at rest. */
typedef struct Image {
    uint8_t *data;
    int64_t length;
} Image;

typedef struct Operation {
    const char *name;
    void (*prepare)(BlockBackend *blk); /* further, on a disk that works */
    void (*damage)(Image *image);    /* of the image at rest */
    int (*run)(BlockBackend *blk);
    int flags;
    const char *create; /* more options */
    bool no_bitmaps;
    bool plain;         /* neither snapshots, bitmaps nor compressed clusters before */
    bool backing;       /* upon a disk in RAM */
    bool data_file;     /* which is a disk in RAM */
    bool not_extended;
    bool small_clusters; /* only where refcount blocks are small: they are not all in RAM */
} Operation;

typedef struct Variant {
    const char *name, *create, *open;
    bool autoclear; /* a bit that nobody knows: the first change begins with the header */
} Variant;

static const Variant variants[] = {
    { "4k", "cluster_size=4k", "l2-cache-entry-size=512" },
    { "512", "cluster_size=512,refcount_bits=64",
      "l2-cache-size=4096,l2-cache-entry-size=512,refcount-cache-size=2048,overlap-check=all" },
    { "extended", "cluster_size=16k,extended_l2=on", "l2-cache-entry-size=1024" },
    { "autoclear", "cluster_size=4k,refcount_bits=32", "l2-cache-entry-size=512", true },
};

typedef struct Contents {
    unsigned sectors;
    uint8_t value[LARGEST / CRASH_SECTOR];
} Contents;

/* --- images --- */

static RamDisk *base; /* the backing file, or the data file */

static BlockBackend *try_open(const Variant *v, const Operation *op, CrashDisk *disk, int flags)
{
    const char *below =
        op->backing     ? ",backing.driver=raw,backing.file.driver=test-ram,backing.read-only=off"
        : op->data_file ? ",data-file.driver=raw,data-file.file.driver=test-ram"
                        : "";
    g_autofree char *more = g_strconcat(v->open, below, NULL);
    BlockBackend *blk;

    ram_disk_to_open = op->backing || op->data_file ? base : NULL;
    blk = crash_open_qcow2(disk, more, flags, NULL);
    ram_disk_to_open = NULL;
    return blk;
}

static void put(BlockBackend *blk, int unit, int units, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(units * UNIT);

    memset(buf, value, units * UNIT);
    g_assert_cmpint(blk_pwrite(blk, unit * UNIT, units * UNIT, buf, 0), ==, 0);
}

static int write_compressed(BlockBackend *blk, int unit, uint8_t value)
{
    BlockDriverInfo info;
    g_autofree uint8_t *buf = g_malloc(UNIT);
    int ret = bdrv_get_info(blk_bs(blk), &info);

    memset(buf, value, UNIT);
    for (int at = 0; at < UNIT && ret == 0; at += info.cluster_size) {
        ret = blk_pwrite(blk, unit * UNIT + at, info.cluster_size, buf + at,
                         BDRV_REQ_WRITE_COMPRESSED);
    }
    return ret;
}

static BdrvDirtyBitmap *add_bitmap(BlockBackend *blk, const char *name, uint32_t granularity)
{
    BdrvDirtyBitmap *b = NULL;

    if (bdrv_can_store_new_dirty_bitmap(blk_bs(blk), name, granularity, NULL)) {
        b = bdrv_create_dirty_bitmap(blk_bs(blk), granularity, name, &error_abort);
        bdrv_dirty_bitmap_set_persistence(b, true);
    }
    return b;
}

static int make_snapshot(BlockBackend *blk, const char *name, size_t state_size)
{
    QEMUSnapshotInfo sn = { .vm_state_size = state_size };
    g_autofree uint8_t *state = g_malloc0(state_size + 1);
    int ret = state_size ? blk_save_vmstate(blk, state, 0, state_size) : 0;

    g_strlcpy(sn.name, name, sizeof(sn.name));
    return ret < 0 ? ret : bdrv_snapshot_create(blk_bs(blk), &sn);
}

/* Data, zeroes, holes; snapshots, bitmaps and compressed clusters unless it is to be plain. */
static void fill(const Operation *op, BlockBackend *blk)
{
    BdrvDirtyBitmap *b;

    put(blk, 0, 4, 1);
    put(blk, 9, 3, 2);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 2 * UNIT, UNIT, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 10 * UNIT, UNIT, 0), ==, 0);
    if (!op->plain) {
        g_assert_cmpint(write_compressed(blk, 14, 3), ==, 0);
        g_assert_cmpint(make_snapshot(blk, "one", 0), ==, 0);
        put(blk, 3, 2, 4);
        g_assert_cmpint(make_snapshot(blk, "two", 3000), ==, 0);
        put(blk, 15, 1, 5);
    }
    if (!op->plain && !op->no_bitmaps) {
        b = add_bitmap(blk, "bits", 512);
        for (int i = 0; i < 900; i += 2) {
            bdrv_set_dirty_bitmap(b, i * 512, 512);
        }
        bdrv_set_dirty_bitmap(b, SIZE / 2, SIZE / 4);
        add_bitmap(blk, "more", 4096);
    }
    if (op->prepare) {
        op->prepare(blk);
    }
}

/* The bytes of the image that all runs begin with. */
static Image create(const Variant *v, const Operation *op)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *path = NULL, *image = NULL, *text = NULL, *data = NULL;
    int fd = g_file_open_tmp("test-qcow2-operation-XXXXXX", &path, NULL);
    CrashDisk *disk;
    Image rest;
    BlockBackend *blk;
    gsize length;

    close(fd);
    data = g_strconcat(path, ".data", NULL);
    text = g_strdup_printf("size=%d,%s%s%s%s", SIZE, v->create, op->create ? "," : "",
                           op->create ? op->create : "",
                           op->backing ? ",backing_file=b,backing_fmt=raw" : "");
    blk_options_parse(o, text, NULL, &error_abort);
    if (op->data_file) {
        blk_options_set(o, "data_file", data);
    }
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    g_assert_true(g_file_get_contents(path, &image, &length, NULL));
    g_unlink(path);
    g_unlink(data);
    disk = crash_disk_new((uint8_t *)image, length);
    blk = try_open(v, op, disk, FLAGS);
    fill(op, blk);
    blk_unref(blk);
    rest.length = sim_disk_length(disk->disk);
    rest.data = g_malloc(rest.length);
    sim_disk_peek(disk->disk, 0, rest.data, rest.length);
    crash_disk_free(disk);
    if (v->autoclear && rest.data[7] >= 3) {
        rest.data[offsetof(Qcow2DiskHeader, autoclear_features)] |= 0x40;
    }
    if (op->damage) {
        op->damage(&rest);
    }
    return rest;
}

/* --- what is left --- */

static void read_contents(BlockBackend *blk, Contents *c)
{
    g_autofree uint8_t *buf = g_malloc0(LARGEST);
    int64_t length = blk_getlength(blk);

    g_assert_cmpint(length, <=, LARGEST);
    c->sectors = length / CRASH_SECTOR;
    g_assert_cmpint(blk_pread(blk, 0, length, buf, 0), ==, 0);
    for (unsigned s = 0; s < c->sectors; s++) {
        const uint8_t *p = buf + s * CRASH_SECTOR;

        g_assert_cmpmem(p, CRASH_SECTOR - 1, p + 1, CRASH_SECTOR - 1);
        c->value[s] = *p;
    }
}

/* A change of the size may stop half way; what lies behind the new end may be gone by then. */
static void compare(const Contents *c, const Contents *before, const Contents *after)
{
    g_assert_cmpuint(c->sectors, >=, MIN(before->sectors, after->sectors));
    g_assert_cmpuint(c->sectors, <=, MAX(before->sectors, after->sectors));
    for (unsigned s = 0; s < c->sectors; s++) {
        if ((s >= before->sectors || c->value[s] != before->value[s]) &&
            c->value[s] != (s < after->sectors ? after->value[s] : 0)) {
            g_error("sector %u: 0x%02x is neither what was there nor what comes", s, c->value[s]);
        }
    }
}

static void quietly(int *saved)
{
    int null = open("/dev/null", O_WRONLY);

    *saved = dup(STDERR_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

static void loudly(int saved)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
}

/* Whole, at once or after a repair, which has nothing left to say the second time. */
static void examine(const Variant *v, const Operation *op, CrashDisk *disk, Contents *c)
{
    bool may_be_damaged = op->damage || crash_says_dirty(disk);
    int saved;

    for (int pass = may_be_damaged ? 1 : 0; pass < 3; pass++) {
        BdrvCheckMode fix = pass == 1 ? BDRV_FIX_LEAKS | BDRV_FIX_ERRORS : 0;
        BlockBackend *blk = try_open(v, op, disk, BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0));
        BdrvCheckResult r;

        g_assert_nonnull(blk);
        quietly(&saved);
        g_assert_cmpint(bdrv_check(blk_bs(blk), &r, fix), ==, 0);
        loudly(saved);
        if (r.corruptions || r.check_errors || (pass && r.leaks)) {
            g_error("pass %d: %d corruptions, %d leaks, %d errors", pass, r.corruptions, r.leaks,
                    r.check_errors);
        }
        blk_unref(blk);
    }
    BlockBackend *blk = try_open(v, op, disk, FLAGS);
    g_assert_nonnull(blk);
    read_contents(blk, c);
    put(blk, 5, 1, 9);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
}

/* --- the runs --- */

static int run(const Variant *v, const Operation *op, CrashDisk *disk)
{
    BlockBackend *blk;
    int ret = -EIO, saved;

    quietly(&saved);
    blk = try_open(v, op, disk, op->flags ? op->flags : FLAGS);
    if (blk) {
        ret = op->run(blk);
        blk_unref(blk);
    }
    loudly(saved);
    return ret;
}

/* As it was when the image was made. */
static RamDisk *new_base(const RamDisk *old)
{
    RamDisk *d = ram_disk_new(SIZE);

    if (old) {
        memcpy(d->data, old->data, SIZE);
    }
    return d;
}

/* Kinds of faults, behind those of the disk. */
enum { NO_MEMORY_ONCE = CRASH_FAULTS, NO_MEMORY_ANY_MORE, NO_LENGTH, ALL_FAULTS };

/* The disk does not say how long it is. */
static unsigned length_calls, length_fail_at;
static GArray *length_places; /* of CallPlace, or NULL */
static int64_t coroutine_fn (*sim_getlength)(BlockDriverState *bs);

static int64_t coroutine_fn getlength_or_not(BlockDriverState *bs)
{
    if (length_places) {
        CallPlace place = call_place();

        g_array_append_val(length_places, place);
    }
    return length_fail_at && ++length_calls == length_fail_at ? -EIO : sim_getlength(bs);
}

static void fail_at(const Variant *v, const Operation *op, const Image *image,
                    const RamDisk *below, int fault, unsigned call, const Contents *before,
                    const Contents *after)
{
    CrashDisk *disk = crash_disk_new(image->data, image->length);
    static Contents c;

    base = new_base(below);
    memory_calls = 0;
    memory_stays_short = fault == NO_MEMORY_ANY_MORE;
    if (fault < CRASH_FAULTS) {
        disk->fault = fault;
        disk->fail_at = call;
    } else if (fault == NO_LENGTH) {
        length_calls = 0;
        length_fail_at = call;
    } else {
        memory_fail_at = call;
    }
    g_test_message("fault %d, call %u", fault, call);
    run(v, op, disk);
    disk->fail_at = 0;
    memory_fail_at = length_fail_at = 0;
    examine(v, op, disk, &c);
    compare(&c, before, after);
    ram_disk_free(base);
    crash_disk_free(disk);
}

typedef struct Case {
    const Variant *v;
    const Operation *op;
} Case;

/* What failed once, in whichever operation: hashes of a place and a kind of fault. */
static GHashTable *tried;

/* A stack that begins below a function of the block layer says little: each time may be another. */
#define SHALLOW       12 /* frames */
#define SHALLOW_TIMES 24

static bool is_new(const CallPlace *p, int fault, GHashTable *times)
{
    int64_t key = p->hash ^ fault;

    if (p->depth < SHALLOW) {
        uintptr_t n = (uintptr_t)g_hash_table_lookup(times, &key) + 1;

        g_hash_table_insert(times, g_memdup2(&key, sizeof(key)), (gpointer)n);
        if (n > SHALLOW_TIMES) {
            return false;
        }
        key ^= n << 8;
    }
    return g_hash_table_add(tried, g_memdup2(&key, sizeof(key)));
}

typedef struct Runs {
    const Case *k;
    Image image;
    RamDisk *below;
    Contents before, after;
    GArray *calls, *allocations, *lengths; /* of CallPlace: those of the run that succeeds */
} Runs;

static void fail_once(const Runs *r, int fault, unsigned call)
{
    fail_at(r->k->v, r->k->op, &r->image, r->below, fault, call, &r->before, &r->after);
}

/* Each place that can fail and has not yet. */
static void fail_at_new_places(const Runs *r, int fault, const GArray *places)
{
    g_autoptr(GHashTable) times =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);

    for (guint i = 0; i < places->len; i++) {
        if (is_new(&g_array_index(places, CallPlace, i), fault, times)) {
            fail_once(r, fault, i + 1);
        }
    }
}

/* Any calls, as the seed has it; all of them in a slow test. */
static void fail_anywhere(const Runs *r, int fault, unsigned calls)
{
    unsigned call = 0;

    while ((call += g_test_slow() ? 1 : g_test_rand_int_range(1, MAX(calls, 2))) <= calls) {
        fail_once(r, fault, call);
    }
}

/* The run that succeeds; what was there before and what comes. */
static void run_whole(Runs *r)
{
    const Case *k = r->k;
    CrashDisk *whole;

    base = new_base(r->below);
    whole = crash_disk_new(r->image.data, r->image.length);
    whole->places = r->calls;
    memory_places = r->allocations;
    length_places = r->lengths;
    g_assert_cmpint(run(k->v, k->op, whole), ==, 0);
    whole->places = memory_places = length_places = NULL;
    examine(k->v, k->op, whole, &r->after);
    crash_disk_free(whole);
    ram_disk_free(base);
    r->before = r->after;
    if (!k->op->damage) {
        BlockBackend *blk;

        base = new_base(r->below);
        whole = crash_disk_new(r->image.data, r->image.length);
        blk = try_open(k->v, k->op, whole, 0);
        read_contents(blk, &r->before);
        blk_unref(blk);
        crash_disk_free(whole);
        ram_disk_free(base);
    }
}

static void every_call_fails(gconstpointer data)
{
    static Runs r;

    r = (Runs){ .k = data };
    r.below = ram_disk_new(SIZE);
    r.calls = g_array_new(false, false, sizeof(CallPlace));
    r.allocations = g_array_new(false, false, sizeof(CallPlace));
    r.lengths = g_array_new(false, false, sizeof(CallPlace));
    memset(r.below->data, r.k->op->backing ? 7 : 0, SIZE);
    base = r.below;
    r.image = create(r.k->v, r.k->op);
    run_whole(&r);
    fail_at_new_places(&r, CRASH_EIO_NOT_DONE, r.calls);
    fail_at_new_places(&r, NO_MEMORY_ONCE, r.allocations);
    fail_at_new_places(&r, NO_LENGTH, r.lengths);
    for (int fault = 0; fault < NO_LENGTH && !r.k->v->autoclear; fault++) {
        fail_anywhere(&r, fault, (fault < CRASH_FAULTS ? r.calls : r.allocations)->len);
    }
    g_array_unref(r.calls);
    g_array_unref(r.allocations);
    g_array_unref(r.lengths);
    g_free(r.image.data);
    ram_disk_free(r.below);
}

static inline int operation_faults_main(int argc, char **argv, const Operation *operations,
                                        size_t nb_operations)
{
    g_autofree Case *cases = g_new0(Case, nb_operations * G_N_ELEMENTS(variants));
    Case *k = cases;
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_register(&bdrv_test_ram);
    sim_getlength = bdrv_sim.bdrv_co_getlength;
    bdrv_sim.bdrv_co_getlength = getlength_or_not;
    bdrv_sim.has_variable_length = true; /* so that it is asked, as a device is */
    tried = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (size_t i = 0; i < nb_operations; i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(variants); j++, k++) {
            g_autofree char *path = g_strdup_printf("/qcow2/operation-faults/%s/%s",
                                                    operations[i].name, variants[j].name);

            if ((operations[i].not_extended && strstr(variants[j].create, "extended")) ||
                (operations[i].small_clusters && !strstr(variants[j].create, "=512,"))) {
                continue;
            }
            *k = (Case){ &variants[j], &operations[i] };
            g_test_add_data_func(path, k, every_call_fails);
        }
    }
    ret = g_test_run();
    g_hash_table_unref(tried);
    return ret;
}

#endif
