/* SPDX-License-Identifier: MIT */
/* qemu-img-mini create: a new, empty image. */
#include "cli.h"
#include "create-options.h"
#include "progress.h"

#include <getopt.h>

#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct CreateArgs {
    const char *format;
    const char *backing_file;
    const char *backing_format;
    const char *filename;
    char *options; /* -o, joined */
    int64_t size;  /* bytes; -1: not given */
    bool quiet;
    bool unsafe_backing; /* -u: the backing file need not be there */
} CreateArgs;

static const CliOption create_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { 'q', NULL, NULL, "say nothing but errors" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'f', NULL, "FMT", "format of the image (default: raw)" },
    { 'b', NULL, "FILE", "backing file, for formats that have one" },
    { 'F', NULL, "FMT", "format of the backing file" },
    { 'u', NULL, NULL, "do not open the backing file" },
    { 'o', NULL, "OPTIONS", "options of the format: NAME=VALUE,...; 'help' lists them" },
    {},
};

/* The values of @args join those of the list -o. */
static BlockOptions *gather_options(const CreateArgs *args, const CreateTarget *target,
                                    Error **errp)
{
    g_autoptr(BlockOptions) opts = create_target_parse(target, args->options, errp);

    if (!opts) {
        return NULL;
    }
    if (args->size >= 0) {
        if (blk_options_get(opts, "size")) {
            error_setg(errp, "The image size must be specified only once");
            return NULL;
        }
        blk_options_setf(opts, "size", "%" PRId64, args->size);
    }
    if (args->backing_file) {
        if (!create_target_has(target, "backing_file")) {
            error_setg(errp, "Backing file not supported for file format '%s'", args->format);
            return NULL;
        }
        blk_options_set(opts, "backing_file", args->backing_file);
    }
    if (args->backing_format) {
        if (!create_target_has(target, "backing_fmt")) {
            error_setg(errp, "Backing file format not supported for file format '%s'", args->format);
            return NULL;
        }
        blk_options_set(opts, "backing_fmt", args->backing_format);
    }
    return g_steal_pointer(&opts);
}

/* The backing file must be there and of the format that was named; a missing size is its. */
static bool look_at_backing(const CreateArgs *args, BlockOptions *opts, Error **errp)
{
    ERRP_GUARD();
    const char *format = blk_options_get(opts, "backing_fmt");
    g_autoptr(BlockBackend) blk = NULL;
    BlockOptions *open_opts;

    g_autofree char *name = bdrv_resolve_backing_filename(
        args->filename, blk_options_get(opts, "backing_file"), errp);
    if (!name) {
        return false;
    }
    open_opts = blk_options_new();
    blk_options_set(open_opts, BDRV_OPT_FORCE_SHARE, "on");
    if (format) {
        blk_options_set(open_opts, "driver", format);
    }
    blk = blk_new_open(name, NULL, open_opts, cli_external_flags(), errp);
    if (!blk) {
        error_append_hint(errp, "Could not open backing image.\n");
        return false;
    }
    if (!format) {
        error_setg(errp, "Backing file specified without backing format");
        error_append_hint(errp, "Detected format of %s.", bdrv_get_format_name(blk_bs(blk)));
        return false;
    }
    if (!blk_options_get(opts, "size")) {
        int64_t size = blk_getlength(blk);

        if (size < 0) {
            error_setg_errno(errp, -size, "Could not get size of '%s'", name);
            return false;
        }
        blk_options_setf(opts, "size", "%" PRId64, size);
    }
    return true;
}

static bool check_backing(const CreateArgs *args, BlockOptions *opts, Error **errp)
{
    const char *backing_file = blk_options_get(opts, "backing_file");

    if (!backing_file) {
        return true;
    }
    if (!strcmp(args->filename, backing_file)) {
        error_setg(errp,
                   "Error: Trying to create an image with the same filename as the backing file");
        return false;
    }
    if (!*backing_file) {
        error_setg(errp, "Expected backing file name, got empty string");
        return false;
    }
    if (!args->unsafe_backing) {
        return look_at_backing(args, opts, errp);
    }
    if (!blk_options_get(opts, "backing_fmt")) {
        error_setg(errp, "Backing file specified without backing format");
        return false;
    }
    return true;
}

static bool create_image(const CreateArgs *args, const CreateTarget *target, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(BlockOptions) opts = gather_options(args, target, errp);
    bool has_cluster_size;

    if (!opts || !check_backing(args, opts, errp)) {
        return false;
    }
    if (!blk_options_get(opts, "size")) {
        error_setg(errp, "Image creation needs a size parameter");
        return false;
    }
    if (!args->quiet) {
        printf("Formatting '%s', fmt=%s", args->filename, args->format);
        create_target_print(target, opts);
        printf("\n");
        /* Before any message about the failure of what has been announced. */
        fflush(stdout);
    }
    has_cluster_size = create_target_has(target, "cluster_size");
    progress_begin(args->quiet);
    bdrv_set_create_progress(progress_callback, NULL);
    int ret = bdrv_create(target->drv, args->filename, g_steal_pointer(&opts), errp);
    progress_end(ret >= 0);
    if (ret == -EFBIG) {
        error_free(*errp);
        *errp = NULL;
        error_setg(errp, "The image size is too large for file format '%s'%s", args->format,
                   has_cluster_size ? " (try using a larger cluster size)" : "");
    }
    return ret >= 0;
}

static bool parse_args(const Command *cmd, int argc, char **argv, CreateArgs *args)
{
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 'f':
            args->format = optarg;
            break;
        case 'b':
            args->backing_file = optarg;
            break;
        case 'F':
            args->backing_format = optarg;
            break;
        case 'u':
            args->unsafe_backing = true;
            break;
        case 'q':
            args->quiet = true;
            break;
        case 'o':
            args->options = cli_add_option_list(args->options, optarg);
            if (!args->options) {
                return false;
            }
            break;
        case CLI_OPT_OBJECT:
            if (!cli_add_object(optarg)) {
                return false;
            }
            break;
        default:
            if (!progress_option(c)) {
                return false;
            }
            break;
        }
    }
    return true;
}

static int create_run(const Command *cmd, int argc, char **argv)
{
    CreateArgs args = { .format = "raw", .size = -1 };
    CreateTarget target = {};
    Error *err = NULL;

    bool understood = parse_args(cmd, argc, argv, &args);
    g_autofree char *options = args.options;
    if (!understood) {
        return EXIT_FAILURE;
    }
    args.filename = optind < argc ? argv[optind++] : NULL;
    if (options && cli_option_list_asks_help(options)) {
        return create_options_help(args.format, args.filename);
    }
    if (!args.filename) {
        cli_usage_error("Expecting image file name");
    }
    if (optind < argc) {
        args.size = cli_parse_size("image size", argv[optind++], 0, INT64_MAX);
        if (args.size < 0) {
            return EXIT_FAILURE;
        }
    }
    if (optind < argc) {
        cli_usage_error("Unexpected argument: %s", argv[optind]);
    }

    bool ok = create_target_init(&target, args.format, args.filename, &err) &&
              create_image(&args, &target, &err);
    create_target_clear(&target);
    if (!ok) {
        error_reportf_err(err, "%s: ", args.filename);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

const Command create_command = {
    .name = "create",
    .run = create_run,
    .args = "FILENAME [SIZE]",
    .summary = "Makes a new, empty image.",
    .options = create_cli_options,
    .notes = "An image with a backing file has its size unless SIZE is there. A file that is there\n"
             "already is overwritten.",
    .example = "create -f qcow2 disk.qcow2 10G\n"
               "create -f qcow2 -b disk.qcow2 -F qcow2 overlay.qcow2",
};
