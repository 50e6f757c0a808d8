/* SPDX-License-Identifier: MIT */
/*
 * The second half of a check. Repairs go through the same refcount code as everything
 * else: raised refcounts reach the disk first (qcow2-writeback.h), and lowered ones concern
 * clusters that nothing refers to. Only refcounts in blocks that exist are repaired here; a used
 * cluster whose refcount is 0 shows that the structures as such are not to be trusted.
 */
#include "qcow2-check-walk.h"

#include "qcow2-l2cache.h"
#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-refblock.h"
#include "qcow2-refcount.h"

/* --- refcounts --- */

/* The block's contents; NULL: all counters are 0, or *@ret is an error. To be freed. */
static uint8_t *coroutine_fn read_block(Qcow2Check *c, uint64_t index, int *ret)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t host = index < s->rc.entries ? s->rc.table[index] & QCOW2_REFTABLE_OFFSET_MASK : 0;
    uint8_t *copy = NULL;
    Qcow2RefBlock *b;

    *ret = 0;
    if (qcow2_in_cluster(s, host)) {
        if (!c->fix) {
            qcow2_signal_corruption(c->bs, false, "Refblock offset %#" PRIx64 " unaligned"
                                    " (reftable index: %#" PRIx64 ")", host, index);
        }
        *ret = -EIO;
    } else if (host && host < c->file_bytes) {
        qemu_co_mutex_lock(&s->alloc_lock);
        *ret = qcow2_refblock_get(c->bs, index, &b);
        if (*ret == 0 && b) {
            copy = g_try_malloc(s->cluster_size);
            *ret = copy ? 0 : -ENOMEM;
        }
        if (copy) {
            memcpy(copy, b->data, s->cluster_size);
        }
        qemu_co_mutex_unlock(&s->alloc_lock);
    }
    return copy;
}

static int coroutine_fn set_refcount(Qcow2Check *c, uint64_t cluster, uint64_t refcount)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = qcow2_set_refcount(c->bs, cluster, refcount);
    qemu_co_mutex_unlock(&s->alloc_lock);
    return ret;
}

static void coroutine_fn cluster_differs(Qcow2Check *c, BdrvCheckMode fix, uint64_t cluster,
                                         uint64_t refcount, uint32_t references)
{
    bool leak = refcount > references;
    bool repair = refcount && (fix & (leak ? BDRV_FIX_LEAKS : BDRV_FIX_ERRORS));

    c->rebuild |= refcount == 0;
    qcow2_check_say("%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu32,
                    repair ? "Repairing" : leak ? "Leaked" : "ERROR", cluster, refcount,
                    references);
    if (repair && set_refcount(c, cluster, references) == 0) {
        *(leak ? &c->r->leaks_fixed : &c->r->corruptions_fixed) += 1;
        if (!references) {
            g_array_append_val(c->freed, cluster);
        }
        return;
    }
    *(leak ? &c->r->leaks : &c->r->corruptions) += 1;
}

static void coroutine_fn compare_block(Qcow2Check *c, BdrvCheckMode fix, uint64_t index)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t first = index << s->refblock_bits;
    uint64_t count = MIN(UINT64_C(1) << s->refblock_bits, c->nb_clusters - first);
    int ret;
    g_autofree uint8_t *block = read_block(c, index, &ret);

    if (ret == 0 && !block && !qcow2_refmap_any(&c->map, first, count) &&
        !qcow2_refmap_any(&c->beyond, first, count)) {
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t refcount = ret == 0 && block ? qcow2_counter_get(s->refcount_order, block, i) : 0;
        uint32_t references = qcow2_check_references(c, first + i);

        if (ret < 0) {
            qcow2_check_say("Can't get refcount for cluster %" PRIu64 ": %s", first + i,
                            g_strerror(-ret));
            c->r->check_errors++;
        } else if (refcount != references) {
            cluster_differs(c, fix, first + i, refcount, references);
        }
        if (ret == 0 && (refcount || references)) {
            c->highest = first + i;
        }
    }
}

void coroutine_fn qcow2_check_refcounts(Qcow2Check *c, BdrvCheckMode fix)
{
    BDRVQcow2State *s = c->bs->opaque;

    c->highest = 0;
    for (uint64_t i = 0; i << s->refblock_bits < c->nb_clusters; i++) {
        compare_block(c, fix, i);
        qcow2_check_progress(c, 1);
    }
}

/* --- COPIED flags --- */

/*
 * Looks refcounts up, most often in the block that was asked for last. That one stays as long as
 * alloc_lock is held: a Lookup is new in each critical section.
 */
typedef struct Lookup {
    Qcow2Check *c;
    uint64_t index;
    const uint8_t *block; /* NULL: none yet */
} Lookup;

static int coroutine_fn find_counters(Lookup *l, uint64_t index)
{
    BDRVQcow2State *s = l->c->bs->opaque;
    uint64_t host = index < s->rc.entries ? s->rc.table[index] & QCOW2_REFTABLE_OFFSET_MASK : 0;
    Qcow2RefBlock *b = NULL;
    int ret;

    l->block = NULL;
    l->index = index;
    if (qcow2_in_cluster(s, host)) {
        return -EIO; /* the comparison has said so */
    }
    if (!host || host >= l->c->file_bytes) {
        return 0;
    }
    ret = qcow2_refblock_get(l->c->bs, index, &b);
    l->block = ret == 0 && b ? b->data : NULL;
    return ret;
}

/* -errno when it cannot be told. Under alloc_lock. */
static inline int coroutine_fn refcount_of(Lookup *l, uint64_t host, uint64_t *refcount)
{
    BDRVQcow2State *s = l->c->bs->opaque;
    uint64_t cluster = host >> s->cluster_bits, index = cluster >> s->refblock_bits;
    int ret = l->block && l->index == index ? 0 : find_counters(l, index);

    *refcount = l->block ? qcow2_counter_get(s->refcount_order, l->block,
                                             cluster & ((UINT64_C(1) << s->refblock_bits) - 1))
                         : 0;
    return ret;
}

/* Puts right the flags of the table in c->l2. How many were wrong. */
static int coroutine_fn flags_of_entries(Qcow2Check *c, bool repair)
{
    BDRVQcow2State *s = c->bs->opaque;
    unsigned words = s->cluster_size / 8;
    Lookup l = { .c = c };
    int changed = 0;

    qemu_co_mutex_lock(&s->alloc_lock);
    for (unsigned i = 0; i < words; i += s->entry_words) {
        uint64_t entry = GUINT64_FROM_BE(c->l2[i]), host = entry & QCOW2_L2_OFFSET_MASK;
        uint64_t refcount = 1;

        if ((entry & QCOW2_OFLAG_COMPRESSED) || !host ||
            (!s->external && refcount_of(&l, host, &refcount) < 0) ||
            (refcount == 1) == !!(entry & QCOW2_OFLAG_COPIED)) {
            continue;
        }
        qcow2_check_say("%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64,
                        repair ? "Repairing" : "ERROR", entry, refcount);
        c->r->corruptions++;
        c->l2[i] = GUINT64_TO_BE(entry ^ QCOW2_OFLAG_COPIED);
        changed++;
    }
    qemu_co_mutex_unlock(&s->alloc_lock);
    return changed;
}

static int coroutine_fn flags_of_table(Qcow2Check *c, uint64_t offset, bool repair)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret = bdrv_co_pread(c->bs->file, offset, s->cluster_size, c->l2, 0), changed;

    if (ret < 0) {
        qcow2_check_say("ERROR: I/O error in check_oflag_copied: %s", g_strerror(-ret));
        return ret;
    }
    changed = flags_of_entries(c, repair);
    if (!changed || !repair) {
        return 0;
    }
    ret = qcow2_co_check_repair(c->bs, QCOW2_META_L2, offset, s->cluster_size);
    if (ret < 0) {
        qcow2_check_say("ERROR: Could not write L2 table; metadata overlap check failed: %s",
                        g_strerror(-ret));
        return ret;
    }
    ret = bdrv_co_pwrite(c->bs->file, offset, s->cluster_size, c->l2, 0);
    if (ret < 0) {
        qcow2_check_say("ERROR: Could not write L2 table: %s", g_strerror(-ret));
        return ret;
    }
    c->r->corruptions -= changed;
    c->r->corruptions_fixed += changed;
    return 0;
}

static void coroutine_fn flag_of_l1_entry(Qcow2Check *c, uint32_t index, bool repair)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t entry = s->l1[index], refcount;
    Lookup l = { .c = c };
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = refcount_of(&l, entry & QCOW2_L1_OFFSET_MASK, &refcount);
    qemu_co_mutex_unlock(&s->alloc_lock);
    if (ret < 0 || (refcount == 1) == !!(entry & QCOW2_OFLAG_COPIED)) {
        return;
    }
    qcow2_check_say("%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu32 " l1_entry=%" PRIx64
                    " refcount=%" PRIu64, repair ? "Repairing" : "ERROR", index, entry, refcount);
    if (!repair) {
        c->r->corruptions++;
        return;
    }
    qemu_mutex_lock(&s->meta);
    qatomic_set(&s->l1[index], entry ^ QCOW2_OFLAG_COPIED);
    set_bit(index / 64, s->l1_dirty);
    s->any_l1_dirty = true;
    qemu_mutex_unlock(&s->meta);
    c->r->corruptions_fixed++;
}

/*
 * The flags follow the refcounts that the image holds by now. When only leaks are to be repaired
 * that is safe if nothing else was wrong.
 */
int coroutine_fn qcow2_check_copied_flags(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    bool repair = (c->fix & BDRV_FIX_ERRORS) ||
                  ((c->fix & BDRV_FIX_LEAKS) && !c->r->check_errors && !c->r->corruptions &&
                   !c->r->leaks);

    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t host = s->l1[i] & QCOW2_L1_OFFSET_MASK;
        int ret;

        if (!host) {
            continue;
        }
        qcow2_check_progress(c, 1);
        flag_of_l1_entry(c, i, repair);
        if (host >= c->file_bytes || !qcow2_check_spend(c, s->cluster_size)) {
            continue;
        }
        /* One that is not where a table can be is some other cluster's, too. */
        ret = flags_of_table(c, host, repair && !qcow2_in_cluster(s, host));
        if (ret < 0) {
            c->r->check_errors++;
            return ret;
        }
    }
    return 0;
}
