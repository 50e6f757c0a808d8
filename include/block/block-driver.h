/* SPDX-License-Identifier: MIT */
/*
 * For authors of drivers: the driver table, the node, and how a driver talks to
 * its children. docs/adding-a-driver.md walks through block/drivers/null.c.
 *
 * The core does what is the same for all: range and flag checks, alignment and
 * read-modify-write, splitting at limits, serialising, drain, emulation of what a
 * driver lacks. It checks every driver call's arguments and return value at one
 * place (block/driver-call.c), so a driver may rely on:
 *   - offset and bytes are aligned to bl.request_alignment, lie within the image
 *     (writes and zeroes too; a driver never sees a request beyond the end, except that
 *     the last request of an image of odd size is rounded up to the alignment),
 *     and are at most bl.max_transfer;
 *     buffers may lie anywhere: where memory alignment matters, the driver copies;
 *   - flags hold nothing but what the driver declared in supported_*_flags;
 *   - callbacks marked coroutine_fn run in a coroutine, in the AioContext of the
 *     thread that sent the request: several threads at once.
 */
#ifndef BLOCK_BLOCK_DRIVER_H
#define BLOCK_BLOCK_DRIVER_H

#include "block/blkdebug.h"
#include "block/block-common.h"
#include "block/block-options.h"
#include "block/block-backend.h"
#include "block/dirty-bitmap.h"
#include "block/snapshot.h"
#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/* What a node can take; all in bytes; 0 means no limit unless said. */
typedef struct BlockLimits {
    uint32_t request_alignment;   /* power of two, at least 1 */
    int64_t max_transfer;         /* multiple of request_alignment */
    uint32_t opt_transfer;
    int64_t max_pdiscard;
    uint32_t pdiscard_alignment;
    int64_t max_pwrite_zeroes;
    uint32_t pwrite_zeroes_alignment;
    size_t min_mem_alignment;     /* address alignment of buffers, at least 1 */
    size_t opt_mem_alignment;
    int max_iov;                  /* entries of a vector, at least 1 */
    bool has_variable_length;     /* the driver's; for those that pass on a child's length */
} BlockLimits;

/*
 * A child edge of the graph. Owned by the parent node; changes only while both are drained.
 */
struct BdrvChild {
    BlockDriverState *bs;
    const char *name;             /* "file", "backing" ... */
    BlockDriverState *parent;     /* NULL: the parent is a BlockBackend */
    uint64_t perm, shared_perm;   /* BLK_PERM_* */
};

typedef struct BlockNodeCore BlockNodeCore;

/*
 * A node. What stands here is for drivers; the core's own state hides behind core.
 * open_flags, bl and the children change only while the node is drained.
 */
struct BlockDriverState {
    BlockDriver *drv;             /* NULL only while the node is made or freed */
    void *opaque;                 /* drv->instance_size bytes, zeroed before open */
    int open_flags;               /* BDRV_O_* */
    bool read_only;
    bool force_share;             /* take no image locks (qemu-img -U) */
    bool debug_events;            /* the driver has bdrv_co_debug_event */
    BdrvChild *file;              /* the node with the image's bytes, or NULL */
    BdrvChild *backing;           /* the node below, or NULL */
    BlockLimits bl;
    /* Flags (BDRV_REQ_*) the driver handles itself; the core emulates FUA. Set in open. */
    unsigned supported_read_flags;
    unsigned supported_write_flags;
    unsigned supported_zero_flags;
    unsigned supported_truncate_flags;
    char *filename;               /* as the user named it */
    char *exact_filename;         /* plain file name, "" when there is none */
    char *backing_file;           /* the name that the image holds, or NULL */
    char *backing_format;
    BlockNodeCore *core;   /* the block layer's own */
};

/*
 * The driver table. Only format_name is always required; a protocol driver
 * needs bdrv_open and bdrv_co_getlength too. Data callbacks return 0 or
 * -errno, never a count.
 */
struct BlockDriver {
    const char *format_name;
    /* Prefix of file names ("null-co" for "null-co://"); NULL for formats. */
    const char *protocol_name;
    size_t instance_size;
    bool is_filter;
    /* A format driver whose bytes lie in a "file" child that the core opens before bdrv_open. */
    bool is_format;
    bool supports_backing;

    /* How sure is it that these first bytes are of this format: 0 to 100. */
    int (*bdrv_probe)(const uint8_t *buf, int buf_size, const char *filename);
    /* A host device (rather than a regular file) that this driver would open: 0 to 100. */
    int (*bdrv_probe_device)(const char *filename);
    /* Takes filename apart into @options; for protocol drivers. NULL: "filename" is set. */
    void (*bdrv_parse_filename)(const char *filename, BlockOptions *options, Error **errp);

    /* Takes its keys from @options. 0 or -errno with @errp. Not in a coroutine. */
    int (*bdrv_open)(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp);
    /* Drained before; errors of the last writes have been reported by a flush. */
    void (*bdrv_close)(BlockDriverState *bs);
    /*
     * Writes to the children, which the core then flushes, what bdrv_close would: unless there are more
     * requests, that has nothing left to write. Drained before. 0, or -errno with @errp; bdrv_close
     * does not tell of it again.
     */
    int coroutine_fn (*bdrv_co_finish_writing)(BlockDriverState *bs, Error **errp);
    /* Fills bs->bl; it comes with the limits of bs->file (or defaults) set. */
    void (*bdrv_refresh_limits)(BlockDriverState *bs, Error **errp);
    /* 0 or -errno with @errp; "size" in @opts. */
    int coroutine_fn (*bdrv_co_create_opts)(BlockDriver *drv, const char *filename,
                                            BlockOptions *opts, Error **errp);
    const BlockCreateOption *create_opts;
    /* Changes what the table says of an existing image; see bdrv_amend_options(). */
    int (*bdrv_amend_options)(BlockDriverState *bs, BlockOptions *opts, BlockProgress *progress,
                              void *opaque, bool force, Error **errp);
    const BlockCreateOption *amend_opts;
    /*
     * How large would an image be that is made with @opts, of "size" or with what the node @in_bs
     * holds (or NULL)? 0 or -errno with @errp. *@info is zeroed before. Not in a coroutine.
     */
    int (*bdrv_measure)(BlockOptions *opts, BlockDriverState *in_bs, BlockMeasureInfo *info,
                        Error **errp);

    /*
     * Move @bytes between [@offset...) and @qiov from its byte @qiov_offset on.
     */
    int coroutine_fn (*bdrv_co_preadv_part)(BlockDriverState *bs, int64_t offset,
                                            int64_t bytes, QEMUIOVector *qiov,
                                            size_t qiov_offset, BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pwritev_part)(BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, QEMUIOVector *qiov,
                                             size_t qiov_offset, BdrvRequestFlags flags);
    /* Make the range read as zeroes; -ENOTSUP: the core writes zeroes. */
    int coroutine_fn (*bdrv_co_pwrite_zeroes)(BlockDriverState *bs, int64_t offset,
                                              int64_t bytes, BdrvRequestFlags flags);
    /* A hint; -ENOTSUP counts as success for the user. */
    int coroutine_fn (*bdrv_co_pdiscard)(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes);
    int coroutine_fn (*bdrv_co_pwritev_compressed_part)(BlockDriverState *bs, int64_t offset,
                                                        int64_t bytes, QEMUIOVector *qiov,
                                                        size_t qiov_offset);
    /*
     * Copy [@src_offset, +@bytes) of @src to [@dst_offset, +@bytes) of @dst without moving it
     * through this program. _from is a callback of the node @bs that @src leads to: it hands on
     * to the child that has the data by bdrv_co_copy_range_from(), with its offset there; at the
     * bottom by bdrv_co_copy_range_to(). _to is one of the node that @dst leads to, and goes on in
     * the same way; at the bottom @src leads to a node of the same kind. -ENOTSUP: the caller
     * reads and writes, also what had been copied. A driver has both or none.
     */
    int coroutine_fn (*bdrv_co_copy_range_from)(BlockDriverState *bs, BdrvChild *src,
                                                int64_t src_offset, BdrvChild *dst,
                                                int64_t dst_offset, int64_t bytes,
                                                BdrvRequestFlags read_flags,
                                                BdrvRequestFlags write_flags);
    int coroutine_fn (*bdrv_co_copy_range_to)(BlockDriverState *bs, BdrvChild *src,
                                              int64_t src_offset, BdrvChild *dst,
                                              int64_t dst_offset, int64_t bytes,
                                              BdrvRequestFlags read_flags,
                                              BdrvRequestFlags write_flags);
    /* Writes the driver's own caches to its children; the core then flushes those. */
    int coroutine_fn (*bdrv_co_flush_to_os)(BlockDriverState *bs);
    /* Makes what was written durable; a driver without children implements this one. */
    int coroutine_fn (*bdrv_co_flush_to_disk)(BlockDriverState *bs);

    /*
     * Status of [@offset, @offset + @bytes): sets 0 < *@pnum <= @bytes, and with
     * OFFSET_VALID *@map (bytes) and *@file. @want_zero false: be quick rather than exact
     * about zeroes. Returns BDRV_BLOCK_* bits or -errno. Missing: all data, unless filter.
     */
    int coroutine_fn (*bdrv_co_block_status)(BlockDriverState *bs, bool want_zero,
                                             int64_t offset, int64_t bytes, int64_t *pnum,
                                             int64_t *map, BlockDriverState **file);
    /* @exact: to this very length; otherwise longer is fine too (devices). */
    int coroutine_fn (*bdrv_co_truncate)(BlockDriverState *bs, int64_t offset, bool exact,
                                         PreallocMode prealloc, BdrvRequestFlags flags,
                                         Error **errp);
    /* Forgets all of this layer's contents, so that the backing file shows; nothing is in flight. */
    int coroutine_fn (*bdrv_co_make_empty)(BlockDriverState *bs);
    /*
     * Records another backing file in the image (NULL: none), and its format if @format is
     * not NULL. What is open stays. -ENOSPC: the names do not fit.
     */
    int coroutine_fn (*bdrv_co_change_backing_file)(BlockDriverState *bs, const char *file,
                                                    const char *format);
    int64_t coroutine_fn (*bdrv_co_getlength)(BlockDriverState *bs);
    int64_t coroutine_fn (*bdrv_co_get_allocated_file_size)(BlockDriverState *bs);
    int coroutine_fn (*bdrv_co_get_info)(BlockDriverState *bs, BlockDriverInfo *bdi);
    /* See bdrv_check(); @result comes zeroed. NULL: the format has no checks. */
    int coroutine_fn (*bdrv_co_check)(BlockDriverState *bs, BdrvCheckResult *result,
                                      BdrvCheckMode fix);
    /*
     * What only this format knows of an image, for `info`: a map of typed values with the
     * names of QEMU's ImageInfoSpecific ("refcount-bits"), nested by dots. NULL: nothing, or
     * an error with @errp. Home thread, not in a coroutine.
     */
    BlockOptions *(*bdrv_get_specific_info)(BlockDriverState *bs, Error **errp);

    /*
     * Internal snapshots; block/snapshot.h says what each does. A driver has all of them or
     * none. But for the list, nothing is in flight on the node. Errors without a message are told
     * by the core.
     */
    int coroutine_fn (*bdrv_snapshot_create)(BlockDriverState *bs, QEMUSnapshotInfo *sn_info);
    int coroutine_fn (*bdrv_snapshot_goto)(BlockDriverState *bs, const char *snapshot_id,
                                           Error **errp);
    int coroutine_fn (*bdrv_snapshot_delete)(BlockDriverState *bs, const char *snapshot_id,
                                             const char *name, Error **errp);
    int coroutine_fn (*bdrv_snapshot_list)(BlockDriverState *bs, QEMUSnapshotInfo **psn_info);
    int coroutine_fn (*bdrv_snapshot_load_tmp)(BlockDriverState *bs, const char *snapshot_id,
                                               const char *name, Error **errp);
    /* Machine state, kept beside the disk until a snapshot is made: @pos bytes from its start. */
    int coroutine_fn (*bdrv_co_save_vmstate)(BlockDriverState *bs, QEMUIOVector *qiov,
                                             int64_t pos);
    int coroutine_fn (*bdrv_co_load_vmstate)(BlockDriverState *bs, QEMUIOVector *qiov,
                                             int64_t pos);
    /* The length can change behind our back (devices): whoever asks gets a fresh one. */
    bool has_variable_length;
    /* NULL: what the file child says, 0 without one. */
    int (*bdrv_has_zero_init)(BlockDriverState *bs);

    /* Called around a drain, in the home context. */
    void (*bdrv_drain_begin)(BlockDriverState *bs);
    void (*bdrv_drain_end)(BlockDriverState *bs);
    void (*bdrv_detach_aio_context)(BlockDriverState *bs);
    void (*bdrv_attach_aio_context)(BlockDriverState *bs, AioContext *new_context);
    /* The permissions that the parents need together have changed (image locks). */
    int (*bdrv_check_perm)(BlockDriverState *bs, uint64_t perm, uint64_t shared,
                           Error **errp);
    void (*bdrv_set_perm)(BlockDriverState *bs, uint64_t perm, uint64_t shared);
    void (*bdrv_abort_perm_update)(BlockDriverState *bs);
    /*
     * What this node needs of @child when its own parents together need @perm and share
     * @shared. NULL: filters pass both on, a backing file is read, formats own their file.
     */
    void (*bdrv_child_perm)(BlockDriverState *bs, const BdrvChild *child, uint64_t perm,
                            uint64_t shared, uint64_t *nperm, uint64_t *nshared);

    /* A parent, or the core for this node, is about to do what @event says. May yield. */
    void coroutine_fn (*bdrv_co_debug_event)(BlockDriverState *bs, BlkdebugEvent event);
    /* Break points; see block-image.h. Home thread. 0 or -errno. */
    int (*bdrv_debug_breakpoint)(BlockDriverState *bs, const char *event, const char *tag);
    int (*bdrv_debug_remove_breakpoint)(BlockDriverState *bs, const char *tag);
    int (*bdrv_debug_resume)(BlockDriverState *bs, const char *tag);
    bool (*bdrv_debug_is_suspended)(BlockDriverState *bs, const char *tag);

    /*
     * Dirty bitmaps in the image; see dirty-bitmap.h. An image that has some creates them in
     * bdrv_open, with their contents unloaded. Those without _co_ run in the home thread, not in a
     * coroutine.
     */
    bool (*bdrv_supports_persistent_dirty_bitmap)(BlockDriverState *bs);
    bool (*bdrv_can_store_new_dirty_bitmap)(BlockDriverState *bs, const char *name,
                                            uint32_t granularity, Error **errp);
    int coroutine_fn (*bdrv_co_remove_persistent_dirty_bitmap)(BlockDriverState *bs,
                                                               const char *name, Error **errp);
    /* Adds what the image has to @bitmap, which is loaded then. */
    int coroutine_fn (*bdrv_co_load_dirty_bitmap)(BlockDriverState *bs, BdrvDirtyBitmap *bitmap,
                                                  Error **errp);
    /* Nothing is in flight. Called by bdrv_store_dirty_bitmaps(), not for bdrv_close. */
    int coroutine_fn (*bdrv_co_store_dirty_bitmaps)(BlockDriverState *bs, Error **errp);
    /* A persistent bitmap has begun or ceased to record. Writes may be in flight. */
    void (*bdrv_dirty_bitmap_toggled)(BlockDriverState *bs);
    /*
     * A plain name that opens the same node; NULL: there is none. @strong are the options
     * of strong_runtime_opts that were given. Without it: the file's name.
     */
    char *(*bdrv_plain_filename)(BlockDriverState *bs, const BlockOptions *strong);
    /* Names in the image cannot be relative: the node is not at one place. */
    bool no_dirname;
    /* The options that make the image what it is: "json:{...}" names hold them. NULL-ended. */
    const char *const *strong_runtime_opts;
};

/* To whoever bdrv_set_progress() has named: @done of @total are. Home thread; cheap. */
void bdrv_report_progress(BlockDriverState *bs, uint64_t done, uint64_t total);
/* The same, of an image that is being created; @opaque is not used: a BlockProgress itself. */
void bdrv_report_create_progress(void *opaque, uint64_t done, uint64_t total);

/*
 * Raises a debug event on the node that is about to be used: one branch where nobody
 * listens. May yield; so not under a lock that is not a coroutine's.
 */
static inline void coroutine_fn bdrv_co_debug_event(BlockDriverState *bs,
                                                    BlkdebugEvent event)
{
    if (G_UNLIKELY(bs->debug_events)) {
        bs->drv->bdrv_co_debug_event(bs, event);
    }
}

/* --- requests to a child: what a format driver uses; same rules as blk_co_* --- */

int coroutine_fn bdrv_co_preadv(BdrvChild *child, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, BdrvRequestFlags flags);
int coroutine_fn bdrv_co_preadv_part(BdrvChild *child, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset,
                                     BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwritev(BdrvChild *child, int64_t offset, int64_t bytes,
                                 QEMUIOVector *qiov, BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwritev_part(BdrvChild *child, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf,
                               BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwrite(BdrvChild *child, int64_t offset, int64_t bytes,
                                const void *buf, BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwrite_zeroes(BdrvChild *child, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pdiscard(BdrvChild *child, int64_t offset, int64_t bytes);
/*
 * Copies without moving the data through this program; see blk_co_copy_range(). _from and _to are
 * the two halves, for drivers' callbacks of these names: down the source, then down the target.
 */
int coroutine_fn bdrv_co_copy_range(BdrvChild *src, int64_t src_offset, BdrvChild *dst,
                                    int64_t dst_offset, int64_t bytes,
                                    BdrvRequestFlags read_flags, BdrvRequestFlags write_flags);
int coroutine_fn bdrv_co_copy_range_from(BdrvChild *src, int64_t src_offset, BdrvChild *dst,
                                         int64_t dst_offset, int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags);
int coroutine_fn bdrv_co_copy_range_to(BdrvChild *src, int64_t src_offset, BdrvChild *dst,
                                       int64_t dst_offset, int64_t bytes,
                                       BdrvRequestFlags read_flags, BdrvRequestFlags write_flags);
int coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact,
                                  PreallocMode prealloc, BdrvRequestFlags flags,
                                  Error **errp);
int coroutine_fn bdrv_co_flush(BlockDriverState *bs);
int64_t coroutine_fn bdrv_co_getlength(BlockDriverState *bs);
int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      int64_t *pnum, int64_t *map, BlockDriverState **file);
/*
 * Status through the layers from @bs down to, and without, @base (NULL: all of them); *@map
 * and *@file may be NULL. A layer that ends before hides what lies below it: zeroes.
 */
int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs, BlockDriverState *base,
                                            int64_t offset, int64_t bytes, int64_t *pnum,
                                            int64_t *map, BlockDriverState **file);
/* Does this layer define the contents? 1, 0 or -errno; *@pnum bytes are alike. @pnum may be NULL. */
int coroutine_fn bdrv_co_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      int64_t *pnum);
/* Does any layer from @bs down to @base (which counts if @include_base) define the contents? */
int coroutine_fn bdrv_co_is_allocated_above(BlockDriverState *bs, BlockDriverState *base,
                                            bool include_base, int64_t offset,
                                            int64_t bytes, int64_t *pnum);
/* Blocking forms of the above for open and close (not in a coroutine; in one they act as bdrv_co_*). */
int bdrv_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf,
               BdrvRequestFlags flags);
int bdrv_pwrite(BdrvChild *child, int64_t offset, int64_t bytes, const void *buf,
                BdrvRequestFlags flags);
int bdrv_flush(BlockDriverState *bs);

/* --- nodes --- */

/*
 * Adds a driver of the program's own, which must stay valid for ever; those of the library
 * are there already (block/drivers.h). Before it is opened for the first time. Any thread.
 * Aborts when it lacks what is required.
 */
void bdrv_register(BlockDriver *drv);

/*
 * Opens a node (see blk_new_open() for the parameters); one reference. Main or home thread.
 */
BlockDriverState *bdrv_open(const char *filename, const char *reference,
                            BlockOptions *options, int flags, Error **errp);
/* What a child is for its parent. It decides whether the child's format is probed. */
typedef enum BdrvChildRole {
    BDRV_CHILD_DATA = 0x01,     /* stores guest data; of a driver that is no format: an image */
    BDRV_CHILD_METADATA = 0x02, /* stores the parent's metadata: never probed */
    BDRV_CHILD_FILTERED = 0x04, /* has the same contents as its parent */
    BDRV_CHILD_COW = 0x08,      /* a backing file */
    BDRV_CHILD_PRIMARY = 0x10,  /* becomes bs->file */
} BdrvChildRole;

BdrvChild *bdrv_open_child_role(const char *filename, BlockOptions *options,
                                const char *bdref_key, BlockDriverState *parent,
                                unsigned role, bool allow_none, Error **errp);
/*
 * Opens the child "@bdref_key" of @parent from the options "@bdref_key.*" and
 * attaches it; for filters and formats that have more than "file" and "backing".
 * A driver with one main child under another name makes it bs->file itself.
 */
BdrvChild *bdrv_open_child(const char *filename, BlockOptions *options,
                           const char *bdref_key, BlockDriverState *parent,
                           bool allow_none, Error **errp);
void bdrv_unref_child(BlockDriverState *parent, BdrvChild *child);
void bdrv_ref(BlockDriverState *bs);
void bdrv_unref(BlockDriverState *bs);
/* Gives @blk the image @bs (takes a reference of its own). */
int blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp);
void blk_remove_bs(BlockBackend *blk);

/* For drivers that work in the background: what stands between the two counts as a request, so drains wait for it. */
void bdrv_inc_in_flight(BlockDriverState *bs);
void bdrv_dec_in_flight(BlockDriverState *bs);
void bdrv_drained_begin(BlockDriverState *bs);
void bdrv_drained_end(BlockDriverState *bs);

/* A buffer aligned for the node; freed with qemu_vfree(). */
void *qemu_blockalign(BlockDriverState *bs, size_t size);
void *qemu_try_blockalign(BlockDriverState *bs, size_t size);

G_END_DECLS
#pragma GCC visibility pop

#endif
