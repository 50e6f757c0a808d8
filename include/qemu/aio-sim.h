/* SPDX-License-Identifier: MIT */
/*
 * A deterministic event loop, for tests: while an AioContext is simulated, what happens in
 * its thread depends on the seed and on what the thread does, and on nothing else.
 *
 *   - Time is virtual. All clocks of the thread (qemu_clock_get_ns) show the simulation's,
 *     which begins at a fixed value and stands still while the thread works. Where aio_poll
 *     would sleep until a timer is due, the clock jumps there instead. Without any timer it
 *     does wait for descriptors and for other threads.
 *   - Work for the thread pool runs in the loop itself, at an instant and in an order that
 *     come from the seed.
 *   - Random numbers and delayed calls come from the seed as well.
 *
 * Only aio_poll (and what polls with it: AIO_WAIT_WHILE, blk_pread and so on) knows of it,
 * not a GMainLoop. What other threads do to the context is as little deterministic as ever,
 * and real descriptors are looked at whenever the clock would jump, but not waited for: time
 * limits then run out before real devices answer. Several threads may each have a simulation.
 */
#ifndef QEMU_AIO_SIM_H
#define QEMU_AIO_SIM_H

#include "qemu/aio.h"

typedef struct AioSim AioSim;

/* Where a simulation's clocks begin. */
#define AIO_SIM_START_NS INT64_C(1000000000)

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/*
 * From now on ctx, which is the calling thread's own context (qemu_set_current_aio_context)
 * and not simulated yet, is. No timer is armed and nothing in flight. Outside of coroutines.
 */
AioSim *aio_sim_begin(AioContext *ctx, uint64_t seed);
/* The end; by the same thread. No call is pending, no work for the pool is under way. */
void aio_sim_end(AioSim *sim);

/* The calling thread's simulation, or NULL. */
AioSim *aio_sim_current(void);

/* What follows is for the simulation's thread. */

/* Virtual nanoseconds: what qemu_clock_get_ns returns. */
int64_t aio_sim_now_ns(const AioSim *sim);
uint64_t aio_sim_seed(const AioSim *sim);
/*
 * The generator by itself: the next 64 random bits from *state, which begins as the seed.
 * Any thread.
 */
uint64_t aio_sim_next_random(uint64_t *state);
/* The next number from the simulation's seed: 64 random bits; below n (which is not 0). */
uint64_t aio_sim_random(AioSim *sim);
uint64_t aio_sim_random_below(AioSim *sim, uint64_t n);
/*
 * cb(opaque) in the loop in delay_ns from now (0: in the next round). Calls for the same
 * instant come in an order that is the seed's.
 */
void aio_sim_call_later(AioSim *sim, int64_t delay_ns, QEMUBHFunc *cb, void *opaque);
/* Calls that are still to come. */
unsigned aio_sim_n_pending(const AioSim *sim);

#pragma GCC visibility pop
G_END_DECLS

#endif
