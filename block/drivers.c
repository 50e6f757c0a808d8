/* SPDX-License-Identifier: MIT */
/*
 * The driver table, and the choice of a driver by name, by protocol prefix, by the kind
 * of file or by the image's first bytes.
 *
 * The table is filled once and only grows; a lock covers registration, readers see a
 * list whose links are published with release.
 */
#include "node.h"

#define ADDRESS_OF_DRIVER(name) &(name),
static BlockDriver *const built_in[] = { BUILT_IN_DRIVERS(ADDRESS_OF_DRIVER) };
#undef ADDRESS_OF_DRIVER

typedef struct DriverLink DriverLink;
struct DriverLink {
    BlockDriver *drv;
    DriverLink *next;
};

static DriverLink *drivers; /* written under drivers_lock, published with release */
static GMutex drivers_lock;

static const DriverLink *first_driver(void)
{
    return qatomic_load_acquire(&drivers);
}

static void add_driver(BlockDriver *drv)
{
    DriverLink *link = g_new(DriverLink, 1);

    g_assert(drv->format_name);
    g_assert(!drv->protocol_name || (drv->bdrv_open && drv->bdrv_co_getlength));
    g_mutex_lock(&drivers_lock);
    link->drv = drv;
    link->next = drivers;
    qatomic_store_release(&drivers, link);
    g_mutex_unlock(&drivers_lock);
}

void bdrv_init(void)
{
    static gsize done;

    if (g_once_init_enter(&done)) {
        for (size_t i = 0; i < G_N_ELEMENTS(built_in); i++) {
            add_driver(built_in[i]);
        }
        g_once_init_leave(&done, 1);
    }
}

void bdrv_register(BlockDriver *drv)
{
    bdrv_init();
    add_driver(drv);
}

BlockDriver *bdrv_find_format(const char *format_name)
{
    bdrv_init();
    for (const DriverLink *l = first_driver(); l; l = l->next) {
        if (!strcmp(l->drv->format_name, format_name)) {
            return l->drv;
        }
    }
    return NULL;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void bdrv_iterate_format(void (*it)(void *opaque, const char *name), void *opaque)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    bdrv_init();
    for (const DriverLink *l = first_driver(); l; l = l->next) {
        g_ptr_array_add(names, (void *)l->drv->format_name);
    }
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++) {
        it(opaque, g_ptr_array_index(names, i));
    }
}

bool path_has_protocol(const char *path)
{
    return path[strcspn(path, ":/")] == ':';
}

/* The driver that is surest that this is its kind of device; NULL: none is. */
static BlockDriver *find_for_device(const char *filename)
{
    BlockDriver *best = NULL;
    int best_score = 0;

    for (const DriverLink *l = first_driver(); l; l = l->next) {
        int score = l->drv->bdrv_probe_device ? l->drv->bdrv_probe_device(filename) : 0;

        if (score > best_score) {
            best_score = score;
            best = l->drv;
        }
    }
    return best;
}

BlockDriver *bdrv_find_protocol(const char *filename, bool allow_prefix, Error **errp)
{
    BlockDriver *drv;
    size_t len;

    bdrv_init();
    drv = find_for_device(filename);
    if (drv) {
        return drv;
    }
    if (!allow_prefix || !path_has_protocol(filename)) {
        return &bdrv_file;
    }
    len = strcspn(filename, ":");
    for (const DriverLink *l = first_driver(); l; l = l->next) {
        const char *name = l->drv->protocol_name;

        if (name && strlen(name) == len && !strncmp(name, filename, len)) {
            return l->drv;
        }
    }
    error_setg(errp, "Unknown protocol '%.*s'", (int)len, filename);
    return NULL;
}

BlockDriver *bdrv_probe_all(const uint8_t *buf, int size, const char *filename)
{
    BlockDriver *best = &bdrv_raw;
    int best_score = 0;

    for (const DriverLink *l = first_driver(); l; l = l->next) {
        int score = l->drv->bdrv_probe ? l->drv->bdrv_probe(buf, size, filename) : 0;

        if (score > best_score) {
            best_score = score;
            best = l->drv;
        }
    }
    return best;
}
