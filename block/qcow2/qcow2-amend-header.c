/* SPDX-License-Identifier: MIT */
/*
 * A header of another version, or with another name in it. Extensions that are not known here are
 * kept. Version 2 has its extensions where version 3 has more fields: there the name of the backing
 * file stays where it is, so that all that changes lies in few sectors.
 */
#include "qcow2-amend.h"

#include "qcow2-header-io.h"
#include "qcow2-header-rewrite.h"
#include "qcow2-layout.h"

typedef struct Area {
    const uint8_t *old;
    uint8_t *buf;
    size_t size, pos;
    size_t first, end; /* of the old extensions */
    bool full;
} Area;

static void put_extension(Area *a, uint32_t type, const void *data, size_t length)
{
    size_t whole = sizeof(Qcow2DiskExtension) + ROUND_UP(length, (size_t)8);

    a->full |= whole > a->size - a->pos;
    if (a->full) {
        return;
    }
    memset(a->buf + a->pos, 0, whole);
    qcow2_put_be32(a->buf + a->pos, type);
    qcow2_put_be32(a->buf + a->pos + 4, length);
    if (length) {
        memcpy(a->buf + a->pos + sizeof(Qcow2DiskExtension), data, length);
    }
    a->pos += whole;
}

/* Copies the old extensions of type @type, or with 0 those that have no function here. */
static void copy_extensions(Area *a, uint32_t type)
{
    size_t pos = a->first;

    while (pos < a->end && a->end - pos >= sizeof(Qcow2DiskExtension)) {
        uint32_t t = qcow2_be32(a->old + pos), length = qcow2_be32(a->old + pos + 4);
        bool known = t == QCOW2_EXT_BACKING_FORMAT || t == QCOW2_EXT_DATA_FILE ||
                     t == QCOW2_EXT_CRYPTO_HEADER || t == QCOW2_EXT_FEATURE_NAMES ||
                     t == QCOW2_EXT_BITMAPS;

        pos += sizeof(Qcow2DiskExtension);
        if (t == QCOW2_EXT_END || length > a->end - pos) {
            return;
        }
        if (type ? t == type : !known) {
            put_extension(a, t, a->old + pos, length);
        }
        pos += ROUND_UP((size_t)length, 8);
    }
}

static void put_fields(const BDRVQcow2State *s, Area *a, const Qcow2HeaderChange *c)
{
    a->pos = c->version < 3 || s->hdr.version < 3 ? QCOW2_HEADER_V2_LENGTH : s->hdr.header_length;
    memcpy(a->buf, a->old, a->pos);
    qcow2_put_be32(a->buf + offsetof(Qcow2DiskHeader, version), c->version);
    if (c->version < 3) {
        return;
    }
    if (s->hdr.version < 3) {
        a->pos = sizeof(Qcow2DiskHeader);
        memset(a->buf + QCOW2_HEADER_V2_LENGTH, 0, a->pos - QCOW2_HEADER_V2_LENGTH);
    }
    qcow2_put_be64(a->buf + offsetof(Qcow2DiskHeader, incompatible_features),
                   s->hdr.incompatible_features);
    qcow2_put_be64(a->buf + offsetof(Qcow2DiskHeader, compatible_features), c->compatible);
    qcow2_put_be64(a->buf + offsetof(Qcow2DiskHeader, autoclear_features), c->autoclear);
    qcow2_put_be32(a->buf + offsetof(Qcow2DiskHeader, refcount_order), s->refcount_order);
    qcow2_put_be32(a->buf + offsetof(Qcow2DiskHeader, header_length), a->pos);
}

static void put_extensions(const BDRVQcow2State *s, Area *a, const Qcow2HeaderChange *c)
{
    copy_extensions(a, QCOW2_EXT_BACKING_FORMAT);
    if (c->data_file) {
        put_extension(a, QCOW2_EXT_DATA_FILE, c->data_file, strlen(c->data_file));
    }
    copy_extensions(a, QCOW2_EXT_CRYPTO_HEADER);
    if (c->version >= 3 && s->hdr.version >= 3) {
        copy_extensions(a, QCOW2_EXT_FEATURE_NAMES);
    } else if (c->version >= 3 && s->cluster_size > 4096) {
        size_t bytes;
        const void *names = qcow2_feature_names(&bytes);

        put_extension(a, QCOW2_EXT_FEATURE_NAMES, names, bytes);
    }
    if (c->version >= 3) {
        copy_extensions(a, QCOW2_EXT_BITMAPS);
    }
    copy_extensions(a, 0);
    put_extension(a, QCOW2_EXT_END, NULL, 0);
}

/* Where the name of the backing file stands in the new header, after all else has its place. */
static uint64_t put_name(const BDRVQcow2State *s, Area *a, const Qcow2HeaderChange *c)
{
    uint64_t at = s->hdr.backing_file_offset, length = s->hdr.backing_file_size;

    if (!at) {
        return 0;
    }
    if (c->version >= 3 || at < a->pos) {
        at = a->pos;
        a->full |= length > a->size - at;
    }
    if (!a->full) {
        memcpy(a->buf + at, a->old + s->hdr.backing_file_offset, length);
        a->pos = at + length; /* at is nowhere before pos */
        qcow2_put_be64(a->buf + offsetof(Qcow2DiskHeader, backing_file_offset), at);
    }
    return at;
}

static int coroutine_fn amend_locked(BlockDriverState *bs, const Qcow2HeaderChange *change)
{
    BDRVQcow2State *s = bs->opaque;
    QEMU_AUTO_VFREE uint8_t *old = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    QEMU_AUTO_VFREE uint8_t *new = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    Area a = { .old = old, .buf = new, .size = s->cluster_size };
    g_autofree char *data_file = g_strdup(change->data_file);
    uint64_t name;
    int ret;

    if (!old || !new) {
        return -ENOMEM;
    }
    ret = bdrv_co_pread(bs->file, 0, s->cluster_size, old, 0);
    if (ret < 0) {
        return ret;
    }
    /* What lies behind everything, and what a change of version leaves between, stays as it was. */
    memcpy(new, old, s->cluster_size);
    a.first = s->hdr.header_length;
    a.end = s->hdr.backing_file_offset ? s->hdr.backing_file_offset : a.size;
    put_fields(s, &a, change);
    put_extensions(s, &a, change);
    name = put_name(s, &a, change);
    if (a.full) {
        return -ENOSPC;
    }
    ret = qcow2_co_replace_header(bs, old, new, a.pos);
    if (ret == 0) {
        s->hdr.version = change->version;
        s->hdr.header_length = change->version < 3
                                   ? QCOW2_HEADER_V2_LENGTH
                                   : qcow2_be32(new + offsetof(Qcow2DiskHeader, header_length));
        s->hdr.compatible_features = change->compatible;
        s->hdr.autoclear_features = change->autoclear;
        s->hdr.backing_file_offset = name;
        g_free(s->hdr.data_file);
        s->hdr.data_file = g_steal_pointer(&data_file);
    }
    return ret;
}

int coroutine_fn qcow2_co_amend_header(BlockDriverState *bs, const Qcow2HeaderChange *change)
{
    int ret = qcow2_co_header_lock(bs);

    if (ret == 0) {
        ret = amend_locked(bs, change);
        qcow2_co_header_unlock(bs);
    }
    return ret;
}
