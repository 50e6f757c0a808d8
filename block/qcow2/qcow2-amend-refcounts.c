/* SPDX-License-Identifier: MIT */
/*
 * Another width of refcounts takes a whole new set of refcount blocks and a new table. They are
 * put behind everything that is in use, count themselves but no longer the old ones, and
 * are durable before one write of a sector makes the header point to them and say the new
 * width. Until then nothing refers to them, afterwards nothing refers to the old ones.
 */
#include "qcow2-amend.h"

#include "qcow2-file-end.h"
#include "qcow2-header-io.h"
#include "qcow2-overlap.h"
#include "qcow2-refblock.h"
#include "qcow2-refcount.h"
#include "qcow2-writeback.h"

typedef struct Rebuild {
    BlockDriverState *bs;
    unsigned order;             /* the new one */
    uint64_t per_block;         /* counters */
    uint64_t start;             /* clusters: the table, then the blocks */
    uint64_t clusters, blocks;  /* of the table; in number */
    uint64_t *table;            /* host byte order */
} Rebuild;

static int plan(Rebuild *r)
{
    const BDRVQcow2State *s = r->bs->opaque;
    uint64_t before;

    r->per_block = (uint64_t)s->cluster_size * 8 >> r->order;
    r->clusters = r->blocks = 1;
    do {
        before = r->blocks;
        r->blocks = DIV_ROUND_UP(r->start + r->clusters + r->blocks, r->per_block);
        r->clusters = DIV_ROUND_UP(r->blocks * 8, s->cluster_size);
    } while (r->blocks != before);
    if (r->clusters << s->cluster_bits > QCOW2_MAX_REFTABLE_BYTES ||
        r->start + r->clusters + r->blocks > QCOW2_MAX_HOST_OFFSET >> s->cluster_bits) {
        return -EFBIG;
    }
    r->table = g_try_new0(uint64_t, r->clusters * (s->cluster_size / 8));
    return r->table ? 0 : -ENOMEM;
}

static uint64_t largest(unsigned order)
{
    return order == 6 ? UINT64_MAX : (UINT64_C(1) << (1U << order)) - 1;
}

/* Under alloc_lock. The refcount that the cluster will have. */
static int coroutine_fn new_refcount(Rebuild *r, uint64_t cluster, uint64_t *value, Error **errp)
{
    BDRVQcow2State *s = r->bs->opaque;
    uint64_t end = r->start + r->clusters + r->blocks;
    Qcow2MetaKind kind;
    int ret;

    if (cluster >= r->start) {
        *value = cluster < end;
        return 0;
    }
    ret = qcow2_get_refcount(r->bs, cluster, value);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read a refcount");
        return ret;
    }
    kind = qcow2_map_get(s, cluster << s->cluster_bits);
    if (*value && (kind == QCOW2_META_REFTABLE || kind == QCOW2_META_REFBLOCK)) {
        --*value;
    }
    if (*value > largest(r->order)) {
        error_setg(errp, "Cannot decrease refcount entry width to %u bits: Cluster at offset 0x%"
                   PRIx64 " has a refcount of %" PRIu64, 1U << r->order,
                   cluster << s->cluster_bits, *value);
        return -EINVAL;
    }
    return 0;
}

/* Under alloc_lock. */
static int coroutine_fn fill_block(Rebuild *r, uint64_t index, uint8_t *block, Error **errp)
{
    const BDRVQcow2State *s = r->bs->opaque;

    memset(block, 0, s->cluster_size);
    for (uint64_t k = 0; k < r->per_block; k++) {
        uint64_t value;
        int ret = new_refcount(r, index * r->per_block + k, &value, errp);

        if (ret < 0) {
            return ret;
        }
        if (value) {
            qcow2_counter_set(r->order, block, k, value);
        }
    }
    return 0;
}

/* Under alloc_lock. Nothing refers to what is written here. */
static int coroutine_fn write_blocks(Rebuild *r, const Qcow2AmendProgress *progress, Error **errp)
{
    BDRVQcow2State *s = r->bs->opaque;
    QEMU_AUTO_VFREE uint8_t *block = qemu_try_blockalign(r->bs->file->bs, s->cluster_size);
    int ret = block ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < r->blocks && ret == 0; i++) {
        uint64_t at = (r->start + r->clusters + i) << s->cluster_bits;

        ret = fill_block(r, i, block, errp);
        if (ret < 0) {
            return ret;
        }
        r->table[i] = at;
        ret = bdrv_co_pwrite(r->bs->file, at, s->cluster_size, block, 0);
        qcow2_amend_done(progress, i + 1, r->blocks + 1);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write the new refcount blocks");
    }
    return ret;
}

static int coroutine_fn write_table(Rebuild *r)
{
    BDRVQcow2State *s = r->bs->opaque;
    uint64_t bytes = r->clusters << s->cluster_bits;
    QEMU_AUTO_VFREE uint64_t *raw = qemu_try_blockalign(r->bs->file->bs, bytes);
    int ret;

    if (!raw) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < bytes / 8; i++) {
        raw[i] = GUINT64_TO_BE(r->table[i]);
    }
    ret = bdrv_co_pwrite(r->bs->file, r->start << s->cluster_bits, bytes, raw, 0);
    return ret < 0 ? ret : bdrv_co_flush(r->bs->file->bs);
}

static int coroutine_fn switch_header_locked(Rebuild *r)
{
    BDRVQcow2State *s = r->bs->opaque;
    uint8_t sector[BDRV_SECTOR_SIZE];
    int ret = bdrv_co_pread(r->bs->file, 0, sizeof(sector), sector, 0);

    if (ret < 0) {
        return ret;
    }
    qcow2_put_be64(sector + offsetof(Qcow2DiskHeader, refcount_table_offset),
                   r->start << s->cluster_bits);
    qcow2_put_be32(sector + offsetof(Qcow2DiskHeader, refcount_table_clusters), r->clusters);
    qcow2_put_be32(sector + offsetof(Qcow2DiskHeader, refcount_order), r->order);
    return qcow2_co_switch_header(r->bs, 0, sizeof(sector), sector);
}

static int coroutine_fn switch_header(Rebuild *r)
{
    int ret = qcow2_co_header_lock(r->bs);

    if (ret == 0) {
        ret = switch_header_locked(r);
        qcow2_co_header_unlock(r->bs);
    }
    return ret;
}

/* Under alloc_lock. The new structures are in force. */
static void take_over(Rebuild *r)
{
    BDRVQcow2State *s = r->bs->opaque;
    Qcow2Refcounts *rc = &s->rc;

    qcow2_map_remove(s, QCOW2_META_REFTABLE, rc->table_offset, rc->entries * 8);
    for (uint64_t i = 0; i < rc->entries; i++) {
        uint64_t at = rc->table[i] & QCOW2_REFTABLE_OFFSET_MASK;

        if (at) {
            qcow2_map_remove(s, QCOW2_META_REFBLOCK, at, s->cluster_size);
        }
    }
    g_hash_table_remove_all(rc->blocks);
    g_free(rc->table);
    rc->table = g_steal_pointer(&r->table);
    rc->entries = r->clusters * (s->cluster_size / 8);
    rc->table_offset = r->start << s->cluster_bits;
    rc->table_dirty = false;
    rc->free_hint = 0;
    rc->cursor = 0;
    s->refcount_order = s->hdr.refcount_order = r->order;
    s->refblock_bits = s->cluster_bits + 3 - r->order;
    s->refcount_max = largest(r->order);
    qcow2_map_add(s, QCOW2_META_REFTABLE, rc->table_offset, rc->entries * 8);
    for (uint64_t i = 0; i < r->blocks; i++) {
        qcow2_map_add(s, QCOW2_META_REFBLOCK, rc->table[i], s->cluster_size);
    }
}

/* Under alloc_lock. The new structures become durable, and then the ones that count. */
static int coroutine_fn write_all(Rebuild *r, const Qcow2AmendProgress *progress, Error **errp)
{
    int ret = write_blocks(r, progress, errp);

    if (ret < 0) {
        return ret;
    }
    ret = write_table(r);
    if (ret == 0) {
        ret = switch_header(r);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write the new refcount structures");
    }
    return ret;
}

static int coroutine_fn rebuild_locked(Rebuild *r, const Qcow2AmendProgress *progress,
                                       Error **errp)
{
    BDRVQcow2State *s = r->bs->opaque;
    uint64_t count;
    int ret = qcow2_refcounts_used_end(r->bs, &r->start);

    if (ret == 0) {
        ret = plan(r);
    }
    count = r->clusters + r->blocks;
    if (ret == 0) {
        ret = qcow2_co_check_alloc(r->bs, NULL, r->start << s->cluster_bits,
                                   count << s->cluster_bits);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not plan the new refcount structures");
        return ret;
    }
    s->rc.zero_from = MAX(s->rc.zero_from, (r->start + count) << s->cluster_bits);
    ret = write_all(r, progress, errp);
    if (ret == 0) {
        take_over(r);
    } else if (!qatomic_read(&s->corrupt)) {
        qcow2_file_end_cut(r->bs); /* nothing refers to them */
    }
    return ret;
}

int coroutine_fn qcow2_co_change_refcount_order(BlockDriverState *bs, unsigned order,
                                                const Qcow2AmendProgress *progress, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Rebuild r = { .bs = bs, .order = order };
    int ret = qcow2_co_writeback_all(bs);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write the old refcounts out");
        return ret;
    }
    qemu_co_mutex_lock(&s->wb_lock);
    qemu_co_mutex_lock(&s->alloc_lock);
    ret = rebuild_locked(&r, progress, errp);
    qemu_co_mutex_unlock(&s->alloc_lock);
    qemu_co_mutex_unlock(&s->wb_lock);
    g_free(r.table);
    return ret;
}
