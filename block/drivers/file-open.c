/* SPDX-License-Identifier: MIT */
/*
 * Opening a file for the file driver: what it is, and how its O_DIRECT wants its buffers.
 *
 * Everything here runs at open time in the home thread and may block, but never
 * for long: the type is known before open(2) could wait for the other end of a FIFO.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "qemu/host-utils.h"

#include "block/drivers/file-internal.h"

/* Alignments worth trying, in bytes; the largest serves when nothing could be found out. */
enum {
    MIN_DIO_ALIGN = 512,
    MAX_DIO_ALIGN = 4096,
};

static bool type_fits(mode_t mode, bool want_device)
{
    return want_device ? S_ISBLK(mode) || S_ISCHR(mode) : S_ISREG(mode);
}

static void set_type_error(Error **errp, const char *driver_name, const char *filename,
                           bool want_device)
{
    error_setg(errp, "'%s' driver requires '%s' to be %s", driver_name, filename,
               want_device ? "either a character or block device" : "a regular file");
}

static int try_open(const char *filename, int flags, bool is_block)
{
    /* On block devices O_NONBLOCK would skip the check for a medium. */
    int fd = RETRY_ON_EINTR(open(filename, flags | (is_block ? 0 : O_NONBLOCK)));

    if (fd >= 0 && !is_block && fcntl(fd, F_SETFL, flags) < 0) {
        int err = errno;

        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

int file_open_fd(const char *filename, const char *driver_name, bool want_device, int flags,
                 bool auto_rdonly, int *open_flags, Error **errp)
{
    struct stat st;
    int fd, err;

    flags |= O_CLOEXEC | O_NOCTTY;
    if (stat(filename, &st) < 0) {
        err = errno;
        error_setg_file_open(errp, err, filename);
        return -err;
    }
    if (!type_fits(st.st_mode, want_device)) {
        if (S_ISDIR(st.st_mode) && (flags & O_ACCMODE) == O_RDWR) {
            error_setg_file_open(errp, EISDIR, filename);
            return -EISDIR;
        }
        set_type_error(errp, driver_name, filename, want_device);
        return -EINVAL;
    }

    fd = try_open(filename, flags, S_ISBLK(st.st_mode));
    if (fd < 0 && auto_rdonly && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        flags = (flags & ~O_ACCMODE) | O_RDONLY;
        fd = try_open(filename, flags, S_ISBLK(st.st_mode));
    }
    if (fd < 0) {
        err = errno;
        if (err == EINVAL && (flags & O_DIRECT)) {
            error_setg(errp, "Could not open '%s': filesystem does not support O_DIRECT",
                       filename);
        } else {
            error_setg_file_open(errp, err, filename);
        }
        return -err;
    }

    /* The name may have come to mean another file since stat(). */
    if (fstat(fd, &st) < 0 || !type_fits(st.st_mode, want_device)) {
        set_type_error(errp, driver_name, filename, want_device);
        close(fd);
        return -EINVAL;
    }
    *open_flags = flags;
    return fd;
}

int64_t file_fd_length(int fd)
{
    struct stat st;
    uint64_t size;
    off_t end;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    /* Files of /proc have no length to tell, which must not be taken for empty. */
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        return st.st_size;
    }
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, &size) < 0) {
            return -errno;
        }
        return MIN(size, (uint64_t)INT64_MAX);
    }
    end = lseek(fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

static bool can_read(int fd, void *buf, size_t len)
{
    ssize_t ret = RETRY_ON_EINTR(pread(fd, buf, len, 0));

    /* Any other error says nothing about the alignment. */
    return ret >= 0 || errno != EINVAL;
}

/* What the kernel says; false when it is too old or the file system is silent. */
static bool ask_alignment(FileState *s)
{
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(s->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align > 0 &&
        is_power_of_2(stx.stx_dio_offset_align) && is_power_of_2(stx.stx_dio_mem_align)) {
        s->request_align = MAX(stx.stx_dio_offset_align, (uint32_t)MIN_DIO_ALIGN);
        s->mem_align = stx.stx_dio_mem_align;
        return true;
    }
#endif
    return false;
}

/* Reads with growing alignment until the kernel does not object any more. */
static void try_alignment(FileState *s)
{
    QEMU_AUTO_VFREE char *buf = qemu_memalign(MAX_DIO_ALIGN, 2 * MAX_DIO_ALIGN);
    uint32_t align;

    for (align = MIN_DIO_ALIGN; align < MAX_DIO_ALIGN; align *= 2) {
        if (can_read(s->fd, buf, align)) {
            break;
        }
    }
    s->request_align = MAX(s->request_align, align);

    for (align = MIN_DIO_ALIGN; align < MAX_DIO_ALIGN; align *= 2) {
        if (can_read(s->fd, buf + align, MAX_DIO_ALIGN)) {
            break;
        }
    }
    s->mem_align = align;
}

void file_probe_alignment(FileState *s)
{
    int sector_size;

    s->request_align = 1;
    s->mem_align = 1;
    if (!s->o_direct) {
        return;
    }
    if (ask_alignment(s)) {
        return;
    }
    if (s->is_device && ioctl(s->fd, BLKSSZGET, &sector_size) == 0 && sector_size > 0 &&
        is_power_of_2(sector_size)) {
        s->request_align = sector_size;
    }
    try_alignment(s);
}
