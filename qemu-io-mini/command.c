/* SPDX-License-Identifier: MIT */
/* Finding and running commands; help, quit. */
#include "io.h"

#include <getopt.h>

#include "qapi/error.h"
#include "qemu/error-report.h"

/* Sorted by name: help lists them so. */
static const IoCommand *const commands[] = {
    &io_abort_command,    &io_aio_flush_command,    &io_aio_read_command,
    &io_aio_write_command, &io_alloc_command,       &io_break_command,
    &io_close_command,    &io_discard_command,      &io_flush_command,
    &io_help_command,     &io_info_command,         &io_length_command,
    &io_map_command,      &io_open_command,         &io_quit_command,
    &io_read_command,     &io_readv_command,        &io_remove_break_command,
    &io_reopen_command,   &io_resume_command,       &io_sigraise_command,
    &io_sleep_command,    &io_truncate_command,     &io_wait_break_command,
    &io_write_command,    &io_writev_command,
};

static const IoCommand *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(name, commands[i]->name) || !g_strcmp0(name, commands[i]->altname)) {
            return commands[i];
        }
    }
    return NULL;
}

/* --- running --- */

static bool check_count(const IoCommand *cmd, const char *name, int n)
{
    if (n >= cmd->min_args && (cmd->max_args < 0 || n <= cmd->max_args)) {
        return true;
    }
    fprintf(stderr, "bad argument count %d to %s, expected ", n, name);
    if (cmd->max_args < 0) {
        fprintf(stderr, "at least %d arguments\n", cmd->min_args);
    } else if (cmd->min_args == cmd->max_args) {
        fprintf(stderr, "%d arguments\n", cmd->min_args);
    } else {
        fprintf(stderr, "between %d and %d arguments\n", cmd->min_args, cmd->max_args);
    }
    cli_hint("'help %s' explains them", cmd->name);
    return false;
}

/* The permissions that a command needs are kept once they have been got. */
static bool get_permissions(IoSession *io, uint64_t wanted)
{
    Error *err = NULL;
    uint64_t perm, shared;

    if (!io->blk || !wanted) {
        return true;
    }
    blk_get_perm(io->blk, &perm, &shared);
    if ((perm & wanted) == wanted || blk_set_perm(io->blk, perm | wanted, shared, &err) == 0) {
        return true;
    }
    error_report_err(err);
    return false;
}

static int run_command(IoSession *io, int argc, char **argv)
{
    const IoCommand *cmd = find_command(argv[0]);

    if (!cmd) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        cli_hint("'help' lists the commands");
        return -EINVAL;
    }
    if (!cmd->without_image && !io->blk) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    if (!check_count(cmd, argv[0], argc - 1) || !get_permissions(io, cmd->perm)) {
        return -EINVAL;
    }
    optind = 0; /* getopt() begins anew */
    return cmd->run(cmd, io, argc, argv);
}

int io_run_line(IoSession *io, char *line)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    int argc;

    for (char *word; (word = strsep(&line, " "));) {
        if (*word) {
            g_ptr_array_add(words, word);
        }
    }
    argc = words->len;
    g_ptr_array_add(words, NULL);
    return argc ? run_command(io, argc, (char **)words->pdata) : 0;
}

/* --- help, quit --- */

static void print_synopsis(const IoCommand *cmd)
{
    printf("%s ", cmd->name);
    if (cmd->args) {
        printf("%s ", cmd->args);
    }
    printf("-- %s\n", cmd->summary);
}

int io_usage(const IoCommand *cmd)
{
    print_synopsis(cmd);
    return -EINVAL;
}

static int run_help(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    const IoCommand *asked;

    if (argc == 1) {
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
            print_synopsis(commands[i]);
        }
        printf("\nUse 'help commandname' for extended help.\n");
        return 0;
    }
    asked = find_command(argv[1]);
    if (!asked) {
        printf("command %s not found\n", argv[1]);
        return -EINVAL;
    }
    print_synopsis(asked);
    if (asked->help) {
        printf("\n%s\n", asked->help);
    }
    return 0;
}

static int run_quit(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    io->done = true;
    return 0;
}

const IoCommand io_help_command = {
    .name = "help",
    .altname = "?",
    .run = run_help,
    .max_args = 1,
    .without_image = true,
    .args = "[command]",
    .summary = "help for one or all commands",
};

const IoCommand io_quit_command = {
    .name = "quit",
    .altname = "q",
    .run = run_quit,
    .max_args = -1,
    .without_image = true,
    .summary = "exit the program",
};
