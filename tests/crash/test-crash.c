/* SPDX-License-Identifier: MIT */
/*
 * Power cuts in qcow2. Systematic: sequences of up to three steps, each step's every instant, every
 * choice of what survives of the requests that were not durable. Random: long workloads with
 * requests in flight together, at random instants. Each state is examined (examine.c).
 *
 *     test-crash                                 a short form; TAP
 *     test-crash --long --seconds=60 --seed=1    sequences in an order of the seed, and random ones
 *     test-crash --all                           every sequence of up to three steps, once
 *     test-crash --all --part=3/8                the third of eight shares of them
 *     test-crash --case=ID                       one state, as a finding names it
 *
 * A sequence's states are those since its last step's beginning: the earlier ones are those of the
 * shorter sequence. The same contents are examined once for what may be there.
 */
#include "world.h"

#include "arguments.h"
#include "block/block.h"
#include "qemu/main-loop.h"

#define MAX_STEPS    3
#define RANDOM_STEPS 40
#define RANDOM_CUTS  30   /* instants of a random workload */
#define QEMU_EVERY   2000 /* states that are examined */
#define PARTS_MAX    100000

typedef struct Options {
    bool complete, lengthy;
    unsigned part, parts; /* of --all, from 0; or no parts */
    int64_t seconds;
    uint64_t seed;
    const char *one;
} Options;

static Examiner *examiner;
static unsigned findings;
static char current[256]; /* the case under way, for who dies */
static int silent = -1, spoken = -1;
static const SimChoice *only_choice;
static uint64_t only_time;
static int64_t deadline = INT64_MAX;

/* --- what is said --- */

static void say_and_die(int sig)
{
    ssize_t n = write(STDOUT_FILENO, "# died in --case=", 17);

    n += write(STDOUT_FILENO, current, strlen(current));
    n += write(STDOUT_FILENO, "\n", 1);
    signal(sig, SIG_DFL);
    raise(n < 0 ? SIGKILL : sig);
}

/* Checks tell of each leak on stderr. */
static void hush(bool on)
{
    dup2(on ? silent : spoken, STDERR_FILENO);
}

static void set_up_voices(bool loud)
{
    spoken = dup(STDERR_FILENO);
    silent = loud ? spoken : open("/dev/null", O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(silent, >=, 0);
    signal(SIGABRT, say_and_die);
    signal(SIGSEGV, say_and_die);
    signal(SIGALRM, say_and_die);
}

static void report(const char *id, const SimCut *cut, const char *what)
{
    printf("# finding: %s\n#   replay: test-crash '--case=%s'\n", what, id);
    for (unsigned i = 0; cut && i < sim_cut_n_pending(cut); i++) {
        g_autofree char *line = sim_cut_describe(cut, i);

        printf("#   not durable %u: %s\n", i, line);
    }
    fflush(stdout);
    findings++;
}

/* --- states --- */

static bool examine_choice(const World *w, const SimCut *cut, uint64_t time, SimChoice choice,
                           const char *name)
{
    g_autoptr(SimState) state = sim_cut_state(cut, choice);
    g_autofree char *text = sim_choice_to_string(choice);
    g_autofree char *found = NULL;
    unsigned lo, hi;

    g_snprintf(current, sizeof(current), "%s@%" PRIu64 ":%s", name, time, text);
    alarm(120);
    world_range(w, time, &lo, &hi);
    hush(true);
    found = examiner_check(examiner, w, state, lo, hi);
    hush(false);
    if (found) {
        report(current, cut, found);
    }
    return !found;
}

/* All choices and a few random ones. After a finding the rest of the instant is left out. */
static void examine_instant(World *w, uint64_t time, const char *name, unsigned random)
{
    g_autoptr(SimCut) cut = NULL;
    unsigned n;

    if (only_choice && time != only_time) {
        return;
    }
    cut = sim_cut_new(w->power, time);
    if (only_choice) {
        examine_choice(w, cut, time, *only_choice, name);
        return;
    }
    n = sim_cut_n_choices(cut);
    for (unsigned i = 0; i < n; i++) {
        if (!examine_choice(w, cut, time, sim_cut_choice(cut, i), name)) {
            return;
        }
    }
    for (unsigned i = 0; i < random && n > 2; i++) {
        SimChoice choice = { SIM_KEEP_RANDOM, 0, aio_sim_next_random(&w->random) };

        if (!examine_choice(w, cut, time, choice, name)) {
            return;
        }
    }
}

/* --- sequences --- */

typedef struct Sequence {
    unsigned shape, start, n;
    StepKind steps[MAX_STEPS];
} Sequence;

static char *sequence_name(const Sequence *q)
{
    GString *text = g_string_new(NULL);

    g_string_printf(text, "%s/%u:", shapes[q->shape].name, q->start);
    for (unsigned i = 0; i < q->n; i++) {
        g_string_append_printf(text, "%s%s", i ? "," : "", step_names[q->steps[i]]);
    }
    return g_string_free(text, false);
}

/* False: a step of it cannot be taken. */
static bool run_sequence(const Sequence *q, unsigned random)
{
    World *w = world_new(&shapes[q->shape], q->start, 1);
    g_autofree char *name = sequence_name(q);
    bool taken = true;
    unsigned before = findings;

    g_strlcpy(current, name, sizeof(current));
    alarm(120);
    for (unsigned i = 0; i < q->n && taken; i++) {
        taken = world_step(w, q->steps[i]);
    }
    if (taken) {
        uint64_t from = world_event(w, q->n - 1)->begin;

        world_verify_live(w);
        world_close(w);
        if (w->wrong) {
            report(name, NULL, w->wrong);
        }
        for (uint64_t t = from; t <= sim_power_now(w->power) && findings < before + 3; t++) {
            examine_instant(w, t, name, random);
        }
    }
    world_free(w);
    return taken;
}

static unsigned n_sequences(unsigned length)
{
    unsigned n = STARTS * n_shapes;

    while (length--) {
        n *= STEP_KINDS;
    }
    return n;
}

/* The last step is what differs first, the shape last. */
static Sequence sequence_number(unsigned length, unsigned i)
{
    Sequence q = { .n = length };

    for (unsigned s = length; s-- > 0; ) {
        q.steps[s] = i % STEP_KINDS;
        i /= STEP_KINDS;
    }
    q.start = i % STARTS;
    q.shape = i / STARTS;
    return q;
}

/* --- random workloads --- */

static void run_random(unsigned shape, unsigned start, uint64_t seed)
{
    World *w = world_new(&shapes[shape], start, seed);
    g_autofree char *name = g_strdup_printf("%s/%u:random=%" PRIu64, shapes[shape].name, start,
                                            seed);
    unsigned before = findings;

    g_strlcpy(current, name, sizeof(current));
    alarm(120);
    for (unsigned i = 0; i < RANDOM_STEPS && !w->wrong; i++) {
        world_random_step(w);
        if (!w->wrong && i % 8 == 7) {
            world_verify_live(w);
        }
    }
    if (!w->wrong) {
        world_verify_live(w);
    }
    world_close(w);
    if (w->wrong) {
        report(name, NULL, w->wrong);
    }
    if (only_choice) {
        examine_instant(w, only_time, name, 0);
    }
    for (unsigned i = 0; i < RANDOM_CUTS && !only_choice && findings < before + 3; i++) {
        uint64_t time = aio_sim_next_random(&w->random) % (sim_power_now(w->power) + 1);

        examine_instant(w, time, name, 4);
    }
    world_free(w);
}

/* --- which of them --- */

static bool time_left(void)
{
    return g_get_monotonic_time() < deadline;
}

/* Sequences of three steps, in an order of the seed, and for a third of the states random ones. */
static void run_long(uint64_t seed)
{
    uint64_t random = seed, by_random = 0;

    while (time_left()) {
        uint64_t r = aio_sim_next_random(&random), before = examiner->states;

        if (by_random * 3 < examiner->states || !examiner->states) {
            run_random(r % n_shapes, r / n_shapes % STARTS, r >> 32);
            by_random += examiner->states - before;
        } else {
            Sequence q = sequence_number(MAX_STEPS, r % n_sequences(MAX_STEPS));

            run_sequence(&q, 2);
        }
    }
}

/* Share @part of @parts of each length. Neighbours differ in their last step and have many states in common. */
static void run_all(unsigned part, unsigned parts)
{
    for (unsigned length = 1; length <= MAX_STEPS; length++) {
        uint64_t n = n_sequences(length);
        unsigned from = n * part / parts, to = n * (part + 1) / parts, i;

        for (i = from; i < to && time_left(); i++) {
            Sequence q = sequence_number(length, i);

            run_sequence(&q, 2);
        }
        printf("# %u of %u sequences of %u steps, %" PRIu64 " states\n", i - from, to - from, length,
               examiner->states);
        fflush(stdout);
    }
}

/* All single steps, some pairs and a random workload, for each shape. */
static void run_short(uint64_t seed)
{
    uint64_t random = seed;

    printf("1..%u\n", n_shapes);
    for (unsigned shape = 0; shape < n_shapes; shape++) {
        unsigned before = findings;
        uint64_t states = examiner->states;

        unsigned ones = n_sequences(1) / n_shapes, pairs = n_sequences(2) / n_shapes;

        for (unsigned i = 0; i < ones; i++) {
            Sequence q = sequence_number(1, shape * ones + i);

            run_sequence(&q, 0);
        }
        for (unsigned i = 0; i < 12; i++) {
            uint64_t n = aio_sim_next_random(&random) % pairs;
            Sequence q = sequence_number(2, shape * pairs + n);

            run_sequence(&q, 0);
        }
        run_random(shape, 0, aio_sim_next_random(&random) >> 32);
        run_random(shape, 1, aio_sim_next_random(&random) >> 32);
        printf("%s %u /crash/%s # %" PRIu64 " states\n", findings == before ? "ok" : "not ok",
               shape + 1, shapes[shape].name, examiner->states - states);
        fflush(stdout);
    }
}

/* --- one of them --- */

static unsigned find_name(const char *const *names, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(names[i], name)) {
            return i;
        }
    }
    fprintf(stderr, "test-crash: there is no '%s'\n", name);
    exit(2);
}

static G_NORETURN void wrong_case(const char *id)
{
    fprintf(stderr, "test-crash: '%s' is no case: SHAPE/START:STEPS or SHAPE/START:random=SEED, "
            "and perhaps @TIME:CHOICE\n", id);
    exit(2);
}

/* SHAPE/START:STEPS or SHAPE/START:random=SEED, and perhaps @TIME:CHOICE. */
static void run_case(const char *id)
{
    g_auto(GStrv) parts = g_strsplit(id, "@", 2), head = NULL, place = NULL, steps = NULL;
    const char *names[32];
    static SimChoice choice;
    Sequence q = { 0 };
    uint64_t number;

    head = g_strsplit(parts[0] ?: "", ":", 2);
    place = g_strsplit(head[0] ?: "", "/", 2);
    if (!head[0] || !head[1] || !place[0] || !place[1] ||
        !parse_number(place[1], 0, UINT_MAX, &number)) {
        wrong_case(id);
    }
    for (unsigned i = 0; i < n_shapes; i++) {
        names[i] = shapes[i].name;
    }
    q.shape = find_name(names, n_shapes, place[0]);
    q.start = number;
    if (parts[1]) {
        g_auto(GStrv) cut = g_strsplit(parts[1], ":", 2);

        if (!cut[0] || !cut[1] || !parse_number(cut[0], 0, UINT64_MAX, &number) ||
            !sim_choice_parse(cut[1], &choice, NULL)) {
            wrong_case(id);
        }
        only_time = number;
        only_choice = &choice;
    }
    if (g_str_has_prefix(head[1], "random=")) {
        if (!parse_number(head[1] + 7, 0, UINT64_MAX, &number)) {
            wrong_case(id);
        }
        run_random(q.shape, q.start, number);
        return;
    }
    steps = g_strsplit(head[1], ",", MAX_STEPS);
    for (; steps[q.n]; q.n++) {
        q.steps[q.n] = find_name(step_names, STEP_KINDS, steps[q.n]);
    }
    run_sequence(&q, 2);
}

/* --part=I/N, I from 1 to N. */
static bool part_argument(const char *arg, Options *o)
{
    g_auto(GStrv) parts = NULL;
    uint64_t i, n;

    if (!g_str_has_prefix(arg, "--part=")) {
        return false;
    }
    parts = g_strsplit(arg + 7, "/", 2);
    if (!parts[0] || !parts[1] || !parse_number(parts[1], 1, PARTS_MAX, &n) ||
        !parse_number(parts[0], 1, n, &i)) {
        return false;
    }
    o->part = i - 1;
    o->parts = n;
    return true;
}

static Options parse(int argc, char **argv)
{
    Options o = { .seed = 1 };
    uint64_t n;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--long")) {
            o.lengthy = true;
        } else if (!strcmp(argv[i], "--all")) {
            o.complete = true;
        } else if (part_argument(argv[i], &o)) {
            continue;
        } else if (number_argument(argv[i], "--seconds=", 1, SECONDS_MAX, &n)) {
            o.seconds = n;
        } else if (number_argument(argv[i], "--seed=", 0, UINT64_MAX, &n)) {
            o.seed = n;
        } else if (g_str_has_prefix(argv[i], "--case=")) {
            o.one = argv[i] + 7;
        } else {
            usage(argv[i],
                  "usage: test-crash [--long | --all [--part=I/N] | --case=ID] [--seconds=N] "
                  "[--seed=N]\n"
                  "ID: SHAPE/START:STEPS[@TIME:CHOICE] or SHAPE/START:random=SEED[@TIME:CHOICE], "
                  "as findings print it\n");
        }
    }
    if (o.parts && !o.complete) {
        usage("--part", "--part=I/N goes with --all\n");
    }
    return o;
}

int main(int argc, char **argv)
{
    Options o = parse(argc, argv);
    AioSim *sim;

    qemu_init_main_loop(&error_abort);
    bdrv_init();
    sim = aio_sim_begin(qemu_get_aio_context(), o.seed);
    set_up_voices(o.one != NULL);
    examiner = examiner_new(QEMU_EVERY);
    if (o.seconds || o.lengthy) {
        deadline = g_get_monotonic_time() + (o.seconds ? o.seconds : 60) * G_USEC_PER_SEC;
    }
    printf("# seed %" PRIu64 "\n", o.seed);
    if (o.one) {
        run_case(o.one);
    } else if (o.complete) {
        run_all(o.part, MAX(o.parts, 1));
    } else if (o.lengthy) {
        run_long(o.seed);
    } else {
        run_short(o.seed);
    }
    alarm(0);
    printf("# %" PRIu64 " examined, %" PRIu64 " of them by qemu-img check as well\n",
           examiner->checked, examiner->by_qemu);
    printf("%scrash: %" PRIu64 " states (%" PRIu64 " distinct), %u findings\n",
           o.one || o.complete || o.lengthy ? "" : "# ", examiner->states, examiner->distinct,
           findings);
    examiner_free(examiner);
    while (aio_sim_n_pending(sim)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    aio_sim_end(sim);
    return findings != 0;
}
