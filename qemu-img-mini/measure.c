/* SPDX-License-Identifier: MIT */
/* qemu-img-mini measure: how much space a new image would take. */
#include "cli.h"

#include <getopt.h>
#include <jansson.h>

#include "block/block-image.h"
#include "create-options.h"
#include "json-output.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "snapshot-param.h"

typedef struct MeasureArgs {
    CliImage source; /* filename NULL: there is none */
    const char *snapshot;
    const char *format; /* of the new image */
    char *options;      /* -o, joined */
    int64_t size;       /* bytes; -1: not given */
    bool json;
} MeasureArgs;

static const CliOption measure_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { 'f', NULL, "FMT", "format of the source (default: look)" },
    { 'O', NULL, "FMT", "format of the new image (default: raw)" },
    { 'o', NULL, "OPTIONS", "options of the new image: NAME=VALUE,..." },
    { 'l', NULL, "SNAPSHOT", "measure a snapshot of the source: its id or name" },
    { CLI_OPT_SIZE, "size", "SIZE", "measure an image of this size instead of a source" },
    CLI_OUTPUT_OPTION,
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* False when it cannot be; the message has been given. */
static bool take_option(int c, MeasureArgs *args)
{
    switch (c) {
    case 'O':
        args->format = optarg;
        break;
    case 'o':
        args->options = cli_add_option_list(args->options, optarg);
        return args->options;
    case 'l':
        args->snapshot = optarg;
        return snapshot_param_check(optarg);
    case CLI_OPT_SIZE:
        args->size = cli_parse_size("image size", optarg, 0, INT64_MAX);
        return args->size >= 0;
    case CLI_OPT_OUTPUT:
        return cli_parse_output(optarg, &args->json);
    default:
        return cli_image_option(c, &args->source);
    }
    return true;
}

static bool check_args(const MeasureArgs *args)
{
    const char *what = NULL;

    if (args->source.filename) {
        what = args->size >= 0 ? "--size N cannot be used together with a filename." : NULL;
    } else if (args->source.image_opts || args->source.format || args->snapshot) {
        what = "--image-opts, -f, and -l require a filename argument.";
    } else if (args->size < 0) {
        what = "Either --size N or one filename must be specified.";
    }
    if (what) {
        error_report("%s", what);
    }
    return !what;
}

static BlockBackend *open_source(const MeasureArgs *args)
{
    BlockBackend *blk = cli_open_image(&args->source);
    Error *err = NULL;

    if (blk && args->snapshot && snapshot_param_load(blk_bs(blk), args->snapshot, &err) < 0) {
        error_reportf_err(err, "Failed to load snapshot: ");
        blk_unref(blk);
        return NULL;
    }
    return blk;
}

/* The options of an image in a plain file. False and a message on failure. */
static bool parse_options(const MeasureArgs *args, BlockDriver **drv, BlockOptions **opts)
{
    CreateTarget target = {};
    Error *err = NULL;
    bool ok = create_target_init(&target, args->format, "file", &err);

    if (!ok) {
        error_report_err(err);
    } else if (!bdrv_can_measure(target.drv)) {
        error_report("Format driver '%s' does not support image measurement", args->format);
        ok = false;
    } else {
        *drv = target.drv;
        *opts = create_target_parse(&target, args->options, &err);
        if (!*opts) {
            error_report_err(err);
            error_report("Invalid options for file format '%s'", args->format);
            ok = false;
        } else if (args->size >= 0) {
            blk_options_setf(*opts, "size", "%" PRId64, args->size);
        }
    }
    create_target_clear(&target);
    return ok;
}

static void print_result(const MeasureArgs *args, const BlockMeasureInfo *info)
{
    if (args->json) {
        json_t *o = json_object();

        if (info->has_bitmaps) {
            json_object_set_new(o, "bitmaps", json_integer(info->bitmaps));
        }
        json_object_set_new(o, "required", json_integer(info->required));
        json_object_set_new(o, "fully-allocated", json_integer(info->fully_allocated));
        json_output_print(o);
        json_decref(o);
        return;
    }
    printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", info->required,
           info->fully_allocated);
    if (info->has_bitmaps) {
        printf("bitmaps size: %" PRIu64 "\n", info->bitmaps);
    }
}

/* @drv, @opts: of the new image. False and a message on failure. */
static bool measure(const MeasureArgs *args, BlockDriver *drv, BlockOptions *opts,
                    BlockDriverState *source)
{
    BlockMeasureInfo info;
    Error *err = NULL;
    int ret;

    progress_begin(false);
    if (source) {
        bdrv_set_progress(source, progress_callback, NULL);
    }
    ret = bdrv_measure(drv, opts, source, &info, &err);
    if (source) {
        bdrv_set_progress(source, NULL, NULL);
    }
    progress_end(ret == 0);
    if (ret < 0) {
        error_report_err(err);
    } else {
        print_result(args, &info);
    }
    return ret == 0;
}

static int measure_run(const Command *cmd, int argc, char **argv)
{
    MeasureArgs args = { .format = "raw", .size = -1 };
    BlockOptions *opts = NULL;
    BlockDriver *drv = NULL;
    BlockBackend *blk = NULL;
    int c, status = EXIT_FAILURE;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!take_option(c, &args)) {
            return EXIT_FAILURE;
        }
    }
    g_autofree char *options G_GNUC_UNUSED = args.options; /* only to be freed */
    if (argc - optind > 1) {
        error_report("At most one filename argument is allowed.");
        cli_hint_help();
        return EXIT_FAILURE;
    }
    args.source.filename = argv[optind];
    if (!check_args(&args)) {
        return EXIT_FAILURE;
    }
    if (args.source.filename) {
        blk = open_source(&args);
        if (!blk) {
            return EXIT_FAILURE;
        }
    }
    if (parse_options(&args, &drv, &opts) &&
        measure(&args, drv, opts, blk ? blk_bs(blk) : NULL)) {
        status = EXIT_SUCCESS;
    }
    blk_unref(blk);
    return status;
}

const Command measure_command = {
    .name = "measure",
    .run = measure_run,
    .args = "[FILENAME]",
    .summary = "Tells how much space a new image would take.",
    .options = measure_cli_options,
    .example = "measure -O qcow2 disk.img\n"
               "measure -O qcow2 --size=10G",
};
