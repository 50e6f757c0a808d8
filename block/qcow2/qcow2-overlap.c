/* SPDX-License-Identifier: MIT */
/*
 * Open addressing with linear probing. A word is cluster number << 8 | kind; 0 is free and
 * kind 0 with a number marks a removed one, so that searches go on past it. Word 0 of
 * the array is its mask, word 1 the number of words in use.
 */
#include "qcow2-overlap.h"

#include "qcow2-map.h"

static const char *const kind_names[] = {
    "guest data", "the header", "the active L1 table", "an L2 table", "the refcount table",
    "a refcount block", "the snapshot table", "a snapshot's L1 table", "the bitmap directory",
};

#define MAP_WORDS 2 /* before the slots */

static uint64_t *new_map(uint64_t slots)
{
    uint64_t *map = g_new0(uint64_t, slots + MAP_WORDS);

    map[0] = slots - 1;
    return map;
}

void qcow2_map_init(BDRVQcow2State *s)
{
    qemu_mutex_init(&s->map_lock);
    s->old_maps = g_ptr_array_new_with_free_func(g_free);
    s->map = new_map(256);
}

void qcow2_map_destroy(BDRVQcow2State *s)
{
    if (s->map) {
        g_free(s->map);
        g_ptr_array_free(s->old_maps, true);
        qemu_mutex_destroy(&s->map_lock);
    }
}

static uint64_t hash(uint64_t cluster)
{
    return cluster * UINT64_C(0x9e3779b97f4a7c15) >> 20;
}

/* The slot that holds the cluster, or the free one where it would go. */
static uint64_t *find(uint64_t *map, uint64_t cluster)
{
    uint64_t mask = map[0];
    uint64_t i = hash(cluster) & mask;

    while (true) {
        uint64_t *slot = &map[MAP_WORDS + i];
        uint64_t word = qatomic_read(slot);

        if (word == 0 || word >> 8 == cluster + 1) {
            return slot;
        }
        i = (i + 1) & mask;
    }
}

static void grow(BDRVQcow2State *s)
{
    uint64_t *old = s->map;
    uint64_t *map = new_map((old[0] + 1) * 2);

    for (uint64_t i = 0; i <= old[0]; i++) {
        uint64_t word = old[MAP_WORDS + i];

        if (word & 0xff) {
            *find(map, (word >> 8) - 1) = word;
            map[1]++;
        }
    }
    g_ptr_array_add(s->old_maps, old);
    qatomic_rcu_set(&s->map, map);
}

void qcow2_map_add(BDRVQcow2State *s, Qcow2MetaKind kind, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> s->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;

    if (bytes == 0) {
        return;
    }
    qemu_mutex_lock(&s->map_lock);
    for (uint64_t c = first; c <= last; c++) {
        uint64_t *slot;

        if (s->map[1] * 2 > s->map[0]) {
            grow(s);
        }
        slot = find(s->map, c);
        if (*slot & 0xff) {
            bool harmless = kind == QCOW2_META_SNAPSHOT_L1 &&
                            (*slot & 0xff) == QCOW2_META_SNAPSHOT_L1;

            if (!harmless && !s->map_conflict) {
                s->map_conflict = true;
                s->map_conflict_at = c << s->cluster_bits;
            }
            continue;
        }
        s->map[1] += *slot == 0;
        qatomic_set(slot, (c + 1) << 8 | kind);
    }
    qemu_mutex_unlock(&s->map_lock);
}

void qcow2_map_remove(BDRVQcow2State *s, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> s->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;

    qemu_mutex_lock(&s->map_lock);
    for (uint64_t c = first; bytes && c <= last; c++) {
        uint64_t *slot = find(s->map, c);

        if (*slot) {
            qatomic_set(slot, (c + 1) << 8);
        }
    }
    qemu_mutex_unlock(&s->map_lock);
}

Qcow2MetaKind qcow2_map_get(const BDRVQcow2State *s, uint64_t offset)
{
    uint64_t *map = qatomic_rcu_read(&s->map);

    return qatomic_read(find(map, offset >> s->cluster_bits)) & 0xff;
}

int coroutine_fn qcow2_co_check_write(BlockDriverState *bs, Qcow2MetaKind kind,
                                      uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = offset + bytes;

    if (qatomic_read(&s->corrupt)) {
        return -EIO;
    }
    for (uint64_t at = offset; at < end; at = qcow2_cluster_start(s, at) + s->cluster_size) {
        Qcow2MetaKind there = qcow2_map_get(s, at);

        if (unlikely(there != kind)) {
            qcow2_signal_corruption(bs, "a write of %s to offset 0x%" PRIx64 " would hit %s",
                                    kind_names[kind], at, kind_names[there]);
            return -EIO;
        }
    }
    return 0;
}
