/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait while others change what they have looked at: the size of the disk, of its L1
 * table, of the file. On simulated disks.
 */
#include "qemu/osdep.h"
#include "block/block-driver.h"
#include "qemu/timer.h"
#include "qcow2-world.h"

extern BlockDriver bdrv_sim;

typedef struct Request {
    BlockBackend *blk;
    int (*run)(struct Request *r); /* in a coroutine */
    int64_t offset, bytes;
    uint8_t value;
    int ret;
} Request;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;

    r->ret = r->run(r);
}

static void start(Request *r)
{
    r->ret = -EINPROGRESS;
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, r));
}

static int wait_for(Request *r)
{
    while (r->ret == -EINPROGRESS) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return r->ret;
}

static int write_data(Request *r)
{
    g_autofree uint8_t *buf = g_malloc(r->bytes);

    memset(buf, r->value, r->bytes);
    return blk_pwrite(r->blk, r->offset, r->bytes, buf, 0);
}

static int write_zeroes(Request *r)
{
    return blk_pwrite_zeroes(r->blk, r->offset, r->bytes, 0);
}

static int discard(Request *r)
{
    return blk_pdiscard(r->blk, r->offset, r->bytes);
}

static int preallocate(Request *r)
{
    return blk_truncate(r->blk, r->bytes, true, PREALLOC_MODE_FALLOC, 0, NULL);
}

static int resize(Request *r)
{
    return blk_truncate(r->blk, r->bytes, true, PREALLOC_MODE_OFF, 0, NULL);
}

static int save_state(Request *r)
{
    g_autofree uint8_t *buf = g_malloc(r->bytes);

    memset(buf, r->value, r->bytes);
    return blk_save_vmstate(r->blk, buf, r->offset, r->bytes);
}

/* --- machine state --- */

/* Both need a longer L1 table; the one that comes second is content with less than the first. */
static void states_saved_side_by_side(void)
{
    World w = new_image("size=64k,cluster_size=512");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    Request far = { blk, save_state, MIB, 512, 1, 0 }, near = { blk, save_state, 40 << 10, 512, 2, 0 };
    uint8_t buf[512];

    start(&far);
    start(&near);
    g_assert_cmpint(near.ret, ==, -EINPROGRESS);
    g_assert_cmpint(wait_for(&far), ==, 512);
    g_assert_cmpint(wait_for(&near), ==, 512);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(blk_load_vmstate(blk, buf, far.offset, 512), ==, 512);
        g_assert_cmpint(buf[0], ==, 1);
        g_assert_cmpint(blk_load_vmstate(blk, buf, near.offset, 512), ==, 512);
        g_assert_cmpint(buf[511], ==, 2);
        is_sound(blk);
        blk_unref(blk);
        blk = reopen(&w, FLAGS, &error_abort);
    }
    blk_unref(blk);
    sim_power_unref(w.power);
}

/*
 * The state begins where the disk ends: what is saved never comes to light in the disk, whichever of
 * the two comes first, and a state that is saved after the resize is there.
 */
static void state_saved_while_the_disk_grows(void)
{
    for (int resize_first = 0; resize_first < 2; resize_first++) {
        World w = new_image("size=64k,cluster_size=512");
        BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
        Request save = { blk, save_state, 0, 4096, 1, 0 }, grow = { blk, resize, 0, 4 * MIB, 0, 0 };
        uint8_t buf[4096];

        fill(blk, 0, 512, 2);
        sim_disk_set_slow_range(w.disk, 0, 64 * MIB, SCALE_MS);
        start(resize_first ? &grow : &save);
        start(resize_first ? &save : &grow);
        g_assert_cmpint(save.ret, ==, -EINPROGRESS);
        g_assert_cmpint(wait_for(&save), ==, 4096);
        g_assert_cmpint(wait_for(&grow), ==, 0);
        expect(blk, 0, 512, 2);
        expect(blk, 512, 4 * MIB - 512, 0);
        g_assert_cmpint(blk_load_vmstate(blk, buf, 0, sizeof(buf)), ==, sizeof(buf));
        g_assert_cmpint(buf[0], ==, resize_first);
        is_sound(blk);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* --- zeroes --- */

/*
 * The request ends with the disk, so it may take the rest of the cluster with it; but then the disk gets
 * longer, and somebody writes there. Raw data files are cleared before entries change.
 */
static void at_an_end_that_moves(int (*run)(Request *r))
{
    World w = new_image("size=96k,data_file=sim:data,data_file_raw=on");
    BlockBackend *blk = reopen_with_data_file(&w, "driver=qcow2,discard=unmap");
    Request r = { blk, run, CLUSTER, CLUSTER / 2, 0, 0 };

    fill(blk, 0, 96 << 10, 1);
    sim_disk_set_slow_range(w.data, CLUSTER, 512, 100 * SCALE_MS);
    start(&r);
    g_assert_cmpint(blk_truncate(blk, 192 << 10, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    fill(blk, 96 << 10, 512, 2);
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    sim_disk_set_slow_range(w.data, 0, 0, 0);
    g_assert_cmpint(wait_for(&r), ==, 0);
    expect(blk, 0, CLUSTER, 1);
    expect(blk, CLUSTER, CLUSTER / 2, 0);
    expect(blk, 96 << 10, 512, 2);
    expect(blk, (96 << 10) + 512, (96 << 10) - 512, 0);
    blk_unref(blk);
    blk = reopen_with_data_file(&w, "driver=qcow2");
    expect(blk, 96 << 10, 512, 2);
    is_sound(blk);
    blk_unref(blk);
    sim_power_unref(w.power);
}

static void zeroes_at_an_end_that_moves(void)
{
    at_an_end_that_moves(write_zeroes);
}

static void discards_at_an_end_that_moves(void)
{
    at_an_end_that_moves(discard);
}

/* --- the header --- */

/* The dirty bit is on its way when damage is found: the image is marked corrupt all the same. */
static void damage_found_while_the_header_changes(void)
{
    World w = new_image("size=1M,lazy_refcounts=on");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    Request r = { .run = write_data, .offset = 4 * CLUSTER, .bytes = CLUSTER, .value = 2 };
    uint64_t l2;
    uint8_t c;

    fill(blk, 0, 2 * CLUSTER, 1);
    blk_unref(blk);
    l2 = peek64(&w, peek64(&w, AT(l1_table_offset))) & QCOW2_L1_OFFSET_MASK;
    poke(&w, l2 + 8, 8, peek64(&w, l2 + 8) | 512);
    r.blk = blk = reopen(&w, FLAGS, &error_abort);
    sim_disk_set_slow_range(w.disk, 0, 512, 100 * SCALE_MS);
    start(&r);
    for (int i = 0; i < 20; i++) {
        aio_poll(qemu_get_aio_context(), false);
    }
    g_assert_cmpint(r.ret, ==, -EINPROGRESS);
    sim_disk_set_slow_range(w.disk, 0, 0, 0);
    g_assert_cmpint(blk_pread(blk, CLUSTER, 1, &c, 0), ==, -EIO);
    wait_for(&r);
    g_assert_cmpuint(peek64(&w, AT(incompatible_features)) & QCOW2_INCOMPAT_CORRUPT, !=, 0);
    blk_unref(blk);
    sim_power_unref(w.power);
}

/* --- the file --- */

static int64_t coroutine_fn (*quick_getlength)(BlockDriverState *bs);
static void (*quick_limits)(BlockDriverState *bs, Error **errp);
static Coroutine *held; /* who asked for the length of the file */
static bool hold;       /* the next one who does */

static int64_t coroutine_fn slow_getlength(BlockDriverState *bs)
{
    int64_t length = quick_getlength(bs);

    if (hold) {
        hold = false;
        held = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
    return length;
}

static void limits_of_varying_length(BlockDriverState *bs, Error **errp)
{
    quick_limits(bs, errp);
    bs->bl.has_variable_length = true;
}

/* Clusters behind those that are preallocated get their data before the file is as long as wanted. */
static void preallocation_beside_writes(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk;
    Request grow = { .run = preallocate, .bytes = 64 * MIB };
    Request write = { .run = write_data, .offset = MIB / 2, .bytes = CLUSTER, .value = 2 };

    quick_getlength = bdrv_sim.bdrv_co_getlength;
    quick_limits = bdrv_sim.bdrv_refresh_limits;
    bdrv_sim.bdrv_co_getlength = slow_getlength;
    bdrv_sim.bdrv_refresh_limits = limits_of_varying_length;
    blk = grow.blk = write.blk = reopen(&w, FLAGS, &error_abort);
    fill(blk, 0, CLUSTER, 1);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    hold = true;
    start(&grow);
    for (int i = 0; i < 100; i++) {
        aio_poll(qemu_get_aio_context(), false);
    }
    g_assert_nonnull(held);
    start(&write);
    for (int i = 0; i < 100; i++) {
        aio_poll(qemu_get_aio_context(), false);
    }
    g_assert_cmpint(grow.ret, ==, -EINPROGRESS);
    aio_co_wake(g_steal_pointer(&held));
    g_assert_cmpint(wait_for(&grow), ==, 0);
    g_assert_cmpint(wait_for(&write), ==, 0);
    for (int i = 0; i < 2; i++) {
        expect(blk, 0, CLUSTER, 1);
        expect(blk, MIB / 2, CLUSTER, 2);
        expect(blk, MIB / 2 + CLUSTER, 4 * MIB, 0);
        is_sound(blk);
        blk_unref(blk);
        blk = reopen(&w, FLAGS, &error_abort);
    }
    blk_unref(blk);
    sim_power_unref(w.power);
    bdrv_sim.bdrv_co_getlength = quick_getlength;
    bdrv_sim.bdrv_refresh_limits = quick_limits;
}

int main(int argc, char **argv)
{
    static const WorldTest tests[] = {
        { "states-saved-side-by-side", states_saved_side_by_side },
        { "state-saved-while-the-disk-grows", state_saved_while_the_disk_grows },
        { "zeroes-at-an-end-that-moves", zeroes_at_an_end_that_moves },
        { "discards-at-an-end-that-moves", discards_at_an_end_that_moves },
        { "damage-found-while-the-header-changes", damage_found_while_the_header_changes },
        { "preallocation-beside-writes", preallocation_beside_writes },
    };

    return run_world_tests(argc, argv, "interleaved", tests, G_N_ELEMENTS(tests));
}
