/* SPDX-License-Identifier: MIT */
/*
 * Requests by callback, drain, closing with requests in flight, requests of several
 * threads.
 */
#include "ram-driver.h"
#include "qemu/aio-wait.h"
#include "qemu/defer-call.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"

#define LENGTH (64 * 1024)
#define MANY   100

static AioContext *home; /* of this thread, in all tests but one */

typedef struct Request {
    QEMUIOVector qiov;
    char buf[512];
    BlockBackend *blk;
    int ret;            /* -EINPROGRESS until the callback */
    bool may_call_back; /* blk_aio_*() has returned */
    AioContext *ctx;    /* where the callback ran */
    void (*in_callback)(struct Request *r);
} Request;

static void request_done(void *opaque, int ret)
{
    Request *r = opaque;

    g_assert_true(r->may_call_back);
    g_assert_false(qemu_in_coroutine());
    g_assert_cmpint(r->ret, ==, -EINPROGRESS);
    r->ret = ret;
    r->ctx = qemu_get_current_aio_context();
    if (r->in_callback) {
        r->in_callback(r);
    }
}

static BlockAIOCB *request_read(Request *r, BlockBackend *blk, int64_t offset)
{
    BlockAIOCB *acb;

    qemu_iovec_init_buf(&r->qiov, r->buf, sizeof(r->buf));
    r->blk = blk;
    r->ret = -EINPROGRESS;
    r->may_call_back = false;
    acb = blk_aio_preadv(blk, offset, &r->qiov, 0, request_done, r);
    r->may_call_back = true;
    return acb;
}

static void wait_for(Request *r)
{
    while (r->ret == -EINPROGRESS) {
        aio_poll(home, true);
    }
}

/* --- callbacks --- */

static void test_never_early(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    Request r[5] = { 0 };

    for (int i = 0; i < 5; i++) {
        r[i].ret = -EINPROGRESS;
        qemu_iovec_init_buf(&r[i].qiov, r[i].buf, 512);
    }
    blk_aio_preadv(blk, 0, &r[0].qiov, 0, request_done, &r[0]);
    blk_aio_pwritev(blk, 512, &r[1].qiov, 0, request_done, &r[1]);
    blk_aio_pwrite_zeroes(blk, 1024, 512, 0, request_done, &r[2]);
    blk_aio_pdiscard(blk, 2048, 512, request_done, &r[3]);
    blk_aio_flush(blk, request_done, &r[4]);
    for (int i = 0; i < 5; i++) {
        g_assert_cmpint(r[i].ret, ==, -EINPROGRESS);
        r[i].may_call_back = true;
    }
    for (int i = 0; i < 5; i++) {
        wait_for(&r[i]);
        g_assert_cmpint(r[i].ret, ==, 0);
        g_assert_true(r[i].ctx == home);
    }
    /* Errors that need no driver come the same way. */
    request_read(&r[0], blk, LENGTH);
    g_assert_cmpint(r[0].ret, ==, -EINPROGRESS);
    wait_for(&r[0]);
    g_assert_cmpint(r[0].ret, ==, -EIO);
    blk_unref(blk);
    ram_disk_free(d);
}

static void send_again(Request *r)
{
    static int left = 1000;

    if (left-- > 0) {
        request_read(r, r->blk, 0);
    }
}

static void test_callback_sends(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, NULL);
    Request r = { .in_callback = send_again };

    request_read(&r, blk, 0);
    wait_for(&r);
    g_assert_cmpuint(d->reads, ==, 1001);
    blk_unref(blk);
    ram_disk_free(d);
}

static void poll_for_rest(Request *r)
{
    /* The others' callbacks come while this one polls. */
    for (int i = 1; i < MANY; i++) {
        wait_for(r + i);
    }
}

static void test_callback_polls(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, NULL);
    g_autofree Request *r = g_new0(Request, MANY);

    r[0].in_callback = poll_for_rest;
    for (int i = 0; i < MANY; i++) {
        request_read(&r[i], blk, 0);
    }
    wait_for(&r[0]);
    blk_unref(blk);
    ram_disk_free(d);
}

/* What callbacks send goes out at the end of their section, or when one of them polls. */
static unsigned deferred_calls;

static void count_deferred(void *opaque)
{
    deferred_calls++;
}

static void defer_and_wait(Request *r)
{
    defer_call(count_deferred, NULL);
    g_assert_cmpuint(deferred_calls, ==, 0);
    aio_poll(home, false);
    g_assert_cmpuint(deferred_calls, ==, 1);
}

static void test_callback_in_section(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, NULL);
    Request r = { .in_callback = defer_and_wait };

    request_read(&r, blk, 0);
    wait_for(&r);
    blk_unref(blk);
    ram_disk_free(d);
}

static void cancel_release(void *opaque)
{
    ram_release(opaque);
}

static void test_cancel(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, NULL);
    Request r = { 0 };
    BlockAIOCB *acb;

    d->hold = true;
    acb = request_read(&r, blk, 0);
    aio_bh_schedule_oneshot(home, cancel_release, d);
    blk_aio_cancel(acb);
    g_assert_cmpint(r.ret, ==, 0);

    d->hold = true;
    acb = request_read(&r, blk, 0);
    blk_aio_cancel_async(acb);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    ram_release(d);
    wait_for(&r);
    /* One that has ended but was not called back. */
    acb = request_read(&r, blk, 0);
    blk_aio_cancel(acb);
    g_assert_cmpint(r.ret, ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- drain --- */

static void test_drain_waits(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;
    g_autofree Request *r = g_new0(Request, MANY);

    d->max_delay_ns = 2000000;
    blk = ram_open_blk(d, "driver=raw");
    for (int i = 0; i < MANY; i++) {
        request_read(&r[i], blk, 0);
    }
    blk_drain(blk);
    for (int i = 0; i < MANY; i++) {
        g_assert_cmpint(r[i].ret, ==, 0);
    }
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_drained_requests_wait(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    BlockDriverState *file = bdrv_primary_bs(blk_bs(blk));
    Request r = { 0 };

    blk_drained_begin(blk);
    bdrv_drained_begin(file);
    request_read(&r, blk, 0);
    g_assert_cmpuint(d->drain_begins, ==, 1);
    while (aio_poll(home, false)) {
    }
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    blk_drained_end(blk);
    while (aio_poll(home, false)) {
    }
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    g_assert_cmpuint(d->reads, ==, 0);
    bdrv_drained_end(file);
    wait_for(&r);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmpuint(d->drain_ends, ==, 1);
    blk_unref(blk);
    ram_disk_free(d);
}

static void drain_here(Request *r)
{
    blk_drain(r->blk);
    for (int i = 1; i < MANY; i++) {
        g_assert_cmpint(r[i].ret, ==, 0);
    }
}

static void test_drain_in_callback(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;
    g_autofree Request *r = g_new0(Request, MANY);

    d->max_delay_ns = 1000000;
    blk = ram_open_blk(d, NULL);
    r[0].in_callback = drain_here;
    for (int i = 0; i < MANY; i++) {
        request_read(&r[i], blk, 0);
    }
    wait_for(&r[0]);
    blk_unref(blk);
    ram_disk_free(d);
}

static void drain_bh(void *opaque)
{
    drain_here(opaque);
}

static void test_drain_in_bh(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;
    g_autofree Request *r = g_new0(Request, MANY);

    d->max_delay_ns = 1000000;
    blk = ram_open_blk(d, NULL);
    for (int i = 0; i < MANY; i++) {
        request_read(&r[i], blk, 0);
    }
    aio_bh_schedule_oneshot(home, drain_bh, r);
    wait_for(&r[0]);
    blk_drain(blk);
    blk_unref(blk);
    ram_disk_free(d);
}

typedef struct CoTest {
    BlockBackend *blk;
    Request *r;
    bool done;
} CoTest;

static void coroutine_fn drain_in_coroutine_entry(void *opaque)
{
    CoTest *t = opaque;

    blk_drained_begin(t->blk);
    g_assert_cmpint(t->r->ret, ==, 0);
    blk_drained_end(t->blk);
    g_assert_cmpint(blk_co_pread(t->blk, 0, 1, t->r->buf, 0), ==, 0);
    t->done = true;
}

static void test_drain_in_coroutine(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;
    Request r = { 0 };
    CoTest t;

    d->max_delay_ns = 1000000;
    blk = ram_open_blk(d, NULL);
    t = (CoTest){ .blk = blk, .r = &r };
    request_read(&r, blk, 0);
    qemu_coroutine_enter(qemu_coroutine_create(drain_in_coroutine_entry, &t));
    AIO_WAIT_WHILE(home, !t.done);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_drain_all(void)
{
    RamDisk *d[2] = { ram_disk_new(LENGTH), ram_disk_new(LENGTH) };
    BlockBackend *blk[2];
    Request r[2] = { 0 };

    for (int i = 0; i < 2; i++) {
        d[i]->max_delay_ns = 1000000;
        blk[i] = ram_open_blk(d[i], NULL);
        request_read(&r[i], blk[i], 0);
    }
    blk_drain_all();
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(r[i].ret, ==, 0);
        blk_unref(blk[i]);
        ram_disk_free(d[i]);
    }
}

/* --- closing --- */

static void test_unref_in_flight(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;
    g_autofree Request *r = g_new0(Request, MANY);

    d->max_delay_ns = 1000000;
    blk = ram_open_blk(d, "driver=raw");
    for (int i = 0; i < MANY; i++) {
        request_read(&r[i], blk, 0);
    }
    blk_unref(blk);
    for (int i = 0; i < MANY; i++) {
        g_assert_cmpint(r[i].ret, ==, 0);
    }
    ram_disk_free(d);
}

static void unref_here(Request *r)
{
    blk_unref(r->blk);
}

static void test_unref_in_callback(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    Request r[2] = { 0 };

    r[0].in_callback = unref_here;
    request_read(&r[0], blk, 0);
    request_read(&r[1], blk, 0);
    wait_for(&r[0]);
    g_assert_cmpint(r[1].ret, ==, 0);
    ram_disk_free(d);
}

/* --- threads --- */

enum { THREADS = 4, PER_THREAD = 300 };

typedef struct Sender {
    BlockBackend *blk;
    IOThread *thread;
    AioContext *ctx;
    Request r[8];
    int left, running; /* of its thread */
    bool done;         /* atomic */
} Sender;

static void sender_next(Request *r);

static void sender_send(Sender *s, Request *r)
{
    r->in_callback = sender_next;
    s->left--;
    s->running++;
    request_read(r, s->blk, 0);
}

static void sender_next(Request *r)
{
    AioContext *ctx = qemu_get_current_aio_context();
    Sender *s = aio_context_get_data(ctx, &home);

    g_assert_cmpint(r->ret, ==, 0);
    g_assert_true(ctx == s->ctx);
    s->running--;
    if (s->left > 0) {
        sender_send(s, r);
    } else if (s->running == 0) {
        qatomic_set(&s->done, true);
        aio_wait_kick();
    }
}

static void sender_start(void *opaque)
{
    Sender *s = opaque;

    aio_context_set_data(s->ctx, &home, s, NULL);
    for (int i = 0; i < 8; i++) {
        sender_send(s, &s->r[i]);
    }
}

/* IOThreads send, the home thread sends too and drains all of them over and over. */
static void test_drain_threads(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    Sender *s = g_new0(Sender, THREADS);
    Request r = { 0 };
    BlockBackend *blk;
    int drains = 0;

    d->max_delay_ns = 50000;
    blk = ram_open_blk(d, "driver=raw");
    for (int i = 0; i < THREADS; i++) {
        s[i] = (Sender){ .blk = blk, .thread = iothread_new(), .left = PER_THREAD };
        s[i].ctx = iothread_get_aio_context(s[i].thread);
        aio_bh_schedule_oneshot(s[i].ctx, sender_start, &s[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        while (!qatomic_read(&s[i].done)) {
            request_read(&r, blk, 0);
            blk_drained_begin(blk);
            g_assert_cmpint(r.ret, ==, 0);
            g_assert_cmpuint(qatomic_read(&d->in_flight), ==, 0);
            aio_poll(home, false);
            g_assert_cmpuint(qatomic_read(&d->in_flight), ==, 0);
            blk_drained_end(blk);
            drains++;
            g_usleep(100);
        }
    }
    g_test_message("%d drains", drains);
    for (int i = 0; i < THREADS; i++) {
        iothread_join(s[i].thread);
    }
    blk_unref(blk);
    g_free(s);
    ram_disk_free(d);
}

static void *plain_thread(void *opaque)
{
    BlockBackend *blk = opaque;
    char buf[1000];

    for (int i = 0; i < 200; i++) {
        g_assert_cmpint(blk_pread(blk, 100, 1000, buf, 0), ==, 0);
        g_assert_cmpint(blk_pwrite(blk, 100, 1000, buf, 0), ==, 0);
        g_assert_null(qemu_get_current_aio_context());
    }
    return NULL;
}

/* Threads that know nothing of contexts. */
static void test_blocking_threads(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    GThread *t[THREADS];
    BlockBackend *blk;

    d->limits.request_alignment = 512;
    blk = ram_open_blk(d, "driver=raw");
    for (int i = 0; i < THREADS; i++) {
        t[i] = g_thread_new("plain", plain_thread, blk);
    }
    for (int i = 0; i < 50; i++) {
        blk_drain(blk);
        g_usleep(100);
    }
    for (int i = 0; i < THREADS; i++) {
        g_thread_join(t[i]);
    }
    blk_unref(blk);
    ram_disk_free(d);
}

static void *sending_thread(void *opaque)
{
    Request *r = opaque;

    request_read(r, r->blk, 0);
    return NULL;
}

/* blk_aio_* from a thread without a context runs in the backend's. */
static void test_aio_from_plain_thread(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, NULL);
    Request r = { .blk = blk };

    g_thread_join(g_thread_new("plain", sending_thread, &r));
    blk_drain(blk);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_true(r.ctx == home);
    blk_unref(blk);
    ram_disk_free(d);
}

/* A home in another thread: draining, closing and moving work from here. */
static void test_home_elsewhere(void)
{
    IOThread *thread = iothread_new();
    AioContext *ctx = iothread_get_aio_context(thread);
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;
    Request r = { 0 };

    d->max_delay_ns = 1000000;
    blk = ram_open_blk(d, "driver=raw");
    g_assert_cmpint(blk_set_aio_context(blk, ctx, &error_abort), ==, 0);
    g_assert_true(blk_get_aio_context(blk) == ctx);
    request_read(&r, blk, 0);
    wait_for(&r);
    g_assert_true(r.ctx == home);
    blk_drained_begin(blk);
    request_read(&r, blk, 0);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    blk_drained_end(blk);
    wait_for(&r);
    g_assert_cmpint(blk_set_aio_context(blk, home, &error_abort), ==, 0);
    request_read(&r, blk, 0);
    blk_drain(blk);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmpint(blk_set_aio_context(blk, ctx, &error_abort), ==, 0);
    blk_unref(blk);
    iothread_join(thread);
    ram_disk_free(d);
}

/* Without any context: blocking calls and drain do the polling. */
static void *lonely_thread(void *opaque)
{
    RamDisk *d = opaque;
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    Request r = { 0 };
    char c;

    g_assert_cmpint(blk_pread(blk, 0, 1, &c, 0), ==, 0);
    request_read(&r, blk, 0);
    blk_drain(blk);
    g_assert_cmpint(r.ret, ==, 0);
    blk_aio_cancel(request_read(&r, blk, 0));
    g_assert_cmpint(r.ret, ==, 0);
    blk_unref(blk);
    return NULL;
}

static void test_no_context_at_all(void)
{
    RamDisk *d = ram_disk_new(LENGTH);

    g_thread_join(g_thread_new("lonely", lonely_thread, d));
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    home = qemu_get_aio_context();
    g_test_add_func("/block/aio/never-early", test_never_early);
    g_test_add_func("/block/aio/callback-sends", test_callback_sends);
    g_test_add_func("/block/aio/callback-polls", test_callback_polls);
    g_test_add_func("/block/aio/callback-in-section", test_callback_in_section);
    g_test_add_func("/block/aio/cancel", test_cancel);
    g_test_add_func("/block/drain/waits", test_drain_waits);
    g_test_add_func("/block/drain/requests-wait", test_drained_requests_wait);
    g_test_add_func("/block/drain/in-callback", test_drain_in_callback);
    g_test_add_func("/block/drain/in-bh", test_drain_in_bh);
    g_test_add_func("/block/drain/in-coroutine", test_drain_in_coroutine);
    g_test_add_func("/block/drain/all", test_drain_all);
    g_test_add_func("/block/unref/in-flight", test_unref_in_flight);
    g_test_add_func("/block/unref/in-callback", test_unref_in_callback);
    g_test_add_func("/block/threads/drain", test_drain_threads);
    g_test_add_func("/block/threads/blocking", test_blocking_threads);
    g_test_add_func("/block/threads/aio-without-context", test_aio_from_plain_thread);
    g_test_add_func("/block/threads/home-elsewhere", test_home_elsewhere);
    g_test_add_func("/block/threads/no-context-at-all", test_no_context_at_all);
    return g_test_run();
}
