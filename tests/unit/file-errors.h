/* SPDX-License-Identifier: MIT */
/* A file of 0x11 on a kernel that says no, the driver that opens it, and what it answers. */
#ifndef TESTS_FILE_ERRORS_H
#define TESTS_FILE_ERRORS_H

#include "failing-kernel.h"
#include "block/block-backend.h"
#include "block/block-image.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define IMG_SIZE (64 * KIB)

typedef struct Fixture {
    AioContext *ctx;
    char *dir, *img, *new_img;
} Fixture;

static inline void setup(Fixture *f, gconstpointer data)
{
    g_autofree char *contents = g_malloc(IMG_SIZE), *here = g_get_current_dir();

    bdrv_init();
    f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    f->dir = g_build_filename(here, "test-file-errors-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->img = g_build_filename(f->dir, "a.img", NULL);
    f->new_img = g_build_filename(f->dir, "new.img", NULL);
    memset(contents, 0x11, IMG_SIZE);
    g_assert_true(g_file_set_contents(f->img, contents, IMG_SIZE, NULL));
    memset(fault, 0, sizeof(fault));
    memset(&kernel, 0, sizeof(kernel));
    kernel.on = true;
}

static inline void teardown(Fixture *f, gconstpointer data)
{
    kernel.on = false;
    unlink(f->img);
    unlink(f->new_img);
    g_assert_cmpint(rmdir(f->dir), ==, 0);
    g_free(f->img);
    g_free(f->new_img);
    g_free(f->dir);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

static inline ino_t inode_of(const char *path)
{
    struct stat64 st;

    g_assert_cmpint(REAL(stat64)(path, &st), ==, 0);
    return st.st_ino;
}

static inline int64_t size_of(const char *path)
{
    struct stat64 st;

    g_assert_cmpint(REAL(stat64)(path, &st), ==, 0);
    return st.st_size;
}

static inline BlockBackend *try_open(Fixture *f, const char *more, int flags, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    blk_options_set(opts, "driver", kernel.device ? "host_device" : "file");
    blk_options_set(opts, "filename", f->img);
    if (more) {
        g_assert_true(blk_options_parse(opts, more, NULL, &error_abort));
    }
    return blk_new_open(NULL, NULL, opts, flags, errp);
}

static inline BlockBackend *open_rw(Fixture *f)
{
    return try_open(f, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP, &error_abort);
}

static inline void assert_message(Error *err, const char *message)
{
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static inline void open_refused(Fixture *f, const char *more, int flags, const char *message)
{
    Error *err = NULL;

    g_assert_null(try_open(f, more, flags, &err));
    assert_message(err, message);
}

static inline void assert_bytes(BlockBackend *blk, int64_t offset, size_t len, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(len);

    g_assert_cmpint(blk_pread(blk, offset, len, buf, 0), ==, 0);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, value);
    }
}

#define TEST(name, fn) g_test_add("/file-errors/" name, Fixture, NULL, setup, fn, teardown)

#endif
