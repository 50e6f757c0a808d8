/* SPDX-License-Identifier: MIT */
/*
 * The names of nodes, by which others can refer to them: unique in the process. A node
 * that is not named gets a name that nobody can give ("#block0").
 *
 * Nodes of any thread are here; who finds one has to see that it is of his own context.
 */
#include "node.h"

#define MAX_NAME 31 /* bytes */

static GHashTable *by_name; /* borrowed strings and nodes; under names_lock */
static GMutex names_lock;
static unsigned next_number; /* under names_lock */

static bool name_wellformed(const char *name)
{
    if (!g_ascii_isalpha(*name)) {
        return false;
    }
    while (g_ascii_isalnum(*name) || (*name && strchr("-._", *name))) {
        name++;
    }
    return !*name;
}

int bdrv_assign_node_name(BlockDriverState *bs, const char *name, Error **errp)
{
    int ret = 0;

    if (name && !name_wellformed(name)) {
        error_setg(errp, "Invalid node-name: '%s'", name);
        return -EINVAL;
    }
    if (name && strlen(name) > MAX_NAME) {
        error_setg(errp, "Node name too long");
        return -EINVAL;
    }
    g_mutex_lock(&names_lock);
    if (!by_name) {
        by_name = g_hash_table_new(g_str_hash, g_str_equal);
    }
    if (name && g_hash_table_contains(by_name, name)) {
        error_setg(errp, "Duplicate nodes with node-name='%s'", name);
        ret = -EINVAL;
    } else {
        bs->core->node_name =
            name ? g_strdup(name) : g_strdup_printf("#block%u", next_number++);
        g_hash_table_insert(by_name, bs->core->node_name, bs);
    }
    g_mutex_unlock(&names_lock);
    return ret;
}

void bdrv_drop_node_name(BlockDriverState *bs)
{
    if (bs->core->node_name) {
        g_mutex_lock(&names_lock);
        g_hash_table_remove(by_name, bs->core->node_name);
        g_mutex_unlock(&names_lock);
    }
}

BlockDriverState *bdrv_find_node(const char *name)
{
    BlockDriverState *bs = NULL;

    g_mutex_lock(&names_lock);
    if (by_name) {
        bs = g_hash_table_lookup(by_name, name);
    }
    g_mutex_unlock(&names_lock);
    return bs;
}

const char *bdrv_get_node_name(BlockDriverState *bs)
{
    return bs->core->node_name;
}

BlockDriverState *bdrv_lookup_reference(const char *name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(name);

    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'", name, name);
    } else if (bs->core->ctx != thread_context_peek()) {
        error_setg(errp, "Node '%s' is in use in another context", name);
        bs = NULL;
    } else {
        bdrv_ref(bs);
    }
    return bs;
}
