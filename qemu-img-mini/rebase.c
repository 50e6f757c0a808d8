/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini rebase: gives an image another backing file. In safe mode, what would read
 * differently with the new one is first copied from the old one into the image itself.
 *
 * Three images in a row: the image, the old backing chain (that is open below it), the new one (which
 * may be a part of the old: then what lies above that part is all that can differ).
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-driver.h"
#include "block/block-image.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"

#define CHUNK_BYTES ((int64_t)2 * 1024 * 1024)

typedef struct Layer {
    BlockBackend *blk; /* NULL: there is none */
    int64_t length;    /* bytes; 0 without an image */
    uint8_t *buffer;   /* of CHUNK_BYTES */
} Layer;

typedef struct Rebase {
    CliImage image;
    const char *cache, *backing_cache;
    int backing_flags;
    const char *backing; /* -b; NULL: not given */
    const char *format;  /* -F */
    bool unsafe;
    bool quiet;
    bool force_share;

    BlockBackend *blk;
    BlockDriverState *bs;     /* the layer that is changed */
    BlockDriverState *prefix; /* the new backing file as a part of the old chain, or NULL */
    Layer old, new;
} Rebase;

static const CliOption rebase_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    CLI_IMAGE_OPTS_OPTION,
    { 'f', NULL, "FMT", "format of the image (default: look)" },
    { 'b', NULL, "FILE", "the new backing file; '' for none" },
    { 'F', NULL, "FMT", "format of the new backing file" },
    { 'u', NULL, NULL, "unsafe: only change the name; neither backing file is read" },
    { 't', NULL, "CACHE", "cache mode of the image (default: writeback)" },
    { 'T', NULL, "CACHE", "cache mode of the backing files (default: writeback)" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', NULL, NULL, "say nothing but errors" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* False when the option's value is wrong; the message has been given. */
static bool parse_option(int c, Rebase *r)
{
    switch (c) {
    case 'b': r->backing = optarg; break;
    case 'F': r->format = optarg; break;
    case 'u': r->unsafe = true; break;
    case 't': r->cache = optarg; break;
    case 'T': r->backing_cache = optarg; break;
    case 'q': r->quiet = true; break;
    case 'U': r->force_share = true; break;
    default: return cli_image_option(c, &r->image);
    }
    return true;
}

static bool parse_cache_modes(Rebase *r)
{
    bool ignored;

    r->image.flags = BDRV_O_RDWR | (r->unsafe ? BDRV_O_NO_BACKING : 0);
    if (bdrv_parse_cache_mode(r->cache, &r->image.flags, &r->image.writethrough) < 0) {
        error_report("Invalid cache option: %s", r->cache);
        return false;
    }
    if (bdrv_parse_cache_mode(r->backing_cache, &r->backing_flags, &ignored) < 0) {
        error_report("Invalid source cache option: %s", r->backing_cache);
        return false;
    }
    return true;
}

/* --- the backing files --- */

/* A layer that is open already. */
static BlockBackend *reuse(BlockDriverState *bs, const char *what, const char *name)
{
    BlockBackend *blk = blk_new(qemu_get_current_aio_context(), BLK_PERM_CONSISTENT_READ,
                                BLK_PERM_ALL);
    Error *err = NULL;

    if (blk_insert_bs(blk, bs, &err) < 0) {
        error_reportf_err(err, "Could not reuse %s '%s': ", what, name);
        blk_unref(blk);
        return NULL;
    }
    return blk;
}

static bool open_old(Rebase *r)
{
    BlockDriverState *bs = bdrv_backing_bs(r->bs);

    if (bs) {
        r->old.blk = reuse(bs, "old backing file", bdrv_get_filename(bs));
        return r->old.blk;
    }
    return true;
}

static bool open_new(Rebase *r)
{
    BlockDriverState *file = bdrv_primary_bs(r->bs);
    Error *err = NULL;

    if (!*r->backing) {
        return true;
    }
    g_autofree char *path = bdrv_resolve_backing_filename(
        bdrv_get_filename(file ?: r->bs), r->backing, &err);
    if (!path) {
        error_reportf_err(err, "Could not resolve backing filename: ");
        return false;
    }
    r->prefix = bdrv_find_backing_image(r->bs, r->backing);
    if (r->prefix) {
        r->new.blk = reuse(r->prefix, "backing file", r->backing);
        return r->new.blk;
    }
    BlockOptions *opts = blk_options_new();
    if (r->format) {
        blk_options_set(opts, "driver", r->format);
    }
    if (r->force_share) {
        blk_options_set(opts, BDRV_OPT_FORCE_SHARE, "on");
    }
    r->new.blk = blk_new_open(path, NULL, opts, r->backing_flags | cli_external_flags(), &err);
    if (!r->new.blk) {
        error_reportf_err(err, "Could not open new backing file '%s': ", r->backing);
    }
    return r->new.blk;
}

static bool prepare_layer(const Rebase *r, Layer *layer)
{
    layer->buffer = blk_try_blockalign(r->blk, CHUNK_BYTES);
    if (!layer->buffer) {
        error_report("Not enough memory for a buffer of %" PRId64 " bytes", CHUNK_BYTES);
        return false;
    }
    layer->length = layer->blk ? blk_getlength(layer->blk) : 0;
    if (layer->length < 0) {
        error_report("Could not get size of '%s': %s", bdrv_get_filename(blk_bs(layer->blk)),
                     strerror(-layer->length));
        return false;
    }
    return true;
}

/* --- what would read differently --- */

/* The first *@n bytes at @offset need a look: 1. They read the same in any case: 0. Or -errno. */
static int may_differ(const Rebase *r, int64_t offset, int64_t *n)
{
    int ret = bdrv_is_allocated(r->bs, offset, *n, n);
    int64_t bytes = *n;

    if (ret) {
        if (ret < 0) {
            error_report("error while reading image metadata: %s", strerror(-ret));
        }
        return ret < 0 ? ret : 0;
    }
    if (r->prefix) {
        ret = bdrv_is_allocated_above(bdrv_backing_bs(r->bs), r->prefix, false, offset, bytes, n);
        if (ret < 0) {
            error_report("error while reading base image metadata: %s", strerror(-ret));
        }
        if (ret >= 0 && *n == 0) { /* behind the end of the old one, which hides the new one */
            *n = bytes;
            ret = 1;
        }
        return ret;
    }
    return 1;
}

/* Up to *@n bytes of the layer, as far as they are of one kind: all zeroes or to be read. */
static bool knows_zeroes(const Layer *layer, int64_t offset, int64_t *n)
{
    int64_t pnum;

    if (offset >= layer->length) {
        return true;
    }
    *n = MIN(*n, layer->length - offset);
    int ret = blk_block_status(layer->blk, offset, *n, &pnum);
    if (ret < 0 || !(ret & BDRV_BLOCK_ZERO)) {
        return false;
    }
    *n = pnum;
    return true;
}

/* Zeroes behind the end. */
static bool read_layer(const Layer *layer, const char *what, int64_t offset, int64_t bytes)
{
    int64_t readable = CLAMP(layer->length - offset, 0, bytes);
    int ret = readable ? blk_pread(layer->blk, offset, readable, layer->buffer, 0) : 0;

    memset(layer->buffer + readable, 0, bytes - readable);
    if (ret < 0) {
        error_report("error while reading from %s backing file: %s", what, strerror(-ret));
    }
    return ret >= 0;
}

/* The length of the run of sectors at the start that all differ, or all do not. */
static int64_t run_of(const uint8_t *a, const uint8_t *b, int64_t bytes, bool *differs)
{
    int64_t step = BDRV_SECTOR_SIZE, done = MIN(step, bytes);

    *differs = memcmp(a, b, done) != 0;
    if (!*differs && !memcmp(a, b, bytes)) {
        return bytes;
    }
    while (done < bytes) {
        int64_t n = MIN(step, bytes - done);

        if ((memcmp(a + done, b + done, n) != 0) != *differs) {
            break;
        }
        done += n;
    }
    return done;
}

/*
 * Zeroes that hide what the new backing file has there. An image that cannot record them (qcow2
 * version 2) may leave a place empty that reads as zeroes now, and will not with the new one.
 */
static int write_zeroes(const Rebase *r, int64_t offset, int64_t bytes, const uint8_t *zeroes)
{
    int ret = blk_pwrite_zeroes(r->blk, offset, bytes, 0);

    for (int64_t done = 0, n; ret >= 0 && done < bytes; done += n) {
        ret = bdrv_is_allocated(r->bs, offset + done, bytes - done, &n);
        if (ret == 0) {
            ret = blk_pwrite(r->blk, offset + done, n, zeroes + done, 0);
        }
    }
    return ret;
}

/* Both buffers are filled. */
static bool copy_difference(const Rebase *r, int64_t offset, int64_t bytes)
{
    for (int64_t done = 0, n; done < bytes; done += n) {
        const uint8_t *old = r->old.buffer + done;
        bool differs;
        int ret = 0;

        n = run_of(old, r->new.buffer + done, bytes - done, &differs);
        if (differs && offset + done >= r->old.length) {
            ret = write_zeroes(r, offset + done, n, old);
        } else if (differs) {
            ret = blk_pwrite(r->blk, offset + done, n, old, 0);
        }
        if (ret < 0) {
            error_report("Error while writing to COW image: %s", strerror(-ret));
            return false;
        }
    }
    return true;
}

/* Does as much as it can at @offset, *@n bytes. */
static bool rebase_piece(const Rebase *r, int64_t offset, int64_t *n)
{
    int ret = may_differ(r, offset, n);

    if (ret <= 0) {
        return ret == 0;
    }
    /* Both are asked in any case: that also cuts the piece where one of them ends. */
    bool old_zero = knows_zeroes(&r->old, offset, n);
    bool new_zero = knows_zeroes(&r->new, offset, n);
    if (old_zero && new_zero) {
        return true;
    }
    *n = MIN(*n, CHUNK_BYTES);
    return read_layer(&r->old, "old", offset, *n) && read_layer(&r->new, "new", offset, *n) &&
           copy_difference(r, offset, *n);
}

static bool copy_all(const Rebase *r)
{
    int64_t length = blk_getlength(r->blk);

    if (length < 0) {
        error_report("Could not get size of '%s': %s", r->image.filename, strerror(-length));
        return false;
    }
    for (int64_t offset = 0, n; offset < length; offset += n) {
        progress_update(offset, length);
        n = length - offset;
        if (!rebase_piece(r, offset, &n)) {
            return false;
        }
    }
    return true;
}

/* --- all together --- */

static bool change_name(const Rebase *r)
{
    bool some = r->backing && *r->backing;
    int ret = some ? bdrv_change_backing_file(r->bs, r->backing, r->format, true)
                   : bdrv_change_backing_file(r->bs, NULL, NULL, false);
    const char *name = r->backing ?: "(null)";

    if (ret == -ENOSPC) {
        error_report("Could not change the backing file to '%s': No space left in the file header",
                     name);
    } else if (ret == -EINVAL && some && !r->format) {
        error_report("Could not change the backing file to '%s': backing format must be specified",
                     name);
    } else if (ret < 0) {
        error_report("Could not change the backing file to '%s': %s", name, strerror(-ret));
    }
    return ret >= 0;
}

static bool rebase(Rebase *r)
{
    if (r->format && !bdrv_find_format(r->format)) {
        error_report("Invalid format name: '%s'", r->format);
        return false;
    }
    bool ok = r->unsafe || (open_old(r) && open_new(r) && prepare_layer(r, &r->old) &&
                            prepare_layer(r, &r->new) && copy_all(r));
    return ok && change_name(r) && cli_finish_image(r->blk);
}

static void clean_up(Rebase *r)
{
    qemu_vfree(r->old.buffer);
    qemu_vfree(r->new.buffer);
    blk_unref(r->old.blk);
    blk_unref(r->new.blk);
    blk_unref(r->blk);
}

static int rebase_run(const Command *cmd, int argc, char **argv)
{
    Rebase r = { .cache = "writeback", .backing_cache = "writeback" };
    bool ok = false;
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!parse_option(c, &r)) {
            return EXIT_FAILURE;
        }
    }
    r.image.filename = cli_one_filename(argc, argv);
    if (!r.unsafe && !r.backing) {
        cli_usage_error("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    if (!parse_cache_modes(&r)) {
        return EXIT_FAILURE;
    }
    progress_begin(r.quiet);
    r.blk = cli_open_image(&r.image);
    if (r.blk) {
        r.bs = bdrv_skip_filters(blk_bs(r.blk));
        ok = rebase(&r);
    }
    progress_end(ok);
    clean_up(&r);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

const Command rebase_command = {
    .name = "rebase",
    .run = rebase_run,
    .args = "FILENAME",
    .summary = "Changes the backing file of an image; what it reads as stays the same.",
    .options = rebase_cli_options,
    .example = "rebase -b newbase.qcow2 -F qcow2 overlay.qcow2\n"
               "rebase -u -b moved.qcow2 -F qcow2 overlay.qcow2",
};
