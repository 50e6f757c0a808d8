/* SPDX-License-Identifier: MIT */
/*
 * Backing files: the name that an image holds comes from whoever made the image. It is
 * taken as the name of a plain file, relative to the image's directory; "json:" and protocol
 * names are refused, and a chain that comes back to itself or never ends is an error. A
 * backing file that the caller names in the options is the caller's business.
 *
 * Backing files are opened for reading. Home thread, not in a coroutine.
 */
#include "node.h"

#include "qemu/cutils.h"
#include "qemu/error-report.h"

#define MAX_CHAIN 200 /* images above a backing file */

/* The images whose backing files are being opened right now by this thread, innermost first. */
static GPrivate open_chain;

static char *resolve_name(BlockDriverState *bs, const char *name, Error **errp)
{
    g_autofree char *dir = NULL;

    if (path_has_protocol(name) && !strstart(name, "file:", NULL)) {
        error_setg(errp, "Backing file '%s': only plain file names are followed from within an"
                   " image; name it with backing.file.filename", name);
        return NULL;
    }
    if (path_has_protocol(name) || g_path_is_absolute(name)) {
        return g_strdup(name);
    }
    dir = bdrv_dirname(bs, errp);
    if (!dir) {
        return NULL;
    }
    return g_strconcat(dir, name, NULL);
}

const char *bdrv_get_backing_filename(BlockDriverState *bs)
{
    return bs->backing_file;
}

const char *bdrv_get_backing_format_name(BlockDriverState *bs)
{
    return bs->backing_format;
}

char *bdrv_get_full_backing_filename(BlockDriverState *bs, Error **errp)
{
    if (!bs->backing_file || path_has_protocol(bs->backing_file)) {
        return g_strdup(bs->backing_file);
    }
    return resolve_name(bs, bs->backing_file, errp);
}

static bool same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    strstart(b, "file:", &b);
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* Does opening @name lead back to an image that is waiting for it? */
static int check_chain(GSList *chain, const char *name, Error **errp)
{
    if (g_slist_length(chain) > MAX_CHAIN) {
        error_setg(errp, "The backing chain is longer than %d images", MAX_CHAIN);
        return -EINVAL;
    }
    for (GSList *l = chain; name && l; l = l->next) {
        if (same_file(l->data, name)) {
            error_setg(errp, "Backing file '%s' creates an infinite loop", name);
            return -EINVAL;
        }
    }
    return 0;
}

/* The options of the backing node, and the name from the image if it is to be used. */
static BlockOptions *backing_options(BlockDriverState *bs, BlockOptions *options, char **name,
                                     Error **errp)
{
    BlockOptions *sub = blk_options_extract(options, "backing");

    *name = NULL;
    if (!blk_options_get(sub, "file.filename") && !blk_options_get(sub, "file.driver") &&
        !blk_options_get(sub, "filename") && bs->backing_file) {
        if (bs->open_flags & BDRV_O_NO_EXTERNAL) {
            error_setg(errp, "'%s' may not be opened: only the image itself names it",
                       bs->backing_file);
            blk_options_free(sub);
            return NULL;
        }
        *name = resolve_name(bs, bs->backing_file, errp);
        if (!*name) {
            blk_options_free(sub);
            return NULL;
        }
    }
    if (*name && bs->backing_format) {
        blk_options_set_default(sub, "driver", bs->backing_format);
    }
    if (bs->force_share) {
        blk_options_set_default(sub, BDRV_OPT_FORCE_SHARE, "on");
    }
    return sub;
}

/* "backing": null, or "" as it was written in former times. */
static bool no_backing_wanted(const BlockOptions *options)
{
    const char *reference = blk_options_get(options, "backing");

    if (reference && !*reference) {
        warn_report("Use of \"backing\": \"\" is deprecated; use \"backing\": null instead");
        return true;
    }
    return blk_options_is_null(options, "backing");
}

/* Opens what @name or @sub says; @sub is consumed. */
static BlockDriverState *open_node_below(BlockDriverState *bs, const char *name,
                                         BlockOptions *sub, Error **errp)
{
    int flags = (bs->open_flags & ~(BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_PROTOCOL | BDRV_O_CHECK |
                                    BDRV_O_AUTO_RDONLY | BDRV_O_COPY_ON_READ)) | BDRV_O_UNMAP;
    const char *image = bs->file ? bs->file->bs->exact_filename : "";
    GSList *chain = g_slist_prepend(g_private_get(&open_chain), (void *)image);
    BlockDriverState *backing = NULL;

    g_private_set(&open_chain, chain);
    if (check_chain(chain, name, errp) < 0) {
        blk_options_free(sub);
    } else {
        backing = bdrv_open_node(name, sub, flags, errp);
    }
    g_private_set(&open_chain, g_slist_delete_link(chain, chain));
    return backing;
}

/* A node that exists, which @options name by "backing". */
static BlockDriverState *take_reference(BlockOptions *options, Error **errp)
{
    g_autofree char *name = blk_options_take(options, "backing");
    g_autoptr(BlockOptions) sub = blk_options_extract(options, "backing");

    if (blk_options_count(sub)) {
        error_setg(errp, "Cannot reference an existing block device with additional options or a"
                   " new filename");
        return NULL;
    }
    return bdrv_lookup_reference(name, errp);
}

static int open_backing(BlockDriverState *bs, BlockOptions *options, BlockDriverState **backing,
                        Error **errp)
{
    g_autofree char *name = NULL;
    size_t left = blk_options_count(options);
    BlockOptions *sub;
    bool implicit;

    if (no_backing_wanted(options)) {
        blk_options_del(options, "backing");
        return 0;
    }
    if (blk_options_get(options, "backing")) {
        *backing = take_reference(options, errp);
        return *backing ? 0 : -EINVAL;
    }
    sub = backing_options(bs, options, &name, errp);
    if (!sub) {
        return -EINVAL;
    }
    implicit = left == blk_options_count(options);
    if (!name && implicit) {
        blk_options_free(sub);
        return 0;
    }
    if (!bs->drv->supports_backing) {
        error_setg(errp, "Driver doesn't support backing files");
        blk_options_free(sub);
        return -EINVAL;
    }
    *backing = open_node_below(bs, name, sub, errp);
    if (*backing && implicit) {
        g_free(bs->core->auto_backing_file);
        bs->core->auto_backing_file = g_strdup(bdrv_get_filename(*backing));
    }
    return *backing ? 0 : -EINVAL;
}

int bdrv_open_backing(BlockDriverState *bs, BlockOptions *options, Error **errp)
{
    ERRP_GUARD();
    BlockDriverState *backing = NULL;
    int ret;

    bs->core->auto_backing_file = bdrv_get_full_backing_filename(bs, NULL);
    if (!bs->core->auto_backing_file) {
        bs->core->auto_backing_file = g_strdup(bs->backing_file);
    }
    if (bs->open_flags & (BDRV_O_NO_BACKING | BDRV_O_NO_IO)) {
        if (no_backing_wanted(options)) {
            blk_options_del(options, "backing");
        }
        return 0;
    }
    ret = open_backing(bs, options, &backing, errp);
    if (ret < 0) {
        if (bs->drv->supports_backing) {
            error_prepend(errp, "Could not open backing file: ");
        }
        return ret;
    }
    return !backing || bdrv_attach_child(bs, backing, "backing", errp) ? 0 : -EINVAL;
}
