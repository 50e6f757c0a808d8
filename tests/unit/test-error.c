/* SPDX-License-Identifier: MIT */
/* Error objects with QEMU's habits that are GErrors. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

static bool fail(Error **errp)
{
    error_setg_errno(errp, ENOSPC, "Could not write block %d", 7);
    return false;
}

static bool fail_with_hint(Error **errp)
{
    ERRP_GUARD();

    if (!fail(errp)) {
        error_prepend(errp, "Part %s: ", "two");
        error_append_hint(errp, "Try a larger disk.\n");
        error_append_hint(errp, "Or a smaller image.\n");
        return false;
    }
    return true;
}

static bool looks_at_errp(Error **errp)
{
    ERRP_GUARD();

    fail(errp);
    return *errp != NULL;
}

static void an_error_is_a_gerror(void)
{
    GError *err = NULL;

    errno = EXDEV;
    g_assert_false(fail(&err));
    g_assert_cmpint(errno, ==, EXDEV);
    g_assert_error(err, BLKCO_ERROR, ENOSPC);
    g_assert_cmpstr(err->message, ==, "Could not write block 7: No space left on device");
    g_assert_cmpstr(error_get_pretty(err), ==, err->message);
    g_clear_error(&err);

    error_setg(&err, "Just so");
    g_assert_error(err, BLKCO_ERROR, 0);
    error_free_or_abort(&err);
    g_assert_null(err);

    error_setg_file_open(&err, ENOENT, "x.img");
    g_assert_cmpstr(err->message, ==, "Could not open 'x.img': No such file or directory");
    error_free(err);
    error_free(NULL);
    fail(NULL);
}

static void errors_collect_context_on_the_way_up(void)
{
    Error *err = NULL, *copy, *other = NULL;

    g_assert_false(fail_with_hint(&err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "Part two: Could not write block 7: No space left on device");
    g_assert_cmpstr(error_get_hint(err), ==, "Try a larger disk.\nOr a smaller image.\n");
    copy = error_copy(err);
    error_free(err);
    g_assert_cmpstr(error_get_hint(copy), ==, "Try a larger disk.\nOr a smaller image.\n");

    error_propagate_prepend(&other, copy, "Outer: ");
    g_assert_cmpstr(error_get_pretty(other), ==,
                    "Outer: Part two: Could not write block 7: No space left on device");
    /* The first error wins. */
    err = NULL;
    fail(&err);
    error_propagate(&other, err);
    g_assert_true(g_str_has_prefix(error_get_pretty(other), "Outer: "));
    error_propagate(&other, NULL);
    error_propagate_prepend(&other, NULL, "Farther: ");
    g_assert_true(g_str_has_prefix(error_get_pretty(other), "Outer: "));
    error_propagate_prepend(NULL, other, "Nowhere: ");

    g_assert_false(fail_with_hint(NULL));
    g_assert_true(looks_at_errp(NULL));
}

static void where_there_is_no_error_nothing_is_added(void)
{
    Error *err = NULL, *copy;

    error_prepend(NULL, "Reading: ");
    error_prepend(&err, "Reading: ");
    g_assert_null(err);
    error_append_hint(NULL, "Try again.\n");

    fail(&err);
    copy = error_copy(err);
    g_assert_null(error_get_hint(copy));
    g_assert_cmpstr(error_get_pretty(copy), ==, error_get_pretty(err));
    error_free(copy);
    error_free(err);
}

static void the_class_of_an_error_is_kept(void)
{
    Error *err = NULL, *copy;

    error_set(&err, ERROR_CLASS_DEVICE_NOT_FOUND, "No such device");
    copy = error_copy(err);
    g_assert_cmpint(error_get_class(copy), ==, ERROR_CLASS_DEVICE_NOT_FOUND);
    error_free(copy);
    error_free(err);

    /* Those of others have none of their own. */
    err = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOENT, "No such file");
    g_assert_cmpint(error_get_class(err), ==, ERROR_CLASS_GENERIC_ERROR);
    error_free(err);
}

static void errors_of_glib_pass_through(void)
{
    Error *err = NULL;
    const char *none = NULL;

    g_assert_false(g_file_get_contents("/nonexistent/file", (char **)&none, NULL, &err));
    error_prepend(&err, "Reading: ");
    g_assert_true(g_str_has_prefix(error_get_pretty(err), "Reading: "));
    g_assert_null(error_get_hint(err));
    error_append_hint(&err, "Create it.\n");
    g_assert_true(g_str_has_suffix(error_get_pretty(err), "\nCreate it."));
    error_free(err);
}

static void error_abort_says_where(void)
{
    if (g_test_subprocess()) {
        fail(&error_abort);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*fail() at *test-error.c:*Could not write block 7: No space*");
}

static void error_abort_names_the_origin_of_what_is_propagated(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        fail(&err);
        error_propagate(&error_abort, err);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*fail() at *test-error.c:*");
}

static void error_abort_knows_no_place_of_a_gerror(void)
{
    if (g_test_subprocess()) {
        error_init("prog");
        error_propagate(&error_abort, g_error_new_literal(G_FILE_ERROR, 0, "No such file"));
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("An error that must not happen was set:\nprog: No such file\n*");
}

static void error_abort_knows_no_place_of_an_error_made_by_hand(void)
{
    if (g_test_subprocess()) {
        error_init("prog");
        error_propagate(&error_abort, g_error_new_literal(BLKCO_ERROR, EIO, "By hand"));
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("An error that must not happen was set:\nprog: By hand\n*");
}

static void expecting_an_error_that_is_not_there_dies(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        error_free_or_abort(&err);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*an error was expected, there is none*");
}

static void a_hint_without_an_error_dies(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        error_append_hint(&err, "Try again.\n");
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*ERRP_GUARD missing*");
}

static void a_message_that_cannot_be_printed_is_an_error(void)
{
    if (g_test_subprocess()) {
        int errors;

        g_assert_cmpint(error_printf("%s", "four"), ==, 4);
        g_assert_nonnull(freopen("/dev/full", "w", stderr));
        setvbuf(stderr, NULL, _IONBF, 0);
        errors = error_printf("lost");
        exit(errors == -1 ? 0 : 1);
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("four");
}

static void a_program_without_a_name_reports_too(void)
{
    if (g_test_subprocess()) {
        error_init(NULL);
        g_set_prgname(NULL);
        if (!error_get_progname()) {
            error_report("no name");
        } else {
            /* GLib gives a name by itself, from 2.82 on. */
            error_printf("no name\n");
        }
        error_init("dir/tool");
        error_report("a name");
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("no name\ntool: a name\n");
}

static void error_fatal_prints_and_exits(void)
{
    if (g_test_subprocess()) {
        error_init("/usr/bin/prog");
        fail_with_hint(&error_fatal);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("prog: Part two: Could not write block 7: No space left on device\n"
                              "Try a larger disk.\nOr a smaller image.\n");
}

static void setting_an_error_twice_dies(void)
{
    if (g_test_subprocess()) {
        Error *err = NULL;

        fail(&err);
        fail(&err);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*sets an error over this one: Could not write*");
}

static void messages_begin_with_the_program(void)
{
    if (g_test_subprocess()) {
        bool once = false;
        int i;
        bool warned = false;
        Error *err = NULL;

        error_init("tool");
        g_assert_cmpstr(error_get_progname(), ==, "tool");
        error_report("one %d", 1);
        warn_report("two");
        info_report("three");
        for (i = 0; i < 3; i++) {
            error_report_once("four");
            warn_report_once_cond(&once, "five");
        }
        fail(&err);
        warn_reportf_err(err, "six: ");
        error_printf("seven\n");
        for (i = 0; i < 2; i++) {
            err = NULL;
            error_setg(&err, "eight");
            error_append_hint(&err, "%s", i ? "not seen\n" : "");
            g_assert_cmpint(warn_report_err_once_cond(&warned, err), ==, i == 0);
        }
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("tool: one 1\n"
                              "tool: warning: two\n"
                              "tool: info: three\n"
                              "tool: four\n"
                              "tool: warning: five\n"
                              "tool: warning: six: Could not write block 7: "
                              "No space left on device\n"
                              "seven\n"
                              "tool: warning: eight\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/an error is a GError", an_error_is_a_gerror);
    g_test_add_func("/error/errors collect context on the way up",
                    errors_collect_context_on_the_way_up);
    g_test_add_func("/error/errors of GLib pass through", errors_of_glib_pass_through);
    g_test_add_func("/error/where there is no error nothing is added",
                    where_there_is_no_error_nothing_is_added);
    g_test_add_func("/error/the class of an error is kept", the_class_of_an_error_is_kept);
    g_test_add_func("/error/error_abort knows no place of a GError",
                    error_abort_knows_no_place_of_a_gerror);
    g_test_add_func("/error/error_abort knows no place of an error made by hand",
                    error_abort_knows_no_place_of_an_error_made_by_hand);
    g_test_add_func("/error/expecting an error that is not there dies",
                    expecting_an_error_that_is_not_there_dies);
    g_test_add_func("/error/a hint without an error dies", a_hint_without_an_error_dies);
    g_test_add_func("/error/a message that cannot be printed is an error",
                    a_message_that_cannot_be_printed_is_an_error);
    g_test_add_func("/error/a program without a name reports too",
                    a_program_without_a_name_reports_too);
    g_test_add_func("/error/error_abort says where", error_abort_says_where);
    g_test_add_func("/error/error_abort names the origin of what is propagated",
                    error_abort_names_the_origin_of_what_is_propagated);
    g_test_add_func("/error/error_fatal prints and exits", error_fatal_prints_and_exits);
    g_test_add_func("/error/setting an error twice dies", setting_an_error_twice_dies);
    g_test_add_func("/error/messages begin with the program", messages_begin_with_the_program);
    return g_test_run();
}
