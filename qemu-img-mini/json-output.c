/* SPDX-License-Identifier: MIT */
/*
 * JSON on stdout: see json-output.h. jansson writes the scalars; the layout is done here
 * because an empty object or list takes two lines in QEMU's. Keys are put in the order in
 * which QEMU prints them.
 */
#include "json-output.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/block-options.h"

static void print_value(const json_t *value, int level);

static void print_scalar(const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

    fputs(text, stdout);
    free(text);
}

static void new_line(int level)
{
    printf("\n%*s", 4 * level, "");
}

typedef struct Member {
    const char *key;
    const json_t *value;
    unsigned rank;
    size_t index;
} Member;

static int compare_members(const void *pa, const void *pb)
{
    const Member *a = pa, *b = pb;

    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    return a->index > b->index ? -1 : 1; /* set last, printed first */
}

static void print_object(const json_t *object, int level)
{
    size_t n = json_object_size(object);
    g_autofree Member *members = g_new(Member, n);
    const char *key;
    json_t *value;
    size_t i = 0;

    json_object_foreach((json_t *)object, key, value) {
        members[i] = (Member) { key, value, blk_options_json_rank(key), i };
        i++;
    }
    if (n) {
        qsort(members, n, sizeof(*members), compare_members);
    }
    putchar('{');
    for (i = 0; i < n; i++) {
        json_t *name = json_string(members[i].key);

        fputs(i ? "," : "", stdout);
        new_line(level + 1);
        print_scalar(name);
        fputs(": ", stdout);
        print_value(members[i].value, level + 1);
        json_decref(name);
    }
    new_line(level);
    putchar('}');
}

static void print_array(const json_t *array, int level)
{
    putchar('[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        fputs(i ? "," : "", stdout);
        new_line(level + 1);
        print_value(json_array_get(array, i), level + 1);
    }
    new_line(level);
    putchar(']');
}

static void print_value(const json_t *value, int level)
{
    if (json_is_object(value)) {
        print_object(value, level);
    } else if (json_is_array(value)) {
        print_array(value, level);
    } else {
        print_scalar(value);
    }
}

void json_output_print(const json_t *value)
{
    print_value(value, 0);
    putchar('\n');
}
