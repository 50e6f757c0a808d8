/* SPDX-License-Identifier: MIT */
/*
 * Threads and thread locks over pthreads and futexes.
 *
 * Mutexes and conditions are the C library's. Semaphores and events are our own, because
 * both have to allow that a waiter frees them at once after it was let go: the one who
 * sets or posts makes a single access to the memory, and a futex wake-up afterwards uses
 * nothing but the address.
 */
#include "qemu/osdep.h"
#include "qemu/futex.h"
#include "qemu/thread.h"

static bool name_threads = true;

static G_NORETURN void die(int err, const char *what, const char *file, int line)
{
    if (file) {
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, g_strerror(err));
    } else {
        fprintf(stderr, "%s: %s\n", what, g_strerror(err));
    }
    abort();
}

static inline void check(int err, const char *what, const char *file, int line)
{
    if (unlikely(err)) {
        die(err, what, file, line);
    }
}

static inline void check_initialized(bool initialized, const char *what, const char *file,
                                     int line)
{
    if (unlikely(!initialized)) {
        die(EINVAL, what, file, line);
    }
}

int qemu_get_thread_id(void)
{
    return (int)syscall(SYS_gettid);
}

void qemu_mutex_init(QemuMutex *mutex)
{
    check(pthread_mutex_init(&mutex->lock, NULL), __func__, NULL, 0);
    mutex->initialized = true;
}

void qemu_mutex_destroy(QemuMutex *mutex)
{
    check_initialized(mutex->initialized, __func__, NULL, 0);
    mutex->initialized = false;
    check(pthread_mutex_destroy(&mutex->lock), __func__, NULL, 0);
}

void qemu_mutex_lock_impl(QemuMutex *mutex, const char *file, int line)
{
    check_initialized(mutex->initialized, "qemu_mutex_lock", file, line);
    check(pthread_mutex_lock(&mutex->lock), "qemu_mutex_lock", file, line);
}

int qemu_mutex_trylock_impl(QemuMutex *mutex, const char *file, int line)
{
    int err;

    check_initialized(mutex->initialized, "qemu_mutex_trylock", file, line);
    err = pthread_mutex_trylock(&mutex->lock);
    if (err == EBUSY) {
        return -EBUSY;
    }
    check(err, "qemu_mutex_trylock", file, line);
    return 0;
}

void qemu_mutex_unlock_impl(QemuMutex *mutex, const char *file, int line)
{
    check_initialized(mutex->initialized, "qemu_mutex_unlock", file, line);
    check(pthread_mutex_unlock(&mutex->lock), "qemu_mutex_unlock", file, line);
}

void qemu_rec_mutex_init(QemuRecMutex *mutex)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    check(pthread_mutex_init(&mutex->m.lock, &attr), __func__, NULL, 0);
    pthread_mutexattr_destroy(&attr);
    mutex->m.initialized = true;
}

void qemu_rec_mutex_destroy(QemuRecMutex *mutex)
{
    qemu_mutex_destroy(&mutex->m);
}

void qemu_rec_mutex_lock_impl(QemuRecMutex *mutex, const char *file, int line)
{
    qemu_mutex_lock_impl(&mutex->m, file, line);
}

int qemu_rec_mutex_trylock_impl(QemuRecMutex *mutex, const char *file, int line)
{
    return qemu_mutex_trylock_impl(&mutex->m, file, line);
}

void qemu_rec_mutex_unlock_impl(QemuRecMutex *mutex, const char *file, int line)
{
    qemu_mutex_unlock_impl(&mutex->m, file, line);
}

void qemu_cond_init(QemuCond *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    /* Time-outs are spans of time; nobody shortens them by setting the clock. */
    check(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), __func__, NULL, 0);
    check(pthread_cond_init(&cond->cond, &attr), __func__, NULL, 0);
    pthread_condattr_destroy(&attr);
    cond->initialized = true;
}

void qemu_cond_destroy(QemuCond *cond)
{
    check_initialized(cond->initialized, __func__, NULL, 0);
    cond->initialized = false;
    check(pthread_cond_destroy(&cond->cond), __func__, NULL, 0);
}

void qemu_cond_signal(QemuCond *cond)
{
    check_initialized(cond->initialized, __func__, NULL, 0);
    check(pthread_cond_signal(&cond->cond), __func__, NULL, 0);
}

void qemu_cond_broadcast(QemuCond *cond)
{
    check_initialized(cond->initialized, __func__, NULL, 0);
    check(pthread_cond_broadcast(&cond->cond), __func__, NULL, 0);
}

void qemu_cond_wait_impl(QemuCond *cond, QemuMutex *mutex, const char *file, int line)
{
    check_initialized(cond->initialized, "qemu_cond_wait", file, line);
    check(pthread_cond_wait(&cond->cond, &mutex->lock), "qemu_cond_wait", file, line);
}

/* The monotonic clock, ms milliseconds from now. */
static struct timespec deadline_after(int ms)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    if (ms > 0) {
        ts.tv_sec += ms / 1000;
        ts.tv_nsec += ms % 1000 * 1000000L;
        if (ts.tv_nsec >= 1000000000L) {
            ts.tv_nsec -= 1000000000L;
            ts.tv_sec++;
        }
    }
    return ts;
}

bool qemu_cond_timedwait_impl(QemuCond *cond, QemuMutex *mutex, int ms, const char *file,
                              int line)
{
    struct timespec ts = deadline_after(ms);
    int err;

    check_initialized(cond->initialized, "qemu_cond_timedwait", file, line);
    err = pthread_cond_timedwait(&cond->cond, &mutex->lock, &ts);
    if (err == ETIMEDOUT) {
        return false;
    }
    check(err, "qemu_cond_timedwait", file, line);
    return true;
}

#define SEM_ONE_WAITER (UINT64_C(1) << 32)

/* The half of the state that holds the count. */
static uint32_t *sem_futex(QemuSemaphore *sem)
{
    return (uint32_t *)&sem->state + (G_BYTE_ORDER == G_BIG_ENDIAN);
}

void qemu_sem_init(QemuSemaphore *sem, int init)
{
    g_assert(init >= 0);
    qatomic_set(&sem->state, (uint64_t)init);
}

void qemu_sem_destroy(QemuSemaphore *sem)
{
    g_assert(qatomic_read(&sem->state) < SEM_ONE_WAITER);
}

void qemu_sem_post(QemuSemaphore *sem)
{
    uint64_t before = qatomic_fetch_inc(&sem->state);

    g_assert((uint32_t)before != UINT32_MAX);
    /*
     * A waiter counts itself in the same word before the kernel compares the count to 0:
     * either it is seen here, or the kernel sees the new count and does not sleep.
     */
    if (before >= SEM_ONE_WAITER) {
        qemu_futex_wake_single(sem_futex(sem));
    }
}

/* Take one post, and with it back the waiter's own registration (or 0). */
static bool sem_take(QemuSemaphore *sem, uint64_t registration)
{
    uint64_t state = qatomic_read(&sem->state);

    while ((uint32_t)state != 0) {
        if (__atomic_compare_exchange_n(&sem->state, &state, state - 1 - registration, true,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
}

void qemu_sem_wait(QemuSemaphore *sem)
{
    if (sem_take(sem, 0)) {
        return;
    }
    qatomic_add(&sem->state, SEM_ONE_WAITER);
    while (!sem_take(sem, SEM_ONE_WAITER)) {
        qemu_futex_wait(sem_futex(sem), 0);
    }
}

int qemu_sem_timedwait(QemuSemaphore *sem, int ms)
{
    int64_t end, now;

    if (sem_take(sem, 0)) {
        return 0;
    }
    if (ms <= 0) {
        return -1;
    }

    end = g_get_monotonic_time() + (int64_t)ms * 1000;
    qatomic_add(&sem->state, SEM_ONE_WAITER);
    while (!sem_take(sem, SEM_ONE_WAITER)) {
        now = g_get_monotonic_time();
        if (now >= end) {
            /*
             * A post may have chosen this thread to wake in the meantime, and no other
             * one: if there is one to take after all, it has to be taken.
             */
            qatomic_sub(&sem->state, SEM_ONE_WAITER);
            return sem_take(sem, 0) ? 0 : -1;
        }
        qemu_futex_timedwait(sem_futex(sem), 0, (end - now) * 1000);
    }
    return 0;
}

/*
 * States of an event. A reset ORs EV_FREE in, which leaves EV_BUSY (somebody sleeps, or
 * slept since the last set) as it is.
 */
#define EV_SET  0u
#define EV_FREE 1u
#define EV_BUSY 3u

void qemu_event_init(QemuEvent *ev, bool init)
{
    qatomic_set(&ev->value, init ? EV_SET : EV_FREE);
    ev->initialized = true;
}

void qemu_event_destroy(QemuEvent *ev)
{
    check_initialized(ev->initialized, __func__, NULL, 0);
    ev->initialized = false;
}

void qemu_event_set(QemuEvent *ev)
{
    /*
     * What the caller wrote before is visible to a thread that reads this value in
     * qemu_event_wait or overwrites it in qemu_event_reset.
     */
    smp_mb__before_rmw();
    if (qatomic_xchg(&ev->value, EV_SET) == EV_BUSY) {
        qemu_futex_wake_all(&ev->value);
    }
}

void qemu_event_reset(QemuEvent *ev)
{
    check_initialized(ev->initialized, __func__, NULL, 0);
    qatomic_or(&ev->value, EV_FREE);
    /*
     * The caller tests its condition next. Pairs with the barrier in qemu_event_set: when
     * the test does not see what the setter wrote before, the set comes behind this reset.
     */
    smp_mb__after_rmw();
}

void qemu_event_wait(QemuEvent *ev)
{
    unsigned value;

    check_initialized(ev->initialized, __func__, NULL, 0);
    value = qatomic_load_acquire(&ev->value);
    if (value == EV_SET) {
        return;
    }
    if (value == EV_FREE && qatomic_cmpxchg(&ev->value, EV_FREE, EV_BUSY) == EV_SET) {
        return;
    }
    /*
     * Returns when the value is, or has been, something else than EV_BUSY: only a set
     * does that. It may have been reset since, so the value itself says nothing.
     */
    qemu_futex_wait(&ev->value, EV_BUSY);
    (void)qatomic_load_acquire(&ev->value);
}

static pthread_once_t thread_exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_exit_key;
/* Owned by its thread. */
static __thread NotifierList thread_exit_list;

static void thread_exit_notify(void *opaque)
{
    NotifierList *list = opaque;

    /* A notifier may add another one, so it goes on until none is left. */
    while (!notifier_list_empty(list)) {
        Notifier *notifier = QLIST_FIRST(&list->notifiers);

        notifier_remove(notifier);
        notifier->notify(notifier, NULL);
    }
}

/* A key's destructor is not called in the thread that calls exit. */
static void process_exit_notify(void)
{
    thread_exit_notify(&thread_exit_list);
}

static void thread_exit_init(void)
{
    check(pthread_key_create(&thread_exit_key, thread_exit_notify), __func__, NULL, 0);
    atexit(process_exit_notify);
}

void qemu_thread_atexit_add(Notifier *notifier)
{
    pthread_once(&thread_exit_once, thread_exit_init);
    /* The destructor is called only where the key's value is not NULL. */
    check(pthread_setspecific(thread_exit_key, &thread_exit_list), __func__, NULL, 0);
    notifier_list_add(&thread_exit_list, notifier);
}

void qemu_thread_atexit_remove(Notifier *notifier)
{
    notifier_remove(notifier);
}

typedef struct ThreadStart {
    void *(*routine)(void *);
    void *arg;
    char name[16]; /* the kernel's limit, with the 0 */
} ThreadStart;

static void *thread_start(void *opaque)
{
    ThreadStart start = *(ThreadStart *)opaque;

    g_free(opaque);
    if (start.name[0]) {
        pthread_setname_np(pthread_self(), start.name);
    }
    return start.routine(start.arg);
}

void qemu_thread_naming(bool enable)
{
    qatomic_set(&name_threads, enable);
}

void qemu_thread_create(QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg, int mode)
{
    ThreadStart *start = g_new0(ThreadStart, 1);
    sigset_t blocked, old;
    pthread_attr_t attr;

    start->routine = start_routine;
    start->arg = arg;
    if (name && qatomic_read(&name_threads)) {
        g_strlcpy(start->name, name, sizeof(start->name));
    }

    pthread_attr_init(&attr);
    if (mode == QEMU_THREAD_DETACHED) {
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    }
    /* Signals are the program's own threads' business; faults stay with who makes them. */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    check(pthread_create(&thread->thread, &attr, thread_start, start), __func__, NULL, 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
}

void *qemu_thread_join(QemuThread *thread)
{
    void *ret;

    check(pthread_join(thread->thread, &ret), __func__, NULL, 0);
    return ret;
}

void qemu_thread_get_self(QemuThread *thread)
{
    thread->thread = pthread_self();
}

bool qemu_thread_is_self(QemuThread *thread)
{
    return pthread_equal(pthread_self(), thread->thread);
}

void qemu_thread_exit(void *retval)
{
    pthread_exit(retval);
}
