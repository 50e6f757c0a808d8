/* SPDX-License-Identifier: MIT */
/* The intrusive lists: order after each operation, and links that are NULL after removal. */
#include "qemu/osdep.h"
#include "qemu/queue.h"
#include "qemu/thread.h"

typedef struct Elem {
    char name;
    QLIST_ENTRY(Elem) list;
    QSLIST_ENTRY(Elem) slist;
    QSIMPLEQ_ENTRY(Elem) simpleq;
    QTAILQ_ENTRY(Elem) tailq;
} Elem;

typedef QLIST_HEAD(ElemList, Elem) ElemList;
typedef QSLIST_HEAD(ElemSList, Elem) ElemSList;
typedef QSIMPLEQ_HEAD(ElemSimpleQ, Elem) ElemSimpleQ;
typedef QTAILQ_HEAD(ElemTailQ, Elem) ElemTailQ;

static Elem a, b, c, d;

static void reset(void)
{
    a = (Elem){ .name = 'a' };
    b = (Elem){ .name = 'b' };
    c = (Elem){ .name = 'c' };
    d = (Elem){ .name = 'd' };
}

#define ASSERT_ORDER(foreach, head, field, expected)                                     \
    do {                                                                                 \
        GString *order_ = g_string_new(NULL);                                            \
        Elem *e_;                                                                        \
        foreach (e_, head, field) {                                                      \
            g_string_append_c(order_, e_->name);                                         \
        }                                                                                \
        g_assert_cmpstr(order_->str, ==, expected);                                      \
        g_string_free(order_, TRUE);                                                     \
    } while (0)

static void qlist(void)
{
    ElemList head = QLIST_HEAD_INITIALIZER(head), other;
    Elem *e, *next;

    reset();
    g_assert_true(QLIST_EMPTY(&head));
    g_assert_false(QLIST_IS_INSERTED(&b, list));
    QLIST_INSERT_HEAD(&head, &b, list);
    QLIST_INSERT_BEFORE(&b, &a, list);
    QLIST_INSERT_AFTER(&b, &d, list);
    QLIST_INSERT_AFTER(&b, &c, list);
    ASSERT_ORDER(QLIST_FOREACH, &head, list, "abcd");
    g_assert_true(QLIST_IS_INSERTED(&b, list));

    QLIST_REMOVE(&b, list);
    g_assert_false(QLIST_IS_INSERTED(&b, list));
    g_assert_null(b.list.le_next);
    QLIST_SAFE_REMOVE(&b, list);
    QLIST_REMOVE(&a, list);
    ASSERT_ORDER(QLIST_FOREACH, &head, list, "cd");

    QLIST_INIT(&other);
    QLIST_INSERT_HEAD(&other, &a, list);
    QLIST_SWAP(&head, &other, list);
    ASSERT_ORDER(QLIST_FOREACH, &head, list, "a");
    ASSERT_ORDER(QLIST_FOREACH, &other, list, "cd");
    QLIST_FOREACH_SAFE(e, &other, list, next) {
        QLIST_REMOVE(e, list);
    }
    g_assert_true(QLIST_EMPTY(&other));
    QLIST_REMOVE(&a, list);
    g_assert_true(QLIST_EMPTY_RCU(&head));
}

static void qslist(void)
{
    ElemSList head = QSLIST_HEAD_INITIALIZER(head), other = QSLIST_HEAD_INITIALIZER(other);
    Elem *e, *next;

    reset();
    QSLIST_INSERT_HEAD(&head, &a, slist);
    QSLIST_INSERT_AFTER(&a, &c, slist);
    QSLIST_INSERT_AFTER(&a, &b, slist);
    ASSERT_ORDER(QSLIST_FOREACH, &head, slist, "abc");
    QSLIST_REMOVE_AFTER(&a, slist);
    g_assert_null(b.slist.sle_next);
    ASSERT_ORDER(QSLIST_FOREACH, &head, slist, "ac");
    QSLIST_INSERT_HEAD_ATOMIC(&head, &d, slist);
    QSLIST_MOVE_ATOMIC(&other, &head);
    g_assert_true(QSLIST_EMPTY(&head));
    ASSERT_ORDER(QSLIST_FOREACH, &other, slist, "dac");
    QSLIST_REMOVE(&other, &a, Elem, slist);
    QSLIST_MOVE(&head, &other);
    g_assert_true(QSLIST_EMPTY(&other));
    QSLIST_REMOVE_HEAD(&head, slist);
    g_assert_null(d.slist.sle_next);
    ASSERT_ORDER(QSLIST_FOREACH, &head, slist, "c");
    QSLIST_FOREACH_SAFE(e, &head, slist, next) {
        QSLIST_REMOVE_HEAD(&head, slist);
    }
    g_assert_true(QSLIST_EMPTY(&head));
}

static void qsimpleq(void)
{
    ElemSimpleQ head = QSIMPLEQ_HEAD_INITIALIZER(head), other;
    Elem *e, *next;

    reset();
    QSIMPLEQ_INIT(&other);
    g_assert_null(QSIMPLEQ_LAST(&head, Elem, simpleq));
    QSIMPLEQ_INSERT_TAIL(&head, &b, simpleq);
    QSIMPLEQ_INSERT_HEAD(&head, &a, simpleq);
    QSIMPLEQ_INSERT_AFTER(&head, &b, &c, simpleq);
    QSIMPLEQ_INSERT_TAIL(&head, &d, simpleq);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &head, simpleq, "abcd");
    g_assert_true(QSIMPLEQ_LAST(&head, Elem, simpleq) == &d);

    QSIMPLEQ_SPLIT_AFTER(&head, &b, simpleq, &other);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &other, simpleq, "ab");
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &head, simpleq, "cd");
    QSIMPLEQ_CONCAT(&head, &other);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &head, simpleq, "cdab");
    g_assert_true(QSIMPLEQ_EMPTY_ATOMIC(&other));
    QSIMPLEQ_CONCAT(&head, &other);

    QSIMPLEQ_REMOVE(&head, &b, Elem, simpleq);
    g_assert_null(b.simpleq.sqe_next);
    g_assert_true(QSIMPLEQ_LAST(&head, Elem, simpleq) == &a);
    QSIMPLEQ_REMOVE_AFTER(&head, &c, simpleq);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &head, simpleq, "ca");

    QSIMPLEQ_INSERT_TAIL(&other, &b, simpleq);
    QSIMPLEQ_PREPEND(&head, &other);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &head, simpleq, "bca");
    QSIMPLEQ_PREPEND(&other, &head);
    QSIMPLEQ_INSERT_TAIL(&other, &d, simpleq);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &other, simpleq, "bcad");

    QSIMPLEQ_SPLIT_AFTER(&other, &d, simpleq, &head);
    g_assert_true(QSIMPLEQ_EMPTY(&other));
    QSIMPLEQ_FOREACH_SAFE(e, &head, simpleq, next) {
        QSIMPLEQ_REMOVE_HEAD(&head, simpleq);
        g_assert_null(e->simpleq.sqe_next);
    }
    QSIMPLEQ_INSERT_TAIL(&head, &a, simpleq);
    ASSERT_ORDER(QSIMPLEQ_FOREACH, &head, simpleq, "a");
}

static void qtailq(void)
{
    ElemTailQ head = QTAILQ_HEAD_INITIALIZER(head), other;
    Elem *e, *next;

    reset();
    QTAILQ_INIT(&other);
    g_assert_null(QTAILQ_LAST(&head));
    g_assert_false(QTAILQ_IN_USE(&b, tailq));
    QTAILQ_INSERT_TAIL(&head, &b, tailq);
    QTAILQ_INSERT_HEAD(&head, &a, tailq);
    QTAILQ_INSERT_AFTER(&head, &b, &d, tailq);
    QTAILQ_INSERT_BEFORE(&d, &c, tailq);
    ASSERT_ORDER(QTAILQ_FOREACH, &head, tailq, "abcd");
    ASSERT_ORDER(QTAILQ_FOREACH_REVERSE, &head, tailq, "dcba");
    g_assert_true(QTAILQ_LAST(&head) == &d);
    g_assert_true(QTAILQ_PREV(&b, tailq) == &a);
    g_assert_null(QTAILQ_PREV(&a, tailq));

    QTAILQ_REMOVE(&head, &d, tailq);
    g_assert_false(QTAILQ_IN_USE(&d, tailq));
    g_assert_true(QTAILQ_LAST(&head) == &c);
    QTAILQ_REMOVE(&head, &b, tailq);
    ASSERT_ORDER(QTAILQ_FOREACH_REVERSE, &head, tailq, "ca");

    QTAILQ_INSERT_BEFORE(&a, &d, tailq);
    ASSERT_ORDER(QTAILQ_FOREACH, &head, tailq, "dac");
    QTAILQ_INSERT_TAIL(&other, &b, tailq);
    QTAILQ_CONCAT(&head, &other, tailq);
    g_assert_true(QTAILQ_EMPTY(&other));
    QTAILQ_CONCAT(&head, &other, tailq);
    ASSERT_ORDER(QTAILQ_FOREACH, &head, tailq, "dacb");
    ASSERT_ORDER(QTAILQ_FOREACH_REVERSE, &head, tailq, "bcad");

    QTAILQ_FOREACH_SAFE(e, &head, tailq, next) {
        if (e->name == 'a') {
            QTAILQ_REMOVE(&head, e, tailq);
        }
    }
    QTAILQ_FOREACH_REVERSE_SAFE(e, &head, tailq, next) {
        QTAILQ_REMOVE(&head, e, tailq);
    }
    g_assert_true(QTAILQ_EMPTY(&head));
    g_assert_null(QTAILQ_LAST(&head));
}

#define PUSHERS 4
#define PUSHES  5000

static ElemSList shared = QSLIST_HEAD_INITIALIZER(shared);

static void *push_many(void *opaque)
{
    Elem *elems = opaque;
    int i;

    for (i = 0; i < PUSHES; i++) {
        QSLIST_INSERT_HEAD_ATOMIC(&shared, &elems[i], slist);
    }
    return NULL;
}

static void atomic_pushes_lose_nothing(void)
{
    Elem *elems = g_new0(Elem, PUSHERS * PUSHES);
    QemuThread threads[PUSHERS];
    int i, seen = 0;

    for (i = 0; i < PUSHERS; i++) {
        qemu_thread_create(&threads[i], "push", push_many, elems + i * PUSHES,
                           QEMU_THREAD_JOINABLE);
    }
    while (seen < PUSHERS * PUSHES) {
        ElemSList taken;
        Elem *e, *next;

        QSLIST_MOVE_ATOMIC(&taken, &shared);
        QSLIST_FOREACH_SAFE(e, &taken, slist, next) {
            g_assert_cmpint(e->name, ==, 0);
            e->name = 1;
            seen++;
        }
    }
    for (i = 0; i < PUSHERS; i++) {
        qemu_thread_join(&threads[i]);
    }
    g_free(elems);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/queue/QLIST keeps order and forgets removed elements", qlist);
    g_test_add_func("/queue/QSLIST keeps order and forgets removed elements", qslist);
    g_test_add_func("/queue/QSIMPLEQ keeps order and forgets removed elements", qsimpleq);
    g_test_add_func("/queue/QTAILQ keeps order and forgets removed elements", qtailq);
    g_test_add_func("/queue/atomic pushes lose nothing", atomic_pushes_lose_nothing);
    return g_test_run();
}
