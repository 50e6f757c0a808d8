/* SPDX-License-Identifier: MIT */
/*
 * The cache of L2 slices, seen from outside: how often the file below is read tells what was in the
 * cache. Entries that nobody uses leave it, and one that cannot be written out is in nobody's way.
 */
#include "ram-driver.h"

#include <glib/gstdio.h>
#include "block/block-backend.h"
#include "qemu/main-loop.h"
#include "../../block/qcow2/qcow2-format.h"

#define DISK_BYTES (16 << 20) /* of the file */

static RamDisk *new_image(const char *options)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *path = NULL, *image = NULL;
    int fd = g_file_open_tmp("test-qcow2-cache-XXXXXX", &path, NULL);
    RamDisk *d = ram_disk_new(DISK_BYTES);
    gsize length;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    blk_options_parse(o, options, NULL, &error_abort);
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), path, o, &error_abort), ==, 0);
    g_assert_true(g_file_get_contents(path, &image, &length, NULL));
    g_unlink(path);
    g_assert_cmpuint(length, <=, DISK_BYTES);
    memcpy(d->data, image, length);
    d->length = length;
    return d;
}

static void put(BlockBackend *blk, int64_t offset, int value)
{
    uint8_t buf[512];

    memset(buf, value, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, offset, sizeof(buf), buf, 0), ==, 0);
}

static void expect(BlockBackend *blk, int64_t offset, int value)
{
    uint8_t buf[512];

    g_assert_cmpint(blk_pread(blk, offset, sizeof(buf), buf, 0), ==, 0);
    for (size_t i = 0; i < sizeof(buf); i++) {
        g_assert_cmpuint(buf[i], ==, value);
    }
}

/* Reads of the file that reading one sector of the disk takes: one for the data. */
static unsigned cost(BlockBackend *blk, RamDisk *d, int64_t offset, int value)
{
    unsigned before = d->reads;

    expect(blk, offset, value);
    return d->reads - before;
}

/* --- cache-clean-interval --- */

#define SLICE (4 << 20) /* bytes of the disk that a slice of 512 bytes is for */

static void unused_slices_leave(void)
{
    static const char *const intervals[] = { "1", "0" };
    RamDisk *d[2];
    BlockBackend *blk[2];
    int64_t end;

    for (int i = 0; i < 2; i++) {
        g_autofree char *options = g_strdup_printf("driver=qcow2,l2-cache-entry-size=512,"
                                                   "cache-clean-interval=%s", intervals[i]);

        d[i] = new_image("size=64M");
        blk[i] = ram_open_blk(d[i], options);
        put(blk[i], 0, 1);
        put(blk[i], 3 * SLICE, 2);
        g_assert_cmpint(blk_flush(blk[i]), ==, 0);
        g_assert_cmpuint(cost(blk[i], d[i], 0, 1), ==, 1);
        put(blk[i], SLICE, 3); /* not flushed */
    }
    /* The first tick finds all of them used, the second one does not. */
    end = g_get_monotonic_time() + 2200000;
    while (g_get_monotonic_time() < end) {
        aio_poll(qemu_get_aio_context(), false);
        /* In use all the time. */
        expect(blk[0], 3 * SLICE, 2);
        g_usleep(20000);
    }
    g_assert_cmpuint(cost(blk[0], d[0], 3 * SLICE, 2), ==, 1);
    g_assert_cmpuint(cost(blk[0], d[0], 0, 1), ==, 2);
    g_assert_cmpuint(cost(blk[0], d[0], 0, 1), ==, 1);
    g_assert_cmpuint(cost(blk[0], d[0], SLICE, 3), ==, 1);
    g_assert_cmpuint(cost(blk[1], d[1], 0, 1), ==, 1);
    for (int i = 0; i < 2; i++) {
        blk_unref(blk[i]);
        blk[i] = ram_open_blk(d[i], "driver=qcow2");
        expect(blk[i], 0, 1);
        expect(blk[i], SLICE, 3);
        blk_unref(blk[i]);
        ram_disk_free(d[i]);
    }
}

/* --- slices that cannot be written --- */

#define TABLES 64
#define TABLE  32768 /* bytes of the disk that one is for, and a slice as well */

static void full_cache_lets_reads_pass(void)
{
    RamDisk *d = new_image("size=2M,cluster_size=512");
    BlockBackend *blk = ram_open_blk(d, "driver=qcow2,l2-cache-size=4096,l2-cache-entry-size=512");
    uint8_t buf[512] = { 0 };
    int written = 0;

    for (int i = 0; i < TABLES; i++) {
        put(blk, i * TABLE, i + 1);
    }
    g_assert_cmpint(blk_flush(blk), ==, 0);
    d->flush_error = -EIO;
    /* A slot of the cache for each, until none is left. */
    while (written < TABLES && blk_pwrite(blk, written * TABLE + 512, 512, buf, 0) == 0) {
        written++;
    }
    g_assert_cmpint(written, >, 0);
    g_assert_cmpint(written, <, TABLES);
    for (int i = 0; i < TABLES; i++) {
        expect(blk, i * TABLE, i + 1);
        expect(blk, i * TABLE + 1024, 0);
    }
    /* So does a write that needs no new entry. */
    put(blk, (TABLES - 1) * TABLE, 0xaa);
    expect(blk, (TABLES - 1) * TABLE, 0xaa);
    /* What the disk says counts: an error there is one. */
    d->read_error = -ENXIO;
    g_assert_cmpint(blk_pread(blk, (TABLES - 2) * TABLE, 512, buf, 0), ==, -ENXIO);
    d->read_error = 0;
    blk_unref(blk);
    ram_disk_free(d);
}

/* One whose place is no cluster's is damage, also for reads that go past the cache. */
static void full_cache_does_not_hide_damage(void)
{
    const int64_t table = 128 << 10; /* bytes of the disk that one is for: two slices */
    RamDisk *d = new_image("size=4M,cluster_size=1k");
    BlockBackend *blk = ram_open_blk(d, "driver=qcow2");
    uint8_t buf[512] = { 0 };
    uint64_t l1;
    int written = 1;

    for (int i = 0; i < 32; i++) {
        put(blk, i * table, i + 1);
        put(blk, i * table + table / 2, i + 1);
    }
    blk_unref(blk);
    memcpy(&l1, d->data + offsetof(Qcow2DiskHeader, l1_table_offset), sizeof(l1));
    d->data[GUINT64_FROM_BE(l1) + 6] |= 2; /* the first entry, by 512 bytes */
    blk = ram_open_blk(d, "driver=qcow2,l2-cache-size=4096,l2-cache-entry-size=512");
    d->flush_error = -EIO;
    while (written < 32 && blk_pwrite(blk, written * table + 1024, 512, buf, 0) == 0) {
        written++;
    }
    g_assert_cmpint(written, >, 1);
    g_assert_cmpint(written, <, 32);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, -EIO);
    blk_unref(blk);
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/qcow2/cache/unused-slices-leave", unused_slices_leave);
    g_test_add_func("/qcow2/cache/full-cache-lets-reads-pass", full_cache_lets_reads_pass);
    g_test_add_func("/qcow2/cache/full-cache-does-not-hide-damage",
                    full_cache_does_not_hide_damage);
    return g_test_run();
}
