/* SPDX-License-Identifier: MIT */
/*
 * Timers.
 *
 * Each list keeps its armed timers in a pairing heap of their own links: arming is a few
 * instructions, taking the first costs the logarithm of their number, and there is
 * no memory to run out of. The list's lock covers the heap and the timers in it, and is
 * not held during callbacks.
 *
 * first_expiry, atomic, is a copy of the first timer's time: looking whether anything is
 * armed or due needs neither the lock nor (when nothing is armed) the clock.
 *
 * A timer that its callback arms again for now, or for the past, must neither run again
 * in the same round nor push in front of others that are due: what is armed during a
 * round sorts as of the round's time at the earliest, and a round runs what was armed
 * before.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "qemu/atomic.h"
#include "qemu/osdep.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

#include "aio-sim-internal.h"

struct QEMUTimerList {
    QEMUClockType type;
    QEMUTimerListNotifyCB *notify_cb;
    void *notify_opaque;
    int64_t first_expiry; /* atomic, written under lock; -1: none */

    QemuMutex lock;
    QEMUTimer *root;
    uint64_t order;    /* of the timer that is armed next */
    unsigned rounds;   /* depth of timerlist_run_timers */
    int64_t round_now; /* clock at the begin of the innermost */
};

QEMUTimerListGroup main_loop_tlg;

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    struct timespec ts;

    if (unlikely(aio_sim_of_thread)) {
        return aio_sim_now_ns(aio_sim_of_thread);
    }
    clock_gettime(type == QEMU_CLOCK_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

/* ---- the heap; under the list's lock ---- */

static bool before(const QEMUTimer *a, const QEMUTimer *b)
{
    return a->sort_time < b->sort_time ||
           (a->sort_time == b->sort_time && a->order < b->order);
}

/* Two heaps become one; neither root has siblings. NULL is an empty heap. */
static QEMUTimer *meld(QEMUTimer *a, QEMUTimer *b)
{
    if (!a || !b) {
        return a ? a : b;
    }
    if (before(b, a)) {
        QEMUTimer *t = a;

        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next) {
        b->next->prev = b;
    }
    a->child = b;
    return a;
}

/* Siblings become one heap: in pairs from the left, then the pairs from the right. */
static QEMUTimer *meld_siblings(QEMUTimer *first)
{
    QEMUTimer *pairs = NULL, *heap = NULL;

    while (first) {
        QEMUTimer *a = first, *b = a->next, *pair;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) {
            b->next = b->prev = NULL;
        }
        pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    while (pairs) {
        QEMUTimer *pair = pairs;

        pairs = pair->next;
        pair->next = NULL;
        heap = meld(heap, pair);
    }
    return heap;
}

static void update_first_expiry(QEMUTimerList *list)
{
    qatomic_set_i64(&list->first_expiry, list->root ? list->root->expire_time : -1);
}

static void heap_insert(QEMUTimerList *list, QEMUTimer *ts)
{
    ts->child = ts->next = ts->prev = NULL;
    list->root = meld(list->root, ts);
    update_first_expiry(list);
}

static void heap_remove(QEMUTimerList *list, QEMUTimer *ts)
{
    if (ts == list->root) {
        list->root = meld_siblings(ts->child);
    } else {
        if (ts->prev->child == ts) {
            ts->prev->child = ts->next;
        } else {
            ts->prev->next = ts->next;
        }
        if (ts->next) {
            ts->next->prev = ts->prev;
        }
        list->root = meld(list->root, meld_siblings(ts->child));
    }
    ts->child = ts->next = ts->prev = NULL;
    update_first_expiry(list);
}

/* ---- lists ---- */

QEMUTimerList *timerlist_new(QEMUClockType type, QEMUTimerListNotifyCB *cb, void *opaque)
{
    QEMUTimerList *list = g_new0(QEMUTimerList, 1);

    list->type = type;
    list->notify_cb = cb;
    list->notify_opaque = opaque;
    list->first_expiry = -1;
    qemu_mutex_init(&list->lock);
    return list;
}

void timerlist_free(QEMUTimerList *list)
{
    g_assert(!timerlist_has_timers(list));
    qemu_mutex_destroy(&list->lock);
    g_free(list);
}

bool timerlist_has_timers(QEMUTimerList *list)
{
    return qatomic_read_i64(&list->first_expiry) >= 0;
}

int64_t timerlist_deadline_ns(QEMUTimerList *list)
{
    int64_t expiry = qatomic_read_i64(&list->first_expiry);

    return expiry < 0 ? -1 : MAX(expiry - qemu_clock_get_ns(list->type), 0);
}

bool timerlist_expired(QEMUTimerList *list)
{
    return timerlist_deadline_ns(list) == 0;
}

QEMUClockType timerlist_get_clock(QEMUTimerList *list)
{
    return list->type;
}

void timerlist_notify(QEMUTimerList *list)
{
    if (list->notify_cb) {
        list->notify_cb(list->notify_opaque, list->type);
    }
}

bool timerlist_run_timers(QEMUTimerList *list)
{
    int64_t first = qatomic_read_i64(&list->first_expiry), now;
    uint64_t end_of_round;
    QEMUTimer *ts;
    bool progress = false;

    if (first < 0) {
        return false;
    }
    now = qemu_clock_get_ns(list->type);
    if (first > now) {
        return false;
    }
    qemu_mutex_lock(&list->lock);
    list->rounds++;
    list->round_now = now;
    end_of_round = list->order;
    while ((ts = list->root) && ts->expire_time <= now && ts->order < end_of_round) {
        QEMUTimerCB *cb = ts->cb;
        void *opaque = ts->opaque;

        heap_remove(list, ts);
        qatomic_set_i64(&ts->expire_time, -1);
        qemu_mutex_unlock(&list->lock);
        /* The callback may free ts. */
        cb(opaque);
        progress = true;
        qemu_mutex_lock(&list->lock);
    }
    list->rounds--;
    qemu_mutex_unlock(&list->lock);
    return progress;
}

/* ---- groups ---- */

void timerlistgroup_init(QEMUTimerListGroup *tlg, QEMUTimerListNotifyCB *cb, void *opaque)
{
    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        tlg->tl[type] = timerlist_new((QEMUClockType)type, cb, opaque);
    }
}

void timerlistgroup_deinit(QEMUTimerListGroup *tlg)
{
    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        timerlist_free(tlg->tl[type]);
        tlg->tl[type] = NULL;
    }
}

bool timerlistgroup_run_timers(QEMUTimerListGroup *tlg)
{
    bool progress = false;

    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        progress |= timerlist_run_timers(tlg->tl[type]);
    }
    return progress;
}

int64_t timerlistgroup_deadline_ns(QEMUTimerListGroup *tlg)
{
    int64_t deadline = -1;

    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        deadline = qemu_soonest_timeout(deadline, timerlist_deadline_ns(tlg->tl[type]));
    }
    return deadline;
}

/* ---- the main loop's ---- */

static QEMUTimerList *main_loop_list(QEMUClockType type)
{
    if (!main_loop_tlg.tl[type]) {
        fprintf(stderr, "blkco: the main loop's timers need qemu_init_main_loop first\n");
        abort();
    }
    return main_loop_tlg.tl[type];
}

bool qemu_clock_has_timers(QEMUClockType type)
{
    return timerlist_has_timers(main_loop_list(type));
}

bool qemu_clock_expired(QEMUClockType type)
{
    return timerlist_expired(main_loop_list(type));
}

bool qemu_clock_run_timers(QEMUClockType type)
{
    return timerlist_run_timers(main_loop_list(type));
}

bool qemu_clock_run_all_timers(void)
{
    main_loop_list(QEMU_CLOCK_REALTIME);
    return timerlistgroup_run_timers(&main_loop_tlg);
}

/* ---- timers ---- */

void timer_init_full(QEMUTimer *ts, QEMUTimerListGroup *tlg, QEMUClockType type,
                     int scale, int attributes, QEMUTimerCB *cb, void *opaque)
{
    *ts = (QEMUTimer){
        .expire_time = -1,
        .timer_list = tlg ? tlg->tl[type] : main_loop_list(type),
        .cb = cb,
        .opaque = opaque,
        .attributes = attributes,
        .scale = scale,
    };
}

void timer_deinit(QEMUTimer *ts)
{
    g_assert(!timer_pending(ts));
    ts->timer_list = NULL;
}

bool timer_pending(const QEMUTimer *ts)
{
    return ts->timer_list && qatomic_read_i64(&ts->expire_time) >= 0;
}

uint64_t timer_expire_time_ns(const QEMUTimer *ts)
{
    return timer_pending(ts) ? (uint64_t)qatomic_read_i64(&ts->expire_time)
                             : (uint64_t)-1;
}

/* current_time * scale, or the farthest time there is. */
static int64_t to_ns(const QEMUTimer *ts, int64_t time)
{
    int64_t ns;

    if (__builtin_mul_overflow(time, (int64_t)ts->scale, &ns)) {
        return time < 0 ? 0 : INT64_MAX;
    }
    return ns;
}

bool timer_expired(const QEMUTimer *ts, int64_t current_time)
{
    return timer_pending(ts) &&
           qatomic_read_i64(&ts->expire_time) <= to_ns(ts, current_time);
}

void timer_del(QEMUTimer *ts)
{
    QEMUTimerList *list = ts->timer_list;

    if (!list) {
        return;
    }
    qemu_mutex_lock(&list->lock);
    if (ts->expire_time >= 0) {
        heap_remove(list, ts);
        qatomic_set_i64(&ts->expire_time, -1);
    }
    qemu_mutex_unlock(&list->lock);
}

/* Arm it, unless keep_earlier and it is armed for earlier. */
static void arm(QEMUTimer *ts, int64_t expire_time, bool keep_earlier)
{
    QEMUTimerList *list = ts->timer_list;
    bool nearer;

    expire_time = MAX(expire_time, 0);
    qemu_mutex_lock(&list->lock);
    if (ts->expire_time >= 0) {
        if (keep_earlier && ts->expire_time <= expire_time) {
            qemu_mutex_unlock(&list->lock);
            return;
        }
        heap_remove(list, ts);
    }
    qatomic_set_i64(&ts->expire_time, expire_time);
    ts->sort_time = list->rounds ? MAX(expire_time, list->round_now) : expire_time;
    ts->order = list->order++;
    heap_insert(list, ts);
    nearer = list->root == ts;
    qemu_mutex_unlock(&list->lock);
    if (nearer) {
        timerlist_notify(list);
    }
}

void timer_mod_ns(QEMUTimer *ts, int64_t expire_time)
{
    arm(ts, expire_time, false);
}

void timer_mod_anticipate_ns(QEMUTimer *ts, int64_t expire_time)
{
    arm(ts, expire_time, true);
}

void timer_mod(QEMUTimer *ts, int64_t expire_time)
{
    arm(ts, to_ns(ts, expire_time), false);
}

void timer_mod_anticipate(QEMUTimer *ts, int64_t expire_time)
{
    arm(ts, to_ns(ts, expire_time), true);
}

/* ---- poll ---- */

int qemu_timeout_ns_to_ms(int64_t ns)
{
    if (ns < 0) {
        return -1;
    }
    /* Up: a loop that wakes up early would spin until the time has come. */
    return (int)MIN(ns / SCALE_MS + (ns % SCALE_MS != 0), (int64_t)INT_MAX);
}

int qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout)
{
    struct timespec ts;

    QEMU_BUILD_BUG_ON(sizeof(GPollFD) != sizeof(struct pollfd));
    if (timeout >= 0) {
        ts.tv_sec = timeout / NANOSECONDS_PER_SECOND;
        ts.tv_nsec = timeout % NANOSECONDS_PER_SECOND;
    }
    return ppoll((struct pollfd *)fds, nfds, timeout < 0 ? NULL : &ts, NULL);
}
