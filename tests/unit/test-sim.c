/* SPDX-License-Identifier: MIT */
/* sim: the simulated disk. What it holds, how it is named and opened, and who shares it. */
#include <glib/gstdio.h>
#include "sim-fixture.h"
#include "block/block-driver.h"
#include "block/block-image.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

/* --- contents --- */

static void test_reads_what_was_written(void)
{
    uint8_t out[3000], in[3000];

    setup(1 << 20);
    for (unsigned i = 0; i < sizeof(out); i++) {
        out[i] = i * 7 + 1;
    }
    g_assert_cmpint(blk_pwrite(blk, 4000, sizeof(out), out, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4000, sizeof(in), in, 0), ==, 0);
    g_assert_cmpmem(out, sizeof(out), in, sizeof(in));
    g_assert_cmpint(blk_pread(blk, 3999, 1, in, 0), ==, 0);
    g_assert_cmpint(in[0], ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 4001, 2998, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4000, sizeof(in), in, 0), ==, 0);
    g_assert_cmpint(in[0], ==, 1);
    g_assert_cmpint(in[1], ==, 0);
    g_assert_cmpint(in[2999], ==, out[2999]);
    teardown();
}

static void test_terabyte_is_cheap(void)
{
    const int64_t size = INT64_C(1) << 40;
    int64_t pnum, map;
    BlockDriverState *file;
    uint8_t byte;

    setup(size);
    put(0, 1, 'a');
    put(size / S - 1, 1, 'b');
    put(size / S / 2, 1, 'c');
    g_assert_cmpint(sim_disk_allocated(disk), ==, 3 * 4096);
    g_assert_cmpint(blk_pread(blk, size - 1, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 'b');
    g_assert_cmpint(bdrv_block_status(blk_bs(blk), 4096, size - 4096, &pnum, &map, &file), ==,
                    BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED);
    g_assert_cmpint(pnum, ==, size / 2 - 4096);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, size, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(sim_disk_allocated(disk), ==, 0);
    assert_after(sim_power_now(power), "tear-back:3", "a.......");
    teardown();
}

static void test_equal_contents_have_equal_hashes(void)
{
    uint64_t empty, hash;

    setup(1 << 20);
    empty = sim_disk_hash(disk);
    put(5, 3, 'x');
    put(9, 1, 'y');
    hash = sim_disk_hash(disk);
    g_assert_cmpuint(hash, !=, empty);
    put(5, 3, 'z');
    g_assert_cmpuint(sim_disk_hash(disk), !=, hash);
    put(5, 3, 'x');
    g_assert_cmpuint(sim_disk_hash(disk), ==, hash);
    put(5, 3, 'y');
    put(9, 1, 'x');
    g_assert_cmpuint(sim_disk_hash(disk), !=, hash);
    put(0, 20, 0);
    g_assert_cmpuint(sim_disk_hash(disk), ==, empty);
    g_assert_cmpint(blk_truncate(blk, 2 << 20, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    g_assert_cmpuint(sim_disk_hash(disk), !=, empty);
    teardown();
}

/* Random changes, states in between, against plain arrays. */
static void test_states_share_and_stay(void)
{
    enum { SIZE = 300 * 1024, ROUNDS = 40 };
    g_autofree uint8_t *model = g_malloc0(SIZE), *buf = g_malloc(SIZE);
    SimState *states[ROUNDS];
    uint8_t *models[ROUNDS];

    setup(SIZE);
    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < 5; k++) {
            int offset = g_test_rand_int_range(0, SIZE - 1);
            int bytes = g_test_rand_int_range(1, MIN(SIZE - offset, 20000) + 1);

            memset(buf, g_test_rand_int(), bytes);
            if (g_test_rand_bit()) {
                memset(buf, 0, bytes);
                g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes, 0), ==, 0);
            } else {
                g_assert_cmpint(blk_pwrite(blk, offset, bytes, buf, 0), ==, 0);
            }
            memcpy(model + offset, buf, bytes);
        }
        states[i] = sim_power_state(power);
        models[i] = g_memdup2(model, SIZE);
    }
    for (int i = 0; i < ROUNDS; i++) {
        g_autoptr(SimPower) to = sim_power_new(0);
        SimDisk *d = sim_disk_new(to, NULL, SIZE, &error_abort);

        sim_disk_poke(d, 0, models[i], SIZE);
        g_assert_cmpuint(sim_disk_hash(d), ==, sim_disk_hash(d));
        sim_power_load(to, states[i]);
        sim_disk_peek(d, 0, buf, SIZE);
        g_assert_cmpmem(buf, SIZE, models[i], SIZE);
        sim_disk_poke(d, 0, models[i], SIZE);
        g_assert_cmpint(sim_disk_length(d), ==, SIZE);
        {
            g_autoptr(SimState) again = sim_power_state(to);

            g_assert_cmpuint(sim_state_hash(again), ==, sim_state_hash(states[i]));
        }
        sim_state_unref(states[i]);
        g_free(models[i]);
    }
    teardown();
}

/* --- options and names --- */

static void test_options(void)
{
    BlockOptions *o = blk_options_new();
    uint8_t byte = 1;

    g_assert_true(blk_options_parse(o, "driver=sim,size=1M,seed=7,alignment=4096,faults=read#3=EIO,"
                                    "latency-min-ns=1000,latency-max-ns=2000", NULL, &error_abort));
    blk = blk_new_open(NULL, NULL, o, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_getlength(blk), ==, 1 << 20);
    g_assert_cmpint(blk_pread(blk, 100, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 100, 1, "x", 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 100, 1, &byte, 0), ==, -EIO);
    g_assert_cmpint(blk_pread(blk, 100, 1, &byte, 0), ==, 0);
    g_assert_cmpint(byte, ==, 'x');
    blk_unref(blk);
}

static void test_wrong_options(void)
{
    static const char *const wrong[] = {
        "driver=sim", "driver=sim,size=1M,sector-size=1000", "driver=sim,size=1M,alignment=3",
        "driver=sim,size=1M,discard-mode=maybe", "driver=sim,disk=nobody",
        "driver=sim,size=1M,latency-min-ns=5,latency-max-ns=4", "driver=sim,size=1M,faults=x",
        "driver=sim,size=16E", "driver=sim,size=1M,what=ever",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) err = NULL;
        BlockOptions *o = blk_options_new();

        g_assert_true(blk_options_parse(o, wrong[i], NULL, &error_abort));
        g_assert_null(blk_new_open(NULL, NULL, o, BDRV_O_RDWR, &err));
        g_assert_nonnull(err);
    }
}

static void test_names(void)
{
    g_autoptr(GError) err = NULL;
    SimDisk *named;

    setup(1 << 20);
    named = sim_disk_new(power, "test-sim-name", 0, &error_abort);
    g_assert_true(sim_disk_find("test-sim-name") == named);
    g_assert_null(sim_disk_new(power, "test-sim-name", 0, &err));
    g_assert_nonnull(err);
    blk_unref(blk);
    blk = blk_new_open("sim:test-sim-name", NULL, NULL, BDRV_O_RDWR, &error_abort);
    sim_power_unref(power);
    /* The node keeps the supply. */
    g_assert_true(sim_disk_find("test-sim-name") == named);
    blk_unref(blk);
    g_assert_null(sim_disk_find("test-sim-name"));
}

/* A new image with a raw data file has its clusters from the start, and so is opened at once. */
static void test_raw_data_file_is_created(void)
{
    SimDisk *image, *data;
    g_autofree char *create = NULL, *open = NULL;
    g_autofree char *name = NULL;
    BlockDriverState *below;
    uint8_t buf[S], seen[S];

    setup(0);
    image = sim_disk_new(power, NULL, 0, &error_abort);
    data = sim_disk_new(power, NULL, 0, &error_abort);
    create = g_strdup_printf("size=1M,data_file_raw=on,data_file=sim:%s", sim_disk_name(data));
    g_assert_cmpint(sim_disk_create(image, "qcow2", create, &error_abort), ==, 0);
    g_assert_cmpint(sim_disk_length(data), ==, 1 << 20);
    /* A node that is open already can be the data file as well. */
    name = g_strconcat("sim:", sim_disk_name(data), NULL);
    below = bdrv_open(name, NULL, NULL, BDRV_O_RDWR | BDRV_O_PROTOCOL, &error_abort);
    open = g_strdup_printf("driver=qcow2,data-file=%s", bdrv_get_node_name(below));
    blk_unref(blk);
    blk = sim_disk_open(image, open, BDRV_O_RDWR, &error_abort);
    memset(buf, 0x5a, S);
    g_assert_cmpint(blk_pwrite(blk, 7 * S, S, buf, 0), ==, 0);
    sim_disk_peek(data, 7 * S, seen, S);
    g_assert_cmpmem(seen, S, buf, S);
    bdrv_unref(below);
    teardown();
}

static void test_fixed_disk_keeps_its_length(void)
{
    setup(8 * S);
    sim_disk_set_fixed(disk, true);
    g_assert_cmpint(blk_truncate(blk, 9 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, -ENOTSUP);
    g_assert_cmpint(blk_truncate(blk, 8 * S, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    teardown();
}

static void test_export_and_import(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-sim-XXXXXX", &path, NULL);
    uint64_t hash;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    setup(3 << 20);
    put(7, 3, 'a');
    put(5000, 3, 'b');
    hash = sim_disk_hash(disk);
    g_assert_cmpint(sim_disk_export(disk, path, &error_abort), ==, 0);
    put(7, 3, 'c');
    g_assert_cmpint(blk_truncate(blk, 4 << 20, true, PREALLOC_MODE_OFF, 0, NULL), ==, 0);
    g_assert_cmpint(sim_disk_import(disk, path, &error_abort), ==, 0);
    g_assert_cmpuint(sim_disk_hash(disk), ==, hash);
    g_unlink(path);
    teardown();
}

static void test_other_names_are_refused(void)
{
    static const char *const names[] = { "", "f", "sim", "sim:", "sim://x", "file:x" };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_strdup(names[i]); /* of its own length, for sanitizers */
        BlockOptions *o = blk_options_new();
        g_autoptr(GError) err = NULL;

        blk_options_set(o, "driver", "sim");
        g_assert_null(blk_new_open(name, NULL, o, BDRV_O_RDWR, &err));
        g_assert_nonnull(err);
    }
}

/* --- several threads --- */

static void *write_own_part(void *opaque)
{
    unsigned n = GPOINTER_TO_UINT(opaque);
    uint8_t buf[3 * S], back[3 * S];

    for (int i = 0; i < 300; i++) {
        int64_t offset = (n * 1000 + i % 300 * 3) * S;

        memset(buf, n * 50 + i, sizeof(buf));
        g_assert_cmpint(blk_pwrite(blk, offset, sizeof(buf), buf, 0), ==, 0);
        g_assert_cmpint(blk_pread(blk, offset, sizeof(back), back, 0), ==, 0);
        g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
        if (i % 50 == 0) {
            g_assert_cmpint(blk_flush(blk), ==, 0);
        }
    }
    return NULL;
}

static void test_threads_share_a_disk(void)
{
    QemuThread threads[4];

    setup(4000 * S);
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_create(&threads[i], "writer", write_own_part, GUINT_TO_POINTER(i),
                           QEMU_THREAD_JOINABLE);
    }
    for (int i = 0; i < 200; i++) {
        SimCut *cut = sim_cut_new(power, sim_power_now(power));
        SimState *state = sim_cut_state(cut, (SimChoice){ SIM_KEEP_RANDOM, 0, i });

        sim_state_unref(state);
        sim_cut_free(cut);
        aio_poll(qemu_get_aio_context(), false);
    }
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_join(&threads[i]);
    }
    teardown();
}

static void *change_copy(void *opaque)
{
    SimState *state = opaque;
    uint64_t hash = sim_state_hash(state);

    for (int i = 0; i < 100; i++) {
        g_autoptr(SimPower) own = sim_power_new(0);
        g_autoptr(SimState) changed = NULL;
        uint8_t value = 'b' + i;

        sim_power_load(own, state);
        sim_disk_poke(sim_power_disk(own, 0), i * 4096 + 5, &value, 1);
        changed = sim_power_state(own);
        g_assert_cmpuint(sim_state_hash(changed), !=, hash);
        g_assert_cmpuint(sim_state_hash(state), ==, hash);
    }
    return NULL;
}

static void test_threads_share_a_state(void)
{
    QemuThread threads[4];
    g_autoptr(SimState) state = NULL;

    setup(1 << 20);
    put(0, 2048, 'a');
    state = sim_power_state(power);
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_create(&threads[i], "changer", change_copy, state, QEMU_THREAD_JOINABLE);
    }
    for (unsigned i = 0; i < 4; i++) {
        qemu_thread_join(&threads[i]);
    }
    teardown();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/sim/reads-what-was-written", test_reads_what_was_written);
    g_test_add_func("/sim/terabyte-is-cheap", test_terabyte_is_cheap);
    g_test_add_func("/sim/equal-contents-have-equal-hashes", test_equal_contents_have_equal_hashes);
    g_test_add_func("/sim/states-share-and-stay", test_states_share_and_stay);
    g_test_add_func("/sim/options", test_options);
    g_test_add_func("/sim/wrong-options", test_wrong_options);
    g_test_add_func("/sim/names", test_names);
    g_test_add_func("/sim/fixed-disk-keeps-its-length", test_fixed_disk_keeps_its_length);
    g_test_add_func("/sim/export-and-import", test_export_and_import);
    g_test_add_func("/sim/raw-data-file-is-created", test_raw_data_file_is_created);
    g_test_add_func("/sim/names-of-other-kinds-are-refused", test_other_names_are_refused);
    g_test_add_func("/sim/threads-share-a-disk", test_threads_share_a_disk);
    g_test_add_func("/sim/threads-share-a-state", test_threads_share_a_state);
    return g_test_run();
}
