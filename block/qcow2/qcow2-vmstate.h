/* SPDX-License-Identifier: MIT */
/*
 * Machine state: data above the end of the disk, at the first guest offset whose L1 entry maps
 * nothing of the disk. It needs a longer L1 table, and is otherwise written and read like the disk.
 */
#ifndef BLOCK_QCOW2_VMSTATE_H
#define BLOCK_QCOW2_VMSTATE_H

#include "qcow2-state.h"

/* Bytes. */
static inline uint64_t qcow2_vmstate_offset(const BDRVQcow2State *s)
{
    return qcow2_l1_entries_needed(qatomic_read(&s->size), s->cluster_bits, s->extended)
           << (s->cluster_bits + s->l2_bits);
}

int coroutine_fn qcow2_co_save_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos);
int coroutine_fn qcow2_co_load_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos);

#endif
