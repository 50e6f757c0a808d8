/* SPDX-License-Identifier: MIT */
/*
 * The name of an open node, such that opening the name gives the same image: a plain file
 * name where that says it all, "json:{...}" otherwise. The choice is QEMU's:
 *
 *   - a driver that can name its node (bdrv_plain_filename) does;
 *   - a format has the plain name of the protocol node below it, if opening that as this
 *     format finds the same tree: no options that change the image (strong ones), no
 *     backing file but the one that the image names;
 *   - a protocol node has the name that it was opened by.
 *
 * JSON names hold the strong options, flat, and the children.
 */
#include "node.h"
#include "options-internal.h"
#include <jansson.h>

static bool backing_overridden(const BlockDriverState *bs)
{
    const char *own = bs->core->auto_backing_file;

    /* Without I/O nothing was opened, which does not mean that it shall not be. */
    if (!bs->drv->supports_backing || (bs->open_flags & BDRV_O_NO_IO)) {
        return false;
    }
    return bs->backing ? g_strcmp0(own, bdrv_get_filename(bs->backing->bs)) != 0 : own != NULL;
}

/* Are there options beside those that a plain name says? */
static bool has_own_options(const BlockDriverState *bs)
{
    size_t n = blk_options_count(bs->core->options);

    return n > 1 || (n == 1 && !blk_options_get(bs->core->options, "filename"));
}

static char *name_of_format(const BlockDriverState *bs)
{
    const BlockDriverState *file = bs->file->bs;

    if (!file->drv || !file->drv->protocol_name || bs->drv->is_filter ||
        has_own_options(bs) || backing_overridden(bs)) {
        return NULL;
    }
    return g_strdup(file->exact_filename);
}

static char *name_of_protocol(const BlockDriverState *bs)
{
    const char *name = blk_options_get(bs->core->options, "filename");

    if (!bs->drv->protocol_name || has_own_options(bs)) {
        return NULL;
    }
    if (!name) {
        return g_strdup_printf("%s://", bs->drv->protocol_name);
    }
    if (path_has_protocol(name)) {
        return g_strdup_printf("%s:%s", bs->drv->protocol_name, name);
    }
    return g_strdup(name);
}

/* Never NULL; empty: there is none. */
static char *plain_name(BlockDriverState *bs)
{
    char *name;

    if (bs->drv->bdrv_plain_filename) {
        name = bs->drv->bdrv_plain_filename(bs, bs->core->options);
    } else {
        name = bs->file ? name_of_format(bs) : name_of_protocol(bs);
    }
    return name ? name : g_strdup("");
}

static json_t *full_options(const BlockDriverState *bs);

/* "children.0" of a parent is the first of its list "children". */
static void add_child(json_t *to, const BdrvChild *child)
{
    const char *dot = strchr(child->name, '.');
    g_autofree char *list_name = NULL;
    json_t *list;

    if (!dot) {
        json_object_set_new(to, child->name, full_options(child->bs));
        return;
    }
    list_name = g_strndup(child->name, dot - child->name);
    list = json_object_get(to, list_name);
    if (!list) {
        list = json_array();
        json_object_set_new(to, list_name, list);
    }
    json_array_append_new(list, full_options(child->bs));
}

/* A new reference. */
static json_t *full_options(const BlockDriverState *bs)
{
    const BlockOptions *own = bs->core->options;
    bool overridden = backing_overridden(bs);
    json_t *all = json_object();

    json_object_set_new(all, "driver", json_string(bs->drv->format_name));
    for (size_t i = 0; i < blk_options_count(own); i++) {
        g_autofree char *key = g_utf8_make_valid(blk_options_key(own, i), -1);

        json_object_set_new(all, key, options_entry_to_json(options_entry(own, i)));
    }
    for (guint i = 0; i < bs->core->children->len; i++) {
        const BdrvChild *child = bdrv_child_at(bs->core->children, i);

        if (child != bs->backing || overridden || bs->drv->is_filter) {
            add_child(all, child);
        }
    }
    if (overridden && !bs->backing) {
        json_object_set_new(all, "backing", json_null());
    }
    return all;
}

static char *json_name(const BlockDriverState *bs)
{
    json_t *all = full_options(bs);
    g_autofree char *json = options_json_print(all);

    json_decref(all);
    return g_strconcat("json:", json, NULL);
}

void bdrv_refresh_filename(BlockDriverState *bs)
{
    g_free(bs->exact_filename);
    bs->exact_filename = plain_name(bs);
    g_free(bs->core->display_name);
    bs->core->display_name =
        *bs->exact_filename ? g_strdup(bs->exact_filename) : json_name(bs);
    if (!*bs->filename) {
        g_free(bs->filename);
        bs->filename = g_strdup(bs->core->display_name);
    }
}

const char *bdrv_get_filename(BlockDriverState *bs)
{
    return bs->core->display_name ? bs->core->display_name : bs->filename;
}

char *path_directory(const char *path)
{
    const char *colon = path_has_protocol(path) ? strchr(path, ':') : NULL;
    const char *slash = strrchr(path, '/');
    const char *end = slash ? slash : colon;

    return end ? g_strndup(path, end + 1 - path) : g_strdup("");
}

char *bdrv_dirname(BlockDriverState *bs, Error **errp)
{
    while (bs->file && !bs->drv->no_dirname) {
        bs = bs->file->bs;
    }
    if (bs->drv->no_dirname || !*bs->exact_filename) {
        error_setg(errp, "Cannot generate a base directory for %s nodes",
                   bs->drv->format_name);
        return NULL;
    }
    return path_directory(bs->exact_filename);
}
