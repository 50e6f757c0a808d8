/* SPDX-License-Identifier: MIT */
/* See qcow2-reclaim.h for the rule; here is the bookkeeping. */
#include "qcow2-reclaim.h"

#include "qemu/error-report.h"

#include "qcow2-map.h"
#include "qcow2-overlap.h"
#include "qcow2-refcount.h"

void qcow2_free_later(BDRVQcow2State *s, uint64_t host_offset)
{
    Qcow2Freed f = { host_offset >> s->cluster_bits, 1, 0 };

    /* Who begins in a later epoch than this one sees the change that took the reference away. */
    smp_mb();
    f.epoch = __atomic_load_n(&s->epoch, __ATOMIC_SEQ_CST);
    if (s->freed_new->len) {
        Qcow2Freed *last = &g_array_index(s->freed_new, Qcow2Freed, s->freed_new->len - 1);

        if (last->epoch == f.epoch && last->cluster + last->count == f.cluster) {
            last->count++;
            return;
        }
    }
    g_array_append_val(s->freed_new, f);
}

void qcow2_free_compressed_later(BDRVQcow2State *s, uint64_t l2_entry)
{
    uint64_t start, bytes;

    qcow2_compressed_span(s, l2_entry, &start, &bytes);
    for (uint64_t c = qcow2_cluster_start(s, start); c < start + bytes; c += s->cluster_size) {
        qcow2_free_later(s, c);
    }
}

static bool epoch_in_use(const BDRVQcow2State *s, unsigned parity)
{
    for (unsigned i = 0; i < QCOW2_EPOCH_SHARDS; i++) {
        if (__atomic_load_n(&s->shards[i].users[parity], __ATOMIC_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

/* Two steps are all that a cluster needs; more would only burn numbers. */
static void advance_epoch(BDRVQcow2State *s)
{
    for (int i = 0; i < 2; i++) {
        uint64_t epoch = s->epoch;

        if (epoch_in_use(s, (epoch + 1) & 1)) {
            return;
        }
        __atomic_store_n(&s->epoch, epoch + 1, __ATOMIC_SEQ_CST);
    }
}

/*
 * Tells the file that these clusters, still allocated, hold nothing: before they may be reused.
 * Metadata that a damaged entry named as data stays as it is.
 */
static void coroutine_fn discard_host(BlockDriverState *bs, const Qcow2Freed *f)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t i = 0;

    while (i < f->count) {
        uint64_t n = 0;

        qemu_co_mutex_lock(&s->alloc_lock);
        while (i + n < f->count) {
            uint64_t at = f->cluster + i + n, refcount;

            if (qcow2_get_refcount(bs, at, &refcount) < 0 || refcount != 1 ||
                qcow2_map_get(s, at << s->cluster_bits) != QCOW2_META_NONE) {
                break;
            }
            /* From here on no compressed data may be added to it. */
            if (s->rc.cursor >> s->cluster_bits == at) {
                s->rc.cursor = 0;
            }
            n++;
        }
        qemu_co_mutex_unlock(&s->alloc_lock);
        if (n) {
            /* A hint: failure costs space in the host's file system only. */
            bdrv_co_pdiscard(bs->file, (f->cluster + i) << s->cluster_bits,
                             n << s->cluster_bits);
        }
        i += n + 1;
    }
}

int coroutine_fn qcow2_co_reclaim(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    guint kept = 0;
    int ret = 0;

    if (s->freed_written->len) {
        advance_epoch(s);
    }
    for (guint i = 0; i < s->freed_written->len; i++) {
        Qcow2Freed f = g_array_index(s->freed_written, Qcow2Freed, i);

        if (ret < 0 || f.epoch + 2 > s->epoch) {
            g_array_index(s->freed_written, Qcow2Freed, kept++) = f;
            continue;
        }
        if (s->may_discard_host) {
            discard_host(bs, &f);
        }
        bdrv_co_debug_event(bs->file->bs, BLKDBG_CLUSTER_FREE);
        qemu_co_mutex_lock(&s->alloc_lock);
        ret = qcow2_lower_refcounts(bs, f.cluster, f.count);
        qemu_co_mutex_unlock(&s->alloc_lock);
        if (ret < 0) {
            error_printf("qcow2_free_clusters failed: %s\n", g_strerror(-ret));
        }
    }
    g_array_set_size(s->freed_written, kept);
    return ret;
}
