/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini bitmap: adds, removes, clears, enables, disables and merges persistent bitmaps.
 *
 * The actions are carried out in the order in which they were given; the first that fails ends
 * it. What was done before is stored all the same.
 */
#include "cli.h"

#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "bitmap-copy.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct Action {
    int kind;           /* CLI_OPT_BITMAP_* */
    const char *source; /* of a merge: the bitmap whose bits are added */
} Action;

typedef struct BitmapArgs {
    CliImage image, source;
    const char *name;
    int64_t granularity; /* bytes; 0: the image's default */
    bool add, merge;
    GArray *actions;     /* of Action */
} BitmapArgs;

static const CliOption bitmap_cli_options[] = {
    CLI_HELP_OPTION,
    { CLI_OPT_BITMAP_ADD, "add", NULL, "add the bitmap, empty and enabled" },
    { CLI_OPT_BITMAP_REMOVE, "remove", NULL, "remove it" },
    { CLI_OPT_BITMAP_CLEAR, "clear", NULL, "clear all of its bits" },
    { CLI_OPT_BITMAP_ENABLE, "enable", NULL, "record changes from now on" },
    { CLI_OPT_BITMAP_DISABLE, "disable", NULL, "no longer record changes" },
    { CLI_OPT_BITMAP_MERGE, "merge", "SOURCE", "add the bits of the bitmap SOURCE" },
    { 'b', "source-file", "FILE", "with --merge: the image that holds SOURCE" },
    { 'F', "source-format", "FMT", "format of that image (default: look)" },
    { 'g', "granularity", "SIZE", "with --add: bytes of the disk for each bit, a power of two" },
    CLI_FORMAT_OPTION,
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    CLI_OBJECT_OPTION,
    {},
};

/* --- actions --- */

static BdrvDirtyBitmap *lookup(BlockDriverState *bs, const char *name, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(bs, name);

    if (!bitmap) {
        error_setg(errp, "Dirty bitmap '%s' not found", name);
    }
    return bitmap;
}

static bool remove_bitmap(BlockDriverState *bs, BdrvDirtyBitmap *bitmap, Error **errp)
{
    if (bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_BUSY | BDRV_BITMAP_RO, errp) < 0 ||
        (bdrv_dirty_bitmap_get_persistence(bitmap) &&
         bdrv_remove_persistent_dirty_bitmap(bs, bdrv_dirty_bitmap_name(bitmap), errp) < 0)) {
        return false;
    }
    bdrv_release_dirty_bitmap(bitmap);
    return true;
}

static bool merge_bitmap(BdrvDirtyBitmap *bitmap, BlockDriverState *source_bs, const char *source,
                         Error **errp)
{
    BdrvDirtyBitmap *from = lookup(source_bs, source, errp);

    return from && bdrv_merge_dirty_bitmap(bitmap, from, errp);
}

static bool carry_out(const BitmapArgs *args, const Action *action, BlockDriverState *bs,
                      BlockDriverState *source_bs, Error **errp)
{
    BdrvDirtyBitmap *bitmap;

    if (action->kind == CLI_OPT_BITMAP_ADD) {
        return bitmap_add(bs, args->name, args->granularity, false, errp);
    }
    bitmap = lookup(bs, args->name, errp);
    if (!bitmap) {
        return false;
    }
    switch (action->kind) {
    case CLI_OPT_BITMAP_REMOVE:
        return remove_bitmap(bs, bitmap, errp);
    case CLI_OPT_BITMAP_MERGE:
        return merge_bitmap(bitmap, source_bs, action->source, errp);
    case CLI_OPT_BITMAP_CLEAR:
        if (bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_DEFAULT, errp) < 0) {
            return false;
        }
        bdrv_clear_dirty_bitmap(bitmap);
        return true;
    default:
        if (bdrv_dirty_bitmap_check(bitmap, BDRV_BITMAP_ALLOW_RO, errp) < 0) {
            return false;
        }
        if (action->kind == CLI_OPT_BITMAP_ENABLE) {
            bdrv_enable_dirty_bitmap(bitmap);
        } else {
            bdrv_disable_dirty_bitmap(bitmap);
        }
        return true;
    }
}

static const char *action_name(int kind)
{
    for (const CliOption *o = bitmap_cli_options; o->val; o++) {
        if (o->val == kind) {
            return o->lname;
        }
    }
    g_assert_not_reached();
}

static int carry_out_all(const BitmapArgs *args, BlockDriverState *bs, BlockDriverState *source_bs)
{
    int status = EXIT_SUCCESS;
    Error *err = NULL;

    for (guint i = 0; i < args->actions->len; i++) {
        const Action *action = &g_array_index(args->actions, Action, i);

        if (!carry_out(args, action, bs, source_bs, &err)) {
            error_reportf_err(g_steal_pointer(&err), "Operation %s on bitmap %s failed: ",
                              action_name(action->kind), args->name);
            status = EXIT_FAILURE;
            break;
        }
        /* What is left is the storing. */
        progress_update(i + 1, args->actions->len + 1);
    }
    return status;
}

/* --- the command --- */

static bool take_option(int c, BitmapArgs *args)
{
    Action action = { .kind = c, .source = optarg };

    switch (c) {
    case 'b':
        args->source.filename = optarg;
        break;
    case 'F':
        args->source.format = optarg;
        break;
    case 'g':
        args->granularity = cli_parse_size("granularity", optarg, 0, INT64_MAX);
        return args->granularity >= 0;
    case 'f':
    case 'p':
    case CLI_OPT_IMAGE_OPTS:
    case CLI_OPT_OBJECT:
    case CLI_OPT_PROGRESS:
        return cli_image_option(c, &args->image);
    default:
        args->add |= c == CLI_OPT_BITMAP_ADD;
        args->merge |= c == CLI_OPT_BITMAP_MERGE;
        g_array_append_val(args->actions, action);
    }
    return true;
}

static const char *contradiction(const BitmapArgs *args, int names)
{
    if (!args->actions->len) {
        return "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge";
    }
    if (args->granularity && !args->add) {
        return "granularity only supported with --add";
    }
    if (args->source.format && !args->source.filename) {
        return "-F only supported with -b";
    }
    if (args->source.filename && !args->merge) {
        return "Merge bitmap source file only supported with --merge";
    }
    return names != 2 ? "Expecting filename and bitmap name" : NULL;
}

static bool parse_args(const Command *cmd, int argc, char **argv, BitmapArgs *args)
{
    const char *wrong;
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!take_option(c, args)) {
            return false;
        }
    }
    wrong = contradiction(args, argc - optind);
    if (wrong) {
        error_report("%s", wrong);
        cli_hint_help();
        return false;
    }
    args->image.filename = argv[optind];
    args->name = argv[optind + 1];
    return true;
}

static int run_with(const BitmapArgs *args)
{
    g_autoptr(BlockBackend) blk = cli_open_image(&args->image);
    g_autoptr(BlockBackend) source = NULL;
    int status;

    if (!blk) {
        return EXIT_FAILURE;
    }
    if (args->source.filename) {
        source = cli_open_image(&args->source);
        if (!source) {
            return EXIT_FAILURE;
        }
    }
    progress_begin(false);
    status = carry_out_all(args, blk_bs(blk), blk_bs(source ? source : blk));
    if (!bitmap_store(blk_bs(blk)) || !cli_finish_image(blk)) {
        status = EXIT_FAILURE;
    }
    progress_end(status == EXIT_SUCCESS);
    return status;
}

static int bitmap_run(const Command *cmd, int argc, char **argv)
{
    g_autoptr(GArray) actions = g_array_new(false, false, sizeof(Action));
    BitmapArgs args = { .image.flags = BDRV_O_RDWR | BDRV_O_NO_BACKING,
                        .source.flags = BDRV_O_NO_BACKING,
                        .actions = actions };

    return parse_args(cmd, argc, argv, &args) ? run_with(&args) : EXIT_FAILURE;
}

const Command bitmap_command = {
    .name = "bitmap",
    .run = bitmap_run,
    .args = "ACTION... FILENAME BITMAP",
    .summary = "Changes a persistent bitmap of an image.",
    .options = bitmap_cli_options,
    .notes = "Actions are --add, --remove, --clear, --enable, --disable and --merge. Several are done in\n"
             "their order.",
    .example = "bitmap --add -g 64k disk.qcow2 backup1",
};
