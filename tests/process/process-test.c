/* SPDX-License-Identifier: MIT */
/*
 * process-test kill|fault: runs tools that are killed at a system call, or at any time (kill), or see
 * one of their calls fail (fault), and looks at the images afterwards. The last line counts.
 *
 * Each run has a seed of its own, which counts up from --seed and is printed with a finding; it
 * chooses everything, but for the timing of threads.
 */
#include <glib/gstdio.h>

#include "process-test.h"
#include "qemu/main-loop.h"

static char **only;
static char *keep_dir, *fault_option;
static gint64 seed_option = -1;
#define NOT_GIVEN G_MININT
static gint count_option = NOT_GIVEN, seconds_option = NOT_GIVEN, at_option = NOT_GIVEN;
static gboolean every_option, verbose_option, list_option;

static const GOptionEntry entries[] = {
    { "scenario", 's', 0, G_OPTION_ARG_STRING_ARRAY, &only, "only this one; may be repeated",
      "NAME" },
    { "seed", 0, 0, G_OPTION_ARG_INT64, &seed_option, "of the first run (default: random)", "N" },
    { "count", 'n', 0, G_OPTION_ARG_INT, &count_option, "kills, or faults of a scenario at most",
      "N" },
    { "seconds", 't', 0, G_OPTION_ARG_INT, &seconds_option, "ends after this time", "N" },
    { "at", 0, 0, G_OPTION_ARG_INT, &at_option, "only the fault at this call", "N" },
    { "fault", 0, 0, G_OPTION_ARG_STRING, &fault_option, "only faults of this name", "NAME" },
    { "every", 0, 0, G_OPTION_ARG_NONE, &every_option, "every call fails once, of each kind", NULL },
    { "keep", 0, 0, G_OPTION_ARG_FILENAME, &keep_dir, "images of findings are kept below", "DIR" },
    { "verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose_option, "a line for each run", NULL },
    { "list", 0, 0, G_OPTION_ARG_NONE, &list_option, "names of the scenarios", NULL },
    { NULL },
};

/* --- what both have in common --- */

void session_prepare(Session *t, const Scenario *sc)
{
    place_clear(&t->place);
    *t->place.hook = (Hook){ 0 };
    t->place.kill_after = 0;
    sc->prepare(&t->place);
    place_keep(&t->place);
    t->scenario = sc;
}

void session_run(Session *t)
{
    g_auto(GStrv) parts = g_strsplit(t->scenario->command, "@", 2);
    g_autofree char *seed = g_strdup_printf("%u", t->seed);
    g_autofree char *command = g_strjoinv(seed, parts);

    place_reset(&t->place);
    place_run(&t->place, command);
}

static bool has_been_done_already(const Session *t)
{
    const char *already = t->scenario->already;

    return already && t->place.run.code == 1 && strstr(t->place.run.err, already);
}

void session_retry(Session *t, bool repair)
{
    const Scenario *sc = t->scenario;
    Place *p = &t->place;

    if (place_has_finding(p) || sc->reads_only) {
        return;
    }
    if (repair && sc->repair) {
        image_repair(p, sc->repair);
        sc->examine(p);
    }
    if (sc->fresh) {
        return;
    }
    *p->hook = (Hook){ 0 };
    p->kill_after = 0;
    place_run(p, sc->retry ? sc->retry : sc->command);
    if (p->run.code != sc->code && !has_been_done_already(t)) {
        place_find(p, "the command fails when it is tried again: exit code %d, signal %d: %s",
                   p->run.code, p->run.signal, p->run.err);
    }
    sc->finished(p);
}

/* Copies of the images, and what they should have been. */
static void keep_images(Session *t, const char *command)
{
    g_autofree char *name = g_strdup_printf("%s-%s-%u", t->mode, t->scenario->name, t->seed);
    g_autofree char *dir = g_build_filename(keep_dir, name, NULL);
    g_autofree char *text = g_build_filename(dir, "finding", NULL);
    g_autofree char *what = g_strdup_printf("%s\n%s\n", command, t->place.finding->str);
    g_autoptr(GDir) here = g_dir_open(".", 0, NULL);
    const char *file;

    g_mkdir_with_parents(dir, 0777);
    g_file_set_contents(text, what, -1, NULL);
    while ((file = g_dir_read_name(here))) {
        g_autofree char *copy = g_build_filename(dir, file, NULL);
        g_autofree char *data = NULL;
        gsize length;

        if (g_file_get_contents(file, &data, &length, NULL)) {
            g_file_set_contents(copy, data, length, NULL);
        }
    }
}

void session_count(Session *t, const char *how)
{
    Place *p = &t->place;

    t->runs++;
    if (verbose_option) {
        printf("%s %s %s\n", t->mode, t->scenario->name, how);
    }
    if (!place_has_finding(p)) {
        return;
    }
    t->findings++;
    printf("FINDING: %s, %s: %s\n  to run it again: process-test %s --scenario=%s %s\n",
           t->scenario->command, how, p->finding->str, t->mode, t->scenario->name, t->replay);
    fflush(stdout);
    if (keep_dir) {
        keep_images(t, how);
    }
}

bool session_is_over(const Session *t)
{
    return t->deadline && g_get_monotonic_time() >= t->deadline;
}

static bool is_chosen(const Scenario *sc)
{
    return !only || g_strv_contains((const char *const *)only, sc->name);
}

/* --- kills --- */

static void kill_once(Session *t, uint32_t total, int64_t usual)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(t->seed);
    Place *p = &t->place;
    bool by_time = g_rand_int_range(r, 0, 8) == 0;
    g_autofree char *how = NULL;

    *p->hook = (Hook){
        .kinds = HOOK_CHANGES,
        .action = g_rand_int_range(r, 0, 3) == 0 ? HOOK_TEAR : HOOK_KILL,
        .at = by_time ? 0 : g_rand_int_range(r, 1, total + 1),
    };
    p->kill_after = by_time ? g_rand_int_range(r, 1, usual + usual / 4 + 2) : 0;
    session_run(t);
    how = by_time ? g_strdup_printf("killed after %" PRId64 " us", p->kill_after)
                  : g_strdup_printf("killed %s call %u of about %u (%s)",
                                    p->hook->action == HOOK_TEAR ? "in" : "before", p->hook->at,
                                    total, p->hook->what);
    p->kill_after = 0;
    if (p->run.killed) {
        t->kills++;
        t->scenario->examine(p);
    } else if (p->run.code != t->scenario->code) {
        place_find(p, "exit code %d, signal %d%s: %s", p->run.code, p->run.signal,
                   p->run.timed_out ? ", it hangs" : "", p->run.err);
    } else {
        t->scenario->finished(p);
    }
    session_retry(t, g_rand_boolean(r));
    g_snprintf(t->replay, sizeof(t->replay), "--seed=%u --count=1", t->seed);
    session_count(t, how);
}

/* Calls that change something, and microseconds, of a run to which nothing happens. */
static void measure_run(Session *t, uint32_t *calls, int64_t *usual)
{
    int64_t start;

    *t->place.hook = (Hook){ .kinds = HOOK_CHANGES };
    start = g_get_monotonic_time();
    session_run(t);
    *usual = MIN(g_get_monotonic_time() - start, 900000);
    *calls = MAX(t->place.hook->count, 1);
    if (t->place.run.code != t->scenario->code) {
        g_error("'%s' does not even work undisturbed: exit code %d: %s", t->scenario->command,
                t->place.run.code, t->place.run.err);
    }
    t->scenario->finished(&t->place);
    if (place_has_finding(&t->place)) {
        g_error("'%s' undisturbed: %s", t->scenario->command, t->place.finding->str);
    }
}

/* Each scenario in turn, some kills of it each time, so that any limit meets all of them. */
static void kill_all(Session *t)
{
    int batch = count_option ? CLAMP(count_option / (int)n_scenarios, 1, 50) : 25;

    if (!count_option && !seconds_option) {
        count_option = 164;
        batch = 4;
    }
    for (int i = 0; !session_is_over(t); i++) {
        const Scenario *sc = &scenarios[i % n_scenarios];
        uint32_t calls;
        int64_t usual;

        if (sc->reads_only || !is_chosen(sc)) {
            continue;
        }
        session_prepare(t, sc);
        measure_run(t, &calls, &usual);
        for (int k = 0; k < batch && !session_is_over(t); k++, t->seed++) {
            if (count_option && t->runs >= count_option) {
                return;
            }
            kill_once(t, calls, usual);
        }
    }
}

/* --- main --- */

/* 0 would mean the default, so it is refused; afterwards that is what 0 is. */
static bool number_is_valid(const char *name, gint *value)
{
    if (*value == NOT_GIVEN) {
        *value = 0;
    } else if (*value < 1) {
        fprintf(stderr, "process-test: --%s is at least 1\n", name);
        return false;
    }
    return true;
}

static bool parse(int *argc, char ***argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("kill|fault");
    g_autoptr(GError) err = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &err)) {
        fprintf(stderr, "process-test: %s\n", err->message);
        return false;
    }
    for (char **name = only; name && *name; name++) {
        bool found = false;

        for (size_t i = 0; i < n_scenarios; i++) {
            found |= !strcmp(*name, scenarios[i].name);
        }
        if (!found) {
            fprintf(stderr, "process-test: there is no scenario '%s'; --list names them\n", *name);
            return false;
        }
    }
    return number_is_valid("count", &count_option) && number_is_valid("seconds", &seconds_option) &&
           number_is_valid("at", &at_option);
}

int main(int argc, char **argv)
{
    Session t = { 0 };
    int status;

    if (!parse(&argc, &argv)) {
        return 2;
    }
    for (size_t i = 0; list_option && i < n_scenarios; i++) {
        puts(scenarios[i].name);
    }
    if (list_option) {
        return 0;
    }
    if (argc != 2 || (strcmp(argv[1], "kill") && strcmp(argv[1], "fault")) ||
        !g_getenv("PROCESS_HOOK_LIBRARY")) {
        fprintf(stderr, "usage: process-test kill|fault [OPTION...] (tests/process/run does it)\n");
        return 2;
    }
    if (keep_dir) {
        keep_dir = g_canonicalize_filename(keep_dir, NULL);
    }
    qemu_init_main_loop(&error_abort);
    t.mode = argv[1];
    t.seed = seed_option >= 0 ? (uint32_t)seed_option : g_random_int() >> 1;
    t.deadline = seconds_option ? g_get_monotonic_time() + seconds_option * G_USEC_PER_SEC : 0;
    place_init(&t.place, g_getenv("PROCESS_HOOK_LIBRARY"));
    printf("seed %u\n", t.seed);
    if (!strcmp(t.mode, "kill")) {
        kill_all(&t);
        printf("kill: %d kills, %d findings\n", t.kills, t.findings);
    } else {
        int most = every_option ? 0 : count_option ? count_option : 8;

        for (size_t i = 0; i < n_scenarios && !session_is_over(&t); i++) {
            if (is_chosen(&scenarios[i])) {
                fault_scenario(&t, &scenarios[i], fault_option, at_option, most);
            }
        }
        printf("fault: %d faults, %d findings\n", t.runs, t.findings);
    }
    status = t.findings != 0 || t.runs == 0;
    place_destroy(&t.place);
    return status;
}
