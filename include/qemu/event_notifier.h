/* SPDX-License-Identifier: MIT */
/*
 * A flag that one thread (or process) raises and that another sees through poll():
 * an eventfd. Raising it many times before it is looked at counts once.
 */
#ifndef QEMU_EVENT_NOTIFIER_H
#define QEMU_EVENT_NOTIFIER_H

#include <glib.h>
#include <stdbool.h>

#include "qemu/typedefs.h"

/* rfd becomes readable after a write to wfd; with an eventfd both are the same. */
struct EventNotifier {
    int rfd;
    int wfd;
    bool initialized;
};

typedef void EventNotifierHandler(EventNotifier *notifier);

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* active: raised from the start. 0, or -errno when there is no descriptor to be had. */
int event_notifier_init(EventNotifier *notifier, int active);

/* Closes the descriptor. Nobody may use the notifier meanwhile; a second call is fine. */
void event_notifier_cleanup(EventNotifier *notifier);

/* Use a descriptor of somebody else's (an eventfd); cleanup will close it. */
void event_notifier_init_fd(EventNotifier *notifier, int fd);

/* The descriptor to wait for (readable when raised), and the one to raise by writing. */
int event_notifier_get_fd(const EventNotifier *notifier);
int event_notifier_get_wfd(const EventNotifier *notifier);

/* Raise. Any thread, also a signal handler. 0 or -errno. */
int event_notifier_set(EventNotifier *notifier);

/* Lower; nonzero when it was raised. Any thread; never blocks. */
int event_notifier_test_and_clear(EventNotifier *notifier);

#pragma GCC visibility pop
G_END_DECLS

#endif
