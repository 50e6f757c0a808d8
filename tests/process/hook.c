/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a tool: kills it at its N-th system call of some kind, or lets the call fail.
 * hook.h says which calls there are, and how the driver says what it wants.
 *
 * Only calls for regular files count that the program itself has opened. Any thread.
 */
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 1024
#define SECTOR 512

static Hook *hook; /* NULL: nothing is changed */
static atomic_bool counted[MAX_FD];

/* The next definition of the function that is being replaced. */
#define REAL(function) \
    static __typeof__(function) *real; \
    if (!real) { \
        real = (__typeof__(function) *)dlsym(RTLD_NEXT, #function); \
    }

__attribute__((constructor)) static void map_hook(void)
{
    const char *name = getenv("PROCESS_HOOK");
    int fd = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    if (fd < 0) {
        return;
    }
    p = mmap(NULL, sizeof(Hook), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (p != MAP_FAILED) {
        hook = p;
    }
}

_Noreturn static void die(void)
{
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) {
        pause();
    }
}

/* Counts a call. What to do with it: HOOK_NOTHING, HOOK_TEAR, HOOK_FAIL (errno is set), HOOK_SHORT. */
static unsigned count_call(uint32_t kind, const char *name)
{
    uint32_t number;

    if (!hook || !(hook->kinds & kind)) {
        return HOOK_NOTHING;
    }
    number = __atomic_add_fetch(&hook->count, 1, __ATOMIC_RELAXED);
    if (!hook->at || (hook->sticky ? number < hook->at : number != hook->at)) {
        return HOOK_NOTHING;
    }
    if (__atomic_add_fetch(&hook->hits, 1, __ATOMIC_RELAXED) == 1) {
        strncpy(hook->what, name, sizeof(hook->what) - 1);
    }
    if (hook->action == HOOK_KILL || (hook->action == HOOK_TEAR && kind != HOOK_WRITE)) {
        die();
    }
    errno = hook->action == HOOK_FAIL ? hook->error : errno;
    return hook->action;
}

static unsigned count_fd(uint32_t kind, int fd, const char *name)
{
    return fd >= 0 && fd < MAX_FD && counted[fd] ? count_call(kind, name) : HOOK_NOTHING;
}

/* Of @n bytes, those that a short transfer moves: whole sectors if that is possible, never none. */
static size_t part_of(size_t n)
{
    return n >= 2 * SECTOR ? n / 2 / SECTOR * SECTOR : n - n / 2;
}

/*
 * Of a torn write those that are done. It ends where a sector ends: within a sector, what a killed
 * process was writing is there or is not.
 */
static size_t torn_part_of(size_t n, off64_t offset)
{
    off64_t end = (offset + (off64_t)(n / 2)) / SECTOR * SECTOR;

    return end > offset ? (size_t)(end - offset) : 0;
}

/* --- transfers --- */

#define ONE_BUFFER(function, kind, buffer) \
    ssize_t function(int fd, buffer *buf, size_t n, off64_t offset) \
    { \
        REAL(function); \
        unsigned action = count_fd(kind, fd, #function); \
        if (action == HOOK_FAIL) { \
            return -1; \
        } \
        if (action == HOOK_TEAR) { \
            real(fd, buf, torn_part_of(n, offset), offset); \
            die(); \
        } \
        return real(fd, buf, action == HOOK_SHORT ? part_of(n) : n, offset); \
    }

ONE_BUFFER(pread64, HOOK_READ, void)
ONE_BUFFER(pwrite64, HOOK_WRITE, const void)

typedef ssize_t Transfer(int fd, const struct iovec *iov, int n, off64_t offset, int flags);

static size_t length_of(const struct iovec *iov, int n)
{
    size_t total = 0;

    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    return total;
}

/* The first @left bytes of what @iov holds. */
static ssize_t transfer_part(Transfer *real, int fd, const struct iovec *iov, int n,
                             off64_t offset, int flags, size_t left)
{
    struct iovec part[64];
    int k = 0;

    while (k < n && k < 64 && left > 0) {
        part[k] = iov[k];
        part[k].iov_len = iov[k].iov_len < left ? iov[k].iov_len : left;
        left -= part[k++].iov_len;
    }
    return real(fd, part, k, offset, flags);
}

static ssize_t vectored(uint32_t kind, const char *name, Transfer *real, int fd,
                        const struct iovec *iov, int n, off64_t offset, int flags)
{
    switch (count_fd(kind, fd, name)) {
    case HOOK_FAIL:
        return -1;
    case HOOK_TEAR:
        transfer_part(real, fd, iov, n, offset, flags, torn_part_of(length_of(iov, n), offset));
        die();
    case HOOK_SHORT:
        return transfer_part(real, fd, iov, n, offset, flags, part_of(length_of(iov, n)));
    default:
        return real(fd, iov, n, offset, flags);
    }
}

static ssize_t real_preadv(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    REAL(preadv64);
    (void)flags;
    return real(fd, iov, n, offset);
}

static ssize_t real_pwritev(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    REAL(pwritev64);
    (void)flags;
    return real(fd, iov, n, offset);
}

static ssize_t real_preadv2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    REAL(preadv64v2);
    return real(fd, iov, n, offset, flags);
}

static ssize_t real_pwritev2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    REAL(pwritev64v2);
    return real(fd, iov, n, offset, flags);
}

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    return vectored(HOOK_READ, "preadv", real_preadv, fd, iov, n, offset, 0);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    return vectored(HOOK_WRITE, "pwritev", real_pwritev, fd, iov, n, offset, 0);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    return vectored(HOOK_READ, "preadv2", real_preadv2, fd, iov, n, offset, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
    return vectored(HOOK_WRITE, "pwritev2", real_pwritev2, fd, iov, n, offset, flags);
}

ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n,
                        unsigned flags)
{
    REAL(copy_file_range);
    unsigned action = count_fd(HOOK_COPY, out, "copy_file_range");

    if (action == HOOK_FAIL) {
        return -1;
    }
    return real(in, in_offset, out, out_offset, action == HOOK_SHORT ? part_of(n) : n, flags);
}

/* --- files --- */

static bool is_ours(const char *path)
{
    static const char *const others[] = { "/proc/", "/sys/", "/dev/", "/etc/", "/usr/" };

    if (!strncmp(path, "/dev/shm/", 9)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (!strncmp(path, others[i], strlen(others[i]))) {
            return false;
        }
    }
    return true;
}

static int open_file(const char *path, int flags, mode_t mode)
{
    bool ours = is_ours(path);
    struct stat st;
    int fd;

    if (ours && count_call(HOOK_OPEN, "open") == HOOK_FAIL) {
        return -1;
    }
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < MAX_FD) {
        counted[fd] = ours && !syscall(SYS_fstat, fd, &st) && S_ISREG(st.st_mode);
    }
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_file(path, flags, mode);
}

int close(int fd)
{
    REAL(close);
    if (fd >= 0 && fd < MAX_FD) {
        counted[fd] = false;
    }
    return real(fd);
}

int unlink(const char *path)
{
    REAL(unlink);
    return count_call(HOOK_REMOVE, "unlink") == HOOK_FAIL ? -1 : real(path);
}

int fsync(int fd)
{
    REAL(fsync);
    return count_fd(HOOK_SYNC, fd, "fsync") == HOOK_FAIL ? -1 : real(fd);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return count_fd(HOOK_SYNC, fd, "fdatasync") == HOOK_FAIL ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t length)
{
    REAL(ftruncate64);
    return count_fd(HOOK_SIZE, fd, "ftruncate") == HOOK_FAIL ? -1 : real(fd, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    REAL(fallocate64);
    return count_fd(HOOK_SIZE, fd, "fallocate") == HOOK_FAIL ? -1 : real(fd, mode, offset, length);
}

/* It returns an error and leaves errno alone. */
int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
    REAL(posix_fallocate64);
    int saved = errno;

    if (count_fd(HOOK_SIZE, fd, "posix_fallocate") == HOOK_FAIL) {
        errno = saved;
        return hook->error;
    }
    return real(fd, offset, length);
}

off64_t lseek64(int fd, off64_t offset, int whence)
{
    REAL(lseek64);
    return count_fd(HOOK_ASK, fd, "lseek") == HOOK_FAIL ? -1 : real(fd, offset, whence);
}

int fstat64(int fd, struct stat64 *st)
{
    REAL(fstat64);
    return count_fd(HOOK_ASK, fd, "fstat") == HOOK_FAIL ? -1 : real(fd, st);
}

/* --- Linux AIO: errors are returned, negative --- */

int io_setup(int n, io_context_t *context)
{
    REAL(io_setup);
    return count_call(HOOK_SETUP, "io_setup") == HOOK_FAIL ? -hook->error : real(n, context);
}

static void shorten(struct iocb *cb)
{
    if (cb->aio_lio_opcode == IO_CMD_PREAD || cb->aio_lio_opcode == IO_CMD_PWRITE) {
        cb->u.c.nbytes = cb->u.c.nbytes > SECTOR ? cb->u.c.nbytes / 2 / SECTOR * SECTOR : SECTOR;
    } else if (cb->aio_lio_opcode == IO_CMD_PREADV || cb->aio_lio_opcode == IO_CMD_PWRITEV) {
        cb->u.v.nr = cb->u.v.nr > 1 ? cb->u.v.nr / 2 : 1;
    }
}

int io_submit(io_context_t context, long n, struct iocb **cbs)
{
    REAL(io_submit);
    unsigned action = count_call(HOOK_SUBMIT, "io_submit");

    if (action == HOOK_FAIL) {
        return -hook->error;
    }
    if (action == HOOK_SHORT) { /* one request of several, and only a part of that */
        shorten(cbs[0]);
        n = 1;
    }
    return real(context, n, cbs);
}

int io_getevents(io_context_t context, long min, long n, struct io_event *events,
                 struct timespec *timeout)
{
    REAL(io_getevents);
    return count_call(HOOK_EVENTS, "io_getevents") == HOOK_FAIL
        ? -hook->error
        : real(context, min, n, events, timeout);
}

/* --- memory --- */

static bool refuse(size_t size)
{
    return size >= HOOK_LARGE && count_call(HOOK_ALLOC, "malloc") == HOOK_FAIL;
}

void *malloc(size_t size)
{
    REAL(malloc);
    return refuse(size) ? NULL : real(size);
}

/* dlsym() itself may want zeroed memory before it has said where calloc() is. */
void *calloc(size_t n, size_t size)
{
    static __typeof__(calloc) *real;
    static _Alignas(16) char early[8192];
    static size_t used;
    static bool looking;

    if (!real) {
        if (looking) {
            size_t at = used;

            used += (n * size + 15) & ~(size_t)15;
            return used <= sizeof(early) ? early + at : NULL;
        }
        looking = true;
        real = (__typeof__(calloc) *)dlsym(RTLD_NEXT, "calloc");
        looking = false;
    }
    return size && refuse(n * size) ? NULL : real(n, size);
}

void *realloc(void *p, size_t size)
{
    REAL(realloc);
    return refuse(size) ? NULL : real(p, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
    REAL(posix_memalign);
    return refuse(size) ? ENOMEM : real(p, alignment, size);
}
