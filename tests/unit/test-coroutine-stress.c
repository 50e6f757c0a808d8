/* SPDX-License-Identifier: MIT */
/*
 * Coroutines in many threads that do everything at once: lock, wait, sleep, wake, move to
 * other threads, start others there and end. Every lock guards data whose two halves have
 * to be equal, so that a second owner shows, under ThreadSanitizer also as a race.
 *
 * Runs for two seconds, or for BLKCO_STRESS_SECONDS. The random choices follow the seed
 * that is printed; which thread comes first at what does not.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/atomic.h"
#include "qemu/co-shared-resource.h"
#include "qemu/coroutine.h"
#include "qemu/iothread.h"
#include "qemu/main-loop.h"
#include "qemu/thread-pool.h"

#define THREADS 8
#define WORKERS 64
#define LOCKS   4
#define BUDGET  100

/* What a lock guards: unequal while somebody is at it. */
typedef struct Guarded {
    int a, b;
} Guarded;

typedef struct Worker {
    GRand *rand;
    QemuCoSleep sleep;
    unsigned long steps;
} Worker;

static IOThread *threads[THREADS];
static Worker workers[WORKERS];

static struct {
    CoMutex lock;
    Guarded data;
} mutexes[LOCKS];

static struct {
    CoRwlock lock;
    Guarded data;
} rwlocks[LOCKS];

/* Tokens to wait for, under a coroutine's mutex in one half and a thread's in the other. */
static struct {
    CoMutex co_mutex;
    QemuMutex thread_mutex;
    CoQueue queue;
    int tokens, waiting;
} shops[2];

static SharedResource *budget;
static int budget_taken;

static bool stop;
static int alive;
static QemuSemaphore all_ended;

static AioContext *any_ctx(GRand *rand)
{
    return iothread_get_aio_context(threads[g_rand_int_range(rand, 0, THREADS)]);
}

static void check_and_change(Guarded *g)
{
    g_assert_cmpint(g->a, ==, g->b);
    g->a++;
}

static void change_back(Guarded *g)
{
    g->b++;
    g_assert_cmpint(g->a, ==, g->b);
}

static int do_little(void *opaque)
{
    return 42;
}

/* Something that may yield, while a lock is held or not. */
static void coroutine_fn pause_somehow(Worker *w)
{
    switch (g_rand_int_range(w->rand, 0, 12)) {
    case 0:
        aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
        break;
    case 1:
        aio_co_reschedule_self(any_ctx(w->rand));
        break;
    case 2:
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, g_rand_int_range(w->rand, 0, 100000));
        break;
    default:
        break;
    }
}

static void coroutine_fn use_mutex(Worker *w)
{
    int i = g_rand_int_range(w->rand, 0, LOCKS);

    WITH_QEMU_LOCK_GUARD(&mutexes[i].lock) {
        check_and_change(&mutexes[i].data);
        pause_somehow(w);
        qemu_co_mutex_assert_locked(&mutexes[i].lock);
        change_back(&mutexes[i].data);
    }
}

static void coroutine_fn use_rwlock(Worker *w)
{
    int i = g_rand_int_range(w->rand, 0, LOCKS);
    CoRwlock *lock = &rwlocks[i].lock;
    Guarded *data = &rwlocks[i].data;
    bool write = g_rand_int_range(w->rand, 0, 3) == 0;

    if (write) {
        qemu_co_rwlock_wrlock(lock);
    } else {
        qemu_co_rwlock_rdlock(lock);
        g_assert_cmpint(data->a, ==, data->b);
        pause_somehow(w);
        g_assert_cmpint(data->a, ==, data->b);
        if (g_rand_boolean(w->rand)) {
            qemu_co_rwlock_upgrade(lock);
            write = true;
        }
    }
    if (write) {
        check_and_change(data);
        pause_somehow(w);
        change_back(data);
        if (g_rand_boolean(w->rand)) {
            qemu_co_rwlock_downgrade(lock);
            g_assert_cmpint(data->a, ==, data->b);
            pause_somehow(w);
            g_assert_cmpint(data->a, ==, data->b);
        }
    }
    qemu_co_rwlock_unlock(lock);
}

static void coroutine_fn use_shop(Worker *w)
{
    int i = g_rand_int_range(w->rand, 0, 2);
    QemuLockable *lock = i ? QEMU_MAKE_LOCKABLE(&shops[i].thread_mutex)
                           : QEMU_MAKE_LOCKABLE(&shops[i].co_mutex);

    qemu_lockable_lock(lock);
    if (shops[i].waiting < WORKERS / 4 && g_rand_boolean(w->rand)) {
        shops[i].waiting++;
        while (!shops[i].tokens && !qatomic_read(&stop)) {
            qemu_co_queue_wait(&shops[i].queue, lock);
        }
        shops[i].waiting--;
        shops[i].tokens -= shops[i].tokens > 0;
    } else {
        shops[i].tokens += shops[i].tokens < WORKERS;
        if (g_rand_int_range(w->rand, 0, 8) == 0) {
            qemu_co_queue_restart_all(&shops[i].queue);
        } else {
            qemu_co_queue_next(&shops[i].queue);
        }
    }
    qemu_lockable_unlock(lock);
}

static void coroutine_fn use_budget(Worker *w)
{
    int n = g_rand_int_range(w->rand, 1, BUDGET);

    co_get_from_shres(budget, (uint64_t)n);
    g_assert_cmpint(qatomic_add_fetch(&budget_taken, n), <=, BUDGET);
    pause_somehow(w);
    qatomic_sub(&budget_taken, n);
    co_put_to_shres(budget, (uint64_t)n);
}

static void coroutine_fn sleep_or_wake(Worker *w)
{
    if (g_rand_boolean(w->rand)) {
        qemu_co_sleep_ns_wakeable(&w->sleep, QEMU_CLOCK_REALTIME,
                                  g_rand_int_range(w->rand, 0, 1000000));
    } else {
        qemu_co_sleep_wake(&workers[g_rand_int_range(w->rand, 0, WORKERS)].sleep);
    }
}

static void worker_ended(void)
{
    if (qatomic_fetch_dec(&alive) == 1) {
        qemu_sem_post(&all_ended);
    }
}

/* One that was created in a thread and ends in another. */
static void coroutine_fn child(void *opaque)
{
    int i = GPOINTER_TO_INT(opaque);

    qemu_co_mutex_lock(&mutexes[i].lock);
    check_and_change(&mutexes[i].data);
    change_back(&mutexes[i].data);
    qemu_co_mutex_unlock(&mutexes[i].lock);
    worker_ended();
}

static void start_child(Worker *w)
{
    int i = g_rand_int_range(w->rand, 0, LOCKS);
    Coroutine *co = qemu_coroutine_create(child, GINT_TO_POINTER(i));

    qatomic_inc(&alive);
    if (g_rand_boolean(w->rand)) {
        aio_co_schedule(any_ctx(w->rand), co);
    } else {
        qemu_coroutine_enter(co);
    }
}

typedef struct Late {
    unsigned ns;
} Late;

static void coroutine_fn be_late(void *opaque)
{
    Late *late = opaque;

    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, late->ns);
}

static void late_clean(void *opaque)
{
    g_free(opaque);
    worker_ended();
}

static void coroutine_fn use_timeout(Worker *w)
{
    Late *late = g_new0(Late, 1);

    late->ns = (unsigned)g_rand_int_range(w->rand, 0, 200000);
    qatomic_inc(&alive);
    if (qemu_co_timeout(be_late, late, 100000, late_clean) == 0) {
        late_clean(late);
    }
}

static void coroutine_fn one_step(Worker *w)
{
    switch (g_rand_int_range(w->rand, 0, 40)) {
    case 0:
        aio_co_reschedule_self(any_ctx(w->rand));
        break;
    case 1:
        sleep_or_wake(w);
        break;
    case 2:
        use_timeout(w);
        break;
    case 3:
        g_assert_cmpint(thread_pool_submit_co(do_little, NULL), ==, 42);
        break;
    case 4 ... 7:
        start_child(w);
        break;
    case 8 ... 12:
        use_budget(w);
        break;
    case 13 ... 18:
        use_shop(w);
        break;
    case 19 ... 28:
        use_rwlock(w);
        break;
    default:
        use_mutex(w);
        break;
    }
}

static void coroutine_fn worker_run(void *opaque)
{
    Worker *w = opaque;

    while (!qatomic_read(&stop)) {
        one_step(w);
        w->steps++;
        /* Let the thread's other coroutines run. */
        pause_somehow(w);
    }
    worker_ended();
}

/* stop is set: wake those who wait for tokens. */
static void coroutine_fn close_shops(void *opaque)
{
    qemu_co_mutex_lock(&shops[0].co_mutex);
    qemu_co_queue_restart_all(&shops[0].queue);
    qemu_co_mutex_unlock(&shops[0].co_mutex);
    qemu_mutex_lock(&shops[1].thread_mutex);
    qemu_co_queue_restart_all(&shops[1].queue);
    qemu_mutex_unlock(&shops[1].thread_mutex);
    worker_ended();
}

static int duration_in_seconds(void)
{
    const char *text = g_getenv("BLKCO_STRESS_SECONDS");

    return text ? MAX(atoi(text), 1) : 2;
}

static void set_up(void)
{
    int i;

    for (i = 0; i < LOCKS; i++) {
        qemu_co_mutex_init(&mutexes[i].lock);
        qemu_co_rwlock_init(&rwlocks[i].lock);
    }
    for (i = 0; i < 2; i++) {
        qemu_co_mutex_init(&shops[i].co_mutex);
        qemu_mutex_init(&shops[i].thread_mutex);
        qemu_co_queue_init(&shops[i].queue);
    }
    budget = shres_create(BUDGET);
    qemu_sem_init(&all_ended, 0);
    for (i = 0; i < THREADS; i++) {
        threads[i] = iothread_new();
        /* The worker threads are not what is tested here. */
        aio_context_set_thread_pool_params(iothread_get_aio_context(threads[i]), 0, 2,
                                           &error_abort);
    }
}

static void locks_schedule_sleep_migration_and_pools(void)
{
    unsigned long steps = 0;
    int i;

    set_up();
    alive = WORKERS;
    for (i = 0; i < WORKERS; i++) {
        workers[i].rand = g_rand_new_with_seed((guint32)g_test_rand_int());
        aio_co_schedule(iothread_get_aio_context(threads[i % THREADS]),
                        qemu_coroutine_create(worker_run, &workers[i]));
    }

    g_usleep((gulong)duration_in_seconds() * G_USEC_PER_SEC);

    qatomic_inc(&alive);
    qatomic_set(&stop, true);
    aio_co_schedule(iothread_get_aio_context(threads[0]),
                    qemu_coroutine_create(close_shops, NULL));
    if (qemu_sem_timedwait(&all_ended, 60000) != 0) {
        fprintf(stderr, "%d coroutines have not ended:\n", qatomic_read(&alive));
        qemu_coroutine_dump_all(stderr);
        abort();
    }
    for (i = 0; i < THREADS; i++) {
        iothread_join(threads[i]);
    }

    for (i = 0; i < WORKERS; i++) {
        steps += workers[i].steps;
        g_assert_cmpuint(workers[i].steps, >, 0);
        g_rand_free(workers[i].rand);
    }
    g_test_message("%lu steps", steps);
    shres_destroy(budget);
    qemu_sem_destroy(&all_ended);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/coroutine-stress/locks, schedule, sleep, migration and pools",
                    locks_schedule_sleep_migration_and_pools);
    return g_test_run();
}
