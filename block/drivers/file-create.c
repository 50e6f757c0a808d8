/* SPDX-License-Identifier: MIT */
/*
 * Creating image files.
 *
 * The file is opened without O_TRUNC, locked, and only then emptied: an image that
 * another process uses is refused and keeps its contents. A file that did not exist
 * before is removed again when its creation fails.
 */
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "qemu/thread-pool.h"

#include "block/drivers/file-internal.h"

/* Fragmentation costs more than the space this wastes at the end of a file; bytes. */
#define DEFAULT_EXTENT_SIZE_HINT (1024 * 1024)

/* In the order in which tools print the values of a new image. */
const BlockCreateOption file_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { "nocow", BLOCK_OPT_BOOL, "Turn off copy-on-write (valid only on btrfs)", NULL },
    { "preallocation", BLOCK_OPT_STRING,
      "Preallocation mode (allowed values: off, falloc, full)", NULL },
    { "extent_size_hint", BLOCK_OPT_SIZE,
      "Extent size hint for the image file, 0 to disable", NULL },
    { NULL },
};

const BlockCreateOption host_device_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { NULL },
};

typedef struct FileCreate {
    const char *filename;
    const char *driver_name;
    bool device;
    uint64_t size;
    PreallocMode prealloc;
    bool nocow;
    bool hint_given;
    uint64_t extent_size_hint;
    FileProgress progress;
    Error *err;
} FileCreate;

static int parse_prealloc(BlockOptions *opts, PreallocMode *mode, Error **errp)
{
    g_autofree char *value = blk_options_take(opts, "preallocation");

    *mode = PREALLOC_MODE_OFF;
    if (!value || !strcmp(value, "off")) {
        return 0;
    } else if (!strcmp(value, "falloc")) {
        *mode = PREALLOC_MODE_FALLOC;
    } else if (!strcmp(value, "full")) {
        *mode = PREALLOC_MODE_FULL;
    } else if (!strcmp(value, "metadata")) {
        error_setg(errp, "Unsupported preallocation mode: metadata");
        return -ENOTSUP;
    } else {
        error_setg(errp, "invalid parameter value: %s", value);
        return -EINVAL;
    }
    return 0;
}

static int parse_options(FileCreate *c, BlockOptions *opts, Error **errp)
{
    uint64_t hint = 0;
    int ret = blk_options_take_size(opts, "size", &c->size, errp);

    if (ret >= 0) {
        ret = parse_prealloc(opts, &c->prealloc, errp);
    }
    if (ret >= 0) {
        ret = blk_options_take_bool(opts, "nocow", &c->nocow, errp);
    }
    if (ret >= 0) {
        ret = blk_options_take_size(opts, "extent_size_hint", &hint, errp);
    }
    if (ret < 0) {
        return ret;
    }
    c->hint_given = ret > 0;
    c->extent_size_hint = c->hint_given ? hint : DEFAULT_EXTENT_SIZE_HINT;
    if (c->size > INT64_MAX - BDRV_SECTOR_SIZE) {
        error_setg(errp, "Image size is too large");
        return -EFBIG;
    }
    c->size = ROUND_UP(c->size, BDRV_SECTOR_SIZE);
    return 0;
}

/* Takes effect on an empty file only. That other file systems do not know it is fine. */
static void set_nocow(int fd)
{
    int attr;

    if (ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0) {
        attr |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &attr);
    }
}

static int set_extent_size_hint(int fd, const FileCreate *c, Error **errp)
{
    struct fsxattr attr;
    int ret = 0;

    if (c->extent_size_hint == 0) {
        return 0;
    }
    if (c->extent_size_hint > UINT32_MAX) {
        error_setg(errp, "Extent size hint is too large");
        return -EINVAL;
    }
    if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0) {
        ret = -errno;
    } else if (!(attr.fsx_xflags & FS_XFLAG_EXTSIZE) ||
               attr.fsx_extsize != c->extent_size_hint) {
        attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attr.fsx_extsize = c->extent_size_hint;
        ret = ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
    }
    /* The default hint is a wish; few file systems grant it. */
    if (ret < 0 && c->hint_given && ret != -EOPNOTSUPP && ret != -ENOTTY) {
        error_setg_errno(errp, -ret, "Could not set extent size hint");
        return ret;
    }
    return 0;
}

static int fill_file(FileCreate *c, int fd, Error **errp)
{
    ERRP_GUARD();
    FileLock lock = { 0 };
    int ret = 0, sync_error;

    if (file_lock_supported(fd)) {
        ret = file_lock_acquire(&lock, fd, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                BLK_PERM_ALL & ~BLK_PERM_RESIZE, c->filename, errp);
    }
    if (ret == 0) {
        ret = file_resize_fd(fd, 0, PREALLOC_MODE_OFF, 1, &sync_error, file_progress_note,
                             &c->progress, errp);
    }
    if (ret == 0) {
        if (c->nocow) {
            set_nocow(fd);
        }
        ret = set_extent_size_hint(fd, c, errp);
    }
    if (ret == 0) {
        ret = file_resize_fd(fd, c->size, c->prealloc, 1, &sync_error, file_progress_note,
                             &c->progress, errp);
        if (ret == -EFBIG) {
            g_clear_error(errp);
            error_setg(errp, "The image size is too large for file format 'raw'");
        }
    }
    return ret;
}

static int create_file(FileCreate *c, Error **errp)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    struct stat st;
    bool created = true;
    int fd, ret;

    fd = RETRY_ON_EINTR(open(c->filename, flags | O_EXCL, 0644));
    if (fd < 0 && errno == EEXIST) {
        created = false;
        fd = RETRY_ON_EINTR(open(c->filename, flags, 0644));
    }
    if (fd < 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not create '%s'", c->filename);
        return ret;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        error_setg(errp, "'%s' driver requires '%s' to be a regular file", c->driver_name,
                   c->filename);
        ret = -EINVAL;
    } else {
        ret = fill_file(c, fd, errp);
    }
    if (close(fd) < 0 && ret == 0) {
        ret = -errno;
        error_setg_errno(errp, -ret, "Could not close the new file");
    }
    if (ret < 0 && created) {
        unlink(c->filename);
    }
    return ret;
}

/* What was on the device before must not be taken for the new image. */
static int erase_signature(int fd, int64_t length)
{
    QEMU_AUTO_VFREE char *buf = qemu_try_memalign(4096, BDRV_SECTOR_SIZE);
    ssize_t ret;

    if (length == 0) {
        /* Such as /dev/null, which has nothing to sync either. */
        return 0;
    }
    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, BDRV_SECTOR_SIZE);
    ret = RETRY_ON_EINTR(pwrite(fd, buf, MIN(length, (int64_t)BDRV_SECTOR_SIZE), 0));
    return ret < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int create_device(FileCreate *c, Error **errp)
{
    FileLock lock = { 0 };
    int64_t length;
    int open_flags, ret;
    int fd = file_open_fd(c->filename, c->driver_name, true, O_RDWR, false, &open_flags, errp);

    if (fd < 0) {
        return fd;
    }
    length = file_fd_length(fd);
    ret = 0;
    if (length < 0) {
        ret = length;
        error_setg_errno(errp, -ret, "Could not determine the device's size");
    } else if ((uint64_t)length < c->size) {
        ret = -EINVAL;
        error_setg(errp, "Cannot grow device files");
    }
    if (ret == 0 && file_lock_supported(fd)) {
        ret = file_lock_acquire(&lock, fd, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                BLK_PERM_ALL & ~BLK_PERM_RESIZE, c->filename, errp);
    }
    if (ret == 0) {
        ret = erase_signature(fd, length);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not clear the new image's first sector");
        }
    }
    close(fd);
    return ret;
}

/* Worker thread. */
static int create_worker(void *opaque)
{
    FileCreate *c = opaque;

    return c->device ? create_device(c, &c->err) : create_file(c, &c->err);
}

static int coroutine_fn co_create(BlockDriver *drv, const char *filename, BlockOptions *opts,
                                  bool device, Error **errp)
{
    FileCreate c = {
        .filename = filename,
        .driver_name = drv->format_name,
        .device = device,
    };
    const char *rest = filename;
    int ret = parse_options(&c, opts, errp);

    if (ret < 0) {
        return ret;
    }
    if (g_str_has_prefix(filename, drv->protocol_name) &&
        filename[strlen(drv->protocol_name)] == ':') {
        rest += strlen(drv->protocol_name) + 1;
    }
    c.filename = rest;
    file_progress_begin(&c.progress, bdrv_report_create_progress, NULL);
    ret = thread_pool_submit_co(create_worker, &c);
    file_progress_end(&c.progress);
    if (ret < 0 && !c.err) {
        error_setg_errno(&c.err, -ret, "Could not create '%s'", filename);
    }
    error_propagate(errp, c.err);
    return ret;
}

int coroutine_fn file_co_create_opts(BlockDriver *drv, const char *filename,
                                     BlockOptions *opts, Error **errp)
{
    return co_create(drv, filename, opts, false, errp);
}

int coroutine_fn host_device_co_create_opts(BlockDriver *drv, const char *filename,
                                            BlockOptions *opts, Error **errp)
{
    return co_create(drv, filename, opts, true, errp);
}
