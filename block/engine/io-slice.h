/* SPDX-License-Identifier: MIT */
/*
 * IOSlice: the part of a vector that one transfer still has to move.
 *
 * It borrows the caller's iovecs while it covers them whole, and copies them only
 * where they have to be trimmed: at the edges of a part, and after a short transfer.
 * It lives on the stack of the request's coroutine and belongs to it.
 */
#ifndef BLOCK_ENGINE_IO_SLICE_H
#define BLOCK_ENGINE_IO_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "qemu/iov.h"

typedef struct IOSlice {
    struct iovec *iov;   /* what is left to move, in order */
    int niov;
    size_t bytes;        /* sum over iov */
    struct iovec one;    /* iov points here when a single piece is left */
    struct iovec *owned; /* the copy to free, or NULL */
} IOSlice;

/* io_slice_init() of vectors that are not a single piece. */
int io_slice_init_many(IOSlice *slice, QEMUIOVector *qiov, size_t offset, size_t bytes);

/*
 * Covers @bytes bytes of @qiov from @offset on. 0 or -ENOMEM; -EINVAL when the vector is
 * shorter than that.
 */
static inline int io_slice_init(IOSlice *slice, QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    if (qiov->niov == 1 && offset <= qiov->iov[0].iov_len &&
        bytes <= qiov->iov[0].iov_len - offset) {
        slice->owned = NULL;
        slice->one.iov_base = (char *)qiov->iov[0].iov_base + offset;
        slice->one.iov_len = bytes;
        slice->iov = &slice->one;
        slice->niov = 1;
        slice->bytes = bytes;
        return 0;
    }
    return io_slice_init_many(slice, qiov, offset, bytes);
}

/* Drops the first @done bytes, @done <= slice->bytes. 0 or -ENOMEM. */
int io_slice_advance(IOSlice *slice, size_t done);

/* Fills what is left with zeroes. */
void io_slice_zero(const IOSlice *slice);

/* Whether each piece starts at a multiple of @mem_align and is a multiple of @len_align long. */
bool io_slice_is_aligned(const IOSlice *slice, size_t mem_align, size_t len_align);

void io_slice_free_owned(IOSlice *slice);

static inline void io_slice_destroy(IOSlice *slice)
{
    if (slice->owned) {
        io_slice_free_owned(slice);
    }
}

#endif
