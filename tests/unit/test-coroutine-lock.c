/* SPDX-License-Identifier: MIT */
/* Locks between coroutines: who gets them in which order, and what may not be done. */
#include "coroutine-events.h"

/* ---- CoMutex ---- */

typedef struct Worker {
    CoMutex *mutex;
    char name;
    Coroutine *co;
    bool done;
} Worker;

static void coroutine_fn lock_note_yield(void *opaque)
{
    Worker *w = opaque;

    w->co = qemu_coroutine_self();
    qemu_co_mutex_lock(w->mutex);
    qemu_co_mutex_assert_locked(w->mutex);
    note(w->name);
    qemu_coroutine_yield();
    note((char)g_ascii_toupper(w->name));
    qemu_co_mutex_unlock(w->mutex);
    w->done = true;
}

static void a_mutex_is_handed_on_in_order(void)
{
    CoMutex mutex;
    Worker a = { &mutex, 'a' }, b = { &mutex, 'b' }, c = { &mutex, 'c' }, d = { &mutex, 'd' };

    qemu_co_mutex_init(&mutex);
    enter_new(lock_note_yield, &a);
    enter_new(lock_note_yield, &b);
    enter_new(lock_note_yield, &c);
    assert_events("a");

    /* The next one runs when the first ends, before enter returns. */
    qemu_coroutine_enter(a.co);
    assert_events("Ab");
    /* One that comes later stays behind those who wait. */
    enter_new(lock_note_yield, &d);
    qemu_coroutine_enter(b.co);
    assert_events("Bc");
    qemu_coroutine_enter(c.co);
    assert_events("Cd");
    qemu_coroutine_enter(d.co);
    assert_events("D");
    g_assert_true(a.done && b.done && c.done && d.done);
}

static void coroutine_fn unlock_and_lock_again(void *opaque)
{
    Worker *w = opaque;
    int i;

    for (i = 0; i < 3; i++) {
        qemu_co_mutex_lock(w->mutex);
        note(w->name);
        qemu_co_mutex_unlock(w->mutex);
    }
    w->done = true;
}

static void who_unlocks_cannot_take_it_back_at_once(void)
{
    CoMutex mutex;
    Worker a = { &mutex, 'a' }, b = { &mutex, 'b' }, c = { &mutex, 'c' };

    qemu_co_mutex_init(&mutex);
    enter_new(lock_note_yield, &a);
    enter_new(unlock_and_lock_again, &b);
    enter_new(unlock_and_lock_again, &c);
    qemu_coroutine_enter(a.co);
    /* They take turns: the mutex is c's when b unlocks it. */
    assert_events("aAbcbcbc");
    g_assert_true(a.done && b.done && c.done);
}

static void coroutine_fn uncontended(void *opaque)
{
    Worker *w = opaque;
    int i;

    for (i = 0; i < 1000; i++) {
        qemu_co_mutex_lock(w->mutex);
        qemu_co_mutex_unlock(w->mutex);
    }
    w->done = true;
}

static void without_contention_nobody_yields(void)
{
    CoMutex mutex = { 0 };
    Worker a = { &mutex, 'a' };

    enter_new(uncontended, &a);
    g_assert_true(a.done);
}

static void coroutine_fn free_after_lock(void *opaque)
{
    Worker *w = opaque;

    qemu_co_mutex_lock(w->mutex);
    qemu_co_mutex_unlock(w->mutex);
    g_free(w->mutex);
    w->done = true;
}

static void the_last_one_may_free_the_mutex(void)
{
    Worker a = { g_new0(CoMutex, 1), 'a' }, b = { a.mutex, 'b' };

    enter_new(lock_note_yield, &a);
    enter_new(free_after_lock, &b);
    qemu_coroutine_enter(a.co);
    assert_events("aA");
    g_assert_true(b.done);
}

static void coroutine_fn guarded(void *opaque)
{
    Worker *w = opaque;

    WITH_QEMU_LOCK_GUARD(w->mutex) {
        qemu_co_mutex_assert_locked(w->mutex);
        note(w->name);
        qemu_coroutine_yield();
    }
    note('-');
    {
        QEMU_LOCK_GUARD(w->mutex);
        qemu_co_mutex_assert_locked(w->mutex);
        note(w->name);
    }
    w->done = true;
}

static void guards_know_coroutine_mutexes(void)
{
    CoMutex mutex = { 0 };
    Worker a = { &mutex, 'a' };
    Coroutine *co = qemu_coroutine_create(guarded, &a);

    qemu_coroutine_enter(co);
    qemu_coroutine_enter(co);
    assert_events("a-a");
    g_assert_true(a.done);
}

/* ---- CoQueue ---- */

typedef struct Waiter {
    CoQueue *queue;
    CoMutex *mutex;
    QemuMutex *thread_mutex;
    char name;
    CoQueueWaitFlags flags;
    int rounds;
} Waiter;

static void coroutine_fn wait_and_note(void *opaque)
{
    Waiter *w = opaque;
    int i;

    for (i = 0; i < MAX(w->rounds, 1); i++) {
        if (w->mutex) {
            qemu_co_mutex_lock(w->mutex);
            qemu_co_queue_wait_flags(w->queue, w->mutex, w->flags);
            qemu_co_mutex_assert_locked(w->mutex);
            qemu_co_mutex_unlock(w->mutex);
        } else if (w->thread_mutex) {
            qemu_mutex_lock(w->thread_mutex);
            qemu_co_queue_wait(w->queue, w->thread_mutex);
            qemu_mutex_unlock(w->thread_mutex);
        } else {
            qemu_co_queue_wait_flags(w->queue, NULL, w->flags);
        }
        note(w->name);
    }
}

static void coroutine_fn wake_one_then_all(void *opaque)
{
    CoQueue *queue = opaque;

    note('(');
    g_assert_true(qemu_co_queue_next(queue));
    note(')');
    qemu_co_queue_restart_all(queue);
    note('!');
    g_assert_false(qemu_co_queue_next(queue));
}

static void a_queue_wakes_in_order_when_the_waker_yields(void)
{
    Waiter w[4];
    CoQueue queue;
    int i;

    qemu_co_queue_init(&queue);
    g_assert_true(qemu_co_queue_empty(&queue));
    for (i = 0; i < 4; i++) {
        w[i] = (Waiter){ .queue = &queue, .name = (char)('a' + i) };
        /* The last one goes before the others. */
        w[i].flags = i == 3 ? CO_QUEUE_WAIT_FRONT : (CoQueueWaitFlags)0;
        enter_new(wait_and_note, &w[i]);
    }
    g_assert_false(qemu_co_queue_empty(&queue));
    enter_new(wake_one_then_all, &queue);
    assert_events("()!dabc");
    g_assert_true(qemu_co_queue_empty(&queue));
}

static void the_last_to_come_to_the_front_is_first(void)
{
    Waiter w[3];
    CoQueue queue;

    qemu_co_queue_init(&queue);
    for (int i = 0; i < 3; i++) {
        w[i] = (Waiter){ .queue = &queue, .name = (char)('a' + i) };
        w[i].flags = CO_QUEUE_WAIT_FRONT;
        enter_new(wait_and_note, &w[i]);
    }
    enter_new(wake_one_then_all, &queue);
    assert_events("()!cba");
    g_assert_true(qemu_co_queue_empty(&queue));
}

static void outside_of_coroutines_a_waiter_runs_at_once(void)
{
    Waiter a, b;
    QemuMutex mutex;
    CoQueue queue;

    qemu_mutex_init(&mutex);
    qemu_co_queue_init(&queue);
    a = (Waiter){ .queue = &queue, .thread_mutex = &mutex, .name = 'a' };
    b = (Waiter){ .queue = &queue, .thread_mutex = &mutex, .name = 'b', .rounds = 3 };
    enter_new(wait_and_note, &a);
    enter_new(wait_and_note, &b);

    qemu_mutex_lock(&mutex);
    g_assert_true(qemu_co_enter_next(&queue, &mutex));
    assert_events("a");
    /* One that waits again is not woken again. */
    qemu_co_enter_all(&queue, &mutex);
    assert_events("b");
    qemu_co_enter_all(&queue, &mutex);
    qemu_co_enter_all(&queue, &mutex);
    assert_events("bb");
    g_assert_false(qemu_co_enter_next(&queue, &mutex));
    qemu_mutex_unlock(&mutex);
    qemu_mutex_destroy(&mutex);
}

static void coroutine_fn wake_under_mutex(void *opaque)
{
    Waiter *w = opaque;

    qemu_co_mutex_lock(w->mutex);
    qemu_co_queue_restart_all(w->queue);
    note('w');
    qemu_co_mutex_unlock(w->mutex);
}

static void a_woken_waiter_holds_its_mutex_again(void)
{
    CoMutex mutex = { 0 };
    CoQueue queue;
    Waiter a = { &queue, &mutex, NULL, 'a' }, b = { &queue, &mutex, NULL, 'b' };

    qemu_co_queue_init(&queue);
    enter_new(wait_and_note, &a);
    enter_new(wait_and_note, &b);
    enter_new(wake_under_mutex, &a);
    assert_events("wab");
}

/* ---- CoRwlock ---- */

typedef struct RwWorker {
    CoRwlock *lock;
    /* r w: lock; u d: upgrade, downgrade; x: unlock; .: yield. Noted when done. */
    const char *script;
    char name;
    Coroutine *co;
    bool done;
} RwWorker;

static void coroutine_fn rw_run(void *opaque)
{
    RwWorker *w = opaque;
    const char *step;

    w->co = qemu_coroutine_self();
    for (step = w->script; *step; step++) {
        switch (*step) {
        case 'r':
            qemu_co_rwlock_rdlock(w->lock);
            break;
        case 'w':
            qemu_co_rwlock_wrlock(w->lock);
            break;
        case 'u':
            qemu_co_rwlock_upgrade(w->lock);
            break;
        case 'd':
            qemu_co_rwlock_downgrade(w->lock);
            break;
        case 'x':
            qemu_co_rwlock_unlock(w->lock);
            break;
        case '.':
            qemu_coroutine_yield();
            continue;
        }
        note(w->name);
        note(*step);
    }
    w->done = true;
}

static void readers_share_and_writers_do_not(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.x", 'a' }, b = { &lock, "r.x", 'b' };
    RwWorker c = { &lock, "w.x", 'c' }, d = { &lock, "w.x", 'd' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    enter_new(rw_run, &c);
    enter_new(rw_run, &d);
    assert_events("arbr");
    qemu_coroutine_enter(a.co);
    assert_events("ax");
    qemu_coroutine_enter(b.co);
    assert_events("bxcw");
    qemu_coroutine_enter(c.co);
    assert_events("cxdw");
    qemu_coroutine_enter(d.co);
    assert_events("dx");
    g_assert_true(a.done && b.done && c.done && d.done);
}

static void a_reader_does_not_overtake_a_waiting_writer(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.x", 'a' }, b = { &lock, "w.x", 'b' };
    RwWorker c = { &lock, "r.x", 'c' }, d = { &lock, "r.x", 'd' }, e = { &lock, "w.x", 'e' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    enter_new(rw_run, &c);
    enter_new(rw_run, &d);
    enter_new(rw_run, &e);
    assert_events("ar");
    qemu_coroutine_enter(a.co);
    assert_events("axbw");
    /* The two readers that follow each other get in together. */
    qemu_coroutine_enter(b.co);
    assert_events("bxcrdr");
    qemu_coroutine_enter(d.co);
    qemu_coroutine_enter(c.co);
    assert_events("dxcxew");
    qemu_coroutine_enter(e.co);
    assert_events("ex");
}

static void an_upgrade_alone_is_immediate(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "rudxwdx", 'a' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    assert_events("arauadaxawadax");
    g_assert_true(a.done);
}

static void an_upgrade_queues_behind_writers_that_wait(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.u.x", 'a' }, b = { &lock, "w.x", 'b' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    assert_events("ar");
    /* a gives up its share for a place in the queue: the writer before it runs. */
    qemu_coroutine_enter(a.co);
    assert_events("bw");
    qemu_coroutine_enter(b.co);
    assert_events("bxau");
    qemu_coroutine_enter(a.co);
    assert_events("ax");
}

static void an_upgrade_waits_for_the_other_readers(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.u.x", 'a' }, b = { &lock, "r.x", 'b' };
    RwWorker c = { &lock, "r.x", 'c' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    qemu_coroutine_enter(a.co);
    assert_events("arbr");
    enter_new(rw_run, &c);
    qemu_coroutine_enter(b.co);
    assert_events("bxau");
    qemu_coroutine_enter(a.co);
    assert_events("axcr");
    qemu_coroutine_enter(c.co);
    assert_events("cx");
}

static void two_upgrades_do_not_wait_for_each_other(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "r.u.x", 'a' }, b = { &lock, "r.u.x", 'b' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &a);
    enter_new(rw_run, &b);
    qemu_coroutine_enter(a.co);
    qemu_coroutine_enter(b.co);
    assert_events("arbrau");
    qemu_coroutine_enter(a.co);
    assert_events("axbu");
    qemu_coroutine_enter(b.co);
    assert_events("bx");
    g_assert_true(a.done && b.done);
}

static void a_downgrade_lets_waiting_readers_in_but_no_writer(void)
{
    CoRwlock lock;
    RwWorker a = { &lock, "wd.x", 'a' }, b = { &lock, "r.x", 'b' };
    RwWorker c = { &lock, "w.x", 'c' }, d = { &lock, "r.x", 'd' };
    RwWorker first = { &lock, "w.d.x", 'f' };

    qemu_co_rwlock_init(&lock);
    enter_new(rw_run, &first);
    enter_new(rw_run, &b);
    enter_new(rw_run, &c);
    enter_new(rw_run, &d);
    assert_events("fw");
    qemu_coroutine_enter(first.co);
    assert_events("fdbr");
    qemu_coroutine_enter(first.co);
    assert_events("fx");
    qemu_coroutine_enter(b.co);
    assert_events("bxcw");
    qemu_coroutine_enter(c.co);
    assert_events("cxdr");
    qemu_coroutine_enter(d.co);
    assert_events("dx");

    enter_new(rw_run, &a);
    assert_events("awad");
    qemu_coroutine_enter(a.co);
    assert_events("ax");
}

/* ---- what may not be done ---- */

static void coroutine_fn unlock_free_mutex(void *opaque)
{
    CoMutex mutex = { 0 };

    qemu_co_mutex_unlock(&mutex);
}

static void coroutine_fn unlock_others_mutex(void *opaque)
{
    Worker *a = opaque;

    qemu_co_mutex_unlock(a->mutex);
}

static void coroutine_fn lock_twice(void *opaque)
{
    CoMutex mutex = { 0 };

    qemu_co_mutex_lock(&mutex);
    qemu_co_mutex_lock(&mutex);
}

static void coroutine_fn end_with_mutex(void *opaque)
{
    static CoMutex mutex;

    qemu_co_mutex_lock(&mutex);
}

static void coroutine_fn end_with_rwlock(void *opaque)
{
    static CoRwlock lock;

    qemu_co_rwlock_init(&lock);
    qemu_co_rwlock_rdlock(&lock);
}

static void coroutine_fn unlock_free_rwlock(void *opaque)
{
    static CoRwlock lock;

    qemu_co_rwlock_init(&lock);
    qemu_co_rwlock_unlock(&lock);
}

static void coroutine_fn assert_unlocked_mutex(void *opaque)
{
    CoMutex mutex = { 0 };

    qemu_co_mutex_assert_locked(&mutex);
}

static void die_by(const char *how)
{
    CoMutex mutex = { 0 };
    Worker a = { &mutex, 'a' };

    if (!strcmp(how, "unlock free mutex")) {
        enter_new(unlock_free_mutex, NULL);
    } else if (!strcmp(how, "unlock another's mutex")) {
        enter_new(lock_note_yield, &a);
        enter_new(unlock_others_mutex, &a);
    } else if (!strcmp(how, "lock twice")) {
        enter_new(lock_twice, NULL);
    } else if (!strcmp(how, "end with a mutex held")) {
        enter_new(end_with_mutex, NULL);
    } else if (!strcmp(how, "end with a rwlock held")) {
        enter_new(end_with_rwlock, NULL);
    } else if (!strcmp(how, "unlock free rwlock")) {
        enter_new(unlock_free_rwlock, NULL);
    } else if (!strcmp(how, "assert an unlocked mutex")) {
        enter_new(assert_unlocked_mutex, NULL);
    }
}

static const char *const deaths[][2] = {
    { "unlock free mutex", "*qemu_co_mutex_unlock*does not hold*" },
    { "unlock another's mutex", "*qemu_co_mutex_unlock*does not hold*" },
    { "lock twice", "*qemu_co_mutex_lock*holds this mutex already*" },
    { "end with a mutex held", "*ends while it holds 1 lock*" },
    { "end with a rwlock held", "*ends while it holds 1 lock*" },
    { "unlock free rwlock", "*qemu_co_rwlock_unlock*not held*" },
    { "assert an unlocked mutex", "*qemu_co_mutex_assert_locked*does not hold*" },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    events = g_string_new(NULL);

    g_test_add_func("/mutex/is handed on in order", a_mutex_is_handed_on_in_order);
    g_test_add_func("/mutex/who unlocks cannot take it back at once",
                    who_unlocks_cannot_take_it_back_at_once);
    g_test_add_func("/mutex/without contention nobody yields",
                    without_contention_nobody_yields);
    g_test_add_func("/mutex/the last one may free it", the_last_one_may_free_the_mutex);
    g_test_add_func("/mutex/guards know it", guards_know_coroutine_mutexes);
    g_test_add_func("/queue/wakes in order when the waker yields",
                    a_queue_wakes_in_order_when_the_waker_yields);
    g_test_add_func("/queue/the last to come to the front is first",
                    the_last_to_come_to_the_front_is_first);
    g_test_add_func("/queue/outside of coroutines a waiter runs at once",
                    outside_of_coroutines_a_waiter_runs_at_once);
    g_test_add_func("/queue/a woken waiter holds its mutex again",
                    a_woken_waiter_holds_its_mutex_again);
    g_test_add_func("/rwlock/readers share and writers do not",
                    readers_share_and_writers_do_not);
    g_test_add_func("/rwlock/a reader does not overtake a waiting writer",
                    a_reader_does_not_overtake_a_waiting_writer);
    g_test_add_func("/rwlock/an upgrade alone is immediate", an_upgrade_alone_is_immediate);
    g_test_add_func("/rwlock/an upgrade queues behind writers that wait",
                    an_upgrade_queues_behind_writers_that_wait);
    g_test_add_func("/rwlock/an upgrade waits for the other readers",
                    an_upgrade_waits_for_the_other_readers);
    g_test_add_func("/rwlock/two upgrades do not wait for each other",
                    two_upgrades_do_not_wait_for_each_other);
    g_test_add_func("/rwlock/a downgrade lets waiting readers in but no writer",
                    a_downgrade_lets_waiting_readers_in_but_no_writer);
    add_deaths(deaths, ARRAY_SIZE(deaths));
    return g_test_run();
}
