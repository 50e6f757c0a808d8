/* SPDX-License-Identifier: MIT */
/*
 * JSON on stdout: see json-output.h. jansson writes the scalars; the layout is done here
 * because an empty object or list takes two lines in QEMU's.
 */
#include "json-output.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

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

static void print_object(const json_t *object, int level)
{
    const char *separator = "";
    const char *key;
    json_t *value;

    putchar('{');
    json_object_foreach((json_t *)object, key, value) {
        json_t *name = json_string(key);

        fputs(separator, stdout);
        new_line(level + 1);
        print_scalar(name);
        fputs(": ", stdout);
        print_value(value, level + 1);
        json_decref(name);
        separator = ",";
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
