/* SPDX-License-Identifier: MIT */
/*
 * An open qcow2 image. Only data: the functions stand in a header for each concern.
 *
 * Locks, in the order in which they may be taken:
 *
 *   range locks (qcow2-range.h)   a guest cluster whose L2 entry is going to change. Held
 *                                 over data I/O, waits only for ranges it overlaps.
 *   wb_lock     CoMutex           one write-back of metadata at a time.
 *   l1_lock     CoMutex           making an L2 table exist, persistent bitmaps; held over
 *                                 metadata I/O.
 *   alloc_lock  CoMutex           refcount table, refcount blocks, free_hint, the cursor of
 *                                 compressed data; held over metadata I/O, never data I/O.
 *   header_lock CoMutex           the header on the disk, and the feature words of hdr
 *                                 (qcow2-header-io.h); held over I/O of the header.
 *   meta        QemuMutex         L1 table, contents and state of L2 slices, range
 *                                 locks, clusters to free. Never held over a yield.
 *
 * A look-up takes none of them: L1 entries are read atomically, slices under a sequence
 * counter (qcow2-l2cache.h).
 *
 * What goes to the disk when: a write puts data into its place and only then changes
 * the cached L2 entry. Metadata in RAM reaches the disk in write-backs alone
 * (qcow2-writeback.h), which keep the order data and refcounts, L2, L1. A cluster that
 * is no longer needed keeps its refcount until nothing on the disk refers to it
 * and no request that may still use it is under way (qcow2-reclaim.h).
 */
#ifndef BLOCK_QCOW2_STATE_H
#define BLOCK_QCOW2_STATE_H

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/coroutine.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "qemu/timer.h"

#include "block/block-driver.h"
#include "qcow2-header.h"

/* --- L2 slices, see qcow2-l2cache.h --- */

#define QCOW2_L2_WAYS 8U

/* All but seq and referenced: under meta. */
typedef struct Qcow2Slot {
    unsigned seq;        /* atomic; odd while the contents change */
    unsigned referenced; /* atomic; used since eviction last looked */
    bool dirty;          /* differs from the disk */
    bool writing;        /* on its way to the disk: must not leave the cache yet */
    bool loading;        /* on its way from the disk, for load_key */
    bool load_again;     /* what is being loaded has become stale */
    uint64_t load_key;
} Qcow2Slot;

typedef struct Qcow2L2Cache {
    uint64_t *keys;   /* atomic; number of the guest's slice + 1, 0: empty; sets of 8 */
    Qcow2Slot *slots;
    uint64_t *data;   /* atomic; slice_words for each slot, in host byte order */
    size_t data_bytes;
    unsigned nb_slots; /* a power of two */
    unsigned set_mask;
    GArray *dirty;     /* of unsigned: slots; under meta */
    CoQueue loaded;    /* under meta */
} Qcow2L2Cache;

/* --- refcount blocks, see qcow2-refcount.h; all under alloc_lock --- */

typedef struct Qcow2RefBlock {
    uint64_t index;   /* in the refcount table */
    uint64_t used;    /* the cache's clock when last used */
    bool dirty;
    uint8_t *data;    /* as on the disk */
    struct Qcow2RefBlock **last; /* rc.last, which may not outlive it */
} Qcow2RefBlock;

typedef struct Qcow2Refcounts {
    uint64_t *table;         /* host byte order */
    uint64_t entries;
    uint64_t table_offset;
    bool table_dirty;
    uint64_t dirty_first, dirty_last; /* entries of the table, when dirty */
    GHashTable *blocks;      /* index -> Qcow2RefBlock */
    Qcow2RefBlock *last;     /* that was asked for, as the next question is mostly about it; or NULL */
    unsigned max_blocks;
    uint64_t clock;
    uint64_t free_hint;      /* no cluster below is free */
    uint64_t zero_from;      /* bytes: from here on the file was never written */
    uint64_t file_end;       /* bytes: the file is at least that long */
    bool file_end_ahead;     /* longer than anybody needs; see qcow2-file-end.h */
    bool file_end_fixed;     /* it cannot be made longer in advance */
    uint64_t cursor;         /* bytes: where compressed data may go on; 0: nowhere */
} Qcow2Refcounts;

/* --- clusters to free, see qcow2-reclaim.h --- */

typedef struct Qcow2Freed {
    uint64_t cluster, count; /* host clusters */
    uint64_t epoch;          /* when the last reference went */
} Qcow2Freed;

#define QCOW2_EPOCH_SHARDS 16U

typedef struct Qcow2EpochShard {
    QEMU_ALIGNED(64) unsigned users[2]; /* atomic; requests of even and odd epochs */
} Qcow2EpochShard;

/* Is the file sparse where the image has clusters? See qcow2-status.c. */
typedef enum Qcow2Holes {
    QCOW2_HOLES_UNKNOWN,
    QCOW2_HOLES_NONE,
    QCOW2_HOLES_SOME,
} Qcow2Holes;

typedef struct Qcow2RangeLock Qcow2RangeLock;

typedef struct BDRVQcow2State {
    /* --- constant while the image is open --- */
    unsigned cluster_bits;
    uint32_t cluster_size;
    bool extended;               /* two words an entry, 32 subclusters a cluster */
    unsigned entry_words;        /* 1 or 2 */
    unsigned subcluster_bits;    /* cluster_bits unless extended */
    unsigned l2_bits;            /* log2 of the entries of a table */
    unsigned slice_bits;         /* log2 of the entries of a slice */
    unsigned slice_words;
    unsigned refcount_order;
    unsigned refblock_bits;      /* log2 of the counters of a block */
    uint64_t refcount_max;
    unsigned csize_shift;        /* where a compressed descriptor's sector count begins */
    BdrvChild *data_file;        /* where guest data lies: bs->file, or the external file */
    bool external;               /* it is an external file: host offset = guest offset */
    bool may_discard_host;       /* freed clusters are discarded in the file */
    bool may_discard_snapshots;  /* so are those that belonged to a snapshot */
    Qcow2Header hdr;             /* as it was at open; the fields below supersede it */
    bool writable;               /* opened for writing, nothing speaks against it */
    bool lazy;                   /* refcounts may be postponed, see qcow2-lazy.h */
    uint64_t clean_interval;     /* seconds; 0: never. qcow2-cache-clean.h */
    QEMUTimer *clean_timer;      /* home thread */
    int compression_level;       /* 0: chosen by the driver */
    unsigned overlap_check;      /* kinds of metadata that writes are kept off, as bits */

    /* --- changed while nothing is in flight --- */
    int overlap_unknown;         /* -errno: where such metadata lies cannot be known, no writes */
    bool close_told;             /* what cannot be written at the end, the user knows */
    bool unclean;                /* flags may be wrong: the dirty bit stays until a repair */

    /* --- any thread, atomic --- */
    bool corrupt;                /* damage, or it is not known what the disk holds: no more writes */
    bool dead;                   /* damage while writable: no more requests at all */
    bool corruption_reported;
    bool lazy_dirty;             /* refcounts on the disk are behind, and the dirty bit is set */
    bool first_write_done;       /* qcow2-first-write.h */
    Qcow2Holes holes;
    uint64_t size;               /* bytes of the virtual disk */
    uint64_t *l1;                /* host byte order; old arrays live until close, or while drained */
    uint32_t l1_size;

    /* --- under meta --- */
    QemuMutex meta;
    uint64_t l1_table_offset;
    unsigned long *l1_dirty;     /* a bit for each 64 entries */
    bool any_l1_dirty;
    GPtrArray *old_l1;           /* outgrown tables */
    Qcow2L2Cache l2;
    bool l2_depends;             /* dirty slices refer to data not yet flushed */
    QTAILQ_HEAD(, Qcow2RangeLock) ranges;
    GArray *freed_new;           /* of Qcow2Freed: still referred to on the disk */

    /* Compressed writes get their places in the order in which they arrived; under meta. */
    uint64_t next_ticket, serving;
    CoQueue turns;

    CoMutex wb_lock;
    GArray *freed_written;       /* under wb_lock: unreferenced with the next flush */

    CoMutex l1_lock;
    uint64_t walk_done, walk_total; /* under l1_lock; L1 entries, see qcow2_walk_expect() */
    GPtrArray *bitmaps;          /* under l1_lock; of Qcow2Bitmap: the directory. qcow2-bitmap.h */
    uint64_t bitmap_bytes_loaded; /* under l1_lock */
    unsigned bitmap_toggles;     /* atomic; times that first_write_done was taken back */

    CoMutex alloc_lock;
    Qcow2Refcounts rc;

    CoMutex header_lock;

    /* --- the metadata map (qcow2-overlap.h): read by all, changed under map_lock --- */
    QemuMutex map_lock;
    uint64_t *map;               /* atomic pointer to a table; see there */
    GPtrArray *old_maps;
    GHashTable *map_several;     /* cluster -> Claims, for clusters claimed repeatedly */

    /* --- epochs of requests --- */
    uint64_t epoch;              /* atomic; advanced under wb_lock */
    Qcow2EpochShard shards[QCOW2_EPOCH_SHARDS];
} BDRVQcow2State;

static inline uint64_t qcow2_in_cluster(const BDRVQcow2State *s, uint64_t offset)
{
    return offset & (s->cluster_size - 1);
}

static inline uint64_t qcow2_cluster_start(const BDRVQcow2State *s, uint64_t offset)
{
    return offset & ~(uint64_t)(s->cluster_size - 1);
}

/* The index in the L1 table, and the number of the slice, that a guest offset belongs to. */
static inline uint64_t qcow2_l1_index(const BDRVQcow2State *s, uint64_t offset)
{
    return offset >> (s->cluster_bits + s->l2_bits);
}

static inline uint64_t qcow2_slice_key(const BDRVQcow2State *s, uint64_t offset)
{
    return offset >> (s->cluster_bits + s->slice_bits);
}

static inline unsigned qcow2_slice_index(const BDRVQcow2State *s, uint64_t offset)
{
    return (offset >> s->cluster_bits) & ((1U << s->slice_bits) - 1);
}

#endif
