/* SPDX-License-Identifier: MIT */
/*
 * Emptying in three steps, each durable before the next: the entries of all L2 tables become empty
 * and their clusters are freed; then the L1 entries go, and the tables are freed; then what lies behind
 * the last cluster in use is cut off the file. A crash leaves leaked clusters at worst.
 * Snapshots and bitmaps keep what is theirs, as refcounts say.
 */
#include "qcow2-empty.h"

#include "qcow2-file-end.h"
#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"
#include "qcow2-zero.h"

static int coroutine_fn drop_tables(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    qemu_co_mutex_lock(&s->l1_lock);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_L1_OFFSET_MASK;

        if (table) {
            qemu_mutex_lock(&s->meta);
            qatomic_set(&s->l1[i], 0);
            set_bit(i / 64, s->l1_dirty);
            s->any_l1_dirty = true;
            qcow2_l2cache_forget(s, i);
            qcow2_free_later(s, table);
            qemu_mutex_unlock(&s->meta);
            qcow2_map_remove(s, QCOW2_META_L2, table, s->cluster_size);
        }
    }
    qemu_co_mutex_unlock(&s->l1_lock);
    return qcow2_co_writeback_all(bs);
}

int coroutine_fn qcow2_co_make_empty(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_co_begin_change(bs);

    if (ret == 0) {
        /* All of them: machine state lies behind the end of the disk. */
        ret = qcow2_co_cut_entries(bs, 0);
    }
    if (ret == 0) {
        ret = qcow2_co_writeback_all(bs);
    }
    if (ret == 0) {
        bdrv_co_debug_event(bs->file->bs, BLKDBG_EMPTY_IMAGE_PREPARE);
        ret = drop_tables(bs);
    }
    if (ret == 0) {
        qemu_co_mutex_lock(&s->alloc_lock);
        qcow2_file_end_cut(bs);
        qemu_co_mutex_unlock(&s->alloc_lock);
    }
    return ret;
}
