/* SPDX-License-Identifier: MIT */
/*
 * Deferred calls. Everything is the calling thread's own: no lock. As sections do not
 * span a yield, the address of the thread's state stays good from begin to end; it is
 * still taken anew in each function, as these run in coroutines that change threads
 * between sections.
 */
#include <stdio.h>
#include <stdlib.h>

#include "qemu/defer-call.h"
#include "qemu/thread.h"

typedef struct DeferredCall {
    void (*fn)(void *);
    void *opaque;
} DeferredCall;

typedef struct DeferState {
    unsigned nesting;
    unsigned n_calls;
    unsigned n_alloc;
    DeferredCall *calls;
    Notifier atexit;
} DeferState;

/* Initial-exec: in a shared library the general model would call a function for it. */
static __thread DeferState defer_state __attribute__((tls_model("initial-exec")));

/* Not inlined, and opaque: see qemu/coroutine-tls.h. */
static QEMU_NOINLINE DeferState *get_ptr_defer_state(void)
{
    DeferState *state = &defer_state;

    __asm__ volatile("" : "+r"(state));
    return state;
}

static void free_calls_at_thread_exit(Notifier *notifier, void *data)
{
    DeferState *state = container_of(notifier, DeferState, atexit);

    g_free(state->calls);
    state->calls = NULL;
    state->n_alloc = 0;
}

static void grow(DeferState *state)
{
    if (!state->atexit.notify) {
        state->atexit.notify = free_calls_at_thread_exit;
        qemu_thread_atexit_add(&state->atexit);
    }
    state->n_alloc = state->n_alloc ? 2 * state->n_alloc : 16;
    state->calls = g_renew(DeferredCall, state->calls, state->n_alloc);
}

void defer_call_begin(void)
{
    DeferState *state = get_ptr_defer_state();

    state->nesting++;
}

void defer_call(void (*fn)(void *), void *opaque)
{
    DeferState *state = get_ptr_defer_state();

    if (state->nesting == 0) {
        fn(opaque);
        return;
    }
    /*
     * The last ones are the likeliest. Their number is that of queues, not of requests.
     */
    for (unsigned i = state->n_calls; i-- > 0;) {
        if (state->calls[i].fn == fn && state->calls[i].opaque == opaque) {
            return;
        }
    }
    if (state->n_calls == state->n_alloc) {
        grow(state);
    }
    state->calls[state->n_calls++] = (DeferredCall){ fn, opaque };
}

/* The array is this function's during the calls, which may open sections again. */
static void make_calls(DeferState *state)
{
    DeferredCall *calls = state->calls;
    unsigned n_calls = state->n_calls, n_alloc = state->n_alloc;

    state->calls = NULL;
    state->n_calls = state->n_alloc = 0;
    for (unsigned i = 0; i < n_calls; i++) {
        calls[i].fn(calls[i].opaque);
    }
    if (state->calls) {
        /* Sections that are still open (defer_call_flush) may have calls again. */
        g_free(calls);
    } else {
        state->calls = calls;
        state->n_alloc = n_alloc;
    }
}

void defer_call_end(void)
{
    DeferState *state = get_ptr_defer_state();

    if (state->nesting == 0) {
        fprintf(stderr, "defer_call_end: no section is open\n");
        abort();
    }
    if (--state->nesting == 0 && state->n_calls) {
        make_calls(state);
    }
}

void defer_call_flush(void)
{
    DeferState *state = get_ptr_defer_state();

    if (unlikely(state->n_calls)) {
        make_calls(state);
    }
}
