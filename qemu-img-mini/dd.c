/* SPDX-License-Identifier: MIT */
/* qemu-img-mini dd: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption dd_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int dd_run(const Command *cmd, int argc, char **argv)
{
    error_report("'dd' is not supported yet");
    return EXIT_FAILURE;
}

const Command dd_command = {
    .name = "dd",
    .run = dd_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = dd_cli_options,
    .example = "dd disk.img",
};
