/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini check: is an image consistent, and with -r, can it be made so.
 *
 * The library tells each finding on stderr; here are the numbers, and the exit code that
 * scripts look at. After a repair the image is checked once more, and that is what counts.
 */
#include "cli.h"

#include <getopt.h>
#include <jansson.h>

#include "block/block-image.h"
#include "json-output.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

/* Exit codes beside 0 and 1, which is "could not be checked". */
enum { EXIT_CORRUPT = 2, EXIT_LEAKS = 3, EXIT_NO_CHECKS = 63 };

typedef struct CheckArgs {
    CliImage image;
    bool json;
    bool quiet;
    BdrvCheckMode fix;
} CheckArgs;

static const CliOption check_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    CLI_FORMAT_OPTION,
    CLI_OUTPUT_OPTION,
    { 'r', "repair", "leaks|all", "repair leaked clusters alone, or all that is wrong" },
    { 'T', NULL, "CACHE", "cache mode of the image (default: writeback)" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', "quiet", NULL, "print nothing but errors" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- output --- */

static void print_human(const BdrvCheckResult *r)
{
    const BlockFragInfo *bfi = &r->bfi;

    if (!r->corruptions && !r->leaks && !r->check_errors) {
        printf("No errors were found on the image.\n");
    }
    if (r->corruptions) {
        printf("\n%d errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               r->corruptions);
    }
    if (r->leaks) {
        printf("\n%d leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n", r->leaks);
    }
    if (r->check_errors) {
        printf("\n%d internal errors have occurred during the check.\n", r->check_errors);
    }
    if (bfi->total_clusters && bfi->allocated_clusters) {
        double allocated = bfi->allocated_clusters;

        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%%"
               " compressed clusters\n", bfi->allocated_clusters, bfi->total_clusters,
               allocated * 100 / bfi->total_clusters,
               bfi->fragmented_clusters * 100 / allocated,
               bfi->compressed_clusters * 100 / allocated);
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRId64 "\n", r->image_end_offset);
    }
}

static void set_number(json_t *obj, const char *key, int64_t value)
{
    if (value) {
        json_object_set_new(obj, key, json_integer(value));
    }
}

static void print_json(const BdrvCheckResult *r, const CheckArgs *args, const char *format)
{
    json_t *obj = json_object();
    g_autofree char *name = g_utf8_make_valid(args->image.filename, -1);

    json_object_set_new(obj, "filename", json_string(name));
    json_object_set_new(obj, "format", json_string(format));
    json_object_set_new(obj, "check-errors", json_integer(r->check_errors));
    set_number(obj, "image-end-offset", r->image_end_offset);
    set_number(obj, "corruptions", r->corruptions);
    set_number(obj, "leaks", r->leaks);
    set_number(obj, "corruptions-fixed", r->corruptions_fixed);
    set_number(obj, "leaks-fixed", r->leaks_fixed);
    set_number(obj, "total-clusters", r->bfi.total_clusters);
    set_number(obj, "allocated-clusters", r->bfi.allocated_clusters);
    set_number(obj, "fragmented-clusters", r->bfi.fragmented_clusters);
    set_number(obj, "compressed-clusters", r->bfi.compressed_clusters);
    json_output_print(obj);
    json_decref(obj);
}

/* --- the command --- */

static bool take_repair(const char *arg, CheckArgs *args)
{
    if (!strcmp(arg, "leaks")) {
        args->fix = BDRV_FIX_LEAKS;
    } else if (!strcmp(arg, "all")) {
        args->fix = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS;
    } else {
        cli_usage_error("Unknown option value for -r (expecting 'leaks' or 'all'): %s", arg);
    }
    args->image.flags |= BDRV_O_RDWR;
    return true;
}

/* False and a message when an option's value is wrong. */
static bool parse_args(const Command *cmd, int argc, char **argv, CheckArgs *args)
{
    const char *output = NULL, *cache = "writeback";
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 'r':
            take_repair(optarg, args);
            break;
        case 'T':
            cache = optarg;
            break;
        case 'q':
            args->quiet = true;
            break;
        case CLI_OPT_OUTPUT:
            output = optarg;
            break;
        default:
            if (!cli_image_option(c, &args->image)) {
                return false;
            }
            break;
        }
    }
    args->image.filename = cli_one_filename(argc, argv);
    if (!cli_parse_output(output, &args->json)) {
        return false;
    }
    if (bdrv_parse_cache_mode(cache, &args->image.flags, &args->image.writethrough) < 0) {
        error_report("Invalid source cache option: %s", cache);
        return false;
    }
    return true;
}

/* A repair is followed by another check, which is half of the work then. */
typedef struct CheckProgress {
    unsigned pass, passes;
} CheckProgress;

static void show_progress(void *opaque, uint64_t done, uint64_t total)
{
    const CheckProgress *p = opaque;

    progress_update(p->pass * total + done, p->passes * total);
}

/* After something has been repaired: tells what, and how the image is now. */
static int check_again(BlockDriverState *bs, BdrvCheckResult *r, bool talk)
{
    int corruptions_fixed = r->corruptions_fixed, leaks_fixed = r->leaks_fixed, ret;

    if (talk) {
        progress_break_line();
        printf("The following inconsistencies were found and repaired:\n\n"
               "    %d leaked clusters\n    %d corruptions\n\n"
               "Double checking the fixed image now...\n", leaks_fixed, corruptions_fixed);
    }
    ret = bdrv_check(bs, r, 0);
    r->corruptions_fixed = corruptions_fixed;
    r->leaks_fixed = leaks_fixed;
    return ret;
}

static int exit_code(int ret, const BdrvCheckResult *r)
{
    if (ret < 0) {
        error_report("Check failed: %s", strerror(-ret));
    } else if (r->check_errors) {
        error_report("Check failed");
    }
    return ret < 0 || r->check_errors ? EXIT_FAILURE
           : r->corruptions           ? EXIT_CORRUPT
           : r->leaks                 ? EXIT_LEAKS
                                      : EXIT_SUCCESS;
}

/* 0 when the check could be made; @r is how the image is now. */
static int check_image(BlockBackend *blk, const CheckArgs *args, BdrvCheckResult *r)
{
    BlockDriverState *bs = blk_bs(blk);
    CheckProgress progress = { .passes = args->fix ? 2 : 1 };
    int ret;

    progress_begin(args->quiet);
    bdrv_set_progress(bs, show_progress, &progress);
    ret = bdrv_check(bs, r, args->fix);
    if (ret == 0 && (r->corruptions_fixed || r->leaks_fixed)) {
        progress.pass++;
        ret = check_again(bs, r, !args->json && !args->quiet);
    }
    bdrv_set_progress(bs, NULL, NULL);
    if (ret == 0 && !cli_finish_image(blk)) {
        ret = -EIO;
    }
    progress_end(ret == 0);
    return ret;
}

static int check_run(const Command *cmd, int argc, char **argv)
{
    CheckArgs args = { .image.flags = BDRV_O_CHECK | BDRV_O_UNMAP };
    BdrvCheckResult r;
    int ret;

    if (!parse_args(cmd, argc, argv, &args)) {
        return EXIT_FAILURE;
    }
    g_autoptr(BlockBackend) blk = cli_open_image(&args.image);
    if (!blk) {
        return EXIT_FAILURE;
    }
    ret = check_image(blk, &args, &r);
    if (ret == -ENOTSUP) {
        error_report("This image format does not support checks");
        return EXIT_NO_CHECKS;
    }
    if (ret == 0 && !args.quiet) {
        if (args.json) {
            print_json(&r, &args, bdrv_get_format_name(blk_bs(blk)));
        } else {
            print_human(&r);
        }
    }
    return exit_code(ret, &r);
}

const Command check_command = {
    .name = "check",
    .run = check_run,
    .args = "FILENAME",
    .summary = "Looks for damage in an image, and repairs it if asked to.",
    .options = check_cli_options,
    .notes = "Exit codes: 0 all is well, 1 the check failed, 2 damage, 3 leaked clusters alone,\n"
             "63 the format has no checks.",
    .example = "check -r all disk.qcow2",
};
