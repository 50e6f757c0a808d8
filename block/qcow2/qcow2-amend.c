/* SPDX-License-Identifier: MIT */
/*
 * The order of changes: to version 3 first, as other things may need that; refcount width, names
 * and flags, size; to version 2 last, when what it does not have may have gone. Everything that
 * can be known to be impossible is refused before the first of them.
 */
#include "qcow2-amend.h"

#include "../node.h" /* co_call(), backends */
#include "block/dirty-bitmap.h"
#include "qemu/host-utils.h"
#include "qcow2-lazy.h"
#include "qcow2-snapshot.h"
#include "qcow2-write.h"
#include "qcow2-writeback.h"

const BlockCreateOption qcow2_amend_table[] = {
    { "encrypt.state", BLOCK_OPT_STRING, "Select new state of affected keyslots (active/inactive)",
      NULL },
    { "encrypt.keyslot", BLOCK_OPT_NUMBER, "Select a single keyslot to modify explicitly", NULL },
    { "encrypt.old-secret", BLOCK_OPT_STRING, "Select all keyslots that match this password",
      NULL },
    { "encrypt.new-secret", BLOCK_OPT_STRING,
      "New secret to set in the matching keyslots. Empty string to erase", NULL },
    { "encrypt.iter-time", BLOCK_OPT_NUMBER, "Time to spend in PBKDF in milliseconds", NULL },
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { "compat", BLOCK_OPT_STRING, "Compatibility level (v2 [0.10] or v3 [1.1])", NULL },
    { "backing_file", BLOCK_OPT_STRING, "File name of a base image", NULL },
    { "backing_fmt", BLOCK_OPT_STRING, "Image format of the base image", NULL },
    { "data_file", BLOCK_OPT_STRING, "File name of an external data file", NULL },
    { "data_file_raw", BLOCK_OPT_BOOL, "The external data file must stay valid as a raw image",
      NULL },
    { "lazy_refcounts", BLOCK_OPT_BOOL, "Postpone refcount updates", NULL },
    { "refcount_bits", BLOCK_OPT_NUMBER, "Width of a reference count entry in bits", NULL },
    { NULL },
};

typedef struct Amend {
    CoCall call;
    BlockDriverState *bs;
    unsigned version;
    uint64_t refcount_bits, size;
    char *backing_file, *backing_format, *data_file; /* NULL: not to be changed */
    bool has_size, lazy, raw;
    Qcow2AmendProgress progress;
    Error *err;
} Amend;

/* --- what is wanted --- */

static int take_version(Amend *a, BlockOptions *opts, Error **errp)
{
    g_autofree char *compat = blk_options_take(opts, "compat");

    if (!compat) {
        return 0;
    }
    if (!strcmp(compat, "0.10") || !strcmp(compat, "v2")) {
        a->version = 2;
    } else if (!strcmp(compat, "1.1") || !strcmp(compat, "v3")) {
        a->version = 3;
    } else {
        error_setg(errp, "Unknown compatibility level %s", compat);
        return -EINVAL;
    }
    return 0;
}

static int take_options(Amend *a, BlockOptions *opts, Error **errp)
{
    const BDRVQcow2State *s = a->bs->opaque;
    int size;

    a->version = s->hdr.version;
    a->refcount_bits = 1U << s->refcount_order;
    a->lazy = s->hdr.compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS;
    a->raw = s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW;
    if (take_version(a, opts, errp) < 0 ||
        blk_options_take_number(opts, "refcount_bits", &a->refcount_bits, errp) < 0 ||
        blk_options_take_bool(opts, "lazy_refcounts", &a->lazy, errp) < 0 ||
        blk_options_take_bool(opts, "data_file_raw", &a->raw, errp) < 0) {
        return -EINVAL;
    }
    size = blk_options_take_size(opts, "size", &a->size, errp);
    a->has_size = size > 0;
    a->backing_file = blk_options_take(opts, "backing_file");
    a->backing_format = blk_options_take(opts, "backing_fmt");
    a->data_file = blk_options_take(opts, "data_file");
    return MIN(size, 0);
}

/* --- what is possible --- */

/* Snapshots of version 2 need not say how large the disk was, and have fewer bits for the state. */
static bool snapshots_prevent_downgrade(const Amend *a, Error **errp)
{
    const BDRVQcow2State *s = a->bs->opaque;
    uint64_t bytes, size = a->has_size ? a->size : s->size;
    GArray *snapshots = qcow2_read_snapshots(a->bs, &s->hdr, &bytes, errp);
    bool prevent = !snapshots;

    for (guint i = 0; snapshots && i < snapshots->len && !prevent; i++) {
        const Qcow2Snapshot *sn = qcow2_snapshot_at(snapshots, i);

        prevent = sn->vm_state_size > UINT32_MAX || sn->disk_size != size;
        if (prevent) {
            error_setg(errp, "Internal snapshots prevent downgrade of image");
        }
    }
    if (snapshots) {
        qcow2_free_snapshots(snapshots);
    }
    return prevent;
}

/* Those of the file, and those that are to get there: they would be stored when the image is closed. */
static bool has_bitmaps(const Amend *a)
{
    const BDRVQcow2State *s = a->bs->opaque;
    BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(a->bs);

    while (b && !bdrv_dirty_bitmap_get_persistence(b)) {
        b = bdrv_dirty_bitmap_next(b);
    }
    return b || (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS);
}

static int check_downgrade(const Amend *a, Error **errp)
{
    const BDRVQcow2State *s = a->bs->opaque;
    uint64_t features = s->hdr.incompatible_features & ~QCOW2_INCOMPAT_DIRTY;

    if (a->version >= s->hdr.version) {
        return 0;
    }
    if (a->refcount_bits != 16) {
        error_setg(errp, "compat=0.10 requires refcount_bits=16");
    } else if (s->external) {
        error_setg(errp, "Cannot downgrade an image with a data file");
    } else if (snapshots_prevent_downgrade(a, errp)) {
        return -ENOTSUP;
    } else if (features) {
        error_setg(errp, "Cannot downgrade an image with incompatible features 0x%" PRIx64 " set",
                   features);
    } else if (has_bitmaps(a)) {
        error_setg(errp, "Cannot downgrade an image with bitmaps");
    } else {
        return 0;
    }
    return -ENOTSUP;
}

static int check_options(const Amend *a, BlockOptions *opts, Error **errp)
{
    const BDRVQcow2State *s = a->bs->opaque;
    bool was_lazy = s->hdr.compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS;
    bool was_raw = s->hdr.autoclear_features & QCOW2_AUTOCLEAR_DATA_RAW;

    if (a->refcount_bits == 0 || a->refcount_bits > 64 || !is_power_of_2(a->refcount_bits)) {
        error_setg(errp, "Refcount width must be a power of two and may not exceed 64 bits");
    } else if (a->data_file && !s->external) {
        error_setg(errp, "data-file can only be set for images that use an external data file");
    } else if (a->raw && !was_raw) {
        error_setg(errp, "data-file-raw cannot be set on existing images");
    } else if (blk_options_count(opts)) {
        error_setg(errp, "The option '%s' needs an encrypted image", blk_options_key(opts, 0));
    } else if (a->refcount_bits != 1U << s->refcount_order && a->version < 3 &&
               a->refcount_bits != 16) {
        error_setg(errp, "Refcount widths other than 16 bits require compatibility level 1.1 or"
                   " above (use compat=1.1 or greater)");
    } else if ((a->backing_file || a->backing_format) &&
               (g_strcmp0(a->backing_file, s->hdr.backing_file) ||
                g_strcmp0(a->backing_format, s->hdr.backing_format))) {
        Error *err = NULL;

        error_setg(&err, "Cannot amend the backing file");
        error_append_hint(&err, "You can use 'qemu-img rebase' instead.\n");
        error_propagate(errp, err);
    } else if (a->lazy && !was_lazy && a->version < 3) {
        error_setg(errp, "Lazy refcounts only supported with compatibility level 1.1 and above (use"
                   " compat=1.1 or greater)");
    } else if (a->data_file && strlen(a->data_file) > QCOW2_MAX_BACKING_NAME) {
        error_setg(errp, "The name of the data file is too long");
    } else {
        return check_downgrade(a, errp);
    }
    return -EINVAL;
}

/* --- the changes --- */

/* No refcounts are postponed meanwhile: version 2 could not say so, and they are what changes. */
static void coroutine_fn become_exact(CoCall *call)
{
    Amend *a = container_of(call, Amend, call);
    BDRVQcow2State *s = a->bs->opaque;

    s->lazy = false;
    call->ret = qcow2_co_begin_change(a->bs);
    if (call->ret == 0) {
        call->ret = qcow2_co_writeback_all(a->bs);
    }
    if (call->ret == 0) {
        call->ret = qcow2_co_lazy_end(a->bs);
    }
}

static void coroutine_fn change_header(CoCall *call)
{
    Amend *a = container_of(call, Amend, call);
    const BDRVQcow2State *s = a->bs->opaque;
    Qcow2HeaderChange c = {
        .version = MAX(a->version, s->hdr.version),
        .autoclear = s->hdr.autoclear_features & ~(a->raw ? 0 : QCOW2_AUTOCLEAR_DATA_RAW),
        .data_file = a->data_file ? (*a->data_file ? a->data_file : NULL) : s->hdr.data_file,
        .compatible = (s->hdr.compatible_features & ~QCOW2_COMPAT_LAZY_REFCOUNTS) |
                      (a->lazy ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0),
    };
    bool upgrade = c.version > s->hdr.version;

    call->ret = 0;
    if (upgrade) {
        qcow2_amend_done(&a->progress, 1, 2); /* two steps, as QEMU counts them */
    }
    if (c.version != s->hdr.version || c.autoclear != s->hdr.autoclear_features ||
        c.compatible != s->hdr.compatible_features || a->data_file) {
        call->ret = qcow2_co_amend_header(a->bs, &c);
    }
    if (call->ret < 0) {
        error_setg_errno(&a->err, -call->ret, "Failed to update the image header");
    } else if (upgrade) {
        qcow2_amend_done(&a->progress, 2, 2);
    }
}

static void coroutine_fn change_refcounts(CoCall *call)
{
    Amend *a = container_of(call, Amend, call);

    call->ret = qcow2_co_change_refcount_order(a->bs, ctz64(a->refcount_bits), &a->progress,
                                               &a->err);
}

static void coroutine_fn downgrade(CoCall *call)
{
    Amend *a = container_of(call, Amend, call);
    const BDRVQcow2State *s = a->bs->opaque;
    Qcow2HeaderChange c = { .version = 2 };

    call->ret = qcow2_co_expand_zeroes(a->bs, &a->progress);
    if (call->ret < 0) {
        error_setg_errno(&a->err, -call->ret, "Failed to turn zero into data clusters");
        return;
    }
    c.data_file = s->hdr.data_file;
    call->ret = qcow2_co_amend_header(a->bs, &c);
    if (call->ret < 0) {
        error_setg_errno(&a->err, -call->ret, "Failed to update the image header");
    }
}

static int run(Amend *a, void coroutine_fn (*fn)(CoCall *call), Error **errp)
{
    int ret;

    a->call = (CoCall){ .fn = fn };
    ret = co_call(&a->call);
    if (ret < 0) {
        if (a->err) {
            error_propagate(errp, g_steal_pointer(&a->err));
        } else {
            error_setg_errno(errp, -ret, "Could not amend the image");
        }
    }
    return ret;
}

static int resize(const Amend *a, Error **errp)
{
    BlockBackend *blk = blk_new(a->bs->core->ctx, BLK_PERM_RESIZE, BLK_PERM_ALL);
    int ret = blk_insert_bs(blk, a->bs, errp);

    if (ret == 0) {
        ret = blk_truncate(blk, a->size, false, PREALLOC_MODE_OFF, 0, errp);
    }
    blk_unref(blk);
    return ret;
}

static int amend(Amend *a, Error **errp)
{
    BDRVQcow2State *s = a->bs->opaque;
    bool was_lazy = s->hdr.compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS, now_lazy;
    bool postpone = s->lazy;
    int ret = run(a, become_exact, errp);

    if (ret == 0) {
        ret = run(a, change_header, errp);
    }
    if (ret == 0 && a->refcount_bits != 1U << s->refcount_order) {
        ret = run(a, change_refcounts, errp);
    }
    if (ret == 0 && a->has_size) {
        ret = resize(a, errp);
    }
    if (ret == 0 && a->version < s->hdr.version) {
        ret = run(a, downgrade, errp);
    }
    now_lazy = s->hdr.compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS;
    s->lazy = s->hdr.version >= 3 && (was_lazy == now_lazy ? postpone : now_lazy);
    return ret;
}

int qcow2_amend_options(BlockDriverState *bs, BlockOptions *opts, BlockProgress *progress,
                        void *opaque, bool force, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Amend a = { .bs = bs, .progress = { progress, opaque } };
    int ret = take_options(&a, opts, errp);

    if (ret == 0) {
        ret = check_options(&a, opts, errp);
    }
    if (ret == 0 && !s->writable) {
        error_setg(errp, "The image cannot be changed");
        ret = -EACCES;
    }
    if (ret == 0) {
        ret = amend(&a, errp);
    }
    g_free(a.backing_file);
    g_free(a.backing_format);
    g_free(a.data_file);
    return ret;
}
