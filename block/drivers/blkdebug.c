/* SPDX-License-Identifier: MIT */
/*
 * blkdebug: a filter that fails or holds requests at events that those above it raise,
 * and that can be pickier than its image: alignment, limits, permissions. For tests.
 *
 * Names: blkdebug:CONFIG:IMAGE, where CONFIG (see blkdebug-config.c) may be empty. The
 * rules are in blkdebug-rules.c.
 */
#include "blkdebug.h"

typedef struct BlkdebugState {
    BlkdebugRules rules;
    char *config_file; /* NULL: none */
    /* As bs->bl wants them, in bytes; 0: as the image. */
    uint64_t align;
    uint64_t max_transfer;
    uint64_t opt_write_zero, max_write_zero;
    uint64_t opt_discard, max_discard;
    uint64_t take_child_perms, unshare_child_perms;
} BlkdebugState;

/* "blkdebug:CONFIG:IMAGE"; without the prefix all of it is the image. */
static void blkdebug_parse_filename(const char *filename, BlockOptions *options,
                                    Error **errp)
{
    static const char prefix[] = "blkdebug:";
    const char *config, *colon;

    if (!g_str_has_prefix(filename, prefix)) {
        blk_options_set(options, "x-image", filename);
        return;
    }
    config = filename + strlen(prefix);
    colon = strchr(config, ':');
    if (!colon) {
        error_setg(errp, "blkdebug requires both config file and image path");
        return;
    }
    if (colon > config) {
        g_autofree char *name = g_strndup(config, colon - config);

        blk_options_set(options, "config", name);
    }
    blk_options_set(options, "x-image", colon + 1);
}

/* Nothing but a configuration file and an image can be said by the name alone. */
static char *blkdebug_plain_filename(BlockDriverState *bs, const BlockOptions *strong)
{
    const char *config = blk_options_get(strong, "config");

    if (!*bs->file->bs->exact_filename || blk_options_count(strong) > (config ? 1U : 0U)) {
        return NULL;
    }
    return g_strdup_printf("blkdebug:%s:%s", config ? config : "",
                           bs->file->bs->exact_filename);
}

/* --- open --- */

static int take_perms(BlockOptions *options, const char *key, uint64_t *perms, Error **errp)
{
    static const struct {
        const char *name;
        uint64_t perm;
    } names[] = {
        { "consistent-read", BLK_PERM_CONSISTENT_READ },
        { "write", BLK_PERM_WRITE },
        { "write-unchanged", BLK_PERM_WRITE_UNCHANGED },
        { "resize", BLK_PERM_RESIZE },
    };
    g_autoptr(BlockOptions) list = blk_options_extract(options, key);

    for (size_t i = 0; i < blk_options_count(list); i++) {
        const char *value = blk_options_get(list, blk_options_key(list, i));
        size_t n = 0;

        while (n < G_N_ELEMENTS(names) && strcmp(names[n].name, value)) {
            n++;
        }
        if (n == G_N_ELEMENTS(names)) {
            error_setg(errp, "Parameter '%s' does not accept value '%s'", key, value);
            return -EINVAL;
        }
        *perms |= names[n].perm;
    }
    return 0;
}

/* Takes a limit that has to be a multiple of @unit. */
static int take_limit(BlockOptions *options, const char *key, uint64_t unit,
                      uint64_t *value, Error **errp)
{
    if (blk_options_take_size(options, key, value, errp) < 0) {
        return -EINVAL;
    }
    if (*value >= INT_MAX || *value % unit) {
        error_setg(errp, "Cannot meet constraints with %s %" PRIu64, key, *value);
        return -EINVAL;
    }
    return 0;
}

static int take_limits(BlockDriverState *bs, BlockOptions *options, Error **errp)
{
    BlkdebugState *s = bs->opaque;
    uint64_t align;

    if (take_limit(options, "align", 1, &s->align, errp) < 0) {
        return -EINVAL;
    }
    if (s->align & (s->align - 1)) {
        error_setg(errp, "Cannot meet constraints with align %" PRIu64, s->align);
        return -EINVAL;
    }
    align = MAX(s->align, (uint64_t)bs->file->bs->bl.request_alignment);
    if (take_limit(options, "max-transfer", align, &s->max_transfer, errp) < 0 ||
        take_limit(options, "opt-write-zero", align, &s->opt_write_zero, errp) < 0 ||
        take_limit(options, "max-write-zero", MAX(s->opt_write_zero, align),
                   &s->max_write_zero, errp) < 0 ||
        take_limit(options, "opt-discard", align, &s->opt_discard, errp) < 0 ||
        take_limit(options, "max-discard", MAX(s->opt_discard, align), &s->max_discard,
                   errp) < 0) {
        return -EINVAL;
    }
    return 0;
}

static int take_rules(BlkdebugState *s, BlockOptions *options, Error **errp)
{
    int ret = 0;

    s->config_file = blk_options_take(options, "config");
    if (s->config_file) {
        ret = blkdebug_rules_from_file(&s->rules, s->config_file, errp);
    }
    return ret < 0 ? ret : blkdebug_rules_from_options(&s->rules, options, errp);
}

static int open_image(BlockDriverState *bs, BlockOptions *options, Error **errp)
{
    BlkdebugState *s = bs->opaque;
    g_autofree char *image = NULL;

    if (take_perms(options, "take-child-perms", &s->take_child_perms, errp) < 0 ||
        take_perms(options, "unshare-child-perms", &s->unshare_child_perms, errp) < 0) {
        return -EINVAL;
    }
    image = blk_options_take(options, "x-image");
    return bdrv_open_child_role(image, options, "image", bs,
                                BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY, false, errp)
               ? 0
               : -EINVAL;
}

static void free_state(BlkdebugState *s)
{
    blkdebug_rules_destroy(&s->rules);
    g_free(s->config_file);
}

static int blkdebug_open(BlockDriverState *bs, BlockOptions *options, int flags,
                         Error **errp)
{
    BlkdebugState *s = bs->opaque;
    int ret;

    blkdebug_rules_init(&s->rules);
    ret = take_rules(s, options, errp);
    if (ret == 0) {
        ret = open_image(bs, options, errp);
    }
    if (ret == 0) {
        ret = take_limits(bs, options, errp);
    }
    if (ret < 0) {
        free_state(s);
        return ret;
    }
    /* Without FUA: a flush follows such a write, and rules for flushes shall see it. */
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED;
    bs->supported_zero_flags =
        BDRV_REQ_WRITE_UNCHANGED |
        ((BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK) &
         bs->file->bs->supported_zero_flags);
    bs->supported_truncate_flags = bs->file->bs->supported_truncate_flags;
    /* Rules that hold from the beginning. There are no break points yet to stop at. */
    blkdebug_rules_event(&s->rules, BLKDBG_NONE);
    return 0;
}

static void blkdebug_close(BlockDriverState *bs)
{
    free_state(bs->opaque);
}

static void blkdebug_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BlkdebugState *s = bs->opaque;
    const BlockLimits *file = &bs->file->bs->bl;
    BlockLimits *bl = &bs->bl;

    bl->has_variable_length = file->has_variable_length;
    bl->max_pdiscard = s->max_discard;
    bl->max_pwrite_zeroes = s->max_write_zero;
    bl->pdiscard_alignment = s->opt_discard;
    bl->pwrite_zeroes_alignment = s->opt_write_zero;
    if (s->align) {
        bl->request_alignment = s->align;
    }
    if (s->max_transfer) {
        bl->max_transfer = s->max_transfer;
    }
}

static void blkdebug_child_perm(BlockDriverState *bs, const BdrvChild *child,
                                uint64_t perm, uint64_t shared, uint64_t *nperm,
                                uint64_t *nshared)
{
    BlkdebugState *s = bs->opaque;

    *nperm = perm | s->take_child_perms;
    *nshared = shared & ~s->unshare_child_perms;
}

/* --- requests --- */

static int64_t coroutine_fn blkdebug_co_getlength(BlockDriverState *bs)
{
    return bdrv_co_getlength(bs->file->bs);
}

static int64_t coroutine_fn blkdebug_co_get_allocated_file_size(BlockDriverState *bs)
{
    return -ENOTSUP; /* as QEMU's */
}

static int coroutine_fn check(BlockDriverState *bs, BlkdebugIOType type, int64_t offset,
                              int64_t bytes)
{
    BlkdebugState *s = bs->opaque;

    return blkdebug_rules_check(&s->rules, type, offset, bytes);
}

static int coroutine_fn blkdebug_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                                int64_t bytes, QEMUIOVector *qiov,
                                                size_t qiov_offset,
                                                BdrvRequestFlags flags)
{
    int ret = check(bs, BLKDEBUG_READ, offset, bytes);

    return ret < 0
               ? ret
               : bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn blkdebug_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                                 int64_t bytes, QEMUIOVector *qiov,
                                                 size_t qiov_offset,
                                                 BdrvRequestFlags flags)
{
    int ret = check(bs, BLKDEBUG_WRITE, offset, bytes);

    return ret < 0
               ? ret
               : bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn blkdebug_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                                  int64_t bytes, BdrvRequestFlags flags)
{
    int64_t least = MAX(bs->bl.request_alignment, bs->bl.pwrite_zeroes_alignment);
    int ret;

    if (bytes < least) {
        return -ENOTSUP;
    }
    ret = check(bs, BLKDEBUG_WRITE_ZEROES, offset, bytes);
    return ret < 0 ? ret : bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

static int coroutine_fn blkdebug_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                             int64_t bytes)
{
    int ret;

    if (bytes < bs->bl.pdiscard_alignment) {
        return -ENOTSUP;
    }
    ret = check(bs, BLKDEBUG_DISCARD, offset, bytes);
    return ret < 0 ? ret : bdrv_co_pdiscard(bs->file, offset, bytes);
}

/* The core flushes the image after it. */
static int coroutine_fn blkdebug_co_flush(BlockDriverState *bs)
{
    return check(bs, BLKDEBUG_FLUSH, 0, 0);
}

static int coroutine_fn blkdebug_co_block_status(BlockDriverState *bs, bool want_zero,
                                                 int64_t offset, int64_t bytes,
                                                 int64_t *pnum, int64_t *map,
                                                 BlockDriverState **file)
{
    int ret = check(bs, BLKDEBUG_BLOCK_STATUS, offset, bytes);

    if (ret < 0) {
        return ret;
    }
    *pnum = bytes;
    *map = offset;
    *file = bs->file->bs;
    return BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID;
}

/* --- events --- */

static void coroutine_fn blkdebug_co_debug_event(BlockDriverState *bs, BlkdebugEvent event)
{
    BlkdebugState *s = bs->opaque;

    blkdebug_rules_event(&s->rules, event);
}

static int blkdebug_breakpoint(BlockDriverState *bs, const char *event, const char *tag)
{
    BlkdebugState *s = bs->opaque;

    return blkdebug_rules_break(&s->rules, event, tag);
}

static int blkdebug_remove_breakpoint(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;

    return blkdebug_rules_remove_break(&s->rules, tag);
}

static int blkdebug_resume(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;

    return blkdebug_rules_resume(&s->rules, tag);
}

static bool blkdebug_is_suspended(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;

    return blkdebug_rules_is_suspended(&s->rules, tag);
}

static const char *const blkdebug_strong_options[] = {
    "config",         "inject-error.",  "set-state.",  "align",       "max-transfer",
    "opt-write-zero", "max-write-zero", "opt-discard", "max-discard", NULL
};

BlockDriver bdrv_blkdebug = {
    .format_name = "blkdebug",
    .protocol_name = "blkdebug",
    .instance_size = sizeof(BlkdebugState),
    .is_filter = true,
    .bdrv_parse_filename = blkdebug_parse_filename,
    .bdrv_open = blkdebug_open,
    .bdrv_close = blkdebug_close,
    .bdrv_refresh_limits = blkdebug_refresh_limits,
    .bdrv_child_perm = blkdebug_child_perm,
    .bdrv_co_getlength = blkdebug_co_getlength,
    .bdrv_co_get_allocated_file_size = blkdebug_co_get_allocated_file_size,
    .bdrv_co_preadv_part = blkdebug_co_preadv_part,
    .bdrv_co_pwritev_part = blkdebug_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = blkdebug_co_pwrite_zeroes,
    .bdrv_co_pdiscard = blkdebug_co_pdiscard,
    .bdrv_co_flush_to_disk = blkdebug_co_flush,
    .bdrv_co_block_status = blkdebug_co_block_status,
    .bdrv_co_debug_event = blkdebug_co_debug_event,
    .bdrv_debug_breakpoint = blkdebug_breakpoint,
    .bdrv_debug_remove_breakpoint = blkdebug_remove_breakpoint,
    .bdrv_debug_resume = blkdebug_resume,
    .bdrv_debug_is_suspended = blkdebug_is_suspended,
    .bdrv_plain_filename = blkdebug_plain_filename,
    .strong_runtime_opts = blkdebug_strong_options,
};
