/* SPDX-License-Identifier: MIT */
/*
 * The loops and disks of test-engine-silent-threads, the watchdog that says what hangs, and the thread that
 * disturbs the loops.
 */
#ifndef TESTS_UNIT_SILENT_WORLD_H
#define TESTS_UNIT_SILENT_WORLD_H

#include <pthread.h>
#include <signal.h>

#include "block/block-backend.h"
#include "engine-test.h"
#include "qemu/aio-wait.h"
#include "qemu/iothread.h"
#include "qemu/timer.h"
#include "slow-kernel.h"

#define MOST_LOOPS    5
#define MOST_DISKS    4
#define SLOTS         24
#define EPISODE_US    (300 * 1000)
#define WATCHDOG_US   (30 * G_USEC_PER_SEC)

/* --- the world --- */

typedef struct Disk {
    BlockBackend *blk;
    const char *aio;
    int fd;
    bool taken;     /* atomic: somebody drains or moves it; sections of several and moves do not mix */
    unsigned ended; /* atomic: requests whose callback has begun */
} Disk;

typedef struct Loop Loop;

typedef enum { OP_READ, OP_WRITE, OP_FLUSH } Op;
static const char *const op_names[] = { "read", "write", "flush" };

typedef struct Slot {
    Loop *loop;
    Disk *disk;
    Op op;
    int64_t offset;
    int64_t since; /* atomic, us; 0: idle */
    BlockAIOCB *acb;
    QEMUIOVector qiov;
    uint8_t *buf;
} Slot;

typedef enum { IOTHREAD, POLLS, WATCHED } LoopKind;
static const char *const kind_names[] = { "IOThread", "aio_poll", "aio_poll, GLib, descriptor" };

struct Loop {
    int index;
    LoopKind kind;
    AioContext *ctx;
    IOThread *iothread; /* or: */
    QemuThread thread;
    pthread_t self;

    /* Its thread's. */
    Slot slots[SLOTS];
    int depth;          /* of polling in callbacks */
    bool quit;
    unsigned how;       /* it waits */
    GMainContext *main_context;
    GSource *source;
    QEMUBH *step_bh, *signal_bh;
    QEMUTimer *timer, *far_timer;
    EventNotifier notifier;

    /* Atomic. */
    unsigned pending;
    bool in_step;
    const char *doing;  /* what may take long; since: us */
    int64_t doing_since;
    unsigned scheduled, ran; /* bottom halves of the disturbing thread */
    unsigned raised, seen;   /* notifier; seen follows */
    bool signalled;          /* signal_bh was scheduled, and has not run */
    unsigned signals;        /* that signal_bh has seen */
    unsigned fired;          /* far_timer */
    int64_t due, far_due;    /* of timer, and of far_timer, which other threads set: ns; 0: not set */
    int64_t alone_since;     /* us, while an event that has to wake it alone has not done so; or 0 */
};

static struct {
    uint32_t seed;
    Loop loops[MOST_LOOPS]; /* the first is the main thread's */
    int n_loops;
    Disk disks[MOST_DISKS];
    int n_disks;
    unsigned hops;  /* atomic: coroutines that go from loop to loop */
    bool stopping;  /* atomic: no new requests */
    bool quiet;     /* the episode is one in which requests do not go on */
    bool apart;     /* loops have nothing to do with each other, and so do not wake each other */
    bool resting;   /* atomic: as stopping, but only for a while */
    int64_t end_us; /* of the episode */
    uint64_t wakes, wake_us; /* by one event alone: how many, and how long they took */
    int64_t worst_us;
    bool stop;      /* atomic: the disturbing thread */
    bool storm;     /* of signals */
} world;

/* What the watchdog looks at. */
static struct {
    QemuMutex lock;
    int n_loops;        /* under lock: of world's; 0: they are being made or freed */
    const char *phase;  /* atomic: what the main thread does meanwhile, since: us */
    int64_t phase_since;
    bool end;           /* atomic */
} dog;

static __thread Loop *this_loop; /* for signals */

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void begin_doing(Loop *l, const char *what)
{
    qatomic_set_i64(&l->doing_since, g_get_monotonic_time());
    qatomic_set(&l->doing, what);
}

static void end_doing(Loop *l, const char *outer)
{
    qatomic_set_i64(&l->doing_since, g_get_monotonic_time());
    qatomic_set(&l->doing, outer);
}

/* --- the watchdog --- */

static void describe_loop(Loop *l, int64_t now)
{
    const char *doing = qatomic_read(&l->doing);

    fprintf(stderr, "loop %d (%s): %s", l->index, kind_names[l->kind], doing ?: "waits");
    if (doing) {
        fprintf(stderr, " for %" PRId64 " ms", (now - qatomic_read_i64(&l->doing_since)) / 1000);
    }
    fprintf(stderr, "; %u requests, bottom halves %u of %u, notifier %u of %u, signal %d, timers %d %d\n",
            qatomic_read(&l->pending), qatomic_read(&l->ran), qatomic_read(&l->scheduled),
            qatomic_read(&l->seen), qatomic_read(&l->raised), qatomic_read(&l->signalled),
            qatomic_read_i64(&l->due) != 0, qatomic_read_i64(&l->far_due) != 0);
    if (qatomic_read_i64(&l->alone_since)) {
        fprintf(stderr, "    not woken by one event for %" PRId64 " ms\n",
                (now - qatomic_read_i64(&l->alone_since)) / 1000);
    }
    for (int i = 0; i < SLOTS; i++) {
        Slot *slot = &l->slots[i];
        int64_t since = qatomic_read_i64(&slot->since);

        if (since) {
            fprintf(stderr, "    %s of disk %d (%s) for %" PRId64 " ms\n", op_names[slot->op],
                    (int)(slot->disk - world.disks), slot->disk->aio, (now - since) / 1000);
        }
    }
}

static bool is_late(Loop *l, int64_t now)
{
    int64_t alone = qatomic_read_i64(&l->alone_since);
    bool late = qatomic_read(&l->doing) && now - qatomic_read_i64(&l->doing_since) > WATCHDOG_US;

    late |= alone && now - alone > WATCHDOG_US;

    for (int i = 0; i < SLOTS; i++) {
        int64_t since = qatomic_read_i64(&l->slots[i].since);

        late |= since && now - since > WATCHDOG_US;
    }
    return late;
}

static void look_for_late(void)
{
    int64_t now = g_get_monotonic_time();
    const char *phase = qatomic_read(&dog.phase);
    bool late = phase && now - qatomic_read_i64(&dog.phase_since) > WATCHDOG_US;

    for (int i = 0; i < dog.n_loops; i++) {
        late |= is_late(&world.loops[i], now);
    }
    if (!late) {
        return;
    }
    fprintf(stderr, "BLKCO_SEED=%u hangs, %s; %u coroutines hop\n", world.seed, phase ?: "in the middle",
            qatomic_read(&world.hops));
    for (int i = 0; i < dog.n_loops; i++) {
        describe_loop(&world.loops[i], now);
    }
    abort();
}

static void *watch(void *opaque)
{
    while (!qatomic_read(&dog.end)) {
        qemu_mutex_lock(&dog.lock);
        look_for_late();
        qemu_mutex_unlock(&dog.lock);
        g_usleep(20 * 1000);
    }
    return NULL;
}

static void set_phase(const char *phase)
{
    qatomic_set_i64(&dog.phase_since, g_get_monotonic_time());
    qatomic_set(&dog.phase, phase);
}

static void show_loops(int n)
{
    qemu_mutex_lock(&dog.lock);
    dog.n_loops = n;
    qemu_mutex_unlock(&dog.lock);
}

/* --- disturbing --- */

static void count_bh(void *opaque)
{
    Loop *l = opaque;

    qatomic_inc(&l->ran);
    aio_wait_kick();
}

static void see_notifier(EventNotifier *e)
{
    Loop *l = container_of(e, Loop, notifier);

    /* In this order: what is raised in between may be seen twice, but is not lost. */
    event_notifier_test_and_clear(e);
    qatomic_set(&l->seen, qatomic_read(&l->raised));
    aio_wait_kick();
}

static void on_alarm(int sig)
{
    int saved = errno;
    Loop *l = this_loop;

    if (l) {
        qatomic_set(&l->signalled, true);
        qemu_bh_schedule(l->signal_bh);
    }
    errno = saved;
}

static void signal_bh(void *opaque)
{
    Loop *l = opaque;

    qatomic_set(&l->signalled, false);
    qatomic_inc(&l->signals);
    aio_wait_kick();
}

static void fire(void *opaque)
{
    Loop *l = opaque;

    g_assert_cmpint(now_ns(), >=, qatomic_read_i64(&l->due));
    qatomic_set_i64(&l->due, 0);
    aio_wait_kick();
}

static void fire_far(void *opaque)
{
    Loop *l = opaque;

    qatomic_set_i64(&l->far_due, 0);
    qatomic_inc(&l->fired);
    aio_wait_kick();
}

static void set_far_timer(Loop *l, unsigned ns)
{
    int64_t due = now_ns() + roll(ns);

    qatomic_set_i64(&l->far_due, due);
    timer_mod_ns(l->far_timer, due);
}

/* Has it go on, and send requests. */
static void rouse(Loop *l)
{
    aio_notify(l->ctx);
    if (l->iothread) {
        qemu_bh_schedule(l->step_bh);
    }
}

static void disturb_once(Loop *l)
{
    switch (roll(world.storm ? 8 : 5)) {
    case 0:
    case 1:
        qatomic_inc(&l->scheduled);
        aio_bh_schedule_oneshot(l->ctx, count_bh, l);
        break;
    case 2:
        qatomic_inc(&l->raised);
        event_notifier_set(&l->notifier);
        break;
    case 3:
        rouse(l);
        break;
    case 4:
        if (!qatomic_read_i64(&l->far_due)) {
            set_far_timer(l, 500 * 1000);
        }
        break;
    default:
        pthread_kill(l->self, SIGALRM);
    }
}

/*
 * ThreadSanitizer calls handlers of signals later, at certain functions of the C library: none while
 * a loop does nothing but sleep in libaio.
 */
#ifdef QEMU_SANITIZE_THREAD
#define EVENTS 3
#else
#define EVENTS 4
#endif

/* Sends one event, and tells from its counter when it has been seen. */
static unsigned *send_event(Loop *l)
{
    switch (roll(EVENTS)) {
    case 0:
        qatomic_inc(&l->scheduled);
        aio_bh_schedule_oneshot(l->ctx, count_bh, l);
        return &l->ran;
    case 1:
        qatomic_inc(&l->raised);
        event_notifier_set(&l->notifier);
        return &l->seen;
    case 2:
        set_far_timer(l, 2 * SCALE_MS);
        return &l->fired;
    default:
        pthread_kill(l->self, SIGALRM);
        return &l->signals;
    }
}

/* No other event reaches the loop. False: the end has come before. */
static bool wake_alone(Loop *l)
{
    unsigned *const counters[] = { &l->ran, &l->seen, &l->signals, &l->fired };
    int64_t start = g_get_monotonic_time(), took;
    unsigned before[G_N_ELEMENTS(counters)];
    unsigned *counter;

    for (size_t i = 0; i < G_N_ELEMENTS(counters); i++) {
        before[i] = qatomic_read(counters[i]);
    }
    qatomic_set_i64(&l->alone_since, start);
    counter = send_event(l);
    for (size_t i = 0; i < G_N_ELEMENTS(counters); i++) {
        while (counter == counters[i] && qatomic_read(counter) == before[i]) {
            if (qatomic_read(&world.stop)) {
                return false;
            }
            g_usleep(20);
        }
    }
    qatomic_set_i64(&l->alone_since, 0);
    if (counter != &l->fired) {
        took = g_get_monotonic_time() - start;
        world.wakes++;
        world.wake_us += took;
        world.worst_us = MAX(world.worst_us, took);
    }
    return true;
}

static bool any_pending(void)
{
    bool any = false;

    for (int i = 0; i < world.n_loops; i++) {
        any |= qatomic_read(&world.loops[i].pending) != 0;
    }
    return any;
}

/* Loops fill up with requests that do not go on, then have a rest, then go on: alone, too. */
static void disturb_quietly(void)
{
    for (int n = 0; n < 15; n++) {
        for (int i = 0; i < world.n_loops; i++) {
            rouse(&world.loops[i]);
        }
        g_usleep(EPISODE_US / 150);
    }
    qatomic_set(&world.resting, true);
    g_usleep(EPISODE_US / 20);
    while (g_get_monotonic_time() < world.end_us && wake_alone(&world.loops[roll(world.n_loops)])) {
        g_usleep(roll(2000));
    }
    qatomic_set(&kernel.keep, false);
    while (any_pending() && !qatomic_read(&world.stop)) {
        g_usleep(100);
    }
    qatomic_set(&world.resting, false);
}

static void *disturb(void *opaque)
{
    seed_dice(world.seed, 100);
    if (world.quiet) {
        disturb_quietly();
    }
    while (!qatomic_read(&world.stop)) {
        for (int n = roll(10); n > 0; n--) {
            disturb_once(&world.loops[roll(world.n_loops)]);
        }
        g_usleep(roll(400));
    }
    return NULL;
}

#endif
