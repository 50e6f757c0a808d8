/* SPDX-License-Identifier: MIT */
/*
 * Image locks: how processes that open one image file agree about what each may do.
 *
 * Byte ranges of the file are locked with OFD locks (they belong to the open file, so
 * that closing another descriptor of the same file does not drop them). For each
 * permission p (bit number as in BLK_PERM_*):
 *     byte 100 + p   read-locked by everyone who uses permission p
 *     byte 200 + p   read-locked by everyone who does not let others use p
 * Who newly takes p first locks 100 + p and then looks whether anybody else holds 200 + p;
 * who newly forbids p locks 200 + p and looks for 100 + p. Locking before looking makes two
 * that arrive together see each other: at least one of them gives way. QEMU uses the same bytes.
 *
 * No thread safety of its own: a FileLock belongs to the node's home thread.
 */
#ifndef BLOCK_FILE_LOCK_H
#define BLOCK_FILE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "qapi/error.h"

typedef struct FileLock {
    uint64_t perm;   /* bits whose byte 100 + bit is locked */
    uint64_t unshared; /* bits whose byte 200 + bit is locked */
} FileLock;

/* Whether the kernel and the file system behind @fd know OFD locks. */
bool file_lock_supported(int fd);

/*
 * Takes the locks that @perm and @shared (BLK_PERM_*) need in addition to those held and
 * tests them against other processes. 0; or -errno with @errp, and @lock as before.
 * @filename is for the message.
 */
int file_lock_acquire(FileLock *lock, int fd, uint64_t perm, uint64_t shared,
                      const char *filename, Error **errp);

/* Drops what @perm and @shared do not need. Errors are ignored: closing drops all. */
void file_lock_reduce(FileLock *lock, int fd, uint64_t perm, uint64_t shared);

#endif
