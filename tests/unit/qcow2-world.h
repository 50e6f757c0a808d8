/* SPDX-License-Identifier: MIT */
/* An image on a simulated disk, with a second one for its data, for tests that poke at its bytes. */
#ifndef TESTS_QCOW2_WORLD_H
#define TESTS_QCOW2_WORLD_H

#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/block-image.h"
#include "block/sim.h"
#include "block/snapshot.h"
#include "../../block/qcow2/qcow2-format.h"
#include "qemu/main-loop.h"

#define AT(field) offsetof(Qcow2DiskHeader, field)
#define CLUSTER   65536
#define MIB       (1 << 20)
#define FLAGS     (BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP)

typedef struct World {
    SimPower *power;
    SimDisk *disk, *data;
} World;

static inline World new_image(const char *options)
{
    World w = { .power = sim_power_new(1) };

    w.disk = sim_disk_new(w.power, NULL, 0, &error_abort);
    w.data = sim_disk_new(w.power, "data", 0, &error_abort);
    g_assert_cmpint(sim_disk_create(w.disk, "qcow2", options, &error_abort), ==, 0);
    return w;
}

static inline BlockBackend *reopen(World *w, int flags, Error **errp)
{
    return sim_disk_open(w->disk, "driver=qcow2", flags, errp);
}

static inline BlockBackend *reopen_with_data_file(World *w, const char *driver)
{
    g_autofree char *options = g_strconcat(
        driver, ",data-file.driver=raw,data-file.file.driver=sim,data-file.file.disk=data", NULL);

    return sim_disk_open(w->disk, options, FLAGS, &error_abort);
}

static inline void fill(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, value, bytes);
    g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
}

static inline void expect(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(bytes), *same = g_malloc(bytes);

    memset(same, value, bytes);
    g_assert_cmpint(blk_pread(blk, offset, bytes, buf, 0), ==, 0);
    g_assert_cmpmem(buf, bytes, same, bytes);
}

static inline void poke(World *w, size_t at, unsigned width, uint64_t value)
{
    uint8_t buf[8];

    for (unsigned i = 0; i < width; i++) {
        buf[i] = value >> (8 * (width - 1 - i));
    }
    sim_disk_poke(w->disk, at, buf, width);
}

static inline uint64_t peek64(World *w, uint64_t at)
{
    uint8_t buf[8];

    sim_disk_peek(w->disk, at, buf, sizeof(buf));
    return qcow2_be64(buf);
}

static inline void is_sound(BlockBackend *blk)
{
    BdrvCheckResult r;

    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
}

static inline void make_snapshot(BlockBackend *blk, const char *name)
{
    QEMUSnapshotInfo sn = { 0 };

    g_strlcpy(sn.name, name, sizeof(sn.name));
    g_assert_cmpint(bdrv_snapshot_create(blk_bs(blk), &sn), ==, 0);
}

typedef struct WorldTest {
    const char *name;
    void (*function)(void);
} WorldTest;

/* What main() does: runs the tests, with "/qcow2/@group/" before their names. */
static inline int run_world_tests(int argc, char **argv, const char *group, const WorldTest *tests,
                                  size_t n)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("/qcow2/%s/%s", group, tests[i].name);

        g_test_add_func(name, tests[i].function);
    }
    return g_test_run();
}

#endif
