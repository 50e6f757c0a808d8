/* SPDX-License-Identifier: MIT */
/* What only the format knows: see specific-info.h. The lines are qemu-img's. */
#include "specific-info.h"

#include <stdio.h>

json_t *options_to_json(BlockOptions *opts)
{
    if (!opts) {
        return NULL;
    }
    g_autofree char *text = blk_options_to_json(opts);
    blk_options_free(opts);
    return json_loads(text, 0, NULL);
}

json_t *specific_info_gather(BlockDriverState *bs, Error **errp)
{
    return options_to_json(bdrv_get_specific_info(bs, errp));
}

/* What follows a name and its colon. */
static void print_member(const json_t *value, int indent)
{
    if (json_is_object(value) || json_is_array(value)) {
        printf("\n");
        specific_info_print(value, indent + 4);
    } else if (json_is_string(value)) {
        printf(" %s\n", json_string_value(value));
    } else if (json_is_boolean(value)) {
        printf(" %s\n", json_is_true(value) ? "true" : "false");
    } else {
        printf(" %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    }
}

void specific_info_print(const json_t *value, int indent)
{
    const char *key;
    json_t *item;
    size_t i;

    json_array_foreach(value, i, item) {
        printf("%*s[%zu]:", indent, "", i);
        print_member(item, indent);
    }
    json_object_foreach((json_t *)value, key, item) {
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        printf("%*s%s:", indent, "", name);
        print_member(item, indent);
    }
}
