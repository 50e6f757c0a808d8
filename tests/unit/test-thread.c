/* SPDX-License-Identifier: MIT */
/* Threads and the locks that block threads. */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"

#define THREADS 4
#define ROUNDS  20000

static void *return_twice(void *opaque)
{
    return (char *)opaque + GPOINTER_TO_SIZE(opaque);
}

static void a_thread_returns_its_value(void)
{
    QemuThread thread, self;

    qemu_thread_get_self(&self);
    g_assert_true(qemu_thread_is_self(&self));
    qemu_thread_create(&thread, "a name that is too long", return_twice,
                       GSIZE_TO_POINTER(21), QEMU_THREAD_JOINABLE);
    g_assert_false(qemu_thread_is_self(&thread));
    g_assert_cmpuint(GPOINTER_TO_SIZE(qemu_thread_join(&thread)), ==, 42);
}

static void *own_name(void *opaque)
{
    char *name = g_malloc0(16);

    g_assert_cmpint(pthread_getname_np(pthread_self(), name, 16), ==, 0);
    return name;
}

static char *name_of_thread(const char *name)
{
    QemuThread thread;

    qemu_thread_create(&thread, name, own_name, NULL, QEMU_THREAD_JOINABLE);
    return qemu_thread_join(&thread);
}

static void a_thread_has_a_name_if_it_is_wanted(void)
{
    g_autofree char *mine = own_name(NULL), *named = NULL, *unnamed = NULL, *off = NULL;

    named = name_of_thread("a name that is too long");
    unnamed = name_of_thread(NULL);
    qemu_thread_naming(false);
    off = name_of_thread("not wanted");
    qemu_thread_naming(true);
    g_assert_cmpstr(named, ==, "a name that is ");
    /* As the one that made it. */
    g_assert_cmpstr(unnamed, ==, mine);
    g_assert_cmpstr(off, ==, mine);
}

typedef struct Shared {
    QemuMutex mutex;
    QemuRecMutex rec;
    QemuSpin spin;
    QemuCond cond;
    QemuSemaphore sem, done;
    QemuEvent event;
    int counter;
    int turn;
} Shared;

static void run_threads(Shared *s, void *(*fn)(void *))
{
    QemuThread threads[THREADS];
    int i;

    for (i = 0; i < THREADS; i++) {
        qemu_thread_create(&threads[i], "worker", fn, s, QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < THREADS; i++) {
        qemu_thread_join(&threads[i]);
    }
}

static void *count_under_locks(void *opaque)
{
    Shared *s = opaque;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        switch (i % 3) {
        case 0:
            qemu_mutex_lock(&s->mutex);
            qemu_spin_lock(&s->spin);
            s->counter++;
            qemu_spin_unlock(&s->spin);
            qemu_mutex_unlock(&s->mutex);
            break;
        case 1:
            WITH_QEMU_LOCK_GUARD(&s->spin) {
                s->counter++;
            }
            break;
        case 2: {
            QEMU_LOCK_GUARD(&s->rec);
            QEMU_LOCK_GUARD(&s->rec);
            QEMU_LOCK_GUARD(&s->spin);
            s->counter++;
            break;
        }
        }
    }
    return NULL;
}

static void locks_exclude_each_other(void)
{
    Shared s = { .counter = 0 };

    qemu_mutex_init(&s.mutex);
    qemu_rec_mutex_init(&s.rec);
    qemu_spin_init(&s.spin);
    run_threads(&s, count_under_locks);
    g_assert_cmpint(s.counter, ==, THREADS * ROUNDS);

    g_assert_cmpint(qemu_mutex_trylock(&s.mutex), ==, 0);
    g_assert_cmpint(qemu_mutex_trylock(&s.mutex), ==, -EBUSY);
    qemu_mutex_unlock(&s.mutex);
    g_assert_false(qemu_spin_trylock(&s.spin));
    g_assert_true(qemu_spin_locked(&s.spin));
    g_assert_true(qemu_spin_trylock(&s.spin));
    qemu_spin_unlock(&s.spin);
    qemu_mutex_destroy(&s.mutex);
    qemu_rec_mutex_destroy(&s.rec);
}

static bool returns_from_inside(QemuMutex *mutex)
{
    WITH_QEMU_LOCK_GUARD(mutex) {
        return true;
    }
    return false;
}

static void a_guard_unlocks_however_its_scope_is_left(void)
{
    QemuLockable *none = QEMU_MAKE_LOCKABLE((QemuMutex *)NULL);
    QemuLockable *lockable;
    QemuMutex mutex;
    int i;

    qemu_mutex_init(&mutex);
    g_assert_true(returns_from_inside(&mutex));
    for (i = 0; i < 3; i++) {
        WITH_QEMU_LOCK_GUARD(&mutex) {
            if (i == 1) {
                break; /* leaves the guarded block */
            }
            g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, -EBUSY);
        }
        g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, 0);
        qemu_mutex_unlock(&mutex);
    }

    lockable = QEMU_MAKE_LOCKABLE(&mutex);
    qemu_lockable_lock(lockable);
    g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, -EBUSY);
    qemu_lockable_unlock(QEMU_MAKE_LOCKABLE(lockable));
    g_assert_null(none);
    g_assert_null(QEMU_MAKE_LOCKABLE(NULL));
    qemu_mutex_destroy(&mutex);
}

static void *take_turns(void *opaque)
{
    Shared *s = opaque;
    int i, me;

    qemu_mutex_lock(&s->mutex);
    me = s->counter++;
    for (i = 0; i < 200; i++) {
        while (s->turn % THREADS != me) {
            qemu_cond_wait(&s->cond, &s->mutex);
        }
        s->turn++;
        qemu_cond_broadcast(&s->cond);
    }
    qemu_mutex_unlock(&s->mutex);
    return NULL;
}

static void conditions_wake_and_time_out(void)
{
    Shared s = { .counter = 0 };
    gint64 start;

    qemu_mutex_init(&s.mutex);
    qemu_cond_init(&s.cond);
    run_threads(&s, take_turns);
    g_assert_cmpint(s.turn, ==, THREADS * 200);

    qemu_mutex_lock(&s.mutex);
    start = g_get_monotonic_time();
    while (qemu_cond_timedwait(&s.cond, &s.mutex, 20)) {
        /* a wake-up without a signal */
    }
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 20000);
    qemu_mutex_unlock(&s.mutex);
    qemu_cond_destroy(&s.cond);
    qemu_mutex_destroy(&s.mutex);
}

static void *pass_the_post(void *opaque)
{
    Shared *s = opaque;
    int i;

    for (i = 0; i < ROUNDS / 10; i++) {
        qemu_sem_wait(&s->sem);
        qatomic_inc(&s->counter);
        qemu_sem_post(&s->done);
    }
    return NULL;
}

static void semaphores_count(void)
{
    Shared s = { .counter = 0 };
    QemuThread threads[THREADS];
    int i;

    qemu_sem_init(&s.sem, 2);
    qemu_sem_init(&s.done, 0);
    g_assert_cmpint(qemu_sem_timedwait(&s.sem, 0), ==, 0);
    g_assert_cmpint(qemu_sem_timedwait(&s.sem, 1000), ==, 0);
    g_assert_cmpint(qemu_sem_timedwait(&s.sem, 0), ==, -1);
    g_assert_cmpint(qemu_sem_timedwait(&s.sem, 5), ==, -1);

    for (i = 0; i < THREADS; i++) {
        qemu_thread_create(&threads[i], "sem", pass_the_post, &s, QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < THREADS * (ROUNDS / 10); i++) {
        qemu_sem_post(&s.sem);
        if (i % 3 == 0) {
            qemu_sem_wait(&s.done);
        }
    }
    for (i = 0; i < THREADS; i++) {
        qemu_thread_join(&threads[i]);
    }
    g_assert_cmpint(s.counter, ==, THREADS * (ROUNDS / 10));
    qemu_sem_destroy(&s.sem);
    qemu_sem_destroy(&s.done);
}

static void *answer_requests(void *opaque)
{
    Shared *s = opaque;

    for (;;) {
        qemu_event_reset(&s->event);
        if (qatomic_read(&s->turn) < 0) {
            return NULL;
        }
        if (qatomic_xchg(&s->turn, 0)) {
            s->counter++;
            qemu_sem_post(&s->done);
            continue;
        }
        qemu_event_wait(&s->event);
    }
}

static void an_event_is_never_missed(void)
{
    Shared s = { .counter = 0 };
    QemuThread thread;
    int i;

    qemu_event_init(&s.event, false);
    qemu_sem_init(&s.done, 0);
    qemu_thread_create(&thread, "event", answer_requests, &s, QEMU_THREAD_JOINABLE);
    for (i = 0; i < ROUNDS / 4; i++) {
        qatomic_set(&s.turn, 1);
        qemu_event_set(&s.event);
        qemu_sem_wait(&s.done);
    }
    qatomic_set(&s.turn, -1);
    qemu_event_set(&s.event);
    qemu_thread_join(&thread);
    g_assert_cmpint(s.counter, ==, ROUNDS / 4);

    qemu_event_set(&s.event);
    qemu_event_wait(&s.event);
    qemu_event_destroy(&s.event);
    qemu_sem_destroy(&s.done);
}

static GString *exit_order;

static void exit_first(Notifier *notifier, void *data)
{
    g_string_append(exit_order, "1");
}

static void exit_second(Notifier *notifier, void *data)
{
    g_string_append(exit_order, "2");
}

static void *end_with_notifiers(void *opaque)
{
    static Notifier first = { .notify = exit_first };
    static Notifier second = { .notify = exit_second };
    static Notifier removed = { .notify = exit_first };

    qemu_thread_atexit_add(&second);
    qemu_thread_atexit_add(&removed);
    qemu_thread_atexit_add(&first);
    qemu_thread_atexit_remove(&removed);
    if (opaque) {
        qemu_thread_exit(NULL);
    }
    return NULL;
}

static void an_event_may_be_set_from_the_start(void)
{
    QemuEvent event;

    qemu_event_init(&event, true);
    qemu_event_wait(&event);
    qemu_event_wait(&event);
    qemu_event_destroy(&event);
}

static void *signal_until_seen(void *opaque)
{
    Shared *s = opaque;

    while (!qatomic_read(&s->turn)) {
        qemu_mutex_lock(&s->mutex);
        qemu_cond_signal(&s->cond);
        qemu_mutex_unlock(&s->mutex);
        g_usleep(100);
    }
    return NULL;
}

/* The deadline lies in the next second of the clock, or the one behind, or nearly now. */
static void a_signal_comes_before_any_deadline(void)
{
    static const int spans[] = { 60999, 60500, 60000, INT_MAX };
    Shared s = { .turn = 0 };
    QemuThread thread;

    qemu_mutex_init(&s.mutex);
    qemu_cond_init(&s.cond);
    qemu_thread_create(&thread, "signal", signal_until_seen, &s, QEMU_THREAD_JOINABLE);
    qemu_mutex_lock(&s.mutex);
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < G_N_ELEMENTS(spans); i++) {
            g_assert_true(qemu_cond_timedwait(&s.cond, &s.mutex, spans[i]));
        }
    }
    qemu_mutex_unlock(&s.mutex);
    qatomic_set(&s.turn, 1);
    qemu_thread_join(&thread);
    qemu_cond_destroy(&s.cond);
    qemu_mutex_destroy(&s.mutex);
}

static void a_thread_that_ends_says_so(void)
{
    QemuThread thread;
    int i;

    exit_order = g_string_new(NULL);
    for (i = 0; i < 2; i++) {
        qemu_thread_create(&thread, "exit", end_with_notifiers, GINT_TO_POINTER(i),
                           QEMU_THREAD_JOINABLE);
        qemu_thread_join(&thread);
    }
    g_assert_cmpstr(exit_order->str, ==, "1212");
    g_string_free(exit_order, TRUE);
}

static void a_lock_that_was_not_initialised_dies(void)
{
    if (g_test_subprocess()) {
        QemuMutex mutex = { .initialized = false };

        qemu_mutex_lock(&mutex);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*test-thread.c:*qemu_mutex_lock*");
}

static void destroying_a_lock_that_was_not_initialised_dies(void)
{
    if (g_test_subprocess()) {
        QemuMutex mutex = { .initialized = false };

        qemu_mutex_destroy(&mutex);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("qemu_mutex_destroy: Invalid argument\n*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/thread/a thread returns its value", a_thread_returns_its_value);
    g_test_add_func("/thread/a thread has a name if it is wanted",
                    a_thread_has_a_name_if_it_is_wanted);
    g_test_add_func("/thread/an event may be set from the start",
                    an_event_may_be_set_from_the_start);
    g_test_add_func("/thread/a signal comes before any deadline",
                    a_signal_comes_before_any_deadline);
    g_test_add_func("/thread/destroying a lock that was not initialised dies",
                    destroying_a_lock_that_was_not_initialised_dies);
    g_test_add_func("/thread/locks exclude each other", locks_exclude_each_other);
    g_test_add_func("/thread/a guard unlocks however its scope is left",
                    a_guard_unlocks_however_its_scope_is_left);
    g_test_add_func("/thread/conditions wake and time out", conditions_wake_and_time_out);
    g_test_add_func("/thread/semaphores count", semaphores_count);
    g_test_add_func("/thread/an event is never missed", an_event_is_never_missed);
    g_test_add_func("/thread/a thread that ends says so", a_thread_that_ends_says_so);
    g_test_add_func("/thread/a lock that was not initialised dies",
                    a_lock_that_was_not_initialised_dies);
    return g_test_run();
}
