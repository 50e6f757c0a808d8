/* SPDX-License-Identifier: MIT */
/*
 * The file or device of the host behind an image name: is it the same as another one, has
 * it become shorter? Looks at the file system only. Main thread.
 */
#ifndef IMG_HOST_FILE_H
#define IMG_HOST_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

typedef struct HostFile {
    char *path;     /* NULL: the name does not tell */
    bool exists;
    struct stat st; /* if it exists */
    /* Whose bytes these are: the file, or what a loop device lies on. */
    dev_t dev;
    ino_t ino;
    uint64_t start; /* bytes; a loop device shows a part only */
    uint64_t end;
} HostFile;

/* @filename is an option string if @image_opts. Free with host_file_clear(). */
void host_file_init(HostFile *file, const char *filename, bool image_opts);
void host_file_clear(HostFile *file);

/* The same file, or the same device, whatever the names; or a loop device over the other. */
bool host_file_is_same(const HostFile *a, const HostFile *b);

/* It is shorter now than it was at host_file_init(). */
bool host_file_has_shrunk(const HostFile *file);

#endif
