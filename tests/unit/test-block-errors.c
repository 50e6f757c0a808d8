/* SPDX-License-Identifier: MIT */
/*
 * What the block layer answers where something is not there, or goes wrong: no medium, no
 * snapshots, no such bitmap, a driver that breaks its contract.
 */
#include "ram-driver.h"
#include "qemu/main-loop.h"

#include <glib/gstdio.h>

#include "block/dirty-bitmap.h"
#include "block/snapshot.h"

#define LENGTH (64 * 1024)

static void assert_message(Error **err, const char *message)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(*err));
    }
    error_free(g_steal_pointer(err));
}

static BlockBackend *try_open(const char *options, int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();

    g_assert_true(blk_options_parse(o, options, NULL, &error_abort));
    return blk_new_open(NULL, NULL, o, flags, errp);
}

/* --- without a medium --- */

static void test_no_medium(void)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), BLK_PERM_ALL, BLK_PERM_ALL);
    uint8_t byte = 0;

    g_assert_false(blk_is_available(blk));
    g_assert_false(blk_is_writable(blk));
    g_assert_cmpint(blk_nb_sectors(blk), ==, -ENOMEDIUM);
    g_assert_cmpuint(blk_get_request_alignment(blk), ==, 512);
    g_assert_cmpint(blk_get_max_transfer(blk), ==,
                    ROUND_DOWN((int64_t)BDRV_REQUEST_MAX_BYTES, 512));
    g_assert_cmpint(blk_get_max_iov(blk), ==, IOV_MAX);
    g_assert_cmpint(blk_pdiscard(blk, 0, 1), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 1, 0), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_save_vmstate(blk, &byte, 0, 1), ==, -ENOMEDIUM);
    g_assert_cmpint(blk_load_vmstate(blk, &byte, 0, 1), ==, -ENOMEDIUM);
    blk_unref(blk);
}

static void test_what_a_backend_tells(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;

    d->limits.request_alignment = 4096;
    d->limits.max_transfer = 10000;
    d->limits.max_iov = 7;
    blk = ram_open_blk(d, "driver=raw");
    g_assert_true(blk_is_writable(blk));
    g_assert_cmpint(blk_nb_sectors(blk), ==, LENGTH / 512);
    g_assert_cmpuint(blk_get_request_alignment(blk), ==, 4096);
    g_assert_cmpint(blk_get_max_transfer(blk), ==, 8192);
    g_assert_cmpint(blk_get_max_iov(blk), ==, 7);
    blk_unref(blk);
    blk = ram_try_open(d, NULL, 0, &error_abort);
    g_assert_false(blk_is_writable(blk));
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- discards --- */

/* A driver may refuse what is not a whole block of its own; all else is an error. */
static void test_discard_errors(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk;

    d->limits.request_alignment = 512;
    d->limits.pdiscard_alignment = 4096;
    blk = ram_open_blk(d, NULL);
    d->fail_at = d->calls + 1;
    d->fail_with = -EINVAL;
    g_assert_cmpint(blk_pdiscard(blk, 512, 8192 - 512), ==, 0);
    g_assert_cmpuint(d->nb_discards, ==, 2);
    d->fail_at = d->calls + 1;
    g_assert_cmpint(blk_pdiscard(blk, 4096, 4096), ==, -EINVAL);
    d->fail_at = d->calls + 1;
    d->fail_with = -EIO;
    g_assert_cmpint(blk_pdiscard(blk, 512, 8192 - 512), ==, -EIO);
    g_assert_cmpint(blk_pdiscard(blk, 512, 0), ==, 0);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 512, 0, 0), ==, 0);
    /* Less than a block cannot be zeroed without a buffer. */
    g_assert_cmpint(blk_pwrite_zeroes(blk, 100, 512, BDRV_REQ_NO_FALLBACK), ==, -ENOTSUP);
    g_assert_cmpuint(d->zero_writes + d->writes, ==, 0);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- snapshots --- */

static void test_no_snapshots(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, NULL);
    BlockDriverState *bs = blk_bs(blk);
    QEMUSnapshotInfo info = { .name = "a" }, *list;
    Error *err = NULL;
    uint8_t byte = 0;

    g_assert_cmpint(bdrv_can_snapshot(bs), ==, 0);
    g_assert_cmpint(bdrv_snapshot_create(bs, &info), ==, -ENOTSUP);
    g_assert_cmpint(bdrv_snapshot_goto(bs, "a", &err), ==, -ENOTSUP);
    assert_message(&err, "Block driver does not support snapshots");
    g_assert_cmpint(bdrv_snapshot_goto(bs, "a", NULL), ==, -ENOTSUP);
    g_assert_cmpint(bdrv_snapshot_delete(bs, NULL, "a", &err), ==, -ENOTSUP);
    assert_message(&err, "Block format 'test-ram' does not support internal snapshot deletion");
    g_assert_cmpint(bdrv_snapshot_delete(bs, NULL, "a", NULL), ==, -ENOTSUP);
    g_assert_cmpint(bdrv_snapshot_list(bs, &list), ==, -ENOTSUP);
    g_assert_null(list);
    g_assert_cmpint(bdrv_snapshot_find(bs, &info, "a"), ==, -ENOENT);
    g_assert_false(bdrv_snapshot_find_by_id_and_name(bs, "1", NULL, &info, &err));
    assert_message(&err, "Failed to get a snapshot list");
    g_assert_cmpint(bdrv_snapshot_load_tmp(bs, "1", NULL, &err), ==, -EINVAL);
    assert_message(&err, "Device is not readonly");
    g_assert_cmpint(bdrv_snapshot_load_tmp(bs, NULL, NULL, NULL), ==, -EINVAL);
    g_assert_cmpint(blk_save_vmstate(blk, &byte, 0, 1), ==, -ENOTSUP);
    blk_unref(blk);

    blk = ram_try_open(d, NULL, 0, &error_abort);
    g_assert_cmpint(bdrv_snapshot_load_tmp(blk_bs(blk), "1", NULL, &err), ==, -ENOTSUP);
    assert_message(&err, "does not support temporarily loading internal snapshots");
    g_assert_cmpint(blk_save_vmstate(blk, &byte, 0, 1), ==, -EACCES);
    blk_unref(blk);
    ram_disk_free(d);
}

static char *qcow2_options(char **path)
{
    BlockOptions *options = blk_options_new();

    *path = g_strdup_printf("%s/blkco-block-errors-%d.qcow2", g_get_tmp_dir(), (int)getpid());
    blk_options_set(options, "size", "1048576");
    g_assert_cmpint(bdrv_create(bdrv_find_format("qcow2"), *path, options, &error_abort), ==, 0);
    return g_strdup_printf("driver=qcow2,file.filename=%s", *path);
}

static void test_snapshot_errors(void)
{
    g_autofree char *path = NULL, *options = qcow2_options(&path);
    BlockBackend *blk = try_open(options, BDRV_O_RDWR, &error_abort);
    BlockDriverState *bs = blk_bs(blk);
    QEMUSnapshotInfo info = { .name = "a" };
    Error *err = NULL;
    uint8_t byte = 0;

    g_assert_cmpint(bdrv_can_snapshot(bs), !=, 0);
    g_assert_cmpint(bdrv_snapshot_create(bs, &info), ==, 0);
    g_assert_true(bdrv_snapshot_find_by_id_and_name(bs, "1", "a", &info, &error_abort));
    g_assert_false(bdrv_snapshot_find_by_id_and_name(bs, "1", "b", &info, &error_abort));
    g_assert_false(bdrv_snapshot_find_by_id_and_name(bs, "2", "a", &info, &error_abort));
    g_assert_cmpint(bdrv_snapshot_delete(bs, NULL, NULL, &err), ==, -EINVAL);
    assert_message(&err, "snapshot_id and name are both NULL");
    g_assert_cmpint(bdrv_snapshot_delete(bs, NULL, "b", &err), <, 0);
    assert_message(&err, "");
    g_assert_cmpint(bdrv_snapshot_load_tmp(bs, NULL, NULL, &err), ==, -EINVAL);
    assert_message(&err, "snapshot_id and name are both NULL");
    g_assert_cmpint(blk_save_vmstate(blk, &byte, 0, -1), ==, -EINVAL);
    g_assert_cmpint(blk_save_vmstate(blk, &byte, -1, 1), ==, -EINVAL);
    g_assert_cmpint(blk_save_vmstate(blk, &byte, INT64_MAX, 1), ==, -EINVAL);
    g_assert_cmpint(blk_load_vmstate(blk, &byte, 0, 0), ==, 0);
    blk_unref(blk);

    blk = try_open(options, 0, &error_abort);
    bs = blk_bs(blk);
    g_assert_cmpint(bdrv_can_snapshot(bs), ==, 0);
    g_assert_cmpint(bdrv_snapshot_create(bs, &info), ==, -EACCES);
    g_assert_cmpint(bdrv_snapshot_goto(bs, "a", &err), ==, -EACCES);
    assert_message(&err, "Failed to load snapshot: The image is read-only");
    g_assert_cmpint(bdrv_snapshot_delete(bs, NULL, "a", &err), ==, -EACCES);
    assert_message(&err, "The image is read-only");
    g_assert_cmpint(bdrv_snapshot_load_tmp(bs, NULL, NULL, &err), ==, -EINVAL);
    assert_message(&err, "snapshot_id and name are both NULL");
    g_assert_cmpint(bdrv_snapshot_load_tmp(bs, "1", NULL, &error_abort), ==, 0);
    blk_unref(blk);
    g_unlink(path);
}

/* --- copy on read --- */

/* What could not be read is not there; what was read is read from below only once. */
static void test_copy_on_read_errors(void)
{
    g_autofree char *path = NULL, *image = qcow2_options(&path);
    g_autofree char *options = g_strconcat(image, ",backing.driver=test-ram", NULL);
    RamDisk *d = ram_disk_new(LENGTH * 2);
    BlockBackend *blk;
    uint8_t buf[512];
    int64_t n;
    unsigned reads;

    memset(d->data, 7, LENGTH);
    ram_disk_to_open = d;
    blk = try_open(options, BDRV_O_RDWR | BDRV_O_COPY_ON_READ, &error_abort);
    d->read_error = -EIO;
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(bdrv_is_allocated(blk_bs(blk), 0, LENGTH, &n), ==, 0);
    d->read_error = 0;
    for (int64_t at = 0; at < 2 * LENGTH; at += LENGTH) {
        g_assert_cmpint(blk_pread(blk, at, 512, buf, 0), ==, 0);
        g_assert_cmphex(buf[511], ==, at ? 0 : 7);
        g_assert_cmpint(bdrv_is_allocated(blk_bs(blk), at, LENGTH, &n), ==, 1);
        g_assert_cmpint(n, ==, LENGTH);
    }
    reads = d->reads;
    g_assert_cmpint(blk_pread(blk, LENGTH - 512, 512, buf, 0), ==, 0);
    g_assert_cmphex(buf[0], ==, 7);
    g_assert_cmpint(blk_pread(blk, 2 * LENGTH - 512, 512, buf, 0), ==, 0);
    g_assert_cmphex(buf[0], ==, 0);
    g_assert_cmpuint(d->reads, ==, reads);
    blk_unref(blk);
    ram_disk_free(d);
    g_unlink(path);
}

/* --- bitmaps --- */

static void test_bitmap_errors(void)
{
    RamDisk *d = ram_disk_new(LENGTH);
    BlockBackend *blk = ram_open_blk(d, "driver=raw");
    BlockDriverState *bs = blk_bs(blk);
    g_autofree char *long_name = g_strnfill(1024, 'x');
    BdrvDirtyBitmap *a, *nameless;
    Error *err = NULL;
    int64_t start, count;

    g_assert_false(bdrv_has_named_bitmaps(bs));
    g_assert_false(bdrv_has_readonly_bitmaps(bs));
    nameless = bdrv_create_dirty_bitmap(bs, 4096, NULL, &error_abort);
    g_assert_false(bdrv_has_named_bitmaps(bs));
    g_assert_null(bdrv_find_dirty_bitmap(bs, "a"));
    g_assert_null(bdrv_create_dirty_bitmap(bs, 4096, long_name, &err));
    assert_message(&err, "Bitmap name too long");
    a = bdrv_create_dirty_bitmap(bs, 4096, "a", &error_abort);
    g_assert_null(bdrv_create_dirty_bitmap(bs, 4096, "a", &err));
    assert_message(&err, "Bitmap already exists: a");
    g_assert_true(bdrv_has_named_bitmaps(bs));
    g_assert_true(bdrv_find_dirty_bitmap(bs, "a") == a);

    g_assert_cmpint(bdrv_dirty_bitmap_check(a, BDRV_BITMAP_DEFAULT, NULL), ==, 0);
    bdrv_dirty_bitmap_set_busy(a, true);
    g_assert_cmpint(bdrv_dirty_bitmap_check(a, BDRV_BITMAP_DEFAULT, NULL), <, 0);
    g_assert_cmpint(bdrv_dirty_bitmap_check(a, BDRV_BITMAP_DEFAULT, &err), <, 0);
    assert_message(&err, "Bitmap 'a' is currently in use by another operation");
    bdrv_dirty_bitmap_set_busy(a, false);
    bdrv_dirty_bitmap_set_readonly(a, true);
    g_assert_true(bdrv_has_readonly_bitmaps(bs));
    g_assert_cmpint(bdrv_dirty_bitmap_check(a, BDRV_BITMAP_DEFAULT, &err), <, 0);
    assert_message(&err, "Bitmap 'a' is readonly");
    bdrv_dirty_bitmap_set_readonly(a, false);
    g_assert_false(bdrv_has_readonly_bitmaps(bs));

    /* Only what is meant to be kept, and can be, is stored. */
    g_assert_false(bdrv_dirty_bitmap_to_be_stored(a));
    bdrv_dirty_bitmap_set_persistence(a, true);
    g_assert_true(bdrv_dirty_bitmap_to_be_stored(a));
    bdrv_dirty_bitmap_skip_store(a, true);
    g_assert_false(bdrv_dirty_bitmap_to_be_stored(a));
    bdrv_dirty_bitmap_skip_store(a, false);
    bdrv_dirty_bitmap_set_readonly(a, true);
    g_assert_false(bdrv_dirty_bitmap_to_be_stored(a));
    bdrv_dirty_bitmap_set_readonly(a, false);
    g_assert_cmpint(bdrv_remove_persistent_dirty_bitmap(bs, "a", &error_abort), ==, 0);
    g_assert_cmpint(bdrv_store_dirty_bitmaps(bs, &error_abort), ==, 0);
    g_assert_false(bdrv_supports_persistent_dirty_bitmap(bs));
    g_assert_false(bdrv_can_store_new_dirty_bitmap(bs, "b", 4096, &err));
    assert_message(&err, "Can't store persistent bitmaps to");

    /* Behind the end there is nothing. */
    bdrv_set_dirty_bitmap(a, LENGTH, 4096);
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, 0);
    bdrv_set_dirty_bitmap(a, LENGTH - 4096, 8192);
    g_assert_cmpint(bdrv_get_dirty_count(a), ==, 4096);
    g_assert_false(bdrv_dirty_bitmap_get(a, LENGTH));
    g_assert_true(bdrv_dirty_bitmap_get(a, LENGTH - 1));
    g_assert_false(bdrv_dirty_bitmap_next_dirty_area(a, 4096, 4096, 4096, &start, &count));
    g_assert_false(bdrv_dirty_bitmap_next_dirty_area(a, 0, 4096, 4096, &start, &count));
    bdrv_dirty_bitmap_set_inconsistent(a);
    g_assert_false(bdrv_dirty_bitmap_to_be_stored(a));
    g_assert_cmpint(bdrv_dirty_bitmap_check(a, BDRV_BITMAP_DEFAULT, &err), <, 0);
    assert_message(&err, "Bitmap 'a' is inconsistent");
    bdrv_release_dirty_bitmap(nameless);
    bdrv_release_dirty_bitmap(a);
    blk_unref(blk);
    ram_disk_free(d);
}

/* --- quorum --- */

#define NULLS(more)                                                                     \
    "driver=quorum,children.0.driver=null-co,children.1.driver=null-co,"                \
    "children.0.size=65536,children.1.size=65536,children.0.read-zeroes=on" more

static void quorum_refused(const char *more, const char *message)
{
    g_autofree char *options = g_strconcat(NULLS(""), more, NULL);
    Error *err = NULL;

    g_assert_null(try_open(options, BDRV_O_RDWR, &err));
    assert_message(&err, message);
}

static void test_quorum_options(void)
{
    quorum_refused(",vote-threshold=many", "vote-threshold");
    quorum_refused(",vote-threshold=0", "expects a value >= 1");
    quorum_refused(",vote-threshold=4294967296", "expects a value >= 1");
    quorum_refused(",vote-threshold=2,blkverify=perhaps", "blkverify");
    quorum_refused(",vote-threshold=2,rewrite-corrupted=perhaps", "rewrite-corrupted");
    quorum_refused(",vote-threshold=2,children.1x.driver=null-co", "not a valid array");
    quorum_refused(",vote-threshold=2,children.3.driver=null-co", "not a valid array");
    quorum_refused(",vote-threshold=2,children.2.driver=nothing", "nothing");
    quorum_refused(",vote-threshold=2,children.2.driver=null-co,blkverify=on",
                   "exactly two files");
}

/* Zeroes are what all children have as zeroes. */
static void test_quorum_status(void)
{
    BlockBackend *blk = try_open(NULLS(",children.1.read-zeroes=on,vote-threshold=2"),
                                 BDRV_O_RDWR, &error_abort);
    int64_t n;
    int ret = bdrv_block_status(blk_bs(blk), 0, 65536, &n, NULL, NULL);

    g_assert_cmpint(ret & BDRV_BLOCK_ZERO, !=, 0);
    g_assert_cmpint(n, ==, 65536);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4096, 0), ==, 0);
    blk_unref(blk);
    blk = try_open(NULLS(",vote-threshold=2,read-pattern=quorum"), BDRV_O_RDWR, &error_abort);
    ret = bdrv_block_status(blk_bs(blk), 0, 65536, &n, NULL, NULL);
    g_assert_cmpint(ret & (BDRV_BLOCK_ZERO | BDRV_BLOCK_DATA), ==, BDRV_BLOCK_DATA);
    g_assert_cmpint(n, ==, 65536);
    blk_unref(blk);
}

/* --- options --- */

#define BLKDEBUG "driver=blkdebug,image.driver=null-co,"

static void test_bad_options(void)
{
    static const char *const cases[][2] = {
        { "driver=null-co,size=x", "'size'" },
        { "driver=null-co,size=9223372036854775807", "size" },
        { "driver=null-co,latency-ns=x", "'latency-ns'" },
        { "driver=null-co,read-zeroes=x", "'read-zeroes'" },
        { "driver=null-co,cache.no-flush=x", "'cache.no-flush'" },
        { "driver=null-co,cache.direct=x", "'cache.direct'" },
        { "driver=null-co,auto-read-only=x", "'auto-read-only'" },
        { "driver=null-co,force-share=x", "'force-share'" },
        { "driver=raw,file.driver=null-co,offset=x", "'offset'" },
        { "driver=raw,file.driver=null-co,size=x", "'size'" },
        { BLKDEBUG "align=x", "'align'" },
        { BLKDEBUG "opt-write-zero=x", "'opt-write-zero'" },
        { BLKDEBUG "max-write-zero=x", "'max-write-zero'" },
        { BLKDEBUG "opt-discard=x", "'opt-discard'" },
        { BLKDEBUG "max-discard=x", "'max-discard'" },
        { BLKDEBUG "max-transfer=x", "'max-transfer'" },
        { BLKDEBUG "take-child-perms.0=x", "'take-child-perms' does not accept value 'x'" },
        { BLKDEBUG "unshare-child-perms.0=x",
          "'unshare-child-perms' does not accept value 'x'" },
        { BLKDEBUG "inject-error.0.event=read_aio,inject-error.0.once=x", "'once'" },
        { BLKDEBUG "inject-error.0.event=read_aio,inject-error.0.immediately=x", "'immediately'" },
        { BLKDEBUG "inject-error.0.event=read_aio,inject-error.0.iotype=x",
          "invalid parameter value: x" },
        { BLKDEBUG "inject-error.0.event=read_aio,inject-error.0.sector=x", "'sector'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Error *err = NULL;

        g_test_message("%s", cases[i][0]);
        g_assert_null(try_open(cases[i][0], BDRV_O_RDWR, &err));
        assert_message(&err, cases[i][1]);
        g_assert_null(try_open(cases[i][0], BDRV_O_RDWR, NULL));
    }
}

static void test_null_with_latency(void)
{
    BlockBackend *blk = try_open("driver=null-co,size=4096,latency-ns=1000,read-zeroes=on",
                                 BDRV_O_RDWR, &error_abort);
    char buf[512], zeroes[512] = { 0 };

    memset(buf, 1, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpmem(buf, 512, zeroes, 512);
    blk_unref(blk);
}

static void test_raw_refuses(void)
{
    BlockBackend *blk = try_open("driver=raw,file.driver=null-co,file.size=65536,offset=4096",
                                 BDRV_O_RDWR | BDRV_O_RESIZE, &error_abort);
    BlockOptions *options = blk_options_new();
    Error *err = NULL;

    g_assert_cmpint(blk_getlength(blk), ==, 65536 - 4096);
    g_assert_cmpint(blk_truncate(blk, BDRV_MAX_LENGTH, true, PREALLOC_MODE_OFF, 0, &err), ==,
                    -EINVAL);
    assert_message(&err, "Disk size too large for the chosen offset");
    blk_unref(blk);
    blk_options_set(options, "size", "4096");
    g_assert_cmpint(bdrv_create(bdrv_find_format("raw"), "null-co://", options, &err), ==,
                    -ENOTSUP);
    assert_message(&err, "Driver 'null-co' does not support image creation");
}

/* --- drivers that break their contract end the program, and are named --- */

typedef struct Broken {
    int read_ret, status_ret, truncate_ret;
    int64_t pnum;
    bool truncate_error;
} Broken;

static Broken broken;

static int broken_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    return 0;
}

static int coroutine_fn broken_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    return broken.read_ret;
}

static int coroutine_fn broken_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                      int64_t bytes, int64_t *pnum, int64_t *map,
                                      BlockDriverState **file)
{
    *pnum = broken.pnum;
    return broken.status_ret;
}

static int coroutine_fn broken_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                        PreallocMode prealloc, BdrvRequestFlags flags,
                                        Error **errp)
{
    if (broken.truncate_error) {
        error_setg(errp, "Full");
    }
    return broken.truncate_ret;
}

static int64_t coroutine_fn broken_getlength(BlockDriverState *bs)
{
    return LENGTH;
}

static void broken_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = 512;
}

static BlockDriver bdrv_broken = {
    .format_name = "test-broken",
    .protocol_name = "test-broken",
    .bdrv_open = broken_open,
    .bdrv_refresh_limits = broken_limits,
    .bdrv_co_preadv_part = broken_preadv,
    .bdrv_co_block_status = broken_status,
    .bdrv_co_truncate = broken_truncate,
    .bdrv_co_getlength = broken_getlength,
};

typedef struct BrokenCase {
    const char *name;
    char call; /* r, s or t */
    Broken broken;
    const char *message;
} BrokenCase;

static const BrokenCase broken_cases[] = {
    { "positive", 'r', { .read_ret = 1 }, "*test-broken*read: returned 1*" },
    { "no-errno", 'r', { .read_ret = -5000 }, "*test-broken*read: returned -5000*" },
    { "no-bytes", 's', { .status_ret = BDRV_BLOCK_DATA }, "*block status: said 0 of 4096 bytes*" },
    { "more-bytes", 's', { .status_ret = BDRV_BLOCK_DATA, .pnum = 8192 },
      "*block status: said 8192 of 4096 bytes*" },
    { "part-of-a-block", 's', { .status_ret = BDRV_BLOCK_DATA, .pnum = 100 },
      "*block status: said 100 of 4096 bytes*" },
    { "no-file", 's', { .status_ret = BDRV_BLOCK_OFFSET_VALID, .pnum = 4096 },
      "*block status: flags 0x* without a file*" },
    { "error-unsaid", 't', { .truncate_ret = -EIO }, "*truncate: returned -5 without an error*" },
    { "error-in-success", 't', { .truncate_error = true }, "*truncate: returned 0 with an error*" },
};

static void test_broken_driver(gconstpointer data)
{
    const BrokenCase *c = data;
    char buf[4096];
    int64_t n;

    if (g_test_subprocess()) {
        BlockBackend *blk = try_open("driver=test-broken", BDRV_O_RDWR | BDRV_O_RESIZE,
                                     &error_abort);

        broken = c->broken;
        if (c->call == 'r') {
            blk_pread(blk, 0, sizeof(buf), buf, 0);
        } else if (c->call == 's') {
            bdrv_block_status(blk_bs(blk), 0, 4096, &n, NULL, NULL);
        } else {
            blk_truncate(blk, 2 * LENGTH, true, PREALLOC_MODE_OFF, 0, NULL);
        }
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(c->message);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    bdrv_register(&bdrv_broken);
    bdrv_register(&bdrv_test_ram);
    g_test_add_func("/block-errors/no-medium", test_no_medium);
    g_test_add_func("/block-errors/what-a-backend-tells", test_what_a_backend_tells);
    g_test_add_func("/block-errors/discard", test_discard_errors);
    g_test_add_func("/block-errors/no-snapshots", test_no_snapshots);
    g_test_add_func("/block-errors/snapshots", test_snapshot_errors);
    g_test_add_func("/block-errors/copy-on-read", test_copy_on_read_errors);
    g_test_add_func("/block-errors/bitmaps", test_bitmap_errors);
    g_test_add_func("/block-errors/quorum/options", test_quorum_options);
    g_test_add_func("/block-errors/quorum/status", test_quorum_status);
    g_test_add_func("/block-errors/bad-options", test_bad_options);
    g_test_add_func("/block-errors/null-with-latency", test_null_with_latency);
    g_test_add_func("/block-errors/raw-refuses", test_raw_refuses);
    for (size_t i = 0; i < G_N_ELEMENTS(broken_cases); i++) {
        g_autofree char *name = g_strdup_printf("/block-errors/broken-driver/%s",
                                                broken_cases[i].name);

        g_test_add_data_func(name, &broken_cases[i], test_broken_driver);
    }
    return g_test_run();
}
