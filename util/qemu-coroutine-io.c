/* SPDX-License-Identifier: MIT */
/*
 * Coroutines that wait for descriptors, in the loop of the thread that they are in when
 * they begin to wait.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"

typedef struct FdWait {
    AioContext *ctx;
    Coroutine *co;
    int fd;
} FdWait;

static void fd_is_ready(void *opaque)
{
    FdWait *wait = opaque;

    aio_set_fd_handler(wait->ctx, wait->fd, NULL, NULL, NULL, NULL, NULL);
    qemu_coroutine_enter(wait->co);
}

static void coroutine_fn wait_for_fd(int fd, bool writable)
{
    FdWait wait = {
        .ctx = qemu_get_current_aio_context(),
        .co = qemu_coroutine_self(),
        .fd = fd,
    };

    g_assert(wait.ctx);
    aio_set_fd_handler(wait.ctx, fd, writable ? NULL : fd_is_ready,
                       writable ? fd_is_ready : NULL, NULL, NULL, &wait);
    qemu_coroutine_yield();
}

void coroutine_fn yield_until_fd_readable(int fd)
{
    wait_for_fd(fd, false);
}

ssize_t coroutine_fn qemu_co_sendv_recvv(int sockfd, struct iovec *iov, unsigned iov_cnt,
                                         size_t offset, size_t bytes, bool do_send)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t ret = iov_send_recv(sockfd, iov, iov_cnt, offset + done, bytes - done, do_send);
        int err = errno;

        if (ret > 0) {
            done += (size_t)ret;
        } else if (ret < 0 && err == EAGAIN) {
            wait_for_fd(sockfd, do_send);
        } else if (ret == 0 || done > 0) {
            break;
        } else {
            return -err;
        }
    }
    return (ssize_t)done;
}

ssize_t coroutine_fn qemu_co_send_recv(int sockfd, void *buf, size_t bytes, bool do_send)
{
    struct iovec iov = { .iov_base = buf, .iov_len = bytes };

    return qemu_co_sendv_recvv(sockfd, &iov, 1, 0, bytes, do_send);
}
