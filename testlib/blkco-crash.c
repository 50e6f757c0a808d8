/* SPDX-License-Identifier: MIT */
/*
 * Crash tests: one run of the work, whose log then gives every state in which a power cut
 * could have left the disk.
 *
 * Verifying changes the disk, so each state is loaded into a second power supply. What a state
 * must hold depends on the marks before the cut; it is verified once for each number of them.
 */
#include "test-frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RANDOM_CHOICES 4
#define DEFAULT_MAX_STATES     20000

typedef struct Crash {
    BlkcoTest *t;
    const BlkcoCase *c;
    SimPower *log;       /* the supply in which the work was done */
    GHashTable *seen;    /* hashes of states, with the number of marks */
    GArray *plan;        /* of State */
    uint64_t n_planned;
    unsigned n_verified;
} Crash;

typedef struct State {
    uint64_t time;
    SimChoice choice;
} State;

static GArray *marks; /* of uint64_t, of the crash test that runs; NULL: none does */

uint64_t blkco_test_mark(BlkcoTest *t)
{
    uint64_t time = sim_power_tick(t->power);

    if (marks) {
        g_array_append_val(marks, time);
    }
    return time;
}

static unsigned marks_before(uint64_t time)
{
    unsigned n = 0;

    while (n < marks->len && g_array_index(marks, uint64_t, n) <= time) {
        n++;
    }
    return n;
}

/* --- which states --- */

/* Of more than the maximum, each is as likely to stay as any other. */
static void plan_state(Crash *crash, uint64_t time, SimChoice choice)
{
    const BlkcoTestConfig *config = crash->c->config;
    unsigned max = config->max_states ? config->max_states : DEFAULT_MAX_STATES;
    State s = { time, choice };

    crash->n_planned++;
    if (crash->plan->len < max) {
        g_array_append_val(crash->plan, s);
    } else {
        uint64_t i = blkco_test_random_below(crash->t, crash->n_planned);

        if (i < max) {
            g_array_index(crash->plan, State, i) = s;
        }
    }
}

static void plan_time(Crash *crash, uint64_t time)
{
    const BlkcoTestConfig *config = crash->c->config;
    unsigned random = config->random_choices ? config->random_choices : DEFAULT_RANDOM_CHOICES;
    SimCut *cut = sim_cut_new(crash->log, time);

    for (unsigned i = 0; i < sim_cut_n_choices(cut); i++) {
        plan_state(crash, time, sim_cut_choice(cut, i));
    }
    /* Of a single sector, or none, the others are all there is. */
    for (unsigned i = 0; i < random && sim_cut_n_choices(cut) > 2; i++) {
        plan_state(crash, time,
                   (SimChoice){ SIM_KEEP_RANDOM, 0, blkco_test_random(crash->t) });
    }
    sim_cut_free(cut);
}

static int compare_times(gconstpointer a, gconstpointer b)
{
    const State *x = a, *y = b;

    return x->time < y->time ? -1 : x->time > y->time;
}

/* Not with another seed, nor when the program sends other requests since. */
static bool is_there(const Crash *crash, const State *s)
{
    bool of_one = s->choice.keep > SIM_KEEP_ALL && s->choice.keep != SIM_KEEP_RANDOM, there;
    SimCut *cut;

    if (s->time > sim_power_now(crash->log)) {
        return false;
    }
    cut = sim_cut_new(crash->log, s->time);
    there = !of_one || s->choice.request < sim_cut_n_pending(cut);
    sim_cut_free(cut);
    return there;
}

/* Digits up to @stop. Returns what is behind that, or NULL. */
static const char *parse_number(const char *text, char stop, uint64_t *number)
{
    char *end;

    errno = 0;
    *number = g_ascii_strtoull(text, &end, 10);
    return g_ascii_isdigit(*text) && *end == stop && !errno ? end + 1 : NULL;
}

/* BLKCO_TEST_CUT: "TIME:CHOICE", behind "RUN/" unless it is run 0. */
static void plan_one(Crash *crash, const char *text)
{
    g_autoptr(GError) err = NULL;
    State s;
    uint64_t run;
    const char *time = parse_number(text, '/', &run), *choice;

    if (!time) {
        time = text;
        run = 0;
    }
    choice = parse_number(time, ':', &s.time);
    if (!choice || run >= MAX(crash->t->config->runs, 1)) {
        g_error("blkco-test: BLKCO_TEST_CUT is '%s', not TIME:CHOICE or RUN/TIME:CHOICE with a run "
                "below %u", text, MAX(crash->t->config->runs, 1));
    }
    if (run != crash->t->run) {
        return;
    }
    if (!sim_choice_parse(choice, &s.choice, &err)) {
        g_error("blkco-test: BLKCO_TEST_CUT: %s", err->message);
    }
    if (is_there(crash, &s)) {
        plan_state(crash, s.time, s.choice);
    } else if (!g_test_failed()) { /* which a skip would hide */
        g_test_skip("there is no such cut as BLKCO_TEST_CUT says: --seed is another than then, or the "
                    "program sends other requests");
    }
}

static void plan_states(Crash *crash)
{
    const char *one = g_getenv("BLKCO_TEST_CUT");

    if (one) {
        plan_one(crash, one);
        return;
    }
    for (uint64_t time = 0; time <= sim_power_now(crash->log); time++) {
        plan_time(crash, time);
    }
    g_array_sort(crash->plan, compare_times); /* verify_all() makes one cut for each */
}

/* --- one of them --- */

static void say_state(const Crash *crash, const State *s, const SimCut *cut)
{
    g_autofree char *choice = sim_choice_to_string(s->choice);
    g_autofree char *run = crash->t->run ? g_strdup_printf("%u/", crash->t->run) : g_strdup("");
    GString *text = g_string_new(NULL);

    g_string_printf(text, "blkco-test: in %s (seed 0x%" G_GINT64_MODIFIER "x)\n"
                    "blkco-test: after a power cut, BLKCO_TEST_CUT=%s%" G_GUINT64_FORMAT ":%s; "
                    "requests that were not durable:\n", crash->c->path, crash->t->seed, run,
                    s->time, choice);
    for (unsigned i = 0; i < sim_cut_n_pending(cut); i++) {
        g_autofree char *line = sim_cut_describe(cut, i);

        g_string_append_printf(text, "blkco-test:   %u: %s\n", i, line);
    }
    blkco_frame_say(text->str);
    g_string_free(text, TRUE);
}

/* For the first time? */
static bool is_new(Crash *crash, const SimState *state, uint64_t time)
{
    uint64_t key = sim_state_hash(state) + marks_before(time) * UINT64_C(0x9e3779b97f4a7c15);

    return g_hash_table_add(crash->seen, g_memdup2(&key, sizeof(key)));
}

static void verify_state(Crash *crash, const State *s, const SimCut *cut)
{
    BlkcoTest *t = crash->t;
    g_autoptr(SimState) state = sim_cut_state(cut, s->choice);

    if (!is_new(crash, state, s->time)) {
        return;
    }
    say_state(crash, s, cut);
    sim_power_load(t->power, state);
    t->disk = sim_power_disk(t->power, 0);
    sim_disk_set_instant(t->disk);
    t->cut_time = s->time;
    blkco_frame_open(t);
    blkco_frame_run(t, crash->c->verify);
    blkco_frame_close(t);
    crash->n_verified++;
}

static void verify_all(Crash *crash)
{
    SimCut *cut = NULL;
    uint64_t cut_time = 0;

    for (unsigned i = 0; i < crash->plan->len && !g_test_failed(); i++) {
        const State *s = &g_array_index(crash->plan, State, i);

        if (!cut || s->time != cut_time) {
            sim_cut_free(cut);
            cut = sim_cut_new(crash->log, s->time);
            cut_time = s->time;
        }
        verify_state(crash, s, cut);
    }
    sim_cut_free(cut);
    g_test_message("%u different states of %" G_GUINT64_FORMAT " verified", crash->n_verified,
                   crash->n_planned);
}

/* --- the test --- */

static void do_work(BlkcoTest *t, const BlkcoCase *c)
{
    blkco_frame_make_disk(t);
    if (c->prepare) {
        g_autoptr(SimState) state = NULL;

        blkco_frame_open(t);
        blkco_frame_run(t, c->prepare);
        blkco_frame_close(t);
        state = sim_power_state(t->power);
        sim_power_load(t->power, state);
        g_array_set_size(marks, 0);
    }
    blkco_frame_open(t);
    blkco_frame_add_faults(t);
    blkco_frame_run(t, c->work);
    blkco_frame_close(t);
}

static void crash_body(BlkcoTest *t, const BlkcoCase *c)
{
    Crash crash = { .t = t, .c = c };

    marks = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    crash.seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    crash.plan = g_array_new(FALSE, FALSE, sizeof(State));
    do_work(t, c);
    crash.log = t->power;
    t->power = sim_power_new(t->seed);
    plan_states(&crash);
    verify_all(&crash);
    sim_power_unref(crash.log);
    g_array_free(crash.plan, TRUE);
    g_hash_table_destroy(crash.seen);
    g_array_free(marks, TRUE);
    marks = NULL;
}

void blkco_test_add_crash(const char *path, const BlkcoTestConfig *config,
                          BlkcoTestFunc *prepare, BlkcoTestFunc *work, BlkcoTestFunc *verify,
                          gpointer data)
{
    blkco_frame_add(&(BlkcoCase){ .path = path, .config = config, .data = data,
                                  .body = crash_body, .prepare = prepare, .work = work,
                                  .verify = verify });
}
