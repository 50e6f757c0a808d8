/* SPDX-License-Identifier: MIT */
/*
 * BlockOptions: the options of an open or a create, as a flat ordered map from
 * dotted keys to strings ("driver" -> "raw", "file.filename" -> "a.img").
 *
 * A driver takes the keys that it knows; what is left over when a node has been
 * opened is a mistake of the user and is reported as such. Not thread-safe: one
 * owner at a time.
 */
#ifndef BLOCK_BLOCK_OPTIONS_H
#define BLOCK_BLOCK_OPTIONS_H

#include "block/block-common.h"
#include "qapi/error.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

BlockOptions *blk_options_new(void);
BlockOptions *blk_options_copy(const BlockOptions *opts);
/* NULL is fine. */
void blk_options_free(BlockOptions *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockOptions, blk_options_free)

size_t blk_options_count(const BlockOptions *opts);
/* The @i-th key in the order of insertion; NULL past the end. */
const char *blk_options_key(const BlockOptions *opts, size_t i);

/* Sets or replaces; both strings are copied. */
void blk_options_set(BlockOptions *opts, const char *key, const char *value);
void G_GNUC_PRINTF(3, 4)
    blk_options_setf(BlockOptions *opts, const char *key, const char *fmt, ...);
/* The same for what JSON has types for; as strings they are "true", "false", decimal, "[]". */
void blk_options_set_bool(BlockOptions *opts, const char *key, bool value);
void blk_options_set_number(BlockOptions *opts, const char *key, int64_t value);
void blk_options_set_empty_list(BlockOptions *opts, const char *key);
/* Sets @key only if it is not there yet. */
void blk_options_set_default(BlockOptions *opts, const char *key, const char *value);
void blk_options_del(BlockOptions *opts, const char *key);

/*
 * NULL: not there, or without a value, which is what null, {} and [] of JSON become: such a key
 * is nobody's, and ends as an unknown option. The string belongs to @opts.
 */
const char *blk_options_get(const BlockOptions *opts, const char *key);
/* It is there as JSON's null. */
bool blk_options_is_null(const BlockOptions *opts, const char *key);
/* Removes @key and returns its value, to be freed with g_free(); NULL: not there. */
char *blk_options_take(BlockOptions *opts, const char *key);

/*
 * Take a typed value: 0 and *@value untouched when @key is not there, 1 when it
 * was taken, -EINVAL with @errp when it is not of the type. Booleans are on/off
 * (also true/false, yes/no); sizes have qemu-img's suffixes and are in bytes.
 */
int blk_options_take_bool(BlockOptions *opts, const char *key, bool *value, Error **errp);
int blk_options_take_number(BlockOptions *opts, const char *key, uint64_t *value, Error **errp);
int blk_options_take_size(BlockOptions *opts, const char *key, uint64_t *value, Error **errp);

/*
 * Moves all "PREFIX.xxx" of @opts into a new map as "xxx". @prefix comes without
 * the dot. Never NULL; may be empty.
 */
BlockOptions *blk_options_extract(BlockOptions *opts, const char *prefix);

/* Copies all of @from into @to; existing keys of @to win unless @replace. */
void blk_options_merge(BlockOptions *to, const BlockOptions *from, bool replace);

/*
 * Parses "key=value,key=value"; a comma in a value is written twice. A first item
 * without '=' is the value of @implied_key if that is not NULL; a later item
 * without '=' is a boolean ("nofoo" is foo=off, as for QEMU). On error @opts is
 * left as it was.
 */
bool blk_options_parse(BlockOptions *opts, const char *text, const char *implied_key,
                       Error **errp);

/*
 * Parses a JSON object and flattens it ({"file": {"driver": "file"}} becomes
 * "file.driver" -> "file", arrays "x.0", "x.1"). Strings may stand in single quotes, as for
 * QEMU. Depth and size are bounded.
 */
bool blk_options_parse_json(BlockOptions *opts, const char *json, Error **errp);

/*
 * The map as one line of JSON, nested again; to be freed with g_free(). What came
 * as a JSON number or boolean goes out as one. Keys stand in QEMU's order.
 */
char *blk_options_to_json(const BlockOptions *opts);
/*
 * QEMU prints an object's keys in the order of its hash table: by ascending rank, and of
 * those with the same rank the one that was set later comes first.
 */
unsigned blk_options_json_rank(const char *key);

G_END_DECLS
#pragma GCC visibility pop

#endif
