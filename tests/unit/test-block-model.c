/* SPDX-License-Identifier: MIT */
/*
 * Random requests against a model in memory: workers send reads, writes, zeroes, discards
 * and truncations of any offset and length at once, over a disk with alignment, limits
 * and random delays. What a worker works on overlaps no other worker's bytes, but often
 * shares blocks with them, so that every read-modify-write has neighbours to damage.
 *
 * GLib prints the random seed; --seed=R02S... replays it (up to the timing of the
 * delays).
 */
#include "ram-driver.h"
#include "qemu/aio-wait.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"

#define MAX_LENGTH (192 * 1024)
#define WORKERS    16

typedef struct Range {
    int64_t start, end;
} Range;

typedef struct Model {
    BlockBackend *blk;
    uint8_t *bytes; /* what the image has to hold */
    int64_t length;
    int64_t block;       /* the disk's alignment */
    Range busy[WORKERS]; /* what each worker works on */
    bool truncating;
    int left; /* requests to send */
    int workers;
} Model;

typedef struct Worker {
    Model *m;
    int index;
} Worker;

static bool is_free(const Model *m, int64_t start, int64_t end)
{
    for (int i = 0; i < WORKERS; i++) {
        if (m->busy[i].start < end && start < m->busy[i].end) {
            return false;
        }
    }
    return true;
}

/* A range that nobody works on; mostly short, often close to the edge of a block. */
static Range pick_range(const Model *m)
{
    static const int64_t sizes[] = { 1, 7, 100, 512, 1000, 4096, 5000, 20000 };

    for (;;) {
        int64_t bytes = sizes[g_test_rand_int_range(0, G_N_ELEMENTS(sizes))];
        int64_t start = g_test_rand_int_range(0, m->length);

        if (g_test_rand_bit()) {
            start = ROUND_DOWN(start, (int64_t)512) + (g_test_rand_bit() ? 0 : 3);
        }
        bytes = MIN(bytes, m->length - start);
        if (bytes > 0 && is_free(m, start, start + bytes)) {
            return (Range){ start, start + bytes };
        }
        if (g_test_rand_int_range(0, 50) == 0) {
            return (Range){ 0, 0 };
        }
    }
}

static void check(const Model *m, const char *what, int64_t start, const uint8_t *buf,
                  int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        if (buf[i] != m->bytes[start + i]) {
            g_error("%s: byte %" PRId64 " is %02x instead of %02x (request at %" PRId64
                    ", %" PRId64 " bytes)",
                    what, start + i, buf[i], m->bytes[start + i], start, bytes);
        }
    }
}

static void coroutine_fn do_read(Model *m, Range r)
{
    int64_t bytes = r.end - r.start, cut = bytes / 3;
    g_autofree uint8_t *buf = g_malloc(bytes);
    QEMUIOVector qiov;

    qemu_iovec_init(&qiov, 2);
    qemu_iovec_add(&qiov, buf, cut);
    qemu_iovec_add(&qiov, buf + cut, bytes - cut);
    g_assert_cmpint(blk_co_preadv(m->blk, r.start, bytes, &qiov, 0), ==, 0);
    check(m, "read", r.start, buf, bytes);
    qemu_iovec_destroy(&qiov);
}

static void coroutine_fn do_write(Model *m, Range r)
{
    int64_t bytes = r.end - r.start;
    g_autofree uint8_t *buf = g_malloc(bytes);
    int fua = g_test_rand_bit() ? BDRV_REQ_FUA : 0;

    memset(buf, g_test_rand_int_range(1, 256), bytes);
    g_assert_cmpint(blk_co_pwrite(m->blk, r.start, bytes, buf, fua), ==, 0);
    memcpy(m->bytes + r.start, buf, bytes);
}

static void coroutine_fn do_zero(Model *m, Range r)
{
    int flags = g_test_rand_bit() ? BDRV_REQ_MAY_UNMAP : 0;

    g_assert_cmpint(blk_co_pwrite_zeroes(m->blk, r.start, r.end - r.start, flags), ==, 0);
    memset(m->bytes + r.start, 0, r.end - r.start);
}

static void coroutine_fn do_discard(Model *m, Range r)
{
    int64_t first = ROUND_UP(r.start, m->block), last = ROUND_DOWN(r.end, m->block);

    g_assert_cmpint(blk_co_pdiscard(m->blk, r.start, r.end - r.start), ==, 0);
    if (first < last) {
        memset(m->bytes + first, 0, last - first);
    }
}

/*
 * Alone behind the smaller of both lengths, rounded down: there the last block is at
 * stake.
 */
static void coroutine_fn do_truncate(Worker *w)
{
    Model *m = w->m;
    int64_t length =
        ROUND_UP(g_test_rand_int_range(m->block, MAX_LENGTH), MAX(m->block, 512));
    int64_t from = MIN(length, m->length);
    int64_t old = m->length;

    if (m->truncating || !is_free(m, from, INT64_MAX)) {
        return;
    }
    m->truncating = true;
    m->busy[w->index] = (Range){ from, INT64_MAX };
    m->length = from;
    g_assert_cmpint(blk_co_truncate(m->blk, length, true, PREALLOC_MODE_OFF,
                                    BDRV_REQ_ZERO_WRITE, &error_abort),
                    ==, 0);
    memset(m->bytes + from, 0, MAX(old, length) - from);
    m->length = length;
    m->truncating = false;
}

static void coroutine_fn one_request(Worker *w)
{
    Model *m = w->m;
    int what = g_test_rand_int_range(0, 100);
    Range r;

    if (what < 2) {
        do_truncate(w);
        return;
    }
    if (what < 4) {
        g_assert_cmpint(blk_co_flush(m->blk), ==, 0);
        return;
    }
    r = pick_range(m);
    if (r.start == r.end) {
        return;
    }
    m->busy[w->index] = r;
    if (what < 35) {
        do_read(m, r);
    } else if (what < 75) {
        do_write(m, r);
    } else if (what < 90) {
        do_zero(m, r);
    } else {
        do_discard(m, r);
    }
}

static void coroutine_fn worker_entry(void *opaque)
{
    Worker w = *(Worker *)opaque;

    while (w.m->left > 0) {
        w.m->left--;
        one_request(&w);
        w.m->busy[w.index] = (Range){ 0, 0 };
        if (g_test_rand_int_range(0, 64) == 0) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, 1);
        }
    }
    w.m->workers--;
}

static void run_model(RamDisk *d, const char *layer, int requests)
{
    Model m = { .block = MAX(d->limits.request_alignment, 1),
                .length = d->length,
                .left = requests };
    int drains = 0;

    m.bytes = g_malloc0(2 * MAX_LENGTH);
    m.blk = ram_open_blk(d, layer);
    for (int i = 0; i < WORKERS; i++) {
        Worker w = { &m, i };

        m.workers++;
        qemu_coroutine_enter(qemu_coroutine_create(worker_entry, &w));
    }
    while (m.workers) {
        aio_poll(qemu_get_aio_context(), true);
        if (g_test_rand_int_range(0, 200) == 0) {
            blk_drained_begin(m.blk);
            g_assert_cmpuint(d->in_flight, ==, 0);
            drains++;
            blk_drained_end(m.blk);
        }
    }
    g_assert_cmpint(blk_getlength(m.blk), ==, m.length);
    check(&m, "at the end", 0, d->data, m.length);
    g_test_message(
        "%u reads, %u writes, %u zero, %u discards, %u flushes, %d drains, up to %u "
        "at once",
        d->reads, d->writes, d->zero_writes, d->nb_discards, d->flushes, drains,
        d->max_in_flight);
    blk_unref(m.blk);
    g_free(m.bytes);
    ram_disk_free(d);
}

static RamDisk *model_disk(uint32_t align)
{
    RamDisk *d = ram_disk_new(MAX_LENGTH);

    d->limits.request_alignment = align;
    d->max_delay_ns = 20000;
    return d;
}

static void test_aligned_512(void)
{
    run_model(model_disk(512), NULL, 20000);
}

static void test_aligned_4096(void)
{
    run_model(model_disk(4096), "driver=raw", 20000);
}

static void test_limits(void)
{
    RamDisk *d = model_disk(512);

    d->limits.max_transfer = 2048;
    d->limits.max_iov = 2;
    d->limits.max_pwrite_zeroes = 3 * 512;
    d->limits.pwrite_zeroes_alignment = 1024;
    d->limits.pdiscard_alignment = 2048;
    d->limits.max_pdiscard = 8192;
    run_model(d, "driver=raw", 10000);
}

static void test_no_driver_zeroes(void)
{
    RamDisk *d = model_disk(4096);

    d->zeroes = false;
    d->fua = true;
    run_model(d, NULL, 10000);
}

static void test_byte_granularity(void)
{
    run_model(model_disk(1), "driver=raw", 10000);
}

/* --- overlapping requests: the result is that of one order or the other --- */

typedef struct Overlap {
    BlockBackend *blk;
    int64_t offset, bytes;
    uint8_t value; /* 0: write zeroes */
    int delay;
    int *running;
} Overlap;

static void coroutine_fn overlap_entry(void *opaque)
{
    Overlap o = *(Overlap *)opaque;
    g_autofree uint8_t *buf = g_malloc(o.bytes);

    memset(buf, o.value, o.bytes);
    if (o.delay) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, o.delay);
    }
    if (o.value) {
        g_assert_cmpint(blk_co_pwrite(o.blk, o.offset, o.bytes, buf, 0), ==, 0);
    } else {
        g_assert_cmpint(blk_co_pwrite_zeroes(o.blk, o.offset, o.bytes, 0), ==, 0);
    }
    --*o.running;
}

static void overlap_apply(uint8_t *image, const Overlap *o)
{
    memset(image + o->offset, o->value, o->bytes);
}

static void test_overlap(void)
{
    enum { IMAGE = 8192 };
    RamDisk *d = model_disk(512);
    BlockBackend *blk;
    uint8_t one_two[IMAGE], two_one[IMAGE];

    d->limits.max_transfer = 1024;
    blk = ram_open_blk(d, NULL);
    for (int i = 0; i < 3000; i++) {
        int running = 2;
        int64_t at = g_test_rand_int_range(0, 6) * 512;
        Overlap a = { blk, at, 512 * g_test_rand_int_range(1, 4), 0, 0, &running };
        Overlap b = {
            blk, at + g_test_rand_int_range(1, 500), g_test_rand_int_range(1, 1500),
            2,   g_test_rand_int_range(0, 20000),    &running
        };

        a.value = g_test_rand_bit();
        memset(d->data, 7, IMAGE);
        memset(one_two, 7, IMAGE);
        memset(two_one, 7, IMAGE);
        overlap_apply(one_two, &a);
        overlap_apply(one_two, &b);
        overlap_apply(two_one, &b);
        overlap_apply(two_one, &a);
        qemu_coroutine_enter(qemu_coroutine_create(overlap_entry, &a));
        qemu_coroutine_enter(qemu_coroutine_create(overlap_entry, &b));
        AIO_WAIT_WHILE(qemu_get_aio_context(), running > 0);
        if (memcmp(d->data, one_two, IMAGE) && memcmp(d->data, two_one, IMAGE)) {
            g_error("round %d: %" PRId64 "+%" PRId64 " and %" PRId64 "+%" PRId64
                    " mixed up",
                    i, a.offset, a.bytes, b.offset, b.bytes);
        }
    }
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- threads: each owns every fourth stripe of bytes, all of them share all blocks ---
 */

enum { THREADS = 4, STRIPE = 100, ROUNDS = 300 };

typedef struct StripeThread {
    BlockBackend *blk;
    int index;
    uint32_t seed;
    uint8_t *model; /* its stripes of the model are its own */
} StripeThread;

static void *stripe_thread(void *opaque)
{
    StripeThread *t = opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(t->seed);
    uint8_t buf[STRIPE];

    for (int i = 0; i < ROUNDS; i++) {
        int stripe = g_rand_int_range(rand, 0, 40) * THREADS + t->index;
        int64_t offset = (int64_t)stripe * STRIPE;
        int ret;

        switch (g_rand_int_range(rand, 0, 4)) {
        case 0:
            ret = blk_pread(t->blk, offset, STRIPE, buf, 0);
            g_assert_cmpmem(buf, STRIPE, t->model + offset, STRIPE);
            break;
        case 1:
            ret = blk_pwrite_zeroes(t->blk, offset, STRIPE, 0);
            memset(t->model + offset, 0, STRIPE);
            break;
        default:
            memset(buf, g_rand_int_range(rand, 1, 256), STRIPE);
            ret = blk_pwrite(t->blk, offset, STRIPE, buf, 0);
            memcpy(t->model + offset, buf, STRIPE);
        }
        g_assert_cmpint(ret, ==, 0);
    }
    return NULL;
}

static void test_threads(void)
{
    RamDisk *d = model_disk(512);
    g_autofree uint8_t *model = g_malloc0(MAX_LENGTH);
    StripeThread t[THREADS];
    GThread *threads[THREADS];
    BlockBackend *blk;

    d->max_delay_ns = 2000;
    blk = ram_open_blk(d, "driver=raw");
    for (int i = 0; i < THREADS; i++) {
        t[i] = (StripeThread){ blk, i, g_test_rand_int(), model };
        threads[i] = g_thread_new("stripe", stripe_thread, &t[i]);
    }
    for (int i = 0; i < 20; i++) {
        blk_drain(blk);
        g_usleep(500);
    }
    for (int i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpmem(d->data, MAX_LENGTH, model, MAX_LENGTH);
    blk_unref(blk);
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/block/model/aligned-512", test_aligned_512);
    g_test_add_func("/block/model/aligned-4096", test_aligned_4096);
    g_test_add_func("/block/model/limits", test_limits);
    g_test_add_func("/block/model/no-driver-zeroes", test_no_driver_zeroes);
    g_test_add_func("/block/model/byte-granularity", test_byte_granularity);
    g_test_add_func("/block/model/overlap", test_overlap);
    g_test_add_func("/block/model/threads", test_threads);
    return g_test_run();
}
