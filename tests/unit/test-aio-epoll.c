/* SPDX-License-Identifier: MIT */
/*
 * The loop on a kernel that lacks something or refuses it: without epoll, without
 * epoll_pwait2, out of descriptors; and descriptors that were closed behind the loop's back.
 * This program's own definitions of a few system calls stand before the C library's.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

/* For the way it waits, and the timerfd. */
#include "../../util/aio-internal.h"

/* As in the loop: other systems have no such wait. */
#if defined(SYS_epoll_pwait2) && __SIZEOF_POINTER__ == 8
#define HAVE_PWAIT2 1
#else
#define HAVE_PWAIT2 0
#define SYS_epoll_pwait2 (-1)
#endif

/* What a call of each kind fails with; 0: it does not. */
static struct {
    int epoll_create, eventfd, timerfd_create, pwait2;
    int ctl_add, ctl_mod;
    int ctl_spared; /* so many calls of epoll_ctl before are not touched */
    int pwait2_left; /* so many calls fail, if > 0 */
} fails;

static unsigned settime_calls;

static int fail_with(int err)
{
    errno = err;
    return -1;
}

static void *next_symbol(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(fn);
    return fn;
}

int epoll_create1(int flags)
{
    static int (*next)(int);

    if (fails.epoll_create) {
        return fail_with(fails.epoll_create);
    }
    if (!next) {
        next = (int (*)(int))next_symbol("epoll_create1");
    }
    return next(flags);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    static int (*next)(int, int, int, struct epoll_event *);
    int err = op == EPOLL_CTL_ADD ? fails.ctl_add : op == EPOLL_CTL_MOD ? fails.ctl_mod : 0;

    if (err && fails.ctl_spared > 0) {
        fails.ctl_spared--;
    } else if (err) {
        return fail_with(err);
    }
    if (!next) {
        next = (int (*)(int, int, int, struct epoll_event *))next_symbol("epoll_ctl");
    }
    return next(epfd, op, fd, event);
}

int eventfd(unsigned count, int flags)
{
    static int (*next)(unsigned, int);

    if (fails.eventfd) {
        return fail_with(fails.eventfd);
    }
    if (!next) {
        next = (int (*)(unsigned, int))next_symbol("eventfd");
    }
    return next(count, flags);
}

int timerfd_create(int clock, int flags)
{
    static int (*next)(int, int);

    if (fails.timerfd_create) {
        return fail_with(fails.timerfd_create);
    }
    if (!next) {
        next = (int (*)(int, int))next_symbol("timerfd_create");
    }
    return next(clock, flags);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    static int (*next)(int, int, const struct itimerspec *, struct itimerspec *);

    settime_calls++;
    if (!next) {
        next = (int (*)(int, int, const struct itimerspec *, struct itimerspec *))next_symbol(
            "timerfd_settime");
    }
    return next(fd, flags, new, old);
}

long syscall(long number, ...)
{
    static long (*next)(long, ...);
    va_list ap;
    long a[6];

    if (number == SYS_epoll_pwait2 && fails.pwait2) {
        int err = fails.pwait2;

        if (fails.pwait2_left && --fails.pwait2_left == 0) {
            fails.pwait2 = 0;
        }
        return fail_with(err);
    }
    va_start(ap, number);
    for (size_t i = 0; i < G_N_ELEMENTS(a); i++) {
        a[i] = va_arg(ap, long);
    }
    va_end(ap);
    if (!next) {
        next = (long (*)(long, ...))next_symbol("syscall");
    }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- helpers ---- */

static AioContext *ctx;

static void begin(void)
{
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
}

static void end(void)
{
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

static void settle(void)
{
    while (aio_poll(ctx, false)) {
    }
}

/* The lowest descriptor that is free: the same before and behind, nothing has leaked. */
static int free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return fd;
}

static void must_die(void (*fn)(void), const char *message)
{
    if (g_test_subprocess()) {
        struct rlimit no_core = { 0, 0 };

        setrlimit(RLIMIT_CORE, &no_core);
        begin();
        fn();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(message);
}

typedef struct Pipe {
    int fds[2];
    int n;
} Pipe;

static void pipe_read(void *opaque)
{
    Pipe *p = opaque;
    char c;

    g_assert_cmpint(read(p->fds[0], &c, 1), ==, 1);
    p->n++;
}

static void pipe_open(Pipe *p)
{
    p->n = 0;
    g_assert_cmpint(pipe(p->fds), ==, 0);
}

static void pipe_watch(Pipe *p)
{
    aio_set_fd_handler(ctx, p->fds[0], pipe_read, NULL, NULL, NULL, p);
}

static void pipe_put(Pipe *p)
{
    g_assert_cmpint(write(p->fds[1], "x", 1), ==, 1);
}

static void pipe_close(Pipe *p)
{
    aio_set_fd_handler(ctx, p->fds[0], NULL, NULL, NULL, NULL, NULL);
    close(p->fds[0]);
    close(p->fds[1]);
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* ---- making a context ---- */

static void test_without_epoll_it_waits_by_poll(void)
{
    Pipe p;

    fails.epoll_create = ENOSYS;
    begin();
    fails.epoll_create = 0;
    g_assert_true(ctx->fdmon == &fdmon_poll_ops);
    pipe_open(&p);
    pipe_watch(&p);
    pipe_put(&p);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(p.n, ==, 1);
    /* There is no one descriptor to wait for then. */
    g_assert_cmpint(aio_context_get_pollable_fd(ctx), ==, -1);
    g_assert_cmpint(errno, ==, ENOTSUP);
    pipe_close(&p);
    end();
}

static void new_fails(void)
{
    Error *err = NULL;

    g_assert_null(aio_context_new(&err));
    g_assert_nonnull(err);
    g_error_free(err);
}

static void test_context_that_cannot_be_made_leaves_nothing(void)
{
    int fd = free_fd();

    fails.epoll_create = EMFILE;
    new_fails();
    fails.epoll_create = 0;
    g_assert_cmpint(free_fd(), ==, fd);
    fails.ctl_add = ENOSPC; /* /proc/sys/fs/epoll/max_user_watches */
    new_fails();
    fails.ctl_add = 0;
    g_assert_cmpint(free_fd(), ==, fd);
    fails.eventfd = EMFILE;
    new_fails();
    fails.eventfd = 0;
    g_assert_cmpint(free_fd(), ==, fd);
    begin();
    end();
    g_assert_cmpint(free_fd(), ==, fd);
}

static void test_thread_without_a_context_is_not_started(void)
{
    Error *err = NULL;

    fails.epoll_create = EMFILE;
    g_assert_null(iothread_new_named("nobody", &err));
    fails.epoll_create = 0;
    error_free_or_abort(&err);
}

static void main_loop_fails(void)
{
    int fd = free_fd();
    Error *err = NULL;

    g_assert_cmpint(qemu_init_main_loop(&err), ==, -EMFILE);
    error_free_or_abort(&err);
    g_assert_null(qemu_get_aio_context());
    g_assert_null(iohandler_get_aio_context());
    g_assert_false(qemu_in_main_thread());
    g_assert_cmpint(free_fd(), ==, fd);
}

static void *in_main_thread(void *opaque)
{
    return GINT_TO_POINTER(qemu_in_main_thread());
}

/* In a process of its own, as the loop stays. */
static void test_main_loop_is_made_of_two_contexts_or_none(void)
{
    AioContext *main_ctx;
    QemuThread thread;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    fails.epoll_create = EMFILE;
    main_loop_fails();
    fails.epoll_create = 0;
    fails.ctl_add = ENOSPC;
    fails.ctl_spared = 1;
    main_loop_fails();
    fails.ctl_add = 0;

    g_assert_cmpint(qemu_init_main_loop(&error_abort), ==, 0);
    main_ctx = qemu_get_aio_context();
    g_assert_nonnull(main_ctx);
    g_assert_cmpint(qemu_init_main_loop(&error_abort), ==, 0);
    g_assert_true(qemu_get_aio_context() == main_ctx);
    g_assert_true(qemu_in_main_thread());
    qemu_thread_create(&thread, "other", in_main_thread, NULL, QEMU_THREAD_JOINABLE);
    g_assert_false(GPOINTER_TO_INT(qemu_thread_join(&thread)));
}

/* ---- descriptors ---- */

/* Closed and opened again under the same number, with its handler in place all the time. */
static void test_descriptor_opened_again_is_watched(void)
{
    Pipe p, other;

    begin();
    pipe_open(&p);
    pipe_watch(&p);
    pipe_open(&other);
    g_assert_cmpint(dup2(other.fds[0], p.fds[0]), ==, p.fds[0]);
    close(p.fds[1]);
    p.fds[1] = other.fds[1];
    close(other.fds[0]);
    pipe_watch(&p);
    settle();
    pipe_put(&p);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(p.n, ==, 1);
    pipe_close(&p);
    end();
}

/* The kernel still knows a descriptor that was closed too early, if its file lives on. */
static void test_descriptor_closed_before_its_handler_went(void)
{
    Pipe p;
    int copy;

    begin();
    pipe_open(&p);
    pipe_watch(&p);
    copy = dup(p.fds[0]);
    close(p.fds[0]);
    aio_set_fd_handler(ctx, p.fds[0], NULL, NULL, NULL, NULL, NULL);
    settle();
    g_assert_cmpint(dup2(copy, p.fds[0]), ==, p.fds[0]);
    close(copy);
    pipe_watch(&p);
    pipe_put(&p);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(p.n, ==, 1);
    pipe_close(&p);
    end();
}

static int open_file(void)
{
    g_autofree char *name = NULL;
    int fd = g_file_open_tmp(NULL, &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    unlink(name);
    return fd;
}

static void test_file_may_get_another_handler(void)
{
    int fd = open_file(), lowest, first = 0, second = 0;

    begin();
    lowest = free_fd();
    aio_set_fd_handler(ctx, fd, count, NULL, NULL, NULL, &first);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(first, ==, 1);
    aio_set_fd_handler(ctx, fd, NULL, count, NULL, NULL, &second);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpint(first, ==, 1);
    g_assert_cmpint(second, ==, 1);
    aio_set_fd_handler(ctx, fd, NULL, NULL, NULL, NULL, NULL);
    settle();
    g_assert_cmpint(second, ==, 1);
    g_assert_cmpint(free_fd(), ==, lowest);
    end();
    close(fd);
}

static void watch_closed(void)
{
    aio_set_fd_handler(ctx, free_fd(), count, NULL, NULL, NULL, NULL);
}

static void test_die_no_descriptor(void)
{
    must_die(watch_closed, "*cannot watch file descriptor*Bad file descriptor*");
}

static void watch_twice_refused(void)
{
    fails.ctl_add = EEXIST;
    fails.ctl_mod = ENOMEM;
    aio_set_fd_handler(ctx, STDOUT_FILENO, count, NULL, NULL, NULL, NULL);
}

static void test_die_watch_refused(void)
{
    must_die(watch_twice_refused, "*cannot watch file descriptor 1: Cannot allocate memory*");
}

static void watch_file_without_eventfd(void)
{
    fails.eventfd = EMFILE;
    aio_set_fd_handler(ctx, open_file(), count, NULL, NULL, NULL, NULL);
}

static void test_die_file_without_eventfd(void)
{
    must_die(watch_file_without_eventfd, "*cannot watch file descriptor*Too many open files*");
}

static void watch_file_refused(void)
{
    fails.ctl_spared = 1;
    fails.ctl_add = ENOSPC;
    aio_set_fd_handler(ctx, open_file(), count, NULL, NULL, NULL, NULL);
}

static void test_die_file_refused(void)
{
    must_die(watch_file_refused, "*cannot watch file descriptor*No space left on device*");
}

/* ---- waiting ---- */

static void wait_for_timer_and_pipe(void)
{
    int64_t start = get_clock();
    QEMUTimer timer;
    Pipe p;
    int fired = 0;

    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, count, &fired);
    timer_mod(&timer, start + 300 * SCALE_US);
    while (!fired) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(get_clock() - start, >=, 300 * SCALE_US);

    /* A descriptor is seen before the time is up. */
    pipe_open(&p);
    pipe_watch(&p);
    timer_mod(&timer, get_clock() + 1000 * NANOSECONDS_PER_SECOND);
    pipe_put(&p);
    while (!p.n) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(fired, ==, 1);
    timer_del(&timer);
    timer_deinit(&timer);
    pipe_close(&p);
}

/* Not in this process: it remembers that the call is missing. */
static void test_without_pwait2_waits_are_as_exact(void)
{
    if (g_test_subprocess()) {
        fails.pwait2 = ENOSYS;
        begin();
        wait_for_timer_and_pipe();
        end();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static void test_interrupted_wait_is_repeated(void)
{
    begin();
    fails.pwait2 = EINTR;
    fails.pwait2_left = 1;
    wait_for_timer_and_pipe();
    g_assert_true(!HAVE_PWAIT2 || fails.pwait2 == 0);
    end();
}

/* ---- the pollable descriptor ---- */

static int64_t timerfd_remaining_ns(void)
{
    struct itimerspec its;

    g_assert_cmpint(timerfd_gettime(ctx->timerfd, &its), ==, 0);
    return its.it_value.tv_sec * NANOSECONDS_PER_SECOND + its.it_value.tv_nsec;
}

static bool readable(int fd)
{
    GPollFD pfd = { .fd = fd, .events = G_IO_IN };

    return qemu_poll_ns(&pfd, 1, 0) == 1;
}

static void test_pollable_fd_can_be_refused_and_asked_for_again(void)
{
    int fd, lowest;

    begin();
    lowest = free_fd();
    fails.timerfd_create = EMFILE;
    g_assert_cmpint(aio_context_get_pollable_fd(ctx), ==, -1);
    g_assert_cmpint(errno, ==, EMFILE);
    fails.timerfd_create = 0;
    fails.ctl_add = ENOSPC;
    g_assert_cmpint(aio_context_get_pollable_fd(ctx), ==, -1);
    g_assert_cmpint(errno, ==, ENOSPC);
    fails.ctl_add = 0;
    g_assert_cmpint(free_fd(), ==, lowest);
    fd = aio_context_get_pollable_fd(ctx);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(aio_context_get_pollable_fd(ctx), ==, fd);
    g_assert_cmpint(free_fd(), >, lowest);
    end();
}

static void test_timerfd_follows_the_first_timer(void)
{
    static const int64_t hour = 3600 * NANOSECONDS_PER_SECOND;
    enum { ROUNDS = 1000 };
    QEMUTimer timer;
    int fired = 0;

    begin();
    aio_timer_init(ctx, &timer, QEMU_CLOCK_REALTIME, SCALE_NS, count, &fired);
    g_assert_cmpint(aio_context_get_pollable_fd(ctx), >=, 0);
    settle();
    g_assert_cmpint(timerfd_remaining_ns(), ==, 0);

    timer_mod(&timer, get_clock() + hour);
    settle();
    g_assert_cmpint(timerfd_remaining_ns(), >, hour / 2);
    g_assert_cmpint(timerfd_remaining_ns(), <=, hour);
    /* It is left alone while nothing changes, as far as this thread gets to run. */
    settime_calls = 0;
    for (int i = 0; i < ROUNDS; i++) {
        aio_poll(ctx, false);
    }
    g_assert_cmpint(settime_calls, <, ROUNDS);
    g_assert_cmpint(timerfd_remaining_ns(), >, hour / 2);

    timer_mod(&timer, get_clock() + 2 * hour);
    settle();
    g_assert_cmpint(timerfd_remaining_ns(), >, hour);
    timer_mod(&timer, get_clock() + hour / 2);
    settle();
    g_assert_cmpint(timerfd_remaining_ns(), <=, hour / 2);
    g_assert_cmpint(timerfd_remaining_ns(), >, 0);
    /* The end of time. */
    timer_mod(&timer, INT64_MAX);
    settle();
    g_assert_cmpint(timerfd_remaining_ns(), >, 1000 * hour);
    timer_del(&timer);
    settle();
    g_assert_cmpint(timerfd_remaining_ns(), ==, 0);
    g_assert_cmpint(fired, ==, 0);
    timer_deinit(&timer);
    end();
}

static void notify_cb(void *opaque)
{
    aio_notify(ctx);
}

static void nested_cb(void *opaque)
{
    int *fd = opaque;

    /* Within a round it does not yet wake anybody: the round's end sees to that. */
    *fd = aio_context_get_pollable_fd(ctx);
    aio_bh_schedule_oneshot(ctx, count, fd + 1);
    g_assert_true(aio_poll(ctx, false));
    g_assert_cmpint(fd[1], ==, 1);
    aio_bh_schedule_oneshot(ctx, count, fd + 1);
}

static void test_pollable_fd_asked_for_in_a_callback(void)
{
    int fd[2] = { -1, 0 };

    begin();
    aio_bh_schedule_oneshot(ctx, nested_cb, fd);
    g_assert_true(aio_poll(ctx, false));
    g_assert_cmpint(fd[0], >=, 0);
    g_assert_cmpint(fd[1], ==, 1);
    g_assert_true(readable(fd[0]));
    settle();
    g_assert_cmpint(fd[1], ==, 2);
    g_assert_false(readable(fd[0]));
    end();
}

static void test_notify_in_a_callback_shows_in_the_pollable_fd(void)
{
    int fd;

    begin();
    fd = aio_context_get_pollable_fd(ctx);
    settle();
    aio_bh_schedule_oneshot(ctx, notify_cb, NULL);
    g_assert_true(aio_poll(ctx, false));
    g_assert_true(readable(fd));
    settle();
    g_assert_false(readable(fd));
    end();
}

int main(int argc, char **argv)
{
    g_unsetenv("BLKCO_FDMON");
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aio-epoll/missing", test_without_epoll_it_waits_by_poll);
    g_test_add_func("/aio-epoll/no-context", test_context_that_cannot_be_made_leaves_nothing);
    g_test_add_func("/aio-epoll/no-iothread", test_thread_without_a_context_is_not_started);
    g_test_add_func("/aio-epoll/no-main-loop", test_main_loop_is_made_of_two_contexts_or_none);
    g_test_add_func("/aio-epoll/opened-again", test_descriptor_opened_again_is_watched);
    g_test_add_func("/aio-epoll/closed-early", test_descriptor_closed_before_its_handler_went);
    g_test_add_func("/aio-epoll/file-replaced", test_file_may_get_another_handler);
    g_test_add_func("/aio-epoll/die/closed", test_die_no_descriptor);
    g_test_add_func("/aio-epoll/die/refused", test_die_watch_refused);
    g_test_add_func("/aio-epoll/die/file-without-eventfd", test_die_file_without_eventfd);
    g_test_add_func("/aio-epoll/die/file-refused", test_die_file_refused);
    g_test_add_func("/aio-epoll/no-pwait2", test_without_pwait2_waits_are_as_exact);
    g_test_add_func("/aio-epoll/interrupted", test_interrupted_wait_is_repeated);
    g_test_add_func("/aio-epoll/pollable/refused",
                    test_pollable_fd_can_be_refused_and_asked_for_again);
    g_test_add_func("/aio-epoll/pollable/timers", test_timerfd_follows_the_first_timer);
    g_test_add_func("/aio-epoll/pollable/in-callback", test_pollable_fd_asked_for_in_a_callback);
    g_test_add_func("/aio-epoll/pollable/notify",
                    test_notify_in_a_callback_shows_in_the_pollable_fd);
    return g_test_run();
}
