/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini resize: a new size for an image. The size is the last argument, and is taken away
 * before the options are read, so that "-1G" is not taken for one.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct ResizeArgs {
    CliImage image;
    PreallocMode prealloc;
    bool shrink;
    bool quiet;
    int sign;      /* +1, -1: relative to the present size; 0: absolute */
    uint64_t size; /* bytes */
} ResizeArgs;

static const CliOption resize_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { 'f', NULL, "FMT", "format of the image (default: look)" },
    { 'q', NULL, NULL, "say nothing but errors" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    { CLI_OPT_PREALLOCATION, "preallocation", "MODE",
      "how new space is allocated: off, metadata, falloc, full" },
    { CLI_OPT_SHRINK, "shrink", NULL, "the image may become smaller; data at its end is lost" },
    {},
};

static bool parse_prealloc(const char *text, PreallocMode *mode)
{
    static const char *const names[] = {
        [PREALLOC_MODE_OFF] = "off",
        [PREALLOC_MODE_METADATA] = "metadata",
        [PREALLOC_MODE_FALLOC] = "falloc",
        [PREALLOC_MODE_FULL] = "full",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(text, names[i])) {
            *mode = (PreallocMode)i;
            return true;
        }
    }
    error_report("Invalid preallocation mode '%s'", text);
    return false;
}

/* False when it cannot be; the message has been given. */
static bool parse_options(const Command *cmd, int argc, char **argv, ResizeArgs *args)
{
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 'q':
            args->quiet = true;
            break;
        case CLI_OPT_PREALLOCATION:
            if (!parse_prealloc(optarg, &args->prealloc)) {
                return false;
            }
            break;
        case CLI_OPT_SHRINK:
            args->shrink = true;
            break;
        default:
            if (!cli_image_option(c, &args->image)) {
                return false;
            }
            break;
        }
    }
    return true;
}

static bool parse_size(const char *text, ResizeArgs *args)
{
    g_autoptr(BlockOptions) opts = blk_options_new();
    Error *err = NULL;

    args->sign = *text == '+' ? 1 : *text == '-' ? -1 : 0;
    blk_options_set(opts, "size", args->sign ? text + 1 : text);
    if (blk_options_take_size(opts, "size", &args->size, &err) < 0) {
        error_report_err(err);
        return false;
    }
    return true;
}

/* Bytes, 0 or less when there is no such size. */
static int64_t new_size(const ResizeArgs *args, int64_t current)
{
    int64_t size = MIN(args->size, (uint64_t)INT64_MAX);

    if (args->sign > 0) {
        return args->size > (uint64_t)(INT64_MAX - current) ? -1 : current + size;
    }
    return args->sign < 0 ? current - size : args->size > INT64_MAX ? -1 : size;
}

static bool truncate_image(const ResizeArgs *args, BlockBackend *blk, int64_t size)
{
    Error *err = NULL;
    int ret;

    progress_begin(args->quiet);
    bdrv_set_progress(blk_bs(blk), progress_callback, NULL);
    /* To the very byte: whoever asks for a size wants that one. */
    ret = blk_truncate(blk, size, true, args->prealloc, 0, &err);
    bdrv_set_progress(blk_bs(blk), NULL, NULL);
    bool ok = ret >= 0 && cli_finish_image(blk);
    progress_end(ok);
    if (ret < 0) {
        error_report_err(err);
    }
    return ok;
}

static int resize_image(const ResizeArgs *args, BlockBackend *blk)
{
    int64_t current = blk_getlength(blk), size;

    if (current < 0) {
        error_report("Failed to inquire current image length: %s", strerror(-current));
        return EXIT_FAILURE;
    }
    size = new_size(args, current);
    if (size <= 0) {
        error_report("New image size must be positive");
        return EXIT_FAILURE;
    }
    if (size <= current && args->prealloc != PREALLOC_MODE_OFF) {
        error_report("Preallocation can only be used for growing images");
        return EXIT_FAILURE;
    }
    if (size < current && !args->shrink) {
        error_report("Use the --shrink option to perform a shrink operation.");
        warn_report("Shrinking an image will delete all data beyond the shrunken image's end. "
                    "Before performing such an operation, make sure there is no important data "
                    "there.");
        return EXIT_FAILURE;
    }
    if (!truncate_image(args, blk, size)) {
        return EXIT_FAILURE;
    }
    if (!args->quiet) {
        printf("Image resized.\n");
    }
    return EXIT_SUCCESS;
}

static int resize_run(const Command *cmd, int argc, char **argv)
{
    ResizeArgs args = { .image.flags = BDRV_O_RDWR | BDRV_O_RESIZE };
    const char *size;

    if (argc < 3) {
        cli_getopt(cmd, argc, argv); /* it may have been a request for help */
        cli_usage_error("Not enough arguments");
    }
    size = argv[--argc];
    if (!parse_options(cmd, argc, argv, &args)) {
        return EXIT_FAILURE;
    }
    if (optind != argc - 1) {
        cli_usage_error("Expecting image file name and size");
    }
    args.image.filename = argv[optind];
    if (!parse_size(size, &args)) {
        return EXIT_FAILURE;
    }
    BlockBackend *blk = cli_open_image(&args.image);
    if (!blk) {
        return EXIT_FAILURE;
    }
    int status = resize_image(&args, blk);
    blk_unref(blk);
    return status;
}

const Command resize_command = {
    .name = "resize",
    .run = resize_run,
    .args = "FILENAME [+|-]SIZE",
    .summary = "Changes the size of an image.",
    .options = resize_cli_options,
    .example = "resize -f qcow2 disk.qcow2 +10G\n"
               "resize -f raw --shrink disk.img 5G",
};
