/* SPDX-License-Identifier: MIT */
/*
 * The big lock, for sources whose threads exclude each other and the main loop by it. The
 * library itself never takes it: its structures have owners or locks of their own.
 *
 * held is the thread's. Each use of it is one access in one function, so no coroutine can
 * be on another thread between computing its address and using it.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine-tls.h"
#include "qemu/main-loop.h"

static QemuMutex bql = { .lock = PTHREAD_MUTEX_INITIALIZER, .initialized = true };

QEMU_DEFINE_STATIC_CO_TLS(bool, held)

bool bql_locked(void)
{
    return get_held();
}

void bql_lock_impl(const char *file, int line)
{
    g_assert(!bql_locked());
    qemu_mutex_lock_impl(&bql, file, line);
    set_held(true);
}

void bql_unlock(void)
{
    g_assert(bql_locked());
    set_held(false);
    qemu_mutex_unlock(&bql);
}

void qemu_cond_wait_bql(QemuCond *cond)
{
    g_assert(bql_locked());
    set_held(false);
    qemu_cond_wait(cond, &bql);
    set_held(true);
}

bool qemu_cond_timedwait_bql(QemuCond *cond, int ms)
{
    bool signalled;

    g_assert(bql_locked());
    set_held(false);
    signalled = qemu_cond_timedwait(cond, &bql, ms);
    set_held(true);
    return signalled;
}
