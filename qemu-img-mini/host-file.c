/* SPDX-License-Identifier: MIT */
/* The file or device of the host behind an image name: see host-file.h. */
#include "host-file.h"

#include <string.h>

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

void host_file_init(HostFile *file, const char *filename, bool image_opts)
{
    file->path = path_of(filename, image_opts);
    file->exists = file->path && stat(file->path, &file->st) == 0;
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
    if (S_ISBLK(a->st.st_mode) && S_ISBLK(b->st.st_mode)) {
        return a->st.st_rdev == b->st.st_rdev;
    }
    /* Several uses of /dev/zero or /dev/null do no harm. */
    return same_inode(&a->st, &b->st) && !S_ISCHR(a->st.st_mode);
}

bool host_file_has_shrunk(const HostFile *file)
{
    struct stat now;

    return file->exists && S_ISREG(file->st.st_mode) && stat(file->path, &now) == 0 &&
           same_inode(&file->st, &now) && now.st_size < file->st.st_size;
}
