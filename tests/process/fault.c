/* SPDX-License-Identifier: MIT */
/*
 * Calls that fail, one or all from one on: the command must not crash, hang or say that it
 * has succeeded when it has not; the images stay sound, and the command can be tried again.
 */
#include "process-test.h"

typedef struct Fault {
    const char *name;
    uint32_t kind;
    uint32_t action;
    int error;
    bool sticky;
    bool harmless; /* must make no difference */
} Fault;

static const Fault faults[] = {
    { "read EIO", HOOK_READ, HOOK_FAIL, EIO, false, false },
    { "reads EIO", HOOK_READ, HOOK_FAIL, EIO, true, false },
    { "read short", HOOK_READ, HOOK_SHORT, 0, false, true },
    { "read EINTR", HOOK_READ, HOOK_FAIL, EINTR, false, true },
    { "read EAGAIN", HOOK_READ, HOOK_FAIL, EAGAIN, false, false },
    { "write EIO", HOOK_WRITE, HOOK_FAIL, EIO, false, false },
    { "write ENOSPC", HOOK_WRITE, HOOK_FAIL, ENOSPC, false, false },
    { "writes ENOSPC", HOOK_WRITE, HOOK_FAIL, ENOSPC, true, false },
    { "write EAGAIN", HOOK_WRITE, HOOK_FAIL, EAGAIN, false, false },
    { "writes EAGAIN", HOOK_WRITE, HOOK_FAIL, EAGAIN, true, false },
    { "write short", HOOK_WRITE, HOOK_SHORT, 0, false, true },
    { "write EINTR", HOOK_WRITE, HOOK_FAIL, EINTR, false, true },
    { "flush EIO", HOOK_SYNC, HOOK_FAIL, EIO, false, false },
    { "size ENOSPC", HOOK_SIZE, HOOK_FAIL, ENOSPC, false, false },
    { "sizes EIO", HOOK_SIZE, HOOK_FAIL, EIO, true, false },
    { "size EOPNOTSUPP", HOOK_SIZE, HOOK_FAIL, EOPNOTSUPP, false, false },
    { "open EMFILE", HOOK_OPEN, HOOK_FAIL, EMFILE, false, false },
    { "open EACCES", HOOK_OPEN, HOOK_FAIL, EACCES, false, false },
    { "copy EIO", HOOK_COPY, HOOK_FAIL, EIO, false, false },
    { "copy EXDEV", HOOK_COPY, HOOK_FAIL, EXDEV, false, true },
    { "copy short", HOOK_COPY, HOOK_SHORT, 0, false, true },
    { "io_setup EAGAIN", HOOK_SETUP, HOOK_FAIL, EAGAIN, false, false },
    { "io_submit EAGAIN", HOOK_SUBMIT, HOOK_FAIL, EAGAIN, false, true },
    { "io_submit EIO", HOOK_SUBMIT, HOOK_FAIL, EIO, false, false },
    { "io_submit short", HOOK_SUBMIT, HOOK_SHORT, 0, false, true },
    { "io_getevents EINTR", HOOK_EVENTS, HOOK_FAIL, EINTR, false, true },
    { "lseek, fstat EIO", HOOK_ASK, HOOK_FAIL, EIO, false, false },
    { "lseeks, fstats EIO", HOOK_ASK, HOOK_FAIL, EIO, true, false },
    { "unlink EACCES", HOOK_REMOVE, HOOK_FAIL, EACCES, false, false },
    { "no memory", HOOK_ALLOC, HOOK_FAIL, ENOMEM, false, false },
    { "no more memory", HOOK_ALLOC, HOOK_FAIL, ENOMEM, true, false },
};


static bool has_sanitizer_report(const char *err)
{
    return strstr(err, "Sanitizer") || strstr(err, "runtime error:");
}

/* Success: with the right result, and not of something that has failed for good. */
static void judge_success(Session *t, const Fault *f, const char *usual)
{
    const Scenario *sc = t->scenario;
    Place *p = &t->place;

    if (f->kind == HOOK_SYNC && p->hook->count >= p->hook->at) {
        place_find(p, "a flush fails and the command succeeds");
    }
    if (sc->reads_only && !sc->may_be_less && strcmp(usual, p->run.out)) {
        place_find(p, "it prints something else and succeeds: %s", p->run.out);
    }
    sc->finished(p);
}

static void judge_failure(Session *t, const Fault *f)
{
    Place *p = &t->place;

    if (f->harmless) {
        place_find(p, "exit code %d for what can be tried again: %s", p->run.code, p->run.err);
    }
    if (!*p->run.err && !*p->run.out) {
        place_find(p, "exit code %d without a message", p->run.code);
    }
    t->scenario->examine(p);
}

static void judge(Session *t, const Fault *f, const char *usual)
{
    Place *p = &t->place;

    if (p->run.timed_out) {
        place_find(p, "it hangs");
    } else if (p->run.signal || p->run.killed) {
        place_find(p, "dies by signal %d: %s", p->run.signal, p->run.err);
    } else if (has_sanitizer_report(p->run.err)) {
        place_find(p, "%s", p->run.err);
    } else if (p->run.code == t->scenario->code) {
        judge_success(t, f, usual);
    } else {
        judge_failure(t, f);
    }
}

static void fault_once(Session *t, const Fault *f, uint32_t at, const char *usual)
{
    Place *p = &t->place;
    g_autofree char *how = NULL;

    *p->hook = (Hook){
        .kinds = f->kind,
        .action = f->action,
        .at = at,
        .error = f->error,
        .sticky = f->sticky,
    };
    session_run(t);
    how = g_strdup_printf("%s at call %u (%s)", f->name, at, p->hook->what);
    judge(t, f, usual);
    *p->hook = (Hook){ 0 };
    session_retry(t, at % 2);
    g_snprintf(t->replay, sizeof(t->replay), "--every --at=%u --seed=%u # %s", at, t->seed, f->name);
    session_count(t, how);
}

/* How many calls of this kind there are when none of them fails. */
static uint32_t count_calls(Session *t, uint32_t kind, char **out)
{
    *t->place.hook = (Hook){ .kinds = kind };
    session_run(t);
    g_free(*out);
    *out = g_strdup(t->place.run.out);
    return t->place.hook->count;
}

void fault_scenario(Session *t, const Scenario *sc, const char *name, int at, int most)
{
    uint32_t counts[G_N_ELEMENTS(faults)], total = 0, number = 0;
    g_autofree char *usual = NULL;

    session_prepare(t, sc);
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        counts[i] = i && faults[i].kind == faults[i - 1].kind
            ? counts[i - 1]
            : count_calls(t, faults[i].kind, &usual);
        total += counts[i];
    }
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        if (name && strcmp(name, faults[i].name)) {
            continue;
        }
        for (uint32_t n = 1; n <= counts[i] && !session_is_over(t); n++, number++) {
            /* Of all @total faults, @most, and others each time. */
            bool chosen = !most || ((uint64_t)(number + t->seed) * most) % total < (unsigned)most;

            if (at ? n == (unsigned)at : chosen) {
                fault_once(t, &faults[i], n, usual);
            }
        }
    }
}
