/* SPDX-License-Identifier: MIT */
/*
 * Requests from several threads. The disk is cut into chunks; each coroutine of each thread owns
 * every n-th, so that all meet in the same clusters, and works within its own. Meanwhile the main
 * thread makes and deletes snapshots, flushes, resizes what lies behind, stores bitmaps and drains.
 *
 * Ownership: an owner's chunks of the model are its own until the burst ends, but while it holds
 * its lock the main thread may look at them; what an owner writes it says under its lock before it
 * begins, and changes the model under its lock when it has ended.
 */
#include "model.h"
#include "qemu/aio-wait.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define THREADS  3
#define OWNERS   9 /* three in each */
#define REQUESTS 60 /* of each owner in a burst */

/* What somebody may have written. */
typedef struct Change {
    int64_t start, end;
    uint8_t *data;
} Change;

typedef struct Threads Threads;

typedef struct Owner {
    Threads *t;
    unsigned number;
    uint64_t rng, operations;
    uint8_t *touched; /* of each sector: something was written to it in this burst */
    QemuMutex lock;   /* of all below */
    Change now;       /* data: NULL when it is not writing */
    GArray *log;      /* of Change; NULL: nobody wants to know */
} Owner;

struct Threads {
    Model *m;
    int64_t chunk, area; /* bytes; area: what the owners have */
    IOThread *io[THREADS];
    Owner owners[OWNERS];
    unsigned running; /* atomic */
};

static uint64_t owner_random(Owner *o, uint64_t n)
{
    return aio_sim_next_random(&o->rng) % n;
}

/* --- what an owner says --- */

static void log_change(Owner *o, const Change *c)
{
    Change copy = { c->start, c->end, g_memdup2(c->data, c->end - c->start) };

    g_array_append_val(o->log, copy);
}

static void say_begin(Owner *o, int64_t start, int64_t end, uint8_t *data)
{
    qemu_mutex_lock(&o->lock);
    o->now = (Change){ start, end, data };
    if (o->log) {
        log_change(o, &o->now);
    }
    qemu_mutex_unlock(&o->lock);
}

static void say_end(Owner *o, const uint8_t *data)
{
    Model *m = o->t->m;

    qemu_mutex_lock(&o->lock);
    memcpy(m->bytes + o->now.start, data, o->now.end - o->now.start);
    o->now.data = NULL;
    qemu_mutex_unlock(&o->lock);
}

/* --- requests --- */

static void failed(Owner *o, const char *what, int64_t start, int64_t bytes, int ret)
{
    model_wrong(o->t->m, "%s of %" PRId64 "+%" PRId64 " by a thread returns %d", what, start, bytes,
                ret);
}

static void coroutine_fn do_read(Owner *o, int64_t start, int64_t bytes)
{
    Model *m = o->t->m;
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret = blk_co_pread(m->blk, start, bytes, buf, 0);

    if (ret < 0) {
        failed(o, "read", start, bytes, ret);
    } else {
        model_compare(m, "read by a thread", start, buf, m->bytes + start, NULL, bytes);
    }
}

/* What is there now, old or new, is the truth. */
static void coroutine_fn learn(Owner *o, const char *what, int64_t start, int64_t bytes,
                               const uint8_t *new)
{
    Model *m = o->t->m;
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret = blk_co_pread(m->blk, start, bytes, buf, 0);

    if (ret < 0) {
        failed(o, "read", start, bytes, ret);
    } else if (!(m->raw && m->garbage)) {
        model_compare(m, what, start, buf, m->bytes + start, new, bytes);
    }
    say_end(o, buf);
}

static void touch(Owner *o, int64_t start, int64_t bytes)
{
    for (int64_t i = start / 512; i <= (start + bytes - 1) / 512; i++) {
        o->touched[i] = 1;
    }
}

static void coroutine_fn do_write(Owner *o, int64_t start, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret;

    model_fill(&o->rng, buf, bytes);
    say_begin(o, start, start + bytes, buf);
    ret = blk_co_pwrite(o->t->m->blk, start, bytes, buf, owner_random(o, 8) ? 0 : BDRV_REQ_FUA);
    if (ret < 0) {
        failed(o, "write", start, bytes, ret);
    }
    touch(o, start, bytes);
    say_end(o, buf);
}

static void coroutine_fn do_zero(Owner *o, int64_t start, int64_t bytes)
{
    g_autofree uint8_t *zeroes = g_malloc0(bytes);
    int ret;

    say_begin(o, start, start + bytes, zeroes);
    ret = blk_co_pwrite_zeroes(o->t->m->blk, start, bytes,
                               owner_random(o, 2) ? BDRV_REQ_MAY_UNMAP : 0);
    if (ret < 0) {
        failed(o, "write of zeroes", start, bytes, ret);
    }
    touch(o, start, bytes);
    say_end(o, zeroes);
}

static void coroutine_fn do_discard(Owner *o, int64_t start, int64_t bytes)
{
    g_autofree uint8_t *zeroes = g_malloc0(bytes);
    int ret;

    say_begin(o, start, start + bytes, zeroes);
    ret = blk_co_pdiscard(o->t->m->blk, start, bytes);
    if (ret < 0) {
        failed(o, "discard", start, bytes, ret);
    }
    learn(o, "discard by a thread", start, bytes, zeroes);
}

/* A whole chunk, which is a cluster. */
static void coroutine_fn do_compressed(Owner *o, int64_t start, int64_t bytes)
{
    Model *m = o->t->m;
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret;

    model_fill(&o->rng, buf, bytes);
    say_begin(o, start, start + bytes, buf);
    ret = blk_co_pwrite_compressed(m->blk, start, bytes, buf);
    if (ret < 0 && ret != -EIO && !(ret == -ENOTSUP && (m->raw || m->data_file))) {
        failed(o, "compressed write", start, bytes, ret);
    }
    learn(o, "compressed write by a thread", start, bytes, buf);
}

static void coroutine_fn one_request(Owner *o)
{
    const Threads *t = o->t;
    int64_t chunks = t->area / t->chunk;
    int64_t mine = (chunks - o->number + OWNERS - 1) / OWNERS;
    int64_t start = ((int64_t)owner_random(o, mine) * OWNERS + o->number) * t->chunk;
    int64_t skip = owner_random(o, 2) ? owner_random(o, t->chunk) : 0;
    int64_t bytes = owner_random(o, 2) ? t->chunk - skip
                                       : 1 + (int64_t)owner_random(o, t->chunk - skip);
    unsigned what = owner_random(o, 100);

    o->operations++;
    if (what < 30) {
        do_read(o, start + skip, bytes);
    } else if (what < 65) {
        do_write(o, start + skip, bytes);
    } else if (what < 80) {
        do_zero(o, start + skip, bytes);
    } else if (what < 88) {
        do_discard(o, start + skip, bytes);
    } else if (what < 98) {
        if (t->chunk == t->m->cluster) {
            do_compressed(o, start, t->chunk);
        }
    } else {
        int ret = blk_co_flush(t->m->blk);

        if (ret < 0) {
            failed(o, "flush", 0, 0, ret);
        }
    }
}

static void coroutine_fn own(void *opaque)
{
    Owner *o = opaque;

    for (int i = 0; i < REQUESTS && !qatomic_read(&o->t->m->wrong); i++) {
        one_request(o);
    }
    qatomic_dec(&o->t->running);
    aio_wait_kick();
}

/* --- snapshots meanwhile --- */

/* From now on owners log what they write; what the disk holds, without what is being written. */
static uint8_t *begin_log(Threads *t)
{
    Model *m = t->m;
    uint8_t *before = g_malloc0(m->max_length);

    for (unsigned i = 0; i < OWNERS; i++) {
        Owner *o = &t->owners[i];

        qemu_mutex_lock(&o->lock);
        o->log = g_array_new(FALSE, FALSE, sizeof(Change));
        if (o->now.data) {
            log_change(o, &o->now);
        }
        for (int64_t at = i * t->chunk; at + t->chunk <= t->area; at += OWNERS * t->chunk) {
            memcpy(before + at, m->bytes + at, t->chunk);
        }
        qemu_mutex_unlock(&o->lock);
    }
    /* A last chunk that is not whole belongs to nobody. */
    int64_t rest = t->area / t->chunk * t->chunk;
    memcpy(before + rest, m->bytes + rest, m->max_length - rest);
    return before;
}

static void end_log(Threads *t, GArray *logs[OWNERS])
{
    for (unsigned i = 0; i < OWNERS; i++) {
        Owner *o = &t->owners[i];

        qemu_mutex_lock(&o->lock);
        logs[i] = g_steal_pointer(&o->log);
        qemu_mutex_unlock(&o->lock);
    }
}

static bool in_log(const GArray *log, int64_t at, uint8_t byte)
{
    for (guint i = 0; i < log->len; i++) {
        const Change *c = &g_array_index(log, Change, i);

        if (at >= c->start && at < c->end && c->data[at - c->start] == byte) {
            return true;
        }
    }
    return false;
}

static void free_logs(GArray *logs[OWNERS])
{
    for (unsigned i = 0; i < OWNERS; i++) {
        for (guint k = 0; k < logs[i]->len; k++) {
            g_free(g_array_index(logs[i], Change, k).data);
        }
        g_array_free(logs[i], TRUE);
    }
}

/* Each byte is what it was before or what was written meanwhile; that is the truth from now on. */
static void settle(Threads *t, ModelSnapshot *sn, const uint8_t *before, GArray *logs[OWNERS])
{
    Model *m = t->m;
    BlockBackend *blk = model_open_snapshot(m, sn);

    if (!blk) {
        return;
    }
    if (blk_pread(blk, 0, sn->length, sn->bytes, 0) < 0) {
        model_wrong(m, "snapshot %s cannot be read", sn->name);
    }
    for (int64_t i = 0; i < sn->length; i++) {
        if (sn->bytes[i] != before[i] &&
            (i >= t->area || !in_log(logs[i / t->chunk % OWNERS], i, sn->bytes[i]))) {
            model_wrong(m, "snapshot among threads: byte %" PRId64 " is %02x instead of %02x", i,
                        sn->bytes[i], before[i]);
            break;
        }
    }
    blk_unref(blk);
}

static void snapshot(Threads *t)
{
    Model *m = t->m;
    g_autofree uint8_t *before = begin_log(t);
    QEMUSnapshotInfo info = { 0 };
    GArray *logs[OWNERS];
    int ret;

    g_snprintf(info.name, sizeof(info.name), "s%u", m->next_name++);
    ret = bdrv_snapshot_create(blk_bs(m->blk), &info);
    end_log(t, logs);
    if (ret == 0) {
        model_add_snapshot(m, info.name, g_malloc0(m->length));
        settle(t, m->snapshots->pdata[m->snapshots->len - 1], before, logs);
    } else if (!m->raw && !m->data_file && !model_refcounts_are_small(m)) {
        model_wrong(m, "making a snapshot among threads returns %d", ret);
    }
    free_logs(logs);
}

/* --- what else the main thread does --- */

/* Behind the area all is zero. */
static void resize(Threads *t)
{
    Model *m = t->m;
    int64_t length = t->area + (int64_t)model_random(m, (m->max_length - t->area) / m->unit + 1) *
                                   m->unit;
    int ret;

    if (m->v2 && (m->snapshots->len || m->n_layers > 1)) {
        return;
    }
    model_bitmaps_resize(m, length);
    ret = blk_truncate(m->blk, length, true, PREALLOC_MODE_OFF, 0, NULL);
    if (ret < 0) {
        model_wrong(m, "truncate to %" PRId64 " among threads returns %d", length, ret);
    }
    m->length = length;
}

static void meanwhile(Threads *t)
{
    Model *m = t->m;
    int ret = 0;

    m->operations++;
    switch (model_random(m, 8)) {
    case 0:
        if (m->snapshots->len < MODEL_SNAPSHOTS) {
            snapshot(t);
        }
        break;
    case 1:
        if (m->snapshots->len) {
            model_delete_snapshot(m, model_random(m, m->snapshots->len));
        }
        break;
    case 2:
        if (m->snapshots->len) {
            model_verify_snapshot(m, m->snapshots->pdata[model_random(m, m->snapshots->len)]);
        }
        break;
    case 3:
        ret = blk_flush(m->blk);
        break;
    case 4:
        resize(t);
        break;
    case 5:
        ret = bdrv_store_dirty_bitmaps(blk_bs(m->blk), NULL);
        break;
    case 6:
        blk_drain(m->blk);
        break;
    default:
        aio_poll(qemu_get_aio_context(), false);
        g_usleep(model_random(m, 2000));
        break;
    }
    if (ret < 0 && ret != -ENOTSUP) {
        model_wrong(m, "a flush or storing bitmaps among threads returns %d", ret);
    }
}

/* --- bursts --- */

static void choose_chunk(Threads *t)
{
    static const int64_t chunks[] = { 100, 512, 3000, 4096 };
    Model *m = t->m;

    t->area = m->length;
    t->chunk = m->cluster <= 65536 && model_chance(m, 2)
                   ? m->cluster : chunks[model_random(m, G_N_ELEMENTS(chunks))];
    while (t->area / t->chunk < OWNERS) {
        t->chunk = t->area > 100 * OWNERS ? 100 : 1;
    }
}

static void burst(Threads *t)
{
    Model *m = t->m;

    choose_chunk(t);
    model_bitmaps_begin(m, 0, m->max_length);
    qatomic_set(&t->running, OWNERS);
    for (unsigned i = 0; i < OWNERS; i++) {
        Owner *o = &t->owners[i];

        o->rng = aio_sim_next_random(&m->rng);
        memset(o->touched, 0, DIV_ROUND_UP(m->max_length, 512));
        aio_co_schedule(iothread_get_aio_context(t->io[i % THREADS]),
                        qemu_coroutine_create(own, o));
    }
    while (qatomic_read(&t->running) && !qatomic_read(&m->wrong)) {
        meanwhile(t);
    }
    AIO_WAIT_WHILE(qemu_get_aio_context(), qatomic_load_acquire(&t->running));
    for (unsigned i = 0; i < OWNERS; i++) {
        Owner *o = &t->owners[i];

        qemu_mutex_lock(&o->lock); /* what it has written is there */
        for (int64_t k = 0; k < DIV_ROUND_UP(m->max_length, 512); k++) {
            if (o->touched[k]) {
                model_bitmaps_end(m, m->requests, k * 512, 1);
            }
        }
        m->operations += o->operations;
        o->operations = 0;
        qemu_mutex_unlock(&o->lock);
    }
}

void model_threads(Model *m, unsigned bursts)
{
    Threads *t = g_new0(Threads, 1);

    t->m = m;
    for (unsigned i = 0; i < THREADS; i++) {
        t->io[i] = iothread_new();
    }
    for (unsigned i = 0; i < OWNERS; i++) {
        t->owners[i] = (Owner){ .t = t, .number = i };
        t->owners[i].touched = g_malloc0(DIV_ROUND_UP(m->max_length, 512));
        qemu_mutex_init(&t->owners[i].lock);
    }
    for (unsigned i = 0; i < bursts && !m->wrong; i++) {
        burst(t);
        if (!m->wrong) {
            model_verify_all(m);
        }
        for (unsigned n = model_random(m, 4); n > 0 && !m->wrong; n--) {
            model_manage(m);
        }
    }
    for (unsigned i = 0; i < OWNERS; i++) {
        qemu_mutex_destroy(&t->owners[i].lock);
        g_free(t->owners[i].touched);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        iothread_join(t->io[i]);
    }
    g_free(t);
}
