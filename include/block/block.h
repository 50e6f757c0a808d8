/* SPDX-License-Identifier: MIT */
/*
 * What sources written for QEMU's block layer include for requests in general. Opening
 * images and I/O on them: block/block-backend.h; drivers: block/block-driver.h.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "block/block-common.h"
#include "qapi/error.h"
#include "qemu/aio-wait.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/*
 * For every BlockAIOCB whatever it comes from: blk_aio_*(), the thread pool, an AIOCBInfo
 * of one's own. In the thread of the request; the request may have ended, but its callback
 * must not have been called yet.
 *
 * bdrv_aio_cancel() waits until the callback has been called, with -ECANCELED or with the
 * result if it was too late for cancelling; it polls the thread's context meanwhile, and so
 * is not for coroutines. bdrv_aio_cancel_async() only asks; the callback comes later.
 */
void no_coroutine_fn bdrv_aio_cancel(BlockAIOCB *acb);
void bdrv_aio_cancel_async(BlockAIOCB *acb);

G_END_DECLS
#pragma GCC visibility pop

#endif
