/* SPDX-License-Identifier: MIT */
/*
 * The frame around a test: context, simulation, disk, a coroutine, deadlines, and what is
 * printed when it aborts. blkco-crash.c does the crash tests with it.
 *
 * A watchdog thread ends the program when real time is over, as the test may hang in any way.
 * Virtual time is looked at between the rounds of the loop.
 */
#include "test-frame.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block-image.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

#define DEFAULT_DISK_SIZE  (INT64_C(64) << 20)
#define DEFAULT_TIMEOUT_S  60
#define DEFAULT_VIRTUAL_NS (INT64_C(3600) * NANOSECONDS_PER_SECOND)

static const BlkcoTestConfig no_config;
/* They live as long as the program: GTest has no end of them. */
static BlkcoCase *cases;

/* --- what is printed when the program aborts --- */

static char where[4096]; /* what is being done; the test's thread writes it */
/* An assertion, a message of g_error(), a test that goes astray; what the program had for them before. */
static const int deadly[] = { SIGABRT, SIGTRAP, SIGSEGV, SIGBUS };
static struct sigaction old_actions[G_N_ELEMENTS(deadly)];
/* For a coroutine that has used up its own stack. */
static char signal_stack[32768];
static stack_t old_signal_stack;

static void end_watching(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(deadly); i++) {
        sigaction(deadly[i], &old_actions[i], NULL);
    }
}

static void print_where(int sig, siginfo_t *info, void *context)
{
    ssize_t ignored = write(STDERR_FILENO, where, strlen(where));

    (void)ignored;
    end_watching();
    /* A wrong access is repeated, and a sanitizer then tells of it. One that somebody has sent is not. */
    if ((sig != SIGSEGV && sig != SIGBUS) || info->si_code <= 0) {
        raise(sig);
    }
}

static void watch_for_death(void)
{
    const stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
    const struct sigaction action = { .sa_sigaction = print_where, .sa_flags = SA_ONSTACK | SA_SIGINFO };

    sigaltstack(&stack, &old_signal_stack);
    for (size_t i = 0; i < G_N_ELEMENTS(deadly); i++) {
        sigaction(deadly[i], &action, &old_actions[i]);
    }
}

void blkco_frame_say(const char *text)
{
    g_strlcpy(where, text, sizeof(where));
}

/* --- the watchdog --- */

typedef struct Watchdog {
    QemuMutex lock;
    QemuCond cond;
    bool over;
    unsigned seconds;
    QemuThread thread;
} Watchdog;

static void *watch(void *opaque)
{
    Watchdog *w = opaque;
    gint64 end = g_get_monotonic_time() + w->seconds * G_TIME_SPAN_SECOND, left;

    qemu_mutex_lock(&w->lock);
    while (!w->over) {
        left = end - g_get_monotonic_time();
        if (left <= 0) {
            fprintf(stderr, "blkco-test: the deadline of %u s has passed; the test hangs, or has "
                    "too much to do. Its coroutines:\n", w->seconds);
            qemu_coroutine_dump_all(stderr);
            abort();
        }
        qemu_cond_timedwait(&w->cond, &w->lock, (int)MIN(left / 1000 + 1, 1000000));
    }
    qemu_mutex_unlock(&w->lock);
    return NULL;
}

static void watchdog_start(Watchdog *w, unsigned seconds)
{
    w->over = false;
    w->seconds = seconds ? seconds : DEFAULT_TIMEOUT_S;
    qemu_mutex_init(&w->lock);
    qemu_cond_init(&w->cond);
    qemu_thread_create(&w->thread, "watchdog", watch, w, QEMU_THREAD_JOINABLE);
}

static void watchdog_stop(Watchdog *w)
{
    qemu_mutex_lock(&w->lock);
    w->over = true;
    qemu_cond_signal(&w->cond);
    qemu_mutex_unlock(&w->lock);
    qemu_thread_join(&w->thread);
    qemu_mutex_destroy(&w->lock);
    qemu_cond_destroy(&w->cond);
}

/* --- image and disk --- */

/* "driver=FORMAT,OPTIONS"; NULL: the plain disk. Free with g_free(). */
static char *open_options(const BlkcoTestConfig *c)
{
    if (!c->format && !c->open_options) {
        return NULL;
    }
    return g_strdup_printf("driver=%s%s%s", c->format ? c->format : "raw",
                           c->open_options ? "," : "", c->open_options ? c->open_options : "");
}

void blkco_frame_open(BlkcoTest *t)
{
    g_autofree char *options = open_options(t->config);
    g_autoptr(GError) err = NULL;

    t->blk = sim_disk_open(t->disk, options,
                           BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP | t->config->flags, &err);
    if (!t->blk) {
        g_error("blkco-test: cannot open the image: %s", err->message);
    }
}

void blkco_frame_add_faults(BlkcoTest *t)
{
    g_autoptr(GError) err = NULL;

    if (t->config->faults && !sim_power_script_faults(t->power, NULL, t->config->faults, &err)) {
        g_error("blkco-test: faults: %s", err->message);
    }
}

void blkco_frame_close(BlkcoTest *t)
{
    blk_unref(t->blk);
    t->blk = NULL;
}

void blkco_frame_make_disk(BlkcoTest *t)
{
    const BlkcoTestConfig *c = t->config;
    int64_t size = c->disk_size ? c->disk_size : DEFAULT_DISK_SIZE;
    g_autoptr(SimState) state = NULL;
    g_autofree char *options = NULL;
    g_autoptr(GError) err = NULL;

    t->power = sim_power_new(t->seed);
    t->disk = sim_disk_new(t->power, NULL, c->format ? 0 : size, &err);
    if (!t->disk) {
        g_error("blkco-test: disk_size: %s", err->message);
    }
    if (c->format) {
        options = g_strdup_printf("size=%" G_GINT64_FORMAT "%s%s", size,
                                  c->create_options ? "," : "",
                                  c->create_options ? c->create_options : "");
        if (sim_disk_create(t->disk, c->format, options, &err) < 0) {
            g_error("blkco-test: cannot make the image of format, disk_size and create_options: %s",
                    err->message);
        }
    }
    /* All of that is durable, and long ago. */
    state = sim_power_state(t->power);
    sim_power_load(t->power, state);
}

/* --- a coroutine and its loop --- */

typedef struct Run {
    BlkcoTest *t;
    BlkcoTestFunc *func;
    bool done;
} Run;

static void coroutine_fn run_entry(void *opaque)
{
    Run *run = opaque;

    run->func(run->t);
    run->done = true;
}

static void check_virtual_deadline(const BlkcoTest *t, int64_t start)
{
    int64_t limit = t->config->virtual_timeout_ns ? t->config->virtual_timeout_ns
                                                  : DEFAULT_VIRTUAL_NS;

    if (aio_sim_now_ns(t->sim) - start > limit) {
        fprintf(stderr, "blkco-test: the deadline of %" G_GINT64_FORMAT " ns of virtual time has "
                "passed. The test's coroutines:\n", limit);
        qemu_coroutine_dump_all(stderr);
        abort();
    }
}

void blkco_frame_run(BlkcoTest *t, BlkcoTestFunc *func)
{
    Run run = { t, func, false };
    int64_t start = aio_sim_now_ns(t->sim);

    qemu_coroutine_enter(qemu_coroutine_create(run_entry, &run));
    while (!run.done) {
        aio_poll(t->ctx, true);
        check_virtual_deadline(t, start);
    }
}

/* --- for coroutines --- */

typedef struct Outside {
    void (*fn)(void *opaque);
    void *opaque;
    Coroutine *co;
} Outside;

static void outside_bh(void *opaque)
{
    Outside *o = opaque;

    o->fn(o->opaque);
    aio_co_wake(o->co);
}

void coroutine_fn blkco_test_outside(BlkcoTest *t, void (*fn)(void *opaque), void *opaque)
{
    Outside o = { fn, opaque, qemu_coroutine_self() };

    aio_bh_schedule_oneshot(t->ctx, outside_bh, &o);
    qemu_coroutine_yield();
}

static void reopen(void *opaque)
{
    BlkcoTest *t = opaque;

    blkco_frame_close(t);
    blkco_frame_open(t);
}

void coroutine_fn blkco_test_reopen(BlkcoTest *t)
{
    blkco_test_outside(t, reopen, t);
}

typedef struct Cycle {
    BlkcoTest *t;
    SimChoice choice;
} Cycle;

static void power_cycle(void *opaque)
{
    Cycle *c = opaque;

    sim_power_cut(c->t->power);
    blkco_frame_close(c->t);
    sim_power_on(c->t->power, c->choice);
    blkco_frame_open(c->t);
}

void coroutine_fn blkco_test_power_cycle(BlkcoTest *t, SimChoice choice)
{
    Cycle c = { t, choice };

    blkco_test_outside(t, power_cycle, &c);
}

void coroutine_fn blkco_test_sleep_ns(BlkcoTest *t, int64_t ns)
{
    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, ns);
}

uint64_t blkco_test_random(BlkcoTest *t)
{
    return aio_sim_random(t->sim);
}

uint64_t blkco_test_random_below(BlkcoTest *t, uint64_t n)
{
    return aio_sim_random_below(t->sim, n);
}

/* --- a whole test --- */

static uint64_t next_seed(void)
{
    uint64_t high = (uint32_t)g_test_rand_int();

    return high << 32 | (uint32_t)g_test_rand_int();
}

static void run_once(const BlkcoCase *c, unsigned number)
{
    AioContext *before = qemu_get_current_aio_context();
    BlkcoTest t = { .config = c->config, .data = c->data, .seed = next_seed(),
                    .run = number };
    g_autofree char *text = g_strdup_printf(
        "blkco-test: in run %u (seed 0x%" G_GINT64_MODIFIER "x) of %s; again by --seed=R02S... (GTest "
        "has printed it) -p %s\n", number, t.seed, c->path, c->path);

    blkco_frame_say(text);
    t.ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(t.ctx);
    t.sim = aio_sim_begin(t.ctx, t.seed);
    c->body(&t, c);
    /* What nobody waits for ends all the same. */
    while (aio_sim_n_pending(t.sim)) {
        aio_poll(t.ctx, true);
    }
    sim_power_unref(t.power);
    aio_sim_end(t.sim);
    qemu_set_current_aio_context(before);
    aio_context_unref(t.ctx);
}

static void plain_body(BlkcoTest *t, const BlkcoCase *c)
{
    blkco_frame_make_disk(t);
    blkco_frame_open(t);
    blkco_frame_add_faults(t);
    blkco_frame_run(t, c->work);
    blkco_frame_close(t);
}

static void run_case(gconstpointer data)
{
    const BlkcoCase *c = data;
    unsigned runs = MAX(c->config->runs, 1);
    Watchdog watchdog;

    watch_for_death();
    watchdog_start(&watchdog, c->config->timeout_s);
    for (unsigned i = 0; i < runs && !g_test_failed(); i++) {
        run_once(c, i);
    }
    watchdog_stop(&watchdog);
    blkco_frame_say("");
    end_watching();
    sigaltstack(&old_signal_stack, NULL);
}

void blkco_frame_add(const BlkcoCase *c)
{
    BlkcoCase *copy = g_memdup2(c, sizeof(*c));

    copy->path = g_strdup(c->path);
    copy->config = c->config ? c->config : &no_config;
    copy->next = cases;
    cases = copy;
    g_test_add_data_func(copy->path, copy, run_case);
}

void blkco_test_add(const char *path, const BlkcoTestConfig *config, BlkcoTestFunc *func,
                    gpointer data)
{
    blkco_frame_add(&(BlkcoCase){ .path = path, .config = config, .data = data,
                                  .body = plain_body, .work = func });
}
