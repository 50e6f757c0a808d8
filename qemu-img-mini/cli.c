/* SPDX-License-Identifier: MIT */
/*
 * The command line: see cli.h. The texts of messages are qemu-img's, for scripts look at
 * them; what is said in addition helps people.
 */
#include "cli.h"

#include <getopt.h>

#include "qemu/cutils.h"
#include "qemu/error-report.h"

#include "progress.h"

#define MAX_OPTIONS 40

/* --- options --- */

/* What cli_getopt() takes care of for every subcommand. */
static const CliOption no_external_option = {
    CLI_OPT_NO_EXTERNAL, "no-external", NULL, "open no file that only an image names",
};

static const Command *current; /* the subcommand of this run, once its options are read */

void cli_hint_help(void)
{
    if (current) {
        cli_hint("Try '%s %s --help' for more information", cli_progname(), current->name);
    }
}

void cli_usage_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    if (current && isatty(STDERR_FILENO)) {
        cli_hint_help();
    } else {
        error_printf("Try '%s --help' for more information\n", cli_progname());
    }
    exit(EXIT_FAILURE);
}

static void print_option(const CliOption *o)
{
    g_autofree char *names = NULL;

    if (o->val < CLI_OPT_FIRST && o->lname) {
        names = g_strdup_printf("-%c, --%s", o->val, o->lname);
    } else if (o->val < CLI_OPT_FIRST) {
        names = g_strdup_printf("-%c", o->val);
    } else {
        names = g_strdup_printf("    --%s", o->lname);
    }
    g_autofree char *left =
        o->arg ? g_strdup_printf("%s%s%s", names, o->lname ? "=" : " ", o->arg) : g_strdup(names);
    printf("  %-28s %s\n", left, o->help);
}

void cli_print_command_help(const Command *cmd)
{
    printf("usage: %s %s [options] %s\n%s\n\nOptions:\n", cli_progname(), cmd->name, cmd->args,
           cmd->summary);
    for (const CliOption *o = cmd->options; o->val; o++) {
        print_option(o);
    }
    print_option(&no_external_option);
    if (cmd->notes) {
        printf("\n%s\n", cmd->notes);
    }
    g_auto(GStrv) examples = g_strsplit(cmd->example, "\n", -1);
    printf("\n%s:\n", examples[1] ? "Examples" : "Example");
    for (size_t i = 0; examples[i]; i++) {
        printf("  %s %s\n", cli_progname(), examples[i]);
    }
}

/* getopt's two arrays for a subcommand; there is one subcommand in a run. */
static const struct option *getopt_tables(const Command *cmd, char *letters)
{
    static struct option longs[MAX_OPTIONS];
    int n = 0;

    longs[n++] = (struct option) { .name = no_external_option.lname,
                                   .val = no_external_option.val };
    *letters++ = ':';
    for (const CliOption *o = cmd->options; o->val; o++) {
        if (o->val < CLI_OPT_FIRST) {
            *letters++ = o->val;
            if (o->arg) {
                *letters++ = ':';
            }
        }
        if (o->lname) {
            g_assert(n < MAX_OPTIONS - 1);
            longs[n++] = (struct option) {
                .name = o->lname,
                .has_arg = o->arg ? required_argument : no_argument,
                .val = o->val,
            };
        }
    }
    *letters = 0;
    return longs;
}

int cli_getopt(const Command *cmd, int argc, char **argv)
{
    static const struct option *longs;
    static char letters[2 * MAX_OPTIONS + 2];

    if (!longs) {
        current = cmd;
        longs = getopt_tables(cmd, letters);
    }
    int c;
    do {
        c = getopt_long(argc, argv, letters, longs, NULL);
        if (c == CLI_OPT_NO_EXTERNAL) {
            cli_forbid_external();
        }
    } while (c == CLI_OPT_NO_EXTERNAL);
    switch (c) {
    case ':':
        cli_usage_error("missing argument for option '%s'", argv[optind - 1]);
    case '?':
        cli_usage_error("unrecognized option '%s'", argv[optind - 1]);
    case 'h':
        cli_print_command_help(cmd);
        exit(cli_finish_stdout(EXIT_SUCCESS));
    default:
        return c;
    }
}

bool cli_image_option(int c, CliImage *image)
{
    switch (c) {
    case 'f': image->format = optarg; break;
    case 'U': image->force_share = true; break;
    case CLI_OPT_IMAGE_OPTS: image->image_opts = true; break;
    case CLI_OPT_OBJECT: return cli_add_object(optarg);
    default: return progress_option(c);
    }
    return true;
}

bool cli_parse_output(const char *arg, bool *json)
{
    *json = !g_strcmp0(arg, "json");
    if (arg && !*json && strcmp(arg, "human") != 0) {
        error_report("--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

const char *cli_one_filename(int argc, char **argv)
{
    if (optind != argc - 1) {
        cli_usage_error("Expecting one image file name");
    }
    return argv[optind];
}

/* --- values --- */

int64_t cli_parse_size(const char *what, const char *arg, int64_t min, int64_t max)
{
    uint64_t value;
    int ret = qemu_strtosz(arg, NULL, &value);

    if (ret < 0 && ret != -ERANGE) {
        error_report("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
        error_report("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
        return -1;
    }
    if (ret == -ERANGE || value > INT64_MAX || (int64_t)value < min || (int64_t)value > max) {
        error_report("Invalid %s specified. Must be between %" PRId64 " and %" PRId64 ".", what,
                     min, max);
        return -1;
    }
    return value;
}

bool cli_parse_count(const char *arg, unsigned long max, unsigned long *value)
{
    char *end;

    errno = 0;
    *value = strtoul(arg, &end, 0);
    return !errno && end != arg && !*end && *value <= max;
}

char *cli_add_option_list(char *list, const char *arg)
{
    g_autofree char *old = list;
    size_t len = strlen(arg);
    size_t commas = 0;

    while (commas < len && arg[len - 1 - commas] == ',') {
        commas++;
    }
    /* A doubled comma at the end belongs to a value; a single one ends an item. */
    if (!len || arg[0] == ',' || commas % 2) {
        error_report("Invalid option list: %s", arg);
        return NULL;
    }
    return old ? g_strconcat(old, ",", arg, NULL) : g_strdup(arg);
}

/* The start of the item behind the one at @item. */
static const char *next_item(const char *item)
{
    const char *p = item + strcspn(item, "=,");

    if (*p == '=') {
        while (*p && (*p != ',' || p[1] == ',')) {
            p += *p == ',' ? 2 : 1;
        }
    }
    return *p ? p + 1 : p;
}

bool cli_option_list_asks_help(const char *list)
{
    for (const char *item = list; *item; item = next_item(item)) {
        size_t len = strcspn(item, ",");

        if ((len == 4 && !memcmp(item, "help", 4)) || (len == 1 && *item == '?')) {
            return true;
        }
    }
    return false;
}
