/* SPDX-License-Identifier: MIT */
/* See the header. The bound is a gigabyte of counters: 16 TiB of 64 KiB clusters in use. */
#include "qcow2-refmap.h"

#include "qemu/osdep.h"

#define MAX_CHUNKS (1U << 16)

typedef struct Chunk {
    uint64_t number;
    uint32_t counts[QCOW2_REFMAP_CHUNK];
} Chunk;

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

static Chunk *find_chunk(Qcow2RefMap *m, uint64_t number)
{
    Chunk *c = m->last;

    if (!c || c->number != number) {
        m->last = c = g_hash_table_lookup(m->chunks, &number);
    }
    return c;
}

uint32_t qcow2_refmap_get(Qcow2RefMap *m, uint64_t cluster)
{
    const Chunk *c = find_chunk(m, cluster / QCOW2_REFMAP_CHUNK);

    return c ? c->counts[cluster % QCOW2_REFMAP_CHUNK] : 0;
}

void qcow2_refmap_clear(Qcow2RefMap *m, uint64_t cluster)
{
    Chunk *c = find_chunk(m, cluster / QCOW2_REFMAP_CHUNK);

    if (c) {
        c->counts[cluster % QCOW2_REFMAP_CHUNK] = 0;
    }
}

int qcow2_refmap_add(Qcow2RefMap *m, uint64_t cluster)
{
    uint64_t number = cluster / QCOW2_REFMAP_CHUNK;
    Chunk *c = find_chunk(m, number);
    uint32_t *count;

    if (!c) {
        if (g_hash_table_size(m->chunks) >= MAX_CHUNKS) {
            return -ENOMEM;
        }
        c = g_try_new0(Chunk, 1);
        if (!c) {
            return -ENOMEM;
        }
        c->number = number;
        g_hash_table_insert(m->chunks, &c->number, c);
    }
    count = &c->counts[cluster % QCOW2_REFMAP_CHUNK];
    *count += *count < UINT32_MAX;
    return 0;
}
