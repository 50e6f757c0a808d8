/* SPDX-License-Identifier: MIT */
/*
 * Requests from coroutines in a simulated loop. Those in flight share clusters and sectors, but no
 * bytes; only a read may cover bytes of a request that was there before it, and then sees the old ones or the new
 * ones. What is discarded may stay or become zero, but must not change afterwards.
 */
#include "model.h"
#include "qemu/main-loop.h"

#define WORKERS     16
#define REQUEST_MAX (3 << 16) /* bytes */

/* EXCLUSIVE: nothing can be said of it until it has ended. */
typedef enum Access { IDLE, READS, CHANGES, EXCLUSIVE } Access;

/* What a worker works on. */
typedef struct Flight {
    Access access;
    int64_t start, end;
    const uint8_t *data; /* what is written, NULL: zeroes, or a discard */
} Flight;

/* What has changed while a snapshot was made. */
typedef struct Change {
    int64_t start, end;
    uint8_t *data;
} Change;

typedef struct Life {
    Model *m;
    Flight flights[WORKERS];
    unsigned left, workers; /* requests to begin; those who do */
    int64_t hot;            /* where most requests go */
    bool resizing;
    GArray *changes; /* of Change; NULL: not recorded */
} Life;

typedef struct Worker {
    Life *life;
    Flight *flight;
} Worker;

/* --- ranges --- */

static bool overlaps(const Flight *f, int64_t start, int64_t end)
{
    return f->access != IDLE && f->start < end && start < f->end;
}

static bool may_begin(const Life *l, Access access, int64_t start, int64_t end)
{
    for (int i = 0; i < WORKERS; i++) {
        const Flight *f = &l->flights[i];

        if (overlaps(f, start, end) && (f->access == EXCLUSIVE || access != READS)) {
            return false;
        }
    }
    return true;
}

static int64_t random_bytes(Model *m)
{
    static const int64_t sizes[] = { 1, 7, 100, 512, 513, 1000, 4096, 5000, 20000 };

    switch (model_random(m, 8)) {
    case 0:  return m->cluster;
    case 1:  return 1 + model_random(m, 3 * m->cluster);
    case 2:  return m->cluster * (1 + model_random(m, 3));
    case 3:  return 512 * (1 + model_random(m, 32));
    default: return sizes[model_random(m, G_N_ELEMENTS(sizes))];
    }
}

/* Takes a range for the worker; often at the edge of a sector or of a cluster. False: found none. */
static bool take_range(Worker *w, Access access, int64_t align)
{
    Life *l = w->life;
    Model *m = l->m;

    for (int tries = 0; tries < 8; tries++) {
        int64_t bytes = MIN(random_bytes(m), REQUEST_MAX);
        int64_t start = model_chance(m, 4) ? (int64_t)model_random(m, m->length)
                                           : l->hot + (int64_t)model_random(m, 6 * m->cluster);

        if (model_chance(m, 2)) {
            start = ROUND_DOWN(start, model_chance(m, 2) ? m->cluster : INT64_C(512));
        }
        start = ROUND_DOWN(start, align);
        bytes = MIN(ROUND_UP(bytes, align), m->length - start);
        if (bytes > 0 && may_begin(l, access, start, start + bytes)) {
            *w->flight = (Flight){ access, start, start + bytes, NULL };
            return true;
        }
    }
    return false;
}

/* --- requests --- */

static void failed(Model *m, const char *what, const Flight *f, int ret)
{
    model_wrong(m, "%s of %" PRId64 "+%" PRId64 " returns %d (operation %" PRIu64 ")", what,
                f->start, f->end - f->start, ret, m->operations);
}

/* What a read may see: @want, or what those have written that are under way. */
static void expect(const Worker *w, uint8_t *want, uint8_t *or)
{
    const Flight *me = w->flight;

    memcpy(want, w->life->m->bytes + me->start, me->end - me->start);
    memcpy(or, want, me->end - me->start);
    for (int i = 0; i < WORKERS; i++) {
        const Flight *f = &w->life->flights[i];
        int64_t from = MAX(f->start, me->start), to = MIN(f->end, me->end);

        if (f->access != CHANGES || from >= to) {
            continue;
        }
        if (f->data) {
            memcpy(or + (from - me->start), f->data + (from - f->start), to - from);
        } else {
            memset(or + (from - me->start), 0, to - from);
        }
    }
}

/* Cuts the buffer into pieces. */
static void random_vector(Model *m, QEMUIOVector *qiov, uint8_t *buf, int64_t bytes)
{
    qemu_iovec_init(qiov, 4);
    while (bytes > 0) {
        int64_t n = qiov->niov >= 8 || model_chance(m, 3) ? bytes : 1 + (int64_t)model_random(m, bytes);

        qemu_iovec_add(qiov, buf, n);
        buf += n;
        bytes -= n;
    }
}

/* With @before bytes in the vector that belong to nobody. */
static int coroutine_fn vectored(Worker *w, bool write, uint8_t *buf, int64_t before, int flags)
{
    Model *m = w->life->m;
    const Flight *f = w->flight;
    int64_t bytes = f->end - f->start;
    QEMUIOVector qiov;
    int ret;

    random_vector(m, &qiov, buf, before + bytes);
    ret = write ? blk_co_pwritev_part(m->blk, f->start, bytes, &qiov, before, flags)
                : blk_co_preadv_part(m->blk, f->start, bytes, &qiov, before, flags);
    qemu_iovec_destroy(&qiov);
    return ret;
}

static void coroutine_fn do_read(Worker *w)
{
    Model *m = w->life->m;
    Flight f = *w->flight;
    int64_t bytes = f.end - f.start, before = model_chance(m, 2) ? model_random(m, 600) : 0;
    g_autofree uint8_t *buf = g_malloc(before + bytes), *want = g_malloc(bytes);
    g_autofree uint8_t *or = g_malloc(bytes);
    int ret;

    memset(buf, 0xa5, before + bytes);
    expect(w, want, or);
    ret = vectored(w, false, buf, before, 0);
    if (ret < 0) {
        failed(m, "read", &f, ret);
        return;
    }
    model_compare(m, "read", f.start, buf + before, want, or, bytes);
    for (int64_t i = 0; i < before; i++) {
        if (buf[i] != 0xa5) {
            model_wrong(m, "a read writes in front of its part of the vector");
        }
    }
}

/* After one that may have left the old: what is there, in whole @unit bytes, is the truth. */
static void coroutine_fn learn(Worker *w, const char *what, const uint8_t *new, int64_t unit)
{
    Model *m = w->life->m;
    const Flight *f = w->flight;
    int64_t bytes = f->end - f->start;
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret = blk_co_pread(m->blk, f->start, bytes, buf, 0);

    if (ret < 0) {
        failed(m, "read", f, ret);
        return;
    }
    for (int64_t i = 0; i < bytes; i += unit) {
        int64_t n = MIN(unit, bytes - i);
        const uint8_t *old = m->bytes + f->start + i;

        if (memcmp(buf + i, old, n) != 0 && (!new || memcmp(buf + i, new + i, n) != 0)) {
            model_compare(m, what, f->start + i, buf + i, old, new ? new + i : NULL, n);
        }
    }
    memcpy(m->bytes + f->start, buf, bytes);
}

static void coroutine_fn do_write(Worker *w)
{
    Model *m = w->life->m;
    Flight *f = w->flight;
    int64_t bytes = f->end - f->start, before = model_chance(m, 4) ? model_random(m, 600) : 0;
    g_autofree uint8_t *buf = g_malloc0(before + bytes);
    int ret;

    model_fill(&m->rng, buf + before, bytes);
    f->data = buf + before;
    ret = vectored(w, true, buf, before, model_chance(m, 4) ? BDRV_REQ_FUA : 0);
    if (ret < 0) {
        failed(m, "write", f, ret);
    }
    memcpy(m->bytes + f->start, buf + before, bytes);
}

static void coroutine_fn do_zero(Worker *w)
{
    Model *m = w->life->m;
    Flight *f = w->flight;
    int flags = model_random(m, 2) * BDRV_REQ_MAY_UNMAP | (model_chance(m, 4) ? BDRV_REQ_FUA : 0) |
                (model_chance(m, 4) ? BDRV_REQ_NO_FALLBACK : 0);
    int64_t bytes = f->end - f->start;
    int ret = blk_co_pwrite_zeroes(m->blk, f->start, bytes, flags);

    if (ret == -ENOTSUP && (flags & BDRV_REQ_NO_FALLBACK)) {
        g_autofree uint8_t *zeroes = g_malloc0(bytes);

        learn(w, "zeroes without fallback", zeroes, 1);
        return;
    }
    if (ret < 0) {
        failed(m, "write of zeroes", f, ret);
    }
    memset(m->bytes + f->start, 0, bytes);
}

static void coroutine_fn do_discard(Worker *w)
{
    Model *m = w->life->m;
    Flight *f = w->flight;
    int64_t bytes = f->end - f->start;
    g_autofree uint8_t *zeroes = g_malloc0(bytes);
    int ret = blk_co_pdiscard(m->blk, f->start, bytes);

    if (ret < 0) {
        failed(m, "discard", f, ret);
    }
    if (m->raw && m->garbage) {
        /* Anything at all. */
        ret = blk_co_pread(m->blk, f->start, bytes, m->bytes + f->start, 0);
    } else {
        learn(w, "discard", zeroes, 1);
    }
}

static void coroutine_fn do_compressed(Worker *w)
{
    Model *m = w->life->m;
    Flight *f = w->flight;
    int64_t bytes = f->end - f->start;
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret;

    model_fill(&m->rng, buf, bytes);
    f->data = buf;
    ret = blk_co_pwrite_compressed(m->blk, f->start, bytes, buf);
    if (ret == -EIO) {
        /* Where there is data already, QEMU does not compress either. */
        learn(w, "compressed write over data", buf, m->cluster);
    } else if (ret == 0) {
        memcpy(m->bytes + f->start, buf, bytes);
    } else if (ret != -ENOTSUP || !(m->raw || m->data_file)) {
        failed(m, "compressed write", f, ret);
    }
}

static void coroutine_fn do_status(Worker *w)
{
    Model *m = w->life->m;
    Flight f = *w->flight;
    int64_t bytes = f.end - f.start, n = 0;
    g_autofree uint8_t *want = g_malloc(bytes), *or = g_malloc(bytes), *zeroes = g_malloc0(bytes);
    int ret;

    expect(w, want, or);
    ret = blk_co_block_status(m->blk, f.start, bytes, &n);
    if (ret < 0 || n <= 0 || n > bytes) {
        failed(m, "block status", &f, ret);
    } else if ((ret & BDRV_BLOCK_ZERO) || !(ret & BDRV_BLOCK_DATA)) {
        model_compare(m, "block status says zero", f.start, zeroes, want, or, n);
    }
}

/* For a snapshot that is being made. */
static void record(Life *l, int64_t start, int64_t end)
{
    Change c = { start, end, NULL };

    if (l->changes) {
        c.data = g_memdup2(l->m->bytes + start, end - start);
        g_array_append_val(l->changes, c);
    }
}

/* What lies behind the shorter of both lengths is nobody's meanwhile. */
static void coroutine_fn do_resize(Worker *w)
{
    Model *m = w->life->m;
    int64_t length = ROUND_UP(1 + model_random(m, m->max_length - m->unit), m->unit);
    int64_t old = m->length, from = MIN(length, old);
    Error *err = NULL;
    int ret;

    /* One that is being made counts when the truncation looks. */
    if (w->life->resizing || (m->v2 && (m->snapshots->len || w->life->changes)) ||
        !may_begin(w->life, EXCLUSIVE, from, INT64_MAX)) {
        return;
    }
    *w->flight = (Flight){ EXCLUSIVE, from, INT64_MAX, NULL };
    model_bitmaps_resize(m, length);
    m->length = from;
    w->life->resizing = true;
    ret = blk_co_truncate(m->blk, length, true, PREALLOC_MODE_OFF, 0, &err);
    w->life->resizing = false;
    if (ret == -ENOTSUP && m->v2 && m->n_layers > 1 && length > old) {
        /* What is below might show, and version 2 has no zero clusters. QEMU says so, too. */
        length = old;
    } else if (ret < 0) {
        model_wrong(m, "truncate from %" PRId64 " to %" PRId64 " returns %d: %s", old, length, ret,
                    err ? error_get_pretty(err) : "nothing");
    }
    error_free(err);
    memset(m->bytes + from, 0, m->max_length - from);
    m->length = length;
    record(w->life, from, m->max_length);
}

static void coroutine_fn change(Worker *w, unsigned what)
{
    Model *m = w->life->m;
    Flight *f = w->flight;
    uint64_t number = m->requests++;
    bool discard = what >= 82 && what < 90, compressed = what >= 90;
    bool all = compressed || m->copy_on_read;

    if (!take_range(w, discard && m->raw && m->garbage ? EXCLUSIVE : CHANGES,
                    compressed ? m->cluster : 1)) {
        return;
    }
    if (compressed && w->life->resizing && (f->end - f->start) % m->cluster) {
        return;
    }
    model_bitmaps_begin(m, all ? 0 : f->start, all ? m->max_length : f->end - f->start);
    if (compressed) {
        do_compressed(w);
    } else if (discard) {
        do_discard(w);
    } else if (what >= 70) {
        do_zero(w);
    } else {
        do_write(w);
    }
    if (!discard && !compressed) {
        model_bitmaps_end(m, number, f->start, f->end - f->start);
    }
    record(w->life, f->start, f->end);
}

static void coroutine_fn one_request(Worker *w)
{
    Model *m = w->life->m;
    unsigned what = model_random(m, 100);

    m->operations++;
    if (what < 30) {
        if (take_range(w, READS, 1)) {
            do_read(w);
        }
    } else if (what < 33) {
        if (take_range(w, READS, 1)) {
            do_status(w);
        }
    } else if (what < 35) {
        int ret = blk_co_flush(m->blk);

        if (ret < 0) {
            model_wrong(m, "flush returns %d", ret);
        }
    } else if (what == 35) {
        do_resize(w);
    } else if (what == 36) {
        w->life->hot = model_random(m, m->length);
    } else {
        change(w, what);
    }
    *w->flight = (Flight){ IDLE, 0, 0, NULL };
}

static void coroutine_fn work(void *opaque)
{
    Worker w = *(Worker *)opaque;
    Model *m = w.life->m;

    while (w.life->left > 0 && !m->wrong) {
        w.life->left--;
        one_request(&w);
        if (model_chance(m, 32)) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, model_random(m, 50000));
        }
    }
    w.life->workers--;
}

/* --- in the middle of requests --- */

/* Whether a snapshot may hold this: it was written while that was made, or may have been. */
static bool may_hold(const Life *l, int64_t at, uint8_t byte)
{
    for (guint i = 0; i < l->changes->len; i++) {
        const Change *c = &g_array_index(l->changes, Change, i);

        if (at >= c->start && at < c->end && c->data[at - c->start] == byte) {
            return true;
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        const Flight *f = &l->flights[i];

        if (f->access != IDLE && f->access != READS && at >= f->start && at < f->end &&
            (f->data ? f->data[at - f->start] : 0) == byte) {
            return true;
        }
    }
    return false;
}

/* Each byte that was in flight may be in the snapshot or not; what is there then is the truth. */
static void settle_snapshot(Life *l, ModelSnapshot *sn, const uint8_t *before)
{
    Model *m = l->m;
    BlockBackend *blk = model_open_snapshot(m, sn);

    if (!blk) {
        return;
    }
    /* A resize may have been in flight. */
    g_free(sn->bytes);
    sn->length = blk_getlength(blk);
    sn->bytes = g_malloc(sn->length);
    if (blk_pread(blk, 0, sn->length, sn->bytes, 0) < 0) {
        model_wrong(m, "snapshot %s cannot be read", sn->name);
    }
    for (int64_t i = 0; i < sn->length && !m->wrong; i++) {
        if (sn->bytes[i] != before[i] && !may_hold(l, i, sn->bytes[i])) {
            model_wrong(m, "snapshot among requests: byte %" PRId64 " is %02x instead of %02x (operation %"
                        "" PRIu64 ")", i, sn->bytes[i], before[i], m->operations);
        }
    }
    blk_unref(blk);
}

static void snapshot_in_traffic(Life *l)
{
    Model *m = l->m;
    QEMUSnapshotInfo info = { 0 };
    g_autofree uint8_t *before = g_memdup2(m->bytes, m->max_length);

    l->changes = g_array_new(FALSE, FALSE, sizeof(Change));
    g_snprintf(info.name, sizeof(info.name), "s%u", m->next_name++);
    if (bdrv_snapshot_create(blk_bs(m->blk), &info) == 0) {
        model_add_snapshot(m, info.name, NULL);
        settle_snapshot(l, m->snapshots->pdata[m->snapshots->len - 1], before);
    } else if (!m->raw && !m->data_file && !model_refcounts_are_small(m)) {
        model_wrong(m, "making a snapshot among requests fails");
    }
    for (guint i = 0; i < l->changes->len; i++) {
        g_free(g_array_index(l->changes, Change, i).data);
    }
    g_array_free(g_steal_pointer(&l->changes), TRUE);
}

static void among_requests(Life *l)
{
    Model *m = l->m;

    m->operations++;
    switch (model_random(m, 4)) {
    case 0:
        if (m->snapshots->len < MODEL_SNAPSHOTS) {
            snapshot_in_traffic(l);
        }
        break;
    case 1:
        if (m->snapshots->len) {
            model_delete_snapshot(m, model_random(m, m->snapshots->len));
        }
        break;
    case 2:
        model_change_bitmaps(m);
        /* Whatever changed: what is in flight may count or not. */
        for (int i = 0; i < WORKERS; i++) {
            const Flight *f = &l->flights[i];

            if (f->access == CHANGES || f->access == EXCLUSIVE) {
                model_bitmaps_begin(m, f->start, MIN(f->end, m->max_length) - f->start);
            }
        }
        break;
    default:
        blk_drain(m->blk);
        break;
    }
}

/* --- bursts --- */

static void burst(Life *l, unsigned requests)
{
    Model *m = l->m;
    unsigned n = 1 + model_random(m, WORKERS);

    l->left = requests;
    l->hot = model_random(m, m->length);
    for (unsigned i = 0; i < n; i++) {
        Worker w = { l, &l->flights[i] };

        l->workers++;
        qemu_coroutine_enter(qemu_coroutine_create(work, &w));
    }
    while (l->workers) {
        aio_poll(qemu_get_aio_context(), true);
        if (l->workers && model_chance(m, 300) && !m->wrong) {
            among_requests(l);
        }
    }
}

void model_simulated(Model *m, unsigned bursts)
{
    Life l = { .m = m };

    for (unsigned i = 0; i < bursts && !m->wrong; i++) {
        burst(&l, 10 + model_random(m, 150));
        for (unsigned n = model_random(m, 4); n > 0 && !m->wrong; n--) {
            model_manage(m);
        }
    }
}
