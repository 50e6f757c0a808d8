/* SPDX-License-Identifier: MIT */
/*
 * Lists that readers walk inside RCU sections while one writer (at a time, by some lock)
 * changes them. An element is complete when readers find it; one that was removed keeps
 * its forward pointer until it is freed by call_rcu, so that readers on it find the way on.
 *
 * Removing is a release store like inserting: the element that comes next may be a new one,
 * and this way to it must not be seen before its contents either.
 */
#ifndef QEMU_RCU_QUEUE_H
#define QEMU_RCU_QUEUE_H

#include "qemu/atomic.h"
#include "qemu/queue.h"

#define QLIST_FIRST_RCU(head)       (qatomic_rcu_read(&(head)->lh_first))
#define QLIST_NEXT_RCU(elm, field)  (qatomic_rcu_read(&(elm)->field.le_next))

/* Readers see the element from the last store on. */
#define QLIST_PLACE_RCU_(slot, elm, field)                                               \
    do {                                                                                 \
        (elm)->field.le_prev = (slot);                                                   \
        if (((elm)->field.le_next = *(elm)->field.le_prev) != NULL) {                    \
            (elm)->field.le_next->field.le_prev = &(elm)->field.le_next;                 \
        }                                                                                \
        qatomic_rcu_set((elm)->field.le_prev, (elm));                                    \
    } while (0)

#define QLIST_INSERT_HEAD_RCU(head, elm, field) \
    QLIST_PLACE_RCU_(&(head)->lh_first, elm, field)
#define QLIST_INSERT_AFTER_RCU(listelm, elm, field) \
    QLIST_PLACE_RCU_(&(listelm)->field.le_next, elm, field)
#define QLIST_INSERT_BEFORE_RCU(listelm, elm, field) \
    QLIST_PLACE_RCU_((listelm)->field.le_prev, elm, field)

#define QLIST_REMOVE_RCU(elm, field)                                                     \
    do {                                                                                 \
        if ((elm)->field.le_next != NULL) {                                              \
            (elm)->field.le_next->field.le_prev = (elm)->field.le_prev;                  \
        }                                                                                \
        qatomic_rcu_set((elm)->field.le_prev, (elm)->field.le_next);                     \
        (elm)->field.le_prev = NULL;                                                     \
    } while (0)

#define QLIST_FOREACH_RCU(var, head, field) \
    for ((var) = QLIST_FIRST_RCU(head); (var); (var) = QLIST_NEXT_RCU(var, field))
#define QLIST_FOREACH_SAFE_RCU(var, head, field, next_var)                               \
    for ((var) = QLIST_FIRST_RCU(head);                                                  \
         (var) && ((next_var) = QLIST_NEXT_RCU(var, field), 1); (var) = (next_var))

#define QSLIST_EMPTY_RCU(head)      (qatomic_read(&(head)->slh_first) == NULL)
#define QSLIST_FIRST_RCU(head)      (qatomic_rcu_read(&(head)->slh_first))
#define QSLIST_NEXT_RCU(elm, field) (qatomic_rcu_read(&(elm)->field.sle_next))

#define QSLIST_INSERT_HEAD_RCU(head, elm, field)                                         \
    do {                                                                                 \
        (elm)->field.sle_next = (head)->slh_first;                                       \
        qatomic_rcu_set(&(head)->slh_first, (elm));                                      \
    } while (0)
#define QSLIST_INSERT_AFTER_RCU(listelm, elm, field)                                     \
    do {                                                                                 \
        (elm)->field.sle_next = (listelm)->field.sle_next;                               \
        qatomic_rcu_set(&(listelm)->field.sle_next, (elm));                              \
    } while (0)
#define QSLIST_REMOVE_HEAD_RCU(head, field) \
    qatomic_rcu_set(&(head)->slh_first, (head)->slh_first->field.sle_next)
#define QSLIST_REMOVE_AFTER_RCU(listelm, field) \
    qatomic_rcu_set(&(listelm)->field.sle_next, (listelm)->field.sle_next->field.sle_next)
/* Walks the list to find elm, which has to be in it. */
#define QSLIST_REMOVE_RCU(head, elm, type, field)                                        \
    do {                                                                                 \
        struct type **slot_ = &(head)->slh_first;                                        \
        while (*slot_ != (elm)) {                                                        \
            slot_ = &(*slot_)->field.sle_next;                                           \
        }                                                                                \
        qatomic_rcu_set(slot_, (elm)->field.sle_next);                                   \
    } while (0)

#define QSLIST_FOREACH_RCU(var, head, field) \
    for ((var) = QSLIST_FIRST_RCU(head); (var); (var) = QSLIST_NEXT_RCU(var, field))
#define QSLIST_FOREACH_SAFE_RCU(var, head, field, next_var)                              \
    for ((var) = QSLIST_FIRST_RCU(head);                                                 \
         (var) && ((next_var) = QSLIST_NEXT_RCU(var, field), 1); (var) = (next_var))

#define QSIMPLEQ_EMPTY_RCU(head)      (qatomic_read(&(head)->sqh_first) == NULL)
#define QSIMPLEQ_FIRST_RCU(head)      (qatomic_rcu_read(&(head)->sqh_first))
#define QSIMPLEQ_NEXT_RCU(elm, field) (qatomic_rcu_read(&(elm)->field.sqe_next))

/* The link and the writer's end are set before readers can reach the element. */
#define QSIMPLEQ_PLACE_RCU_(head, slot, elm, field)                                      \
    do {                                                                                 \
        __typeof__(&(head)->sqh_first) place_ = (slot);                                  \
        if (((elm)->field.sqe_next = *place_) == NULL) {                                 \
            (head)->sqh_last = &(elm)->field.sqe_next;                                   \
        }                                                                                \
        qatomic_rcu_set(place_, (elm));                                                  \
    } while (0)

#define QSIMPLEQ_INSERT_HEAD_RCU(head, elm, field) \
    QSIMPLEQ_PLACE_RCU_(head, &(head)->sqh_first, elm, field)
#define QSIMPLEQ_INSERT_TAIL_RCU(head, elm, field) \
    QSIMPLEQ_PLACE_RCU_(head, (head)->sqh_last, elm, field)
#define QSIMPLEQ_INSERT_AFTER_RCU(head, listelm, elm, field) \
    QSIMPLEQ_PLACE_RCU_(head, &(listelm)->field.sqe_next, elm, field)

/* Lead readers past elm; its own link stays. */
#define QSIMPLEQ_CUT_RCU_(head, slot, elm, field)                                        \
    do {                                                                                 \
        if ((elm)->field.sqe_next == NULL) {                                             \
            (head)->sqh_last = (slot);                                                   \
        }                                                                                \
        qatomic_rcu_set((slot), (elm)->field.sqe_next);                                  \
    } while (0)

#define QSIMPLEQ_REMOVE_HEAD_RCU(head, field)                                            \
    do {                                                                                 \
        __typeof__((head)->sqh_first) pop_elm_ = (head)->sqh_first;                      \
        QSIMPLEQ_CUT_RCU_(head, &(head)->sqh_first, pop_elm_, field);                    \
    } while (0)
/* Walks the list to find elm, which has to be in it. */
#define QSIMPLEQ_REMOVE_RCU(head, elm, type, field)                                      \
    do {                                                                                 \
        struct type **slot_ = &(head)->sqh_first;                                        \
        while (*slot_ != (elm)) {                                                        \
            slot_ = &(*slot_)->field.sqe_next;                                           \
        }                                                                                \
        QSIMPLEQ_CUT_RCU_(head, slot_, elm, field);                                      \
    } while (0)

#define QSIMPLEQ_FOREACH_RCU(var, head, field) \
    for ((var) = QSIMPLEQ_FIRST_RCU(head); (var); (var) = QSIMPLEQ_NEXT_RCU(var, field))
#define QSIMPLEQ_FOREACH_SAFE_RCU(var, head, field, next_var)                            \
    for ((var) = QSIMPLEQ_FIRST_RCU(head);                                               \
         (var) && ((next_var) = QSIMPLEQ_NEXT_RCU(var, field), 1); (var) = (next_var))

/* Readers walk forward only: the links back are the writer's. */
#define QTAILQ_EMPTY_RCU(head)      (qatomic_read(&(head)->tqh_first) == NULL)
#define QTAILQ_FIRST_RCU(head)      (qatomic_rcu_read(&(head)->tqh_first))
#define QTAILQ_NEXT_RCU(elm, field) (qatomic_rcu_read(&(elm)->field.tqe_next))

/* Put elm between two links that follow each other. */
#define QTAILQ_PLACE_RCU_(before, behind, elm, field)                                    \
    do {                                                                                 \
        QTailQLink *before_ = (before), *behind_ = (behind);                             \
        (elm)->field.tqe_circ.tql_next = before_->tql_next;                              \
        (elm)->field.tqe_circ.tql_prev = before_;                                        \
        behind_->tql_prev = &(elm)->field.tqe_circ;                                      \
        qatomic_rcu_set(&before_->tql_next, (void *)(elm));                              \
    } while (0)

#define QTAILQ_INSERT_HEAD_RCU(head, elm, field)                                         \
    QTAILQ_PLACE_RCU_(&(head)->tqh_circ,                                                 \
                      QTAILQ_LINK_OF_(head, (head)->tqh_first, field), elm, field)
#define QTAILQ_INSERT_TAIL_RCU(head, elm, field) \
    QTAILQ_PLACE_RCU_((head)->tqh_circ.tql_prev, &(head)->tqh_circ, elm, field)
#define QTAILQ_INSERT_AFTER_RCU(head, listelm, elm, field)                               \
    QTAILQ_PLACE_RCU_(&(listelm)->field.tqe_circ,                                        \
                      QTAILQ_LINK_OF_(head, (listelm)->field.tqe_next, field), elm, field)
#define QTAILQ_INSERT_BEFORE_RCU(listelm, elm, field)                                    \
    QTAILQ_PLACE_RCU_((listelm)->field.tqe_circ.tql_prev, &(listelm)->field.tqe_circ,    \
                      elm, field)

#define QTAILQ_REMOVE_RCU(head, elm, field)                                              \
    do {                                                                                 \
        QTAILQ_LINK_OF_(head, (elm)->field.tqe_next, field)->tql_prev =                  \
            (elm)->field.tqe_circ.tql_prev;                                              \
        qatomic_rcu_set(&(elm)->field.tqe_circ.tql_prev->tql_next,                       \
                    (void *)(elm)->field.tqe_next);                                      \
        (elm)->field.tqe_circ.tql_prev = NULL;                                           \
    } while (0)

#define QTAILQ_FOREACH_RCU(var, head, field) \
    for ((var) = QTAILQ_FIRST_RCU(head); (var); (var) = QTAILQ_NEXT_RCU(var, field))
#define QTAILQ_FOREACH_SAFE_RCU(var, head, field, next_var)                              \
    for ((var) = QTAILQ_FIRST_RCU(head);                                                 \
         (var) && ((next_var) = QTAILQ_NEXT_RCU(var, field), 1); (var) = (next_var))

#endif
