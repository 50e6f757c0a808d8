/* SPDX-License-Identifier: MIT */
/*
 * Tests of the event loop of one thread: each runs through aio_poll with epoll and with poll(), and
 * once more through a GMainContext. And what they let the loop call: a bottom half, a handler of an
 * EventNotifier, a timer, which count. Each program includes it once.
 */
#ifndef TESTS_AIO_CASES_H
#define TESTS_AIO_CASES_H

#include "qemu/osdep.h"
#include "qemu/aio.h"

static AioContext *ctx;
static GMainContext *gmain; /* NULL: aio_poll */

/*
 * One round of whichever loop is being tested; whether a callback ran is not known to
 * GLib.
 */
static inline bool poll_loop(bool blocking)
{
    return gmain ? g_main_context_iteration(gmain, blocking) : aio_poll(ctx, blocking);
}

static inline void settle(void)
{
    while (poll_loop(false)) {
    }
}

/* ---- bottom halves ---- */

typedef struct BHData {
    QEMUBH *bh;
    int n;
    int max;
    GString *order;
    char name;
} BHData;

static inline void bh_count(void *opaque)
{
    BHData *data = opaque;

    data->n++;
    if (data->order) {
        g_string_append_c(data->order, data->name);
    }
}

static inline void bh_oneshot_chain(void *opaque)
{
    BHData *data = opaque;

    if (++data->n < data->max) {
        aio_bh_schedule_oneshot(ctx, bh_oneshot_chain, data);
    }
}

/* ---- descriptors ---- */

typedef struct FDData {
    EventNotifier e;
    int n;
    int polled;
    int ready;
    bool has_event;
    bool delete_self;
    struct FDData *delete_other;
    int begun, ended;
    bool nest;
} FDData;

static inline void fd_read(EventNotifier *e)
{
    FDData *data = container_of(e, FDData, e);

    g_assert_true(event_notifier_test_and_clear(e));
    data->n++;
    if (data->delete_self) {
        aio_set_event_notifier(ctx, e, NULL, NULL, NULL);
    }
    if (data->delete_other) {
        aio_set_event_notifier(ctx, &data->delete_other->e, NULL, NULL, NULL);
    }
    if (data->nest) {
        while (aio_poll(ctx, false)) {
        }
    }
}

static inline void fd_setup(FDData *data, bool active)
{
    g_assert_cmpint(event_notifier_init(&data->e, active), ==, 0);
    aio_set_event_notifier(ctx, &data->e, fd_read, NULL, NULL);
}

static inline void fd_cleanup(FDData *data)
{
    aio_set_event_notifier(ctx, &data->e, NULL, NULL, NULL);
    event_notifier_cleanup(&data->e);
}

/* ---- timers ---- */

typedef struct TimerData {
    QEMUTimer timer;
    int n, max;
    int64_t ns;
    QEMUClockType clock;
} TimerData;

static inline void timer_cb(void *opaque)
{
    TimerData *data = opaque;

    if (++data->n < data->max) {
        timer_mod(&data->timer, qemu_clock_get_ns(data->clock) + data->ns);
    }
}

/* ---- the ways to run them ---- */

typedef struct Mode {
    const char *name;
    bool poll, glib;
} Mode;

static const Mode modes[] = {
    { "epoll", false, false },
    { "poll", true, false },
    { "gsource-epoll", false, true },
    { "gsource-poll", true, true },
};

typedef struct Case {
    const char *name;
    void (*fn)(void);
    bool aio_poll_only;
} Case;

typedef struct Run {
    const Mode *mode;
    const Case *c;
} Run;

static inline void run_case(gconstpointer opaque)
{
    const Run *run = opaque;
    GSource *source = NULL;

    g_setenv("BLKCO_FDMON", run->mode->poll ? "poll" : "epoll", true);
    ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(ctx);
    if (run->mode->glib) {
        gmain = g_main_context_new();
        source = aio_get_g_source(ctx);
        g_source_attach(source, gmain);
    }

    run->c->fn();
    settle();

    if (run->mode->glib) {
        g_source_destroy(source);
        g_source_unref(source);
        g_main_context_unref(gmain);
        gmain = NULL;
    }
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

static inline void add_cases(const Case *cases, size_t n)
{
    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        for (size_t i = 0; i < n; i++) {
            g_autofree char *path =
                g_strdup_printf("/aio/%s/%s", modes[m].name, cases[i].name);
            Run *run = g_new(Run, 1);

            if (cases[i].aio_poll_only && modes[m].glib) {
                g_free(run);
                continue;
            }
            *run = (Run){ &modes[m], &cases[i] };
            g_test_add_data_func_full(path, run, run_case, g_free);
        }
    }
}

#endif
