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
 * Puts @e where its dots say. What remains of the key stays dotted, which reads the same, where a reader goes
 * no deeper, and where a level would take the place of a value ("a" = 1 beside "a.b" = 2). So it
 * does not matter which of the keys comes first. @keys: all of them, as JSON can hold them.
 */
static void nest(json_t *root, GHashTable *keys, const Entry *e)
{
    g_autofree char *key = g_utf8_make_valid(e->key, -1);
    const char *part = key, *dot;
    json_t *node = root;

    for (int depth = 0; depth < OPTIONS_MAX_DEPTH - 2 && (dot = strchr(part, '.')); depth++) {
        g_autofree char *above = g_strndup(key, dot - key);
        const char *name = above + (part - key);
        json_t *next;

        if (g_hash_table_contains(keys, above)) {
            break;
        }
        next = json_object_get(node, name);
        if (!next) {
            next = json_object();
            json_object_set_new(node, name, next);
        }
        node = next;
        part = dot + 1;
    }
    json_object_set_new(node, part, options_entry_to_json(e));
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

/* Its keys are "0", "1" ... in any order. */
static bool is_list(json_t *object)
{
    size_t n = json_object_size(object);
    bool list = n > 0;

    for (size_t i = 0; i < n && list; i++) {
        char index[24];

        g_snprintf(index, sizeof(index), "%zu", i);
        list = json_object_get(object, index);
    }
    return list;
}

static json_t *tidy(json_t *value, bool root);

static json_t *tidy_list(json_t *object)
{
    json_t *copy = json_array();

    for (size_t i = 0; i < json_object_size(object); i++) {
        char index[24];

        g_snprintf(index, sizeof(index), "%zu", i);
        json_array_append_new(copy, tidy(json_object_get(object, index), false));
    }
    return copy;
}

/*
 * A copy whose objects have their keys in order, and where {"0": a, "1": b} is a list again. Not the
 * outermost (@root) of options: that is read as an object.
 */
static json_t *tidy(json_t *value, bool root)
{
    size_t n = json_object_size(value);
    g_autofree Member *members = g_new(Member, n);
    const char *name;
    json_t *item, *copy;
    size_t i = 0;

    if (!json_is_object(value)) {
        return json_incref(value);
    }
    if (!root && is_list(value)) {
        return tidy_list(value);
    }
    json_object_foreach(value, name, item)
    {
        members[i] = (Member){ name, item, blk_options_json_rank(name), i };
        i++;
    }
    copy = json_object();
    if (n) {
        qsort(members, n, sizeof(*members), compare_members);
    }
    for (i = 0; i < n; i++) {
        json_object_set_new(copy, members[i].name, tidy(members[i].value, false));
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
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    json_t *root = json_object();
    char *result;

    for (size_t i = 0; i < blk_options_count(opts); i++) {
        g_hash_table_add(keys, g_utf8_make_valid(options_entry(opts, i)->key, -1));
    }
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        nest(root, keys, options_entry(opts, i));
    }
    result = options_json_print(root);
    json_decref(root);
    return result;
}
