/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini dd: copies a part of an image into a new one, with dd's operands. Everything is
 * written, zeroes too. The block size counts for skip= and count= alone: data moves in larger pieces.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-image.h"
#include "create-options.h"
#include "host-file.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "target.h"

#define PIECE_BYTES ((int64_t)1024 * 1024)

typedef struct Dd {
    CliImage source;
    CliImage target;
    int64_t block;      /* bytes */
    int64_t count;      /* blocks; -1: all */
    int64_t skip;       /* blocks */
    int64_t end;        /* of what is copied, in the source; bytes */
    int64_t start;
    bool skip_too_far;
    BlockBackend *in, *out;
    HostFile source_file, target_file;
} Dd;

static const CliOption dd_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { CLI_OPT_IMAGE_OPTS, "image-opts", NULL, "the name of the input is a list of options" },
    { 'f', NULL, "FMT", "format of the input (default: look)" },
    { 'O', NULL, "FMT", "format of the output (default: raw)" },
    CLI_FORCE_SHARE_OPTION,
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    {},
};

/* --- operands --- */

/* "NAME=VALUE". False when it is none, or its value is wrong; the message has been given. */
static bool parse_operand(Dd *dd, const char *arg)
{
    const char *value = strchr(arg, '=');
    g_autofree char *key = value ? g_strndup(arg, value - arg) : g_strdup(arg);

    value = value ? value + 1 : NULL;
    if (value && !strcmp(key, "if")) {
        dd->source.filename = value;
    } else if (value && !strcmp(key, "of")) {
        dd->target.filename = value;
    } else if (value && !strcmp(key, "bs")) {
        dd->block = cli_parse_size("bs", value, 1, INT_MAX);
        return dd->block >= 0;
    } else if (value && !strcmp(key, "count")) {
        dd->count = cli_parse_size("count", value, 0, INT64_MAX);
        return dd->count >= 0;
    } else if (value && !strcmp(key, "skip")) {
        dd->skip = cli_parse_size("skip", value, 0, INT64_MAX);
        return dd->skip >= 0;
    } else {
        error_report("unrecognized operand %s", key);
        return false;
    }
    return true;
}

/* --- the copy --- */

/* As qemu-img: count= counts from the start of the input, skip= or not. */
static bool find_range(Dd *dd)
{
    int64_t length = blk_getlength(dd->in);

    if (length < 0) {
        error_report("Failed to get size for '%s'", dd->source.filename);
        return false;
    }
    dd->end = length;
    if (dd->count >= 0 && dd->count <= INT64_MAX / dd->block && dd->count * dd->block < length) {
        dd->end = dd->count * dd->block;
    }
    dd->skip_too_far = dd->skip > INT64_MAX / dd->block || dd->skip * dd->block > dd->end;
    dd->start = dd->skip_too_far ? dd->end : dd->skip * dd->block;
    return true;
}

static bool check_target(Dd *dd, CreateTarget *create)
{
    Error *err = NULL;

    if (!bdrv_find_format(dd->target.format)) {
        error_report("Unknown file format");
        return false;
    }
    if (!create_target_init(create, dd->target.format, dd->target.filename, &err)) {
        error_report_err(err);
        return false;
    }
    host_file_init(&dd->source_file, dd->source.filename, dd->source.image_opts);
    host_file_init(&dd->target_file, dd->target.filename, false);
    if (host_file_is_same(&dd->source_file, &dd->target_file)) {
        error_report("%s: The target is the same file as the source '%s'", dd->target.filename,
                     dd->source.filename);
        return false;
    }
    return true;
}

static bool create_target(const Dd *dd, const CreateTarget *create)
{
    BlockOptions *opts = blk_options_new();
    Error *err = NULL;

    blk_options_setf(opts, "size", "%" PRId64, dd->end - dd->start);
    if (bdrv_create(create->drv, dd->target.filename, opts, &err) < 0) {
        error_reportf_err(err, "%s: error while creating output image: ", dd->target.filename);
        return false;
    }
    return true;
}

static bool copy(const Dd *dd)
{
    uint8_t *buf = blk_try_blockalign(dd->in, PIECE_BYTES);
    int ret = buf ? 0 : -ENOMEM;

    progress_begin(false);
    for (int64_t pos = dd->start, n; ret >= 0 && pos < dd->end; pos += n) {
        n = MIN(PIECE_BYTES, dd->end - pos);
        ret = blk_pread(dd->in, pos, n, buf, 0);
        if (ret < 0) {
            error_report("error while reading from input image file: %s", strerror(-ret));
            break;
        }
        ret = blk_pwrite(dd->out, pos - dd->start, n, buf, 0);
        if (ret < 0) {
            error_report("error while writing to output image file: %s", strerror(-ret));
        }
        progress_update(pos + n - dd->start, dd->end - dd->start);
    }
    if (!buf) {
        error_report("Not enough memory for a buffer of %" PRId64 " bytes", PIECE_BYTES);
    }
    qemu_vfree(buf);
    if (ret >= 0) {
        ret = blk_flush(dd->out);
        if (ret < 0) {
            error_report("error while flushing the target '%s': %s", dd->target.filename,
                         strerror(-ret));
        }
    }
    bool ok = ret >= 0 && cli_finish_image(dd->out);
    progress_end(ok);
    return ok;
}

static bool fill_target(Dd *dd, const CreateTarget *create)
{
    bool ok = false;

    target_guard_begin(dd->target_file.path);
    if (create_target(dd, create)) {
        dd->out = cli_open_image(&dd->target);
    }
    if (dd->out && dd->skip_too_far) {
        error_report("%s: cannot skip to specified offset", dd->source.filename);
    }
    if (dd->out) {
        ok = copy(dd);
    }
    blk_unref(dd->out);
    target_guard_end();
    return ok;
}

static int dd_run(const Command *cmd, int argc, char **argv)
{
    Dd dd = { .block = 512, .count = -1, .target = { .format = "raw", .flags = BDRV_O_RDWR } };
    CreateTarget create = {};
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        switch (c) {
        case 'O': dd.target.format = optarg; break;
        default:
            if (!cli_image_option(c, &dd.source)) {
                return EXIT_FAILURE;
            }
            break;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (!parse_operand(&dd, argv[i])) {
            return EXIT_FAILURE;
        }
    }
    if (!dd.source.filename || !dd.target.filename) {
        error_report("Must specify both input and output files");
        cli_hint_help();
        return EXIT_FAILURE;
    }
    dd.in = cli_open_image(&dd.source);
    bool ok = dd.in && check_target(&dd, &create) && find_range(&dd) && fill_target(&dd, &create);
    create_target_clear(&create);
    host_file_clear(&dd.source_file);
    host_file_clear(&dd.target_file);
    blk_unref(dd.in);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

const Command dd_command = {
    .name = "dd",
    .run = dd_run,
    .args = "[bs=SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT",
    .summary = "Copies an image, or a part of it, into a new one.",
    .options = dd_cli_options,
    .notes = "Zeroes are written too: convert is the command that leaves holes.",
    .example = "dd -f raw -O qcow2 bs=1M skip=1 count=8 if=disk.img of=part.qcow2",
};
