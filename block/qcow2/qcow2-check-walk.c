/* SPDX-License-Identifier: MIT */
/* The walk from all L1 tables down to the data, and the counting of everything else. */
#include "qcow2-check-walk.h"

#include "qapi/error.h"

#include "qcow2-map.h"
#include "qcow2-overlap.h"

/* Entries of an L1 table that are looked at together: the largest table has 32 MiB. */
#define L1_PIECE (128 * 1024)
#define L1_RESERVED (~(QCOW2_L1_OFFSET_MASK | QCOW2_OFLAG_COPIED))
/* Bit 0 is the zero flag, which extended entries do not have, but readers ignore it there. */
#define L2_RESERVED UINT64_C(0x3f000000000001fe)

/*
 * The part of a region behind the end: neither new refcount structures, which make the file longer, nor data
 * that is written later must get there. A place far away is of no interest before the file has doubled.
 */
static int note_beyond(Qcow2Check *c, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t end = c->file_bytes >> s->cluster_bits, limit = 2 * end + 64;
    uint64_t from = offset < c->file_bytes ? DIV_ROUND_UP(c->file_bytes, s->cluster_size) : end;
    uint64_t first = offset >> s->cluster_bits, span = MIN(bytes, limit << s->cluster_bits);
    uint64_t last = first + ((qcow2_in_cluster(s, offset) + span - 1) >> s->cluster_bits);
    int ret = 0;

    for (uint64_t i = MAX(first, from); i <= last && i < limit && ret == 0; i++) {
        ret = qcow2_refmap_add(&c->beyond, i);
        c->beyond_end = MAX(c->beyond_end, i + 1);
    }
    return ret;
}

/* A damaged offset may be so large that the end of the region wraps around. The last cluster may be cut short. */
static bool is_in_file(const Qcow2Check *c, uint64_t offset, uint64_t bytes)
{
    uint64_t limit = c->file_bytes + ((BDRVQcow2State *)c->bs->opaque)->cluster_size;

    return bytes < limit && offset < limit - bytes;
}

/* Of a region that begins with a cluster: those that are counted. */
static uint64_t counted_clusters(const Qcow2Check *c, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = c->bs->opaque;

    if (!is_in_file(c, offset, bytes)) {
        bytes = offset < c->file_bytes ? c->file_bytes - offset : 0;
    }
    return DIV_ROUND_UP(bytes, s->cluster_size);
}

int coroutine_fn qcow2_check_count(Qcow2Check *c, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t last;
    int ret = 0;

    if (bytes == 0) {
        return 0;
    }
    if (!is_in_file(c, offset, bytes)) {
        qcow2_check_say("ERROR: counting reference for region exceeding the end of the file by"
                        " one cluster or more: offset 0x%" PRIx64 " size 0x%" PRIx64,
                        offset, bytes);
        c->r->corruptions++;
        ret = note_beyond(c, offset, bytes);
        if (ret < 0 || offset >= c->file_bytes) {
            return ret;
        }
        bytes = c->file_bytes - offset; /* what there is of it is in use */
    }
    last = (offset + bytes - 1) >> s->cluster_bits;
    c->nb_clusters = MAX(c->nb_clusters, last + 1);
    for (uint64_t i = offset >> s->cluster_bits; i <= last; i++) {
        if (qcow2_refmap_get(&c->map, i) >= qcow2_check_most(c)) {
            qcow2_check_say("ERROR: overflow cluster offset=0x%" PRIx64, i << s->cluster_bits);
            qcow2_check_say("Use qemu-img amend to increase the refcount entry width or qemu-img"
                            " convert to create a clean copy if the image cannot be opened for"
                            " writing");
            c->r->corruptions++;
        }
        ret = qcow2_refmap_add(&c->map, i);
        if (ret < 0) {
            c->r->check_errors++;
            return ret;
        }
    }
    return 0;
}

/* --- L2 entries --- */

typedef struct Table {
    uint64_t offset;
    bool active;
    bool astray;   /* not where a table can be: what is there may be something else's */
    bool hopeless; /* writing to it would hit something else: leave it */
} Table;

static int coroutine_fn check_compressed(Qcow2Check *c, const Table *t, unsigned index,
                                         const uint64_t word[2])
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t entry = word[0], start, bytes;

    if (entry & QCOW2_OFLAG_COPIED) {
        qcow2_check_say("ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for"
                        " compressed clusters", entry & ((UINT64_C(1) << s->csize_shift) - 1));
        entry &= ~QCOW2_OFLAG_COPIED;
        c->r->corruptions++;
    }
    if (s->external) {
        qcow2_check_say("ERROR compressed cluster %u with data file, entry=0x%" PRIx64, index,
                        entry);
        c->r->corruptions++;
        return 0;
    }
    if (word[1]) {
        qcow2_check_say("ERROR compressed cluster %u with non-zero subcluster allocation bitmap,"
                        " entry=0x%" PRIx64, index, entry);
        c->r->corruptions++; /* but readers do not mind */
    }
    qcow2_compressed_span(s, entry, &start, &bytes);
    if (t->active) {
        /* Streams begin and end anywhere: each counts as fragmented. */
        c->r->bfi.compressed_clusters++;
        c->r->bfi.allocated_clusters++;
        c->r->bfi.fragmented_clusters++;
    }
    return qcow2_check_count(c, start, bytes);
}

/* Makes an entry read as zeroes, without a cluster. False when that failed. */
static bool coroutine_fn entry_to_zeroes(Qcow2Check *c, Table *t, unsigned index)
{
    BDRVQcow2State *s = c->bs->opaque;
    Qcow2MetaKind kind = t->active ? QCOW2_META_L2 : QCOW2_META_INACTIVE_L2;
    uint64_t offset = t->offset + index * s->entry_words * 8ULL;
    uint64_t word[2] = { GUINT64_TO_BE(s->extended ? 0 : QCOW2_OFLAG_ZERO),
                         GUINT64_TO_BE(QCOW2_BITMAP_ALL_ZEROES) };
    int ret = qcow2_co_check_repair(c->bs, kind, offset, s->entry_words * 8);

    if (ret < 0) {
        qcow2_check_say("ERROR: Overlap check failed");
        t->hopeless = true;
    } else {
        ret = bdrv_co_pwrite(c->bs->file, offset, s->entry_words * 8, word, 0);
        if (ret < 0) {
            qcow2_check_say("ERROR: Failed to overwrite L2 table entry: %s", g_strerror(-ret));
        }
    }
    if (ret < 0) {
        c->r->check_errors++;
        return false;
    }
    c->r->corruptions--;
    c->r->corruptions_fixed++;
    return true;
}

static int coroutine_fn check_allocated(Qcow2Check *c, Table *t, unsigned index,
                                        const uint64_t word[2])
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t host = word[0] & QCOW2_L2_OFFSET_MASK;
    bool fix = (c->fix & BDRV_FIX_ERRORS) && !t->astray;
    bool has_data = s->extended ? word[1] & QCOW2_BITMAP_ALL_ALLOC : !(word[0] & QCOW2_OFLAG_ZERO);

    if ((word[1] >> 32) & word[1]) {
        qcow2_check_say("ERROR offset=%" PRIx64 ": Allocated cluster has corrupted subcluster"
                        " allocation bitmap", host);
        /* What it should say nobody knows: the cluster stays in use, the entry as is. */
        c->r->corruptions++;
    }
    if (qcow2_in_cluster(s, host)) {
        c->r->corruptions++;
        if (has_data) {
            qcow2_check_say("ERROR offset=%" PRIx64 ": Data cluster is not properly aligned; L2"
                            " entry corrupted.", host);
        } else {
            qcow2_check_say("%s offset=%" PRIx64 ": Preallocated cluster is not properly aligned;"
                            " L2 entry corrupted.", fix ? "Repairing" : "ERROR", host);
            if (fix && (entry_to_zeroes(c, t, index) || t->hopeless)) {
                return 0;
            }
        }
    }
    if (t->active) {
        c->r->bfi.allocated_clusters++;
        if (c->next_host && host != c->next_host) {
            c->r->bfi.fragmented_clusters++;
        }
        c->next_host = host + s->cluster_size;
    }
    return s->external ? 0 : qcow2_check_count(c, host, s->cluster_size);
}

static int coroutine_fn check_l2_entry(Qcow2Check *c, Table *t, unsigned index,
                                       const uint64_t word[2])
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t host = word[0] & QCOW2_L2_OFFSET_MASK;

    if (word[0] & QCOW2_OFLAG_COMPRESSED) {
        return check_compressed(c, t, index, word);
    }
    if (word[0] & L2_RESERVED) {
        qcow2_check_say("ERROR found l2 entry with reserved bits set: %" PRIx64, word[0]);
        c->r->corruptions++;
    }
    /* In an external file the cluster at offset 0 counts, and COPIED tells that it is there. */
    if (host || (s->external && (word[0] & QCOW2_OFLAG_COPIED))) {
        return check_allocated(c, t, index, word);
    }
    if (s->extended && (word[1] & QCOW2_BITMAP_ALL_ALLOC)) {
        qcow2_check_say("ERROR: Unallocated cluster has non-zero subcluster allocation map");
        c->r->corruptions++;
    }
    return 0;
}

static int coroutine_fn check_l2_table(Qcow2Check *c, uint64_t offset, bool active)
{
    BDRVQcow2State *s = c->bs->opaque;
    Table t = { .offset = offset, .active = active, .astray = qcow2_in_cluster(s, offset) };
    unsigned words = s->cluster_size / 8;
    int ret = 0;

    if (offset >= c->file_bytes || !qcow2_check_spend(c, s->cluster_size)) {
        return 0; /* nothing there: all zeroes */
    }
    ret = bdrv_co_pread(c->bs->file, offset, s->cluster_size, c->l2, 0);
    if (ret < 0) {
        qcow2_check_say("ERROR: I/O error in check_refcounts_l2");
        c->r->check_errors++;
        return ret;
    }
    c->next_host = 0;
    for (unsigned i = 0; i < words && ret == 0 && !t.hopeless; i += s->entry_words) {
        uint64_t word[2] = { GUINT64_FROM_BE(c->l2[i]),
                             s->extended ? GUINT64_FROM_BE(c->l2[i + 1]) : 0 };

        ret = word[0] | word[1] ? check_l2_entry(c, &t, i / s->entry_words, word) : 0;
    }
    return ret < 0 ? ret : t.hopeless ? -EIO : 0;
}

/* --- L1 tables --- */

static int coroutine_fn check_l1_entry(Qcow2Check *c, uint64_t entry, bool active)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t host = entry & QCOW2_L1_OFFSET_MASK;
    int ret;

    if (entry & L1_RESERVED) {
        qcow2_check_say("ERROR found L1 entry with reserved bits set: %" PRIx64, entry);
        c->r->corruptions++;
    }
    ret = qcow2_check_count(c, host, s->cluster_size);
    if (ret < 0) {
        return ret;
    }
    if (qcow2_in_cluster(s, host)) {
        qcow2_check_say("ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry"
                        " corrupted", host);
        c->r->corruptions++;
    }
    return check_l2_table(c, host, active);
}

static int coroutine_fn check_l1_piece(Qcow2Check *c, uint64_t offset, uint64_t *l1, uint32_t entries,
                                       bool active)
{
    int ret = bdrv_co_pread(c->bs->file, offset, entries * 8ULL, l1, 0);

    if (ret < 0) {
        qcow2_check_say("ERROR: I/O error in check_refcounts_l1");
        c->r->check_errors++;
    }
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        if (l1[i]) {
            ret = check_l1_entry(c, GUINT64_FROM_BE(l1[i]), active);
        }
        qcow2_check_progress(c, l1[i] || !active);
    }
    return ret;
}

int coroutine_fn qcow2_check_l1(Qcow2Check *c, uint64_t offset, uint32_t entries, bool active)
{
    uint64_t bytes = entries * 8ULL;
    g_autofree uint64_t *l1 = NULL;
    int ret;

    if (!entries) {
        return 0;
    }
    if (offset < c->file_bytes && !qcow2_check_spend(c, bytes)) {
        return 0;
    }
    ret = qcow2_check_count(c, offset, bytes);
    if (ret < 0 || offset >= c->file_bytes) {
        return ret;
    }
    l1 = g_try_new(uint64_t, MIN(entries, L1_PIECE));
    if (!l1) {
        c->r->check_errors++;
        return -ENOMEM;
    }
    for (uint32_t i = 0, n; i < entries && ret == 0; i += n) {
        n = MIN(entries - i, L1_PIECE);
        ret = check_l1_piece(c, offset + i * 8ULL, l1, n, active);
    }
    return ret;
}

static int coroutine_fn walk_snapshots(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret = 0;

    if (s->external && c->snapshots->len) {
        qcow2_check_say("ERROR %u snapshots in image with data file", c->snapshots->len);
        c->r->corruptions++;
    }
    for (guint i = 0; i < c->snapshots->len && ret == 0; i++) {
        const Qcow2CheckSnapshot *sn = c->snapshots->pdata[i];

        if (qcow2_in_cluster(s, sn->l1_table_offset)) {
            qcow2_check_say("ERROR snapshot %s (%s) l1_offset=%#" PRIx64 ": L1 table is not"
                            " cluster aligned; snapshot table entry corrupted", sn->id, sn->name,
                            sn->l1_table_offset);
            c->r->corruptions++;
        } else if (sn->l1_size > QCOW2_MAX_L1_BYTES / 8) {
            qcow2_check_say("ERROR snapshot %s (%s) l1_size=%#" PRIx32 ": L1 table is too large;"
                            " snapshot table entry corrupted", sn->id, sn->name, sn->l1_size);
            c->r->corruptions++;
        } else {
            ret = qcow2_check_l1(c, sn->l1_table_offset, sn->l1_size, false);
        }
    }
    c->snapshots_clusters = counted_clusters(c, c->snapshots_offset, c->snapshots_bytes);
    return ret == 0 ? qcow2_check_count(c, c->snapshots_offset, c->snapshots_bytes) : ret;
}

/* --- refcount structures --- */

/* A block behind the end: the file is made long enough for it, which leaves it empty. */
static int coroutine_fn extend_for_block(Qcow2Check *c, uint64_t offset, Error **errp)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t end = offset + s->cluster_size;
    int64_t length;
    int ret;

    if (offset > (uint64_t)INT64_MAX - s->cluster_size) {
        return -EINVAL; /* the sum may have wrapped around */
    }
    if (DIV_ROUND_UP(end, s->cluster_size) > INT_MAX) {
        error_setg(errp, "Could not resize file: %s", g_strerror(EFBIG));
        ret = -EFBIG; /* more than can be checked */
    } else {
        ret = bdrv_co_truncate(c->bs->file, end, false, PREALLOC_MODE_OFF, 0, errp);
    }
    if (ret < 0) {
        return ret;
    }
    length = bdrv_co_getlength(c->bs->file->bs);
    if (length < (int64_t)end) {
        return length < 0 ? length : -EINVAL;
    }
    c->file_bytes = length;
    c->nb_clusters = DIV_ROUND_UP((uint64_t)length, s->cluster_size);
    s->rc.file_end = MAX(s->rc.file_end, end);
    s->rc.zero_from = MAX(s->rc.zero_from, end);
    return 0;
}

static bool is_outside(const Qcow2Check *c, uint64_t host)
{
    const BDRVQcow2State *s = c->bs->opaque;

    return host >> s->cluster_bits >= c->nb_clusters;
}

/*
 * Before anything is counted, as what lies within the longer file counts. What cannot be done is told when it
 * is the block's turn.
 */
static void coroutine_fn extend_for_blocks(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    const uint64_t before = c->nb_clusters;

    for (uint64_t i = 0; i < s->rc.entries; i++) {
        uint64_t host = s->rc.table[i];

        if (!(host & ~QCOW2_REFTABLE_OFFSET_MASK) && !qcow2_in_cluster(s, host) &&
            is_outside(c, host) && extend_for_block(c, host, NULL) == 0) {
            c->outside_from = before;
        }
    }
}

static int coroutine_fn count_block(Qcow2Check *c, uint64_t index, uint64_t host)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret = qcow2_check_count(c, host, s->cluster_size);
    uint32_t references = qcow2_refmap_get(&c->map, host >> s->cluster_bits);

    if (ret == 0 && references != 1) {
        qcow2_check_say("ERROR refcount block %" PRIu64 " refcount=%" PRIu32, index, references);
        c->r->corruptions++;
        c->rebuild = true;
    }
    return ret;
}

/* What is to be said and done of a block that was outside when the check began. */
static int coroutine_fn check_outside_block(Qcow2Check *c, uint64_t index, uint64_t host)
{
    Error *err = NULL;
    int ret = 0;

    qcow2_check_say("%s refcount block %" PRIu64 " is outside image", qcow2_check_verb(c), index);
    if (!(c->fix & BDRV_FIX_ERRORS)) {
        c->r->corruptions++;
        return 0;
    }
    if (is_outside(c, host)) {
        ret = extend_for_block(c, host, &err);
    }
    if (ret < 0) {
        if (err) {
            error_report_err(err);
        }
        qcow2_check_say("ERROR could not resize image: %s", g_strerror(-ret));
        c->r->corruptions++;
        c->rebuild = true;
        return 0;
    }
    c->r->corruptions_fixed++;
    return count_block(c, index, host);
}

/* The entry is not 0. */
static int coroutine_fn check_refblock(Qcow2Check *c, uint64_t index)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t entry = s->rc.table[index], host = entry & QCOW2_REFTABLE_OFFSET_MASK;

    if (entry & ~QCOW2_REFTABLE_OFFSET_MASK) {
        qcow2_check_say("ERROR refcount table entry %" PRIu64 " has reserved bits set", index);
        c->r->corruptions++;
        c->rebuild = true;
        return 0;
    }
    if (qcow2_in_cluster(s, host)) {
        qcow2_check_say("ERROR refcount block %" PRIu64 " is not cluster aligned; refcount table"
                        " entry corrupted", index);
        c->r->corruptions++;
        c->rebuild = true;
        return 0;
    }
    if (is_outside(c, host) || (c->outside_from && host >> s->cluster_bits >= c->outside_from)) {
        return check_outside_block(c, index, host);
    }
    return count_block(c, index, host);
}

int coroutine_fn qcow2_check_walk(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret;

    c->outside_from = 0;
    if (c->fix & BDRV_FIX_ERRORS) {
        extend_for_blocks(c);
    }
    ret = qcow2_check_count(c, 0, s->cluster_size); /* the header */
    if (ret == 0) {
        ret = qcow2_check_l1(c, s->l1_table_offset, s->l1_size, true);
    }
    if (ret == 0) {
        ret = walk_snapshots(c);
    }
    if (ret == 0) {
        ret = qcow2_check_count(c, s->rc.table_offset, s->rc.entries * 8);
    }
    if (ret == 0) {
        ret = qcow2_check_bitmaps(c);
    }
    for (uint64_t i = 0; i < s->rc.entries && ret == 0; i++) {
        ret = s->rc.table[i] ? check_refblock(c, i) : 0;
    }
    return ret;
}
