/* SPDX-License-Identifier: MIT */
/*
 * Opening: header, tables, caches, and what the image's state permits. Home thread, nothing
 * in flight. On failure qcow2_close-like cleanup runs here, as the core does not call it.
 */
#include "qcow2-open.h"

#include "block/block-image.h"
#include "qemu/error-report.h"

#include "../node.h" /* co_call(): closing has to run coroutine code */
#include "qcow2-bitmap.h"
#include "qcow2-cache-clean.h"
#include "qcow2-file-end.h"
#include "qcow2-inactive-l2.h"
#include "qcow2-l2cache.h"
#include "qcow2-lazy.h"
#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-compress.h"
#include "qcow2-refcount.h"
#include "qcow2-snapshot.h"
#include "qcow2-writeback.h"

#define DEFAULT_L2_CACHE_MAX   (32U << 20) /* bytes; QEMU's bound on Linux */
#define DEFAULT_REFCOUNT_CACHE (256U << 10)
#define DEFAULT_SLICE          4096U
#define MIN_SLICE              512
#define DEFAULT_CLEAN_INTERVAL 600U

typedef struct OpenOptions {
    uint64_t l2_cache, refcount_cache;
    uint64_t l2_entry; /* cut to a cluster when not has_l2_entry */
    bool has_l2_entry;
    uint64_t clean_interval; /* seconds */
    uint64_t compression_level; /* 0: as the driver likes it */
    bool pass_discard, pass_discard_snapshot;
    bool has_lazy, lazy;
    unsigned overlap_check;
} OpenOptions;

/* Kinds of metadata by the names that their options have. */
static const struct {
    const char *option;
    Qcow2MetaKind kind;
} overlap_options[] = {
    { "overlap-check.main-header", QCOW2_META_HEADER },
    { "overlap-check.active-l1", QCOW2_META_L1 },
    { "overlap-check.active-l2", QCOW2_META_L2 },
    { "overlap-check.refcount-table", QCOW2_META_REFTABLE },
    { "overlap-check.refcount-block", QCOW2_META_REFBLOCK },
    { "overlap-check.snapshot-table", QCOW2_META_SNAPSHOTS },
    { "overlap-check.inactive-l1", QCOW2_META_SNAPSHOT_L1 },
    { "overlap-check.inactive-l2", QCOW2_META_INACTIVE_L2 },
    { "overlap-check.bitmap-directory", QCOW2_META_BITMAPS },
};

static int overlap_template(const char *name, unsigned *kinds, Error **errp)
{
    static const struct {
        const char *name;
        unsigned kinds;
    } modes[] = {
        { "none", 0 },
        { "constant", 1U << QCOW2_META_HEADER | 1U << QCOW2_META_L1 | 1U << QCOW2_META_REFTABLE |
                      1U << QCOW2_META_SNAPSHOTS | 1U << QCOW2_META_BITMAPS },
        { "cached", QCOW2_OVERLAP_CACHED },
        { "all", QCOW2_OVERLAP_CACHED | 1U << QCOW2_META_INACTIVE_L2 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(name, modes[i].name)) {
            *kinds = modes[i].kinds;
            return 0;
        }
    }
    error_setg(errp, "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of"
               " the following: none, constant, cached, all", name);
    return -EINVAL;
}

/* No image that can be opened is encrypted. A key for it is not needed then; another format is wrong. */
static int take_encryption(BlockOptions *options, Error **errp)
{
    for (size_t i = blk_options_count(options); i-- > 0;) {
        const char *key = blk_options_key(options, i);

        if (!strcmp(key, "encrypt.format")) {
            error_setg(errp, "No encryption in image header, but options specified format '%s'",
                       blk_options_get(options, key));
            return -EINVAL;
        }
        if (g_str_has_prefix(key, "encrypt.")) {
            g_free(blk_options_take(options, key));
        }
    }
    return 0;
}

static int take_overlap_check(BlockOptions *options, unsigned *kinds, Error **errp)
{
    g_autofree char *mode = blk_options_take(options, "overlap-check");
    g_autofree char *other = blk_options_take(options, "overlap-check.template");

    if (mode && other && strcmp(mode, other) != 0) {
        error_setg(errp, "Conflicting values for qcow2 options 'overlap-check' ('%s') and"
                   " 'overlap-check.template' ('%s')", mode, other);
        return -EINVAL;
    }
    if (overlap_template(mode ?: other ?: "cached", kinds, errp) < 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(overlap_options); i++) {
        unsigned bit = 1U << overlap_options[i].kind;
        bool on = *kinds & bit;

        if (blk_options_take_bool(options, overlap_options[i].option, &on, errp) < 0) {
            return -EINVAL;
        }
        *kinds = on ? *kinds | bit : *kinds & ~bit;
    }
    return 0;
}

static int take_options(BlockOptions *options, int flags, OpenOptions *o, Error **errp)
{
    uint64_t both = 0;
    bool ignored;
    int has_both, has_l2, has_rc, has_entry, has_lazy;

    *o = (OpenOptions){ .l2_cache = DEFAULT_L2_CACHE_MAX,
                        .refcount_cache = DEFAULT_REFCOUNT_CACHE,
                        .pass_discard = flags & BDRV_O_UNMAP,
                        .pass_discard_snapshot = true,
                        .l2_entry = DEFAULT_SLICE,
                        .clean_interval = DEFAULT_CLEAN_INTERVAL };
    has_both = blk_options_take_size(options, "cache-size", &both, errp);
    if (has_both < 0) {
        return has_both;
    }
    has_l2 = blk_options_take_size(options, "l2-cache-size", &o->l2_cache, errp);
    if (has_l2 < 0) {
        return has_l2;
    }
    has_rc = blk_options_take_size(options, "refcount-cache-size", &o->refcount_cache, errp);
    if (has_rc < 0) {
        return has_rc;
    }
    if (has_both && has_l2 && has_rc) {
        error_setg(errp, "cache-size, l2-cache-size and refcount-cache-size may not be set at the"
                   " same time");
        return -EINVAL;
    }
    if (has_both && has_l2 && o->l2_cache > both) {
        error_setg(errp, "l2-cache-size may not exceed cache-size");
        return -EINVAL;
    }
    if (has_both && has_rc && o->refcount_cache > both) {
        error_setg(errp, "refcount-cache-size may not exceed cache-size");
        return -EINVAL;
    }
    if (has_both && !has_l2) {
        o->l2_cache = both - MIN(both, o->refcount_cache);
    } else if (has_both) {
        o->refcount_cache = both - o->l2_cache; /* which is no larger */
    }
    has_entry = blk_options_take_size(options, "l2-cache-entry-size", &o->l2_entry, errp);
    o->has_l2_entry = has_entry > 0;
    if (has_entry < 0 || take_encryption(options, errp) < 0 ||
        blk_options_take_bool(options, "pass-discard-request", &o->pass_discard, errp) < 0 ||
        blk_options_take_bool(options, "pass-discard-snapshot", &o->pass_discard_snapshot,
                              errp) < 0 ||
        /* A permission: what belonged to neither is not discarded. */
        blk_options_take_bool(options, "pass-discard-other", &ignored, errp) < 0 ||
        blk_options_take_number(options, "compression-level", &o->compression_level, errp) < 0 ||
        blk_options_take_number(options, "cache-clean-interval", &o->clean_interval, errp) < 0) {
        return -EINVAL;
    }
    if (o->clean_interval > UINT_MAX) {
        error_setg(errp, "Cache clean interval too big");
        return -EINVAL;
    }
    has_lazy = blk_options_take_bool(options, "lazy-refcounts", &o->lazy, errp);
    if (has_lazy < 0) {
        return has_lazy;
    }
    o->has_lazy = has_lazy > 0;
    return take_overlap_check(options, &o->overlap_check, errp);
}

/* --- the header --- */

static int read_header(BlockDriverState *bs, Qcow2Header *h, int64_t *file_length, Error **errp)
{
    uint8_t fields[sizeof(Qcow2DiskHeader)] = { 0 };
    g_autofree uint8_t *cluster = NULL;
    int64_t length = bdrv_getlength(bs->file->bs);
    size_t bytes = 0;
    int ret = length < 0 ? length : 0;

    *file_length = length;
    if (ret == 0) {
        bytes = MIN((uint64_t)length, sizeof(fields));
        ret = bytes ? bdrv_pread(bs->file, 0, bytes, fields, 0) : 0;
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read qcow2 header");
        return ret;
    }
    ret = qcow2_header_parse_fields(h, fields, bytes, errp);
    if (ret < 0) {
        return ret;
    }
    bytes = MIN((uint64_t)length, UINT64_C(1) << h->cluster_bits);
    cluster = g_try_malloc(bytes);
    ret = cluster ? bdrv_pread(bs->file, 0, bytes, cluster, 0) : -ENOMEM;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read qcow2 header");
        return ret;
    }
    return qcow2_header_parse_extensions(h, cluster, bytes, errp);
}

static int check_supported(const Qcow2Header *h, int flags, Error **errp)
{
    if (h->crypt_method && !(flags & BDRV_O_NO_IO)) {
        error_setg(errp, "Encrypted qcow2 images are not supported (crypt_method is %" PRIu32 ")",
                   h->crypt_method);
        return -ENOTSUP;
    }
    if (!(flags & BDRV_O_RDWR)) {
        return 0;
    }
    if (h->crypt_method) {
        error_setg(errp, "Encrypted qcow2 images cannot be written to");
        return -ENOTSUP;
    }
    if ((h->incompatible_features & QCOW2_INCOMPAT_CORRUPT) && !(flags & BDRV_O_CHECK)) {
        error_setg(errp, "qcow2: Image is corrupt; cannot be opened read/write");
        return -EACCES;
    }
    return 0;
}

static int check_compression_level(const Qcow2Header *h, const OpenOptions *o, Error **errp)
{
    unsigned max = qcow2_compression_max_level(h->compression_type);

    if (o->compression_level > max) {
        error_setg(errp, "compression-level for %s must be between 1 and %u",
                   qcow2_compression_name(h->compression_type), max);
        return -EINVAL;
    }
    return 0;
}

/* What can be said of the sizes of the caches only when the size of a cluster is known. */
static int check_cache_options(const Qcow2Header *h, const OpenOptions *o, Error **errp)
{
    uint64_t cluster = UINT64_C(1) << h->cluster_bits;

    if (o->has_l2_entry && (o->l2_entry < MIN_SLICE || o->l2_entry > cluster ||
                            !is_power_of_2(o->l2_entry))) {
        error_setg(errp, "L2 cache entry size must be a power of two between %d and the cluster"
                   " size (%" PRIu64 ")", MIN_SLICE, cluster);
        return -EINVAL;
    }
    if (o->refcount_cache / cluster > INT_MAX) {
        error_setg(errp, "Refcount cache size too big");
        return -EINVAL;
    }
    return 0;
}

static void set_geometry(BDRVQcow2State *s, const OpenOptions *o)
{
    const Qcow2Header *h = &s->hdr;
    uint64_t slice = o->l2_entry;

    s->cluster_bits = h->cluster_bits;
    s->cluster_size = 1U << h->cluster_bits;
    s->extended = h->incompatible_features & QCOW2_INCOMPAT_EXTL2;
    s->entry_words = s->extended ? 2 : 1;
    s->subcluster_bits = s->cluster_bits - (s->extended ? 5 : 0);
    s->l2_bits = s->cluster_bits - (s->extended ? 4 : 3);
    s->slice_words = MIN(slice, (uint64_t)s->cluster_size) / 8;
    s->slice_bits = ctz32(s->slice_words / s->entry_words);
    s->refcount_order = h->refcount_order;
    s->refblock_bits = s->cluster_bits + 3 - h->refcount_order;
    s->refcount_max = h->refcount_order == 6 ? UINT64_MAX
                                             : (UINT64_C(1) << (1U << h->refcount_order)) - 1;
    s->csize_shift = 70 - s->cluster_bits;
    s->size = h->size;
}

/* --- tables --- */

/*
 * A table from the file; what lies behind the end of the file is zero. A whole table that does
 * is damage, which only a check opens: the disk would seem to be empty.
 */
static int read_table(BlockDriverState *bs, const char *failed, uint64_t offset, uint64_t bytes,
                      int64_t file_length, uint8_t **table, Error **errp)
{
    uint64_t there = offset < (uint64_t)file_length ? MIN(bytes, file_length - offset) : 0;
    int ret = -ENOMEM;

    if (bytes && !there && !(bs->open_flags & BDRV_O_CHECK)) {
        error_setg(errp, "%s: it lies beyond the end of the file", failed);
        return -EINVAL;
    }
    *table = g_try_malloc0(MAX(bytes, (uint64_t)1));
    if (*table) {
        ret = there ? bdrv_pread(bs->file, offset, there, *table, 0) : 0;
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "%s", failed);
    }
    return ret;
}

static int read_l1(BlockDriverState *bs, int64_t file_length, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint8_t *raw = NULL;
    int ret;

    s->l1_size = s->hdr.l1_size;
    s->l1_table_offset = s->hdr.l1_table_offset;
    ret = read_table(bs, "Could not read L1 table", s->l1_table_offset, s->l1_size * 8ULL,
                     file_length, &raw, errp);
    s->l1 = (uint64_t *)raw;
    for (uint32_t i = 0; ret == 0 && i < s->l1_size; i++) {
        s->l1[i] = GUINT64_FROM_BE(s->l1[i]);
    }
    s->l1_dirty = g_new0(unsigned long, BITS_TO_LONGS(s->l1_size / 64 + 1));
    return ret;
}

static int read_refcount_table(BlockDriverState *bs, const OpenOptions *o, int64_t file_length,
                               Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = (uint64_t)s->hdr.refcount_table_clusters << s->cluster_bits;
    g_autofree uint8_t *raw = NULL;
    int ret;

    bdrv_co_debug_event(bs->file->bs, BLKDBG_REFTABLE_LOAD); /* nothing to hold yet */
    ret = read_table(bs, "Could not initialize refcount handling", s->hdr.refcount_table_offset,
                     bytes, file_length, &raw, errp);
    if (ret < 0) {
        return ret;
    }
    s->rc.table_offset = s->hdr.refcount_table_offset;
    s->rc.file_end = file_length;
    s->rc.zero_from = ROUND_UP((uint64_t)file_length, (uint64_t)s->cluster_size);
    return qcow2_refcounts_init(s, raw, bytes / 8, o->refcount_cache, errp);
}

/* --- the metadata map --- */

/*
 * An L1 table that cannot be where its entry says is no use to anybody: the snapshot cannot be
 * applied or deleted, but everything else goes on.
 */
static void map_snapshots(BDRVQcow2State *s, const GArray *snapshots, uint64_t table_bytes)
{
    qcow2_map_add(s, QCOW2_META_SNAPSHOTS, s->hdr.snapshots_offset, table_bytes);
    for (guint i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *sn = qcow2_snapshot_at(snapshots, i);

        if (qcow2_snapshot_l1_valid(s, sn, NULL)) {
            qcow2_map_add(s, QCOW2_META_SNAPSHOT_L1, sn->l1_table_offset, sn->l1_size * 8ULL);
        }
    }
}

/* A check opens what has an unreadable snapshot table too. */
static int read_snapshots(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Error *err = NULL;
    uint64_t bytes = 0;
    g_autoptr(GArray) snapshots = qcow2_read_snapshots(bs, &s->hdr, &bytes, &err);

    if (snapshots) {
        if (s->writable) {
            map_snapshots(s, snapshots, bytes);
        }
        return 0;
    }
    if (bs->open_flags & BDRV_O_CHECK) {
        error_free(err);
        return 0;
    }
    error_propagate(errp, err);
    return -EINVAL;
}

/* After read_snapshots(). */
static void build_map(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    qcow2_map_add(s, QCOW2_META_HEADER, 0, s->cluster_size);
    qcow2_map_add(s, QCOW2_META_REFTABLE, s->rc.table_offset, s->rc.entries * 8);
    for (uint64_t i = 0; i < s->rc.entries; i++) {
        uint64_t block = s->rc.table[i] & QCOW2_REFTABLE_OFFSET_MASK;

        if (block) {
            qcow2_map_add(s, QCOW2_META_REFBLOCK, block, s->cluster_size);
        }
    }
    qcow2_map_add(s, QCOW2_META_L1, s->l1_table_offset, s->l1_size * 8ULL);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_L1_OFFSET_MASK;

        if (table) {
            qcow2_map_add(s, QCOW2_META_L2, table, s->cluster_size);
        }
    }
    if (s->hdr.autoclear_features & QCOW2_AUTOCLEAR_BITMAPS) {
        qcow2_map_add(s, QCOW2_META_BITMAPS, s->hdr.bitmaps.directory_offset,
                      s->hdr.bitmaps.directory_size);
    }
}

/* --- files beside this one --- */

/*
 * The name comes from whoever made the image: a plain file, from the current directory if it is
 * relative, or nothing. Any other file can be named with the options "data-file.*", or is a node
 * that "data-file" names.
 */
static int data_file_to_open(const BDRVQcow2State *s, BlockOptions *options, int flags,
                             const char **name, Error **errp)
{
    bool wanted = s->hdr.incompatible_features & QCOW2_INCOMPAT_DATA_FILE;

    *name = NULL;
    if (blk_options_get(options, "data-file")) {
        return 0;
    }
    for (size_t i = 0; i < blk_options_count(options); i++) {
        if (g_str_has_prefix(blk_options_key(options, i), "data-file.")) {
            return 0;
        }
    }
    if (!wanted || !s->hdr.data_file || (flags & BDRV_O_NO_IO)) {
        return 0;
    }
    if (flags & BDRV_O_NO_EXTERNAL) {
        error_setg(errp, "'%s' may not be opened: only the image itself names it",
                   s->hdr.data_file);
        return -EINVAL;
    }
    if (bdrv_path_has_protocol(s->hdr.data_file)) {
        error_setg(errp, "Data file '%s': only plain file names are followed from within an image;"
                   " name it with data-file.filename", s->hdr.data_file);
        return -EINVAL;
    }
    *name = s->hdr.data_file;
    return 0;
}

static int open_data_file(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    bool wanted = s->hdr.incompatible_features & QCOW2_INCOMPAT_DATA_FILE;
    const char *name;
    BdrvChild *child;
    Error *err = NULL;

    if (data_file_to_open(s, options, flags, &name, errp) < 0) {
        return -EINVAL;
    }
    child = bdrv_open_child(name, options, "data-file", bs, true, &err);
    if (err) {
        error_propagate(errp, err);
        return -EINVAL;
    }
    s->data_file = child ? child : bs->file;
    s->external = wanted;
    if (child && !wanted) {
        error_setg(errp, "'data-file' can only be set for images with an external data file");
        return -EINVAL;
    }
    if (wanted && !child && !(flags & BDRV_O_NO_IO)) {
        error_setg(errp, "'data-file' is required for this image");
        return -EINVAL;
    }
    return 0;
}

/* --- all together --- */

static void init_state(BDRVQcow2State *s)
{
    qemu_mutex_init(&s->meta);
    qemu_co_queue_init(&s->turns);
    qemu_co_mutex_init(&s->wb_lock);
    qemu_co_mutex_init(&s->l1_lock);
    qemu_co_mutex_init(&s->alloc_lock);
    qemu_co_mutex_init(&s->header_lock);
    QTAILQ_INIT(&s->ranges);
    s->freed_new = g_array_new(false, false, sizeof(Qcow2Freed));
    s->freed_written = g_array_new(false, false, sizeof(Qcow2Freed));
    s->old_l1 = g_ptr_array_new_with_free_func(g_free);
    s->bitmaps = g_ptr_array_new_with_free_func(qcow2_bitmap_free);
    qcow2_map_init(s);
}

static void free_state(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    qcow2_bitmaps_close(s);
    qcow2_l2cache_destroy(s);
    qcow2_refcounts_destroy(s);
    qcow2_map_destroy(s);
    g_array_free(s->freed_new, true);
    g_array_free(s->freed_written, true);
    g_ptr_array_free(s->old_l1, true);
    g_free(s->l1);
    g_free(s->l1_dirty);
    qemu_mutex_destroy(&s->meta);
    qcow2_header_clear(&s->hdr);
}

static int open_image(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    OpenOptions o;
    int64_t file_length;
    int ret = take_options(options, flags, &o, errp);

    if (ret == 0) {
        ret = read_header(bs, &s->hdr, &file_length, errp);
    }
    if (ret == 0 && !(flags & BDRV_O_CHECK)) {
        ret = qcow2_header_check_repairable(&s->hdr, errp);
    }
    if (ret == 0) {
        ret = check_supported(&s->hdr, flags, errp);
    }
    if (ret == 0) {
        ret = check_cache_options(&s->hdr, &o, errp);
    }
    if (ret == 0) {
        ret = check_compression_level(&s->hdr, &o, errp);
    }
    if (ret < 0) {
        return ret;
    }
    set_geometry(s, &o);
    s->lazy = o.has_lazy ? o.lazy : s->hdr.compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (s->lazy && s->hdr.version < 3) {
        error_setg(errp, "Lazy refcounts require a qcow2 image with at least qemu 1.1"
                   " compatibility level");
        return -EINVAL;
    }
    s->clean_interval = o.clean_interval;
    s->writable = (flags & BDRV_O_RDWR) && !bs->read_only;
    s->overlap_check = o.overlap_check;
    s->compression_level = o.compression_level;
    s->may_discard_host = o.pass_discard;
    s->may_discard_snapshots = o.pass_discard_snapshot;
    ret = open_data_file(bs, options, flags, errp);
    if (ret == 0) {
        ret = read_l1(bs, file_length, errp);
    }
    if (ret == 0) {
        ret = read_refcount_table(bs, &o, file_length, errp);
    }
    if (ret == 0) {
        ret = read_snapshots(bs, errp);
    }
    if (ret == 0 && s->writable) {
        build_map(bs);
        qcow2_map_inactive_l2(bs);
    }
    if (ret == 0) {
        ret = qcow2_l2cache_init(s, o.l2_cache, errp);
    }
    return ret == 0 ? qcow2_bitmaps_open(bs, errp) : ret;
}

/*
 * The last writer postponed refcounts and then did not get to write them. Other damage may stay:
 * whoever meets it is told.
 */
static int repair_dirty(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    BdrvCheckResult result;
    int ret = bdrv_check(bs, &result, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);

    if (ret == 0 && result.check_errors) {
        ret = -EIO;
    }
    s->unclean = result.corruptions > 0; /* refcounts may be wrong still: the bit stays for the next to try */
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not repair dirty image");
    }
    return ret;
}

int qcow2_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!bs->file) {
        error_setg(errp, "qcow2 needs a file");
        return -EINVAL;
    }
    init_state(s);
    ret = open_image(bs, options, flags, errp);
    if (ret == 0 && s->writable && !(flags & BDRV_O_CHECK) &&
        (s->hdr.incompatible_features & QCOW2_INCOMPAT_DIRTY)) {
        ret = repair_dirty(bs, errp);
    }
    if (ret < 0) {
        free_state(bs);
        return ret;
    }
    bs->backing_file = g_strdup(s->hdr.backing_file);
    bs->backing_format = g_strdup(s->hdr.backing_format);
    if (s->hdr.version >= 3) {
        bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    }
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    if (bs->core->ctx) {
        qcow2_cache_clean_start(bs, bs->core->ctx);
    }
    return 0;
}

typedef struct CloseCall {
    CoCall call;
    BlockDriverState *bs;
    Error *err;
} CloseCall;

/* What is left when all data has been flushed: freed clusters, the mark of lazy refcounts. */
static int coroutine_fn write_all(BlockDriverState *bs)
{
    int ret = qcow2_co_writeback_all(bs);

    if (ret == 0) {
        ret = qcow2_co_lazy_end(bs);
    }
    if (ret == 0) {
        qcow2_file_end_trim(bs);
    }
    return ret;
}

/* What of the metadata is still as it was at the last flush; NULL: none. */
static const char *unwritten(const BDRVQcow2State *s)
{
    GHashTableIter iter;
    void *block;

    if (s->l2.dirty->len || s->any_l1_dirty) {
        return "Failed to flush the L2 table cache";
    }
    g_hash_table_iter_init(&iter, s->rc.blocks);
    while (g_hash_table_iter_next(&iter, NULL, &block)) {
        if (((Qcow2RefBlock *)block)->dirty) {
            return "Failed to flush the refcount block cache";
        }
    }
    return s->rc.table_dirty ? "Failed to flush the refcount block cache" : NULL;
}

/* Whoever has to know of errors calls it before the image is closed. */
int coroutine_fn qcow2_co_finish_writing(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret, rest, stored;

    if (!s->writable || qatomic_read(&s->dead)) {
        return 0; /* nothing is written any more, and who wrote has been told so */
    }
    if (qatomic_read(&s->corrupt)) {
        error_setg_errno(errp, EIO, "Could not write the image out");
        return -EIO;
    }
    ret = bdrv_co_flush(bs);
    stored = qcow2_co_store_dirty_bitmaps(bs, errp);
    if (stored < 0) {
        error_prepend(errp, "Lost persistent bitmaps during inactivation of node '%s': ",
                      bdrv_get_node_name(bs));
    }
    /* The rest does not depend on that. */
    rest = write_all(bs);
    ret = ret < 0 ? ret : rest;
    if (ret < 0 && stored == 0) {
        error_setg_errno(errp, -ret, "%s",
                         unwritten(s) ?: "Could not write the image out");
    }
    s->close_told |= ret < 0;
    return stored < 0 ? stored : ret;
}

static void coroutine_fn call_close(CoCall *call)
{
    CloseCall *cc = container_of(call, CloseCall, call);

    call->ret = qcow2_co_finish_writing(cc->bs, &cc->err);
}

void qcow2_close(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    CloseCall cc = { .call.fn = call_close, .bs = bs };
    bool told = s->close_told || qatomic_read(&s->corrupt);
    int ret = co_call(&cc.call);

    if (ret < 0 && !cc.err) {
        error_setg_errno(&cc.err, -ret, "Could not write the image out");
    }
    if (ret < 0 && !told) {
        error_report_err(g_steal_pointer(&cc.err));
    }
    error_free(cc.err);
    qcow2_cache_clean_stop(bs);
    free_state(bs);
}
