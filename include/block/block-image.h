/* SPDX-License-Identifier: MIT */
/*
 * Images as files: finding formats, creating, and asking what an image is. For
 * tools; what moves data is in block-backend.h. Main or home thread, not in a coroutine.
 */
#ifndef BLOCK_BLOCK_IMAGE_H
#define BLOCK_BLOCK_IMAGE_H

#include "block/block-common.h"
#include "block/block-options.h"
#include "qapi/error.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/* Registers the built-in drivers; idempotent, any thread. blk_new_open() calls it. */
void bdrv_init(void);

/* NULL: no such format or protocol. Strings and tables are static. */
BlockDriver *bdrv_find_format(const char *format_name);
/* Calls @it for every driver name, sorted. */
void bdrv_iterate_format(void (*it)(void *opaque, const char *name), void *opaque);
const char *bdrv_driver_name(const BlockDriver *drv);
/* The creation options of a format; NULL: it cannot create images. */
const BlockCreateOption *bdrv_create_options(const BlockDriver *drv);
/* Does the format take compressed writes? */
bool bdrv_driver_can_compress(const BlockDriver *drv);
/* The creation options of the protocol driver that would hold @filename; NULL and @errp: none can. */
const BlockCreateOption *bdrv_protocol_create_options(const char *filename, Error **errp);

/*
 * Creates the image @filename in format @drv. @opts holds "size" (bytes, decimal)
 * and the format's own options, and is consumed. 0 or -errno with @errp; on
 * failure a file that did not exist before does not exist afterwards.
 */
int bdrv_create(BlockDriver *drv, const char *filename, BlockOptions *opts, Error **errp);

/*
 * How large a new image in format @drv will be: one that is made with @opts (as for
 * bdrv_create(), consumed), either of their "size", or with the contents of @in_bs (or NULL).
 * 0 or -errno with @errp.
 */
int bdrv_measure(BlockDriver *drv, BlockOptions *opts, BlockDriverState *in_bs,
                 BlockMeasureInfo *info, Error **errp);
bool bdrv_can_measure(const BlockDriver *drv);

/* What of an existing image in format @drv can be changed, as a table of options; NULL: nothing. */
const BlockCreateOption *bdrv_amend_options_table(const BlockDriver *drv);
/*
 * Changes the options @opts (consumed) of the image, which nobody else may use meanwhile. @progress
 * may be NULL. @force permits what may make encrypted data inaccessible. 0 or -errno with @errp; what
 * was changed before an error stays changed. Home thread.
 */
int bdrv_amend_options(BlockDriverState *bs, BlockOptions *opts, BlockProgress *progress,
                       void *opaque, bool force, Error **errp);

/*
 * Translates qemu-img's names: none, off, directsync, writeback, writethrough,
 * unsafe. Replaces the cache bits of *@flags. 0, or -1 for an unknown name.
 */
int bdrv_parse_cache_mode(const char *mode, int *flags, bool *writethrough);
/* "native", "threads", "io_uring". 0, or -1 for another name, and for an engine that is not built in. */
int bdrv_parse_aio(const char *mode, int *flags);
/* "unmap"/"on", "ignore"/"off". */
int bdrv_parse_discard_flags(const char *mode, int *flags);

/* --- of one node --- */

const char *bdrv_get_format_name(BlockDriverState *bs);
/* The prefix of file names that the node's driver has; NULL: a format or a filter. */
const char *bdrv_get_protocol_name(BlockDriverState *bs);
/* Of the node or made up; the string lives as long as the node. Never NULL. */
const char *bdrv_get_node_name(BlockDriverState *bs);
/* The open node of this name, without a reference; NULL: there is none. */
BlockDriverState *bdrv_find_node(const char *name);
/* The file name as the user would give it, possibly "json:{...}". */
const char *bdrv_get_filename(BlockDriverState *bs);
/* Bytes, or -errno. */
int64_t bdrv_getlength(BlockDriverState *bs);
/* Bytes that the image takes on the host's disk, or -errno. */
int64_t bdrv_get_allocated_file_size(BlockDriverState *bs);
int bdrv_get_info(BlockDriverState *bs, BlockDriverInfo *bdi);
/*
 * What the format alone knows of the image ("compat" -> "1.1", "bitmaps.0.name" ...); keys and
 * types are those of QEMU's ImageInfoSpecific. To be freed; NULL: nothing, or an error with @errp.
 */
BlockOptions *bdrv_get_specific_info(BlockDriverState *bs, Error **errp);
/*
 * What requests to the node can be like, by the names of QEMU's BlockLimitsInfo. To be freed,
 * never NULL.
 */
BlockOptions *bdrv_get_limits(BlockDriverState *bs);
/* "abc:..." (and not "./abc:..."): to be taken by a protocol driver, or as "json:". */
bool bdrv_path_has_protocol(const char *path);
bool bdrv_is_read_only(BlockDriverState *bs);
bool bdrv_is_encrypted(BlockDriverState *bs);
/* The driver stores nothing itself but passes on to a child. */
bool bdrv_is_filter(BlockDriverState *bs);
/* New space that a truncate adds reads as zeroes, and so does a fresh image. */
int bdrv_has_zero_init(BlockDriverState *bs);
/* The node that holds the raw bytes ("file" child), or NULL. */
BlockDriverState *bdrv_primary_bs(BlockDriverState *bs);
/*
 * The name of the backing file and its format as the image holds them, whether or not it
 * is open; NULL when it holds none. They belong to the node.
 */
const char *bdrv_get_backing_filename(BlockDriverState *bs);
const char *bdrv_get_backing_format_name(BlockDriverState *bs);
/* The directory of the image's file with its slash, or ""; g_free(). NULL and @errp: it has none. */
char *bdrv_dirname(BlockDriverState *bs, Error **errp);
/*
 * The file that the name means: relative names are relative to the image's directory. To be
 * freed with g_free(); NULL without a backing file, and with @errp when the directory is not known.
 */
char *bdrv_get_full_backing_filename(BlockDriverState *bs, Error **errp);
/* The same for any @backing name in the image file @backed. */
char *bdrv_resolve_backing_filename(const char *backed, const char *backing, Error **errp);
/* The backing node, or NULL. */
BlockDriverState *bdrv_backing_bs(BlockDriverState *bs);
/* Calls @it for each child with the child's name ("file", "backing"). */
void bdrv_iterate_children(BlockDriverState *bs,
                           void (*it)(void *opaque, const char *name, BlockDriverState *child),
                           void *opaque);

/*
 * The image of the backing chain below @bs that @name means: as an image of the chain names it, or
 * a file name, relative to the directory of the image above it. NULL: none.
 */
BlockDriverState *bdrv_find_backing_image(BlockDriverState *bs, const char *name);
/* The layer that what @bs does not hold comes from: the next one that is no filter; or NULL. */
BlockDriverState *bdrv_backing_chain_next(BlockDriverState *bs);
/* @bs itself, or what lies below it if it is a filter. */
BlockDriverState *bdrv_skip_filters(BlockDriverState *bs);

/* --- changing layers; the image is drained meanwhile, or must not be in use by others --- */

/*
 * Writes what @blk shows, as far as it comes from a layer above @base, to @base, which has to be
 * open for writing and lie in the chain below. A smaller @base becomes as long as @blk. @rate:
 * bytes per second to copy at most, 0 for any. Everything is flushed at the end. Layers between the
 * two are garbage afterwards (also after a failure). 0, or -errno with @errp.
 */
int blk_commit(BlockBackend *blk, BlockDriverState *base, int64_t rate, BlockProgress *progress,
               void *opaque, Error **errp);
/*
 * Makes the topmost layer of @blk forget what it holds, so that its backing file shows. 0, or -errno
 * with @errp; -ENOTSUP: the format cannot, and has not.
 */
int blk_make_empty(BlockBackend *blk, Error **errp);
/*
 * Records another backing file in the image, and its format; NULL for both: none. What is open
 * stays as it is, so the new file counts when the image is opened next. 0 or -errno: -ENOSPC when
 * the names do not fit, -EINVAL for a file without a format when @require_format, or a format without a file.
 */
int bdrv_change_backing_file(BlockDriverState *bs, const char *file, const char *format,
                             bool require_format);

/*
 * Blocking forms of bdrv_co_block_status() and its kin (block-driver.h), for tools. @map and
 * @file may be NULL.
 */
int bdrv_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                      int64_t *map, BlockDriverState **file);
int bdrv_block_status_above(BlockDriverState *bs, BlockDriverState *base, int64_t offset,
                            int64_t bytes, int64_t *pnum, int64_t *map,
                            BlockDriverState **file);
int bdrv_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum);
int bdrv_is_allocated_above(BlockDriverState *bs, BlockDriverState *base, bool include_base,
                            int64_t offset, int64_t bytes, int64_t *pnum);

/* --- checks --- */

/*
 * Checks an image (opened with BDRV_O_CHECK, so that damage does not prevent that), and repairs
 * what @fix (BDRV_FIX_*) allows if it is open for writing. Findings go to stderr, a line each;
 * @res counts them. 0 when the check could be made, whatever it found; -ENOTSUP for formats
 * without checks, or -errno. Nothing else may use the image meanwhile. Not in a coroutine.
 */
int bdrv_check(BlockDriverState *bs, BdrvCheckResult *res, BdrvCheckMode fix);

/*
 * From now on what takes long on @bs (a check, growth with preallocation, measuring its contents)
 * calls @progress; NULL: no longer. A raw format and filters pass that on to what lies below. The
 * units are the operation's, and an operation without one calls nothing. Home thread.
 */
void bdrv_set_progress(BlockDriverState *bs, BlockProgress *progress, void *opaque);

/*
 * What bdrv_create() in this thread calls while it writes out a new image (preallocation); NULL: nothing.
 */
void bdrv_set_create_progress(BlockProgress *progress, void *opaque);

/* --- break points (block/debug.c): -ENOTSUP where no node has them, as blkdebug does --- */

/* Requests that raise @event from now on stop there, and are named @tag. */
int bdrv_debug_breakpoint(BlockDriverState *bs, const char *event, const char *tag);
/* Forgets the break point @tag, and lets go on what stopped there. */
int bdrv_debug_remove_breakpoint(BlockDriverState *bs, const char *tag);
/* Lets a request that stopped at @tag go on. */
int bdrv_debug_resume(BlockDriverState *bs, const char *tag);
bool bdrv_debug_is_suspended(BlockDriverState *bs, const char *tag);

G_END_DECLS
#pragma GCC visibility pop

#endif
