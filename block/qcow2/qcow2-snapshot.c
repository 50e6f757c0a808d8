/* SPDX-License-Identifier: MIT */
/*
 * Entries have no fixed length, so the table is read in steps; its length is bounded as a
 * whole, and memory grows with what has been read rather than with what a count promises.
 */
#include "qcow2-snapshot.h"

#include "block/block-image.h"

static void clear_snapshot(gpointer data)
{
    Qcow2Snapshot *sn = data;

    g_free(sn->id);
    g_free(sn->name);
}

void qcow2_free_snapshots(GArray *snapshots)
{
    if (snapshots) {
        g_array_free(snapshots, true);
    }
}

static int read_at(BlockDriverState *bs, uint64_t offset, void *buf, size_t bytes)
{
    return bytes ? bdrv_pread(bs->file, offset, bytes, buf, 0) : 0;
}

static char *read_string(BlockDriverState *bs, uint64_t offset, size_t bytes, int *ret)
{
    char *text = g_malloc0(bytes + 1);

    *ret = read_at(bs, offset, text, bytes);
    return text;
}

static int check_snapshot(const Qcow2Header *h, const Qcow2Snapshot *sn, unsigned i,
                          uint32_t extra, Error **errp)
{
    if (extra > QCOW2_MAX_SNAPSHOT_EXTRA) {
        error_setg(errp, "Snapshot table entry %u: extra_data_size %" PRIu32 " is too large", i,
                   extra);
        return -EFBIG;
    }
    if (sn->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        error_setg(errp, "Snapshot table entry %u: l1_size %" PRIu32 " is too large", i,
                   sn->l1_size);
        return -EFBIG;
    }
    if (sn->l1_size && (sn->l1_table_offset & ((UINT64_C(1) << h->cluster_bits) - 1) ||
                        sn->l1_table_offset > INT64_MAX - QCOW2_MAX_L1_BYTES)) {
        error_setg(errp, "Snapshot table entry %u: l1_table_offset 0x%" PRIx64 " is invalid", i,
                   sn->l1_table_offset);
        return -EINVAL;
    }
    return 0;
}

/* Reads entry @i at *@offset and moves that behind it. */
static int read_snapshot(BlockDriverState *bs, const Qcow2Header *h, unsigned i,
                         uint64_t *offset, Qcow2Snapshot *sn, Error **errp)
{
    Qcow2DiskSnapshot d;
    Qcow2DiskSnapshotExtra x = { 0 };
    uint32_t extra;
    uint16_t id_size, name_size;
    int ret = read_at(bs, *offset, &d, sizeof(d));

    memset(sn, 0, sizeof(*sn));
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read the snapshot table");
        return ret;
    }
    sn->l1_table_offset = GUINT64_FROM_BE(d.l1_table_offset);
    sn->l1_size = GUINT32_FROM_BE(d.l1_size);
    sn->date_sec = GUINT32_FROM_BE(d.date_sec);
    sn->date_nsec = GUINT32_FROM_BE(d.date_nsec);
    sn->vm_clock_nsec = GUINT64_FROM_BE(d.vm_clock_nsec);
    sn->vm_state_size = GUINT32_FROM_BE(d.vm_state_size);
    sn->disk_size = h->size;
    extra = GUINT32_FROM_BE(d.extra_data_size);
    id_size = GUINT16_FROM_BE(d.id_str_size);
    name_size = GUINT16_FROM_BE(d.name_size);
    ret = check_snapshot(h, sn, i, extra, errp);
    if (ret < 0) {
        return ret;
    }
    *offset += sizeof(d);
    ret = read_at(bs, *offset, &x, MIN(sizeof(x), (size_t)extra));
    if (extra >= 8) {
        sn->vm_state_size = GUINT64_FROM_BE(x.vm_state_size);
    }
    if (extra >= 16) {
        sn->disk_size = GUINT64_FROM_BE(x.disk_size);
    }
    if (ret == 0) {
        sn->id = read_string(bs, *offset + extra, id_size, &ret);
    }
    if (ret == 0) {
        sn->name = read_string(bs, *offset + extra + id_size, name_size, &ret);
    }
    if (ret < 0) {
        clear_snapshot(sn);
        error_setg_errno(errp, -ret, "Could not read the snapshot table");
        return ret;
    }
    *offset = ROUND_UP(*offset + extra + id_size + name_size, UINT64_C(8));
    return 0;
}

GArray *qcow2_read_snapshots(BlockDriverState *bs, const Qcow2Header *h, uint64_t *bytes,
                             Error **errp)
{
    GArray *snapshots = g_array_new(false, false, sizeof(Qcow2Snapshot));
    int64_t length = bdrv_getlength(bs->file->bs);
    uint64_t offset = h->snapshots_offset;

    g_array_set_clear_func(snapshots, clear_snapshot);
    for (unsigned i = 0; i < h->nb_snapshots; i++) {
        Qcow2Snapshot sn;

        if (length < 0 || offset >= (uint64_t)length) {
            error_setg(errp, "Snapshot table entry %u lies beyond the end of the file", i);
            goto fail;
        }
        if (read_snapshot(bs, h, i, &offset, &sn, errp) < 0) {
            goto fail;
        }
        g_array_append_val(snapshots, sn);
        if (offset - h->snapshots_offset > QCOW2_MAX_SNAPSHOT_TABLE) {
            error_setg(errp, "Snapshot table is too large");
            goto fail;
        }
    }
    *bytes = h->nb_snapshots ? offset - h->snapshots_offset : 0;
    return snapshots;

fail:
    g_array_free(snapshots, true);
    return NULL;
}
