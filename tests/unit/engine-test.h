/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the I/O engines share: a scratch file, one request as a coroutine, and
 * a loop that runs until all requests are done. For one source file each; one thread
 * per Req.
 */
#ifndef TESTS_UNIT_ENGINE_TEST_H
#define TESTS_UNIT_ENGINE_TEST_H

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/iov.h"

#include "block/io-engine.h"

#define KIB 1024
#define MIB (1024 * 1024)

/* One request and its result; in flight while ret is REQ_PENDING. */
#define REQ_PENDING 1

typedef struct Req {
    const IOEngine *engine;
    int fd;
    IOEngineOp op;
    int64_t offset;
    size_t bytes;
    void *buf;
    QEMUIOVector *qiov;   /* NULL: buf */
    size_t qiov_offset;
    BdrvRequestFlags flags;
    int ret;
    int order;            /* the how-manieth request of all to end */
} Req;

static inline void coroutine_fn req_entry(void *opaque)
{
    static __thread int ended;
    Req *req = opaque;
    QEMUIOVector local;

    if (!req->qiov) {
        qemu_iovec_init_buf(&local, req->buf, req->bytes);
    }
    req->ret = req->engine->submit(io_engine_get_state(req->engine, &error_abort), req->fd,
                                   req->op, req->offset, req->bytes,
                                   req->qiov ?: &local, req->qiov_offset, req->flags);
    req->order = ended++;
}

static inline void req_start(Req *req)
{
    req->ret = REQ_PENDING;
    qemu_coroutine_enter(qemu_coroutine_create(req_entry, req));
}

static inline int req_wait(Req *req)
{
    while (req->ret == REQ_PENDING) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
    return req->ret;
}

static inline int req_run(Req req)
{
    req_start(&req);
    return req_wait(&req);
}

/* Byte number @pos of scratch files. */
static inline uint8_t scratch_byte(int64_t pos)
{
    return (uint8_t)(pos * 31 + (pos >> 9) * 7 + (pos >> 17));
}

static inline void check_scratch(const uint8_t *buf, int64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != scratch_byte(offset + i)) {
            g_error("byte %zu of the read at %" PRId64 " is wrong", i, offset);
        }
    }
}

/* An unlinked file of @size bytes in the current directory; -1: no O_DIRECT here. */
static inline int scratch_file(size_t size, int flags)
{
    char name[] = "engine-test-XXXXXX";
    int fd = mkstemp(name);
    uint8_t *buf = g_malloc(size);
    int direct_fd;

    g_assert_cmpint(fd, >=, 0);
    for (size_t i = 0; i < size; i++) {
        buf[i] = scratch_byte(i);
    }
    g_assert_cmpint(write(fd, buf, size), ==, size);
    g_assert_cmpint(fsync(fd), ==, 0);
    g_free(buf);
    direct_fd = open(name, O_RDWR | O_CLOEXEC | flags);
    close(fd);
    unlink(name);
    return direct_fd;
}

#endif
