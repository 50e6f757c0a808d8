/* SPDX-License-Identifier: MIT */
/*
 * A loop that now sleeps in the native engine, now waits by GLib or by its pollable descriptor, at random,
 * with up to 300 reads in flight, timers, and a thread that schedules bottom halves and raises a
 * descriptor. Nothing may be lost: each read ends once with its bytes, each bottom half runs, each
 * notification is seen, and all of it before a deadline. BLKCO_SEED replays a run's choices.
 */
#include <libaio.h>

#include "engine-test.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define FILE_BYTES  (1 * MIB)
#define MAX_READS   300
#define ROUNDS      400
#define DEADLINE_US (60 * G_USEC_PER_SEC)

typedef struct Stress {
    AioContext *ctx;
    GMainContext *main_context;
    GRand *rand;
    int fd;
    uint8_t *buf;          /* 4 KiB for each of reads */
    Req reads[MAX_READS];
    int64_t deadline;      /* us */
    uint64_t polls, glib_waits, fd_waits;

    EventNotifier notifier;
    unsigned raised, seen; /* raised: atomic; seen <= raised, and follows it */
    unsigned scheduled, ran; /* bottom halves of the other thread; scheduled: atomic */
    bool stop;             /* atomic */
    unsigned timers;       /* that have fired */
} Stress;

static void check_deadline(const Stress *s)
{
    g_assert_cmpint(g_get_monotonic_time(), <, s->deadline);
}

/* --- the other thread --- */

static void count_bh(void *opaque)
{
    Stress *s = opaque;

    s->ran++;
}

static void *disturb(void *opaque)
{
    Stress *s = opaque;
    unsigned n = 0;

    while (!qatomic_read(&s->stop)) {
        if (n++ % 3) {
            qatomic_inc(&s->scheduled);
            aio_bh_schedule_oneshot(s->ctx, count_bh, s);
        } else {
            qatomic_inc(&s->raised);
            event_notifier_set(&s->notifier);
        }
        g_usleep(n % 7 * 50);
    }
    return NULL;
}

static void see_notifier(EventNotifier *e)
{
    Stress *s = container_of(e, Stress, notifier);

    /* In this order: what is raised in between may be seen twice, but is not lost. */
    event_notifier_test_and_clear(e);
    s->seen = qatomic_read(&s->raised);
}

static void fire(void *opaque)
{
    Stress *s = opaque;

    s->timers++;
}

/* --- waiting --- */

static void wait_once(Stress *s, int how)
{
    GPollFD pfd;

    check_deadline(s);
    switch (how) {
    case 0:
        s->glib_waits++;
        g_main_context_iteration(s->main_context, true);
        break;
    case 1:
        s->fd_waits++;
        pfd = (GPollFD){ .fd = aio_context_get_pollable_fd(s->ctx), .events = G_IO_IN };
        g_assert_cmpint(g_poll(&pfd, 1, DEADLINE_US / 1000), ==, 1);
        while (aio_poll(s->ctx, false)) {
        }
        break;
    default:
        s->polls++;
        aio_poll(s->ctx, true);
    }
}

static unsigned pending(const Stress *s)
{
    unsigned n = 0;

    for (int i = 0; i < MAX_READS; i++) {
        n += s->reads[i].ret == REQ_PENDING;
    }
    return n;
}

static void start_reads(Stress *s, int n)
{
    for (int i = 0; i < MAX_READS && n > 0; i++) {
        Req *r = &s->reads[i];

        if (r->ret == REQ_PENDING) {
            continue;
        }
        *r = (Req){
            .engine = &io_engine_native, .fd = s->fd, .op = IO_ENGINE_READ, .bytes = 4096,
            .offset = g_rand_int_range(s->rand, 0, FILE_BYTES / 4096) * INT64_C(4096),
            .buf = s->buf + i * 4096,
        };
        memset(r->buf, 0xee, 4096);
        req_start(r);
        n--;
    }
}

static void check_reads(Stress *s)
{
    for (int i = 0; i < MAX_READS; i++) {
        Req *r = &s->reads[i];

        if (r->ret != REQ_PENDING && r->buf) {
            g_assert_cmpint(r->ret, ==, 0);
            check_scratch(r->buf, r->offset, 4096);
            r->buf = NULL;
        }
    }
}

/*
 * @others: of ten waits so many are not by aio_poll. With none, requests stay silent for the whole run;
 * with some, those before the first of them are, which is then the one that has to find them.
 */
static void run_stress(int others)
{
    const char *given = g_getenv("BLKCO_SEED");
    uint32_t seed = given ? strtoul(given, NULL, 0) : g_random_int();
    Stress s = { .ctx = aio_context_new(&error_abort), .rand = g_rand_new_with_seed(seed) };
    GSource *source = aio_get_g_source(s.ctx);
    QEMUTimer *timer;
    QemuThread thread;

    g_test_message("BLKCO_SEED=%u", seed);
    qemu_set_current_aio_context(s.ctx);
    s.main_context = g_main_context_new();
    s.fd = scratch_file(FILE_BYTES, O_DIRECT);
    s.buf = qemu_memalign(4096, MAX_READS * 4096);
    s.deadline = g_get_monotonic_time() + DEADLINE_US;
    if (s.fd < 0) {
        g_test_skip("no O_DIRECT here");
        goto out;
    }
    g_source_attach(source, s.main_context);
    g_assert_cmpint(event_notifier_init(&s.notifier, false), ==, 0);
    aio_set_event_notifier(s.ctx, &s.notifier, see_notifier, NULL, NULL);
    timer = aio_timer_new(s.ctx, QEMU_CLOCK_REALTIME, SCALE_NS, fire, &s);
    qemu_thread_create(&thread, "disturb", disturb, &s, QEMU_THREAD_JOINABLE);

    for (int round = 0; round < ROUNDS; round++) {
        /* At first by aio_poll only: requests are silent whatever comes later. */
        bool settled = round < ROUNDS / 4;
        unsigned left = g_rand_int_range(s.rand, 0, 20);

        start_reads(&s, g_rand_int_range(s.rand, 1, round % 10 ? 20 : MAX_READS));
        if (!timer_pending(timer)) {
            timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + g_rand_int_range(s.rand, 0, 300000));
        }
        while (pending(&s) > left) {
            wait_once(&s, !settled && g_rand_int_range(s.rand, 0, 10) < others
                              ? g_rand_int_range(s.rand, 0, 2) : 2);
        }
        check_reads(&s);
    }
    qatomic_set(&s.stop, true);
    qemu_thread_join(&thread);
    while (pending(&s) || s.ran != s.scheduled || s.seen != s.raised || timer_pending(timer)) {
        wait_once(&s, 2);
    }
    check_reads(&s);
    g_assert_cmpuint(s.timers, >, 0);
    g_test_message("%" PRIu64 " aio_poll, %" PRIu64 " GLib, %" PRIu64 " descriptor; %u bottom halves, %u"
                   " notifications, %u timers", s.polls, s.glib_waits, s.fd_waits, s.ran, s.seen, s.timers);
    timer_free(timer);
    aio_set_event_notifier(s.ctx, &s.notifier, NULL, NULL, NULL);
    event_notifier_cleanup(&s.notifier);
    g_source_destroy(source);
    close(s.fd);
out:
    qemu_vfree(s.buf);
    g_source_unref(source);
    g_main_context_unref(s.main_context);
    g_rand_free(s.rand);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(s.ctx);
}

static void test_aio_poll_alone(void)
{
    run_stress(0);
}

static void test_others_wait_as_well(void)
{
    run_stress(3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/silent-stress/aio-poll-alone", test_aio_poll_alone);
    g_test_add_func("/engine/silent-stress/others-wait-as-well", test_others_wait_as_well);
    return g_test_run();
}
