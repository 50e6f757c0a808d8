/* SPDX-License-Identifier: MIT */
/*
 * References counted in RAM, a counter for each host cluster, in chunks that come into being
 * when a cluster of theirs is referred to. Bounded, as damaged tables refer to anything.
 */
#ifndef BLOCK_QCOW2_REFMAP_H
#define BLOCK_QCOW2_REFMAP_H

#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define QCOW2_REFMAP_CHUNK 4096U

typedef struct Qcow2RefChunk {
    uint64_t number;
    uint32_t counts[QCOW2_REFMAP_CHUNK];
} Qcow2RefChunk;

typedef struct Qcow2RefMap {
    GHashTable *chunks;  /* number -> Qcow2RefChunk */
    Qcow2RefChunk *last; /* the one that was asked for last; or NULL */
} Qcow2RefMap;

void qcow2_refmap_init(Qcow2RefMap *m);
void qcow2_refmap_destroy(Qcow2RefMap *m);
/* Anything counted among @count clusters from @first on? */
bool qcow2_refmap_any(const Qcow2RefMap *m, uint64_t first, uint64_t count);
/* The chunk of that number, or NULL; for the inline functions. */
Qcow2RefChunk *qcow2_refmap_find(Qcow2RefMap *m, uint64_t number);
static inline Qcow2RefChunk *qcow2_refmap_chunk(Qcow2RefMap *m, uint64_t number)
{
    Qcow2RefChunk *c = m->last;

    return c && c->number == number ? c : qcow2_refmap_find(m, number);
}
static inline uint32_t qcow2_refmap_get(Qcow2RefMap *m, uint64_t cluster)
{
    const Qcow2RefChunk *c = qcow2_refmap_chunk(m, cluster / QCOW2_REFMAP_CHUNK);

    return c ? c->counts[cluster % QCOW2_REFMAP_CHUNK] : 0;
}
/* Forgets the references to a cluster. */
void qcow2_refmap_clear(Qcow2RefMap *m, uint64_t cluster);
/* The chunk of that number, made if there is none. NULL: the map has become too large. */
Qcow2RefChunk *qcow2_refmap_make(Qcow2RefMap *m, uint64_t number);
/* Counts one reference. -ENOMEM when the map has become too large. */
static inline int qcow2_refmap_add(Qcow2RefMap *m, uint64_t cluster)
{
    uint64_t number = cluster / QCOW2_REFMAP_CHUNK;
    Qcow2RefChunk *c = qcow2_refmap_chunk(m, number) ?: qcow2_refmap_make(m, number);

    if (!c) {
        return -ENOMEM;
    }
    c->counts[cluster % QCOW2_REFMAP_CHUNK] += c->counts[cluster % QCOW2_REFMAP_CHUNK] < UINT32_MAX;
    return 0;
}

#endif
