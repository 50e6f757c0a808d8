/* SPDX-License-Identifier: MIT */
/*
 * qemu-io-mini: a session with one open image, and commands that work on it.
 *
 * A command line is split at blanks; the first word names the command. Reports, and
 * mistakes in arguments, go to stdout, where qemu-io puts them; only what getopt, the
 * dispatcher and the library say goes to stderr. Everything runs in the main thread.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include "cli-common.h"

/* How an image is opened, besides the options of drivers. */
typedef struct IoOpenArgs {
    int flags; /* BDRV_O_* */
    bool writethrough;
    bool force_share;
    bool read_only;
} IoOpenArgs;

typedef struct IoSession {
    BlockBackend *blk; /* NULL: no image is open */
    bool misalign;     /* give requests buffers that O_DIRECT does not like */
    bool done;         /* "quit" */
    unsigned in_flight; /* requests of aio_read and aio_write */
    /* What the image was opened with, to open it once more. */
    char *filename;        /* or NULL */
    BlockOptions *options;
    IoOpenArgs open_args;
} IoSession;

typedef struct IoCommand {
    const char *name;
    const char *altname; /* or NULL */
    /* 0 or -errno, the message has been given; argv[0] is the name as typed. */
    int (*run)(const struct IoCommand *cmd, IoSession *io, int argc, char **argv);
    int min_args; /* without the name */
    int max_args; /* -1: any number */
    bool without_image; /* runs also when no image is open */
    uint64_t perm;      /* BLK_PERM_*: what it needs beyond reading */
    const char *args;   /* of the synopsis; NULL: none */
    const char *summary;
    const char *help;   /* the long text, or NULL */
} IoCommand;

/* --- command.c: finding and running --- */

/* Runs one line. 0 or -errno. @line is changed. */
int io_run_line(IoSession *io, char *line);
/* The synopsis on stdout; -EINVAL, to be returned by the command. */
int io_usage(const IoCommand *cmd);
/* --- input.c: lines from stdin --- */

/* Prompts, reads and runs until the end of stdin or "quit"; 0 or the last error. */
int io_run_stdin(IoSession *io);

/* --- image.c: open, close; reopen.c --- */

/* What holds without any option. */
#define IO_OPEN_DEFAULTS { .flags = BDRV_O_UNMAP, .writethrough = true }

/*
 * Options that the program and "open" have in common: 1 when @c is one and was taken, 0
 * when it is another, -EINVAL with a message.
 */
int io_open_option(IoOpenArgs *args, int c, const char *value);
/* @opts is consumed; @filename may be NULL. 0 or -errno with a message. */
int io_open(IoSession *io, const char *filename, BlockOptions *opts, const IoOpenArgs *args);
/* The same without a message of its own, and without a look at what is open. */
int io_open_quietly(IoSession *io, const char *filename, BlockOptions *opts,
                    const IoOpenArgs *args, Error **errp);
/* Waits for requests. Negative and a message: not all that was written is on the disk. */
int io_close(IoSession *io);
/* Adds an option string to *@opts, which is made if it is NULL. False and a message. */
bool io_add_options(BlockOptions **opts, const char *text, const char *implied_key);

/* --- values.c: arguments and buffers --- */

/* What is written when nobody says what. */
#define IO_DEFAULT_PATTERN 0xcd

/* Bytes; -EINVAL or -ERANGE and a message. */
int64_t io_parse_size(const char *arg);
/* A byte; -EINVAL and a message. */
int io_parse_pattern(const char *arg);
/* Bytes that are whole sectors? False and a message in which @what is wrong. */
bool io_check_sectors(int64_t value, const char *what);

/* NULL and a message when there is no memory. To be freed with io_buffer_free(). */
void *io_buffer_new(IoSession *io, int64_t size, int fill);
void io_buffer_free(IoSession *io, void *buf);
/* A buffer with the contents of the file repeated; NULL and a message. */
void *io_buffer_from_file(IoSession *io, int64_t size, const char *filename);
/*
 * @words, @n of them, are an offset and at least one size: one buffer behind the other of these
 * sizes. NULL and a message.
 */
void *io_vector_new(IoSession *io, QEMUIOVector *qiov, int64_t *offset, char **words, int n,
                    int fill);

/* Is all of @buf the pattern? A message when not. */
bool io_verify(const uint8_t *buf, int64_t size, int pattern, int64_t offset);
void io_dump(const uint8_t *buf, int64_t size, int64_t offset);

/* --- report.c: how long it took --- */

/* Now, in nanoseconds. */
int64_t io_clock(void);
/* "read", "wrote": what was done to @bytes at @offset since @start; @machine: for programs. */
void io_report(const char *what, int64_t start, int64_t offset, int64_t bytes, bool machine);
/* "1.500 KiB": @value with three digits behind the point unless they are zero. Caller frees. */
char *io_size_string(double value);

/* --- the commands --- */

extern const IoCommand io_abort_command, io_aio_flush_command, io_aio_read_command,
    io_aio_write_command, io_alloc_command, io_break_command, io_close_command,
    io_discard_command, io_flush_command, io_help_command, io_info_command,
    io_length_command, io_map_command, io_open_command, io_quit_command, io_read_command,
    io_readv_command, io_remove_break_command, io_reopen_command, io_resume_command,
    io_sigraise_command, io_sleep_command, io_truncate_command, io_wait_break_command,
    io_write_command, io_writev_command;

#endif
