/* SPDX-License-Identifier: MIT */
/*
 * What qemu-img-mini and qemu-io-mini share: the program's name, objects, opening an image
 * as the options say, and the end of the program. Everything runs in the main thread.
 */
#ifndef TOOLS_CLI_COMMON_H
#define TOOLS_CLI_COMMON_H

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "block/block-backend.h"
#include "block/block-options.h"

/* The name that the program was called by. */
const char *cli_progname(void);

/* An option --object. False and a message when it cannot be. */
bool cli_add_object(const char *definition);

/*
 * The value of -T, --trace. There are no trace events: names match nothing, as they may in QEMU.
 * False and a message when it is no list of trace options; exits when it asks for help.
 */
bool cli_check_trace(const char *text);

/* --- images --- */

typedef struct CliImage {
    const char *filename; /* or an option string if image_opts */
    bool image_opts;
    const char *format;   /* NULL: find out */
    int flags;            /* BDRV_O_* */
    bool writethrough;
    bool force_share;
    unsigned compression_level; /* of a format that has one; 0: its own choice */
    const char *write_layer; /* option prefix ("backing.backing.") of a layer to open for writing; or NULL */
} CliImage;

/*
 * --no-external: from here on, files that only an image names are not opened. What that adds
 * to the flags of an open; cli_open_image() does so by itself.
 */
void cli_forbid_external(void);
int cli_external_flags(void);

/* The value of -i: sets the bits of *@flags. False and a message when it is none, or none here. */
bool cli_parse_aio(const char *mode, int *flags);

/* NULL and a message on failure. */
BlockBackend *cli_open_image(const CliImage *image);
/*
 * Before an image that was written to is closed: all of it is on the disk. False and a message when it
 * is not: then the command has failed.
 */
bool cli_finish_image(BlockBackend *blk);

/* --- messages --- */

/*
 * What helps a person, behind a message that scripts compare: "text" on a line of its own on
 * stderr, if that is a terminal.
 */
void cli_hint(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* --- coroutines, descriptors, the end --- */

/* Runs @entry(@opaque) as a coroutine; polls until *@done, which it has to set. */
void cli_run_coroutine(CoroutineEntry *entry, void *opaque, const bool *done);

/*
 * Sees to it that no image is opened as one of the three standard descriptors, or messages
 * would be written into it. Before anything is opened.
 */
void cli_reserve_standard_descriptors(void);

/*
 * Writes out what stdout still holds: @status, or EXIT_FAILURE and a message when
 * somebody's output got lost.
 */
int cli_finish_stdout(int status);

#endif
