/* SPDX-License-Identifier: MIT */
/*
 * Requests that are sent and not waited for. Their reports come whenever they complete: at
 * the latest with aio_flush, when the image is closed, or at the end. That they fail is no
 * failure of the command.
 */
#include "io.h"

#include <getopt.h>

typedef struct AioRequest {
    IoSession *io;
    int64_t offset, bytes, start;
    QEMUIOVector qiov;
    void *buf;    /* NULL: zeroes are written */
    int pattern;  /* -1: the data are not compared */
    bool machine, quiet, dump;
} AioRequest;

static AioRequest *request_new(IoSession *io)
{
    AioRequest *req = g_new0(AioRequest, 1);

    req->io = io;
    req->pattern = -1;
    return req;
}

static void request_free(AioRequest *req)
{
    if (req->buf) {
        qemu_iovec_destroy(&req->qiov);
        io_buffer_free(req->io, req->buf);
    }
    g_free(req);
}

static void request_done(AioRequest *req)
{
    req->io->in_flight--;
    request_free(req);
}

static void read_done(void *opaque, int ret)
{
    AioRequest *req = opaque;

    if (ret < 0) {
        printf("readv failed: %s\n", strerror(-ret));
    } else {
        if (req->pattern >= 0) {
            io_verify(req->buf, req->bytes, req->pattern, req->offset);
        }
        if (!req->quiet && req->dump) {
            io_dump(req->buf, req->bytes, req->offset);
        }
        if (!req->quiet) {
            io_report("read", req->start, req->offset, req->bytes, req->machine);
        }
    }
    request_done(req);
}

static void write_done(void *opaque, int ret)
{
    AioRequest *req = opaque;

    if (ret < 0) {
        printf("aio_write failed: %s\n", strerror(-ret));
    } else if (!req->quiet) {
        io_report("wrote", req->start, req->offset, req->bytes, req->machine);
    }
    request_done(req);
}

/* Offset and lengths; false and a message. */
static bool make_vector(AioRequest *req, char **argv, int n, int fill)
{
    req->buf = io_vector_new(req->io, &req->qiov, &req->offset, argv, n, fill);
    req->bytes = req->buf ? req->qiov.size : 0;
    return req->buf != NULL;
}

/* --- aio_read --- */

/* 1: send it; 0 or -errno: the command's result. */
static int prepare_read(const IoCommand *cmd, AioRequest *req, int argc, char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "CP:iqv")) != -1) {
        switch (c) {
        case 'C':
            req->machine = true;
            break;
        case 'P':
            req->pattern = io_parse_pattern(optarg);
            if (req->pattern < 0) {
                return -EINVAL;
            }
            break;
        case 'i':
            printf("injecting invalid read request\n");
            return 0;
        case 'q':
            req->quiet = true;
            break;
        case 'v':
            req->dump = true;
            break;
        default:
            return io_usage(cmd);
        }
    }
    if (optind > argc - 2) {
        return io_usage(cmd);
    }
    return make_vector(req, argv + optind, argc - optind, 0xab) ? 1 : -EINVAL;
}

static int run_aio_read(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    AioRequest *req = request_new(io);
    int ret = prepare_read(cmd, req, argc, argv);

    if (ret <= 0) {
        request_free(req);
        return ret;
    }
    io->in_flight++;
    req->start = io_clock();
    blk_aio_preadv(io->blk, req->offset, &req->qiov, 0, read_done, req);
    return 0;
}

const IoCommand io_aio_read_command = {
    .name = "aio_read",
    .run = run_aio_read,
    .min_args = 2,
    .max_args = -1,
    .args = "[-Ciqv] [-P pattern] off len [len..]",
    .summary = "asynchronously reads a number of bytes",
    .help = " Sends a read and does not wait for it; see aio_flush. The command succeeds when\n"
            " the request has been sent, whatever becomes of it.\n"
            "\n"
            " Example:\n"
            " 'aio_read -v 512 1k 1k' shows 2 KiB from byte 512 on\n"
            "\n"
            " -C      report in a form for programs\n"
            " -i      send nothing: an invalid request\n"
            " -P BYTE the data must be BYTE throughout\n"
            " -q      no report\n"
            " -v      show the data\n",
};

/* --- aio_write --- */

typedef struct AioWriteArgs {
    BdrvRequestFlags flags;
    int pattern;
    bool zero;
} AioWriteArgs;

/* 1: go on; 0 or -errno: the command's result. */
static int write_options(const IoCommand *cmd, AioRequest *req, AioWriteArgs *args, int argc,
                         char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "CfiP:quz")) != -1) {
        switch (c) {
        case 'C':
            req->machine = true;
            break;
        case 'f':
            args->flags |= BDRV_REQ_FUA;
            break;
        case 'i':
            printf("injecting invalid write request\n");
            return 0;
        case 'P':
            args->pattern = io_parse_pattern(optarg);
            if (args->pattern < 0) {
                return -EINVAL;
            }
            break;
        case 'q':
            req->quiet = true;
            break;
        case 'u':
            args->flags |= BDRV_REQ_MAY_UNMAP;
            break;
        case 'z':
            args->zero = true;
            break;
        default:
            return io_usage(cmd);
        }
    }
    return optind <= argc - 2 ? 1 : io_usage(cmd);
}

static int prepare_write(const IoCommand *cmd, AioRequest *req, AioWriteArgs *args, int argc,
                         char **argv)
{
    int ret = write_options(cmd, req, args, argc, argv);

    if (ret <= 0) {
        return ret;
    }
    if (args->zero && optind != argc - 2) {
        printf("-z supports only a single length parameter\n");
        return -EINVAL;
    }
    if ((args->flags & BDRV_REQ_MAY_UNMAP) && !args->zero) {
        printf("-u requires -z to be specified\n");
        return -EINVAL;
    }
    if (!args->zero) {
        return make_vector(req, argv + optind, argc - optind, args->pattern) ? 1 : -EINVAL;
    }
    req->offset = io_parse_size(argv[optind]);
    if (req->offset < 0) {
        return req->offset;
    }
    req->bytes = io_parse_size(argv[optind + 1]);
    return req->bytes < 0 ? req->bytes : 1;
}

static int run_aio_write(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    AioWriteArgs args = { .pattern = IO_DEFAULT_PATTERN };
    AioRequest *req = request_new(io);
    int ret = prepare_write(cmd, req, &args, argc, argv);

    if (ret <= 0) {
        request_free(req);
        return ret;
    }
    io->in_flight++;
    req->start = io_clock();
    if (args.zero) {
        blk_aio_pwrite_zeroes(io->blk, req->offset, req->bytes, args.flags, write_done, req);
    } else {
        blk_aio_pwritev(io->blk, req->offset, &req->qiov, args.flags, write_done, req);
    }
    return 0;
}

const IoCommand io_aio_write_command = {
    .name = "aio_write",
    .run = run_aio_write,
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cfiquz] [-P pattern] off len [len..]",
    .summary = "asynchronously writes a number of bytes",
    .help = " Sends a write and does not wait for it; see aio_flush. The command succeeds when\n"
            " the request has been sent, whatever becomes of it.\n"
            "\n"
            " Example:\n"
            " 'aio_write 512 1k 1k' writes 2 KiB from byte 512 on\n"
            "\n"
            " -C      report in a form for programs\n"
            " -f      complete when the data are on stable storage (FUA)\n"
            " -i      send nothing: an invalid request\n"
            " -P BYTE write BYTE throughout (otherwise 0xcd)\n"
            " -q      no report\n"
            " -u      with -z: the range may be deallocated\n"
            " -z      make the range zeroes\n",
};

/* --- aio_flush --- */

static int run_aio_flush(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    blk_drain_all();
    return 0;
}

const IoCommand io_aio_flush_command = {
    .name = "aio_flush",
    .run = run_aio_flush,
    .summary = "completes all outstanding aio requests",
};
