/* SPDX-License-Identifier: MIT */
/*
 * Creating an image: the protocol driver makes an empty file, then the few clusters of
 * qcow2-layout.h are written to it, the header last, so that what is not finished is
 * no qcow2 image. Opening files is no work for a coroutine: a bottom half does it.
 */
#include "qcow2-create.h"

#include <glib/gstdio.h>

#include "../node.h" /* bdrv_find_protocol(), co_call() */
#include "qcow2-compress.h"
#include "qcow2-layout.h"
#include "qcow2-prealloc.h"
#include "qcow2-refcount.h"

const BlockCreateOption qcow2_create_options[] = {
    { "backing_file", BLOCK_OPT_STRING, "File name of a base image", NULL },
    { "backing_fmt", BLOCK_OPT_STRING, "Image format of the base image", NULL },
    { "cluster_size", BLOCK_OPT_SIZE, "qcow2 cluster size", "65536" },
    { "compat", BLOCK_OPT_STRING, "Compatibility level (v2 [0.10] or v3 [1.1])", "1.1" },
    { "compression_type", BLOCK_OPT_STRING,
      "Compression method used for image cluster compression", "zlib" },
    { "data_file", BLOCK_OPT_STRING, "File name of an external data file", NULL },
    { "extended_l2", BLOCK_OPT_BOOL, "Extended L2 tables", "off" },
    { "lazy_refcounts", BLOCK_OPT_BOOL, "Postpone refcount updates", "off" },
    { "preallocation", BLOCK_OPT_STRING,
      "Preallocation mode (allowed values: off, metadata, falloc, full)", "off" },
    { "refcount_bits", BLOCK_OPT_NUMBER, "Width of a reference count entry in bits", "16" },
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { NULL },
};

typedef struct CreateJob {
    Qcow2NewImage image;
    PreallocMode prealloc;
    bool has_size;
    char *backing_file, *backing_format, *data_file;
    const char *filename;
    Coroutine *co;
    int ret;
    Error *err;
} CreateJob;

/* --- options --- */

static int take_choice(BlockOptions *opts, const char *key, const char *const *choices,
                       unsigned *value, Error **errp)
{
    g_autofree char *text = blk_options_take(opts, key);

    for (unsigned i = 0; text && choices[i]; i++) {
        if (!strcmp(text, choices[i])) {
            *value = i;
            return 0;
        }
    }
    if (text) {
        error_setg(errp, "Invalid parameter '%s' for the option %s", text, key);
        return -EINVAL;
    }
    return 0;
}

static int take_geometry(CreateJob *job, BlockOptions *opts, Error **errp)
{
    uint64_t cluster = 65536, bits = 16, size = 0;
    int ret = blk_options_take_size(opts, "size", &size, errp);

    if (ret < 0) {
        return ret;
    }
    job->has_size = ret > 0;
    if (size > BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size is larger than %" PRId64 " bytes", (int64_t)BDRV_MAX_LENGTH);
        return -EFBIG;
    }
    job->image.size = ROUND_UP(size, BDRV_SECTOR_SIZE);
    if (blk_options_take_size(opts, "cluster_size", &cluster, errp) < 0 ||
        blk_options_take_number(opts, "refcount_bits", &bits, errp) < 0) {
        return -EINVAL;
    }
    if (!is_power_of_2(cluster) || cluster < 512 || cluster > 2 * 1024 * 1024) {
        error_setg(errp, "Cluster size must be a power of two between 512 and 2048k");
        return -EINVAL;
    }
    if (!is_power_of_2(bits) || bits > 64) {
        error_setg(errp, "Refcount width must be a power of two and may not exceed 64 bits");
        return -EINVAL;
    }
    job->image.cluster_bits = ctz64(cluster);
    job->image.refcount_order = ctz64(bits);
    return 0;
}

static int take_words(CreateJob *job, BlockOptions *opts, Error **errp)
{
    static const char *const compats[] = { "0.10", "v2", "1.1", "v3", NULL };
    static const char *const types[] = { "zlib", "zstd", NULL };
    static const char *const modes[] = { "off", "metadata", "falloc", "full", NULL };
    unsigned compat = 2, mode = 0;

    if (take_choice(opts, "compat", compats, &compat, errp) < 0 ||
        take_choice(opts, "compression_type", types, &job->image.compression_type, errp) < 0 ||
        take_choice(opts, "preallocation", modes, &mode, errp) < 0 ||
        blk_options_take_bool(opts, "lazy_refcounts", &job->image.lazy_refcounts, errp) < 0 ||
        blk_options_take_bool(opts, "extended_l2", &job->image.extended_l2, errp) < 0) {
        return -EINVAL;
    }
    job->image.version = compat < 2 ? 2 : 3;
    job->prealloc = (PreallocMode)mode;
    job->backing_file = blk_options_take(opts, "backing_file");
    job->backing_format = blk_options_take(opts, "backing_fmt");
    job->data_file = blk_options_take(opts, "data_file");
    job->image.backing_file = job->backing_file;
    job->image.backing_format = job->backing_format;
    job->image.data_file = job->data_file;
    return 0;
}

static int check_combination(const CreateJob *job, Error **errp)
{
    const Qcow2NewImage *i = &job->image;
    const char *what = NULL;

    if (i->version < 3) {
        what = i->lazy_refcounts        ? "Lazy refcounts only supported with compatibility level"
                                          " 1.1 and above (use version=v3 or greater)"
               : i->refcount_order != 4 ? "Different refcount widths than 16 bits require"
                                          " compatibility level 1.1 or above"
               : i->data_file           ? "External data files require compatibility level 1.1"
               : i->compression_type    ? "Non-zlib compression type requires compatibility level"
                                          " 1.1"
               : i->extended_l2         ? "Extended L2 entries require compatibility level 1.1"
                                        : NULL;
    }
    if (!what && i->extended_l2 && i->cluster_bits < QCOW2_MIN_CLUSTER_BITS_EXTL2) {
        what = "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes";
    } else if (!what && i->backing_file && !i->backing_format) {
        what = "backing_file needs backing_fmt: guessing the format of a backing file is unsafe";
    } else if (!what && i->backing_file && strlen(i->backing_file) > QCOW2_MAX_BACKING_NAME) {
        what = "Backing file name too long";
    } else if (!what && i->backing_format && !bdrv_find_format(i->backing_format)) {
        what = "backing_fmt is not a known format";
    } else if (!what && i->backing_file && job->prealloc != PREALLOC_MODE_OFF &&
               !i->extended_l2) {
        what = "Backing file and preallocation can only be used at the same time if extended_l2 is"
               " enabled";
    } else if (!what && i->data_file && job->prealloc != PREALLOC_MODE_OFF) {
        what = "Preallocation with an external data file is not supported";
    } else if (!what && !job->has_size && !i->backing_file) {
        what = "Image creation needs a size parameter";
    }
    if (what) {
        error_setg(errp, "%s", what);
        return what[0] == 'P' ? -ENOTSUP : -EINVAL;
    }
    if (!qcow2_compression_available(i->compression_type) && i->compression_type) {
        error_setg(errp, "Compression type '%s' is not built in",
                   qcow2_compression_name(i->compression_type));
        return -ENOTSUP;
    }
    return 0;
}

/* --- outside of coroutines --- */

/* An overlay without a size takes the backing file's. */
static int size_from_backing(CreateJob *job, Error **errp)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *dir = g_path_get_dirname(job->filename);
    g_autofree char *name = g_path_is_absolute(job->backing_file)
                                ? g_strdup(job->backing_file)
                                : g_build_filename(dir, job->backing_file, NULL);
    BlockDriverState *bs;
    int64_t length;

    blk_options_set(o, "driver", job->backing_format);
    bs = bdrv_open(name, NULL, o, BDRV_O_NO_BACKING, errp);
    if (!bs) {
        return -EINVAL;
    }
    length = bdrv_getlength(bs);
    bdrv_unref(bs);
    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get size of '%s'", name);
        return length;
    }
    job->image.size = length;
    return 0;
}

static int create_data_file(CreateJob *job, Error **errp)
{
    BlockOptions *o = blk_options_new();
    g_autofree char *dir = g_path_get_dirname(job->filename);
    g_autofree char *name = g_path_is_absolute(job->data_file)
                                ? g_strdup(job->data_file)
                                : g_build_filename(dir, job->data_file, NULL);

    blk_options_setf(o, "size", "%" PRIu64, job->image.size);
    return bdrv_create(bdrv_find_format("raw"), name, o, errp);
}

static int write_refcounts(const CreateJob *job, const Qcow2Layout *l, BlockBackend *blk)
{
    const Qcow2NewImage *image = &job->image;
    uint64_t cs = UINT64_C(1) << image->cluster_bits;
    uint64_t per_block = cs * 8 >> image->refcount_order;
    g_autofree uint8_t *block = g_malloc(cs);
    g_autofree uint8_t *table = g_malloc0(l->reftable_clusters * cs);
    int ret = 0;

    for (uint64_t i = 0; i < l->blocks && ret == 0; i++) {
        uint64_t at = qcow2_layout_block(image, l, i);

        memset(block, 0, cs);
        for (uint64_t k = 0; k < per_block && i * per_block + k < l->clusters; k++) {
            qcow2_counter_set(image->refcount_order, block, k, 1);
        }
        qcow2_put_be64(table + i * 8, at * cs);
        ret = blk_pwrite(blk, at * cs, cs, block, 0);
    }
    return ret == 0 ? blk_pwrite(blk, cs, l->reftable_clusters * cs, table, 0) : ret;
}

static int write_layout(const CreateJob *job, const Qcow2Layout *l, BlockBackend *blk,
                        Error **errp)
{
    g_autofree uint8_t *header = g_malloc0(UINT64_C(1) << job->image.cluster_bits);
    int ret = qcow2_build_header(&job->image, l, header, errp);

    if (ret < 0) {
        return ret;
    }
    /* On a device, and wherever else there was something: the L1 table must be empty. */
    ret = blk_truncate(blk, l->file_length, true, PREALLOC_MODE_OFF, 0, NULL);
    if (ret < 0 && ret != -ENOTSUP) {
        error_setg_errno(errp, -ret, "Could not resize '%s'", job->filename);
        return ret;
    }
    if (l->l1_size) {
        ret = blk_pwrite_zeroes(blk, l->l1_offset, l->l1_size * 8, 0);
    } else {
        ret = 0;
    }
    if (ret == 0) {
        ret = write_refcounts(job, l, blk);
    }
    if (ret == 0) {
        ret = blk_flush(blk);
    }
    if (ret == 0) {
        ret = blk_pwrite(blk, 0, UINT64_C(1) << job->image.cluster_bits, header, 0);
    }
    if (ret == 0) {
        ret = blk_flush(blk);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write the qcow2 metadata");
    }
    return ret;
}

static int preallocate(const CreateJob *job, Error **errp)
{
    BlockOptions *o;
    BlockBackend *blk;
    int ret;

    if (job->prealloc == PREALLOC_MODE_OFF) {
        return 0;
    }
    o = blk_options_new();
    blk_options_set(o, "driver", "qcow2");
    blk = blk_new_open(job->filename, NULL, o, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_NO_BACKING,
                       errp);
    if (!blk) {
        return -EINVAL;
    }
    ret = qcow2_preallocate(blk_bs(blk), job->prealloc);
    if (ret == 0) {
        ret = blk_flush(blk);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not preallocate the image");
    }
    blk_unref(blk);
    return ret;
}

static int create_image(CreateJob *job, Error **errp)
{
    Qcow2Layout layout;
    BlockBackend *blk;
    int ret = job->has_size ? 0 : size_from_backing(job, errp);

    if (ret == 0) {
        ret = qcow2_plan_layout(&job->image, &layout, errp);
    }
    if (ret == 0 && job->data_file) {
        ret = create_data_file(job, errp);
    }
    if (ret < 0) {
        return ret;
    }
    blk = blk_new_open(job->filename, NULL, NULL,
                       BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_PROTOCOL, errp);
    if (!blk) {
        return -EINVAL;
    }
    ret = write_layout(job, &layout, blk, errp);
    blk_unref(blk);
    return ret == 0 ? preallocate(job, errp) : ret;
}

static void create_bh(void *opaque)
{
    CreateJob *job = opaque;

    job->ret = create_image(job, &job->err);
    aio_co_wake(job->co);
}

/* --- the callback --- */

static int coroutine_fn make_file(const char *filename, BlockOptions *opts, Error **errp)
{
    BlockDriver *protocol = bdrv_find_protocol(filename, true, errp);

    if (!protocol) {
        return -EINVAL;
    }
    if (!protocol->bdrv_co_create_opts) {
        error_setg(errp, "Driver '%s' does not support image creation", protocol->format_name);
        return -ENOTSUP;
    }
    blk_options_set(opts, "size", "0");
    return protocol->bdrv_co_create_opts(protocol, filename, opts, errp);
}

int coroutine_fn qcow2_co_create_opts(BlockDriver *drv, const char *filename,
                                      BlockOptions *opts, Error **errp)
{
    CreateJob job = { .filename = filename, .co = qemu_coroutine_self() };
    bool existed = g_file_test(filename, G_FILE_TEST_EXISTS);
    int ret = take_geometry(&job, opts, errp);

    if (ret == 0) {
        ret = take_words(&job, opts, errp);
    }
    if (ret == 0) {
        ret = check_combination(&job, errp);
    }
    if (ret == 0) {
        ret = make_file(filename, opts, errp);
    }
    if (ret == 0) {
        aio_bh_schedule_oneshot(qemu_get_current_aio_context(), create_bh, &job);
        qemu_coroutine_yield();
        ret = job.ret;
        if (job.err) {
            error_propagate(errp, job.err);
        }
        if (ret < 0 && !existed && !path_has_protocol(filename)) {
            g_unlink(filename);
        }
    }
    g_free(job.backing_file);
    g_free(job.backing_format);
    g_free(job.data_file);
    return ret;
}
