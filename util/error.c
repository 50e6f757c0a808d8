/* SPDX-License-Identifier: MIT */
/*
 * Error objects: GErrors of an extended domain that carry, beside domain, code and
 * message, the advice for the user and the place in the source that set them.
 *
 * An error belongs to whoever holds the pointer; nothing here is shared between threads.
 * Errors of other domains (a GLib function's) pass through every function as well; they
 * lack a place, and advice for them goes into the message.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct BlkcoErrorPrivate {
    GString *hint;          /* NULL until there is one */
    const char *src, *func; /* literals of the caller */
    int line;
    ErrorClass err_class;
} BlkcoErrorPrivate;

static void blkco_error_private_init(BlkcoErrorPrivate *priv)
{
    /* GLib hands out zeroed memory. */
}

static void blkco_error_private_copy(const BlkcoErrorPrivate *from, BlkcoErrorPrivate *to)
{
    *to = *from;
    if (from->hint) {
        to->hint = g_string_new_len(from->hint->str, (gssize)from->hint->len);
    }
}

static void blkco_error_private_clear(BlkcoErrorPrivate *priv)
{
    if (priv->hint) {
        g_string_free(priv->hint, TRUE);
    }
}

G_DEFINE_EXTENDED_ERROR(BlkcoError, blkco_error)

Error *error_abort;
Error *error_fatal;
Error *error_warn;

static BlkcoErrorPrivate *error_private(const Error *err)
{
    return err->domain == BLKCO_ERROR ? blkco_error_get_private(err) : NULL;
}

/*
 * Does what the special addresses say: ends the program, or warns. Returns whether it did so,
 * err is gone then.
 */
static bool error_handle_special(Error **errp, Error *err)
{
    if (errp == &error_abort) {
        const BlkcoErrorPrivate *priv = error_private(err);

        if (priv && priv->src) {
            error_printf("An error that must not happen was set in %s() at %s:%d:\n",
                         priv->func, priv->src, priv->line);
        } else {
            error_printf("An error that must not happen was set:\n");
        }
        error_report("%s", err->message);
        abort();
    }
    if (errp == &error_fatal) {
        error_report_err(err);
        exit(1);
    }
    if (errp == &error_warn) {
        warn_report_err(err);
        return true;
    }
    return false;
}

static void G_GNUC_PRINTF(7, 0)
error_setv(Error **errp, const char *src, int line, const char *func, ErrorClass err_class,
           int os_errno, const char *fmt, va_list ap)
{
    int saved_errno = errno;
    BlkcoErrorPrivate *priv;
    Error *err;

    if (!errp) {
        return;
    }
    if (*errp) {
        error_report("%s() at %s:%d sets an error over this one: %s", func, src, line,
                     (*errp)->message);
        abort();
    }

    err = g_error_new_valist(BLKCO_ERROR, os_errno, fmt, ap);
    if (os_errno) {
        char *text = g_strconcat(err->message, ": ", g_strerror(os_errno), NULL);

        g_free(err->message);
        err->message = text;
    }
    priv = blkco_error_get_private(err);
    priv->src = src;
    priv->line = line;
    priv->func = func;
    priv->err_class = err_class;

    if (!error_handle_special(errp, err)) {
        *errp = err;
    }
    errno = saved_errno;
}

void error_setg_internal(Error **errp, const char *src, int line, const char *func,
                         const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_setv(errp, src, line, func, ERROR_CLASS_GENERIC_ERROR, 0, fmt, ap);
    va_end(ap);
}

void error_set_internal(Error **errp, const char *src, int line, const char *func,
                        ErrorClass err_class, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_setv(errp, src, line, func, err_class, 0, fmt, ap);
    va_end(ap);
}

void error_setg_errno_internal(Error **errp, const char *src, int line, const char *func,
                               int os_errno, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_setv(errp, src, line, func, ERROR_CLASS_GENERIC_ERROR, os_errno, fmt, ap);
    va_end(ap);
}

void error_propagate(Error **dst_errp, Error *local_err)
{
    if (!local_err) {
        return;
    }
    if (error_handle_special(dst_errp, local_err)) {
        return;
    }
    if (dst_errp && !*dst_errp) {
        *dst_errp = local_err;
    } else {
        error_free(local_err);
    }
}

void error_propagate_prepend(Error **dst_errp, Error *local_err, const char *fmt, ...)
{
    va_list ap;

    if (dst_errp && local_err) {
        va_start(ap, fmt);
        error_vprepend(&local_err, fmt, ap);
        va_end(ap);
    }
    error_propagate(dst_errp, local_err);
}

void error_vprepend(Error *const *errp, const char *fmt, va_list ap)
{
    char *prefix, *text;

    if (!errp || !*errp) {
        return;
    }
    prefix = g_strdup_vprintf(fmt, ap);
    text = g_strconcat(prefix, (*errp)->message, NULL);
    g_free(prefix);
    g_free((*errp)->message);
    (*errp)->message = text;
}

void error_prepend(Error *const *errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vprepend(errp, fmt, ap);
    va_end(ap);
}

void error_append_hint(Error *const *errp, const char *fmt, ...)
{
    int saved_errno = errno;
    BlkcoErrorPrivate *priv;
    char *text;
    va_list ap;

    if (!errp) {
        return;
    }
    if (!*errp) {
        error_report("error_append_hint: there is no error (is ERRP_GUARD missing?)");
        abort();
    }

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    priv = error_private(*errp);
    if (priv) {
        if (!priv->hint) {
            priv->hint = g_string_new(NULL);
        }
        g_string_append(priv->hint, text);
    } else {
        char *message = g_strconcat((*errp)->message, "\n", g_strchomp(text), NULL);

        g_free((*errp)->message);
        (*errp)->message = message;
    }
    g_free(text);
    errno = saved_errno;
}

const char *error_get_hint(const Error *err)
{
    const BlkcoErrorPrivate *priv = error_private(err);

    return priv && priv->hint ? priv->hint->str : NULL;
}

const char *error_get_pretty(const Error *err)
{
    return err->message;
}

ErrorClass error_get_class(const Error *err)
{
    const BlkcoErrorPrivate *priv = error_private(err);

    return priv ? priv->err_class : ERROR_CLASS_GENERIC_ERROR;
}

Error *error_copy(const Error *err)
{
    return g_error_copy(err);
}

void error_free(Error *err)
{
    if (err) {
        g_error_free(err);
    }
}

void error_free_or_abort(Error **errp)
{
    if (!errp || !*errp) {
        error_report("error_free_or_abort: an error was expected, there is none");
        abort();
    }
    error_free(*errp);
    *errp = NULL;
}

static void error_print_hint_and_free(Error *err)
{
    const char *hint = error_get_hint(err);

    if (hint) {
        error_printf("%s", hint);
        /* Some of QEMU's hints do not end their line, to the dismay of the prompt below. */
        if (*hint && !g_str_has_suffix(hint, "\n") && isatty(STDERR_FILENO)) {
            error_printf("\n");
        }
    }
    error_free(err);
}

void error_report_err(Error *err)
{
    error_report("%s", err->message);
    error_print_hint_and_free(err);
}

void warn_report_err(Error *err)
{
    warn_report("%s", err->message);
    error_print_hint_and_free(err);
}

bool warn_report_err_once_cond(bool *reported, Error *err)
{
    if (*reported) {
        error_free(err);
        return false;
    }
    *reported = true;
    warn_report_err(err);
    return true;
}

void error_reportf_err(Error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vprepend(&err, fmt, ap);
    va_end(ap);
    error_report_err(err);
}

void warn_reportf_err(Error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vprepend(&err, fmt, ap);
    va_end(ap);
    warn_report_err(err);
}
