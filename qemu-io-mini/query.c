/* SPDX-License-Identifier: MIT */
/* Commands that ask about the image or change its length: alloc, info, length, map, truncate. */
#include "io.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "specific-info.h"

/* --- alloc --- */

static int run_alloc(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(io->blk);
    int64_t start = io_parse_size(argv[1]);
    int64_t count = start < 0 ? -1 : argc > 2 ? io_parse_size(argv[2]) : (int64_t)BDRV_SECTOR_SIZE;
    int64_t length = start < 0 || count < 0 ? -1 : bdrv_getlength(bs);
    int64_t allocated = 0;
    int64_t n;

    if (start < 0 || count < 0) {
        return -EINVAL;
    }
    if (length < 0) {
        printf("getlength: %s\n", strerror(-length));
        return length;
    }
    count = MIN(count, MAX(length - start, 0));
    for (int64_t done = 0; done < count; done += n) {
        int ret = bdrv_is_allocated(bs, start + done, count - done, &n);

        if (ret < 0) {
            printf("is_allocated failed: %s\n", strerror(-ret));
            return ret;
        }
        if (!n) {
            break;
        }
        allocated += ret ? n : 0;
    }
    g_autofree char *where = io_size_string(start);
    printf("%" PRId64 "/%" PRId64 " bytes allocated at offset %s\n", allocated, count, where);
    return 0;
}

const IoCommand io_alloc_command = {
    .name = "alloc",
    .altname = "a",
    .run = run_alloc,
    .min_args = 1,
    .max_args = 2,
    .args = "offset [count]",
    .summary = "checks if offset is allocated in the file",
};

/* --- map --- */

/* The longest range from @offset that is allocated throughout, or nowhere. 0, 1 or -errno. */
static int next_extent(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum)
{
    int64_t n = 0;
    int first = bdrv_is_allocated(bs, offset, bytes, &n);
    int ret = first;

    for (*pnum = n; ret >= 0 && ret == first && n && *pnum < bytes; *pnum += n) {
        ret = bdrv_is_allocated(bs, offset + *pnum, bytes - *pnum, &n);
        if (ret != first) {
            break;
        }
    }
    return first;
}

static int run_map(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(io->blk);
    int64_t length = bdrv_getlength(bs);
    int64_t n;

    if (length < 0) {
        error_report("Failed to query image length: %s", strerror(-length));
        return length;
    }
    for (int64_t offset = 0; offset < length; offset += n) {
        int ret = next_extent(bs, offset, length - offset, &n);

        if (ret < 0) {
            error_report("Failed to get allocation status: %s", strerror(-ret));
            return ret;
        }
        if (!n) {
            error_report("Unexpected end of image");
            return -EIO;
        }
        g_autofree char *size = io_size_string(n);
        g_autofree char *where = io_size_string(offset);
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", size,
               (uint64_t)n, ret ? "   " : "not", where, (uint64_t)offset);
    }
    return 0;
}

const IoCommand io_map_command = {
    .name = "map",
    .run = run_map,
    .args = "",
    .summary = "prints the allocated areas of a file",
};

/* --- length, info --- */

static int run_length(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    int64_t length = blk_getlength(io->blk);

    if (length < 0) {
        printf("getlength: %s\n", strerror(-length));
        return length;
    }
    g_autofree char *text = io_size_string(length);
    printf("%s\n", text);
    return 0;
}

const IoCommand io_length_command = {
    .name = "length",
    .altname = "l",
    .run = run_length,
    .summary = "gets the length of the current file",
};

static int run_info(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(io->blk);
    BlockDriverInfo bdi = {};
    Error *err = NULL;
    int ret;

    printf("format name: %s\n", bdrv_get_format_name(bs));
    if (bdrv_get_protocol_name(bs)) {
        printf("format name: %s\n", bdrv_get_protocol_name(bs));
    }
    ret = bdrv_get_info(bs, &bdi);
    if (ret < 0) {
        return ret;
    }
    g_autofree char *cluster = io_size_string(bdi.cluster_size);
    g_autofree char *vmstate = io_size_string(bdi.vm_state_offset);
    printf("cluster size: %s\nvm state offset: %s\n", cluster, vmstate);
    json_t *specific = specific_info_gather(bs, &err);
    if (err) {
        error_report_err(err);
        return -EIO;
    }
    if (json_object_size(specific)) {
        printf("Format specific information:\n");
        specific_info_print(specific, 4);
    }
    json_decref(specific);
    return 0;
}

const IoCommand io_info_command = {
    .name = "info",
    .altname = "i",
    .run = run_info,
    .summary = "prints information about the current file",
};

/* --- truncate --- */

static int parse_prealloc(const char *mode, PreallocMode *prealloc)
{
    static const char *const names[] = {
        [PREALLOC_MODE_OFF] = "off",
        [PREALLOC_MODE_METADATA] = "metadata",
        [PREALLOC_MODE_FALLOC] = "falloc",
        [PREALLOC_MODE_FULL] = "full",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(mode, names[i])) {
            *prealloc = i;
            return 0;
        }
    }
    error_report("Invalid preallocation mode '%s'", mode);
    return -EINVAL;
}

static int run_truncate(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    PreallocMode prealloc = PREALLOC_MODE_OFF;
    Error *err = NULL;
    int c, ret;

    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c != 'm') {
            return io_usage(cmd);
        }
        if (parse_prealloc(optarg, &prealloc) < 0) {
            return -EINVAL;
        }
    }
    if (optind >= argc) {
        return io_usage(cmd);
    }
    int64_t length = io_parse_size(argv[optind]);
    if (length < 0) {
        return length;
    }
    ret = blk_truncate(io->blk, length, false, prealloc, 0, &err);
    if (ret < 0) {
        error_report_err(err);
    }
    return ret;
}

const IoCommand io_truncate_command = {
    .name = "truncate",
    .altname = "t",
    .run = run_truncate,
    .min_args = 1,
    .max_args = 3,
    .perm = BLK_PERM_WRITE | BLK_PERM_RESIZE,
    .args = "[-m prealloc_mode] off",
    .summary = "truncates the current file at the given offset",
};
