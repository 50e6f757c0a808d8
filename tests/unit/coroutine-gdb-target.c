/* SPDX-License-Identifier: MIT */
/*
 * What coroutine-gdb.sh looks at: coroutines suspended in known functions, then abort.
 */
#include <stdlib.h>

#include "qemu/coroutine-core.h"

static volatile int kept;

static void QEMU_NOINLINE coroutine_fn inner_wait(int number)
{
    kept = number;
    qemu_coroutine_yield();
    kept = number;
}

static void QEMU_NOINLINE coroutine_fn outer_wait(int number)
{
    inner_wait(number + 1);
    kept = 0;
}

static void coroutine_fn reader_entry(void *opaque)
{
    outer_wait(41);
    kept = 1;
}

static void coroutine_fn writer_entry(void *opaque)
{
    inner_wait(7);
    kept = 2;
}

static void coroutine_fn ended_entry(void *opaque)
{
    kept = 3;
}

static void QEMU_NOINLINE crash_here(void)
{
    abort();
}

static void coroutine_fn active_entry(void *opaque)
{
    crash_here();
    kept = 4;
}

int main(void)
{
    static const CoroutineAttr reader = { .name = "reader" };
    static const CoroutineAttr writer = { .name = "writer" };

    qemu_coroutine_enter(qemu_coroutine_create_attr(reader_entry, NULL, &reader));
    qemu_coroutine_enter(qemu_coroutine_create_attr(writer_entry, NULL, &writer));
    qemu_coroutine_enter(qemu_coroutine_create(ended_entry, NULL));
    qemu_coroutine_enter(qemu_coroutine_create(active_entry, NULL));
    return 0;
}
