/* SPDX-License-Identifier: MIT */
/*
 * Each request to the disks fails, one at a time, in every sequence of steps (world.h): before it
 * has done anything, half way, when all is done, and a flush that loses what it should have kept; and
 * each allocation that may fail, alone or with all that follow. Whoever sent a request learns of it; after a failed flush no flush succeeds; and what is found when the image is opened
 * again has at most leaks and in each sector the old or the new contents.
 *
 *     test-fault                                 single steps, and some pairs; TAP
 *     test-fault --long --seconds=60 --seed=1    sequences in an order of the seed
 *     test-fault --case=ID                       one fault, as a finding names it
 */
#include "world.h"

#include "arguments.h"
#include "../unit/failing-memory.h"
#include "block/block.h"
#include "qemu/main-loop.h"

#define MAX_STEPS 3

typedef struct FaultKind {
    const char *name;
    unsigned ops; /* 0: all */
    int error;
    SimEffect effect;
    uint64_t count;
    bool memory;  /* an allocation instead of a request */
} FaultKind;

static const FaultKind kinds[] = {
    { "eio", 0, EIO, SIM_EFFECT_NONE, 1 },
    { "eio-half", 0, EIO, SIM_EFFECT_HALF, 1 },
    { "eio-done", 0, EIO, SIM_EFFECT_ALL, 1 },
    { "enospc", SIM_WRITE | SIM_ZERO | SIM_TRUNCATE, ENOSPC, SIM_EFFECT_NONE, 1 },
    { "eagain", 0, EAGAIN, SIM_EFFECT_NONE, 1 },
    { "full", SIM_WRITE | SIM_ZERO | SIM_TRUNCATE, ENOSPC, SIM_EFFECT_NONE, SIM_FOREVER },
    { "gone", 0, EIO, SIM_EFFECT_NONE, SIM_FOREVER },
    { "flush-lost", SIM_FLUSH, EIO, SIM_EFFECT_LOST, 1 },
    { "no-memory", 0, ENOMEM, SIM_EFFECT_NONE, 1, true },
    { "no-memory-any-more", 0, ENOMEM, SIM_EFFECT_NONE, SIM_FOREVER, true },
};
#define N_KINDS ((unsigned)G_N_ELEMENTS(kinds))

typedef struct Case {
    unsigned shape, start, n;
    StepKind steps[MAX_STEPS];
    unsigned kind;
    uint64_t nth;
} Case;

static Examiner *examiner;
static uint64_t faults;
static unsigned findings;
static char current[256];
static int silent = -1, spoken = -1;
static int64_t deadline = INT64_MAX;

static void say_and_die(int sig)
{
    ssize_t n = write(STDOUT_FILENO, "# died or hung in --case=", 25);

    n += write(STDOUT_FILENO, current, strlen(current));
    n += write(STDOUT_FILENO, "\n", 1);
    signal(sig, SIG_DFL);
    raise(n < 0 ? SIGKILL : sig);
}

static void name_case(const Case *c)
{
    GString *text = g_string_new(NULL);

    g_string_printf(text, "%s/%u:", shapes[c->shape].name, c->start);
    for (unsigned i = 0; i < c->n; i++) {
        g_string_append_printf(text, "%s%s", i ? "," : "", step_names[c->steps[i]]);
    }
    g_string_append_printf(text, "@%s#%" PRIu64, kinds[c->kind].name, c->nth);
    g_strlcpy(current, text->str, sizeof(current));
    g_string_free(text, true);
}

static void report(const char *what)
{
    printf("# finding: %s\n#   replay: test-fault '--case=%s'\n", what, current);
    fflush(stdout);
    findings++;
}

/* --- one fault --- */

/* A flush of a disk failed in a flush of the guest: none succeeds until the image is opened again. */
static void check_that_it_sticks(World *w, const FaultKind *kind)
{
    const Event *last = world_event(w, w->events->len - 1);

    if (kind->ops == SIM_FLUSH && last->kind == STEP_FLUSH && last->ret < 0 && blk_flush(w->blk) >= 0) {
        world_wrong(w, "a flush succeeds after one that failed");
    }
}

static void run_steps(World *w, const Case *c)
{
    bool taken = true;

    for (unsigned i = 0; i < c->n && taken; i++) {
        unsigned before = w->failed;

        taken = world_step(w, c->steps[i]);
        if (w->failed > before) {
            check_that_it_sticks(w, &kinds[c->kind]);
            break;
        }
    }
    /* Nobody was told of a fault, not even at the end: all of it counts. */
    if (!w->failed) {
        w->failed += blk_finish_writing(w->blk, NULL) < 0;
    }
}

/* Was there an N-th request, or allocation, for the steps? */
static bool run_with_fault(World *w, const Case *c)
{
    const FaultKind *k = &kinds[c->kind];
    SimFault fault = { .ops = k->ops, .nth = c->nth, .count = k->count, .error = k->error,
                       .effect = k->effect, .growing = !strcmp(k->name, "full") };
    unsigned id;
    bool hit;

    if (k->memory) {
        memory_calls = 0;
        memory_stays_short = k->count == SIM_FOREVER;
        memory_fail_at = c->nth;
        run_steps(w, c);
        memory_fail_at = 0;
        return memory_calls >= c->nth;
    }
    id = sim_power_add_fault(w->power, &fault);
    run_steps(w, c);
    hit = sim_power_fault_hits(w->power, id) != 0;
    sim_power_remove_fault(w->power, id);
    return hit;
}

/* False: there is no N-th request of that kind any more, or no such sequence. */
static bool run_case(const Case *c)
{
    World *w = world_new(&shapes[c->shape], c->start, 1);
    g_autoptr(SimState) state = NULL;
    g_autofree char *found = NULL;
    unsigned last;
    bool hit;

    name_case(c);
    alarm(60);
    w->faulty = true;
    dup2(silent, STDERR_FILENO);
    hit = run_with_fault(w, c);
    world_close(w);
    if (hit && !w->wrong) {
        faults++;
        last = w->events->len;
        state = sim_power_state(w->power);
        /* Without an error only the last version will do. */
        found = examiner_check(examiner, w, state, w->failed || !last ? 0 : last, last);
    }
    dup2(spoken, STDERR_FILENO);
    if (w->wrong || found) {
        report(w->wrong ? w->wrong : found);
    }
    world_free(w);
    return hit;
}

static void every_fault(Case *c)
{
    for (c->kind = 0; c->kind < N_KINDS; c->kind++) {
        unsigned before = findings;

        for (c->nth = 1; findings < before + 2 && run_case(c); c->nth++) {
        }
    }
}

/* --- which --- */

static void take_step(Case *c, uint64_t *random)
{
    c->steps[c->n++] = aio_sim_next_random(random) % STEP_KINDS;
}

static void run_long(uint64_t random)
{
    while (g_get_monotonic_time() < deadline) {
        Case c = { .shape = aio_sim_next_random(&random) % n_shapes };
        unsigned n = 1 + aio_sim_next_random(&random) % MAX_STEPS;

        c.start = aio_sim_next_random(&random) % STARTS;
        while (c.n < n) {
            take_step(&c, &random);
        }
        every_fault(&c);
    }
}

static void run_short(uint64_t random)
{
    printf("1..%u\n", n_shapes);
    for (unsigned shape = 0; shape < n_shapes; shape++) {
        unsigned before = findings;
        uint64_t done = faults;

        for (unsigned i = 0; i < STEP_KINDS; i++) {
            Case c = { .shape = shape, .start = (shape + i) % STARTS, .n = 1, .steps = { i } };

            every_fault(&c);
        }
        for (unsigned i = 0; i < 5; i++) {
            Case c = { .shape = shape, .start = i % STARTS };

            take_step(&c, &random);
            take_step(&c, &random);
            every_fault(&c);
        }
        printf("%s %u /fault/%s # %" PRIu64 " faults\n", findings == before ? "ok" : "not ok",
               shape + 1, shapes[shape].name, faults - done);
        fflush(stdout);
    }
}

/* --- one of them --- */

static bool find(const char *name, const char *wanted, unsigned i, unsigned *at)
{
    if (strcmp(name, wanted)) {
        return false;
    }
    *at = i;
    return true;
}

/* SHAPE/START:STEPS@KIND#NTH */
static bool parse_case(const char *text, Case *c)
{
    g_auto(GStrv) parts = g_strsplit_set(text, "/:@#", 5), steps = NULL;
    bool shape = false, kind = false;

    if (g_strv_length(parts) != 5) {
        return false;
    }
    for (unsigned i = 0; i < n_shapes; i++) {
        shape |= find(shapes[i].name, parts[0], i, &c->shape);
    }
    for (unsigned i = 0; i < N_KINDS; i++) {
        kind |= find(kinds[i].name, parts[3], i, &c->kind);
    }
    c->start = g_ascii_strtoull(parts[1], NULL, 10);
    c->nth = g_ascii_strtoull(parts[4], NULL, 10);
    steps = g_strsplit(parts[2], ",", 0);
    for (; c->n < MAX_STEPS && steps[c->n]; c->n++) {
        bool step = false;

        for (unsigned i = 0; i < STEP_KINDS; i++) {
            unsigned found;

            if (find(step_names[i], steps[c->n], i, &found)) {
                c->steps[c->n] = found;
                step = true;
            }
        }
        if (!step) {
            return false;
        }
    }
    return shape && kind && c->n && c->nth;
}

int main(int argc, char **argv)
{
    const char *one = NULL;
    bool lengthy = false;
    int64_t seconds = 60;
    uint64_t seed = 1, n;
    Case c = { 0 };
    AioSim *sim;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--long")) {
            lengthy = true;
        } else if (number_argument(argv[i], "--seconds=", 1, SECONDS_MAX, &n)) {
            seconds = n;
        } else if (number_argument(argv[i], "--seed=", 0, UINT64_MAX, &n)) {
            seed = n;
        } else if (g_str_has_prefix(argv[i], "--case=") && parse_case(argv[i] + 7, &c)) {
            one = argv[i] + 7;
        } else {
            usage(argv[i], "usage: test-fault [--long | --case=SHAPE/START:STEPS@KIND#NTH] "
                  "[--seconds=N] [--seed=N]\n");
        }
    }
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    sim = aio_sim_begin(qemu_get_aio_context(), seed);
    spoken = dup(STDERR_FILENO);
    silent = one ? spoken : open("/dev/null", O_WRONLY | O_CLOEXEC);
    signal(SIGABRT, say_and_die);
    signal(SIGSEGV, say_and_die);
    signal(SIGALRM, say_and_die);
    examiner = examiner_new(0);
    printf("# seed %" PRIu64 "\n", seed);
    deadline = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    if (one) {
        run_case(&c);
    } else if (lengthy) {
        run_long(seed);
    } else {
        run_short(seed);
    }
    alarm(0);
    printf("%sfault: %" PRIu64 " faults, %u findings\n", lengthy || one ? "" : "# ", faults,
           findings);
    examiner_free(examiner);
    while (aio_sim_n_pending(sim)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    aio_sim_end(sim);
    return findings != 0;
}
