/* SPDX-License-Identifier: MIT */
/*
 * Lines from stdin. Whoever types sees requests complete meanwhile; whoever pipes commands
 * in has them completed between commands, too.
 */
#include "io.h"

#include "qemu/main-loop.h"

#define CHUNK 65536 /* bytes that one read asks for */

typedef struct Input {
    char *buf;
    size_t start, end; /* what is unread of buf */
    size_t size;
    size_t searched;   /* no newline before this */
    bool eof;
    bool readable;     /* set by the main loop */
} Input;

static void stdin_readable(void *opaque)
{
    Input *in = opaque;

    in->readable = true;
}

/* Completes requests until there is something to read. */
static void wait_for_input(Input *in)
{
    in->readable = false;
    qemu_set_fd_handler(STDIN_FILENO, stdin_readable, NULL, in);
    while (!in->readable) {
        main_loop_wait(false);
        fflush(stdout); /* who waits for a report is not to wait for the next prompt */
    }
    qemu_set_fd_handler(STDIN_FILENO, NULL, NULL, NULL);
}

static bool can_wait_for(int fd)
{
    struct stat st;

    /* Files are always readable, and epoll does not take them. */
    return fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static void read_more(Input *in, IoSession *io)
{
    ssize_t n;

    if (in->start) {
        memmove(in->buf, in->buf + in->start, in->end - in->start);
        in->end -= in->start;
        in->searched -= in->start;
        in->start = 0;
    }
    if (in->size - in->end < CHUNK + 1) {
        in->size = MAX(in->size * 2, in->end + CHUNK + 1);
        in->buf = g_realloc(in->buf, in->size);
    }
    if (io->in_flight && can_wait_for(STDIN_FILENO)) {
        wait_for_input(in);
    }
    do {
        n = read(STDIN_FILENO, in->buf + in->end, CHUNK);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        in->eof = true;
    } else {
        in->end += n;
    }
}

/* The next line without its end, 0-terminated, good until the next call; NULL at the end. */
static char *next_line(Input *in, IoSession *io)
{
    for (;;) {
        char *from = in->buf + in->searched;
        char *newline = in->end > in->searched ? memchr(from, '\n', in->end - in->searched) : NULL;
        char *line = in->buf + in->start;

        if (newline) {
            *newline = 0;
            in->start = in->searched = newline + 1 - in->buf;
            return line;
        }
        in->searched = in->end;
        if (in->eof) {
            if (in->start == in->end) {
                return NULL;
            }
            in->buf[in->end] = 0; /* read_more() leaves a byte */
            in->start = in->end;
            return line;
        }
        read_more(in, io);
    }
}

int io_run_stdin(IoSession *io)
{
    Input in = {};
    int last = 0;

    while (!io->done) {
        printf("qemu-io> ");
        fflush(stdout);
        char *line = next_line(&in, io);
        if (!line) {
            if (isatty(STDIN_FILENO)) {
                putchar('\n'); /* what is printed next is not to stand behind the prompt */
            }
            break;
        }
        if (io->in_flight) {
            main_loop_wait(true);
        }
        int ret = io_run_line(io, line);
        last = ret < 0 ? ret : last;
    }
    g_free(in.buf);
    return last;
}
