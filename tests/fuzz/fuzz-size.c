/* SPDX-License-Identifier: MIT */
/*
 * Numbers and sizes in strings. Whether or not anything may follow a number, it is the same number; a
 * size without a unit is what the integer parser says.
 */
#include "fuzz.h"

#include <math.h>

#include "qemu/cutils.h"

typedef int Parser(const char *s, const char **end, uint64_t *value);

/* With and without a look at the end. */
static void both_ways(Parser *parse, const char *s)
{
    uint64_t part = 1, whole = 2;
    const char *end = NULL;
    int ret = parse(s, &end, &part), ret_whole = parse(s, NULL, &whole);

    if (!end || end < s || end > s + strlen(s) || (ret == -EINVAL && end != s)) {
        fuzz_fail("'%s' ends outside of itself", s);
    }
    if (ret == 0 && !*end && (ret_whole || whole != part)) {
        fuzz_fail("'%s' is %" PRIu64 " as a part and %" PRIu64 " (%d) as a whole", s, part, whole,
                  ret_whole);
    }
    if (ret_whole == 0 && (ret || *end)) {
        fuzz_fail("'%s' is a whole number, but no part", s);
    }
}

static int parse_decimal(const char *s, const char **end, uint64_t *value)
{
    return qemu_strtou64(s, end, 10, value);
}

static int parse_any_base(const char *s, const char **end, uint64_t *value)
{
    return qemu_strtou64(s, end, 0, value);
}

static int parse_double(const char *s, const char **end, uint64_t *value)
{
    double d = 0;
    int ret = qemu_strtod_finite(s, end, &d);

    if (ret == 0 && !isfinite(d)) {
        fuzz_fail("'%s' is not finite", s);
    }
    memcpy(value, &d, sizeof(d));
    return ret;
}

static void digits_are_bytes(const char *s)
{
    uint64_t size, number;

    if (!*s || strspn(s, "0123456789") != strlen(s)) {
        return;
    }
    if (qemu_strtou64(s, NULL, 10, &number) == 0 &&
        (qemu_strtosz(s, NULL, &size) || size != number)) {
        fuzz_fail("'%s' is not so many bytes", s);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static Parser *const parsers[] = {
        qemu_strtosz, qemu_strtosz_MiB, qemu_strtosz_metric, parse_decimal, parse_any_base,
        parse_double,
    };
    g_autofree char *s = g_strndup((const char *)data, MIN(size, 512));
    char buf[32];

    for (size_t i = 0; i < G_N_ELEMENTS(parsers); i++) {
        both_ways(parsers[i], s);
    }
    digits_are_bytes(s);
    pstrcpy(buf, 1 + size % sizeof(buf), s);
    pstrcat(buf, sizeof(buf), s);
    if (strlen(buf) >= sizeof(buf)) {
        fuzz_fail("pstrcat() writes behind its buffer");
    }
    if (size >= 8) {
        uint64_t value;

        memcpy(&value, data, 8);
        g_free(size_to_str(value));
    }
}
