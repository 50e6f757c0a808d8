/* SPDX-License-Identifier: MIT */
/*
 * What is done to an image that a stranger sends: open, read all, ask for everything, change it, check,
 * repair. Three things must hold besides that nothing breaks: an image that was sound is so afterwards, a
 * repair that says it has left nothing has left nothing, and what can be opened before one can be after.
 */
#include "fuzz-image.h"

static uint8_t buf[1 << 16];

static const char *image_options(const uint8_t *head)
{
    static char text[128];

    g_snprintf(text, sizeof(text), "driver=qcow2,file.driver=fuzz-mem%s%s",
               head[7] & FUZZ_OPEN_ALIGNED ? ",file.align=512" : "",
               head[7] & FUZZ_OPEN_BACKING
                   ? ",backing.driver=raw,backing.file.driver=fuzz-mem,backing.file.disk=1"
                   : "");
    return text;
}

static BlockBackend *open_image(const uint8_t *head, int flags)
{
    flags |= head[7] & FUZZ_OPEN_BACKING ? 0 : BDRV_O_NO_BACKING;
    return fuzz_open(image_options(head), flags | BDRV_O_NO_EXTERNAL);
}

/* The first MiB and the end. */
static void read_all(BlockBackend *blk)
{
    int64_t length = blk_getlength(blk), n;
    int64_t end = MIN(length, 1 << 20);
    unsigned extents = 0;

    for (int64_t offset = 0; offset < end; offset += sizeof(buf)) {
        blk_pread(blk, offset, MIN((int64_t)sizeof(buf), end - offset), buf, 0);
    }
    if (length > end) {
        blk_pread(blk, length - 512, 512, buf, 0);
    }
    for (int64_t offset = 0; offset < length && extents++ < 64; offset += n) {
        if (blk_block_status(blk, offset, length - offset, &n) < 0) {
            break;
        }
    }
}

static void ask_all(BlockDriverState *bs)
{
    QEMUSnapshotInfo *snapshots = NULL;
    BlockOptions *specific = bdrv_get_specific_info(bs, NULL);
    BlockDriverInfo info;
    BlockMeasureInfo measured;

    if (specific) {
        g_free(blk_options_to_json(specific));
        blk_options_free(specific);
    }
    bdrv_get_info(bs, &info);
    bdrv_snapshot_list(bs, &snapshots);
    g_free(snapshots);
    bdrv_measure(bdrv_find_format("qcow2"), blk_options_new(), bs, &measured, NULL);
    for (BdrvDirtyBitmap *b = bdrv_dirty_bitmap_first(bs); b; b = bdrv_dirty_bitmap_next(b)) {
        bdrv_dirty_bitmap_load(b, NULL);
        bdrv_get_dirty_count(b);
    }
}

/* --- changes --- */

static void snapshot(BlockBackend *blk, const FuzzRecord *r)
{
    BlockDriverState *bs = blk_bs(blk);
    QEMUSnapshotInfo info = { .date_sec = r->a, .icount = UINT64_MAX }, *list = NULL;
    int n;

    if (r->a % 3 == 0) {
        g_snprintf(info.name, sizeof(info.name), "s%d", r->b % 4);
        bdrv_snapshot_create(bs, &info);
        return;
    }
    n = bdrv_snapshot_list(bs, &list);
    if (n > 0 && r->a % 3 == 1) {
        bdrv_snapshot_goto(bs, list[r->b % n].id_str, NULL);
    } else if (n > 0) {
        bdrv_snapshot_delete(bs, list[r->b % n].id_str, NULL, NULL);
    }
    g_free(list);
}

static void bitmap(BlockDriverState *bs, const FuzzRecord *r)
{
    char name[8];
    BdrvDirtyBitmap *b;

    g_snprintf(name, sizeof(name), "b%d", r->b % 3);
    b = bdrv_find_dirty_bitmap(bs, name);
    if (b && r->a % 3 == 0) {
        bdrv_remove_persistent_dirty_bitmap(bs, name, NULL);
        bdrv_release_dirty_bitmap(b);
    } else if (!b && bdrv_can_store_new_dirty_bitmap(bs, name, 512U << r->b % 16, NULL)) {
        b = bdrv_create_dirty_bitmap(bs, 512U << r->b % 16, name, NULL);
        if (b) {
            bdrv_dirty_bitmap_set_persistence(b, true);
        }
    }
    if (r->a % 3 == 2) {
        bdrv_store_dirty_bitmaps(bs, NULL);
    }
}

static void amend(BlockDriverState *bs, const FuzzRecord *r)
{
    static const char *const what[] = {
        "compat=0.10", "compat=1.1", "refcount_bits=1", "refcount_bits=64", "refcount_bits=8",
        "lazy_refcounts=on", "lazy_refcounts=off", "size=64k", "size=1M",
    };
    BlockOptions *opts = blk_options_new();

    blk_options_parse(opts, what[r->a % G_N_ELEMENTS(what)], NULL, &error_abort);
    bdrv_amend_options(bs, opts, NULL, NULL, false, NULL);
}

static void vmstate(BlockBackend *blk, const FuzzRecord *r)
{
    int64_t pos = (int64_t)r->b * 512;

    if (r->a & 1) {
        blk_save_vmstate(blk, buf, pos, 700);
    } else {
        blk_load_vmstate(blk, buf, pos, 700);
    }
}

static void discard_or_zero(BlockBackend *blk, const FuzzRecord *r, int64_t offset, int64_t bytes)
{
    if (r->kind & 1) {
        blk_pwrite_zeroes(blk, offset, bytes, r->a & 1 ? BDRV_REQ_MAY_UNMAP : 0);
    } else {
        blk_pdiscard(blk, offset, bytes);
    }
}

static void act(BlockBackend *blk, const FuzzRecord *r)
{
    BlockDriverState *bs = blk_bs(blk);
    int64_t length = blk_getlength(blk);
    int64_t offset = (int64_t)((r->a << 8 | r->b) & 0x7ff) * 512 + r->len % 3;
    int64_t bytes = 1 + fuzz_record_value(r, 0, 2);
    int64_t cluster = 512;
    BlockDriverInfo info;

    if (bdrv_get_info(bs, &info) == 0 && info.cluster_size) {
        cluster = info.cluster_size;
    }
    switch (r->kind) {
    case 16: blk_pread(blk, offset, bytes, buf, 0); break;
    case 17:
    case 18: blk_pwrite(blk, offset, MIN(bytes, (int64_t)sizeof(buf)), buf, 0); break;
    case 19:
    case 20: discard_or_zero(blk, r, offset & ~511, ROUND_UP(bytes, 512)); break;
    case 21:
    case 22: discard_or_zero(blk, r, offset / cluster * cluster, (1 + bytes % 4) * cluster); break;
    case 23: blk_flush(blk); break;
    case 24:
    case 25: snapshot(blk, r); break;
    case 26:
        blk_pwrite_compressed(blk, offset / cluster * cluster, MIN(cluster, (int64_t)sizeof(buf)),
                              buf);
        break;
    case 27:
        blk_truncate(blk, (r->a & 7 ? length / 8 * (r->a & 15) : 0) + r->b * 512, false,
                     r->len & 1 ? PREALLOC_MODE_METADATA : PREALLOC_MODE_OFF, 0, NULL);
        break;
    case 28: bitmap(bs, r); break;
    case 29: vmstate(blk, r); break;
    case 30: amend(bs, r); break;
    case 31: blk_make_empty(blk, NULL); break;
    case 32: bdrv_change_backing_file(bs, r->a & 1 ? "other" : NULL, r->a & 1 ? "raw" : NULL, false); break;
    case 33: blk_make_zero(blk, BDRV_REQ_MAY_UNMAP); break;
    default: break;
    }
}

static bool wants_writes(const FuzzRecord *r)
{
    return r->kind >= FUZZ_ACTIONS;
}

/* --- checks --- */

/* Neither damage nor leaks, or -errno. */
static int check_finds(const uint8_t *head, BdrvCheckMode fix, BdrvCheckResult *res)
{
    BlockBackend *blk = open_image(head, BDRV_O_CHECK | (fix ? BDRV_O_RDWR | BDRV_O_UNMAP : 0));
    int ret;

    memset(res, 0, sizeof(*res));
    if (!blk) {
        return -EINVAL;
    }
    ret = bdrv_check(blk_bs(blk), res, fix);
    blk_unref(blk);
    return ret;
}

static bool is_clean(const BdrvCheckResult *res)
{
    return !res->corruptions && !res->leaks && !res->check_errors;
}

static bool opens(const uint8_t *head, int flags)
{
    BlockBackend *blk = open_image(head, flags);

    blk_unref(blk);
    return blk != NULL;
}

static void check_and_repair(const uint8_t *head, bool sound)
{
    const bool opened = opens(head, 0);
    BdrvCheckResult res, again;
    int ret = check_finds(head, 0, &res);

    if (sound && (ret || !is_clean(&res))) {
        fuzz_fail("a sound image does not check: %d, %d corruptions, %d leaks, %d errors", ret,
                  res.corruptions, res.leaks, res.check_errors);
    }
    if (ret || is_clean(&res)) {
        return;
    }
    ret = check_finds(head, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &res);
    if (!opens(head, BDRV_O_CHECK) || (opened && !opens(head, 0))) {
        fuzz_fail("a repair (%d, fixed %d and %d leaks) made an image that does not open", ret,
                  res.corruptions_fixed, res.leaks_fixed);
    }
    if (ret || !is_clean(&res)) {
        return;
    }
    ret = check_finds(head, 0, &again);
    if (ret || !is_clean(&again)) {
        fuzz_fail("a repair that left nothing (fixed %d and %d leaks) left %d corruptions, %d leaks, "
                  "%d errors (%d)", res.corruptions_fixed, res.leaks_fixed, again.corruptions,
                  again.leaks, again.check_errors, ret);
    }
}

void fuzz_image_use(const uint8_t *head, const FuzzRecord *records, size_t n, bool sound)
{
    static const uint8_t backing[4096] = "below";
    bool failing = head[7] & FUZZ_OPEN_WRITES_FAIL;
    int flags = head[7] & FUZZ_OPEN_RDWR ? BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP : 0;
    BlockBackend *blk;

    fuzz_disk_set(1, backing, sizeof(backing));
    blk = open_image(head, flags | (head[7] & FUZZ_OPEN_CHECK ? BDRV_O_CHECK : 0));
    if (sound && !blk) {
        fuzz_fail("a sound image does not open");
    }
    if (blk) {
        read_all(blk);
        ask_all(blk_bs(blk));
        fuzz_disk_fail_after(failing ? head[6] : UINT_MAX);
        for (size_t i = 0; i < n && (flags & BDRV_O_RDWR); i++) {
            if (wants_writes(&records[i])) {
                act(blk, &records[i]);
            }
        }
        blk_unref(blk);
        fuzz_disk_fail_after(UINT_MAX);
    }
    check_and_repair(head, sound && !failing);
    blk = open_image(head, 0);
    if (blk) {
        read_all(blk);
        blk_unref(blk);
    }
}
