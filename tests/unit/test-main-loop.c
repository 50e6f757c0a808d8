/* SPDX-License-Identifier: MIT */
/* The main loop and the big lock: who holds it when, and what the loop does meanwhile. */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"

static int shared; /* under the big lock */
static bool stop;  /* atomic */

static void *count_under_bql(void *opaque)
{
    g_assert_false(bql_locked());
    while (!qatomic_read(&stop)) {
        BQL_LOCK_GUARD();
        BQL_LOCK_GUARD();
        g_assert_true(bql_locked());
        shared++;
    }
    g_assert_false(bql_locked());
    return NULL;
}

static void expect_lock(void *opaque)
{
    int *calls = opaque, before = shared;

    g_assert_true(bql_locked());
    g_usleep(1000);
    g_assert_cmpint(shared, ==, before);
    (*calls)++;
}

static void others_run_while_the_main_loop_waits(void)
{
    GPollFunc wait = g_main_context_get_poll_func(NULL);
    QemuThread thread;
    int calls = 0;

    shared = 0;
    stop = false;
    bql_lock();
    qemu_thread_create(&thread, "counter", count_under_bql, NULL, QEMU_THREAD_JOINABLE);
    g_usleep(5000);
    g_assert_cmpint(shared, ==, 0);
    while (shared < 100 || calls < 5) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), expect_lock, &calls);
        main_loop_wait(false);
        g_assert_true(bql_locked());
    }
    qatomic_set(&stop, true);
    bql_unlock();
    qemu_thread_join(&thread);
    g_assert_true(g_main_context_get_poll_func(NULL) == wait);
}

static void wait_again(void *opaque)
{
    int *calls = opaque;

    aio_bh_schedule_oneshot(qemu_get_aio_context(), expect_lock, calls);
    while (*calls == 0) {
        main_loop_wait(true);
    }
    bql_unlock();
    main_loop_wait(true);
    bql_lock();
}

static void callbacks_may_wait_and_unlock(void)
{
    GPollFunc wait = g_main_context_get_poll_func(NULL);
    QEMUTimer *timer;
    int calls = 0;

    bql_lock();
    timer = timer_new_ms(QEMU_CLOCK_REALTIME, wait_again, &calls);
    timer_mod(timer, 0);
    while (calls == 0) {
        main_loop_wait(false);
    }
    timer_free(timer);
    bql_unlock();
    g_assert_true(g_main_context_get_poll_func(NULL) == wait);
}

typedef struct Handshake {
    QemuCond asked, answered;
    bool asks, answers;
} Handshake;

static void *answer(void *opaque)
{
    Handshake *h = opaque;

    bql_lock();
    while (!h->asks) {
        qemu_cond_wait_bql(&h->asked);
        g_assert_true(bql_locked());
    }
    h->answers = true;
    qemu_cond_signal(&h->answered);
    bql_unlock();
    return NULL;
}

static void conditions_give_the_lock_up(void)
{
    Handshake h = { .asks = false };
    QemuThread thread;

    qemu_cond_init(&h.asked);
    qemu_cond_init(&h.answered);
    qemu_mutex_lock_iothread();
    g_assert_true(qemu_mutex_iothread_locked());
    g_assert_false(qemu_cond_timedwait_bql(&h.answered, 1));
    qemu_thread_create(&thread, "answer", answer, &h, QEMU_THREAD_JOINABLE);
    h.asks = true;
    qemu_cond_signal(&h.asked);
    while (!h.answers) {
        qemu_cond_wait_bql(&h.answered);
    }
    qemu_mutex_unlock_iothread();
    qemu_thread_join(&thread);
    qemu_cond_destroy(&h.asked);
    qemu_cond_destroy(&h.answered);
}

static void misuse_dies(void)
{
    if (g_test_subprocess()) {
        bql_lock();
        bql_lock();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

static void unlocking_what_is_not_held_dies(void)
{
    if (g_test_subprocess()) {
        bql_unlock();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_fatal);
    g_test_add_func("/main-loop/others run while it waits", others_run_while_the_main_loop_waits);
    g_test_add_func("/main-loop/callbacks may wait and unlock", callbacks_may_wait_and_unlock);
    g_test_add_func("/main-loop/conditions give the lock up", conditions_give_the_lock_up);
    g_test_add_func("/main-loop/locking twice dies", misuse_dies);
    g_test_add_func("/main-loop/unlocking what is not held dies", unlocking_what_is_not_held_dies);
    return g_test_run();
}
