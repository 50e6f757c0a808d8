/* SPDX-License-Identifier: MIT */
/* A check as a whole: who is called when, and what counts as repaired. */
#include "qcow2-check.h"

#include "qemu/error-report.h"

#include "qcow2-check-walk.h"
#include "qcow2-file-end.h"
#include "qcow2-header-io.h"
#include "qcow2-l2cache.h"
#include "qcow2-lazy.h"
#include "qcow2-overlap.h"
#include "qcow2-writeback.h"

/* Tables read beyond what the file could hold: sharing between many snapshots. */
#define EXTRA_BUDGET (UINT64_C(64) << 30)

void qcow2_check_say(const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list ap;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_printf("%s\n", line);
}

const char *qcow2_check_verb(const Qcow2Check *c)
{
    return c->fix & BDRV_FIX_ERRORS ? "Repairing" : "ERROR";
}

bool qcow2_check_spend(Qcow2Check *c, uint64_t bytes)
{
    if (bytes > c->budget) {
        if (!c->budget_told) {
            qcow2_check_say("ERROR: tables are referred to too often; not all are checked");
        }
        c->budget_told = true;
        c->r->check_errors++;
        return false;
    }
    c->budget -= bytes;
    return true;
}

/* --- how far it is --- */

void qcow2_check_progress(Qcow2Check *c, uint64_t tables)
{
    uint64_t unit = ((BDRVQcow2State *)c->bs->opaque)->cluster_size;

    c->done = MIN(c->done + tables, c->total);
    if (tables) {
        bdrv_report_progress(c->bs, c->done * unit, c->total * unit);
    }
}

/* L2 tables that the disk has now. */
static uint64_t active_tables(const BDRVQcow2State *s)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->l1_size; i++) {
        n += s->l1[i] != 0;
    }
    return n;
}

/* Of a snapshot each L1 entry counts: how many are in use is not known before they are read. */
static uint64_t walk_tables(const Qcow2Check *c)
{
    uint64_t n = active_tables(c->bs->opaque);

    for (guint i = 0; i < c->snapshots->len; i++) {
        const Qcow2CheckSnapshot *sn = c->snapshots->pdata[i];

        n += sn->l1_size > QCOW2_MAX_L1_BYTES / 8 ? 0 : sn->l1_size;
    }
    return n;
}

static uint64_t refcount_tables(const Qcow2Check *c)
{
    const BDRVQcow2State *s = c->bs->opaque;

    return DIV_ROUND_UP(c->nb_clusters, UINT64_C(1) << s->refblock_bits);
}

/* --- refcounts --- */

static int coroutine_fn recount(Qcow2Check *c)
{
    c->total += walk_tables(c) + refcount_tables(c);
    c->rebuild = false;
    c->r->bfi = (BlockFragInfo){ .total_clusters = c->r->bfi.total_clusters };
    qcow2_refmap_destroy(&c->map);
    qcow2_refmap_init(&c->map);
    qcow2_refmap_destroy(&c->beyond);
    qcow2_refmap_init(&c->beyond);
    c->beyond_end = 0;
    return qcow2_check_walk(c);
}

/* The same after a repair, which has been told of: what is still wrong counts once. Mends nothing itself. */
static int coroutine_fn recount_repaired(Qcow2Check *c)
{
    BdrvCheckMode fix = c->fix;
    int ret;

    c->r->corruptions = 0;
    c->r->leaks = 0;
    c->fix = 0;
    ret = recount(c);
    c->fix = fix;
    return ret;
}

/* What the recount did not come to may be in use. */
static BdrvCheckMode fix_after_recount(const Qcow2Check *c)
{
    return c->budget_told ? 0 : c->fix;
}

/*
 * Builds new structures, and counts what there is then: the old ones are leaked now, and what lay behind
 * the file's end may lie within it. Both comes from the rebuilding, and is mended without a word in the result.
 */
static int coroutine_fn rebuild_once(Qcow2Check *c)
{
    BdrvCheckResult counted;
    int ret;

    g_array_set_size(c->freed, 0); /* the new structures may go there */
    ret = qcow2_check_rebuild(c);

    if (ret < 0) {
        return ret;
    }
    ret = recount_repaired(c);
    if (ret == 0) {
        counted = *c->r;
        *c->r = (BdrvCheckResult){ 0 };
        qcow2_check_refcounts(c, fix_after_recount(c));
        counted.corruptions += c->r->corruptions;
        counted.leaks += c->r->leaks;
        counted.check_errors += c->r->check_errors;
        *c->r = counted;
    }
    return ret;
}

/*
 * The refcount structures as a whole, from scratch. When that makes the file longer, references
 * may count that lay behind its end before; so it may take a second time.
 */
static int coroutine_fn replace_structures(Qcow2Check *c)
{
    BdrvCheckResult before = *c->r;
    int ret = 0;

    qcow2_check_say("Rebuilding refcount structure");
    for (int i = 0; i < 3 && c->rebuild && ret == 0 && !c->budget_told; i++) {
        ret = rebuild_once(c);
    }
    if (ret < 0) {
        return ret;
    }
    if (c->rebuild) {
        qcow2_check_say("ERROR rebuilt refcount structure is still broken");
        c->r->check_errors++;
    }
    if (c->r->corruptions < before.corruptions) {
        c->r->corruptions_fixed += before.corruptions - c->r->corruptions;
    }
    if (c->r->leaks < before.leaks) {
        c->r->leaks_fixed += before.leaks - c->r->leaks;
    }
    return 0;
}

/* Gives what was leaked back to the host, now that this is durable. */
static void coroutine_fn discard_freed(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t *freed = (uint64_t *)c->freed->data;
    guint n;

    for (guint i = 0; i < c->freed->len && s->may_discard_host; i += n) {
        for (n = 1; i + n < c->freed->len && freed[i + n] == freed[i] + n; n++) {
        }
        /* A hint: a failure costs space alone. */
        bdrv_co_pdiscard(c->bs->file, freed[i] << s->cluster_bits, (uint64_t)n << s->cluster_bits);
    }
    g_array_set_size(c->freed, 0);
}

static int coroutine_fn check_refcounts(Qcow2Check *c)
{
    BdrvCheckResult before;
    int ret;

    c->total = walk_tables(c) + refcount_tables(c) + active_tables(c->bs->opaque);
    ret = qcow2_check_walk(c);
    if (ret < 0) {
        return ret;
    }
    if (c->budget_told && c->fix) {
        qcow2_check_say("ERROR: what was not checked may be in use; nothing is repaired");
        return -EFBIG;
    }
    before = *c->r;
    qcow2_check_refcounts(c, 0);
    if (c->rebuild && (c->fix & BDRV_FIX_ERRORS)) {
        c->r->check_errors = before.check_errors; /* what could not be read is replaced */
        ret = replace_structures(c);
    } else if (c->fix && c->rebuild) {
        qcow2_check_say("ERROR need to rebuild refcount structures");
        ret = -EIO;
    } else if (c->fix && (c->r->leaks || c->r->corruptions)) {
        *c->r = before;
        c->total += refcount_tables(c);
        qcow2_check_refcounts(c, c->fix);
    }
    if (ret == 0) {
        ret = qcow2_check_copied_flags(c);
    }
    if (ret == 0 && c->fix) {
        ret = qcow2_co_writeback_all(c->bs);
    }
    if (ret == 0) {
        discard_freed(c);
        c->r->image_end_offset = (c->highest + 1) * ((BDRVQcow2State *)c->bs->opaque)->cluster_size;
    }
    return ret;
}

/* An image that has been repaired is neither dirty nor corrupt; nobody saw to unknown features. */
static int coroutine_fn clear_marks(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t marks = 0, unknown;
    int ret;

    if (!c->fix || s->hdr.version < 3) {
        return 0;
    }
    if (!c->r->corruptions && !c->r->check_errors) {
        marks = s->hdr.incompatible_features & (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
        s->unclean = false;
        /* All refcounts are on the disk. Who postpones some from now on has to mark it again. */
        qatomic_set(&s->lazy_dirty, false);
    }
    unknown = s->hdr.autoclear_features & ~(QCOW2_AUTOCLEAR_DATA_RAW | QCOW2_AUTOCLEAR_BITMAPS);
    if (!marks && !unknown) {
        return 0;
    }
    ret = bdrv_co_flush(c->bs->file->bs);
    return ret < 0 ? ret : qcow2_co_change_features(c->bs, 0, marks, unknown);
}

/*
 * A new table of snapshots may have made the file longer. Counters and references for places that lay behind
 * its end mattered to nobody; now they do.
 */
static int coroutine_fn count_again(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    BlockFragInfo bfi = c->r->bfi;
    int64_t length;
    int ret;

    qcow2_file_end_trim(c->bs); /* what stays when the image is closed */
    length = bdrv_co_getlength(c->bs->file->bs);
    if (length <= (int64_t)c->file_bytes) {
        return MIN(length, 0);
    }
    c->file_bytes = length;
    c->nb_clusters = MAX(c->nb_clusters, DIV_ROUND_UP(c->file_bytes, s->cluster_size));
    c->r->check_errors = 0;
    ret = recount_repaired(c);
    c->r->bfi = bfi;
    if (ret == 0) {
        qcow2_check_refcounts(c, fix_after_recount(c));
        c->r->image_end_offset = (c->highest + 1) * s->cluster_size;
        c->flags_stale = true;
        ret = qcow2_co_writeback_all(c->bs);
    }
    return ret;
}

/* A new table of snapshots has changed the references to what the flags are about. */
static int coroutine_fn refresh_flags(Qcow2Check *c)
{
    int ret;

    if (!c->flags_stale) {
        return 0;
    }
    c->total += active_tables(c->bs->opaque);
    ret = qcow2_check_copied_flags(c);
    return ret < 0 ? ret : qcow2_co_writeback_all(c->bs);
}

static int coroutine_fn check_all(Qcow2Check *c)
{
    int ret = qcow2_check_read_snapshots(c);

    if (ret == 0) {
        ret = check_refcounts(c);
    }
    /* The header may claim 2^32 - 1 snapshots; other damage is added to this later. */
    c->snapshot_errors = MIN(c->snapshot_errors, INT_MAX / 2);
    if (ret == 0 && c->snapshot_errors && (c->fix & BDRV_FIX_ERRORS)) {
        ret = qcow2_check_write_snapshots(c);
        if (ret == 0) {
            ret = count_again(c);
        }
        if (ret == 0) {
            ret = refresh_flags(c);
        }
        if (ret == 0) {
            discard_freed(c);
            c->r->corruptions_fixed += c->snapshot_errors;
            c->snapshot_errors = 0;
        }
    }
    c->r->corruptions += c->snapshot_errors;
    return ret == 0 ? clear_marks(c) : ret;
}

/*
 * An image that has been written to before the check: what is in RAM goes to the disk, as that is
 * what is looked at, and refcounts that are postponed become exact.
 */
static int coroutine_fn settle(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (!s->writable || qatomic_read(&s->corrupt)) {
        return 0;
    }
    if (qatomic_read(&s->lazy_dirty) || qcow2_co_writeback_pending(bs)) {
        ret = qcow2_co_writeback_all(bs);
    }
    return ret < 0 ? ret : qcow2_co_lazy_end(bs);
}

/* Repairs, failed ones too, change L2 tables on the disk. Some are dirty if nothing can be written. */
static void forget_slices(BDRVQcow2State *s)
{
    qemu_mutex_lock(&s->meta);
    if (!s->l2.dirty->len) {
        qcow2_l2cache_forget_all(s);
    }
    qemu_mutex_unlock(&s->meta);
}

static void free_snapshot(gpointer data)
{
    Qcow2CheckSnapshot *sn = data;

    g_free(sn->id);
    g_free(sn->name);
    g_bytes_unref(sn->entry);
    g_free(sn);
}

int coroutine_fn qcow2_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                                BdrvCheckMode fix)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Check c = { .bs = bs, .r = result, .fix = fix };
    int64_t length;
    int ret = settle(bs);

    length = ret < 0 ? ret : bdrv_co_getlength(bs->file->bs);
    if (length < 0) {
        result->check_errors++;
        return length;
    }
    c.file_bytes = length;
    c.budget = 4 * c.file_bytes + EXTRA_BUDGET;
    c.nb_clusters = DIV_ROUND_UP((uint64_t)length, s->cluster_size);
    if (c.nb_clusters > INT_MAX) {
        result->check_errors++;
        return -EFBIG;
    }
    c.l2 = qemu_try_blockalign(bs->file->bs, s->cluster_size);
    if (!c.l2) {
        result->check_errors++;
        return -ENOMEM;
    }
    result->bfi.total_clusters = DIV_ROUND_UP(s->size, s->cluster_size);
    qcow2_refmap_init(&c.map);
    qcow2_refmap_init(&c.beyond);
    c.freed = g_array_new(false, false, sizeof(uint64_t));
    c.snapshots = g_ptr_array_new_with_free_func(free_snapshot);
    if (fix) {
        qcow2_map_claim_header(s);
    }
    ret = check_all(&c);
    if (fix) {
        forget_slices(s);
    }
    g_array_free(c.freed, true);
    g_ptr_array_free(c.snapshots, true);
    qcow2_refmap_destroy(&c.map);
    qcow2_refmap_destroy(&c.beyond);
    qemu_vfree(c.l2);
    return ret;
}
