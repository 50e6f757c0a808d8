/* SPDX-License-Identifier: MIT */
/* What begins with "snapshot." is a list of options, all else an id or a name. */
#include "snapshot-param.h"

#include "block/block-options.h"
#include "block/snapshot.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"

static bool is_list(const char *arg)
{
    return strstart(arg, SNAPSHOT_OPT_BASE, NULL);
}

/* NULL and @errp when it is no list of these options. */
static BlockOptions *parse_list(const char *arg, Error **errp)
{
    g_autoptr(BlockOptions) opts = blk_options_new();

    if (!blk_options_parse(opts, arg, NULL, errp)) {
        return NULL;
    }
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        const char *key = blk_options_key(opts, i);

        if (strcmp(key, SNAPSHOT_OPT_ID) != 0 && strcmp(key, SNAPSHOT_OPT_NAME) != 0) {
            error_setg(errp, "Invalid parameter '%s'", key);
            return NULL;
        }
    }
    return g_steal_pointer(&opts);
}

bool snapshot_param_check(const char *arg)
{
    g_autoptr(BlockOptions) opts = NULL;
    Error *err = NULL;

    if (!is_list(arg)) {
        return true;
    }
    opts = parse_list(arg, &err);
    if (!opts) {
        error_report_err(err);
        error_report("Failed in parsing snapshot param '%s'", arg);
    }
    return opts;
}

int snapshot_param_load(BlockDriverState *bs, const char *arg, Error **errp)
{
    g_autoptr(BlockOptions) opts = NULL;

    if (!is_list(arg)) {
        return bdrv_snapshot_load_tmp_by_id_or_name(bs, arg, errp);
    }
    opts = parse_list(arg, errp);
    return opts ? bdrv_snapshot_load_tmp(bs, blk_options_get(opts, SNAPSHOT_OPT_ID),
                                         blk_options_get(opts, SNAPSHOT_OPT_NAME), errp)
                : -EINVAL;
}
