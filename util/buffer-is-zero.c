/* SPDX-License-Identifier: MIT */
/*
 * buffer_is_zero: data that is not zero mostly shows so in its first bytes, its last or
 * its middle, so these are looked at before anything else. What is left runs at the
 * speed of the memory: the ends are covered by unaligned loads that overlap the aligned
 * middle, so there are no loops over single bytes.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "buffer-is-zero.h"

/* Shorter ones do not repay the choice of a variant. */
#define VECTOR_MIN 256

static inline uint64_t load64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Two vectors of 16 bytes: SSE2 or NEON registers, or pairs of words elsewhere. */
typedef uint64_t Vec16 __attribute__((__vector_size__(16), __may_alias__));
typedef uint64_t Vec16u
    __attribute__((__vector_size__(16), __may_alias__, __aligned__(1)));

static inline bool vec16_nonzero(Vec16 v)
{
    return (v[0] | v[1]) != 0;
}

static bool check_vec16(const void *buf, size_t len)
{
    const char *start = buf, *end = start + len;
    const char *p = (const char *)QEMU_ALIGN_PTR_UP(start + 1, 16);
    const char *last = end - 128;
    Vec16 sum = *(const Vec16u *)start;

    for (; p <= last; p += 128) {
        const Vec16 *v = (const Vec16 *)(const void *)p;

        if (vec16_nonzero(sum)) {
            return false;
        }
        sum = (v[0] | v[1]) | (v[2] | v[3]) | ((v[4] | v[5]) | (v[6] | v[7]));
    }
    /* Fewer than 128 bytes are left; the last 128 contain them. */
    for (p = last; p < end; p += 16) {
        sum |= *(const Vec16u *)p;
    }
    return !vec16_nonzero(sum);
}

static bool always_usable(void)
{
    return true;
}

#if defined(__x86_64__)
#include <immintrin.h>

static bool avx2_usable(void)
{
    return __builtin_cpu_supports("avx2");
}

__attribute__((__target__("avx2"))) static bool check_avx2(const void *buf, size_t len)
{
    const char *start = buf, *end = start + len;
    const char *p = (const char *)QEMU_ALIGN_PTR_UP(start + 1, 32);
    const char *last = end - 256;
    __m256i sum = _mm256_loadu_si256((const __m256i *)buf);

    for (; p <= last; p += 256) {
        const __m256i *v = (const __m256i *)(const void *)p;

        if (!_mm256_testz_si256(sum, sum)) {
            return false;
        }
        sum = _mm256_or_si256(
            _mm256_or_si256(_mm256_or_si256(v[0], v[1]), _mm256_or_si256(v[2], v[3])),
            _mm256_or_si256(_mm256_or_si256(v[4], v[5]), _mm256_or_si256(v[6], v[7])));
    }
    for (p = last; p < end; p += 32) {
        sum = _mm256_or_si256(sum, _mm256_loadu_si256((const __m256i *)(const void *)p));
    }
    return _mm256_testz_si256(sum, sum);
}
#endif

const BufferIsZeroVariant buffer_is_zero_variants[] = {
#if defined(__x86_64__)
    { "avx2", avx2_usable, check_avx2 },
#endif
    { "vec16", always_usable, check_vec16 },
    { NULL, NULL, NULL },
};

static inline bool check_large(const void *buf, size_t len)
{
#if defined(__x86_64__)
    /* A test of a variable that libgcc has filled in; and the branch is always the same. */
    if (likely(avx2_usable())) {
        return check_avx2(buf, len);
    }
#endif
    return check_vec16(buf, len);
}

static bool check_small(const char *p, size_t len)
{
    uint64_t sum = 0;
    size_t i;

    if (len >= 8) {
        for (i = 0; i + 8 <= len; i += 8) {
            sum |= load64(p + i);
        }
        return (sum | load64(p + len - 8)) == 0;
    }
    if (len >= 4) {
        return (load32(p) | load32(p + len - 4)) == 0;
    }
    for (i = 0; i < len; i++) {
        sum |= (unsigned char)p[i];
    }
    return sum == 0;
}

bool buffer_is_zero(const void *buf, size_t len)
{
    const char *p = buf;

    if (len < VECTOR_MIN) {
        return check_small(p, len);
    }
    if (load64(p) | load64(p + len / 2) | load64(p + len - 8)) {
        return false;
    }
    return check_large(buf, len);
}
