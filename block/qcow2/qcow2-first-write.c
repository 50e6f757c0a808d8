/* SPDX-License-Identifier: MIT */
/* See the header. Both changes are durable before the write that they are for goes on. */
#include "qcow2-first-write.h"

#include "qcow2-bitmap.h"
#include "qcow2-header-io.h"
#include "qcow2-header-rewrite.h"

/* What the extension says counts for nothing, or could not be read by a check that repairs. */
static bool bitmaps_are_void(const BDRVQcow2State *s)
{
    return s->hdr.version >= 3 && s->hdr.has_bitmaps_ext && s->bitmaps->len == 0;
}

static int coroutine_fn first_write_locked(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t known = QCOW2_AUTOCLEAR_DATA_RAW | QCOW2_AUTOCLEAR_BITMAPS;
    uint64_t unknown = s->hdr.autoclear_features & ~known;
    int ret = 0;

    if (bitmaps_are_void(s)) {
        return qcow2_co_write_header_bitmaps(bs, NULL);
    }
    ret = qcow2_co_bitmaps_before_write(bs);
    if (ret == 0 && unknown) {
        ret = qcow2_co_change_features(bs, 0, 0, unknown);
    }
    return ret;
}

int coroutine_fn qcow2_co_first_write(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned toggles;
    int ret = 0;

    qemu_co_mutex_lock(&s->l1_lock);
    /* Again when a bitmap was enabled or disabled meanwhile: see qcow2_dirty_bitmap_toggled(). */
    do {
        toggles = qatomic_load_acquire(&s->bitmap_toggles);
        if (!qatomic_read(&s->first_write_done)) {
            ret = first_write_locked(bs);
            qatomic_store_release(&s->first_write_done, ret == 0);
        }
        smp_mb();
    } while (ret == 0 && toggles != qatomic_read(&s->bitmap_toggles));
    qemu_co_mutex_unlock(&s->l1_lock);
    return ret;
}
