/* SPDX-License-Identifier: MIT */
/*
 * A small qcow2 image in a file, for tests that write damage over parts of it and see what opening,
 * reading and checking it comes to. Each program includes it once.
 */
#ifndef TESTS_DAMAGED_IMAGE_H
#define TESTS_DAMAGED_IMAGE_H

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/snapshot.h"
#include "../../block/qcow2/qcow2-format.h"
#include "qemu/main-loop.h"

#define CLUSTER   65536U
#define DISK      (1U << 20)
#define AT(field) offsetof(Qcow2DiskHeader, field)

static char *dir, *path;

/* Takes the error and looks into its message; NULL: there has to be none. */
static inline void expect(const char *message, Error *err)
{
    if (!message) {
        g_assert_no_error(err);
        return;
    }
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), message);
    }
    error_free(err);
}

static inline void put(uint8_t *p, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++) {
        p[i] = value >> (8 * (width - 1 - i));
    }
}

static inline uint64_t peek64(uint64_t offset)
{
    uint8_t buf[8];
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(pread(fd, buf, 8, offset), ==, 8);
    close(fd);
    return qcow2_be64(buf);
}

static inline void poke(uint64_t offset, unsigned width, uint64_t value)
{
    uint8_t buf[8];
    int fd = open(path, O_WRONLY);

    put(buf, width, value);
    g_assert_cmpint(pwrite(fd, buf, width, offset), ==, width);
    close(fd);
}

static inline BlockBackend *try_open(int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_set(o, "driver", "qcow2");
    return blk_new_open(path, NULL, o, flags, errp);
}

/* An image with four clusters of 7. */
static inline void create(const char *options)
{
    BlockOptions *o = blk_options_new();
    uint8_t *buf = g_malloc(4 * CLUSTER);
    BlockBackend *blk;

    g_unlink(path);
    blk_options_parse(o, options, NULL, &error_abort);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    blk = try_open(BDRV_O_RDWR, &error_abort);
    memset(buf, 7, 4 * CLUSTER);
    g_assert_cmpint(blk_pwrite(blk, 0, 4 * CLUSTER, buf, 0), ==, 0);
    blk_unref(blk);
    g_free(buf);
}

static inline int check(BdrvCheckMode fix, BdrvCheckResult *r)
{
    int write = BDRV_O_RDWR | BDRV_O_UNMAP; /* as `check -r` does */
    BlockBackend *blk = try_open(BDRV_O_CHECK | (fix ? write : 0), &error_abort);
    int ret = bdrv_check(blk_bs(blk), r, fix);

    blk_unref(blk);
    return ret;
}

/* Takes a snapshot "s". Returns 0 or -errno: -ENOTSUP if the image cannot be opened. */
static inline int make_snapshot(void)
{
    BlockBackend *blk = try_open(BDRV_O_RDWR, NULL);
    QEMUSnapshotInfo sn = { .name = "s" };
    int ret = blk ? bdrv_snapshot_create(blk_bs(blk), &sn) : -ENOTSUP;

    blk_unref(blk);
    return ret;
}

/* A test for each of @array, whose structs have a name. */
#define ADD(array, prefix, function)                                                               \
    for (size_t i = 0; i < G_N_ELEMENTS(array); i++) {                                             \
        g_autofree char *name = g_strconcat("/qcow2/damaged-tables/" prefix, array[i].name, NULL); \
        g_test_add_data_func(name, &array[i], function);                                           \
    }

static inline void damaged_image_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_dir_make_tmp("test-qcow2-XXXXXX", NULL);
    path = g_build_filename(dir, "t.qcow2", NULL);
}

static inline int damaged_image_run(void)
{
    int ret = g_test_run();

    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}

#endif
