/* SPDX-License-Identifier: MIT */
/* Bit masks, and bits of an array of unsigned long. Nothing here is atomic unless named so. */
#ifndef QEMU_BITOPS_H
#define QEMU_BITOPS_H

#include <stdint.h>

#include "qemu/atomic.h"
#include "qemu/host-utils.h"

#define BITS_PER_BYTE 8
#define BITS_PER_LONG ((int)(sizeof(unsigned long) * BITS_PER_BYTE))

#define BIT(nr)      (1UL << (nr))
#define BIT_ULL(nr)  (1ULL << (nr))
#define BIT_MASK(nr) (1UL << ((nr) % (unsigned)BITS_PER_LONG))
#define BIT_WORD(nr) ((nr) / (unsigned long)BITS_PER_LONG)
#define BITS_TO_LONGS(nr) (((nr) + BITS_PER_LONG - 1) / BITS_PER_LONG)

/* length ones, the lowest at bit shift; length is 1 to 64. */
#define MAKE_64BIT_MASK(shift, length) (((~0ULL) >> (64 - (length))) << (shift))

static inline void set_bit(long nr, unsigned long *addr)
{
    addr[BIT_WORD(nr)] |= BIT_MASK((unsigned long)nr);
}

static inline void set_bit_atomic(long nr, unsigned long *addr)
{
    qatomic_or(addr + BIT_WORD(nr), BIT_MASK((unsigned long)nr));
}

static inline void clear_bit(long nr, unsigned long *addr)
{
    addr[BIT_WORD(nr)] &= ~BIT_MASK((unsigned long)nr);
}

static inline int test_bit(long nr, const unsigned long *addr)
{
    return (addr[BIT_WORD(nr)] & BIT_MASK((unsigned long)nr)) != 0;
}

static inline void change_bit(long nr, unsigned long *addr)
{
    addr[BIT_WORD(nr)] ^= BIT_MASK((unsigned long)nr);
}

/* What the bit was before: 0 or not. */
static inline int test_and_set_bit(long nr, unsigned long *addr)
{
    int old = test_bit(nr, addr);

    set_bit(nr, addr);
    return old;
}

static inline int test_and_clear_bit(long nr, unsigned long *addr)
{
    int old = test_bit(nr, addr);

    clear_bit(nr, addr);
    return old;
}

static inline int test_and_change_bit(long nr, unsigned long *addr)
{
    int old = test_bit(nr, addr);

    change_bit(nr, addr);
    return old;
}

/* The first bit from offset on that differs from those of flip; size when there is none. */
static inline unsigned long find_next_bit_but_(const unsigned long *addr, unsigned long size,
                                               unsigned long offset, unsigned long flip)
{
    unsigned long bit = offset;

    while (bit < size) {
        unsigned long word = (addr[BIT_WORD(bit)] ^ flip) >> (bit % (unsigned)BITS_PER_LONG);

        if (word) {
            bit += (unsigned long)__builtin_ctzl(word);
            return bit < size ? bit : size;
        }
        bit = (BIT_WORD(bit) + 1) * (unsigned long)BITS_PER_LONG;
    }
    return size;
}

/* The first bit that is 1 (or 0), from bit offset on, below size; size when there is none. */
static inline unsigned long find_next_bit(const unsigned long *addr, unsigned long size,
                                          unsigned long offset)
{
    return find_next_bit_but_(addr, size, offset, 0);
}

static inline unsigned long find_next_zero_bit(const unsigned long *addr, unsigned long size,
                                               unsigned long offset)
{
    return find_next_bit_but_(addr, size, offset, ~0UL);
}

static inline unsigned long find_first_bit(const unsigned long *addr, unsigned long size)
{
    return find_next_bit(addr, size, 0);
}

static inline unsigned long find_first_zero_bit(const unsigned long *addr, unsigned long size)
{
    return find_next_zero_bit(addr, size, 0);
}

/* The last bit that is 1, below size; size when there is none. */
static inline unsigned long find_last_bit(const unsigned long *addr, unsigned long size)
{
    unsigned long bit = size;

    while (bit > 0) {
        unsigned long top = (bit - 1) % (unsigned)BITS_PER_LONG;
        unsigned long word = addr[BIT_WORD(bit - 1)] & (~0UL >> (BITS_PER_LONG - 1 - (int)top));

        if (word) {
            return BIT_WORD(bit - 1) * (unsigned long)BITS_PER_LONG +
                   (unsigned long)(BITS_PER_LONG - 1 - __builtin_clzl(word));
        }
        bit = BIT_WORD(bit - 1) * (unsigned long)BITS_PER_LONG;
    }
    return size;
}

/* length bits of value from bit start up; length is 1 to the width. */
static inline uint32_t extract32(uint32_t value, int start, int length)
{
    return (value >> start) & (UINT32_MAX >> (32 - length));
}

static inline uint64_t extract64(uint64_t value, int start, int length)
{
    return (value >> start) & (UINT64_MAX >> (64 - length));
}

/* The same with the highest of those bits as the sign. */
static inline int32_t sextract32(uint32_t value, int start, int length)
{
    return (int32_t)(value << (32 - length - start)) >> (32 - length);
}

static inline int64_t sextract64(uint64_t value, int start, int length)
{
    return (int64_t)(value << (64 - length - start)) >> (64 - length);
}

/* value with those bits replaced by the low bits of field. */
static inline uint32_t deposit32(uint32_t value, int start, int length, uint32_t field)
{
    uint32_t mask = (UINT32_MAX >> (32 - length)) << start;

    return (value & ~mask) | ((field << start) & mask);
}

static inline uint64_t deposit64(uint64_t value, int start, int length, uint64_t field)
{
    uint64_t mask = (UINT64_MAX >> (64 - length)) << start;

    return (value & ~mask) | ((field << start) & mask);
}

static inline uint32_t rol32(uint32_t word, unsigned shift)
{
    return (word << (shift & 31)) | (word >> ((32 - shift) & 31));
}

static inline uint32_t ror32(uint32_t word, unsigned shift)
{
    return (word >> (shift & 31)) | (word << ((32 - shift) & 31));
}

static inline uint64_t rol64(uint64_t word, unsigned shift)
{
    return (word << (shift & 63)) | (word >> ((64 - shift) & 63));
}

static inline uint64_t ror64(uint64_t word, unsigned shift)
{
    return (word >> (shift & 63)) | (word << ((64 - shift) & 63));
}

#endif
