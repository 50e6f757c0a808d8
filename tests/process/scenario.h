/* SPDX-License-Identifier: MIT */
/* The commands that are killed, or see failing calls, and what must hold for each. */
#ifndef TESTS_PROCESS_SCENARIO_H
#define TESTS_PROCESS_SCENARIO_H

#include "place.h"

typedef struct Scenario {
    const char *name;
    const char *command;            /* as for place_run() */
    void (*prepare)(Place *p);      /* makes the images; once */
    void (*examine)(Place *p);      /* what must hold after a part of the command */
    void (*finished)(Place *p);     /* ... and after all of it */
    const char *retry;              /* NULL: @command again */
    const char *repair;             /* image that may be repaired before the command is tried again */
    /* The exit code of success; the retry after a success may have this complaint instead. */
    int code;
    const char *already;
    bool reads_only;                /* stdout is what matters */
    bool fresh;                     /* begins with an image that nothing was written to: reset */
    bool may_be_less;               /* stdout says less when something cannot be found out */
} Scenario;

extern const Scenario scenarios[];
extern const size_t n_scenarios;

#endif
