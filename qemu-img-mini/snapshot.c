/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini snapshot: lists, creates, applies and deletes the snapshots inside an image.
 *
 * As for qemu-img, -d looks for a name alone, -a for an id first; without an action nothing is
 * done but to open the image.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "block/snapshot.h"
#include "progress.h"
#include "qemu/error-report.h"
#include "snapshot-list.h"

typedef enum Action {
    ACTION_NONE = 0,
    ACTION_LIST = 'l',
    ACTION_CREATE = 'c',
    ACTION_APPLY = 'a',
    ACTION_DELETE = 'd',
} Action;

typedef struct SnapshotArgs {
    CliImage image;
    Action action;
    const char *name;
    bool quiet;
} SnapshotArgs;

static const CliOption snapshot_cli_options[] = {
    CLI_HELP_OPTION,
    { 'l', NULL, NULL, "list all snapshots" },
    { 'c', NULL, "NAME", "create a snapshot" },
    { 'a', NULL, "SNAPSHOT", "apply it: the disk becomes what it was then" },
    { 'd', NULL, "NAME", "delete it" },
    CLI_FORMAT_OPTION,
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', "quiet", NULL, "say nothing but errors" },
    CLI_FORCE_SHARE_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    CLI_OBJECT_OPTION,
    {},
};

/* --- actions --- */

static int list(BlockDriverState *bs)
{
    g_autofree QEMUSnapshotInfo *snapshots = NULL;
    int n = bdrv_snapshot_list(bs, &snapshots);

    snapshot_list_print(snapshots, n, 0);
    return EXIT_SUCCESS;
}

static int create(BlockDriverState *bs, const char *name)
{
    QEMUSnapshotInfo sn = { 0 };
    gint64 now = g_get_real_time(); /* microseconds */
    int ret;

    g_strlcpy(sn.name, name, sizeof(sn.name));
    sn.date_sec = now / G_USEC_PER_SEC;
    sn.date_nsec = now % G_USEC_PER_SEC * 1000;
    ret = bdrv_snapshot_create(bs, &sn);
    if (ret < 0) {
        error_report("Could not create snapshot '%s': %d (%s)", name, ret, strerror(-ret));
    }
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int apply(BlockDriverState *bs, const char *name)
{
    Error *err = NULL;

    if (bdrv_snapshot_goto(bs, name, &err) < 0) {
        error_reportf_err(err, "Could not apply snapshot '%s': ", name);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int delete(BlockDriverState *bs, const char *name)
{
    QEMUSnapshotInfo sn;
    Error *err = NULL;

    if (bdrv_snapshot_find(bs, &sn, name) < 0) {
        error_report("Could not delete snapshot '%s': snapshot not found", name);
        return EXIT_FAILURE;
    }
    if (bdrv_snapshot_delete(bs, sn.id_str, sn.name, &err) < 0) {
        error_reportf_err(err, "Could not delete snapshot '%s': ", name);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int act(BlockDriverState *bs, const SnapshotArgs *args)
{
    switch (args->action) {
    case ACTION_NONE:
        cli_hint_help(); /* qemu-img does nothing, in silence */
        break;
    case ACTION_LIST: return list(bs);
    case ACTION_CREATE: return create(bs, args->name);
    case ACTION_APPLY: return apply(bs, args->name);
    case ACTION_DELETE: return delete(bs, args->name);
    }
    return EXIT_SUCCESS;
}

/* --- the command --- */

static void set_action(SnapshotArgs *args, Action action)
{
    if (args->action) {
        cli_usage_error("Cannot mix '-l', '-a', '-c', '-d'");
    }
    args->action = action;
    args->name = optarg;
}

/* False and a message when an option's value is wrong. */
static bool parse_args(const Command *cmd, int argc, char **argv, SnapshotArgs *args)
{
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 'l': case 'c': case 'a': case 'd':
            set_action(args, c);
            break;
        case 'q':
            args->quiet = true;
            break;
        default:
            if (!cli_image_option(c, &args->image)) {
                return false;
            }
            break;
        }
    }
    args->image.filename = cli_one_filename(argc, argv);
    args->image.flags = args->action == ACTION_LIST ? BDRV_O_UNMAP : BDRV_O_UNMAP | BDRV_O_RDWR;
    return true;
}

static int snapshot_run(const Command *cmd, int argc, char **argv)
{
    SnapshotArgs args = { 0 };

    if (!parse_args(cmd, argc, argv, &args)) {
        return EXIT_FAILURE;
    }
    g_autoptr(BlockBackend) blk = cli_open_image(&args.image);
    if (!blk) {
        return EXIT_FAILURE;
    }
    if (args.action == ACTION_NONE || args.action == ACTION_LIST) {
        return act(blk_bs(blk), &args);
    }
    progress_begin(args.quiet);
    bdrv_set_progress(blk_bs(blk), progress_callback, NULL);
    bool ok = act(blk_bs(blk), &args) == EXIT_SUCCESS && cli_finish_image(blk);
    bdrv_set_progress(blk_bs(blk), NULL, NULL);
    progress_end(ok);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

const Command snapshot_command = {
    .name = "snapshot",
    .run = snapshot_run,
    .args = "FILENAME",
    .summary = "Lists, creates, applies or deletes the snapshots that are kept inside an image.",
    .options = snapshot_cli_options,
    .example = "snapshot -c before-upgrade disk.qcow2\n"
               "snapshot -l disk.qcow2\n"
               "snapshot -a before-upgrade disk.qcow2",
};
