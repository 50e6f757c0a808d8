/* SPDX-License-Identifier: MIT */
/* Numbers and sizes in strings, and sizes for people. */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"

typedef struct SizeCase {
    const char *text;
    int ret;
    uint64_t value;
} SizeCase;

static void sizes_are_read_as_qemu_img_reads_them(void)
{
    static const SizeCase cases[] = {
        { "0", 0, 0 },
        { "10", 0, 10 },
        { "010", 0, 10 },
        { " 5k", 0, 5 * KiB },
        { "+5k", 0, 5 * KiB },
        { "1b", 0, 1 },
        { "1B", 0, 1 },
        { "1K", 0, KiB },
        { "3M", 0, 3 * MiB },
        { "3g", 0, 3 * GiB },
        { "1T", 0, TiB },
        { "1p", 0, PiB },
        { "7E", 0, 7 * (uint64_t)EiB },
        { "15E", 0, 15 * (uint64_t)EiB },
        { "1.5k", 0, 1536 },
        { "1.1k", 0, 1126 },
        { "0.5k", 0, 512 },
        { "1.k", 0, KiB },
        { "1.", 0, 1 },
        { "1.0", 0, 1 },
        { "0.0000001k", 0, 0 },
        { "1.5T", 0, TiB + TiB / 2 },
        { "0x10", 0, 16 },
        { "0xfe", 0, 254 },
        { "0XfF", 0, 255 },
        { "0x", -EINVAL, 0 },
        { "+0x10", -EINVAL, 0 },
        { "0.00000000000000000000000000000000000000000000009E", 0, 0 },
        { "0.500000000000000000000000000000000000000000000000k", 0, 512 },
        { "18446744073709551615", 0, UINT64_MAX },
        { "18446744073709551616", -ERANGE, UINT64_MAX },
        { "16E", -ERANGE, UINT64_MAX },
        { "15.9999999999999999999999999E", -ERANGE, UINT64_MAX },
        { "99999999999999999999", -ERANGE, UINT64_MAX },
        { "", -EINVAL, 0 },
        { " ", -EINVAL, 0 },
        { "+", -EINVAL, 0 },
        { "k", -EINVAL, 0 },
        { ".5k", -EINVAL, 0 },
        { "1.5", -EINVAL, 0 },
        { "1.5B", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { " -1k", -EINVAL, 0 },
        { "-0", -EINVAL, 0 },
        { "--1", -EINVAL, 0 },
        { "+-1", -EINVAL, 0 },
        { "0x1.8", -EINVAL, 0 },
        { "1e3", -EINVAL, 0 },
        { "1.5e1k", -EINVAL, 0 },
        { "1kk", -EINVAL, 0 },
        { "1kB", -EINVAL, 0 },
        { "1,5k", -EINVAL, 0 },
        { "5x", -EINVAL, 0 },
        { "inf", -EINVAL, 0 },
        { "nan", -EINVAL, 0 },
        { NULL, -EINVAL, 0 },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t value = 0xbad;
        int ret = qemu_strtosz(cases[i].text, NULL, &value);

        if (ret != cases[i].ret || value != cases[i].value) {
            g_test_message("%s: %d, %" PRIu64, cases[i].text, ret, value);
            g_test_fail();
        }
    }
}

static void a_size_ends_where_its_unit_ends(void)
{
    const char *text = "1.5Mtail", *end;
    uint64_t value;

    g_assert_cmpint(qemu_strtosz(text, &end, &value), ==, 0);
    g_assert_cmpuint(value, ==, MiB + MiB / 2);
    g_assert_cmpstr(end, ==, "tail");

    g_assert_cmpint(qemu_strtosz_MiB("2", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2 * MiB);
    g_assert_cmpint(qemu_strtosz_MiB("2k", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2 * KiB);
    g_assert_cmpint(qemu_strtosz_metric("2.5k", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2500);

    text = "junk";
    g_assert_cmpint(qemu_strtosz(text, &end, &value), ==, -EINVAL);
    g_assert_true(end == text);
    g_assert_cmpint(qemu_strtosz("99E and more", &end, &value), ==, -ERANGE);
    g_assert_cmpstr(end, ==, " and more");
}

static void sizes_are_shown_as_qemu_img_shows_them(void)
{
    static const SizeCase cases[] = {
        { "0 B", 0, 0 },
        { "512 B", 0, 512 },
        { "999 B", 0, 999 },
        { "0.977 KiB", 0, 1000 },
        { "1 KiB", 0, KiB },
        { "1.5 KiB", 0, 1536 },
        { "64 KiB", 0, 64 * KiB },
        { "977 KiB", 0, 1000448 },
        { "1e+03 KiB", 0, 1023488 },
        { "0.977 MiB", 0, 1024000 },
        { "1 MiB", 0, MiB },
        { "100 MiB", 0, 100 * MiB },
        { "976 MiB", 0, 1023410176 },
        { "0.999 GiB", 0, 1072693248 },
        { "1 GiB", 0, GiB },
        { "11.5 GiB", 0, 12345678848 },
        { "1 TiB", 0, TiB },
        { "1 PiB", 0, PiB },
        { "16 EiB", 0, UINT64_MAX },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *text = size_to_str(cases[i].value);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void signed_numbers_keep_to_their_range(void)
{
    const char *end;
    int64_t i64;
    long l;
    int i;

    g_assert_cmpint(qemu_strtoi("123", NULL, 0, &i), ==, 0);
    g_assert_cmpint(i, ==, 123);
    g_assert_cmpint(qemu_strtoi(" -2147483648", NULL, 0, &i), ==, 0);
    g_assert_cmpint(i, ==, INT_MIN);
    g_assert_cmpint(qemu_strtoi("2147483648", NULL, 0, &i), ==, -ERANGE);
    g_assert_cmpint(i, ==, INT_MAX);
    g_assert_cmpint(qemu_strtoi("-2147483649", NULL, 0, &i), ==, -ERANGE);
    g_assert_cmpint(i, ==, INT_MIN);
    /* Too large for 64 bits as well, and too large with something behind it. */
    g_assert_cmpint(qemu_strtoi("99999999999999999999", NULL, 0, &i), ==, -ERANGE);
    g_assert_cmpint(i, ==, INT_MAX);
    g_assert_cmpint(qemu_strtoi("-4294967296x", NULL, 0, &i), ==, -EINVAL);
    g_assert_cmpint(i, ==, INT_MIN);
    g_assert_cmpint(qemu_strtoi("0x7f", NULL, 0, &i), ==, 0);
    g_assert_cmpint(i, ==, 127);
    g_assert_cmpint(qemu_strtoi("12x", NULL, 0, &i), ==, -EINVAL);
    g_assert_cmpint(qemu_strtoi("12x", &end, 0, &i), ==, 0);
    g_assert_cmpstr(end, ==, "x");
    g_assert_cmpint(qemu_strtoi("", &end, 0, &i), ==, -EINVAL);
    g_assert_cmpint(qemu_strtoi(NULL, &end, 0, &i), ==, -EINVAL);
    g_assert_null(end);

    g_assert_cmpint(qemu_strtoi64("-9223372036854775808", NULL, 10, &i64), ==, 0);
    g_assert_cmpint(i64, ==, INT64_MIN);
    g_assert_cmpint(qemu_strtoi64("9223372036854775808", NULL, 10, &i64), ==, -ERANGE);
    g_assert_cmpint(i64, ==, INT64_MAX);
    g_assert_cmpint(qemu_strtol("77", NULL, 8, &l), ==, 0);
    g_assert_cmpint(l, ==, 63);
}

static void unsigned_numbers_wrap_as_strtoul_does(void)
{
    const char *end;
    uint64_t u64 = 7;
    unsigned long ul;
    unsigned u;

    g_assert_cmpint(qemu_strtou64(NULL, &end, 0, &u64), ==, -EINVAL);
    g_assert_cmpuint(u64, ==, 0);
    g_assert_null(end);
    /* The sign of what did not fit into 64 bits does not wrap it. */
    g_assert_cmpint(qemu_strtoui("-99999999999999999999", NULL, 0, &u), ==, -ERANGE);
    g_assert_cmpuint(u, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("4294967296x", NULL, 0, &u), ==, -EINVAL);
    g_assert_cmpuint(u, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("4294967295", NULL, 0, &u), ==, 0);
    g_assert_cmpuint(u, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("4294967296", NULL, 0, &u), ==, -ERANGE);
    g_assert_cmpuint(u, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("-1", NULL, 0, &u), ==, 0);
    g_assert_cmpuint(u, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("-4294967296", NULL, 0, &u), ==, -ERANGE);
    g_assert_cmpint(qemu_strtoul("-1", NULL, 0, &ul), ==, 0);
    g_assert_cmpuint(ul, ==, ULONG_MAX);
    g_assert_cmpint(qemu_strtou64("-1", NULL, 0, &u64), ==, 0);
    g_assert_cmpuint(u64, ==, UINT64_MAX);
    g_assert_cmpint(qemu_strtou64("18446744073709551616", NULL, 0, &u64), ==, -ERANGE);
    g_assert_cmpuint(u64, ==, UINT64_MAX);
}

static void parse_uint_takes_no_minus(void)
{
    const char *text = " -1", *end;
    uint64_t u64 = 7;

    g_assert_cmpint(parse_uint(text, &end, 0, &u64), ==, -EINVAL);
    g_assert_true(end == text);
    g_assert_cmpuint(u64, ==, 0);
    g_assert_cmpint(parse_uint(NULL, &end, 0, &u64), ==, -EINVAL);
    g_assert_null(end);
    g_assert_cmpint(parse_uint("123xyz", &end, 0, &u64), ==, 0);
    g_assert_cmpuint(u64, ==, 123);
    g_assert_cmpstr(end, ==, "xyz");
    g_assert_cmpint(parse_uint_full("123xyz", 0, &u64), ==, -EINVAL);
    g_assert_cmpuint(u64, ==, 0);
    g_assert_cmpint(parse_uint_full("0x20", 0, &u64), ==, 0);
    g_assert_cmpuint(u64, ==, 32);
    g_assert_cmpint(parse_uint_full("18446744073709551616", 0, &u64), ==, -ERANGE);
}

static void floating_point_can_be_told_to_be_finite(void)
{
    const char *end;
    double d;

    g_assert_cmpint(qemu_strtod("1.5x", &end, &d), ==, 0);
    g_assert_cmpfloat(d, ==, 1.5);
    g_assert_cmpstr(end, ==, "x");
    g_assert_cmpint(qemu_strtod("inf", NULL, &d), ==, 0);
    g_assert_cmpint(qemu_strtod_finite("inf", NULL, &d), ==, -EINVAL);
    g_assert_cmpint(qemu_strtod_finite("nan", &end, &d), ==, -EINVAL);
    g_assert_cmpstr(end, ==, "nan");
    g_assert_cmpint(qemu_strtod_finite("1e999", NULL, &d), ==, -ERANGE);
    g_assert_cmpint(qemu_strtod_finite("2.5", NULL, &d), ==, 0);
    g_assert_cmpfloat(d, ==, 2.5);
    g_assert_cmpint(qemu_strtod_finite("2.5 ", NULL, &d), ==, -EINVAL);
    g_assert_cmpint(qemu_strtod_finite("2.5 ", &end, &d), ==, 0);
    g_assert_cmpstr(end, ==, " ");
    g_assert_cmpint(qemu_strtod_finite("x", NULL, &d), ==, -EINVAL);
    d = 1;
    g_assert_cmpint(qemu_strtod(NULL, &end, &d), ==, -EINVAL);
    g_assert_cmpfloat(d, ==, 0);
    g_assert_null(end);
}

static void strings_are_cut_to_fit(void)
{
    const char *rest;
    char buf[6];

    pstrcpy(buf, sizeof(buf), "abcdefgh");
    g_assert_cmpstr(buf, ==, "abcde");
    pstrcpy(buf, sizeof(buf), "ab");
    g_assert_cmpstr(pstrcat(buf, sizeof(buf), "cdefg"), ==, "abcde");
    strpadcpy(buf, sizeof(buf), "xy", ' ');
    g_assert_cmpmem(buf, 6, "xy    ", 6);
    strpadcpy(buf, sizeof(buf), "1234567", ' ');
    g_assert_cmpmem(buf, 6, "123456", 6);
    /* Without a buffer nothing is written, not even the 0. */
    pstrcpy(buf, 0, "x");
    pstrcpy(buf, -1, "x");
    g_assert_true(pstrcat(buf, 0, "x") == buf);
    strpadcpy(buf, -1, "x", ' ');
    g_assert_cmpmem(buf, 6, "123456", 6);

    g_assert_true(strstart("file:x", "file:", &rest));
    g_assert_cmpstr(rest, ==, "x");
    g_assert_false(strstart("FILE:x", "file:", &rest));
    g_assert_true(stristart("FILE:x", "file:", NULL));
}

static void words_are_counted_and_rounded(void)
{
    g_assert_cmpint(clz64(0), ==, 64);
    g_assert_cmpint(clz64(1), ==, 63);
    g_assert_cmpint(ctz32(0), ==, 32);
    g_assert_cmpint(ctz64(UINT64_C(1) << 40), ==, 40);
    g_assert_cmpint(cto64(7), ==, 3);
    g_assert_cmpuint(pow2ceil(0), ==, 1);
    g_assert_cmpuint(pow2ceil(513), ==, 1024);
    g_assert_cmpuint(pow2ceil(UINT64_C(1) << 63), ==, UINT64_C(1) << 63);
    g_assert_cmpuint(pow2ceil((UINT64_C(1) << 63) + 1), ==, 0);
    g_assert_cmpuint(pow2floor(1023), ==, 512);
    g_assert_cmpuint(pow2floor(0), ==, 0);
    g_assert_true(is_power_of_2(64) && !is_power_of_2(0) && !is_power_of_2(65));
    g_assert_cmpuint(muldiv64(UINT64_C(1) << 62, 10, 20), ==, UINT64_C(1) << 61);

    g_assert_cmpuint(ROUND_UP(UINT64_C(0x1ffffffff), 0x1000), ==, UINT64_C(0x200000000));
    g_assert_cmpuint(ROUND_DOWN(UINT64_C(0x1ffffffff), 0x1000u), ==, UINT64_C(0x1fffff000));
    g_assert_cmpuint(QEMU_ALIGN_UP(10, 3), ==, 12);
    g_assert_cmpuint(QEMU_ALIGN_DOWN(10, 3), ==, 9);
    g_assert_cmpuint(DIV_ROUND_UP(10, 3), ==, 4);
    g_assert_cmpint(MIN_NON_ZERO(0, 5), ==, 5);
    g_assert_cmpint(MIN_NON_ZERO(7, 5), ==, 5);
    g_assert_cmpint(MIN_NON_ZERO(7, 0), ==, 7);
}

static void min_and_max_evaluate_once(void)
{
    int i = 1, j = 5;

    g_assert_cmpint(MIN(i++, j++), ==, 1);
    g_assert_cmpint(i, ==, 2);
    g_assert_cmpint(j, ==, 6);
    g_assert_cmpint(MAX(MIN(i, j), MAX(1, 3)), ==, 3);
}

static void aligned_memory_is_aligned(void)
{
    size_t alignment;

    for (alignment = 1; alignment <= 1 << 20; alignment *= 2) {
        QEMU_AUTO_VFREE char *p = qemu_memalign(alignment, 100);

        g_assert_true(QEMU_PTR_IS_ALIGNED(p, alignment));
        memset(p, 1, 100);
    }
    errno = EXDEV;
    qemu_vfree(qemu_memalign(4096, 0));
    g_assert_cmpint(errno, ==, EXDEV);
    g_assert_true(is_power_of_2(qemu_real_host_page_size()));
    g_assert_cmpint(qemu_real_host_page_mask(), ==, -(intptr_t)qemu_real_host_page_size());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cutils/sizes are read as qemu-img reads them",
                    sizes_are_read_as_qemu_img_reads_them);
    g_test_add_func("/cutils/a size ends where its unit ends", a_size_ends_where_its_unit_ends);
    g_test_add_func("/cutils/sizes are shown as qemu-img shows them",
                    sizes_are_shown_as_qemu_img_shows_them);
    g_test_add_func("/cutils/signed numbers keep to their range",
                    signed_numbers_keep_to_their_range);
    g_test_add_func("/cutils/unsigned numbers wrap as strtoul does",
                    unsigned_numbers_wrap_as_strtoul_does);
    g_test_add_func("/cutils/parse_uint takes no minus", parse_uint_takes_no_minus);
    g_test_add_func("/cutils/floating point can be told to be finite",
                    floating_point_can_be_told_to_be_finite);
    g_test_add_func("/cutils/strings are cut to fit", strings_are_cut_to_fit);
    g_test_add_func("/osdep/words are counted and rounded", words_are_counted_and_rounded);
    g_test_add_func("/osdep/MIN and MAX evaluate once", min_and_max_evaluate_once);
    g_test_add_func("/osdep/aligned memory is aligned", aligned_memory_is_aligned);
    return g_test_run();
}
