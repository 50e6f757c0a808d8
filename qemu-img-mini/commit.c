/* SPDX-License-Identifier: MIT */
/* qemu-img-mini commit: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption commit_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int commit_run(const Command *cmd, int argc, char **argv)
{
    error_report("'commit' is not supported yet");
    return EXIT_FAILURE;
}

const Command commit_command = {
    .name = "commit",
    .run = commit_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = commit_cli_options,
    .example = "commit disk.img",
};
