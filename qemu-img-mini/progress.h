/* SPDX-License-Identifier: MIT */
/*
 * How far a long command is.
 *
 * On a terminal one line is redrawn, at most ten times a second: percent, rate, time left.
 * Elsewhere whole lines are written now and then. Both begin with qemu-img's
 * "    (12.50/100%)". Without -p the same is written to stderr when SIGUSR1 comes.
 * Main thread only; one progress at a time.
 */
#ifndef IMG_PROGRESS_H
#define IMG_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* @shown: -p and not -q. */
void progress_begin(bool shown);
/* The user wants to see it, so it is worth some time to find out how much there is to do. */
bool progress_is_shown(void);
/* @done of @total bytes of work are done. Cheap enough for every request. */
void progress_update(uint64_t done, uint64_t total);
/* Before something else is printed: leaves the line that is being redrawn. */
void progress_break_line(void);
/* @completed: shows 100 %. */
void progress_end(bool completed);

#endif
