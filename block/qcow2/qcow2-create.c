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

/* In the order in which "Formatting" shows them. */
const BlockCreateOption qcow2_create_options[] = {
    { "encryption", BLOCK_OPT_BOOL,
      "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)", NULL },
    { "encrypt.format", BLOCK_OPT_STRING, "Encrypt the image, format choices: 'aes', 'luks'",
      NULL },
    { "encrypt.key-secret", BLOCK_OPT_STRING,
      "ID of secret providing qcow AES key or LUKS passphrase", NULL },
    { "encrypt.cipher-alg", BLOCK_OPT_STRING, "Name of encryption cipher algorithm", NULL },
    { "encrypt.cipher-mode", BLOCK_OPT_STRING, "Name of encryption cipher mode", NULL },
    { "encrypt.ivgen-alg", BLOCK_OPT_STRING, "Name of IV generator algorithm", NULL },
    { "encrypt.ivgen-hash-alg", BLOCK_OPT_STRING, "Name of IV generator hash algorithm", NULL },
    { "encrypt.hash-alg", BLOCK_OPT_STRING, "Name of encryption hash algorithm", NULL },
    { "encrypt.iter-time", BLOCK_OPT_NUMBER, "Time to spend in PBKDF in milliseconds", NULL },
    { "cluster_size", BLOCK_OPT_SIZE, "qcow2 cluster size", "65536" },
    { "extended_l2", BLOCK_OPT_BOOL, "Extended L2 tables", "off" },
    { "preallocation", BLOCK_OPT_STRING,
      "Preallocation mode (allowed values: off, metadata, falloc, full)", NULL },
    { "compression_type", BLOCK_OPT_STRING,
      "Compression method used for image cluster compression", "zlib" },
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { "compat", BLOCK_OPT_STRING, "Compatibility level (v2 [0.10] or v3 [1.1])", NULL },
    { "backing_file", BLOCK_OPT_STRING, "File name of a base image", NULL },
    { "backing_fmt", BLOCK_OPT_STRING, "Image format of the base image", NULL },
    { "data_file", BLOCK_OPT_STRING, "File name of an external data file", NULL },
    { "data_file_raw", BLOCK_OPT_BOOL,
      "The external data file must stay valid as a raw image", NULL },
    { "lazy_refcounts", BLOCK_OPT_BOOL, "Postpone refcount updates", "off" },
    { "refcount_bits", BLOCK_OPT_NUMBER, "Width of a reference count entry in bits", "16" },
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

/* @shown: the name that QEMU's message has for it. */
static int take_choice(BlockOptions *opts, const char *key, const char *shown,
                       const char *const *choices, unsigned *value, Error **errp)
{
    g_autofree char *text = blk_options_take(opts, key);

    for (unsigned i = 0; text && choices[i]; i++) {
        if (!strcmp(text, choices[i])) {
            *value = i;
            return 0;
        }
    }
    if (text) {
        error_setg(errp, "Parameter '%s' does not accept value '%s'", shown, text);
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

    if (take_choice(opts, "compat", "version", compats, &compat, errp) < 0 ||
        take_choice(opts, "preallocation", "preallocation", modes, &mode, errp) < 0 ||
        take_choice(opts, "compression_type", "compression-type", types,
                    &job->image.compression_type, errp) < 0 ||
        blk_options_take_bool(opts, "lazy_refcounts", &job->image.lazy_refcounts, errp) < 0 ||
        blk_options_take_bool(opts, "extended_l2", &job->image.extended_l2, errp) < 0 ||
        blk_options_take_bool(opts, "data_file_raw", &job->image.data_file_raw, errp) < 0) {
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

/* There is no encryption here: says what QEMU says when the key is missing, or that. */
static int refuse_encryption(BlockOptions *opts, Error **errp)
{
    static const char *const more[] = { "cipher-alg", "cipher-mode", "ivgen-alg",
                                        "ivgen-hash-alg", "hash-alg", "iter-time" };
    g_autofree char *format = blk_options_take(opts, "encrypt.format");
    g_autofree char *secret = blk_options_take(opts, "encrypt.key-secret");
    g_autofree char *old_way = blk_options_take(opts, "encryption");

    if (format && old_way) {
        error_setg(errp, "'encrypt.format' and its alias 'encryption' can't be used at the same"
                   " time");
        return -EINVAL;
    }
    if (secret && !old_way && !format) {
        error_setg(errp, "Parameter 'encrypt.format' is missing");
        return -EINVAL;
    }
    /* The former name of the format, which had "on" for "aes". */
    if (!format && old_way && strcmp(old_way, "off") != 0) {
        format = g_strdup(strcmp(old_way, "on") == 0 ? "aes" : old_way);
    }
    if (format && strcmp(format, "aes") != 0 && strcmp(format, "luks") != 0) {
        error_setg(errp, "Parameter 'format' does not accept value '%s'", format);
        return -EINVAL;
    }
    if (format) {
        error_setg(errp, "%s", secret ? "Encrypted qcow2 images are not supported"
                                      : "Parameter 'encrypt.key-secret' is required for cipher");
        return -ENOTSUP;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(more); i++) {
        g_autofree char *key = g_strconcat("encrypt.", more[i], NULL);

        g_free(blk_options_take(opts, key));
    }
    return 0;
}

#define NEEDS_V3 " only supported with compatibility level 1.1 and above (use version=v3 or greater)"

/* What a version 2 image cannot have; NULL: nothing. */
static const char *needs_version_3(const Qcow2NewImage *i)
{
    if (i->version >= 3) {
        return NULL;
    }
    return i->extended_l2           ? "Extended L2 entries are" NEEDS_V3
           : i->lazy_refcounts      ? "Lazy refcounts" NEEDS_V3
           : i->refcount_order != 4 ? "Different refcount widths than 16 bits require compatibility"
                                      " level 1.1 or above (use version=v3 or greater)"
           : i->data_file           ? "External data files are" NEEDS_V3
           : i->compression_type    ? "Non-zlib compression type is" NEEDS_V3
                                    : NULL;
}

/* What does not go together; NULL: all does. */
static const char *find_conflict(const CreateJob *job)
{
    const Qcow2NewImage *i = &job->image;
    bool prealloc = job->prealloc != PREALLOC_MODE_OFF;

    if (i->extended_l2 && i->cluster_bits < QCOW2_MIN_CLUSTER_BITS_EXTL2) {
        return "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes";
    }
    if (i->backing_file && prealloc && !i->extended_l2) {
        return "Backing file and preallocation can only be used at the same time if extended_l2 is"
               " on";
    }
    if (i->data_file && !*i->data_file) {
        return "The name of the external data file is empty";
    }
    if (i->data_file_raw && !i->data_file) {
        return "data-file-raw requires data-file";
    }
    if (i->data_file_raw && i->backing_file) {
        return "Backing file and data-file-raw cannot be used at the same time";
    }
    if (i->backing_format && !i->backing_file) {
        return "Backing format cannot be used without backing file";
    }
    if (i->backing_file && !i->backing_format) {
        return "Backing file specified without backing format";
    }
    if (i->backing_file && strlen(i->backing_file) > QCOW2_MAX_BACKING_NAME) {
        return "Backing file name too long";
    }
    if (!job->has_size && !i->backing_file) {
        return "Image creation needs a size parameter";
    }
    return NULL;
}

static int check_combination(const CreateJob *job, Error **errp)
{
    const Qcow2NewImage *i = &job->image;
    const char *what;

    if (i->backing_format && !bdrv_find_format(i->backing_format)) {
        error_setg(errp, "Parameter 'backing-fmt' does not accept value '%s'", i->backing_format);
        return -EINVAL;
    }
    what = find_conflict(job);
    what = what ? what : needs_version_3(i);
    if (what) {
        error_setg(errp, "%s", what);
        return -EINVAL;
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
    g_autofree char *name = bdrv_resolve_backing_filename(
        job->filename, job->backing_file, errp);
    BlockDriverState *bs;
    int64_t length;

    if (!name) {
        blk_options_free(o);
        return -EINVAL;
    }
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

/* Its name counts from the current directory, as it does when the image is opened. */
static int create_data_file(CreateJob *job, Error **errp)
{
    static const char *const modes[] = { "off", "off", "falloc", "full" };
    BlockOptions *o;

    if (!strcmp(job->data_file, job->filename)) {
        error_setg(errp, "The external data file '%s' is the image itself", job->data_file);
        return -EINVAL;
    }
    o = blk_options_new();
    blk_options_setf(o, "size", "%" PRIu64, job->image.size);
    if (job->prealloc > PREALLOC_MODE_METADATA) { /* not every protocol knows of it */
        blk_options_set(o, "preallocation", modes[job->prealloc]);
    }
    return bdrv_create(bdrv_find_format("raw"), job->data_file, o, errp);
}

static int write_refcounts(const CreateJob *job, const Qcow2Layout *l, BlockBackend *blk)
{
    const Qcow2NewImage *image = &job->image;
    uint64_t cs = UINT64_C(1) << image->cluster_bits;
    uint64_t per_block = cs * 8 >> image->refcount_order;
    g_autofree uint8_t *block = g_try_malloc(cs);
    g_autofree uint8_t *table = g_try_malloc0(l->reftable_clusters * cs);
    int ret = block && table ? 0 : -ENOMEM;

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
    g_autofree uint8_t *header = g_try_malloc0(UINT64_C(1) << job->image.cluster_bits);
    int ret;

    if (!header) {
        error_setg_errno(errp, ENOMEM, "Could not write the qcow2 metadata");
        return -ENOMEM;
    }
    ret = qcow2_build_header(&job->image, l, header, errp);
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

/*
 * The new image. Its data file is named as in create_data_file(), with or without a protocol; what
 * an image names is a plain file only, and so it is opened here. NULL and @errp.
 */
static BlockBackend *open_image(const CreateJob *job, Error **errp)
{
    const int flags = BDRV_O_RDWR | BDRV_O_RESIZE;
    BlockOptions *o = blk_options_new();
    BlockDriverState *data = NULL;
    BlockBackend *blk;

    blk_options_set(o, "driver", "qcow2");
    if (job->data_file) {
        data = bdrv_open(job->data_file, NULL, NULL, flags | BDRV_O_PROTOCOL | BDRV_O_UNMAP, errp);
        if (!data) {
            blk_options_free(o);
            return NULL;
        }
        blk_options_set(o, "data-file", bdrv_get_node_name(data));
    }
    blk = blk_new_open(job->filename, NULL, o, flags | BDRV_O_NO_BACKING, errp);
    bdrv_unref(data);
    return blk;
}

static int preallocate(const CreateJob *job, Error **errp)
{
    /* With a raw data file, every cluster has to be looked for there from the start. */
    PreallocMode mode = job->image.data_file_raw ? PREALLOC_MODE_METADATA : job->prealloc;
    BlockBackend *blk;
    int ret;

    if (mode == PREALLOC_MODE_OFF) {
        return 0;
    }
    blk = open_image(job, errp);
    if (!blk) {
        return -EINVAL;
    }
    bdrv_set_progress(blk_bs(blk), bdrv_report_create_progress, NULL);
    ret = qcow2_preallocate(blk_bs(blk), mode);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not preallocate the image");
    } else {
        ret = blk_finish_writing(blk, errp);
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
    bool existed = g_file_test(filename, G_FILE_TEST_EXISTS), data_existed = true;
    int ret = take_geometry(&job, opts, errp);

    if (ret == 0) {
        ret = refuse_encryption(opts, errp);
    }
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
        data_existed = !job.data_file || g_file_test(job.data_file, G_FILE_TEST_EXISTS);
        aio_bh_schedule_oneshot(qemu_get_current_aio_context(), create_bh, &job);
        qemu_coroutine_yield();
        ret = job.ret;
        if (job.err) {
            error_propagate(errp, job.err);
        }
        if (ret < 0 && !existed && !path_has_protocol(filename)) {
            g_unlink(filename);
        }
        if (ret < 0 && !data_existed && !path_has_protocol(job.data_file)) {
            g_unlink(job.data_file);
        }
    }
    g_free(job.backing_file);
    g_free(job.backing_format);
    g_free(job.data_file);
    return ret;
}
