/* SPDX-License-Identifier: MIT */
/* Changing what an existing image is: its version, the width of its refcounts ... */
#ifndef BLOCK_QCOW2_AMEND_H
#define BLOCK_QCOW2_AMEND_H

#include "block/block-image.h"
#include "qcow2-state.h"

/* What qemu-img amend -o takes. */
extern const BlockCreateOption qcow2_amend_table[];

int qcow2_amend_options(BlockDriverState *bs, BlockOptions *opts, BlockProgress *progress,
                        void *opaque, bool force, Error **errp);

/* --- its steps; nothing else uses the image meanwhile --- */

/* The header as it is to be. */
typedef struct Qcow2HeaderChange {
    uint32_t version;
    uint64_t compatible, autoclear;
    const char *data_file; /* the name to be recorded; NULL: none */
} Qcow2HeaderChange;

/* qcow2-amend-header.c: durable, at every instant one header or the other is there. */
int coroutine_fn qcow2_co_amend_header(BlockDriverState *bs, const Qcow2HeaderChange *change);

typedef struct Qcow2AmendProgress {
    BlockProgress *fn; /* may be NULL */
    void *opaque;
} Qcow2AmendProgress;

static inline void qcow2_amend_done(const Qcow2AmendProgress *p, uint64_t done, uint64_t total)
{
    if (p->fn) {
        p->fn(p->opaque, done, total);
    }
}

/* qcow2-amend-refcounts.c: refcounts of 1 << @order bits. 0 or -errno with @errp. */
int coroutine_fn qcow2_co_change_refcount_order(BlockDriverState *bs, unsigned order,
                                                const Qcow2AmendProgress *progress, Error **errp);

/*
 * qcow2-amend-zeroes.c: no entry says "reads as zeroes" any more, those of snapshots neither. Not
 * for extended entries and external data files. 0 or -errno.
 */
int coroutine_fn qcow2_co_expand_zeroes(BlockDriverState *bs, const Qcow2AmendProgress *progress);

#endif
