/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini info: what an image is, for people or as JSON.
 *
 * The image is opened without its backing file and without reading guest data. With
 * --backing-chain each backing file is opened in the same way, one after the other; all is
 * gathered before anything is printed.
 */
#include "cli.h"

#include <getopt.h>
#include <sys/stat.h>

#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "image-info.h"
#include "json-output.h"

typedef struct InfoArgs {
    CliImage image;
    bool json;
    bool chain;
    bool limits;
} InfoArgs;

static const CliOption info_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    CLI_FORMAT_OPTION,
    CLI_OUTPUT_OPTION,
    { CLI_OPT_BACKING_CHAIN, "backing-chain", NULL, "the backing files as well" },
    { CLI_OPT_LIMITS, "limits", NULL, "what requests can be like as well" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- the images --- */

/* The files seen so far, to find a chain that comes back to itself. */
typedef struct SeenFiles {
    GHashTable *names;  /* as they were written */
    GHashTable *inodes; /* "DEVICE:INODE" */
} SeenFiles;

/* False when @filename is among them already. */
static bool add_seen(SeenFiles *seen, const char *filename)
{
    struct stat st;

    if (!g_hash_table_add(seen->names, g_strdup(filename))) {
        return false;
    }
    strstart(filename, "file:", &filename);
    return stat(filename, &st) < 0 ||
           g_hash_table_add(seen->inodes, g_strdup_printf("%" PRIu64 ":%" PRIu64,
                                                          (uint64_t)st.st_dev,
                                                          (uint64_t)st.st_ino));
}

/* NULL and a message on failure. */
static ImageInfo *gather_image(const CliImage *image, bool limits)
{
    g_autoptr(BlockBackend) blk = cli_open_image(image);
    Error *err = NULL;

    if (!blk) {
        return NULL;
    }
    ImageInfo *info = image_info_gather(blk_bs(blk), limits, &err);
    if (!info) {
        error_report_err(err);
    }
    return info;
}

/* @image becomes the backing file of @info. False at the end, and, with *@failed, on failure. */
static bool go_to_backing(CliImage *image, const ImageInfo *info, bool *failed)
{
    if (!info->backing_name) {
        return false;
    }
    if (cli_external_flags()) {
        error_report("'%s' may not be opened: only the image itself names it",
                     info->backing_name);
        *failed = true;
        return false;
    }
    if (!info->backing_path) {
        error_report("Could not determine absolute backing filename, but backing filename '%s' "
                     "present", info->backing_name);
        *failed = true;
        return false;
    }
    if (bdrv_path_has_protocol(info->backing_path) &&
        !g_str_has_prefix(info->backing_path, "file:")) {
        error_report("Backing file '%s': only plain file names are followed from within an image",
                     info->backing_path);
        *failed = true;
        return false;
    }
    image->filename = info->backing_path;
    image->format = info->backing_format;
    image->image_opts = false;
    return true;
}

static void free_info(void *info)
{
    image_info_free(info);
}

/* The image and, if wanted, what it lies on. NULL and a message on failure. */
static GPtrArray *gather_chain(const InfoArgs *args)
{
    g_autoptr(GPtrArray) chain = g_ptr_array_new_with_free_func(free_info);
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) inodes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    SeenFiles seen = { names, inodes };
    CliImage image = args->image;
    ImageInfo *info;
    bool failed = false;

    do {
        if (!add_seen(&seen, image.filename)) {
            error_report("Backing file '%s' creates an infinite loop.", image.filename);
            return NULL;
        }
        info = gather_image(&image, args->limits);
        if (!info) {
            return NULL;
        }
        g_ptr_array_add(chain, info);
    } while (args->chain && go_to_backing(&image, info, &failed));
    return failed ? NULL : g_steal_pointer(&chain);
}

static void print_json(const GPtrArray *chain, bool list)
{
    json_t *json = json_array();

    for (guint i = 0; i < chain->len; i++) {
        json_array_append_new(json, image_info_to_json(chain->pdata[i]));
    }
    json_output_print(list ? json : json_array_get(json, 0));
    json_decref(json);
}

static void print_human(const GPtrArray *chain)
{
    for (guint i = 0; i < chain->len; i++) {
        if (i > 0) {
            putchar('\n');
        }
        image_info_print(chain->pdata[i]);
    }
}

/* --- the command --- */

/* False and a message when an option's value is wrong. */
static bool parse_args(const Command *cmd, int argc, char **argv, InfoArgs *args)
{
    const char *output = NULL;
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case CLI_OPT_OUTPUT:
            output = optarg;
            break;
        case CLI_OPT_BACKING_CHAIN:
            args->chain = true;
            break;
        case CLI_OPT_LIMITS:
            args->limits = true;
            break;
        default:
            if (!cli_image_option(c, &args->image)) {
                return false;
            }
            break;
        }
    }
    args->image.filename = cli_one_filename(argc, argv);
    return cli_parse_output(output, &args->json);
}

static int info_run(const Command *cmd, int argc, char **argv)
{
    InfoArgs args = { .image.flags = BDRV_O_NO_BACKING | BDRV_O_NO_IO };

    if (!parse_args(cmd, argc, argv, &args)) {
        return EXIT_FAILURE;
    }
    g_autoptr(GPtrArray) chain = gather_chain(&args);
    if (!chain) {
        return EXIT_FAILURE;
    }
    if (args.json) {
        print_json(chain, args.chain);
    } else {
        print_human(chain);
    }
    return EXIT_SUCCESS;
}

const Command info_command = {
    .name = "info",
    .run = info_run,
    .args = "FILENAME",
    .summary = "Tells what an image is.",
    .options = info_cli_options,
    .example = "info --output=json disk.img",
};
