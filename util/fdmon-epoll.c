/* SPDX-License-Identifier: MIT */
/*
 * Waiting by epoll: the set of descriptors lives in the kernel, and what is ready comes
 * back as the address of its handler.
 *
 * The context's own notifier and timerfd are edge-triggered: every write to an eventfd
 * makes an edge, so nobody has to read it. The epoll descriptor itself is what GLib, or
 * anybody else's loop, waits for.
 *
 * The epoll set is changed under list_lock by any thread and waited for by home; the
 * kernel does its own locking.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "aio-internal.h"

/* How many at a time; the rest comes in the next round. */
#define MAX_EVENTS 64

/*
 * A timerfd that expires a little early costs one empty round, setting it anew a system
 * call in each: leave it alone within this.
 */
#define TIMERFD_SLACK_NS 5000

QEMU_BUILD_BUG_ON((int)EPOLLIN != (int)G_IO_IN || (int)EPOLLOUT != (int)G_IO_OUT ||
                  (int)EPOLLERR != (int)G_IO_ERR || (int)EPOLLHUP != (int)G_IO_HUP);

static int watch_edge(AioContext *ctx, int fd, void *tag)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = tag };

    return epoll_ctl(ctx->epollfd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int fdmon_epoll_setup(AioContext *ctx)
{
    int ret;

    ctx->epollfd = epoll_create1(EPOLL_CLOEXEC);
    if (ctx->epollfd < 0) {
        return -errno;
    }
    ret = watch_edge(ctx, event_notifier_get_fd(&ctx->notifier), &ctx->notifier);
    if (ret < 0) {
        close(ctx->epollfd);
        ctx->epollfd = -1;
        return ret;
    }
    ctx->source_pfd = (GPollFD){ .fd = ctx->epollfd, .events = G_IO_IN };
    g_source_add_poll(&ctx->source, &ctx->source_pfd);
    return 0;
}

static void fdmon_epoll_cleanup(AioContext *ctx)
{
    if (ctx->epollfd >= 0) {
        close(ctx->epollfd);
        ctx->epollfd = -1;
    }
}

static QEMU_NORETURN void cannot_watch(int fd, int err)
{
    fprintf(stderr, "blkco: cannot watch file descriptor %d: %s\n", fd, strerror(err));
    abort();
}

/*
 * Watch in handler's place something that is always ready, as poll() finds files to be.
 */
static void watch_substitute(AioContext *ctx, AioHandler *handler,
                             struct epoll_event *event)
{
    handler->substitute_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (handler->substitute_fd < 0 ||
        epoll_ctl(ctx->epollfd, EPOLL_CTL_ADD, handler->substitute_fd, event) < 0) {
        cannot_watch(handler->pfd.fd, errno);
    }
}

static void watch(AioContext *ctx, AioHandler *handler, bool known)
{
    struct epoll_event event = { .events = handler->pfd.events, .data.ptr = handler };
    int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int fd = handler->pfd.fd;

    if (epoll_ctl(ctx->epollfd, op, fd, &event) == 0) {
        return;
    }
    if (errno == EPERM) {
        watch_substitute(ctx, handler, &event);
        return;
    }
    /* The descriptor was closed, and perhaps opened again, behind our back. */
    if (errno == ENOENT || errno == EEXIST) {
        op = errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        if (epoll_ctl(ctx->epollfd, op, fd, &event) == 0) {
            return;
        }
    }
    cannot_watch(fd, errno);
}

static void unwatch(AioContext *ctx, AioHandler *handler)
{
    int fd = handler->substitute_fd >= 0 ? handler->substitute_fd : handler->pfd.fd;

    /* Fails if the descriptor was closed before; the kernel has forgotten it then. */
    (void)epoll_ctl(ctx->epollfd, EPOLL_CTL_DEL, fd, NULL);
}

static void fdmon_epoll_update(AioContext *ctx, AioHandler *old, AioHandler *new)
{
    bool known = old && new && old->substitute_fd < 0;

    if (old && !known) {
        unwatch(ctx, old);
    }
    if (new) {
        watch(ctx, new, known);
    }
}

/* epoll_wait with a timeout in nanoseconds, which is > 0. */
static int wait_ns(int epollfd, struct epoll_event *events, int64_t timeout)
{
    struct timespec ts = {
        .tv_sec = timeout / NANOSECONDS_PER_SECOND,
        .tv_nsec = timeout % NANOSECONDS_PER_SECOND,
    };
    struct pollfd pfd = { .fd = epollfd, .events = POLLIN };

#if defined(SYS_epoll_pwait2) && __SIZEOF_POINTER__ == 8
    static bool missing;

    if (!qatomic_read(&missing)) {
        int n = syscall(SYS_epoll_pwait2, epollfd, events, MAX_EVENTS, &ts, NULL, 0);

        if (n >= 0 || errno != ENOSYS) {
            return n;
        }
        qatomic_set(&missing, true); /* before Linux 5.11 */
    }
#endif
    return ppoll(&pfd, 1, &ts, NULL) <= 0 ? 0
                                          : epoll_wait(epollfd, events, MAX_EVENTS, 0);
}

static void fdmon_epoll_wait(AioContext *ctx, int64_t timeout)
{
    struct epoll_event events[MAX_EVENTS];
    int n;

    if (timeout > 0) {
        n = wait_ns(ctx->epollfd, events, timeout);
    } else {
        n = epoll_wait(ctx->epollfd, events, MAX_EVENTS, (int)timeout);
    }
    for (int i = 0; i < n; i++) {
        void *tag = events[i].data.ptr;

        if (tag == &ctx->notifier) {
            aio_wake_consumed(ctx);
        } else if (tag == &ctx->timerfd) {
            ctx->timerfd_deadline = -1;
        } else {
            aio_add_ready(ctx, tag, events[i].events);
        }
    }
}

static bool fdmon_epoll_gsource_pending(AioContext *ctx)
{
    return ctx->source_pfd.revents != 0;
}

static void fdmon_epoll_gsource_collect(AioContext *ctx)
{
    if (ctx->source_pfd.revents) {
        ctx->source_pfd.revents = 0;
        fdmon_epoll_wait(ctx, 0);
    }
}

int fdmon_epoll_add_timerfd(AioContext *ctx)
{
    int fd, ret;

    if (ctx->epollfd < 0) {
        return -ENOTSUP;
    }
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    ret = watch_edge(ctx, fd, &ctx->timerfd);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    ctx->timerfd = fd;
    return 0;
}

void fdmon_epoll_set_timerfd(AioContext *ctx, int64_t timeout)
{
    struct itimerspec its = { 0 };
    int64_t now = get_clock();
    int64_t deadline = timeout < 0                 ? -1
                       : timeout > INT64_MAX - now ? INT64_MAX
                                                   : now + timeout;

    if (deadline == ctx->timerfd_deadline ||
        (deadline >= 0 && ctx->timerfd_deadline >= 0 &&
         deadline >= ctx->timerfd_deadline &&
         deadline - ctx->timerfd_deadline < TIMERFD_SLACK_NS)) {
        return;
    }
    if (deadline >= 0) {
        its.it_value.tv_sec = timeout / NANOSECONDS_PER_SECOND;
        its.it_value.tv_nsec = timeout % NANOSECONDS_PER_SECOND;
    }
    ctx->timerfd_deadline = deadline;
    if (timerfd_settime(ctx->timerfd, 0, &its, NULL) < 0) {
        abort(); /* cannot be: the arguments are right */
    }
}

const FDMonOps fdmon_epoll_ops = {
    .name = "epoll",
    .setup = fdmon_epoll_setup,
    .cleanup = fdmon_epoll_cleanup,
    .update = fdmon_epoll_update,
    .wait = fdmon_epoll_wait,
    .gsource_pending = fdmon_epoll_gsource_pending,
    .gsource_collect = fdmon_epoll_gsource_collect,
};
