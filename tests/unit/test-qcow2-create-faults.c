/* SPDX-License-Identifier: MIT */
/*
 * Images are made on disks that fail: each place of the code that touches a disk or takes memory
 * fails once. It is told as an error, and the next attempt makes the image that was asked for.
 */
#include "crash-sim.h"
#include "failing-memory.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include <glib/gstdio.h>

typedef struct Creation {
    const char *name, *options; /* what is below lies on the disks "base" and "data" */
    int64_t size;               /* of the guest's disk */
    const char *below;          /* and are named again for opening */
} Creation;

#define MIB  (1 << 20)
#define DATA ",data-file.driver=raw,data-file.file.driver=sim,data-file.file.disk=data"

static const Creation creations[] = {
    { "plain", "size=1M", MIB },
    { "empty", "size=0", 0 },
    { "small-clusters", "size=1M,cluster_size=512,refcount_bits=64", MIB },
    { "metadata", "size=1M,preallocation=metadata", MIB },
    { "full", "size=1M,preallocation=full,cluster_size=4k", MIB },
    { "extended", "size=1M,extended_l2=on,preallocation=metadata,cluster_size=16k", MIB },
    { "size-of-backing", "backing_file=sim:base,backing_fmt=raw", 2 * MIB,
      ",backing.driver=raw,backing.file.driver=sim,backing.file.disk=base" },
    { "data-file", "size=1M,data_file=sim:data", MIB, DATA },
    { "raw-data-file", "size=1M,data_file=sim:data,data_file_raw=on", MIB, DATA },
    { "metadata-data-file", "size=1M,data_file=sim:data,preallocation=metadata", MIB, DATA },
    { "raw-data-file-of-the-host", "size=1M,data_file=raw-data,data_file_raw=on", MIB,
      ",data-file.driver=raw,data-file.file.driver=file,data-file.file.filename=raw-data" },
};

typedef struct Place {
    SimPower *power;
    SimDisk *image;
    unsigned calls, fail_at; /* fail_at 0: none */
    GArray *places;
} Place;

static int fail_call(void *opaque, const SimRequest *r)
{
    Place *p = opaque;

    if (r->op == SIM_STATUS) {
        return 0;
    }
    if (p->places) {
        CallPlace place = call_place();

        g_array_append_val(p->places, place);
    }
    return ++p->calls == p->fail_at ? -EIO : 0;
}

/* The image's disk has something on it, as a device may have. */
static Place new_disks(void)
{
    Place p = { .power = sim_power_new(1) };
    uint8_t old[4096];

    memset(old, 0xaa, sizeof(old));
    p.image = sim_disk_new(p.power, "image", 0, &error_abort);
    sim_disk_poke(p.image, 0, old, sizeof(old));
    sim_disk_new(p.power, "base", 2 * MIB, &error_abort);
    sim_disk_new(p.power, "data", 0, &error_abort);
    return p;
}

static void is_as_asked(const Creation *c, Place *p)
{
    g_autofree char *options = g_strconcat("driver=qcow2", c->below, NULL);
    BlockBackend *blk = sim_disk_open(p->image, options, BDRV_O_RDWR, &error_abort);
    g_autofree uint8_t *buf = g_malloc0(MIB);
    BdrvCheckResult r;

    g_assert_cmpint(blk_getlength(blk), ==, c->size);
    g_assert_cmpint(bdrv_check(blk_bs(blk), &r, 0), ==, 0);
    g_assert_cmpint(r.corruptions + r.leaks + r.check_errors, ==, 0);
    if (c->size) {
        g_assert_cmpint(blk_pread(blk, 0, MIB, buf, 0), ==, 0);
        g_assert_true(buffer_is_zero(buf, MIB));
    }
    blk_unref(blk);
}

static void fails_at(const Creation *c, unsigned call, unsigned allocation)
{
    Place p = new_disks();
    Error *err = NULL;
    int ret;

    g_test_message("call %u, allocation %u", call, allocation);
    sim_power_set_hook(p.power, fail_call, &p);
    p.fail_at = call;
    memory_calls = 0;
    memory_stays_short = false;
    memory_fail_at = allocation;
    ret = sim_disk_create(p.image, "qcow2", c->options, &err);
    memory_fail_at = 0;
    p.fail_at = 0;
    g_assert_cmpint(ret < 0, ==, err != NULL);
    /* What only asks for more than the least may be done without. */
    g_assert_true(ret < 0 || allocation || p.calls >= call);
    g_clear_pointer(&err, error_free);
    if (ret == 0) {
        is_as_asked(c, &p);
    }
    sim_power_set_hook(p.power, NULL, NULL);
    g_assert_cmpint(sim_disk_create(p.image, "qcow2", c->options, &error_abort), ==, 0);
    is_as_asked(c, &p);
    sim_power_unref(p.power);
}

static void each_place(gconstpointer data)
{
    const Creation *c = data;
    g_autoptr(GArray) calls = g_array_new(false, false, sizeof(CallPlace));
    g_autoptr(GArray) allocations = g_array_new(false, false, sizeof(CallPlace));
    Place p = new_disks();

    sim_power_set_hook(p.power, fail_call, &p);
    p.places = calls;
    memory_places = allocations;
    g_assert_cmpint(sim_disk_create(p.image, "qcow2", c->options, &error_abort), ==, 0);
    memory_places = NULL;
    p.places = NULL;
    is_as_asked(c, &p);
    sim_power_unref(p.power);
    for (unsigned i = 1; i <= calls->len; i++) {
        fails_at(c, i, 0);
        i += i > 60 ? 10 : 0;
    }
    for (unsigned i = 1; i <= allocations->len; i++) {
        fails_at(c, 0, i);
        i += i > 60 ? 10 : 0;
    }
}

/* Of the disks below: not there, of another format, without what is asked for. */
static void disks_below_do_not_suit(void)
{
    static const struct {
        const char *options, *message;
    } wrong[] = {
        { "backing_file=sim:nosuch,backing_fmt=raw", "nosuch" },
        { "size=1M,data_file=sim:nosuch", "nosuch" },
        { "backing_file=sim:base,backing_fmt=qcow2", "qcow2" },
        { "size=1M,data_file=sim:data,preallocation=full", "'preallocation'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        Place p = new_disks();
        Error *err = NULL;

        g_assert_cmpint(sim_disk_create(p.image, "qcow2", wrong[i].options, &err), <, 0);
        g_assert_nonnull(strstr(error_get_pretty(err), wrong[i].message));
        error_free(err);
        sim_power_unref(p.power);
    }
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("test-qcow2-create-XXXXXX", NULL);
    int ret;

    g_assert_cmpint(g_chdir(dir), ==, 0);
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(creations); i++) {
        g_autofree char *path =
            g_strconcat("/qcow2/create-faults/each-place/", creations[i].name, NULL);

        g_test_add_data_func(path, &creations[i], each_place);
    }
    g_test_add_func("/qcow2/create-faults/disks-below-do-not-suit", disks_below_do_not_suit);
    ret = g_test_run();
    g_unlink("raw-data");
    g_assert_cmpint(g_chdir("/"), ==, 0);
    g_rmdir(dir);
    return ret;
}
