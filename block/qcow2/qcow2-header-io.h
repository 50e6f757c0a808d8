/* SPDX-License-Identifier: MIT */
/*
 * Changes of single header fields in place: one small write each, so that everything else
 * in the header, extensions of others included, stays as it is.
 */
#ifndef BLOCK_QCOW2_HEADER_IO_H
#define BLOCK_QCOW2_HEADER_IO_H

#include "qcow2-state.h"

/*
 * Writes what lies at @at, durably. What the header referred to and what it refers to then are both
 * right: when this fails after it was tried, the image refuses all further writes.
 */
int coroutine_fn qcow2_co_switch_header(BlockDriverState *bs, size_t at, size_t bytes,
                                        const void *buf);
/*
 * These switch to another table and return when that is durable. On failure the image may
 * have to refuse all further writes.
 */
int coroutine_fn qcow2_co_write_header_reftable(BlockDriverState *bs, uint64_t offset,
                                                uint32_t clusters);
/* l1_size and l1_table_offset. */
int coroutine_fn qcow2_co_write_header_l1(BlockDriverState *bs, uint32_t l1_size,
                                          uint64_t l1_table_offset);
/* The same for nb_snapshots and snapshots_offset, */
int coroutine_fn qcow2_co_write_header_snapshots(BlockDriverState *bs, uint32_t nb_snapshots,
                                                 uint64_t snapshots_offset);
/* and for another disk at once: its size and its L1 table. */
int coroutine_fn qcow2_co_write_header_disk(BlockDriverState *bs, uint64_t size,
                                            uint32_t l1_size, uint64_t l1_table_offset);

/* Durable on return; on failure @old_size is written again. */
int coroutine_fn qcow2_co_write_header_size(BlockDriverState *bs, uint64_t size,
                                            uint64_t old_size);
/* The incompatible and autoclear words from s->hdr. Version 3 only. */
int coroutine_fn qcow2_co_write_header_features(BlockDriverState *bs);
/* Sets or clears the dirty bit, durably; on failure s->hdr has it as it was. Version 3 only. */
int coroutine_fn qcow2_co_write_header_dirty(BlockDriverState *bs, bool dirty);

#endif
