/* SPDX-License-Identifier: MIT */
/*
 * Debug events: named points on the way of a request, at which the driver blkdebug can
 * inject an error, change its state or hold the request. Names are QEMU's.
 *
 * Whoever does I/O on a child raises the event on that child just before (or, where the
 * name says so, after); it costs one predictable branch where no blkdebug listens.
 */
#ifndef BLOCK_BLKDEBUG_H
#define BLOCK_BLKDEBUG_H

#include <glib.h>

/* clang-format off */
#define BLKDEBUG_EVENTS(EVENT) \
    EVENT(L1_UPDATE, "l1_update") \
    EVENT(L1_GROW_ALLOC_TABLE, "l1_grow_alloc_table") \
    EVENT(L1_GROW_WRITE_TABLE, "l1_grow_write_table") \
    EVENT(L1_GROW_ACTIVATE_TABLE, "l1_grow_activate_table") \
    EVENT(L2_LOAD, "l2_load") \
    EVENT(L2_UPDATE, "l2_update") \
    EVENT(L2_UPDATE_COMPRESSED, "l2_update_compressed") \
    EVENT(L2_ALLOC_COW_READ, "l2_alloc_cow_read") \
    EVENT(L2_ALLOC_WRITE, "l2_alloc_write") \
    EVENT(READ_AIO, "read_aio") \
    EVENT(READ_BACKING_AIO, "read_backing_aio") \
    EVENT(READ_COMPRESSED, "read_compressed") \
    EVENT(WRITE_AIO, "write_aio") \
    EVENT(WRITE_COMPRESSED, "write_compressed") \
    EVENT(VMSTATE_LOAD, "vmstate_load") \
    EVENT(VMSTATE_SAVE, "vmstate_save") \
    EVENT(COW_READ, "cow_read") \
    EVENT(COW_WRITE, "cow_write") \
    EVENT(REFTABLE_LOAD, "reftable_load") \
    EVENT(REFTABLE_GROW, "reftable_grow") \
    EVENT(REFTABLE_UPDATE, "reftable_update") \
    EVENT(REFBLOCK_LOAD, "refblock_load") \
    EVENT(REFBLOCK_UPDATE, "refblock_update") \
    EVENT(REFBLOCK_UPDATE_PART, "refblock_update_part") \
    EVENT(REFBLOCK_ALLOC, "refblock_alloc") \
    EVENT(REFBLOCK_ALLOC_HOOKUP, "refblock_alloc_hookup") \
    EVENT(REFBLOCK_ALLOC_WRITE, "refblock_alloc_write") \
    EVENT(REFBLOCK_ALLOC_WRITE_BLOCKS, "refblock_alloc_write_blocks") \
    EVENT(REFBLOCK_ALLOC_WRITE_TABLE, "refblock_alloc_write_table") \
    EVENT(REFBLOCK_ALLOC_SWITCH_TABLE, "refblock_alloc_switch_table") \
    EVENT(CLUSTER_ALLOC, "cluster_alloc") \
    EVENT(CLUSTER_ALLOC_BYTES, "cluster_alloc_bytes") \
    EVENT(CLUSTER_FREE, "cluster_free") \
    EVENT(FLUSH_TO_OS, "flush_to_os") \
    EVENT(FLUSH_TO_DISK, "flush_to_disk") \
    EVENT(PWRITEV_RMW_HEAD, "pwritev_rmw_head") \
    EVENT(PWRITEV_RMW_AFTER_HEAD, "pwritev_rmw_after_head") \
    EVENT(PWRITEV_RMW_TAIL, "pwritev_rmw_tail") \
    EVENT(PWRITEV_RMW_AFTER_TAIL, "pwritev_rmw_after_tail") \
    EVENT(PWRITEV, "pwritev") \
    EVENT(PWRITEV_ZERO, "pwritev_zero") \
    EVENT(PWRITEV_DONE, "pwritev_done") \
    EVENT(EMPTY_IMAGE_PREPARE, "empty_image_prepare") \
    EVENT(L1_SHRINK_WRITE_TABLE, "l1_shrink_write_table") \
    EVENT(L1_SHRINK_FREE_L2_CLUSTERS, "l1_shrink_free_l2_clusters") \
    EVENT(COR_WRITE, "cor_write") \
    EVENT(CLUSTER_ALLOC_SPACE, "cluster_alloc_space") \
    EVENT(NONE, "none") \
    /* end of the list */
/* clang-format on */

#define BLKDEBUG_ENUM(id, name) BLKDBG_##id,
typedef enum BlkdebugEvent {
    BLKDEBUG_EVENTS(BLKDEBUG_ENUM)
    BLKDBG__MAX
} BlkdebugEvent;
#undef BLKDEBUG_ENUM

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/* The event of this name; BLKDBG__MAX: there is none. */
BlkdebugEvent blkdebug_event_parse(const char *name);

G_END_DECLS
#pragma GCC visibility pop

#endif
