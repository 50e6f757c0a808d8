/* SPDX-License-Identifier: MIT */
/*
 * From guest offsets to where the data is. Takes no lock; waits only when an L2 slice
 * has to be loaded. The caller is inside qcow2_request_begin/end.
 */
#ifndef BLOCK_QCOW2_MAP_H
#define BLOCK_QCOW2_MAP_H

#include "qcow2-l2cache.h"
#include "qcow2-state.h"

typedef enum Qcow2Kind {
    QCOW2_UNALLOCATED,       /* backing file or zeroes */
    QCOW2_UNALLOCATED_ALLOC, /* the same, but a host cluster is there for it */
    QCOW2_ZERO_PLAIN,
    QCOW2_ZERO_ALLOC,        /* zeroes; a host cluster is there */
    QCOW2_NORMAL,
    QCOW2_COMPRESSED,
} Qcow2Kind;

static inline bool qcow2_kind_has_host(Qcow2Kind kind)
{
    return kind == QCOW2_NORMAL || kind == QCOW2_ZERO_ALLOC || kind == QCOW2_UNALLOCATED_ALLOC;
}

/* A run of one kind, contiguous in the file where it has a host offset. */
typedef struct Qcow2Extent {
    Qcow2Kind kind;
    bool copied;      /* L1 and L2 entries say that its clusters may be written in place */
    uint64_t host;    /* of the first byte, for the kinds that have a host cluster */
    uint64_t entry;   /* of a compressed cluster: the L2 entry */
    int64_t bytes;
} Qcow2Extent;

/*
 * The run at @offset, at most @bytes long and within a slice. 0 or -errno; -EIO for an entry
 * that means nothing, after it has been reported.
 */
int coroutine_fn qcow2_co_map(BlockDriverState *bs, uint64_t offset, int64_t bytes,
                              Qcow2Extent *ext);

/*
 * The short cut for what most requests are: a range inside one cluster that has a host
 * cluster, and a slice that is in RAM. *@host: where the range lies; @in_place: only if it may
 * be written there. False: qcow2_co_map() knows. Any thread.
 */
static inline bool qcow2_map_direct(const BDRVQcow2State *s, uint64_t offset, uint64_t bytes,
                                    bool in_place, uint64_t *host)
{
    uint64_t in_cluster = qcow2_in_cluster(s, offset);
    uint64_t l1_index = qcow2_l1_index(s, offset);
    uint64_t wrong = (s->cluster_size - 1) & QCOW2_L1_OFFSET_MASK;
    uint64_t copied = in_place ? QCOW2_OFLAG_COPIED : 0;
    uint64_t l1, word;
    unsigned seq;
    int slot;

    if (in_cluster + bytes > s->cluster_size || s->extended || s->external ||
        l1_index >= qatomic_load_acquire(&s->l1_size)) {
        return false;
    }
    l1 = qatomic_read(qatomic_rcu_read(&s->l1) + l1_index);
    if (!(l1 & QCOW2_L1_OFFSET_MASK) || (l1 & wrong) || (l1 & copied) != copied) {
        return false;
    }
    slot = qcow2_l2cache_find(&s->l2, qcow2_slice_key(s, offset), &seq);
    if (slot < 0) {
        return false;
    }
    word = qatomic_read(qcow2_slot_data(s, slot) + qcow2_slice_index(s, offset));
    *host = (word & QCOW2_L2_OFFSET_MASK) + in_cluster;
    return qcow2_slot_unchanged(&s->l2, slot, seq) && (word & QCOW2_L2_OFFSET_MASK) &&
           !(word & (QCOW2_OFLAG_COMPRESSED | QCOW2_OFLAG_ZERO | wrong)) &&
           (word & copied) == copied;
}

/* The same for who is going to write there; what is wrong is told in other words. */
int coroutine_fn qcow2_co_map_for_write(BlockDriverState *bs, uint64_t offset, int64_t bytes,
                                        Qcow2Extent *ext);

/*
 * Takes an entry apart: the run of subclusters at @offset within its cluster, @word points to
 * the entry_words of it. False when it means nothing.
 */
bool qcow2_decode_entry(const BDRVQcow2State *s, const uint64_t word[2], uint64_t offset,
                        Qcow2Extent *ext);

/* The bytes of the file that a compressed entry spans: an upper bound of the stream. */
static inline void qcow2_compressed_span(const BDRVQcow2State *s, uint64_t entry,
                                         uint64_t *start, uint64_t *bytes)
{
    unsigned x = s->csize_shift;
    uint64_t sectors = (entry >> x) & ((UINT64_C(1) << (s->cluster_bits - 8)) - 1);

    *start = entry & ((UINT64_C(1) << x) - 1);
    *bytes = (sectors + 1) * 512 - (*start & 511);
}

/*
 * The image is damaged. @fatal, and the image is open for writing: that is remembered in the
 * image, and all further requests fail. Otherwise a message is all, one for an open image.
 */
void coroutine_fn G_GNUC_PRINTF(3, 4)
    qcow2_signal_corruption(BlockDriverState *bs, bool fatal, const char *fmt, ...);

#endif
