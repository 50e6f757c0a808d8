/* SPDX-License-Identifier: MIT */
/* Callbacks in a list. The list locks nothing: its user says which thread may call. */
#ifndef QEMU_NOTIFY_H
#define QEMU_NOTIFY_H

#include <glib.h>
#include <stdbool.h>

#include "qapi/error.h"
#include "qemu/queue.h"
#include "qemu/typedefs.h"

/* Fill in notify, then add it; the memory stays the caller's. */
struct Notifier {
    void (*notify)(Notifier *notifier, void *data);
    QLIST_ENTRY(Notifier) node;
};

typedef struct NotifierList {
    QLIST_HEAD(, Notifier) notifiers;
} NotifierList;

/* The same with a veto: callbacks return 0 or -errno (and then set an error). */
typedef struct NotifierWithReturn NotifierWithReturn;
typedef int (*NotifierWithReturnFunc)(NotifierWithReturn *notifier, void *data, Error **errp);

struct NotifierWithReturn {
    NotifierWithReturnFunc notify;
    QLIST_ENTRY(NotifierWithReturn) node;
};

typedef struct NotifierWithReturnList {
    QLIST_HEAD(, NotifierWithReturn) notifiers;
} NotifierWithReturnList;

#define NOTIFIER_WITH_RETURN_LIST_INITIALIZER(head) \
    { QLIST_HEAD_INITIALIZER((head).notifiers) }

#define NOTIFIER_LIST_INITIALIZER(head) { QLIST_HEAD_INITIALIZER((head).notifiers) }

G_BEGIN_DECLS
#pragma GCC visibility push(default)

void notifier_list_init(NotifierList *list);

/* The one added last is called first. */
void notifier_list_add(NotifierList *list, Notifier *notifier);

/* Takes the notifier out of its list; it has to be in one. */
void notifier_remove(Notifier *notifier);

/* Calls every notifier of the list; one may remove (and free) itself meanwhile. */
void notifier_list_notify(NotifierList *list, void *data);

bool notifier_list_empty(NotifierList *list);

void notifier_with_return_list_init(NotifierWithReturnList *list);
void notifier_with_return_list_add(NotifierWithReturnList *list, NotifierWithReturn *notifier);
void notifier_with_return_remove(NotifierWithReturn *notifier);
/* Stops at the first callback that does not return 0, and returns that. */
int notifier_with_return_list_notify(NotifierWithReturnList *list, void *data, Error **errp);

#pragma GCC visibility pop
G_END_DECLS

#endif
