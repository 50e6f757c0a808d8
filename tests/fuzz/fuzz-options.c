/* SPDX-License-Identifier: MIT */
/*
 * Option strings, JSON and file names. The first byte says which. What has been parsed from either can be
 * printed as JSON, and reads back as the same values. (Not always as the same text: of keys in one bucket
 * of QEMU's hash table the newest comes first, see block/options-json.c.)
 */
#include <jansson.h>

#include "fuzz.h"

#include "../../block/node.h"

static void read_back(const BlockOptions *opts)
{
    g_autofree char *json = blk_options_to_json(opts);
    g_autofree char *again = NULL;
    g_autoptr(BlockOptions) copy = blk_options_new();
    json_t *before, *after;
    Error *err = NULL;

    if (!blk_options_parse_json(copy, json, &err)) {
        fuzz_fail("our own JSON does not read: %s: %s", error_get_pretty(err), json);
    }
    if (blk_options_count(copy) != blk_options_count(opts)) {
        fuzz_fail("%zu options become %zu: %s", blk_options_count(opts), blk_options_count(copy), json);
    }
    again = blk_options_to_json(copy);
    before = json_loads(json, 0, NULL);
    after = json_loads(again, 0, NULL);
    if (!json_equal(before, after)) {
        fuzz_fail("read back, %s becomes %s", json, again);
    }
    json_decref(before);
    json_decref(after);
}

static void take_values(BlockOptions *opts)
{
    bool flag;
    uint64_t number;

    blk_options_take_bool(opts, "a", &flag, NULL);
    blk_options_take_number(opts, "b", &number, NULL);
    blk_options_take_size(opts, "c", &number, NULL);
    blk_options_free(blk_options_extract(opts, "d"));
}

static void names(const char *text)
{
    const char *colon = strchr(text, '\n');
    g_autofree char *first = colon ? g_strndup(text, colon - text) : NULL;
    g_autofree char *full = NULL;

    g_free(path_directory(text));
    bdrv_find_protocol(text, true, NULL);
    bdrv_path_has_protocol(text);
    if (first) {
        full = bdrv_resolve_backing_filename(first, colon + 1, NULL);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    g_autoptr(BlockOptions) opts = blk_options_new();
    g_autofree char *text = size ? g_strndup((const char *)data + 1, size - 1) : NULL;
    bool good;

    if (!size) {
        return;
    }
    switch (*data % 4) {
    case 0: good = blk_options_parse(opts, text, NULL, NULL); break;
    case 1: good = blk_options_parse(opts, text, "implied", NULL); break;
    case 2: good = blk_options_parse_json(opts, text, NULL); break;
    default: names(text); return;
    }
    /* Strings of options are any bytes; JSON holds UTF-8. */
    if (good && *data % 4 == 2) {
        read_back(opts);
    } else if (good) {
        g_free(blk_options_to_json(opts));
    }
    take_values(opts);
}
