/* SPDX-License-Identifier: MIT */
/*
 * qcow2: the driver table, and the callbacks that are too short for files of their own. Where to
 * look for what:
 *
 *   qcow2-format.h       the format on the disk       qcow2-header.c   parsing the header
 *   qcow2-state.h        an open image, its locks     qcow2-open.c     opening and closing
 *   qcow2-map.c          guest offset to host         qcow2-l2cache.c  L2 slices in RAM
 *   qcow2-read.c         reading                      qcow2-write.c    writing, copy-on-write
 *   qcow2-packed.c       reading compressed clusters; qcow2-write-compressed.c: writing them
 *   qcow2-status.c       block status                 qcow2-info.c     facts for info
 *   qcow2-zero.c         zeroes and discards          qcow2-range.c    who changes which cluster
 *   qcow2-refcount.c     refcounts                    qcow2-alloc.c    finding free clusters
 *   qcow2-writeback.c    metadata to the disk         qcow2-reclaim.c  clusters given up
 *   qcow2-overlap.c      the metadata map             qcow2-compress.c deflate and zstd
 *   qcow2-snapshot.c     the snapshot table; -create, -goto, -delete: what is done with it
 *   qcow2-check*.c       check and repair             qcow2-lazy.c     postponed refcounts
 *   qcow2-create.c       new images                   qcow2-amend.c    changing options of old ones
 *   qcow2-truncate.c     growing; -shrink: smaller    qcow2-prealloc.c preallocation
 *   qcow2-backing.c      the backing file's name      qcow2-empty.c    after a commit
 *   qcow2-header-io.c    changing header fields       qcow2-measure.c  how large an image will be
 *   qcow2-vmstate.c      machine state beside the disk
 *   qcow2-bitmap*.c      persistent dirty bitmaps     qcow2-header-rewrite.c  moving its extensions
 */

#include "block/block-image.h"

#include "qcow2-amend.h"
#include "qcow2-backing.h"
#include "qcow2-bitmap.h"
#include "qcow2-cache-clean.h"
#include "qcow2-check.h"
#include "qcow2-create.h"
#include "qcow2-info.h"
#include "qcow2-empty.h"
#include "qcow2-measure.h"
#include "qcow2-open.h"
#include "qcow2-read.h"
#include "qcow2-snapshot.h"
#include "qcow2-state.h"
#include "qcow2-truncate.h"
#include "qcow2-vmstate.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"
#include "qcow2-zero.h"

static int qcow2_probe(const uint8_t *buf, int buf_size, const char *filename)
{
    return buf_size >= 8 && qcow2_be32(buf) == QCOW2_MAGIC && qcow2_be32(buf + 4) >= 2 ? 100 : 0;
}

static void qcow2_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;

    bs->bl.request_alignment = 1;
    bs->bl.max_transfer = 0;
    bs->bl.max_iov = IOV_MAX;
    bs->bl.pwrite_zeroes_alignment = 1U << s->subcluster_bits;
    bs->bl.pdiscard_alignment = s->cluster_size;
    bs->bl.max_pwrite_zeroes = 0;
    bs->bl.max_pdiscard = 0;
}

static int64_t coroutine_fn qcow2_co_getlength(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return qatomic_read(&s->size);
}

static int coroutine_fn qcow2_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    BDRVQcow2State *s = bs->opaque;

    bdi->cluster_size = s->cluster_size;
    bdi->vm_state_offset = qcow2_vmstate_offset(s);
    bdi->is_dirty = s->hdr.incompatible_features & QCOW2_INCOMPAT_DIRTY;
    return 0;
}

static int qcow2_has_zero_init(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->external ? bdrv_has_zero_init(s->data_file->bs) : 1;
}

static const char *const qcow2_strong_options[] = { "encrypt.key-secret", NULL };

BlockDriver bdrv_qcow2 = {
    .format_name = "qcow2",
    .instance_size = sizeof(BDRVQcow2State),
    .is_format = true,
    .supports_backing = true,
    .bdrv_probe = qcow2_probe,
    .bdrv_open = qcow2_open,
    .bdrv_close = qcow2_close,
    .bdrv_co_finish_writing = qcow2_co_finish_writing,
    .bdrv_refresh_limits = qcow2_refresh_limits,
    .bdrv_co_create_opts = qcow2_co_create_opts,
    .create_opts = qcow2_create_options,
    .bdrv_amend_options = qcow2_amend_options,
    .amend_opts = qcow2_amend_table,
    .bdrv_measure = qcow2_measure,
    .bdrv_co_preadv_part = qcow2_co_preadv_part,
    .bdrv_co_pwritev_part = qcow2_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = qcow2_co_pwrite_zeroes,
    .bdrv_co_pdiscard = qcow2_co_pdiscard,
    .bdrv_co_copy_range_from = qcow2_co_copy_range_from,
    .bdrv_co_copy_range_to = qcow2_co_copy_range_to,
    .bdrv_co_pwritev_compressed_part = qcow2_co_pwritev_compressed_part,
    .bdrv_co_flush_to_os = qcow2_co_writeback,
    .bdrv_co_block_status = qcow2_co_block_status,
    .bdrv_co_truncate = qcow2_co_truncate,
    .bdrv_co_make_empty = qcow2_co_make_empty,
    .bdrv_co_change_backing_file = qcow2_co_change_backing_file,
    .bdrv_co_getlength = qcow2_co_getlength,
    .bdrv_co_get_info = qcow2_co_get_info,
    .bdrv_co_check = qcow2_co_check,
    .bdrv_attach_aio_context = qcow2_cache_clean_start,
    .bdrv_detach_aio_context = qcow2_cache_clean_stop,
    .bdrv_get_specific_info = qcow2_get_specific_info,
    .bdrv_snapshot_create = qcow2_snapshot_create,
    .bdrv_snapshot_goto = qcow2_snapshot_goto,
    .bdrv_snapshot_delete = qcow2_snapshot_delete,
    .bdrv_snapshot_list = qcow2_snapshot_list,
    .bdrv_snapshot_load_tmp = qcow2_snapshot_load_tmp,
    .bdrv_co_save_vmstate = qcow2_co_save_vmstate,
    .bdrv_co_load_vmstate = qcow2_co_load_vmstate,
    .bdrv_has_zero_init = qcow2_has_zero_init,
    .bdrv_supports_persistent_dirty_bitmap = qcow2_supports_persistent_dirty_bitmap,
    .bdrv_can_store_new_dirty_bitmap = qcow2_can_store_new_dirty_bitmap,
    .bdrv_co_remove_persistent_dirty_bitmap = qcow2_co_remove_persistent_dirty_bitmap,
    .bdrv_co_load_dirty_bitmap = qcow2_co_load_dirty_bitmap,
    .bdrv_co_store_dirty_bitmaps = qcow2_co_store_dirty_bitmaps,
    .bdrv_dirty_bitmap_toggled = qcow2_dirty_bitmap_toggled,
    .strong_runtime_opts = qcow2_strong_options,
};
