/* SPDX-License-Identifier: MIT */
/*
 * blkverify: writes go to a raw copy and to an image that is tested, reads come from both
 * and must be the same, or the program ends and says where they are not.
 *
 * Names: blkverify:RAW:IMAGE.
 */
#include "qemu/osdep.h"
#include "block/block-driver.h"

typedef struct BlkverifyState {
    BdrvChild *test; /* the raw copy is bs->file */
} BlkverifyState;

static void QEMU_NORETURN G_GNUC_PRINTF(4, 5) mismatch(bool write, int64_t offset,
                                                       int64_t bytes, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fprintf(stderr, "blkverify: %s offset=%" PRId64 " bytes=%" PRId64 " %s\n",
            write ? "write" : "read", offset, bytes, what);
    /* Not exit(): other threads may be at work. */
    fflush(NULL);
    _exit(1);
}

static void blkverify_parse_filename(const char *filename, BlockOptions *options,
                                     Error **errp)
{
    static const char prefix[] = "blkverify:";
    const char *raw, *colon;
    g_autofree char *raw_name = NULL;

    if (!g_str_has_prefix(filename, prefix)) {
        blk_options_set(options, "x-image", filename);
        return;
    }
    raw = filename + strlen(prefix);
    colon = strchr(raw, ':');
    if (!colon) {
        error_setg(errp, "blkverify requires raw copy and original image path");
        return;
    }
    raw_name = g_strndup(raw, colon - raw);
    blk_options_set(options, "x-raw", raw_name);
    blk_options_set(options, "x-image", colon + 1);
}

static char *blkverify_plain_filename(BlockDriverState *bs, const BlockOptions *strong)
{
    BlkverifyState *s = bs->opaque;

    if (!*bs->file->bs->exact_filename || !*s->test->bs->exact_filename) {
        return NULL;
    }
    return g_strdup_printf("blkverify:%s:%s", bs->file->bs->exact_filename,
                           s->test->bs->exact_filename);
}

static int blkverify_open(BlockDriverState *bs, BlockOptions *options, int flags,
                          Error **errp)
{
    BlkverifyState *s = bs->opaque;
    g_autofree char *raw = blk_options_take(options, "x-raw");
    g_autofree char *image = blk_options_take(options, "x-image");

    if (!bdrv_open_child_role(raw, options, "raw", bs,
                              BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY, false, errp)) {
        return -EINVAL;
    }
    s->test = bdrv_open_child_role(image, options, "test", bs, BDRV_CHILD_DATA, false, errp);
    if (!s->test) {
        return -EINVAL;
    }
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED;
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED;
    return 0;
}

static int64_t coroutine_fn blkverify_co_getlength(BlockDriverState *bs)
{
    BlkverifyState *s = bs->opaque;

    return bdrv_co_getlength(s->test->bs);
}

static int64_t coroutine_fn blkverify_co_get_allocated_file_size(BlockDriverState *bs)
{
    return -ENOTSUP; /* of which? */
}

/* Both must succeed or fail alike. */
static int both(bool write, int64_t offset, int64_t bytes, int test, int raw)
{
    if (test != raw) {
        mismatch(write, offset, bytes, "return value mismatch %d != %d", test, raw);
    }
    return test;
}

static int coroutine_fn blkverify_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                                 int64_t bytes, QEMUIOVector *qiov,
                                                 size_t qiov_offset, BdrvRequestFlags flags)
{
    BlkverifyState *s = bs->opaque;
    QEMU_AUTO_VFREE uint8_t *copy = qemu_try_blockalign(bs->file->bs, bytes);
    QEMU_AUTO_VFREE uint8_t *tested = qemu_try_blockalign(s->test->bs, bytes);
    int64_t i = 0;
    int ret;

    if (!copy || !tested) {
        return -ENOMEM;
    }
    ret = bdrv_co_pread(s->test, offset, bytes, tested, flags);
    ret = both(false, offset, bytes, ret, bdrv_co_pread(bs->file, offset, bytes, copy, flags));
    if (ret < 0) {
        return ret;
    }
    if (memcmp(copy, tested, bytes)) {
        while (copy[i] == tested[i]) {
            i++;
        }
        mismatch(false, offset, bytes, "contents mismatch at offset %" PRId64, offset + i);
    }
    qemu_iovec_from_buf(qiov, qiov_offset, tested, bytes);
    return 0;
}

static int coroutine_fn blkverify_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                                  int64_t bytes, QEMUIOVector *qiov,
                                                  size_t qiov_offset, BdrvRequestFlags flags)
{
    BlkverifyState *s = bs->opaque;
    int test = bdrv_co_pwritev_part(s->test, offset, bytes, qiov, qiov_offset, flags);
    int raw = bdrv_co_pwritev_part(bs->file, offset, bytes, qiov, qiov_offset, flags);

    return both(true, offset, bytes, test, raw);
}

BlockDriver bdrv_blkverify = {
    .format_name = "blkverify",
    .protocol_name = "blkverify",
    .instance_size = sizeof(BlkverifyState),
    .is_filter = true,
    .no_dirname = true,
    .bdrv_parse_filename = blkverify_parse_filename,
    .bdrv_plain_filename = blkverify_plain_filename,
    .bdrv_open = blkverify_open,
    .bdrv_co_getlength = blkverify_co_getlength,
    .bdrv_co_get_allocated_file_size = blkverify_co_get_allocated_file_size,
    .bdrv_co_preadv_part = blkverify_co_preadv_part,
    .bdrv_co_pwritev_part = blkverify_co_pwritev_part,
};
