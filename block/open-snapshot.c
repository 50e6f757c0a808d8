/* SPDX-License-Identifier: MIT */
/*
 * BDRV_O_SNAPSHOT: the image is opened for reading only, as the backing file of a qcow2
 * image that has no name and so is gone when it is closed. Home thread, not in a coroutine.
 */
#include "node.h"

#include <glib/gstdio.h>

/* What the temporary image does not inherit from how the image is opened. */
#define BASE_FLAGS (BDRV_O_SNAPSHOT | BDRV_O_RDWR | BDRV_O_RESIZE)

/* An empty file where temporary files go that may become large; to be freed. */
static char *temporary_file(Error **errp)
{
    const char *dir = g_getenv("TMPDIR");
    char *name = g_build_filename(dir && *dir ? dir : "/var/tmp", "vl.XXXXXX", NULL);
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        error_setg_errno(errp, errno, "Could not open temporary file '%s'", name);
        g_free(name);
        return NULL;
    }
    close(fd);
    return name;
}

/* The file is removed in any case; the node has it open. */
static BlockDriverState *open_temporary(int64_t length, int flags, Error **errp)
{
    BlockDriver *drv = bdrv_find_format("qcow2");
    g_autofree char *name = temporary_file(errp);
    BlockOptions *options = blk_options_new();
    BlockDriverState *bs = NULL;

    if (!name) {
        blk_options_free(options);
        return NULL;
    }
    blk_options_setf(options, "size", "%" PRId64, length);
    if (bdrv_create(drv, name, options, errp) == 0) {
        options = blk_options_new();
        blk_options_set(options, "driver", "qcow2");
        /* Nobody finds the file after a crash: there is nothing to flush it for. */
        bs = bdrv_open_node(name, options,
                            (flags & BDRV_O_UNMAP) | BDRV_O_RDWR | BDRV_O_RESIZE |
                                BDRV_O_NO_FLUSH | BDRV_O_NO_BACKING,
                            errp);
    }
    g_unlink(name);
    return bs;
}

BlockDriverState *bdrv_open_snapshot(const char *filename, BlockOptions *options, int flags,
                                     Error **errp)
{
    BlockDriverState *base = bdrv_open_node(filename, options, flags & ~BASE_FLAGS, errp);
    BlockDriverState *bs;
    int64_t length;

    if (!base) {
        return NULL;
    }
    length = bdrv_getlength(base);
    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get image size");
        bdrv_unref(base);
        return NULL;
    }
    bs = open_temporary(length, flags, errp);
    if (bs && !(flags & BDRV_O_RDWR)) {
        bs->read_only = true;
    }
    if (!bs) {
        bdrv_unref(base);
    } else if (!bdrv_attach_child(bs, base, "backing", errp) || bdrv_refresh_limits(bs, errp) < 0) {
        bdrv_unref(bs);
        bs = NULL;
    }
    return bs;
}
