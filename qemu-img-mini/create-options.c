/* SPDX-License-Identifier: MIT */
/* The options of a new image: see create-options.h. */
#include "create-options.h"

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

static const BlockCreateOption *find_option(const GArray *table, const char *name)
{
    for (guint i = 0; i < table->len; i++) {
        const BlockCreateOption *o = &g_array_index(table, BlockCreateOption, i);
        if (!strcmp(o->name, name)) {
            return o;
        }
    }
    return NULL;
}

static void add_options(GArray *table, const BlockCreateOption *options)
{
    for (const BlockCreateOption *o = options; o && o->name; o++) {
        if (!find_option(table, o->name)) {
            g_array_append_vals(table, o, 1);
        }
    }
}

bool create_target_init(CreateTarget *target, const char *format, const char *filename,
                        Error **errp)
{
    const BlockCreateOption *proto = NULL;

    *target = (CreateTarget) { .format = format };
    bdrv_init();
    target->drv = bdrv_find_format(format);
    if (!target->drv) {
        error_setg(errp, "Unknown file format '%s'", format);
        return false;
    }
    const BlockCreateOption *own = bdrv_create_options(target->drv);
    if (!own) {
        error_setg(errp, "Format driver '%s' does not support image creation", format);
        return false;
    }
    if (filename) {
        proto = bdrv_protocol_create_options(filename, errp);
        if (!proto) {
            return false;
        }
    }
    target->table = g_array_new(FALSE, FALSE, sizeof(BlockCreateOption));
    add_options(target->table, own);
    add_options(target->table, proto);
    return true;
}

void create_target_init_amend(CreateTarget *target, BlockDriver *drv)
{
    *target = (CreateTarget) { .format = bdrv_driver_name(drv), .drv = drv };
    target->table = g_array_new(FALSE, FALSE, sizeof(BlockCreateOption));
    add_options(target->table, bdrv_amend_options_table(drv));
}

void create_target_add_compression(CreateTarget *target)
{
    static const BlockCreateOption options[] = {
        { "compression_level", BLOCK_OPT_NUMBER, "With -c: from 1, more is smaller and slower",
          NULL },
        { NULL, 0, NULL, NULL },
    };

    add_options(target->table, options);
}

void create_target_clear(CreateTarget *target)
{
    g_clear_pointer(&target->table, g_array_unref);
}

bool create_target_has(const CreateTarget *target, const char *name)
{
    return find_option(target->table, name);
}

/* Checks the value of @key; numbers and sizes become plain decimals. */
static bool normalise(const GArray *table, BlockOptions *opts, const char *key, Error **errp)
{
    g_autoptr(BlockOptions) one = blk_options_new();
    const BlockCreateOption *o = find_option(table, key);
    uint64_t number = 0;
    bool on = false;
    int ret = 0;

    if (!o) {
        error_setg(errp, "Invalid parameter '%s'", key);
        return false;
    }
    blk_options_set(one, key, blk_options_get(opts, key));
    switch (o->type) {
    case BLOCK_OPT_STRING:
        return true;
    case BLOCK_OPT_BOOL:
        ret = blk_options_take_bool(one, key, &on, errp);
        break;
    case BLOCK_OPT_NUMBER:
        ret = blk_options_take_number(one, key, &number, errp);
        break;
    case BLOCK_OPT_SIZE:
        ret = blk_options_take_size(one, key, &number, errp);
        break;
    }
    if (ret < 0) {
        return false;
    }
    if (o->type != BLOCK_OPT_BOOL) {
        blk_options_setf(opts, key, "%" PRIu64, number);
    }
    return true;
}

BlockOptions *create_target_parse(const CreateTarget *target, const char *text, Error **errp)
{
    g_autoptr(BlockOptions) opts = blk_options_new();

    if (text && !blk_options_parse(opts, text, NULL, errp)) {
        return NULL;
    }
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        if (!normalise(target->table, opts, blk_options_key(opts, i), errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&opts);
}

void create_target_print(const CreateTarget *target, const BlockOptions *opts)
{
    for (guint i = 0; i < target->table->len; i++) {
        const BlockCreateOption *o = &g_array_index(target->table, BlockCreateOption, i);
        const char *value = blk_options_get(opts, o->name) ?: o->def_value;

        if (!value) {
            continue;
        }
        if (o->type == BLOCK_OPT_SIZE || o->type == BLOCK_OPT_NUMBER) {
            /* QEMU shows it with a sign. */
            printf(" %s=%" PRId64, o->name, (int64_t)g_ascii_strtoull(value, NULL, 10));
            continue;
        }
        printf(" %s=", o->name);
        for (const char *p = value; *p; p++) {
            /* As it would have to be typed. */
            if (*p == ',' && o->type == BLOCK_OPT_STRING) {
                putchar(',');
            }
            putchar(*p);
        }
    }
}

static const char *type_name(BlockOptionType type)
{
    switch (type) {
    case BLOCK_OPT_STRING:
        return "<str>";
    case BLOCK_OPT_BOOL:
        return "<bool (on/off)>";
    case BLOCK_OPT_NUMBER:
        return "<num>";
    case BLOCK_OPT_SIZE:
        return "<size>";
    }
    g_assert_not_reached();
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(((const BlockCreateOption *)a)->name, ((const BlockCreateOption *)b)->name);
}

static void print_help_line(const BlockCreateOption *o)
{
    g_autofree char *left = g_strdup_printf("%s=%s", o->name, type_name(o->type));

    printf("  %-22s", left);
    if (o->help) {
        printf(" - %s", o->help);
    }
    putchar('\n');
}

static void print_help_lines(const CreateTarget *target)
{
    g_array_sort(target->table, compare_names);
    for (guint i = 0; i < target->table->len; i++) {
        print_help_line(&g_array_index(target->table, BlockCreateOption, i));
    }
}

int amend_options_help(const char *format)
{
    CreateTarget target;
    BlockDriver *drv;

    bdrv_init();
    drv = bdrv_find_format(format);
    if (!drv) {
        error_report("Unknown file format '%s'", format);
        return EXIT_FAILURE;
    }
    if (!bdrv_amend_options_table(drv)) {
        error_report("Format driver '%s' does not support option amendment", format);
        return EXIT_FAILURE;
    }
    create_target_init_amend(&target, drv);
    printf("Amend options for '%s':\n", format);
    print_help_lines(&target);
    create_target_clear(&target);
    return EXIT_SUCCESS;
}

int create_options_help(const char *format, const char *filename)
{
    CreateTarget target;
    Error *err = NULL;

    if (!create_target_init(&target, format, filename, &err)) {
        error_report_err(err);
        create_target_clear(&target);
        return EXIT_FAILURE;
    }
    if (filename) {
        printf("Supported options:\n");
    } else {
        printf("Supported %s options:\n", format);
    }
    print_help_lines(&target);
    if (!filename) {
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
    }
    create_target_clear(&target);
    return EXIT_SUCCESS;
}
