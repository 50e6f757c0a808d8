/* SPDX-License-Identifier: MIT */
/*
 * Snapshots on a file that fails when the snapshot itself is there, or just before: what the caller is
 * told, and how the image is marked then. On simulated disks.
 */
#include "qemu/osdep.h"
#include "qcow2-world.h"

static unsigned count_snapshots(BlockBackend *blk)
{
    g_autofree QEMUSnapshotInfo *list = NULL;
    int n = bdrv_snapshot_list(blk_bs(blk), &list);

    g_assert_cmpint(n, >=, 0);
    return n;
}

static int try_snapshot(BlockBackend *blk, uint64_t vm_state_size)
{
    QEMUSnapshotInfo sn = { .name = "s", .vm_state_size = vm_state_size };

    return bdrv_snapshot_create(blk_bs(blk), &sn);
}

/* The @nth change of that kind fails. False: there is no such change. */
static bool snapshot_with_failure(SimOp op, unsigned nth)
{
    World w = new_image("size=1M,cluster_size=4k");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    const SimFault fault = { .disk = w.disk, .ops = op, .nth = nth };
    uint8_t state[8192] = { 3 }, buf[8192];
    unsigned id;
    bool hit;
    int ret;

    fill(blk, 0, 8192, 1);
    g_assert_cmpint(blk_save_vmstate(blk, state, 0, sizeof(state)), ==, sizeof(state));
    id = sim_power_add_fault(w.power, &fault);
    ret = try_snapshot(blk, sizeof(state));
    hit = sim_power_fault_hits(w.power, id);
    g_assert_true(hit || ret == 0);
    sim_power_clear_faults(w.power);
    g_assert_cmpuint(count_snapshots(blk), ==, ret == 0);
    blk_unref(blk);
    blk = reopen(&w, FLAGS, &error_abort);
    expect(blk, 0, 8192, 1);
    if (ret == 0) {
        g_assert_cmpint(bdrv_snapshot_goto(blk_bs(blk), "s", &error_abort), ==, 0);
        expect(blk, 0, 8192, 1);
        g_assert_cmpint(blk_load_vmstate(blk, buf, 0, sizeof(buf)), ==, sizeof(buf));
        g_assert_cmpmem(buf, sizeof(buf), state, sizeof(state));
    }
    blk_unref(blk);
    sim_power_unref(w.power);
    return hit;
}

/* An error says that there is no snapshot; one that is there is good, whatever fails after it. */
static void errors_mean_no_snapshot(void)
{
    static const SimOp ops[] = { SIM_WRITE, SIM_FLUSH };

    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        unsigned nth = 1;

        while (snapshot_with_failure(ops[i], nth)) {
            nth++;
        }
        g_assert_cmpuint(nth, >, 4);
    }
}

/*
 * The mark that it is in the midst of a change is taken off the image, which fails and has happened all
 * the same. The next snapshot, which does not come to its end, has to mark it again.
 */
static void marked_again_after_a_failure(void)
{
    World w = new_image("size=1M");
    BlockBackend *blk = reopen(&w, FLAGS, &error_abort);
    SimFault fault = { .disk = w.disk, .ops = SIM_WRITE, .offset = AT(incompatible_features),
                       .bytes = 8, .nth = 2, .effect = SIM_EFFECT_ALL };

    fill(blk, 0, CLUSTER, 1);
    sim_power_add_fault(w.power, &fault);
    try_snapshot(blk, 0);
    g_assert_cmpuint(count_snapshots(blk), ==, 1);
    g_assert_cmpuint(peek64(&w, AT(incompatible_features)) & QCOW2_INCOMPAT_DIRTY, ==, 0);
    sim_power_clear_faults(w.power);
    fault = (SimFault){ .disk = w.disk, .ops = SIM_WRITE, .offset = AT(nb_snapshots), .bytes = 4 };
    sim_power_add_fault(w.power, &fault);
    g_assert_cmpint(try_snapshot(blk, 0), ==, -EIO);
    g_assert_cmpuint(peek64(&w, AT(incompatible_features)) & QCOW2_INCOMPAT_DIRTY, !=, 0);
    blk_unref(blk);
    sim_power_unref(w.power);
}

int main(int argc, char **argv)
{
    static const WorldTest tests[] = {
        { "errors-mean-no-snapshot", errors_mean_no_snapshot },
        { "marked-again-after-a-failure", marked_again_after_a_failure },
    };

    return run_world_tests(argc, argv, "snapshot-ends", tests, G_N_ELEMENTS(tests));
}
