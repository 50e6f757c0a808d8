/* SPDX-License-Identifier: MIT */
/*
 * What all subcommands share: their table, the reading of a command line, sizes and
 * numbers. What qemu-io-mini needs as well is in tools/cli-common.h.
 *
 * One table per subcommand says what options it has; getopt's arrays and the help text
 * are both made from it. Everything runs in the main thread.
 */
#ifndef IMG_CLI_H
#define IMG_CLI_H

#include "cli-common.h"

/* Options that have no letter. */
enum {
    CLI_OPT_FIRST = 256,
    CLI_OPT_OUTPUT,
    CLI_OPT_PROGRESS,
    CLI_OPT_BACKING_CHAIN,
    CLI_OPT_LIMITS,
    CLI_OPT_NO_EXTERNAL,
    CLI_OPT_OBJECT,
    CLI_OPT_IMAGE_OPTS,
    CLI_OPT_TARGET_IMAGE_OPTS,
    CLI_OPT_TARGET_IS_ZERO,
    CLI_OPT_SALVAGE,
    CLI_OPT_BITMAPS,
    CLI_OPT_BITMAP_ADD,
    CLI_OPT_BITMAP_CLEAR,
    CLI_OPT_BITMAP_DISABLE,
    CLI_OPT_BITMAP_ENABLE,
    CLI_OPT_BITMAP_MERGE,
    CLI_OPT_BITMAP_REMOVE,
    CLI_OPT_SKIP_BROKEN_BITMAPS,
    CLI_OPT_PATTERN,
    CLI_OPT_FLUSH_INTERVAL,
    CLI_OPT_NO_DRAIN,
    CLI_OPT_SIZE,
    CLI_OPT_FORCE,
    CLI_OPT_SHRINK,
    CLI_OPT_PREALLOCATION,
};

typedef struct CliOption {
    int val;           /* the letter, or CLI_OPT_*; 0 ends the table */
    const char *lname; /* long name, or NULL */
    const char *arg;   /* what the help calls the argument; NULL: there is none */
    const char *help;
} CliOption;

typedef struct Command Command;
struct Command {
    const char *name;
    /* Gives the exit code. argv[0] is the subcommand's name. */
    int (*run)(const Command *cmd, int argc, char **argv);
    const char *args;    /* the part of the synopsis behind the options */
    const char *summary; /* one line */
    const CliOption *options;
    const char *notes;   /* what else there is to know, or NULL */
    const char *example; /* lines, each to stand behind the program's name */
};

extern const Command amend_command;
extern const Command bench_command;
extern const Command bitmap_command;
extern const Command check_command;
extern const Command commit_command;
extern const Command compare_command;
extern const Command convert_command;
extern const Command create_command;
extern const Command dd_command;
extern const Command info_command;
extern const Command map_command;
extern const Command measure_command;
extern const Command rebase_command;
extern const Command resize_command;
extern const Command snapshot_command;

/* Options that subcommands have in the same words. */
#define CLI_HELP_OPTION   { 'h', "help", NULL, "show this help" }
#define CLI_OBJECT_OPTION \
    { CLI_OPT_OBJECT, "object", "OBJDEF", "define an object, such as a secret" }
#define CLI_IMAGE_OPTS_OPTION \
    { CLI_OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options" }
#define CLI_FORMAT_OPTION { 'f', "format", "FMT", "format of the image (default: look)" }
#define CLI_OUTPUT_OPTION { CLI_OPT_OUTPUT, "output", "human|json", "form of the output" }
#define CLI_FORCE_SHARE_OPTION \
    { 'U', "force-share", NULL, "open even if another process writes to the image" }

/* --- the command line --- */

/*
 * The next option as getopt_long gives it, -1 at the end. Mistakes of the user and the
 * help option end the program here.
 */
int cli_getopt(const Command *cmd, int argc, char **argv);
/*
 * Takes @c, if it is one of the options that mean the same in all subcommands: -f, -U, --image-opts,
 * --object, -p, --progress. False and a message: its value is wrong.
 */
bool cli_image_option(int c, CliImage *image);
/* The value of --output, NULL where it was not given. False and a message when it is wrong. */
bool cli_parse_output(const char *arg, bool *json);
/* The one argument behind the options; it ends the program when there is none or there are more. */
const char *cli_one_filename(int argc, char **argv);
/*
 * On a terminal: where the help of this subcommand is. For mistakes in the command line of which
 * qemu-img tells no more than that.
 */
void cli_hint_help(void);
/* "PROG: message", how to get help, exit code 1. */
QEMU_NORETURN void cli_usage_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void cli_print_command_help(const Command *cmd);

/*
 * A size in bytes with an optional suffix, within [@min, @max]. -1 when it is not; then
 * the message, in which @what names the thing, has been given.
 */
int64_t cli_parse_size(const char *what, const char *arg, int64_t min, int64_t max);
/* A count within [0, @max] in C's notations. False when it is not; no message. */
bool cli_parse_count(const char *arg, unsigned long max, unsigned long *value);

/*
 * Adds @arg (of an option -o) to the comma-separated list @list, which may be NULL. NULL
 * and a message when it is no list; @list is consumed in any case.
 */
char *cli_add_option_list(char *list, const char *arg);
/* "help" or "?" is among the items of @list. */
bool cli_option_list_asks_help(const char *list);

#endif
