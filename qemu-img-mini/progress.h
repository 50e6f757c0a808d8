/* SPDX-License-Identifier: MIT */
/*
 * How far a long command is.
 *
 * On a terminal one line is redrawn, at most ten times a second: percent, rate, time left.
 * Elsewhere it is as qemu-img has it, for those who read it by program: "    (12.50/100%)" and
 * a carriage return after each percent, a newline at the end. When SIGUSR1 comes and stdout is no
 * terminal, the figure and the rate go to stderr, with or without -p.
 *
 * With --progress=json:FD programs get lines of JSON, twice a second and at the end:
 * {"status": "running", "percent": 12.50, "done": 131072, "total": 1048576, "rate": 524288,
 * "seconds-left": 2}; status "completed" or "failed" in the last one; done, total and rate in
 * bytes of work (steps of an amend or a bitmap), rate and seconds-left when there is something to tell.
 * One thread at a time, and one progress.
 */
#ifndef IMG_PROGRESS_H
#define IMG_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block-common.h"

#define CLI_SHOW_PROGRESS_OPTION { 'p', NULL, NULL, "show the progress" }
#define CLI_PROGRESS_OPTION                                                                \
    { CLI_OPT_PROGRESS, "progress", "json:FD", "progress as lines of JSON to this descriptor" }

/* The options above, with getopt's optarg. False and a message: the value of --progress is wrong. */
bool progress_option(int c);
/* @quiet: -q; it outdoes -p. */
void progress_begin(bool quiet);
/* The user wants to see it, so it is worth some time to find out how much there is to do. */
bool progress_is_shown(void);
/* SIGUSR1 has come, and the next update will answer. */
bool progress_is_asked(void);
/* @done of @total bytes of work are done. Cheap enough for every request. */
void progress_update(uint64_t done, uint64_t total);
/* The same for the library's operations: a BlockProgress, *@opaque is not used. */
void progress_callback(void *opaque, uint64_t done, uint64_t total);
/* Before something else is printed: leaves the line that is being redrawn. */
void progress_break_line(void);
/* @completed: shows 100 %. The end of the line is still to come, but on a terminal. */
void progress_done(bool completed);
/* That end: behind whatever the command has to say, as in qemu-img. */
void progress_close(void);
/* At the end, where the work may not have begun: an empty line instead of all that, as qemu-img has it. */
void progress_give_up(bool quiet);
/* Both. */
void progress_end(bool completed);

#endif
