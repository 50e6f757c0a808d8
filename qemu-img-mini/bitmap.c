/* SPDX-License-Identifier: MIT */
/* qemu-img-mini bitmap: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption bitmap_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int bitmap_run(const Command *cmd, int argc, char **argv)
{
    error_report("'bitmap' is not supported yet");
    return EXIT_FAILURE;
}

const Command bitmap_command = {
    .name = "bitmap",
    .run = bitmap_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = bitmap_cli_options,
    .example = "bitmap disk.img",
};
