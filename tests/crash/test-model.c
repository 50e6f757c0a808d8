/* SPDX-License-Identifier: MIT */
/*
 * Images against a model in RAM: random reads and writes of any alignment, in vectors, several in
 * flight, zeroes, discards, resizes, snapshots and reopens, over raw, shapes of qcow2 and chains. Each
 * life of an image ends with a check, and some with QEMU's check and compare.
 *
 *     test-model                                 one life of each shape; TAP
 *     test-model --long --seconds=60 --seed=1    lives with seeds of their own
 *     test-model --life=SHAPE:SEED               one, as a finding names it
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-image.h"
#include "block/block.h"
#include "block/sim.h"
#include "block/snapshot.h"
#include "qemu/aio-sim.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"

#define DEPTH      8
#define MAX_SIZE   (3 << 20)
#define MAX_BYTES  (192 << 10) /* of a request */
#define SNAPSHOTS  3
#define MAX_IOV    5
#define OPERATIONS 1500 /* of a life */
#define QEMU_EVERY 4    /* lives */

#define CHAIN_BELOW "backing.driver=raw,backing.file.driver=sim,backing.file.disk=%s"
#define CHAIN_OF_3                                                                          \
    "backing.driver=qcow2,backing.file.driver=sim,backing.file.disk=%s,"                     \
    "backing.backing.driver=raw,backing.backing.file.driver=sim,backing.backing.file.disk=%s"

typedef struct Shape {
    const char *name, *format, *create, *open;
    unsigned layers; /* below */
    bool data_file, snapshots, v2;
} Shape;

static const Shape shapes[] = {
    { "raw", "raw", NULL, NULL, 0, false, false, false },
    { "default", "qcow2", "cluster_size=64k", NULL, 0, false, true, false },
    { "small", "qcow2", "cluster_size=512,refcount_bits=64",
      "l2-cache-size=4096,l2-cache-entry-size=512,refcount-cache-size=2048", 0, false, true, false },
    { "refcount-1", "qcow2", "cluster_size=4k,refcount_bits=1", "l2-cache-entry-size=512", 0, false,
      false, false },
    { "extended", "qcow2", "cluster_size=16k,extended_l2=on", NULL, 0, false, true, false },
    { "lazy", "qcow2", "cluster_size=4k,lazy_refcounts=on", NULL, 0, false, true, false },
    { "v2", "qcow2", "cluster_size=1k,compat=0.10", "l2-cache-size=4096,l2-cache-entry-size=512", 0,
      false, false, true },
    { "data-file", "qcow2", "cluster_size=4k", NULL, 0, true, false, false },
    { "chain-2", "qcow2", "cluster_size=4k", NULL, 1, false, true, false },
    { "chain-3", "qcow2", "cluster_size=64k", NULL, 2, false, true, false },
    { "chain-extended", "qcow2", "cluster_size=16k,extended_l2=on", NULL, 2, false, true, false },
};

struct Model;

typedef enum Kind { READ, WRITE, ZERO, DISCARD, FLUSH } Kind;

typedef struct Flight {
    struct Model *m;
    bool busy;
    Kind kind;
    int64_t offset, bytes;
    uint8_t *buf;
    QEMUIOVector qiov;
} Flight;

typedef struct Snapshot {
    uint8_t *ram;
    int64_t size;
    char name[16];
} Snapshot;

typedef struct Model {
    const Shape *shape;
    uint64_t random;
    SimPower *power;
    SimDisk *disks[3]; /* the image, then what is below it */
    BlockBackend *blk;
    uint8_t *ram;      /* MAX_SIZE bytes; zeroes behind the end */
    int64_t size;
    Flight flights[DEPTH];
    Snapshot snapshots[SNAPSHOTS];
    unsigned n_snapshots, next_name;
    char *wrong;
} Model;

static uint64_t operations, lives;
static unsigned findings;
static char current[64];
static char *dir;

static void G_GNUC_PRINTF(2, 3) wrong(Model *m, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (!m->wrong) {
        m->wrong = g_strdup_vprintf(format, ap);
    }
    va_end(ap);
}

static uint64_t below(Model *m, uint64_t n)
{
    return aio_sim_next_random(&m->random) % n;
}

/* --- disks --- */

static void fill(Model *m, uint8_t *buf, int64_t bytes)
{
    uint64_t word = aio_sim_next_random(&m->random);

    for (int64_t i = 0; i < bytes; i++) {
        buf[i] = (word >> (i % 8 * 8)) + i / 256;
    }
}

static char *open_options(const Model *m)
{
    GString *o = g_string_new(NULL);

    g_string_printf(o, "driver=%s", m->shape->format);
    if (m->shape->open) {
        g_string_append_printf(o, ",%s", m->shape->open);
    }
    if (m->shape->data_file) {
        g_string_append_printf(o, ",data-file.driver=sim,data-file.disk=%s",
                               sim_disk_name(m->disks[1]));
    } else if (m->shape->layers == 1) {
        g_string_append_printf(o, "," CHAIN_BELOW, sim_disk_name(m->disks[1]));
    } else if (m->shape->layers == 2) {
        g_string_append_printf(o, "," CHAIN_OF_3, sim_disk_name(m->disks[1]),
                               sim_disk_name(m->disks[2]));
    }
    return g_string_free(o, false);
}

static void open_image(Model *m, int flags)
{
    g_autofree char *options = open_options(m);

    m->blk = sim_disk_open(m->disks[0], options, flags, &error_abort);
}

static void open_to_write(Model *m)
{
    open_image(m, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP);
}

static void close_image(Model *m)
{
    blk_unref(m->blk);
    m->blk = NULL;
}

/* The lowest disk has data; a layer between has some of its own. */
static void make_layers(Model *m)
{
    unsigned n = m->shape->layers;

    if (!n) {
        return;
    }
    fill(m, m->ram, m->size);
    sim_disk_poke(m->disks[n], 0, m->ram, m->size);
    if (n == 2) {
        g_autofree char *create = g_strdup_printf("size=%" PRId64 ",cluster_size=4k,backing_file="
                                                  "sim:%s,backing_fmt=raw", m->size,
                                                  sim_disk_name(m->disks[2]));
        g_autofree char *open = g_strdup_printf("driver=qcow2," CHAIN_BELOW,
                                                sim_disk_name(m->disks[2]));
        BlockBackend *blk;

        sim_disk_create(m->disks[1], "qcow2", create, &error_abort);
        blk = sim_disk_open(m->disks[1], open, BDRV_O_RDWR, &error_abort);
        for (unsigned i = 0; i < 6; i++) {
            int64_t bytes = 1 + below(m, 20000), offset = below(m, m->size - bytes);

            fill(m, m->ram + offset, bytes);
            g_assert_cmpint(blk_pwrite(blk, offset, bytes, m->ram + offset, 0), ==, 0);
        }
        blk_unref(blk);
    }
}

static void make_image(Model *m)
{
    GString *o = g_string_new(NULL);

    g_string_printf(o, "size=%" PRId64, m->size);
    if (m->shape->create) {
        g_string_append_printf(o, ",%s", m->shape->create);
    }
    if (m->shape->layers) {
        g_string_append_printf(o, ",backing_file=sim:%s,backing_fmt=%s",
                               sim_disk_name(m->disks[1]), m->shape->layers == 2 ? "qcow2" : "raw");
    } else if (m->shape->data_file) {
        g_string_append_printf(o, ",data_file=sim:%s", sim_disk_name(m->disks[1]));
    }
    sim_disk_create(m->disks[0], m->shape->format, o->str, &error_abort);
    g_string_free(o, true);
}

static void begin_life(Model *m)
{
    m->power = sim_power_new(m->random);
    sim_power_set_log(m->power, false);
    m->ram = g_malloc0(MAX_SIZE);
    m->size = (1 + below(m, MAX_SIZE / 2048)) * 1024;
    if (m->size < 65536) {
        m->size = 65536;
    }
    for (unsigned i = 0; i < 3; i++) {
        m->disks[i] = sim_disk_new(m->power, NULL, 0, &error_abort);
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        m->flights[i].m = m;
    }
    make_layers(m);
    make_image(m);
    open_to_write(m);
}

static void end_life(Model *m)
{
    close_image(m);
    for (unsigned i = 0; i < m->n_snapshots; i++) {
        g_free(m->snapshots[i].ram);
    }
    sim_power_unref(m->power);
    g_free(m->ram);
    g_free(m->wrong);
}

/* --- requests --- */

/* Of discarded bytes each is what it was, or zero; below a chain, or in version 2, what lies there. */
static void land_discard(Model *m, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret = blk_pread(m->blk, offset, bytes, buf, 0);

    if (ret < 0) {
        wrong(m, "read after a discard: %s", g_strerror(-ret));
        return;
    }
    for (int64_t i = 0; i < bytes && !m->shape->layers; i++) {
        if (buf[i] && buf[i] != m->ram[offset + i]) {
            wrong(m, "discarded byte %" PRId64 " is 0x%02x, and was 0x%02x", offset + i, buf[i],
                  m->ram[offset + i]);
            return;
        }
    }
    memcpy(m->ram + offset, buf, bytes);
}

static void landed(void *opaque, int ret)
{
    Flight *f = opaque;
    Model *m = f->m;
    static const char *const names[] = { "read", "write", "zeroes", "discard", "flush" };

    if (ret < 0) {
        wrong(m, "%s of %" PRId64 "+%" PRId64 ": %s", names[f->kind], f->offset, f->bytes,
              g_strerror(-ret));
    } else if (f->kind == READ && memcmp(f->buf, m->ram + f->offset, f->bytes)) {
        int64_t i = 0;

        while (f->buf[i] == m->ram[f->offset + i]) {
            i++;
        }
        wrong(m, "read of %" PRId64 "+%" PRId64 ": byte %" PRId64 " is 0x%02x instead of 0x%02x",
              f->offset, f->bytes, f->offset + i, f->buf[i], m->ram[f->offset + i]);
    }
    if (f->buf) {
        qemu_iovec_destroy(&f->qiov);
    }
    g_clear_pointer(&f->buf, g_free);
    f->busy = false;
}

static void wait_for(Flight *f)
{
    bool busy = f->busy;

    while (f->busy) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
    if (busy && f->kind == DISCARD && !f->m->wrong) {
        land_discard(f->m, f->offset, f->bytes);
    }
}

static void wait_all(Model *m)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        wait_for(&m->flights[i]);
    }
}

/* One that is free, when nothing in flight touches the range (reads may share). */
static Flight *flight_for(Model *m, Kind kind, int64_t offset, int64_t bytes)
{
    Flight *free = NULL;

    for (unsigned i = 0; i < DEPTH; i++) {
        Flight *f = &m->flights[i];

        if (f->busy && f->offset < offset + bytes && offset < f->offset + f->bytes &&
            !(f->kind == READ && kind == READ)) {
            wait_for(f);
        }
    }
    for (unsigned i = 0; i < DEPTH && !free; i++) {
        Flight *f = &m->flights[i];

        free = f->busy ? NULL : f;
    }
    if (!free) {
        free = &m->flights[below(m, DEPTH)];
        wait_for(free);
    }
    return free;
}

static void make_vector(Model *m, Flight *f)
{
    unsigned n = 1 + below(m, MAX_IOV);
    int64_t at = 0;

    f->buf = g_malloc(f->bytes);
    qemu_iovec_init(&f->qiov, n);
    for (unsigned i = 0; i < n && at < f->bytes; i++) {
        int64_t part = i == n - 1 ? f->bytes - at : 1 + (int64_t)below(m, f->bytes - at);

        qemu_iovec_add(&f->qiov, f->buf + at, part);
        at += part;
    }
}

static void take_off(Model *m, Flight *f)
{
    switch (f->kind) {
    case READ:
        make_vector(m, f);
        blk_aio_preadv(m->blk, f->offset, &f->qiov, 0, landed, f);
        break;
    case WRITE:
        make_vector(m, f);
        fill(m, f->buf, f->bytes);
        memcpy(m->ram + f->offset, f->buf, f->bytes);
        blk_aio_pwritev(m->blk, f->offset, &f->qiov, below(m, 8) ? 0 : BDRV_REQ_FUA, landed, f);
        break;
    case ZERO:
        memset(m->ram + f->offset, 0, f->bytes);
        blk_aio_pwrite_zeroes(m->blk, f->offset, f->bytes, below(m, 2) ? BDRV_REQ_MAY_UNMAP : 0,
                              landed, f);
        break;
    case DISCARD:
        blk_aio_pdiscard(m->blk, f->offset, f->bytes, landed, f);
        break;
    case FLUSH:
        blk_aio_flush(m->blk, landed, f);
        break;
    }
}

static void random_request(Model *m)
{
    static const Kind kinds[] = { READ, READ, READ, READ, WRITE, WRITE, WRITE, WRITE, WRITE, ZERO,
                                  DISCARD, FLUSH };
    Kind kind = kinds[below(m, G_N_ELEMENTS(kinds))];
    unsigned align = below(m, 3) ? 1 : below(m, 2) ? 512 : 4096;
    int64_t most = below(m, 4) ? 8192 : MAX_BYTES;
    int64_t offset = below(m, m->size) / align * align;
    int64_t bytes = MIN(1 + (int64_t)below(m, most), m->size - offset);
    Flight *f;

    /* A discard is read back when it is waited for: nothing else may come between. */
    if (kind == DISCARD) {
        wait_all(m);
    }
    f = flight_for(m, kind, kind == FLUSH ? 0 : offset, kind == FLUSH ? 0 : bytes);
    f->kind = kind;
    f->offset = kind == FLUSH ? 0 : offset;
    f->bytes = kind == FLUSH ? 0 : bytes;
    f->busy = true;
    take_off(m, f);
    if (kind == DISCARD) {
        wait_for(f);
        f->kind = FLUSH;
    }
}

/* --- operations on the whole image; nothing is in flight --- */

static void verify(Model *m, const uint8_t *ram, int64_t size, const char *what)
{
    int64_t length = blk_getlength(m->blk);
    g_autofree uint8_t *buf = g_malloc(MAX_SIZE);
    int ret;

    if (length != size) {
        wrong(m, "%s: length %" PRId64 " instead of %" PRId64, what, length, size);
        return;
    }
    ret = blk_pread(m->blk, 0, size, buf, 0);
    if (ret < 0 || memcmp(buf, ram, size)) {
        wrong(m, "%s: %s", what, ret < 0 ? g_strerror(-ret) : "other contents");
    }
}

static void resize(Model *m)
{
    int64_t size = MAX(512, (int64_t)below(m, MAX_SIZE / 512) * 512);
    int ret;

    if (m->n_snapshots && m->shape->v2) {
        return;
    }
    ret = blk_truncate(m->blk, size, false, PREALLOC_MODE_OFF, 0, NULL);
    if (ret < 0) {
        wrong(m, "resize to %" PRId64 ": %s", size, g_strerror(-ret));
        return;
    }
    if (size < m->size) {
        memset(m->ram + size, 0, m->size - size);
    }
    m->size = size;
}

static void take_snapshot(Model *m)
{
    QEMUSnapshotInfo info = { .icount = UINT64_MAX };
    Snapshot *s = &m->snapshots[m->n_snapshots];
    int ret;

    if (!m->shape->snapshots || m->n_snapshots == SNAPSHOTS) {
        return;
    }
    g_snprintf(s->name, sizeof(s->name), "s%u", m->next_name++);
    g_strlcpy(info.name, s->name, sizeof(info.name));
    ret = bdrv_snapshot_create(blk_bs(m->blk), &info);
    if (ret < 0) {
        wrong(m, "snapshot: %s", g_strerror(-ret));
        return;
    }
    s->ram = g_memdup2(m->ram, MAX_SIZE);
    s->size = m->size;
    m->n_snapshots++;
}

static void use_snapshot(Model *m, bool apply)
{
    unsigned i = m->n_snapshots ? below(m, m->n_snapshots) : 0;
    Snapshot *s = &m->snapshots[i];
    int ret;

    if (!m->n_snapshots) {
        return;
    }
    ret = apply ? bdrv_snapshot_goto(blk_bs(m->blk), s->name, NULL)
                : bdrv_snapshot_delete(blk_bs(m->blk), NULL, s->name, NULL);
    if (ret < 0) {
        wrong(m, "snapshot %s: %s", apply ? "apply" : "delete", g_strerror(-ret));
    } else if (apply) {
        memcpy(m->ram, s->ram, MAX_SIZE);
        m->size = s->size;
    } else {
        g_free(s->ram);
        m->n_snapshots--;
        memmove(s, s + 1, (m->n_snapshots - i) * sizeof(*s));
    }
}

static void whole_operation(Model *m)
{
    wait_all(m);
    switch (below(m, 6)) {
    case 0:
        resize(m);
        break;
    case 1:
        close_image(m);
        open_to_write(m);
        break;
    case 2: case 3:
        take_snapshot(m);
        break;
    default:
        use_snapshot(m, below(m, 2));
        break;
    }
    if (!below(m, 4) && !m->wrong) {
        verify(m, m->ram, m->size, "after an operation");
    }
}

/* --- the end --- */

static void check_image(Model *m)
{
    BdrvCheckResult r;
    int ret;

    if (!strcmp(m->shape->format, "raw")) {
        return;
    }
    ret = bdrv_check(blk_bs(m->blk), &r, 0);
    if (ret < 0 || r.corruptions || r.check_errors || r.leaks) {
        wrong(m, "check: %d; %d corruptions, %d errors, %d leaks", ret, r.corruptions,
              r.check_errors, r.leaks);
    }
}

static void verify_snapshots(Model *m)
{
    for (unsigned i = 0; i < m->n_snapshots && !m->wrong; i++) {
        open_image(m, 0);
        bdrv_snapshot_load_tmp(blk_bs(m->blk), NULL, m->snapshots[i].name, &error_abort);
        verify(m, m->snapshots[i].ram, m->snapshots[i].size, m->snapshots[i].name);
        close_image(m);
    }
}

static void run_qemu(Model *m, const char *command, const char *spec, const char *more)
{
    const char *argv[] = { "qemu-img", command, spec, more, NULL };
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    int status = -1;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err,
                      &status, NULL) || status) {
        wrong(m, "qemu-img %s: status %d\n%s%s", command, status, out, err);
    }
}

static void export_to(Model *m, unsigned disk, const char *name, char **path)
{
    *path = g_strdup_printf("%s/%s", dir, name);
    sim_disk_export(m->disks[disk], *path, &error_abort);
}

static void compare_with_qemu(Model *m)
{
    static const char *const names[] = { "image", "below", "bottom" };
    g_autofree char *raw = g_strdup_printf("%s/raw", dir);
    char *paths[3];
    GString *spec = g_string_new(NULL);
    const Shape *s = m->shape;

    for (unsigned i = 0; i < 3; i++) {
        export_to(m, i, names[i], &paths[i]);
    }
    g_file_set_contents(raw, (char *)m->ram, m->size, NULL);
    g_string_printf(spec, "json:{\"driver\":\"%s\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}",
                    s->format, paths[0]);
    if (s->data_file) {
        g_string_append_printf(spec, ",\"data-file\":{\"driver\":\"file\",\"filename\":\"%s\"}",
                               paths[1]);
    }
    for (unsigned i = 1; i <= s->layers; i++) {
        g_string_append_printf(spec, ",\"backing\":{\"driver\":\"%s\",\"file\":{\"driver\":\"file\","
                               "\"filename\":\"%s\"}", i == s->layers ? "raw" : "qcow2", paths[i]);
    }
    for (unsigned i = 0; i <= s->layers; i++) {
        g_string_append_c(spec, '}');
    }
    if (strcmp(s->format, "raw")) {
        run_qemu(m, "check", spec->str, NULL);
    }
    run_qemu(m, "compare", spec->str, raw);
    g_string_free(spec, true);
    g_remove(raw);
    for (unsigned i = 0; i < 3; i++) {
        g_remove(paths[i]);
        g_free(paths[i]);
    }
}

static void live(unsigned shape, uint64_t seed)
{
    Model m = { .shape = &shapes[shape], .random = seed };

    g_snprintf(current, sizeof(current), "%s:%" PRIu64, shapes[shape].name, seed);
    alarm(300);
    begin_life(&m);
    for (unsigned i = 0; i < OPERATIONS && !m.wrong; i++, operations++) {
        if (below(&m, 40)) {
            random_request(&m);
        } else {
            whole_operation(&m);
        }
    }
    wait_all(&m);
    if (!m.wrong) {
        verify(&m, m.ram, m.size, "at the end");
    }
    close_image(&m);
    if (!m.wrong) {
        open_image(&m, 0);
        check_image(&m);
        verify(&m, m.ram, m.size, "opened again");
        close_image(&m);
        verify_snapshots(&m);
    }
    if (!m.wrong && dir && lives++ % QEMU_EVERY == 0) {
        compare_with_qemu(&m);
    }
    if (m.wrong) {
        printf("# finding: %s\n#   replay: test-model --life=%s\n", m.wrong, current);
        findings++;
    }
    end_life(&m);
}

static void say_and_die(int sig)
{
    ssize_t n = write(STDOUT_FILENO, "# died in --life=", 17);

    n += write(STDOUT_FILENO, current, strlen(current));
    n += write(STDOUT_FILENO, "\n", 1);
    signal(sig, SIG_DFL);
    raise(n < 0 ? SIGKILL : sig);
}

static void run_short(uint64_t seed)
{
    printf("1..%u\n", (unsigned)G_N_ELEMENTS(shapes));
    for (unsigned i = 0; i < G_N_ELEMENTS(shapes); i++) {
        unsigned before = findings;

        lives = 0; /* each with QEMU */
        live(i, seed + i);
        printf("%s %u /model/%s\n", findings == before ? "ok" : "not ok", i + 1, shapes[i].name);
        fflush(stdout);
    }
}

static void run_long(uint64_t seed, int64_t seconds)
{
    int64_t end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    while (g_get_monotonic_time() < end) {
        uint64_t r = aio_sim_next_random(&seed);

        live(r % G_N_ELEMENTS(shapes), r >> 32);
    }
}

/* SHAPE:SEED */
static void run_one(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", 2);

    for (unsigned i = 0; i < G_N_ELEMENTS(shapes); i++) {
        if (parts[0] && parts[1] && !strcmp(parts[0], shapes[i].name)) {
            live(i, g_ascii_strtoull(parts[1], NULL, 10));
            return;
        }
    }
    fprintf(stderr, "test-model: there is no life '%s'\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    const char *one = NULL;
    bool lengthy = false;
    int64_t seconds = 60;
    uint64_t seed = 1;
    AioSim *sim;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--long")) {
            lengthy = true;
        } else if (g_str_has_prefix(argv[i], "--seconds=")) {
            seconds = atoll(argv[i] + 10);
        } else if (g_str_has_prefix(argv[i], "--seed=")) {
            seed = g_ascii_strtoull(argv[i] + 7, NULL, 0);
        } else if (g_str_has_prefix(argv[i], "--life=")) {
            one = argv[i] + 7;
        } else {
            fprintf(stderr, "usage: test-model [--long | --life=SHAPE:SEED] [--seconds=N] "
                    "[--seed=N]\n");
            return 2;
        }
    }
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    sim = aio_sim_begin(qemu_get_aio_context(), seed);
    signal(SIGABRT, say_and_die);
    signal(SIGSEGV, say_and_die);
    signal(SIGALRM, say_and_die);
    dir = g_find_program_in_path("qemu-img") ? g_dir_make_tmp("blkco-model-XXXXXX", NULL) : NULL;
    printf("# seed %" PRIu64 "\n", seed);
    if (one) {
        run_one(one);
    } else if (lengthy) {
        run_long(seed, seconds);
    } else {
        run_short(seed);
    }
    alarm(0);
    printf("%smodel: %" PRIu64 " operations, %u findings\n", lengthy || one ? "" : "# ", operations,
           findings);
    if (dir) {
        g_rmdir(dir);
    }
    while (aio_sim_n_pending(sim)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    aio_sim_end(sim);
    return findings != 0;
}
