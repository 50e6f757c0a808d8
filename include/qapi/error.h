/* SPDX-License-Identifier: MIT */
/*
 * Errors that a person reads: a GError under QEMU's name and with QEMU's habits.
 *
 * A function that can fail takes `Error **errp` as its last argument. The caller passes
 *   NULL           to ignore the error,
 *   &error_abort   when failure is a bug: says where it was set and aborts,
 *   &error_fatal   when failure ends the program: prints it and exits with 1,
 *   &error_warn    to go on after printing it as a warning,
 *   &local_err     to look at it (a pointer set to NULL before).
 * As Error is GError, a GLib caller passes its own `GError **`.
 *
 * An error set here has the domain BLKCO_ERROR; its code is the errno value behind it
 * (positive), or 0 when there is none.
 */
#ifndef QAPI_ERROR_H
#define QAPI_ERROR_H

#include <glib.h>
#include <stdarg.h>
#include <stdbool.h>

typedef GError Error;

/* Kinds that programs tell apart; nearly all errors are GENERIC_ERROR. Values as QEMU's. */
typedef enum ErrorClass {
    ERROR_CLASS_GENERIC_ERROR,
    ERROR_CLASS_COMMAND_NOT_FOUND,
    ERROR_CLASS_DEVICE_NOT_ACTIVE,
    ERROR_CLASS_DEVICE_NOT_FOUND,
    ERROR_CLASS_KVM_MISSING_CAP,
} ErrorClass;

G_BEGIN_DECLS
#pragma GCC visibility push(default)

#define BLKCO_ERROR (blkco_error_quark())
GQuark blkco_error_quark(void);

/* Only their addresses are of use; see above. */
extern Error *error_abort;
extern Error *error_fatal;
extern Error *error_warn;

/*
 * Set *errp to a new error unless errp is NULL. *errp must not hold an error yet.
 * The message is one line without a full stop or newline. error_setg_errno appends
 * ": " and the text of os_errno, a positive errno value. errno stays as it was.
 */
#define error_setg(errp, ...) \
    error_setg_internal((errp), __FILE__, __LINE__, __func__, __VA_ARGS__)
#define error_setg_errno(errp, os_errno, ...)                                            \
    error_setg_errno_internal((errp), __FILE__, __LINE__, __func__, (os_errno),          \
                              __VA_ARGS__)
#define error_set(errp, err_class, ...)                                                  \
    error_set_internal((errp), __FILE__, __LINE__, __func__, (err_class), __VA_ARGS__)
#define error_setg_file_open(errp, os_errno, filename)                                   \
    error_setg_errno((errp), (os_errno), "Could not open '%s'", (filename))

void error_setg_internal(Error **errp, const char *src, int line, const char *func,
                         const char *fmt, ...) G_GNUC_PRINTF(5, 6);
void error_set_internal(Error **errp, const char *src, int line, const char *func,
                        ErrorClass err_class, const char *fmt, ...) G_GNUC_PRINTF(6, 7);
void error_setg_errno_internal(Error **errp, const char *src, int line, const char *func,
                               int os_errno, const char *fmt, ...) G_GNUC_PRINTF(6, 7);

/*
 * Hand local_err (which may be NULL) up: moved to *dst_errp, freed when dst_errp is NULL
 * or already holds an error; or what the special addresses say.
 */
void error_propagate(Error **dst_errp, Error *local_err);
/* The same with a text before the message. */
void error_propagate_prepend(Error **dst_errp, Error *local_err, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* Put a text before the message of *errp. Nothing happens when there is no error. */
void error_prepend(Error *const *errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void error_vprepend(Error *const *errp, const char *fmt, va_list ap) G_GNUC_PRINTF(2, 0);

/*
 * Add to the advice that error_report_err prints behind the message; whole lines, each
 * ended by a newline. It is not part of the message. Needs ERRP_GUARD() in a function
 * that got errp from its caller.
 */
void error_append_hint(Error *const *errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The advice so far, or NULL; belongs to the error. */
const char *error_get_hint(const Error *err);

/* The message. Belongs to the error. */
const char *error_get_pretty(const Error *err);

/* What error_set said; of other errors GENERIC_ERROR. */
ErrorClass error_get_class(const Error *err);

/* A second error that says the same; the caller frees it. */
Error *error_copy(const Error *err);

/* NULL is fine. */
void error_free(Error *err);
/* Aborts unless *errp holds an error; frees it and sets *errp to NULL. */
void error_free_or_abort(Error **errp);

/* Print to stderr in the manner of error_report or warn_report, and free the error. */
void error_report_err(Error *err);
void warn_report_err(Error *err);
/* The same with a text before the message. */
void error_reportf_err(Error *err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void warn_reportf_err(Error *err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* *reported remembers that the warning was printed once; later ones are only freed. */
bool warn_report_err_once_cond(bool *reported, Error *err);

#define warn_report_err_once(err)                                                        \
    (__extension__({                                                                     \
        static bool reported_once_;                                                      \
        warn_report_err_once_cond(&reported_once_, (err));                               \
    }))

#pragma GCC visibility pop

/* Behind ERRP_GUARD: where errors collect until the function returns. */
typedef struct ErrorPropagator {
    Error *local_err;
    Error **errp;
} ErrorPropagator;

static inline void error_propagator_cleanup(ErrorPropagator *prop)
{
    if (prop->local_err) {
        error_propagate(prop->errp, prop->local_err);
    }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ErrorPropagator, error_propagator_cleanup)

/*
 * First line of a function that wants to look at *errp, prepend to it or add a hint:
 * behind it errp is never NULL, &error_fatal or &error_warn; *errp tells whether a callee
 * failed.
 */
#define ERRP_GUARD()                                                                     \
    g_auto(ErrorPropagator) errp_guard_ = { NULL, errp };                                \
    do {                                                                                 \
        if (errp == NULL || errp == &error_fatal || errp == &error_warn) {                  \
            errp = &errp_guard_.local_err;                                               \
        }                                                                                \
    } while (0)

G_END_DECLS

#endif
