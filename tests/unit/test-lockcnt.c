/* SPDX-License-Identifier: MIT */
/* QemuLockCnt: who is last learns it and has the lock; zero stays zero under the lock. */
#include "qemu/osdep.h"
#include "qemu/lockcnt.h"
#include "qemu/queue.h"
#include "qemu/rcu_queue.h"

static void the_last_visitor_gets_the_lock(void)
{
    QemuLockCnt l;

    qemu_lockcnt_init(&l);
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 0);
    qemu_lockcnt_inc(&l);
    qemu_lockcnt_inc(&l);
    g_assert_false(qemu_lockcnt_dec_and_lock(&l));
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 1);
    g_assert_true(qemu_lockcnt_dec_and_lock(&l));
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 0);
    qemu_lockcnt_inc_and_unlock(&l);
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 1);
    qemu_lockcnt_dec(&l);
    qemu_lockcnt_destroy(&l);
}

static void dec_if_lock_leaves_only_as_the_last(void)
{
    QemuLockCnt l;

    qemu_lockcnt_init(&l);
    qemu_lockcnt_inc(&l);
    qemu_lockcnt_inc(&l);
    g_assert_false(qemu_lockcnt_dec_if_lock(&l));
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 2);
    qemu_lockcnt_dec(&l);
    g_assert_true(qemu_lockcnt_dec_if_lock(&l));
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 0);
    qemu_lockcnt_unlock(&l);
    qemu_lockcnt_destroy(&l);
}

static void visitors_come_and_go_while_locked(void)
{
    QemuLockCnt l;

    qemu_lockcnt_init(&l);
    qemu_lockcnt_inc(&l);
    qemu_lockcnt_lock(&l);
    qemu_lockcnt_inc(&l);
    qemu_lockcnt_dec(&l);
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 1);
    qemu_lockcnt_unlock(&l);
    qemu_lockcnt_dec(&l);
    qemu_lockcnt_destroy(&l);
}

static void *enter(void *opaque)
{
    QemuLockCnt *l = opaque;

    qemu_lockcnt_inc(l);
    return NULL;
}

static void the_first_visitor_waits_for_the_lock(void)
{
    QemuThread thread;
    QemuLockCnt l;

    qemu_lockcnt_init(&l);
    qemu_lockcnt_lock(&l);
    qemu_thread_create(&thread, "visitor", enter, &l, QEMU_THREAD_JOINABLE);
    g_usleep(20000);
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 0);
    qemu_lockcnt_unlock(&l);
    qemu_thread_join(&thread);
    g_assert_cmpuint(qemu_lockcnt_count(&l), ==, 1);
    qemu_lockcnt_dec(&l);
    qemu_lockcnt_destroy(&l);
}

static void *leave_as_the_last(void *opaque)
{
    return GINT_TO_POINTER(qemu_lockcnt_dec_and_lock(opaque));
}

static void *leave_if_the_last(void *opaque)
{
    return GINT_TO_POINTER(qemu_lockcnt_dec_if_lock(opaque));
}

/* Somebody enters while the last visitor waits for the lock to leave. */
static void who_waits_to_be_the_last_is_overtaken(void)
{
    static void *(*const leave[])(void *) = { leave_as_the_last, leave_if_the_last };

    for (size_t i = 0; i < G_N_ELEMENTS(leave); i++) {
        QemuThread thread;
        QemuLockCnt l;

        qemu_lockcnt_init(&l);
        qemu_lockcnt_inc(&l);
        qemu_lockcnt_lock(&l);
        qemu_thread_create(&thread, "leave", leave[i], &l, QEMU_THREAD_JOINABLE);
        g_usleep(20000);
        qemu_lockcnt_inc(&l);
        qemu_lockcnt_unlock(&l);
        g_assert_false(GPOINTER_TO_INT(qemu_thread_join(&thread)));
        /* dec_if_lock leaves only as the last. */
        g_assert_cmpuint(qemu_lockcnt_count(&l), ==, i == 0 ? 1 : 2);
        /* And nobody has the lock. */
        qemu_lockcnt_lock(&l);
        qemu_lockcnt_unlock(&l);
        qemu_lockcnt_destroy(&l);
    }
}

/* Four threads walk a list from which all of them delete. */
typedef struct Node {
    int value, deleted;
    QLIST_ENTRY(Node) link;
} Node;

typedef struct List {
    QemuLockCnt lockcnt;
    QLIST_HEAD(, Node) nodes;
    int added, freed;
} List;

static void list_reap(List *list)
{
    Node *node, *next;

    QLIST_FOREACH_SAFE(node, &list->nodes, link, next) {
        if (qatomic_read(&node->deleted)) {
            QLIST_REMOVE(node, link);
            node->value = -1;
            g_free(node);
            list->freed++;
        }
    }
}

static void list_add(List *list)
{
    Node *node = g_new0(Node, 1);

    node->value = 1;
    qemu_lockcnt_lock(&list->lockcnt);
    QLIST_INSERT_HEAD_RCU(&list->nodes, node, link);
    list->added++;
    qemu_lockcnt_unlock(&list->lockcnt);
}

static void *walk_and_delete(void *opaque)
{
    List *list = opaque;

    for (int i = 0; i < 2000; i++) {
        Node *node;
        int seen = 0;

        list_add(list);
        qemu_lockcnt_inc(&list->lockcnt);
        QLIST_FOREACH_RCU(node, &list->nodes, link) {
            g_assert_cmpint(node->value, ==, 1);
            if (seen++ >= 2) {
                qatomic_set(&node->deleted, 1);
            }
        }
        if (i % 2 ? qemu_lockcnt_dec_and_lock(&list->lockcnt)
                  : qemu_lockcnt_dec_if_lock(&list->lockcnt)) {
            list_reap(list);
            qemu_lockcnt_unlock(&list->lockcnt);
        } else if (i % 2 == 0) {
            qemu_lockcnt_dec(&list->lockcnt);
        }
    }
    return NULL;
}

static void nothing_is_freed_under_a_visitor(void)
{
    QemuThread threads[4];
    List list = { .added = 0 };
    Node *node;

    QLIST_INIT(&list.nodes);
    qemu_lockcnt_init(&list.lockcnt);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        qemu_thread_create(&threads[i], "walker", walk_and_delete, &list, QEMU_THREAD_JOINABLE);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        qemu_thread_join(&threads[i]);
    }
    g_assert_cmpuint(qemu_lockcnt_count(&list.lockcnt), ==, 0);
    g_assert_cmpint(list.added, ==, 8000);
    QLIST_FOREACH(node, &list.nodes, link) {
        node->deleted = 1;
    }
    list_reap(&list);
    g_assert_cmpint(list.freed, ==, 8000);
    qemu_lockcnt_destroy(&list.lockcnt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lockcnt/the last visitor gets the lock", the_last_visitor_gets_the_lock);
    g_test_add_func("/lockcnt/dec_if_lock leaves only as the last",
                    dec_if_lock_leaves_only_as_the_last);
    g_test_add_func("/lockcnt/visitors come and go while locked",
                    visitors_come_and_go_while_locked);
    g_test_add_func("/lockcnt/the first visitor waits for the lock",
                    the_first_visitor_waits_for_the_lock);
    g_test_add_func("/lockcnt/nothing is freed under a visitor",
                    nothing_is_freed_under_a_visitor);
    g_test_add_func("/lockcnt/who waits to be the last is overtaken",
                    who_waits_to_be_the_last_is_overtaken);
    return g_test_run();
}
