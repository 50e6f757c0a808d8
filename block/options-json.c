/* SPDX-License-Identifier: MIT */
/*
 * BlockOptions to JSON: dotted keys become nested objects and lists. Where QEMU prints JSON,
 * keys stand in the order of its hash table; so do ours.
 */
#include "qemu/osdep.h"
#include <jansson.h>
#include "options-internal.h"

/*
 * The order of QEMU's hash table of 512 buckets (TDB's hash function), by which the order of
 * keys in its output can be told.
 */
unsigned blk_options_json_rank(const char *key)
{
    uint32_t hash = UINT32_C(0x238f13af) * (uint32_t)strlen(key);

    for (size_t i = 0; key[i]; i++) {
        hash += (uint32_t)(uint8_t)key[i] << (i * 5 % 24);
    }
    return (UINT32_C(1103515243) * hash + 12345) % 512;
}

/* File names need not be UTF-8, JSON must be: what is not is replaced. */
static json_t *json_text(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    return json_string(valid);
}

json_t *options_entry_to_json(const Entry *e)
{
    json_t *value = NULL;

    if (e->kind != VALUE_STRING) {
        value = json_loads(e->value, JSON_DECODE_ANY, NULL);
    }
    return value ? value : json_text(e->value);
}

/*
 * Puts @e where its dots say, as deep as a reader goes: what remains of a longer key stays dotted, which
 * reads the same. A value may be an empty object or list, a level of its own. False: a part of the path
 * is a value already.
 */
static bool nest(json_t *root, const Entry *e)
{
    g_auto(GStrv) parts = g_strsplit(e->key, ".", OPTIONS_MAX_DEPTH - 1);
    json_t *node = root;
    size_t i;

    for (i = 0; parts[i] && parts[i + 1]; i++) {
        json_t *next = json_object_get(node, parts[i]);

        if (!next) {
            next = json_object();
            if (json_object_set_new(node, parts[i], next) < 0) {
                return false;
            }
        } else if (!json_is_object(next)) {
            return false;
        }
        node = next;
    }
    if (!parts[i] || json_object_get(node, parts[i])) {
        return false;
    }
    return json_object_set_new(node, parts[i], options_entry_to_json(e)) == 0;
}

typedef struct Member {
    const char *name;
    json_t *value; /* borrowed */
    unsigned rank;
    size_t index;
} Member;

static int compare_members(const void *pa, const void *pb)
{
    const Member *a = pa, *b = pb;

    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    return a->index > b->index ? -1 : 1; /* a bucket's newest comes first */
}

/*
 * A copy whose objects have their keys in order, and where {"0": a, "1": b} is a list again. Not the
 * outermost (@root) of options: that is read as an object.
 */
static json_t *tidy(json_t *value, bool root)
{
    size_t n = json_object_size(value);
    g_autofree Member *members = g_new(Member, n);
    bool list = n > 0 && !root;
    const char *name;
    json_t *item, *copy;
    size_t i = 0;

    if (!json_is_object(value)) {
        return json_incref(value);
    }
    json_object_foreach(value, name, item)
    {
        g_autofree char *index = g_strdup_printf("%zu", i);

        list = list && !strcmp(name, index);
        members[i] = (Member){ name, item, blk_options_json_rank(name), i };
        i++;
    }
    copy = list ? json_array() : json_object();
    if (!list && n) {
        qsort(members, n, sizeof(*members), compare_members);
    }
    for (i = 0; i < n; i++) {
        if (list) {
            json_array_append_new(copy, tidy(members[i].value, false));
        } else {
            json_object_set_new(copy, members[i].name, tidy(members[i].value, false));
        }
    }
    return copy;
}

char *options_json_print(json_t *value)
{
    json_t *sorted = tidy(value, true);
    char *text = json_dumps(sorted, JSON_ENSURE_ASCII);
    char *result = g_strdup(text);

    free(text);
    json_decref(sorted);
    return result;
}

char *blk_options_to_json(const BlockOptions *opts)
{
    json_t *root = json_object();
    char *result;

    for (size_t i = 0; i < blk_options_count(opts); i++) {
        const Entry *e = options_entry(opts, i);

        if (!nest(root, e)) {
            g_autofree char *key = g_utf8_make_valid(e->key, -1);

            json_object_set_new(root, key, options_entry_to_json(e));
        }
    }
    result = options_json_print(root);
    json_decref(root);
    return result;
}
