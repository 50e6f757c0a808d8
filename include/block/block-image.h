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
 * Translates qemu-img's names: none, off, directsync, writeback, writethrough,
 * unsafe. Replaces the cache bits of *@flags. 0, or -1 for an unknown name.
 */
int bdrv_parse_cache_mode(const char *mode, int *flags, bool *writethrough);
/* "native", "threads" (later "io_uring"). 0, or -1 for an unknown name. */
int bdrv_parse_aio(const char *mode, int *flags);
/* "unmap"/"on", "ignore"/"off". */
int bdrv_parse_discard_flags(const char *mode, int *flags);

/* --- of one node --- */

const char *bdrv_get_format_name(BlockDriverState *bs);
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
/*
 * The file that the name means: relative names are relative to the image's directory. To be
 * freed with g_free(); NULL without a backing file, and with @errp when the directory is not known.
 */
char *bdrv_get_full_backing_filename(BlockDriverState *bs, Error **errp);
/* The backing node, or NULL. */
BlockDriverState *bdrv_backing_bs(BlockDriverState *bs);
/* Calls @it for each child with the child's name ("file", "backing"). */
void bdrv_iterate_children(BlockDriverState *bs,
                           void (*it)(void *opaque, const char *name, BlockDriverState *child),
                           void *opaque);

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
