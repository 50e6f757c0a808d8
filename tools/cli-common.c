/* SPDX-License-Identifier: MIT */
/* What the tools share: see cli-common.h. The texts of messages are QEMU's. */
#include "cli-common.h"

#include "block/block-image.h"
#include "block/throttle-group.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

const char *cli_progname(void)
{
    return error_get_progname() ?: "blkco";
}

bool cli_parse_aio(const char *mode, int *flags)
{
    if (bdrv_parse_aio(mode, flags) == 0) {
        return true;
    }
    if (!strcmp(mode, "io_uring")) {
        error_report("aio=io_uring was specified, but is not supported in this build.");
        cli_hint("Use -i native or -i threads.");
    } else {
        error_report("Invalid aio option: %s", mode);
    }
    return false;
}

/* --- objects --- */

static bool is_identifier(const char *id)
{
    return g_ascii_isalpha(*id) &&
           !id[strspn(id, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-._")];
}

/* @opts hold what it is made of. False and a message: it is none. */
static bool add_throttle_group(BlockOptions *opts)
{
    g_autofree char *id = NULL;
    Error *err = NULL;

    blk_options_del(opts, "qom-type");
    id = blk_options_take(opts, "id");
    if (throttle_group_create(id, opts, &err) < 0) {
        error_report_err(err);
        return false;
    }
    return true;
}

/*
 * Throttle groups and secrets are known. No image format here takes a secret yet; command
 * lines that define one for other images go through, broken definitions do not.
 */
bool cli_add_object(const char *definition)
{
    static GHashTable *ids;
    g_autoptr(BlockOptions) opts = blk_options_new();
    Error *err = NULL;

    if (!blk_options_parse(opts, definition, "qom-type", &err)) {
        error_report_err(err);
        return false;
    }
    const char *type = blk_options_get(opts, "qom-type");
    const char *id = blk_options_get(opts, "id");
    if (!type) {
        error_report("Parameter 'qom-type' is missing");
    } else if (strcmp(type, "secret") != 0 && strcmp(type, "throttle-group") != 0) {
        error_report("Parameter 'qom-type' does not accept value '%s'", type);
    } else if (!id) {
        error_report("Parameter 'id' is missing");
    } else if (!is_identifier(id)) {
        error_report("Parameter 'id' expects an identifier");
        error_printf("Identifiers consist of letters, digits, '-', '.', '_', "
                     "starting with a letter.\n");
    } else if (!strcmp(type, "throttle-group")) {
        return add_throttle_group(opts);
    } else if (!blk_options_get(opts, "data") == !blk_options_get(opts, "file")) {
        error_report(blk_options_get(opts, "data")
                         ? "'file' and 'data' are mutually exclusive"
                         : "Either 'file' or 'data' must be provided");
    } else {
        if (!ids) {
            ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        }
        if (g_hash_table_add(ids, g_strdup(id))) {
            return true;
        }
        error_report("attempt to add duplicate property '%s' to object (type 'container')", id);
    }
    return false;
}

bool cli_check_trace(const char *text)
{
    static const char *const known[] = { "enable", "events", "file", NULL };
    g_autoptr(BlockOptions) opts = blk_options_new();
    Error *err = NULL;
    const char *event;

    if (!blk_options_parse(opts, text, "enable", &err)) {
        error_report_err(err);
        return false;
    }
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        const char *key = blk_options_key(opts, i);

        if (!g_strv_contains(known, key)) {
            error_report("Invalid parameter '%s'", key);
            return false;
        }
    }
    event = blk_options_get(opts, "enable");
    if (event && (!strcmp(event, "help") || !strcmp(event, "?"))) {
        exit(EXIT_SUCCESS);
    }
    if (event && *event != '-' && !strchr(event, '*')) {
        warn_report("trace event '%s' does not exist", event);
    }
    return true;
}

/* --- images --- */

/* NULL and a message when the option string is none. */
static BlockOptions *image_options(const CliImage *image)
{
    g_autoptr(BlockOptions) opts = blk_options_new();
    Error *err = NULL;

    if (!image->image_opts) {
        if (image->format) {
            blk_options_set(opts, "driver", image->format);
        }
    } else if (!blk_options_parse(opts, image->filename, "file", &err)) {
        error_report_err(err);
        return NULL;
    }
    if (image->force_share) {
        const char *given = blk_options_get(opts, BDRV_OPT_FORCE_SHARE);
        if (given && strcmp(given, "on") != 0) {
            error_report("--force-share/-U conflicts with image options");
            return NULL;
        }
        blk_options_set(opts, BDRV_OPT_FORCE_SHARE, "on");
    }
    if (image->compression_level) {
        blk_options_setf(opts, "compression-level", "%u", image->compression_level);
    }
    if (image->write_layer) {
        g_autofree char *key = g_strconcat(image->write_layer, BDRV_OPT_READ_ONLY, NULL);
        blk_options_set(opts, key, "off");
    }
    return g_steal_pointer(&opts);
}

static int external_flags;

void cli_forbid_external(void)
{
    external_flags = BDRV_O_NO_EXTERNAL;
}

int cli_external_flags(void)
{
    return external_flags;
}

BlockBackend *cli_open_image(const CliImage *image)
{
    Error *err = NULL;

    if (image->image_opts && image->format) {
        error_report("--image-opts and --format are mutually exclusive");
        return NULL;
    }
    BlockOptions *opts = image_options(image);
    if (!opts) {
        return NULL;
    }
    BlockBackend *blk = blk_new_open(image->image_opts ? NULL : image->filename, NULL, opts,
                                     image->flags | external_flags, &err);
    if (!blk) {
        error_reportf_err(err, "Could not open '%s': ", image->filename);
        return NULL;
    }
    blk_set_enable_write_cache(blk, !image->writethrough);
    return blk;
}

bool cli_finish_image(BlockBackend *blk)
{
    Error *err = NULL;

    if (blk_finish_writing(blk, &err) == 0) {
        return true;
    }
    error_report_err(err);
    return false;
}

/* --- messages --- */

void cli_hint(const char *fmt, ...)
{
    va_list ap;

    if (isatty(STDERR_FILENO)) {
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fputc('\n', stderr);
    }
}

/* --- coroutines, descriptors, the end --- */

void cli_run_coroutine(CoroutineEntry *entry, void *opaque, const bool *done)
{
    AioContext *ctx = qemu_get_current_aio_context();

    qemu_coroutine_enter(qemu_coroutine_create(entry, opaque));
    while (!*done) {
        aio_poll(ctx, true);
    }
}

/*
 * An image must not be opened as one of the three standard descriptors, or messages would
 * be written into it. What takes a closed one's place fails as the closed one would.
 */
void cli_reserve_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            int got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
            if (got != fd) {
                _exit(EXIT_FAILURE);
            }
        }
    }
}

int cli_finish_stdout(int status)
{
    bool failed = ferror(stdout);

    if ((fflush(stdout) || failed) && status == EXIT_SUCCESS) {
        error_report("Could not write to standard output: %s",
                     errno ? strerror(errno) : "Input/output error");
        return EXIT_FAILURE;
    }
    return status;
}
