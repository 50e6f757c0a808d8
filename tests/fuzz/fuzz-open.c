/* SPDX-License-Identifier: MIT */
/*
 * Whole trees of nodes: the input is a "json:" name, or option strings with one on each line. Files
 * cannot be opened, but there are the disks "fuzz-mem". What opens has a name that opens again.
 */
#include "fuzz.h"

static uint8_t buf[4096];

static BlockBackend *open_input(const char *text)
{
    BlockOptions *opts;

    if (g_str_has_prefix(text, "json:")) {
        return blk_new_open(text, NULL, NULL, BDRV_O_RDWR | BDRV_O_RESIZE, NULL);
    }
    opts = blk_options_new();
    if (!blk_options_parse(opts, text, "driver", NULL)) {
        blk_options_free(opts);
        return NULL;
    }
    return blk_new_open(NULL, NULL, opts, BDRV_O_RDWR | BDRV_O_RESIZE, NULL);
}

/* Options that let a request wait: what for is not in the input. */
static bool would_wait(const char *text)
{
    static const char *const words[] = { "latency", "bps", "iops", "\\u", "align", "throttle", "sim" };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strstr(text, words[i])) {
            return true;
        }
    }
    return false;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static const uint8_t disk[8192] = "disk";
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autofree char *name = NULL;
    BlockBackend *blk;

    if (would_wait(text)) {
        return;
    }
    fuzz_disk_set(0, disk, sizeof(disk));
    fuzz_disk_set(1, disk, sizeof(disk) / 2);
    blk = open_input(text);
    if (!blk) {
        return;
    }
    blk_pread(blk, 0, 4096, buf, 0);
    blk_pwrite(blk, 512, 700, buf, 0);
    blk_flush(blk);
    name = g_strdup(bdrv_get_filename(blk_bs(blk)));
    blk_options_free(bdrv_get_specific_info(blk_bs(blk), NULL));
    blk_options_free(bdrv_get_limits(blk_bs(blk)));
    blk_unref(blk);
    blk_unref(blk_new_open(name, NULL, NULL, 0, NULL));
}
