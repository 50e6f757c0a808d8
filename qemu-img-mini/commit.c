/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini commit: writes what an image holds into a layer below it, and empties it.
 *
 * Layers below are opened for reading. Which one has to be opened for writing is known only when the
 * chain has been seen, so the image is opened twice.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "bitmap-copy.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

typedef struct Commit {
    CliImage image;
    const char *cache;
    const char *base; /* NULL: the next layer */
    bool drop;        /* the image need not be emptied */
    bool quiet;
    int64_t rate;
} Commit;

static const CliOption commit_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    { 'f', NULL, "FMT", "format of the image (default: look)" },
    { 't', NULL, "CACHE", "cache mode (default: writeback)" },
    { 'b', NULL, "BASE", "layer to commit to (default: the next one); implies -d" },
    { 'd', NULL, NULL, "leave the image as it is: it is going to be deleted" },
    { 'r', NULL, "RATE", "bytes per second to copy at most" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', NULL, NULL, "say nothing but errors" },
    {},
};

/* False when the option's value is wrong; the message has been given. */
static bool parse_option(int c, Commit *cm)
{
    switch (c) {
    case 't': cm->cache = optarg; break;
    case 'b': cm->base = optarg; cm->drop = true; break;
    case 'd': cm->drop = true; break;
    case 'q': cm->quiet = true; break;
    case 'r':
        cm->rate = cli_parse_size("rate limit", optarg, 0, INT64_MAX);
        return cm->rate >= 0;
    default: return cli_image_option(c, &cm->image);
    }
    return true;
}

/* NULL and a message when there is no such layer. */
static BlockDriverState *find_base(const Commit *cm, BlockDriverState *top)
{
    BlockDriverState *base;

    if (cm->base) {
        base = bdrv_find_backing_image(top, cm->base);
        if (!base) {
            error_report("Did not find '%s' in the backing chain of '%s'", cm->base,
                         cm->image.filename);
        }
    } else {
        base = bdrv_backing_chain_next(top);
        if (!base) {
            error_report("Image does not have a backing file");
        }
    }
    return base;
}

/* The prefix that the options of the layer @base have. To be freed. */
static char *prefix_of(BlockDriverState *top, const BlockDriverState *base)
{
    GString *prefix = g_string_new(NULL);

    for (BlockDriverState *bs = top; bs != base;) {
        BlockDriverState *backing = bdrv_backing_bs(bs);

        g_string_append(prefix, backing ? "backing." : "file.");
        bs = backing ?: bdrv_primary_bs(bs);
    }
    return g_string_free(prefix, FALSE);
}

/* The image with the base open for writing; NULL and a message. */
static BlockBackend *open_chain(Commit *cm, BlockDriverState **base)
{
    BlockBackend *blk = cli_open_image(&cm->image);

    *base = blk ? find_base(cm, blk_bs(blk)) : NULL;
    if (!*base) {
        blk_unref(blk);
        return NULL;
    }
    g_autofree char *prefix = prefix_of(blk_bs(blk), *base);
    blk_unref(blk);
    cm->image.write_layer = prefix;
    blk = cli_open_image(&cm->image);
    cm->image.write_layer = NULL;
    *base = blk ? find_base(cm, blk_bs(blk)) : NULL;
    if (!*base) {
        blk_unref(blk);
        return NULL;
    }
    return blk;
}

static bool commit(Commit *cm, BlockBackend *blk, BlockDriverState *base)
{
    Error *err = NULL;

    progress_begin(cm->quiet);
    int ret = blk_commit(blk, base, cm->rate, progress_callback, NULL, &err);
    if (ret == 0 && !cm->drop) {
        ret = blk_make_empty(blk, &err);
        if (ret == -ENOTSUP) {
            error_free(err);
            err = NULL;
            ret = 0;
        }
    }
    bool ok = ret == 0 && bitmap_store(base) && cli_finish_image(blk);
    progress_end(ok);
    if (ret < 0) {
        error_report_err(err);
    }
    if (ok && !cm->quiet) {
        printf("Image committed.\n");
    }
    return ok;
}

static int commit_run(const Command *cmd, int argc, char **argv)
{
    Commit cm = { .cache = "writeback", .image.flags = BDRV_O_RDWR | BDRV_O_UNMAP };
    BlockDriverState *base;
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!parse_option(c, &cm)) {
            return EXIT_FAILURE;
        }
    }
    cm.image.filename = cli_one_filename(argc, argv);
    if (bdrv_parse_cache_mode(cm.cache, &cm.image.flags, &cm.image.writethrough) < 0) {
        error_report("Invalid cache option: %s", cm.cache);
        return EXIT_FAILURE;
    }
    BlockBackend *blk = open_chain(&cm, &base);
    bool ok = blk && commit(&cm, blk, base);
    blk_unref(blk);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

const Command commit_command = {
    .name = "commit",
    .run = commit_run,
    .args = "FILENAME",
    .summary = "Writes what an image holds into its backing file, and empties it.",
    .options = commit_cli_options,
    .example = "commit -p overlay.qcow2",
};
