/* SPDX-License-Identifier: MIT */
/* Event notifiers: an eventfd that never blocks. The kernel does the locking. */
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "qemu/event_notifier.h"

int event_notifier_init(EventNotifier *notifier, int active)
{
    int fd = eventfd(active ? 1 : 0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    event_notifier_init_fd(notifier, fd);
    return 0;
}

void event_notifier_init_fd(EventNotifier *notifier, int fd)
{
    notifier->rfd = fd;
    notifier->wfd = fd;
    notifier->initialized = true;
}

void event_notifier_cleanup(EventNotifier *notifier)
{
    if (!notifier->initialized) {
        return;
    }
    close(notifier->rfd);
    notifier->rfd = -1;
    notifier->wfd = -1;
    notifier->initialized = false;
}

int event_notifier_get_fd(const EventNotifier *notifier)
{
    return notifier->rfd;
}

int event_notifier_get_wfd(const EventNotifier *notifier)
{
    return notifier->wfd;
}

int event_notifier_set(EventNotifier *notifier)
{
    static const uint64_t one = 1;
    /* Signal handlers call this, too. */
    int saved_errno = errno;
    ssize_t n;
    int ret = 0;

    if (!notifier->initialized) {
        return -EINVAL;
    }
    do {
        n = write(notifier->wfd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so the notifier is raised. */
    if (n < 0 && errno != EAGAIN) {
        ret = -errno;
    }
    errno = saved_errno;
    return ret;
}

int event_notifier_test_and_clear(EventNotifier *notifier)
{
    int saved_errno = errno;
    uint64_t count;
    ssize_t n;

    if (!notifier->initialized) {
        return 0;
    }
    do {
        n = read(notifier->rfd, &count, sizeof(count));
    } while (n < 0 && errno == EINTR);
    errno = saved_errno;
    return n == sizeof(count);
}
