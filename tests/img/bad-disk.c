/* SPDX-License-Identifier: MIT */
/*
 * A disk with a fault, for tests: preloaded, it changes what reads of one file see.
 *
 *   BAD_FILE=PATH      the file
 *   BAD_OFFSET=BYTES   a read that touches this byte fails with EIO
 *   SHRINK_AT=BYTES    the first read that touches this byte, and SHRINK_TO=BYTES
 *                      what the file is truncated to just before it
 *
 * Any thread; the shrinking happens once.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>


static bool is_bad_file(int fd)
{
    const char *path = getenv("BAD_FILE");
    struct stat a, b;

    return path && !stat(path, &a) && !fstat(fd, &b) && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

static bool touches(const char *variable, off64_t offset, size_t count)
{
    const char *text = getenv(variable);
    off64_t at = text ? atoll(text) : -1;

    return at >= offset && at < offset + (off64_t)count;
}

/* The read must fail. */
static bool fault(int fd, off64_t offset, size_t count)
{
    static atomic_flag shrunk = ATOMIC_FLAG_INIT;

    if (!is_bad_file(fd)) {
        return false;
    }
    if (touches("SHRINK_AT", offset, count) && !atomic_flag_test_and_set(&shrunk) &&
        truncate(getenv("BAD_FILE"), atoll(getenv("SHRINK_TO"))) < 0) {
        abort();
    }
    if (touches("BAD_OFFSET", offset, count)) {
        errno = EIO;
        return true;
    }
    return false;
}

ssize_t pread64(int fd, void *buf, size_t count, off64_t offset)
{
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");

    return fault(fd, offset, count) ? -1 : real(fd, buf, count, offset);
}

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    ssize_t (*real)(int, const struct iovec *, int, off64_t) = dlsym(RTLD_NEXT, "preadv64");
    size_t count = 0;

    for (int i = 0; i < n; i++) {
        count += iov[i].iov_len;
    }
    return fault(fd, offset, count) ? -1 : real(fd, iov, n, offset);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    ssize_t (*real)(int, const struct iovec *, int, off64_t, int) = dlsym(RTLD_NEXT, "preadv64v2");
    size_t count = 0;

    for (int i = 0; i < n; i++) {
        count += iov[i].iov_len;
    }
    return fault(fd, offset, count) ? -1 : real(fd, iov, n, offset, flags);
}
