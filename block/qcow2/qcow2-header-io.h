/* SPDX-License-Identifier: MIT */
/*
 * Changes of single header fields in place: one small write each, so that everything else
 * in the header, extensions of others included, stays as it is.
 *
 * Requests in several threads come to change it. Who reads some of it to write that back, and
 * who changes a feature word of s->hdr, holds header_lock meanwhile; nobody finds damage under it.
 */
#ifndef BLOCK_QCOW2_HEADER_IO_H
#define BLOCK_QCOW2_HEADER_IO_H

#include "qcow2-state.h"

/* 0; or -errno, and it is not locked, as the header must not be written. */
int coroutine_fn qcow2_co_header_lock(BlockDriverState *bs);
void coroutine_fn qcow2_co_header_unlock(BlockDriverState *bs);

/*
 * Under header_lock: writes what lies at @at, durably. What the header referred to and what it
 * refers to then are both right: when this fails, the image refuses all further writes.
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
/*
 * Sets and clears incompatible bits and clears autoclear bits, durably; on failure s->hdr has
 * them as they were. Version 3 only, like the next two.
 */
int coroutine_fn qcow2_co_change_features(BlockDriverState *bs, uint64_t set, uint64_t clear,
                                          uint64_t clear_auto);
int coroutine_fn qcow2_co_write_header_dirty(BlockDriverState *bs, bool dirty);
/* When s->corrupt is set already. If this fails there is no more to do: requests are refused. */
void coroutine_fn qcow2_co_write_header_corrupt(BlockDriverState *bs);

#endif
