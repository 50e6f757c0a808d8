/* SPDX-License-Identifier: MIT */
/* Contents of simulated disks as files of the host: for other programs to look at. Blocks. */
#include <fcntl.h>
#include <unistd.h>

#include "block/drivers/sim-internal.h"

#define CHUNK (1 << 20)

static int fail(Error **errp, const char *what, const char *filename)
{
    int ret = -errno;

    error_setg_errno(errp, -ret, "Could not %s '%s'", what, filename);
    return ret;
}

/* 0 or -1 with errno. */
static int write_all(int fd, const uint8_t *buf, size_t bytes, int64_t offset)
{
    while (bytes > 0) {
        ssize_t n = pwrite(fd, buf, bytes, offset);

        if (n < 0 && errno != EINTR) {
            return -1;
        }
        n = MAX(n, 0);
        buf += n;
        bytes -= n;
        offset += n;
    }
    return 0;
}

static int write_bytes(int fd, const SimBytes *b)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    int64_t n;

    for (int64_t at = 0; at < b->length; at += n) {
        if (!sim_bytes_allocated(b, at, b->length - at, &n)) {
            continue;
        }
        n = MIN(n, CHUNK);
        sim_bytes_read(b, at, buf, n);
        if (write_all(fd, buf, n, at) < 0) {
            return -1;
        }
    }
    return ftruncate(fd, b->length);
}

int sim_disk_export(SimDisk *disk, const char *filename, Error **errp)
{
    SimBytes now = { 0 };
    int fd = open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), ret = 0;

    if (fd < 0) {
        return fail(errp, "open", filename);
    }
    qemu_mutex_lock(&disk->power->lock);
    sim_bytes_copy(&now, &disk->live);
    qemu_mutex_unlock(&disk->power->lock);
    if (write_bytes(fd, &now) < 0) {
        ret = fail(errp, "write", filename);
    }
    sim_bytes_clear(&now);
    close(fd);
    return ret;
}

/* -1 with errno. */
static int read_bytes(int fd, SimBytes *b)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    int64_t at = 0;
    ssize_t n;

    while ((n = pread(fd, buf, CHUNK, at)) != 0) {
        if (n < 0 && errno != EINTR) {
            return -1;
        }
        n = MAX(n, 0);
        sim_bytes_write(b, at, n && buffer_is_zero(buf, n) ? NULL : buf, n);
        at += n;
    }
    return 0;
}

int sim_disk_import(SimDisk *disk, const char *filename, Error **errp)
{
    SimBytes contents = { 0 };
    int fd = open(filename, O_RDONLY | O_CLOEXEC), ret = 0;

    if (fd < 0) {
        return fail(errp, "open", filename);
    }
    if (read_bytes(fd, &contents) < 0) {
        ret = fail(errp, "read", filename);
        sim_bytes_clear(&contents);
    } else {
        qemu_mutex_lock(&disk->power->lock);
        sim_bytes_clear(&disk->live);
        disk->live = contents;
        sim_log_restart(disk->power);
        qemu_mutex_unlock(&disk->power->lock);
    }
    close(fd);
    return ret;
}
