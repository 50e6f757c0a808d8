/* SPDX-License-Identifier: MIT */
/*
 * Messages for the person at the terminal: "PROGRAM: message" on stderr, each written
 * at once so that threads do not mix their lines. Any thread.
 *
 * The library itself reports only what it cannot return (it dies of a misuse).
 */
#ifndef QEMU_ERROR_REPORT_H
#define QEMU_ERROR_REPORT_H

#include <glib.h>
#include <stdarg.h>
#include <stdbool.h>

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Take the program's name from argv[0] (its last part); without it, GLib's is used. */
void error_init(const char *argv0);

/* The name that messages begin with, or NULL: they begin without one then. */
const char *error_get_progname(void);

/*
 * @prelude is called before each message, in the thread that reports: for a program that has left
 * the cursor in the middle of a line. NULL: nothing is. Set it while no other thread reports.
 */
void error_set_prelude(void (*prelude)(void));

/* The message is one line, without a full stop or newline. errno stays as it was. */
void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void info_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void error_vreport(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void warn_vreport(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
void info_vreport(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);

/* Just the text on stderr, nothing added; what was written or -1, as printf. */
int error_printf(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
int error_vprintf(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);

/* *printed remembers that the message was given; true when this call gave it. */
bool error_report_once_cond(bool *printed, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool warn_report_once_cond(bool *printed, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#pragma GCC visibility pop

/* Once for each place in the source. */
#define error_report_once(...)                                                           \
    (__extension__({                                                                     \
        static bool printed_once_;                                                       \
        error_report_once_cond(&printed_once_, __VA_ARGS__);                             \
    }))
#define warn_report_once(...)                                                            \
    (__extension__({                                                                     \
        static bool printed_once_;                                                       \
        warn_report_once_cond(&printed_once_, __VA_ARGS__);                              \
    }))

G_END_DECLS

#endif
