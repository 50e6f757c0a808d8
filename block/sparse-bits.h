/* SPDX-License-Identifier: MIT */
/*
 * A set of bits that costs memory only where it is mixed: a radix tree whose slots are empty
 * (all zeroes), full (all ones) or a node. So a bitmap of a large disk costs nothing until it is
 * used, and setting or clearing all of it is cheap. At worst it takes a bit for each bit and 2%.
 *
 * Bits from the size on are always zero. No locks: the caller's.
 */
#ifndef BLOCK_SPARSE_BITS_H
#define BLOCK_SPARSE_BITS_H

#include "qemu/osdep.h"

/* The most bits that a set may have: one for each sector of the largest image. */
#define SPARSE_BITS_MAX (INT64_C(1) << 54)

typedef struct SparseNode SparseNode;

typedef struct SparseBits {
    int64_t size;    /* bits, at most SPARSE_BITS_MAX */
    int64_t count;   /* of those that are set */
    unsigned levels; /* of nodes above the leaves */
    SparseNode *root;
} SparseBits;

/* All zero. */
void sparse_bits_init(SparseBits *b, int64_t size);
void sparse_bits_destroy(SparseBits *b);

/* Sets or clears @count bits from @first on, which must be inside. */
void sparse_bits_fill(SparseBits *b, int64_t first, int64_t count, bool value);
bool sparse_bits_get(const SparseBits *b, int64_t bit);
/* The first bit from @from on that is @value; the size if there is none. */
int64_t sparse_bits_next(const SparseBits *b, int64_t from, bool value);
/* New bits are zero. */
void sparse_bits_resize(SparseBits *b, int64_t size);

/*
 * Bits as bytes, the lowest first, from bit @first (a multiple of 64) on. What lies beyond the
 * end reads as zeroes, and is ignored by sparse_bits_or(), which adds bits to the set.
 */
void sparse_bits_to_bytes(const SparseBits *b, int64_t first, uint8_t *buf, size_t bytes);
void sparse_bits_or(SparseBits *b, int64_t first, const uint8_t *buf, size_t bytes);

#endif
