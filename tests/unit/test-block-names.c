/* SPDX-License-Identifier: MIT */
/* Names of nodes: references between options, and what an open node is called. */
#include "ram-driver.h"
#include "qemu/main-loop.h"

#include <glib/gstdio.h>

static char *dir;

static BlockBackend *open_json(const char *json, int flags, Error **errp)
{
    g_autofree char *name = g_strconcat("json:", json, NULL);

    return blk_new_open(name, NULL, NULL, flags, errp);
}

static void assert_named(const char *json, const char *name)
{
    BlockBackend *blk = open_json(json, 0, &error_abort);

    g_assert_cmpstr(bdrv_get_filename(blk_bs(blk)), ==, name);
    blk_unref(blk);
}

static void assert_refused(const char *json, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(open_json(json, 0, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_reference(void)
{
    BlockBackend *below = open_json("{\"driver\": \"null-co\", \"node-name\": \"below\"}", 0,
                                    &error_abort);
    BlockBackend *blk = open_json("{\"driver\": \"raw\", \"file\": \"below\"}", 0, &error_abort);

    g_assert_true(bdrv_find_node("below") == blk_bs(below));
    g_assert_true(bdrv_primary_bs(blk_bs(blk)) == blk_bs(below));
    g_assert_cmpstr(bdrv_get_node_name(blk_bs(below)), ==, "below");
    blk_unref(below);
    g_assert_nonnull(bdrv_find_node("below"));
    blk_unref(blk);
    g_assert_null(bdrv_find_node("below"));

    blk = blk_new_open(NULL, NULL, NULL, 0, NULL);
    g_assert_null(blk);
}

static void test_open_by_reference(void)
{
    BlockBackend *below = open_json("{\"driver\": \"null-co\", \"node-name\": \"below\"}", 0,
                                    &error_abort);
    g_autoptr(GError) err = NULL;
    BlockBackend *blk = blk_new_open(NULL, "below", NULL, 0, &error_abort);

    g_assert_true(blk_bs(blk) == blk_bs(below));
    g_assert_null(blk_new_open("file", "below", NULL, 0, &err));
    g_assert_cmpstr(err->message, ==, "Cannot reference an existing block device with "
                                      "additional options or a new filename");
    blk_unref(below);
    blk_unref(blk);
}

static void test_bad_references(void)
{
    g_autofree char *garbage = g_strnfill(100000, 'x');
    g_autofree char *json =
        g_strdup_printf("{\"driver\": \"null-co\", \"node-name\": \"%s\"}", garbage);

    assert_refused("{\"driver\": \"raw\", \"file\": \"x\"}",
                   "Cannot find device='x' nor node-name='x'");
    assert_refused("{\"driver\": \"raw\", \"node-name\": \"a\", \"file\": \"a\"}",
                   "Cannot find device='a' nor node-name='a'");
    assert_refused("{\"driver\": \"raw\", \"node-name\": \"a\", "
                   "\"file\": {\"driver\": \"null-co\", \"node-name\": \"a\"}}",
                   "Duplicate nodes with node-name='a'");
    assert_refused("{\"driver\": \"null-co\", \"node-name\": \"a b\"}",
                   "Invalid node-name: 'a b'");
    assert_refused("{\"driver\": \"null-co\", \"node-name\": \"#a\"}",
                   "Invalid node-name: '#a'");
    assert_refused("{\"driver\": \"null-co\", \"node-name\": \"\"}", "Invalid node-name: ''");
    assert_refused(json, "Node name too long");
    assert_refused("{\"driver\": \"blkdebug\", \"image\": \"a\", \"x-image\": \"b\"}",
                   "Cannot reference an existing block device with additional options "
                   "or a new filename");
    assert_refused("{\"driver\": \"blkdebug\"}",
                   "A block device must be specified for \"image\"");
    /* The names of failed opens are free again. */
    assert_named("{\"driver\": \"null-co\", \"node-name\": \"a\"}", "null-co://");
}

/* Of two users of one node the second gets what the first one shares. */
static void test_referenced_node_is_shared_by_permission(void)
{
    g_autoptr(GError) err = NULL;
    BlockBackend *below = open_json("{\"driver\": \"null-co\", \"node-name\": \"below\"}", 0,
                                    &error_abort);

    g_assert_null(open_json("{\"driver\": \"raw\", \"file\": \"below\"}", BDRV_O_RDWR, &err));
    g_assert_cmpstr(err->message, ==, "Block node is read-only");
    blk_unref(below);
}

static void test_names(void)
{
    assert_named("{\"driver\": \"null-co\"}", "null-co://");
    assert_named("{\"driver\": \"null-co\", \"size\": 4096}",
                 "json:{\"driver\": \"null-co\", \"size\": 4096}");
    assert_named("{\"driver\": \"raw\", \"file\": {\"driver\": \"null-co\"}}", "null-co://");
    assert_named("{\"driver\": \"blkdebug\", \"image\": {\"driver\": \"null-co\"}}",
                 "blkdebug::null-co://");
    assert_named("{\"driver\": \"raw\", \"file\": {\"driver\": \"blkdebug\", \"align\": 512, "
                 "\"image\": {\"driver\": \"null-co\"}}}",
                 "json:{\"driver\": \"raw\", \"file\": {\"image\": {\"driver\": \"null-co\"}, "
                 "\"driver\": \"blkdebug\", \"align\": 512}}");
    /* Keys of a rule stay flat, as QEMU prints them. */
    assert_named("{\"driver\": \"blkdebug\", \"image\": {\"driver\": \"null-co\"}, "
                 "\"inject-error\": [{\"event\": \"none\", \"once\": true}]}",
                 "json:{\"inject-error.0.once\": true, \"image\": {\"driver\": \"null-co\"}, "
                 "\"driver\": \"blkdebug\", \"inject-error.0.event\": \"none\"}");
}

/* A name that would never end is refused in time. */
static void test_endless_name(void)
{
    g_autoptr(GString) name = g_string_new(NULL);
    g_autoptr(GError) err = NULL;

    for (int i = 0; i < 5000; i++) {
        g_string_append(name, "blkdebug::");
    }
    g_string_append(name, "null-co://");
    g_assert_null(blk_new_open(name->str, NULL, NULL, 0, &err));
    g_assert_cmpstr(err->message, ==, "More than 500 nodes on top of each other");
}

/* A backing file that is not the image's own belongs to the name. */
static void test_names_of_overlays(void)
{
    g_autofree char *base = g_build_filename(dir, "base", NULL);
    g_autofree char *top = g_build_filename(dir, "top", NULL);
    BlockOptions *options = blk_options_new();
    g_autofree char *own = g_strdup_printf(
        "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}", top);
    g_autofree char *none = g_strdup_printf(
        "{\"backing\": null, \"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", "
        "\"filename\": \"%s\"}}", top);
    g_autofree char *other = g_strdup_printf(
        "{\"backing\": {\"driver\": \"raw\", \"file\": {\"driver\": \"null-co\"}}, "
        "\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}", top);
    g_autofree char *none_name = g_strconcat("json:", none, NULL);
    g_autofree char *other_name = g_strconcat("json:", other, NULL);

    g_assert_true(g_file_set_contents(base, "x", 1, NULL));
    blk_options_set(options, "size", "65536");
    blk_options_set(options, "backing_file", base);
    blk_options_set(options, "backing_fmt", "raw");
    bdrv_create(bdrv_find_format("qcow2"), top, options, &error_abort);
    assert_named(own, top);
    assert_named(none, none_name);
    assert_named(other, other_name);
    g_unlink(base);
    g_unlink(top);
}

static void test_detect_zeroes(void)
{
    RamDisk *disk = ram_disk_new(65536);
    g_autofree uint8_t *buf = g_malloc0(8192);
    BlockBackend *blk;

    disk->zeroes = true;
    bdrv_register(&bdrv_test_ram);
    ram_disk_to_open = disk;
    blk = open_json("{\"driver\": \"test-ram\", \"detect-zeroes\": \"on\"}", BDRV_O_RDWR,
                    &error_abort);
    g_assert_cmpint(blk_pwrite(blk, 0, 8192, buf, 0), ==, 0);
    g_assert_cmpuint(disk->zero_writes, ==, 1);
    g_assert_cmpuint(disk->writes, ==, 0);
    buf[4711] = 1;
    g_assert_cmpint(blk_pwrite(blk, 0, 8192, buf, 0), ==, 0);
    g_assert_cmpuint(disk->zero_writes, ==, 1);
    g_assert_cmpuint(disk->writes, ==, 1);
    g_assert_cmpint(disk->data[4711], ==, 1);
    blk_unref(blk);
    ram_disk_free(disk);
    assert_refused("{\"driver\": \"null-co\", \"detect-zeroes\": \"foo\"}",
                   "invalid parameter value: foo");
    assert_refused("{\"driver\": \"null-co\", \"detect-zeroes\": \"unmap\"}",
                   "setting detect-zeroes to unmap is not allowed without setting discard "
                   "operation to unmap");
    assert_named("{\"driver\": \"null-co\", \"detect-zeroes\": \"unmap\", "
                 "\"discard\": \"unmap\"}", "null-co://");
}

/* What was read once is in the overlay, whole clusters of it, and reads the same. */
static void test_copy_on_read(void)
{
    g_autofree char *base = g_build_filename(dir, "base", NULL);
    g_autofree char *top = g_build_filename(dir, "top", NULL);
    g_autofree char *data = g_strnfill(100000, 'b');
    BlockOptions *options = blk_options_new();
    uint8_t buf[2000];
    int64_t n;
    BlockBackend *blk;
    g_autoptr(GError) err = NULL;

    g_assert_true(g_file_set_contents(base, data, 100000, NULL));
    blk_options_set(options, "size", "200000");
    blk_options_set(options, "backing_file", base);
    blk_options_set(options, "backing_fmt", "raw");
    bdrv_create(bdrv_find_format("qcow2"), top, options, &error_abort);

    g_assert_null(blk_new_open(top, NULL, NULL, BDRV_O_COPY_ON_READ, &err));
    g_assert_cmpstr(err->message, ==, "Can't use copy-on-read on read-only device");

    blk = blk_new_open(top, NULL, NULL, BDRV_O_RDWR | BDRV_O_COPY_ON_READ, &error_abort);
    g_assert_cmpint(blk_pread(blk, 99000, 2000, buf, 0), ==, 0);
    g_assert_cmpint(buf[0], ==, 'b');
    g_assert_cmpint(buf[999], ==, 'b');
    g_assert_cmpint(buf[1999], ==, 0);
    g_assert_cmpint(bdrv_is_allocated(blk_bs(blk), 0, 65536, &n), ==, 0);
    g_assert_cmpint(bdrv_is_allocated(blk_bs(blk), 65536, 65536, &n), ==, 1);
    g_assert_cmpint(n, ==, 65536);
    /* The last cluster is a part of one. */
    g_assert_cmpint(blk_pread(blk, 199000, 1000, buf, 0), ==, 0);
    g_assert_cmpint(buf[500], ==, 0);
    g_assert_cmpint(bdrv_is_allocated(blk_bs(blk), 196608, 3584, &n), ==, 1);
    blk_unref(blk);
    g_unlink(base);
    g_unlink(top);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    dir = g_dir_make_tmp("blkco-names-XXXXXX", NULL);
    g_test_add_func("/names/reference", test_reference);
    g_test_add_func("/names/open-by-reference", test_open_by_reference);
    g_test_add_func("/names/bad-references", test_bad_references);
    g_test_add_func("/names/shared-by-permission",
                    test_referenced_node_is_shared_by_permission);
    g_test_add_func("/names/shown", test_names);
    g_test_add_func("/names/endless", test_endless_name);
    g_test_add_func("/names/shown/overlays", test_names_of_overlays);
    g_test_add_func("/options/detect-zeroes", test_detect_zeroes);
    g_test_add_func("/options/copy-on-read", test_copy_on_read);
    ret = g_test_run();
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
