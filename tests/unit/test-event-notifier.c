/* SPDX-License-Identifier: MIT */
/* Event notifiers by themselves: raised, lowered, full, closed. */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "qemu/osdep.h"
#include "qemu/event_notifier.h"

/* How many of the next calls a signal interrupts. */
static int interrupt_reads, interrupt_writes;

static bool interrupted(int *left)
{
    if (*left == 0) {
        return false;
    }
    --*left;
    errno = EINTR;
    return true;
}

/* In the place of the C library's. */
ssize_t read(int fd, void *buf, size_t size)
{
    return interrupted(&interrupt_reads) ? -1 : syscall(SYS_read, fd, buf, size);
}

ssize_t write(int fd, const void *buf, size_t size)
{
    return interrupted(&interrupt_writes) ? -1 : syscall(SYS_write, fd, buf, size);
}

static bool readable(const EventNotifier *e)
{
    struct pollfd pfd = { .fd = event_notifier_get_fd(e), .events = POLLIN };

    return poll(&pfd, 1, 0) == 1;
}

static void test_raised_and_lowered(void)
{
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, false), ==, 0);
    g_assert_false(readable(&e));
    g_assert_false(event_notifier_test_and_clear(&e));
    g_assert_cmpint(event_notifier_set(&e), ==, 0);
    g_assert_cmpint(event_notifier_set(&e), ==, 0);
    g_assert_true(readable(&e));
    g_assert_true(event_notifier_test_and_clear(&e));
    g_assert_false(event_notifier_test_and_clear(&e));
    event_notifier_cleanup(&e);
    event_notifier_cleanup(&e);
    g_assert_cmpint(event_notifier_set(&e), ==, -EINVAL);
}

static void test_active_from_the_start(void)
{
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, true), ==, 0);
    g_assert_true(event_notifier_test_and_clear(&e));
    event_notifier_cleanup(&e);
}

static void test_full_counter_is_raised(void)
{
    EventNotifier e;
    uint64_t almost = UINT64_MAX - 1;

    g_assert_cmpint(event_notifier_init(&e, false), ==, 0);
    g_assert_cmpint(write(event_notifier_get_wfd(&e), &almost, sizeof(almost)), ==,
                    sizeof(almost));
    errno = ENOENT;
    g_assert_cmpint(event_notifier_set(&e), ==, 0);
    g_assert_cmpint(errno, ==, ENOENT);
    g_assert_true(event_notifier_test_and_clear(&e));
    event_notifier_cleanup(&e);
}

static void test_no_descriptor_is_an_error(void)
{
    struct rlimit limit, none = { 0, 0 };
    EventNotifier e;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    none.rlim_max = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    g_assert_cmpint(event_notifier_init(&e, false), ==, -EMFILE);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
}

static void test_goes_on_after_a_signal(void)
{
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, false), ==, 0);
    interrupt_writes = 2;
    g_assert_cmpint(event_notifier_set(&e), ==, 0);
    g_assert_cmpint(interrupt_writes, ==, 0);
    g_assert_true(readable(&e));
    interrupt_reads = 2;
    g_assert_true(event_notifier_test_and_clear(&e));
    g_assert_cmpint(interrupt_reads, ==, 0);
    g_assert_false(readable(&e));
    event_notifier_cleanup(&e);
    g_assert_false(event_notifier_test_and_clear(&e));
}

static void test_descriptor_that_cannot_be_written(void)
{
    EventNotifier e;

    event_notifier_init_fd(&e, open("/dev/null", O_RDONLY | O_CLOEXEC));
    errno = ENOENT;
    g_assert_cmpint(event_notifier_set(&e), ==, -EBADF);
    g_assert_cmpint(errno, ==, ENOENT);
    event_notifier_cleanup(&e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/event-notifier/set-clear", test_raised_and_lowered);
    g_test_add_func("/event-notifier/active", test_active_from_the_start);
    g_test_add_func("/event-notifier/full", test_full_counter_is_raised);
    g_test_add_func("/event-notifier/interrupted", test_goes_on_after_a_signal);
    g_test_add_func("/event-notifier/not-writable", test_descriptor_that_cannot_be_written);
    g_test_add_func("/event-notifier/no-descriptor", test_no_descriptor_is_an_error);
    return g_test_run();
}
