/* SPDX-License-Identifier: MIT */
/*
 * qemu-img-mini convert: copies one or more images, one behind the other, into a new one.
 *
 * Here: the options, and the way from names to open images. Nothing is changed on disk
 * before all that can be checked has been checked, in the order in which qemu-img does.
 */
#include "cli.h"

#include <getopt.h>

#include "block/block-driver.h"
#include "block/block-image.h"
#include "block/qcow2.h"
#include "convert-copy.h"
#include "create-options.h"
#include "host-file.h"
#include "progress.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "bitmap-copy.h"
#include "snapshot-param.h"
#include "target.h"

#define MAX_MIN_SPARSE (16 * 1024 * 1024)

typedef struct Convert {
    /* from the command line */
    CliImage source; /* what all sources have in common */
    CliImage target;
    const char *source_cache;
    const char *target_cache;
    const char *backing_file;
    const char *backing_format;
    const char *snapshot;
    char *options;   /* -o, joined */
    bool skip_create;
    bool min_sparse_given;
    bool compressed;
    bool bitmaps;
    bool skip_broken_bitmaps;
    char **names;    /* of the sources, as the next one */
    HostFile *source_files;
    HostFile target_file;
    /* made from it */
    CreateTarget create;
    BlockOptions *create_values;
    CopyJob job;
} Convert;

static const CliOption convert_cli_options[] = {
    CLI_HELP_OPTION,
    CLI_OBJECT_OPTION,
    { 'f', NULL, "FMT", "format of the sources (default: look)" },
    { 'O', NULL, "FMT", "format of the target (default: raw)" },
    { 'o', NULL, "OPTIONS", "options of the target's format; 'help' lists them" },
    { 'B', NULL, "FILE", "backing file of the target, for formats that have one" },
    { 'F', NULL, "FMT", "format of the backing file" },
    { 'c', NULL, NULL, "compress (-O qcow2); -o compression_level=N says how much" },
    { 'C', NULL, NULL, "leave the copying to the file system if it can" },
    { 'l', NULL, "SNAPSHOT", "copy an internal snapshot of the source" },
    { 'n', NULL, NULL, "the target is there: do not create it" },
    { 'm', NULL, "N", "requests in flight, 1 to 16 (default: 8)" },
    { 'W', NULL, NULL, "write in any order" },
    { 'S', NULL, "SIZE", "zeroes that make a hole (default: 4k); 0: no holes" },
    { 't', NULL, "CACHE", "cache mode of the target (default: unsafe)" },
    { 'T', NULL, "CACHE", "cache mode of the sources (default: writeback)" },
    { 'r', NULL, "RATE", "bytes per second to write at most" },
    CLI_SHOW_PROGRESS_OPTION,
    CLI_PROGRESS_OPTION,
    { 'q', NULL, NULL, "say nothing but errors" },
    { CLI_OPT_IMAGE_OPTS, "image-opts", NULL, "the sources are lists of options" },
    { CLI_OPT_TARGET_IMAGE_OPTS, "target-image-opts", NULL, "so is the target (with -n)" },
    { CLI_OPT_TARGET_IS_ZERO, "target-is-zero", NULL, "the target reads as zeroes (with -n)" },
    { CLI_OPT_SALVAGE, "salvage", NULL, "copy what cannot be read as zeroes" },
    { CLI_OPT_BITMAPS, "bitmaps", NULL, "copy the bitmaps, for formats that have them" },
    { CLI_OPT_SKIP_BROKEN_BITMAPS, "skip-broken-bitmaps", NULL, "but not inconsistent ones" },
    CLI_FORCE_SHARE_OPTION,
    {},
};

/* --- the command line --- */

static bool parse_coroutines(unsigned *value)
{
    unsigned long n;

    if (!cli_parse_count(optarg, COPY_MAX_COROUTINES, &n) || !n) {
        error_report("Invalid number of coroutines. Allowed number of coroutines is between 1 "
                     "and %d", COPY_MAX_COROUTINES);
        return false;
    }
    *value = n;
    return true;
}

static bool parse_min_sparse(Convert *cv)
{
    int64_t size = cli_parse_size("buffer size for sparse output", optarg, 0, INT64_MAX);

    if (size < 0) {
        return false;
    }
    if (size % BDRV_SECTOR_SIZE || size > MAX_MIN_SPARSE) {
        error_report("Invalid buffer size for sparse output specified. Valid sizes are "
                     "multiples of %llu up to %d. Select 0 to disable sparse detection (fully "
                     "allocates output).", BDRV_SECTOR_SIZE, MAX_MIN_SPARSE);
        return false;
    }
    cv->job.min_sparse = size;
    cv->min_sparse_given = true;
    return true;
}

/* Options that switch something on or keep a word; the others are in parse_option(). */
static void parse_simple_option(int c, Convert *cv)
{
    switch (c) {
    case 'f': cv->source.format = optarg; break;
    case 'O': cv->target.format = optarg; break;
    case 'B': cv->backing_file = optarg; break;
    case 'F': cv->backing_format = optarg; break;
    case 'c': cv->compressed = true; break;
    case 'C': cv->job.copy_offload = true; break;
    case 'n': cv->skip_create = true; break;
    case 'W': cv->job.in_order = false; break;
    case 't': cv->target_cache = optarg; break;
    case 'T': cv->source_cache = optarg; break;
    case 'q': cv->job.quiet = true; break;
    case 'U': cv->source.force_share = true; break;
    case CLI_OPT_IMAGE_OPTS: cv->source.image_opts = true; break;
    case CLI_OPT_TARGET_IMAGE_OPTS: cv->target.image_opts = true; break;
    case CLI_OPT_TARGET_IS_ZERO: cv->job.target_is_zero = true; break;
    case CLI_OPT_SALVAGE: cv->job.salvage = true; break;
    case CLI_OPT_BITMAPS: cv->bitmaps = true; break;
    case CLI_OPT_SKIP_BROKEN_BITMAPS: cv->skip_broken_bitmaps = true; break;
    }
}

/* False and a message when a value is wrong. */
static bool parse_option(int c, Convert *cv)
{
    switch (c) {
    case 'o':
        cv->options = cli_add_option_list(cv->options, optarg);
        return cv->options;
    case 'm':
        return parse_coroutines(&cv->job.num_coroutines);
    case 'S':
        return parse_min_sparse(cv);
    case 'r':
        cv->job.rate_limit = cli_parse_size("rate limit", optarg, 0, INT64_MAX);
        return cv->job.rate_limit >= 0;
    case 'l':
        cv->snapshot = optarg;
        return snapshot_param_check(optarg);
    case CLI_OPT_OBJECT:
        return cli_add_object(optarg);
    case 'p':
    case CLI_OPT_PROGRESS:
        return progress_option(c);
    default:
        parse_simple_option(c, cv);
        return true;
    }
}

/* What the options forbid each other; NULL when they agree. */
static const char *find_conflict(const Convert *cv)
{
    if (cv->skip_broken_bitmaps && !cv->bitmaps) {
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    }
    if (cv->compressed && cv->job.copy_offload) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (cv->min_sparse_given && cv->job.copy_offload) {
        return "Cannot enable copy offloading when -S is used";
    }
    if (cv->job.salvage && cv->job.copy_offload) {
        return "Cannot use copy offloading in salvaging mode";
    }
    if (cv->target.image_opts && !cv->skip_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (cv->skip_create && cv->options) {
        return "-o has no effect when skipping image creation";
    }
    if (cv->job.target_is_zero && !cv->skip_create) {
        return "--target-is-zero requires use of -n flag";
    }
    return NULL;
}

static bool parse_source_cache(Convert *cv)
{
    if (bdrv_parse_cache_mode(cv->source_cache, &cv->source.flags, &cv->source.writethrough) < 0) {
        error_report("Invalid source cache option: %s", cv->source_cache);
        return false;
    }
    if (!cv->source.force_share) {
        cv->source.flags |= BDRV_O_NO_SHARE;
    }
    return true;
}

static bool parse_target_cache(Convert *cv)
{
    cv->target.flags = BDRV_O_RDWR | (cv->job.min_sparse ? BDRV_O_UNMAP : 0);
    if (bdrv_parse_cache_mode(cv->target_cache, &cv->target.flags, &cv->target.writethrough) < 0) {
        error_report("Invalid cache option: %s", cv->target_cache);
        return false;
    }
    return true;
}

/* --- the sources --- */

static bool open_source(Convert *cv, size_t i)
{
    CopySource *s = &cv->job.sources[i];

    cv->source.filename = s->name = cv->names[i];
    s->blk = cli_open_image(&cv->source);
    if (!s->blk) {
        return false;
    }
    host_file_init(&cv->source_files[i], s->name, cv->source.image_opts);
    s->length = blk_getlength(s->blk);
    if (s->length < 0) {
        error_report("Could not get size of %s: %s", s->name, strerror(-s->length));
        return false;
    }
    s->start = i ? s[-1].end : 0;
    s->end = s->start + ROUND_UP(s->length, (int64_t)BDRV_SECTOR_SIZE);
    if (s->end < s->start) {
        error_report("The sources are too large together");
        return false;
    }
    return true;
}

/* The snapshot may be of another size than the disk is now. */
static bool load_snapshot(Convert *cv)
{
    CopySource *s = &cv->job.sources[0];
    Error *err = NULL;

    if (snapshot_param_load(blk_bs(s->blk), cv->snapshot, &err) < 0) {
        error_reportf_err(err, "Failed to load snapshot: ");
        return false;
    }
    s->length = blk_getlength(s->blk);
    s->end = s->length;
    return true;
}

static bool open_sources(Convert *cv)
{
    for (size_t i = 0; i < cv->job.num_sources; i++) {
        if (!open_source(cv, i)) {
            return false;
        }
    }
    if (cv->snapshot && cv->job.num_sources > 1) {
        error_report("No support for concatenating multiple snapshot");
        return false;
    }
    return !cv->snapshot || load_snapshot(cv);
}

static int64_t total_length(const Convert *cv)
{
    return cv->job.sources[cv->job.num_sources - 1].end;
}

static void close_sources(Convert *cv)
{
    for (size_t i = 0; i < cv->job.num_sources; i++) {
        blk_unref(cv->job.sources[i].blk);
        host_file_clear(&cv->source_files[i]);
    }
    g_free(cv->job.sources);
    g_free(cv->source_files);
}

/* --- the target --- */

/*
 * It is not an option of the image, which keeps no record of it, but of the writing: it goes from the
 * values for the creation to those for opening the target.
 */
static bool take_compression_level(Convert *cv, Error **errp)
{
    const char *type = blk_options_get(cv->create_values, "compression_type") ?: "zlib";
    unsigned max = bdrv_qcow2_max_compression_level(type);
    uint64_t level = 0;
    int given = blk_options_take_number(cv->create_values, "compression_level", &level, errp);

    if (given > 0 && !create_target_has(&cv->create, "compression_type")) {
        error_setg(errp, "Invalid parameter 'compression_level'%s",
                   cv->compressed ? ": it needs a format that compresses, such as -O qcow2" : "");
        return false;
    }
    if (given > 0 && !cv->compressed) {
        error_setg(errp, "compression_level has no effect without -c");
        return false;
    }
    if (given > 0 && (level < 1 || level > max)) {
        error_setg(errp, "compression_level for %s must be between 1 and %u", type, max);
        return false;
    }
    cv->target.compression_level = level;
    return given >= 0;
}

/* Checks all that is needed to create the target. */
static bool prepare_create(Convert *cv)
{
    Error *err = NULL;

    if (!create_target_init(&cv->create, cv->target.format, cv->target.filename, &err)) {
        error_report_err(err);
        return false;
    }
    create_target_add_compression(&cv->create);
    cv->create_values = create_target_parse(&cv->create, cv->options, &err);
    if (!cv->create_values || !take_compression_level(cv, &err)) {
        error_report_err(err);
        return false;
    }
    blk_options_setf(cv->create_values, "size", "%" PRId64, total_length(cv));
    if (cv->backing_file) {
        if (!create_target_has(&cv->create, "backing_file")) {
            error_report("Backing file not supported for file format '%s'", cv->target.format);
            return false;
        }
        blk_options_set(cv->create_values, "backing_file", cv->backing_file);
    }
    if (cv->backing_format) {
        if (!create_target_has(&cv->create, "backing_fmt")) {
            error_report("Backing file format not supported for file format '%s'",
                         cv->target.format);
            return false;
        }
        blk_options_set(cv->create_values, "backing_fmt", cv->backing_format);
    }
    cv->backing_file = blk_options_get(cv->create_values, "backing_file");
    if (cv->backing_file && !blk_options_get(cv->create_values, "backing_fmt")) {
        error_report("Use of backing file requires explicit backing format");
        return false;
    }
    return true;
}

/* A backing file of the target means that only the difference is copied. */
static bool check_backing(Convert *cv)
{
    cv->job.target_has_backing = cv->backing_file;
    if (!cv->backing_file) {
        return true;
    }
    if (cv->job.target_is_zero) {
        error_report("Cannot use --target-is-zero when the destination image has a backing file");
        return false;
    }
    if (cv->job.num_sources > 1) {
        error_report("Having a backing file for the target makes no sense when concatenating "
                     "multiple input images");
        return false;
    }
    return true;
}

static bool can_compress(BlockDriver *drv)
{
    if (!bdrv_driver_can_compress(drv)) {
        error_report("Compression not supported for this file format");
        return false;
    }
    return true;
}

/* What the format of a target that is to be created must be able to do. */
static bool check_compression(const Convert *cv)
{
    if (!cv->compressed || cv->skip_create) {
        return true;
    }
    if (!can_compress(cv->create.drv)) {
        return false;
    }
    const char *prealloc = blk_options_get(cv->create_values, "preallocation");
    const char *encryption = blk_options_get(cv->create_values, "encryption");
    if ((encryption && !strcmp(encryption, "on")) ||
        blk_options_get(cv->create_values, "encrypt.format")) {
        error_report("Compression and encryption not supported at the same time");
        return false;
    }
    if (blk_options_get(cv->create_values, "data_file")) {
        error_report("Compression and an external data file not supported at the same time");
        return false;
    }
    if (prealloc && strcmp(prealloc, "off") != 0) {
        error_report("Compression and preallocation not supported at the same time");
        return false;
    }
    return true;
}

static bool check_bitmaps(const Convert *cv)
{
    if (!cv->bitmaps) {
        return true;
    }
    if (cv->job.num_sources > 1) {
        error_report("Copying bitmaps only possible with single source");
        return false;
    }
    return bitmaps_can_be_copied(blk_bs(cv->job.sources[0].blk), cv->skip_broken_bitmaps);
}

/* Creating the target would empty the source, and locks do not help when -U is given. */
static bool check_target_is_no_source(const Convert *cv)
{
    for (size_t i = 0; i < cv->job.num_sources; i++) {
        if (host_file_is_same(&cv->source_files[i], &cv->target_file)) {
            error_report("%s: The target is the same file as the source '%s'",
                         cv->target.filename, cv->names[i]);
            return false;
        }
    }
    return true;
}

static bool create_target(Convert *cv)
{
    Error *err = NULL;

    if (bdrv_create(cv->create.drv, cv->target.filename, g_steal_pointer(&cv->create_values),
                    &err) < 0) {
        error_reportf_err(err, "%s: error while converting %s: ", cv->target.filename,
                          cv->target.format);
        return false;
    }
    return true;
}

static bool set_up_compression(Convert *cv)
{
    BlockDriverInfo info;

    if (!cv->compressed) {
        return true;
    }
    int ret = bdrv_get_info(blk_bs(cv->job.target), &info);
    if (ret < 0) {
        error_report("could not get block driver info");
        return false;
    }
    if (info.cluster_size <= 0) {
        error_report("invalid cluster size");
        return false;
    }
    cv->job.compressed = info.cluster_size;
    return true;
}

/* What lies below the source's own layer is left to the target's backing file. */
static bool set_up_layers(Convert *cv)
{
    cv->job.target_backing_length = -1;
    if (cv->job.target_has_backing) {
        BlockDriverState *source = bdrv_skip_filters(blk_bs(cv->job.sources[0].blk));
        BlockDriverState *backing = bdrv_backing_chain_next(blk_bs(cv->job.target));

        cv->job.sources[0].base = bdrv_backing_bs(source);
        /* Behind the end of its backing file an image that was there may hold anything. */
        if (backing && !cv->skip_create) {
            cv->job.target_backing_length = bdrv_getlength(backing);
        }
    }
    return true;
}

static bool open_target(Convert *cv)
{
    cv->job.target = cli_open_image(&cv->target);
    if (!cv->job.target) {
        return false;
    }
    if (cv->compressed && cv->skip_create && 
        !can_compress(blk_bs(cv->job.target)->drv)) {
        return false;
    }
    int64_t length = blk_getlength(cv->job.target);
    if (length < 0) {
        error_report("unable to get output image length: %s", strerror(-length));
        return false;
    }
    if (length < total_length(cv)) {
        error_report("output file is smaller than input file");
        return false;
    }
    return set_up_compression(cv) && set_up_layers(cv);
}

/* --- all together --- */

/* What is cut off a file reads as zeroes, without an error: it has to be looked for. */
static bool check_sources_are_whole(const Convert *cv)
{
    for (size_t i = 0; i < cv->job.num_sources; i++) {
        if (host_file_has_shrunk(&cv->source_files[i])) {
            error_report("The source '%s' became smaller while it was read (the target '%s' "
                         "is incomplete)", cv->names[i], cv->target.filename);
            return false;
        }
    }
    return true;
}

static bool flush_target(const Convert *cv)
{
    int ret = blk_flush(cv->job.target);

    if (ret < 0) {
        error_report("error while flushing the target '%s': %s", cv->target.filename,
                     strerror(-ret));
    }
    return ret >= 0;
}

static bool copy(Convert *cv)
{
    /* What was in an existing target is to be overwritten, also by zeroes. */
    if (!cv->skip_create && cv->job.min_sparse && !cv->job.target_has_backing &&
        bdrv_has_zero_init(blk_bs(cv->job.target))) {
        cv->job.target_is_zero = true;
    }
    return (total_length(cv) == 0 || copy_run(&cv->job)) && check_sources_are_whole(cv) && flush_target(cv);
}

/* From the first change on disk to the last. */
static bool fill_target(Convert *cv)
{
    target_guard_begin(cv->target_file.path);
    bool ok = (cv->skip_create || create_target(cv)) && open_target(cv) &&
              (!cv->bitmaps || bitmaps_can_be_stored(blk_bs(cv->job.target))) && copy(cv) &&
              (!cv->bitmaps || bitmaps_copy(blk_bs(cv->job.sources[0].blk),
                                            blk_bs(cv->job.target), cv->skip_broken_bitmaps)) &&
              cli_finish_image(cv->job.target);
    blk_unref(cv->job.target);
    target_guard_end();
    return ok;
}

static bool convert(Convert *cv)
{
    if (!open_sources(cv)) {
        return false;
    }
    if (!cv->skip_create && !prepare_create(cv)) {
        return false;
    }
    if (!check_backing(cv) || !check_compression(cv) || !check_bitmaps(cv) ||
        !parse_target_cache(cv)) {
        return false;
    }
    host_file_init(&cv->target_file, cv->target.filename, cv->target.image_opts);
    return check_target_is_no_source(cv) && fill_target(cv);
}

static int convert_run(const Command *cmd, int argc, char **argv)
{
    Convert cv = {
        .source_cache = "writeback",
        .target_cache = "unsafe",
        .job = { .min_sparse = 4096, .num_coroutines = 8, .in_order = true },
    };
    int c;

    while ((c = cli_getopt(cmd, argc, argv)) != -1) {
        if (!parse_option(c, &cv)) {
            return EXIT_FAILURE;
        }
    }
    g_autofree char *options = cv.options;
    const char *conflict = find_conflict(&cv);
    if (conflict) {
        error_report("%s", conflict);
        return EXIT_FAILURE;
    }
    if (!cv.target.format && !cv.target.image_opts) {
        cv.target.format = "raw";
    }
    const char *last = argc - optind >= 2 ? argv[argc - 1] : NULL;
    if (options && cli_option_list_asks_help(options)) {
        return create_options_help(cv.target.format, last);
    }
    if (!last) {
        error_report("Must specify image file name");
        cli_hint_help();
        return EXIT_FAILURE;
    }
    cv.target.filename = cv.job.target_name = last;
    cv.names = argv + optind;
    cv.job.num_sources = argc - optind - 1;
    cv.job.sources = g_new0(CopySource, cv.job.num_sources);
    cv.source_files = g_new0(HostFile, cv.job.num_sources);

    bool ok = parse_source_cache(&cv);
    if (ok) {
        progress_begin(cv.job.quiet);
        ok = convert(&cv);
        progress_end(ok);
    }
    close_sources(&cv);
    host_file_clear(&cv.target_file);
    blk_options_free(cv.create_values);
    create_target_clear(&cv.create);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

const Command convert_command = {
    .name = "convert",
    .run = convert_run,
    .args = "SOURCE [SOURCE...] TARGET",
    .summary = "Copies images; only what is allocated, with holes where there are zeroes.",
    .options = convert_cli_options,
    .example = "convert -p -f raw -O qcow2 disk.img disk.qcow2\n"
               "convert -p -c -O qcow2 disk.qcow2 compressed.qcow2",
};
