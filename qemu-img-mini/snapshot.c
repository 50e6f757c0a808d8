/* SPDX-License-Identifier: MIT */
/* qemu-img-mini snapshot: not written yet; says so. */
#include "cli.h"

#include "qemu/error-report.h"

static const CliOption snapshot_cli_options[] = {
    CLI_HELP_OPTION,
    {},
};

static int snapshot_run(const Command *cmd, int argc, char **argv)
{
    error_report("'snapshot' is not supported yet");
    return EXIT_FAILURE;
}

const Command snapshot_command = {
    .name = "snapshot",
    .run = snapshot_run,
    .args = "FILENAME",
    .summary = "Not supported yet.",
    .options = snapshot_cli_options,
    .example = "snapshot disk.img",
};
