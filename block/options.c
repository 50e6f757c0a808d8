/* SPDX-License-Identifier: MIT */
/*
 * BlockOptions: an ordered map from dotted keys to strings.
 *
 * An entry remembers of what JSON type it came, so that a map that was read from JSON is
 * printed as it was written. Maps are small (OPTIONS_MAX_ENTRIES bounds what a text can make), so
 * an array that is searched from the front beats a hash table. One owner at a time, no
 * locks.
 */
#include "qemu/osdep.h"
#include "node.h"
#include "options-internal.h"

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

size_t blk_options_count(const BlockOptions *opts)
{
    return opts ? opts->entries->len : 0;
}

const char *blk_options_key(const BlockOptions *opts, size_t i)
{
    return i < blk_options_count(opts) ? options_entry(opts, i)->key : NULL;
}

Entry *options_find(const BlockOptions *opts, const char *key)
{
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        if (!strcmp(options_entry(opts, i)->key, key)) {
            return options_entry(opts, i);
        }
    }
    return NULL;
}

void options_set_kind(BlockOptions *opts, const char *key, const char *value, ValueKind kind)
{
    Entry *e = options_find(opts, key);
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
    options_set_kind(opts, key, value, VALUE_STRING);
}

void blk_options_setf(BlockOptions *opts, const char *key, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *value = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    blk_options_set(opts, key, value);
}

void blk_options_set_bool(BlockOptions *opts, const char *key, bool value)
{
    options_set_kind(opts, key, value ? "true" : "false", VALUE_LITERAL);
}

void blk_options_set_number(BlockOptions *opts, const char *key, int64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, value);
    options_set_kind(opts, key, text, VALUE_LITERAL);
}

void blk_options_set_empty_list(BlockOptions *opts, const char *key)
{
    options_set_kind(opts, key, "[]", VALUE_NONE);
}

void blk_options_set_default(BlockOptions *opts, const char *key, const char *value)
{
    if (!options_find(opts, key)) {
        blk_options_set(opts, key, value);
    }
}

void blk_options_del(BlockOptions *opts, const char *key)
{
    Entry *e = options_find(opts, key);

    if (e) {
        g_ptr_array_remove(opts->entries, e);
    }
}

const char *blk_options_get(const BlockOptions *opts, const char *key)
{
    const Entry *e = options_find(opts, key);

    return e && e->kind != VALUE_NONE ? e->value : NULL;
}

bool blk_options_is_null(const BlockOptions *opts, const char *key)
{
    const Entry *e = options_find(opts, key);

    return e && e->kind == VALUE_NONE && !strcmp(e->value, "null");
}

char *blk_options_take(BlockOptions *opts, const char *key)
{
    Entry *e = options_find(opts, key);
    char *value = NULL;

    if (e && e->kind != VALUE_NONE) {
        value = g_steal_pointer(&e->value);
        g_ptr_array_remove(opts->entries, e);
    }
    return value;
}

void blk_options_merge(BlockOptions *to, const BlockOptions *from, bool replace)
{
    for (size_t i = 0; i < blk_options_count(from); i++) {
        const Entry *e = options_entry(from, i);

        if (replace || !options_find(to, e->key)) {
            options_set_kind(to, e->key, e->value, e->kind);
        }
    }
}

void blk_options_copy_entry(BlockOptions *opts, const char *key, const BlockOptions *from,
                            const char *from_key)
{
    const Entry *e = options_find(from, from_key);

    if (e) {
        options_set_kind(opts, key, e->value, e->kind);
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
        const Entry *e = options_entry(opts, i);

        if (!strncmp(e->key, prefix, len) && e->key[len] == '.') {
            options_set_kind(sub, e->key + len + 1, e->value, e->kind);
            g_ptr_array_remove_index(opts->entries, i);
        } else {
            i++;
        }
    }
    return sub;
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
        if (blk_options_count(fresh) > OPTIONS_MAX_ENTRIES) {
            error_setg(errp, "More than %d options", OPTIONS_MAX_ENTRIES);
            return false;
        }
    }
    blk_options_merge(opts, fresh, true);
    return true;
}
