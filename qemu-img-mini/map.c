/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini map: which parts of an image are stored, where, and in which file of the
 * backing chain. Neighbours that differ in nothing are printed as one. No guest data is read.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct MapArgs {
    CliImage image;
    bool json;
    int64_t start;  /* bytes */
    int64_t length; /* bytes; -1: to the end */
} MapArgs;

typedef struct MapEntry {
    int64_t start, length;
    int64_t offset;       /* in @filename, if has_offset */
    const char *filename; /* belongs to a node; NULL: not known */
    int depth;            /* 0: the image itself, 1: its backing file ... */
    bool data, zero, present, has_offset;
} MapEntry;

static const CliOption map_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    CLI_FORMAT_OPTION,
    CLI_OUTPUT_OPTION,
    { 's', "start-offset", "OFFSET", "begin there" },
    { 'l', "max-length", "LENGTH", "at most that many bytes" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- the status of a range --- */

static BlockDriverState *skip_filters(BlockDriverState *bs)
{
    while (bs && bdrv_is_filter(bs)) {
        BlockDriverState *below = bdrv_primary_bs(bs);
        bs = below ? below : bdrv_backing_bs(bs);
    }
    return bs;
}

/* What the range from @offset on is, which is alike for @e->length bytes. 0 or -errno. */
static int get_entry(BlockDriverState *bs, int64_t offset, int64_t bytes, MapEntry *e)
{
    BlockDriverState *file = NULL;
    int64_t map = 0;
    int depth = 0;
    int ret;

    for (bs = skip_filters(bs);; depth++) {
        ret = bdrv_block_status(bs, offset, bytes, &bytes, &map, &file);
        if (ret < 0) {
            return ret;
        }
        if (bytes <= 0) {
            return -EIO; /* it has become shorter */
        }
        if (ret & (BDRV_BLOCK_ZERO | BDRV_BLOCK_DATA)) {
            break;
        }
        bs = skip_filters(bdrv_backing_bs(bs));
        if (!bs) {
            ret = 0;
            break;
        }
    }
    *e = (MapEntry) {
        .start = offset,
        .length = bytes,
        .data = ret & BDRV_BLOCK_DATA,
        .zero = ret & BDRV_BLOCK_ZERO,
        .present = ret & BDRV_BLOCK_ALLOCATED,
        .has_offset = ret & BDRV_BLOCK_OFFSET_VALID,
        .offset = map,
        .depth = depth,
    };
    e->filename = e->has_offset && file ? bdrv_get_filename(file) : NULL;
    return 0;
}

static bool mergeable(const MapEntry *a, const MapEntry *b)
{
    return a->length > 0 && a->zero == b->zero && a->data == b->data &&
           a->present == b->present && a->depth == b->depth &&
           a->has_offset == b->has_offset && !g_strcmp0(a->filename, b->filename) &&
           (!a->has_offset || a->offset + a->length == b->offset);
}

/* --- printing --- */

/* False and a message when an entry cannot be told in this form. */
static bool print_human(const MapEntry *e)
{
    if (e->data && !e->has_offset) {
        error_report("File contains external, encrypted or compressed clusters.");
        return false;
    }
    if (e->data && !e->zero) {
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length,
               e->has_offset ? e->offset : 0, e->filename ? e->filename : "");
    }
    return true;
}

static const char *json_bool(bool value)
{
    return value ? "true" : "false";
}

static void print_json(const MapEntry *e, bool last)
{
    printf("{ \"start\": %" PRId64 ", \"length\": %" PRId64
           ", \"depth\": %d, \"present\": %s, \"zero\": %s, \"data\": %s",
           e->start, e->length, e->depth, json_bool(e->present), json_bool(e->zero),
           json_bool(e->data));
    if (e->has_offset) {
        printf(", \"offset\": %" PRId64, e->offset);
    }
    fputs(last ? "}" : "},\n", stdout);
}

/* @next NULL: this is the last one. It may be changed. */
static bool print_entry(const MapArgs *args, const MapEntry *e, MapEntry *next)
{
    if (args->json) {
        print_json(e, !next);
        return true;
    }
    if (!print_human(e)) {
        return false;
    }
    /* For people, all that reads as zeroes is alike. */
    if (next && (!next->data || next->zero)) {
        next->data = false;
        next->zero = true;
    }
    return true;
}

static bool print_map(const MapArgs *args, BlockDriverState *bs, int64_t length)
{
    MapEntry current = { .start = args->start };
    MapEntry next;

    if (args->json) {
        putchar('[');
    } else {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    while (current.start + current.length < length) {
        int64_t offset = current.start + current.length;
        int ret = get_entry(bs, offset, length - offset, &next);

        if (ret < 0) {
            error_report("Could not read file metadata: %s", strerror(-ret));
            return false;
        }
        if (mergeable(&current, &next)) {
            current.length += next.length;
            continue;
        }
        if (current.length > 0 && !print_entry(args, &current, &next)) {
            return false;
        }
        current = next;
    }
    if (!print_entry(args, &current, NULL)) {
        return false;
    }
    if (args->json) {
        puts("]");
    }
    return true;
}

/* --- the command --- */

/* False and a message when an option's value is wrong. */
static bool parse_args(const Command *cmd, int argc, char **argv, MapArgs *args)
{
    const char *output = NULL;
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 's':
            args->start = cli_parse_size("start offset", optarg, 0, INT64_MAX);
            if (args->start < 0) {
                return false;
            }
            break;
        case 'l':
            args->length = cli_parse_size("max length", optarg, 0, INT64_MAX);
            if (args->length < 0) {
                return false;
            }
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
    return cli_parse_output(output, &args->json);
}

static int map_run(const Command *cmd, int argc, char **argv)
{
    MapArgs args = { .length = -1 };

    if (!parse_args(cmd, argc, argv, &args)) {
        return EXIT_FAILURE;
    }
    g_autoptr(BlockBackend) blk = cli_open_image(&args.image);
    if (!blk) {
        return EXIT_FAILURE;
    }
    int64_t length = blk_getlength(blk);
    if (length < 0) {
        error_report("Failed to get size for '%s'", args.image.filename);
        return EXIT_FAILURE;
    }
    if (args.length >= 0 && args.length < length && args.start < length - args.length) {
        length = args.start + args.length;
    }
    /* Nothing else waits for this thread. */
    aio_context_set_may_block(qemu_get_current_aio_context(), true);
    return print_map(&args, blk_bs(blk), length) ? EXIT_SUCCESS : EXIT_FAILURE;
}

const Command map_command = {
    .name = "map",
    .run = map_run,
    .args = "FILENAME",
    .summary = "Tells which parts of an image are stored, and where.",
    .options = map_cli_options,
    .example = "map --output=json disk.qcow2",
};
