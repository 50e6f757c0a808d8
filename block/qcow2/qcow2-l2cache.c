/* SPDX-License-Identifier: MIT */
/*
 * L2 slices in RAM: sets of eight slots, chosen by the low bits of the slice's number, so
 * that a cache as large as all tables together holds them without any conflict.
 *
 * A slot is free for something else when it is neither dirty nor being written nor
 * being loaded. When a set has no such slot, a write-back makes its dirty ones clean.
 */
#include "qcow2-l2cache.h"

#include <sys/mman.h>

#include "qcow2-map.h"
#include "qcow2-writeback.h"

int qcow2_l2cache_init(BDRVQcow2State *s, uint64_t bytes, Error **errp)
{
    Qcow2L2Cache *c = &s->l2;
    uint64_t slice_bytes = s->slice_words * 8ULL;
    uint64_t wanted = (uint64_t)s->l1_size << (s->l2_bits - s->slice_bits);
    uint64_t slots = pow2floor(MAX(bytes / slice_bytes, (uint64_t)QCOW2_L2_WAYS));

    slots = MIN(slots, pow2ceil(MAX(wanted, (uint64_t)QCOW2_L2_WAYS)));
    if (slots > UINT32_MAX / 2) {
        error_setg(errp, "l2-cache-size is too large");
        return -EINVAL;
    }
    c->nb_slots = slots;
    c->set_mask = slots / QCOW2_L2_WAYS - 1;
    c->data_bytes = slots * slice_bytes;
    /* Pages that no slice has come to are never touched. */
    c->data = mmap(NULL, c->data_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c->data == MAP_FAILED) {
        c->data = NULL;
        error_setg_errno(errp, ENOMEM, "Could not allocate the L2 cache");
        return -ENOMEM;
    }
    c->keys = g_try_new0(uint64_t, slots);
    c->slots = g_try_new0(Qcow2Slot, slots);
    if (!c->keys || !c->slots) {
        error_setg_errno(errp, ENOMEM, "Could not allocate the L2 cache");
        return -ENOMEM;
    }
    c->dirty = g_array_new(false, false, sizeof(unsigned));
    qemu_co_queue_init(&c->loaded);
    return 0;
}

void qcow2_l2cache_destroy(BDRVQcow2State *s)
{
    Qcow2L2Cache *c = &s->l2;

    if (c->data) {
        munmap(c->data, c->data_bytes);
    }
    g_free(c->keys);
    g_free(c->slots);
    if (c->dirty) {
        g_array_free(c->dirty, true);
    }
    memset(c, 0, sizeof(*c));
}

uint64_t qcow2_l2cache_host_offset(const BDRVQcow2State *s, uint64_t key)
{
    unsigned bits = s->l2_bits - s->slice_bits;
    uint64_t l1_index = key >> bits;
    uint64_t part = key & ((UINT64_C(1) << bits) - 1);
    uint64_t table = l1_index < s->l1_size ? s->l1[l1_index] & QCOW2_L1_OFFSET_MASK : 0;

    return table ? table + part * s->slice_words * 8 : 0;
}

/* Under meta. The slot with @key, or -1; *@loading: it is not there yet. */
static int find_locked(const Qcow2L2Cache *c, uint64_t key, bool *loading)
{
    unsigned set = ((unsigned)key & c->set_mask) * QCOW2_L2_WAYS;

    for (unsigned i = set; i < set + QCOW2_L2_WAYS; i++) {
        *loading = c->slots[i].loading && c->slots[i].load_key == key;
        if (*loading || c->keys[i] == key + 1) {
            return i;
        }
    }
    return -1;
}

/* Under meta. A slot of the key's set for something new, or -1; *@dirty: some are dirty. */
static int pick_victim(Qcow2L2Cache *c, uint64_t key, bool *dirty)
{
    unsigned set = ((unsigned)key & c->set_mask) * QCOW2_L2_WAYS;
    int found = -1;

    *dirty = false;
    for (unsigned i = set; i < set + QCOW2_L2_WAYS; i++) {
        Qcow2Slot *slot = &c->slots[i];

        *dirty |= slot->dirty || slot->writing;
        if (slot->dirty || slot->writing || slot->loading) {
            continue;
        }
        if (c->keys[i] == 0) {
            return i;
        }
        if (found < 0 || !qatomic_read(&slot->referenced)) {
            if (found >= 0 && !qatomic_read(&c->slots[found].referenced)) {
                continue;
            }
            found = i;
        }
    }
    for (unsigned i = set; found >= 0 && i < set + QCOW2_L2_WAYS; i++) {
        qatomic_set(&c->slots[i].referenced, false);
    }
    return found;
}

static void set_key(Qcow2L2Cache *c, unsigned slot, uint64_t value)
{
    qcow2_slot_change_begin(c, slot);
    qatomic_set(&c->keys[slot], value);
    qcow2_slot_change_end(c, slot);
}

static void fill_slot(BDRVQcow2State *s, unsigned slot, uint64_t key, const uint64_t *from)
{
    uint64_t *to = qcow2_slot_data(s, slot);

    qcow2_slot_change_begin(&s->l2, slot);
    for (unsigned i = 0; i < s->slice_words; i++) {
        qatomic_set(&to[i], GUINT64_FROM_BE(from[i]));
    }
    qatomic_set(&s->l2.keys[slot], key + 1);
    qatomic_set(&s->l2.slots[slot].referenced, true);
    qcow2_slot_change_end(&s->l2, slot);
}

/* Can a table be where the slice @key of it lies at @host? */
static bool coroutine_fn table_is_sound(BlockDriverState *bs, uint64_t key, uint64_t host)
{
    BDRVQcow2State *s = bs->opaque;
    unsigned bits = s->l2_bits - s->slice_bits;
    uint64_t part = key & ((UINT64_C(1) << bits) - 1);
    uint64_t table = host - part * s->slice_words * 8;

    if (qcow2_in_cluster(s, table)) {
        qcow2_signal_corruption(bs, true, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#"
                                PRIx64 ")", table, key >> bits);
        return false;
    }
    return true;
}

/* Called and returns with meta locked; the slot has been claimed. */
static int coroutine_fn load_slot(BlockDriverState *bs, uint64_t key, unsigned slot)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Slot *st = &s->l2.slots[slot];
    QEMU_AUTO_VFREE uint64_t *buf = NULL;
    int ret = 0;

    st->loading = true;
    st->load_key = key;
    set_key(&s->l2, slot, 0);
    do {
        uint64_t host = qcow2_l2cache_host_offset(s, key);

        st->load_again = false;
        qemu_mutex_unlock(&s->meta);
        if (!buf) {
            buf = qemu_try_blockalign(bs->file->bs, s->slice_words * 8);
        }
        if (!buf) {
            ret = -ENOMEM;
        } else if (!host || !table_is_sound(bs, key, host)) {
            ret = -EIO;
        } else {
            bdrv_co_debug_event(bs->file->bs, BLKDBG_L2_LOAD);
            ret = bdrv_co_pread(bs->file, host, s->slice_words * 8, buf, 0);
        }
        qemu_mutex_lock(&s->meta);
    } while (ret == 0 && st->load_again);
    if (ret == 0) {
        fill_slot(s, slot, key, buf);
    }
    st->loading = false;
    qemu_co_queue_restart_all(&s->l2.loaded);
    return ret;
}

int coroutine_fn qcow2_l2cache_load(BlockDriverState *bs, uint64_t key, bool *no_room)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    *no_room = false;
    qemu_mutex_lock(&s->meta);
    while (ret == 0) {
        bool loading, dirty;
        int slot = find_locked(&s->l2, key, &loading);

        if (slot >= 0 && !loading) {
            break;
        }
        if (loading) {
            qemu_co_queue_wait(&s->l2.loaded, &s->meta);
            continue;
        }
        slot = pick_victim(&s->l2, key, &dirty);
        if (slot >= 0) {
            ret = load_slot(bs, key, slot);
            break;
        }
        if (dirty) {
            qemu_mutex_unlock(&s->meta);
            ret = qcow2_co_writeback(bs);
            *no_room = ret < 0;
            qemu_mutex_lock(&s->meta);
        } else {
            qemu_co_queue_wait(&s->l2.loaded, &s->meta);
        }
    }
    qemu_mutex_unlock(&s->meta);
    return ret;
}

int coroutine_fn qcow2_l2cache_lock(BlockDriverState *bs, uint64_t key, unsigned *slot)
{
    BDRVQcow2State *s = bs->opaque;

    while (true) {
        bool loading, no_room;
        int found, ret;

        qemu_mutex_lock(&s->meta);
        found = find_locked(&s->l2, key, &loading);
        if (found >= 0 && !loading) {
            *slot = found;
            return 0;
        }
        qemu_mutex_unlock(&s->meta);
        ret = qcow2_l2cache_load(bs, key, &no_room);
        if (ret < 0) {
            return ret;
        }
    }
}

int coroutine_fn qcow2_l2cache_read_past(BlockDriverState *bs, uint64_t key, uint64_t *buf)
{
    BDRVQcow2State *s = bs->opaque;
    bool loading;
    uint64_t host;
    int slot, ret;

    qemu_mutex_lock(&s->meta);
    slot = find_locked(&s->l2, key, &loading);
    host = qcow2_l2cache_host_offset(s, key);
    qemu_mutex_unlock(&s->meta);
    if (slot >= 0) {
        return 1;
    }
    if (!host || !table_is_sound(bs, key, host)) {
        return -EIO;
    }
    bdrv_co_debug_event(bs->file->bs, BLKDBG_L2_LOAD);
    ret = bdrv_co_pread(bs->file, host, s->slice_words * 8, buf, 0);
    for (unsigned i = 0; ret == 0 && i < s->slice_words; i++) {
        buf[i] = GUINT64_FROM_BE(buf[i]);
    }
    return ret;
}

void qcow2_l2cache_fill(BDRVQcow2State *s, uint64_t key, const uint64_t *from)
{
    bool loading, dirty;

    if (find_locked(&s->l2, key, &loading) < 0) {
        int slot = pick_victim(&s->l2, key, &dirty);

        if (slot >= 0) {
            fill_slot(s, slot, key, from);
        }
    }
}

void qcow2_l2cache_forget(BDRVQcow2State *s, uint64_t l1_index)
{
    unsigned bits = s->l2_bits - s->slice_bits;

    for (uint64_t key = l1_index << bits; key < (l1_index + 1) << bits; key++) {
        bool loading;
        int slot = find_locked(&s->l2, key, &loading);

        if (slot < 0) {
            continue;
        }
        if (loading) {
            s->l2.slots[slot].load_again = true;
        } else {
            g_assert(!s->l2.slots[slot].dirty && !s->l2.slots[slot].writing);
            set_key(&s->l2, slot, 0);
        }
    }
}

void qcow2_l2cache_forget_all(BDRVQcow2State *s)
{
    for (unsigned i = 0; i < s->l2.nb_slots; i++) {
        const Qcow2Slot *slot = &s->l2.slots[i];

        g_assert(!slot->dirty && !slot->writing && !slot->loading);
        if (s->l2.keys[i]) {
            set_key(&s->l2, i, 0);
        }
    }
}
