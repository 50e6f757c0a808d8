/* SPDX-License-Identifier: MIT */
/* What the clock and the loop ask of a simulation (qemu/aio-sim.h). */
#ifndef UTIL_AIO_SIM_INTERNAL_H
#define UTIL_AIO_SIM_INTERNAL_H

#include "qemu/aio-sim.h"

/* The simulation of the calling thread, or NULL: a load and a branch for all others. */
extern __thread AioSim *aio_sim_of_thread __attribute__((tls_model("initial-exec")));

/* Nothing else is to be done for ns: they pass. */
void aio_sim_pass(AioSim *sim, int64_t ns);

#endif
