/* SPDX-License-Identifier: MIT */
/* Images of random shape, and how they are opened and checked. See model.h. */
#include "model.h"

#include "qemu/atomic.h"

#include <glib/gstdio.h>

/* --- comparing and filling --- */

void model_wrong(Model *m, const char *fmt, ...)
{
    static GMutex lock;
    va_list ap;

    va_start(ap, fmt);
    g_mutex_lock(&lock);
    if (!m->wrong) {
        qatomic_set(&m->wrong, g_strdup_vprintf(fmt, ap));
    }
    g_mutex_unlock(&lock);
    va_end(ap);
}

bool model_compare(Model *m, const char *what, int64_t offset, const uint8_t *buf,
                   const uint8_t *want, const uint8_t *or, int64_t bytes)
{
    int64_t first = 0, last;

    if (memcmp(buf, want, bytes) == 0) {
        return true;
    }
    while (first < bytes && (buf[first] == want[first] || (or && buf[first] == or[first]))) {
        first++;
    }
    if (first == bytes) {
        return true;
    }
    for (last = bytes - 1; buf[last] == want[last]; last--) {
    }
    model_wrong(m, "%s: byte %" PRId64 " is %02x instead of %02x; wrong up to %" PRId64 " (range %"
                "" PRId64 "+%" PRId64 ", cluster %" PRId64 ", operation %" PRIu64 ")", what,
                offset + first, buf[first], want[first], offset + last, offset, bytes,
                (offset + first) / m->cluster, m->operations);
    return false;
}

void model_fill(uint64_t *rng, uint8_t *buf, int64_t bytes)
{
    uint64_t x = aio_sim_next_random(rng), kind = x >> 32 & 7;

    if (kind < 2) {
        /* Whole bytes of one value: 0 now and then. */
        memset(buf, kind ? (uint8_t)x : 0, bytes);
        return;
    }
    for (int64_t i = 0; i < bytes; i += 8) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        memcpy(buf + i, &x, MIN(bytes - i, 8));
        if (kind == 2 && i % 64 == 0) {
            /* Compressible: the same for a while. */
            int64_t n = MIN(bytes - i, 64);

            memset(buf + i, (uint8_t)(x >> 56), n);
            i += ROUND_UP(n, 8) - 8;
        }
    }
}

/* --- shapes --- */

static SimDisk *new_disk(Model *m, bool latency)
{
    static const uint32_t alignments[] = { 1, 1, 1, 512, 4096 };
    /* An image may hold the name of its data file: the same in each life. */
    g_autofree char *name = g_strdup_printf("model-%u", sim_power_n_disks(m->power));
    SimDisk *disk = sim_disk_new(m->power, name, 0, &error_abort);
    uint32_t alignment = alignments[model_random(m, G_N_ELEMENTS(alignments))];

    sim_disk_set_alignment(disk, alignment);
    m->unit = MAX(m->unit, (int64_t)alignment);
    if (m->instant) {
        sim_disk_set_instant(disk);
    } else if (latency && model_chance(m, 2)) {
        sim_disk_set_latency(disk, 0, 1 + model_random(m, 20000));
    }
    return disk;
}

static int64_t random_length(Model *m)
{
    return ROUND_UP(1 + model_random(m, m->max_length - m->unit), m->unit);
}

/* The options that make a qcow2 image, but for size and names. */
static char *create_options(Model *m, Layer *l, int64_t *cluster, bool top)
{
    static const char *const zlib_zstd[] = { "zlib", "zlib", "zstd" };
    GString *o = g_string_new(NULL);
    bool v2 = !l->data && model_chance(m, 8), extended = !v2 && model_chance(m, 4);
    unsigned least = extended ? 14 : 9;
    unsigned bits = model_chance(m, 3) ? 16 : least + model_random(m, 22 - least);
    unsigned refcount_order = v2 || model_chance(m, 2) ? 4 : model_random(m, 7);

    *cluster = INT64_C(1) << bits;
    g_string_printf(o, "cluster_size=%" PRId64 ",compat=%s", *cluster, v2 ? "0.10" : "1.1");
    if (!v2) {
        g_string_append_printf(o, ",refcount_bits=%u,extended_l2=%s,lazy_refcounts=%s,"
                               "compression_type=%s", 1U << refcount_order, extended ? "on" : "off",
                               model_chance(m, 4) ? "on" : "off",
                               zlib_zstd[model_random(m, 3)]);
    }
    if (l->data) {
        g_string_append_printf(o, ",data_file=sim:%s%s", sim_disk_name(l->data),
                               m->data_raw ? ",data_file_raw=on" : "");
    }
    l->v2 = v2;
    if (top) {
        m->v2 = v2;
        m->extended = extended;
        m->refcount_bits = 1U << refcount_order;
        m->cluster = *cluster;
    }
    return g_string_free(o, FALSE);
}

/* What opens layer @i with all below; @prefix of the keys. */
static void append_layers(const Model *m, GString *o, unsigned i, const char *prefix)
{
    const Layer *l = &m->layer[i];
    g_autofree char *below = g_strconcat(prefix, "backing.", NULL);

    g_string_append_printf(o, "%s%sdriver=%s,%sfile.driver=sim,%sfile.disk=%s", o->len ? "," : "",
                           prefix, l->raw ? "raw" : "qcow2", prefix, prefix,
                           sim_disk_name(l->disk));
    if (l->data) {
        g_string_append_printf(o, ",%sdata-file.driver=sim,%sdata-file.disk=%s", prefix, prefix,
                               sim_disk_name(l->data));
    }
    if (i + 1 < m->n_layers) {
        append_layers(m, o, i + 1, below);
    }
}

/* --- making the chain --- */

static void make_image(Model *m, unsigned i, int64_t length)
{
    Layer *l = &m->layer[i];
    int64_t cluster = 0;
    g_autofree char *shape = l->raw ? NULL : create_options(m, l, &cluster, i == 0);
    GString *o = g_string_new(shape);

    g_string_append_printf(o, "%ssize=%" PRId64, o->len ? "," : "", length);
    if (i + 1 < m->n_layers) {
        g_string_append_printf(o, ",backing_file=below,backing_fmt=%s",
                               m->layer[i + 1].raw ? "raw" : "qcow2");
    }
    g_string_append_printf(m->shape, "%s%s %s", i + 1 < m->n_layers ? "; over it " : ": ",
                           l->raw ? "raw" : "qcow2", o->str);
    g_assert_cmpint(sim_disk_create(l->disk, l->raw ? "raw" : "qcow2", o->str, &error_abort), ==, 0);
    g_string_free(o, TRUE);
}

/* Layer @i gets data and zeroes, and is @length long from now on. */
static void fill_layer(Model *m, unsigned i, int64_t length)
{
    GString *o = g_string_new(NULL);
    BlockBackend *blk;

    /* What is longer below does not show. */
    memset(m->bytes + MIN(length, m->length), 0, m->max_length - MIN(length, m->length));
    m->length = length;
    append_layers(m, o, i, "");
    blk = sim_disk_open(m->layer[i].disk, o->str, BDRV_O_RDWR, &error_abort);
    for (int k = 0; k < 12; k++) {
        int64_t from = model_random(m, length), bytes = 1 + model_random(m, MIN(length - from, 70000));

        if (k % 4 == 3) {
            memset(m->bytes + from, 0, bytes);
            g_assert_cmpint(blk_pwrite_zeroes(blk, from, bytes, BDRV_REQ_MAY_UNMAP), ==, 0);
        } else {
            model_fill(&m->rng, m->bytes + from, bytes);
            g_assert_cmpint(blk_pwrite(blk, from, bytes, m->bytes + from, 0), ==, 0);
        }
    }
    blk_unref(blk);
    g_string_free(o, TRUE);
}

static void choose_layers(Model *m, bool latency)
{
    m->raw = model_chance(m, 10);
    m->n_layers = m->raw ? 1 : 1 + model_random(m, MODEL_LAYERS);
    m->data_file = !m->raw && model_chance(m, 6);
    m->garbage = model_chance(m, 2);
    for (unsigned i = 0; i < m->n_layers; i++) {
        m->layer[i].disk = new_disk(m, latency);
        m->layer[i].raw = m->raw || (i > 0 && i + 1 == m->n_layers && model_chance(m, 2));
        if (m->garbage) {
            sim_disk_set_discard(m->layer[i].disk, SIM_DISCARD_GARBAGE);
        }
    }
    if (m->data_file) {
        m->data_raw = m->n_layers == 1 && model_chance(m, 2);
        m->layer[0].data = new_disk(m, latency);
        if (m->garbage) {
            sim_disk_set_discard(m->layer[0].data, SIM_DISCARD_GARBAGE);
        }
    }
}

Model *model_new(uint64_t seed, GString *shape, bool latency)
{
    Model *m = g_new0(Model, 1);

    m->seed = m->rng = seed;
    m->shape = shape;
    m->unit = 512;
    m->power = sim_power_new(seed);
    sim_power_set_log(m->power, false);
    m->instant = model_chance(m, 3);
    m->snapshots = g_ptr_array_new();
    m->bitmaps = g_ptr_array_new();
    choose_layers(m, latency);
    m->bytes = g_malloc0(MODEL_DISK_MAX);
    m->cluster = 65536;
    m->max_length = MODEL_DISK_MAX;
    /* The top first decides how large all are; made last, as the lower ones fill the model. */
    m->max_length = ROUND_UP((INT64_C(256) << 10) + model_random(m, 2 << 20), m->unit);
    for (unsigned i = m->n_layers; i-- > 1;) {
        int64_t length = random_length(m);

        make_image(m, i, length);
        fill_layer(m, i, length);
    }
    int64_t length = random_length(m);
    make_image(m, 0, length);
    memset(m->bytes + MIN(length, m->length), 0, m->max_length - MIN(length, m->length));
    m->length = length;
    return m;
}

static void free_snapshot(ModelSnapshot *sn)
{
    g_free(sn->bytes);
    g_free(sn);
}

static void free_bitmap(ModelBitmap *b)
{
    g_free(b->must);
    g_free(b->may);
    g_free(b);
}

void model_free(Model *m)
{
    for (guint i = 0; i < m->snapshots->len; i++) {
        free_snapshot(m->snapshots->pdata[i]);
    }
    for (guint i = 0; i < m->bitmaps->len; i++) {
        free_bitmap(m->bitmaps->pdata[i]);
    }
    g_ptr_array_free(m->snapshots, TRUE);
    g_ptr_array_free(m->bitmaps, TRUE);
    sim_power_unref(m->power);
    g_free(m->bytes);
    g_free(m->wrong);
    g_free(m);
}

/* --- opening --- */

static void append_caches(Model *m, GString *o)
{
    if (model_chance(m, 2)) {
        int64_t entry = MIN(m->cluster, INT64_C(512) << model_random(m, 4));

        g_string_append_printf(o, ",l2-cache-entry-size=%" PRId64, entry);
        if (model_chance(m, 2)) {
            g_string_append_printf(o, ",l2-cache-size=%" PRId64, entry * (2 + model_random(m, 8)));
        }
    }
    if (model_chance(m, 2)) {
        g_string_append_printf(o, ",refcount-cache-size=%" PRId64,
                               m->cluster * (2 + (int64_t)model_random(m, 6)));
    }
}

static void append_options(Model *m, GString *o)
{
    static const char *const overlap[] = { "none", "constant", "cached", "all" };

    if (model_chance(m, 3)) {
        g_string_append_printf(o, ",detect-zeroes=%s",
                               m->unmap && model_chance(m, 2) ? "unmap" : "on");
    }
    if (m->raw) {
        return;
    }
    append_caches(m, o);
    g_string_append_printf(o, ",overlap-check=%s", overlap[model_random(m, 4)]);
    if (!m->v2) {
        g_string_append_printf(o, ",lazy-refcounts=%s", model_chance(m, 4) ? "on" : "off");
    }
    if (model_chance(m, 2)) {
        g_string_append_printf(o, ",pass-discard-request=%s", model_chance(m, 2) ? "on" : "off");
    }
    if (model_chance(m, 8)) {
        g_string_append(o, ",cache-clean-interval=1");
    }
}

void model_open(Model *m)
{
    GString *o = g_string_new(NULL);
    int flags = BDRV_O_RDWR | BDRV_O_RESIZE;
    Error *err = NULL;

    m->unmap = !model_chance(m, 4);
    m->copy_on_read = m->n_layers > 1 && model_chance(m, 5);
    m->write_through = model_chance(m, 6);
    flags |= (m->unmap ? BDRV_O_UNMAP : 0) | (m->copy_on_read ? BDRV_O_COPY_ON_READ : 0);
    append_layers(m, o, 0, "");
    append_options(m, o);
    m->blk = sim_disk_open(m->layer[0].disk, o->str, flags, &err);
    if (!m->blk) {
        model_wrong(m, "cannot open with %s: %s", o->str, error_get_pretty(err));
        error_free(err);
    } else {
        blk_set_enable_write_cache(m->blk, !m->write_through);
    }
    g_string_free(o, TRUE);
}

/* As it is now, for nothing but a look. */
static BlockBackend *open_beside(Model *m, int flags)
{
    GString *o = g_string_new(NULL);
    BlockBackend *blk;
    Error *err = NULL;

    append_layers(m, o, 0, "");
    if (!(flags & BDRV_O_CHECK)) {
        g_string_append(o, ",force-share=on");
    }
    blk = sim_disk_open(m->layer[0].disk, o->str, flags, &err);
    if (!blk) {
        model_wrong(m, "cannot open with %s: %s", o->str, error_get_pretty(err));
        error_free(err);
    }
    g_string_free(o, TRUE);
    return blk;
}

BlockBackend *model_open_snapshot(Model *m, const ModelSnapshot *sn)
{
    BlockBackend *blk = open_beside(m, 0);
    Error *err = NULL;

    if (blk && bdrv_snapshot_load_tmp(blk_bs(blk), NULL, sn->name, &err) < 0) {
        model_wrong(m, "snapshot %s: %s", sn->name, error_get_pretty(err));
        error_free(err);
        g_clear_pointer(&blk, blk_unref);
    }
    return blk;
}

static void check(Model *m)
{
    BlockBackend *blk = open_beside(m, BDRV_O_CHECK);
    BdrvCheckResult r;
    int ret;

    if (!blk) {
        return;
    }
    ret = bdrv_check(blk_bs(blk), &r, 0);
    if (ret < 0 || r.check_errors || r.corruptions || r.leaks) {
        model_wrong(m, "check returns %d with %d corruptions, %d errors, %d leaks (operation %" PRIu64
                    ")", ret, r.corruptions, r.check_errors, r.leaks, m->operations);
    }
    blk_unref(blk);
}

/* A raw data file is the disk by itself. */
static void check_raw_data(Model *m)
{
    g_autofree uint8_t *buf = g_malloc(m->length);
    int64_t length = sim_disk_length(m->layer[0].data);

    if (length < m->length) {
        model_wrong(m, "the raw data file is %" PRId64 " bytes long, the disk %" PRId64, length,
                    m->length);
    }
    sim_disk_peek(m->layer[0].data, 0, buf, m->length);
    model_compare(m, "raw data file", 0, buf, m->bytes, NULL, m->length);
}

void model_close(Model *m, bool look)
{
    blk_unref(m->blk);
    m->blk = NULL;
    if (m->data_raw && !m->wrong) {
        check_raw_data(m);
    }
    if (look && !m->raw && !m->wrong) {
        check(m);
    }
}

void model_commit(Model *m)
{
    GString *o = g_string_new(NULL);
    BlockBackend *blk;
    int ret;

    append_layers(m, o, 0, "");
    g_string_append(o, ",backing.read-only=off");
    blk = sim_disk_open(m->layer[0].disk, o->str, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    ret = blk_commit(blk, bdrv_backing_chain_next(blk_bs(blk)), 0, NULL, NULL, NULL);
    if (ret == -ENOTSUP && m->layer[1].v2 && m->n_layers > 2) {
        /* It had to grow, and version 2 has no zero clusters to hide what is below. */
    } else if (ret < 0) {
        model_wrong(m, "commit returns %d", ret);
    } else {
        ret = blk_make_empty(blk, NULL);
        if (ret < 0 && ret != -ENOTSUP) {
            model_wrong(m, "making it empty after a commit returns %d", ret);
        }
    }
    blk_unref(blk);
    g_string_free(o, TRUE);
}

/* --- QEMU's opinion --- */

static char *export(SimDisk *disk, const char *dir)
{
    char *path = g_build_filename(dir, sim_disk_name(disk), NULL);

    sim_disk_export(disk, path, &error_abort);
    return path;
}

/* Layer @i for json:, in files that are appended to @paths. */
static void append_json(Model *m, GString *s, unsigned i, const char *dir, GPtrArray *paths)
{
    Layer *l = &m->layer[i];
    char *path = export(l->disk, dir);

    g_ptr_array_add(paths, path);
    g_string_append_printf(s, "{\"driver\": \"%s\", \"file\": {\"driver\": \"file\", \"filename\": "
                           "\"%s\"}", l->raw ? "raw" : "qcow2", path);
    if (l->data) {
        path = export(l->data, dir);
        g_ptr_array_add(paths, path);
        g_string_append_printf(s, ", \"data-file\": {\"driver\": \"file\", \"filename\": \"%s\"}",
                               path);
    }
    if (i + 1 < m->n_layers) {
        g_string_append(s, ", \"backing\": ");
        append_json(m, s, i + 1, dir, paths);
    }
    g_string_append_c(s, '}');
}

static void ask(Model *m, const char *command, const char *image, const char *other)
{
    g_autofree char *output = NULL, *errors = NULL;
    const char *argv[] = { "qemu-img", command, "-q", image, other, NULL };
    int status = 0;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &errors,
                      &status, NULL) || status) {
        model_wrong(m, "qemu-img %s: status 0x%x: %s%s", command, status, output, errors);
    }
}

void model_ask_qemu(Model *m)
{
    g_autofree char *dir = NULL, *model = NULL;
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    GString *image = g_string_new("json:");
    g_autofree char *found = g_find_program_in_path("qemu-img");

    if (found) {
        dir = g_dir_make_tmp("blkco-model-XXXXXX", NULL);
        model = g_build_filename(dir, "model", NULL);
        g_ptr_array_add(paths, g_strdup(model));
        g_assert_true(g_file_set_contents(model, (char *)m->bytes, m->length, NULL));
        append_json(m, image, 0, dir, paths);
        if (!m->raw) {
            ask(m, "check", image->str, NULL);
        }
        g_string_append_c(image, '\0');
        g_autofree char *raw = g_strdup_printf("json:{\"driver\": \"raw\", \"file\": {\"driver\": "
                                               "\"file\", \"filename\": \"%s\"}}", model);
        ask(m, "compare", image->str, raw);
        for (guint i = 0; i < paths->len; i++) {
            g_unlink(paths->pdata[i]);
        }
        g_rmdir(dir);
    }
    g_ptr_array_free(paths, TRUE);
    g_string_free(image, TRUE);
}
