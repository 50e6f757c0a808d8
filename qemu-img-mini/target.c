/* SPDX-License-Identifier: MIT */
/*
 * Care for the target: see target.h.
 *
 * A signal is handled on the spot, in whatever thread it hits, with async-signal-safe
 * calls only: requests that are stuck in a broken disk must not keep Ctrl-C from working.
 * All texts are made beforehand and do not change while the handlers are installed.
 */
#include "target.h"

#include "qemu/osdep.h"
#include "qemu/error-report.h"

static const int guarded_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static struct {
    char *path;
    char *removed_text;
    char *incomplete_text;
    bool ours; /* we made it */
    struct sigaction old[ARRAY_SIZE(guarded_signals)];
} guard;

/* The result of write() can change nothing here. */
static void say(const char *text)
{
    if (text && write(STDERR_FILENO, text, strlen(text)) < 0) {
        return;
    }
}

/* The action has been reset and the signal is not blocked: raising it ends the program. */
static void on_signal(int sig)
{
    if (guard.ours && !unlink(guard.path)) {
        say(guard.removed_text);
    } else if (!guard.ours) {
        say(guard.incomplete_text);
    }
    raise(sig);
}

void target_guard_begin(const char *path)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND | SA_NODEFER };
    struct stat st;

    if (path) {
        const char *prog = error_get_progname() ?: "qemu-img-mini";
        /* The cursor may stand in a line of the progress, behind the "^C". */
        const char *start = isatty(STDERR_FILENO) ? "\n" : "";

        /* Of a dangling symbolic link only the file behind it would be ours. */
        guard.ours = lstat(path, &st) < 0 && errno == ENOENT;
        guard.path = g_strdup(path);
        guard.removed_text = g_strdup_printf(
            "%s%s: Interrupted: the incomplete target '%s' has been removed\n", start, prog, path);
        guard.incomplete_text =
            g_strdup_printf("%s%s: Interrupted: the target '%s' is incomplete\n", start, prog, path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(guarded_signals); i++) {
        sigaction(guarded_signals[i], NULL, &guard.old[i]);
        if (path && guard.old[i].sa_handler != SIG_IGN) {
            sigaction(guarded_signals[i], &action, NULL);
        }
    }
}

void target_guard_end(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(guarded_signals); i++) {
        sigaction(guarded_signals[i], &guard.old[i], NULL);
    }
    g_clear_pointer(&guard.path, g_free);
    g_clear_pointer(&guard.removed_text, g_free);
    g_clear_pointer(&guard.incomplete_text, g_free);
    guard.ours = false;
}
