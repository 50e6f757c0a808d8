/* SPDX-License-Identifier: MIT */
/*
 * Threads, and locks that block threads. They do not know coroutines: a coroutine must
 * not yield while it holds one of these (use CoMutex of qemu/coroutine.h there).
 *
 * What the system reports as failure (a lock that was never initialised, destroying one
 * that is held, no more threads) is a bug of the program or the end of it: it is named on
 * stderr, with the caller's place, and aborts.
 */
#ifndef QEMU_THREAD_H
#define QEMU_THREAD_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

#include "qemu/atomic.h"
#include "qemu/notify.h"
#include "qemu/processor.h"
#include "qemu/typedefs.h"

struct QemuMutex {
    pthread_mutex_t lock;
    bool initialized;
};

/* The thread that holds it may lock it again. */
struct QemuRecMutex {
    QemuMutex m;
};

struct QemuCond {
    pthread_cond_t cond;
    bool initialized;
};

/*
 * Low 32 bits: posts not yet consumed (the futex word); high 32 bits: threads that sleep
 * or are about to. One word, so that a post learns both in its only access.
 */
struct QemuSemaphore {
    aligned_uint64_t state;
};

/*
 * A flag that threads wait for. Setting and waiting cost no system call while nobody
 * has to sleep. value is the futex word: see qemu-thread.c for its states.
 */
struct QemuEvent {
    unsigned value;
    bool initialized;
};

struct QemuThread {
    pthread_t thread;
};

/* 1 while locked. For sections of a few instructions that never sleep. */
struct QemuSpin {
    int value;
};

#define QEMU_THREAD_JOINABLE 0
#define QEMU_THREAD_DETACHED 1

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Not recursive. The memory may be freed after qemu_mutex_destroy. */
void qemu_mutex_init(QemuMutex *mutex);
void qemu_mutex_destroy(QemuMutex *mutex);
void qemu_mutex_lock_impl(QemuMutex *mutex, const char *file, int line);
/* 0 when it has been locked, -EBUSY when somebody holds it. */
int qemu_mutex_trylock_impl(QemuMutex *mutex, const char *file, int line);
void qemu_mutex_unlock_impl(QemuMutex *mutex, const char *file, int line);

void qemu_rec_mutex_init(QemuRecMutex *mutex);
void qemu_rec_mutex_destroy(QemuRecMutex *mutex);
void qemu_rec_mutex_lock_impl(QemuRecMutex *mutex, const char *file, int line);
int qemu_rec_mutex_trylock_impl(QemuRecMutex *mutex, const char *file, int line);
void qemu_rec_mutex_unlock_impl(QemuRecMutex *mutex, const char *file, int line);

/*
 * A condition belongs to whoever holds the mutex given to wait. Waiting gives the mutex
 * up meanwhile, and may end without a signal: test the condition in a loop.
 */
void qemu_cond_init(QemuCond *cond);
void qemu_cond_destroy(QemuCond *cond);
void qemu_cond_signal(QemuCond *cond);
void qemu_cond_broadcast(QemuCond *cond);
void qemu_cond_wait_impl(QemuCond *cond, QemuMutex *mutex, const char *file, int line);
/* Waits at most ms milliseconds; false when they have passed without a signal. */
bool qemu_cond_timedwait_impl(QemuCond *cond, QemuMutex *mutex, int ms, const char *file,
                              int line);

/* init: how many waits succeed before the first post; not negative. */
void qemu_sem_init(QemuSemaphore *sem, int init);
void qemu_sem_destroy(QemuSemaphore *sem);
/* Any thread. Does not touch the semaphore any more once a waiter can go on. */
void qemu_sem_post(QemuSemaphore *sem);
void qemu_sem_wait(QemuSemaphore *sem);
/* 0, or -1 when ms milliseconds have passed (ms <= 0: do not wait). */
int qemu_sem_timedwait(QemuSemaphore *sem, int ms);

/*
 * What was written before qemu_event_set is visible behind the qemu_event_wait that saw
 * it; what was written before qemu_event_reset is visible to who sets it afterwards.
 * The usual loop: reset, test the condition, wait.
 */
void qemu_event_init(QemuEvent *ev, bool init);
void qemu_event_destroy(QemuEvent *ev);
void qemu_event_set(QemuEvent *ev);
void qemu_event_reset(QemuEvent *ev);
void qemu_event_wait(QemuEvent *ev);

/*
 * Starts a thread that runs start_routine(arg) with all signals blocked. mode is
 * QEMU_THREAD_JOINABLE (somebody has to join it) or QEMU_THREAD_DETACHED. The name is
 * given to the kernel (up to 15 bytes of it) when naming is on.
 */
void qemu_thread_create(QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg, int mode);
/* Waits for the end of a joinable thread; what its function returned. */
void *qemu_thread_join(QemuThread *thread);
void qemu_thread_get_self(QemuThread *thread);
bool qemu_thread_is_self(QemuThread *thread);
void qemu_thread_exit(void *retval) __attribute__((__noreturn__));
/* Whether threads created from now on get their names; on by default. */
void qemu_thread_naming(bool enable);

/*
 * The notifier is called when the calling thread ends, or calls exit(). It has to stay
 * valid until then or until removed by the same thread.
 */
void qemu_thread_atexit_add(Notifier *notifier);
void qemu_thread_atexit_remove(Notifier *notifier);

#pragma GCC visibility pop

#define qemu_mutex_lock__raw(m)        qemu_mutex_lock_impl(m, __FILE__, __LINE__)
#define qemu_mutex_trylock__raw(m)     qemu_mutex_trylock_impl(m, __FILE__, __LINE__)
#define qemu_mutex_lock(m)             qemu_mutex_lock_impl(m, __FILE__, __LINE__)
#define qemu_mutex_trylock(m)          qemu_mutex_trylock_impl(m, __FILE__, __LINE__)
#define qemu_mutex_unlock(m)           qemu_mutex_unlock_impl(m, __FILE__, __LINE__)
#define qemu_rec_mutex_lock(m)         qemu_rec_mutex_lock_impl(m, __FILE__, __LINE__)
#define qemu_rec_mutex_trylock(m)      qemu_rec_mutex_trylock_impl(m, __FILE__, __LINE__)
#define qemu_rec_mutex_unlock(m)       qemu_rec_mutex_unlock_impl(m, __FILE__, __LINE__)
#define qemu_cond_wait(c, m)           qemu_cond_wait_impl(c, m, __FILE__, __LINE__)
#define qemu_cond_timedwait(c, m, ms)  qemu_cond_timedwait_impl(c, m, ms, __FILE__, __LINE__)

static inline void qemu_spin_init(QemuSpin *spin)
{
    qatomic_set(&spin->value, 0);
}

static inline void qemu_spin_destroy(QemuSpin *spin G_GNUC_UNUSED)
{
}

/* True when somebody else holds it (and it has not been locked), as QEMU has it. */
static inline bool qemu_spin_trylock(QemuSpin *spin)
{
    return __atomic_exchange_n(&spin->value, 1, __ATOMIC_ACQUIRE) != 0;
}

static inline void qemu_spin_lock(QemuSpin *spin)
{
    while (unlikely(qemu_spin_trylock(spin))) {
        while (qatomic_read(&spin->value)) {
            cpu_relax();
        }
    }
}

static inline bool qemu_spin_locked(QemuSpin *spin)
{
    return qatomic_read(&spin->value) != 0;
}

static inline void qemu_spin_unlock(QemuSpin *spin)
{
    qatomic_store_release(&spin->value, 0);
}

G_END_DECLS

/* Sources written for older versions of QEMU expect it here. */
#include "qemu/lockcnt.h"

#endif
