/* SPDX-License-Identifier: MIT */
/*
 * References counted in RAM, a counter for each host cluster, in chunks that come into being
 * when a cluster of theirs is referred to. Bounded, as damaged tables refer to anything.
 */
#ifndef BLOCK_QCOW2_REFMAP_H
#define BLOCK_QCOW2_REFMAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define QCOW2_REFMAP_CHUNK 4096U

typedef struct Qcow2RefMap {
    GHashTable *chunks; /* number -> uint32_t[QCOW2_REFMAP_CHUNK] */
    void *last;         /* the chunk that was asked for last; or NULL */
} Qcow2RefMap;

void qcow2_refmap_init(Qcow2RefMap *m);
void qcow2_refmap_destroy(Qcow2RefMap *m);
/* Anything counted among @count clusters from @first on? */
bool qcow2_refmap_any(const Qcow2RefMap *m, uint64_t first, uint64_t count);
uint32_t qcow2_refmap_get(Qcow2RefMap *m, uint64_t cluster);
/* Forgets the references to a cluster. */
void qcow2_refmap_clear(Qcow2RefMap *m, uint64_t cluster);
/* Counts one reference. -ENOMEM when the map has become too large. */
int qcow2_refmap_add(Qcow2RefMap *m, uint64_t cluster);

#endif
