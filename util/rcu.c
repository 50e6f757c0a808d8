/* SPDX-License-Identifier: MIT */
/*
 * RCU with a counter of grace periods.
 *
 * Each thread that reads has a RcuReader; inside a section its ctr is the number of the
 * grace period that was current at the beginning, outside it is 0. A grace period begins
 * by counting up gp_ctr, and is over when every reader's ctr is 0 or the new number.
 *
 * Why that is enough: a reader stores its ctr, then has a full barrier (A), then reads
 * pointers. synchronize_rcu has a full barrier (B) behind the writer's stores, then looks
 * at ctr. When it does not see the reader's store, A comes behind B, and the reader sees
 * the new pointers. That the ctr so stored may be an old number only makes a later
 * grace period wait for it.
 *
 * The numbers do not come round in 64 bits. (Where long has 32, a section would have to
 * last for 2^31 grace periods.)
 *
 * Owned by: a RcuReader's ctr and depth by its thread (others read ctr); the list of
 * readers by registry_lock; gp_ctr by sync_lock; the callbacks by cb_lock.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"

typedef struct RcuReader {
    unsigned long ctr;
    unsigned depth;
    /* synchronize_rcu sleeps until this section ends. */
    bool waited_for;
    bool registered;
    Notifier exit;
    QLIST_ENTRY(RcuReader) node;
} RcuReader;

#define STATIC_MUTEX { .lock = PTHREAD_MUTEX_INITIALIZER, .initialized = true }

static QemuMutex registry_lock = STATIC_MUTEX;
static QLIST_HEAD(, RcuReader) readers = QLIST_HEAD_INITIALIZER(readers);

/* One grace period at a time. Taken before registry_lock. */
static QemuMutex sync_lock = STATIC_MUTEX;
static unsigned long gp_ctr = 1;
static QemuEvent gp_event = { .value = 0, .initialized = true };

static __thread RcuReader self;

static void rcu_thread_exit(Notifier *notifier, void *data)
{
    RcuReader *reader = container_of(notifier, RcuReader, exit);

    qemu_mutex_lock(&registry_lock);
    QLIST_REMOVE(reader, node);
    qemu_mutex_unlock(&registry_lock);
    reader->registered = false;
}

void rcu_register_thread(void)
{
    if (self.registered) {
        return;
    }
    self.registered = true;
    qemu_mutex_lock(&registry_lock);
    QLIST_INSERT_HEAD(&readers, &self, node);
    qemu_mutex_unlock(&registry_lock);
    self.exit.notify = rcu_thread_exit;
    qemu_thread_atexit_add(&self.exit);
}

void rcu_unregister_thread(void)
{
    if (self.registered) {
        qemu_thread_atexit_remove(&self.exit);
        rcu_thread_exit(&self.exit, NULL);
    }
}

void rcu_read_lock(void)
{
    RcuReader *reader = &self;

    if (reader->depth++ > 0) {
        return;
    }
    if (unlikely(!reader->registered)) {
        rcu_register_thread();
    }
    /*
     * Release: a grace period that sees this number, and so does not wait, comes behind
     * this thread's earlier sections, whose 0 it may have missed. Acquire: with the new
     * number come the writer's stores from before it.
     */
    qatomic_store_release(&reader->ctr, qatomic_load_acquire(&gp_ctr));
    /* Barrier A; pairs with barrier B in synchronize_rcu. */
    smp_mb();
}

void rcu_read_unlock(void)
{
    RcuReader *reader = &self;

    g_assert(reader->depth > 0);
    if (--reader->depth > 0) {
        return;
    }
    /* What the section read stays before; pairs with the acquire in readers_left. */
    qatomic_store_release(&reader->ctr, 0);
    /* The store above and this load; pairs with barrier C in readers_left. */
    smp_mb();
    if (unlikely(qatomic_read(&reader->waited_for))) {
        qatomic_set(&reader->waited_for, false);
        qemu_event_set(&gp_event);
    }
}

/* Is there a section from before this grace period? Asks each of them to set gp_event. */
static bool readers_left(void)
{
    RcuReader *reader;
    bool left = false;

    qemu_mutex_lock(&registry_lock);
    QLIST_FOREACH(reader, &readers, node) {
        qatomic_set(&reader->waited_for, true);
    }
    /*
     * Barrier C: a reader that leaves either is seen below to have left, or sees
     * waited_for behind its own barrier in rcu_read_unlock.
     */
    smp_mb();
    QLIST_FOREACH(reader, &readers, node) {
        unsigned long ctr = qatomic_load_acquire(&reader->ctr);

        if (ctr != 0 && ctr != gp_ctr) {
            left = true;
        } else {
            qatomic_set(&reader->waited_for, false);
        }
    }
    qemu_mutex_unlock(&registry_lock);
    return left;
}

void synchronize_rcu(void)
{
    g_assert(self.depth == 0);
    qemu_mutex_lock(&sync_lock);
    /* Release pairs with the acquire in rcu_read_lock. */
    qatomic_store_release(&gp_ctr, gp_ctr + 1);
    /* Barrier B: behind the caller's stores and gp_ctr; pairs with A in rcu_read_lock. */
    smp_mb();
    for (;;) {
        qemu_event_reset(&gp_event);
        if (!readers_left()) {
            break;
        }
        qemu_event_wait(&gp_event);
    }
    qemu_mutex_unlock(&sync_lock);
}

/*
 * Callbacks: a list, and a thread that is started with the first. It takes the whole list,
 * lets one grace period pass, and calls them.
 */
static QemuMutex cb_lock = STATIC_MUTEX;
static QemuCond cb_cond = { .cond = PTHREAD_COND_INITIALIZER, .initialized = true };
static struct rcu_head *cb_first, **cb_last = &cb_first;
static bool cb_thread_started;

static void *call_rcu_thread(void *opaque)
{
    for (;;) {
        struct rcu_head *head, *next;

        qemu_mutex_lock(&cb_lock);
        while (!cb_first) {
            qemu_cond_wait(&cb_cond, &cb_lock);
        }
        head = cb_first;
        cb_first = NULL;
        cb_last = &cb_first;
        qemu_mutex_unlock(&cb_lock);

        synchronize_rcu();
        for (; head; head = next) {
            next = head->next;
            head->func(head);
        }
    }
    return NULL;
}

void call_rcu1(struct rcu_head *head, RCUCBFunc *func)
{
    head->func = func;
    head->next = NULL;

    qemu_mutex_lock(&cb_lock);
    if (!cb_thread_started) {
        QemuThread thread;

        qemu_thread_create(&thread, "call_rcu", call_rcu_thread, NULL, QEMU_THREAD_DETACHED);
        cb_thread_started = true;
    }
    *cb_last = head;
    cb_last = &head->next;
    qemu_cond_signal(&cb_cond);
    qemu_mutex_unlock(&cb_lock);
}

typedef struct DrainRequest {
    struct rcu_head rcu;
    QemuEvent done;
} DrainRequest;

static void drain_done(struct rcu_head *head)
{
    qemu_event_set(&container_of(head, DrainRequest, rcu)->done);
}

void drain_call_rcu(void)
{
    DrainRequest drain;

    g_assert(self.depth == 0);
    qemu_event_init(&drain.done, false);
    call_rcu1(&drain.rcu, drain_done);
    qemu_event_wait(&drain.done);
    qemu_event_destroy(&drain.done);
}
