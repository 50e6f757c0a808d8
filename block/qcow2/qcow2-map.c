/* SPDX-License-Identifier: MIT */
/*
 * Look-up. The entries of a run are read under the slot's sequence counter and decoded
 * on the fly; a change under the reader's eyes makes it start again, so what is decoded in
 * between may be nonsense, and is reported only when it stayed.
 */
#include "qcow2-map.h"

#include "qemu/error-report.h"

#include "qcow2-header-io.h"
#include "qcow2-l2cache.h"

void coroutine_fn qcow2_signal_corruption(BlockDriverState *bs, bool fatal, const char *fmt,
                                          ...)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree char *what = NULL;
    bool reported = qatomic_xchg(&s->corruption_reported, true);
    va_list ap;

    fatal = fatal && s->writable;
    if (fatal ? qatomic_xchg(&s->dead, true) : reported) {
        return;
    }
    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!fatal) {
        error_printf("qcow2: Image is corrupt: %s; further non-fatal corruption events will be"
                     " suppressed\n", what);
        return;
    }
    error_printf("qcow2: Marking image as corrupt: %s; further corruption events will be"
                 " suppressed\n", what);
    qatomic_set(&s->corrupt, true);
    if (s->hdr.version >= 3) {
        qcow2_co_write_header_corrupt(bs);
    }
}

static bool host_offset_ok(const BDRVQcow2State *s, uint64_t host, uint64_t offset)
{
    if (s->external) {
        return host == qcow2_cluster_start(s, offset);
    }
    return (host & (s->cluster_size - 1)) == 0;
}

static bool decode_standard(const BDRVQcow2State *s, uint64_t word, uint64_t offset,
                            Qcow2Extent *ext)
{
    uint64_t host = word & QCOW2_L2_OFFSET_MASK;
    /* In an external file the cluster at offset 0 counts, and COPIED tells that it is there. */
    bool allocated = host || (s->external && ext->copied);

    ext->bytes = s->cluster_size - qcow2_in_cluster(s, offset);
    ext->host = host + qcow2_in_cluster(s, offset);
    if (word & QCOW2_OFLAG_ZERO) {
        ext->kind = allocated ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
        if (s->hdr.version < 3) {
            return false;
        }
    } else {
        ext->kind = allocated ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
    }
    return !allocated || host_offset_ok(s, host, offset);
}

static bool decode_extended(const BDRVQcow2State *s, const uint64_t word[2], uint64_t offset,
                            Qcow2Extent *ext)
{
    uint64_t host = word[0] & QCOW2_L2_OFFSET_MASK;
    uint32_t alloc = word[1], zero = word[1] >> 32;
    bool allocated = host || (s->external && ext->copied);
    unsigned first = qcow2_in_cluster(s, offset) >> s->subcluster_bits, n;

    if ((alloc & zero) || (alloc && !allocated) ||
        (allocated && !host_offset_ok(s, host, offset))) {
        return false;
    }
    if (zero >> first & 1) {
        ext->kind = allocated ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
        n = cto32(zero >> first);
    } else if (alloc >> first & 1) {
        ext->kind = QCOW2_NORMAL;
        n = cto32(alloc >> first);
    } else {
        ext->kind = allocated ? QCOW2_UNALLOCATED_ALLOC : QCOW2_UNALLOCATED;
        n = MIN((unsigned)ctz32((alloc | zero) >> first), QCOW2_SUBCLUSTERS - first);
    }
    ext->host = host + qcow2_in_cluster(s, offset);
    ext->bytes = ((uint64_t)(first + n) << s->subcluster_bits) - qcow2_in_cluster(s, offset);
    return true;
}

bool qcow2_decode_entry(const BDRVQcow2State *s, const uint64_t word[2], uint64_t offset,
                        Qcow2Extent *ext)
{
    uint64_t start, bytes;

    ext->entry = word[0];
    ext->copied = word[0] & QCOW2_OFLAG_COPIED;
    if (likely(!(word[0] & QCOW2_OFLAG_COMPRESSED))) {
        return s->extended ? decode_extended(s, word, offset, ext)
                           : decode_standard(s, word[0], offset, ext);
    }
    ext->kind = QCOW2_COMPRESSED;
    ext->copied = false;
    ext->host = 0;
    ext->bytes = s->cluster_size - qcow2_in_cluster(s, offset);
    qcow2_compressed_span(s, word[0], &start, &bytes);
    return !s->external && start >= s->cluster_size && start < QCOW2_MAX_HOST_OFFSET;
}

static void read_entry(const BDRVQcow2State *s, const uint64_t *data, unsigned index,
                       uint64_t word[2])
{
    const uint64_t *p = data + (size_t)index * s->entry_words;

    word[0] = qatomic_read(&p[0]);
    word[1] = s->extended ? qatomic_read(&p[1]) : 0;
}

/* Decodes the run at @offset out of a slice. False: an entry on the way means nothing. */
static bool decode_run(const BDRVQcow2State *s, const uint64_t *data, uint64_t offset,
                       int64_t bytes, Qcow2Extent *ext)
{
    unsigned index = qcow2_slice_index(s, offset);
    uint64_t word[2], first, step;

    read_entry(s, data, index, word);
    if (!qcow2_decode_entry(s, word, offset, ext)) {
        return false;
    }
    first = word[0];
    step = qcow2_kind_has_host(ext->kind) ? s->cluster_size : 0;
    while (ext->bytes < bytes && ext->kind != QCOW2_COMPRESSED &&
           qcow2_in_cluster(s, offset + ext->bytes) == 0 && ++index < 1U << s->slice_bits) {
        Qcow2Extent next;

        read_entry(s, data, index, word);
        first += step;
        /* The usual case without decoding: the same flags, and the next cluster or none. */
        if (!s->extended && word[0] == first &&
            (step == 0 || (first & QCOW2_L2_OFFSET_MASK) >= s->cluster_size)) {
            ext->bytes += s->cluster_size;
            continue;
        }
        if (!qcow2_decode_entry(s, word, offset + ext->bytes, &next) ||
            next.kind != ext->kind || next.copied != ext->copied ||
            (qcow2_kind_has_host(ext->kind) && next.host != ext->host + ext->bytes)) {
            break;
        }
        ext->bytes += next.bytes;
    }
    return true;
}

/* Says what is wrong with the entry at @offset, which does not decode. */
static int coroutine_fn QEMU_NOINLINE bad_entry(BlockDriverState *bs, uint64_t offset,
                                                uint64_t l1, const Qcow2Extent *ext,
                                                bool writing)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t table = l1 & QCOW2_L1_OFFSET_MASK, host = ext->entry & QCOW2_L2_OFFSET_MASK;
    unsigned index = qcow2_slice_index(s, offset);
    bool compressed = ext->entry & QCOW2_OFLAG_COMPRESSED;

    if (compressed && s->external) {
        qcow2_signal_corruption(bs, true, "Compressed cluster entry found in image with external"
                                " data file (L2 offset: %#" PRIx64 ", L2 index: %#x)", table,
                                index);
    } else if (!compressed && !s->extended && (ext->entry & QCOW2_OFLAG_ZERO) &&
               s->hdr.version < 3) {
        qcow2_signal_corruption(bs, true, "Zero cluster entry found in pre-v3 image (L2 offset:"
                                " %#" PRIx64 ", L2 index: %#x)", table, index);
    } else if (!compressed && qcow2_in_cluster(s, host) && writing) {
        qcow2_signal_corruption(bs, true, "%s cluster offset %#" PRIx64 " unaligned (guest offset:"
                                " %#" PRIx64 ")", !s->extended && (ext->entry & QCOW2_OFLAG_ZERO)
                                ? "Preallocated zero" : "Data", host, offset);
    } else if (!compressed && qcow2_in_cluster(s, host)) {
        qcow2_signal_corruption(bs, true, "Cluster allocation offset %#" PRIx64 " unaligned (L2"
                                " offset: %#" PRIx64 ", L2 index: %#x)", host, table, index);
    } else if (!compressed && s->external && host != qcow2_cluster_start(s, offset)) {
        qcow2_signal_corruption(bs, true, "External data file host cluster offset %#" PRIx64
                                " does not match guest cluster offset: %#" PRIx64 ", L2 index:"
                                " %#x)", host, qcow2_cluster_start(s, offset), index);
    } else {
        qcow2_signal_corruption(bs, !compressed, "Invalid cluster entry found  (L2 offset: %#"
                                PRIx64 ", L2 index: %#x)", table, index);
    }
    return -EIO;
}

/*
 * The cache is full of slices that cannot be written: what is on the disk can be read all the same.
 * 1: look into the cache again.
 */
static int coroutine_fn QEMU_NOINLINE map_past_cache(BlockDriverState *bs, uint64_t offset,
                                                     int64_t bytes, uint64_t l1,
                                                     Qcow2Extent *ext, bool writing)
{
    BDRVQcow2State *s = bs->opaque;
    QEMU_AUTO_VFREE uint64_t *buf = qemu_try_blockalign(bs->file->bs, s->slice_words * 8);
    int ret = buf ? qcow2_l2cache_read_past(bs, qcow2_slice_key(s, offset), buf) : -ENOMEM;

    if (ret == 0 && !decode_run(s, buf, offset, bytes, ext)) {
        ret = bad_entry(bs, offset, l1, ext, writing);
    }
    return ret;
}

static int coroutine_fn map_run(BlockDriverState *bs, uint64_t offset, int64_t bytes,
                                Qcow2Extent *ext, bool writing)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t l1_index = qcow2_l1_index(s, offset);
    uint64_t key = qcow2_slice_key(s, offset);
    uint64_t l1 = 0;

    while (true) {
        unsigned seq;
        int slot, ret;
        bool ok;

        if (likely(l1_index < qatomic_load_acquire(&s->l1_size))) {
            uint64_t *table = qatomic_rcu_read(&s->l1);

            l1 = qatomic_read(&table[l1_index]);
        }
        if (!(l1 & QCOW2_L1_OFFSET_MASK)) {
            uint64_t end = (l1_index + 1) << (s->cluster_bits + s->l2_bits);

            *ext = (Qcow2Extent){ .kind = QCOW2_UNALLOCATED,
                                  .bytes = MIN((uint64_t)bytes, end - offset) };
            return 0;
        }
        slot = qcow2_l2cache_find(&s->l2, key, &seq);
        if (unlikely(slot < 0)) {
            bool no_room;

            ret = qcow2_l2cache_load(bs, key, &no_room);
            if (ret < 0 && no_room) {
                ret = map_past_cache(bs, offset, bytes, l1, ext, writing);
                if (ret == 0) {
                    break;
                }
            }
            if (ret < 0) {
                return ret;
            }
            continue;
        }
        ok = decode_run(s, qcow2_slot_data(s, slot), offset, bytes, ext);
        if (likely(qcow2_slot_unchanged(&s->l2, slot, seq))) {
            if (unlikely(!ok)) {
                return bad_entry(bs, offset, l1, ext, writing);
            }
            break;
        }
    }
    ext->bytes = MIN(ext->bytes, bytes);
    ext->copied = ext->copied && (l1 & QCOW2_OFLAG_COPIED);
    return 0;
}

int coroutine_fn qcow2_co_map(BlockDriverState *bs, uint64_t offset, int64_t bytes,
                              Qcow2Extent *ext)
{
    return map_run(bs, offset, bytes, ext, false);
}

int coroutine_fn qcow2_co_map_for_write(BlockDriverState *bs, uint64_t offset, int64_t bytes,
                                        Qcow2Extent *ext)
{
    return map_run(bs, offset, bytes, ext, true);
}
