/* SPDX-License-Identifier: MIT */
/* See the header. */
#include "qcow2-vmstate.h"

#include "qcow2-read.h"
#include "qcow2-truncate.h"
#include "qcow2-write.h"

/* Where @bytes at @pos of the state lie; *@l1_entries: what that takes. -EIO: nowhere. */
static int place(const BDRVQcow2State *s, uint64_t pos, uint64_t bytes, uint64_t *offset,
                 uint64_t *l1_entries)
{
    unsigned shift = s->cluster_bits + s->l2_bits;
    uint64_t start = qcow2_vmstate_offset(s);

    if (pos > INT64_MAX - start || bytes > INT64_MAX - start - pos) {
        return -EIO;
    }
    *offset = start + pos;
    *l1_entries = (*offset + bytes + (UINT64_C(1) << shift) - 1) >> shift;
    return 0;
}

int coroutine_fn qcow2_co_save_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos)
{
    uint64_t offset, l1_entries;
    int ret = place(bs->opaque, pos, qiov->size, &offset, &l1_entries);

    if (ret == 0) {
        ret = qcow2_co_begin_change(bs);
    }
    if (ret == 0) {
        ret = qcow2_co_grow_l1(bs, l1_entries);
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_VMSTATE_SAVE);
    return ret < 0 ? ret : qcow2_co_pwritev_part(bs, offset, qiov->size, qiov, 0, 0);
}

int coroutine_fn qcow2_co_load_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos)
{
    uint64_t offset, l1_entries;
    int ret = place(bs->opaque, pos, qiov->size, &offset, &l1_entries);

    bdrv_co_debug_event(bs->file->bs, BLKDBG_VMSTATE_LOAD);
    return ret < 0 ? ret : qcow2_co_preadv_part(bs, offset, qiov->size, qiov, 0, 0);
}
