/* SPDX-License-Identifier: MIT */
/* What the files of BlockOptions (options*.c) share: how the map is held. */
#ifndef BLOCK_OPTIONS_INTERNAL_H
#define BLOCK_OPTIONS_INTERNAL_H

#include "block/block-options.h"

/* Bounds of what a stranger's text may cost. */
enum {
    OPTIONS_MAX_ENTRIES = 1024,
    OPTIONS_MAX_DEPTH = 32,
    OPTIONS_MAX_JSON_BYTES = 1 << 20,
};

typedef enum {
    VALUE_STRING,
    VALUE_LITERAL, /* a JSON number, true or false: printed without quotes */
    VALUE_NONE,    /* null, {} or []: the key is there, but has no value */
} ValueKind;

typedef struct Entry {
    char *key;
    char *value;
    ValueKind kind;
} Entry;

struct BlockOptions {
    GPtrArray *entries; /* of Entry, owned */
};

static inline Entry *options_entry(const BlockOptions *opts, size_t i)
{
    return g_ptr_array_index(opts->entries, i);
}

/* NULL: not there. */
Entry *options_find(const BlockOptions *opts, const char *key);
/* Sets or replaces @key. */
void options_set_kind(BlockOptions *opts, const char *key, const char *value, ValueKind kind);

/* New references. */
struct json_t *options_entry_to_json(const Entry *e);
/* One line of JSON, keys in QEMU's order; g_free(). */
char *options_json_print(struct json_t *value);

#endif
