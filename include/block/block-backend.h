/* SPDX-License-Identifier: MIT */
/*
 * BlockBackend: an open image as its user sees it.
 *
 * Contexts. Any thread may send requests to one BlockBackend. A request runs in
 * the AioContext of the thread that sent it (qemu_get_current_aio_context()); a
 * thread that has none runs blocking calls in a private one, and its blk_aio_*
 * requests in the backend's own context. Opening, closing, draining and changing
 * the graph belong to the thread of the backend's context.
 *
 *   coroutine      blk_co_*: only inside a coroutine; returns when done.
 *   any            blk_aio_*: from a coroutine or not; the callback runs in the
 *                  request's context, never before blk_aio_* has returned.
 *   not coroutine  blk_pread() and its kin, blk_drain(): poll the context until done.
 *                  blk_pread() and its kin may be called inside a coroutine as well
 *                  and then act as blk_co_*.
 *
 * Units are bytes. Results are 0 (or a count where said) or -errno. Buffers and
 * vectors belong to the caller and must live until the request has completed.
 */
#ifndef BLOCK_BLOCK_BACKEND_H
#define BLOCK_BLOCK_BACKEND_H

#include "block/block-common.h"
#include "block/block-options.h"
#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/* --- opening and closing --- */

/*
 * Opens an image and returns a backend for it, with one reference; NULL and @errp
 * on failure. @filename may be a path, "file:PATH", "json:{...}" or NULL when
 * @options says it all. @reference is the node-name of an open node, with neither
 * @filename nor options then, or NULL. @options is consumed, also on
 * failure; NULL: none. Without "driver" in @options the format is probed.
 * @flags: BDRV_O_*. The backend's context is the calling thread's; one that has none gets
 * a private one, which runs only while that thread is in a blocking call.
 */
BlockBackend *blk_new_open(const char *filename, const char *reference,
                           BlockOptions *options, int flags, Error **errp);

/* A backend without an image; see blk_insert_bs() in block-driver.h. */
BlockBackend *blk_new(AioContext *ctx, uint64_t perm, uint64_t shared_perm);

/* Any thread. */
void blk_ref(BlockBackend *blk);
/*
 * The last reference drains and closes the image, in the home thread and so with that
 * one's help when another thread drops it. NULL is fine.
 */
void blk_unref(BlockBackend *blk);
/*
 * Writes what the image and the layers below it that are open for writing would only write when
 * they are closed (metadata, bitmaps, that nobody uses it), and flushes them. blk_unref() has nobody
 * to return errors to: who has to know whether all is on the disk calls this before. The image can be
 * used on. Drains; any thread, not in a coroutine. 0, or -errno with @errp.
 */
int blk_finish_writing(BlockBackend *blk, Error **errp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockBackend, blk_unref)

/*
 * What the backend does with its image and lets others do: BLK_PERM_*. blk_new_open() asks
 * for what its flags say. Home thread. 0, or -errno with @errp and everything as before.
 */
int blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm, Error **errp);
void blk_get_perm(BlockBackend *blk, uint64_t *perm, uint64_t *shared_perm);

/* The image's topmost node, which stays the backend's; NULL without an image. */
BlockDriverState *blk_bs(BlockBackend *blk);
AioContext *blk_get_aio_context(BlockBackend *blk);
/* Moves the backend to another home context; drains first. 0, or -errno with @errp. */
int blk_set_aio_context(BlockBackend *blk, AioContext *new_context, Error **errp);

/* --- coroutine interface --- */

/*
 * Move all of @bytes between the image at @offset and a vector (_part: from the vector's
 * byte @qiov_offset on) or a buffer. 0 or -errno, besides what the system says:
 *   -EIO        not wholly within the image; or more than the vector holds
 *   -ENOMEDIUM  there is no image
 *   -EPERM      a write, but the image was not opened with BDRV_O_RDWR
 *   -ENOTSUP    the driver cannot
 * After an error any part of the range may have been written.
 */
int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, BdrvRequestFlags flags);
int coroutine_fn blk_co_preadv_part(BlockBackend *blk, int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset,
                                    BdrvRequestFlags flags);
int coroutine_fn blk_co_pread(BlockBackend *blk, int64_t offset, int64_t bytes, void *buf,
                              BdrvRequestFlags flags);
int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, BdrvRequestFlags flags);
int coroutine_fn blk_co_pwritev_part(BlockBackend *blk, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn blk_co_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes,
                               const void *buf, BdrvRequestFlags flags);
/* The range then reads as zeroes. @flags may hold BDRV_REQ_MAY_UNMAP and _NO_FALLBACK. */
int coroutine_fn blk_co_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags);
/* Writes whole clusters of a format that compresses; -ENOTSUP elsewhere. */
int coroutine_fn blk_co_pwrite_compressed(BlockBackend *blk, int64_t offset, int64_t bytes,
                                          const void *buf);
/*
 * A hint that the contents are not needed any more; what the range reads as afterwards is
 * undefined. Success also where nothing is done: without BDRV_O_UNMAP, for example.
 */
int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes);
/*
 * Copies from @blk_in to @blk_out by means of what lies below, such as a file system that can
 * share blocks; the data does not come by here. @write_flags may hold BDRV_REQ_FUA. 0 or -errno;
 * -ENOTSUP: these images cannot, or not this range (compressed data, ends that are not
 * aligned, ranges of one image that overlap). Reading and writing it then works. After an error any
 * part may have been copied. Counts as a request of both backends.
 */
int coroutine_fn blk_co_copy_range(BlockBackend *blk_in, int64_t off_in, BlockBackend *blk_out,
                                   int64_t off_out, int64_t bytes, BdrvRequestFlags read_flags,
                                   BdrvRequestFlags write_flags);
/*
 * What was written by requests that have completed is then on stable storage. After it has
 * failed once it fails until the image is opened anew, as nobody can tell what was lost. (That then
 * has to be written again: the flush of an open image is about what was written through it.)
 */
int coroutine_fn blk_co_flush(BlockBackend *blk);
/*
 * Makes the image @offset bytes long. @exact false: a device that is longer will do.
 * The image has to be open with BDRV_O_RESIZE. 0, or -errno with @errp.
 */
int coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact,
                                 PreallocMode prealloc, BdrvRequestFlags flags,
                                 Error **errp);

/*
 * Says of [@offset, @offset + @bytes) what the whole chain of layers holds
 * (BDRV_BLOCK_* bits; ALLOCATED: some layer defines it), for the first *@pnum bytes.
 * Those bits, or -errno.
 */
int coroutine_fn blk_co_block_status(BlockBackend *blk, int64_t offset, int64_t bytes,
                                     int64_t *pnum);

/* --- callback interface --- */

/*
 * As the blk_co_* of the same name; @cb gets 0 or -errno. blk_aio_preadv() and _pwritev()
 * move qiov->size bytes. What they return is for blk_aio_cancel*() only, and gone when @cb
 * has returned. Never NULL.
 */
BlockAIOCB *blk_aio_preadv(BlockBackend *blk, int64_t offset, QEMUIOVector *qiov,
                           BdrvRequestFlags flags, BlockCompletionFunc *cb, void *opaque);
BlockAIOCB *blk_aio_pwritev(BlockBackend *blk, int64_t offset, QEMUIOVector *qiov,
                            BdrvRequestFlags flags, BlockCompletionFunc *cb, void *opaque);
BlockAIOCB *blk_aio_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                  BdrvRequestFlags flags, BlockCompletionFunc *cb,
                                  void *opaque);
BlockAIOCB *blk_aio_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes,
                             BlockCompletionFunc *cb, void *opaque);
BlockAIOCB *blk_aio_flush(BlockBackend *blk, BlockCompletionFunc *cb, void *opaque);
/* Waits for the request, cancelled or completed; its callback has run on return. */
void blk_aio_cancel(BlockAIOCB *acb);
/* Asks for cancellation; the callback runs in any case. */
void blk_aio_cancel_async(BlockAIOCB *acb);

/* --- blocking interface: as the blk_co_* of the same name --- */

int blk_preadv(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
               BdrvRequestFlags flags);
int blk_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                BdrvRequestFlags flags);
int blk_pread(BlockBackend *blk, int64_t offset, int64_t bytes, void *buf,
              BdrvRequestFlags flags);
int blk_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes, const void *buf,
               BdrvRequestFlags flags);
int blk_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                      BdrvRequestFlags flags);
int blk_pwrite_compressed(BlockBackend *blk, int64_t offset, int64_t bytes,
                          const void *buf);
int blk_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes);
int blk_flush(BlockBackend *blk);
int blk_truncate(BlockBackend *blk, int64_t offset, bool exact, PreallocMode prealloc,
                 BdrvRequestFlags flags, Error **errp);
int blk_block_status(BlockBackend *blk, int64_t offset, int64_t bytes, int64_t *pnum);
/* Makes the whole image read as zeroes if that is cheap; -ENOTSUP otherwise. */
int blk_make_zero(BlockBackend *blk, BdrvRequestFlags flags);

/*
 * Machine state, which formats with internal snapshots keep beside the disk: written before a
 * snapshot is made, and there again when it has been applied. @pos: bytes from the start of the
 * state. @size on success, or -errno; -ENOTSUP where there is no room for it. A resize waits for
 * those under way, and what is not in a snapshot yet is gone after it.
 */
int blk_save_vmstate(BlockBackend *blk, const uint8_t *buf, int64_t pos, int size);
int blk_load_vmstate(BlockBackend *blk, uint8_t *buf, int64_t pos, int size);

/* --- drain: nothing is in flight between begin and end; new requests wait --- */

void blk_drain(BlockBackend *blk);
void blk_drained_begin(BlockBackend *blk);
void blk_drained_end(BlockBackend *blk);
/* All backends of the calling thread's context. */
void blk_drain_all(void);

/* Batch the requests between the two calls into one submission (nests; see qemu/defer-call.h). */
void blk_io_plug(void);
void blk_io_unplug(void);

/* --- what the image is --- */

/* The image's length in bytes, or -errno (-ENOMEDIUM without an image). */
int64_t blk_getlength(BlockBackend *blk);
int64_t coroutine_fn blk_co_getlength(BlockBackend *blk);
int64_t blk_nb_sectors(BlockBackend *blk);
bool blk_is_available(BlockBackend *blk);
bool blk_is_writable(BlockBackend *blk);
/* Alignment that requests should have to be fast, in bytes. */
uint32_t blk_get_request_alignment(BlockBackend *blk);
/* Largest useful request, in bytes. */
int64_t blk_get_max_transfer(BlockBackend *blk);
int blk_get_max_iov(BlockBackend *blk);
/*
 * Whether writes may complete before the data is on stable storage, which blk_flush() then
 * sees to (cache=writeback); without it every write does so itself (cache=writethrough).
 */
bool blk_enable_write_cache(BlockBackend *blk);
void blk_set_enable_write_cache(BlockBackend *blk, bool wce);

/* A buffer for requests: aligned for O_DIRECT; freed with qemu_vfree(). */
void *blk_blockalign(BlockBackend *blk, size_t size);
/* NULL when there is no memory: for sizes that come from outside. */
void *blk_try_blockalign(BlockBackend *blk, size_t size);

G_END_DECLS
#pragma GCC visibility pop

#endif
