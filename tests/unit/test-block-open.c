/* SPDX-License-Identifier: MIT */
/* Opening: names, drivers, options, permissions, flags, and what is said of mistakes. */
#include "ram-driver.h"

#include <glib/gstdio.h>

static char *dir;

static char *path_of(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static char *make_file(const char *name, size_t size)
{
    char *path = path_of(name);
    g_autofree char *data = g_malloc0(size + 1);

    g_assert_true(g_file_set_contents(path, data, size, NULL));
    return path;
}

static BlockBackend *try_open(const char *filename, const char *options, int flags,
                              Error **errp)
{
    BlockOptions *o = blk_options_new();

    if (options) {
        blk_options_parse(o, options, NULL, &error_abort);
    }
    return blk_new_open(filename, NULL, o, flags, errp);
}

static void assert_fails(const char *filename, const char *options, int flags,
                         const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(try_open(filename, options, flags, &err));
    g_assert_nonnull(err);
    g_assert_cmpstr(err->message, ==, message);
}

static void assert_opens(const char *filename, const char *options, int flags,
                         const char *format, const char *name, int64_t length)
{
    BlockBackend *blk = try_open(filename, options, flags, &error_abort);

    g_assert_cmpstr(bdrv_get_format_name(blk_bs(blk)), ==, format);
    g_assert_cmpstr(bdrv_get_filename(blk_bs(blk)), ==, name);
    g_assert_cmpint(blk_getlength(blk), ==, length);
    blk_unref(blk);
}

static void test_names(void)
{
    g_autofree char *path = make_file("names", 1000);
    g_autofree char *prefixed = g_strconcat("file:", path, NULL);
    g_autofree char *json = g_strdup_printf(
        "json:{\"driver\": \"raw\", \"file\": {\"filename\": \"%s\"}}", path);
    g_autofree char *opts = g_strdup_printf("driver=raw,file.filename=%s", path);
    g_autofree char *window =
        g_strdup_printf("driver=raw,file.filename=%s,offset=512", path);
    g_autofree char *window_name =
        g_strdup_printf("json:{\"offset\": \"512\", \"driver\": \"raw\", \"file\": "
                        "{\"driver\": \"file\", \"filename\": \"%s\"}}",
                        path);

    assert_opens(path, NULL, 0, "raw", path, 1024);
    assert_opens(path, "driver=raw", BDRV_O_RDWR, "raw", path, 1024);
    assert_opens(path, "driver=file", 0, "file", path, 1024);
    assert_opens(path, NULL, BDRV_O_PROTOCOL, "file", path, 1024);
    assert_opens(prefixed, NULL, 0, "raw", path, 1024);
    assert_opens(json, NULL, 0, "raw", path, 1024);
    assert_opens(NULL, opts, 0, "raw", path, 1024);
    assert_opens(NULL, window, 0, "raw", window_name, 512);
    assert_opens(window_name, NULL, 0, "raw", window_name, 512);
    assert_opens("null-co://", NULL, 0, "raw", "null-co://", 1 << 30);
    assert_opens(NULL, "driver=null-co", 0, "null-co", "null-co://", 1 << 30);
    assert_opens(NULL, "driver=null-aio,size=1M", 0, "null-aio",
                 "json:{\"driver\": \"null-aio\", \"size\": \"1M\"}", 1 << 20);
    assert_opens("json:{\"driver\":\"null-co\",\"size\":1024}", NULL, 0, "null-co",
                 "json:{\"driver\": \"null-co\", \"size\": 1024}", 1024);
    assert_opens("json:{\"driver\":\"null-co\",\"size\":1024}", "size=512", 0, "null-co",
                 "json:{\"driver\": \"null-co\", \"size\": \"512\"}", 512);
}

static void test_colon_in_name(void)
{
    g_autofree char *cwd = g_get_current_dir();
    g_free(make_file("a:b", 512));
    g_assert_cmpint(g_chdir(dir), ==, 0);
    assert_fails("a:b", NULL, 0, "Unknown protocol 'a'");
    assert_opens("./a:b", NULL, 0, "raw", "./a:b", 512);
    assert_opens("file:a:b", NULL, 0, "raw", "./a:b", 512);
    assert_opens(NULL, "driver=file,filename=a:b", 0, "file", "file:a:b", 512);
    g_assert_cmpint(g_chdir(cwd), ==, 0);
}

static void test_mistakes(void)
{
    g_autofree char *path = make_file("mistakes", 1 << 20);
    g_autofree char *gone = path_of("gone");
    g_autofree char *no_file =
        g_strdup_printf("Could not open '%s': No such file or directory", gone);
    g_autofree char *is_dir =
        g_strdup_printf("'file' driver requires '%s' to be a regular file", dir);

    assert_fails(gone, NULL, 0, no_file);
    assert_fails(dir, NULL, 0, is_dir);
    assert_fails("", NULL, 0, "The 'file' block driver requires a file name");
    assert_fails(path, "driver=nope", 0, "Unknown driver 'nope'");
    assert_fails(path, "driver=", 0, "Unknown driver ''");
    assert_fails("nope:x", NULL, 0, "Unknown protocol 'nope'");
    assert_fails(NULL, "file.driver=nope", 0, "Unknown driver 'nope'");
    assert_fails(NULL, "driver=raw", 0, "A block device must be specified for \"file\"");
    assert_fails(NULL, "driver=raw,file=x", 0,
                 "Cannot find device='x' nor node-name='x'");
    assert_fails(NULL, NULL, 0, "Must specify either driver or file");
    assert_fails(NULL, "filename=x", 0, "Must specify either driver or file");
    assert_fails(path, "driver=raw,foo=1", 0,
                 "Block format 'raw' does not support the option 'foo'");
    assert_fails(path, "driver=raw,file.foo=1", 0,
                 "Block protocol 'file' doesn't support the option 'foo'");
    assert_fails(NULL, "driver=null-co,foo=1", 0,
                 "Block protocol 'null-co' doesn't support the option 'foo'");
    assert_fails(path, "driver=null-co", 0,
                 "The only allowed filename for this driver is 'null-co://'");
    assert_fails(NULL, "driver=null-co,latency-ns=-1", 0,
                 "latency-ns is invalid");
    assert_fails(path, "read-only=maybe", 0,
                 "Parameter 'read-only' expects 'on' or 'off'");
    assert_fails(path, "discard=foo", 0, "Invalid discard option");
    assert_fails(path, "driver=raw,size=513", 0, "Specified size is not multiple of 512");
    assert_fails(
        path, "driver=raw,offset=3M", 0,
        "Offset (3145728) cannot be greater than size of the containing file (1048576)");
    assert_fails(
        path, "driver=raw,offset=8E", 0,
        "Offset (9223372036854775807) cannot be greater than size of the containing "
        "file (1048576)");
    assert_fails(
        path, "driver=raw,size=3M", 0,
        "The sum of offset (0) and size (3145728) has to be smaller or equal to the "
        " actual size of the containing file (1048576)");
    assert_fails(path, "force-share=on", BDRV_O_RDWR,
                 "force-share=on can only be used with read-only images");
    assert_fails("json:[1]", NULL, 0, "Invalid JSON object given");
    assert_fails("json:{\"driver\": \"null-co\", \"x\": {\"y\": 1}}", NULL, 0,
                 "Block protocol 'null-co' doesn't support the option 'x.y'");
}

static void test_reference_refused(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(blk_new_open(NULL, "node", NULL, 0, &err));
    g_assert_cmpstr(err->message, ==, "Cannot find device='node' nor node-name='node'");
}

static void test_read_only_child(void)
{
    g_autofree char *path = make_file("ro", 512);
    BlockBackend *blk;

    assert_fails(path, "driver=raw,file.read-only=on", BDRV_O_RDWR,
                 "Block node is read-only");
    assert_fails(path, "driver=raw,read-only=on", BDRV_O_RDWR, "Block node is read-only");
    blk = try_open(path, "driver=raw,read-only=off", 0, &error_abort);
    g_assert_false(bdrv_is_read_only(blk_bs(blk)));
    blk_unref(blk);
    blk = try_open(path, "driver=raw", 0, &error_abort);
    g_assert_true(bdrv_is_read_only(blk_bs(blk)));
    g_assert_true(bdrv_is_read_only(bdrv_primary_bs(blk_bs(blk))));
    blk_unref(blk);
}

static void test_flags_reach_the_file(void)
{
    RamDisk *d = ram_disk_new(512);
    BlockBackend *blk =
        ram_try_open(d, "driver=raw,cache.no-flush=on", BDRV_O_NATIVE_AIO, NULL);
    BlockDriverState *bs = blk_bs(blk);

    g_assert_true(bs->open_flags & BDRV_O_NO_FLUSH);
    g_assert_false(bs->open_flags & BDRV_O_UNMAP);
    g_assert_false(bs->open_flags & BDRV_O_PROTOCOL);
    bs = bdrv_primary_bs(bs);
    g_assert_true(bs->open_flags & BDRV_O_NO_FLUSH);
    g_assert_true(bs->open_flags & BDRV_O_UNMAP);
    g_assert_true(bs->open_flags & BDRV_O_PROTOCOL);
    g_assert_true(bs->open_flags & BDRV_O_NATIVE_AIO);
    blk_unref(blk);
    ram_disk_free(d);
}

static void test_words(void)
{
    int flags = BDRV_O_RDWR | BDRV_O_NO_FLUSH;
    bool wt = true;

    g_assert_cmpint(bdrv_parse_cache_mode("none", &flags, &wt), ==, 0);
    g_assert_cmpint(flags, ==, BDRV_O_RDWR | BDRV_O_NOCACHE);
    g_assert_false(wt);
    g_assert_cmpint(bdrv_parse_cache_mode("directsync", &flags, &wt), ==, 0);
    g_assert_true(wt);
    g_assert_cmpint(bdrv_parse_cache_mode("unsafe", &flags, &wt), ==, 0);
    g_assert_cmpint(flags, ==, BDRV_O_RDWR | BDRV_O_NO_FLUSH);
    g_assert_cmpint(bdrv_parse_cache_mode("writethrough", &flags, &wt), ==, 0);
    g_assert_cmpint(flags, ==, BDRV_O_RDWR);
    g_assert_true(wt);
    g_assert_cmpint(bdrv_parse_cache_mode("bogus", &flags, &wt), ==, -1);
    g_assert_cmpint(bdrv_parse_aio("native", &flags), ==, 0);
    g_assert_true(flags & BDRV_O_NATIVE_AIO);
    g_assert_cmpint(bdrv_parse_aio("bogus", &flags), ==, -1);
    g_assert_cmpint(bdrv_parse_discard_flags("on", &flags), ==, 0);
    g_assert_true(flags & BDRV_O_UNMAP);
    g_assert_cmpint(bdrv_parse_discard_flags("bogus", &flags), ==, -1);
}

static void count_name(void *opaque, const char *name)
{
    const char **last = opaque;

    g_assert_true(!*last || strcmp(*last, name) < 0);
    *last = name;
    g_assert_nonnull(bdrv_find_format(name));
}

static void test_drivers(void)
{
    const char *last = NULL;

    bdrv_iterate_format(count_name, &last);
    g_assert_nonnull(last);
    g_assert_null(bdrv_find_format("nope"));
    g_assert_cmpstr(bdrv_driver_name(bdrv_find_format("raw")), ==, "raw");
}

static void test_create(void)
{
    g_autofree char *path = path_of("created");
    BlockDriver *raw = bdrv_find_format("raw");
    BlockOptions *o = blk_options_new();
    g_autoptr(GError) err = NULL;
    BlockBackend *blk;

    blk_options_set(o, "size", "1M");
    g_assert_cmpint(bdrv_create(raw, path, o, &error_abort), ==, 0);
    blk = try_open(path, "driver=raw", BDRV_O_RDWR, &error_abort);
    g_assert_cmpint(blk_getlength(blk), ==, 1 << 20);
    blk_unref(blk);
    g_unlink(path);

    o = blk_options_new();
    blk_options_set(o, "size", "1M");
    blk_options_set(o, "foo", "1");
    g_assert_cmpint(bdrv_create(raw, path, o, &err), <, 0);
    g_assert_cmpstr(err->message, ==, "Invalid parameter 'foo'");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_clear_error(&err);
    g_assert_cmpint(bdrv_create(bdrv_find_format("null-co"), path, NULL, &err), ==,
                    -ENOTSUP);
    g_clear_error(&err);
    g_assert_cmpint(bdrv_create(raw, "nope:x", NULL, &err), <, 0);
    g_assert_cmpstr(err->message, ==, "Unknown protocol 'nope'");
}

/* --- two users of one node --- */

static void test_shared_node(void)
{
    RamDisk *d = ram_disk_new(512);
    BlockBackend *a = ram_try_open(d, "driver=raw", BDRV_O_RDWR, &error_abort);
    BlockBackend *b =
        blk_new(blk_get_aio_context(a), BLK_PERM_WRITE, BLK_PERM_CONSISTENT_READ);
    BlockBackend *c =
        blk_new(blk_get_aio_context(a), BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    g_autoptr(GError) err = NULL;
    char byte = 1;

    g_assert_cmpint(blk_insert_bs(b, blk_bs(a), &err), ==, -EBUSY);
    g_assert_nonnull(err);
    g_assert_null(blk_bs(b));
    g_assert_cmpint(blk_insert_bs(c, blk_bs(a), &error_abort), ==, 0);
    g_assert_cmpint(blk_pread(c, 0, 1, &byte, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(c, 0, 1, &byte, 0), ==, -EPERM);
    g_assert_cmpint(blk_pwrite(a, 0, 1, &byte, 0), ==, 0);
    blk_unref(a);
    g_assert_cmpint(blk_pread(c, 0, 1, &byte, 0), ==, 0);
    blk_remove_bs(c);
    g_assert_cmpint(blk_pread(c, 0, 1, &byte, 0), ==, -ENOMEDIUM);
    blk_unref(b);
    blk_unref(c);
    ram_disk_free(d);
}

static void test_open_frees_on_failure(void)
{
    RamDisk *d = ram_disk_new(512);
    g_autoptr(GError) err = NULL;

    g_assert_null(ram_try_open(d, "driver=raw,offset=4k", 0, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    d->limits.request_alignment = 3;
    g_assert_null(ram_try_open(d, "driver=raw", 0, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    d->limits.request_alignment = 1;
    d->length = INT64_MAX;
    g_assert_null(ram_try_open(d, NULL, 0, &err));
    g_assert_nonnull(err);
    d->length = 512;
    ram_disk_free(d);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("blkco-open-XXXXXX", NULL);
    g_test_add_func("/open/names", test_names);
    g_test_add_func("/open/names/colon", test_colon_in_name);
    g_test_add_func("/open/mistakes", test_mistakes);
    g_test_add_func("/open/reference", test_reference_refused);
    g_test_add_func("/open/read-only-child", test_read_only_child);
    g_test_add_func("/open/flags", test_flags_reach_the_file);
    g_test_add_func("/open/words", test_words);
    g_test_add_func("/open/drivers", test_drivers);
    g_test_add_func("/open/create", test_create);
    g_test_add_func("/open/shared-node", test_shared_node);
    g_test_add_func("/open/fails-cleanly", test_open_frees_on_failure);
    ret = g_test_run();
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", dir);
    g_assert_cmpint(system(command), ==, 0);
    g_free(dir);
    return ret;
}
