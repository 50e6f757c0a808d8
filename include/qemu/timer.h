/* SPDX-License-Identifier: MIT */
/*
 * Timers. A timer belongs to a list, a list to a clock, and a group has one list for
 * each clock. Every AioContext has a group; its timers fire in the context's thread
 * (aio_timer_new of qemu/aio.h). timer_new and its kin use the main loop's group.
 *
 * Times are absolute: nanoseconds of the timer's clock, or multiples given by the
 * timer's scale. A timer fires once, never early, in the order of expiry (equal times:
 * in the order armed), and is disarmed before its callback runs, which may arm it again.
 *
 * Timers can be armed and disarmed from any thread; the list's lock covers that. Init,
 * deinit and free are the owner's, with nobody else using the timer.
 */
#ifndef QEMU_TIMER_H
#define QEMU_TIMER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "qemu/typedefs.h"

#define NANOSECONDS_PER_SECOND 1000000000LL

/* A timer's unit in nanoseconds. */
#define SCALE_MS 1000000
#define SCALE_US 1000
#define SCALE_NS 1

/*
 * REALTIME counts whatever happens; HOST is the time of day, which jumps when it is
 * set (a timer then fires at the first look at the clock behind its time). VIRTUAL and
 * VIRTUAL_RT are an emulator's time; without one they run as REALTIME does.
 */
typedef enum {
    QEMU_CLOCK_REALTIME = 0,
    QEMU_CLOCK_VIRTUAL = 1,
    QEMU_CLOCK_HOST = 2,
    QEMU_CLOCK_VIRTUAL_RT = 3,
    QEMU_CLOCK_MAX
} QEMUClockType;

typedef void QEMUTimerCB(void *opaque);
/* Called, from any thread and without locks, when a list's first deadline came nearer. */
typedef void QEMUTimerListNotifyCB(void *opaque, QEMUClockType type);

struct QEMUTimerListGroup {
    QEMUTimerList *tl[QEMU_CLOCK_MAX];
};

/* Attributes of timers are kept for source compatibility; none changes anything. */
#define QEMU_TIMER_ATTR_EXTERNAL ((int)(1u << 0))
#define QEMU_TIMER_ATTR_ALL      (-1)

/*
 * Everything but timer_list, cb, opaque, attributes and scale is under the list's
 * lock. Zeroed memory is a timer that is not armed; timer_init_full makes it usable.
 */
struct QEMUTimer {
    int64_t expire_time; /* ns; -1: not armed */
    QEMUTimerList *timer_list;
    QEMUTimerCB *cb;
    void *opaque;
    int64_t sort_time; /* expire_time, or that of the round in which it was armed */
    uint64_t order;    /* when it was armed, among the timers of its list */
    /* Pairing heap: first child, next sibling; prev is the previous sibling or parent. */
    QEMUTimer *child, *next, *prev;
    int attributes;
    int scale;
};

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* The main loop's timers; ready after qemu_init_main_loop. */
extern QEMUTimerListGroup main_loop_tlg;

/* The clock's time in nanoseconds. Any thread. */
int64_t qemu_clock_get_ns(QEMUClockType type);

/* About the main loop's list of that clock: anything armed, anything due; run it. */
bool qemu_clock_has_timers(QEMUClockType type);
bool qemu_clock_expired(QEMUClockType type);
bool qemu_clock_run_timers(QEMUClockType type);
bool qemu_clock_run_all_timers(void);

/* cb may be NULL. */
QEMUTimerList *timerlist_new(QEMUClockType type, QEMUTimerListNotifyCB *cb, void *opaque);
/* No timer of it may be armed. */
void timerlist_free(QEMUTimerList *timer_list);
bool timerlist_has_timers(QEMUTimerList *timer_list);
bool timerlist_expired(QEMUTimerList *timer_list);
/* Nanoseconds until the first timer is due: 0 when one is, -1 when none is armed. */
int64_t timerlist_deadline_ns(QEMUTimerList *timer_list);
QEMUClockType timerlist_get_clock(QEMUTimerList *timer_list);
/*
 * Runs what was due at the call; true when anything was. The thread that owns the list;
 * callbacks may call it again.
 */
bool timerlist_run_timers(QEMUTimerList *timer_list);
/* Call the list's notify callback. */
void timerlist_notify(QEMUTimerList *timer_list);

void timerlistgroup_init(QEMUTimerListGroup *tlg, QEMUTimerListNotifyCB *cb,
                         void *opaque);
void timerlistgroup_deinit(QEMUTimerListGroup *tlg);
bool timerlistgroup_run_timers(QEMUTimerListGroup *tlg);
/* As timerlist_deadline_ns, over all clocks. Reads no clock that has no timer armed. */
int64_t timerlistgroup_deadline_ns(QEMUTimerListGroup *tlg);

/* tlg NULL: the main loop's. scale is the unit of timer_mod in nanoseconds. */
void timer_init_full(QEMUTimer *ts, QEMUTimerListGroup *tlg, QEMUClockType type,
                     int scale, int attributes, QEMUTimerCB *cb, void *opaque);
/* The timer must not be armed. */
void timer_deinit(QEMUTimer *ts);

/* Disarm. The callback may still be running in its thread. */
void timer_del(QEMUTimer *ts);
/* Arm for, or move to, a time in nanoseconds; a time before 0 counts as 0. */
void timer_mod_ns(QEMUTimer *ts, int64_t expire_time);
/* The same, unless it is armed for an earlier time. */
void timer_mod_anticipate_ns(QEMUTimer *ts, int64_t expire_time);
/* The same two in the timer's unit. */
void timer_mod(QEMUTimer *ts, int64_t expire_time);
void timer_mod_anticipate(QEMUTimer *ts, int64_t expire_time);

bool timer_pending(const QEMUTimer *ts);
/* Armed, and due at current_time (in the timer's unit). */
bool timer_expired(const QEMUTimer *ts, int64_t current_time);
/* -1: not armed. */
uint64_t timer_expire_time_ns(const QEMUTimer *ts);

/* Milliseconds for poll(), rounded up and clamped; negative stays -1. */
int qemu_timeout_ns_to_ms(int64_t ns);
/* poll() with a timeout in nanoseconds (-1: none). */
int qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout);

#pragma GCC visibility pop

static inline int64_t qemu_clock_get_us(QEMUClockType type)
{
    return qemu_clock_get_ns(type) / SCALE_US;
}

static inline int64_t qemu_clock_get_ms(QEMUClockType type)
{
    return qemu_clock_get_ns(type) / SCALE_MS;
}

static inline int64_t get_clock(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static inline int64_t get_clock_realtime(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_HOST);
}

/* The nearer of two timeouts where a negative one means none. */
static inline int64_t qemu_soonest_timeout(int64_t timeout1, int64_t timeout2)
{
    /* As unsigned numbers, -1 is the farthest. */
    return (uint64_t)timeout1 < (uint64_t)timeout2 ? timeout1 : timeout2;
}

static inline void timer_init(QEMUTimer *ts, QEMUClockType type, int scale,
                              QEMUTimerCB *cb, void *opaque)
{
    timer_init_full(ts, NULL, type, scale, 0, cb, opaque);
}

static inline void timer_init_ns(QEMUTimer *ts, QEMUClockType type, QEMUTimerCB *cb,
                                 void *opaque)
{
    timer_init(ts, type, SCALE_NS, cb, opaque);
}

static inline void timer_init_us(QEMUTimer *ts, QEMUClockType type, QEMUTimerCB *cb,
                                 void *opaque)
{
    timer_init(ts, type, SCALE_US, cb, opaque);
}

static inline void timer_init_ms(QEMUTimer *ts, QEMUClockType type, QEMUTimerCB *cb,
                                 void *opaque)
{
    timer_init(ts, type, SCALE_MS, cb, opaque);
}

/* Free with timer_free. */
static inline QEMUTimer *timer_new_full(QEMUTimerListGroup *tlg, QEMUClockType type,
                                        int scale, int attributes, QEMUTimerCB *cb,
                                        void *opaque)
{
    QEMUTimer *ts = g_new0(QEMUTimer, 1);

    timer_init_full(ts, tlg, type, scale, attributes, cb, opaque);
    return ts;
}

static inline QEMUTimer *timer_new(QEMUClockType type, int scale, QEMUTimerCB *cb,
                                   void *opaque)
{
    return timer_new_full(NULL, type, scale, 0, cb, opaque);
}

static inline QEMUTimer *timer_new_ns(QEMUClockType type, QEMUTimerCB *cb, void *opaque)
{
    return timer_new(type, SCALE_NS, cb, opaque);
}

static inline QEMUTimer *timer_new_us(QEMUClockType type, QEMUTimerCB *cb, void *opaque)
{
    return timer_new(type, SCALE_US, cb, opaque);
}

static inline QEMUTimer *timer_new_ms(QEMUClockType type, QEMUTimerCB *cb, void *opaque)
{
    return timer_new(type, SCALE_MS, cb, opaque);
}

/* Disarms and frees what timer_new made; NULL is fine. */
static inline void timer_free(QEMUTimer *ts)
{
    if (ts) {
        timer_del(ts);
        g_free(ts);
    }
}

G_END_DECLS

#endif
