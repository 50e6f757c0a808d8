/* SPDX-License-Identifier: MIT */
/* IOTransfer: see io-transfer.h. Nothing here is shared between threads. */
#include "qemu/osdep.h"

#include "block/engine/io-transfer.h"

int io_transfer_step_rare(IOTransfer *t, long result)
{
    const bool reads = t->op == IO_ENGINE_READ;

    if (result > 0) {
        t->offset += result;
        t->resumed = true;
        return io_slice_advance(&t->slice, result) ?: 1;
    }
    if (result == -EINTR) {
        return 1;
    }
    /* O_DIRECT cannot go on from the middle of a block: such an end is the end of the file. */
    if (reads && (result == 0 || (result == -EINVAL && t->resumed))) {
        io_slice_zero(&t->slice);
        return 0;
    }
    return result == 0 ? -ENOSPC : result;
}

int coroutine_fn io_transfer_by_threads(const IOTransfer *t)
{
    QEMUIOVector rest;

    if (t->op == IO_ENGINE_FLUSH) {
        return io_engine_threads.submit(NULL, t->fd, t->op, 0, 0, NULL, 0, 0);
    }
    qemu_iovec_init_external(&rest, t->slice.iov, t->slice.niov);
    return io_engine_threads.submit(NULL, t->fd, t->op, t->offset, t->slice.bytes, &rest, 0,
                                    t->fua ? BDRV_REQ_FUA : 0);
}
