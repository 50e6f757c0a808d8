/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots against a model in RAM: a random sequence of writes of every kind, growth, and
 * snapshots made, applied and deleted, each time either here or by the system's qemu-img, if there
 * is one. What the disk and each snapshot hold is compared again and again; at the end the image is
 * clean. QCOW2_SEED=N replays a failure.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/qcow2.h"
#include "block/snapshot.h"
#include "qemu/main-loop.h"

#define DISK_MAX  (1 << 20) /* bytes */
#define STATE_MAX 40000     /* bytes of machine state */
#define STEPS     (g_test_slow() ? 3000 : 70)

typedef struct Variant {
    const char *name, *options;
    uint32_t cluster;
    bool backing, compress, v2;
} Variant;

static const Variant variants[] = {
    { "default", "cluster_size=64k", 65536, false, true, false },
    { "clusters-512", "cluster_size=512", 512, false, true, false },
    { "clusters-512-refcount-64", "cluster_size=512,refcount_bits=64", 512, true, true, false },
    { "refcount-1", "cluster_size=1k,refcount_bits=1", 1024, false, false, false },
    { "refcount-2", "cluster_size=4k,refcount_bits=2", 4096, true, true, false },
    { "refcount-8", "cluster_size=4k,refcount_bits=8", 4096, true, true, false },
    { "v2", "cluster_size=2k,compat=0.10", 2048, false, true, true },
    { "v2-backing", "cluster_size=4k,compat=0.10", 4096, true, true, true },
    { "extended", "cluster_size=16k,extended_l2=on", 16384, false, true, false },
    { "extended-backing", "cluster_size=16k,extended_l2=on", 16384, true, true, false },
    { "lazy", "cluster_size=4k,lazy_refcounts=on", 4096, false, true, false },
};

typedef struct Saved {
    char *name;
    uint8_t *disk, *state; /* state NULL: none */
    uint32_t size, state_size;
} Saved;

typedef struct Model {
    const Variant *v;
    const char *path;
    GRand *r;
    BlockBackend *blk;
    uint8_t disk[DISK_MAX];
    uint32_t size;    /* bytes */
    GPtrArray *saved; /* of Saved */
    uint8_t *state;   /* that may be loaded now, or NULL */
    uint32_t state_size;
    int next_name;
    int made, applied, deleted, refused;
} Model;

static bool have_qemu;
static char *dir;

static int run(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static int run(const char *fmt, ...)
{
    g_autofree char *out = NULL, *err = NULL, *line = NULL;
    g_autoptr(GError) error = NULL;
    int status = -1;
    va_list ap;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_spawn_command_line_sync(line, &out, &err, &status, &error);
    g_assert_no_error(error);
    if (status) {
        g_test_message("%s: status %d\n%s%s", line, status, out, err);
    }
    return status;
}

static uint32_t rnd(Model *m, uint32_t below)
{
    return g_rand_int_range(m->r, 0, below);
}

static void free_saved(gpointer opaque)
{
    Saved *sn = opaque;

    g_free(sn->name);
    g_free(sn->disk);
    g_free(sn->state);
    g_free(sn);
}

/* --- the image --- */

static BlockBackend *open_image(const Model *m, int flags)
{
    BlockOptions *o = blk_options_new();
    Error *err = NULL;
    BlockBackend *blk;

    blk_options_set(o, "driver", "qcow2");
    blk_options_set(o, "l2-cache-size", "8192"); /* so that slices have to leave */
    blk_options_set(o, "l2-cache-entry-size", "512");
    blk_options_set(o, "refcount-cache-size", "2048");
    blk_options_set(o, "overlap-check", "all");
    blk = blk_new_open(m->path, NULL, o, flags, &err);
    g_assert_no_error(err);
    return blk;
}

static void open_for_writing(Model *m)
{
    m->blk = open_image(m, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP);
}

static void close_image(Model *m)
{
    blk_unref(m->blk);
    m->blk = NULL;
}

static void expect(BlockBackend *blk, const uint8_t *want, uint32_t size, const char *what)
{
    g_autofree uint8_t *buf = g_malloc(size);

    g_assert_cmpint(blk_getlength(blk), ==, size);
    g_assert_cmpint(blk_pread(blk, 0, size, buf, 0), ==, 0);
    for (uint32_t i = 0; i < size; i++) {
        if (buf[i] != want[i]) {
            g_error("%s, byte %u: 0x%02x, expected 0x%02x", what, i, buf[i], want[i]);
        }
    }
}

/* Nothing is open. */
static void check(const Model *m)
{
    BlockBackend *blk = open_image(m, BDRV_O_CHECK);
    BdrvCheckResult r;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    blk_unref(blk);
    if (have_qemu) {
        g_assert_cmpint(run("qemu-img check -q -f qcow2 %s", m->path), ==, 0);
    }
}

/* All snapshots, each shown by a read-only image of its own. Nothing is open. */
static void compare_snapshots(const Model *m)
{
    for (guint i = 0; i < m->saved->len; i++) {
        const Saved *sn = m->saved->pdata[i];
        BlockBackend *blk = open_image(m, 0);

        g_assert_cmpint(bdrv_snapshot_load_tmp_by_id_or_name(blk_bs(blk), sn->name, &error_abort),
                        ==, 0);
        expect(blk, sn->disk, sn->size, sn->name);
        blk_unref(blk);
    }
}

static void compare_list(const Model *m)
{
    g_autofree QEMUSnapshotInfo *list = NULL;
    int n = bdrv_snapshot_list(blk_bs(m->blk), &list);

    g_assert_cmpint(n, ==, m->saved->len);
    for (int i = 0; i < n; i++) {
        const Saved *sn = m->saved->pdata[i];

        g_assert_cmpstr(list[i].name, ==, sn->name);
        g_assert_cmpuint(list[i].vm_state_size, ==, sn->state_size);
    }
}

/* --- writes --- */

static void random_write(Model *m)
{
    uint32_t offset = rnd(m, m->size), bytes = 1 + rnd(m, MIN(m->size - offset, 40000U));
    g_autofree uint8_t *buf = g_malloc(MAX(bytes, m->v->cluster));
    uint8_t value = 1 + rnd(m, 255);

    for (uint32_t i = 0; i < MAX(bytes, m->v->cluster); i++) {
        buf[i] = i % 1000 < 900 ? value : g_rand_int(m->r);
    }
    if (m->v->compress && rnd(m, 4) == 0) {
        bytes = m->v->cluster;
        offset = rnd(m, m->size / bytes) * bytes;
        if (blk_pwrite(m->blk, offset, bytes, buf, BDRV_REQ_WRITE_COMPRESSED) < 0) {
            return; /* there was something already */
        }
    } else {
        g_assert_cmpint(blk_pwrite(m->blk, offset, bytes, buf, 0), ==, 0);
    }
    memcpy(m->disk + offset, buf, bytes);
}

static void random_zero(Model *m)
{
    uint32_t offset = rnd(m, m->size), bytes = 1 + rnd(m, m->size - offset);

    if (rnd(m, 2)) {
        g_assert_cmpint(blk_pwrite_zeroes(m->blk, offset, bytes,
                                          rnd(m, 2) ? BDRV_REQ_MAY_UNMAP : 0), ==, 0);
        memset(m->disk + offset, 0, bytes);
    } else {
        g_assert_cmpint(blk_pdiscard(m->blk, offset, bytes), ==, 0);
        g_assert_cmpint(blk_pread(m->blk, offset, bytes, m->disk + offset, 0), ==, 0);
    }
}

static void grow(Model *m)
{
    uint32_t size = MIN(m->size + (1 + rnd(m, 200)) * 512, (uint32_t)DISK_MAX);

    if ((m->v->v2 && m->saved->len) || size == m->size) {
        return;
    }
    g_assert_cmpint(blk_truncate(m->blk, size, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    memset(m->disk + m->size, 0, size - m->size);
    m->size = size;
    /* It lies behind the disk, so it may be somewhere else now. */
    g_clear_pointer(&m->state, g_free);
}

/* --- machine state --- */

static void save_state(Model *m)
{
    g_free(m->state);
    m->state_size = 1 + rnd(m, STATE_MAX);
    m->state = g_malloc(m->state_size);
    for (uint32_t i = 0; i < m->state_size; i++) {
        m->state[i] = g_rand_int(m->r);
    }
    for (uint32_t at = 0; at < m->state_size;) {
        uint32_t n = MIN(1 + rnd(m, 20000), m->state_size - at);

        g_assert_cmpint(blk_save_vmstate(m->blk, m->state + at, at, n), ==, n);
        at += n;
    }
}

static void compare_state(Model *m)
{
    g_autofree uint8_t *buf = g_malloc(STATE_MAX);

    if (m->state) {
        g_assert_cmpint(blk_load_vmstate(m->blk, buf, 0, m->state_size), ==, m->state_size);
        g_assert_cmpint(memcmp(buf, m->state, m->state_size), ==, 0);
    }
}

/* --- snapshots --- */

/* qemu-img 7.2 leaks a cluster now and then when it applies a snapshot, and when it refuses to make one. */
static void reopen_after_theirs(Model *m)
{
    g_assert_cmpint(run("qemu-img check -q -r leaks %s", m->path), ==, 0);
    open_for_writing(m);
}

/* Has it been done? Never when a refcount would overflow. */
static bool create_one(Model *m, const char *name, bool theirs)
{
    QEMUSnapshotInfo sn = { .vm_state_size = m->state ? m->state_size : 0 };
    int ret;

    if (theirs) {
        close_image(m);
        ret = run("qemu-img snapshot -c %s %s", name, m->path);
        reopen_after_theirs(m);
        return ret == 0;
    }
    g_strlcpy(sn.name, name, sizeof(sn.name));
    ret = bdrv_snapshot_create(blk_bs(m->blk), &sn);
    g_assert_true(ret == 0 || (ret == -EINVAL && strstr(m->v->options, "refcount_bits")));
    return ret == 0;
}

static void create(Model *m, bool theirs)
{
    Saved *sn = g_new0(Saved, 1);

    if (!theirs && !rnd(m, 2)) {
        save_state(m);
    } else if (!theirs) {
        g_clear_pointer(&m->state, g_free);
    }
    sn->name = g_strdup_printf("sn%d", m->next_name++);
    if (!create_one(m, sn->name, theirs)) {
        m->refused++;
        free_saved(sn);
        return;
    }
    sn->disk = g_memdup2(m->disk, DISK_MAX);
    sn->size = m->size;
    if (!theirs && m->state) {
        sn->state_size = m->state_size;
        sn->state = g_steal_pointer(&m->state);
    }
    g_ptr_array_add(m->saved, sn);
    m->made++;
}

/*
 * The same: for a moment there are the references of what was and of what will be. qemu-img has
 * changed the size already when it notices.
 */
static bool apply_one(Model *m, const char *name, bool theirs)
{
    int ret;

    if (theirs && !strstr(m->v->options, "refcount_bits")) {
        close_image(m);
        g_assert_cmpint(run("qemu-img snapshot -a %s %s", name, m->path), ==, 0);
        reopen_after_theirs(m);
        return true;
    }
    ret = bdrv_snapshot_goto(blk_bs(m->blk), name, NULL);
    g_assert_true(ret == 0 || (ret == -EINVAL && strstr(m->v->options, "refcount_bits")));
    return ret == 0;
}

static void apply(Model *m, bool theirs)
{
    const Saved *sn;

    if (!m->saved->len) {
        return;
    }
    sn = m->saved->pdata[rnd(m, m->saved->len)];
    if (!apply_one(m, sn->name, theirs)) {
        m->refused++;
        return;
    }
    memcpy(m->disk, sn->disk, DISK_MAX);
    m->size = sn->size;
    g_free(m->state);
    m->state = sn->state ? g_memdup2(sn->state, sn->state_size) : NULL;
    m->state_size = sn->state_size;
    expect(m->blk, m->disk, m->size, "after applying a snapshot");
    compare_state(m);
    m->applied++;
}

static void delete(Model *m, bool theirs)
{
    guint i;
    const Saved *sn;

    if (!m->saved->len) {
        return;
    }
    i = rnd(m, m->saved->len);
    sn = m->saved->pdata[i];
    if (theirs) {
        close_image(m);
        g_assert_cmpint(run("qemu-img snapshot -d %s %s", sn->name, m->path), ==, 0);
        open_for_writing(m);
    } else {
        g_assert_cmpint(bdrv_snapshot_delete(blk_bs(m->blk), NULL, sn->name, &error_abort), ==, 0);
    }
    g_ptr_array_remove_index(m->saved, i);
    m->deleted++;
}

/* --- all together --- */

static void step(Model *m)
{
    /* Theirs once in a while, as a process takes its time. */
    bool theirs = have_qemu && rnd(m, 10) == 0;

    switch (rnd(m, 20)) {
    case 0:
        grow(m);
        break;
    case 1: case 2:
        create(m, theirs);
        break;
    case 3:
        apply(m, theirs);
        break;
    case 4:
        if (m->saved->len > 4 || rnd(m, 2)) {
            delete(m, theirs);
        }
        break;
    case 5:
        expect(m->blk, m->disk, m->size, "the disk");
        compare_list(m);
        break;
    case 6:
        close_image(m);
        if (rnd(m, 3) == 0) {
            check(m);
            compare_snapshots(m);
        }
        open_for_writing(m);
        break;
    case 7: case 8: case 9:
        random_zero(m);
        break;
    default:
        random_write(m);
        break;
    }
}

static void create_image(Model *m)
{
    g_autofree char *base = g_build_filename(dir, "base.raw", NULL);
    BlockOptions *o = blk_options_new();

    for (uint32_t i = 0; m->v->backing && i < m->size * 3 / 4; i++) {
        m->disk[i] = i / 512 * 7 + 3;
    }
    if (m->v->backing) {
        g_assert_true(g_file_set_contents(base, (char *)m->disk, m->size * 3 / 4, NULL));
    }
    blk_options_parse(o, m->v->options, NULL, &error_abort);
    blk_options_setf(o, "size", "%u", m->size);
    if (m->v->backing) {
        blk_options_set(o, "backing_file", "base.raw");
        blk_options_set(o, "backing_fmt", "raw");
    }
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), m->path, o, &error_abort), ==, 0);
}

static uint32_t new_seed(void)
{
    const char *given = g_getenv("QCOW2_SEED");
    uint32_t seed = given ? strtoul(given, NULL, 0) : g_random_int();

    g_test_message("QCOW2_SEED=%u", seed);
    return seed;
}

static void random_sequence(gconstpointer data)
{
    g_autofree char *path = g_build_filename(dir, "t.qcow2", NULL);
    g_autofree Model *m = g_new0(Model, 1);

    m->v = data;
    m->path = path;
    m->r = g_rand_new_with_seed(new_seed());
    m->saved = g_ptr_array_new_with_free_func(free_saved);
    m->size = DISK_MAX / 2 + 3 * 512;
    create_image(m);
    open_for_writing(m);
    for (int i = 0; i < STEPS; i++) {
        step(m);
    }
    expect(m->blk, m->disk, m->size, "the disk at the end");
    compare_list(m);
    close_image(m);
    check(m);
    compare_snapshots(m);
    /* What is left when all snapshots are gone is the disk alone. */
    open_for_writing(m);
    while (m->saved->len) {
        delete(m, false);
    }
    expect(m->blk, m->disk, m->size, "the disk without snapshots");
    close_image(m);
    check(m);
    g_test_message("%d snapshots made, %d refused, %d applied, %d deleted", m->made, m->refused,
                   m->applied, m->deleted);
    g_free(m->state);
    g_ptr_array_free(m->saved, true);
    g_rand_free(m->r);
    g_unlink(path);
}

/* --- what is in the table --- */

static void fields_are_kept(void)
{
    static const Variant v = { "fields", "cluster_size=512", 512, false, false, false };
    g_autofree char *path = g_build_filename(dir, "fields.qcow2", NULL);
    g_autofree QEMUSnapshotInfo *list = NULL;
    g_autofree Model *m = g_new0(Model, 1);
    QEMUSnapshotInfo sn = { .name = "all fields", .date_sec = 4000000000, .date_nsec = 999999999,
                            .vm_state_size = UINT64_C(5) << 32,
                            .vm_clock_nsec = UINT64_C(1) << 63, .icount = 123456789012345 };

    m->v = &v;
    m->path = path;
    m->size = 100 * 1024;
    create_image(m);
    open_for_writing(m);
    for (int i = 0; i < 200; i++) {
        g_assert_cmpint(bdrv_snapshot_create(blk_bs(m->blk), &sn), ==, 0);
        g_assert_cmpuint(strtoul(sn.id_str, NULL, 10), ==, i + 1);
    }
    close_image(m);
    open_for_writing(m);
    g_assert_cmpint(bdrv_snapshot_list(blk_bs(m->blk), &list), ==, 200);
    for (int i = 0; i < 200; i++) {
        g_snprintf(sn.id_str, sizeof(sn.id_str), "%d", i + 1);
        g_assert_cmpstr(list[i].id_str, ==, sn.id_str);
        g_assert_cmpstr(list[i].name, ==, sn.name);
        g_assert_cmpuint(list[i].date_sec, ==, sn.date_sec);
        g_assert_cmpuint(list[i].date_nsec, ==, sn.date_nsec);
        g_assert_cmpuint(list[i].vm_state_size, ==, sn.vm_state_size);
        g_assert_cmpuint(list[i].vm_clock_nsec, ==, sn.vm_clock_nsec);
        g_assert_cmpuint(list[i].icount, ==, sn.icount);
    }
    g_assert_true(bdrv_snapshot_find_by_id_and_name(blk_bs(m->blk), "77", "all fields", &sn, NULL));
    g_assert_cmpstr(sn.id_str, ==, "77");
    g_assert_false(bdrv_snapshot_find_by_id_and_name(blk_bs(m->blk), "77", "other", &sn, NULL));
    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(m->blk), "77", "other", NULL), ==, -ENOENT);
    g_assert_cmpint(bdrv_snapshot_delete(blk_bs(m->blk), "77", NULL, &error_abort), ==, 0);
    g_assert_false(bdrv_snapshot_find_by_id_and_name(blk_bs(m->blk), "77", NULL, &sn, NULL));
    close_image(m);
    check(m);
    g_unlink(path);
}

/* Extra data that nobody knows yet, in an image as a later program might make it. */
static void unknown_extra_data_is_kept(void)
{
    static const Variant v = { "extra", "cluster_size=512", 512, false, false, false };
    static const char unknown[16] = "from the future";
    g_autofree char *path = g_build_filename(dir, "extra.qcow2", NULL), *image = NULL;
    g_autofree Model *m = g_new0(Model, 1);
    QEMUSnapshotInfo sn = { .name = "one" };
    uint64_t table;
    gsize length;

    m->v = &v;
    m->path = path;
    m->size = 1024;
    create_image(m);
    open_for_writing(m);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(m->blk), &sn), ==, 0);
    close_image(m);
    g_assert_true(g_file_get_contents(path, &image, &length, NULL));
    memcpy(&table, image + 64, 8);
    table = GUINT64_FROM_BE(table);
    image[table + 39] = 24 + sizeof(unknown);
    memmove(image + table + 64 + sizeof(unknown), image + table + 64, 4);
    memcpy(image + table + 64, unknown, sizeof(unknown));
    g_assert_true(g_file_set_contents(path, image, length, NULL));
    g_clear_pointer(&image, g_free);

    open_for_writing(m);
    g_strlcpy(sn.name, "two", sizeof(sn.name));
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(m->blk), &sn), ==, 0);
    g_assert_cmpstr(sn.id_str, ==, "2");
    close_image(m);
    g_assert_true(g_file_get_contents(path, &image, &length, NULL));
    memcpy(&table, image + 64, 8);
    table = GUINT64_FROM_BE(table);
    g_assert_cmpint(image[table + 39], ==, 24 + sizeof(unknown));
    g_assert_cmpint(memcmp(image + table + 64, unknown, sizeof(unknown)), ==, 0);
    g_assert_cmpint(memcmp(image + table + 64 + sizeof(unknown), "1one", 4), ==, 0);
    check(m);
    g_unlink(path);
}

/* A snapshot of a disk that has no clusters, and of one that has no size. */
static void empty_disks(void)
{
    static const Variant v = { "empty", "cluster_size=64k", 65536, false, false, false };
    g_autofree char *path = g_build_filename(dir, "empty.qcow2", NULL);

    for (uint32_t size = 0; size <= 512; size += 512) {
        g_autofree Model *m = g_new0(Model, 1);
        QEMUSnapshotInfo sn = { .name = "nothing" };

        m->v = &v;
        m->path = path;
        m->size = size;
        create_image(m);
        open_for_writing(m);
        g_assert_cmpint(bdrv_snapshot_create(blk_bs(m->blk), &sn), ==, 0);
        g_assert_cmpint(blk_truncate(m->blk, 1 << 20, true, PREALLOC_MODE_OFF, 0, &error_abort), ==,
                        0);
        g_assert_cmpint(blk_pwrite(m->blk, 0, 512, m->disk, 0), ==, 0);
        g_assert_cmpint(bdrv_snapshot_goto(blk_bs(m->blk), "nothing", &error_abort), ==, 0);
        g_assert_cmpint(blk_getlength(m->blk), ==, size);
        g_assert_cmpint(bdrv_snapshot_delete(blk_bs(m->blk), "1", NULL, &error_abort), ==, 0);
        close_image(m);
        check(m);
        g_unlink(path);
    }
}

/* It would not know what the snapshot changes; that the image has none yet does not matter. */
static void not_applied_beside_a_new_bitmap(void)
{
    static const Variant v = { "bitmap", "cluster_size=64k", 65536, false, false, false };
    g_autofree char *path = g_build_filename(dir, "bitmap.qcow2", NULL);
    g_autofree Model *m = g_new0(Model, 1);
    QEMUSnapshotInfo sn = { .name = "before" };
    BdrvDirtyBitmap *bitmap;
    Error *err = NULL;

    m->v = &v;
    m->path = path;
    m->size = 1 << 20;
    create_image(m);
    open_for_writing(m);
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(m->blk), &sn), ==, 0);
    bitmap = bdrv_create_dirty_bitmap(blk_bs(m->blk), 65536, "b", &error_abort);
    bdrv_dirty_bitmap_set_persistence(bitmap, true);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(m->blk), "before", &err), ==, -EBUSY);
    g_assert_cmpstr(error_get_pretty(err), ==, "Device has active dirty bitmaps");
    error_free(err);
    bdrv_release_dirty_bitmap(bitmap);
    g_assert_cmpint(bdrv_snapshot_goto(blk_bs(m->blk), "before", &error_abort), ==, 0);
    close_image(m);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    have_qemu = qemu;
    dir = g_dir_make_tmp("test-qcow2-snapshot-XXXXXX", NULL);
    g_assert_nonnull(dir);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *path = g_strconcat("/qcow2/snapshot/random/", variants[i].name, NULL);

        g_test_add_data_func(path, &variants[i], random_sequence);
    }
    g_test_add_func("/qcow2/snapshot/fields-are-kept", fields_are_kept);
    g_test_add_func("/qcow2/snapshot/unknown-extra-data-is-kept", unknown_extra_data_is_kept);
    g_test_add_func("/qcow2/snapshot/empty-disks", empty_disks);
    g_test_add_func("/qcow2/snapshot/not-applied-beside-a-new-bitmap", not_applied_beside_a_new_bitmap);
    ret = g_test_run();
    run("rm -rf %s", dir);
    g_free(dir);
    return ret;
}
