/* SPDX-License-Identifier: MIT */
/*
 * BlockOptions: an ordered map from dotted keys to strings.
 *
 * An entry remembers of what JSON type it came, so that a map that was read from JSON is
 * printed as it was written. Maps are small (MAX_ENTRIES bounds what a text can make), so
 * an array that is searched from the front beats a hash table. One owner at a time, no
 * locks.
 */
#include "qemu/osdep.h"
#include <jansson.h>
#include <math.h>
#include "node.h"

/* Bounds of what a stranger's text may cost. */
enum {
    MAX_ENTRIES = 1024,
    MAX_DEPTH = 32,
    MAX_JSON_BYTES = 1 << 20,
};

typedef enum {
    VALUE_STRING,
    VALUE_LITERAL, /* a JSON number, true, false or null: printed without quotes */
} ValueKind;

typedef struct Entry {
    char *key;
    char *value;
    ValueKind kind;
} Entry;

struct BlockOptions {
    GPtrArray *entries; /* of Entry, owned */
};

static void entry_free(void *opaque)
{
    Entry *e = opaque;

    g_free(e->key);
    g_free(e->value);
    g_free(e);
}

BlockOptions *blk_options_new(void)
{
    BlockOptions *opts = g_new0(BlockOptions, 1);

    opts->entries = g_ptr_array_new_with_free_func(entry_free);
    return opts;
}

void blk_options_free(BlockOptions *opts)
{
    if (opts) {
        g_ptr_array_free(opts->entries, true);
        g_free(opts);
    }
}

static Entry *entry_at(const BlockOptions *opts, size_t i)
{
    return g_ptr_array_index(opts->entries, i);
}

size_t blk_options_count(const BlockOptions *opts)
{
    return opts ? opts->entries->len : 0;
}

const char *blk_options_key(const BlockOptions *opts, size_t i)
{
    return i < blk_options_count(opts) ? entry_at(opts, i)->key : NULL;
}

static Entry *find(const BlockOptions *opts, const char *key)
{
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        if (!strcmp(entry_at(opts, i)->key, key)) {
            return entry_at(opts, i);
        }
    }
    return NULL;
}

static void set_kind(BlockOptions *opts, const char *key, const char *value,
                     ValueKind kind)
{
    Entry *e = find(opts, key);
    char *copy = g_strdup(value); /* @value may be the very string that goes */

    if (!e) {
        e = g_new0(Entry, 1);
        e->key = g_strdup(key);
        g_ptr_array_add(opts->entries, e);
    }
    g_free(e->value);
    e->value = copy;
    e->kind = kind;
}

void blk_options_set(BlockOptions *opts, const char *key, const char *value)
{
    set_kind(opts, key, value, VALUE_STRING);
}

void blk_options_setf(BlockOptions *opts, const char *key, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *value = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    blk_options_set(opts, key, value);
}

void blk_options_set_default(BlockOptions *opts, const char *key, const char *value)
{
    if (!find(opts, key)) {
        blk_options_set(opts, key, value);
    }
}

void blk_options_del(BlockOptions *opts, const char *key)
{
    Entry *e = find(opts, key);

    if (e) {
        g_ptr_array_remove(opts->entries, e);
    }
}

const char *blk_options_get(const BlockOptions *opts, const char *key)
{
    const Entry *e = find(opts, key);

    return e ? e->value : NULL;
}

char *blk_options_take(BlockOptions *opts, const char *key)
{
    Entry *e = find(opts, key);
    char *value = NULL;

    if (e) {
        value = g_steal_pointer(&e->value);
        g_ptr_array_remove(opts->entries, e);
    }
    return value;
}

void blk_options_merge(BlockOptions *to, const BlockOptions *from, bool replace)
{
    for (size_t i = 0; i < blk_options_count(from); i++) {
        const Entry *e = entry_at(from, i);

        if (replace || !find(to, e->key)) {
            set_kind(to, e->key, e->value, e->kind);
        }
    }
}

void blk_options_copy_entry(BlockOptions *opts, const char *key, const BlockOptions *from,
                            const char *from_key)
{
    const Entry *e = find(from, from_key);

    if (e) {
        set_kind(opts, key, e->value, e->kind);
    }
}

BlockOptions *blk_options_copy(const BlockOptions *opts)
{
    BlockOptions *copy = blk_options_new();

    blk_options_merge(copy, opts, true);
    return copy;
}

BlockOptions *blk_options_extract(BlockOptions *opts, const char *prefix)
{
    BlockOptions *sub = blk_options_new();
    size_t len = strlen(prefix);

    for (size_t i = 0; i < blk_options_count(opts);) {
        const Entry *e = entry_at(opts, i);

        if (!strncmp(e->key, prefix, len) && e->key[len] == '.') {
            set_kind(sub, e->key + len + 1, e->value, e->kind);
            g_ptr_array_remove_index(opts->entries, i);
        } else {
            i++;
        }
    }
    return sub;
}

/* --- typed values --- */

static bool parse_bool(const char *text, bool *value)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {
        { "on", true },   { "yes", true }, { "true", true },   { "y", true },
        { "off", false }, { "no", false }, { "false", false }, { "n", false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (!strcmp(text, words[i].text)) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

int blk_options_take_bool(BlockOptions *opts, const char *key, bool *value, Error **errp)
{
    g_autofree char *text = blk_options_take(opts, key);

    if (!text) {
        return 0;
    }
    if (!parse_bool(text, value)) {
        error_setg(errp, "Parameter '%s' expects 'on' or 'off'", key);
        return -EINVAL;
    }
    return 1;
}

/* A whole non-negative number; @end is where it stopped. */
static bool parse_uint(const char *text, const char **end, uint64_t *value)
{
    char *stop;

    if (!g_ascii_isdigit(text[0])) { /* strtoull would take blanks and a sign */
        return false;
    }
    errno = 0;
    *value = g_ascii_strtoull(text, &stop, g_str_has_prefix(text, "0x") ? 16 : 10);
    *end = stop;
    return errno == 0;
}

int blk_options_take_number(BlockOptions *opts, const char *key, uint64_t *value,
                            Error **errp)
{
    g_autofree char *text = blk_options_take(opts, key);
    const char *end;
    uint64_t n;

    if (!text) {
        return 0;
    }
    if (!parse_uint(text, &end, &n) || *end) {
        error_setg(errp, "Parameter '%s' expects a number", key);
        return -EINVAL;
    }
    *value = n;
    return 1;
}

/* The power of two that a suffix stands for; -1: no suffix of ours. */
static int suffix_shift(const char *suffix)
{
    static const char letters[] = "bkmgtpe";
    const char *p;

    if (!suffix[0]) {
        return 0;
    }
    p = strchr(letters, g_ascii_tolower(suffix[0]));
    return p && !suffix[1] ? 10 * (int)(p - letters) : -1;
}

static bool parse_size(const char *text, uint64_t *value)
{
    const char *end;
    uint64_t n;
    double fraction = 0;
    int shift;

    if (!parse_uint(text, &end, &n)) {
        return false;
    }
    if (*end == '.' && !g_str_has_prefix(text, "0x")) {
        double place = 0.1;

        while (g_ascii_isdigit(*++end)) {
            fraction += (*end - '0') * place;
            place /= 10;
        }
    }
    shift = suffix_shift(end);
    if (shift < 0 || (shift && n >> (64 - shift)) || (fraction > 0 && shift == 0)) {
        return false;
    }
    n <<= shift;
    uint64_t rest = (uint64_t)ldexp(fraction, shift);
    if (n + rest < n) {
        return false;
    }
    *value = n + rest;
    return true;
}

int blk_options_take_size(BlockOptions *opts, const char *key, uint64_t *value,
                          Error **errp)
{
    g_autofree char *text = blk_options_take(opts, key);

    if (!text) {
        return 0;
    }
    if (!parse_size(text, value)) {
        ERRP_GUARD();
        error_setg(errp, "Parameter '%s' expects a non-negative number below 2^64", key);
        /* QEMU's words, which scripts compare. */
        error_append_hint(errp,
                          "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
                          "tera-, peta-\nand exabytes, respectively.\n");
        return -EINVAL;
    }
    return 1;
}

/* --- key=value,key=value --- */

/* Reads up to a comma that is not doubled, or up to @stop; @text moves behind it. */
static char *take_item(const char **text, char stop)
{
    GString *item = g_string_new(NULL);
    const char *p = *text;

    for (; *p && *p != stop; p++) {
        if (*p == ',') {
            if (p[1] != ',' || stop) { /* keys hold no commas */
                break;
            }
            p++;
        }
        g_string_append_c(item, *p);
    }
    *text = p;
    return g_string_free(item, false);
}

bool blk_options_parse(BlockOptions *opts, const char *text, const char *implied_key,
                       Error **errp)
{
    g_autoptr(BlockOptions) fresh = blk_options_new();

    for (bool first = true; *text; first = false) {
        const char *start = text;
        g_autofree char *key = take_item(&text, '=');

        if (*text == '=') {
            text++;
            g_autofree char *value = take_item(&text, '\0');
            blk_options_set(fresh, key, value);
        } else if (first && implied_key) {
            text = start;
            g_autofree char *value = take_item(&text, '\0');
            blk_options_set(fresh, implied_key, value);
        } else if (g_str_has_prefix(key, "no") && key[2]) {
            blk_options_set(fresh, key + 2, "off");
        } else {
            blk_options_set(fresh, key, "on");
        }
        if (*text == ',') {
            text++;
        }
        if (blk_options_count(fresh) > MAX_ENTRIES) {
            error_setg(errp, "More than %d options", MAX_ENTRIES);
            return false;
        }
    }
    blk_options_merge(opts, fresh, true);
    return true;
}

/* --- JSON --- */

static bool flatten(BlockOptions *opts, const char *key, json_t *value, int depth,
                    Error **errp);

static bool flatten_child(BlockOptions *opts, const char *parent, const char *name,
                          json_t *value, int depth, Error **errp)
{
    g_autofree char *key =
        *parent ? g_strdup_printf("%s.%s", parent, name) : g_strdup(name);

    return flatten(opts, key, value, depth + 1, errp);
}

static bool flatten_leaf(BlockOptions *opts, const char *key, json_t *value, Error **errp)
{
    if (blk_options_count(opts) >= MAX_ENTRIES) {
        error_setg(errp, "More than %d options", MAX_ENTRIES);
        return false;
    }
    if (json_is_string(value)) {
        if (strlen(json_string_value(value)) != json_string_length(value)) {
            error_setg(errp, "The value of option '%s' holds a zero byte", key);
            return false;
        }
        set_kind(opts, key, json_string_value(value), VALUE_STRING);
    } else if (json_is_boolean(value)) {
        set_kind(opts, key, json_is_true(value) ? "true" : "false", VALUE_LITERAL);
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY);

        set_kind(opts, key, text, VALUE_LITERAL);
        free(text);
    }
    return true;
}

static bool flatten(BlockOptions *opts, const char *key, json_t *value, int depth,
                    Error **errp)
{
    const char *name;
    json_t *item;
    size_t i;

    if (depth > MAX_DEPTH) {
        error_setg(errp, "JSON is nested too deeply");
        return false;
    }
    if (json_is_object(value)) {
        json_object_foreach(value, name, item)
        {
            if (!flatten_child(opts, key, name, item, depth, errp)) {
                return false;
            }
        }
        return true;
    }
    if (json_is_array(value)) {
        json_array_foreach(value, i, item)
        {
            g_autofree char *index = g_strdup_printf("%zu", i);

            if (!flatten_child(opts, key, index, item, depth, errp)) {
                return false;
            }
        }
        return true;
    }
    /* An absent value is what null means for an option. */
    return json_is_null(value) || flatten_leaf(opts, key, value, errp);
}

bool blk_options_parse_json(BlockOptions *opts, const char *json, Error **errp)
{
    g_autoptr(BlockOptions) fresh = blk_options_new();
    json_error_t jerr;
    json_t *root;
    bool ok;

    if (strlen(json) > MAX_JSON_BYTES) {
        error_setg(errp, "Could not parse the JSON options: longer than %d bytes",
                   MAX_JSON_BYTES);
        return false;
    }
    root = json_loads(json, JSON_REJECT_DUPLICATES, &jerr);
    if (!root) {
        error_setg(errp, "Could not parse the JSON options: %s", jerr.text);
        return false;
    }
    if (!json_is_object(root)) {
        error_setg(errp, "Invalid JSON object given");
        json_decref(root);
        return false;
    }
    ok = flatten(fresh, "", root, 0, errp);
    json_decref(root);
    if (ok) {
        blk_options_merge(opts, fresh, true);
    }
    return ok;
}

/* File names need not be UTF-8, JSON must be: what is not is replaced. */
static json_t *json_text(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    return json_string(valid);
}

static json_t *entry_to_json(const Entry *e)
{
    json_t *value = NULL;

    if (e->kind == VALUE_LITERAL) {
        value = json_loads(e->value, JSON_DECODE_ANY, NULL);
    }
    return value ? value : json_text(e->value);
}

/* Puts @e where its dots say; false: a part of the path is a value already. */
static bool nest(json_t *root, const Entry *e)
{
    g_auto(GStrv) parts = g_strsplit(e->key, ".", MAX_DEPTH + 2);
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
    return json_object_set_new(node, parts[i], entry_to_json(e)) == 0;
}

/* {"0": a, "1": b} was an array; returns a new reference. */
static json_t *restore_arrays(json_t *value)
{
    const char *name;
    json_t *item, *copy;
    size_t n = 0;
    bool array;

    if (!json_is_object(value)) {
        return json_incref(value);
    }
    array = json_object_size(value) > 0;
    json_object_foreach(value, name, item)
    {
        g_autofree char *index = g_strdup_printf("%zu", n++);

        array = array && !strcmp(name, index);
    }
    copy = array ? json_array() : json_object();
    json_object_foreach(value, name, item)
    {
        if (array) {
            json_array_append_new(copy, restore_arrays(item));
        } else {
            json_object_set_new(copy, name, restore_arrays(item));
        }
    }
    return copy;
}

char *blk_options_to_json(const BlockOptions *opts)
{
    json_t *root = json_object();
    json_t *tidy;
    char *text, *result;

    for (size_t i = 0; i < blk_options_count(opts); i++) {
        const Entry *e = entry_at(opts, i);

        if (!nest(root, e)) {
            g_autofree char *key = g_utf8_make_valid(e->key, -1);

            json_object_set_new(root, key, entry_to_json(e));
        }
    }
    tidy = restore_arrays(root);
    text = json_dumps(tidy, 0);
    result = g_strdup(text);
    free(text);
    json_decref(tidy);
    json_decref(root);
    return result;
}
