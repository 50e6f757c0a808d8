/* SPDX-License-Identifier: MIT */
/*
 * The file driver's pieces among themselves (file*.c). Users and other drivers see
 * it through the driver table only.
 *
 * Who owns what: the plain fields are set by open (home thread, nothing in flight) and only
 * read afterwards, by any thread that sends requests. What changes later is marked.
 */
#ifndef BLOCK_DRIVERS_FILE_INTERNAL_H
#define BLOCK_DRIVERS_FILE_INTERNAL_H

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"

#include "block/block-driver.h"
#include "block/file-lock.h"
#include "block/io-engine.h"

/* A data extent that the file system has told us of; see file-status.c. */
typedef struct FileStatusCache {
    QemuSpin lock;
    unsigned generation;    /* atomic; grows when data may have turned into a hole */
    int64_t start, end;     /* bytes; empty when start == end; under lock */
} FileStatusCache;

typedef struct FileState {
    int fd;
    int open_flags;         /* of open(2) */
    bool is_device;         /* block or character device */
    bool is_char;           /* character device */
    bool o_direct;
    bool use_lock;
    const IOEngine *engine;
    uint32_t request_align; /* bytes; for offset and length of O_DIRECT transfers, else 1 */
    uint32_t mem_align;     /* bytes; for buffers of O_DIRECT transfers, else 1 */

    /* Home thread. */
    FileLock lock;
    uint64_t perm, shared;  /* what the last finished permission change left */

    /*
     * Atomic flags, any thread. What the file system or device turned out not to have;
     * never set back, so that a late reader loses one attempt at most.
     */
    bool no_zero_range, no_punch_hole, no_fallocate, no_zeroout, no_discard;
    /* Atomic: the first error of a flush, negative; from then on flushes fail with it. */
    int flush_error;

    FileStatusCache status;
} FileState;

/* --- file-open.c --- */

/*
 * Opens @filename with the open(2) flags @flags after a look at what it is: never blocks
 * on a FIFO. @driver_name and @want_device say what is acceptable. The descriptor, or
 * -errno with @errp.
 */
int file_open_fd(const char *filename, const char *driver_name, bool want_device, int flags,
                 bool auto_rdonly, int *open_flags, Error **errp);
/* Finds request_align and mem_align of an open file. */
void file_probe_alignment(FileState *s);
/* The length in bytes, or -errno. Does not block. */
int64_t file_fd_length(int fd);

/* --- file-status.c --- */

void file_status_init(FileState *s);
/* Data may have turned into a hole: forget what is known. Any thread; after the change. */
void file_status_invalidate(FileState *s);
int coroutine_fn file_co_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                      int64_t bytes, int64_t *pnum, int64_t *map,
                                      BlockDriverState **file);

/* --- file-truncate.c --- */

int coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                  PreallocMode prealloc, BdrvRequestFlags flags,
                                  Error **errp);

/* --- file-create.c --- */

extern const BlockCreateOption file_create_options[];
extern const BlockCreateOption host_device_create_options[];
int coroutine_fn file_co_create_opts(BlockDriver *drv, const char *filename,
                                     BlockOptions *opts, Error **errp);
int coroutine_fn host_device_co_create_opts(BlockDriver *drv, const char *filename,
                                            BlockOptions *opts, Error **errp);
/*
 * Changes the size of a regular file; blocks. 0 or -errno with @errp. *@sync_error: set to
 * -errno when an fsync has failed, which the kernel does not repeat. @grown is called with @opaque
 * now and then while new space is written out.
 */
typedef void FileGrownFunc(void *opaque, int64_t done, int64_t total);
int file_resize_fd(int fd, int64_t size, PreallocMode prealloc, uint32_t align, int *sync_error,
                   FileGrownFunc *grown, void *opaque, Error **errp);

/* How far a worker thread is that writes out a file: noted there, told in the loop. */
typedef struct FileProgress {
    QEMUBH *bh;
    BlockProgress *report;
    void *opaque;
    int64_t done, total; /* atomic; set before @bh is scheduled */
} FileProgress;

/* In the loop's thread, before and after the worker; @report is called there. */
void file_progress_begin(FileProgress *p, BlockProgress *report, void *opaque);
void file_progress_end(FileProgress *p);
/* A FileGrownFunc for a FileProgress. Worker thread. */
void file_progress_note(void *opaque, int64_t done, int64_t total);

/* --- file-copy.c --- */

int coroutine_fn file_co_copy_range_from(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                         BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                         BdrvRequestFlags read_flags,
                                         BdrvRequestFlags write_flags);
int coroutine_fn file_co_copy_range_to(BlockDriverState *bs, BdrvChild *src, int64_t src_offset,
                                       BdrvChild *dst, int64_t dst_offset, int64_t bytes,
                                       BdrvRequestFlags read_flags, BdrvRequestFlags write_flags);

/* --- file-zero.c --- */

int coroutine_fn file_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags);
int coroutine_fn file_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);

#endif
