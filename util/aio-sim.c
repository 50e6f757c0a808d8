/* SPDX-License-Identifier: MIT */
/*
 * Simulation of an event loop: a clock that jumps, a heap of delayed calls, and the numbers
 * that come from the seed. The clock, the loop and the thread pool ask for it at one place
 * each: qemu_clock_get_ns(), collect_simulated() in aio-posix.c, thread_pool_submit_aio().
 *
 * All of it is the simulated thread's. The heap is ordered by time, then by a random number.
 * One timer of the context stands for its first call; it is armed anew before each call, as
 * that may run an inner loop, which goes on with the rest.
 */
#include <stdio.h>
#include <stdlib.h>

#include "qemu/osdep.h"
#include "qemu/timer.h"

#include "aio-internal.h"
#include "aio-sim-internal.h"

typedef struct SimCall {
    int64_t when; /* virtual ns */
    uint64_t tie;
    uint64_t number;
    QEMUBHFunc *cb;
    void *opaque;
} SimCall;

struct AioSim {
    AioContext *ctx;
    uint64_t seed;
    uint64_t random;
    int64_t now;
    GArray *calls; /* binary heap of SimCall */
    uint64_t n_calls; /* ever */
    QEMUTimer timer;
};

__thread AioSim *aio_sim_of_thread __attribute__((tls_model("initial-exec")));

AioSim *aio_sim_current(void)
{
    return aio_sim_of_thread;
}

int64_t aio_sim_now_ns(const AioSim *sim)
{
    return sim->now;
}

uint64_t aio_sim_seed(const AioSim *sim)
{
    return sim->seed;
}

unsigned aio_sim_n_pending(const AioSim *sim)
{
    return sim->calls->len;
}

void aio_sim_pass(AioSim *sim, int64_t ns)
{
    if (__builtin_add_overflow(sim->now, ns, &sim->now)) {
        fprintf(stderr, "aio_sim: virtual time has reached its end\n");
        abort();
    }
}

/* ---- random numbers ---- */

/* A counter in steps of an odd constant, stirred: every seed gives all 2^64 numbers. */
uint64_t aio_sim_next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

uint64_t aio_sim_random(AioSim *sim)
{
    return aio_sim_next_random(&sim->random);
}

uint64_t aio_sim_random_below(AioSim *sim, uint64_t n)
{
    g_assert(n > 0);
    return (uint64_t)(((unsigned __int128)aio_sim_random(sim) * n) >> 64);
}

/* ---- the heap ---- */

static inline SimCall *call_at(AioSim *sim, unsigned i)
{
    return &g_array_index(sim->calls, SimCall, i);
}

static bool before(const SimCall *a, const SimCall *b)
{
    return a->when < b->when || (a->when == b->when && a->tie < b->tie);
}

static void swap_calls(AioSim *sim, unsigned i, unsigned k)
{
    SimCall call = *call_at(sim, i);

    *call_at(sim, i) = *call_at(sim, k);
    *call_at(sim, k) = call;
}

static void sift_up(AioSim *sim, unsigned i)
{
    while (i > 0 && before(call_at(sim, i), call_at(sim, (i - 1) / 2))) {
        swap_calls(sim, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void sift_down(AioSim *sim, unsigned i)
{
    for (;;) {
        unsigned first = i;

        for (unsigned child = 2 * i + 1; child <= 2 * i + 2; child++) {
            if (child < sim->calls->len && before(call_at(sim, child), call_at(sim, first))) {
                first = child;
            }
        }
        if (first == i) {
            return;
        }
        swap_calls(sim, i, first);
        i = first;
    }
}

static SimCall take_first(AioSim *sim)
{
    SimCall call = *call_at(sim, 0);

    g_array_remove_index_fast(sim->calls, 0);
    sift_down(sim, 0);
    return call;
}

static void arm(AioSim *sim)
{
    if (sim->calls->len) {
        timer_mod_ns(&sim->timer, call_at(sim, 0)->when);
    } else {
        timer_del(&sim->timer);
    }
}

/* What is due and was there before the round. */
static void run_calls(void *opaque)
{
    AioSim *sim = opaque;
    uint64_t end_of_round = sim->n_calls;

    while (sim->calls->len && call_at(sim, 0)->when <= sim->now &&
           call_at(sim, 0)->number < end_of_round) {
        SimCall call = take_first(sim);

        arm(sim);
        call.cb(call.opaque);
    }
    arm(sim);
}

void aio_sim_call_later(AioSim *sim, int64_t delay_ns, QEMUBHFunc *cb, void *opaque)
{
    SimCall call = { .tie = aio_sim_random(sim), .number = sim->n_calls++, .cb = cb,
                     .opaque = opaque };

    g_assert(sim == aio_sim_of_thread);
    g_assert(delay_ns >= 0);
    if (__builtin_add_overflow(sim->now, delay_ns, &call.when)) {
        call.when = INT64_MAX;
    }
    g_array_append_val(sim->calls, call);
    sift_up(sim, sim->calls->len - 1);
    if (call_at(sim, 0)->number == call.number) {
        arm(sim);
    }
}

/* ---- begin and end ---- */

AioSim *aio_sim_begin(AioContext *ctx, uint64_t seed)
{
    AioSim *sim = g_new0(AioSim, 1);

    g_assert(qemu_get_current_aio_context() == ctx && !ctx->sim && !aio_sim_of_thread);
    /* They would be due at times of another clock. */
    g_assert(timerlistgroup_deadline_ns(&ctx->tlg) == -1);
    sim->ctx = ctx;
    sim->seed = sim->random = seed;
    sim->now = AIO_SIM_START_NS;
    sim->calls = g_array_new(FALSE, FALSE, sizeof(SimCall));
    ctx->sim = sim;
    aio_watched(ctx); /* a sleeper knows no virtual time */
    aio_sim_of_thread = sim;
    /* Who waited before may have left one behind: it would end the first aio_poll. */
    aio_notify_accept(ctx);
    aio_timer_init(ctx, &sim->timer, QEMU_CLOCK_REALTIME, SCALE_NS, run_calls, sim);
    return sim;
}

void aio_sim_end(AioSim *sim)
{
    g_assert(sim == aio_sim_of_thread);
    if (sim->calls->len || timerlistgroup_deadline_ns(&sim->ctx->tlg) != -1) {
        fprintf(stderr, "aio_sim_end: there are calls or timers that are still to come: "
                "the test has to wait for its sleeps, and delete its timers\n");
        abort();
    }
    timer_deinit(&sim->timer);
    aio_sim_of_thread = NULL;
    sim->ctx->sim = NULL;
    g_array_free(sim->calls, TRUE);
    g_free(sim);
}
