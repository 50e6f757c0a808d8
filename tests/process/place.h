/* SPDX-License-Identifier: MIT */
/*
 * A directory with images in which tools are run that are killed or see failing calls, and what can
 * be said of the images afterwards. One thread, and one place in a process.
 */
#ifndef TESTS_PROCESS_PLACE_H
#define TESTS_PROCESS_PLACE_H

#include "qemu/osdep.h"
#include "block/block-image.h"
#include "hook.h"

#define SECTOR 512

typedef struct Contents {
    uint8_t *data;
    int64_t length; /* bytes; < 0: the image could not be opened, which @error tells */
    char *error;
} Contents;

typedef struct Run {
    bool killed;      /* by SIGKILL */
    int signal;       /* another one, or 0 */
    int code;         /* exit code */
    bool timed_out;
    char *out, *err;  /* what it printed; owned by the place, until the next run */
} Run;

/* What the file PROCESS_HOOK names holds: the hook's page, then the log of the writer. */
#define HOOK_PAGE 4096

typedef struct Place {
    char *dir;             /* also the current directory */
    Hook *hook;            /* as the tools see it */
    GHashTable *templates; /* name of a file -> GBytes */
    GHashTable *known;     /* name -> Contents of images, as a scenario saves them */
    int64_t kill_after;    /* microseconds; 0: the tool is left alone */
    GString *finding;      /* empty: everything is right */
    Run run;
    int out_fd, err_fd, noise_fd;
} Place;

void place_init(Place *p, const char *hook_library);
void place_destroy(Place *p);
/* What the writer of the last run has logged. */
struct WriterLog *place_log(const Place *p);

/* Empties the directory, and forgets templates and known contents. */
void place_clear(Place *p);
/* From now on, place_reset() makes the directory what it is now. */
void place_keep(Place *p);
void place_reset(Place *p);

/*
 * Runs a tool with arguments, separated by spaces ('%20' is a space): "img convert a b",
 * "io -c flush a", "writer a 1". p->run tells how it went.
 */
void place_run(Place *p, const char *command);
/* Without the hook, and it must succeed. */
void place_must_run(Place *p, const char *command);

/* Records what is wrong; the first finding counts. */
void place_find(Place *p, const char *format, ...) G_GNUC_PRINTF(2, 3);
bool place_has_finding(const Place *p);

/* --- images; names are relative to the place --- */

/* Numbers that follow from @tag and the sector, so that neither can be taken for another. */
void fill_pattern(uint8_t *data, int64_t offset, int64_t bytes, uint32_t tag);
/* Writes the pattern of @tag to the image. */
void image_write(const char *name, const char *format, int64_t offset, int64_t bytes,
                 uint32_t tag);
/* @format may be NULL; @snapshot too: the active state. */
Contents image_read(const char *name, const char *format, const char *snapshot);
void contents_clear(Contents *c);
/* Remembers what the image reads as under the name @as. */
void place_remember(Place *p, const char *as, const char *name, const char *snapshot);
const Contents *place_known(const Place *p, const char *as);

/* Not a byte of the file is different. */
void expect_untouched(Place *p, const char *file);
/* qcow2: no damage, other than leaks; a dirty image may have more, which a repair mends. */
void expect_sound(Place *p, const char *name);
/* ... and no leaks either, unless it is dirty. */
void expect_clean(Place *p, const char *name);
/* Repairs leaks and damage. */
void image_repair(Place *p, const char *name);
/* The image reads as what is known as @as. */
void expect_same(Place *p, const char *name, const char *format, const char *as);
/* Each sector is as in @a or in @b ("zero": zeroes); the length is that of one of the two. */
void expect_either(Place *p, const char *name, const char *format, const char *a, const char *b);
/* The image has the snapshot: 1, has not: 0, cannot be opened: -1 and a finding. */
int image_has_snapshot(Place *p, const char *name, const char *snapshot);
void expect_snapshot(Place *p, const char *name, const char *snapshot, const char *as);

#endif
