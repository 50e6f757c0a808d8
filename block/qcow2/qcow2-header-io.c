/* SPDX-License-Identifier: MIT */
/* Fields that change together lie next to each other, within one sector: no torn change. */
#include "qcow2-header-io.h"

#include "qemu/error-report.h"

#include "qcow2-overlap.h"

int coroutine_fn qcow2_co_header_lock(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    /* Before, as it may find damage, which takes the lock to mark the image. */
    int ret = qcow2_co_check_write(bs, QCOW2_META_HEADER, 0, s->cluster_size);

    if (ret < 0) {
        return ret;
    }
    qemu_co_mutex_lock(&s->header_lock);
    if (qatomic_read(&s->corrupt)) {
        qemu_co_mutex_unlock(&s->header_lock);
        return -EIO;
    }
    return 0;
}

void coroutine_fn qcow2_co_header_unlock(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    qemu_co_mutex_unlock(&s->header_lock);
}

static int coroutine_fn write_durably(BlockDriverState *bs, size_t at, size_t bytes,
                                      const void *buf)
{
    int ret = bdrv_co_pwrite(bs->file, at, bytes, buf, 0);

    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);
}

static void stop_writes(BlockDriverState *bs, int ret)
{
    BDRVQcow2State *s = bs->opaque;

    qatomic_set(&s->corrupt, true);
    error_report("qcow2: the header of image '%s' could not be changed (%s); no more writes"
                 " before it is opened again", bs->filename, g_strerror(-ret));
}

/*
 * Makes the header point to another table, durably. When that fails after it was tried,
 * either table may be the one that counts on the disk: a change of the old one could be lost, and
 * the place of the new one cannot be used for anything else. So nothing is
 * written any more; whoever opens the image next finds one of two tables that are both right.
 */
int coroutine_fn qcow2_co_switch_header(BlockDriverState *bs, size_t at, size_t bytes,
                                       const void *buf)
{
    int ret = write_durably(bs, at, bytes, buf);

    if (ret < 0) {
        stop_writes(bs, ret);
    }
    return ret;
}

static int coroutine_fn switch_fields(BlockDriverState *bs, size_t at, size_t bytes,
                                      const void *buf)
{
    int ret = qcow2_co_header_lock(bs);

    if (ret == 0) {
        ret = qcow2_co_switch_header(bs, at, bytes, buf);
        qcow2_co_header_unlock(bs);
    }
    return ret;
}

int coroutine_fn qcow2_co_write_header_reftable(BlockDriverState *bs, uint64_t offset,
                                                uint32_t clusters)
{
    uint8_t buf[12];

    qcow2_put_be64(buf, offset);
    qcow2_put_be32(buf + 8, clusters);
    return switch_fields(bs, offsetof(Qcow2DiskHeader, refcount_table_offset), sizeof(buf), buf);
}

int coroutine_fn qcow2_co_write_header_l1(BlockDriverState *bs, uint32_t l1_size,
                                          uint64_t l1_table_offset)
{
    uint8_t buf[12];

    qcow2_put_be32(buf, l1_size);
    qcow2_put_be64(buf + 4, l1_table_offset);
    return switch_fields(bs, offsetof(Qcow2DiskHeader, l1_size), sizeof(buf), buf);
}

int coroutine_fn qcow2_co_write_header_snapshots(BlockDriverState *bs, uint32_t nb_snapshots,
                                                 uint64_t snapshots_offset)
{
    uint8_t buf[12];

    qcow2_put_be32(buf, nb_snapshots);
    qcow2_put_be64(buf + 4, snapshots_offset);
    return switch_fields(bs, offsetof(Qcow2DiskHeader, nb_snapshots), sizeof(buf), buf);
}

int coroutine_fn qcow2_co_write_header_disk(BlockDriverState *bs, uint64_t size,
                                            uint32_t l1_size, uint64_t l1_table_offset)
{
    const BDRVQcow2State *s = bs->opaque;
    uint8_t buf[24];

    qcow2_put_be64(buf, size);
    qcow2_put_be32(buf + 8, s->hdr.crypt_method); /* lies between them */
    qcow2_put_be32(buf + 12, l1_size);
    qcow2_put_be64(buf + 16, l1_table_offset);
    return switch_fields(bs, offsetof(Qcow2DiskHeader, size), sizeof(buf), buf);
}

/* A smaller size that came to the disk all the same would cost what is written behind it later. */
int coroutine_fn qcow2_co_write_header_size(BlockDriverState *bs, uint64_t size, uint64_t old_size)
{
    size_t at = offsetof(Qcow2DiskHeader, size);
    uint8_t buf[8], old[8];
    int ret = qcow2_co_header_lock(bs);

    if (ret < 0) {
        return ret;
    }
    qcow2_put_be64(buf, size);
    qcow2_put_be64(old, old_size);
    ret = write_durably(bs, at, sizeof(buf), buf);
    if (ret < 0 && write_durably(bs, at, sizeof(old), old) < 0) {
        stop_writes(bs, ret);
    }
    qcow2_co_header_unlock(bs);
    return ret;
}

/* --- features; under header_lock --- */

static int coroutine_fn write_features(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint8_t buf[24];

    qcow2_put_be64(buf, s->hdr.incompatible_features);
    qcow2_put_be64(buf + 8, s->hdr.compatible_features);
    qcow2_put_be64(buf + 16, s->hdr.autoclear_features);
    return write_durably(bs, offsetof(Qcow2DiskHeader, incompatible_features), sizeof(buf), buf);
}

int coroutine_fn qcow2_co_change_features(BlockDriverState *bs, uint64_t set, uint64_t clear,
                                          uint64_t clear_auto)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t incompatible, autoclear;
    int ret = qcow2_co_header_lock(bs);

    if (ret < 0) {
        return ret;
    }
    incompatible = s->hdr.incompatible_features;
    autoclear = s->hdr.autoclear_features;
    s->hdr.incompatible_features = (incompatible | set) & ~clear;
    s->hdr.autoclear_features = autoclear & ~clear_auto;
    ret = write_features(bs);
    if (ret < 0) {
        s->hdr.incompatible_features = incompatible;
        s->hdr.autoclear_features = autoclear;
    }
    qcow2_co_header_unlock(bs);
    return ret;
}

int coroutine_fn qcow2_co_write_header_dirty(BlockDriverState *bs, bool dirty)
{
    return qcow2_co_change_features(bs, dirty ? QCOW2_INCOMPAT_DIRTY : 0,
                                    dirty ? 0 : QCOW2_INCOMPAT_DIRTY, 0);
}

void coroutine_fn qcow2_co_write_header_corrupt(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    qemu_co_mutex_lock(&s->header_lock);
    s->hdr.incompatible_features |= QCOW2_INCOMPAT_CORRUPT;
    write_features(bs);
    qemu_co_mutex_unlock(&s->header_lock);
}
