/* SPDX-License-Identifier: MIT */
/* See the header. A bitmap is filled while it is disabled, so that nothing else gets into it. */
#include "bitmap-copy.h"

#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"

BdrvDirtyBitmap *bitmap_add(BlockDriverState *bs, const char *name, int64_t granularity,
                            bool disabled, Error **errp)
{
    BdrvDirtyBitmap *bitmap;

    if (!*name) {
        error_setg(errp, "Bitmap name cannot be empty");
        return NULL;
    }
    if (granularity && (granularity < (int64_t)BDRV_SECTOR_SIZE || granularity > UINT32_MAX ||
                        !is_power_of_2(granularity))) {
        error_setg(errp, "Granularity must be power of 2 and at least 512");
        return NULL;
    }
    if (!granularity) {
        granularity = bdrv_get_default_bitmap_granularity(bs);
    }
    if (!bdrv_can_store_new_dirty_bitmap(bs, name, granularity, errp)) {
        return NULL;
    }
    bitmap = bdrv_create_dirty_bitmap(bs, granularity, name, errp);
    if (bitmap) {
        if (disabled) {
            bdrv_disable_dirty_bitmap(bitmap);
        }
        bdrv_dirty_bitmap_set_persistence(bitmap, true);
    }
    return bitmap;
}

bool bitmap_store(BlockDriverState *bs)
{
    Error *err = NULL;

    if (bdrv_store_dirty_bitmaps(bs, &err) == 0) {
        return true;
    }
    error_reportf_err(err, "Lost persistent bitmaps during inactivation of node '%s': ",
                      bdrv_get_node_name(bs));
    error_report("Error while closing the image: %s", g_strerror(EINVAL));
    return false;
}

static bool is_copied(const BdrvDirtyBitmap *b, bool skip_broken)
{
    return bdrv_dirty_bitmap_get_persistence(b) &&
           !(skip_broken && bdrv_dirty_bitmap_inconsistent(b));
}

bool bitmaps_can_be_copied(BlockDriverState *src, bool skip_broken)
{
    if (!bdrv_supports_persistent_dirty_bitmap(src)) {
        error_report("Source lacks bitmap support");
        return false;
    }
    for (BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(src); b; b = bdrv_dirty_bitmap_next(b)) {
        if (is_copied(b, skip_broken) && bdrv_dirty_bitmap_inconsistent(b)) {
            error_report("Cannot copy inconsistent bitmap '%s'", bdrv_dirty_bitmap_name(b));
            error_printf("Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete"
                         " it\n");
            return false;
        }
    }
    return true;
}

bool bitmaps_can_be_stored(BlockDriverState *dst)
{
    if (!bdrv_supports_persistent_dirty_bitmap(dst)) {
        error_report("Format driver '%s' does not support bitmaps", bdrv_get_format_name(dst));
        return false;
    }
    return true;
}

static bool copy_one(BdrvDirtyBitmap *from, BlockDriverState *dst)
{
    const char *name = bdrv_dirty_bitmap_name(from);
    Error *err = NULL;
    BdrvDirtyBitmap *to =
        bitmap_add(dst, name, bdrv_dirty_bitmap_granularity(from), true, &err);

    if (!to) {
        error_reportf_err(err, "Failed to create bitmap %s: ", name);
        return false;
    }
    if (!bdrv_merge_dirty_bitmap(to, from, &err)) {
        error_reportf_err(err, "Failed to populate bitmap %s: ", name);
        bdrv_release_dirty_bitmap(to);
        return false;
    }
    if (bdrv_dirty_bitmap_enabled(from)) {
        bdrv_enable_dirty_bitmap(to);
    }
    return true;
}

bool bitmaps_copy(BlockDriverState *src, BlockDriverState *dst, bool skip_broken)
{
    for (BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(src); b; b = bdrv_dirty_bitmap_next(b)) {
        if (!bdrv_dirty_bitmap_get_persistence(b)) {
            continue;
        }
        if (!is_copied(b, skip_broken)) {
            warn_report("Skipping inconsistent bitmap '%s'", bdrv_dirty_bitmap_name(b));
        } else if (!copy_one(b, dst)) {
            return false;
        }
    }
    return bitmap_store(dst);
}
