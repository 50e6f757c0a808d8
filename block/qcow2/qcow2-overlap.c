/* SPDX-License-Identifier: MIT */
/*
 * Open addressing with linear probing. A word is cluster number << 8 | kind; 0 is free and
 * kind 0 with a number marks a removed one, so that searches go on past it. Word 0 of
 * the array is its mask, word 1 the number of words in use.
 */
#include "qcow2-overlap.h"

#include "qcow2-map.h"

static const char *const kind_names[] = {
    "data", "qcow2_header", "active L1 table", "active L2 table", "refcount table",
    "refcount block", "snapshot table", "inactive L1 table", "inactive L2 table",
    "bitmap directory",
};

#define MAP_WORDS   2 /* before the slots */
#define FIRST_SLOTS 256

/* NULL: out of memory. */
static uint64_t *new_map(uint64_t slots)
{
    uint64_t *map = g_try_new0(uint64_t, slots + MAP_WORDS);

    if (map) {
        map[0] = slots - 1;
    }
    return map;
}

void qcow2_map_init(BDRVQcow2State *s)
{
    qemu_mutex_init(&s->map_lock);
    s->old_maps = g_ptr_array_new_with_free_func(g_free);
    s->map_several = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    s->map = g_new0(uint64_t, FIRST_SLOTS + MAP_WORDS);
    s->map[0] = FIRST_SLOTS - 1;
}

void qcow2_map_destroy(BDRVQcow2State *s)
{
    if (s->map) {
        g_free(s->map);
        g_ptr_array_free(s->old_maps, true);
        g_hash_table_destroy(s->map_several);
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

/*
 * False: there is no memory, and hardly a slot left, one of which has to stay free for searches to
 * end. What is not entered is not protected.
 */
static bool make_room(BDRVQcow2State *s)
{
    uint64_t *old = s->map, *map;

    if (old[1] * 2 <= old[0]) {
        return true;
    }
    map = new_map((old[0] + 1) * 2);
    if (!map) {
        return old[1] < old[0];
    }
    for (uint64_t i = 0; i <= old[0]; i++) {
        uint64_t word = old[MAP_WORDS + i];

        if (word & 0xff) {
            *find(map, (word >> 8) - 1) = word;
            map[1]++;
        }
    }
    g_ptr_array_add(s->old_maps, old);
    qatomic_rcu_set(&s->map, map);
    return true;
}

const char *qcow2_meta_name(Qcow2MetaKind kind)
{
    return kind_names[kind];
}

static bool is_inactive(Qcow2MetaKind kind)
{
    return kind == QCOW2_META_SNAPSHOT_L1 || kind == QCOW2_META_INACTIVE_L2;
}

/* --- clusters claimed more than once; under map_lock --- */

/* An image that is not damaged has none. One claim more than can be counted stays for good. */
typedef struct Claims {
    uint64_t cluster; /* the key */
    uint16_t n[QCOW2_META_SEVERAL];
} Claims;

static Claims *claims_get(BDRVQcow2State *s, uint64_t cluster)
{
    return g_hash_table_size(s->map_several) ? g_hash_table_lookup(s->map_several, &cluster) : NULL;
}

static unsigned claims_kinds(const Claims *c)
{
    unsigned kinds = 0;

    for (unsigned k = 0; k < QCOW2_META_SEVERAL; k++) {
        kinds |= c->n[k] ? 1U << k : 0;
    }
    return kinds;
}

/* Makes the slot say what the claims say, and forgets those that are not several any more. */
static void claims_show(BDRVQcow2State *s, uint64_t *slot, Claims *c)
{
    unsigned kinds = claims_kinds(c);
    Qcow2MetaKind one = kinds ? (Qcow2MetaKind)ctz32(kinds) : QCOW2_META_NONE;
    bool alone = !kinds || (is_power_of_2(kinds) && c->n[one] == 1);
    bool plain = alone || (is_power_of_2(kinds) && is_inactive(one));

    qatomic_set(slot, (c->cluster + 1) << 8 | (plain ? one : QCOW2_META_SEVERAL));
    if (alone) {
        g_hash_table_remove(s->map_several, &c->cluster);
    }
}

/* @kind claims a cluster that @slot says is another's. */
static void add_claim(BDRVQcow2State *s, uint64_t *slot, Qcow2MetaKind kind)
{
    uint64_t cluster = (*slot >> 8) - 1;
    Claims *c = claims_get(s, cluster);

    if (!c) {
        c = g_new0(Claims, 1);
        c->cluster = cluster;
        c->n[*slot & 0xff] = 1;
        g_hash_table_insert(s->map_several, &c->cluster, c);
    }
    /* These go all at once. */
    if (c->n[kind] < (kind == QCOW2_META_INACTIVE_L2 ? 1 : UINT16_MAX)) {
        c->n[kind]++;
    }
    claims_show(s, slot, c);
}

static void remove_claim(BDRVQcow2State *s, uint64_t *slot, Qcow2MetaKind kind)
{
    uint64_t cluster = (*slot >> 8) - 1;
    Claims *c = claims_get(s, cluster);

    if (c) {
        c->n[kind] -= c->n[kind] && c->n[kind] < UINT16_MAX;
        claims_show(s, slot, c);
    } else if ((*slot & 0xff) == kind) {
        qatomic_set(slot, (cluster + 1) << 8);
    }
}

/* --- the map --- */

void qcow2_map_add(BDRVQcow2State *s, Qcow2MetaKind kind, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> s->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;

    if (bytes == 0) {
        return;
    }
    qemu_mutex_lock(&s->map_lock);
    for (uint64_t c = first; c <= last; c++) {
        bool room = make_room(s);
        uint64_t *slot = find(s->map, c);

        if (*slot & 0xff) {
            add_claim(s, slot, kind);
            continue;
        }
        if (*slot == 0 && !room) {
            continue;
        }
        s->map[1] += *slot == 0;
        qatomic_set(slot, (c + 1) << 8 | kind);
    }
    qemu_mutex_unlock(&s->map_lock);
}

void qcow2_map_remove(BDRVQcow2State *s, Qcow2MetaKind kind, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> s->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;

    qemu_mutex_lock(&s->map_lock);
    for (uint64_t c = first; bytes && c <= last; c++) {
        uint64_t *slot = find(s->map, c);

        if (*slot) {
            remove_claim(s, slot, kind);
        }
    }
    qemu_mutex_unlock(&s->map_lock);
}

void qcow2_map_remove_kind(BDRVQcow2State *s, Qcow2MetaKind kind)
{
    qemu_mutex_lock(&s->map_lock);
    for (uint64_t i = 0; i <= s->map[0]; i++) {
        uint64_t *slot = &s->map[MAP_WORDS + i];
        Claims *c = *slot & 0xff ? claims_get(s, (*slot >> 8) - 1) : NULL;

        if (c) {
            c->n[kind] = 0;
            claims_show(s, slot, c);
        } else if ((*slot & 0xff) == kind) {
            qatomic_set(slot, *slot & ~UINT64_C(0xff));
        }
    }
    qemu_mutex_unlock(&s->map_lock);
}

void qcow2_map_claim_header(BDRVQcow2State *s)
{
    uint64_t *slot;

    qemu_mutex_lock(&s->map_lock);
    slot = find(s->map, 0);
    g_hash_table_remove(s->map_several, &(uint64_t){ 0 });
    if (*slot) {
        qatomic_set(slot, UINT64_C(1) << 8 | QCOW2_META_HEADER);
    }
    qemu_mutex_unlock(&s->map_lock);
}

uint64_t qcow2_map_end(BDRVQcow2State *s)
{
    uint64_t end = 0;

    qemu_mutex_lock(&s->map_lock);
    for (uint64_t i = 0; i <= s->map[0]; i++) {
        uint64_t word = s->map[MAP_WORDS + i];

        end = word & 0xff ? MAX(end, word >> 8) : end; /* the number there is one higher */
    }
    qemu_mutex_unlock(&s->map_lock);
    return end;
}

Qcow2MetaKind qcow2_map_get(const BDRVQcow2State *s, uint64_t offset)
{
    uint64_t *map = qatomic_rcu_read(&s->map);

    return qatomic_read(find(map, offset >> s->cluster_bits)) & 0xff;
}

/* All that claims the cluster, as bits; but not @own, unless it does so several times. */
static unsigned others(BDRVQcow2State *s, uint64_t offset, Qcow2MetaKind own)
{
    Qcow2MetaKind there = qcow2_map_get(s, offset);
    unsigned kinds = 1U << there;

    if (there == QCOW2_META_SEVERAL) {
        const Claims *c;

        qemu_mutex_lock(&s->map_lock);
        c = claims_get(s, offset >> s->cluster_bits);
        kinds = c ? claims_kinds(c) : 1U << qcow2_map_get(s, offset); /* one may have just gone */
        qemu_mutex_unlock(&s->map_lock);
        if (c) {
            return is_power_of_2(kinds) ? kinds : kinds & ~(1U << own);
        }
    }
    return kinds & ~(1U << own) & ~(1U << QCOW2_META_NONE);
}

static void coroutine_fn signal_overlap(BlockDriverState *bs, unsigned kinds)
{
    qcow2_signal_corruption(bs, true, "Preventing invalid write on metadata (overlaps with %s)",
                            kind_names[ctz32(kinds)]);
}

int coroutine_fn qcow2_co_check_alloc(BlockDriverState *bs, const char *what, uint64_t offset,
                                      uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;

    for (uint64_t at = offset; at < offset + bytes; at += s->cluster_size) {
        unsigned kinds = others(s, at, QCOW2_META_NONE);

        if (likely(!kinds)) {
            continue;
        }
        if (at == 0 && what) {
            qcow2_signal_corruption(bs, true, "Preventing invalid allocation of %s at offset 0",
                                    what);
        } else {
            signal_overlap(bs, kinds);
        }
        return -EIO;
    }
    return 0;
}

/* @allowed: kinds, as bits, that may lie there however many claim it. */
static int coroutine_fn check_range(BlockDriverState *bs, Qcow2MetaKind kind, unsigned allowed,
                                    uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = offset + bytes;

    if (qatomic_read(&s->corrupt)) {
        return -EIO;
    }
    if (unlikely(s->overlap_unknown)) {
        return s->overlap_unknown;
    }
    for (uint64_t at = offset; at < end; at = qcow2_cluster_start(s, at) + s->cluster_size) {
        unsigned kinds;

        if (likely(qcow2_map_get(s, at) == kind)) {
            continue;
        }
        kinds = others(s, at, kind) & s->overlap_check & ~allowed;
        if (unlikely(kinds)) {
            signal_overlap(bs, kinds);
            return -EIO;
        }
    }
    return 0;
}

int coroutine_fn qcow2_co_check_write(BlockDriverState *bs, Qcow2MetaKind kind,
                                      uint64_t offset, uint64_t bytes)
{
    return check_range(bs, kind, 0, offset, bytes);
}

int coroutine_fn qcow2_co_check_repair(BlockDriverState *bs, Qcow2MetaKind kind,
                                       uint64_t offset, uint64_t bytes)
{
    return check_range(bs, kind, 1U << kind, offset, bytes);
}
