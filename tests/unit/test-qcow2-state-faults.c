/* SPDX-License-Identifier: MIT */
/*
 * Operations that come to states in which calls rarely fail: caches that do not hold what is
 * looked for, runs of clusters that are longer than a refcount block describes, copies within an image,
 * tables that snapshots share. operation-faults.h says what must hold.
 */
#include "operation-faults.h"

/* --- allocation --- */

/*
 * Machine state far behind the disk takes an L1 table that is longer than what one refcount
 * block counts, if clusters are small.
 */
static int save_state_at(BlockBackend *blk, int64_t with_small_clusters)
{
    uint8_t state[CRASH_SECTOR] = { 1 };
    BlockDriverInfo info;
    int ret = bdrv_get_info(blk_bs(blk), &info);

    if (ret == 0) {
        ret = blk_save_vmstate(blk, state, info.cluster_size == 512 ? with_small_clusters : 1 << 20,
                               sizeof(state));
    }
    return ret < 0 ? ret : blk_flush(blk);
}

static int save_far_state(BlockBackend *blk)
{
    return save_state_at(blk, 512 << 20);
}

/* And a larger refcount table. */
static int save_farther_state(BlockBackend *blk)
{
    return save_state_at(blk, INT64_C(2) << 30);
}

/* The next clusters are behind what the refcount table of the variant "512" describes. */
static void fill_most(BlockBackend *blk)
{
    g_assert_cmpint(blk_truncate(blk, LARGEST, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    put(blk, 12, 42, 6);
}

/* So many refcount blocks that they are not all in RAM; some, behind a long table, count others. */
static void fill_most_and_save(BlockBackend *blk)
{
    fill_most(blk);
    g_assert_cmpint(save_farther_state(blk), ==, 0);
}

static int shrink_much(BlockBackend *blk)
{
    return blk_truncate(blk, SIZE / 4 + 3 * CRASH_SECTOR, true, PREALLOC_MODE_OFF, 0, NULL);
}

static int write_sector(BlockBackend *blk, int64_t offset, uint8_t value)
{
    uint8_t buf[CRASH_SECTOR];

    memset(buf, value, sizeof(buf));
    return blk_pwrite(blk, offset, sizeof(buf), buf, 0);
}

/* Data far behind where streams go. */
static void fill_end(BlockBackend *blk)
{
    put(blk, 16, 14, 6);
}

/* Clusters are given back elsewhere in between: the block with the last stream's counter goes. */
static int append_compressed_later(BlockBackend *blk)
{
    int ret = 0;

    for (int i = 0; i < 4 && ret == 0; i++) {
        ret = write_compressed(blk, 4 + i, 20 + i);
        for (int unit = 17; unit < 29 && ret == 0; unit += 2) {
            ret = blk_pdiscard(blk, unit * UNIT + i * (UNIT / 4), UNIT / 4);
        }
        ret = ret < 0 ? ret : blk_flush(blk);
    }
    return ret;
}

/* --- writes --- */

typedef struct Request {
    BlockBackend *blk;
    int64_t from, offset, bytes;
    QEMUIOVector *qiov;
    int ret;
} Request;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;

    r->ret = r->qiov ? blk_co_pwritev(r->blk, r->offset, r->bytes, r->qiov, 0)
                     : blk_co_copy_range(r->blk, r->from, r->blk, r->offset, r->bytes, 0, 0);
}

static int send_request(Request r)
{
    r.ret = -EINPROGRESS;
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, &r));
    while (r.ret == -EINPROGRESS) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return r.ret;
}

/* Two sectors from as many pieces as a request may have. */
static int write_pieces(BlockBackend *blk, int64_t offset, uint8_t value)
{
    uint8_t buf[IOV_MAX];
    QEMUIOVector qiov;
    int ret;

    memset(buf, value, sizeof(buf));
    qemu_iovec_init(&qiov, IOV_MAX);
    for (unsigned i = 0; i < IOV_MAX; i++) {
        /* Backwards, as neighbours would become one. */
        qemu_iovec_add(&qiov, &buf[IOV_MAX - 1 - i], 1);
    }
    ret = send_request((Request){ .blk = blk, .offset = offset, .bytes = IOV_MAX, .qiov = &qiov });
    qemu_iovec_destroy(&qiov);
    return ret;
}

/* In clusters of every kind, parts of them and more than one. */
static int write_parts(BlockBackend *blk)
{
    static const int units[] = { 0, 2, 3, 5, 10, 14, 15, 20 };
    g_autofree uint8_t *buf = g_malloc(2 * UNIT);
    int ret = 0;

    memset(buf, 30, 2 * UNIT);
    for (unsigned i = 0; i < G_N_ELEMENTS(units) && ret == 0; i++) {
        ret = write_sector(blk, units[i] * UNIT + 3 * CRASH_SECTOR, 31 + i);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(units) && ret == 0; i++) {
        ret = write_pieces(blk, units[i] * UNIT + UNIT / 2 + CRASH_SECTOR, 41 + i);
    }
    for (unsigned i = 0; i + 1 < G_N_ELEMENTS(units) && ret == 0; i += 2) {
        ret = blk_pwrite(blk, units[i] * UNIT + UNIT - 5 * CRASH_SECTOR, UNIT + CRASH_SECTOR, buf, 0);
    }
    return ret < 0 ? ret : blk_flush(blk);
}

/* Zeroes around data and data among zeroes, and some of it discarded; no sector changes twice. */
static int change_kinds(BlockBackend *blk)
{
    static const int units[] = { 0, 3, 9, 14, 20 };
    int ret = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(units) && ret == 0; i++) {
        int64_t at = units[i] * UNIT, middle = at + UNIT / 2;

        ret = blk_pwrite_zeroes(blk, at + CRASH_SECTOR, UNIT / 2 - CRASH_SECTOR, 0);
        ret = ret < 0 ? ret : write_sector(blk, middle, 50 + i);
        ret = ret < 0 ? ret : blk_pwrite_zeroes(blk, middle + CRASH_SECTOR, UNIT / 2 - CRASH_SECTOR,
                                                BDRV_REQ_MAY_UNMAP);
        ret = ret < 0 ? ret : write_sector(blk, at, 60 + i);
        ret = ret < 0 ? ret : blk_pdiscard(blk, at + UNIT, UNIT / 2);
    }
    return ret < 0 ? ret : blk_flush(blk);
}

/* --- copies --- */

/* The disks copy for each other; a driver at the bottom of both ends may do it as it likes. */
static int coroutine_fn copy_from_disk(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                      BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                      BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    return bdrv_co_copy_range_to(src, src_offset, dst, dst_offset, bytes, read_flags, write_flags);
}

static int coroutine_fn copy_to_disk(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                     BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                     BdrvRequestFlags read_flags, BdrvRequestFlags write_flags)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    QEMUIOVector qiov;
    int ret;

    qemu_iovec_init_buf(&qiov, buf, bytes);
    ret = src->bs->drv->bdrv_co_preadv_part(src->bs, src_offset, bytes, &qiov, 0, 0);
    return ret < 0 ? ret : bs->drv->bdrv_co_pwritev_part(bs, dst_offset, bytes, &qiov, 0, 0);
}

typedef struct Copy {
    int64_t from, to, bytes;
} Copy;

static int copy_all(BlockBackend *blk, const Copy *copies, size_t nb_copies)
{
    int ret = 0;

    for (size_t i = 0; i < nb_copies && ret == 0; i++) {
        ret = send_request((Request){ .blk = blk, .from = copies[i].from, .offset = copies[i].to,
                                      .bytes = copies[i].bytes });
    }
    return ret < 0 ? ret : blk_flush(blk);
}

static int copy_units(BlockBackend *blk)
{
    static const Copy copies[] = {
        { 0, 20 * UNIT, UNIT },
        { UNIT, 5 * UNIT + 3 * CRASH_SECTOR, UNIT - 4 * CRASH_SECTOR },
        { 2 * UNIT, 22 * UNIT, UNIT },
        { 3 * UNIT, 10 * UNIT + CRASH_SECTOR, CRASH_SECTOR },
        { 9 * UNIT, CRASH_SECTOR, UNIT },
    };

    return copy_all(blk, copies, G_N_ELEMENTS(copies));
}

/* Longer than the backing file. */
static void make_longer(BlockBackend *blk)
{
    g_assert_cmpint(blk_truncate(blk, LARGEST, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
}

/* What lies in the backing file, where that ends, and behind it. */
static int copy_from_below(BlockBackend *blk)
{
    static const Copy copies[] = {
        { 5 * UNIT, 20 * UNIT, UNIT },
        { SIZE - UNIT, 40 * UNIT, 2 * UNIT },
        { SIZE + 20 * UNIT, UNIT, UNIT },
    };

    return copy_all(blk, copies, G_N_ELEMENTS(copies));
}

/* --- bitmaps --- */

static int write_beside_bitmaps(BlockBackend *blk)
{
    BdrvDirtyBitmap *b = bdrv_find_dirty_bitmap(blk_bs(blk), "bits");
    int ret = write_sector(blk, 0, 70);

    if (!b) {
        return -EIO;
    }
    bdrv_disable_dirty_bitmap(b);
    ret = ret < 0 ? ret : write_sector(blk, UNIT, 71);
    bdrv_enable_dirty_bitmap(b);
    ret = ret < 0 ? ret : blk_pdiscard(blk, 3 * UNIT, UNIT);
    ret = ret < 0 ? ret : bdrv_store_dirty_bitmaps(blk_bs(blk), NULL);
    return ret < 0 ? ret : write_sector(blk, 9 * UNIT, 72);
}

/* --- repairs --- */

static int repair(BlockBackend *blk)
{
    BdrvCheckResult r;

    return bdrv_check(blk_bs(blk), &r, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
}

#define AT(field) offsetof(Qcow2DiskHeader, field)

static uint8_t *at_offset(Image *d, uint64_t offset)
{
    g_assert_cmpuint(offset, <, d->length);
    return d->data + offset;
}

static uint8_t *at_field(Image *d, size_t field)
{
    return at_offset(d, qcow2_be64(d->data + field));
}

/* Every counter of the image. */
static void lose_all_counters(Image *d)
{
    uint8_t *table = at_field(d, AT(refcount_table_offset));
    uint64_t cluster = UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits));

    for (uint64_t i = 0; i < cluster / 8 && qcow2_be64(table + i * 8); i++) {
        memset(at_offset(d, qcow2_be64(table + i * 8)), 0, cluster);
    }
}

static void lose_table(Image *d)
{
    memset(at_field(d, AT(refcount_table_offset)), 0,
           UINT64_C(1) << qcow2_be32(d->data + AT(cluster_bits)));
}

/* A preallocated cluster of zeroes in the first snapshot does not begin where a cluster does. */
static void misplace_zeroes_of_snapshot(Image *d)
{
    uint8_t *entry = at_field(d, AT(snapshots_offset));
    uint8_t *l1 = at_offset(d, qcow2_be64(entry + offsetof(Qcow2DiskSnapshot, l1_table_offset)));
    uint8_t *l2 = at_offset(d, qcow2_be64(l1) & QCOW2_L1_OFFSET_MASK);
    bool extended = qcow2_be64(d->data + AT(incompatible_features)) & QCOW2_INCOMPAT_EXTL2;
    unsigned cluster = 1U << qcow2_be32(d->data + AT(cluster_bits));
    uint8_t *at = l2 + (2 * UNIT / cluster) * (extended ? 16 : 8);

    if (cluster == 512) {
        return; /* each place that an entry can name begins one */
    }
    qcow2_put_be64(at, qcow2_be64(at) | 0x200 | (extended ? 0 : QCOW2_OFLAG_ZERO));
    if (extended) {
        qcow2_put_be64(at + 8, QCOW2_BITMAP_ALL_ZEROES);
    }
}

static const Operation operations[] = {
    { "save-far-state", .run = save_far_state, .plain = true },
    { "save-farther-state", .prepare = fill_most, .run = save_farther_state, .plain = true },
    { "shrink-with-far-state", .prepare = fill_most_and_save, .run = shrink_much, .plain = true,
      .small_clusters = true },
    { "append-compressed-later", .prepare = fill_end, .run = append_compressed_later, .plain = true },
    { "write-parts", .run = write_parts, .no_bitmaps = true },
    { "write-parts-over-backing", .run = write_parts, .plain = true, .backing = true },
    { "write-parts-to-data-file", .run = write_parts, .plain = true, .data_file = true },
    { "write-parts-to-raw-data-file", .run = write_parts, .plain = true, .data_file = true,
      .create = "data_file_raw=on" },
    { "write-parts-lazily", .run = write_parts, .no_bitmaps = true,
      .create = "lazy_refcounts=on" },
    { "change-kinds", .run = change_kinds, .no_bitmaps = true },
    { "change-kinds-over-backing", .run = change_kinds, .plain = true, .backing = true },
    { "copy", .run = copy_units, .no_bitmaps = true },
    { "copy-plain", .run = copy_units, .plain = true },
    { "copy-with-data-file", .run = copy_units, .plain = true, .data_file = true },
    { "copy-from-backing", .prepare = make_longer, .run = copy_from_below, .plain = true,
      .backing = true },
    { "write-beside-bitmaps", .run = write_beside_bitmaps },
    { "repair-lost-counters-of-large-image", .prepare = fill_most, .damage = lose_all_counters,
      .run = repair, .flags = BDRV_O_CHECK | BDRV_O_RDWR, .plain = true },
    { "repair-lost-table-of-large-image", .prepare = fill_most, .damage = lose_table,
      .run = repair, .flags = BDRV_O_CHECK | BDRV_O_RDWR, .plain = true },
    { "repair-misplaced-zeroes-of-snapshot", .damage = misplace_zeroes_of_snapshot, .run = repair,
      .flags = BDRV_O_CHECK | BDRV_O_RDWR, .no_bitmaps = true },
};

int main(int argc, char **argv)
{
    bdrv_sim.bdrv_co_copy_range_from = bdrv_test_ram.bdrv_co_copy_range_from = copy_from_disk;
    bdrv_sim.bdrv_co_copy_range_to = bdrv_test_ram.bdrv_co_copy_range_to = copy_to_disk;
    return operation_faults_main(argc, argv, operations, G_N_ELEMENTS(operations));
}
