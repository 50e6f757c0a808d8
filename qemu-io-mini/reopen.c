/* SPDX-License-Identifier: MIT */
/*
 * "reopen": the image is closed and opened once more with other options. What cannot change
 * in an open image (which file, which driver) is refused before, with QEMU's messages. When
 * the image cannot be opened in the new way it is opened as it was.
 */
#include "io.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

/* --- what may change --- */

static const char *const node_options[] = {
    "auto-read-only", BDRV_OPT_CACHE_DIRECT, BDRV_OPT_CACHE_NO_FLUSH,
    "detect-zeroes",  BDRV_OPT_DISCARD,      BDRV_OPT_READ_ONLY,
};

/* What a driver takes anew; a "." or "-" at the end stands for all that begin so. */
static const struct {
    const char *driver;
    const char *option;
} driver_options[] = {
    { "qcow2", "cache-clean-interval" },
    { "qcow2", "cache-size" },
    { "qcow2", "l2-cache-entry-size" },
    { "qcow2", "l2-cache-size" },
    { "qcow2", "lazy-refcounts" },
    { "qcow2", "overlap-check" },
    { "qcow2", "overlap-check." },
    { "qcow2", "pass-discard-" },
    { "qcow2", "refcount-cache-size" },
    { "raw", "offset" },
    { "raw", "size" },
    { "throttle", "throttle-group" },
};

static bool matches(const char *pattern, const char *key)
{
    char last = pattern[strlen(pattern) - 1];

    return last == '.' || last == '-' ? g_str_has_prefix(key, pattern) : !strcmp(key, pattern);
}

/* What the node has now, for options that may be given only as they are; NULL: not known. */
static const char *present_value(BlockDriverState *bs, const char *key)
{
    if (!strcmp(key, "driver")) {
        return bdrv_get_format_name(bs);
    }
    if (!strcmp(key, "filename")) {
        return bdrv_get_filename(bs);
    }
    return !strcmp(key, "node-name") ? bdrv_get_node_name(bs) : NULL;
}

static bool may_change(BlockDriverState *bs, const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(node_options); i++) {
        if (!strcmp(key, node_options[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(driver_options); i++) {
        if (!strcmp(bdrv_get_format_name(bs), driver_options[i].driver) &&
            matches(driver_options[i].option, key)) {
            return true;
        }
    }
    return false;
}

typedef struct ChildSearch {
    const char *key;
    BlockDriverState *child; /* the one whose name @key begins with, or NULL */
    size_t prefix;           /* with the dot */
} ChildSearch;

static void find_child(void *opaque, const char *name, BlockDriverState *child)
{
    ChildSearch *search = opaque;
    size_t len = strlen(name);

    if (!strncmp(search->key, name, len) && search->key[len] == '.') {
        search->child = child;
        search->prefix = len + 1;
    }
}

/*
 * 1: a change; 0: nothing changes; -EINVAL with @errp. @given: what the option with all its
 * prefixes was when the image was opened, or NULL.
 */
static int check_option(BlockDriverState *bs, const char *key, const char *value,
                        const char *given, Error **errp)
{
    ChildSearch search = { .key = key };

    bdrv_iterate_children(bs, find_child, &search);
    if (search.child) {
        return check_option(search.child, key + search.prefix, value, given, errp);
    }
    if (!g_strcmp0(given, value) || !g_strcmp0(present_value(bs, key), value)) {
        return 0;
    }
    if (may_change(bs, key)) {
        return 1;
    }
    if (!strcmp(key, "backing") || !strcmp(key, "file")) {
        error_setg(errp, "Cannot find device='' nor node-name='%s'", value);
    } else {
        error_setg(errp, "Cannot change the option '%s'", key);
    }
    return -EINVAL;
}

/* Leaves in @changes what changes something. */
static bool check_options(const IoSession *io, BlockOptions *changes, Error **errp)
{
    for (size_t i = blk_options_count(changes); i-- > 0;) {
        const char *key = blk_options_key(changes, i);
        int ret = check_option(blk_bs(io->blk), key, blk_options_get(changes, key),
                               blk_options_get(io->options, key), errp);

        if (ret < 0) {
            return false;
        }
        if (!ret) {
            blk_options_del(changes, key);
        }
    }
    return true;
}

/* --- the command --- */

typedef struct ReopenArgs {
    IoOpenArgs open;
    BlockOptions *changes;
    bool mode_given, cache_given;
} ReopenArgs;

static int parse_reopen(const IoCommand *cmd, int argc, char **argv, ReopenArgs *args)
{
    int c;

    while ((c = getopt(argc, argv, "c:o:rw")) != -1) {
        switch (c) {
        case 'c':
            if (io_open_option(&args->open, 't', optarg) < 0) {
                return -EINVAL;
            }
            args->cache_given = true;
            break;
        case 'o':
            if (!io_add_options(&args->changes, optarg, NULL)) {
                return -EINVAL;
            }
            break;
        case 'r':
        case 'w':
            if (args->mode_given) {
                error_report("Only one -r/-w option may be given");
                return -EINVAL;
            }
            args->mode_given = true;
            args->open.read_only = c == 'r';
            break;
        default:
            return io_usage(cmd);
        }
    }
    return optind == argc ? 0 : io_usage(cmd);
}

/* The same thing said by a letter and by an option. */
static bool check_conflicts(const ReopenArgs *args)
{
    if (args->mode_given && blk_options_get(args->changes, BDRV_OPT_READ_ONLY)) {
        error_report("Cannot set both -r/-w and '" BDRV_OPT_READ_ONLY "'");
        return false;
    }
    if (args->cache_given && (blk_options_get(args->changes, BDRV_OPT_CACHE_DIRECT) ||
                              blk_options_get(args->changes, BDRV_OPT_CACHE_NO_FLUSH))) {
        error_report("Cannot set both -c and the cache options");
        return false;
    }
    return true;
}

/* Writers stay writers: an option cannot make the image read-only under them. */
static bool check_writers(const IoSession *io, const ReopenArgs *args, Error **errp)
{
    const char *read_only = blk_options_get(args->changes, BDRV_OPT_READ_ONLY);
    uint64_t perm, shared;

    blk_get_perm(io->blk, &perm, &shared);
    if (!args->open.read_only && (perm & BLK_PERM_WRITE) && !g_strcmp0(read_only, "on")) {
        error_setg(errp, "Read-only block node '%s' cannot support read-write users",
                   bdrv_get_node_name(blk_bs(io->blk)));
        return false;
    }
    return true;
}

/*
 * Options of qcow2 that say one thing in several ways: what was said before in another way is
 * over, not a contradiction.
 */
static void drop_superseded(BlockOptions *opts, const BlockOptions *changes)
{
    if (blk_options_get(changes, "overlap-check") ||
        blk_options_get(changes, "overlap-check.template")) {
        blk_options_del(opts, "overlap-check");
        blk_options_del(opts, "overlap-check.template");
    }
    if (blk_options_get(changes, "cache-size")) {
        blk_options_del(opts, "l2-cache-size");
        blk_options_del(opts, "refcount-cache-size");
    } else if (blk_options_get(changes, "l2-cache-size") ||
               blk_options_get(changes, "refcount-cache-size")) {
        blk_options_del(opts, "cache-size");
    }
}

static BlockOptions *merged_options(const IoSession *io, const ReopenArgs *args)
{
    BlockOptions *opts = blk_options_copy(io->options);

    drop_superseded(opts, args->changes);
    blk_options_merge(opts, args->changes, true);
    if (args->mode_given) {
        blk_options_del(opts, BDRV_OPT_READ_ONLY);
    }
    if (args->cache_given) {
        blk_options_del(opts, BDRV_OPT_CACHE_DIRECT);
        blk_options_del(opts, BDRV_OPT_CACHE_NO_FLUSH);
    }
    return opts;
}

/* Close and open; back to what was when that fails. */
static int open_anew(IoSession *io, const ReopenArgs *args)
{
    g_autoptr(BlockOptions) wanted = merged_options(io, args);
    g_autoptr(BlockOptions) old = blk_options_copy(io->options);
    g_autofree char *filename = g_strdup(io->filename);
    IoOpenArgs old_args = io->open_args;
    Error *err = NULL, *again = NULL;

    if (strcmp(bdrv_get_format_name(blk_bs(io->blk)), "raw") != 0) {
        /* Not to be guessed again; a guess of raw stays under suspicion. */
        blk_options_set_default(wanted, "driver", bdrv_get_format_name(blk_bs(io->blk)));
    }
    int closed = io_close(io);
    if (io_open_quietly(io, filename, g_steal_pointer(&wanted), &args->open, &err) == 0) {
        return closed;
    }
    error_report_err(err);
    if (io_open_quietly(io, filename, g_steal_pointer(&old), &old_args, &again) < 0) {
        error_reportf_err(again, "The image is closed, as it cannot be opened any more: ");
    }
    return -EINVAL;
}

static int run_reopen(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    g_autoptr(BlockOptions) changes = NULL;
    ReopenArgs args = { .open = io->open_args, .changes = blk_options_new() };
    Error *err = NULL;
    int ret = parse_reopen(cmd, argc, argv, &args);

    changes = args.changes;
    if (ret < 0) {
        return ret;
    }
    if (!check_conflicts(&args)) {
        return -EINVAL;
    }
    if (!check_options(io, changes, &err) || !check_writers(io, &args, &err)) {
        error_report_err(err);
        return -EINVAL;
    }
    if (io->open_args.flags & BDRV_O_SNAPSHOT) {
        error_report("An image opened with -s cannot be reopened: what was written would be lost");
        return -ENOTSUP;
    }
    return open_anew(io, &args);
}

const IoCommand io_reopen_command = {
    .name = "reopen",
    .run = run_reopen,
    .max_args = -1,
    .args = "[(-r|-w)] [-c cache] [-o options]",
    .summary = "reopens an image with new options",
    .help = " What is not named stays as it is.\n"
            "\n"
            " Example:\n"
            " 'reopen -r -o lazy-refcounts=on' lets the image be read only\n"
            "\n"
            " -r      for reading only\n"
            " -w      for writing, too\n"
            " -c MODE cache mode: none, directsync, writeback, writethrough, unsafe\n"
            " -o LIST options of the drivers, KEY=VALUE,... (see 'help open')\n",
};
