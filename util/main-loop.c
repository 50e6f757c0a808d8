/* SPDX-License-Identifier: MIT */
/*
 * The main loop: two contexts attached to the default GMainContext. aio_poll of the main
 * one, which block code calls to wait for its own, leaves the program's descriptors and
 * timers (timer_new) alone: they are in the other one, which is only ever dispatched by
 * GLib.
 *
 * Both are made by qemu_init_main_loop, live as long as the program, and have its thread
 * as home.
 */
#include <errno.h>
#include <unistd.h>

#include "qemu/atomic.h"
#include "qemu/main-loop.h"

static AioContext *main_ctx;
static AioContext *iohandler_ctx;

static void attach(AioContext *ctx, const char *name)
{
    GSource *source = aio_get_g_source(ctx);

    g_source_set_name(source, name);
    g_source_attach(source, NULL);
    g_source_unref(source);
}

/*
 * GLib ends the program when there is no descriptor for the wake-up of its default context,
 * which is made at its first use. It would take two for a pipe.
 */
static bool can_make_default_context(void)
{
    int fds[2];

    if (pipe(fds) < 0) {
        return false;
    }
    close(fds[0]);
    close(fds[1]);
    return true;
}

int qemu_init_main_loop(Error **errp)
{
    AioContext *ctx;

    if (main_ctx) {
        return 0;
    }
    ctx = aio_context_new(errp);
    iohandler_ctx = ctx ? aio_context_new(errp) : NULL;
    if (iohandler_ctx && !can_make_default_context()) {
        error_setg_errno(errp, errno, "Failed to initialize the event loop");
        g_clear_pointer(&iohandler_ctx, aio_context_unref);
    }
    if (!iohandler_ctx) {
        if (ctx) {
            aio_context_unref(ctx);
        }
        return -EMFILE;
    }
    main_loop_tlg = *aio_context_get_timer_group(iohandler_ctx);
    attach(ctx, "blkco-main");
    attach(iohandler_ctx, "blkco-io-handler");
    qemu_set_current_aio_context(ctx);
    qatomic_store_release(&main_ctx, ctx);
    return 0;
}

AioContext *qemu_get_aio_context(void)
{
    return qatomic_load_acquire(&main_ctx);
}

AioContext *iohandler_get_aio_context(void)
{
    return iohandler_ctx;
}

bool qemu_in_main_thread(void)
{
    AioContext *ctx = qemu_get_aio_context();

    return ctx && in_aio_context_home_thread(ctx);
}

/* How the program's default context waits; the main thread's, inside of main_loop_wait. */
static GPollFunc waits_under_bql;

static gint wait_without_bql(GPollFD *fds, guint nfds, gint timeout)
{
    int ret, saved_errno;

    if (!bql_locked()) {
        return waits_under_bql(fds, nfds, timeout);
    }
    bql_unlock();
    ret = waits_under_bql(fds, nfds, timeout);
    saved_errno = errno;
    bql_lock();
    errno = saved_errno;
    return ret;
}

void main_loop_wait(int nonblocking)
{
    GPollFunc wait = bql_locked() ? g_main_context_get_poll_func(NULL) : wait_without_bql;

    /* In a callback of another main_loop_wait it is in place already. */
    if (wait == wait_without_bql) {
        g_main_context_iteration(NULL, !nonblocking);
        return;
    }
    waits_under_bql = wait;
    g_main_context_set_poll_func(NULL, wait_without_bql);
    g_main_context_iteration(NULL, !nonblocking);
    g_main_context_set_poll_func(NULL, wait);
}

void qemu_notify_event(void)
{
    g_main_context_wakeup(NULL);
}

void qemu_set_fd_handler(int fd, IOHandler *fd_read, IOHandler *fd_write, void *opaque)
{
    aio_set_fd_handler(iohandler_ctx, fd, fd_read, fd_write, NULL, NULL, opaque);
}

int event_notifier_set_handler(EventNotifier *notifier, EventNotifierHandler *handler)
{
    aio_set_event_notifier(iohandler_ctx, notifier, handler, NULL, NULL);
    return 0;
}

QEMUBH *qemu_bh_new_full(QEMUBHFunc *cb, void *opaque, const char *name,
                         MemReentrancyGuard *reentrancy_guard)
{
    return aio_bh_new_full(qemu_get_aio_context(), cb, opaque, name, reentrancy_guard);
}
