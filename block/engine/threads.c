/* SPDX-License-Identifier: MIT */
/*
 * Engine "threads": each request is a blocking system call in a worker of the context's
 * thread pool, but for small reads that the page cache serves at once, and for all that goes by the page
 * cache in a context that may block. It serves every file, and the native engine falls back to it.
 *
 * The request lies on the stack of its coroutine, which waits until the worker is
 * done with it. There is no state per context.
 */
#include <linux/magic.h>
#include <sys/vfs.h>

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/thread-pool.h"

#include "block/engine/io-transfer.h"

/* The largest read, in bytes, that is tried without a worker. */
#define CACHED_READ_MAX (64 * 1024)

/*
 * The largest write into the page cache, in bytes; longer ones go in pieces that end at multiples.
 * File systems with large folios take one as large as the write may fill, and blocks of free
 * memory that large are what a virtual machine has given back to its host: the first touch of
 * each page then costs more than all the rest of the write.
 */
#define CACHED_WRITE_PIECE (256 * 1024)

/* Atomic: the kernel does not know RWF_DSYNC; found out by trying. */
static bool no_dsync;

static ssize_t read_some(IOTransfer *req)
{
    IOSlice *s = &req->slice;

    if (s->niov == 1) {
        return pread(req->fd, s->iov[0].iov_base, s->iov[0].iov_len, req->offset);
    }
    return preadv(req->fd, s->iov, MIN(s->niov, IOV_MAX), req->offset);
}

static ssize_t write_some(IOTransfer *req)
{
    IOSlice *s = &req->slice;

    if (req->fua && !qatomic_read(&no_dsync)) {
        ssize_t ret = pwritev2(req->fd, s->iov, MIN(s->niov, IOV_MAX), req->offset, RWF_DSYNC);

        if (ret >= 0 || (errno != ENOSYS && errno != EOPNOTSUPP)) {
            return ret;
        }
        qatomic_set(&no_dsync, true);
    }
    if (s->niov == 1) {
        size_t bytes = s->iov[0].iov_len;

        if (bytes > CACHED_WRITE_PIECE && !(fcntl(req->fd, F_GETFL) & O_DIRECT)) {
            bytes = CACHED_WRITE_PIECE - req->offset % CACHED_WRITE_PIECE;
        }
        return pwrite(req->fd, s->iov[0].iov_base, bytes, req->offset);
    }
    return pwritev(req->fd, s->iov, MIN(s->niov, IOV_MAX), req->offset);
}

static int sync_data(int fd)
{
    return RETRY_ON_EINTR(fdatasync(fd)) < 0 ? -errno : 0;
}

/* Worker thread. */
static int transfer(void *opaque)
{
    IOTransfer *req = opaque;
    int ret;

    do {
        ssize_t done = req->op == IO_ENGINE_READ ? read_some(req) : write_some(req);

        ret = io_transfer_step(req, done < 0 ? -errno : done);
    } while (ret > 0);
    /* Asked again: a worker may just have found out for all. */
    if (ret == 0 && req->fua && qatomic_read(&no_dsync)) {
        ret = sync_data(req->fd);
    }
    return ret;
}

/* Worker thread. */
static int flush(void *opaque)
{
    return sync_data(*(int *)opaque);
}

static int threads_check_open(int fd, int open_flags, Error **errp)
{
    return 0;
}

/* The kernel refuses RWF_NOWAIT for these, which have nothing to wait for. */
static bool is_in_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/*
 * A small read of what is in the page cache costs less than to hand it to a worker, and one that is larger, too,
 * where the thread has nothing better to do. With O_DIRECT the kernel would wait for the disk here, whatever it
 * is told. 1: a worker has to do what is left of @req; otherwise what becomes of the request.
 */
static int read_from_cache(IOTransfer *req, size_t most)
{
    const IOSlice *s = &req->slice;
    ssize_t done;

    if (s->bytes > most || s->niov > IOV_MAX || fcntl(req->fd, F_GETFL) & O_DIRECT) {
        return 1;
    }
    done = preadv2(req->fd, s->iov, s->niov, req->offset, RWF_NOWAIT);
    if (done < 0 && errno == EOPNOTSUPP && is_in_memory(req->fd)) {
        done = preadv(req->fd, s->iov, s->niov, req->offset);
    }
    /* At the end of the file a worker reads it once more, and finds that out. */
    return done > 0 ? io_transfer_step(req, done) : 1;
}

/* The same for writes, which may wait for the disk when too much of the cache is dirty. */
static int write_to_cache(IOTransfer *req)
{
    return fcntl(req->fd, F_GETFL) & O_DIRECT ? 1 : transfer(req);
}

/* What the thread of the coroutine does itself; 1 as above. */
static int transfer_at_once(IOTransfer *req)
{
    bool may_block = aio_context_may_block(qemu_get_current_aio_context());

    if (req->op == IO_ENGINE_READ) {
        return read_from_cache(req, may_block ? SIZE_MAX : CACHED_READ_MAX);
    }
    return may_block ? write_to_cache(req) : 1;
}

static int coroutine_fn threads_submit(IOEngineState *state, int fd, IOEngineOp op,
                                       int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset, BdrvRequestFlags flags)
{
    IOTransfer req = {
        .fd = fd,
        .op = op,
        .offset = offset,
        .fua = flags & BDRV_REQ_FUA,
    };
    int ret;

    if (op == IO_ENGINE_FLUSH) {
        return thread_pool_submit_co(flush, &fd);
    }
    if (bytes == 0) {
        return 0;
    }
    ret = io_slice_init(&req.slice, qiov, qiov_offset, bytes);
    if (ret < 0) {
        return ret;
    }
    ret = transfer_at_once(&req);
    if (ret > 0) {
        ret = thread_pool_submit_co(transfer, &req);
    }
    io_slice_destroy(&req.slice);
    return ret;
}

const IOEngine io_engine_threads = {
    .name = "threads",
    .check_open = threads_check_open,
    .submit = threads_submit,
};
