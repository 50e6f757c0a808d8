/* SPDX-License-Identifier: MIT */
/* IOSlice: see io-slice.h. Nothing here is shared between threads. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "block/engine/io-slice.h"

/* Points @slice at [skip, skip + bytes) of @iov; iov must stay valid unless it is trimmed. */
static int slice_trim(IOSlice *slice, struct iovec *iov, int niov, size_t skip, size_t bytes)
{
    int n = 0;
    size_t left;

    while (niov > 0 && skip >= iov->iov_len) {
        skip -= iov->iov_len;
        iov++;
        niov--;
    }
    for (left = skip + bytes; left > 0 && n < niov; n++) {
        left -= MIN(left, iov[n].iov_len);
    }
    if (left > 0) {
        return -EINVAL;
    }

    slice->bytes = bytes;
    slice->niov = n;
    if (n <= 1) {
        if (n) {
            slice->one.iov_base = (char *)iov->iov_base + skip;
            slice->one.iov_len = bytes;
        }
        slice->iov = &slice->one;
        return 0;
    }

    slice->owned = g_try_new(struct iovec, n);
    if (!slice->owned) {
        return -ENOMEM;
    }
    memcpy(slice->owned, iov, n * sizeof(*iov));
    slice->iov = slice->owned;
    slice->iov[0].iov_base = (char *)slice->iov[0].iov_base + skip;
    slice->iov[0].iov_len -= skip;
    for (left = bytes, n = 0; n < slice->niov - 1; n++) {
        left -= slice->iov[n].iov_len;
    }
    slice->iov[n].iov_len = left;
    return 0;
}

int io_slice_init_many(IOSlice *slice, QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    slice->owned = NULL;
    if (offset == 0 && bytes == qiov->size) {
        slice->iov = qiov->iov;
        slice->niov = qiov->niov;
        slice->bytes = bytes;
        return 0;
    }
    return slice_trim(slice, qiov->iov, qiov->niov, offset, bytes);
}

int io_slice_advance(IOSlice *slice, size_t done)
{
    struct iovec *old = slice->owned;
    int ret;

    slice->owned = NULL;
    ret = slice_trim(slice, slice->iov, slice->niov, done, slice->bytes - done);
    if (ret < 0) {
        slice->owned = old;
        return ret;
    }
    g_free(old);
    return 0;
}

void io_slice_zero(const IOSlice *slice)
{
    for (int i = 0; i < slice->niov; i++) {
        memset(slice->iov[i].iov_base, 0, slice->iov[i].iov_len);
    }
}

bool io_slice_is_aligned(const IOSlice *slice, size_t mem_align, size_t len_align)
{
    for (int i = 0; i < slice->niov; i++) {
        if ((uintptr_t)slice->iov[i].iov_base & (mem_align - 1) ||
            slice->iov[i].iov_len & (len_align - 1)) {
            return false;
        }
    }
    return true;
}

void io_slice_free_owned(IOSlice *slice)
{
    g_free(slice->owned);
    slice->owned = NULL;
}
