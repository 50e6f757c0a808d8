/* SPDX-License-Identifier: MIT */
/* Strings and the numbers in them. No state. */
#include "qemu/osdep.h"
#include "qemu/cutils.h"

void pstrcpy(char *buf, int buf_size, const char *str)
{
    if (buf_size > 0) {
        g_strlcpy(buf, str, (gsize)buf_size);
    }
}

char *pstrcat(char *buf, int buf_size, const char *s)
{
    if (buf_size > 0) {
        g_strlcat(buf, s, (gsize)buf_size);
    }
    return buf;
}

void strpadcpy(char *buf, int buf_size, const char *str, char pad)
{
    size_t size = buf_size > 0 ? (size_t)buf_size : 0;
    size_t len = strnlen(str, size);

    memcpy(buf, str, len);
    memset(buf + len, pad, size - len);
}

static int skip_prefix(const char *str, const char *rest, bool matches, const char **ptr)
{
    if (matches && ptr) {
        *ptr = rest;
    }
    return matches;
}

int strstart(const char *str, const char *val, const char **ptr)
{
    size_t len = strlen(val);

    return skip_prefix(str, str + len, strncmp(str, val, len) == 0, ptr);
}

int stristart(const char *str, const char *val, const char **ptr)
{
    size_t len = strlen(val);

    return skip_prefix(str, str + len, g_ascii_strncasecmp(str, val, len) == 0, ptr);
}

/*
 * What all number functions do behind the conversion, which stopped at ep with the errno
 * value conv_err. Sets *endptr; returns 0, -EINVAL or -ERANGE.
 */
static int number_result(const char *nptr, const char *ep, const char **endptr,
                         int conv_err)
{
    if (endptr) {
        *endptr = ep;
    }
    if (ep == nptr || (!endptr && *ep)) {
        return -EINVAL;
    }
    return -conv_err;
}

static int no_number(const char *nptr, const char **endptr)
{
    if (endptr) {
        *endptr = nptr;
    }
    return -EINVAL;
}

int qemu_strtoi64(const char *nptr, const char **endptr, int base, int64_t *result)
{
    char *ep;

    if (!nptr) {
        *result = 0;
        return no_number(nptr, endptr);
    }
    errno = 0;
    *result = strtoll(nptr, &ep, base);
    return number_result(nptr, ep, endptr, errno == ERANGE ? ERANGE : 0);
}

int qemu_strtou64(const char *nptr, const char **endptr, int base, uint64_t *result)
{
    char *ep;

    if (!nptr) {
        *result = 0;
        return no_number(nptr, endptr);
    }
    errno = 0;
    *result = strtoull(nptr, &ep, base);
    return number_result(nptr, ep, endptr, errno == ERANGE ? ERANGE : 0);
}

/* Bring value into [min, max]; a number that did not fit is -ERANGE, unless it is worse. */
static int clamp(int64_t *value, int64_t min, int64_t max, int ret)
{
    if (*value < min || *value > max) {
        *value = *value < min ? min : max;
        return ret ? ret : -ERANGE;
    }
    return ret;
}

int qemu_strtoi(const char *nptr, const char **endptr, int base, int *result)
{
    int64_t value;
    int ret = qemu_strtoi64(nptr, endptr, base, &value);

    ret = clamp(&value, INT_MIN, INT_MAX, ret);
    *result = (int)value;
    return ret;
}

int qemu_strtol(const char *nptr, const char **endptr, int base, long *result)
{
    int64_t value;
    int ret = qemu_strtoi64(nptr, endptr, base, &value);

    ret = clamp(&value, LONG_MIN, LONG_MAX, ret);
    *result = (long)value;
    return ret;
}

/*
 * An unsigned number of fewer than 64 bits: a minus sign negates within these bits, as
 * strtoul does within its own.
 */
static int strtou_max(const char *nptr, const char **endptr, int base, uint64_t max,
                      uint64_t *result)
{
    int ret = qemu_strtou64(nptr, endptr, base, result);
    uint64_t magnitude = *result;
    bool negative;

    if (max == UINT64_MAX || *result <= max) {
        return ret;
    }
    negative = nptr[strspn(nptr, " \t\n\v\f\r")] == '-' && ret != -ERANGE;
    if (negative) {
        magnitude = -magnitude;
    }
    if (magnitude > max) {
        *result = max;
        return ret ? ret : -ERANGE;
    }
    *result = -magnitude & max;
    return ret;
}

int qemu_strtoui(const char *nptr, const char **endptr, int base, unsigned int *result)
{
    uint64_t value;
    int ret = strtou_max(nptr, endptr, base, UINT_MAX, &value);

    *result = (unsigned int)value;
    return ret;
}

int qemu_strtoul(const char *nptr, const char **endptr, int base, unsigned long *result)
{
    uint64_t value;
    int ret = strtou_max(nptr, endptr, base, ULONG_MAX, &value);

    *result = (unsigned long)value;
    return ret;
}

int qemu_strtod(const char *nptr, const char **endptr, double *result)
{
    char *ep;

    if (!nptr) {
        *result = 0;
        return no_number(nptr, endptr);
    }
    errno = 0;
    *result = g_ascii_strtod(nptr, &ep);
    return number_result(nptr, ep, endptr, errno == ERANGE ? ERANGE : 0);
}

int qemu_strtod_finite(const char *nptr, const char **endptr, double *result)
{
    const char *ep;
    int ret = qemu_strtod(nptr, &ep, result);

    /* Overflow gives infinity too, but is a number that is out of range. */
    if (ret != -ERANGE && !(*result - *result == 0)) {
        *result = 0;
        return no_number(nptr, endptr);
    }
    if (endptr) {
        *endptr = ep;
    } else if (ret != -EINVAL && *ep) {
        return -EINVAL;
    }
    return ret;
}

int parse_uint(const char *s, const char **endptr, int base, uint64_t *value)
{
    if (!s || s[strspn(s, " \t\n\v\f\r")] == '-') {
        *value = 0;
        return no_number(s, endptr);
    }
    return qemu_strtou64(s, endptr, base, value);
}

int parse_uint_full(const char *s, int base, uint64_t *value)
{
    int ret = parse_uint(s, NULL, base, value);

    if (ret == -EINVAL) {
        *value = 0;
    }
    return ret;
}

/* How many bytes the letter stands for; 0 when it is no unit. */
static uint64_t unit_bytes(char letter, uint64_t step)
{
    static const char letters[] = "BKMGTPE";
    const char *found = letter ? strchr(letters, g_ascii_toupper(letter)) : NULL;
    uint64_t bytes = 1;

    if (!found) {
        return 0;
    }
    for (; found > letters; found--) {
        bytes *= step;
    }
    return bytes;
}

/* The digits behind a decimal point as a part of one; *s moves behind them. */
static double parse_fraction(const char **s)
{
    size_t len = strspn(*s, "0123456789");
    /* More digits than a double knows do not change it. */
    char *text = g_strdup_printf("0.%.*s", (int)MIN(len, 40), *s);
    double fraction = g_ascii_strtod(text, NULL);

    g_free(text);
    *s += len;
    return fraction;
}

/* The whole of a size: 0, -EINVAL or -ERANGE; *ep is what follows. */
static int parse_size(const char *s, const char **ep, uint64_t default_unit, uint64_t step,
                      uint64_t *result)
{
    const char *start = s + strspn(s, " \t\n\v\f\r");
    bool hex = g_str_has_prefix(start, "0x") || g_str_has_prefix(start, "0X");
    double fraction = 0;
    uint64_t value, unit, part;
    bool has_fraction = false;
    int ret;

    if (!hex && !g_ascii_isdigit(start[*start == '+'])) {
        return -EINVAL;
    }
    /* There is a digit at least: 0, or -ERANGE. */
    ret = parse_uint(s, ep, hex ? 16 : 10, &value);
    if (**ep == '.') {
        if (hex) {
            return -EINVAL;
        }
        (*ep)++;
        fraction = parse_fraction(ep);
        has_fraction = fraction != 0;
    }

    unit = unit_bytes(**ep, step);
    if (unit) {
        (*ep)++;
    } else {
        unit = default_unit;
    }
    if (has_fraction && unit == 1) {
        return -EINVAL;
    }
    part = (uint64_t)(fraction * (double)unit + 0.5);
    if (ret == -ERANGE || __builtin_mul_overflow(value, unit, result) ||
        __builtin_add_overflow(*result, part, result)) {
        *result = UINT64_MAX;
        return -ERANGE;
    }
    return 0;
}

static int strtosz(const char *nptr, const char **end, uint64_t default_unit, uint64_t step,
                   uint64_t *result)
{
    const char *ep = nptr;
    int ret = nptr ? parse_size(nptr, &ep, default_unit, step, result) : -EINVAL;

    if (ret != -EINVAL && !end && *ep) {
        ret = -EINVAL;
    }
    if (ret == -EINVAL) {
        *result = 0;
        ep = nptr;
    }
    if (end) {
        *end = ep;
    }
    return ret;
}

int qemu_strtosz(const char *nptr, const char **end, uint64_t *result)
{
    return strtosz(nptr, end, 1, 1024, result);
}

int qemu_strtosz_MiB(const char *nptr, const char **end, uint64_t *result)
{
    return strtosz(nptr, end, 1024 * 1024, 1024, result);
}

int qemu_strtosz_metric(const char *nptr, const char **end, uint64_t *result)
{
    return strtosz(nptr, end, 1, 1000, result);
}

char *size_to_str(uint64_t val)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    double value = (double)val;
    size_t i = 0;

    /*
     * qemu-img changes to the next unit at 1000, and rounds behind: "1e+03 KiB" exists.
     * There is always a next one: no val is more than 16 EiB.
     */
    while (value >= 1000) {
        value /= 1024;
        i++;
    }
    return g_strdup_printf("%0.3g %sB", value, units[i]);
}
