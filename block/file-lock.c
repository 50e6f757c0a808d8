/* SPDX-License-Identifier: MIT */
/* Image locks on byte ranges: see file-lock.h for the protocol and the owner. */
#include "qemu/osdep.h"

#include "block/block-common.h"
#include "block/file-lock.h"

enum {
    LOCK_BYTE_PERM     = 100,
    LOCK_BYTE_UNSHARED = 200,
};

/* Indexed by the bit number of the permission. */
static const char *const perm_names[] = {
    "consistent read", "write", "write unchanged", "resize",
};

/* All that ever was a permission bit on disk, also of newer or older users. */
#define LOCK_BITS G_N_ELEMENTS(perm_names)

static int lock_byte(int fd, int cmd, short type, off_t byte, struct flock *fl)
{
    int ret;

    *fl = (struct flock) {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };
    do {
        ret = fcntl(fd, cmd, fl);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static int set_byte(int fd, short type, off_t byte)
{
    struct flock fl;

    return lock_byte(fd, F_OFD_SETLK, type, byte, &fl);
}

/* -EAGAIN when somebody else holds a lock on @byte. */
static int test_byte(int fd, off_t byte)
{
    struct flock fl;
    int ret = lock_byte(fd, F_OFD_GETLK, F_WRLCK, byte, &fl);

    if (ret < 0) {
        return ret;
    }
    return fl.l_type == F_UNLCK ? 0 : -EAGAIN;
}

bool file_lock_supported(int fd)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    return RETRY_ON_EINTR(fcntl(fd, F_OFD_GETLK, &fl)) == 0;
}

/* Brings the locked bytes of one family to @want; only adds unless @drop. */
static int lock_family(int fd, off_t base, uint64_t *held, uint64_t want, bool drop,
                       Error **errp)
{
    for (unsigned i = 0; i < LOCK_BITS; i++) {
        uint64_t bit = 1ULL << i;
        int ret;

        if (want & ~*held & bit) {
            ret = set_byte(fd, F_RDLCK, base + i);
            if (ret < 0) {
                error_setg_errno(errp, -ret, "Failed to lock byte %d", (int)(base + i));
                return ret;
            }
            *held |= bit;
        } else if (drop && (*held & ~want & bit)) {
            if (set_byte(fd, F_UNLCK, base + i) == 0) {
                *held &= ~bit;
            }
        }
    }
    return 0;
}

/* Looks for others that hold the bytes opposite to the bits of @bits. */
static int test_family(int fd, off_t opposite, uint64_t bits, bool sharing,
                       const char *filename, Error **errp)
{
    ERRP_GUARD();

    for (unsigned i = 0; i < LOCK_BITS; i++) {
        int ret;

        if (!(bits & (1ULL << i))) {
            continue;
        }
        ret = test_byte(fd, opposite + i);
        if (ret == -EAGAIN) {
            error_setg(errp, "Failed to get %s\"%s\" lock", sharing ? "shared " : "",
                       perm_names[i]);
            error_append_hint(errp, "Is another process using the image [%s]?\n", filename);
            return ret;
        } else if (ret < 0) {
            error_setg_errno(errp, -ret, "Failed to get %s\"%s\" lock",
                             sharing ? "shared " : "", perm_names[i]);
            return ret;
        }
    }
    return 0;
}

int file_lock_acquire(FileLock *lock, int fd, uint64_t perm, uint64_t shared,
                      const char *filename, Error **errp)
{
    const FileLock before = *lock;
    uint64_t unshared = ~shared & BLK_PERM_ALL;
    int ret;

    ret = lock_family(fd, LOCK_BYTE_PERM, &lock->perm, perm, false, errp);
    if (ret == 0) {
        ret = lock_family(fd, LOCK_BYTE_UNSHARED, &lock->unshared, unshared, false, errp);
    }
    if (ret == 0) {
        ret = test_family(fd, LOCK_BYTE_UNSHARED, perm & ~before.perm, false, filename, errp);
    }
    if (ret == 0) {
        ret = test_family(fd, LOCK_BYTE_PERM, unshared & ~before.unshared, true, filename, errp);
    }
    if (ret < 0) {
        file_lock_reduce(lock, fd, before.perm, ~before.unshared);
    }
    return ret;
}

void file_lock_reduce(FileLock *lock, int fd, uint64_t perm, uint64_t shared)
{
    lock_family(fd, LOCK_BYTE_PERM, &lock->perm, perm & lock->perm, true, NULL);
    lock_family(fd, LOCK_BYTE_UNSHARED, &lock->unshared, ~shared & lock->unshared, true, NULL);
}
