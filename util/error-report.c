/* SPDX-License-Identifier: MIT */
/*
 * Messages on stderr. A line is put together first and written with one call, because
 * stderr is unbuffered: in pieces, the lines of two threads would mix.
 *
 * progname is set once, before there are threads, and read-only afterwards; prelude by the main
 * thread while no other reports.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"

static const char *progname;
static void (*prelude)(void);

void error_init(const char *argv0)
{
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;

    progname = slash ? slash + 1 : argv0;
}

const char *error_get_progname(void)
{
    return progname ? progname : g_get_prgname();
}

void error_set_prelude(void (*fn)(void))
{
    prelude = fn;
}

static void G_GNUC_PRINTF(2, 0) report(const char *kind, const char *fmt, va_list ap)
{
    int saved_errno = errno;
    const char *name = error_get_progname();
    GString *line = g_string_new(NULL);

    if (name) {
        g_string_append_printf(line, "%s: ", name);
    }
    g_string_append(line, kind);
    g_string_append_vprintf(line, fmt, ap);
    g_string_append_c(line, '\n');
    if (prelude) {
        prelude();
    }
    fputs(line->str, stderr);
    g_string_free(line, TRUE);
    errno = saved_errno;
}

void error_vreport(const char *fmt, va_list ap)
{
    report("", fmt, ap);
}

void warn_vreport(const char *fmt, va_list ap)
{
    report("warning: ", fmt, ap);
}

void info_vreport(const char *fmt, va_list ap)
{
    report("info: ", fmt, ap);
}

void error_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    warn_vreport(fmt, ap);
    va_end(ap);
}

void info_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    info_vreport(fmt, ap);
    va_end(ap);
}

int error_vprintf(const char *fmt, va_list ap)
{
    char *text = g_strdup_vprintf(fmt, ap);
    int ret = fputs(text, stderr) == EOF ? -1 : (int)strlen(text);

    g_free(text);
    return ret;
}

int error_printf(const char *fmt, ...)
{
    va_list ap;
    int ret;

    va_start(ap, fmt);
    ret = error_vprintf(fmt, ap);
    va_end(ap);
    return ret;
}

bool error_report_once_cond(bool *printed, const char *fmt, ...)
{
    va_list ap;

    if (qatomic_xchg(printed, true)) {
        return false;
    }
    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    return true;
}

bool warn_report_once_cond(bool *printed, const char *fmt, ...)
{
    va_list ap;

    if (qatomic_xchg(printed, true)) {
        return false;
    }
    va_start(ap, fmt);
    warn_vreport(fmt, ap);
    va_end(ap);
    return true;
}
