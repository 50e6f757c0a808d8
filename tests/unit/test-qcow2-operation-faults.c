/* SPDX-License-Identifier: MIT */
/*
 * What changes or looks at an image as a whole - amend, resize, snapshots, bitmaps, commit, repairs
 * and so on - on a file that fails: each operation again and again, each time with another call
 * to the file failing, or another allocation, opening the image included. Each place of the code
 * that such a call comes from fails once, and some calls at random in several ways. Whatever the
 * operation reports, afterwards the image is whole but for what a repair mends, and every sector
 * reads as before the operation or as after it. --seed replays a failure; -m slow leaves no call out.
 */
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

/* --- operations --- */

static int amend(BlockBackend *blk, const char *text)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, text, NULL, &error_abort);
    return bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, NULL);
}

static int amend_to_version_2(BlockBackend *blk)
{
    int ret = amend(blk, "refcount_bits=16");

    return ret < 0 ? ret : amend(blk, "compat=0.10");
}

static int amend_to_version_3(BlockBackend *blk)
{
    return amend(blk, "compat=1.1,lazy_refcounts=on");
}

static int amend_refcount_width(BlockBackend *blk)
{
    int ret = amend(blk, "refcount_bits=32");

    return ret < 0 ? ret : amend(blk, "refcount_bits=8");
}

static int grow(BlockBackend *blk, PreallocMode mode)
{
    int ret = blk_truncate(blk, SIZE + 5 * CRASH_SECTOR, true, mode, 0, NULL);

    return ret < 0 ? ret : blk_truncate(blk, GROWN, true, mode, 0, NULL);
}

static int grow_with_metadata(BlockBackend *blk)
{
    return grow(blk, PREALLOC_MODE_METADATA);
}

static int grow_with_data(BlockBackend *blk)
{
    return grow(blk, PREALLOC_MODE_FULL);
}

static int shrink(BlockBackend *blk)
{
    return blk_truncate(blk, SIZE / 4 + 3 * CRASH_SECTOR, true, PREALLOC_MODE_OFF, 0, NULL);
}

/* With clusters of 512 bytes and counters of 64 bits a refcount table ends at 2 MiB. */
static void fill_to_the_brim(BlockBackend *blk)
{
    g_assert_cmpint(blk_truncate(blk, LARGEST, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    put(blk, 12, 46, 6);
}

static int go_over_the_brim(BlockBackend *blk)
{
    g_autofree uint8_t *buf = g_malloc(8 * UNIT);
    int ret = blk_pwrite_zeroes(blk, 7 * UNIT, UNIT, 0);

    memset(buf, 7, 8 * UNIT);
    for (int unit = 60; unit < 76 && ret == 0; unit += 4) {
        ret = blk_pwrite(blk, unit * UNIT, 4 * UNIT, buf, 0);
    }
    return ret < 0 ? ret : blk_flush(blk);
}

static int zero_and_discard(BlockBackend *blk)
{
    int ret = blk_pwrite_zeroes(blk, CRASH_SECTOR, 2 * UNIT, BDRV_REQ_MAY_UNMAP);

    if (ret == 0) {
        ret = blk_pdiscard(blk, 9 * UNIT, UNIT);
    }
    return ret < 0 ? ret : blk_pwrite_zeroes(blk, 20 * UNIT, UNIT / 2, 0);
}

static int use_snapshots(BlockBackend *blk)
{
    uint8_t state[3000];
    int ret = make_snapshot(blk, "three", 70000);

    if (ret == 0) {
        ret = bdrv_snapshot_goto(blk_bs(blk), "two", NULL);
    }
    if (ret == 0) {
        ret = blk_load_vmstate(blk, state, 0, sizeof(state));
    }
    if (ret == 0) {
        ret = bdrv_snapshot_delete(blk_bs(blk), NULL, "one", NULL);
    }
    return ret < 0 ? ret : bdrv_snapshot_delete(blk_bs(blk), NULL, "three", NULL);
}

static int show_snapshot(BlockBackend *blk)
{
    int ret = bdrv_snapshot_load_tmp_by_id_or_name(blk_bs(blk), "one", NULL);
    g_autofree uint8_t *buf = g_malloc(SIZE);

    return ret < 0 ? ret : blk_pread(blk, 0, SIZE, buf, 0);
}

static int use_bitmaps(BlockBackend *blk)
{
    BlockDriverState *bs = blk_bs(blk);
    BdrvDirtyBitmap *old = bdrv_find_dirty_bitmap(bs, "bits"), *b;
    int ret = old ? bdrv_dirty_bitmap_load(old, NULL) : -ENOENT;

    b = ret == 0 ? add_bitmap(blk, "new", 1024) : NULL;
    if (!b) {
        return ret < 0 ? ret : -EIO;
    }
    bdrv_merge_dirty_bitmap(b, old, NULL);
    ret = bdrv_store_dirty_bitmaps(bs, NULL);
    if (ret == 0) {
        ret = bdrv_remove_persistent_dirty_bitmap(bs, "bits", NULL);
    }
    if (ret == 0) {
        bdrv_release_dirty_bitmap(old);
        ret = blk_pwrite_zeroes(blk, 0, UNIT, 0);
    }
    return ret;
}

static int grow_with_bitmaps(BlockBackend *blk)
{
    int ret = bdrv_snapshot_delete(blk_bs(blk), NULL, "one", NULL);

    if (ret == 0) {
        ret = bdrv_snapshot_delete(blk_bs(blk), NULL, "two", NULL);
    }
    return ret < 0 ? ret : blk_truncate(blk, GROWN, true, PREALLOC_MODE_OFF, 0, NULL);
}

static int measure(BlockBackend *blk)
{
    BlockOptions *o = blk_options_new();
    BlockMeasureInfo info;

    return bdrv_measure(bdrv_find_format("qcow2"), o, blk_bs(blk), &info, NULL);
}

static int commit(BlockBackend *blk)
{
    int ret = blk_commit(blk, bdrv_backing_chain_next(blk_bs(blk)), 0, NULL, NULL, NULL);

    return ret < 0 ? ret : blk_make_empty(blk, NULL);
}

static int make_empty(BlockBackend *blk)
{
    return blk_make_empty(blk, NULL);
}

static int name_another_backing_file(BlockBackend *blk)
{
    int ret = bdrv_change_backing_file(blk_bs(blk), "a-longer-name", "raw", false);

    return ret < 0 ? ret : bdrv_change_backing_file(blk_bs(blk), "b", "raw", false);
}

static int compressed_writes(BlockBackend *blk)
{
    int ret = write_compressed(blk, 6, 8);

    if (ret == 0) {
        ret = write_compressed(blk, 7, 8);
    }
    if (ret == 0) {
        ret = blk_pwrite_zeroes(blk, 14 * UNIT + CRASH_SECTOR, CRASH_SECTOR, 0);
    }
    return ret < 0 ? ret : blk_pdiscard(blk, 9 * UNIT, UNIT);
}

static int all_statuses(BlockBackend *blk)
{
    int64_t n;
    int ret = 0;

    for (int64_t at = 0; at < SIZE && ret >= 0; at += n) {
        ret = blk_block_status(blk, at, SIZE - at, &n);
    }
    return MIN(ret, 0);
}

static int check_only(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, 0);
}

static int repair_leaks(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS);
}

static int repair(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
}

/* --- damage --- */

static uint8_t *at_field(Image *d, size_t field)
{
    uint64_t offset = qcow2_be64(d->data + field);

    g_assert_cmpuint(offset, <, d->length);
    return d->data + offset;
}

#define AT(field) offsetof(Qcow2DiskHeader, field)

static uint8_t *first_l2(Image *d)
{
    uint8_t *l1 = at_field(d, AT(l1_table_offset));

    return d->data + (qcow2_be64(l1) & QCOW2_L1_OFFSET_MASK);
}

/* Counters of the first block, whichever their width: all in use, most of them wrongly. */
static void leak_clusters(Image *d)
{
    uint8_t *table = at_field(d, AT(refcount_table_offset));
    uint64_t cluster = UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits));
    uint8_t *block = d->data + qcow2_be64(table);

    for (uint64_t i = cluster * 3 / 4; i < cluster; i += 8) {
        block[i + 7] = 1;
    }
}

static void lose_refcount_block(Image *d)
{
    memset(at_field(d, AT(refcount_table_offset)), 0, 8);
}

static void place_refcount_block_outside(Image *d)
{
    uint64_t end = ROUND_UP(d->length, UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits)));

    qcow2_put_be64(at_field(d, AT(refcount_table_offset)), end + (end >> 1 & ~UINT64_C(0xfffff)));
}

static void flip_copied_flags(Image *d)
{
    first_l2(d)[0] ^= 0x80;
    at_field(d, AT(l1_table_offset))[0] ^= 0x80;
}

/* The first entry: preallocated zeroes, at a place that no cluster can have. */
static void misplace_zero_cluster(Image *d)
{
    uint8_t *l2 = first_l2(d);
    bool extended = d->data[79] & QCOW2_INCOMPAT_EXTL2;

    l2[6] |= 2;
    if (extended) {
        qcow2_put_be64(l2 + 8, QCOW2_BITMAP_ALL_ZEROES);
    } else {
        l2[7] |= 1;
    }
}

/* The first snapshot has no extra data, which version 3 asks for: id and name follow at once. */
static void cut_snapshot_entry(Image *d)
{
    uint8_t *e = at_field(d, AT(snapshots_offset));
    uint32_t extra = qcow2_be32(e + offsetof(Qcow2DiskSnapshot, extra_data_size));

    g_assert_cmpuint(extra, >=, 8);
    qcow2_put_be32(e + offsetof(Qcow2DiskSnapshot, extra_data_size), 8);
    qcow2_put_be16(e + offsetof(Qcow2DiskSnapshot, name_size),
                   qcow2_be16(e + offsetof(Qcow2DiskSnapshot, name_size)) + extra - 8);
}

static void mark_dirty(Image *d)
{
    d->data[79] |= QCOW2_INCOMPAT_DIRTY;
    leak_clusters(d);
}

static void lose_everything_counted(Image *d)
{
    uint8_t *table = at_field(d, AT(refcount_table_offset));
    uint64_t cluster = UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits));

    memset(d->data + qcow2_be64(table), 0, cluster);
}

static const Operation operations[] = {
    { "amend-to-version-2", .run = amend_to_version_2, .plain = true, .not_extended = true },
    { "amend-to-version-2-with-snapshots", .run = amend_to_version_2, .no_bitmaps = true,
      .not_extended = true },
    { "amend-to-version-2-over-backing", .run = amend_to_version_2, .no_bitmaps = true,
      .not_extended = true, .backing = true },
    { "amend-to-version-3", .run = amend_to_version_3, .not_extended = true, .no_bitmaps = true,
      .create = "compat=0.10,refcount_bits=16" },
    { "amend-refcount-width", .run = amend_refcount_width },
    { "grow-with-metadata", .run = grow_with_metadata },
    { "grow-with-data", .run = grow_with_data, .plain = true },
    { "grow-with-bitmaps", .run = grow_with_bitmaps },
    { "shrink", .run = shrink, .plain = true },
    { "grow-refcount-table", .prepare = fill_to_the_brim, .run = go_over_the_brim, .plain = true },
    { "data-file-shrink", .run = shrink, .plain = true, .data_file = true },
    { "data-file-grow", .run = grow_with_data, .plain = true, .data_file = true },
    { "data-file-grow-with-metadata", .run = grow_with_metadata, .plain = true,
      .data_file = true },
    { "data-file-raw-grow", .run = grow_with_metadata, .plain = true, .data_file = true,
      .create = "data_file_raw=on" },
    { "data-file-zeroes", .run = zero_and_discard, .plain = true, .data_file = true },
    { "data-file-raw-zeroes", .run = zero_and_discard, .plain = true, .data_file = true,
      .create = "data_file_raw=on" },
    { "data-file-statuses", .run = all_statuses, .plain = true, .data_file = true },
    { "data-file-check", .run = repair, .flags = BDRV_O_CHECK | BDRV_O_RDWR, .plain = true,
      .data_file = true },
    { "use-snapshots", .run = use_snapshots, .no_bitmaps = true },
    { "show-snapshot", .run = show_snapshot, .flags = BDRV_O_NO_BACKING },
    { "use-bitmaps", .run = use_bitmaps },
    { "measure", .run = measure, .flags = BDRV_O_NO_BACKING },
    { "commit", .run = commit, .plain = true, .backing = true },
    { "make-empty", .run = make_empty, .plain = true, .backing = true },
    { "make-empty-with-snapshots", .run = make_empty, .backing = true },
    { "name-another-backing-file", .run = name_another_backing_file, .backing = true },
    { "compressed-writes", .run = compressed_writes },
    { "compressed-writes-zstd", .run = compressed_writes, .create = "compression_type=zstd" },
    { "statuses", .run = all_statuses, .backing = true },
    { "check", .run = check_only, .flags = BDRV_O_CHECK },
    { "check-while-open", .run = check_only },
    { "repair-nothing", .run = repair, .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-leaks", .damage = leak_clusters, .run = repair_leaks,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-lost-block", .damage = lose_refcount_block, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-lost-counters", .damage = lose_everything_counted, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-block-outside", .damage = place_refcount_block_outside, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-flags", .damage = flip_copied_flags, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "repair-misplaced-zeroes", .damage = misplace_zero_cluster, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR, .plain = true },
    { "repair-snapshot-table", .damage = cut_snapshot_entry, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR },
    { "open-dirty", .damage = mark_dirty, .run = all_statuses },
};

int main(int argc, char **argv)
{
    g_autofree Case *cases = g_new0(Case, G_N_ELEMENTS(operations) * G_N_ELEMENTS(variants));
    Case *k = cases;
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_register(&bdrv_test_ram);
    sim_getlength = bdrv_sim.bdrv_co_getlength;
    bdrv_sim.bdrv_co_getlength = getlength_or_not;
    tried = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(variants); j++, k++) {
            g_autofree char *path = g_strdup_printf("/qcow2/operation-faults/%s/%s",
                                                    operations[i].name, variants[j].name);

            if (operations[i].not_extended && strstr(variants[j].create, "extended")) {
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
