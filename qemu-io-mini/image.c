/* SPDX-License-Identifier: MIT */
/* The open image: open, close. Without options an image is opened for writing, and every
 * write is on stable storage when it completes. */
#include "io.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

int io_open_option(IoOpenArgs *args, int c, const char *value)
{
    const char *what = NULL;

    switch (c) {
    case 'C':
        args->flags |= BDRV_O_COPY_ON_READ;
        break;
    case 'd':
        what = bdrv_parse_discard_flags(value, &args->flags) < 0 ? "discard" : NULL;
        break;
    case 'i':
        return cli_parse_aio(value, &args->flags) ? 1 : -EINVAL;
    case 'k':
        args->flags |= BDRV_O_NATIVE_AIO;
        break;
    case 'n':
        args->flags |= BDRV_O_NOCACHE;
        args->writethrough = false;
        break;
    case 'r':
        args->read_only = true;
        break;
    case 's':
        args->flags |= BDRV_O_SNAPSHOT;
        break;
    case 't':
        what = bdrv_parse_cache_mode(value, &args->flags, &args->writethrough) < 0 ? "cache" : NULL;
        break;
    case 'U':
        args->force_share = true;
        break;
    default:
        return 0;
    }
    if (what) {
        error_report("Invalid %s option: %s", what, value);
        return -EINVAL;
    }
    return 1;
}

bool io_add_options(BlockOptions **opts, const char *text, const char *implied_key)
{
    Error *err = NULL;

    if (!*opts) {
        *opts = blk_options_new();
    }
    if (!blk_options_parse(*opts, text, implied_key, &err)) {
        error_report_err(err);
        return false;
    }
    return true;
}

static void forget_open(IoSession *io)
{
    g_clear_pointer(&io->filename, g_free);
    g_clear_pointer(&io->options, blk_options_free);
}

int io_open_quietly(IoSession *io, const char *filename, BlockOptions *opts,
                    const IoOpenArgs *args, Error **errp)
{
    int flags = args->flags | (args->read_only ? 0 : BDRV_O_RDWR) | cli_external_flags();
    /* The arguments may be what was remembered. */
    char *name = g_strdup(filename);
    IoOpenArgs kept = *args;

    BlockBackend *blk = blk_new_open(filename, NULL, blk_options_copy(opts), flags, errp);
    forget_open(io);
    io->blk = blk;
    io->filename = name;
    io->options = opts;
    io->open_args = kept;
    if (!blk) {
        forget_open(io);
        return -EINVAL;
    }
    blk_set_enable_write_cache(blk, !kept.writethrough);
    return 0;
}

int io_open(IoSession *io, const char *filename, BlockOptions *opts, const IoOpenArgs *args)
{
    g_autoptr(BlockOptions) owned = opts ? opts : blk_options_new();
    Error *err = NULL;

    if (io->blk) {
        error_report("file open already, try 'help close'");
        return -EBUSY;
    }
    if (args->force_share) {
        const char *given = blk_options_get(owned, BDRV_OPT_FORCE_SHARE);

        if (given && strcmp(given, "on") != 0) {
            error_report("-U conflicts with image options");
            return -EINVAL;
        }
        blk_options_set(owned, BDRV_OPT_FORCE_SHARE, "on");
    }
    if (io_open_quietly(io, filename, g_steal_pointer(&owned), args, &err) < 0) {
        if (filename) {
            error_reportf_err(err, "can't open device %s: ", filename);
        } else {
            error_reportf_err(err, "can't open: ");
        }
        return -EINVAL;
    }
    return 0;
}

int io_close(IoSession *io)
{
    bool ok;

    /* Requests that are throttled would otherwise be waited for at their rate. */
    blk_drain_all();
    ok = !io->blk || cli_finish_image(io->blk);
    blk_unref(io->blk);
    io->blk = NULL;
    forget_open(io);
    return ok ? 0 : -EIO;
}

/* --- the commands --- */

static int run_open(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    g_autoptr(BlockOptions) opts = NULL;
    IoOpenArgs args = IO_OPEN_DEFAULTS;
    int c;

    while ((c = getopt(argc, argv, "Cd:i:kno:rst:U")) != -1) {
        int ret = io_open_option(&args, c, optarg);

        if (ret < 0) {
            return ret;
        }
        if (c == 'o') {
            if (!io_add_options(&opts, optarg, NULL)) {
                return -EINVAL;
            }
        } else if (!ret) {
            return io_usage(cmd);
        }
    }
    if (optind < argc - 1) {
        return io_usage(cmd);
    }
    return io_open(io, argv[optind], g_steal_pointer(&opts), &args);
}

const IoCommand io_open_command = {
    .name = "open",
    .altname = "o",
    .run = run_open,
    .min_args = 1,
    .max_args = -1,
    .without_image = true,
    .args = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
    .summary = "open the file specified by path",
    .help = " Example:\n"
            " 'open -n -o driver=raw disk.img' opens a raw image past the host's page cache\n"
            "\n"
            " -r      for reading only\n"
            " -s      writes go to a temporary file and are gone at the end\n"
            " -C      what is read from a backing file is copied into the image\n"
            " -n      past the host's page cache: -t none\n"
            " -U      also when another process writes to the image\n"
            " -k      the same as -i native\n"
            " -i AIO  how the host's file is read: threads, native, io_uring\n"
            " -t MODE cache mode: none, directsync, writeback, writethrough, unsafe\n"
            " -d MODE discards: unmap, ignore\n"
            " -o LIST options of the drivers, KEY=VALUE,...\n",
};

static int run_close(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    return io_close(io);
}

const IoCommand io_close_command = {
    .name = "close",
    .altname = "c",
    .run = run_close,
    .summary = "close the current open file",
};
