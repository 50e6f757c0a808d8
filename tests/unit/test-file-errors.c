/* SPDX-License-Identifier: MIT */
/*
 * The file driver on a kernel that says no: zeroes, discards, flushes and other sizes of an open
 * file or device. What opening and creating one answers is in test-file-open-errors.c.
 */
#include "file-errors.h"

static void fill(BlockBackend *blk)
{
    g_autofree uint8_t *buf = g_malloc(IMG_SIZE);

    memset(buf, 0x11, IMG_SIZE);
    g_assert_cmpint(blk_pwrite(blk, 0, IMG_SIZE, buf, 0), ==, 0);
}

/* Zeroes, whoever writes them, are where they should be and nowhere else. */
static void assert_zeroed(BlockBackend *blk, int64_t offset, int64_t bytes, int flags)
{
    fill(blk);
    g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes, flags), ==, 0);
    assert_bytes(blk, offset, bytes, 0);
    assert_bytes(blk, offset - 1, 1, 0x11);
    assert_bytes(blk, offset + bytes, 1, 0x11);
}

/* --- zeroes and discards --- */

static const int not_there[] = { EOPNOTSUPP, ENOSYS, ENODEV, ENOTTY };

/* Without ZERO_RANGE: a hole that is then allocated; and it is asked for once only. */
static void test_no_zero_range(Fixture *f, gconstpointer data)
{
    for (size_t i = 0; i < G_N_ELEMENTS(not_there); i++) {
        BlockBackend *blk = open_rw(f);

        fail(CALL_ZERO_RANGE, 0, 1, not_there[i]);
        fail(CALL_PUNCH, 0, 1, EINTR);
        fail(CALL_ALLOCATE, 0, 1, EINTR);
        assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
        assert_failed(CALL_PUNCH);
        assert_failed(CALL_ALLOCATE);
        assert_zeroed(blk, 8 * KIB, 8 * KIB, 0);
        g_assert_cmpint(fault[CALL_ZERO_RANGE].calls, ==, 1);
        g_assert_cmpint(fault[CALL_ALLOCATE].calls, ==, 3);
        blk_unref(blk);
    }
}

/* A range that the file system does not like says nothing about the next one. */
static void test_zero_range_of_odd_range(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_ZERO_RANGE, 0, 1, EINVAL);
    assert_zeroed(blk, 4 * KIB + 1, 4 * KIB, 0);
    assert_failed(CALL_ZERO_RANGE);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    g_assert_cmpint(fault[CALL_ZERO_RANGE].calls, ==, 2);
    blk_unref(blk);
}

/* With no fallocate(2) at all zeroes are written; who does not want that is told. */
static void test_no_fallocate(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_ZERO_RANGE, 0, 1, EOPNOTSUPP);
    fail(CALL_ALLOCATE, 0, 1, EOPNOTSUPP);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    g_assert_cmpint(fault[CALL_ALLOCATE].calls, ==, 1);
    fail(CALL_PUNCH, 0, 1, EOPNOTSUPP);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    assert_failed(CALL_PUNCH);
    fill(blk);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_NO_FALLBACK), ==, -ENOTSUP);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    /* A discard is advice. */
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    g_assert_cmpint(fault[CALL_PUNCH].calls, ==, 1);
    blk_unref(blk);
}

static void test_zeroes_fail(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_ZERO_RANGE, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, 0), ==, -EIO);
    fail(CALL_ZERO_RANGE, 0, 1, EOPNOTSUPP);
    fail(CALL_PUNCH, 0, 1, ENOSPC);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, 0), ==, -ENOSPC);
    fail(CALL_PUNCH, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_MAY_UNMAP), ==, -EIO);
    fail(CALL_PUNCH, 0, 1, EIO);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, -EIO);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
}

/* --- a device --- */

static void test_device_zeroes(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    blk = open_rw(f);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    fail(CALL_ZEROOUT, 0, 1, EINTR);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    assert_failed(CALL_ZEROOUT);
    fail(CALL_ZEROOUT, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, 0), ==, -EIO);
    /* Less than a sector is written. */
    fail(CALL_ZEROOUT, 0, 0, 0);
    assert_zeroed(blk, 100, 100, 0);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 0);
    /* Unmapping, where the device can. */
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 0);
    fail(CALL_PUNCH, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_MAY_UNMAP), ==, -EIO);
    fail(CALL_PUNCH, 0, 1, EOPNOTSUPP);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 1);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_NO_FALLBACK), ==, -ENOTSUP);
    /* What the device lacks is asked for once. */
    fail(CALL_ZEROOUT, 0, 1, ENOTTY);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 1);
    blk_unref(blk);
}

static void test_device_discard(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    blk = open_rw(f);
    fail(CALL_DISCARD, 0, 1, EINTR);
    g_assert_cmpint(blk_pdiscard(blk, 4 * KIB, 4 * KIB), ==, 0);
    assert_failed(CALL_DISCARD);
    assert_bytes(blk, 4 * KIB, 4 * KIB, 0);
    assert_bytes(blk, 8 * KIB, 4 * KIB, 0x11);
    fail(CALL_DISCARD, 0, 1, EIO);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, -EIO);
    /* Less than a sector cannot be discarded. */
    fail(CALL_DISCARD, 0, 0, 0);
    g_assert_cmpint(blk_pdiscard(blk, 100, 100), ==, 0);
    g_assert_cmpint(fault[CALL_DISCARD].calls, ==, 0);
    fail(CALL_DISCARD, 0, 1, EOPNOTSUPP);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    g_assert_cmpint(fault[CALL_DISCARD].calls, ==, 1);
    assert_bytes(blk, 0, 4 * KIB, 0x11);
    blk_unref(blk);
}

static void resize_refused(BlockBackend *blk, int64_t size, bool exact, PreallocMode prealloc,
                           int error, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(blk_truncate(blk, size, exact, prealloc, 0, &err), ==, error);
    assert_message(err, message);
}

static void test_device_has_its_size(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    blk = open_rw(f);
    g_assert_cmpint(blk_truncate(blk, IMG_SIZE, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_truncate(blk, KIB, false, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    resize_refused(blk, KIB, true, PREALLOC_MODE_OFF, -ENOTSUP, "Cannot resize device files");
    resize_refused(blk, 2 * IMG_SIZE, true, PREALLOC_MODE_OFF, -ENOTSUP,
                   "Cannot resize device files");
    resize_refused(blk, 2 * IMG_SIZE, false, PREALLOC_MODE_OFF, -EINVAL,
                   "Cannot grow device files");
    resize_refused(blk, IMG_SIZE, true, PREALLOC_MODE_FULL, -ENOTSUP,
                   "Preallocation is not supported for device files");
    blk_unref(blk);
}

static void test_char_device(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    kernel.char_device = true;
    blk = open_rw(f);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    g_assert_cmpint(fault[CALL_PUNCH].calls + fault[CALL_ZERO_RANGE].calls, ==, 0);
    fill(blk);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    assert_bytes(blk, 0, 4 * KIB, 0x11);
    /* It has nothing to write back, which is no failure; all else is, and stays one. */
    fail(CALL_FDATASYNC, 0, 1, EINVAL);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    assert_failed(CALL_FDATASYNC);
    fill(blk);
    fail(CALL_FDATASYNC, 0, 1, EIO);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    fill(blk);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
}

static void test_flush_of_a_file(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fill(blk);
    fail(CALL_FDATASYNC, 0, 1, EINVAL);
    g_assert_cmpint(blk_flush(blk), ==, -EINVAL);
    fail(CALL_FSTAT, 0, 1, EIO);
    g_assert_cmpint(bdrv_get_allocated_file_size(blk_bs(blk)), ==, -EIO);
    blk_unref(blk);
}

/* --- size --- */

static void test_resize_fails(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);
    const int64_t more = 2 * IMG_SIZE;

    fail(CALL_FTRUNCATE, 0, 1, EFBIG);
    resize_refused(blk, more, true, PREALLOC_MODE_OFF, -EFBIG, "Could not resize file");
    fail(CALL_FTRUNCATE, 0, 1, ENOSPC);
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -ENOSPC, "Could not resize file");
    fail(CALL_FTRUNCATE, 1, 1, EIO); /* what cuts off what was written too much */
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -EIO, "Could not write zeros");
    g_assert_cmpint(size_of(f->img), ==, IMG_SIZE);
    fail(CALL_PWRITE, 0, 1, ENOSPC);
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -ENOSPC, "Could not write zeros");
    kernel.short_write = true;
    fail(CALL_PWRITE, 0, 1, EIO);
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -ENOSPC, "Could not write zeros");
    kernel.short_write = false;
    fail(CALL_POSIX_ALLOCATE, 0, 1, ENOSPC);
    resize_refused(blk, more, true, PREALLOC_MODE_FALLOC, -ENOSPC, "Could not preallocate");
    g_assert_cmpint(size_of(f->img), ==, IMG_SIZE);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
}

static void resize(BlockBackend *blk, int64_t size, PreallocMode prealloc)
{
    g_assert_cmpint(blk_truncate(blk, size, true, prealloc, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, size);
}

static void test_resize_is_interrupted(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_FTRUNCATE, 0, 1, EINTR);
    resize(blk, 2 * IMG_SIZE, PREALLOC_MODE_OFF);
    assert_failed(CALL_FTRUNCATE);
    fail(CALL_FTRUNCATE, 0, 1, EINTR);
    fail(CALL_PWRITE, 0, 1, EINTR);
    resize(blk, 3 * IMG_SIZE, PREALLOC_MODE_FULL);
    assert_failed(CALL_FTRUNCATE);
    assert_failed(CALL_PWRITE);
    fail(CALL_FTRUNCATE, 1, 1, EINTR);
    resize(blk, 4 * IMG_SIZE, PREALLOC_MODE_FULL);
    assert_failed(CALL_FTRUNCATE);
    fail(CALL_POSIX_ALLOCATE, 0, 1, EINTR);
    resize(blk, 5 * IMG_SIZE, PREALLOC_MODE_FALLOC);
    assert_failed(CALL_POSIX_ALLOCATE);
    /* Nobody knows how much space there is: it is tried. */
    fail(CALL_FSTATVFS, 0, 1, EIO);
    resize(blk, 6 * IMG_SIZE, PREALLOC_MODE_FALLOC);
    kernel.no_blocks = true;
    resize(blk, 7 * IMG_SIZE, PREALLOC_MODE_FALLOC);
    assert_bytes(blk, IMG_SIZE, 6 * IMG_SIZE, 0);
    /* The way back, after a failure, is interrupted as well. */
    fail(CALL_POSIX_ALLOCATE, 0, 1, EIO);
    fail(CALL_FTRUNCATE, 0, 1, EINTR);
    resize_refused(blk, 8 * IMG_SIZE, true, PREALLOC_MODE_FALLOC, -EIO, "Could not preallocate");
    assert_failed(CALL_FTRUNCATE);
    g_assert_cmpint(size_of(f->img), ==, 7 * IMG_SIZE);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST("zeroes/no-zero-range", test_no_zero_range);
    TEST("zeroes/of-odd-range", test_zero_range_of_odd_range);
    TEST("zeroes/no-fallocate", test_no_fallocate);
    TEST("zeroes/fail", test_zeroes_fail);
    TEST("device/zeroes", test_device_zeroes);
    TEST("device/discard", test_device_discard);
    TEST("device/has-its-size", test_device_has_its_size);
    TEST("device/char", test_char_device);
    TEST("flush", test_flush_of_a_file);
    TEST("resize/fails", test_resize_fails);
    TEST("resize/is-interrupted", test_resize_is_interrupted);
    return g_test_run();
}
