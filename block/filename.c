/* SPDX-License-Identifier: MIT */
/*
 * The name of an open node, such that opening the name gives the same image: a plain file
 * name where that says it all, "json:{...}" otherwise.
 */
#include "node.h"

/* Options of its own beside the file name? */
static bool has_own_options(const BlockDriverState *bs)
{
    size_t n = blk_options_count(bs->core->options);

    return n > 1 || (n == 1 && !blk_options_get(bs->core->options, "filename"));
}

static char *plain_name(const BlockDriverState *bs)
{
    const char *name = blk_options_get(bs->core->options, "filename");

    if (has_own_options(bs)) {
        return g_strdup("");
    }
    if (bs->file) {
        return g_strdup(bs->core->children->len == 1 ? bs->file->bs->exact_filename : "");
    }
    if (!bs->drv->protocol_name) {
        return g_strdup("");
    }
    if (!name) {
        return g_strdup_printf("%s://", bs->drv->protocol_name);
    }
    if (path_has_protocol(name)) {
        return g_strdup_printf("%s:%s", bs->drv->protocol_name, name);
    }
    return g_strdup(name);
}

static void add_options(const BlockDriverState *bs, const char *prefix, BlockOptions *all)
{
    const BlockOptions *own = bs->core->options;
    g_autofree char *driver = g_strconcat(prefix, "driver", NULL);

    blk_options_set(all, driver, bs->drv->format_name);
    for (size_t i = 0; i < blk_options_count(own); i++) {
        g_autofree char *key = g_strconcat(prefix, blk_options_key(own, i), NULL);

        blk_options_copy_entry(all, key, own, blk_options_key(own, i));
    }
    for (guint i = 0; i < bs->core->children->len; i++) {
        const BdrvChild *child = bdrv_child_at(bs->core->children, i);
        g_autofree char *sub = g_strconcat(prefix, child->name, ".", NULL);

        add_options(child->bs, sub, all);
    }
}

void bdrv_refresh_filename(BlockDriverState *bs)
{
    g_autoptr(BlockOptions) all = blk_options_new();

    g_free(bs->exact_filename);
    bs->exact_filename = plain_name(bs);
    g_free(bs->core->display_name);
    if (*bs->exact_filename) {
        bs->core->display_name = g_strdup(bs->exact_filename);
    } else {
        add_options(bs, "", all);
        g_autofree char *json = blk_options_to_json(all);
        bs->core->display_name = g_strconcat("json:", json, NULL);
    }
    if (!*bs->filename) {
        g_free(bs->filename);
        bs->filename = g_strdup(bs->core->display_name);
    }
}

const char *bdrv_get_filename(BlockDriverState *bs)
{
    return bs->core->display_name ? bs->core->display_name : bs->filename;
}
