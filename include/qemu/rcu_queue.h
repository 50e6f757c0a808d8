/* SPDX-License-Identifier: MIT */
/*
 * Lists that readers walk inside RCU sections while one writer (at a time, by some lock)
 * changes them. An element is complete when readers find it; one that was removed keeps
 * its forward pointer until it is freed by call_rcu, so that readers on it find the way on.
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
        qatomic_set((elm)->field.le_prev, (elm)->field.le_next);                         \
        (elm)->field.le_prev = NULL;                                                     \
    } while (0)

#define QLIST_FOREACH_RCU(var, head, field) \
    for ((var) = QLIST_FIRST_RCU(head); (var); (var) = QLIST_NEXT_RCU(var, field))
#define QLIST_FOREACH_SAFE_RCU(var, head, field, next_var)                               \
    for ((var) = QLIST_FIRST_RCU(head);                                                  \
         (var) && ((next_var) = QLIST_NEXT_RCU(var, field), 1); (var) = (next_var))

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
    qatomic_set(&(head)->slh_first, (head)->slh_first->field.sle_next)
#define QSLIST_REMOVE_AFTER_RCU(listelm, field) \
    qatomic_set(&(listelm)->field.sle_next, (listelm)->field.sle_next->field.sle_next)

#define QSLIST_FOREACH_RCU(var, head, field) \
    for ((var) = QSLIST_FIRST_RCU(head); (var); (var) = QSLIST_NEXT_RCU(var, field))
#define QSLIST_FOREACH_SAFE_RCU(var, head, field, next_var)                              \
    for ((var) = QSLIST_FIRST_RCU(head);                                                 \
         (var) && ((next_var) = QSLIST_NEXT_RCU(var, field), 1); (var) = (next_var))

#endif
