/* SPDX-License-Identifier: MIT */
/*
 * Entries have no fixed length; the table's is bounded as a whole, and memory grows with what has
 * been read rather than with what a count promises.
 */
#include "qcow2-snapshot.h"

#include "block/block-image.h"

#include "qcow2-snapshot-reader.h"

/* --- the list --- */

static void clear_snapshot(gpointer data)
{
    Qcow2Snapshot *sn = data;

    g_free(sn->id);
    g_free(sn->name);
    g_free(sn->unknown_extra);
}

void qcow2_free_snapshots(GArray *snapshots)
{
    if (snapshots) {
        g_array_free(snapshots, true);
    }
}

int qcow2_find_snapshot(const GArray *snapshots, const char *id, const char *name)
{
    for (guint i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *sn = qcow2_snapshot_at(snapshots, i);

        if ((!id || !strcmp(sn->id, id)) && (!name || !strcmp(sn->name, name))) {
            return i;
        }
    }
    return -1;
}

/* --- reading --- */

typedef struct TableReader {
    Qcow2SnapshotReader *file;
    uint64_t disk_size; /* of the image now */
    uint64_t start;     /* of the table */
    uint64_t pos;       /* in the table: of the next byte */
} TableReader;

static int take_bytes(TableReader *t, void *to, size_t bytes)
{
    int ret = qcow2_snapshot_reader_get(t->file, t->start + t->pos, to, bytes);

    t->pos += bytes;
    return ret;
}

static char *take_string(TableReader *t, size_t bytes, int *ret)
{
    char *text = g_malloc0(bytes + 1);

    *ret = take_bytes(t, text, bytes);
    return text;
}

/* The extra data is as old or as new as who wrote it. */
static int take_extra(TableReader *t, Qcow2Snapshot *sn)
{
    Qcow2DiskSnapshotExtra x;
    size_t known = MIN(sn->extra_size, sizeof(x));
    int ret = take_bytes(t, &x, known);

    sn->disk_size = t->disk_size;
    sn->icount = UINT64_MAX;
    if (ret == 0 && known >= 8) {
        sn->vm_state_size = GUINT64_FROM_BE(x.vm_state_size);
    }
    if (ret == 0 && known >= 16) {
        sn->disk_size = GUINT64_FROM_BE(x.disk_size);
    }
    if (ret == 0 && known >= 24) {
        sn->icount = GUINT64_FROM_BE(x.icount);
    }
    if (ret == 0 && sn->extra_size > sizeof(x)) {
        sn->unknown_extra = g_malloc(sn->extra_size - sizeof(x));
        ret = take_bytes(t, sn->unknown_extra, sn->extra_size - sizeof(x));
    }
    return ret;
}

/* -EFBIG: its extra data is larger than any that there is. */
static int take_snapshot(TableReader *t, Qcow2Snapshot *sn)
{
    Qcow2DiskSnapshot d;
    uint8_t padding[8];
    int ret = take_bytes(t, &d, sizeof(d));

    if (ret < 0) {
        return ret;
    }
    sn->l1_table_offset = GUINT64_FROM_BE(d.l1_table_offset);
    sn->l1_size = GUINT32_FROM_BE(d.l1_size);
    sn->date_sec = GUINT32_FROM_BE(d.date_sec);
    sn->date_nsec = GUINT32_FROM_BE(d.date_nsec);
    sn->vm_clock_nsec = GUINT64_FROM_BE(d.vm_clock_nsec);
    sn->vm_state_size = GUINT32_FROM_BE(d.vm_state_size);
    sn->extra_size = GUINT32_FROM_BE(d.extra_data_size);
    if (sn->extra_size > QCOW2_MAX_SNAPSHOT_EXTRA) {
        return -EFBIG;
    }
    ret = take_extra(t, sn);
    if (ret == 0) {
        sn->id = take_string(t, GUINT16_FROM_BE(d.id_str_size), &ret);
    }
    if (ret == 0) {
        sn->name = take_string(t, GUINT16_FROM_BE(d.name_size), &ret);
    }
    return ret < 0 ? ret : take_bytes(t, padding, -t->pos & 7);
}

static const char hint[] =
    "You can force-remove this extra metadata with qemu-img check -r all\n";

GArray *qcow2_read_snapshots(BlockDriverState *bs, const Qcow2Header *h, uint64_t *bytes,
                             Error **errp)
{
    g_autoptr(GArray) snapshots = g_array_new(false, false, sizeof(Qcow2Snapshot));
    g_autofree Qcow2SnapshotReader *file = NULL;
    TableReader t;
    int64_t length;

    *bytes = 0;
    g_array_set_clear_func(snapshots, clear_snapshot);
    if (h->nb_snapshots == 0) {
        return g_steal_pointer(&snapshots);
    }
    /* An image that is opened for a check may have any number. */
    if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS) {
        error_setg(errp, "Snapshot table too large");
        return NULL;
    }
    length = bdrv_getlength(bs->file->bs);
    file = qcow2_snapshot_reader_new(bs, MAX(length, 0));
    t = (TableReader){ .file = file, .disk_size = ((BDRVQcow2State *)bs->opaque)->size,
                       .start = h->snapshots_offset };
    for (unsigned i = 0; i < h->nb_snapshots; i++) {
        Qcow2Snapshot sn = { 0 };
        int ret = length < 0 ? (int)length : take_snapshot(&t, &sn);

        g_array_append_val(snapshots, sn); /* freed with the rest, whatever it holds */
        if (ret == -EFBIG) {
            error_setg(errp, "Too much extra metadata in snapshot table entry %u", i);
            error_append_hint(errp, "%s", hint);
            return NULL;
        }
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Failed to read snapshot table");
            return NULL;
        }
        if (t.pos > QCOW2_MAX_SNAPSHOT_TABLE) {
            error_setg(errp, "Snapshot table is too big");
            return NULL;
        }
    }
    *bytes = t.pos;
    return g_steal_pointer(&snapshots);
}

/* --- its L1 table --- */

bool qcow2_snapshot_l1_valid(const BDRVQcow2State *s, const Qcow2Snapshot *sn, Error **errp)
{
    if (sn->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        error_setg(errp, "Snapshot L1 table too large");
        return false;
    }
    if (qcow2_in_cluster(s, sn->l1_table_offset) ||
        sn->l1_table_offset > QCOW2_MAX_HOST_OFFSET - QCOW2_MAX_L1_BYTES) {
        error_setg(errp, "Snapshot L1 table offset invalid");
        return false;
    }
    return true;
}

int qcow2_snapshot_l1_error(const Qcow2Snapshot *sn)
{
    return sn->l1_size > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : -EINVAL;
}

int qcow2_read_snapshot_l1(BlockDriverState *bs, const Qcow2Snapshot *sn, uint64_t entries,
                           uint64_t **l1)
{
    g_autofree uint64_t *table = NULL;
    int ret = 0;

    entries = MAX(entries, sn->l1_size);
    table = g_try_new0(uint64_t, MAX(entries, (uint64_t)1));
    if (!table) {
        return -ENOMEM;
    }
    if (sn->l1_size) {
        ret = bdrv_pread(bs->file, sn->l1_table_offset, sn->l1_size * 8ULL, table, 0);
    }
    for (uint32_t i = 0; i < sn->l1_size; i++) {
        table[i] = GUINT64_FROM_BE(table[i]);
    }
    *l1 = ret == 0 ? g_steal_pointer(&table) : NULL;
    return ret;
}

/* --- for users --- */

int coroutine_fn qcow2_snapshot_list(BlockDriverState *bs, QEMUSnapshotInfo **psn_info)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes;
    g_autoptr(GArray) snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, NULL);

    if (!snapshots) {
        return -EIO;
    }
    *psn_info = g_try_new0(QEMUSnapshotInfo, MAX(snapshots->len, 1U));
    if (!*psn_info) {
        return -ENOMEM;
    }
    for (guint i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *sn = qcow2_snapshot_at(snapshots, i);
        QEMUSnapshotInfo *info = &(*psn_info)[i];

        g_strlcpy(info->id_str, sn->id, sizeof(info->id_str));
        g_strlcpy(info->name, sn->name, sizeof(info->name));
        info->vm_state_size = sn->vm_state_size;
        info->date_sec = sn->date_sec;
        info->date_nsec = sn->date_nsec;
        info->vm_clock_nsec = sn->vm_clock_nsec;
        info->icount = sn->icount;
    }
    return snapshots->len;
}
