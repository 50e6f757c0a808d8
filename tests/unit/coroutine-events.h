/* SPDX-License-Identifier: MIT */
/*
 * Coroutines that note what happens to them, a letter an event, so that a test compares strings;
 * and tests of what may not be done. A program includes this once and defines die_by().
 */
#ifndef TESTS_COROUTINE_EVENTS_H
#define TESTS_COROUTINE_EVENTS_H

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/aio.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"

/* What happened, a letter an event. */
static GString *events;

static inline void note(char what)
{
    g_string_append_c(events, what);
}

#define assert_events(expected)                                                          \
    do {                                                                                 \
        g_assert_cmpstr(events->str, ==, expected);                                      \
        g_string_truncate(events, 0);                                                    \
    } while (0)

static inline AioContext *ctx(void)
{
    return qemu_get_aio_context();
}

static inline void poll_until(const bool *done)
{
    while (!*done) {
        aio_poll(ctx(), true);
    }
}

static inline void enter_new(CoroutineEntry *entry, void *opaque)
{
    qemu_coroutine_enter(qemu_coroutine_create(entry, opaque));
}

/* Does what has to kill the process. */
static void die_by(const char *how);

static inline void dies(gconstpointer opaque)
{
    const char *const *death = opaque;

    if (g_test_subprocess()) {
        die_by(death[0]);
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(death[1]);
}

/* Each of @deaths is a way to die, with a part of the message that it has to die with. */
static inline void add_deaths(const char *const (*deaths)[2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("/dies/%s", deaths[i][0]);

        g_test_add_data_func(name, deaths[i], dies);
    }
}

#endif
