/* SPDX-License-Identifier: MIT */
/* qemu-img-mini resize: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption resize_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int resize_run(const Command *cmd, int argc, char **argv)
{
    error_report("'resize' is not supported yet");
    return EXIT_FAILURE;
}

const Command resize_command = {
    .name = "resize",
    .run = resize_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = resize_cli_options,
    .example = "resize disk.img",
};
