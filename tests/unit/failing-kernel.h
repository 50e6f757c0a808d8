/* SPDX-License-Identifier: MIT */
/*
 * A kernel that says no. The system calls that the file driver makes are replaced here: each can be
 * told to fail a few times, a regular file can pass for a block device, and O_DIRECT and
 * fallocate(2) behave as the test says, whatever the file system below has. Each program includes
 * it once.
 */
#ifndef TESTS_FAILING_KERNEL_H
#define TESTS_FAILING_KERNEL_H

#include <dlfcn.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"

typedef enum Call {
    CALL_OPEN,
    CALL_CLOSE,
    CALL_SETFL,
    CALL_SETLK,
    CALL_GETLK,
    CALL_FSTAT,
    CALL_FSTATVFS,
    CALL_PUNCH,
    CALL_ZERO_RANGE,
    CALL_ALLOCATE,
    CALL_POSIX_ALLOCATE,
    CALL_FTRUNCATE,
    CALL_PREAD,
    CALL_PWRITE,
    CALL_FSYNC,
    CALL_FDATASYNC,
    CALL_ZEROOUT,
    CALL_DISCARD,
    CALL_GETSIZE,
    CALL_SECTOR_SIZE,
    CALL_GETFLAGS,
    CALL_GETXATTR,
    CALL_SETXATTR,
    N_CALLS,
} Call;

/* Atomic, as worker threads make calls; the rest is set while none runs. */
static struct {
    int skip, times, error; /* after @skip calls, @times fail */
    int calls;
} fault[N_CALLS];

static struct {
    bool on;          /* only what the test opens is watched */
    ino_t device;     /* passes for a block device; 0: none */
    bool char_device; /* for a character device */
    ino_t changes;    /* is a device for fstat() only */
    bool direct;      /* O_DIRECT is not passed on */
    unsigned align, mem_align; /* of pread(); 0: any */
    struct statx dio;          /* what statx() says; no mask: it fails */
    int sector_size;
    bool short_write; /* the failing pwrite writes nothing, without an error */
    bool no_blocks;   /* fstatvfs() does not know how many */
    struct fsxattr xattr;
    unsigned xattr_sets, flags;
} kernel;

static inline void fail(Call call, int skip, int times, int error)
{
    fault[call].skip = skip;
    fault[call].error = error;
    fault[call].calls = 0;
    qatomic_set(&fault[call].times, times);
}

/* All that was armed has happened. */
static inline void assert_failed(Call call)
{
    g_assert_cmpint(qatomic_read(&fault[call].times), ==, 0);
}

static inline bool fails(Call call)
{
    if (!kernel.on) {
        return false;
    }
    qatomic_inc(&fault[call].calls);
    if (!qatomic_read(&fault[call].times) || fault[call].skip-- > 0) {
        return false;
    }
    fault[call].skip = 0;
    qatomic_dec(&fault[call].times);
    errno = fault[call].error;
    return true;
}

static inline void *real(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(fn);
    return fn;
}

#define REAL(name) ((__typeof__(&name))real(#name))

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    if (kernel.on && kernel.direct) {
        flags &= ~O_DIRECT;
    }
    return fails(CALL_OPEN) ? -1 : REAL(open64)(path, flags, mode);
}

int close(int fd)
{
    int ret = REAL(close)(fd);

    return fails(CALL_CLOSE) ? -1 : ret;
}

int fcntl64(int fd, int cmd, ...)
{
    Call call = cmd == F_SETFL ? CALL_SETFL : cmd == F_OFD_SETLK ? CALL_SETLK : CALL_GETLK;
    void *arg;
    va_list ap;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    if ((cmd == F_SETFL || cmd == F_OFD_SETLK || cmd == F_OFD_GETLK) && fails(call)) {
        return -1;
    }
    return REAL(fcntl64)(fd, cmd, arg);
}

static inline void disguise(struct stat64 *st, bool opened)
{
    if (kernel.on && S_ISREG(st->st_mode) &&
        (st->st_ino == kernel.device || (opened && st->st_ino == kernel.changes))) {
        st->st_mode = (kernel.char_device ? S_IFCHR : S_IFBLK) | 0600;
    }
}

int stat64(const char *path, struct stat64 *st)
{
    int ret = REAL(stat64)(path, st);

    if (ret == 0) {
        disguise(st, false);
    }
    return ret;
}

int fstat64(int fd, struct stat64 *st)
{
    int ret = fails(CALL_FSTAT) ? -1 : REAL(fstat64)(fd, st);

    if (ret == 0) {
        disguise(st, true);
    }
    return ret;
}

int fstatvfs64(int fd, struct statvfs64 *vfs)
{
    int ret = fails(CALL_FSTATVFS) ? -1 : REAL(fstatvfs64)(fd, vfs);

    if (kernel.on && kernel.no_blocks) {
        vfs->f_blocks = 0;
    }
    return ret;
}

int statx(int fd, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict stx)
{
    if (!kernel.on) {
        return REAL(statx)(fd, path, flags, mask, stx);
    }
    *stx = kernel.dio;
    errno = ENOSYS;
    return stx->stx_mask ? 0 : -1;
}

static inline int write_zeroes(int fd, off64_t offset, off64_t bytes)
{
    g_autofree uint8_t *zeroes = g_malloc0(bytes);
    ssize_t (*fn)(int, const void *, size_t, off64_t) = real("pwrite64");

    return fn(fd, zeroes, bytes, offset) == bytes ? 0 : -1;
}

/* As a file system that has all of it would do it. */
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    Call call = mode & FALLOC_FL_PUNCH_HOLE   ? CALL_PUNCH
                : mode & FALLOC_FL_ZERO_RANGE ? CALL_ZERO_RANGE
                                              : CALL_ALLOCATE;
    struct stat64 st;

    if (!kernel.on) {
        return REAL(fallocate64)(fd, mode, offset, bytes);
    }
    if (fails(call)) {
        return -1;
    }
    g_assert_cmpint(REAL(fstat64)(fd, &st), ==, 0);
    if (call == CALL_PUNCH) {
        bytes = MIN(bytes, st.st_size - offset);
    } else if (call == CALL_ALLOCATE) {
        g_assert_cmpint(offset + bytes, <=, st.st_size);
        return 0;
    }
    return write_zeroes(fd, offset, bytes);
}

int posix_fallocate64(int fd, off64_t offset, off64_t bytes)
{
    return fails(CALL_POSIX_ALLOCATE) ? fault[CALL_POSIX_ALLOCATE].error
                                      : REAL(posix_fallocate64)(fd, offset, bytes);
}

int ftruncate64(int fd, off64_t size)
{
    return fails(CALL_FTRUNCATE) ? -1 : REAL(ftruncate64)(fd, size);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t offset)
{
    ssize_t (*fn)(int, void *, size_t, off64_t) = real("pread64");

    if (fails(CALL_PREAD)) {
        return -1;
    }
    if (kernel.on && kernel.align &&
        (n % kernel.align || (uintptr_t)buf % kernel.mem_align)) {
        errno = EINVAL;
        return -1;
    }
    return fn(fd, buf, n, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    ssize_t (*fn)(int, const void *, size_t, off64_t) = real("pwrite64");

    if (fails(CALL_PWRITE)) {
        return kernel.short_write ? 0 : -1;
    }
    return fn(fd, buf, n, offset);
}

int fsync(int fd)
{
    return fails(CALL_FSYNC) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return fails(CALL_FDATASYNC) ? -1 : REAL(fdatasync)(fd);
}

int ioctl(int fd, unsigned long request, ...)
{
    struct stat64 st;
    void *arg;
    va_list ap;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (!kernel.on) {
        return REAL(ioctl)(fd, request, arg);
    }
    switch (request) {
    case BLKGETSIZE64:
        g_assert_cmpint(REAL(fstat64)(fd, &st), ==, 0);
        *(uint64_t *)arg = st.st_size;
        return fails(CALL_GETSIZE) ? -1 : 0;
    case BLKSSZGET:
        *(int *)arg = kernel.sector_size;
        return fails(CALL_SECTOR_SIZE) ? -1 : 0;
    case BLKZEROOUT:
    case BLKDISCARD:
        if (fails(request == BLKZEROOUT ? CALL_ZEROOUT : CALL_DISCARD)) {
            return -1;
        }
        return write_zeroes(fd, ((uint64_t *)arg)[0], ((uint64_t *)arg)[1]);
    case FS_IOC_GETFLAGS:
        *(unsigned *)arg = kernel.flags;
        return fails(CALL_GETFLAGS) ? -1 : 0;
    case FS_IOC_SETFLAGS:
        kernel.flags = *(unsigned *)arg;
        return 0;
    case FS_IOC_FSGETXATTR:
        *(struct fsxattr *)arg = kernel.xattr;
        return fails(CALL_GETXATTR) ? -1 : 0;
    case FS_IOC_FSSETXATTR:
        kernel.xattr = *(struct fsxattr *)arg;
        kernel.xattr_sets++;
        return fails(CALL_SETXATTR) ? -1 : 0;
    default:
        return REAL(ioctl)(fd, request, arg);
    }
}

#endif
