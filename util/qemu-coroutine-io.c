/* SPDX-License-Identifier: MIT */
/* Coroutines that wait for descriptors, in the loop of their thread. */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"

typedef struct FdWait {
    AioContext *ctx;
    Coroutine *co;
    int fd;
} FdWait;

static void fd_is_readable(void *opaque)
{
    FdWait *wait = opaque;

    aio_set_fd_handler(wait->ctx, wait->fd, NULL, NULL, NULL, NULL, NULL);
    qemu_coroutine_enter(wait->co);
}

void coroutine_fn yield_until_fd_readable(int fd)
{
    FdWait wait = {
        .ctx = qemu_get_current_aio_context(),
        .co = qemu_coroutine_self(),
        .fd = fd,
    };

    g_assert(wait.ctx);
    aio_set_fd_handler(wait.ctx, fd, fd_is_readable, NULL, NULL, NULL, &wait);
    qemu_coroutine_yield();
}
