/* SPDX-License-Identifier: MIT */
/* qemu-img-mini measure: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption measure_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int measure_run(const Command *cmd, int argc, char **argv)
{
    error_report("'measure' is not supported yet");
    return EXIT_FAILURE;
}

const Command measure_command = {
    .name = "measure",
    .run = measure_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = measure_cli_options,
    .example = "measure disk.img",
};
