/* SPDX-License-Identifier: MIT */
/* Filters and quorum: what they pass on, what they change, what they refuse. */
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

static void assert_fails(const char *options, int flags, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(try_open(options, flags, &err));
    g_assert_cmpstr(err->message, ==, message);
}

/* A raw node of this name over a disk in memory, to refer to. */
static BlockBackend *named_disk(RamDisk *disk, const char *name)
{
    g_autofree char *options = g_strdup_printf("driver=test-ram,node-name=%s", name);

    ram_disk_to_open = disk;
    return try_open(options, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

typedef struct Three {
    RamDisk *disk[3];
    BlockBackend *node[3], *blk;
} Three;

static void three_open(Three *t, const char *options)
{
    g_autofree char *all = g_strconcat("driver=quorum,children.0=a,children.1=b,children.2=c",
                                       options, NULL);

    for (int i = 0; i < 3; i++) {
        char name[2] = { 'a' + i, 0 };

        t->disk[i] = ram_disk_new(65536);
        t->node[i] = named_disk(t->disk[i], name);
    }
    /* Quorum lets nobody else write: it takes the nodes over. */
    BlockDriverState *bs[3];

    for (int i = 0; i < 3; i++) {
        bs[i] = blk_bs(t->node[i]);
        bdrv_ref(bs[i]);
        blk_unref(t->node[i]);
    }
    t->blk = try_open(all, BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
    for (int i = 0; i < 3; i++) {
        bdrv_unref(bs[i]);
    }
}

static void three_close(Three *t)
{
    blk_unref(t->blk);
    for (int i = 0; i < 3; i++) {
        ram_disk_free(t->disk[i]);
    }
}

static int read_byte(BlockBackend *blk, int64_t offset, uint8_t *byte)
{
    return blk_pread(blk, offset, 1, byte, 0);
}

static void test_quorum_votes(void)
{
    uint8_t buf[512], byte;
    Three t;

    three_open(&t, ",vote-threshold=2");
    memset(buf, 7, sizeof(buf));
    g_assert_cmpint(blk_pwrite(t.blk, 0, 512, buf, 0), ==, 0);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(t.disk[i]->data[511], ==, 7);
    }
    t.disk[1]->data[3] = 8;
    g_assert_cmpint(read_byte(t.blk, 3, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 7);
    t.disk[2]->data[3] = 9;
    g_assert_cmpint(read_byte(t.blk, 3, &byte), ==, -EIO);

    t.disk[0]->read_error = -ENOSPC;
    g_assert_cmpint(read_byte(t.blk, 0, &byte), ==, 0);
    t.disk[1]->read_error = -ENOSPC;
    g_assert_cmpint(read_byte(t.blk, 0, &byte), ==, -ENOSPC);

    t.disk[1]->write_error = -EIO;
    g_assert_cmpint(blk_pwrite(t.blk, 0, 512, buf, 0), ==, 0);
    t.disk[2]->write_error = -EIO;
    g_assert_cmpint(blk_pwrite(t.blk, 0, 512, buf, 0), ==, -EIO);
    t.disk[1]->write_error = t.disk[2]->write_error = 0;
    three_close(&t);
}

static void test_quorum_rewrites(void)
{
    uint8_t byte;
    Three t;

    three_open(&t, ",vote-threshold=2,rewrite-corrupted=on");
    t.disk[1]->data[3] = 8;
    g_assert_cmpint(read_byte(t.blk, 3, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 0);
    g_assert_cmpint(t.disk[1]->data[3], ==, 0);
    g_assert_cmpuint(t.disk[1]->writes, ==, 1);
    g_assert_cmpuint(t.disk[0]->writes, ==, 0);
    three_close(&t);
}

static void test_quorum_fifo(void)
{
    uint8_t byte;
    Three t;

    three_open(&t, ",vote-threshold=1,read-pattern=fifo");
    t.disk[1]->data[3] = 8;
    g_assert_cmpint(read_byte(t.blk, 3, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 0);
    g_assert_cmpuint(t.disk[1]->reads, ==, 0);
    t.disk[0]->read_error = -EIO;
    g_assert_cmpint(read_byte(t.blk, 3, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 8);
    three_close(&t);
}

#define TWO "driver=quorum,children.0.driver=null-co,children.1.driver=null-co"

static void test_quorum_options(void)
{
    assert_fails("driver=quorum,vote-threshold=2", 0,
                 "Number of provided children must be 1 or more");
    assert_fails(TWO, 0, "Parameter 'vote-threshold' expects a value >= 1");
    assert_fails(TWO ",vote-threshold=3", 0, "threshold may not exceed children count");
    assert_fails(TWO ",vote-threshold=1,read-pattern=x", 0,
                 "Please set read-pattern as fifo or quorum");
    assert_fails(TWO ",vote-threshold=1,blkverify=on", 0,
                 "blkverify=on can only be set if there are exactly two files and "
                 "vote-threshold is 2");
    assert_fails(TWO ",vote-threshold=2,blkverify=on,rewrite-corrupted=on", 0,
                 "rewrite-corrupted=on cannot be used with blkverify=on");
    assert_fails("driver=quorum,vote-threshold=1,children.1.driver=null-co", 0,
                 "Option children is not a valid array");
    assert_fails("driver=quorum,vote-threshold=1,children.999999.driver=null-co", 0,
                 "Option children is not a valid array");
    assert_fails("driver=quorum,vote-threshold=1,children.x.driver=null-co", 0,
                 "Option children is not a valid array");
    assert_fails(TWO ",vote-threshold=1,children.1.size=512", 0,
                 "Could not refresh total sector count: Input/output error");
}

#define VERIFY "driver=blkverify,raw.driver=null-co,test.driver=null-co"

static void read_and_die(const char *options, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    BlockBackend *blk = try_open(options, 0, &error_abort);

    blk_pread(blk, offset, bytes, buf, 0);
    blk_unref(blk);
}

/* Two files that differ at 1000. */
static void make_two(char **a, char **b)
{
    g_autofree char *data = g_malloc0(4096);

    *a = g_build_filename(dir, "a", NULL);
    *b = g_build_filename(dir, "b", NULL);
    g_assert_true(g_file_set_contents(*a, data, 4096, NULL));
    data[1000] = 1;
    g_assert_true(g_file_set_contents(*b, data, 4096, NULL));
}

static void test_mismatch_ends_the_program(void)
{
    g_autofree char *a = NULL, *b = NULL, *verify = NULL, *quorum = NULL;

    make_two(&a, &b);
    verify = g_strdup_printf("driver=blkverify,raw.driver=file,raw.filename=%s,"
                             "test.driver=file,test.filename=%s", a, b);
    quorum = g_strdup_printf("driver=quorum,blkverify=on,vote-threshold=2,"
                             "children.0.driver=file,children.0.filename=%s,"
                             "children.1.driver=file,children.1.filename=%s", a, b);
    if (g_test_subprocess()) {
        read_and_die(verify, 512, 1024);
        return;
    }
    read_and_die(verify, 0, 1000);
    read_and_die(quorum, 0, 1000);
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*blkverify: read offset=512 bytes=1024 contents mismatch at "
                              "offset 1000\n*");
    g_unlink(a);
    g_unlink(b);
}

static void test_blkverify_options(void)
{
    BlockBackend *blk = try_open(VERIFY, 0, &error_abort);

    g_assert_cmpstr(bdrv_get_filename(blk_bs(blk)), ==, "blkverify:null-co://:null-co://");
    blk_unref(blk);
    g_assert_null(blk_new_open("blkverify:a", NULL, NULL, 0, NULL));
    assert_fails("driver=blkverify,raw.driver=null-co", 0,
                 "A block device must be specified for \"test\"");
}

static char *make_qcow2(const char *name, const char *size, const char *backing)
{
    char *path = g_build_filename(dir, name, NULL);
    BlockOptions *options = blk_options_new();

    blk_options_set(options, "size", size);
    if (backing) {
        blk_options_set(options, "backing_file", backing);
        blk_options_set(options, "backing_fmt", "raw");
    }
    bdrv_create(bdrv_find_format("qcow2"), path, options, &error_abort);
    return path;
}

static void test_compress(void)
{
    g_autofree char *path = make_qcow2("c", "200000", NULL);
    g_autofree char *options = g_strdup_printf(
        "driver=compress,file.driver=qcow2,file.file.filename=%s", path);
    g_autofree uint8_t *buf = g_malloc(200192);
    BlockBackend *blk = try_open(options, BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    int64_t n;
    int ret;

    memset(buf, 5, 200192);
    g_assert_cmpint(blk_pwrite(blk, 70000, 10, buf, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 65536, 65536, buf, 0), ==, 0);
    g_assert_cmpint(buf[70000 - 65536 - 1], ==, 0);
    g_assert_cmpint(buf[70000 - 65536 + 9], ==, 5);
    ret = bdrv_block_status(bdrv_primary_bs(blk_bs(blk)), 65536, 65536, &n, NULL, NULL);
    g_assert_cmpint(ret & BDRV_BLOCK_COMPRESSED, ==, BDRV_BLOCK_COMPRESSED);
    /* The last cluster is a part of one. */
    memset(buf, 6, 200192);
    g_assert_cmpint(blk_pwrite(blk, 196608, 3584, buf, 0), ==, 0);
    blk_unref(blk);
    g_unlink(path);
    assert_fails("driver=compress,file.driver=null-co", 0,
                 "Compression is not supported for underlying format: null-co");
}

static void test_copy_on_read(void)
{
    g_autofree char *base = g_build_filename(dir, "base", NULL);
    g_autofree char *data = g_strnfill(131072, 'b');
    g_autofree char *path = NULL, *options = NULL;
    uint8_t byte;
    int64_t n;
    BlockBackend *blk;

    g_assert_true(g_file_set_contents(base, data, 131072, NULL));
    path = make_qcow2("o", "131072", base);
    options = g_strdup_printf("driver=copy-on-read,file.driver=qcow2,file.file.filename=%s",
                              path);
    assert_fails(options, 0, "Block node is read-only");
    blk = try_open(options, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(read_byte(blk, 70000, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 'b');
    g_assert_cmpint(bdrv_is_allocated(bdrv_primary_bs(blk_bs(blk)), 65536, 65536, &n), ==, 1);
    g_assert_cmpint(bdrv_is_allocated(bdrv_primary_bs(blk_bs(blk)), 0, 65536, &n), ==, 0);
    blk_unref(blk);
    g_unlink(path);
    g_unlink(base);
}

static void test_copy_on_read_bottom(void)
{
    g_autofree char *base = g_build_filename(dir, "base", NULL);
    g_autofree char *data = g_strnfill(131072, 'b');
    g_autofree char *mid = NULL, *path = NULL, *options = NULL;
    uint8_t byte = 'm';
    int64_t n;
    BlockBackend *blk;

    g_assert_true(g_file_set_contents(base, data, 131072, NULL));
    mid = make_qcow2("mid", "131072", base);
    path = make_qcow2("top", "131072", NULL);
    blk = blk_new_open(mid, NULL, NULL, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 0, 1, &byte, 0), ==, 0);
    blk_unref(blk);

    options = g_strdup_printf(
        "driver=copy-on-read,bottom=mid,file.driver=qcow2,file.file.filename=%s,"
        "file.backing.driver=qcow2,file.backing.node-name=mid,file.backing.file.filename=%s",
        path, mid);
    blk = try_open(options, BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(read_byte(blk, 0, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 'm');
    g_assert_cmpint(read_byte(blk, 70000, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 'b');
    g_assert_cmpint(bdrv_is_allocated(bdrv_primary_bs(blk_bs(blk)), 0, 65536, &n), ==, 1);
    g_assert_cmpint(bdrv_is_allocated(bdrv_primary_bs(blk_bs(blk)), 65536, 65536, &n), ==, 0);
    blk_unref(blk);
    g_unlink(path);
    g_unlink(mid);
    g_unlink(base);
    assert_fails("driver=copy-on-read,bottom=foo,file.driver=null-co", BDRV_O_RDWR,
                 "Bottom node 'foo' not found");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_register(&bdrv_test_ram);
    /* A test's subprocess, which does not come to its end, uses the directory of its parent. */
    dir = g_strdup(g_getenv("BLKCO_FILTERS_DIR"));
    if (!dir) {
        dir = g_dir_make_tmp("blkco-filters-XXXXXX", NULL);
        g_setenv("BLKCO_FILTERS_DIR", dir, true);
    }
    g_test_add_func("/quorum/votes", test_quorum_votes);
    g_test_add_func("/quorum/rewrites-corrupted", test_quorum_rewrites);
    g_test_add_func("/quorum/fifo", test_quorum_fifo);
    g_test_add_func("/quorum/bad-options", test_quorum_options);
    g_test_add_func("/blkverify/mismatch-ends-the-program", test_mismatch_ends_the_program);
    g_test_add_func("/blkverify/options", test_blkverify_options);
    g_test_add_func("/compress/writes", test_compress);
    g_test_add_func("/copy-on-read/all-layers", test_copy_on_read);
    g_test_add_func("/copy-on-read/bottom", test_copy_on_read_bottom);
    ret = g_test_run();
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
