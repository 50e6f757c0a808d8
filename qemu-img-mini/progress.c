/* SPDX-License-Identifier: MIT */
/* How far a long command is: see progress.h. */
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <glib.h>

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"

#include "cli.h"

/* Microseconds, as g_get_monotonic_time(). */
#define TERMINAL_INTERVAL (G_USEC_PER_SEC / 10)
#define JSON_INTERVAL     (G_USEC_PER_SEC / 2)
/* What has to be done between two figures elsewhere; qemu-img's. */
#define STEP_PERCENT 1.0
/* No rate is worth telling before that. */
#define RATE_MIN_TIME (G_USEC_PER_SEC / 4)

static struct {
    bool shown;
    bool terminal;
    bool line_open;      /* the cursor stands in a line that is redrawn */
    int64_t start;
    int64_t last_time;   /* of the last output */
    double last_percent;
    uint64_t done, total;
    int last_width;
} progress;

/* Where lines of JSON go; -1: nowhere. last_time 0: nothing written yet. */
static struct {
    int fd;
    int64_t last_time;
} json = { .fd = -1 };

static bool wanted; /* -p */
static volatile sig_atomic_t asked;

static void on_sigusr1(int sig)
{
    asked = 1;
}

/* The argument of --progress. */
static bool parse_json_fd(const char *arg)
{
    const char *digits = arg + strlen("json:");
    char *end;

    if (!g_str_has_prefix(arg, "json:") || !g_ascii_isdigit(*digits)) {
        error_report("Invalid progress option '%s': use json:FD with the number of an open file "
                     "descriptor", arg);
        return false;
    }
    errno = 0;
    long fd = strtol(digits, &end, 10);
    if (errno || *end || fd > INT_MAX || fcntl(fd, F_GETFD) < 0) {
        error_report("--progress: '%s' is no open file descriptor", digits);
        return false;
    }
    json.fd = fd;
    return true;
}

bool progress_option(int c)
{
    if (c == CLI_OPT_PROGRESS) {
        return parse_json_fd(optarg);
    }
    wanted |= c == 'p';
    return true;
}

void progress_begin(bool quiet)
{
    struct sigaction action = { .sa_handler = on_sigusr1, .sa_flags = SA_RESTART };

    memset(&progress, 0, sizeof(progress));
    progress.shown = wanted && !quiet;
    progress.terminal = progress.shown && isatty(STDOUT_FILENO);
    progress.start = g_get_monotonic_time();
    error_set_prelude(progress_break_line);
    sigaction(SIGUSR1, &action, NULL);
    progress_update(0, 0);
}

bool progress_is_shown(void)
{
    return progress.shown || json.fd >= 0;
}

bool progress_is_asked(void)
{
    return asked;
}

static double percent_done(void)
{
    return progress.total ? 100.0 * progress.done / progress.total : 0;
}

/* "  1.2 GiB/s  0:03 left", or "" while there is nothing to tell. To be freed. */
static char *rate_text(int64_t now)
{
    int64_t elapsed = now - progress.start;

    if (elapsed < RATE_MIN_TIME || !progress.done) {
        return g_strdup("");
    }
    double rate = progress.done * (double)G_USEC_PER_SEC / elapsed;
    g_autofree char *size = size_to_str(rate);
    if (progress.done >= progress.total) {
        return g_strdup_printf("  %s/s", size);
    }
    uint64_t left = (progress.total - progress.done) / rate + 0.5;
    if (left >= 3600) {
        return g_strdup_printf("  %s/s  %" PRIu64 ":%02d:%02d left", size, left / 3600,
                               (int)(left / 60 % 60), (int)(left % 60));
    }
    return g_strdup_printf("  %s/s  %d:%02d left", size, (int)(left / 60), (int)(left % 60));
}

/* stdout may be a pipe that nobody reads any more: then the work goes on in silence. */
static void show(int64_t now)
{
    g_autofree char *rate = rate_text(now);
    g_autofree char *line = g_strdup_printf("    (%3.2f/100%%)%s", percent_done(), rate);
    int width = strlen(line);

    if (progress.terminal) {
        printf("%s%*s\r", line, MAX(progress.last_width - width, 0), "");
        progress.line_open = true;
        progress.last_width = width;
    } else {
        printf("    (%3.2f/100%%)\r", percent_done());
    }
    if (fflush(stdout)) {
        progress.shown = false;
        progress.line_open = false;
        clearerr(stdout);
    }
    progress.last_time = now;
    progress.last_percent = percent_done();
}

/* Nobody may be there to read it any more: then the work goes on in silence. */
static void write_json(int64_t now, const char *status)
{
    int64_t elapsed = now - progress.start;
    double rate = elapsed ? progress.done * (double)G_USEC_PER_SEC / elapsed : 0;
    g_autoptr(GString) line = g_string_new(NULL);

    g_string_append_printf(line, "{\"status\": \"%s\", \"percent\": %.2f, \"done\": %" PRIu64
                           ", \"total\": %" PRIu64, status, percent_done(), progress.done,
                           progress.total);
    if (elapsed >= RATE_MIN_TIME && rate > 0) {
        g_string_append_printf(line, ", \"rate\": %.0f, \"seconds-left\": %.0f", rate,
                               (progress.total - progress.done) / rate);
    }
    g_string_append(line, "}\n");
    for (size_t sent = 0; sent < line->len;) {
        ssize_t n = write(json.fd, line->str + sent, line->len - sent);

        if (n < 0 && errno != EINTR) {
            json.fd = -1;
            return;
        }
        sent += MAX(n, 0);
    }
    json.last_time = now;
}

static bool is_due(int64_t now)
{
    if (!progress.last_time) {
        return true;
    }
    if (progress.terminal) {
        return now - progress.last_time >= TERMINAL_INTERVAL;
    }
    return percent_done() > progress.last_percent + STEP_PERCENT ||
           (progress.last_percent < 100 && percent_done() >= 100);
}

void progress_update(uint64_t done, uint64_t total)
{
    /* An operation of several parts, each counted from its beginning: it does not go back. */
    if (total && (double)MIN(done, total) / total >= percent_done() / 100) {
        progress.done = MIN(done, total);
        progress.total = total;
    }
    if (progress_is_shown()) {
        int64_t now = g_get_monotonic_time();
        if (progress.shown && is_due(now)) {
            show(now);
        }
        if (json.fd >= 0 && now - json.last_time >= JSON_INTERVAL) {
            write_json(now, "running");
        }
    }
    if (asked) {
        asked = 0;
        if (!progress.terminal) {
            g_autofree char *rate = rate_text(g_get_monotonic_time());
            fprintf(stderr, "    (%3.2f/100%%)%s\n", percent_done(), rate);
        }
    }
}

void progress_callback(void *opaque, uint64_t done, uint64_t total)
{
    progress_update(done, total);
}

void progress_break_line(void)
{
    if (progress.line_open) {
        putchar('\n');
        fflush(stdout);
        progress.line_open = false;
    }
}

/* @again: 100 % also when it has been shown already, as qemu-img does for most commands. */
static void finish(bool completed, bool again)
{
    int64_t now = g_get_monotonic_time();

    if (completed) {
        progress.total = MAX(progress.total, 1u);
        progress.done = progress.total;
    }
    if (completed && progress.shown && (again || progress.last_percent < 100)) {
        show(now);
    }
    if (json.fd >= 0) {
        write_json(now, completed ? "completed" : "failed");
    }
    progress_break_line();
    error_set_prelude(NULL);
    signal(SIGUSR1, SIG_IGN);
}

void progress_done(bool completed)
{
    finish(completed, false);
}

void progress_close(void)
{
    if (progress.shown && !progress.terminal) {
        putchar('\n');
    }
    progress.shown = false;
}

void progress_give_up(bool quiet)
{
    if (progress.start) {
        return;
    }
    progress.shown = wanted && !quiet;
    progress.terminal = isatty(STDOUT_FILENO);
    progress_close();
}

void progress_end(bool completed)
{
    finish(completed, true);
    progress_close();
}
