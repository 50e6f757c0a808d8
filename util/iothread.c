/* SPDX-License-Identifier: MIT */
/*
 * A thread with an AioContext. The structure is its creator's; stopping is the thread's,
 * set by a bottom half, which so comes behind everything that was scheduled before.
 */
#include <pthread.h>

#include "qemu/atomic.h"
#include "qemu/iothread.h"
#include "qemu/thread.h"
#include "thread-spawn.h"

struct IOThread {
    AioContext *ctx;
    pthread_t thread;
    QemuSemaphore running;
    bool stopping;
};

static void *iothread_run(void *opaque)
{
    IOThread *iothread = opaque;

    qemu_set_current_aio_context(iothread->ctx);
    qemu_sem_post(&iothread->running);
    while (!iothread->stopping) {
        aio_poll(iothread->ctx, true);
    }
    qemu_set_current_aio_context(NULL);
    return NULL;
}

static void iothread_stop_bh(void *opaque)
{
    IOThread *iothread = opaque;

    iothread->stopping = true;
}

static void iothread_free(IOThread *iothread)
{
    if (iothread->ctx) {
        aio_context_unref(iothread->ctx);
    }
    qemu_sem_destroy(&iothread->running);
    g_free(iothread);
}

IOThread *iothread_new_named(const char *name, Error **errp)
{
    IOThread *iothread = g_new0(IOThread, 1);
    int ret;

    qemu_sem_init(&iothread->running, 0);
    iothread->ctx = aio_context_new(errp);
    if (!iothread->ctx) {
        iothread_free(iothread);
        return NULL;
    }
    ret = thread_spawn(&iothread->thread, name, iothread_run, iothread);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to start thread '%s'", name);
        iothread_free(iothread);
        return NULL;
    }
    qemu_sem_wait(&iothread->running);
    return iothread;
}

IOThread *iothread_new(void)
{
    return iothread_new_named("blkco-iothread", &error_fatal);
}

AioContext *iothread_get_aio_context(IOThread *iothread)
{
    return iothread->ctx;
}

void iothread_join(IOThread *iothread)
{
    g_assert(!in_aio_context_home_thread(iothread->ctx));
    aio_bh_schedule_oneshot(iothread->ctx, iothread_stop_bh, iothread);
    pthread_join(iothread->thread, NULL);
    iothread_free(iothread);
}
