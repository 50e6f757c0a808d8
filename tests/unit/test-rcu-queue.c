/* SPDX-License-Identifier: MIT */
/*
 * RCU lists: each operation leaves the list that it should, forwards and (where the writer
 * can) backwards; readers meet complete elements only, in order, while a writer is at it.
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/rcu_queue.h"
#include "qemu/thread.h"

typedef struct El {
    struct rcu_head rcu;
    int id;
    QLIST_ENTRY(El) list;
    QSLIST_ENTRY(El) slist;
    QSIMPLEQ_ENTRY(El) simpleq;
    QTAILQ_ENTRY(El) tailq;
} El;

typedef QLIST_HEAD(, El) List;
typedef QSLIST_HEAD(, El) SList;
typedef QSIMPLEQ_HEAD(, El) SimpleQ;
typedef QTAILQ_HEAD(, El) TailQ;

static El els[6] = { { .id = 0 }, { .id = 1 }, { .id = 2 }, { .id = 3 }, { .id = 4 }, { .id = 5 } };

/* What FOREACH_RCU and FOREACH_SAFE_RCU find, as a number: 312 for els[3], els[1], els[2]. */
#define READ(shape, head, field)                                                         \
    (__extension__({                                                                     \
        El *e_, *n_;                                                                     \
        int found_ = 0, safe_ = 0;                                                       \
        shape##_FOREACH_RCU(e_, head, field) { found_ = found_ * 10 + e_->id; }          \
        shape##_FOREACH_SAFE_RCU(e_, head, field, n_) { safe_ = safe_ * 10 + e_->id; }   \
        g_assert_true(found_ == safe_);                                                  \
        g_assert_true(shape##_EMPTY_RCU(head) == (found_ == 0));                         \
        found_;                                                                          \
    }))

static void qlist(void)
{
    List l = QLIST_HEAD_INITIALIZER(l);

    g_assert_cmpint(READ(QLIST, &l, list), ==, 0);
    QLIST_INSERT_HEAD_RCU(&l, &els[1], list);
    QLIST_INSERT_AFTER_RCU(&els[1], &els[2], list);
    QLIST_INSERT_BEFORE_RCU(&els[1], &els[3], list);
    g_assert_cmpint(READ(QLIST, &l, list), ==, 312);
    QLIST_REMOVE_RCU(&els[1], list);
    g_assert_true(QLIST_NEXT_RCU(&els[1], list) == &els[2]);
    g_assert_cmpint(READ(QLIST, &l, list), ==, 32);
    QLIST_REMOVE_RCU(&els[3], list);
    QLIST_REMOVE_RCU(&els[2], list);
    g_assert_true(QLIST_FIRST_RCU(&l) == NULL);
}

static void qslist(void)
{
    SList l = QSLIST_HEAD_INITIALIZER(l);

    QSLIST_INSERT_HEAD_RCU(&l, &els[1], slist);
    QSLIST_INSERT_AFTER_RCU(&els[1], &els[2], slist);
    QSLIST_INSERT_HEAD_RCU(&l, &els[3], slist);
    QSLIST_INSERT_HEAD_RCU(&l, &els[4], slist);
    g_assert_cmpint(READ(QSLIST, &l, slist), ==, 4312);
    QSLIST_REMOVE_RCU(&l, &els[1], El, slist);
    g_assert_cmpint(READ(QSLIST, &l, slist), ==, 432);
    QSLIST_REMOVE_AFTER_RCU(&els[4], slist);
    QSLIST_REMOVE_HEAD_RCU(&l, slist);
    g_assert_cmpint(READ(QSLIST, &l, slist), ==, 2);
    g_assert_true(QSLIST_FIRST_RCU(&l) == &els[2] && !QSLIST_NEXT_RCU(&els[2], slist));
}

static void qsimpleq(void)
{
    SimpleQ q = QSIMPLEQ_HEAD_INITIALIZER(q);

    g_assert_cmpint(READ(QSIMPLEQ, &q, simpleq), ==, 0);
    QSIMPLEQ_INSERT_TAIL_RCU(&q, &els[1], simpleq);
    QSIMPLEQ_INSERT_HEAD_RCU(&q, &els[2], simpleq);
    QSIMPLEQ_INSERT_AFTER_RCU(&q, &els[1], &els[3], simpleq);
    QSIMPLEQ_INSERT_TAIL_RCU(&q, &els[4], simpleq);
    g_assert_cmpint(READ(QSIMPLEQ, &q, simpleq), ==, 2134);
    g_assert_true(QSIMPLEQ_LAST(&q, El, simpleq) == &els[4]);
    QSIMPLEQ_REMOVE_RCU(&q, &els[4], El, simpleq);
    QSIMPLEQ_REMOVE_RCU(&q, &els[1], El, simpleq);
    g_assert_true(QSIMPLEQ_NEXT_RCU(&els[1], simpleq) == &els[3]);
    QSIMPLEQ_INSERT_TAIL_RCU(&q, &els[5], simpleq);
    g_assert_cmpint(READ(QSIMPLEQ, &q, simpleq), ==, 235);
    QSIMPLEQ_REMOVE_HEAD_RCU(&q, simpleq);
    QSIMPLEQ_REMOVE_HEAD_RCU(&q, simpleq);
    QSIMPLEQ_REMOVE_HEAD_RCU(&q, simpleq);
    g_assert_true(QSIMPLEQ_FIRST_RCU(&q) == NULL);
    QSIMPLEQ_INSERT_TAIL_RCU(&q, &els[1], simpleq);
    g_assert_cmpint(READ(QSIMPLEQ, &q, simpleq), ==, 1);
}

static int read_backwards(TailQ *q)
{
    El *e;
    int found = 0;

    QTAILQ_FOREACH_REVERSE(e, q, tailq) {
        found = found * 10 + e->id;
    }
    return found;
}

static void qtailq(void)
{
    TailQ q = QTAILQ_HEAD_INITIALIZER(q);

    g_assert_cmpint(READ(QTAILQ, &q, tailq), ==, 0);
    QTAILQ_INSERT_TAIL_RCU(&q, &els[1], tailq);
    QTAILQ_INSERT_HEAD_RCU(&q, &els[2], tailq);
    QTAILQ_INSERT_AFTER_RCU(&q, &els[1], &els[3], tailq);
    QTAILQ_INSERT_AFTER_RCU(&q, &els[2], &els[4], tailq);
    QTAILQ_INSERT_BEFORE_RCU(&els[2], &els[5], tailq);
    g_assert_cmpint(READ(QTAILQ, &q, tailq), ==, 52413);
    g_assert_cmpint(read_backwards(&q), ==, 31425);
    QTAILQ_REMOVE_RCU(&q, &els[3], tailq);
    QTAILQ_REMOVE_RCU(&q, &els[5], tailq);
    QTAILQ_REMOVE_RCU(&q, &els[4], tailq);
    g_assert_true(QTAILQ_NEXT_RCU(&els[4], tailq) == &els[1]);
    g_assert_false(QTAILQ_IN_USE(&els[4], tailq));
    g_assert_cmpint(READ(QTAILQ, &q, tailq), ==, 21);
    g_assert_cmpint(read_backwards(&q), ==, 12);
    QTAILQ_INSERT_TAIL_RCU(&q, &els[3], tailq);
    QTAILQ_INSERT_TAIL_RCU(&q, &els[4], tailq);
    QTAILQ_REMOVE_SEVERAL(&q, &els[1], &els[3], tailq);
    g_assert_cmpint(READ(QTAILQ, &q, tailq), ==, 24);
    g_assert_cmpint(read_backwards(&q), ==, 42);
    QTAILQ_REMOVE_SEVERAL(&q, &els[2], &els[4], tailq);
    g_assert_true(QTAILQ_FIRST_RCU(&q) == NULL);
    g_assert_true(QTAILQ_LAST(&q) == NULL);
}

/* All four at once: the writer adds ascending numbers at the end or descending at the front. */
static struct {
    List list;
    SList slist;
    SimpleQ simpleq;
    TailQ tailq;
    bool stop;
} shared;

static void *read_all(void *opaque)
{
    bool seen = false;

    while (!qatomic_read(&shared.stop) || !seen) {
        El *e;
        int last;

        RCU_READ_LOCK_GUARD();
        last = G_MAXINT;
        QLIST_FOREACH_RCU(e, &shared.list, list) {
            g_assert_cmpint(e->id, <, last);
            last = e->id;
        }
        last = G_MAXINT;
        QSLIST_FOREACH_RCU(e, &shared.slist, slist) {
            g_assert_cmpint(e->id, <, last);
            last = e->id;
        }
        last = 0;
        QSIMPLEQ_FOREACH_RCU(e, &shared.simpleq, simpleq) {
            g_assert_cmpint(e->id, >, last);
            last = e->id;
        }
        last = 0;
        QTAILQ_FOREACH_RCU(e, &shared.tailq, tailq) {
            g_assert_cmpint(e->id, >, last);
            last = e->id;
            seen = true;
        }
    }
    return NULL;
}

static void el_remove(El *e)
{
    QLIST_REMOVE_RCU(e, list);
    QSLIST_REMOVE_RCU(&shared.slist, e, El, slist);
    QSIMPLEQ_REMOVE_RCU(&shared.simpleq, e, El, simpleq);
    QTAILQ_REMOVE_RCU(&shared.tailq, e, tailq);
    g_free_rcu(e, rcu);
}

static void readers_walk_while_a_writer_changes(void)
{
    El *alive[10] = { NULL };
    QemuThread threads[2];

    QSIMPLEQ_INIT(&shared.simpleq);
    QTAILQ_INIT(&shared.tailq);
    for (int i = 0; i < 2; i++) {
        qemu_thread_create(&threads[i], "reader", read_all, NULL, QEMU_THREAD_JOINABLE);
    }
    for (int i = 1; i <= 5000; i++) {
        unsigned slot = (unsigned)g_test_rand_int_range(0, 10);
        El *e = g_new0(El, 1);

        if (alive[slot]) {
            el_remove(alive[slot]);
        }
        e->id = i;
        QLIST_INSERT_HEAD_RCU(&shared.list, e, list);
        QSLIST_INSERT_HEAD_RCU(&shared.slist, e, slist);
        QSIMPLEQ_INSERT_TAIL_RCU(&shared.simpleq, e, simpleq);
        QTAILQ_INSERT_TAIL_RCU(&shared.tailq, e, tailq);
        alive[slot] = e;
    }
    qatomic_set(&shared.stop, true);
    for (int i = 0; i < 2; i++) {
        qemu_thread_join(&threads[i]);
    }
    for (int i = 0; i < 10; i++) {
        if (alive[i]) {
            el_remove(alive[i]);
        }
    }
    g_assert_true(QLIST_EMPTY_RCU(&shared.list) && QSLIST_EMPTY_RCU(&shared.slist) &&
                  QSIMPLEQ_EMPTY_RCU(&shared.simpleq) && QTAILQ_EMPTY_RCU(&shared.tailq));
    drain_call_rcu();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rcu-queue/qlist", qlist);
    g_test_add_func("/rcu-queue/qslist", qslist);
    g_test_add_func("/rcu-queue/qsimpleq", qsimpleq);
    g_test_add_func("/rcu-queue/qtailq", qtailq);
    g_test_add_func("/rcu-queue/readers walk while a writer changes",
                    readers_walk_while_a_writer_changes);
    return g_test_run();
}
