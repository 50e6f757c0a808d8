/* SPDX-License-Identifier: MIT */
/* Commands that stop requests, the program, or time: break points, signals, sleep, abort. */
#include "io.h"

#include "block/block-image.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

/* --- break points --- */

static int run_break(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    int ret = bdrv_debug_breakpoint(blk_bs(io->blk), argv[1], argv[2]);

    if (ret < 0) {
        printf("Could not set breakpoint: %s\n", strerror(-ret));
        if (ret == -ENOTSUP) {
            cli_hint("Break points take the driver blkdebug: open blkdebug::FILE");
        }
    }
    return ret;
}

const IoCommand io_break_command = {
    .name = "break",
    .run = run_break,
    .min_args = 2,
    .max_args = 2,
    .args = "event tag",
    .summary = "sets a breakpoint on event and tags the stopped request as tag",
};

static int run_remove_break(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    int ret = bdrv_debug_remove_breakpoint(blk_bs(io->blk), argv[1]);

    if (ret < 0) {
        printf("Could not remove breakpoint %s: %s\n", argv[1], strerror(-ret));
    }
    return ret;
}

const IoCommand io_remove_break_command = {
    .name = "remove_break",
    .run = run_remove_break,
    .min_args = 1,
    .max_args = 1,
    .args = "tag",
    .summary = "remove a breakpoint by tag",
};

static int run_resume(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    int ret = bdrv_debug_resume(blk_bs(io->blk), argv[1]);

    if (ret < 0) {
        printf("Could not resume request: %s\n", strerror(-ret));
    }
    return ret;
}

const IoCommand io_resume_command = {
    .name = "resume",
    .run = run_resume,
    .min_args = 1,
    .max_args = 1,
    .args = "tag",
    .summary = "resumes the request tagged as tag",
};

static int run_wait_break(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    while (!bdrv_debug_is_suspended(blk_bs(io->blk), argv[1])) {
        if (!io->in_flight) {
            printf("No request is in flight that could stop at '%s'\n", argv[1]);
            return -EINVAL;
        }
        aio_poll(blk_get_aio_context(io->blk), true);
    }
    return 0;
}

const IoCommand io_wait_break_command = {
    .name = "wait_break",
    .run = run_wait_break,
    .min_args = 1,
    .max_args = 1,
    .args = "tag",
    .summary = "waits for the suspension of a request",
};

/* --- signals --- */

static int run_sigraise(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    int64_t sig = io_parse_size(argv[1]);

    if (sig < 0) {
        return sig;
    }
    if (sig > NSIG) {
        printf("signal argument '%s' is too large to be a valid signal\n", argv[1]);
        return -EINVAL;
    }
    /* What was reported so far is not to get lost. */
    fflush(NULL);
    raise(sig);
    return 0;
}

const IoCommand io_sigraise_command = {
    .name = "sigraise",
    .run = run_sigraise,
    .min_args = 1,
    .max_args = 1,
    .without_image = true,
    .args = "signal",
    .summary = "raises a signal",
    .help = " Example:\n"
            " 'sigraise 15' ends the program by SIGTERM\n",
};

static int run_abort(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    abort();
}

const IoCommand io_abort_command = {
    .name = "abort",
    .run = run_abort,
    .without_image = true,
    .summary = "simulate a program crash using abort(3)",
};

/* --- sleep --- */

static void time_is_up(void *opaque)
{
    *(bool *)opaque = true;
}

static int run_sleep(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    bool expired = false;
    QEMUTimer *timer;
    char *end;
    long ms;

    errno = 0;
    ms = strtol(argv[1], &end, 0);
    if (ms < 0 || end == argv[1] || *end || errno || ms > INT_MAX) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    timer = timer_new_ns(QEMU_CLOCK_REALTIME, time_is_up, &expired);
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + ms * SCALE_MS);
    while (!expired) {
        main_loop_wait(false);
    }
    timer_free(timer);
    return 0;
}

const IoCommand io_sleep_command = {
    .name = "sleep",
    .run = run_sleep,
    .min_args = 1,
    .max_args = 1,
    .without_image = true,
    .summary = "waits for the given value in milliseconds",
};
