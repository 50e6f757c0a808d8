/* SPDX-License-Identifier: MIT */
/* How long files get and what may not change its length: resizes, devices, creation. */
#include <sys/statvfs.h>

#include "qemu/osdep.h"

#include "file-fixture.h"

/* --- size --- */

static void resize_refused(BlockBackend *blk, int64_t size, PreallocMode prealloc,
                           const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(blk_truncate(blk, size, true, prealloc, 0, &err), <, 0);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static void resize(BlockBackend *blk, int64_t size, PreallocMode prealloc)
{
    g_assert_cmpint(blk_truncate(blk, size, true, prealloc, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, size);
}

static void test_resize(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_rw(f, 0);
    int64_t before = allocated(f->img);

    resize(blk, 3 * MIB, PREALLOC_MODE_OFF);
    g_assert_cmpint(allocated(f->img), <=, before + 64 * KIB);
    check_bytes(blk, MIB, 2 * MIB, 0);
    resize(blk, 512 * KIB, PREALLOC_MODE_OFF);
    check_bytes(blk, 0, 512 * KIB, 0x11);
    resize(blk, 1 * MIB, PREALLOC_MODE_OFF);
    check_bytes(blk, 512 * KIB, 512 * KIB, 0);

    resize(blk, 2 * MIB, PREALLOC_MODE_FALLOC);
    g_assert_cmpint(allocated(f->img), >=, 1 * MIB + 512 * KIB);
    resize(blk, 3 * MIB + 512, PREALLOC_MODE_FULL);
    g_assert_cmpint(allocated(f->img), >=, 2 * MIB + 512 * KIB);
    check_bytes(blk, 512 * KIB, 2 * MIB + 512 * KIB + 512, 0);
    g_assert_cmpint(file_length(f->img), ==, 3 * MIB + 512);
    blk_unref(blk);
}

static void test_resize_direct(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_image(f->img, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_NOCACHE,
                                   NULL);

    if (!blk) {
        g_test_skip("no O_DIRECT in this directory");
        return;
    }
    resize(blk, 2 * MIB, PREALLOC_MODE_FULL);
    check_bytes(blk, 0, 1 * MIB, 0x11);
    check_bytes(blk, 1 * MIB, 1 * MIB, 0);
    g_assert_cmpint(file_length(f->img), ==, 2 * MIB);
    blk_unref(blk);
}

static void test_resize_refused(Fixture *f, gconstpointer flags)
{
    BlockBackend *blk = open_rw(f, 0);

    resize_refused(blk, 512 * KIB, PREALLOC_MODE_FALLOC,
                   "Cannot use preallocation for shrinking files");
    resize_refused(blk, 2 * MIB, PREALLOC_MODE_METADATA,
                   "Unsupported preallocation mode: metadata");
    g_assert_cmpint(file_length(f->img), ==, IMG_SIZE);
    check_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
}

/* --- devices --- */

static BlockBackend *open_device(const char *path, int flags, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    blk_options_set(opts, "driver", "host_device");
    blk_options_set(opts, "filename", path);
    return blk_new_open(NULL, NULL, opts, flags, errp);
}

/* A loop device over the image; NULL: not allowed here, or none free. */
static char *loop_device(const char *image)
{
    const char *argv[] = { "losetup", "-f", "--show", image, NULL };
    char *name = NULL;
    int status = -1;

    if (!g_spawn_sync(NULL, (char **)argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &name, NULL,
                      &status, NULL) || status != 0) {
        g_free(name);
        return NULL;
    }
    return g_strchomp(name);
}

static void free_loop_device(const char *name)
{
    const char *argv[] = { "losetup", "-d", name, NULL };

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
}

static void test_device(Fixture *f, gconstpointer flags)
{
    g_autofree char *name = loop_device(f->img);
    g_autofree uint8_t *buf = g_malloc0(8192);
    BlockBackend *blk;

    if (!name) {
        g_test_skip("no loop device to be had");
        return;
    }
    check_refused(name, NULL, 0, "'file' driver requires");
    blk = open_device(name, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP | GPOINTER_TO_INT(flags),
                      &error_abort);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    check_bytes(blk, 0, IMG_SIZE, 0x11);
    g_assert_cmpint(blk_pwrite(blk, 5000, 7000, buf + 1, 0), ==, 0);
    check_bytes(blk, 4999, 1, 0x11);
    check_bytes(blk, 5000, 7000, 0);
    check_bytes(blk, 12000, 1000, 0x11);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 64 * KIB, 64 * KIB, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 256 * KIB, 64 * KIB, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 400000, 1001, 0), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 512 * KIB, 64 * KIB), ==, 0);
    check_bytes(blk, 64 * KIB, 64 * KIB, 0);
    check_bytes(blk, 256 * KIB, 64 * KIB, 0);
    check_bytes(blk, 400000, 1001, 0);
    check_bytes(blk, 768 * KIB, 64 * KIB, 0x11);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    resize_refused(blk, 2 * MIB, PREALLOC_MODE_OFF, "Cannot resize device files");
    blk_unref(blk);
    free_loop_device(name);
}

static void test_file_is_no_device(Fixture *f, gconstpointer data)
{
    Error *err = NULL;

    g_assert_null(open_device(f->img, 0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "to be either a character or block device"));
    error_free(err);
}

/* --- create --- */

static int create(const char *path, const char *text, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    g_assert_true(blk_options_parse(opts, text, NULL, &error_abort));
    return bdrv_create(bdrv_find_format("raw"), path, opts, errp);
}

static void create_refused(const char *path, const char *text, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(create(path, text, &err), <, 0);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static void test_create(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "new.img", NULL);

    bdrv_init();
    g_assert_cmpint(create(path, "size=2097152", &error_abort), ==, 0);
    g_assert_cmpint(file_length(path), ==, 2 * MIB);
    g_assert_cmpint(allocated(path), <, 64 * KIB);
    g_assert_cmpint(create(path, "size=1048576,preallocation=falloc", &error_abort), ==, 0);
    g_assert_cmpint(file_length(path), ==, 1 * MIB);
    g_assert_cmpint(allocated(path), >=, 1 * MIB);
    g_assert_cmpint(create(path, "size=1048577,preallocation=full,nocow=on", &error_abort), ==,
                    0);
    /* In whole sectors. */
    g_assert_cmpint(file_length(path), ==, 1 * MIB + 512);
}

static void test_create_fails(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "new.img", NULL);
    g_autofree char *nowhere = g_build_filename(f->dir, "missing", "new.img", NULL);

    bdrv_init();
    create_refused(path, "size=1048576,preallocation=foo", "invalid parameter value: foo");
    create_refused(path, "size=1048576,preallocation=metadata", "Unsupported preallocation");
    create_refused(path, "size=8070450532247928832", "The image size is too large");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    create_refused(nowhere, "size=512", "Could not create '");
    create_refused(f->dir, "size=512", "Is a directory");
}

/* More than the disk has is refused before the disk is filled. */
static void test_create_larger_than_the_disk(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "new.img", NULL);
    g_autofree char *text = NULL;
    struct statvfs vfs;

    g_assert_cmpint(statvfs(f->dir, &vfs), ==, 0);
    text = g_strdup_printf("size=%" PRIu64 ",preallocation=falloc",
                           (uint64_t)vfs.f_blocks * vfs.f_frsize / 512 * 512 + MIB);
    bdrv_init();
    create_refused(path, text, "Could not preallocate new data: No space left on device");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_create_respects_locks(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;
    struct flock fl = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1,
    };
    int fd = open(f->img, O_RDWR | O_CLOEXEC);

    bdrv_init();
    if (fcntl(fd, F_OFD_SETLK, &fl) < 0) {
        g_test_skip("no OFD locks in this directory");
        close(fd);
        return;
    }
    /* Byte 201: somebody does not want others to write. */
    create_refused(f->img, "size=512", "Failed to get \"write\" lock");
    check_refused(f->img, NULL, BDRV_O_RDWR, "Failed to get \"write\" lock");
    g_assert_cmpint(file_length(f->img), ==, IMG_SIZE);
    blk = open_image(f->img, NULL, 0, &error_abort);
    check_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
    blk = open_image(f->img, "locking=off", BDRV_O_RDWR, &error_abort);
    blk_unref(blk);
    close(fd);
    blk_unref(open_rw(f, 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST("resize", test_resize, NULL);
    TEST("resize-direct", test_resize_direct, NULL);
    TEST("resize-refused", test_resize_refused, NULL);
    TEST("device/buffered", test_device, GINT_TO_POINTER(0));
    TEST("device/native", test_device, GINT_TO_POINTER(BDRV_O_NOCACHE | BDRV_O_NATIVE_AIO));
    TEST("device/file-is-none", test_file_is_no_device, NULL);
    TEST("create", test_create, NULL);
    TEST("create-fails", test_create_fails, NULL);
    TEST("create-larger-than-the-disk", test_create_larger_than_the_disk, NULL);
    TEST("create-respects-locks", test_create_respects_locks, NULL);
    if (io_uring_works()) {
        TEST("device/io_uring", test_device, GINT_TO_POINTER(BDRV_O_IO_URING));
    }
    return g_test_run();
}
