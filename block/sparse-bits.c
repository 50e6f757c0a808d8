/* SPDX-License-Identifier: MIT */
/* See the header. A slot that has become uniform loses its node at once. */
#include "sparse-bits.h"

#include "qemu/host-utils.h"

#define LEAF_SHIFT 15U /* log2 of the bits of a leaf */
#define FAN_SHIFT  9U  /* log2 of the slots of a node */
#define FAN        (1U << FAN_SHIFT)

struct SparseNode {
    int64_t count;
    union {
        uint64_t word[FAN];     /* level 0 */
        SparseNode *child[FAN]; /* above */
    };
};

QEMU_BUILD_BUG_ON(FAN * 64 != 1U << LEAF_SHIFT);

/* A slot that is all ones. */
static SparseNode full;

static int64_t capacity(unsigned level)
{
    return INT64_C(1) << (LEAF_SHIFT + FAN_SHIFT * level);
}

static void free_slot(SparseNode *n, unsigned level)
{
    if (!n || n == &full) {
        return;
    }
    for (unsigned i = 0; level && i < FAN; i++) {
        free_slot(n->child[i], level - 1);
    }
    g_free(n);
}

static unsigned levels_for(int64_t size)
{
    unsigned levels = 0;

    while (capacity(levels) < size) {
        levels++;
    }
    return levels;
}

void sparse_bits_init(SparseBits *b, int64_t size)
{
    g_assert(size >= 0 && size <= SPARSE_BITS_MAX);
    *b = (SparseBits){ .size = size, .levels = levels_for(size) };
}

void sparse_bits_destroy(SparseBits *b)
{
    free_slot(b->root, b->levels);
    b->root = NULL;
    b->count = 0;
}

/* --- changes --- */

static int64_t slot_count(const SparseNode *n, unsigned level)
{
    return n == &full ? capacity(level) : n ? n->count : 0;
}

/* A uniform slot becomes a node that says the same. */
static SparseNode *expand(SparseNode *uniform, unsigned level)
{
    SparseNode *n = g_new0(SparseNode, 1);

    n->count = slot_count(uniform, level);
    if (uniform && level == 0) {
        memset(n->word, 0xff, sizeof(n->word));
    }
    for (unsigned i = 0; uniform && level && i < FAN; i++) {
        n->child[i] = &full;
    }
    return n;
}

static void collapse(SparseNode **slot, unsigned level)
{
    SparseNode *n = *slot;

    if (n->count == 0 || n->count == capacity(level)) {
        *slot = n->count ? &full : NULL;
        free_slot(n, level);
    }
}

static uint64_t word_mask(unsigned first, unsigned last)
{
    return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

static void fill_leaf(SparseNode *n, unsigned first, unsigned last, bool value)
{
    for (unsigned w = first / 64; w <= last / 64; w++) {
        uint64_t mask = word_mask(w == first / 64 ? first % 64 : 0,
                                  w == last / 64 ? last % 64 : 63);
        uint64_t new = value ? n->word[w] | mask : n->word[w] & ~mask;

        n->count += ctpop64(new) - ctpop64(n->word[w]);
        n->word[w] = new;
    }
}

/* Bits @first to @last, counted from the start of the slot. */
static void fill_slot(SparseNode **slot, unsigned level, int64_t first, int64_t last, bool value)
{
    SparseNode *n = *slot;

    if (n == (value ? &full : NULL)) {
        return;
    }
    if (first == 0 && last == capacity(level) - 1) {
        free_slot(n, level);
        *slot = value ? &full : NULL;
        return;
    }
    if (!n || n == &full) {
        *slot = n = expand(n, level);
    }
    if (level == 0) {
        fill_leaf(n, first, last, value);
    } else {
        int64_t below = capacity(level - 1);

        for (int64_t i = first / below; i <= last / below; i++) {
            int64_t from = i == first / below ? first % below : 0;
            int64_t to = i == last / below ? last % below : below - 1;
            int64_t before = slot_count(n->child[i], level - 1);

            fill_slot(&n->child[i], level - 1, from, to, value);
            n->count += slot_count(n->child[i], level - 1) - before;
        }
    }
    collapse(slot, level);
}

void sparse_bits_fill(SparseBits *b, int64_t first, int64_t count, bool value)
{
    g_assert(first >= 0 && count >= 0 && count <= b->size && first <= b->size - count);
    if (count) {
        fill_slot(&b->root, b->levels, first, first + count - 1, value);
        b->count = slot_count(b->root, b->levels);
    }
}

void sparse_bits_resize(SparseBits *b, int64_t size)
{
    unsigned levels = levels_for(size);

    g_assert(size >= 0 && size <= SPARSE_BITS_MAX);
    if (size < b->size) {
        sparse_bits_fill(b, size, b->size - size, false);
    }
    b->size = size;
    /* A smaller set keeps its height; the empty slots at the end cost nothing. */
    while (b->levels < levels) {
        if (b->root) {
            SparseNode *n = expand(NULL, b->levels + 1);

            n->count = slot_count(b->root, b->levels);
            n->child[0] = b->root;
            b->root = n;
        }
        b->levels++;
    }
}

/* --- questions --- */

bool sparse_bits_get(const SparseBits *b, int64_t bit)
{
    const SparseNode *n = b->root;

    g_assert(bit >= 0 && bit < b->size);
    for (unsigned level = b->levels; n && n != &full; level--) {
        if (level == 0) {
            return n->word[bit / 64] >> (bit % 64) & 1;
        }
        n = n->child[bit / capacity(level - 1)];
        bit %= capacity(level - 1);
    }
    return n == &full;
}

/* Within the slot, from @from on; its capacity when there is none. */
static int64_t next_in_slot(const SparseNode *n, unsigned level, int64_t from, bool value)
{
    int64_t below;

    if (!n || n == &full) {
        return (n == &full) == value ? from : capacity(level);
    }
    if (level == 0) {
        uint64_t ignore = UINT64_MAX << from % 64;

        for (unsigned w = from / 64; w < FAN; w++, ignore = UINT64_MAX) {
            uint64_t found = (value ? n->word[w] : ~n->word[w]) & ignore;

            if (found) {
                return w * 64 + ctz64(found);
            }
        }
        return capacity(0);
    }
    below = capacity(level - 1);
    for (int64_t i = from / below, at = from % below; i < FAN; i++, at = 0) {
        int64_t found = next_in_slot(n->child[i], level - 1, at, value);

        if (found < below) {
            return i * below + found;
        }
    }
    return capacity(level);
}

int64_t sparse_bits_next(const SparseBits *b, int64_t from, bool value)
{
    g_assert(from >= 0 && from <= b->size);
    return from == b->size ? from
                           : MIN(next_in_slot(b->root, b->levels, from, value), b->size);
}

/* --- bytes --- */

/* The leaf, or uniform slot, that holds @bit. */
static const SparseNode *leaf_of(const SparseBits *b, int64_t bit)
{
    const SparseNode *n = b->root;

    for (unsigned level = b->levels; level && n && n != &full; level--) {
        n = n->child[bit / capacity(level - 1)];
        bit %= capacity(level - 1);
    }
    return n;
}

/* How many of @bytes from @bit on lie in its leaf, as far as the tree reaches. */
static size_t bytes_in_leaf(const SparseBits *b, int64_t bit, size_t bytes)
{
    int64_t left = bit < capacity(b->levels) ? capacity(0) - bit % capacity(0) : INT64_MAX;

    return MIN(bytes, (uint64_t)left / 8);
}

void sparse_bits_to_bytes(const SparseBits *b, int64_t first, uint8_t *buf, size_t bytes)
{
    g_assert(first >= 0 && first % 64 == 0);
    while (bytes) {
        size_t n = bytes_in_leaf(b, first, bytes);
        const SparseNode *leaf = first < capacity(b->levels) ? leaf_of(b, first) : NULL;

        if (!leaf || leaf == &full) {
            memset(buf, leaf ? 0xff : 0, n);
        } else {
            unsigned w = first % capacity(0) / 64;

            for (size_t done = 0; done < n; done += 8, w++) {
                uint64_t word = GUINT64_TO_LE(leaf->word[w]);

                memcpy(buf + done, &word, MIN(n - done, sizeof(word)));
            }
        }
        buf += n;
        bytes -= n;
        first += n * 8;
    }
}

void sparse_bits_or(SparseBits *b, int64_t first, const uint8_t *buf, size_t bytes)
{
    int64_t total = MIN(b->size - first, (int64_t)bytes * 8), at = 0;

    /* Runs of ones, a word at a time where nothing is set. */
    g_assert(first >= 0 && first % 64 == 0);
    while (at < total) {
        uint64_t word = 0;
        unsigned from, run;

        memcpy(&word, buf + at / 64 * 8, MIN(bytes - at / 64 * 8, sizeof(word)));
        word = GUINT64_FROM_LE(word) >> at % 64;
        from = ctz64(word);
        if (from == 64) {
            at = (at / 64 + 1) * 64;
            continue;
        }
        run = MIN(cto64(word >> from), (int)(64 - at % 64 - from));
        at += from;
        if (at < total) {
            sparse_bits_fill(b, first + at, MIN(run, total - at), true);
        }
        at += run;
    }
}
