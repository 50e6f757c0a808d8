/* SPDX-License-Identifier: MIT */
/*
 * CoMutex and CoQueue.
 *
 * CoMutex. One word, state, says both whether the mutex is held and who came to wait:
 *
 *     0                  free
 *     LOCKED             held, nobody came since the holder last looked
 *     record | LOCKED    held; record is the newest on a stack of those who came
 *
 * Locking changes 0 to LOCKED, or else pushes the caller's record; unlocking changes
 * LOCKED to 0, or else takes the whole stack, reverses it into to_pop (oldest first) and
 * hands the mutex to the first. While to_pop is not empty unlock hands on without looking
 * at state, which keeps its LOCKED bit. So whoever waits is served in order, and a
 * newcomer cannot get in between: for him the mutex is free only when nobody waits.
 *
 * No wake-up is lost, as there is nothing to fall between: a record gets onto the stack
 * only by a compare-and-exchange from a state with LOCKED set, and LOCKED is taken away
 * only by one from a state without records, when to_pop is empty. docs/coroutines.md has
 * the argument in full, tests/model the model that is checked.
 *
 * Owned by: state, everybody, through atomic operations. A record (on the waiter's stack),
 * the waiter until it is pushed, then the holder until the waiter is woken. to_pop,
 * holder and ctx, the holder; others read them for a guess or a check of themselves.
 *
 * CoQueue is owned by whoever holds the lock that its user chose for it.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/atomic.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "qemu/processor.h"

#define LOCKED ((uintptr_t)1)

/*
 * How often to look before waiting in earnest: a few microseconds, about what waking a
 * coroutine in another thread costs.
 */
#define SPIN_LIMIT 200

typedef struct CoWaitRecord {
    Coroutine *co;
    struct CoWaitRecord *next;
} CoWaitRecord;

static G_NORETURN QEMU_NOINLINE void die(const char *what)
{
    fprintf(stderr, "blkco: %s\n", what);
    abort();
}

void qemu_co_mutex_init(CoMutex *mutex)
{
    memset(mutex, 0, sizeof(*mutex));
}

/*
 * While the holder runs in another thread and nobody waits, it is likely to be done
 * sooner than a wake-up takes. Returns the state last seen. ctx is a guess: it is
 * cleared when the mutex is handed on, as the next holder does not run yet.
 */
static uintptr_t spin_while_held(CoMutex *mutex, Coroutine *self)
{
    uintptr_t state = qatomic_read(&mutex->state);
    int i;

    for (i = 0; i < SPIN_LIMIT && state == LOCKED; i++) {
        AioContext *ctx = qatomic_read(&mutex->ctx);

        if (!ctx || ctx == self->ctx || qatomic_read(&mutex->to_pop)) {
            break;
        }
        cpu_relax();
        state = qatomic_read(&mutex->state);
    }
    return state;
}

static QEMU_NOINLINE void coroutine_fn lock_slowly(CoMutex *mutex, Coroutine *self)
{
    CoWaitRecord record = { .co = self };
    uintptr_t state;

    if (qatomic_read(&mutex->holder) == self) {
        die("qemu_co_mutex_lock: the coroutine holds this mutex already");
    }

    state = spin_while_held(mutex, self);
    for (;;) {
        if (state == 0) {
            if (__atomic_compare_exchange_n(&mutex->state, &state, LOCKED, true,
                                            __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
                return;
            }
        } else {
            record.next = (CoWaitRecord *)(state & ~LOCKED);
            /* Release: the record. Pairs with the acquire in take_waiters. */
            if (__atomic_compare_exchange_n(&mutex->state, &state,
                                            (uintptr_t)&record | LOCKED, true,
                                            __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
                break;
            }
        }
    }

    /*
     * From here on another thread may hand the mutex over, before the yield too: it then
     * schedules this coroutine into the loop of this thread, which gets there after the
     * yield. When this returns, the mutex is ours; the wake-up ordered the memory.
     */
    self->wait_reason = "a CoMutex";
    qemu_coroutine_yield();
    self->wait_reason = NULL;
}

void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex)
{
    Coroutine *self = qemu_coroutine_self();
    uintptr_t expected = 0;

    /* Acquire: pairs with the release in qemu_co_mutex_unlock. */
    if (unlikely(!__atomic_compare_exchange_n(&mutex->state, &expected, LOCKED, false,
                                              __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))) {
        lock_slowly(mutex, self);
    }
    qatomic_set(&mutex->holder, self);
    qatomic_set(&mutex->ctx, self->ctx);
    self->locks_held++;
}

/* All who came since the last time, oldest first. There is at least one. */
static CoWaitRecord *take_waiters(CoMutex *mutex)
{
    /* Acquire: the records. Pairs with the release in lock_slowly. */
    uintptr_t state = __atomic_exchange_n(&mutex->state, LOCKED, __ATOMIC_ACQUIRE);
    CoWaitRecord *newest = (CoWaitRecord *)(state & ~LOCKED);
    CoWaitRecord *oldest = NULL;

    while (newest) {
        CoWaitRecord *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static QEMU_NOINLINE void coroutine_fn hand_over(CoMutex *mutex)
{
    CoWaitRecord *next = mutex->to_pop;

    if (!next) {
        next = take_waiters(mutex);
    }
    qatomic_set(&mutex->to_pop, next->next);
    qatomic_set(&mutex->ctx, NULL);
    /* The mutex belongs to the other one as soon as it is woken: not touched after. */
    aio_co_wake(next->co);
}

void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex)
{
    Coroutine *self = qemu_coroutine_self();
    uintptr_t expected = LOCKED;

    if (unlikely(qatomic_read(&mutex->holder) != self)) {
        die("qemu_co_mutex_unlock: the coroutine does not hold this mutex");
    }
    qatomic_set(&mutex->holder, NULL);
    self->locks_held--;

    /* Release: what was done under the mutex. Pairs with the acquire when locking. */
    if (unlikely(mutex->to_pop) ||
        unlikely(!__atomic_compare_exchange_n(&mutex->state, &expected, 0, false,
                                              __ATOMIC_RELEASE, __ATOMIC_RELAXED))) {
        hand_over(mutex);
    }
}

void coroutine_fn qemu_co_mutex_assert_locked(CoMutex *mutex)
{
    if (qatomic_read(&mutex->holder) != qemu_coroutine_self()) {
        die("qemu_co_mutex_assert_locked: the coroutine does not hold this mutex");
    }
}

void qemu_co_queue_init(CoQueue *queue)
{
    QSIMPLEQ_INIT(&queue->entries);
}

void coroutine_fn qemu_co_queue_wait_impl(CoQueue *queue, QemuLockable *lock,
                                          CoQueueWaitFlags flags)
{
    Coroutine *self = qemu_coroutine_self();

    if (flags & CO_QUEUE_WAIT_FRONT) {
        QSIMPLEQ_INSERT_HEAD(&queue->entries, self, co_queue_next);
    } else {
        QSIMPLEQ_INSERT_TAIL(&queue->entries, self, co_queue_next);
    }
    self->wait_reason = "a CoQueue";

    /*
     * As soon as the lock is free another thread may take this coroutine off the queue
     * and schedule it here: it runs after the yield, see lock_slowly.
     */
    if (lock) {
        qemu_lockable_unlock(lock);
    }
    qemu_coroutine_yield();
    self->wait_reason = NULL;
    if (lock) {
        qemu_lockable_lock(lock);
    }
}

bool qemu_co_enter_next_impl(CoQueue *queue, QemuLockable *lock)
{
    Coroutine *next = QSIMPLEQ_FIRST(&queue->entries);

    if (!next) {
        return false;
    }
    QSIMPLEQ_REMOVE_HEAD(&queue->entries, co_queue_next);
    if (lock) {
        qemu_lockable_unlock(lock);
    }
    aio_co_wake(next);
    if (lock) {
        qemu_lockable_lock(lock);
    }
    return true;
}

void qemu_co_enter_all_impl(CoQueue *queue, QemuLockable *lock)
{
    size_t waiting = 0;
    Coroutine *co;

    /* Outside of coroutines those woken run at once; one that waits again stays. */
    QSIMPLEQ_FOREACH(co, &queue->entries, co_queue_next) {
        waiting++;
    }
    while (waiting-- > 0 && qemu_co_enter_next_impl(queue, lock)) {
        /* as many as there were */
    }
}

bool coroutine_fn qemu_co_queue_next(CoQueue *queue)
{
    return qemu_co_enter_next_impl(queue, NULL);
}

void coroutine_fn qemu_co_queue_restart_all(CoQueue *queue)
{
    qemu_co_enter_all_impl(queue, NULL);
}

bool qemu_co_queue_empty(CoQueue *queue)
{
    return QSIMPLEQ_EMPTY(&queue->entries);
}
