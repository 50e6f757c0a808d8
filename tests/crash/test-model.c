/* SPDX-License-Identifier: MIT */
/*
 * Random requests to raw and qcow2 images of all shapes against a model in RAM. A life
 * is one image, from a seed: bursts of requests, and between them, or in the
 * middle of them, snapshots, bitmaps, reopening, commits and looks at everything. In most lives all
 * is simulated, the loop as well, so that the same seed does the same; in some, real threads
 * send the requests. The end is a clean check, ours and that of the system's qemu-img.
 */
#include "model.h"
#include "qemu/main-loop.h"

#include "arguments.h"

#include <signal.h>
#include <sys/mman.h>

#define FINDINGS_MAX 20 /* then it is enough */
#define BURSTS       15 /* of requests, in a life */

typedef struct Total {
    uint64_t operations, qcow2, lives, threaded, findings;
} Total;

typedef struct Options {
    int seconds; /* 0: a short form, the same each time */
    uint32_t seed;
    const char *replay; /* a life, or NULL */
    uint64_t life;      /* its number */
} Options;

static GString *doing; /* for findings and crashes */
static int quiet_fd = -1;

/* --- what is said on stderr --- */

static void say_what_was_said(void)
{
    char buf[4096];
    off_t from = MAX(lseek(quiet_fd, 0, SEEK_END) - (off_t)sizeof(buf), 0);
    ssize_t n = pread(quiet_fd, buf, sizeof(buf), from);

    if (n > 0 && write(STDOUT_FILENO, buf, n) < 0) {
        _exit(1);
    }
}

/* A crash or a hang: say where. Not async-signal-safe, but better than nothing. */
static void died(int signal)
{
    printf("\nsignal %d in: %s\n", signal, doing->str);
    fflush(stdout);
    say_what_was_said();
    _exit(1);
}

/* Kept in memory: of interest only when the program dies, or with a finding. */
static void catch_stderr(void)
{
    quiet_fd = memfd_create("stderr", MFD_CLOEXEC);
    g_assert_cmpint(quiet_fd, >=, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    /* A sanitizer's report is not to be lost. */
    dup2(quiet_fd, STDERR_FILENO);
#endif
    signal(SIGABRT, died);
    signal(SIGALRM, died);
}

static void begin_quietly(void)
{
    if (ftruncate(quiet_fd, 0) < 0) {
        abort();
    }
    lseek(quiet_fd, 0, SEEK_SET);
    /* Whatever hangs ends here. */
    alarm(300);
}

/* --- lives --- */

static void end_of_life(Model *m)
{
    if (!m->wrong) {
        model_verify_all(m);
    }
    for (guint i = 0; i < m->snapshots->len && !m->wrong; i++) {
        model_verify_snapshot(m, m->snapshots->pdata[i]);
    }
    model_close(m, true);
    if (!m->wrong) {
        model_open(m);
        model_verify_bitmaps(m);
        model_verify_all(m);
        model_close(m, false);
    }
    if (!m->wrong && model_chance(m, 4)) {
        model_ask_qemu(m);
    }
}

/* A hash of all that its disks were asked, if @trace. */
static guint life(uint64_t seed, bool threads, unsigned bursts, bool trace, Total *t)
{
    AioSim *sim = threads ? NULL : aio_sim_begin(qemu_get_aio_context(), seed);
    g_autofree char *text = NULL;
    Model *m;

    g_string_printf(doing, "--case=%s%" PRIu64, threads ? "t" : "", seed);
    begin_quietly();
    m = model_new(seed, doing, sim);
    if (trace) {
        sim_power_set_trace(m->power, true);
    }
    model_open(m);
    if (!m->wrong) {
        if (threads) {
            model_threads(m, bursts / 4 + 1);
        } else {
            model_simulated(m, bursts);
        }
        end_of_life(m);
    }
    t->operations += m->operations;
    t->qcow2 += m->raw ? 0 : m->operations;
    t->lives++;
    t->threaded += threads;
    if (m->wrong) {
        printf("%s\n    in: %s\n", m->wrong, doing->str);
        say_what_was_said();
        fflush(stdout);
        t->findings++;
    }
    text = trace ? sim_power_get_trace(m->power) : NULL;
    model_free(m);
    if (sim) {
        aio_sim_end(sim);
    }
    return text ? g_str_hash(text) : 0;
}

/* The same seed does the same. */
static void twice(uint64_t seed, Total *t)
{
    guint first = life(seed, false, 5, true, t);

    if (first != life(seed, false, 5, true, t)) {
        printf("the same seed has done something else\n    in: %s\n", doing->str);
        t->findings++;
    }
}

static void lives(const Options *o, Total *t)
{
    gint64 end = g_get_monotonic_time() + o->seconds * G_USEC_PER_SEC;
    unsigned most = o->seconds ? UINT_MAX : 16;

    for (unsigned i = 0; i < most && t->findings < FINDINGS_MAX; i++) {
        uint64_t seed = (uint64_t)o->seed * 1000003 + i;

        if (o->seconds && g_get_monotonic_time() > end) {
            break;
        }
        if (i % 16 == 0) {
            twice(seed, t);
        }
        life(seed, i % 5 == 4, BURSTS, false, t);
    }
}

static Options parse(int argc, char **argv)
{
    Options o = { .seed = 1 };
    uint64_t n;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--long")) {
            o.seconds = o.seconds ?: 60;
        } else if (number_argument(argv[i], "--seconds=", 1, SECONDS_MAX, &n)) {
            o.seconds = n;
        } else if (number_argument(argv[i], "--seed=", 0, UINT32_MAX, &n)) {
            o.seed = n;
        } else if (number_argument(argv[i], "--case=t", 0, UINT64_MAX, &o.life) ||
                   number_argument(argv[i], "--case=", 0, UINT64_MAX, &o.life)) {
            o.replay = argv[i] + strlen("--case=");
        } else {
            usage(argv[i], "usage: test-model [--long] [--seconds=N] [--seed=N] [--case=LIFE]\n"
                  "LIFE: a number, or t and a number with threads, as findings print it\n");
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    Options o = parse(argc, argv);
    Total t = { 0 };

    doing = g_string_new("the beginning");
    catch_stderr();
    qemu_init_main_loop(&error_abort);
    if (o.replay) {
        bool threads = o.replay[0] == 't';

        life(o.life, threads, BURSTS, false, &t);
    } else {
        lives(&o, &t);
    }
    printf("seed %u, %" PRIu64 " lives, %" PRIu64 " of them with threads; %" PRIu64
           " operations on qcow2\n", o.seed, t.lives, t.threaded, t.qcow2);
    printf("model: %" PRIu64 " operations, %" PRIu64 " findings\n", t.operations, t.findings);
    g_string_free(doing, TRUE);
    return t.findings ? 1 : 0;
}
