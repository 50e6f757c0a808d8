/* SPDX-License-Identifier: MIT */
/* qemu-img-mini check: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption check_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int check_run(const Command *cmd, int argc, char **argv)
{
    error_report("'check' is not supported yet");
    return EXIT_FAILURE;
}

const Command check_command = {
    .name = "check",
    .run = check_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = check_cli_options,
    .example = "check disk.img",
};
