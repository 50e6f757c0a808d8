/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table as a check sees it: entries are kept as the bytes that they should be, that
 * is, with all the fields of known extra data and at most so much of other extra data. A
 * repaired table goes to a new place; the old one is given up when the header points to
 * the new one.
 */
#include "qcow2-check-walk.h"

#include "qemu/error-report.h"

#include "qcow2-header-io.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot-reader.h"
#include "qcow2-writeback.h"

#define TABLE_BOUND (UINT64_C(1024) * QCOW2_MAX_SNAPSHOTS) /* bytes */

static int read_at(Qcow2SnapshotReader *r, uint64_t offset, void *buf, size_t bytes)
{
    int ret = qcow2_snapshot_reader_get(r, offset, buf, bytes);

    if (ret < 0) {
        error_report("ERROR failed to read the snapshot table: Failed to read snapshot table: %s",
                     g_strerror(-ret));
    }
    return ret;
}

/* The bytes that are right for the entry: header, extra data, id, name, no padding. */
static int coroutine_fn take_entry(Qcow2SnapshotReader *r, uint64_t offset,
                                   const Qcow2DiskSnapshot *d, uint32_t extra,
                                   Qcow2CheckSnapshot *sn)
{
    BDRVQcow2State *s = r->bs->opaque;
    uint32_t kept = MIN(extra, QCOW2_MAX_SNAPSHOT_EXTRA);
    uint32_t full = MAX(kept, (uint32_t)sizeof(Qcow2DiskSnapshotExtra));
    uint64_t id = qcow2_be16(&d->id_str_size), name = qcow2_be16(&d->name_size);
    size_t bytes = sizeof(*d) + full + id + name;
    uint8_t *p = g_malloc0(bytes), *x = p + sizeof(*d);
    int ret;

    memcpy(p, d, sizeof(*d));
    qcow2_put_be32(p + offsetof(Qcow2DiskSnapshot, extra_data_size), full);
    ret = read_at(r, offset + sizeof(*d), x, kept);
    if (ret == 0) {
        ret = read_at(r, offset + sizeof(*d) + extra, x + full, id + name);
    }
    if (kept < 8) {
        qcow2_put_be64(x, qcow2_be32(&d->vm_state_size));
    }
    if (kept < 16) {
        qcow2_put_be64(x + 8, s->size);
    }
    if (kept < sizeof(Qcow2DiskSnapshotExtra)) {
        qcow2_put_be64(x + 16, UINT64_MAX);
    }
    /* The strings end at a NUL, should they hold one. */
    sn->id = g_strndup((char *)x + full, id);
    sn->name = g_strndup((char *)x + full + id, name);
    memmove(x + full + strlen(sn->id), x + full + id, strlen(sn->name));
    qcow2_put_be16(p + offsetof(Qcow2DiskSnapshot, id_str_size), strlen(sn->id));
    qcow2_put_be16(p + offsetof(Qcow2DiskSnapshot, name_size), strlen(sn->name));
    bytes = sizeof(*d) + full + strlen(sn->id) + strlen(sn->name);
    sn->l1_table_offset = qcow2_be64(&d->l1_table_offset);
    sn->l1_size = qcow2_be32(&d->l1_size);
    sn->entry = g_bytes_new_take(p, bytes);
    return ret;
}

static int too_much_extra(Qcow2Check *c, guint i, uint32_t extra)
{
    if (c->fix & BDRV_FIX_ERRORS) {
        qcow2_check_say("Discarding too much extra metadata in snapshot table entry %u (%" PRIu32
                        " > %u)", i, extra, QCOW2_MAX_SNAPSHOT_EXTRA);
        c->snapshot_errors++;
        return 0;
    }
    error_report("ERROR failed to read the snapshot table: Too much extra metadata in snapshot"
                 " table entry %u", i);
    qcow2_check_say("You can force-remove this extra metadata with qemu-img check -r all");
    return -EFBIG;
}

/* Drops the entries from @i on. */
static int too_big(Qcow2Check *c, guint i, uint32_t nb)
{
    if (c->fix & BDRV_FIX_ERRORS) {
        qcow2_check_say("Discarding %u overhanging snapshots (snapshot table is too big)", nb - i);
        c->snapshot_errors += nb - i;
        return 0;
    }
    error_report("ERROR failed to read the snapshot table: Snapshot table is too big");
    qcow2_check_say("You can force-remove all %u overhanging snapshots with qemu-img check -r all",
                    nb - i);
    return -EFBIG;
}

/* Entries that version 3 calls too short; known when all have been read. */
static void find_incomplete(Qcow2Check *c, const GArray *extras)
{
    BDRVQcow2State *s = c->bs->opaque;

    for (guint i = 0; s->hdr.version >= 3 && i < c->snapshots->len; i++) {
        if (g_array_index(extras, uint32_t, i) < 16) {
            c->snapshot_errors++;
            qcow2_check_say("%s snapshot table entry %u is incomplete", qcow2_check_verb(c), i);
        }
    }
}

/* Completed entries are longer than they were: those that find no room in a table as it may be go. */
static void drop_what_does_not_fit(Qcow2Check *c)
{
    uint64_t bytes = 0;

    for (guint i = 0; i < c->snapshots->len; i++) {
        const Qcow2CheckSnapshot *sn = c->snapshots->pdata[i];

        bytes = ROUND_UP(bytes, UINT64_C(8)) + g_bytes_get_size(sn->entry);
        if (bytes > TABLE_BOUND) {
            too_big(c, i, c->snapshots->len);
            g_ptr_array_set_size(c->snapshots, i);
        }
    }
}

static int coroutine_fn read_entries(Qcow2Check *c, Qcow2SnapshotReader *r, uint32_t nb,
                                     GArray *extras)
{
    uint64_t offset = c->snapshots_offset;

    for (guint i = 0; i < nb; i++) {
        Qcow2CheckSnapshot *sn = g_new0(Qcow2CheckSnapshot, 1);
        Qcow2DiskSnapshot d;
        uint64_t end;
        uint32_t extra;
        int ret = read_at(r, offset, &d, sizeof(d));

        extra = qcow2_be32(&d.extra_data_size);
        if (ret == 0 && extra > QCOW2_MAX_SNAPSHOT_EXTRA) {
            ret = too_much_extra(c, i, extra);
        }
        if (ret == 0) {
            ret = take_entry(r, offset, &d, extra, sn);
        } else {
            sn->entry = g_bytes_new(NULL, 0);
        }
        end = offset + sizeof(d) + extra + qcow2_be16(&d.id_str_size) + qcow2_be16(&d.name_size);
        g_ptr_array_add(c->snapshots, sn);
        g_array_append_val(extras, extra);
        if (ret == 0 && end - c->snapshots_offset > TABLE_BOUND) {
            ret = too_big(c, i, nb);
            g_ptr_array_set_size(c->snapshots, i);
            c->snapshots_bytes = offset - c->snapshots_offset;
            return ret;
        }
        if (ret < 0) {
            return ret;
        }
        c->snapshots_bytes = end - c->snapshots_offset;
        offset = ROUND_UP(end, UINT64_C(8));
    }
    return 0;
}

int coroutine_fn qcow2_check_read_snapshots(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint32_t nb = s->hdr.nb_snapshots;
    g_autoptr(GArray) extras = g_array_new(false, false, sizeof(uint32_t));
    g_autofree Qcow2SnapshotReader *reader = NULL;
    const char *wrong = NULL;
    int ret;

    if (nb > QCOW2_MAX_SNAPSHOTS && (c->fix & BDRV_FIX_ERRORS)) {
        qcow2_check_say("Discarding %u overhanging snapshots", nb - QCOW2_MAX_SNAPSHOTS);
        c->snapshot_errors += nb - QCOW2_MAX_SNAPSHOTS;
        nb = QCOW2_MAX_SNAPSHOTS;
    }
    c->snapshots_offset = s->hdr.snapshots_offset;
    if (nb > QCOW2_MAX_SNAPSHOTS) {
        wrong = "snapshot table too large";
        ret = -EFBIG;
    } else if (qcow2_in_cluster(s, c->snapshots_offset) ||
               c->snapshots_offset > INT64_MAX - TABLE_BOUND) {
        wrong = "snapshot table offset invalid";
        ret = -EINVAL;
    }
    if (wrong) {
        c->r->check_errors++;
        error_report("ERROR %s", wrong);
        if (nb > QCOW2_MAX_SNAPSHOTS) {
            qcow2_check_say("You can force-remove all %u overhanging snapshots with qemu-img check"
                            " -r all", nb - QCOW2_MAX_SNAPSHOTS);
        }
        return ret;
    }
    reader = qcow2_snapshot_reader_new(c->bs, c->file_bytes);
    ret = read_entries(c, reader, nb, extras);
    if (ret < 0) {
        c->r->check_errors++;
        g_ptr_array_set_size(c->snapshots, 0);
        c->snapshots_bytes = 0;
        return ret;
    }
    find_incomplete(c, extras);
    if (c->snapshot_errors && (c->fix & BDRV_FIX_ERRORS)) {
        drop_what_does_not_fit(c);
    }
    return 0;
}

/* --- writing --- */

/* All entries one behind the other, each at a multiple of 8. */
static GByteArray *join_entries(Qcow2Check *c)
{
    static const uint8_t zeroes[8];
    GByteArray *table = g_byte_array_new();

    for (guint i = 0; i < c->snapshots->len; i++) {
        const Qcow2CheckSnapshot *sn = c->snapshots->pdata[i];
        gsize bytes;
        const uint8_t *p = g_bytes_get_data(sn->entry, &bytes);

        g_byte_array_append(table, zeroes, -table->len % 8);
        g_byte_array_append(table, p, bytes);
    }
    return table;
}

static int coroutine_fn put_table(Qcow2Check *c, GByteArray *table, uint64_t *offset)
{
    BDRVQcow2State *s = c->bs->opaque;
    bool fresh;
    int64_t got;
    int ret;

    *offset = 0;
    if (!table->len) {
        return 0;
    }
    got = qcow2_co_alloc_clusters(c->bs, DIV_ROUND_UP(table->len, s->cluster_size), true,
                                  offset, &fresh);
    if (got < 0) {
        return got;
    }
    qcow2_map_add(s, QCOW2_META_SNAPSHOTS, *offset, table->len);
    ret = qcow2_co_check_write(c->bs, QCOW2_META_SNAPSHOTS, *offset, table->len);
    if (ret == 0) {
        ret = bdrv_co_pwrite(c->bs->file, *offset, table->len, table->data, 0);
    }
    if (ret == 0) {
        ret = qcow2_co_writeback_all(c->bs);
    }
    if (ret < 0) {
        /* It may lie behind the end of the file, where no check would find it. */
        qcow2_map_remove(s, QCOW2_META_SNAPSHOTS, *offset, table->len);
        qemu_co_mutex_lock(&s->alloc_lock);
        qcow2_lower_refcounts(c->bs, *offset >> s->cluster_bits,
                              DIV_ROUND_UP(table->len, s->cluster_size));
        qemu_co_mutex_unlock(&s->alloc_lock);
    }
    return ret;
}

/*
 * Nothing refers to the old table any more. Where more refers to one of its clusters than the refcount can
 * say, that stays at its most; and with a count that was broken off all do, which leaks at worst.
 */
static int coroutine_fn give_up_old_table(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t first = c->snapshots_offset >> s->cluster_bits;
    uint64_t end = first + c->snapshots_clusters;
    int ret = 0;

    qcow2_map_remove(s, QCOW2_META_SNAPSHOTS, c->snapshots_offset, c->snapshots_bytes);
    qemu_co_mutex_lock(&s->alloc_lock);
    for (uint64_t i = first; i < end && ret == 0 && !c->budget_told; i++) {
        uint32_t references = qcow2_refmap_get(&c->map, i);

        if (references <= qcow2_check_most(c)) {
            ret = qcow2_lower_refcounts(c->bs, i, 1);
        }
        if (ret == 0 && references == 1) {
            g_array_append_val(c->freed, i);
        } else {
            c->flags_stale = true; /* what shared it may have it alone now */
        }
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret;
}

int coroutine_fn qcow2_check_write_snapshots(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    g_autoptr(GByteArray) table = join_entries(c);
    uint64_t offset;
    int ret = put_table(c, table, &offset);

    if (ret == 0) {
        ret = qcow2_co_write_header_snapshots(c->bs, c->snapshots->len, offset);
    }
    if (ret == 0) {
        s->hdr.nb_snapshots = c->snapshots->len;
        s->hdr.snapshots_offset = offset;
    }
    if (ret < 0) {
        qcow2_check_say("ERROR failed to update snapshot table: %s", g_strerror(-ret));
        c->r->check_errors++;
        return ret;
    }
    if (c->snapshots_clusters) {
        ret = give_up_old_table(c);
    }
    if (ret == 0) {
        ret = qcow2_co_writeback_all(c->bs);
    }
    c->snapshots_offset = offset;
    c->snapshots_bytes = table->len;
    return ret;
}
