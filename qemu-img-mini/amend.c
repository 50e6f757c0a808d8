/* SPDX-License-Identifier: MIT */
/* qemu-img-mini amend: changes options of an existing image. */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "create-options.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct AmendArgs {
    CliImage image;
    const char *cache;
    char *options; /* -o, joined */
    bool force, quiet;
} AmendArgs;

static const CliOption amend_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { 'o', NULL, "OPTIONS", "what to change: NAME=VALUE,...; 'help' lists the names" },
    { 'f', NULL, "FMT", "format of the image (default: look)" },
    { 't', NULL, "CACHE", "cache mode (default: writeback)" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', NULL, NULL, "say nothing but errors" },
    CLI_IMAGE_OPTS_OPTION,
    { CLI_OPT_FORCE, "force", NULL, "permit what may lose access to encrypted data" },
    {},
};

/* False when it cannot be; the message has been given. */
static bool take_option(int c, AmendArgs *args)
{
    switch (c) {
    case 'o':
        args->options = cli_add_option_list(args->options, optarg);
        return args->options;
    case 't': args->cache = optarg; break;
    case 'q': args->quiet = true; break;
    case CLI_OPT_FORCE: args->force = true; break;
    default: return cli_image_option(c, &args->image);
    }
    return true;
}

/* NULL and a message when something in the list is wrong. */
static BlockOptions *parse_options(const AmendArgs *args, BlockDriver *drv)
{
    CreateTarget target = {}, creation = {};
    Error *err = NULL;
    BlockOptions *opts;

    create_target_init_amend(&target, drv);
    opts = create_target_parse(&target, args->options, &err);
    if (!opts && create_target_init(&creation, bdrv_driver_name(drv), NULL, NULL)) {
        BlockOptions *other = create_target_parse(&creation, args->options, NULL);

        if (other) {
            error_append_hint(&err, "This option is only supported for image creation\n");
        }
        blk_options_free(other);
    }
    if (!opts) {
        error_report_err(err);
    }
    create_target_clear(&creation);
    create_target_clear(&target);
    return opts;
}

static bool amend_image(const AmendArgs *args, BlockBackend *blk)
{
    BlockDriver *drv = bdrv_find_format(bdrv_get_format_name(blk_bs(blk)));
    BlockOptions *opts;
    Error *err = NULL;

    if (!bdrv_amend_options_table(drv)) {
        error_report("Format driver '%s' does not support option amendment",
                     bdrv_driver_name(drv));
        return false;
    }
    opts = parse_options(args, drv);
    if (!opts) {
        return false;
    }
    progress_begin(args->quiet);
    int ret = bdrv_amend_options(blk_bs(blk), opts, progress_callback, NULL, args->force, &err);
    bool ok = ret == 0 && cli_finish_image(blk);
    progress_end(ok);
    if (ret < 0) {
        error_report_err(err);
    }
    return ok;
}

/* @help: only tells what could be changed. */
static int amend_file(AmendArgs *args, bool help)
{
    if (bdrv_parse_cache_mode(args->cache, &args->image.flags, &args->image.writethrough) < 0) {
        error_report("Invalid cache option: %s", args->cache);
        return EXIT_FAILURE;
    }
    g_autoptr(BlockBackend) blk = cli_open_image(&args->image);
    if (!blk) {
        return EXIT_FAILURE;
    }
    if (help) {
        return amend_options_help(bdrv_get_format_name(blk_bs(blk)));
    }
    return amend_image(args, blk) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int amend_run(const Command *cmd, int argc, char **argv)
{
    AmendArgs args = { .cache = "writeback", .image.flags = BDRV_O_RDWR | BDRV_O_RESIZE };
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!take_option(c, &args)) {
            return EXIT_FAILURE;
        }
    }
    g_autofree char *options = args.options;
    if (!options) {
        cli_usage_error("Must specify options (-o)");
    }
    bool help = cli_option_list_asks_help(options);
    if (args.image.format && help) {
        int status = amend_options_help(args.image.format);
        progress_give_up(args.quiet);
        return status;
    }
    if (optind != argc - 1) {
        error_report("Expecting one image file name");
        cli_hint_help();
        return EXIT_FAILURE;
    }
    args.image.filename = argv[optind];
    int status = amend_file(&args, help);
    progress_give_up(args.quiet);
    return status;
}

const Command amend_command = {
    .name = "amend",
    .run = amend_run,
    .args = "FILENAME",
    .summary = "Changes options of an image, such as the version of its format.",
    .options = amend_cli_options,
    .example = "amend -f qcow2 -o compat=1.1,lazy_refcounts=on disk.qcow2",
};
