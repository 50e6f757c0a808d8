/* SPDX-License-Identifier: MIT */
/* For tests of the file driver: a context, a scratch directory, and an image in it. */
#ifndef TESTS_FILE_FIXTURE_H
#define TESTS_FILE_FIXTURE_H

#include "qemu/osdep.h"

#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/io-engine.h"

#define KIB 1024
#define MIB (1024 * 1024)

typedef struct Fixture {
    AioContext *ctx;
    char *dir;
    char *img;     /* in dir: 1 MiB of 0x11 */
} Fixture;

#define IMG_SIZE (1 * MIB)

static inline void setup(Fixture *f, gconstpointer data)
{
    g_autofree char *contents = g_malloc(IMG_SIZE), *here = g_get_current_dir();

    f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    /* Here, not in /tmp, which may be a tmpfs. */
    f->dir = g_build_filename(here, "test-file-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->img = g_build_filename(f->dir, "a.img", NULL);
    memset(contents, 0x11, IMG_SIZE);
    g_assert_true(g_file_set_contents(f->img, contents, IMG_SIZE, NULL));
}

static inline void teardown(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) dir = g_dir_open(f->dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(f->dir, name, NULL);

        remove(path);
    }
    rmdir(f->dir);
    g_free(f->img);
    g_free(f->dir);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

static inline BlockBackend *open_image(const char *path, const char *more, int flags, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    blk_options_set(opts, "driver", "file");
    blk_options_set(opts, "filename", path);
    if (more) {
        g_assert_true(blk_options_parse(opts, more, NULL, &error_abort));
    }
    return blk_new_open(NULL, NULL, opts, flags, errp);
}

static inline BlockBackend *open_rw(Fixture *f, int flags)
{
    return open_image(f->img, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP | flags,
                      &error_abort);
}

static inline void check_refused(const char *path, const char *more, int flags, const char *message)
{
    Error *err = NULL;

    g_assert_null(open_image(path, more, flags, &err));
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static inline int64_t allocated(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return (int64_t)st.st_blocks * 512;
}

static inline int64_t file_length(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_size;
}

static inline void check_bytes(BlockBackend *blk, int64_t offset, size_t len, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, 0xa5, len);
    g_assert_cmpint(blk_pread(blk, offset, len, buf, 0), ==, 0);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, value);
    }
}

static inline bool io_uring_works(void)
{
    const IOEngine *engine = io_engine_find("io_uring");
    AioContext *ctx = aio_context_new(&error_abort);
    bool works;

    qemu_set_current_aio_context(ctx);
    works = engine && io_engine_get_state(engine, NULL);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(ctx);
    return works;
}

#define TEST(name, fn, data) g_test_add("/file/" name, Fixture, data, setup, fn, teardown)

#endif
