/* SPDX-License-Identifier: MIT */
/*
 * The second half of a check. Repairs go through the same refcount code as everything
 * else: raised refcounts reach the disk first (qcow2-writeback.h), and lowered ones concern
 * clusters that nothing refers to.
 */
#include "qcow2-check-walk.h"

#include "qcow2-l2cache.h"
#include "qcow2-overlap.h"
#include "qcow2-reclaim.h"
#include "qcow2-refblock.h"
#include "qcow2-refcount.h"
#include "qcow2-writeback.h"

/* --- refcounts --- */

/*
 * A refcount block for entry @index that is missing while clusters of its range are in use:
 * it goes behind everything. The range of that place may need a block as well, which
 * then counts itself.
 */
static int coroutine_fn make_missing_block(Qcow2Check *c, uint64_t index)
{
    BDRVQcow2State *s = c->bs->opaque;
    Qcow2RefBlock *b;
    int ret = qcow2_refblock_get(c->bs, index, &b);

    while (ret == 0 && !b) {
        uint64_t at = c->end, home = at >> s->refblock_bits, target = index;

        if (MAX(home, index) >= s->rc.entries) {
            return -EFBIG; /* the table itself would have to grow */
        }
        if (home != index && !s->rc.table[home]) {
            target = home;
        }
        ret = qcow2_refblock_make_at(c->bs, target, at);
        if (ret == 0) {
            ret = qcow2_refmap_add(&c->map, at);
        }
        c->end++;
        if (ret == 0 && target == index && home != index) {
            ret = qcow2_set_refcount(c->bs, at, 1);
        }
        if (ret == 0) {
            ret = qcow2_refblock_get(c->bs, index, &b);
        }
    }
    return ret;
}

static int coroutine_fn repair_refcount(Qcow2Check *c, uint64_t cluster, uint32_t references)
{
    BDRVQcow2State *s = c->bs->opaque;
    int ret = make_missing_block(c, cluster >> s->refblock_bits);

    return ret < 0 ? ret : qcow2_set_refcount(c->bs, cluster, references);
}

static void coroutine_fn compare_cluster(Qcow2Check *c, uint64_t cluster, uint64_t refcount,
                                         uint32_t references)
{
    bool leak = refcount > references;
    bool fix = c->fix & (leak ? QCOW2_FIX_LEAKS : QCOW2_FIX_ERRORS);

    if (refcount || references) {
        c->used_end = MAX(c->used_end, cluster + 1);
    }
    if (refcount == references) {
        return;
    }
    qcow2_check_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu32,
                    fix ? "Repairing" : leak ? "Leaked" : "ERROR", cluster, refcount,
                    references);
    if (fix && repair_refcount(c, cluster, references) == 0) {
        *(leak ? &c->r->leaks_fixed : &c->r->corruptions_fixed) += 1;
        return;
    }
    *(leak ? &c->r->leaks : &c->r->corruptions) += 1;
}

/* All clusters that a refcount block describes. */
static void coroutine_fn compare_block(Qcow2Check *c, uint64_t index)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t per_block = UINT64_C(1) << s->refblock_bits;
    g_autofree uint8_t *copy = NULL;
    Qcow2RefBlock *b;
    int ret = qcow2_refblock_get(c->bs, index, &b);

    if (ret < 0) {
        qcow2_check_say(c, "Can't get refcount block %" PRIu64 ": %s", index, g_strerror(-ret));
        c->r->check_errors++;
        return;
    }
    copy = b ? g_memdup2(b->data, s->cluster_size) : NULL; /* a repair may throw the block out */
    for (uint64_t i = 0; i < per_block; i++) {
        uint64_t cluster = index * per_block + i;
        uint64_t refcount = copy ? qcow2_counter_get(s->refcount_order, copy, i) : 0;

        /* As for qemu-img, refcounts of what the file has not got take no space. */
        if (cluster < MAX(c->map.end, c->file_clusters)) {
            compare_cluster(c, cluster, refcount, qcow2_refmap_get(&c->map, cluster));
        }
    }
}

static int coroutine_fn compare_refcounts(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;
    uint64_t blocks = MAX(s->rc.entries, (c->map.end + (UINT64_C(1) << s->refblock_bits) - 1) >>
                                             s->refblock_bits);

    c->end = MAX(c->map.end, c->file_clusters);
    for (uint64_t i = 0; i < blocks; i++) {
        bool has_block = i < s->rc.entries && s->rc.table[i];

        if (has_block || i << s->refblock_bits < c->map.end) {
            qemu_co_mutex_lock(&s->alloc_lock);
            compare_block(c, i);
            qemu_co_mutex_unlock(&s->alloc_lock);
        }
    }
    return 0;
}

/* --- COPIED flags --- */

/* The flag must be as the refcount says that the image holds (by now). */
static bool coroutine_fn flag_is_right(Qcow2Check *c, const char *what, uint64_t entry,
                                       uint64_t host)
{
    BDRVQcow2State *s = c->bs->opaque;
    bool fix = c->fix_flags;
    uint64_t refcount = 0;
    int ret;

    qemu_co_mutex_lock(&s->alloc_lock);
    ret = qcow2_get_refcount(c->bs, host >> s->cluster_bits, &refcount);
    qemu_co_mutex_unlock(&s->alloc_lock);
    if (ret < 0) {
        c->r->check_errors++;
        return true;
    }
    if ((refcount == 1) == !!(entry & QCOW2_OFLAG_COPIED)) {
        return true;
    }
    qcow2_check_say(c, "%s OFLAG_COPIED %s cluster: %s_entry=%" PRIx64 " refcount=%" PRIu64,
                    fix ? "Repairing" : "ERROR", what, what[0] == 'L' ? "l1" : "l2", entry,
                    refcount);
    *(fix ? &c->r->corruptions_fixed : &c->r->corruptions) += 1;
    return false;
}

static int coroutine_fn check_flags_of_table(Qcow2Check *c, uint64_t offset)
{
    BDRVQcow2State *s = c->bs->opaque;
    unsigned words = s->cluster_size / 8;
    bool changed = false;
    int ret = bdrv_co_pread(c->bs->file, offset, s->cluster_size, c->l2, 0);

    for (unsigned i = 0; ret == 0 && i < words; i += s->entry_words) {
        uint64_t entry = GUINT64_FROM_BE(c->l2[i]), host = entry & QCOW2_L2_OFFSET_MASK;

        if ((entry & QCOW2_OFLAG_COMPRESSED) || !host || s->external ||
            host >> s->cluster_bits >= c->file_clusters ||
            flag_is_right(c, "data", entry, host)) {
            continue;
        }
        c->l2[i] = GUINT64_TO_BE(entry ^ QCOW2_OFLAG_COPIED);
        changed = true;
    }
    if (ret == 0 && changed && c->fix_flags) {
        ret = qcow2_co_check_write(c->bs, QCOW2_META_L2, offset, s->cluster_size);
        if (ret == 0) {
            ret = bdrv_co_pwrite(c->bs->file, offset, s->cluster_size, c->l2, 0);
        }
    }
    return ret;
}

static int coroutine_fn check_flags(Qcow2Check *c)
{
    BDRVQcow2State *s = c->bs->opaque;

    /*
     * With leaks alone to be repaired flags are too, if the refcounts that they follow are known to
     * be right: lowering one to 1 may have been what made the flag wrong.
     */
    c->fix_flags = (c->fix & QCOW2_FIX_ERRORS) ||
                   (c->fix && !c->r->check_errors && !c->r->corruptions && !c->r->leaks);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t host = s->l1[i] & QCOW2_L1_OFFSET_MASK;
        int ret;

        if (!host || qcow2_in_cluster(s, host) || host >> s->cluster_bits >= c->file_clusters) {
            continue;
        }
        if (!flag_is_right(c, "L2", s->l1[i], host) && c->fix_flags) {
            qemu_mutex_lock(&s->meta);
            qatomic_set(&s->l1[i], s->l1[i] ^ QCOW2_OFLAG_COPIED);
            set_bit(i / 64, s->l1_dirty);
            s->any_l1_dirty = true;
            qemu_mutex_unlock(&s->meta);
        }
        ret = check_flags_of_table(c, host);
        if (ret < 0) {
            c->r->check_errors++;
        }
        if (c->fix_flags) {
            qemu_mutex_lock(&s->meta);
            qcow2_l2cache_forget(s, i);
            qemu_mutex_unlock(&s->meta);
        }
    }
    return 0;
}

int coroutine_fn qcow2_check_compare(Qcow2Check *c)
{
    int ret = compare_refcounts(c);

    if (ret == 0) {
        ret = check_flags(c);
    }
    if (ret == 0 && c->fix) {
        ret = qcow2_co_writeback_all(c->bs);
    }
    return ret;
}
