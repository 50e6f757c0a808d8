/* SPDX-License-Identifier: MIT */
/*
 * The block layer's own view of nodes, edges, requests and backends. Private to block/;
 * drivers live on include/block/block-driver.h alone.
 *
 * Who owns what:
 *   - The graph (children, parents, permissions, limits, quiesce) belongs to the home
 * thread of the nodes' context and changes only while nothing is in flight.
 *   - Every thread reads the fast-path fields of BlockNodeCore without a lock; length is
 *     read and written atomically, the others are constant while requests run.
 *   - Tracked requests and flush state: reqs_lock, a leaf lock that is never held over
 *     a yield or a driver call.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "block/block-driver.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "drivers.h"
#include "node-lock.h"
#include "wait-list.h"

/* How much the first bytes of an image tell: what probing reads. */
#define BLOCK_PROBE_BYTES 512

/* --- tracked requests (block/tracked.c) --- */

/*
 * A write-like request in flight on a node, on its coroutine's stack. (Reads are tracked where
 * debug events are raised, to wait for a write that stands still as they do in QEMU.) Requests are
 * kept in order of arrival. A request waits for every earlier one that overlaps it if
 * either is serialising; as waits go only from later to earlier, they cannot form a
 * circle.
 */
typedef struct TrackedRequest TrackedRequest;
struct TrackedRequest {
    BlockDriverState *bs;
    int64_t offset, end; /* bytes; widened to the alignment when serialising */
    Waiter waiter;       /* under reqs_lock until woken */
    unsigned blockers;   /* earlier requests that it still waits for */
    bool serialising;
    bool read; /* nothing to flush after it; set before tracked_end() */
    QTAILQ_ENTRY(TrackedRequest) next;
};

/* --- dirty bitmaps (block/dirty-bitmap.c) --- */

void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes);
/* Gives all bitmaps of the node the size that it has by now. */
void bdrv_dirty_bitmaps_follow_length(BlockDriverState *bs);
void bdrv_release_all_dirty_bitmaps(BlockDriverState *bs);

/* --- nodes --- */

struct BlockNodeCore {
    /*
     * The fast path asks these for every request. A request is simple when it matches
     * align_mask, is at most max_simple bytes and ends within length.
     */
    uint64_t align_mask;
    int64_t max_simple; /* 0: none is */
    int64_t length;     /* bytes, whole sectors, as last known */

    bool probed;     /* the format was guessed */
    bool copy_on_read;           /* every read is one; see copy-on-read.c */
    bool detect_zeroes;          /* writes of zeroes become pwrite_zeroes */
    bool detect_zeroes_unmap;    /* and may unmap */
    unsigned refcnt; /* atomic */
    AioContext *ctx;
    GPtrArray *parents;    /* of BdrvChild, borrowed: edges that end here */
    GPtrArray *children;   /* of BdrvChild, owned: edges that begin here */
    BlockProgress *progress; /* see bdrv_set_progress(); home thread */
    void *progress_opaque;
    BlockOptions *options; /* the node's own, as opened, without those of children */
    char *node_name; /* see node-names.c */
    /* The name that the image's own backing file has or would have; NULL: none. */
    char *auto_backing_file;
    char *display_name; /* see bdrv_get_filename() */
    int quiesce;        /* home thread; >0: drained */
    int in_flight;      /* atomic; bdrv_inc_in_flight() */

    unsigned nb_recording; /* atomic; of dirty_bitmaps: those that record writes */
    QemuMutex dirty_lock;  /* a leaf lock; see dirty-bitmap.c */
    QLIST_HEAD(, BdrvDirtyBitmap) dirty_bitmaps;

    NodeLock reqs_lock;
    QTAILQ_HEAD(, TrackedRequest) reqs;
    unsigned nb_serialising; /* of reqs */
    unsigned nb_waiting;     /* of reqs: those with blockers */
    /* Writes so far, and how many of them the last good flush covered. */
    uint64_t write_gen, flushed_gen;
    bool flush_active;
    WaitList flush_waiters;
    int flush_error; /* -errno of the first failed flush: sticky */
};

/* The slow paths of the next two, where requests wait: entered with reqs_lock, left without. */
int coroutine_fn tracked_begin_locked(TrackedRequest *req, bool no_wait);
void coroutine_fn tracked_end_locked(TrackedRequest *req);

/*
 * Enters [@offset, @offset + @bytes) into the node's list and, if need be, waits. 0, or
 * -EBUSY (and nothing entered) when @no_wait and it would have to.
 */
static inline int coroutine_fn tracked_begin(TrackedRequest *req, BlockDriverState *bs,
                                             int64_t offset, int64_t bytes, bool serialising,
                                             bool no_wait)
{
    BlockNodeCore *core = bs->core;

    req->bs = bs;
    req->offset = offset;
    req->end = bytes > INT64_MAX - offset ? INT64_MAX : offset + bytes;
    req->blockers = 0;
    req->serialising = serialising;
    req->read = false;
    node_lock(&core->reqs_lock);
    if (unlikely(serialising || core->nb_serialising)) {
        return tracked_begin_locked(req, no_wait);
    }
    QTAILQ_INSERT_TAIL(&core->reqs, req, next);
    node_unlock(&core->reqs_lock);
    return 0;
}

/* Also counts the write for the next flush. */
static inline void coroutine_fn tracked_end(TrackedRequest *req)
{
    BlockNodeCore *core = req->bs->core;

    node_lock(&core->reqs_lock);
    core->write_gen += !req->read;
    if (unlikely(req->serialising || core->nb_waiting)) {
        tracked_end_locked(req);
        return;
    }
    QTAILQ_REMOVE(&core->reqs, req, next);
    node_unlock(&core->reqs_lock);
}

/* At the end of every write-like request, whatever came of it. */
static inline void bdrv_record_write(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    if (unlikely(qatomic_read(&bs->core->nb_recording))) {
        bdrv_set_dirty(bs, offset, bytes);
    }
}

/* Allocates a node without driver; one reference. */
BlockDriverState *bdrv_new_node(AioContext *ctx);
/* An edge; takes over the caller's reference to @child_bs, also on failure. */
BdrvChild *bdrv_attach_child(BlockDriverState *parent, BlockDriverState *child_bs,
                             const char *name, Error **errp);
/* The same for an edge of a backend: @child is embedded there. */
int bdrv_attach_root(BdrvChild *child, BlockDriverState *bs, uint64_t perm,
                     uint64_t shared_perm, Error **errp);
void bdrv_detach_root(BdrvChild *child);
/*
 * Collects what the parents need and passes it down. 0 or -errno; on failure nothing has
 * changed.
 */
int bdrv_refresh_perms(BlockDriverState *bs, Error **errp);
/* Asks children and driver for limits again, and sets up the fast path. */
int bdrv_refresh_limits(BlockDriverState *bs, Error **errp);
/* Asks the driver for the length. Bytes or -errno. */
int64_t coroutine_fn bdrv_co_refresh_length(BlockDriverState *bs);
int64_t bdrv_refresh_length(BlockDriverState *bs);
void bdrv_set_node_context(BlockDriverState *bs, AioContext *ctx);
bool bdrv_is_writable(const BlockDriverState *bs);

/* @name NULL: makes one up. Home thread. 0 or -errno with @errp. */
int bdrv_assign_node_name(BlockDriverState *bs, const char *name, Error **errp);
void bdrv_drop_node_name(BlockDriverState *bs);
/* The node that an option names; a new reference. NULL and @errp: none of this context. */
BlockDriverState *bdrv_lookup_reference(const char *name, Error **errp);
/* Sets exact_filename and what bdrv_get_filename() says. */
void bdrv_refresh_filename(BlockDriverState *bs);
/* block/options.c: sets @key to what @from has under @from_key, with its JSON type. */
void blk_options_copy_entry(BlockOptions *opts, const char *key, const BlockOptions *from,
                            const char *from_key);

static inline BdrvChild *bdrv_child_at(const GPtrArray *edges, guint i)
{
    return g_ptr_array_index(edges, i);
}

/* The child that a filter passes everything on to. */
static inline BdrvChild *bdrv_filter_child(const BlockDriverState *bs)
{
    return bs->drv && bs->drv->is_filter ? (bs->file ? bs->file : bs->backing) : NULL;
}

/* --- opening --- */

/* bdrv_open() without its frame: @options is consumed. See open.c. */
BlockDriverState *bdrv_open_node(const char *filename, BlockOptions *options, int flags,
                                 Error **errp);
/* The same for BDRV_O_SNAPSHOT (block/open-snapshot.c). */
BlockDriverState *bdrv_open_snapshot(const char *filename, BlockOptions *options, int flags,
                                     Error **errp);
/*
 * Opens the backing file that the driver found in the image (bs->backing_file, from
 * backing_format) or that "backing.*" of @options names, and attaches it. No backing file: 0.
 */
int bdrv_open_backing(BlockDriverState *bs, BlockOptions *options, Error **errp);

/* --- driver calls (block/driver-call.c): contract checked, nothing adjusted --- */

int coroutine_fn driver_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags);
int coroutine_fn driver_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset,
                                BdrvRequestFlags flags);
int coroutine_fn driver_pwritev_compressed(BlockDriverState *bs, int64_t offset,
                                           int64_t bytes, QEMUIOVector *qiov,
                                           size_t qiov_offset);
int coroutine_fn driver_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags);
int coroutine_fn driver_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn driver_copy_range_from(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                        BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                        BdrvRequestFlags read_flags,
                                        BdrvRequestFlags write_flags);
int coroutine_fn driver_copy_range_to(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                      BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                      BdrvRequestFlags read_flags, BdrvRequestFlags write_flags);
int coroutine_fn driver_flush_to_os(BlockDriverState *bs);
int coroutine_fn driver_flush_to_disk(BlockDriverState *bs);
int coroutine_fn driver_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                     int64_t bytes, int64_t *pnum, int64_t *map,
                                     BlockDriverState **file);
int coroutine_fn driver_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                 PreallocMode prealloc, BdrvRequestFlags flags,
                                 Error **errp);
int64_t coroutine_fn driver_getlength(BlockDriverState *bs);

/* --- requests (block/io.c and its neighbours) --- */

/* Can this request go to the driver as it is? */
static inline bool request_is_simple(const BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, const QEMUIOVector *qiov,
                                     size_t qiov_offset)
{
    const BlockNodeCore *core = bs->core;
    int64_t length = qatomic_read(&core->length);

    /* offset <= length - bytes cannot overflow: both are at least 0 where it counts. */
    return offset >= 0 && bytes > 0 && bytes <= core->max_simple &&
           offset <= length - bytes &&
           (((uint64_t)offset | (uint64_t)bytes) & core->align_mask) == 0 &&
           qiov->niov <= bs->bl.max_iov && qiov_offset + (size_t)bytes <= qiov->size;
}

/* 0, or -EIO for what no image can have. */
int check_range(int64_t offset, int64_t bytes);
int check_range_qiov(int64_t offset, int64_t bytes, const QEMUIOVector *qiov,
                     size_t qiov_offset);
/* The length, up to date if it matters for a request that ends at @end. Bytes or -errno.
 */
int64_t coroutine_fn bdrv_co_length_for(BlockDriverState *bs, int64_t end);
static inline bool ends_inside(const BlockDriverState *bs, int64_t end)
{
    return end <= qatomic_read(&bs->core->length);
}

/*
 * For a tracked write that does not end inside: 0, or -EIO when its parent may not make
 * the image grow, or when the image has been shortened since the write was sent
 * (@was_inside): the write must not make it longer again.
 */
int coroutine_fn check_write_end(const BdrvChild *child, int64_t end, bool was_inside);
/* Aligned requests inside a tracked one. */
int coroutine_fn read_aligned(BlockDriverState *bs, int64_t offset, int64_t bytes,
                              QEMUIOVector *qiov, size_t qiov_offset,
                              BdrvRequestFlags flags);
int coroutine_fn write_aligned(BlockDriverState *bs, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags);
/* Without debug events of its own: for zeroes that are written as data. */
int coroutine_fn write_quietly(BlockDriverState *bs, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags);
int coroutine_fn zero_quietly(BlockDriverState *bs, int64_t offset, int64_t bytes,
                              BdrvRequestFlags flags);
/* Sees to it that the range is allocated in this node. Range checked, not tracked. */
int coroutine_fn copy_on_read(BlockDriverState *bs, int64_t offset, int64_t bytes);
/* Reads the block at @offset, of which a write leaves the @head, the @tail or both. */
int coroutine_fn read_for_rmw(BlockDriverState *bs, int64_t offset, uint8_t *buf,
                              bool head, bool tail);
int coroutine_fn zero_aligned(BlockDriverState *bs, int64_t offset, int64_t bytes,
                              BdrvRequestFlags flags);
/* What a write leaves to do: the length may have grown, FUA may need a flush. */
int coroutine_fn write_finish(BlockDriverState *bs, int64_t end, int ret, bool flush);

/* --- calling coroutine code from outside (block/co-call.c) --- */

/*
 * The calling thread's context: its own or, for a thread without, a private one that is
 * made on demand, is current between begin and end, and dies with the thread. NULL: no
 * descriptors left.
 */
AioContext *thread_context_begin(void);
void thread_context_end(void);
/* The same without making or setting anything; NULL: none. */
AioContext *thread_context_peek(void);
/* Is @ctx this thread's, as its current one or as its private one? */
bool thread_owns_context(AioContext *ctx);

typedef struct CoCall CoCall;
struct CoCall {
    void coroutine_fn (*fn)(CoCall *call); /* sets ret */
    int64_t ret;
    bool done;
};
/*
 * Runs call->fn in a coroutine and polls until it is done (in a coroutine: calls it). Its
 * ret; or, and call->fn has not run, -EMFILE without a context and -ENOMEM without a
 * coroutine to be had.
 */
int64_t co_call(CoCall *call);

/* --- backends --- */

struct BlockBackend {
    /* Read by every request. */
    BdrvChild root;     /* root.bs NULL: no image */
    AioContext *ctx;    /* home; atomic, changes while drained */
    int quiesce;        /* atomic; written under queue_lock: requests wait when >0 */
    bool write_through;
    int drained;        /* home thread: drained sections of this backend itself */

    unsigned refcnt;    /* atomic */
    QemuMutex queue_lock;
    WaitList waiting;   /* under queue_lock */
    QTAILQ_ENTRY(BlockBackend) next; /* of all; its lock is in block-backend.c */

    /*
     * Requests of the home thread are counted without atomics, since only that thread
     * drains; those of all others in other_in_flight. Their sum is what is in flight.
     * Each has a cache line without what every request reads.
     */
    int home_in_flight;
    char apart_[64];
    int other_in_flight; /* atomic */
};

static inline BlockBackend *blk_of_root(BdrvChild *child)
{
    return container_of(child, BlockBackend, root);
}

/* From then on new requests of the backend wait; the second lets them go on. Home thread.
 */
void blk_quiesce(BlockBackend *blk);
void blk_unquiesce(BlockBackend *blk);
bool blk_busy(BlockBackend *blk);
/* Polls until no request is counted. Home thread, not in a coroutine. */
void blk_wait_idle(BlockBackend *blk);
void bdrv_quiesce(BlockDriverState *bs);
void bdrv_unquiesce(BlockDriverState *bs);
/*
 * Runs fn(opaque) in the home thread of @ctx: here if that is this one, also in a GLib
 * callback outside of the context's dispatch; waits. Not in a
 * coroutine.
 */
void run_in_context(AioContext *ctx, void (*fn)(void *opaque), void *opaque);
/* The same, also in a coroutine (where @step does not run in one). */
void drain_step(AioContext *ctx, void (*step)(void *opaque), void *opaque);

/*
 * Until nobody drains. For a request that blk_begin_request() has counted and that then
 * saw quiesce; *@home says which counter has it, and may change.
 */
void coroutine_fn blk_wait_while_drained(BlockBackend *blk, bool *home);
/* The body of a request: checks it against the image and sends it down. */
int coroutine_fn blk_do_preadv(BlockBackend *blk, int64_t offset, int64_t bytes,
                               QEMUIOVector *qiov, size_t qiov_offset,
                               BdrvRequestFlags flags);
int coroutine_fn blk_do_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset,
                                BdrvRequestFlags flags);
int coroutine_fn blk_do_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags);
int coroutine_fn blk_do_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes);
int coroutine_fn blk_do_flush(BlockBackend *blk);
void blk_dec_in_flight_other(BlockBackend *blk);
/* Is the calling thread, as the loop knows it, the home of @blk? */
static inline bool blk_at_home(const BlockBackend *blk)
{
    /* Pairs with move_to_context(): a new home begins with the counters as left. */
    return qemu_get_current_aio_context() == qatomic_load_acquire(&blk->ctx);
}

/*
 * After blk_begin_request(): does it have to wait? If not, it sees what drained sections
 * changed.
 */
static inline bool blk_is_quiesced(const BlockBackend *blk)
{
    return qatomic_load_acquire(&blk->quiesce); /* pairs with blk_unquiesce() */
}

static inline void blk_begin_request(BlockBackend *blk, bool home)
{
    if (likely(home)) {
        blk->home_in_flight++;
    } else {
        /* Pairs with the barrier in blk_quiesce(): either it sees us or we see it. */
        qatomic_inc(&blk->other_in_flight);
        smp_mb__after_rmw();
    }
}

static inline void blk_end_request(BlockBackend *blk, bool home)
{
    if (likely(home)) {
        blk->home_in_flight--;
    } else {
        blk_dec_in_flight_other(blk);
    }
}

/* --- the driver table (block/drivers.c) --- */

BlockDriver *bdrv_find_protocol(const char *filename, bool allow_prefix, Error **errp);
/* The driver that is surest of these first bytes; never NULL, as raw takes anything. */
BlockDriver *bdrv_probe_all(const uint8_t *buf, int size, const char *filename);
/* "abc:..." (and not "./abc:..."). */
bool path_has_protocol(const char *path);
/* All up to the last slash (or a protocol's colon), with it: what a relative name is added to. */
char *path_directory(const char *path);

#endif
