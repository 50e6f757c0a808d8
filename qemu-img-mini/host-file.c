/* SPDX-License-Identifier: MIT */
/* The file or device of the host behind an image name: see host-file.h. */
#include "host-file.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "block/block-options.h"

/* The innermost file node may stand below any number of formats and filters. */
static char *path_of_options(const BlockOptions *opts)
{
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        const char *key = blk_options_key(opts, i);

        if (!strcmp(key, "filename") || g_str_has_suffix(key, "file.filename")) {
            return g_strdup(blk_options_get(opts, key));
        }
    }
    return NULL;
}

static char *path_of(const char *filename, bool image_opts)
{
    g_autoptr(BlockOptions) opts = blk_options_new();

    if (image_opts) {
        blk_options_parse(opts, filename, "file", NULL);
        return path_of_options(opts);
    }
    if (g_str_has_prefix(filename, "json:")) {
        blk_options_parse_json(opts, filename + strlen("json:"), NULL);
        return path_of_options(opts);
    }
    return g_strdup(g_str_has_prefix(filename, "file:") ? filename + strlen("file:") : filename);
}

/* Sets what the loop device lies on; nothing when that cannot be found out. */
static void look_below_loop(HostFile *file)
{
    struct loop_info64 info;
    int fd = open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    /* Another block device below has its own number; that would take a walk through /sys. */
    if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && !info.lo_rdevice) {
        file->dev = info.lo_device;
        file->ino = info.lo_inode;
        file->start = info.lo_offset;
        if (info.lo_sizelimit && info.lo_sizelimit <= UINT64_MAX - info.lo_offset) {
            file->end = info.lo_offset + info.lo_sizelimit;
        }
    }
    close(fd);
}

void host_file_init(HostFile *file, const char *filename, bool image_opts)
{
    file->path = path_of(filename, image_opts);
    file->exists = file->path && stat(file->path, &file->st) == 0;
    if (file->exists) {
        file->dev = file->st.st_dev;
        file->ino = file->st.st_ino;
        file->start = 0;
        file->end = UINT64_MAX;
        if (S_ISBLK(file->st.st_mode) && major(file->st.st_rdev) == LOOP_MAJOR) {
            look_below_loop(file);
        }
    }
}

void host_file_clear(HostFile *file)
{
    g_clear_pointer(&file->path, g_free);
    file->exists = false;
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool host_file_is_same(const HostFile *a, const HostFile *b)
{
    if (!a->exists || !b->exists) {
        return false;
    }
    if (S_ISBLK(a->st.st_mode) && S_ISBLK(b->st.st_mode) && a->st.st_rdev == b->st.st_rdev) {
        return true;
    }
    /* Several uses of /dev/zero or /dev/null do no harm, nor do two parts of a disk. */
    return a->dev == b->dev && a->ino == b->ino && !S_ISCHR(a->st.st_mode) &&
           a->start < b->end && b->start < a->end;
}

bool host_file_has_shrunk(const HostFile *file)
{
    struct stat now;

    return file->exists && S_ISREG(file->st.st_mode) && stat(file->path, &now) == 0 &&
           same_inode(&file->st, &now) && now.st_size < file->st.st_size;
}
