/* SPDX-License-Identifier: MIT */
/*
 * No stack left for another coroutine: a request fails with -ENOMEM, in the same way as
 * any other error, and the program goes on.
 */
#include "ram-driver.h"
#include "qemu/main-loop.h"
#include "../../util/coroutine-stack.h"

enum { LENGTH = 64 * 1024, STACKS = 100 };

static AioContext *home;
static BlockBackend *blk;

/* --- using up all stacks --- */

static GPtrArray *suspended;

static void coroutine_fn suspend(void *opaque)
{
    qemu_coroutine_yield();
}

static void use_up_stacks(void)
{
    Coroutine *co;

    suspended = g_ptr_array_new();
    while ((co = qemu_coroutine_create_attr(suspend, NULL, NULL))) {
        qemu_coroutine_enter(co);
        g_ptr_array_add(suspended, co);
    }
    g_assert_cmpuint(suspended->len, >, 0);
}

static void give_stacks_back(void)
{
    for (guint i = 0; i < suspended->len; i++) {
        qemu_coroutine_enter(g_ptr_array_index(suspended, i));
    }
    g_ptr_array_free(suspended, true);
}

/* --- requests --- */

typedef struct Request {
    QEMUIOVector qiov;
    char buf[512];
    int ret;
    AioContext *ctx;
} Request;

static void request_done(void *opaque, int ret)
{
    Request *r = opaque;

    r->ctx = qemu_get_current_aio_context();
    qatomic_store_release(&r->ret, ret);
}

static void *send_read(void *opaque)
{
    Request *r = opaque;

    r->ret = -EINPROGRESS;
    qemu_iovec_init_buf(&r->qiov, r->buf, sizeof(r->buf));
    blk_aio_preadv(blk, 0, &r->qiov, 0, request_done, r);
    return NULL;
}

static int wait_for(Request *r)
{
    int ret;

    while ((ret = qatomic_load_acquire(&r->ret)) == -EINPROGRESS) {
        aio_poll(home, true);
    }
    return ret;
}

static void test_callback(void)
{
    Request r[3];

    use_up_stacks();
    for (int i = 0; i < 3; i++) {
        send_read(&r[i]);
        g_assert_cmpint(r[i].ret, ==, -EINPROGRESS);
    }
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(wait_for(&r[i]), ==, -ENOMEM);
        g_assert_true(r[i].ctx == home);
    }
    blk_drain(blk); /* nothing is counted for ever */
    give_stacks_back();
    send_read(&r[0]);
    g_assert_cmpint(wait_for(&r[0]), ==, 0);
}

/* Its request was to run in the home context: there the callback comes. */
static void test_thread_without_context(void)
{
    Request r;

    use_up_stacks();
    g_thread_join(g_thread_new("plain", send_read, &r));
    g_assert_cmpint(wait_for(&r), ==, -ENOMEM);
    g_assert_true(r.ctx == home);
    blk_drain(blk);
    give_stacks_back();
}

static void test_drained(void)
{
    Request r;

    use_up_stacks();
    blk_drained_begin(blk);
    send_read(&r);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    blk_drained_end(blk);
    g_assert_cmpint(wait_for(&r), ==, -ENOMEM);
    give_stacks_back();
}

static void test_blocking(void)
{
    Error *err = NULL;
    int64_t n;
    char c;

    use_up_stacks();
    g_assert_cmpint(blk_pread(blk, 0, 1, &c, 0), ==, -ENOMEM);
    g_assert_cmpint(blk_pwrite(blk, 0, 1, &c, 0), ==, -ENOMEM);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 512, 0), ==, -ENOMEM);
    g_assert_cmpint(blk_pdiscard(blk, 0, 512), ==, -ENOMEM);
    g_assert_cmpint(blk_flush(blk), ==, -ENOMEM);
    g_assert_cmpint(blk_block_status(blk, 0, 512, &n), ==, -ENOMEM);
    g_assert_cmpint(blk_truncate(blk, LENGTH, true, PREALLOC_MODE_OFF, 0, &err), ==,
                    -ENOMEM);
    g_assert_nonnull(err);
    g_clear_error(&err);
    give_stacks_back();
    g_assert_cmpint(blk_pread(blk, 0, 1, &c, 0), ==, 0);
    g_assert_cmpint(blk_truncate(blk, LENGTH, true, PREALLOC_MODE_OFF, 0, &err), ==, 0);
    g_assert_null(err);
}

static void test_open(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    Error *err = NULL;

    use_up_stacks();
    g_assert_null(ram_try_open(d, "driver=raw", BDRV_O_RDWR, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    give_stacks_back();
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    RamDisk *d;
    int ret;

    coroutine_stack_force_mprotect(STACKS);
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    home = qemu_get_aio_context();
    d = ram_disk_new(LENGTH);
    blk = ram_open_blk(d, "driver=raw");
    g_test_add_func("/block/no-stacks/callback", test_callback);
    g_test_add_func("/block/no-stacks/thread-without-context",
                    test_thread_without_context);
    g_test_add_func("/block/no-stacks/drained", test_drained);
    g_test_add_func("/block/no-stacks/blocking", test_blocking);
    g_test_add_func("/block/no-stacks/open", test_open);
    ret = g_test_run();
    blk_unref(blk);
    ram_disk_free(d);
    return ret;
}
