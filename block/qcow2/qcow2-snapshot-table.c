/* SPDX-License-Identifier: MIT */
/*
 * A new snapshot table. It is durable, with the refcounts of its place, before the header points
 * to it; so is the header before the old table's place is given up. A power cut leaves one table
 * or the other, and at worst a leak.
 *
 * Every entry is written with the extra data that is known today, however old it was, and with what
 * is not known behind that.
 */
#include "qcow2-snapshot.h"

#include "qcow2-header-io.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-writeback.h"

static void put16(GByteArray *to, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    g_byte_array_append(to, (const uint8_t *)&v, sizeof(v));
}

static void put32(GByteArray *to, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    g_byte_array_append(to, (const uint8_t *)&v, sizeof(v));
}

static void put64(GByteArray *to, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    g_byte_array_append(to, (const uint8_t *)&v, sizeof(v));
}

static void put_snapshot(GByteArray *to, const Qcow2Snapshot *sn)
{
    static const uint8_t zeroes[8];
    uint32_t known = sizeof(Qcow2DiskSnapshotExtra), extra = MAX(sn->extra_size, known);
    uint16_t id_size = strlen(sn->id), name_size = strlen(sn->name);

    g_byte_array_append(to, zeroes, -to->len & 7);
    put64(to, sn->l1_table_offset);
    put32(to, sn->l1_size);
    put16(to, id_size);
    put16(to, name_size);
    put32(to, sn->date_sec);
    put32(to, sn->date_nsec);
    put64(to, sn->vm_clock_nsec);
    /* Who reads this field does not know the larger one: better none than a part. */
    put32(to, sn->vm_state_size <= UINT32_MAX ? sn->vm_state_size : 0);
    put32(to, extra);
    put64(to, sn->vm_state_size);
    put64(to, sn->disk_size);
    put64(to, sn->icount);
    if (extra > known) {
        g_byte_array_append(to, sn->unknown_extra, extra - known);
    }
    g_byte_array_append(to, (const uint8_t *)sn->id, id_size);
    g_byte_array_append(to, (const uint8_t *)sn->name, name_size);
}

/* -EFBIG when the table would be longer than anybody reads. */
static int build_table(const GArray *snapshots, GByteArray *table)
{
    for (guint i = 0; i < snapshots->len; i++) {
        put_snapshot(table, qcow2_snapshot_at(snapshots, i));
        if (table->len > QCOW2_MAX_SNAPSHOT_TABLE) {
            return -EFBIG;
        }
    }
    return 0;
}

static int coroutine_fn write_table(BlockDriverState *bs, const GByteArray *table,
                                    uint64_t offset)
{
    int ret = qcow2_co_check_write(bs, QCOW2_META_SNAPSHOTS, offset, table->len);

    if (ret == 0) {
        ret = bdrv_co_pwrite(bs->file, offset, table->len, table->data, 0);
    }
    if (ret == 0) {
        ret = qcow2_co_writeback_locked(bs); /* the refcounts of its place */
    }
    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

/* A place for the table; 0 when it is empty. */
static int coroutine_fn place_table(BlockDriverState *bs, const GByteArray *table,
                                    uint64_t *offset)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t got;
    bool fresh;

    *offset = 0;
    if (table->len == 0) {
        return 0;
    }
    got = qcow2_co_alloc_clusters(bs, DIV_ROUND_UP(table->len, s->cluster_size), true, offset,
                                  &fresh);
    if (got < 0) {
        return got;
    }
    qcow2_map_add(s, QCOW2_META_SNAPSHOTS, *offset, table->len);
    return 0;
}

static void coroutine_fn forget_table(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;

    if (bytes) {
        qcow2_map_remove(s, QCOW2_META_SNAPSHOTS, offset, bytes);
        qcow2_co_unalloc(bs, offset, DIV_ROUND_UP(bytes, s->cluster_size));
    }
}

int coroutine_fn qcow2_co_replace_snapshots(BlockDriverState *bs, const GArray *snapshots)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t old_offset = s->hdr.snapshots_offset, old_bytes, offset = 0;
    g_autoptr(GByteArray) table = g_byte_array_new();
    g_autoptr(GArray) old = qcow2_read_snapshots(bs, &s->hdr, &old_bytes, NULL);
    int ret = old ? build_table(snapshots, table) : -EIO;

    if (ret == 0) {
        ret = place_table(bs, table, &offset);
    }
    if (ret < 0) {
        return ret;
    }
    ret = table->len ? write_table(bs, table, offset) : 0;
    if (ret == 0) {
        ret = qcow2_co_write_header_snapshots(bs, snapshots->len, offset);
    }
    if (ret < 0) {
        forget_table(bs, offset, table->len);
        return ret;
    }
    s->hdr.nb_snapshots = snapshots->len;
    s->hdr.snapshots_offset = offset;
    forget_table(bs, old_offset, old_bytes);
    return 0;
}
