/* SPDX-License-Identifier: MIT */
/*
 * The file driver on a kernel that says no. The system calls that it makes are replaced here: each
 * can be told to fail a few times, a regular file can pass for a block device, and O_DIRECT and
 * fallocate(2) behave as the test says, whatever the file system below has.
 */
#include <dlfcn.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"

#include "block/block-backend.h"
#include "block/block-driver.h"
#include "block/block-image.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define IMG_SIZE (64 * KIB)

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

static void fail(Call call, int skip, int times, int error)
{
    fault[call].skip = skip;
    fault[call].error = error;
    fault[call].calls = 0;
    qatomic_set(&fault[call].times, times);
}

/* All that was armed has happened. */
static void assert_failed(Call call)
{
    g_assert_cmpint(qatomic_read(&fault[call].times), ==, 0);
}

static bool fails(Call call)
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

static void *real(const char *name)
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

static void disguise(struct stat64 *st, bool opened)
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

static int write_zeroes(int fd, off64_t offset, off64_t bytes)
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

/* --- the fixture: a context, and a file of 0x11 --- */

typedef struct Fixture {
    AioContext *ctx;
    char *dir, *img, *new_img;
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    g_autofree char *contents = g_malloc(IMG_SIZE), *here = g_get_current_dir();

    bdrv_init();
    f->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(f->ctx);
    f->dir = g_build_filename(here, "test-file-errors-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->img = g_build_filename(f->dir, "a.img", NULL);
    f->new_img = g_build_filename(f->dir, "new.img", NULL);
    memset(contents, 0x11, IMG_SIZE);
    g_assert_true(g_file_set_contents(f->img, contents, IMG_SIZE, NULL));
    memset(fault, 0, sizeof(fault));
    memset(&kernel, 0, sizeof(kernel));
    kernel.on = true;
}

static void teardown(Fixture *f, gconstpointer data)
{
    kernel.on = false;
    unlink(f->img);
    unlink(f->new_img);
    g_assert_cmpint(rmdir(f->dir), ==, 0);
    g_free(f->img);
    g_free(f->new_img);
    g_free(f->dir);
    qemu_set_current_aio_context(NULL);
    aio_context_unref(f->ctx);
}

static ino_t inode_of(const char *path)
{
    struct stat64 st;

    g_assert_cmpint(REAL(stat64)(path, &st), ==, 0);
    return st.st_ino;
}

static int64_t size_of(const char *path)
{
    struct stat64 st;

    g_assert_cmpint(REAL(stat64)(path, &st), ==, 0);
    return st.st_size;
}

static BlockBackend *try_open(Fixture *f, const char *more, int flags, Error **errp)
{
    BlockOptions *opts = blk_options_new();

    blk_options_set(opts, "driver", kernel.device ? "host_device" : "file");
    blk_options_set(opts, "filename", f->img);
    if (more) {
        g_assert_true(blk_options_parse(opts, more, NULL, &error_abort));
    }
    return blk_new_open(NULL, NULL, opts, flags, errp);
}

static BlockBackend *open_rw(Fixture *f)
{
    return try_open(f, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP, &error_abort);
}

static void assert_message(Error *err, const char *message)
{
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), message)) {
        g_error("'%s' is not in '%s'", message, error_get_pretty(err));
    }
    error_free(err);
}

static void open_refused(Fixture *f, const char *more, int flags, const char *message)
{
    Error *err = NULL;

    g_assert_null(try_open(f, more, flags, &err));
    assert_message(err, message);
}

static void assert_bytes(BlockBackend *blk, int64_t offset, size_t len, uint8_t value)
{
    g_autofree uint8_t *buf = g_malloc(len);

    g_assert_cmpint(blk_pread(blk, offset, len, buf, 0), ==, 0);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, value);
    }
}

static void fill(BlockBackend *blk)
{
    g_autofree uint8_t *buf = g_malloc(IMG_SIZE);

    memset(buf, 0x11, IMG_SIZE);
    g_assert_cmpint(blk_pwrite(blk, 0, IMG_SIZE, buf, 0), ==, 0);
}

/* Zeroes, whoever writes them, are where they should be and nowhere else. */
static void assert_zeroed(BlockBackend *blk, int64_t offset, int64_t bytes, int flags)
{
    fill(blk);
    g_assert_cmpint(blk_pwrite_zeroes(blk, offset, bytes, flags), ==, 0);
    assert_bytes(blk, offset, bytes, 0);
    assert_bytes(blk, offset - 1, 1, 0x11);
    assert_bytes(blk, offset + bytes, 1, 0x11);
}

/* --- zeroes and discards --- */

static const int not_there[] = { EOPNOTSUPP, ENOSYS, ENODEV, ENOTTY };

/* Without ZERO_RANGE: a hole that is then allocated; and it is asked for once only. */
static void test_no_zero_range(Fixture *f, gconstpointer data)
{
    for (size_t i = 0; i < G_N_ELEMENTS(not_there); i++) {
        BlockBackend *blk = open_rw(f);

        fail(CALL_ZERO_RANGE, 0, 1, not_there[i]);
        fail(CALL_PUNCH, 0, 1, EINTR);
        fail(CALL_ALLOCATE, 0, 1, EINTR);
        assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
        assert_failed(CALL_PUNCH);
        assert_failed(CALL_ALLOCATE);
        assert_zeroed(blk, 8 * KIB, 8 * KIB, 0);
        g_assert_cmpint(fault[CALL_ZERO_RANGE].calls, ==, 1);
        g_assert_cmpint(fault[CALL_ALLOCATE].calls, ==, 3);
        blk_unref(blk);
    }
}

/* A range that the file system does not like says nothing about the next one. */
static void test_zero_range_of_odd_range(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_ZERO_RANGE, 0, 1, EINVAL);
    assert_zeroed(blk, 4 * KIB + 1, 4 * KIB, 0);
    assert_failed(CALL_ZERO_RANGE);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    g_assert_cmpint(fault[CALL_ZERO_RANGE].calls, ==, 2);
    blk_unref(blk);
}

/* With no fallocate(2) at all zeroes are written; who does not want that is told. */
static void test_no_fallocate(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_ZERO_RANGE, 0, 1, EOPNOTSUPP);
    fail(CALL_ALLOCATE, 0, 1, EOPNOTSUPP);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    g_assert_cmpint(fault[CALL_ALLOCATE].calls, ==, 1);
    fail(CALL_PUNCH, 0, 1, EOPNOTSUPP);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    assert_failed(CALL_PUNCH);
    fill(blk);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_NO_FALLBACK), ==, -ENOTSUP);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    /* A discard is advice. */
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    g_assert_cmpint(fault[CALL_PUNCH].calls, ==, 1);
    blk_unref(blk);
}

static void test_zeroes_fail(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_ZERO_RANGE, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, 0), ==, -EIO);
    fail(CALL_ZERO_RANGE, 0, 1, EOPNOTSUPP);
    fail(CALL_PUNCH, 0, 1, ENOSPC);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, 0), ==, -ENOSPC);
    fail(CALL_PUNCH, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_MAY_UNMAP), ==, -EIO);
    fail(CALL_PUNCH, 0, 1, EIO);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, -EIO);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
}

/* --- a device --- */

static void test_device_zeroes(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    blk = open_rw(f);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    fail(CALL_ZEROOUT, 0, 1, EINTR);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    assert_failed(CALL_ZEROOUT);
    fail(CALL_ZEROOUT, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, 0), ==, -EIO);
    /* Less than a sector is written. */
    fail(CALL_ZEROOUT, 0, 0, 0);
    assert_zeroed(blk, 100, 100, 0);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 0);
    /* Unmapping, where the device can. */
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 0);
    fail(CALL_PUNCH, 0, 1, EIO);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_MAY_UNMAP), ==, -EIO);
    fail(CALL_PUNCH, 0, 1, EOPNOTSUPP);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 1);
    g_assert_cmpint(blk_pwrite_zeroes(blk, 0, 4 * KIB, BDRV_REQ_NO_FALLBACK), ==, -ENOTSUP);
    /* What the device lacks is asked for once. */
    fail(CALL_ZEROOUT, 0, 1, ENOTTY);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, 0);
    g_assert_cmpint(fault[CALL_ZEROOUT].calls, ==, 1);
    blk_unref(blk);
}

static void test_device_discard(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    blk = open_rw(f);
    fail(CALL_DISCARD, 0, 1, EINTR);
    g_assert_cmpint(blk_pdiscard(blk, 4 * KIB, 4 * KIB), ==, 0);
    assert_failed(CALL_DISCARD);
    assert_bytes(blk, 4 * KIB, 4 * KIB, 0);
    assert_bytes(blk, 8 * KIB, 4 * KIB, 0x11);
    fail(CALL_DISCARD, 0, 1, EIO);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, -EIO);
    /* Less than a sector cannot be discarded. */
    fail(CALL_DISCARD, 0, 0, 0);
    g_assert_cmpint(blk_pdiscard(blk, 100, 100), ==, 0);
    g_assert_cmpint(fault[CALL_DISCARD].calls, ==, 0);
    fail(CALL_DISCARD, 0, 1, EOPNOTSUPP);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    g_assert_cmpint(fault[CALL_DISCARD].calls, ==, 1);
    assert_bytes(blk, 0, 4 * KIB, 0x11);
    blk_unref(blk);
}

static void resize_refused(BlockBackend *blk, int64_t size, bool exact, PreallocMode prealloc,
                           int error, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(blk_truncate(blk, size, exact, prealloc, 0, &err), ==, error);
    assert_message(err, message);
}

static void test_device_has_its_size(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    blk = open_rw(f);
    g_assert_cmpint(blk_truncate(blk, IMG_SIZE, true, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_truncate(blk, KIB, false, PREALLOC_MODE_OFF, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, IMG_SIZE);
    resize_refused(blk, KIB, true, PREALLOC_MODE_OFF, -ENOTSUP, "Cannot resize device files");
    resize_refused(blk, 2 * IMG_SIZE, true, PREALLOC_MODE_OFF, -ENOTSUP,
                   "Cannot resize device files");
    resize_refused(blk, 2 * IMG_SIZE, false, PREALLOC_MODE_OFF, -EINVAL,
                   "Cannot grow device files");
    resize_refused(blk, IMG_SIZE, true, PREALLOC_MODE_FULL, -ENOTSUP,
                   "Preallocation is not supported for device files");
    blk_unref(blk);
}

static void test_char_device(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    kernel.char_device = true;
    blk = open_rw(f);
    assert_zeroed(blk, 4 * KIB, 4 * KIB, BDRV_REQ_MAY_UNMAP);
    g_assert_cmpint(fault[CALL_PUNCH].calls + fault[CALL_ZERO_RANGE].calls, ==, 0);
    fill(blk);
    g_assert_cmpint(blk_pdiscard(blk, 0, 4 * KIB), ==, 0);
    assert_bytes(blk, 0, 4 * KIB, 0x11);
    /* It has nothing to write back, which is no failure; all else is, and stays one. */
    fail(CALL_FDATASYNC, 0, 1, EINVAL);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    assert_failed(CALL_FDATASYNC);
    fill(blk);
    fail(CALL_FDATASYNC, 0, 1, EIO);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    fill(blk);
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    blk_unref(blk);
}

static void test_flush_of_a_file(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fill(blk);
    fail(CALL_FDATASYNC, 0, 1, EINVAL);
    g_assert_cmpint(blk_flush(blk), ==, -EINVAL);
    fail(CALL_FSTAT, 0, 1, EIO);
    g_assert_cmpint(bdrv_get_allocated_file_size(blk_bs(blk)), ==, -EIO);
    blk_unref(blk);
}

/* --- open --- */

static void test_open_fails(Fixture *f, gconstpointer data)
{
    fail(CALL_OPEN, 0, 1, EINTR);
    blk_unref(open_rw(f));
    assert_failed(CALL_OPEN);
    fail(CALL_OPEN, 0, 1, EINVAL);
    open_refused(f, NULL, BDRV_O_RDWR, "Invalid argument");
    fail(CALL_OPEN, 0, 1, EINVAL);
    open_refused(f, NULL, BDRV_O_RDWR | BDRV_O_NOCACHE, "does not support O_DIRECT");
    fail(CALL_SETFL, 0, 1, EPERM);
    open_refused(f, NULL, BDRV_O_RDWR, "Operation not permitted");
    fail(CALL_FSTAT, 0, 1, EIO);
    open_refused(f, NULL, BDRV_O_RDWR, "to be a regular file");
    /* Another file has taken the name between stat() and open(). */
    kernel.changes = inode_of(f->img);
    open_refused(f, NULL, BDRV_O_RDWR, "to be a regular file");
}

static void test_auto_read_only(Fixture *f, gconstpointer data)
{
    static const int errors[] = { EACCES, EROFS, EPERM };

    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        BlockBackend *blk;

        fail(CALL_OPEN, 0, 1, errors[i]);
        blk = try_open(f, "auto-read-only=on,read-only=off", 0, &error_abort);
        assert_failed(CALL_OPEN);
        g_assert_true(blk_bs(blk)->read_only);
        assert_bytes(blk, 0, KIB, 0x11);
        blk_unref(blk);
    }
    fail(CALL_OPEN, 0, 1, EIO);
    open_refused(f, "auto-read-only=on,read-only=off", 0, "Input/output error");
    fail(CALL_OPEN, 0, 2, EACCES);
    open_refused(f, "auto-read-only=on,read-only=off", 0, "Permission denied");
    assert_failed(CALL_OPEN);
}

static int create(const char *driver, const char *path, const char *text, Error **errp)
{
    g_autofree char *name = g_strdup_printf("%s%s", driver, path);
    BlockOptions *opts = blk_options_new();

    g_assert_true(blk_options_parse(opts, text, NULL, &error_abort));
    return bdrv_create(bdrv_find_format("raw"), name, opts, errp);
}

static void test_locks(Fixture *f, gconstpointer data)
{
    Error *err = NULL;
    BlockBackend *blk;

    fail(CALL_GETLK, 0, 1, EINTR);
    fail(CALL_SETLK, 0, 1, EINTR);
    blk_unref(open_rw(f));
    assert_failed(CALL_GETLK);
    assert_failed(CALL_SETLK);
    fail(CALL_GETLK, 1, 1, EINTR);
    blk_unref(open_rw(f));
    assert_failed(CALL_GETLK);
    /* Without such locks at all: "auto" goes without. */
    fail(CALL_GETLK, 0, 1, EINVAL);
    open_refused(f, "locking=on", BDRV_O_RDWR,
                 "neither this file system nor kernel supports OFD locks");
    fail(CALL_GETLK, 0, 1, EINVAL);
    fail(CALL_SETLK, 0, 0, 0);
    blk_unref(open_rw(f));
    fail(CALL_GETLK, 0, 1, EINVAL);
    g_assert_cmpint(create("", f->new_img, "size=4k", &error_abort), ==, 0);
    g_assert_cmpint(fault[CALL_SETLK].calls, ==, 0);
    blk_unref(try_open(f, "locking=on", BDRV_O_RDWR, &error_abort));
    /* Each one of them can fail, and then none is left. */
    for (int i = 0; i < 100; i++) {
        fail(CALL_SETLK, i, 1, ENOLCK);
        blk = try_open(f, NULL, BDRV_O_RDWR, &err);
        blk_unref(blk);
        if (fault[CALL_SETLK].times) {
            g_assert_cmpint(i, >, 2);
            break;
        }
        if (!blk) {
            assert_message(g_steal_pointer(&err), "Failed to lock byte");
        }
    }
    fail(CALL_SETLK, 0, 0, 0);
    for (int i = 1; i < 100; i++) {
        fail(CALL_GETLK, i, 1, ENOLCK);
        blk = try_open(f, NULL, BDRV_O_RDWR, &err);
        blk_unref(blk);
        if (fault[CALL_GETLK].times) {
            g_assert_cmpint(i, >, 2);
            break;
        }
        g_assert_null(blk);
        assert_message(g_steal_pointer(&err), "\" lock: No locks available");
    }
    fail(CALL_GETLK, 0, 0, 0);
    blk_unref(open_rw(f));
}

/* --- the alignment of O_DIRECT --- */

static void assert_alignment(Fixture *f, unsigned request, unsigned memory)
{
    BlockBackend *blk = try_open(f, NULL, BDRV_O_RDWR | BDRV_O_NOCACHE, &error_abort);
    const BlockLimits *bl = &blk_bs(blk)->bl;

    g_assert_cmpuint(bl->request_alignment, ==, request);
    g_assert_cmpuint(bl->min_mem_alignment, ==, memory);
    blk_unref(blk);
}

/* A kernel that does not tell: what it takes is found out by reading. */
static void test_alignment_is_tried(Fixture *f, gconstpointer data)
{
    kernel.direct = true;
    for (kernel.align = 512; kernel.align <= 4096; kernel.align *= 2) {
        for (kernel.mem_align = 512; kernel.mem_align <= 4096; kernel.mem_align *= 2) {
            assert_alignment(f, kernel.align, kernel.mem_align);
        }
    }
    kernel.align = 512;
    kernel.mem_align = 512;
    fail(CALL_PREAD, 0, 1, EINTR);
    assert_alignment(f, 512, 512);
    assert_failed(CALL_PREAD);
    /* Any other error is none of the alignment. */
    fail(CALL_PREAD, 0, 2, EIO);
    assert_alignment(f, 512, 512);
    assert_failed(CALL_PREAD);
}

#ifdef STATX_DIOALIGN
static void test_alignment_is_told(Fixture *f, gconstpointer data)
{
    static const struct statx useless[] = {
        { .stx_mask = STATX_BASIC_STATS, .stx_dio_offset_align = 512, .stx_dio_mem_align = 512 },
        { .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 0, .stx_dio_mem_align = 512 },
        { .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 768, .stx_dio_mem_align = 512 },
        { .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 512, .stx_dio_mem_align = 100 },
    };

    kernel.direct = true;
    kernel.align = kernel.mem_align = 2048;
    kernel.dio = (struct statx){ .stx_mask = STATX_DIOALIGN, .stx_dio_offset_align = 4096,
                                 .stx_dio_mem_align = 4 };
    assert_alignment(f, 4096, 4);
    kernel.dio.stx_dio_offset_align = 4;
    assert_alignment(f, 512, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(useless); i++) {
        kernel.dio = useless[i];
        assert_alignment(f, 2048, 2048);
    }
}
#endif

static void test_alignment_of_a_device(Fixture *f, gconstpointer data)
{
    kernel.direct = true;
    kernel.device = inode_of(f->img);
    kernel.align = kernel.mem_align = 512;
    kernel.sector_size = 2048;
    assert_alignment(f, 2048, 512);
    fail(CALL_SECTOR_SIZE, 0, 1, ENOTTY);
    assert_alignment(f, 512, 512);
    kernel.sector_size = -1;
    assert_alignment(f, 512, 512);
    kernel.sector_size = 520;
    assert_alignment(f, 512, 512);
}

/* --- size --- */

static void test_resize_fails(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);
    const int64_t more = 2 * IMG_SIZE;

    fail(CALL_FTRUNCATE, 0, 1, EFBIG);
    resize_refused(blk, more, true, PREALLOC_MODE_OFF, -EFBIG, "Could not resize file");
    fail(CALL_FTRUNCATE, 0, 1, ENOSPC);
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -ENOSPC, "Could not resize file");
    fail(CALL_FTRUNCATE, 1, 1, EIO); /* what cuts off what was written too much */
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -EIO, "Could not write zeros");
    g_assert_cmpint(size_of(f->img), ==, IMG_SIZE);
    fail(CALL_PWRITE, 0, 1, ENOSPC);
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -ENOSPC, "Could not write zeros");
    kernel.short_write = true;
    fail(CALL_PWRITE, 0, 1, EIO);
    resize_refused(blk, more, true, PREALLOC_MODE_FULL, -ENOSPC, "Could not write zeros");
    kernel.short_write = false;
    fail(CALL_POSIX_ALLOCATE, 0, 1, ENOSPC);
    resize_refused(blk, more, true, PREALLOC_MODE_FALLOC, -ENOSPC, "Could not preallocate");
    g_assert_cmpint(size_of(f->img), ==, IMG_SIZE);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
}

static void resize(BlockBackend *blk, int64_t size, PreallocMode prealloc)
{
    g_assert_cmpint(blk_truncate(blk, size, true, prealloc, 0, &error_abort), ==, 0);
    g_assert_cmpint(blk_getlength(blk), ==, size);
}

static void test_resize_is_interrupted(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_rw(f);

    fail(CALL_FTRUNCATE, 0, 1, EINTR);
    resize(blk, 2 * IMG_SIZE, PREALLOC_MODE_OFF);
    assert_failed(CALL_FTRUNCATE);
    fail(CALL_FTRUNCATE, 0, 1, EINTR);
    fail(CALL_PWRITE, 0, 1, EINTR);
    resize(blk, 3 * IMG_SIZE, PREALLOC_MODE_FULL);
    assert_failed(CALL_FTRUNCATE);
    assert_failed(CALL_PWRITE);
    fail(CALL_FTRUNCATE, 1, 1, EINTR);
    resize(blk, 4 * IMG_SIZE, PREALLOC_MODE_FULL);
    assert_failed(CALL_FTRUNCATE);
    fail(CALL_POSIX_ALLOCATE, 0, 1, EINTR);
    resize(blk, 5 * IMG_SIZE, PREALLOC_MODE_FALLOC);
    assert_failed(CALL_POSIX_ALLOCATE);
    /* Nobody knows how much space there is: it is tried. */
    fail(CALL_FSTATVFS, 0, 1, EIO);
    resize(blk, 6 * IMG_SIZE, PREALLOC_MODE_FALLOC);
    kernel.no_blocks = true;
    resize(blk, 7 * IMG_SIZE, PREALLOC_MODE_FALLOC);
    assert_bytes(blk, IMG_SIZE, 6 * IMG_SIZE, 0);
    /* The way back, after a failure, is interrupted as well. */
    fail(CALL_POSIX_ALLOCATE, 0, 1, EIO);
    fail(CALL_FTRUNCATE, 0, 1, EINTR);
    resize_refused(blk, 8 * IMG_SIZE, true, PREALLOC_MODE_FALLOC, -EIO, "Could not preallocate");
    assert_failed(CALL_FTRUNCATE);
    g_assert_cmpint(size_of(f->img), ==, 7 * IMG_SIZE);
    blk_unref(blk);
}

/* --- create --- */

/* What was made is taken away again. */
static void create_refused(Fixture *f, const char *text, int error, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(create("", f->new_img, text, &err), ==, error);
    assert_message(err, message);
    g_assert_false(g_file_test(f->new_img, G_FILE_TEST_EXISTS));
}

static void test_create_fails(Fixture *f, gconstpointer data)
{
    fail(CALL_OPEN, 0, 1, ENOSPC);
    create_refused(f, "size=4k", -ENOSPC, "Could not create '");
    fail(CALL_FSTAT, 0, 1, EIO);
    create_refused(f, "size=4k", -EINVAL, "to be a regular file");
    fail(CALL_FSTAT, 1, 1, EIO);
    create_refused(f, "size=4k", -EIO, "Could not determine the file's size");
    fail(CALL_CLOSE, 0, 1, EIO);
    create_refused(f, "size=4k", -EIO, "Could not close the new file");
    fail(CALL_CLOSE, 0, 1, EIO);
    fail(CALL_FTRUNCATE, 0, 1, ENOSPC);
    create_refused(f, "size=4k", -ENOSPC, "Could not resize file");
    fail(CALL_CLOSE, 0, 0, 0);
    fail(CALL_FTRUNCATE, 1, 1, EFBIG);
    create_refused(f, "size=4k", -EFBIG, "too large for file format 'raw'");
    fail(CALL_SETLK, 0, 1, ENOLCK);
    create_refused(f, "size=4k", -ENOLCK, "Failed to lock byte");
    fail(CALL_OPEN, 0, 1, EINTR);
    fail(CALL_PWRITE, 0, 1, EINTR);
    g_assert_cmpint(create("file:", f->new_img, "size=4k", &error_abort), ==, 0);
    assert_failed(CALL_OPEN);
    assert_failed(CALL_PWRITE);
    g_assert_cmpint(size_of(f->new_img), ==, 4 * KIB);
    /* An existing file is opened without O_EXCL, and not removed. */
    fail(CALL_OPEN, 1, 1, EINTR);
    g_assert_cmpint(create("", f->new_img, "size=8k", &error_abort), ==, 0);
    assert_failed(CALL_OPEN);
    g_assert_cmpint(size_of(f->new_img), ==, 8 * KIB);
}

static void create_anew(Fixture *f, const char *text)
{
    unlink(f->new_img);
    g_assert_cmpint(create("", f->new_img, text, &error_abort), ==, 0);
}

static void test_create_extent_size(Fixture *f, gconstpointer data)
{
    create_anew(f, "size=4k");
    g_assert_cmpuint(kernel.xattr.fsx_xflags & FS_XFLAG_EXTSIZE, !=, 0);
    g_assert_cmpuint(kernel.xattr.fsx_extsize, ==, MIB);
    create_anew(f, "size=4k"); /* it is so already */
    g_assert_cmpuint(kernel.xattr_sets, ==, 1);
    create_anew(f, "size=4k,extent_size_hint=2M");
    g_assert_cmpuint(kernel.xattr.fsx_extsize, ==, 2 * MIB);
    create_anew(f, "size=4k,extent_size_hint=0");
    g_assert_cmpuint(kernel.xattr_sets, ==, 2);
    unlink(f->new_img);
    create_refused(f, "size=4k,extent_size_hint=8G", -EINVAL, "Extent size hint is too large");
    fail(CALL_SETXATTR, 0, 1, EIO);
    create_refused(f, "size=4k,extent_size_hint=4M", -EIO, "Could not set extent size hint");
    fail(CALL_GETXATTR, 0, 1, EIO);
    create_refused(f, "size=4k,extent_size_hint=4M", -EIO, "Could not set extent size hint");
    /* One that nobody asked for, or on a file system without such a thing. */
    fail(CALL_GETXATTR, 0, 1, EIO);
    create_anew(f, "size=4k");
    fail(CALL_GETXATTR, 0, 1, EOPNOTSUPP);
    create_anew(f, "size=4k,extent_size_hint=4M");
    fail(CALL_GETXATTR, 0, 1, ENOTTY);
    create_anew(f, "size=4k,extent_size_hint=4M");
    assert_failed(CALL_GETXATTR);
}

static void test_create_nocow(Fixture *f, gconstpointer data)
{
    fail(CALL_GETFLAGS, 0, 1, ENOTTY);
    create_anew(f, "size=4k,nocow=on");
    g_assert_cmphex(kernel.flags, ==, 0);
    kernel.flags = FS_NODUMP_FL;
    create_anew(f, "size=4k,nocow=on");
    g_assert_cmphex(kernel.flags, ==, FS_NODUMP_FL | FS_NOCOW_FL);
}

static void create_device_refused(Fixture *f, const char *text, int error, const char *message)
{
    Error *err = NULL;

    g_assert_cmpint(create("host_device:", f->img, text, &err), ==, error);
    assert_message(err, message);
}

/* An image on a device: no signature of what was there is left. */
static void test_create_on_a_device(Fixture *f, gconstpointer data)
{
    BlockBackend *blk;

    kernel.device = inode_of(f->img);
    create_device_refused(f, "size=1M", -EINVAL, "Cannot grow device files");
    fail(CALL_GETSIZE, 0, 1, EIO);
    create_device_refused(f, "size=4k", -EIO, "Could not determine the device's size");
    fail(CALL_PWRITE, 0, 1, EIO);
    create_device_refused(f, "size=4k", -EIO, "Could not clear the new image's first sector");
    fail(CALL_SETLK, 0, 1, ENOLCK);
    create_device_refused(f, "size=4k", -ENOLCK, "Failed to lock byte");
    blk = open_rw(f);
    assert_bytes(blk, 0, IMG_SIZE, 0x11);
    blk_unref(blk);
    fail(CALL_FSYNC, 0, 1, ENOSPC);
    create_device_refused(f, "size=4k", -ENOSPC, "Could not clear the new image's first sector");
    fail(CALL_PWRITE, 0, 1, EINTR);
    fail(CALL_GETLK, 0, 1, EINVAL); /* no locks there */
    fail(CALL_SETLK, 0, 0, 0);
    g_assert_cmpint(create("host_device:", f->img, "size=4k", &error_abort), ==, 0);
    assert_failed(CALL_PWRITE);
    g_assert_cmpint(fault[CALL_SETLK].calls, ==, 0);
    blk = open_rw(f);
    assert_bytes(blk, 0, 512, 0);
    assert_bytes(blk, 512, IMG_SIZE - 512, 0x11);
    blk_unref(blk);
    g_assert_cmpint(size_of(f->img), ==, IMG_SIZE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

#define TEST(name, fn) g_test_add("/file-errors/" name, Fixture, NULL, setup, fn, teardown)
    TEST("zeroes/no-zero-range", test_no_zero_range);
    TEST("zeroes/of-odd-range", test_zero_range_of_odd_range);
    TEST("zeroes/no-fallocate", test_no_fallocate);
    TEST("zeroes/fail", test_zeroes_fail);
    TEST("device/zeroes", test_device_zeroes);
    TEST("device/discard", test_device_discard);
    TEST("device/has-its-size", test_device_has_its_size);
    TEST("device/char", test_char_device);
    TEST("flush", test_flush_of_a_file);
    TEST("open/fails", test_open_fails);
    TEST("open/auto-read-only", test_auto_read_only);
    TEST("open/locks", test_locks);
    TEST("alignment/is-tried", test_alignment_is_tried);
#ifdef STATX_DIOALIGN
    TEST("alignment/is-told", test_alignment_is_told);
#endif
    TEST("alignment/of-a-device", test_alignment_of_a_device);
    TEST("resize/fails", test_resize_fails);
    TEST("resize/is-interrupted", test_resize_is_interrupted);
    TEST("create/fails", test_create_fails);
    TEST("create/extent-size", test_create_extent_size);
    TEST("create/nocow", test_create_nocow);
    TEST("create/on-a-device", test_create_on_a_device);
#undef TEST
    return g_test_run();
}
