/* SPDX-License-Identifier: MIT */
/* qemu-img-mini map: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption map_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int map_run(const Command *cmd, int argc, char **argv)
{
    error_report("'map' is not supported yet");
    return EXIT_FAILURE;
}

const Command map_command = {
    .name = "map",
    .run = map_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = map_cli_options,
    .example = "map disk.img",
};
