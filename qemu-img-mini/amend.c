/* SPDX-License-Identifier: MIT */
/* qemu-img-mini amend: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption amend_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int amend_run(const Command *cmd, int argc, char **argv)
{
    error_report("'amend' is not supported yet");
    return EXIT_FAILURE;
}

const Command amend_command = {
    .name = "amend",
    .run = amend_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = amend_cli_options,
    .example = "amend disk.img",
};
