/* SPDX-License-Identifier: MIT */
/*
 * Intrusive lists of four shapes, under QEMU's names.
 *
 *             head    link    insert at    remove            walk backwards
 *   QSLIST    1 ptr   1 ptr   head, after  head, after       no
 *   QSIMPLEQ  2 ptr   1 ptr   either end   head, after       no
 *   QLIST     1 ptr   2 ptr   head, beside any, O(1)         no
 *   QTAILQ    2 ptr   2 ptr   anywhere     any, O(1)         yes
 *
 * The element holds a link field (Q*_ENTRY) for each list it can be in. A removed
 * element's links become NULL, so that a use of them afterwards faults at once, and
 * QTAILQ_IN_USE and QLIST_IS_INSERTED tell whether an element is in a list (of zeroed
 * memory: no). The lists lock nothing, save for the two QSLIST_*_ATOMIC operations.
 *
 * Everything is a macro because the link field has a different name and place in every
 * structure. Arguments are evaluated more than once: give plain variables.
 */
#ifndef QEMU_QUEUE_H
#define QEMU_QUEUE_H

#include <stddef.h>

#include "qemu/atomic.h"
#include "qemu/compiler.h"

/*
 * QLIST: le_prev is the address of whatever pointer leads to this element (the head's
 * or the previous element's le_next), so that removal needs no head.
 */
#define QLIST_HEAD(name, type)                                                           \
    struct name {                                                                        \
        struct type *lh_first;                                                           \
    }
#define QLIST_HEAD_INITIALIZER(head) { NULL }
#define QLIST_ENTRY(type)                                                                \
    struct {                                                                             \
        struct type *le_next;                                                            \
        struct type **le_prev;                                                           \
    }

#define QLIST_FIRST(head)       ((head)->lh_first)
#define QLIST_EMPTY(head)       (QLIST_FIRST(head) == NULL)
#define QLIST_EMPTY_RCU(head)   (qatomic_read(&(head)->lh_first) == NULL)
#define QLIST_NEXT(elm, field)  ((elm)->field.le_next)
#define QLIST_IS_INSERTED(elm, field) ((elm)->field.le_prev != NULL)

#define QLIST_INIT(head) ((void)(QLIST_FIRST(head) = NULL))

/* Put elm where the pointer *slot leads; what was there comes behind it. */
#define QLIST_PLACE_(slot, elm, field)                                                   \
    do {                                                                                 \
        (elm)->field.le_prev = (slot);                                                   \
        if (((elm)->field.le_next = *(elm)->field.le_prev) != NULL) {                    \
            (elm)->field.le_next->field.le_prev = &(elm)->field.le_next;                 \
        }                                                                                \
        *(elm)->field.le_prev = (elm);                                                   \
    } while (0)

#define QLIST_INSERT_HEAD(head, elm, field) QLIST_PLACE_(&(head)->lh_first, elm, field)
#define QLIST_INSERT_AFTER(listelm, elm, field) \
    QLIST_PLACE_(&(listelm)->field.le_next, elm, field)
#define QLIST_INSERT_BEFORE(listelm, elm, field) \
    QLIST_PLACE_((listelm)->field.le_prev, elm, field)

#define QLIST_FIX_HEAD_PTR(elm, field)                                                   \
    do {                                                                                 \
        if ((elm) != NULL) {                                                             \
            (elm)->field.le_prev = &(elm);                                               \
        }                                                                                \
    } while (0)

/* Exchange the contents of two lists. */
#define QLIST_SWAP(one, two, field)                                                      \
    do {                                                                                 \
        __typeof__((one)->lh_first) swap_first_ = (one)->lh_first;                       \
        (one)->lh_first = (two)->lh_first;                                               \
        (two)->lh_first = swap_first_;                                                   \
        QLIST_FIX_HEAD_PTR((one)->lh_first, field);                                      \
        QLIST_FIX_HEAD_PTR((two)->lh_first, field);                                      \
    } while (0)

#define QLIST_REMOVE(elm, field)                                                         \
    do {                                                                                 \
        *(elm)->field.le_prev = QLIST_NEXT(elm, field);                                  \
        if (QLIST_NEXT(elm, field) != NULL) {                                            \
            QLIST_NEXT(elm, field)->field.le_prev = (elm)->field.le_prev;                \
        }                                                                                \
        (elm)->field.le_next = NULL;                                                     \
        (elm)->field.le_prev = NULL;                                                     \
    } while (0)

/* Nothing happens when elm is in no list. */
#define QLIST_SAFE_REMOVE(elm, field)                                                    \
    do {                                                                                 \
        if (QLIST_IS_INSERTED(elm, field)) {                                             \
            QLIST_REMOVE(elm, field);                                                    \
        }                                                                                \
    } while (0)

#define QLIST_FOREACH(var, head, field) \
    for ((var) = QLIST_FIRST(head); (var); (var) = QLIST_NEXT(var, field))
/* The body may remove and free var. */
#define QLIST_FOREACH_SAFE(var, head, field, next_var)                                   \
    for ((var) = QLIST_FIRST(head);                                                      \
         (var) && ((next_var) = QLIST_NEXT(var, field), 1); (var) = (next_var))

/* QSLIST: nothing but forward pointers. */
#define QSLIST_HEAD(name, type)                                                          \
    struct name {                                                                        \
        struct type *slh_first;                                                          \
    }
#define QSLIST_HEAD_INITIALIZER(head) { NULL }
#define QSLIST_ENTRY(type)                                                               \
    struct {                                                                             \
        struct type *sle_next;                                                           \
    }

#define QSLIST_FIRST(head)      ((head)->slh_first)
#define QSLIST_EMPTY(head)      (QSLIST_FIRST(head) == NULL)
#define QSLIST_NEXT(elm, field) ((elm)->field.sle_next)

#define QSLIST_INIT(head) ((void)(QSLIST_FIRST(head) = NULL))

#define QSLIST_INSERT_HEAD(head, elm, field)                                             \
    do {                                                                                 \
        QSLIST_NEXT(elm, field) = QSLIST_FIRST(head);                                    \
        QSLIST_FIRST(head) = (elm);                                                      \
    } while (0)
#define QSLIST_INSERT_AFTER(listelm, elm, field)                                         \
    do {                                                                                 \
        QSLIST_NEXT(elm, field) = QSLIST_NEXT(listelm, field);                           \
        QSLIST_NEXT(listelm, field) = (elm);                                             \
    } while (0)

/*
 * Any number of threads may insert while one takes everything with QSLIST_MOVE_ATOMIC.
 * Removing single elements beside that is not possible (the list would suffer ABA).
 * The element's contents are published with it.
 */
#define QSLIST_INSERT_HEAD_ATOMIC(head, elm, field)                                      \
    do {                                                                                 \
        __typeof__(elm) push_seen_ = qatomic_read(&(head)->slh_first);                   \
        do {                                                                             \
            QSLIST_NEXT(elm, field) = push_seen_;                                        \
        } while (!__atomic_compare_exchange_n(&(head)->slh_first, &push_seen_, (elm),    \
                                              true, __ATOMIC_SEQ_CST,                    \
                                              __ATOMIC_RELAXED));                        \
    } while (0)
#define QSLIST_MOVE_ATOMIC(dest, src) \
    ((void)(QSLIST_FIRST(dest) = qatomic_xchg(&(src)->slh_first, NULL)))
#define QSLIST_MOVE(dest, src)                                                           \
    do {                                                                                 \
        QSLIST_FIRST(dest) = QSLIST_FIRST(src);                                          \
        QSLIST_FIRST(src) = NULL;                                                        \
    } while (0)

#define QSLIST_REMOVE_HEAD(head, field)                                                  \
    do {                                                                                 \
        __typeof__((head)->slh_first) pop_elm_ = QSLIST_FIRST(head);                     \
        QSLIST_FIRST(head) = QSLIST_NEXT(pop_elm_, field);                               \
        QSLIST_NEXT(pop_elm_, field) = NULL;                                             \
    } while (0)
#define QSLIST_REMOVE_AFTER(listelm, field)                                              \
    do {                                                                                 \
        __typeof__((listelm)->field.sle_next) pop_elm_ = QSLIST_NEXT(listelm, field);    \
        QSLIST_NEXT(listelm, field) = QSLIST_NEXT(pop_elm_, field);                      \
        QSLIST_NEXT(pop_elm_, field) = NULL;                                             \
    } while (0)
/* Walks the list to find elm, which has to be in it. */
#define QSLIST_REMOVE(head, elm, type, field)                                            \
    do {                                                                                 \
        struct type **slot_ = &(head)->slh_first;                                        \
        while (*slot_ != (elm)) {                                                        \
            slot_ = &QSLIST_NEXT(*slot_, field);                                         \
        }                                                                                \
        *slot_ = QSLIST_NEXT(elm, field);                                                \
        QSLIST_NEXT(elm, field) = NULL;                                                  \
    } while (0)

#define QSLIST_FOREACH(var, head, field) \
    for ((var) = QSLIST_FIRST(head); (var); (var) = QSLIST_NEXT(var, field))
#define QSLIST_FOREACH_SAFE(var, head, field, next_var)                                  \
    for ((var) = QSLIST_FIRST(head);                                                     \
         (var) && ((next_var) = QSLIST_NEXT(var, field), 1); (var) = (next_var))

/* QSIMPLEQ: sqh_last is the address of the pointer that ends the list. */
#define QSIMPLEQ_HEAD(name, type)                                                        \
    struct name {                                                                        \
        struct type *sqh_first;                                                          \
        struct type **sqh_last;                                                          \
    }
#define QSIMPLEQ_HEAD_INITIALIZER(head) { NULL, &(head).sqh_first }
#define QSIMPLEQ_ENTRY(type)                                                             \
    struct {                                                                             \
        struct type *sqe_next;                                                           \
    }

#define QSIMPLEQ_FIRST(head)        ((head)->sqh_first)
#define QSIMPLEQ_EMPTY(head)        (QSIMPLEQ_FIRST(head) == NULL)
#define QSIMPLEQ_EMPTY_ATOMIC(head) (qatomic_read(&(head)->sqh_first) == NULL)
#define QSIMPLEQ_NEXT(elm, field)   ((elm)->field.sqe_next)
/* The element that holds *sqh_last, found from the place of the link in its type. */
#define QSIMPLEQ_LAST(head, type, field)                                                 \
    (QSIMPLEQ_EMPTY(head) ? NULL                                                         \
                          : (struct type *)(void *)((char *)(head)->sqh_last -           \
                                                    offsetof(struct type, field)))

#define QSIMPLEQ_INIT(head)                                                              \
    do {                                                                                 \
        (head)->sqh_first = NULL;                                                        \
        (head)->sqh_last = &(head)->sqh_first;                                           \
    } while (0)

/* Put elm where *slot leads, and move the end if that was it. */
#define QSIMPLEQ_PLACE_(head, slot, elm, field)                                          \
    do {                                                                                 \
        if ((QSIMPLEQ_NEXT(elm, field) = *(slot)) == NULL) {                             \
            (head)->sqh_last = &QSIMPLEQ_NEXT(elm, field);                               \
        }                                                                                \
        *(slot) = (elm);                                                                 \
    } while (0)

#define QSIMPLEQ_INSERT_HEAD(head, elm, field) \
    QSIMPLEQ_PLACE_(head, &(head)->sqh_first, elm, field)
#define QSIMPLEQ_INSERT_AFTER(head, listelm, elm, field) \
    QSIMPLEQ_PLACE_(head, &QSIMPLEQ_NEXT(listelm, field), elm, field)
#define QSIMPLEQ_INSERT_TAIL(head, elm, field)                                           \
    do {                                                                                 \
        QSIMPLEQ_NEXT(elm, field) = NULL;                                                \
        *(head)->sqh_last = (elm);                                                       \
        (head)->sqh_last = &QSIMPLEQ_NEXT(elm, field);                                   \
    } while (0)

/* Cut out the element that *slot leads to. */
#define QSIMPLEQ_CUT_(head, slot, elm, field)                                            \
    do {                                                                                 \
        if ((*(slot) = QSIMPLEQ_NEXT(elm, field)) == NULL) {                             \
            (head)->sqh_last = (slot);                                                   \
        }                                                                                \
        QSIMPLEQ_NEXT(elm, field) = NULL;                                                \
    } while (0)

#define QSIMPLEQ_REMOVE_HEAD(head, field)                                                \
    do {                                                                                 \
        __typeof__((head)->sqh_first) pop_elm_ = QSIMPLEQ_FIRST(head);                   \
        QSIMPLEQ_CUT_(head, &(head)->sqh_first, pop_elm_, field);                        \
    } while (0)
#define QSIMPLEQ_REMOVE_AFTER(head, listelm, field)                                      \
    do {                                                                                 \
        __typeof__((head)->sqh_first) pop_elm_ = QSIMPLEQ_NEXT(listelm, field);          \
        QSIMPLEQ_CUT_(head, &QSIMPLEQ_NEXT(listelm, field), pop_elm_, field);            \
    } while (0)
/* Walks the list to find elm, which has to be in it. */
#define QSIMPLEQ_REMOVE(head, elm, type, field)                                          \
    do {                                                                                 \
        struct type **slot_ = &(head)->sqh_first;                                        \
        while (*slot_ != (elm)) {                                                        \
            slot_ = &QSIMPLEQ_NEXT(*slot_, field);                                       \
        }                                                                                \
        QSIMPLEQ_CUT_(head, slot_, elm, field);                                          \
    } while (0)

/* All before and including elm leave head for removed, whose old contents are lost. */
#define QSIMPLEQ_SPLIT_AFTER(head, elm, field, removed)                                  \
    do {                                                                                 \
        QSIMPLEQ_INIT(removed);                                                          \
        if (((removed)->sqh_first = (head)->sqh_first) != NULL) {                        \
            if (((head)->sqh_first = QSIMPLEQ_NEXT(elm, field)) == NULL) {               \
                (head)->sqh_last = &(head)->sqh_first;                                   \
            }                                                                            \
            (removed)->sqh_last = &QSIMPLEQ_NEXT(elm, field);                            \
            QSIMPLEQ_NEXT(elm, field) = NULL;                                            \
        }                                                                                \
    } while (0)

/* Append src's elements to dst; src is empty afterwards. */
#define QSIMPLEQ_CONCAT(dst, src)                                                        \
    do {                                                                                 \
        if (!QSIMPLEQ_EMPTY(src)) {                                                      \
            *(dst)->sqh_last = (src)->sqh_first;                                         \
            (dst)->sqh_last = (src)->sqh_last;                                           \
            QSIMPLEQ_INIT(src);                                                          \
        }                                                                                \
    } while (0)

/* Put src's elements before dst's; src is empty afterwards. */
#define QSIMPLEQ_PREPEND(dst, src)                                                       \
    do {                                                                                 \
        if (!QSIMPLEQ_EMPTY(src)) {                                                      \
            if ((*(src)->sqh_last = (dst)->sqh_first) == NULL) {                         \
                (dst)->sqh_last = (src)->sqh_last;                                       \
            }                                                                            \
            (dst)->sqh_first = (src)->sqh_first;                                         \
            QSIMPLEQ_INIT(src);                                                          \
        }                                                                                \
    } while (0)

#define QSIMPLEQ_FOREACH(var, head, field) \
    for ((var) = QSIMPLEQ_FIRST(head); (var); (var) = QSIMPLEQ_NEXT(var, field))
#define QSIMPLEQ_FOREACH_SAFE(var, head, field, next_var)                                \
    for ((var) = QSIMPLEQ_FIRST(head);                                                   \
         (var) && ((next_var) = QSIMPLEQ_NEXT(var, field), 1); (var) = (next_var))

/*
 * QTAILQ: the head and the links are one circle of QTailQLink. tql_next is the typed
 * "next element" seen as void pointer (NULL at the end); tql_prev is the link before,
 * the head's for the first element. The unions give the same words their types, and users
 * need not build with -fno-strict-aliasing.
 */
typedef struct QTailQLink {
    void *tql_next;
    struct QTailQLink *tql_prev;
} __attribute__((__may_alias__)) QTailQLink;

#define QTAILQ_HEAD(name, type)                                                          \
    union name {                                                                         \
        struct type *tqh_first;                                                          \
        QTailQLink tqh_circ;                                                             \
    }
#define QTAILQ_HEAD_INITIALIZER(head) { .tqh_circ = { NULL, &(head).tqh_circ } }
#define QTAILQ_ENTRY(type)                                                               \
    union {                                                                              \
        struct type *tqe_next;                                                           \
        QTailQLink tqe_circ;                                                             \
    }

/* For an element that is in no list. */
#define QTAILQ_LINK_INITIALIZER { NULL }

#define QTAILQ_FIRST(head)       ((head)->tqh_first)
#define QTAILQ_EMPTY(head)       (QTAILQ_FIRST(head) == NULL)
#define QTAILQ_NEXT(elm, field)  ((elm)->field.tqe_next)
#define QTAILQ_IN_USE(elm, field) ((elm)->field.tqe_circ.tql_prev != NULL)
/* What the link before the link before leads to is the link before's element. */
#define QTAILQ_LINK_PREV(link) ((link).tql_prev->tql_prev->tql_next)
#define QTAILQ_LAST(head) ((__typeof__((head)->tqh_first))QTAILQ_LINK_PREV((head)->tqh_circ))
#define QTAILQ_PREV(elm, field) \
    ((__typeof__((elm)->field.tqe_next))QTAILQ_LINK_PREV((elm)->field.tqe_circ))

#define QTAILQ_INIT(head)                                                                \
    do {                                                                                 \
        (head)->tqh_circ.tql_next = NULL;                                                \
        (head)->tqh_circ.tql_prev = &(head)->tqh_circ;                                   \
    } while (0)

/* The link that tells who comes before elm, or before the end when elm is NULL. */
#define QTAILQ_LINK_OF_(head, elm, field) \
    ((elm) != NULL ? &(elm)->field.tqe_circ : &(head)->tqh_circ)

#define QTAILQ_INSERT_TAIL(head, elm, field)                                             \
    do {                                                                                 \
        (elm)->field.tqe_next = NULL;                                                    \
        (elm)->field.tqe_circ.tql_prev = (head)->tqh_circ.tql_prev;                      \
        (head)->tqh_circ.tql_prev->tql_next = (elm);                                     \
        (head)->tqh_circ.tql_prev = &(elm)->field.tqe_circ;                              \
    } while (0)
#define QTAILQ_INSERT_HEAD(head, elm, field)                                             \
    do {                                                                                 \
        (elm)->field.tqe_next = QTAILQ_FIRST(head);                                      \
        (elm)->field.tqe_circ.tql_prev = &(head)->tqh_circ;                              \
        QTAILQ_LINK_OF_(head, (elm)->field.tqe_next, field)->tql_prev =                  \
            &(elm)->field.tqe_circ;                                                      \
        (head)->tqh_first = (elm);                                                       \
    } while (0)
#define QTAILQ_INSERT_AFTER(head, listelm, elm, field)                                   \
    do {                                                                                 \
        (elm)->field.tqe_next = QTAILQ_NEXT(listelm, field);                             \
        (elm)->field.tqe_circ.tql_prev = &(listelm)->field.tqe_circ;                     \
        QTAILQ_LINK_OF_(head, (elm)->field.tqe_next, field)->tql_prev =                  \
            &(elm)->field.tqe_circ;                                                      \
        (listelm)->field.tqe_next = (elm);                                               \
    } while (0)
#define QTAILQ_INSERT_BEFORE(listelm, elm, field)                                        \
    do {                                                                                 \
        (elm)->field.tqe_circ.tql_prev = (listelm)->field.tqe_circ.tql_prev;             \
        (elm)->field.tqe_next = (listelm);                                               \
        (elm)->field.tqe_circ.tql_prev->tql_next = (elm);                                \
        (listelm)->field.tqe_circ.tql_prev = &(elm)->field.tqe_circ;                     \
    } while (0)

#define QTAILQ_REMOVE(head, elm, field)                                                  \
    do {                                                                                 \
        QTAILQ_LINK_OF_(head, (elm)->field.tqe_next, field)->tql_prev =                  \
            (elm)->field.tqe_circ.tql_prev;                                              \
        (elm)->field.tqe_circ.tql_prev->tql_next = (elm)->field.tqe_next;                \
        (elm)->field.tqe_circ.tql_next = NULL;                                           \
        (elm)->field.tqe_circ.tql_prev = NULL;                                           \
    } while (0)

/* Cut out the elements from left to right, which follow each other in that order. */
#define QTAILQ_REMOVE_SEVERAL(head, left, right, field)                                  \
    do {                                                                                 \
        QTAILQ_LINK_OF_(head, (right)->field.tqe_next, field)->tql_prev =                \
            (left)->field.tqe_circ.tql_prev;                                             \
        (left)->field.tqe_circ.tql_prev->tql_next = (right)->field.tqe_next;             \
    } while (0)

/* Append two's elements to one; two is empty afterwards. */
#define QTAILQ_CONCAT(one, two, field)                                                   \
    do {                                                                                 \
        if (!QTAILQ_EMPTY(two)) {                                                        \
            (one)->tqh_circ.tql_prev->tql_next = (two)->tqh_first;                       \
            (two)->tqh_first->field.tqe_circ.tql_prev = (one)->tqh_circ.tql_prev;        \
            (one)->tqh_circ.tql_prev = (two)->tqh_circ.tql_prev;                         \
            QTAILQ_INIT(two);                                                            \
        }                                                                                \
    } while (0)

#define QTAILQ_FOREACH(var, head, field) \
    for ((var) = QTAILQ_FIRST(head); (var); (var) = QTAILQ_NEXT(var, field))
#define QTAILQ_FOREACH_SAFE(var, head, field, next_var)                                  \
    for ((var) = QTAILQ_FIRST(head);                                                     \
         (var) && ((next_var) = QTAILQ_NEXT(var, field), 1); (var) = (next_var))
#define QTAILQ_FOREACH_REVERSE(var, head, field) \
    for ((var) = QTAILQ_LAST(head); (var); (var) = QTAILQ_PREV(var, field))
#define QTAILQ_FOREACH_REVERSE_SAFE(var, head, field, prev_var)                          \
    for ((var) = QTAILQ_LAST(head);                                                      \
         (var) && ((prev_var) = QTAILQ_PREV(var, field), 1); (var) = (prev_var))

#endif
