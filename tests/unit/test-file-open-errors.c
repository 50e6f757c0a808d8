/* SPDX-License-Identifier: MIT */
/*
 * The file driver on a kernel that says no: files and devices that cannot be opened, locked or
 * created, or only in another way, and the alignment that O_DIRECT takes.
 */
#include "file-errors.h"
#include "block/block-driver.h"

/* --- open --- */

static void test_open_fails(Fixture *f, gconstpointer data)
{
    fail(CALL_OPEN, 0, 1, EINTR);
    blk_unref(open_rw(f));
    assert_failed(CALL_OPEN);
    fail(CALL_OPEN, 0, 1, EINVAL);
    open_refused(f, NULL, BDRV_O_RDWR, "Invalid argument");
    fail(CALL_OPEN, 0, 1, EINVAL);
    open_refused(f, NULL, BDRV_O_RDWR | BDRV_O_NOCACHE, "does not support O_DIRECT");
    fail(CALL_SETFL, 0, 1, EPERM);
    open_refused(f, NULL, BDRV_O_RDWR, "Operation not permitted");
    fail(CALL_FSTAT, 0, 1, EIO);
    open_refused(f, NULL, BDRV_O_RDWR, "to be a regular file");
    /* Another file has taken the name between stat() and open(). */
    kernel.changes = inode_of(f->img);
    open_refused(f, NULL, BDRV_O_RDWR, "to be a regular file");
}

static void test_auto_read_only(Fixture *f, gconstpointer data)
{
    static const int errors[] = { EACCES, EROFS, EPERM };

    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        BlockBackend *blk;

        fail(CALL_OPEN, 0, 1, errors[i]);
        blk = try_open(f, "auto-read-only=on,read-only=off", 0, &error_abort);
        assert_failed(CALL_OPEN);
        g_assert_true(blk_bs(blk)->read_only);
        assert_bytes(blk, 0, KIB, 0x11);
        blk_unref(blk);
    }
    fail(CALL_OPEN, 0, 1, EIO);
    open_refused(f, "auto-read-only=on,read-only=off", 0, "Input/output error");
    fail(CALL_OPEN, 0, 2, EACCES);
    open_refused(f, "auto-read-only=on,read-only=off", 0, "Permission denied");
    assert_failed(CALL_OPEN);
}

static int create(const char *driver, const char *path, const char *text, Error **errp)
{
    g_autofree char *name = g_strdup_printf("%s%s", driver, path);
    BlockOptions *opts = blk_options_new();

    g_assert_true(blk_options_parse(opts, text, NULL, &error_abort));
    return bdrv_create(bdrv_find_format("raw"), name, opts, errp);
}

/* Each call of that kind, from that one on, fails once; the open with it, unless @may_open. */
static void each_call_fails(Fixture *f, Call call, int first, bool may_open, const char *message)
{
    int i = first;

    for (;; i++) {
        Error *err = NULL;
        BlockBackend *blk;

        fail(call, i, 1, ENOLCK);
        blk = try_open(f, NULL, BDRV_O_RDWR, &err);
        blk_unref(blk);
        if (fault[call].times) {
            break; /* there was none */
        }
        g_assert_cmpint(i, <, 100);
        g_assert_true(may_open || !blk);
        if (!blk) {
            assert_message(err, message);
        }
    }
    g_assert_cmpint(i, >, 2);
    fail(call, 0, 0, 0);
}

static void test_locks(Fixture *f, gconstpointer data)
{
    fail(CALL_GETLK, 0, 1, EINTR);
    fail(CALL_SETLK, 0, 1, EINTR);
    blk_unref(open_rw(f));
    assert_failed(CALL_GETLK);
    assert_failed(CALL_SETLK);
    fail(CALL_GETLK, 1, 1, EINTR);
    blk_unref(open_rw(f));
    assert_failed(CALL_GETLK);
    /* Without such locks at all: "auto" goes without. */
    fail(CALL_GETLK, 0, 1, EINVAL);
    open_refused(f, "locking=on", BDRV_O_RDWR,
                 "neither this file system nor kernel supports OFD locks");
    fail(CALL_GETLK, 0, 1, EINVAL);
    fail(CALL_SETLK, 0, 0, 0);
    blk_unref(open_rw(f));
    fail(CALL_GETLK, 0, 1, EINVAL);
    g_assert_cmpint(create("", f->new_img, "size=4k", &error_abort), ==, 0);
    g_assert_cmpint(fault[CALL_SETLK].calls, ==, 0);
    blk_unref(try_open(f, "locking=on", BDRV_O_RDWR, &error_abort));
    /* Each one of them can fail, and then none is left. */
    each_call_fails(f, CALL_SETLK, 0, true, "Failed to lock byte");
    each_call_fails(f, CALL_GETLK, 1, false, "\" lock: No locks available");
    blk_unref(open_rw(f));
}

/* --- the alignment of O_DIRECT --- */

static void assert_alignment(Fixture *f, unsigned request, unsigned memory)
{
    BlockBackend *blk = try_open(f, NULL, BDRV_O_RDWR | BDRV_O_NOCACHE, &error_abort);
    const BlockLimits *bl = &blk_bs(blk)->bl;

    g_assert_cmpuint(bl->request_alignment, ==, request);
    g_assert_cmpuint(bl->min_mem_alignment, ==, memory);
    blk_unref(blk);
}

/* A kernel that does not tell: what it takes is found out by reading. */
static void test_alignment_is_tried(Fixture *f, gconstpointer data)
{
    kernel.direct = true;
    for (kernel.align = 512; kernel.align <= 4096; kernel.align *= 2) {
        for (kernel.mem_align = 512; kernel.mem_align <= 4096; kernel.mem_align *= 2) {
            assert_alignment(f, kernel.align, kernel.mem_align);
        }
    }
    kernel.align = 512;
    kernel.mem_align = 512;
    fail(CALL_PREAD, 0, 1, EINTR);
    assert_alignment(f, 512, 512);
    assert_failed(CALL_PREAD);
    /* Any other error is none of the alignment. */
    fail(CALL_PREAD, 0, 2, EIO);
    assert_alignment(f, 512, 512);
    assert_failed(CALL_PREAD);
}

#ifdef STATX_DIOALIGN
static void test_alignment_is_told(Fixture *f, gconstpointer data)
{
    static const struct statx useless[] = {
        { .stx_mask = STATX_BASIC_STATS, .stx_dio_offset_align = 512, .stx_dio_mem_align = 512 },
        { .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 0, .stx_dio_mem_align = 512 },
        { .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 768, .stx_dio_mem_align = 512 },
        { .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 512, .stx_dio_mem_align = 100 },
    };

    kernel.direct = true;
    kernel.align = kernel.mem_align = 2048;
    kernel.dio = (struct statx){ .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 4096,
                                 .stx_dio_mem_align = 4 };
    assert_alignment(f, 4096, 4);
    kernel.dio.stx_dio_offset_align = 4;
    assert_alignment(f, 512, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(useless); i++) {
        kernel.dio = useless[i];
        assert_alignment(f, 2048, 2048);
    }
}
#endif

static void test_alignment_of_a_device(Fixture *f, gconstpointer data)
{
    kernel.direct = true;
    kernel.device = inode_of(f->img);
    kernel.align = kernel.mem_align = 512;
    kernel.sector_size = 2048;
    assert_alignment(f, 2048, 512);
    fail(CALL_SECTOR_SIZE, 0, 1, ENOTTY);
    assert_alignment(f, 512, 512);
    kernel.sector_size = -1;
    assert_alignment(f, 512, 512);
    kernel.sector_size = 520;
    assert_alignment(f, 512, 512);
}

/* --- create --- */

/* What was made is taken away again. */
static void create_refused(Fixture *f, const char *text, int error, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(create("", f->new_img, text, &err), ==, error);
    assert_message(err, message);
    g_assert_false(g_file_test(f->new_img, G_FILE_TEST_EXISTS));
}

static void test_create_fails(Fixture *f, gconstpointer data)
{
    fail(CALL_OPEN, 0, 1, ENOSPC);
    create_refused(f, "size=4k", -ENOSPC, "Could not create '");
    fail(CALL_FSTAT, 0, 1, EIO);
    create_refused(f, "size=4k", -EINVAL, "to be a regular file");
    fail(CALL_FSTAT, 1, 1, EIO);
    create_refused(f, "size=4k", -EIO, "Could not determine the file's size");
    fail(CALL_CLOSE, 0, 1, EIO);
    create_refused(f, "size=4k", -EIO, "Could not close the new file");
    fail(CALL_CLOSE, 0, 1, EIO);
    fail(CALL_FTRUNCATE, 0, 1, ENOSPC);
    create_refused(f, "size=4k", -ENOSPC, "Could not resize file");
    fail(CALL_CLOSE, 0, 0, 0);
    fail(CALL_FTRUNCATE, 1, 1, EFBIG);
    create_refused(f, "size=4k", -EFBIG, "too large for file format 'raw'");
    fail(CALL_SETLK, 0, 1, ENOLCK);
    create_refused(f, "size=4k", -ENOLCK, "Failed to lock byte");
    fail(CALL_OPEN, 0, 1, EINTR);
    fail(CALL_PWRITE, 0, 1, EINTR);
    g_assert_cmpint(create("file:", f->new_img, "size=4k", &error_abort), ==, 0);
    assert_failed(CALL_OPEN);
    assert_failed(CALL_PWRITE);
    g_assert_cmpint(size_of(f->new_img), ==, 4 * KIB);
    /* An existing file is opened without O_EXCL, and not removed. */
    fail(CALL_OPEN, 1, 1, EINTR);
    g_assert_cmpint(create("", f->new_img, "size=8k", &error_abort), ==, 0);
    assert_failed(CALL_OPEN);
    g_assert_cmpint(size_of(f->new_img), ==, 8 * KIB);
}

static void create_anew(Fixture *f, const char *text)
{
    unlink(f->new_img);
    g_assert_cmpint(create("", f->new_img, text, &error_abort), ==, 0);
}

static void test_create_extent_size(Fixture *f, gconstpointer data)
{
    create_anew(f, "size=4k");
    g_assert_cmpuint(kernel.xattr.fsx_xflags & FS_XFLAG_EXTSIZE, !=, 0);
    g_assert_cmpuint(kernel.xattr.fsx_extsize, ==, MIB);
    create_anew(f, "size=4k"); /* it is so already */
    g_assert_cmpuint(kernel.xattr_sets, ==, 1);
    create_anew(f, "size=4k,extent_size_hint=2M");
    g_assert_cmpuint(kernel.xattr.fsx_extsize, ==, 2 * MIB);
    create_anew(f, "size=4k,extent_size_hint=0");
    g_assert_cmpuint(kernel.xattr_sets, ==, 2);
    unlink(f->new_img);
    create_refused(f, "size=4k,extent_size_hint=8G", -EINVAL, "Extent size hint is too large");
    fail(CALL_SETXATTR, 0, 1, EIO);
    create_refused(f, "size=4k,extent_size_hint=4M", -EIO, "Could not set extent size hint");
    fail(CALL_GETXATTR, 0, 1, EIO);
    create_refused(f, "size=4k,extent_size_hint=4M", -EIO, "Could not set extent size hint");
    /* One that nobody asked for, or on a file system without such a thing. */
    fail(CALL_GETXATTR, 0, 1, EIO);
    create_anew(f, "size=4k");
    fail(CALL_GETXATTR, 0, 1, EOPNOTSUPP);
    create_anew(f, "size=4k,extent_size_hint=4M");
    fail(CALL_GETXATTR, 0, 1, ENOTTY);
    create_anew(f, "size=4k,extent_size_hint=4M");
    assert_failed(CALL_GETXATTR);
}

static void test_create_nocow(Fixture *f, gconstpointer data)
{
    fail(CALL_GETFLAGS, 0, 1, ENOTTY);
    create_anew(f, "size=4k,nocow=on");
    g_assert_cmphex(kernel.flags, ==, 0);
    kernel.flags = FS_NODUMP_FL;
    create_anew(f, "size=4k,nocow=on");
    g_assert_cmphex(kernel.flags, ==, FS_NODUMP_FL | FS_NOCOW_FL);
}

static void create_device_refused(Fixture *f, const char *text, int error, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(create("host_device:", f->img, text, &err), ==, error);
    assert_message(err, message);
}

/* An image on a device: no signature of what was there is left. */
static void test_create_on_a_device(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    create_device_refused(f, "size=1M", -EINVAL, "Cannot grow device files");
    fail(CALL_GETSIZE, 0, 1, EIO);
    create_device_refused(f, "size=4k", -EIO, "Could not determine the device's size");
    fail(CALL_PWRITE, 0, 1, EIO);
    create_device_refused(f, "size=4k", -EIO, "Could not clear the new image's first sector");
    fail(CALL_SETLK, 0, 1, ENOLCK);
    create_device_refused(f, "size=4k", -ENOLCK, "Failed to lock byte");
    blk = open_rw(f);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
    fail(CALL_FSYNC, 0, 1, ENOSPC);
    create_device_refused(f, "size=4k", -ENOSPC, "Could not clear the new image's first sector");
    fail(CALL_PWRITE, 0, 1, EINTR);
    fail(CALL_GETLK, 0, 1, EINVAL); /* no locks there */
    fail(CALL_SETLK, 0, 0, 0);
    g_assert_cmpint(create("host_device:", f->img, "size=4k", &error_abort), ==, 0);
    assert_failed(CALL_PWRITE);
    g_assert_cmpint(fault[CALL_SETLK].calls, ==, 0);
    blk = open_rw(f);
    assert_bytes(blk, 0, 512, 0);
    assert_bytes(blk, 512, IMG_SIZE - 512, 0x11);
    blk_unref(blk);
    g_assert_cmpint(size_of(f->img), ==, IMG_SIZE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST("open/fails", test_open_fails);
    TEST("open/auto-read-only", test_auto_read_only);
    TEST("open/locks", test_locks);
    TEST("alignment/is-tried", test_alignment_is_tried);
#ifdef STATX_DIOALIGN
    TEST("alignment/is-told", test_alignment_is_told);
#endif
    TEST("alignment/of-a-device", test_alignment_of_a_device);
    TEST("create/fails", test_create_fails);
    TEST("create/extent-size", test_create_extent_size);
    TEST("create/nocow", test_create_nocow);
    TEST("create/on-a-device", test_create_on_a_device);
    return g_test_run();
}
