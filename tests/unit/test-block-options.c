/* SPDX-License-Identifier: MIT */
/* BlockOptions: key=value texts, JSON, typed values. */
#include "qemu/osdep.h"
#include "block/block-options.h"

static BlockOptions *parse(const char *text, const char *implied)
{
    BlockOptions *o = blk_options_new();

    g_assert_true(blk_options_parse(o, text, implied, &error_abort));
    return o;
}

static void assert_keys(const BlockOptions *o, const char *keys)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (size_t i = 0; blk_options_key(o, i); i++) {
        g_string_append_printf(all, "%s%s=%s", i ? " " : "", blk_options_key(o, i),
                               blk_options_get(o, blk_options_key(o, i)));
    }
    g_assert_cmpstr(all->str, ==, keys);
}

static void test_map(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();
    g_autoptr(BlockOptions) copy = NULL;
    g_autofree char *taken = NULL;

    blk_options_set(o, "b", "1");
    blk_options_setf(o, "a", "%d", 2);
    blk_options_set_default(o, "a", "3");
    blk_options_set_default(o, "c", "4");
    blk_options_set(o, "b", "5");
    assert_keys(o, "b=5 a=2 c=4");
    blk_options_set(o, "a", blk_options_get(o, "a"));
    copy = blk_options_copy(o);
    blk_options_del(o, "nothing");
    taken = blk_options_take(o, "b");
    g_assert_cmpstr(taken, ==, "5");
    g_assert_null(blk_options_take(o, "b"));
    assert_keys(o, "a=2 c=4");
    assert_keys(copy, "b=5 a=2 c=4");
    blk_options_set(copy, "a", "new");
    blk_options_merge(o, copy, false);
    assert_keys(o, "a=2 c=4 b=5");
    blk_options_merge(o, copy, true);
    assert_keys(o, "a=new c=4 b=5");
    g_assert_cmpuint(blk_options_count(NULL), ==, 0);
    blk_options_free(NULL);
}

static void test_extract(void)
{
    g_autoptr(BlockOptions) o = parse("file.driver=x,filex=1,file.a.b=2,file=3", NULL);
    g_autoptr(BlockOptions) sub = blk_options_extract(o, "file");
    g_autoptr(BlockOptions) none = blk_options_extract(o, "backing");

    assert_keys(sub, "driver=x a.b=2");
    assert_keys(o, "filex=1 file=3");
    assert_keys(none, "");
}

static void test_text(void)
{
    static const struct {
        const char *text, *implied, *keys;
    } cases[] = {
        { "", NULL, "" },
        { "a=1,b=2", NULL, "a=1 b=2" },
        { "a=1,a=2", NULL, "a=2" },
        { "a=1,,2,b=", NULL, "a=1,2 b=" },
        { "a==,b=c=d", NULL, "a== b=c=d" },
        { "raw,x=1", "driver", "driver=raw x=1" },
        { "ra,,w", "driver", "driver=ra,w" },
        { "driver=raw", "driver", "driver=raw" },
        { "a=1,foo,nobar", NULL, "a=1 foo=on bar=off" },
        { "no", NULL, "no=on" },
        { "=3", NULL, "=3" },
        { "a=1,", NULL, "a=1" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockOptions) o = parse(cases[i].text, cases[i].implied);

        assert_keys(o, cases[i].keys);
    }
}

static void test_text_too_many(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(BlockOptions) o = blk_options_new();
    g_autoptr(GError) err = NULL;

    for (int i = 0; i < 5000; i++) {
        g_string_append_printf(text, "k%d=%d,", i, i);
    }
    g_assert_false(blk_options_parse(o, text->str, NULL, &err));
    g_assert_nonnull(err);
    g_assert_cmpuint(blk_options_count(o), ==, 0);
}

static void test_bool(void)
{
    g_autoptr(BlockOptions) o = parse("a=on,b=off,c=true,d=no,e=maybe", NULL);
    g_autoptr(GError) err = NULL;
    bool v = false;

    g_assert_cmpint(blk_options_take_bool(o, "a", &v, &error_abort), ==, 1);
    g_assert_true(v);
    g_assert_cmpint(blk_options_take_bool(o, "b", &v, &error_abort), ==, 1);
    g_assert_false(v);
    g_assert_cmpint(blk_options_take_bool(o, "c", &v, &error_abort), ==, 1);
    g_assert_true(v);
    g_assert_cmpint(blk_options_take_bool(o, "gone", &v, &error_abort), ==, 0);
    g_assert_true(v);
    g_assert_cmpint(blk_options_take_bool(o, "e", &v, &err), ==, -EINVAL);
    g_assert_cmpstr(err->message, ==, "Parameter 'e' expects 'on' or 'off'");
    assert_keys(o, "d=no");
}

static void test_size(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        { "0", true, 0 },
        { "1", true, 1 },
        { "1k", true, 1024 },
        { "1K", true, 1024 },
        { "3M", true, 3 << 20 },
        { "1.5G", true, 3ULL << 29 },
        { "2T", true, 2ULL << 40 },
        { "1P", true, 1ULL << 50 },
        { "15E", true, 15ULL << 60 },
        { "512b", true, 512 },
        { "0x100", true, 256 },
        { "18446744073709551615", true, UINT64_MAX },
        { "", false, 0 },
        { "-1", false, 0 },
        { " 1", true, 1 },
        { "1kk", false, 0 },
        { "16E", false, 0 },
        { "18446744073709551616", false, 0 },
        { "x", false, 0 },
        { "1.5", false, 0 },
        { "k", false, 0 },
        { "1 k", false, 0 },
        { "+1", true, 1 },
        { "99999999999E", false, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockOptions) o = blk_options_new();
        g_autoptr(GError) err = NULL;
        uint64_t value = 77;
        int ret;

        blk_options_set(o, "size", cases[i].text);
        ret = blk_options_take_size(o, "size", &value, &err);
        g_test_message("'%s'", cases[i].text);
        g_assert_cmpint(ret, ==, cases[i].ok ? 1 : -EINVAL);
        g_assert_cmpuint(value, ==, cases[i].ok ? cases[i].value : 77);
        g_assert_true(cases[i].ok == !err);
    }
}

static void test_number(void)
{
    g_autoptr(BlockOptions) o = parse("a=12,b=12k,c=-1,d=18446744073709551616", NULL);
    g_autoptr(GError) err = NULL;
    uint64_t v = 0;

    g_assert_cmpint(blk_options_take_number(o, "a", &v, &error_abort), ==, 1);
    g_assert_cmpuint(v, ==, 12);
    g_assert_cmpint(blk_options_take_number(o, "b", &v, &err), ==, -EINVAL);
    g_assert_cmpstr(err->message, ==, "Parameter 'b' expects a number");
    g_clear_error(&err);
    /* As strtoul has it, and QEMU. */
    g_assert_cmpint(blk_options_take_number(o, "c", &v, &error_abort), ==, 1);
    g_assert_cmpuint(v, ==, UINT64_MAX);
    g_assert_cmpint(blk_options_take_number(o, "d", &v, &err), ==, -EINVAL);
    g_assert_cmpstr(err->message, ==,
                    "Value '18446744073709551616' is too large for parameter 'd'");
}

/* --- JSON --- */

static void test_json(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();
    g_autofree char *json = NULL;
    static const char text[] = "{\"driver\": \"raw\", \"size\": 1024, \"ro\": true, "
                               "\"file\": {\"driver\": \"file\", \"x\": [\"a\", 2]}}";
    /* The order of QEMU's hash table. */
    static const char sorted[] = "{\"ro\": true, \"driver\": \"raw\", \"size\": 1024, "
                                 "\"file\": {\"x\": [\"a\", 2], \"driver\": \"file\"}}";

    g_assert_true(blk_options_parse_json(o, text, &error_abort));
    assert_keys(o, "driver=raw size=1024 ro=true file.driver=file file.x.0=a file.x.1=2");
    json = blk_options_to_json(o);
    g_assert_cmpstr(json, ==, sorted);
}

static void test_json_conflicts(void)
{
    g_autoptr(BlockOptions) o = parse("a=1,a.b=2,c.=3,=4", NULL);
    g_autofree char *json = NULL;

    blk_options_set(o, "bad", "\xff\xfe");
    json = blk_options_to_json(o);
    g_assert_nonnull(json);
    g_assert_nonnull(strstr(json, "\"a\": \"1\""));
    g_assert_nonnull(strstr(json, "\"a.b\": \"2\""));
    g_assert_true(g_utf8_validate(json, -1, NULL));
}

/* A key beside others that go on from it: whichever was set first, both are there when it is read back. */
static void test_json_key_above_others(void)
{
    static const char *const pairs[][2] = {
        { "{'a.b': 2, 'a': 1}", "{'a': 1, 'a.b': 2}" },
        { "{'x': {'y.z': 2, 'y': []}}", "{'x': {'y': [], 'y.z': 2}}" },
        { "{'x': {'y.z.0': 2, 'y': {}}}", "{'x': {'y': {}, 'y.z.0': 2}}" },
        { "{'l.0.b': 1, 'l': [2]}", "{'l': [2], 'l.0.b': 1}" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        for (unsigned k = 0; k < 2; k++) {
            g_autoptr(BlockOptions) o = blk_options_new(), copy = blk_options_new();
            g_autofree char *json = NULL;

            g_assert_true(blk_options_parse_json(o, pairs[i][k], &error_abort));
            g_assert_cmpuint(blk_options_count(o), ==, 2);
            json = blk_options_to_json(o);
            g_assert_true(blk_options_parse_json(copy, json, &error_abort));
            g_assert_cmpuint(blk_options_count(copy), ==, 2);
        }
    }
}

/* Two keys that are the same once their bytes are valid, one of them above the other's levels. */
static void test_json_invalid_keys(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();
    g_autofree char *json = NULL;

    g_assert_true(blk_options_parse(o, "\xff=1,\xfe.b.c.d=2", NULL, &error_abort));
    g_assert_cmpuint(blk_options_count(o), ==, 2);
    json = blk_options_to_json(o);
    g_assert_nonnull(strstr(json, "\"1\""));
    g_assert_nonnull(strstr(json, ".b.c.d\": \"2\""));
}

static void test_json_list_in_any_order(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();
    g_autofree char *json = NULL;

    g_assert_true(blk_options_parse_json(o, "{'a.2.c': 'x', 'a': [1, 2, {'b': true}]}", &error_abort));
    json = blk_options_to_json(o);
    g_assert_true(g_str_has_prefix(json, "{\"a\": [1, 2, {"));
}

static void test_json_quotes_and_numbers(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();

    g_assert_true(blk_options_parse_json(
        o, " {'a': 'it\\'s', 'b': \"\\u00e9\\ud83d\\ude00\", 'c': 1e3, 'd': 18446744073709551615,"
           " 'e': -0} ", &error_abort));
    assert_keys(o, "a=it's b=\303\251\360\237\230\200 c=1000 d=18446744073709551615 e=0");
}

static void test_json_null(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();
    g_autofree char *json = NULL;

    g_assert_true(blk_options_parse_json(o, "{'a': null, 'b': {}, 'c': []}", &error_abort));
    g_assert_cmpuint(blk_options_count(o), ==, 3);
    g_assert_true(blk_options_is_null(o, "a"));
    g_assert_false(blk_options_is_null(o, "b"));
    g_assert_null(blk_options_get(o, "b"));
    /* What has no value is not taken by anybody. */
    g_assert_null(blk_options_take(o, "c"));
    g_assert_cmpuint(blk_options_count(o), ==, 3);
    json = blk_options_to_json(o);
    g_assert_nonnull(strstr(json, "\"a\": null"));
    g_assert_nonnull(strstr(json, "\"c\": []"));
}

static void test_json_bad(void)
{
#define PARSE_ERROR "Could not parse the JSON options: JSON parse error, "
    static const char *const cases[][2] = {
        { "", "Could not parse the JSON options: Expecting a JSON value" },
        { "{", PARSE_ERROR "premature EOI" },
        { "[1]", "Invalid JSON object given" },
        { "1", "Invalid JSON object given" },
        { "{\"a\": }", PARSE_ERROR "expecting value" },
        { "{\"a\": 1} x", "Could not parse the JSON options: Expecting at most one JSON value" },
        { "{\"a\": 1, \"a\": 2}", PARSE_ERROR "duplicate key" },
        { "{\"a\": \"\\u0000\"}", PARSE_ERROR "\\u0000 is not a valid Unicode character" },
        { "{'a': '\\ud800'}", PARSE_ERROR "\\ud800 is not a valid Unicode character" },
        { "{'a': '\\u12'}", PARSE_ERROR "\\u12' is not a valid Unicode character" },
        { "{'a': '\\", PARSE_ERROR "stray ''\\'" },
        { "{'a': '\\x'}", PARSE_ERROR "invalid escape sequence in string" },
        { "{'a': '\xc3('}", PARSE_ERROR "invalid UTF-8 sequence in string" },
        { "{'a': b}", PARSE_ERROR "invalid keyword 'b'" },
        { "{b: 1}", PARSE_ERROR "invalid keyword 'b'" },
        { "{1: 1}", PARSE_ERROR "key is not a string in object" },
        { "{'a' 1}", PARSE_ERROR "missing : in object pair" },
        { "{'a': 1 1}", PARSE_ERROR "expected separator in dict" },
        { "{'a': [1 1]}", PARSE_ERROR "expected separator in list" },
        { "{'a': 01}", PARSE_ERROR "stray '01'" },
        { "{b: 1, #", PARSE_ERROR "stray '#'" },
        { "{'a': -", PARSE_ERROR "stray '-'" },
        { "{'a': -x}", PARSE_ERROR "stray '-x'" },
        { "{'a': 1.", PARSE_ERROR "stray '1.'" },
        { "{'a': 1.x}", PARSE_ERROR "stray '1.x'" },
        { "{'a': 1e", PARSE_ERROR "stray '1e'" },
        { "{'a': 1E+x}", PARSE_ERROR "stray '1E+x'" },
        { "{'a': '\xfe'}", PARSE_ERROR "stray ''\xfe'" },
        { "}", PARSE_ERROR "expecting value" },
        { "]", PARSE_ERROR "expecting value" },
        { "[}", PARSE_ERROR "expecting value" },
        { "{]", PARSE_ERROR "expecting value" },
        { "{'a'", PARSE_ERROR "premature EOI" },
        { "{'a':", PARSE_ERROR "premature EOI" },
        { "{'a': 1", PARSE_ERROR "premature EOI" },
        { "{'a': [", PARSE_ERROR "premature EOI" },
        { "{'a': [1", PARSE_ERROR "premature EOI" },
        { "{'\\x': 1}", PARSE_ERROR "invalid escape sequence in string" },
        { "{'\\x'}", PARSE_ERROR "invalid escape sequence in string" },
        { "{'a': '\\ud800x12345678'}", PARSE_ERROR "\\ud800 is not a valid Unicode character" },
        { "{'a': '\\ud800\\x5678'}", PARSE_ERROR "\\ud800 is not a valid Unicode character" },
        { "{'a': '\\ud800\\u0041'}", PARSE_ERROR "\\ud800 is not a valid Unicode character" },
        { "{'a': '\\ud800\\ue000'}", PARSE_ERROR "\\ud800 is not a valid Unicode character" },
        { "{'a': '\\udc00'}", PARSE_ERROR "\\udc00 is not a valid Unicode character" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockOptions) o = parse("keep=1", NULL);
        g_autoptr(GError) err = NULL;

        g_assert_false(blk_options_parse_json(o, cases[i][0], &err));
        g_assert_cmpstr(err->message, ==, cases[i][1]);
        assert_keys(o, "keep=1");
    }
}

static void test_json_escapes(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();

    g_assert_true(blk_options_parse_json(
        o, "{'a': '\\\"\\'\\\\\\/', 'b': '\\b\\f\\n\\r\\t', 'c': '\\ud83d\\ude00\\u00e4'}",
        &error_abort));
    g_assert_cmpstr(blk_options_get(o, "a"), ==, "\"'\\/");
    g_assert_cmpstr(blk_options_get(o, "b"), ==, "\b\f\n\r\t");
    g_assert_cmpstr(blk_options_get(o, "c"), ==, "\xf0\x9f\x98\x80\xc3\xa4");
}

/* What does not fit into 64 bits is a float. */
static void test_json_large_numbers(void)
{
    g_autoptr(BlockOptions) o = blk_options_new();

    g_assert_true(blk_options_parse_json(o,
                                         "{'a': -9223372036854775808, 'b': 18446744073709551615,"
                                         " 'c': 1e3, 'd': 25E-1, 'e': 2.5e+1,"
                                         " 'f': -99999999999999999999, 'g': 36893488147419103232}",
                                         &error_abort));
    assert_keys(o, "a=-9223372036854775808 b=18446744073709551615 c=1000 d=2.5 e=25"
                   " f=-1e+20 g=3.6893488147419103e+19");
}

static char *repeat(const char *text, int n)
{
    GString *s = g_string_new(NULL);

    while (n--) {
        g_string_append(s, text);
    }
    return g_string_free(s, false);
}

static void test_json_bounds(void)
{
    g_autofree char *open = repeat("{\"a\":", 100), *close = repeat("}", 100);
    g_autofree char *deep = g_strconcat(open, "1", close, NULL);
    g_autofree char *far = repeat("[", 1000000);
    g_autofree char *items = repeat("1,", 100000);
    g_autofree char *many = g_strconcat("{\"a\": [", items, "1]}", NULL);
    g_autofree char *spaces = repeat(" ", 2000000);
    g_autofree char *large = g_strconcat("{", spaces, "}", NULL);
    const char *cases[] = { deep, far, many, large };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockOptions) o = blk_options_new();
        g_autoptr(GError) err = NULL;

        g_assert_false(blk_options_parse_json(o, cases[i], &err));
        g_assert_nonnull(err);
    }
}

/* What is left of a key with more levels than a reader takes stays dotted, and reads as the same key. */
static void test_json_deep_key(void)
{
    for (unsigned dots = 20; dots < 80; dots++) {
        g_autoptr(BlockOptions) o = blk_options_new();
        g_autoptr(BlockOptions) copy = blk_options_new();
        g_autofree char *key = g_strnfill(dots, '.');
        g_autofree char *text = g_strdup_printf("a%sb=1", key);
        g_autofree char *json = NULL;
        g_autofree char *again = NULL;

        g_assert_true(blk_options_parse(o, text, NULL, &error_abort));
        json = blk_options_to_json(o);
        g_assert_true(blk_options_parse_json(copy, json, &error_abort));
        again = blk_options_to_json(copy);
        g_assert_cmpstr(json, ==, again);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/map", test_map);
    g_test_add_func("/options/extract", test_extract);
    g_test_add_func("/options/text", test_text);
    g_test_add_func("/options/text/too-many", test_text_too_many);
    g_test_add_func("/options/bool", test_bool);
    g_test_add_func("/options/size", test_size);
    g_test_add_func("/options/number", test_number);
    g_test_add_func("/options/json", test_json);
    g_test_add_func("/options/json/conflicts", test_json_conflicts);
    g_test_add_func("/options/json/a-key-above-others-keeps-its-value", test_json_key_above_others);
    g_test_add_func("/options/json/keys-that-are-not-utf-8-meet", test_json_invalid_keys);
    g_test_add_func("/options/json/a-list-in-any-order-is-one", test_json_list_in_any_order);
    g_test_add_func("/options/json/quotes-and-numbers", test_json_quotes_and_numbers);
    g_test_add_func("/options/json/null", test_json_null);
    g_test_add_func("/options/json/bad", test_json_bad);
    g_test_add_func("/options/json/escapes", test_json_escapes);
    g_test_add_func("/options/json/large-numbers", test_json_large_numbers);
    g_test_add_func("/options/json/deep-key-reads-back", test_json_deep_key);
    g_test_add_func("/options/json/bounds", test_json_bounds);
    return g_test_run();
}
