/* SPDX-License-Identifier: MIT */
/* A session of process-test: what process-test.c and fault.c share. */
#ifndef TESTS_PROCESS_PROCESS_TEST_H
#define TESTS_PROCESS_PROCESS_TEST_H

#include "scenario.h"

typedef struct Session {
    Place place;
    const Scenario *scenario;
    const char *mode;
    uint32_t seed;     /* of the run */
    int64_t deadline;  /* microseconds of the monotonic clock; 0: none */
    int runs, kills, findings;
    char replay[128];  /* options that do the run again */
} Session;

void session_prepare(Session *t, const Scenario *sc);
/* Runs the scenario's command in a fresh directory, with the hook as it is set. */
void session_run(Session *t);
/* The command must succeed now; an image may be repaired before. */
void session_retry(Session *t, bool repair);
/* Counts a run, and prints what was found. */
void session_count(Session *t, const char *how);
bool session_is_over(const Session *t);

/*
 * Lets calls of the scenario's command fail; @most: faults at most, evenly spread, 0: every
 * call. @name: only this fault, or NULL. @at: only this call, or 0.
 */
void fault_scenario(Session *t, const Scenario *sc, const char *name, int at, int most);

#endif
