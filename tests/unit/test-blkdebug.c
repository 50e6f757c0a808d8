/* SPDX-License-Identifier: MIT */
/* blkdebug: errors by event, state and sector; break points; limits; its configuration. */
#include "ram-driver.h"
#include "qemu/main-loop.h"

#include <glib/gstdio.h>

static char *dir;

static BlockBackend *try_open(const char *options, int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, options, NULL, &error_abort);
    return blk_new_open(NULL, NULL, o, flags, errp);
}

/* raw over blkdebug over @disk, and what @options say beside. */
static BlockBackend *open_over(RamDisk *disk, const char *options)
{
    g_autofree char *all = g_strconcat(
        "driver=raw,file.driver=blkdebug,file.image.driver=test-ram", options, NULL);

    ram_disk_to_open = disk;
    return try_open(all, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

static void assert_fails(const char *options, const char *message)
{
    g_autofree char *all = g_strconcat("driver=blkdebug,image.driver=null-co", options, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_null(try_open(all, 0, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static int read_at(BlockBackend *blk, int64_t offset)
{
    uint8_t buf[512];

    return blk_pread(blk, offset, sizeof(buf), buf, 0);
}

static int write_at(BlockBackend *blk, int64_t offset, int64_t bytes, int byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, byte, bytes);
    return blk_pwrite(blk, offset, bytes, buf, 0);
}

static void test_once_at_event(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, ",file.inject-error.0.event=read_aio"
                                        ",file.inject-error.0.errno=28"
                                        ",file.inject-error.0.once=on");

    g_assert_cmpint(write_at(blk, 0, 512, 1), ==, 0);
    g_assert_cmpint(read_at(blk, 0), ==, -ENOSPC);
    g_assert_cmpint(read_at(blk, 0), ==, 0);
    blk_unref(blk);
    ram_disk_free(disk);
}

static void test_sector(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, ",file.inject-error.0.event=none"
                                        ",file.inject-error.0.sector=3"
                                        ",file.inject-error.0.immediately=on");

    g_assert_cmpint(read_at(blk, 1024), ==, 0);
    g_assert_cmpint(read_at(blk, 1536), ==, -EIO);
    g_assert_cmpint(read_at(blk, 1537), ==, 0); /* only the start of the sector counts */
    g_assert_cmpint(read_at(blk, 2048), ==, 0);
    g_assert_cmpint(write_at(blk, 1024, 4096, 1), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    ram_disk_free(disk);
}

static void test_states(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, ",file.set-state.0.event=write_aio"
                                        ",file.set-state.0.state=1"
                                        ",file.set-state.0.new_state=2"
                                        ",file.inject-error.0.event=read_aio"
                                        ",file.inject-error.0.state=2");

    g_assert_cmpint(read_at(blk, 0), ==, 0);
    g_assert_cmpint(write_at(blk, 0, 512, 1), ==, 0);
    g_assert_cmpint(read_at(blk, 0), ==, -EIO);
    /* The rule stays active until other rules of another event become so. */
    g_assert_cmpint(write_at(blk, 0, 512, 1), ==, -EIO);
    blk_unref(blk);
    ram_disk_free(disk);
}

static void test_io_types(void)
{
    static const char *const types[] = { "read", "write", "write-zeroes", "discard", "flush" };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        RamDisk *disk = ram_disk_new(65536);
        g_autofree char *options =
            g_strdup_printf(",file.inject-error.0.event=none"
                            ",file.inject-error.0.iotype=%s", types[i]);
        BlockBackend *blk;

        disk->zeroes = disk->discards = true;
        blk = open_over(disk, options);
        g_assert_cmpint(read_at(blk, 0), ==, i == 0 ? -EIO : 0);
        g_assert_cmpint(write_at(blk, 0, 512, 1), ==, i == 1 ? -EIO : 0);
        g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4096, 0), ==, i == 2 ? -EIO : 0);
        g_assert_cmpint(blk_pdiscard(blk, 0, 4096), ==, i == 3 ? -EIO : 0);
        g_assert_cmpint(blk_flush(blk), ==, i == 4 ? -EIO : 0);
        blk_unref(blk);
        ram_disk_free(disk);
    }
}

/* An injected flush error is over when the rule is: it is not the disk that lost data. */
static void test_flush_error_passes(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, ",file.inject-error.0.event=flush_to_disk"
                                        ",file.inject-error.0.once=on");

    g_assert_cmpint(write_at(blk, 0, 512, 1), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(disk->flushes, ==, 1);
    blk_unref(blk);
    ram_disk_free(disk);
}

typedef struct Write {
    QEMUIOVector qiov;
    uint8_t buf[4096];
    int ret;
} Write;

static void write_done(void *opaque, int ret)
{
    ((Write *)opaque)->ret = ret;
}

static Write *send_write(BlockBackend *blk, int64_t offset, size_t bytes, int byte)
{
    Write *w = g_new0(Write, 1);

    memset(w->buf, byte, bytes);
    w->ret = 1;
    qemu_iovec_init_buf(&w->qiov, w->buf, bytes);
    blk_aio_pwritev(blk, offset, &w->qiov, 0, write_done, w);
    return w;
}

static void poll_some(BlockBackend *blk)
{
    for (int i = 0; i < 20; i++) {
        aio_poll(blk_get_aio_context(blk), false);
    }
}

static void wait_suspended(BlockBackend *blk, const char *tag)
{
    while (!bdrv_debug_is_suspended(blk_bs(blk), tag)) {
        aio_poll(blk_get_aio_context(blk), true);
    }
}

/* Two writes into one block: the second waits until the first has put its bytes back. */
static void test_breaks_order_overlapping_writes(void)
{
    static const char *const events[] = {
        "pwritev_rmw_head", "pwritev_rmw_after_head", "pwritev_rmw_tail",
        "pwritev_rmw_after_tail", "pwritev", "pwritev_done",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        RamDisk *disk = ram_disk_new(65536);
        BlockBackend *blk = open_over(disk, ",file.align=4k");
        BlockDriverState *bs = blk_bs(blk);
        Write *a, *b;

        g_assert_cmpint(bdrv_debug_breakpoint(bs, events[i], "A"), ==, 0);
        g_assert_false(bdrv_debug_is_suspended(bs, "A"));
        a = send_write(blk, 0x1200, 0x200, 1);
        wait_suspended(blk, "A");
        b = send_write(blk, 0x1400, 0x200, 2);
        poll_some(blk);
        g_assert_cmpint(a->ret, ==, 1);
        g_assert_cmpint(b->ret, ==, 1);
        g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
        blk_drain(blk);
        g_assert_cmpint(a->ret, ==, 0);
        g_assert_cmpint(b->ret, ==, 0);
        g_assert_cmpint(disk->data[0x11ff], ==, 0);
        g_assert_cmpint(disk->data[0x1200], ==, 1);
        g_assert_cmpint(disk->data[0x13ff], ==, 1);
        g_assert_cmpint(disk->data[0x1400], ==, 2);
        g_assert_cmpint(disk->data[0x1600], ==, 0);
        g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, -ENOENT);
        blk_unref(blk);
        g_free(a);
        g_free(b);
        ram_disk_free(disk);
    }
}

static void test_removed_break_point_lets_go(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, "");
    BlockDriverState *bs = blk_bs(blk);
    Write *w;

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "no_such_event", "A"), ==, -ENOENT);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, -ENOENT);
    g_assert_cmpint(bdrv_debug_breakpoint(bs, "write_aio", "A"), ==, 0);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, 0);
    g_assert_cmpint(write_at(blk, 0, 512, 1), ==, 0);

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "write_aio", "A"), ==, 0);
    w = send_write(blk, 0, 512, 1);
    wait_suspended(blk, "A");
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, -ENOENT);
    blk_drain(blk);
    g_assert_cmpint(w->ret, ==, 0);
    blk_unref(blk);
    g_free(w);
    ram_disk_free(disk);
}

/* A read of a block that a stopped write is about to put back comes after it. */
static void test_read_waits_for_stopped_write(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, ",file.align=4k");
    BlockDriverState *bs = blk_bs(blk);
    Write *w, *r;

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "pwritev", "A"), ==, 0);
    w = send_write(blk, 0x1200, 0x200, 1);
    wait_suspended(blk, "A");
    r = g_new0(Write, 1);
    r->ret = 1;
    qemu_iovec_init_buf(&r->qiov, r->buf, 0x200);
    blk_aio_preadv(blk, 0x1200, &r->qiov, 0, write_done, r);
    poll_some(blk);
    g_assert_cmpint(r->ret, ==, 1);
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
    blk_drain(blk);
    g_assert_cmpint(w->ret, ==, 0);
    g_assert_cmpint(r->ret, ==, 0);
    g_assert_cmpint(r->buf[0], ==, 1);
    blk_unref(blk);
    g_free(w);
    g_free(r);
    ram_disk_free(disk);
}

static void test_rule_without_number(void)
{
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk = open_over(disk, ",file.inject-error.event=read_aio");

    g_assert_cmpint(read_at(blk, 0), ==, -EIO);
    blk_unref(blk);
    ram_disk_free(disk);
}

static void test_limits_split_requests(void)
{
    RamDisk *disk = ram_disk_new(1 << 20);
    BlockBackend *blk;

    disk->zeroes = disk->discards = true;
    blk = open_over(disk, ",file.align=512,file.max-transfer=4096,file.opt-write-zero=8192"
                          ",file.max-write-zero=16384,file.opt-discard=8192"
                          ",file.max-discard=32768");
    g_assert_cmpint(write_at(blk, 0, 16384, 7), ==, 0);
    g_assert_cmpuint(disk->writes, ==, 4);
    g_assert_cmpint(disk->largest, ==, 4096);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 65536, 0), ==, 0);
    g_assert_cmpuint(disk->zero_writes, ==, 4);
    g_assert_cmpint(blk_pdiscard(blk, 0, 65536), ==, 0);
    g_assert_cmpuint(disk->nb_discards, ==, 2);
    /* Less than an opt-discard is not worth it. */
    g_assert_cmpint(blk_pdiscard(blk, 0, 4096), ==, 0);
    g_assert_cmpuint(disk->nb_discards, ==, 2);
    blk_unref(blk);
    ram_disk_free(disk);
}

static void test_bad_options(void)
{
    assert_fails(",align=7", "Cannot meet constraints with align 7");
    assert_fails(",align=2G", "Cannot meet constraints with align 2147483648");
    assert_fails(",align=4096,max-transfer=512",
                 "Cannot meet constraints with max-transfer 512");
    assert_fails(",max-write-zero=4096,opt-write-zero=64k",
                 "Cannot meet constraints with max-write-zero 4096");
    assert_fails(",inject-error.0.event=foo", "invalid parameter value: foo");
    assert_fails(",inject-error.0.errno=5", "Missing event name for rule");
    assert_fails(",inject-error.0.event=none,inject-error.0.foo=1",
                 "[inject-error] section doesn't support the option 'foo'");
    assert_fails(",inject-error.event=none,inject-error.foo=1",
                 "Unknown option 'foo' for [inject-error]");
    assert_fails(",inject-error.1.event=none", "Unused option '1.event' for [inject-error]");
    assert_fails(",set-state.0=none",
                 "[set-state] section (index 0) does not consist of keys");
    assert_fails(",inject-error.0.event=none,inject-error.0.errno=5000",
                 "There is no errno 5000");
    assert_fails(",inject-error.0.event=none,inject-error.0.sector=9007199254740992000",
                 "Sector 9007199254740992000 is beyond what an image can have");
    assert_fails(",config=/nonexistent",
                 "Could not read blkdebug config file: No such file or directory");
    assert_fails(",take-child-perms.0=write", "Block node is read-only");
}

static void assert_config(const char *text, const char *message)
{
    g_autofree char *path = g_build_filename(dir, "config", NULL);
    g_autofree char *options = g_strconcat(",config=", path, NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    assert_fails(options, message);
    g_unlink(path);
}

static void test_bad_config(void)
{
    g_autofree char *garbage = g_strnfill(1 << 21, 'x');

    assert_config("event = \"none\"\n", "no group defined");
    assert_config("garbage\n", "no group defined");
    assert_config("[inject-err]\n", "There is no option group 'inject-err'");
    assert_config("[inject-error\n", "There is no option group 'inject-error\n'");
    assert_config("[inject-error]\nevent = \"none\"\n   \n", "parse error");
    assert_config("[inject-error]\nfoo = \"3\"\n", "Invalid parameter 'foo'");
    assert_config("[inject-error]\nevent=\"none\"\n", "Invalid parameter 'event=\"none\"'");
    assert_config("[inject-error]\nevent = none\n", "invalid parameter value: ");
    assert_config("[inject-error]\nevent = \"none\"\nerrno = \"x\"\n",
                  "Parameter 'errno' expects a number");
    assert_config("[set-state \"a\"]\n[set-state \"a\"]\n", "Duplicate ID 'a' for set-state");
    assert_config("[set-state \"1\"]\n", "Parameter 'id' expects an identifier");
    assert_config("[set-state \"a b\"]\n", "Parameter 'id' expects an identifier");
    assert_config("[]\n", "no group defined");
    /* Names may be alike in groups of different kinds. */
    assert_config("[set-state \"a.b-c_1\"]\n[set-state \"x\"]\n[inject-error \"x\"]\n",
                  "Missing event name for rule");
    assert_config(garbage, "The blkdebug config file is larger than 1048576 bytes");
}

static void test_config(void)
{
    g_autofree char *path = g_build_filename(dir, "config", NULL);
    g_autofree char *options = g_strconcat(",file.config=", path, NULL);
    RamDisk *disk = ram_disk_new(65536);
    BlockBackend *blk;

    g_assert_true(g_file_set_contents(path,
                                      "# reads of sector 2 fail\n\n"
                                      "[inject-error \"one\"] ignored\n"
                                      "  event = \"read_aio\" ignored\n"
                                      "sector = \"2\"\n"
                                      "errno = \"28\"",
                                      -1, NULL));
    blk = open_over(disk, options);
    g_assert_cmpint(read_at(blk, 0), ==, 0);
    g_assert_cmpint(read_at(blk, 1024), ==, -ENOSPC);
    blk_unref(blk);
    ram_disk_free(disk);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_register(&bdrv_test_ram);
    dir = g_dir_make_tmp("blkco-blkdebug-XXXXXX", NULL);
    g_test_add_func("/blkdebug/injects-once-at-event", test_once_at_event);
    g_test_add_func("/blkdebug/injects-by-sector", test_sector);
    g_test_add_func("/blkdebug/states", test_states);
    g_test_add_func("/blkdebug/injects-by-kind-of-request", test_io_types);
    g_test_add_func("/blkdebug/injected-flush-error-passes", test_flush_error_passes);
    g_test_add_func("/blkdebug/breaks-order-overlapping-writes",
                    test_breaks_order_overlapping_writes);
    g_test_add_func("/blkdebug/removed-break-point-lets-go", test_removed_break_point_lets_go);
    g_test_add_func("/blkdebug/read-waits-for-stopped-write",
                    test_read_waits_for_stopped_write);
    g_test_add_func("/blkdebug/rule-without-number", test_rule_without_number);
    g_test_add_func("/blkdebug/limits-split-requests", test_limits_split_requests);
    g_test_add_func("/blkdebug/bad-options", test_bad_options);
    g_test_add_func("/blkdebug/bad-config", test_bad_config);
    g_test_add_func("/blkdebug/config", test_config);
    ret = g_test_run();
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
