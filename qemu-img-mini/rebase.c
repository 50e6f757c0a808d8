/* SPDX-License-Identifier: MIT */
/* qemu-img-mini rebase: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption rebase_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int rebase_run(const Command *cmd, int argc, char **argv)
{
    error_report("'rebase' is not supported yet");
    return EXIT_FAILURE;
}

const Command rebase_command = {
    .name = "rebase",
    .run = rebase_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = rebase_cli_options,
    .example = "rebase disk.img",
};
