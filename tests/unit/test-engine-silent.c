/* SPDX-License-Identifier: MIT */
/*
 * Requests of the native engine that raise no descriptor, and the loop that sleeps in the engine
 * for them (qemu/aio-sleeper.h): whatever is to wake a loop wakes it there too, and whoever waits
 * in another way than by aio_poll is not left waiting.
 *
 * The program's own io_submit stands before libaio's. It can keep a request, which for the engine is
 * under way then, until it is let go.
 */
#include <dlfcn.h>
#include <libaio.h>

#include "block/block-backend.h"
#include "../../block/engine/memcheck.h"
#include "engine-test.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define DEADLINE_US (20 * G_USEC_PER_SEC)

static struct {
    bool no_poll;       /* IO_CMD_POLL is unknown to the kernel */
    unsigned poll_fails; /* the next so many IO_CMD_POLL fail with EAGAIN */
    bool hold;          /* keep the next request, in: */
    struct iocb *held;  /* atomic */
    io_context_t held_ctx;
    unsigned silent, signalled, polls; /* requests */
} fake;

static int send_really(io_context_t ctx, long n, struct iocb **iocbs)
{
    int (*fn)(io_context_t, long, struct iocb **) =
        (int (*)(io_context_t, long, struct iocb **))dlsym(RTLD_NEXT, "io_submit");

    return fn(ctx, n, iocbs);
}

int io_submit(io_context_t ctx, long n, struct iocb **iocbs)
{
    if (iocbs[0]->aio_lio_opcode == IO_CMD_POLL) {
        fake.polls++;
        if (fake.no_poll) {
            return -EINVAL;
        }
        if (fake.poll_fails) {
            fake.poll_fails--;
            return -EAGAIN;
        }
        return send_really(ctx, n, iocbs);
    }
    for (int i = 0; i < n; i++) {
        fake.silent += iocbs[i]->u.c.flags == 0;
        fake.signalled += iocbs[i]->u.c.flags == 1;
    }
    if (fake.hold) {
        g_assert(n == 1 && !fake.held);
        fake.hold = false;
        fake.held_ctx = ctx;
        qatomic_store_release(&fake.held, iocbs[0]);
        return 1;
    }
    return send_really(ctx, n, iocbs);
}

static void let_go(void)
{
    struct iocb *iocb = qatomic_load_acquire(&fake.held);

    fake.held = NULL;
    g_assert_cmpint(send_really(fake.held_ctx, 1, &iocb), ==, 1);
}

typedef struct Fixture {
    AioContext *ctx;
    int fd;
    uint8_t *buf;
    Req req;
    int64_t deadline; /* us */
    GMainContext *main_context; /* of poll_by_glib, with source */
    GSource *source;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    memset(&fake, 0, sizeof(fake));
    f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    f->fd = scratch_file(64 * KIB, O_DIRECT);
    f->buf = qemu_memalign(4096, 64 * KIB);
    f->deadline = g_get_monotonic_time() + DEADLINE_US;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    if (f->source) {
        g_source_destroy(f->source);
        g_source_unref(f->source);
        g_main_context_unref(f->main_context);
    }
    qemu_vfree(f->buf);
    if (f->fd >= 0) {
        close(f->fd);
    }
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

/* A read of 4 KiB at @offset. */
static void start_read(Fixture *f, int64_t offset)
{
    f->req = (Req) { .engine = &io_engine_native, .fd = f->fd, .op = IO_ENGINE_READ,
                     .offset = offset, .bytes = 4096, .buf = f->buf };
    req_start(&f->req);
}

static void check_read(Fixture *f)
{
    g_assert_cmpint(f->req.ret, ==, 0);
    check_scratch(f->buf, f->req.offset, 4096);
}

static bool skipped(Fixture *f)
{
    if (f->fd < 0) {
        g_test_skip("no O_DIRECT here");
    } else if (memcheck_runs()) {
        g_test_skip("under memcheck the ring is not read, and no request is silent");
    }
    return f->fd < 0 || memcheck_runs();
}

static bool in_time(const Fixture *f)
{
    g_assert_cmpint(g_get_monotonic_time(), <, f->deadline);
    return true;
}

static void poll_until(Fixture *f, const bool *flag)
{
    while (in_time(f) && !qatomic_read(flag)) {
        aio_poll(f->ctx, true);
    }
}

static void set_flag(void *opaque)
{
    qatomic_set((bool *)opaque, true);
}

/* --- aio_poll --- */

static void test_silent(Fixture *f, gconstpointer data)
{
    if (skipped(f)) {
        return;
    }
    for (int i = 0; i < 16; i++) {
        start_read(f, i * 4096);
        req_wait(&f->req);
        check_read(f);
    }
    g_assert_cmpint(fake.silent, ==, 16);
    g_assert_cmpint(fake.signalled, ==, 0);
    g_assert_cmpint(fake.polls, ==, 1);
}

static void test_kernel_without_poll(Fixture *f, gconstpointer data)
{
    if (skipped(f)) {
        return;
    }
    fake.no_poll = true;
    start_read(f, 4096);
    req_wait(&f->req);
    check_read(f);
    g_assert_cmpint(fake.silent, ==, 0);
    g_assert_cmpint(fake.signalled, ==, 1);
}

/* Starts a read that stays under way, so that the loop sleeps in the engine. */
static bool hold_read(Fixture *f)
{
    if (skipped(f)) {
        return false;
    }
    fake.hold = true;
    start_read(f, 8192);
    g_assert(fake.held);
    g_assert_cmpint(fake.silent, ==, 1);
    return true;
}

static void finish_read(Fixture *f)
{
    let_go();
    while (in_time(f) && f->req.ret == REQ_PENDING) {
        aio_poll(f->ctx, true);
    }
    check_read(f);
}

typedef struct Later {
    AioContext *ctx;
    bool flag;
} Later;

static void *schedule_later(void *opaque)
{
    Later *later = opaque;

    g_usleep(20 * 1000);
    aio_bh_schedule_oneshot(later->ctx, set_flag, &later->flag);
    return NULL;
}

static void test_bottom_half_wakes(Fixture *f, gconstpointer data)
{
    /* Several times: the poll request has to be sent anew. */
    for (int i = 0; i < 5; i++) {
        Later later = { .ctx = f->ctx };
        QemuThread thread;

        if (!hold_read(f)) {
            return;
        }
        fake.silent = 0;
        qemu_thread_create(&thread, "later", schedule_later, &later, QEMU_THREAD_JOINABLE);
        poll_until(f, &later.flag);
        qemu_thread_join(&thread);
        g_assert_cmpint(f->req.ret, ==, REQ_PENDING);
        finish_read(f);
    }
}

static void read_notifier(EventNotifier *e)
{
    g_assert(event_notifier_test_and_clear(e));
}

static void *raise_later(void *opaque)
{
    g_usleep(20 * 1000);
    event_notifier_set(opaque);
    return NULL;
}

/* A descriptor that the loop watches. */
static void watch(Fixture *f, EventNotifier *notifier)
{
    g_assert_cmpint(event_notifier_init(notifier, false), ==, 0);
    aio_set_event_notifier(f->ctx, notifier, read_notifier, NULL, NULL);
}

static void unwatch(Fixture *f, EventNotifier *notifier)
{
    aio_set_event_notifier(f->ctx, notifier, NULL, NULL, NULL);
    event_notifier_cleanup(notifier);
}

/* One aio_poll does it: a descriptor that wakes the loop is looked at right then. */
static void test_descriptor_wakes(Fixture *f, gconstpointer data)
{
    EventNotifier notifier;

    if (!hold_read(f)) {
        return;
    }
    watch(f, &notifier);
    for (int i = 0; i < 5; i++) {
        QemuThread thread;

        qemu_thread_create(&thread, "later", raise_later, &notifier, QEMU_THREAD_JOINABLE);
        g_assert_true(aio_poll(f->ctx, true));
        g_assert_false(event_notifier_test_and_clear(&notifier));
        qemu_thread_join(&thread);
        in_time(f);
    }
    unwatch(f, &notifier);
    finish_read(f);
}

/* The same when the poll request, sent then, has its completion at once. */
static void test_descriptor_readable_before_sleep(Fixture *f, gconstpointer data)
{
    EventNotifier notifier;

    if (!hold_read(f)) {
        return;
    }
    watch(f, &notifier);
    for (int i = 0; i < 5; i++) {
        event_notifier_set(&notifier);
        g_assert_true(aio_poll(f->ctx, true));
        g_assert_false(event_notifier_test_and_clear(&notifier));
    }
    unwatch(f, &notifier);
    finish_read(f);
}

static void test_timer_wakes(Fixture *f, gconstpointer data)
{
    bool flag = false;
    QEMUTimer *timer;

    if (!hold_read(f)) {
        return;
    }
    timer = aio_timer_new(f->ctx, QEMU_CLOCK_REALTIME, SCALE_MS, set_flag, &flag);
    timer_mod(timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 20);
    poll_until(f, &flag);
    timer_free(timer);
    finish_read(f);
}

/* Never early; and of many at least one is not late, however busy the machine is. */
static void test_timer_is_on_time(Fixture *f, gconstpointer data)
{
    static const int64_t busy_ns[] = { 0, 32 * SCALE_US, 10 * SCALE_MS };
    QEMUTimer *timer;
    bool flag;

    if (!hold_read(f)) {
        return;
    }
    timer = aio_timer_new(f->ctx, QEMU_CLOCK_REALTIME, SCALE_NS, set_flag, &flag);
    for (size_t i = 0; i < G_N_ELEMENTS(busy_ns); i++) {
        int64_t best = INT64_MAX;

        aio_context_set_poll_params(f->ctx, busy_ns[i], 0, 0, &error_abort);
        for (int n = 0; n < 20; n++) {
            int64_t due = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 3 * SCALE_MS, late;

            flag = false;
            timer_mod_ns(timer, due);
            poll_until(f, &flag);
            late = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - due;
            g_assert_cmpint(late, >=, 0);
            best = MIN(best, late);
        }
        g_assert_cmpint(best, <, SCALE_MS);
    }
    timer_free(timer);
    finish_read(f);
}

/* The kernel has no room for the poll request: the descriptors are looked at now and then. */
static void test_poll_refused(Fixture *f, gconstpointer data)
{
    Later later = { .ctx = f->ctx };
    EventNotifier notifier;
    QemuThread thread;

    if (!hold_read(f)) {
        return;
    }
    fake.poll_fails = UINT_MAX;
    watch(f, &notifier);
    /* For the first time there is still one in the kernel. */
    for (int i = 0; i < 3; i++) {
        qemu_thread_create(&thread, "later", raise_later, &notifier, QEMU_THREAD_JOINABLE);
        while (in_time(f) && !aio_poll(f->ctx, true)) {
        }
        g_assert_false(event_notifier_test_and_clear(&notifier));
        qemu_thread_join(&thread);
    }
    unwatch(f, &notifier);
    for (int i = 0; i < 2; i++) {
        later.flag = false;
        qemu_thread_create(&thread, "later", schedule_later, &later, QEMU_THREAD_JOINABLE);
        poll_until(f, &later.flag);
        qemu_thread_join(&thread);
    }
    finish_read(f);
}

static void let_go_bh(void *opaque)
{
    Fixture *f = opaque;

    finish_read(f); /* polls */
}

static void test_nested_poll(Fixture *f, gconstpointer data)
{
    if (!hold_read(f)) {
        return;
    }
    aio_bh_schedule_oneshot(f->ctx, let_go_bh, f);
    while (in_time(f) && f->req.ret == REQ_PENDING) {
        aio_poll(f->ctx, true);
    }
    check_read(f);
}

static void *let_go_later(void *opaque)
{
    do {
        g_usleep(20 * 1000);
    } while (!qatomic_read(&fake.held));
    let_go();
    return NULL;
}

static void poll_sleeping(Fixture *f)
{
    aio_poll(f->ctx, true);
}

static void poll_without_sleep(Fixture *f)
{
    aio_poll(f->ctx, false);
}

static void schedule_again(void *opaque)
{
    qemu_bh_schedule(*(QEMUBH **)opaque);
}

/* There is always a bottom half to run. */
static void poll_beside_bottom_half(Fixture *f)
{
    static QEMUBH *bh;

    if (!bh) {
        bh = aio_bh_new(f->ctx, schedule_again, &bh);
        qemu_bh_schedule(bh);
    }
    aio_poll(f->ctx, true);
    if (f->req.ret != REQ_PENDING) {
        qemu_bh_delete(bh);
        bh = NULL;
    }
}

static void poll_by_glib(Fixture *f)
{
    if (!f->main_context) {
        f->main_context = g_main_context_new();
        f->source = aio_get_g_source(f->ctx);
        g_source_attach(f->source, f->main_context);
    }
    g_main_context_iteration(f->main_context, true);
}

typedef void PollFn(Fixture *f);

typedef struct CallbackTest {
    Fixture *f;
    PollFn *poll;
} CallbackTest;

/* Called where the engine hands out completions; its io_poll is not asked until this returns. */
static void poll_in_callback(void *opaque, int ret)
{
    CallbackTest *t = opaque;
    Fixture *f = t->f;
    QemuThread thread;

    g_assert_cmpint(ret, ==, 0);
    /* It goes to the kernel when the loop is entered. */
    fake.hold = true;
    start_read(f, 8192);
    qemu_thread_create(&thread, "later", let_go_later, NULL, QEMU_THREAD_JOINABLE);
    while (in_time(f) && f->req.ret == REQ_PENDING) {
        t->poll(f);
    }
    qemu_thread_join(&thread);
}

static void test_poll_in_callback(Fixture *f, gconstpointer data)
{
    char name[] = "engine-silent-XXXXXX";
    uint8_t *buf = qemu_memalign(4096, 4096);
    CallbackTest t = { .f = f, .poll = *(PollFn *const *)data };
    QEMUIOVector qiov;
    BlockBackend *blk;

    if (skipped(f)) {
        qemu_vfree(buf);
        return;
    }
    close(mkstemp(name));
    g_assert_cmpint(truncate(name, 64 * KIB), ==, 0);
    blk = blk_new_open(name, NULL, NULL, BDRV_O_NATIVE_AIO | BDRV_O_NOCACHE, &error_abort);
    unlink(name); /* nothing is left behind by a test that fails */
    qemu_iovec_init_buf(&qiov, buf, 4096);
    f->req.ret = REQ_PENDING;
    fake.silent = 0;
    blk_aio_preadv(blk, 4096, &qiov, 0, poll_in_callback, &t);
    g_assert_cmpint(fake.silent, ==, 1);
    fake.silent = 0;
    while (in_time(f) && f->req.ret == REQ_PENDING) {
        aio_poll(f->ctx, true);
    }
    check_read(f);
    blk_unref(blk);
    qemu_vfree(buf);
}

/* --- others that wait --- */

static gboolean let_go_cb(gpointer opaque)
{
    let_go();
    return G_SOURCE_REMOVE;
}

/* Under way since before GLib waits; and one that begins then. */
static void test_glib_waits(Fixture *f, gconstpointer data)
{
    GMainContext *main_context = g_main_context_new();
    GSource *source = aio_get_g_source(f->ctx), *timeout = g_timeout_source_new(20);

    if (hold_read(f)) {
        g_source_attach(source, main_context);
        g_source_set_callback(timeout, let_go_cb, NULL, NULL);
        g_source_attach(timeout, main_context);
        while (in_time(f) && f->req.ret == REQ_PENDING) {
            g_main_context_iteration(main_context, true);
        }
        check_read(f);
        start_read(f, 4096);
        g_assert_cmpint(fake.signalled, ==, 1);
        while (in_time(f) && f->req.ret == REQ_PENDING) {
            g_main_context_iteration(main_context, true);
        }
        check_read(f);
        g_assert_cmpint(fake.silent, ==, 1);
        g_source_destroy(source);
    }
    g_source_unref(timeout);
    g_source_unref(source);
    g_main_context_unref(main_context);
}

static void wait_for_descriptor(Fixture *f)
{
    while (in_time(f) && f->req.ret == REQ_PENDING) {
        GPollFD pfd = { .fd = aio_context_get_pollable_fd(f->ctx), .events = G_IO_IN };

        g_assert_cmpint(g_poll(&pfd, 1, DEADLINE_US / 1000), ==, 1);
        while (aio_poll(f->ctx, false)) {
        }
    }
    check_read(f);
}

static void test_pollable_descriptor_waits(Fixture *f, gconstpointer data)
{
    QemuThread thread;

    if (!hold_read(f)) {
        return;
    }
    qemu_thread_create(&thread, "later", let_go_later, f, QEMU_THREAD_JOINABLE);
    wait_for_descriptor(f);
    qemu_thread_join(&thread);
    start_read(f, 4096);
    g_assert_cmpint(fake.signalled, ==, 1);
    wait_for_descriptor(f);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

static void add_in_callback(const char *path, PollFn *const *poll)
{
    g_test_add(path, Fixture, poll, set_up, test_poll_in_callback, tear_down);
}

int main(int argc, char **argv)
{
    static PollFn *const sleeping = poll_sleeping;
    static PollFn *const without_sleep = poll_without_sleep;
    static PollFn *const beside_bottom_half = poll_beside_bottom_half;
    static PollFn *const by_glib = poll_by_glib;

    g_test_init(&argc, &argv, NULL);
    add("/engine/silent/no-descriptor-is-raised", test_silent);
    add("/engine/silent/kernel-without-poll", test_kernel_without_poll);
    add("/engine/silent/bottom-half-wakes", test_bottom_half_wakes);
    add("/engine/silent/descriptor-wakes", test_descriptor_wakes);
    add("/engine/silent/descriptor-readable-before-sleep", test_descriptor_readable_before_sleep);
    add("/engine/silent/timer-wakes", test_timer_wakes);
    add("/engine/silent/timer-is-on-time", test_timer_is_on_time);
    add("/engine/silent/poll-refused", test_poll_refused);
    add("/engine/silent/nested-poll", test_nested_poll);
    add_in_callback("/engine/silent/poll-in-callback", &sleeping);
    add_in_callback("/engine/silent/poll-in-callback/without-sleep", &without_sleep);
    add_in_callback("/engine/silent/poll-in-callback/beside-bottom-half", &beside_bottom_half);
    add_in_callback("/engine/silent/poll-in-callback/by-glib", &by_glib);
    add("/engine/silent/glib-waits", test_glib_waits);
    add("/engine/silent/pollable-descriptor-waits", test_pollable_descriptor_waits);
    return g_test_run();
}
