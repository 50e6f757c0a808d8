/* SPDX-License-Identifier: MIT */
/*
 * Waiting by poll(): for systems without epoll, and a second opinion in tests.
 *
 * pollfds and pollhandlers are home's picture of the handlers, renewed under list_lock
 * when their set has changed. For GLib each handler's pfd is added to the source as well.
 */
#include <errno.h>
#include <poll.h>

#include "aio-internal.h"

static int fdmon_poll_setup(AioContext *ctx)
{
    ctx->pollfds = g_array_new(FALSE, FALSE, sizeof(GPollFD));
    ctx->pollhandlers = g_ptr_array_new();
    ctx->pollfds_stale = true;
    ctx->source_pfd = (GPollFD){
        .fd = event_notifier_get_fd(&ctx->notifier),
        .events = G_IO_IN,
    };
    g_source_add_poll(&ctx->source, &ctx->source_pfd);
    return 0;
}

static void fdmon_poll_cleanup(AioContext *ctx)
{
    g_array_free(ctx->pollfds, TRUE);
    g_ptr_array_free(ctx->pollhandlers, TRUE);
}

static void fdmon_poll_update(AioContext *ctx, AioHandler *old, AioHandler *new)
{
    /* A source that was destroyed has let go of its descriptors already. */
    bool destroyed = g_source_is_destroyed(&ctx->source);

    qatomic_set(&ctx->pollfds_stale, true);
    if (old && !destroyed) {
        g_source_remove_poll(&ctx->source, &old->gsource_pfd);
    }
    if (new && !destroyed) {
        new->gsource_pfd = new->pfd;
        g_source_add_poll(&ctx->source, &new->gsource_pfd);
    }
}

/* The first element is the notifier; the others are those of pollhandlers, in order. */
static void renew_pollfds(AioContext *ctx)
{
    AioHandler *handler;
    GPollFD notifier = {
        .fd = event_notifier_get_fd(&ctx->notifier),
        .events = G_IO_IN,
    };

    qemu_mutex_lock(&ctx->list_lock);
    qatomic_set(&ctx->pollfds_stale, false);
    g_array_set_size(ctx->pollfds, 0);
    g_ptr_array_set_size(ctx->pollhandlers, 0);
    g_array_append_val(ctx->pollfds, notifier);
    QLIST_FOREACH(handler, &ctx->handler_list, node) {
        GPollFD pfd = { .fd = handler->pfd.fd, .events = handler->pfd.events };

        g_array_append_val(ctx->pollfds, pfd);
        g_ptr_array_add(ctx->pollhandlers, handler);
    }
    qemu_mutex_unlock(&ctx->list_lock);
}

static void take_notifier(AioContext *ctx)
{
    event_notifier_test_and_clear(&ctx->notifier);
    aio_wake_consumed(ctx);
}

static void fdmon_poll_wait(AioContext *ctx, int64_t timeout)
{
    GPollFD *pfds;
    int n;

    if (qatomic_read(&ctx->pollfds_stale)) {
        renew_pollfds(ctx);
    }
    pfds = (GPollFD *)ctx->pollfds->data;
    n = qemu_poll_ns(pfds, ctx->pollfds->len, timeout);
    if (n > 0 && pfds[0].revents) {
        take_notifier(ctx);
        n--;
    }
    for (guint i = 1; n > 0 && i < ctx->pollfds->len; i++) {
        if (pfds[i].revents) {
            aio_add_ready(ctx, g_ptr_array_index(ctx->pollhandlers, i - 1),
                          pfds[i].revents);
            n--;
        }
    }
}

static bool fdmon_poll_gsource_pending(AioContext *ctx)
{
    AioHandler *handler;
    bool found = ctx->source_pfd.revents != 0;

    qemu_mutex_lock(&ctx->list_lock);
    QLIST_FOREACH(handler, &ctx->handler_list, node) {
        found |= handler->gsource_pfd.revents != 0;
    }
    qemu_mutex_unlock(&ctx->list_lock);
    return found;
}

static void fdmon_poll_gsource_collect(AioContext *ctx)
{
    AioHandler *handler;

    if (ctx->source_pfd.revents) {
        ctx->source_pfd.revents = 0;
        take_notifier(ctx);
    }
    qemu_mutex_lock(&ctx->list_lock);
    QLIST_FOREACH(handler, &ctx->handler_list, node) {
        if (handler->gsource_pfd.revents) {
            aio_add_ready(ctx, handler, handler->gsource_pfd.revents);
            handler->gsource_pfd.revents = 0;
        }
    }
    qemu_mutex_unlock(&ctx->list_lock);
}

const FDMonOps fdmon_poll_ops = {
    .name = "poll",
    .setup = fdmon_poll_setup,
    .cleanup = fdmon_poll_cleanup,
    .update = fdmon_poll_update,
    .wait = fdmon_poll_wait,
    .gsource_pending = fdmon_poll_gsource_pending,
    .gsource_collect = fdmon_poll_gsource_collect,
};
