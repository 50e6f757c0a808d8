/* SPDX-License-Identifier: MIT */
/*
 * Layers of an image: finding one in the chain, emptying the topmost, naming another one below it.
 * Home thread, not in a coroutine.
 */
#include "node.h"

/* --- the chain --- */

BlockDriverState *bdrv_skip_filters(BlockDriverState *bs)
{
    BdrvChild *filtered;

    while (bs && (filtered = bdrv_filter_child(bs))) {
        bs = filtered->bs;
    }
    return bs;
}

BlockDriverState *bdrv_backing_chain_next(BlockDriverState *bs)
{
    bs = bdrv_skip_filters(bs);
    return bs && bs->backing ? bdrv_skip_filters(bs->backing->bs) : NULL;
}

static bool same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* The file of the image, "" when it has no name. */
static const char *file_name_of(BlockDriverState *bs)
{
    while (!*bs->exact_filename && bs->file) {
        bs = bs->file->bs;
    }
    return bs->exact_filename;
}

/* Does @name, in @overlay, mean the image @below? */
static bool names_image(BlockDriverState *overlay, BlockDriverState *below, const char *name)
{
    const char *file = file_name_of(below);
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;

    if (!g_strcmp0(name, overlay->backing_file)) {
        return true;
    }
    if (path_has_protocol(name) || !*file) {
        return !strcmp(name, bdrv_get_filename(below));
    }
    dir = g_path_get_dirname(file_name_of(overlay));
    path = g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(dir, name, NULL);
    return same_file(path, file);
}

BlockDriverState *bdrv_find_backing_image(BlockDriverState *bs, const char *name)
{
    BlockDriverState *overlay = bdrv_skip_filters(bs), *below;

    while (overlay && (below = bdrv_backing_chain_next(overlay))) {
        if (names_image(overlay, below, name)) {
            return below;
        }
        overlay = below;
    }
    return NULL;
}

char *bdrv_resolve_backing_filename(const char *backed, const char *backing, Error **errp)
{
    g_autofree char *dir = NULL;

    if (path_has_protocol(backing) || g_path_is_absolute(backing)) {
        return g_strdup(backing);
    }
    if (!*backed || g_str_has_prefix(backed, "json:")) {
        error_setg(errp, "Cannot use relative backing file names for '%s'", backed);
        return NULL;
    }
    dir = path_directory(backed);
    return g_strconcat(dir, backing, NULL);
}

/* --- changes --- */

typedef struct LayerCall {
    CoCall call;
    BlockDriverState *bs;
    const char *file, *format;
} LayerCall;

#define LAYER_CALL(c) container_of(c, LayerCall, call)

static void coroutine_fn call_make_empty(CoCall *c)
{
    BlockDriverState *bs = LAYER_CALL(c)->bs;

    c->ret = bs->drv->bdrv_co_make_empty(bs);
}

static void coroutine_fn call_change_backing(CoCall *c)
{
    LayerCall *l = LAYER_CALL(c);

    c->ret = l->bs->drv->bdrv_co_change_backing_file(l->bs, l->file, l->format);
}

int blk_make_empty(BlockBackend *blk, Error **errp)
{
    LayerCall l = { .call.fn = call_make_empty, .bs = bdrv_skip_filters(blk_bs(blk)) };
    int ret;

    if (!l.bs) {
        error_setg(errp, "No medium inserted");
        return -ENOMEDIUM;
    }
    if (!l.bs->drv->bdrv_co_make_empty || !l.bs->drv->supports_backing) {
        error_setg(errp, "The format '%s' cannot empty an image", l.bs->drv->format_name);
        return -ENOTSUP;
    }
    blk_drained_begin(blk);
    ret = co_call(&l.call);
    blk_drained_end(blk);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to empty %s", l.bs->filename);
    }
    return ret;
}

int bdrv_change_backing_file(BlockDriverState *bs, const char *file, const char *format,
                             bool require_format)
{
    LayerCall l = { .call.fn = call_change_backing, .bs = bs, .file = file, .format = format };
    int ret;

    if ((format && !file) || (require_format && file && !format)) {
        return -EINVAL;
    }
    if (!bs->drv->bdrv_co_change_backing_file) {
        return -ENOTSUP;
    }
    bdrv_drained_begin(bs);
    ret = co_call(&l.call);
    bdrv_drained_end(bs);
    if (ret == 0) {
        g_free(bs->backing_file);
        g_free(bs->backing_format);
        bs->backing_file = g_strdup(file);
        bs->backing_format = g_strdup(file ? format : NULL);
    }
    return ret;
}
