/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini: images from the command line, for the everyday uses of qemu-img.
 *
 * Here: the program's own options, the table of subcommands, and what has to be so
 * before and after any of them.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

static const Command *const commands[] = {
    &amend_command,
    &bench_command,
    &bitmap_command,
    &check_command,
    &commit_command,
    &compare_command,
    &convert_command,
    &create_command,
    &dd_command,
    &info_command,
    &map_command,
    &measure_command,
    &rebase_command,
    &resize_command,
    &snapshot_command,
};

static void print_version(void)
{
    printf("%s version %s (blkco), behaves as qemu-img 7.2\n", cli_progname(), BLKCO_VERSION);
}

static void print_format(void *opaque, const char *name)
{
    printf(" %s", name);
}

static void print_help(void)
{
    print_version();
    printf("usage: %s [standard options] command [command options]\n"
           "Creates, copies, compares and measures disk images.\n\n"
           "Standard options:\n"
           "  -h, --help                   show this help\n"
           "  -V, --version                show the version\n"
           "  -T, --trace LIST             accepted; there are no trace events\n\n"
           "Commands:\n", cli_progname());
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    printf("\n'%s COMMAND --help' explains the options of a command.\n"
           "Supported formats:", cli_progname());
    bdrv_iterate_format(print_format, NULL);
    printf("\nCache modes: none and directsync (both past the host's page cache), writeback,\n"
           "writethrough, unsafe (never flushes).\n"
           "Sizes are bytes or have a suffix: k or K (kilobyte, 1024), M, G, T, P, E.\n"
           "An image given as options: driver=raw,file.filename=disk.img\n\n"
           "Example:\n  %s convert -p -O raw disk.img copy.img\n", cli_progname());
}

/* How many letters to insert, remove, change or swap to make one word of the other. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { MAX = 16 };
    size_t d[MAX + 1][MAX + 1];
    size_t la = strlen(a);
    size_t lb = strlen(b);

    if (la > MAX || lb > MAX) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i <= la; i++) {
        for (size_t j = 0; j <= lb; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            size_t change = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            size_t best = MIN(change, MIN(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = MIN(best, d[i - 2][j - 2] + 1);
            }
            d[i][j] = best;
        }
    }
    return d[la][lb];
}

QEMU_NORETURN static void command_not_found(const char *name)
{
    const char *nearest = NULL;
    /* A guess is one where most letters are right: one of four may be wrong, or two of six. */
    size_t best = MIN(strlen(name) / 3, 2u) + 1;

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        size_t distance = edit_distance(name, commands[i]->name);
        /* An abbreviation is a good guess too. */
        if (strlen(name) > 1 && g_str_has_prefix(commands[i]->name, name)) {
            distance = MIN(distance, 1u);
        }
        if (distance < best) {
            best = distance;
            nearest = commands[i]->name;
        }
    }
    if (nearest) {
        error_report("Command not found: %s", name);
        error_printf("Did you mean '%s'?\n", nearest);
        error_printf("Try '%s --help' for more information\n", cli_progname());
        exit(EXIT_FAILURE);
    }
    cli_usage_error("Command not found: %s", name);
}

static int run_command(int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(argv[0], commands[i]->name)) {
            optind = 0;
            return cli_finish_stdout(commands[i]->run(commands[i], argc, argv));
        }
    }
    command_not_found(argv[0]);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "trace", required_argument, NULL, 'T' },
        {},
    };
    int c;

    cli_reserve_standard_descriptors();
    /* A reader that goes away must not stop a copy halfway. */
    signal(SIGPIPE, SIG_IGN);
    /* Who asks before there is anything to tell, or a command that tells nothing: see progress.h. */
    signal(SIGUSR1, SIG_IGN);
    error_init(argc ? argv[0] : "qemu-img-mini");

    if (argc < 2) {
        cli_usage_error("Not enough arguments");
    }
    while ((c = getopt_long(argc, argv, "+:hVT:", longs, NULL)) != -1) {
        switch (c) {
        case 'h':
            print_help();
            return cli_finish_stdout(EXIT_SUCCESS);
        case 'V':
            print_version();
            return cli_finish_stdout(EXIT_SUCCESS);
        case 'T':
            if (!cli_check_trace(optarg)) {
                return EXIT_FAILURE;
            }
            break;
        case ':':
            cli_usage_error("missing argument for option '%s'", argv[optind - 1]);
        default:
            cli_usage_error("unrecognized option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc) {
        cli_usage_error("Not enough arguments");
    }
    qemu_init_main_loop(&error_fatal);
    return run_command(argc - optind, argv + optind);
}
