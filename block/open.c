/* SPDX-License-Identifier: MIT */
/*
 * Opening: from a file name and options to a tree of nodes.
 *
 * A name is a path, "PROTOCOL:..." or "json:{...}". A format driver gets a "file" child,
 * opened first, and the format is probed there if nobody named it. Each node takes the
 * options that it knows, children take what has their prefix; whatever is left is an
 * error. On failure everything is undone by dropping the nodes.
 *
 * Main or home thread, not in a coroutine.
 */
#include "node.h"

/* Flags that concern one node and not what lies below it. */
#define OWN_FLAGS (BDRV_O_NO_BACKING | BDRV_O_CHECK | BDRV_O_NO_IO | BDRV_O_COPY_ON_READ)

/* How deep a name ("blkdebug::blkdebug::...") and the chain of backing files may lead. */
#define MAX_DEPTH 500
/* As each of those nodes may keep what is left of the name: what Linux takes as one argument. */
#define MAX_NAME_BYTES (128 * 1024)

/* How deep this thread is. */
static GPrivate open_depth;

/* What is being opened. */
typedef struct OpenRequest {
    const char *filename; /* as given beside the options, or NULL */
    BlockOptions *options;
    int flags;
    bool force_share;
    bool detect_zeroes, detect_zeroes_unmap;
    char *node_name;
    BlockDriver *drv; /* NULL: to be probed */
    bool probed;
    char *shown_name; /* for bs->filename */
} OpenRequest;

/* --- options that every node has --- */

static int take_flag(BlockOptions *options, const char *key, int *flags, int flag,
                     Error **errp)
{
    bool on = *flags & flag;
    int ret = blk_options_take_bool(options, key, &on, errp);

    *flags = on ? *flags | flag : *flags & ~flag;
    return ret;
}

static int take_read_only(BlockOptions *options, int *flags, Error **errp)
{
    bool read_only = !(*flags & BDRV_O_RDWR);
    int ret = blk_options_take_bool(options, BDRV_OPT_READ_ONLY, &read_only, errp);

    *flags = read_only ? *flags & ~BDRV_O_RDWR : *flags | BDRV_O_RDWR;
    return ret;
}

static int take_discard(BlockOptions *options, int *flags, Error **errp)
{
    g_autofree char *mode = blk_options_take(options, BDRV_OPT_DISCARD);

    if (mode && bdrv_parse_discard_flags(mode, flags) < 0) {
        error_setg(errp, "Invalid discard option");
        return -EINVAL;
    }
    return 0;
}

static int take_detect_zeroes(OpenRequest *req, Error **errp)
{
    g_autofree char *mode = blk_options_take(req->options, BDRV_OPT_DETECT_ZEROES);

    req->detect_zeroes_unmap = !g_strcmp0(mode, "unmap");
    req->detect_zeroes = req->detect_zeroes_unmap || !g_strcmp0(mode, "on");
    if (mode && !req->detect_zeroes && strcmp(mode, "off")) {
        error_setg(errp, "invalid parameter value: %s", mode);
        return -EINVAL;
    }
    if (req->detect_zeroes_unmap && !(req->flags & BDRV_O_UNMAP)) {
        error_setg(errp, "setting detect-zeroes to unmap is not allowed without setting "
                         "discard operation to unmap");
        return -EINVAL;
    }
    return 0;
}

static int take_common_options(OpenRequest *req, Error **errp)
{
    BlockOptions *o = req->options;

    if (take_flag(o, BDRV_OPT_CACHE_DIRECT, &req->flags, BDRV_O_NOCACHE, errp) < 0 ||
        take_flag(o, BDRV_OPT_CACHE_NO_FLUSH, &req->flags, BDRV_O_NO_FLUSH, errp) < 0 ||
        take_flag(o, "auto-read-only", &req->flags, BDRV_O_AUTO_RDONLY, errp) < 0 ||
        take_read_only(o, &req->flags, errp) < 0 ||
        take_discard(o, &req->flags, errp) < 0 || take_detect_zeroes(req, errp) < 0 ||
        blk_options_take_bool(o, BDRV_OPT_FORCE_SHARE, &req->force_share, errp) < 0) {
        return -EINVAL;
    }
    if (req->force_share && (req->flags & BDRV_O_RDWR)) {
        error_setg(errp, "force-share=on can only be used with read-only images");
        return -EINVAL;
    }
    if ((req->flags & BDRV_O_COPY_ON_READ) && !(req->flags & BDRV_O_RDWR)) {
        error_setg(errp, "Can't use copy-on-read on read-only device");
        return -EINVAL;
    }
    req->node_name = blk_options_take(o, "node-name");
    return 0;
}

/* --- names and drivers --- */

/* "json:{...}" says it all; what was given as options has precedence. */
static int parse_json_filename(OpenRequest *req, Error **errp)
{
    const char *json;

    if (!req->filename || !g_str_has_prefix(req->filename, "json:")) {
        size_t length = req->filename ? strlen(req->filename) : 0;

        if (length > MAX_NAME_BYTES) {
            error_setg_errno(errp, ENAMETOOLONG, "A name of %zu bytes", length);
            return -ENAMETOOLONG;
        }
        return 0;
    }
    json = req->filename + strlen("json:");
    g_autoptr(BlockOptions) parsed = blk_options_new();
    if (!blk_options_parse_json(parsed, json, errp)) {
        return -EINVAL;
    }
    blk_options_merge(req->options, parsed, false);
    req->filename = NULL;
    return 0;
}

static int take_driver(OpenRequest *req, Error **errp)
{
    g_autofree char *name = blk_options_take(req->options, "driver");

    if (!name) {
        return 0;
    }
    req->drv = bdrv_find_format(name);
    if (!req->drv) {
        error_setg(errp, "Unknown driver '%s'", name);
        return -EINVAL;
    }
    if (req->drv->protocol_name) {
        req->flags |= BDRV_O_PROTOCOL;
    } else {
        req->flags &= ~BDRV_O_PROTOCOL;
    }
    return 0;
}

/* A name goes to the driver's parser, unless it came as an option and stands for itself.
 */
static int parse_protocol_filename(OpenRequest *req, Error **errp)
{
    ERRP_GUARD();

    if (req->filename && blk_options_get(req->options, "filename")) {
        error_setg(errp,
                   "Can't specify 'file' and 'filename' options at the same time");
        return -EINVAL;
    }
    if (!req->drv) {
        const char *name = req->filename;

        name = name ? name : blk_options_get(req->options, "filename");
        if (!name) {
            error_setg(errp, "Must specify either driver or file");
            return -EINVAL;
        }
        req->drv = bdrv_find_protocol(name, req->filename != NULL, errp);
        if (!req->drv) {
            return -EINVAL;
        }
    }
    if (!req->filename) {
        return 0;
    }
    if (req->drv->bdrv_parse_filename) {
        req->drv->bdrv_parse_filename(req->filename, req->options, errp);
    } else {
        blk_options_set(req->options, "filename", req->filename);
    }
    return *errp ? -EINVAL : 0;
}

/* --- children --- */

static int child_flags(const BlockDriver *parent, int flags, unsigned role)
{
    flags &= ~OWN_FLAGS;
    /* Whether to discard is decided above; below, nothing stands in the way. */
    flags |= BDRV_O_UNMAP;
    if (parent && !parent->is_format &&
        (role & (BDRV_CHILD_DATA | BDRV_CHILD_METADATA | BDRV_CHILD_FILTERED)) ==
            BDRV_CHILD_DATA) {
        flags &= ~BDRV_O_PROTOCOL;
    }
    if ((role & BDRV_CHILD_METADATA) ||
        (parent && parent->is_format && !(role & BDRV_CHILD_COW))) {
        flags |= BDRV_O_PROTOCOL;
    }
    return flags;
}

/*
 * The child @key: a node that exists, if @options name one; otherwise from @filename and
 * the options "@key.*". Without any of them NULL, and with @errp unless @none_message is.
 */
static BlockDriverState *open_child_node(const char *filename, BlockOptions *options,
                                         const char *key, int flags, bool force_share,
                                         const char *none_message, Error **errp)
{
    g_autofree char *reference = blk_options_take(options, key);
    BlockOptions *sub = blk_options_extract(options, key);

    if (reference && (filename || blk_options_count(sub))) {
        error_setg(errp, "Cannot reference an existing block device with additional "
                         "options or a new filename");
        blk_options_free(sub);
        return NULL;
    }
    if (reference || (!filename && !blk_options_count(sub))) {
        blk_options_free(sub);
        if (!reference && none_message) {
            error_setg(errp, "%s", none_message);
        }
        return reference ? bdrv_lookup_reference(reference, errp) : NULL;
    }
    if (force_share) {
        blk_options_set_default(sub, BDRV_OPT_FORCE_SHARE, "on");
    }
    return bdrv_open_node(filename, sub, flags, errp);
}

static BlockDriverState *open_file_child(OpenRequest *req, Error **errp)
{
    return open_child_node(req->filename, req->options, "file",
                           child_flags(req->drv, req->flags, BDRV_CHILD_METADATA),
                           req->force_share,
                           req->drv ? "A block device must be specified for \"file\""
                                    : "Must specify either driver or file",
                           errp);
}

BdrvChild *bdrv_open_child_role(const char *filename, BlockOptions *options,
                                const char *bdref_key, BlockDriverState *parent,
                                unsigned role, bool allow_none, Error **errp)
{
    g_autofree char *needed =
        g_strdup_printf("A block device must be specified for \"%s\"", bdref_key);
    BlockDriverState *bs =
        open_child_node(filename, options, bdref_key,
                        child_flags(parent->drv, parent->open_flags, role),
                        parent->force_share, allow_none ? NULL : needed, errp);
    BdrvChild *child = bs ? bdrv_attach_child(parent, bs, bdref_key, errp) : NULL;

    if (child && (role & BDRV_CHILD_PRIMARY)) {
        parent->file = child;
    }
    return child;
}

BdrvChild *bdrv_open_child(const char *filename, BlockOptions *options,
                           const char *bdref_key, BlockDriverState *parent,
                           bool allow_none, Error **errp)
{
    return bdrv_open_child_role(
        filename, options, bdref_key, parent,
        parent->drv->is_filter ? BDRV_CHILD_FILTERED : BDRV_CHILD_METADATA, allow_none,
        errp);
}

static int probe_format(OpenRequest *req, BlockDriverState *file_bs, Error **errp)
{
    uint8_t buf[BLOCK_PROBE_BYTES] = { 0 };
    BdrvChild edge = { .bs = file_bs };
    int64_t length = bdrv_getlength(file_bs);
    int ret = length < 0 ? length : 0;

    length = MIN(length, (int64_t)sizeof(buf));
    if (length > 0) {
        ret = bdrv_pread(&edge, 0, length, buf, 0);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read image for determining its format");
        return ret;
    }
    req->drv = length ? bdrv_probe_all(buf, length, file_bs->filename) : &bdrv_raw;
    req->probed = true;
    return 0;
}

/* --- the node --- */

static bool is_strong(const BlockDriver *drv, const char *key)
{
    for (const char *const *s = drv->strong_runtime_opts; s && *s; s++) {
        size_t len = strlen(*s);

        if (!strcmp(key, *s) || ((*s)[len - 1] == '.' && !strncmp(key, *s, len))) {
            return true;
        }
    }
    return false;
}

/* The options that say what the image is, to be able to name it later. */
static BlockOptions *strong_options(const BlockDriver *drv, const BlockOptions *options)
{
    BlockOptions *strong = blk_options_copy(options);

    for (size_t i = blk_options_count(strong); i-- > 0;) {
        const char *key = blk_options_key(strong, i);

        if (!is_strong(drv, key)) {
            blk_options_del(strong, key);
        }
    }
    return strong;
}

static int check_leftover(const BlockDriver *drv, const BlockOptions *options,
                          Error **errp)
{
    const char *key = blk_options_key(options, 0);

    if (!key) {
        return 0;
    }
    if (drv->protocol_name) {
        error_setg(errp, "Block protocol '%s' doesn't support the option '%s'",
                   drv->format_name, key);
    } else {
        error_setg(errp, "Block format '%s' does not support the option '%s'",
                   drv->format_name, key);
    }
    return -EINVAL;
}

static int call_driver_open(BlockDriverState *bs, BlockOptions *options, Error **errp)
{
    ERRP_GUARD();
    int ret =
        bs->drv->bdrv_open ? bs->drv->bdrv_open(bs, options, bs->open_flags, errp) : 0;

    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not open '%s'", bs->filename);
    }
    return ret;
}

/* What the driver must know of itself before its first request. */
static int finish_open(BlockDriverState *bs, BlockOptions *options, Error **errp)
{
    int64_t length;

    if (bs->read_only) {
        bs->open_flags &= ~BDRV_O_RDWR;
    }
    if (check_leftover(bs->drv, options, errp) < 0) {
        return -EINVAL;
    }
    length = bdrv_refresh_length(bs);
    if (length < 0) {
        error_setg_errno(errp, -length, "Could not refresh total sector count");
        return length;
    }
    bdrv_dirty_bitmaps_follow_length(bs);
    return bdrv_refresh_limits(bs, errp);
}

/* An empty node of the right kind, with its file. Takes over @file_bs. */
static BlockDriverState *make_node(OpenRequest *req, BlockDriverState *file_bs,
                                   Error **errp)
{
    BlockDriverState *bs = bdrv_new_node(thread_context_peek());

    if (bdrv_assign_node_name(bs, req->node_name, errp) < 0) {
        bdrv_unref(file_bs);
        bdrv_unref(bs);
        return NULL;
    }
    bs->drv = req->drv;
    bs->debug_events = req->drv->bdrv_co_debug_event != NULL;
    bs->opaque = g_malloc0(MAX(req->drv->instance_size, 1));
    bs->core->probed = req->probed;
    bs->core->copy_on_read = req->flags & BDRV_O_COPY_ON_READ;
    bs->core->detect_zeroes = req->detect_zeroes;
    bs->core->detect_zeroes_unmap = req->detect_zeroes_unmap;
    bs->core->options = strong_options(req->drv, req->options);
    bs->open_flags = req->flags;
    bs->read_only = !(req->flags & BDRV_O_RDWR);
    bs->force_share = req->force_share;
    g_free(bs->filename);
    bs->filename = g_steal_pointer(&req->shown_name);
    if (file_bs) {
        if (file_bs->read_only && (req->flags & BDRV_O_AUTO_RDONLY)) {
            bs->read_only = true;
        }
        if (!bdrv_attach_child(bs, file_bs, "file", errp)) {
            bs->drv = NULL;
            bdrv_unref(bs);
            return NULL;
        }
    }
    return bs;
}

static BlockDriverState *open_prepared(OpenRequest *req, BlockDriverState *file_bs,
                                       Error **errp)
{
    BlockDriverState *bs = make_node(req, file_bs, errp);

    if (!bs) {
        return NULL;
    }
    if (call_driver_open(bs, req->options, errp) < 0) {
        bs->drv = NULL; /* it has nothing to close */
        bdrv_unref(bs);
        return NULL;
    }
    if (bdrv_open_backing(bs, req->options, errp) < 0 ||
        finish_open(bs, req->options, errp) < 0) {
        bdrv_unref(bs);
        return NULL;
    }
    bdrv_refresh_filename(bs);
    return bs;
}

static char *name_to_show(const OpenRequest *req, const char *original)
{
    const char *name = blk_options_get(req->options, "filename");

    if (original) {
        return g_strdup(original);
    }
    return g_strdup(name ? name : "");
}

static BlockDriverState *open_request(OpenRequest *req, Error **errp)
{
    const char *original = req->filename;
    BlockDriverState *file_bs = NULL;

    if (parse_json_filename(req, errp) < 0 || take_common_options(req, errp) < 0 ||
        take_driver(req, errp) < 0) {
        return NULL;
    }
    if (req->flags & BDRV_O_PROTOCOL) {
        if (parse_protocol_filename(req, errp) < 0) {
            return NULL;
        }
    } else if (!req->drv || req->drv->is_format || req->drv->is_filter) {
        file_bs = open_file_child(req, errp);
        if (!file_bs) {
            return NULL;
        }
        if (!req->drv && probe_format(req, file_bs, errp) < 0) {
            bdrv_unref(file_bs);
            return NULL;
        }
    } else if (req->filename) {
        blk_options_set(req->options, "filename", req->filename);
    }
    req->shown_name = name_to_show(req, original);
    return open_prepared(req, file_bs, errp);
}

BlockDriverState *bdrv_open_node(const char *filename, BlockOptions *options, int flags,
                                 Error **errp)
{
    OpenRequest req = { .filename = filename, .options = options, .flags = flags };
    int depth = GPOINTER_TO_INT(g_private_get(&open_depth));
    BlockDriverState *bs = NULL;

    if (depth < MAX_DEPTH) {
        g_private_set(&open_depth, GINT_TO_POINTER(depth + 1));
        bs = open_request(&req, errp);
        g_private_set(&open_depth, GINT_TO_POINTER(depth));
    } else {
        error_setg(errp, "More than %d nodes on top of each other", MAX_DEPTH);
    }
    blk_options_free(options);
    g_free(req.node_name);
    g_free(req.shown_name);
    return bs;
}

/* @options is consumed. */
static BlockDriverState *open_by_reference(const char *filename, const char *reference,
                                           BlockOptions *options, Error **errp)
{
    g_autoptr(BlockOptions) owned = options;

    if (filename || blk_options_count(owned)) {
        error_setg(errp, "Cannot reference an existing block device with additional "
                         "options or a new filename");
        return NULL;
    }
    return bdrv_lookup_reference(reference, errp);
}

BlockDriverState *bdrv_open(const char *filename, const char *reference,
                            BlockOptions *options, int flags, Error **errp)
{
    BlockDriverState *bs;

    bdrv_init();
    if (!thread_context_begin()) {
        error_setg_errno(errp, EMFILE, "Could not make an event loop");
        blk_options_free(options);
        return NULL;
    }
    options = options ? options : blk_options_new();
    if (reference) {
        bs = open_by_reference(filename, reference, options, errp);
    } else {
        bs = flags & BDRV_O_SNAPSHOT ? bdrv_open_snapshot(filename, options, flags, errp)
                                     : bdrv_open_node(filename, options, flags, errp);
    }
    thread_context_end();
    return bs;
}
