/* SPDX-License-Identifier: MIT */
/* The request path: ranges, alignment, limits, zeroes, discards, flush, truncate, raw. */
#include "ram-driver.h"
#include "qemu/cutils.h"

#define LENGTH (64 * 1024)

static uint8_t pattern(int64_t offset)
{
    return offset * 31 / 7 + 5;
}

static void fill(uint8_t *buf, int64_t offset, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        buf[i] = pattern(offset + i);
    }
}

static RamDisk *patterned_disk(uint32_t align)
{
    RamDisk *d = ram_disk_new(LENGTH);

    d->limits.request_alignment = align;
    fill(d->data, 0, LENGTH);
    return d;
}

static void assert_pattern(const uint8_t *buf, int64_t offset, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmphex(buf[i], ==, pattern(offset + i));
    }
}

/* --- ranges --- */

static void test_ranges(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, NULL);
    char buf[1024] = { 0 };

    g_assert_cmpint(blk_pread(blk, LENGTH, 1, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, LENGTH - 1, 2, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, -1, 1, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 0, -1, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, INT64_MAX, 1, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, INT64_MIN, 1, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 0, INT64_MAX, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, LENGTH - 511, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, LENGTH - 511, 512, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 512, INT64_MAX, 0), ==, -EIO);
    g_assert_cmpint(blk_pdiscard(blk, -512, 512), ==, -EIO);
    g_assert_cmpint(blk_pdiscard(blk, 0, LENGTH + 1), ==, -EIO);
    g_assert_cmpuint(d->reads + d->writes + d->zero_writes + d->nb_discards, ==, 0);

    g_assert_cmpint(blk_pread(blk, LENGTH, 0, buf, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, LENGTH - 1, 1, buf, 0), ==, 0);
    assert_pattern((uint8_t *)buf, LENGTH - 1, 1);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_no_medium(void)
{
    AioContext *ctx = aio_context_new(&error_abort);
    BlockBackend *blk = blk_new(ctx, BLK_PERM_ALL, BLK_PERM_ALL);
    g_autoptr(GError) err = NULL;
    char c;

    g_assert_cmpint(blk_pread(blk, 0, 1, &c, 0), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_pwrite(blk, 0, 1, &c, 0), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_flush(blk), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_getlength(blk), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_truncate(blk, 0, true, 0, 0, &err), ==, -ENOMEDIUM);
    g_assert_false(blk_is_available(blk));
    qemu_set_current_aio_context(ctx);
    blk_unref(blk);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
}

static void test_read_only(void)
{
    RamDisk *d = patterned_disk(1);
    BlockBackend *blk = ram_try_open(d, NULL, 0, &error_abort);
    g_autoptr(GError) err = NULL;
    char c = 0;

    g_assert_false(blk_is_writable(blk));
    g_assert_cmpint(blk_pwrite(blk, 0, 1, &c, 0), ==, -EPERM);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 1, 0), ==, -EPERM);
    g_assert_cmpint(blk_pdiscard(blk, 0, 1), ==, -EPERM);
    g_assert_cmpint(blk_truncate(blk, 0, true, 0, 0, &err), ==, -EACCES);
    g_assert_nonnull(err);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(d->writes, ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- alignment --- */

static void test_unaligned(gconstpointer opaque)
{
    uint32_t align = GPOINTER_TO_UINT(opaque);
    static const struct {
        int64_t offset, bytes;
    } cases[] = {
        { 0, 1 },       { 1, 1 },       { 511, 2 },        { 513, 4096 },
        { 4095, 4098 }, { 100, 30000 }, { LENGTH - 1, 1 }, { LENGTH - 5000, 5000 },
        { 4096, 4097 }, { 4097, 4095 },
    };
    RamDisk *d = patterned_disk(align);
    BlockBackend *blk = ram_open_blk(d, NULL);
    g_autofree uint8_t *buf = g_malloc(LENGTH);
    g_autofree uint8_t *model = g_malloc(LENGTH);

    memcpy(model, d->data, LENGTH);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t offset = cases[i].offset, bytes = cases[i].bytes;

        g_assert_cmpint(blk_pread(blk, offset, bytes, buf, 0), ==, 0);
        g_assert_cmpmem(buf, bytes, model + offset, bytes);
        memset(buf, 0x80 + i, bytes);
        memcpy(model + offset, buf, bytes);
        g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
        g_assert_cmpmem(d->data, LENGTH, model, LENGTH);
        memset(model + offset, 0, bytes);
        g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes, 0), ==, 0);
        g_assert_cmpmem(d->data, LENGTH, model, LENGTH);
    }
    g_assert_cmpint(blk_getlength(blk), ==, LENGTH);
    blk_unref(blk);
    ram_disk_free(d);
}

/* A vector that has no room for two more elements. */
static void test_unaligned_full_vector(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, NULL);
    uint8_t buf[3 * IOV_MAX];
    QEMUIOVector qiov;

    qemu_iovec_init(&qiov, IOV_MAX);
    for (int i = 0; i < IOV_MAX; i++) {
        qemu_iovec_add(&qiov, buf + 3 * i, 3);
    }
    g_assert_cmpint(blk_preadv(blk, 100, qiov.size, &qiov, 0), ==, 0);
    assert_pattern(buf, 100, sizeof(buf));
    fill(buf, 7, sizeof(buf));
    g_assert_cmpint(blk_pwritev(blk, 100, qiov.size, &qiov, 0), ==, 0);
    assert_pattern(d->data + 100, 7, sizeof(buf));
    assert_pattern(d->data, 0, 100);
    assert_pattern(d->data + 100 + sizeof(buf), 100 + sizeof(buf), 100);
    qemu_iovec_destroy(&qiov);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_rmw_read_error(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, NULL);
    char c = 1;

    d->read_error = -ENXIO;
    g_assert_cmpint(blk_pwrite(blk, 5, 1, &c, 0), ==, -ENXIO);
    g_assert_cmpuint(d->writes, ==, 0);
    d->read_error = 0;
    d->write_error = -ENOSPC;
    g_assert_cmpint(blk_pwrite(blk, 5, 1, &c, 0), ==, -ENOSPC);
    d->write_error = 0;
    assert_pattern(d->data, 0, LENGTH);
    blk_unref(blk);
    ram_disk_free(d);
}

/* The last block of an image of odd length is only partly there. */
static void test_odd_length(void)
{
    RamDisk *d = patterned_disk(4096);
    BlockBackend *blk;
    uint8_t buf[5000];

    d->length = 5000;
    memset(d->data + 5000, 0, 5000);
    blk = ram_open_blk(d, "driver=raw");
    g_assert_cmpint(blk_getlength(blk), ==, 5120);
    g_assert_cmpint(blk_pread(blk, 120, 5000, buf, 0), ==, 0);
    assert_pattern(buf, 120, 4880);
    for (int i = 4880; i < 5000; i++) {
        g_assert_cmpint(buf[i], ==, 0);
    }
    g_assert_cmpint(blk_pread(blk, 4999, 122, buf, 0), ==, -EIO);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- limits --- */

static void test_split(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;
    g_autofree uint8_t *buf = g_malloc(LENGTH);
    QEMUIOVector qiov;

    d->limits.max_transfer = 4096;
    d->limits.max_iov = 3;
    blk = ram_open_blk(d, NULL);
    g_assert_cmpint(blk_pread(blk, 0, LENGTH, buf, 0), ==, 0);
    assert_pattern(buf, 0, LENGTH);
    g_assert_cmpuint(d->reads, ==, LENGTH / 4096);
    g_assert_cmpint(d->largest, ==, 4096);

    /* 100 bytes each: no block fits into three of them. */
    qemu_iovec_init(&qiov, 100);
    for (int i = 0; i < 100; i++) {
        qemu_iovec_add(&qiov, buf + 100 * i, 100);
    }
    memset(buf, 0, LENGTH);
    g_assert_cmpint(blk_preadv(blk, 512, 9728, &qiov, 0), ==, 0);
    assert_pattern(buf, 512, 9728);
    g_assert_cmpint(d->largest_iov, <=, 3);
    fill(buf, 9, 10000);
    g_assert_cmpint(blk_pwritev(blk, 512, 9728, &qiov, 0), ==, 0);
    assert_pattern(d->data + 512, 9, 9728);
    assert_pattern(d->data + 512 + 9728, 512 + 9728, 512);
    g_assert_cmpint(d->largest_iov, <=, 3);
    g_assert_cmpint(blk_get_max_transfer(blk), ==, 4096);
    g_assert_cmpint(blk_get_max_iov(blk), ==, 3);
    qemu_iovec_destroy(&qiov);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_zero_limits(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;

    d->limits.pwrite_zeroes_alignment = 4096;
    d->limits.max_pwrite_zeroes = 8192;
    blk = ram_open_blk(d, NULL);
    /* Head to 4096, two whole pieces, tail. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 1024, 3072 + 12288 + 512, 0), ==, 0);
    g_assert_cmpuint(d->zero_writes, ==, 4);
    g_assert_cmpint(d->largest, ==, 8192);
    g_assert_cmpuint(d->writes, ==, 0);
    assert_pattern(d->data, 0, 1024);
    assert_pattern(d->data + 16896, 16896, 512);
    for (int i = 1024; i < 16896; i++) {
        g_assert_cmpint(d->data[i], ==, 0);
    }
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_zero_fallback(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;

    d->zeroes = false;
    d->limits.max_transfer = 8192;
    blk = ram_open_blk(d, NULL);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 16384, BDRV_REQ_NO_FALLBACK), ==, -ENOTSUP);
    assert_pattern(d->data, 0, 16384);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 16384, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpuint(d->writes, ==, 2);
    for (int i = 0; i < 16384; i++) {
        g_assert_cmpint(d->data[i], ==, 0);
    }
    d->zeroes = true;
    d->zero_error = -EIO;
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 16384, 0), ==, -EIO);
    d->zero_error = 0;
    g_assert_cmpint(blk_make_zero(blk, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(d->data[LENGTH - 1], ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_discard(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;

    d->limits.pdiscard_alignment = 4096;
    blk = ram_open_blk(d, NULL);
    /* Only whole blocks: 512 to 8704; in three pieces. */
    g_assert_cmpint(blk_pdiscard(blk, 100, 9000), ==, 0);
    g_assert_cmpuint(d->nb_discards, ==, 3);
    assert_pattern(d->data, 0, 512);
    assert_pattern(d->data + 8704 + 512, 8704 + 512, 512);
    g_assert_cmpint(d->data[512], ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 10, 100), ==, 0);
    g_assert_cmpuint(d->nb_discards, ==, 3);
    d->discards = false;
    g_assert_cmpint(blk_pdiscard(blk, 0, 4096), ==, 0);
    blk_unref(blk);

    blk = ram_try_open(d, NULL, BDRV_O_RDWR, &error_abort);
    d->nb_discards = 0;
    g_assert_cmpint(blk_pdiscard(blk, 0, 4096), ==, 0);
    g_assert_cmpuint(d->nb_discards, ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- flush --- */

static void test_flush_only_after_writes(void)
{
    RamDisk *d = patterned_disk(1);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    char c = 0;

    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(d->flushes, ==, 0);
    blk_pwrite(blk, 0, 1, &c, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(d->flushes, ==, 1);
    blk_pwrite_zeroes(blk, 0, 1, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(d->flushes, ==, 2);
    blk_unref(blk);
    g_assert_cmpuint(d->flushes, ==, 2);
    ram_disk_free(d);
}

static void test_flush_error_sticks(void)
{
    RamDisk *d = patterned_disk(1);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    char c = 0;

    blk_pwrite(blk, 0, 1, &c, 0);
    d->flush_error = -EIO;
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    d->flush_error = 0;
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 0, 1, &c, BDRV_REQ_FUA), ==, -EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 1, BDRV_REQ_FUA), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 0, 1, &c, 0), ==, 0);
    g_assert_cmpuint(d->flushes, ==, 1);
    blk_unref(blk);

    blk = ram_open_blk(d, "driver=raw");
    blk_pwrite(blk, 0, 1, &c, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_flush_unsafe(void)
{
    RamDisk *d = patterned_disk(1);
    BlockBackend *blk = ram_open_blk(d, "driver=raw,cache.no-flush=on");
    char c = 0;

    blk_pwrite(blk, 0, 1, &c, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    g_assert_cmpuint(d->flushes, ==, 0);
    ram_disk_free(d);
}

static void test_write_through(gconstpointer opaque)
{
    bool fua = GPOINTER_TO_INT(opaque);
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;
    char buf[512] = { 0 };

    d->fua = fua;
    blk = ram_open_blk(d, "driver=raw");
    g_assert_true(blk_enable_write_cache(blk));
    blk_set_enable_write_cache(blk, false);
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpuint(d->fua_writes, ==, fua ? 1 : 0);
    g_assert_cmpuint(d->flushes, ==, fua ? 0 : 1);
    g_assert_cmpint(blk_pwrite(blk, 10, 5, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 512, 512, 0), ==, 0);
    g_assert_cmpuint(d->flushes, ==, fua ? 0 : 3);
    blk_unref(blk);
    ram_disk_free(d);
}

/* A disk that knows FUA gets one flush behind many pieces, and none for a piece. */
static void test_write_through_in_pieces(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;
    char buf[8192] = { 0 };

    d->fua = true;
    d->limits.max_transfer = 1024;
    blk = ram_open_blk(d, "driver=raw");
    blk_set_enable_write_cache(blk, false);
    g_assert_cmpint(blk_pwrite(blk, 0, 8192, buf, 0), ==, 0);
    g_assert_cmpuint(d->fua_writes, ==, 0);
    g_assert_cmpuint(d->flushes, ==, 1);
    g_assert_cmpint(blk_pwrite(blk, 0, 1024, buf, 0), ==, 0);
    g_assert_cmpuint(d->fua_writes, ==, 1);
    g_assert_cmpuint(d->flushes, ==, 1);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- length and status --- */

static void test_truncate(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    g_autoptr(GError) err = NULL;
    uint8_t buf[1024];

    g_assert_cmpint(blk_truncate(blk, 1024, true, PREALLOC_MODE_OFF, 0, &error_abort), ==,
                    0);
    g_assert_cmpint(blk_getlength(blk), ==, 1024);
    g_assert_cmpint(blk_pread(blk, 512, 1024, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_truncate(blk, 4096, true, PREALLOC_MODE_OFF, BDRV_REQ_ZERO_WRITE,
                                 &error_abort),
                    ==, 0);
    g_assert_cmpint(blk_pread(blk, 512, 1024, buf, 0), ==, 0);
    assert_pattern(buf, 512, 512);
    g_assert_cmpint(buf[512], ==, 0);

    g_assert_cmpint(blk_truncate(blk, -1, true, PREALLOC_MODE_OFF, 0, &err), ==, -EINVAL);
    g_clear_error(&err);
    g_assert_cmpint(blk_truncate(blk, INT64_MAX, true, PREALLOC_MODE_OFF, 0, &err), ==,
                    -EFBIG);
    g_clear_error(&err);
    d->resizable = false;
    g_assert_cmpint(blk_truncate(blk, 8192, true, PREALLOC_MODE_OFF, 0, &err), ==,
                    -ENOSPC);
    g_assert_cmpstr(err->message, ==, "The RAM disk is full");
    g_assert_cmpint(blk_getlength(blk), ==, 4096);
    blk_unref(blk);
    ram_disk_free(d);
}

/* A request of its own, as a coroutine. */
typedef struct CoRequest {
    BlockBackend *blk;
    bool truncate, zeroes;
    int64_t offset;
    int ret; /* -EINPROGRESS until it is over */
} CoRequest;

static void coroutine_fn co_request_entry(void *opaque)
{
    CoRequest *r = opaque;
    char buf[512] = { 1 };

    if (r->truncate) {
        Error *err = NULL;

        r->ret =
            blk_co_truncate(r->blk, r->offset, true, PREALLOC_MODE_OFF, 0, &err);
        error_free(err);
    } else if (r->zeroes) {
        r->ret = blk_co_pwrite_zeroes(r->blk, r->offset, 512, 0);
    } else {
        r->ret = blk_co_pwrite(r->blk, r->offset, 512, buf, 0);
    }
}

static void co_request_start(CoRequest *r)
{
    r->ret = -EINPROGRESS;
    qemu_coroutine_enter(qemu_coroutine_create(co_request_entry, r));
}

/* Writes that wait for a truncation behind whose end they are: the image stays short. */
static void test_truncate_before_write(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    CoRequest r[] = {
        { .blk = blk, .offset = 61440 },
        { .blk = blk, .offset = 32768, .truncate = true },
        { .blk = blk, .offset = 49152 },
        { .blk = blk, .offset = 51200, .zeroes = true },
        { .blk = blk, .offset = 32256 },
    };

    d->hold = true;
    for (size_t i = 0; i < G_N_ELEMENTS(r); i++) {
        co_request_start(&r[i]);
        g_assert_cmpint(r[i].ret, ==, -EINPROGRESS);
    }
    ram_release(d);
    blk_drain(blk);
    g_assert_cmpint(r[0].ret, ==, 0);
    g_assert_cmpint(r[1].ret, ==, 0);
    g_assert_cmpint(r[2].ret, ==, -EIO);
    g_assert_cmpint(r[3].ret, ==, -EIO);
    g_assert_cmpint(r[4].ret, ==, 0);
    g_assert_cmpint(d->length, ==, 32768);
    g_assert_cmpint(blk_getlength(blk), ==, 32768);
    blk_unref(blk);
    ram_disk_free(d);
}

/*
 * Growing waits for shrinking, then owns all of the new space: a write into it waits,
 * too, and is not lost.
 */
static void test_truncate_twice(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    CoRequest r[] = {
        { .blk = blk, .offset = 61440 },
        { .blk = blk, .offset = 32768, .truncate = true },
        { .blk = blk, .offset = 57344, .truncate = true },
    };
    uint8_t buf[512];

    d->hold = true;
    for (size_t i = 0; i < G_N_ELEMENTS(r); i++) {
        co_request_start(&r[i]);
    }
    ram_release(d);
    blk_drain(blk);
    g_assert_cmpint(r[1].ret, ==, 0);
    g_assert_cmpint(r[2].ret, ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, 57344);
    g_assert_cmpint(blk_pread(blk, 40960, 512, buf, 0), ==, 0);
    g_assert_true(buffer_is_zero(buf, 512));
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- who may not resize does not make the image grow --- */

static void test_no_growth_at_odd_window(void)
{
    RamDisk *d = patterned_disk(1);
    BlockBackend *blk =
        ram_try_open(d, "driver=raw,offset=100", BDRV_O_RDWR, &error_abort);
    char buf[512] = { 0 };

    /* In whole sectors, so the last one ends behind the file. */
    g_assert_cmpint(blk_getlength(blk), ==, LENGTH);
    g_assert_cmpint(blk_pread(blk, LENGTH - 512, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, LENGTH - 512, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, LENGTH - 512, 512, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, LENGTH - 512, 412, buf, 0), ==, 0);
    g_assert_cmpint(d->length, ==, LENGTH);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_length_of_odd_blocks(void)
{
    RamDisk *d = ram_disk_new(4096 + 1024);
    g_autoptr(GError) err = NULL;
    BlockBackend *blk;
    char buf[512] = { 1 };

    d->limits.request_alignment = 4096;
    g_assert_null(ram_try_open(d, "driver=raw", BDRV_O_RDWR, &err));
    g_assert_nonnull(strstr(err->message, "not a multiple of request alignment"));
    blk = ram_try_open(d, "driver=raw", 0, &error_abort);
    g_assert_cmpint(blk_pread(blk, 4608, 512, buf, 0), ==, 0);
    blk_unref(blk);
    blk = ram_open_blk(d, "driver=raw");
    g_assert_cmpint(blk_pwrite(blk, 4608, 512, buf, 0), ==, 0);
    g_assert_cmpint(d->length, ==, 8192);
    blk_unref(blk);
    ram_disk_free(d);
}

/* Of a device, say: whoever stands above sees it, too. */
static void test_length_changes_below(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk;
    char buf[512];

    bdrv_test_ram.has_variable_length = true;
    blk = ram_open_blk(d, "driver=raw");
    d->length = LENGTH + 4096;
    g_assert_cmpint(blk_getlength(blk), ==, LENGTH + 4096);
    g_assert_cmpint(blk_pread(blk, LENGTH + 1024, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, LENGTH + 1024, 512, buf, 0), ==, 0);
    blk_unref(blk);
    bdrv_test_ram.has_variable_length = false;
    ram_disk_free(d);
}

static void test_truncate_unsupported(void)
{
    g_autoptr(GError) err = NULL;
    BlockOptions *options = blk_options_new();
    BlockBackend *blk;

    blk_options_set(options, "driver", "null-co");
    blk = blk_new_open(NULL, NULL, options, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    g_assert_cmpint(blk_truncate(blk, 0, true, PREALLOC_MODE_OFF, 0, &err), ==, -ENOTSUP);
    g_assert_cmpstr(err->message, ==, "Image format driver does not support resize");
    blk_unref(blk);
}

static void test_block_status(void)
{
    BlockOptions *options = blk_options_new();
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, "driver=raw,offset=512");
    int64_t n;

    g_assert_cmpint(blk_block_status(blk, 100, 1000, &n), ==,
                    BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_OFFSET_VALID);
    g_assert_cmpint(n, ==, 1000);
    g_assert_cmpint(blk_block_status(blk, 100, LENGTH, &n), ==,
                    BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_OFFSET_VALID |
                        BDRV_BLOCK_EOF);
    g_assert_cmpint(n, ==, LENGTH - 612);
    g_assert_cmpint(blk_block_status(blk, LENGTH, 10, &n), ==, BDRV_BLOCK_EOF);
    g_assert_cmpint(n, ==, 0);
    g_assert_cmpint(blk_block_status(blk, -1, 10, &n), ==, -EINVAL);
    blk_unref(blk);
    ram_disk_free(d);

    blk_options_set(options, "driver", "null-co");
    blk_options_set(options, "read-zeroes", "on");
    blk = blk_new_open(NULL, NULL, options, 0, &error_abort);
    g_assert_cmpint(blk_block_status(blk, 0, 4096, &n), ==,
                    BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_OFFSET_VALID);
    g_assert_cmpint(n, ==, 4096);
    blk_unref(blk);
}

/* --- raw --- */

static void test_raw_window(void)
{
    RamDisk *d = patterned_disk(512);
    BlockBackend *blk = ram_open_blk(d, "driver=raw,offset=1000,size=2k");
    g_autoptr(GError) err = NULL;
    uint8_t buf[2048];

    g_assert_cmpint(blk_getlength(blk), ==, 2048);
    g_assert_cmpint(blk_pread(blk, 0, 2048, buf, 0), ==, 0);
    assert_pattern(buf, 1000, 2048);
    g_assert_cmpint(blk_pread(blk, 1, 2048, buf, 0), ==, -EIO);
    memset(buf, 0xaa, 24);
    g_assert_cmpint(blk_pwrite(blk, 2024, 24, buf, 0), ==, 0);
    assert_pattern(d->data, 0, 3024);
    g_assert_cmphex(d->data[3024], ==, 0xaa);
    g_assert_cmphex(d->data[3047], ==, 0xaa);
    assert_pattern(d->data + 3048, 3048, 100);
    g_assert_cmpint(blk_truncate(blk, 512, true, PREALLOC_MODE_OFF, 0, &err), ==,
                    -ENOTSUP);
    g_assert_cmpstr(err->message, ==, "Cannot resize fixed-size raw disks");
    blk_unref(blk);
    ram_disk_free(d);
}

static int probe_magic(const uint8_t *buf, int buf_size, const char *filename)
{
    return buf_size >= 4 && !memcmp(buf, "TEST", 4) ? 100 : 0;
}

static BlockDriver bdrv_test_magic = {
    .format_name = "test-magic",
    .is_format = true,
    .bdrv_probe = probe_magic,
};

static void test_guessed_raw_keeps_looking_raw(void)
{
    RamDisk *d = patterned_disk(1);
    BlockBackend *blk;
    char buf[1024] = "TESTxx";

    bdrv_register(&bdrv_test_magic);
    blk = ram_open_blk(d, "read-only=off");
    g_assert_cmpstr(bdrv_get_format_name(blk_bs(blk)), ==, "raw");
    g_assert_cmpint(blk_pwrite(blk, 0, 1024, buf, 0), ==, -EPERM);
    g_assert_cmpint(blk_pwrite(blk, 0, 2, buf, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 2, 2, buf + 2, 0), ==, -EPERM);
    g_assert_cmpint(blk_pwrite(blk, 512, 512, buf, 0), ==, 0);
    buf[0] = 'X';
    g_assert_cmpint(blk_pwrite(blk, 0, 1024, buf, 0), ==, 0);
    g_assert_cmpint(memcmp(d->data, "XESTxx", 6), ==, 0);
    blk_unref(blk);

    blk = ram_open_blk(d, "driver=raw");
    buf[0] = 'T';
    g_assert_cmpint(blk_pwrite(blk, 0, 1024, buf, 0), ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block/io/ranges", test_ranges);
    g_test_add_func("/block/io/no-medium", test_no_medium);
    g_test_add_func("/block/io/read-only", test_read_only);
    g_test_add_data_func("/block/io/unaligned/1", GUINT_TO_POINTER(1), test_unaligned);
    g_test_add_data_func("/block/io/unaligned/512", GUINT_TO_POINTER(512),
                         test_unaligned);
    g_test_add_data_func("/block/io/unaligned/4096", GUINT_TO_POINTER(4096),
                         test_unaligned);
    g_test_add_func("/block/io/unaligned/full-vector", test_unaligned_full_vector);
    g_test_add_func("/block/io/unaligned/read-error", test_rmw_read_error);
    g_test_add_func("/block/io/odd-length", test_odd_length);
    g_test_add_func("/block/io/split", test_split);
    g_test_add_func("/block/io/zero/limits", test_zero_limits);
    g_test_add_func("/block/io/zero/fallback", test_zero_fallback);
    g_test_add_func("/block/io/discard", test_discard);
    g_test_add_func("/block/io/flush/only-after-writes", test_flush_only_after_writes);
    g_test_add_func("/block/io/flush/error-sticks", test_flush_error_sticks);
    g_test_add_func("/block/io/flush/unsafe", test_flush_unsafe);
    g_test_add_data_func("/block/io/write-through/flush", GINT_TO_POINTER(0),
                         test_write_through);
    g_test_add_data_func("/block/io/write-through/fua", GINT_TO_POINTER(1),
                         test_write_through);
    g_test_add_func("/block/io/write-through/in-pieces", test_write_through_in_pieces);
    g_test_add_func("/block/io/truncate", test_truncate);
    g_test_add_func("/block/io/truncate/before-write", test_truncate_before_write);
    g_test_add_func("/block/io/truncate/twice", test_truncate_twice);
    g_test_add_func("/block/io/no-growth/odd-window", test_no_growth_at_odd_window);
    g_test_add_func("/block/io/no-growth/odd-blocks", test_length_of_odd_blocks);
    g_test_add_func("/block/io/length-changes-below", test_length_changes_below);
    g_test_add_func("/block/io/truncate/unsupported", test_truncate_unsupported);
    g_test_add_func("/block/io/status", test_block_status);
    g_test_add_func("/block/raw/window", test_raw_window);
    g_test_add_func("/block/raw/guessed-keeps-looking-raw",
                    test_guessed_raw_keeps_looking_raw);
    return g_test_run();
}
