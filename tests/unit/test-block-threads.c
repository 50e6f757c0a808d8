/* SPDX-License-Identifier: MIT */
/*
 * Backends that close, drain or change their image while other threads' requests are
 * under way or wait.
 */
#include "ram-driver.h"
#include "qemu/aio-wait.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"

enum { LENGTH = 64 * 1024, ROUNDS = 300 };

static AioContext *home;

typedef struct Request {
    QEMUIOVector qiov;
    char buf[512];
    BlockBackend *blk;
    int ret;    /* atomic; -EINPROGRESS until the callback */
    bool drain; /* in the callback */
} Request;

static void request_done(void *opaque, int ret)
{
    Request *r = opaque;

    if (r->drain) {
        blk_drain(r->blk);
    }
    qatomic_store_release(&r->ret, ret);
    aio_wait_kick();
}

static void send_read(void *opaque)
{
    Request *r = opaque;

    qatomic_set(&r->ret, -EINPROGRESS);
    qemu_iovec_init_buf(&r->qiov, r->buf, sizeof(r->buf));
    blk_aio_preadv(r->blk, 0, &r->qiov, 0, request_done, r);
}

static void *sending_thread(void *opaque)
{
    send_read(opaque);
    return NULL;
}

static int wait_for(Request *r)
{
    AIO_WAIT_WHILE(home, qatomic_load_acquire(&r->ret) == -EINPROGRESS);
    return r->ret;
}

/* --- callbacks --- */

static void test_plain_callback_drains(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    Request r = { .blk = ram_open_blk(d, "driver=raw"), .drain = true };

    g_thread_join(g_thread_new("plain", sending_thread, &r));
    g_assert_cmpint(wait_for(&r), ==, 0);
    blk_unref(r.blk);
    ram_disk_free(d);
}

typedef struct GlibHome {
    GMainLoop *loop;
    Request r;
} GlibHome;

static gboolean drain_and_close(gpointer opaque)
{
    GlibHome *g = opaque;

    g_assert_null(qemu_get_current_aio_context());
    blk_drain(g->r.blk);
    g_assert_cmpint(qatomic_load_acquire(&g->r.ret), ==, 0);
    blk_unref(g->r.blk);
    g_assert_null(qemu_get_current_aio_context());
    g_main_loop_quit(g->loop);
    return G_SOURCE_REMOVE;
}

/* The home context is current only while its GSource is dispatched. */
static void *glib_thread(void *opaque)
{
    AioContext *ctx = aio_context_new(&error_abort);
    GMainContext *main_context = g_main_context_new();
    GSource *aio_source = aio_get_g_source(ctx);
    GSource *idle = g_idle_source_new();
    RamDisk *d = ram_disk_new(LENGTH);
    GlibHome g = { .loop = g_main_loop_new(main_context, false) };

    g_source_attach(aio_source, main_context);
    qemu_set_current_aio_context(ctx);
    g.r.blk = ram_open_blk(d, "driver=raw");
    send_read(&g.r);
    qemu_set_current_aio_context(NULL);
    g_source_set_callback(idle, drain_and_close, &g, NULL);
    g_source_attach(idle, main_context);
    g_main_loop_run(g.loop);

    ram_disk_free(d);
    g_source_destroy(aio_source);
    g_source_unref(aio_source);
    g_source_unref(idle);
    g_main_loop_unref(g.loop);
    g_main_context_unref(main_context);
    aio_context_unref(ctx);
    return NULL;
}

static void test_glib_callback_drains(void)
{
    g_thread_join(g_thread_new("glib", glib_thread, NULL));
}

static void *contextless_thread(void *opaque)
{
    g_assert_null(qemu_get_current_aio_context());
    g_assert_false(aio_context_may_block(qemu_get_current_aio_context()));
    return NULL;
}

static void test_a_thread_without_a_context_may_not_block(void)
{
    g_thread_join(g_thread_new("plain", contextless_thread, NULL));
}

/* --- closing --- */

/*
 * The thread's request has waited for the end of a drained section. It is over when the
 * backend has gone, whether or not it had a chance to run in between.
 */
static void test_unref_behind_drained_section(void)
{
    IOThread *thread = iothread_new();
    AioContext *ctx = iothread_get_aio_context(thread);

    for (int i = 0; i < ROUNDS; i++) {
        RamDisk *d = ram_disk_new(LENGTH);
        Request r = { .blk = ram_open_blk(d, "driver=raw") };

        blk_drained_begin(r.blk);
        aio_wait_bh_oneshot(ctx, send_read, &r);
        g_assert_cmpint(r.ret, ==, -EINPROGRESS);
        blk_drained_end(r.blk);
        blk_unref(r.blk);
        g_assert_cmpint(qatomic_load_acquire(&r.ret), ==, 0);
        ram_disk_free(d);
    }
    iothread_join(thread);
}

/* The node stays drained, by somebody else: without an image the request fails. */
static void test_unref_of_drained_node(void)
{
    IOThread *thread = iothread_new();
    AioContext *ctx = iothread_get_aio_context(thread);
    RamDisk *d = ram_disk_new(LENGTH);
    Request r[2] = { { .blk = ram_open_blk(d, "driver=raw") } };
    BlockDriverState *bs = blk_bs(r[0].blk);

    r[1].blk = r[0].blk;
    bdrv_ref(bs);
    bdrv_drained_begin(bs);
    aio_wait_bh_oneshot(ctx, send_read, &r[0]);
    send_read(&r[1]);
    blk_unref(r[0].blk);
    g_assert_cmpint(qatomic_load_acquire(&r[0].ret), ==, -ENOMEDIUM);
    g_assert_cmpint(wait_for(&r[1]), ==, -ENOMEDIUM);
    bdrv_drained_end(bs);
    bdrv_unref(bs);
    iothread_join(thread);
    ram_disk_free(d);
}

/* The last thing a request of another thread does must not be to look at its backend. */
static void test_unref_at_the_end_of_request(void)
{
    IOThread *thread = iothread_new();
    AioContext *ctx = iothread_get_aio_context(thread);

    for (int i = 0; i < ROUNDS; i++) {
        RamDisk *d = ram_disk_new(LENGTH);
        Request r = { .blk = ram_open_blk(d, "driver=raw") };

        aio_wait_bh_oneshot(ctx, send_read, &r);
        blk_unref(r.blk);
        g_assert_cmpint(qatomic_load_acquire(&r.ret), ==, 0);
        ram_disk_free(d);
    }
    iothread_join(thread);
}

typedef struct Closing {
    BlockBackend *blk;
    bool done;
} Closing;

static void *closing_thread(void *opaque)
{
    Closing *c = opaque;

    blk_unref(c->blk);
    qatomic_store_release(&c->done, true);
    return NULL;
}

/* Draining all finds a backend that another thread is about to close. */
static void test_drain_all_meets_unref(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        RamDisk *d = ram_disk_new(LENGTH);
        Closing c = { .blk = ram_open_blk(d, "driver=raw") };
        GThread *t = g_thread_new("closing", closing_thread, &c);

        while (!qatomic_load_acquire(&c.done)) {
            blk_drain_all();
            aio_poll(home, false);
        }
        g_thread_join(t);
        ram_disk_free(d);
    }
}

/* --- another image in a drained section --- */

static void test_remove_while_drained(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    BlockBackend *other = blk_new(home, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockDriverState *bs = blk_bs(blk);
    Request r = { .blk = other }, mine = { .blk = blk };

    g_assert_cmpint(blk_insert_bs(other, bs, &error_abort), ==, 0);
    blk_drained_begin(blk);
    send_read(&r);
    send_read(&mine);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    blk_remove_bs(blk);
    /* The section goes on for the backend, and is over for the image. */
    g_assert_cmpint(wait_for(&r), ==, 0);
    g_assert_cmpint(mine.ret, ==, -EINPROGRESS);
    blk_drained_end(blk);
    g_assert_cmpint(wait_for(&mine), ==, -ENOMEDIUM);
    blk_unref(blk);
    blk_unref(other);
    ram_disk_free(d);
}

static void release_bh(void *opaque)
{
    ram_release(opaque);
}

static void test_insert_while_drained(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *other = ram_open_blk(d, "driver=raw");
    BlockBackend *blk = blk_new(home, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    Request r = { .blk = other }, mine = { .blk = blk };

    d->hold = true;
    send_read(&r);
    blk_drained_begin(blk);
    blk_drained_begin(blk);
    send_read(&mine);
    aio_bh_schedule_oneshot(home, release_bh, d);
    g_assert_cmpint(blk_insert_bs(blk, blk_bs(other), &error_abort), ==, 0);
    g_assert_cmpint(r.ret, ==, 0); /* the section is the image's as well */
    send_read(&r);
    blk_drained_end(blk);
    aio_poll(home, false);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    g_assert_cmpint(mine.ret, ==, -EINPROGRESS);
    blk_drained_end(blk);
    g_assert_cmpint(wait_for(&r), ==, 0);
    g_assert_cmpint(wait_for(&mine), ==, 0);
    blk_unref(blk);
    blk_unref(other);
    ram_disk_free(d);
}

/* --- a context that comes late --- */

static void *late_context(void *opaque)
{
    RamDisk *d = opaque;
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    Request r = { .blk = blk, .drain = true };
    AioContext *ctx = aio_context_new(&error_abort);
    char c;

    d->max_delay_ns = 1000000;
    qemu_set_current_aio_context(ctx);
    g_assert_cmpint(blk_pread(blk, 0, 1, &c, 0), ==, 0);
    send_read(&r);
    blk_drain(blk);
    g_assert_cmpint(r.ret, ==, 0);
    blk_drained_begin(blk);
    send_read(&r);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    blk_drained_end(blk);
    blk_unref(blk);
    g_assert_cmpint(r.ret, ==, 0);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    return NULL;
}

/* The image was opened before its thread had a context of its own. */
static void test_late_context(void)
{
    RamDisk *d = ram_disk_new(LENGTH);

    g_thread_join(g_thread_new("late", late_context, d));
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    home = qemu_get_aio_context();
    g_test_add_func("/block/threads/plain-callback-drains", test_plain_callback_drains);
    g_test_add_func("/block/threads/glib-callback-drains", test_glib_callback_drains);
    g_test_add_func("/block/threads/no-context-may-not-block",
                    test_a_thread_without_a_context_may_not_block);
    g_test_add_func("/block/threads/unref-behind-drained-section",
                    test_unref_behind_drained_section);
    g_test_add_func("/block/threads/unref-of-drained-node", test_unref_of_drained_node);
    g_test_add_func("/block/threads/unref-at-the-end-of-request",
                    test_unref_at_the_end_of_request);
    g_test_add_func("/block/threads/drain-all-meets-unref", test_drain_all_meets_unref);
    g_test_add_func("/block/drained/remove-image", test_remove_while_drained);
    g_test_add_func("/block/drained/insert-image", test_insert_while_drained);
    g_test_add_func("/block/threads/late-context", test_late_context);
    return g_test_run();
}
