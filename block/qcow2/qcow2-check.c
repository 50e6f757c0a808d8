/* SPDX-License-Identifier: MIT */
/*
 * The walk over all structures. It trusts nothing: an offset that is not aligned or lies behind
 * the end of the file is a finding and is not followed, and a table that one L1 table
 * refers to twice is walked once, so the time is bounded by what the file holds.
 */
#include "qcow2-check.h"

#include "../node.h" /* co_call(), bdrv_getlength() */
#include "qcow2-check-walk.h"
#include "qcow2-header-io.h"
#include "qcow2-map.h"
#include "qcow2-snapshot.h"

void qcow2_check_say(Qcow2Check *c, const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list ap;

    if (c->report) {
        va_start(ap, fmt);
        line = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        c->report(c->opaque, line);
    }
}

/* Counts a reference to each cluster that @bytes from @offset on touch. */
static int count_range(Qcow2Check *c, const char *what, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;
    int ret = 0;

    if (bytes == 0) {
        return 0;
    }
    if (offset >> s->cluster_bits >= c->file_clusters || last > c->file_clusters + 512) {
        qcow2_check_say(c, "ERROR: counting reference for region exceeding the end of the file by"
                        " one cluster or more: offset 0x%" PRIx64 " size 0x%" PRIx64 " (%s)",
                        offset, bytes, what);
        c->r->corruptions++;
        return 0;
    }
    for (uint64_t i = offset >> s->cluster_bits; i <= last && ret == 0; i++) {
        ret = qcow2_refmap_add(&c->map, i);
    }
    return ret;
}

static bool aligned(Qcow2Check *c, const char *what, uint64_t offset)
{
    BDRVQcow2State *s = c->bs->opaque;

    if (qcow2_in_cluster(s, offset)) {
        qcow2_check_say(c, "ERROR %s offset=%" PRIx64 " is not cluster aligned", what, offset);
        c->r->corruptions++;
        return false;
    }
    return true;
}

static void count_statistics(Qcow2Check *c, uint64_t host)
{
    BDRVQcow2State *s = c->bs->opaque;

    c->r->allocated_clusters++;
    if (c->next_host && host != c->next_host) {
        c->r->fragmented_clusters++;
    }
    c->next_host = host + s->cluster_size;
}

static int check_compressed(Qcow2Check *c, uint64_t entry, bool active)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t start, bytes;

    if (entry & QCOW2_OFLAG_COPIED) {
        qcow2_check_say(c, "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for"
                        " compressed clusters", entry & ((UINT64_C(1) << s->csize_shift) - 1));
        c->r->corruptions++;
    }
    if (s->external) {
        qcow2_check_say(c, "ERROR compressed cluster with data file, entry=0x%" PRIx64, entry);
        c->r->corruptions++;
        return 0;
    }
    qcow2_compressed_span(s, entry, &start, &bytes);
    if (active) {
        c->r->compressed_clusters++;
        c->r->allocated_clusters++;
        /* Streams begin and end anywhere: each counts as fragmented, as for qemu-img. */
        c->r->fragmented_clusters++;
    }
    return count_range(c, "compressed cluster", start, bytes);
}

static bool entry_is_legal(Qcow2Check *c, const uint64_t word[2])
{
    uint32_t alloc = word[1], zero = word[1] >> 32;
    uint64_t host = word[0] & QCOW2_L2_OFFSET_MASK;
    BDRVQcow2State *s = c->bs->opaque;
    bool ok = !(alloc & zero) && !(alloc && !host && !s->external);

    if (!ok) {
        qcow2_check_say(c, "ERROR: L2 entry 0x%" PRIx64 " has an invalid subcluster bitmap 0x%"
                        PRIx64, word[0], word[1]);
        c->r->corruptions++;
    }
    return ok;
}

static int check_l2_entry(Qcow2Check *c, const uint64_t word[2], bool active)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t host = word[0] & QCOW2_L2_OFFSET_MASK;

    if (word[0] & QCOW2_OFLAG_COMPRESSED) {
        return check_compressed(c, word[0], active);
    }
    if (s->extended && !entry_is_legal(c, word)) {
        return 0;
    }
    if (!host) {
        return 0;
    }
    if (!aligned(c, "Data cluster", host)) {
        return 0;
    }
    if (active) {
        count_statistics(c, host);
    }
    return s->external ? 0 : count_range(c, "data cluster", host, s->cluster_size);
}

static int coroutine_fn check_l2_table(Qcow2Check *c, uint64_t offset, bool active)
{
    BDRVQcow2State *s = c->bs->opaque;
    unsigned words = s->cluster_size / 8;
    int ret = bdrv_co_pread(c->bs->file, offset, s->cluster_size, c->l2, 0);

    if (ret < 0) {
        qcow2_check_say(c, "ERROR: I/O error in check_refcounts_l2");
        c->r->check_errors++;
        return 0;
    }
    c->next_host = 0;
    for (unsigned i = 0; i < words && ret == 0; i += s->entry_words) {
        uint64_t word[2] = { GUINT64_FROM_BE(c->l2[i]),
                             s->extended ? GUINT64_FROM_BE(c->l2[i + 1]) : 0 };

        ret = check_l2_entry(c, word, active);
    }
    return ret;
}

/* The entries of an L1 table, in host byte order. */
static int coroutine_fn check_l1(Qcow2Check *c, const uint64_t *l1, uint32_t l1_size,
                                 bool active)
{
    BDRVQcow2State *s = c->bs->opaque;
    g_autoptr(GHashTable) seen = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_autofree uint64_t *keys = g_try_new(uint64_t, MAX(l1_size, 1U));
    int ret = keys ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < l1_size && ret == 0; i++) {
        keys[i] = l1[i] & QCOW2_L1_OFFSET_MASK;
        if (!keys[i]) {
            continue;
        }
        if (!aligned(c, "L2 table", keys[i])) {
            continue;
        }
        ret = count_range(c, "L2 table", keys[i], s->cluster_size);
        if (ret == 0 && !g_hash_table_add(seen, &keys[i])) {
            qcow2_check_say(c, "ERROR: L2 table at 0x%" PRIx64 " is referred to twice", keys[i]);
            c->r->corruptions++;
        } else if (ret == 0 && keys[i] >> s->cluster_bits < c->file_clusters) {
            ret = check_l2_table(c, keys[i], active);
        }
    }
    return ret;
}

static bool snapshot_l1_valid(Qcow2Check *c, const Qcow2Snapshot *sn)
{
    if (sn->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        qcow2_check_say(c, "ERROR snapshot %s (%s) l1_size=%#" PRIx32 ": L1 table is too large;"
                        " snapshot table entry corrupted", sn->id, sn->name, sn->l1_size);
    } else if (qcow2_in_cluster(c->bs->opaque, sn->l1_table_offset)) {
        qcow2_check_say(c, "ERROR snapshot %s (%s) l1_offset=%#" PRIx64 ": L1 table is not cluster"
                        " aligned; snapshot table entry corrupted", sn->id, sn->name,
                        sn->l1_table_offset);
    } else {
        return true;
    }
    c->r->corruptions++;
    return false;
}

static int coroutine_fn check_snapshots(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t bytes = 0;
    g_autoptr(GError) err = NULL;
    GArray *snapshots = qcow2_read_snapshots(c->bs, &s->hdr, &bytes, &err);
    int ret;

    if (!snapshots) {
        qcow2_check_say(c, "ERROR snapshot table: %s", error_get_pretty(err));
        c->r->corruptions++;
        return 0;
    }
    ret = count_range(c, "snapshot table", s->hdr.snapshots_offset, bytes);
    for (guint i = 0; i < snapshots->len && ret == 0; i++) {
        const Qcow2Snapshot *sn = &g_array_index(snapshots, Qcow2Snapshot, i);
        uint64_t l1_bytes = sn->l1_size * 8ULL;
        g_autofree uint64_t *l1 = NULL;

        if (!snapshot_l1_valid(c, sn)) {
            continue;
        }
        l1 = g_try_malloc(MAX(l1_bytes, (uint64_t)1));
        ret = l1 ? count_range(c, "snapshot L1 table", sn->l1_table_offset, l1_bytes) : -ENOMEM;
        if (ret < 0 || !l1_bytes || sn->l1_table_offset >> s->cluster_bits >= c->file_clusters) {
            continue;
        }
        if (bdrv_co_pread(c->bs->file, sn->l1_table_offset, l1_bytes, l1, 0) < 0) {
            c->r->check_errors++;
            continue;
        }
        for (uint32_t k = 0; k < sn->l1_size; k++) {
            l1[k] = GUINT64_FROM_BE(l1[k]);
        }
        ret = check_l1(c, l1, sn->l1_size, false);
    }
    qcow2_free_snapshots(snapshots);
    return ret;
}

/* --- bitmaps --- */

static int coroutine_fn check_bitmap_table(Qcow2Check *c, uint64_t offset, uint32_t entries)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t bytes = entries * 8ULL;
    g_autofree uint64_t *table = NULL;
    int ret;

    if (bytes > QCOW2_MAX_L1_BYTES || !aligned(c, "Bitmap table", offset)) {
        c->r->corruptions += bytes > QCOW2_MAX_L1_BYTES;
        return 0;
    }
    ret = count_range(c, "bitmap table", offset, bytes);
    table = g_try_malloc(MAX(bytes, (uint64_t)1));
    if (ret < 0 || !table) {
        return ret < 0 ? ret : -ENOMEM;
    }
    if (bytes && bdrv_co_pread(c->bs->file, offset, bytes, table, 0) < 0) {
        c->r->check_errors++;
        return 0;
    }
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t data = GUINT64_FROM_BE(table[i]) & QCOW2_BITMAP_OFFSET_MASK;

        if (data && aligned(c, "Bitmap data", data)) {
            ret = count_range(c, "bitmap data", data, s->cluster_size);
        }
    }
    return ret;
}

static int coroutine_fn check_bitmaps(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    const Qcow2DiskBitmapsExt *b = &s->hdr.bitmaps;
    g_autofree uint8_t *dir = NULL;
    uint64_t pos = 0;
    int ret;

    if (!(s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS)) {
        return 0;
    }
    ret = count_range(c, "bitmap directory", b->directory_offset, b->directory_size);
    dir = g_try_malloc(b->directory_size);
    if (ret < 0 || !dir) {
        return ret < 0 ? ret : -ENOMEM;
    }
    if (bdrv_co_pread(c->bs->file, b->directory_offset, b->directory_size, dir, 0) < 0) {
        c->r->check_errors++;
        return 0;
    }
    for (uint32_t i = 0; i < b->nb_bitmaps && ret == 0; i++) {
        const uint8_t *e = dir + pos;
        uint64_t left = b->directory_size - pos, length = sizeof(Qcow2DiskBitmapDirEntry);

        if (left >= length) {
            length += (uint64_t)qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry,
                                                        extra_data_size)) +
                      qcow2_be16(e + offsetof(Qcow2DiskBitmapDirEntry, name_size));
            length = ROUND_UP(length, UINT64_C(8));
        }
        if (left < length) {
            qcow2_check_say(c, "ERROR: bitmap directory entry %" PRIu32 " is too long", i);
            c->r->corruptions++;
            break;
        }
        ret = check_bitmap_table(c, qcow2_be64(e),
                                 qcow2_be32(e + offsetof(Qcow2DiskBitmapDirEntry, table_size)));
        pos += length;
    }
    return ret;
}

/* --- refcount structures, and all --- */

static int check_reftable(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret = count_range(c, "refcount table", s->rc.table_offset, s->rc.entries * 8);

    for (uint64_t i = 0; i < s->rc.entries && ret == 0; i++) {
        uint64_t block = s->rc.table[i] & QCOW2_REFTABLE_OFFSET_MASK;

        if (!block || !aligned(c, "refcount block", block)) {
            continue;
        }
        if (qcow2_refmap_get(&c->map, block >> s->cluster_bits)) {
            qcow2_check_say(c, "ERROR refcount block %" PRIu64 " at 0x%" PRIx64
                            " overlaps another structure", i, block);
            c->r->corruptions++;
        }
        ret = count_range(c, "refcount block", block, s->cluster_size);
    }
    return ret;
}

static int coroutine_fn walk(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret = count_range(c, "header", 0, s->cluster_size);

    if (ret == 0) {
        ret = count_range(c, "L1 table", s->l1_table_offset, s->l1_size * 8ULL);
    }
    if (ret == 0) {
        ret = check_l1(c, s->l1, s->l1_size, true);
    }
    if (ret == 0) {
        ret = check_snapshots(c);
    }
    if (ret == 0) {
        ret = check_bitmaps(c);
    }
    return ret == 0 ? check_reftable(c) : ret;
}

/* An image that has been repaired is neither dirty nor corrupt. */
static int coroutine_fn clear_marks(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT, old;
    int ret;

    old = s->hdr.incompatible_features;
    if (!(c->fix & QCOW2_FIX_ERRORS) || !(old & marks) || c->r->corruptions ||
        c->r->check_errors) {
        return 0;
    }
    s->hdr.incompatible_features &= ~marks;
    ret = qcow2_co_write_header_features(c->bs);
    if (ret == 0) {
        ret = bdrv_co_flush(c->bs->file->bs);
    }
    if (ret < 0) {
        s->hdr.incompatible_features = old;
    }
    return ret;
}

int coroutine_fn qcow2_co_check(BlockDriverState *bs, Qcow2CheckResult *result, unsigned fix,
                                Qcow2CheckReport *report, void *opaque)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Check c = { .bs = bs, .r = result, .fix = fix, .report = report, .opaque = opaque };
    int64_t length = bdrv_co_getlength(bs->file->bs);
    int ret;

    memset(result, 0, sizeof(*result));
    if (length < 0) {
        return length;
    }
    c.file_clusters = DIV_ROUND_UP((uint64_t)length, s->cluster_size);
    c.l2 = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    if (!c.l2) {
        return -ENOMEM;
    }
    result->total_clusters = DIV_ROUND_UP(s->size, s->cluster_size);
    qcow2_refmap_init(&c.map);
    ret = walk(&c);
    if (ret == 0) {
        ret = qcow2_check_compare(&c);
    }
    if (ret == 0) {
        ret = clear_marks(&c);
    }
    result->image_end_offset = c.used_end << s->cluster_bits;
    qcow2_refmap_destroy(&c.map);
    qemu_vfree(c.l2);
    return ret;
}

typedef struct CheckCall {
    CoCall call;
    BlockDriverState *bs;
    Qcow2CheckResult *result;
    unsigned fix;
    Qcow2CheckReport *report;
    void *opaque;
} CheckCall;

static void coroutine_fn check_entry(CoCall *call)
{
    CheckCall *cc = container_of(call, CheckCall, call);

    call->ret = qcow2_co_check(cc->bs, cc->result, cc->fix, cc->report, cc->opaque);
}

int qcow2_check(BlockDriverState *bs, Qcow2CheckResult *result, unsigned fix,
                Qcow2CheckReport *report, void *opaque)
{
    CheckCall cc = { .call.fn = check_entry, .bs = bs, .result = result, .fix = fix,
                     .report = report, .opaque = opaque };

    return co_call(&cc.call);
}
