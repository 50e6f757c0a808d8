/* SPDX-License-Identifier: MIT */
/* BlockOptions: taking values of a type. The messages are QEMU's, which scripts compare. */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "options-internal.h"

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

int blk_options_take_number(BlockOptions *opts, const char *key, uint64_t *value,
                            Error **errp)
{
    g_autofree char *text = blk_options_take(opts, key);
    uint64_t n;
    int ret;

    if (!text) {
        return 0;
    }
    ret = qemu_strtou64(text, NULL, 0, &n);
    if (ret == -ERANGE) {
        error_setg(errp, "Value '%s' is too large for parameter '%s'", text, key);
        return -EINVAL;
    }
    if (ret < 0) {
        error_setg(errp, "Parameter '%s' expects a number", key);
        return -EINVAL;
    }
    *value = n;
    return 1;
}

int blk_options_take_size(BlockOptions *opts, const char *key, uint64_t *value,
                          Error **errp)
{
    ERRP_GUARD();
    g_autofree char *text = blk_options_take(opts, key);
    uint64_t n;
    int ret;

    if (!text) {
        return 0;
    }
    ret = qemu_strtosz(text, NULL, &n);
    if (ret == -ERANGE) {
        error_setg(errp, "Value '%s' is out of range for parameter '%s'", text, key);
        return -EINVAL;
    }
    if (ret < 0) {
        error_setg(errp, "Parameter '%s' expects a non-negative number below 2^64", key);
        error_append_hint(errp,
                          "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
                          "tera-, peta-\nand exabytes, respectively.\n");
        return -EINVAL;
    }
    *value = n;
    return 1;
}
