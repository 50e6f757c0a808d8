/* SPDX-License-Identifier: MIT */
/*
 * Numbers on the command lines of the programs in here. A wrong one must not run something else
 * than what was meant, and then say that nothing was found.
 */
#ifndef TESTS_CRASH_ARGUMENTS_H
#define TESTS_CRASH_ARGUMENTS_H

#include "qemu/osdep.h"

#define SECONDS_MAX 86400 /* that --seconds takes */

/* All of @text is a number, decimal or 0x..., from @min to @max. */
static inline bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = g_ascii_strtoull(text, &end, g_str_has_prefix(text, "0x") ? 16 : 10);
    return g_ascii_isdigit(*text) && !*end && !errno && *value >= min && *value <= max;
}

/* @arg is @option ("--seed="), and behind it stands such a number. */
static inline bool number_argument(const char *arg, const char *option, uint64_t min,
                                   uint64_t max, uint64_t *value)
{
    return g_str_has_prefix(arg, option) && parse_number(arg + strlen(option), min, max, value);
}

/* Says it on stdout and ends with 0 if @arg asks for help, else it is wrong: on stderr, with 2. */
static inline G_NORETURN void usage(const char *arg, const char *text)
{
    if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
        printf("%s", text);
        exit(0);
    }
    fprintf(stderr, "wrong argument '%s'\n%s", arg, text);
    exit(2);
}

#endif
