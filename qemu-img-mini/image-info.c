/* SPDX-License-Identifier: MIT */
/*
 * What is known of an image: see image-info.h. The lines and keys are qemu-img 7.2's; the
 * child nodes are added as QEMU 8 and later do, the limits as QEMU 10 does.
 *
 * json-output.c puts keys in order; of keys with the same rank the one set last comes first.
 */
#include "image-info.h"

#include <stdio.h>
#include <string.h>

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "snapshot-list.h"
#include "specific-info.h"

/* --- gathering --- */

void image_info_free(ImageInfo *info)
{
    if (info) {
        g_free(info->filename);
        g_free(info->format);
        g_free(info->child_name);
        g_free(info->backing_name);
        g_free(info->backing_path);
        g_free(info->backing_format);
        g_free(info->snapshots);
    json_decref(info->specific);
        json_decref(info->limits);
        g_ptr_array_unref(info->children);
        g_free(info);
    }
}

static void free_child(void *info)
{
    image_info_free(info);
}

static bool is_host_file(const ImageInfo *info)
{
    return !strcmp(info->format, "file") || !strcmp(info->format, "host_device");
}

static bool gather_specific(BlockDriverState *bs, ImageInfo *info, Error **errp)
{
    ERRP_GUARD();

    info->specific = specific_info_gather(bs, errp);
    if (*errp) {
        return false;
    }
    if (!info->specific && info->child_name && is_host_file(info)) {
        info->specific = json_object();
    }
    return true;
}

typedef struct GatherChildren {
    ImageInfo *info;
    bool limits;
    Error *err;
} GatherChildren;

static ImageInfo *gather(BlockDriverState *bs, const char *child_name, bool limits, Error **errp);

static void gather_child(void *opaque, const char *name, BlockDriverState *child)
{
    GatherChildren *g = opaque;
    ImageInfo *info = g->err ? NULL : gather(child, name, g->limits, &g->err);

    if (info) {
        /* QEMU names the child that was attached last first. */
        g_ptr_array_insert(g->info->children, 0, info);
    }
}

static ImageInfo *gather(BlockDriverState *bs, const char *child_name, bool limits, Error **errp)
{
    g_autoptr(ImageInfo) info = g_new0(ImageInfo, 1);
    GatherChildren children = { .info = info, .limits = limits };
    BlockDriverInfo bdi = {};

    info->children = g_ptr_array_new_with_free_func(free_child);
    info->filename = g_strdup(bdrv_get_filename(bs));
    info->format = g_strdup(bdrv_get_format_name(bs));
    info->child_name = g_strdup(child_name);
    info->virtual_size = bdrv_getlength(bs);
    if (info->virtual_size < 0) {
        error_setg_errno(errp, -info->virtual_size, "Can't get image size '%s'", info->filename);
        return NULL;
    }
    info->actual_size = bdrv_get_allocated_file_size(bs);
    info->encrypted = bdrv_is_encrypted(bs);
    info->backing_name = g_strdup(bdrv_get_backing_filename(bs));
    info->backing_path = bdrv_get_full_backing_filename(bs, NULL);
    info->backing_format = g_strdup(bdrv_get_backing_format_name(bs));
    if (bdrv_get_info(bs, &bdi) >= 0) {
        info->has_dirty_flag = true;
        info->dirty = bdi.is_dirty;
        info->cluster_size = bdi.cluster_size;
    }
    info->nb_snapshots = MAX(bdrv_snapshot_list(bs, &info->snapshots), 0);
    if (limits) {
        info->limits = options_to_json(bdrv_get_limits(bs));
    }
    if (!gather_specific(bs, info, errp)) {
        return NULL;
    }
    bdrv_iterate_children(bs, gather_child, &children);
    if (children.err) {
        error_propagate(errp, children.err);
        return NULL;
    }
    return g_steal_pointer(&info);
}

ImageInfo *image_info_gather(BlockDriverState *bs, bool limits, Error **errp)
{
    return gather(bs, NULL, limits, errp);
}

/* --- JSON --- */

static json_t *json_text(const char *s)
{
    /* A file name may be any bytes, JSON is UTF-8. */
    g_autofree char *valid = g_utf8_make_valid(s, -1);
    return json_string(valid);
}

static json_t *children_to_json(const ImageInfo *info)
{
    json_t *children = json_array();

    for (guint i = 0; i < info->children->len; i++) {
        const ImageInfo *child = info->children->pdata[i];
        json_array_append_new(children, json_pack("{s:o, s:o}", "name",
                                                  json_text(child->child_name), "info",
                                                  image_info_to_json(child)));
    }
    return children;
}

json_t *image_info_to_json(const ImageInfo *info)
{
    json_t *obj = json_object();

    json_object_set_new(obj, "filename", json_text(info->filename));
    json_object_set_new(obj, "format", json_text(info->format));
    json_object_set_new(obj, "virtual-size", json_integer(info->virtual_size));
    if (info->actual_size >= 0) {
        json_object_set_new(obj, "actual-size", json_integer(info->actual_size));
    }
    if (info->cluster_size) {
        json_object_set_new(obj, "cluster-size", json_integer(info->cluster_size));
    }
    if (info->encrypted) {
        json_object_set_new(obj, "encrypted", json_true());
    }
    if (info->has_dirty_flag) {
        json_object_set_new(obj, "dirty-flag", json_boolean(info->dirty));
    }
    if (info->backing_name) {
        json_object_set_new(obj, "backing-filename", json_text(info->backing_name));
    }
    if (info->backing_path) {
        json_object_set_new(obj, "full-backing-filename", json_text(info->backing_path));
    }
    if (info->backing_format) {
        json_object_set_new(obj, "backing-filename-format", json_text(info->backing_format));
    }
    if (info->nb_snapshots) {
        json_object_set_new(obj, "snapshots",
                            snapshot_list_to_json(info->snapshots, info->nb_snapshots));
    }
    if (info->specific) {
        json_object_set_new(obj, "format-specific",
                            json_pack("{s:s, s:O}", "type", info->format, "data",
                                      info->specific));
    }
    if (info->limits) {
        json_object_set(obj, "limits", info->limits);
    }
    json_object_set_new(obj, "children", children_to_json(info));
    return obj;
}

/* --- for people --- */

static void print_size_line(int indent, const char *what, int64_t bytes)
{
    g_autofree char *text = size_to_str(bytes);
    printf("%*s%s: %s (%" PRId64 " bytes)\n", indent, "", what, text, bytes);
}

static void print_backing(const ImageInfo *info, int indent)
{
    if (!info->backing_name) {
        return;
    }
    printf("%*sbacking file: %s", indent, "", info->backing_name);
    if (!info->backing_path) {
        printf(" (cannot determine actual path)");
    } else if (strcmp(info->backing_name, info->backing_path)) {
        printf(" (actual path: %s)", info->backing_path);
    }
    printf("\n");
    if (info->backing_format) {
        printf("%*sbacking file format: %s\n", indent, "", info->backing_format);
    }
}

/* @path names the node within the graph: "/file"; "" at the top. */
static void print_human(const ImageInfo *info, int indent, const char *path)
{
    bool image = !*path || info->children->len;

    printf("%*s%s: %s\n", indent, "", image ? "image" : "filename", info->filename);
    printf("%*s%s: %s\n", indent, "", image ? "file format" : "protocol type", info->format);
    print_size_line(indent, image ? "virtual size" : "file length", info->virtual_size);
    g_autofree char *disk =
        info->actual_size < 0 ? g_strdup("unavailable") : size_to_str(info->actual_size);
    printf("%*sdisk size: %s\n", indent, "", disk);
    if (info->encrypted) {
        printf("%*sencrypted: yes\n", indent, "");
    }
    if (info->cluster_size) {
        printf("%*scluster_size: %d\n", indent, "", info->cluster_size);
    }
    if (info->has_dirty_flag && info->dirty) {
        printf("%*scleanly shut down: no\n", indent, "");
    }
    print_backing(info, indent);
    snapshot_list_print(info->snapshots, info->nb_snapshots, indent);
    if (json_object_size(info->specific)) {
        printf("%*sFormat specific information:\n", indent, "");
        specific_info_print(info->specific, indent + 4);
    }
    if (info->limits) {
        printf("%*sBlock limits:\n", indent, "");
        specific_info_print(info->limits, indent + 4);
    }
    for (guint i = 0; i < info->children->len; i++) {
        const ImageInfo *child = info->children->pdata[i];
        g_autofree char *child_path = g_strdup_printf("%s/%s", path, child->child_name);

        printf("%*sChild node '%s':\n", indent, "", child_path);
        print_human(child, indent + 4, child_path);
    }
}

void image_info_print(const ImageInfo *info)
{
    print_human(info, 0, "");
}
