/* SPDX-License-Identifier: MIT */
/* See the header. The bound is a gigabyte of counters: 16 TiB of 64 KiB clusters in use. */
#include "qcow2-refmap.h"

#include "qemu/osdep.h"

#define MAX_CHUNKS (1U << 16)

void qcow2_refmap_init(Qcow2RefMap *m)
{
    m->chunks = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    m->last = NULL;
}

void qcow2_refmap_destroy(Qcow2RefMap *m)
{
    g_hash_table_destroy(m->chunks);
}

bool qcow2_refmap_any(const Qcow2RefMap *m, uint64_t first, uint64_t count)
{
    uint64_t number = first / QCOW2_REFMAP_CHUNK;

    for (; number <= (first + count - 1) / QCOW2_REFMAP_CHUNK; number++) {
        if (g_hash_table_contains(m->chunks, &number)) {
            return true;
        }
    }
    return false;
}

Qcow2RefChunk *qcow2_refmap_find(Qcow2RefMap *m, uint64_t number)
{
    return m->last = g_hash_table_lookup(m->chunks, &number);
}

void qcow2_refmap_clear(Qcow2RefMap *m, uint64_t cluster)
{
    Qcow2RefChunk *c = qcow2_refmap_chunk(m, cluster / QCOW2_REFMAP_CHUNK);

    if (c) {
        c->counts[cluster % QCOW2_REFMAP_CHUNK] = 0;
    }
}

Qcow2RefChunk *qcow2_refmap_make(Qcow2RefMap *m, uint64_t number)
{
    Qcow2RefChunk *c = NULL;

    if (g_hash_table_size(m->chunks) < MAX_CHUNKS) {
        c = g_try_new0(Qcow2RefChunk, 1);
    }
    if (c) {
        c->number = number;
        g_hash_table_insert(m->chunks, &c->number, c);
        m->last = c;
    }
    return c;
}
