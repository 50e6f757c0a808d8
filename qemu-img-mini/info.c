/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini info: what an image is, for people or as JSON.
 *
 * The image is opened without its backing file and without reading guest data. What is
 * known of a node is gathered first (ImageInfo), then printed in either way. The lines and
 * keys are qemu-img 7.2's; the child nodes are added as QEMU 8 and later do.
 */
#include "cli.h"

#include <getopt.h>
#include <jansson.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "json-output.h"

typedef struct ImageInfo {
    char *filename;
    char *format;
    char *child_name;     /* of the edge that leads here; NULL at the top */
    int64_t virtual_size; /* bytes */
    int64_t actual_size;  /* bytes on the host's disk, negative: not known */
    int cluster_size;     /* bytes, 0: none */
    bool has_dirty_flag;
    bool dirty;
    bool encrypted;
    char *backing_name;   /* as the image holds it; NULL: none */
    char *backing_path;   /* the file that it means; NULL: cannot be told */
    char *backing_format; /* NULL: not recorded */
    GPtrArray *children; /* of ImageInfo */
} ImageInfo;

typedef struct InfoArgs {
    CliImage image;
    bool json;
    bool chain;
} InfoArgs;

static const CliOption info_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { CLI_OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options" },
    { 'f', "format", "FMT", "format of the image (default: look)" },
    { CLI_OPT_OUTPUT, "output", "human|json", "form of the output" },
    { CLI_OPT_BACKING_CHAIN, "backing-chain", NULL, "the backing files as well" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- gathering --- */

static void image_info_free(void *opaque)
{
    ImageInfo *info = opaque;

    if (info) {
        g_free(info->filename);
        g_free(info->format);
        g_free(info->child_name);
        g_free(info->backing_name);
        g_free(info->backing_path);
        g_free(info->backing_format);
        g_ptr_array_unref(info->children);
        g_free(info);
    }
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageInfo, image_info_free)

static ImageInfo *gather(BlockDriverState *bs, const char *child_name);

static void gather_child(void *opaque, const char *name, BlockDriverState *child)
{
    ImageInfo *info = opaque;
    g_ptr_array_add(info->children, gather(child, name));
}

static ImageInfo *gather(BlockDriverState *bs, const char *child_name)
{
    ImageInfo *info = g_new0(ImageInfo, 1);
    BlockDriverInfo bdi = {};

    info->filename = g_strdup(bdrv_get_filename(bs));
    info->format = g_strdup(bdrv_get_format_name(bs));
    info->child_name = g_strdup(child_name);
    info->virtual_size = bdrv_getlength(bs);
    info->actual_size = bdrv_get_allocated_file_size(bs);
    info->encrypted = bdrv_is_encrypted(bs);
    info->backing_name = g_strdup(bdrv_get_backing_filename(bs));
    info->backing_path = bdrv_get_full_backing_filename(bs, NULL);
    info->backing_format = g_strdup(bdrv_get_backing_format_name(bs));
    if (bdrv_get_info(bs, &bdi) >= 0) {
        info->has_dirty_flag = true;
        info->dirty = bdi.is_dirty;
        info->cluster_size = bdi.cluster_size;
    }
    info->children = g_ptr_array_new_with_free_func(image_info_free);
    bdrv_iterate_children(bs, gather_child, info);
    return info;
}

/* NULL and a message on failure. */
static ImageInfo *gather_image(const CliImage *image)
{
    g_autoptr(BlockBackend) blk = cli_open_image(image);

    if (!blk) {
        return NULL;
    }
    g_autoptr(ImageInfo) info = gather(blk_bs(blk), NULL);
    if (info->virtual_size < 0) {
        error_report("Can't get image size '%s': %s", info->filename,
                     strerror(-info->virtual_size));
        return NULL;
    }
    return g_steal_pointer(&info);
}

/* --- JSON --- */

static json_t *json_text(const char *s)
{
    /* A file name may be any bytes, JSON is UTF-8. */
    g_autofree char *valid = g_utf8_make_valid(s, -1);
    return json_string(valid);
}

static bool is_host_file(const ImageInfo *info)
{
    return !strcmp(info->format, "file") || !strcmp(info->format, "host_device");
}

static json_t *to_json(const ImageInfo *info)
{
    json_t *obj = json_object();
    json_t *children = json_array();

    for (guint i = 0; i < info->children->len; i++) {
        const ImageInfo *child = info->children->pdata[i];
        json_array_append_new(children, json_pack("{s:o, s:o}", "name",
                                                  json_text(child->child_name), "info",
                                                  to_json(child)));
    }
    json_object_set_new(obj, "children", children);
    if (info->backing_format) {
        json_object_set_new(obj, "backing-filename-format", json_text(info->backing_format));
    }
    json_object_set_new(obj, "virtual-size", json_integer(info->virtual_size));
    json_object_set_new(obj, "filename", json_text(info->filename));
    if (info->cluster_size) {
        json_object_set_new(obj, "cluster-size", json_integer(info->cluster_size));
    }
    json_object_set_new(obj, "format", json_text(info->format));
    if (info->actual_size >= 0) {
        json_object_set_new(obj, "actual-size", json_integer(info->actual_size));
    }
    if (info->child_name && is_host_file(info)) {
        json_object_set_new(obj, "format-specific",
                            json_pack("{s:s, s:{}}", "type", "file", "data"));
    }
    if (info->backing_path) {
        json_object_set_new(obj, "full-backing-filename", json_text(info->backing_path));
    }
    if (info->backing_name) {
        json_object_set_new(obj, "backing-filename", json_text(info->backing_name));
    }
    if (info->encrypted) {
        json_object_set_new(obj, "encrypted", json_true());
    }
    if (info->has_dirty_flag) {
        json_object_set_new(obj, "dirty-flag", json_boolean(info->dirty));
    }
    return obj;
}

/* --- for people --- */

static void print_size_line(int indent, const char *what, int64_t bytes)
{
    g_autofree char *text = size_to_str(bytes);
    printf("%*s%s: %s (%" PRId64 " bytes)\n", indent, "", what, text, bytes);
}

static void print_backing(const ImageInfo *info, int indent)
{
    if (!info->backing_name) {
        return;
    }
    printf("%*sbacking file: %s", indent, "", info->backing_name);
    if (!info->backing_path) {
        printf(" (cannot determine actual path)");
    } else if (strcmp(info->backing_name, info->backing_path)) {
        printf(" (actual path: %s)", info->backing_path);
    }
    printf("\n");
    if (info->backing_format) {
        printf("%*sbacking file format: %s\n", indent, "", info->backing_format);
    }
}

/* @path names the node within the graph: "/file"; "" at the top. */
static void print_human(const ImageInfo *info, int indent, const char *path)
{
    bool top = !*path;

    printf("%*s%s: %s\n", indent, "", top ? "image" : "filename", info->filename);
    printf("%*s%s: %s\n", indent, "", top ? "file format" : "protocol type", info->format);
    print_size_line(indent, top ? "virtual size" : "file length", info->virtual_size);
    g_autofree char *disk =
        info->actual_size < 0 ? g_strdup("unavailable") : size_to_str(info->actual_size);
    printf("%*sdisk size: %s\n", indent, "", disk);
    if (info->encrypted) {
        printf("%*sencrypted: yes\n", indent, "");
    }
    if (info->cluster_size) {
        printf("%*scluster_size: %d\n", indent, "", info->cluster_size);
    }
    if (info->has_dirty_flag && info->dirty) {
        printf("%*scleanly shut down: no\n", indent, "");
    }
    print_backing(info, indent);
    for (guint i = 0; i < info->children->len; i++) {
        const ImageInfo *child = info->children->pdata[i];
        g_autofree char *child_path = g_strdup_printf("%s/%s", path, child->child_name);

        printf("%*sChild node '%s':\n", indent, "", child_path);
        print_human(child, indent + 4, child_path);
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
        case 'f':
            args->image.format = optarg;
            break;
        case 'U':
            args->image.force_share = true;
            break;
        case CLI_OPT_OUTPUT:
            output = optarg;
            break;
        case CLI_OPT_BACKING_CHAIN:
            args->chain = true;
            break;
        case CLI_OPT_IMAGE_OPTS:
            args->image.image_opts = true;
            break;
        case CLI_OPT_OBJECT:
            if (!cli_add_object(optarg)) {
                return false;
            }
            break;
        }
    }
    if (optind != argc - 1) {
        cli_usage_error("Expecting one image file name");
    }
    args->image.filename = argv[optind];
    if (output && strcmp(output, "json") != 0 && strcmp(output, "human") != 0) {
        error_report("--output must be used with human or json as argument.");
        return false;
    }
    args->json = output && !strcmp(output, "json");
    return true;
}

static int info_run(const Command *cmd, int argc, char **argv)
{
    InfoArgs args = { .image.flags = BDRV_O_NO_BACKING | BDRV_O_NO_IO };

    if (!parse_args(cmd, argc, argv, &args)) {
        return EXIT_FAILURE;
    }
    g_autoptr(ImageInfo) info = gather_image(&args.image);
    if (!info) {
        return EXIT_FAILURE;
    }
    if (!args.json) {
        print_human(info, 0, "");
        return EXIT_SUCCESS;
    }
    json_t *json = to_json(info);
    if (args.chain) {
        json = json_pack("[o]", json);
    }
    json_output_print(json);
    json_decref(json);
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
