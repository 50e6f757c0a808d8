/* SPDX-License-Identifier: MIT */
/* Commands that make one request and wait for it: read, write, their vectors, discard, flush. */
#include "io.h"

#include <getopt.h>

/* --- read --- */

typedef struct ReadArgs {
    int64_t offset, bytes;
    int pattern;              /* -1: none is expected */
    int64_t skip, verify_len; /* what of the data is to be the pattern; -1: not given */
    bool machine, quiet, dump, vmstate;
} ReadArgs;

/* Options that read and readv have in common. 1, 0 for another option, or -EINVAL. */
static int read_option(ReadArgs *args, int c)
{
    switch (c) {
    case 'C':
        args->machine = true;
        return 1;
    case 'P':
        args->pattern = io_parse_pattern(optarg);
        return args->pattern < 0 ? -EINVAL : 1;
    case 'q':
        args->quiet = true;
        return 1;
    case 'v':
        args->dump = true;
        return 1;
    default:
        return 0;
    }
}

/* After the data have come: 0, or -EINVAL when they are not as expected. */
static int finish_read(const ReadArgs *args, const uint8_t *buf, int64_t start)
{
    int ret = 0;

    if (args->pattern >= 0 &&
        !io_verify(buf + args->skip, args->verify_len, args->pattern, args->offset + args->skip)) {
        ret = -EINVAL;
    }
    if (args->quiet) {
        return ret;
    }
    if (args->dump) {
        io_dump(buf, args->bytes, args->offset);
    }
    io_report("read", start, args->offset, args->bytes, args->machine);
    return ret;
}

static int parse_read(const IoCommand *cmd, int argc, char **argv, ReadArgs *args)
{
    int c;

    while ((c = getopt(argc, argv, "bCl:pP:qs:v")) != -1) {
        int ret = read_option(args, c);
        if (ret < 0) {
            return ret;
        } else if (ret) {
            continue;
        }
        switch (c) {
        case 'b':
            args->vmstate = true;
            break;
        case 'l':
            args->verify_len = io_parse_size(optarg);
            if (args->verify_len < 0) {
                return args->verify_len;
            }
            break;
        case 'p':
            break; /* once was another way to read */
        case 's':
            args->skip = io_parse_size(optarg);
            if (args->skip < 0) {
                return args->skip;
            }
            break;
        default:
            return io_usage(cmd);
        }
    }
    if (optind != argc - 2 ||
        (args->pattern < 0 && (args->skip >= 0 || args->verify_len >= 0))) {
        return io_usage(cmd);
    }
    return 0;
}

/* The numbers behind the options, and what part the pattern is compared with. */
static int parse_read_range(char **argv, ReadArgs *args)
{
    args->offset = io_parse_size(argv[0]);
    if (args->offset < 0) {
        return args->offset;
    }
    args->bytes = io_parse_size(argv[1]);
    if (args->bytes < 0) {
        return args->bytes;
    }
    if (args->bytes > BDRV_REQUEST_MAX_BYTES) {
        printf("length cannot exceed %" PRId64 ", given %s\n", BDRV_REQUEST_MAX_BYTES, argv[1]);
        return -EINVAL;
    }
    args->skip = MAX(args->skip, 0);
    if (args->verify_len < 0) {
        args->verify_len = args->bytes - args->skip;
    }
    if (args->verify_len < 0 || args->skip > args->bytes ||
        args->verify_len > args->bytes - args->skip) {
        printf("pattern verification range exceeds end of read data\n");
        return -EINVAL;
    }
    if (args->vmstate && (!io_check_sectors(args->offset, "offset") ||
                          !io_check_sectors(args->bytes, "count"))) {
        return -EINVAL;
    }
    return 0;
}

static int run_read(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    ReadArgs args = { .pattern = -1, .skip = -1, .verify_len = -1 };
    int ret = parse_read(cmd, argc, argv, &args);
    void *buf;

    if (ret == 0) {
        ret = parse_read_range(argv + optind, &args);
    }
    if (ret < 0) {
        return ret;
    }
    buf = io_buffer_new(io, args.bytes, 0xab);
    if (!buf) {
        return -ENOMEM;
    }
    int64_t start = io_clock();
    if (args.vmstate) {
        ret = blk_load_vmstate(io->blk, buf, args.offset, args.bytes);
    } else {
        ret = blk_pread(io->blk, args.offset, args.bytes, buf, 0);
    }
    if (ret < 0) {
        printf("read failed: %s\n", strerror(-ret));
    } else {
        ret = finish_read(&args, buf, start);
    }
    io_buffer_free(io, buf);
    return ret;
}

const IoCommand io_read_command = {
    .name = "read",
    .altname = "r",
    .run = run_read,
    .min_args = 2,
    .max_args = -1,
    .args = "[-abCqv] [-P pattern [-s off] [-l len]] off len",
    .summary = "reads a number of bytes at a specified offset",
    .help = " Example:\n"
            " 'read -v 512 1k' shows 1 KiB from byte 512 on\n"
            "\n"
            " -b      from the saved machine state instead of the disk\n"
            " -C      report in a form for programs\n"
            " -P BYTE the data must be BYTE throughout\n"
            " -s OFF  with -P: compare from byte OFF of the data on\n"
            " -l LEN  with -P: compare LEN bytes\n"
            " -p      nothing; was another way to read once\n"
            " -q      no report\n"
            " -v      show the data\n",
};

/* --- readv --- */

static int run_readv(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    ReadArgs args = { .pattern = -1 };
    QEMUIOVector qiov;
    void *buf;
    int c, ret;

    while ((c = getopt(argc, argv, "CP:qv")) != -1) {
        ret = read_option(&args, c);
        if (ret <= 0) {
            return ret < 0 ? ret : io_usage(cmd);
        }
    }
    if (optind > argc - 2) {
        return io_usage(cmd);
    }
    buf = io_vector_new(io, &qiov, &args.offset, argv + optind, argc - optind, 0xab);
    if (!buf) {
        return -EINVAL;
    }
    args.bytes = args.verify_len = qiov.size;
    int64_t start = io_clock();
    ret = blk_preadv(io->blk, args.offset, args.bytes, &qiov, 0);
    if (ret < 0) {
        printf("readv failed: %s\n", strerror(-ret));
    } else {
        ret = finish_read(&args, buf, start);
    }
    qemu_iovec_destroy(&qiov);
    io_buffer_free(io, buf);
    return ret;
}

const IoCommand io_readv_command = {
    .name = "readv",
    .run = run_readv,
    .min_args = 2,
    .max_args = -1,
    .args = "[-Cqv] [-P pattern] off len [len..]",
    .summary = "reads a number of bytes at a specified offset",
    .help = " One request into several buffers, one for each length.\n"
            "\n"
            " Example:\n"
            " 'readv -v 512 1k 1k' shows 2 KiB from byte 512 on\n"
            "\n"
            " -C      report in a form for programs\n"
            " -P BYTE the data must be BYTE throughout\n"
            " -q      no report\n"
            " -v      show the data\n",
};

/* --- write --- */

typedef struct WriteArgs {
    int64_t offset, bytes;
    int pattern;          /* -1: the usual one */
    const char *source;   /* a file with what to write, or NULL */
    int flags;            /* BDRV_REQ_* */
    bool machine, quiet, vmstate, compress, zero;
} WriteArgs;

/* What letters mean that several commands have. 1, 0 for another option, or -EINVAL. */
static int write_option(WriteArgs *args, int c)
{
    switch (c) {
    case 'C':
        args->machine = true;
        return 1;
    case 'f':
        args->flags |= BDRV_REQ_FUA;
        return 1;
    case 'P':
        args->pattern = io_parse_pattern(optarg);
        return args->pattern < 0 ? -EINVAL : 1;
    case 'q':
        args->quiet = true;
        return 1;
    default:
        return 0;
    }
}

static int parse_write(const IoCommand *cmd, int argc, char **argv, WriteArgs *args)
{
    int c;

    while ((c = getopt(argc, argv, "bcCfnpP:qs:uz")) != -1) {
        int ret = write_option(args, c);
        if (ret < 0) {
            return ret;
        } else if (ret) {
            continue;
        }
        switch (c) {
        case 'b':
            args->vmstate = true;
            break;
        case 'c':
            args->compress = true;
            break;
        case 'n':
            args->flags |= BDRV_REQ_NO_FALLBACK;
            break;
        case 'p':
            break; /* once was another way to write */
        case 's':
            args->source = optarg;
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
    return optind == argc - 2 ? 0 : io_usage(cmd);
}

/* What cannot go together; NULL: nothing to object. */
static const char *conflict(const WriteArgs *args)
{
    if (args->vmstate && args->zero) {
        return "-b and -z cannot be specified at the same time";
    }
    if ((args->flags & BDRV_REQ_FUA) && (args->vmstate || args->compress)) {
        return "-f and -b or -c cannot be specified at the same time";
    }
    if ((args->flags & BDRV_REQ_NO_FALLBACK) && !args->zero) {
        return "-n requires -z to be specified";
    }
    if ((args->flags & BDRV_REQ_MAY_UNMAP) && !args->zero) {
        return "-u requires -z to be specified";
    }
    if (args->zero + (args->pattern >= 0) + (args->source != NULL) > 1) {
        return "Only one of -z, -P, and -s can be specified at the same time";
    }
    return NULL;
}

static int parse_write_range(char **argv, WriteArgs *args)
{
    const char *objection = conflict(args);

    if (objection) {
        printf("%s\n", objection);
        return -EINVAL;
    }
    args->offset = io_parse_size(argv[0]);
    if (args->offset < 0) {
        return args->offset;
    }
    args->bytes = io_parse_size(argv[1]);
    if (args->bytes < 0) {
        return args->bytes;
    }
    if (args->bytes > BDRV_REQUEST_MAX_BYTES && !(args->flags & BDRV_REQ_NO_FALLBACK)) {
        printf("length cannot exceed %" PRId64 " without -n, given %s\n", BDRV_REQUEST_MAX_BYTES,
               argv[1]);
        return -EINVAL;
    }
    if ((args->vmstate || args->compress) && (!io_check_sectors(args->offset, "offset") ||
                                              !io_check_sectors(args->bytes, "count"))) {
        return -EINVAL;
    }
    return 0;
}

static int send_write(IoSession *io, const WriteArgs *args, const void *buf)
{
    if (args->vmstate) {
        int ret = blk_save_vmstate(io->blk, buf, args->offset, args->bytes);

        return MIN(ret, 0);
    }
    if (args->zero) {
        return blk_pwrite_zeroes(io->blk, args->offset, args->bytes, args->flags);
    }
    if (args->compress) {
        return blk_pwrite_compressed(io->blk, args->offset, args->bytes, buf);
    }
    return blk_pwrite(io->blk, args->offset, args->bytes, buf, args->flags);
}

static void finish_write(const WriteArgs *args, const char *name, int ret, int64_t start)
{
    if (ret < 0) {
        printf("%s failed: %s\n", name, strerror(-ret));
    } else if (!args->quiet) {
        io_report("wrote", start, args->offset, args->bytes, args->machine);
    }
}

static int run_write(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    WriteArgs args = { .pattern = -1 };
    void *buf = NULL;
    int ret = parse_write(cmd, argc, argv, &args);

    if (ret == 0) {
        ret = parse_write_range(argv + optind, &args);
    }
    if (ret < 0) {
        return ret;
    }
    if (args.source) {
        buf = io_buffer_from_file(io, args.bytes, args.source);
    } else if (!args.zero) {
        buf = io_buffer_new(io, args.bytes, args.pattern < 0 ? IO_DEFAULT_PATTERN : args.pattern);
    }
    if (!buf && !args.zero) {
        return -EINVAL;
    }
    int64_t start = io_clock();
    ret = send_write(io, &args, buf);
    finish_write(&args, "write", ret, start);
    io_buffer_free(io, buf);
    return ret;
}

const IoCommand io_write_command = {
    .name = "write",
    .altname = "w",
    .run = run_write,
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-bcCfnquz] [-P pattern | -s source_file] off len",
    .summary = "writes a number of bytes at a specified offset",
    .help = " Example:\n"
            " 'write -P 7 512 1k' writes 1 KiB of bytes 7 from byte 512 on\n"
            "\n"
            " -b      into the saved machine state instead of the disk\n"
            " -c      compressed: whole clusters\n"
            " -C      report in a form for programs\n"
            " -f      complete when the data are on stable storage (FUA)\n"
            " -n      with -z: fail if buffers of zeroes would have to be written\n"
            " -p      nothing; was another way to write once\n"
            " -P BYTE write BYTE throughout (otherwise 0xcd)\n"
            " -q      no report\n"
            " -s FILE write what is in FILE, repeated as needed\n"
            " -u      with -z: the range may be deallocated\n"
            " -z      make the range zeroes\n",
};

/* --- writev --- */

static int run_writev(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    WriteArgs args = { .pattern = IO_DEFAULT_PATTERN };
    QEMUIOVector qiov;
    void *buf;
    int c, ret;

    while ((c = getopt(argc, argv, "CfP:q")) != -1) {
        ret = write_option(&args, c);
        if (ret <= 0) {
            return ret < 0 ? ret : io_usage(cmd);
        }
    }
    if (optind > argc - 2) {
        return io_usage(cmd);
    }
    buf = io_vector_new(io, &qiov, &args.offset, argv + optind, argc - optind, args.pattern);
    if (!buf) {
        return -EINVAL;
    }
    args.bytes = qiov.size;
    int64_t start = io_clock();
    ret = blk_pwritev(io->blk, args.offset, args.bytes, &qiov, args.flags);
    finish_write(&args, "writev", ret, start);
    qemu_iovec_destroy(&qiov);
    io_buffer_free(io, buf);
    return ret;
}

const IoCommand io_writev_command = {
    .name = "writev",
    .run = run_writev,
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cfq] [-P pattern] off len [len..]",
    .summary = "writes a number of bytes at a specified offset",
    .help = " One request from several buffers, one for each length.\n"
            "\n"
            " Example:\n"
            " 'writev 512 1k 1k' writes 2 KiB from byte 512 on\n"
            "\n"
            " -C      report in a form for programs\n"
            " -f      complete when the data are on stable storage (FUA)\n"
            " -P BYTE write BYTE throughout (otherwise 0xcd)\n"
            " -q      no report\n",
};

/* --- discard, flush --- */

static int run_discard(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    bool machine = false, quiet = false;
    int64_t offset, bytes;
    int c, ret;

    while ((c = getopt(argc, argv, "Cq")) != -1) {
        switch (c) {
        case 'C':
            machine = true;
            break;
        case 'q':
            quiet = true;
            break;
        default:
            return io_usage(cmd);
        }
    }
    if (optind != argc - 2) {
        return io_usage(cmd);
    }
    offset = io_parse_size(argv[optind]);
    if (offset < 0) {
        return offset;
    }
    bytes = io_parse_size(argv[optind + 1]);
    if (bytes < 0) {
        return bytes;
    }
    if (bytes > BDRV_REQUEST_MAX_BYTES) {
        printf("length cannot exceed %" PRId64 ", given %s\n", BDRV_REQUEST_MAX_BYTES,
               argv[optind + 1]);
        return -EINVAL;
    }
    int64_t start = io_clock();
    ret = blk_pdiscard(io->blk, offset, bytes);
    if (ret < 0) {
        printf("discard failed: %s\n", strerror(-ret));
    } else if (!quiet) {
        io_report("discard", start, offset, bytes, machine);
    }
    return ret;
}

const IoCommand io_discard_command = {
    .name = "discard",
    .altname = "d",
    .run = run_discard,
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cq] off len",
    .summary = "discards a number of bytes at a specified offset",
    .help = " The contents of the range are not needed any more.\n"
            "\n"
            " Example:\n"
            " 'discard 512 1k' discards 1 KiB from byte 512 on\n"
            "\n"
            " -C      report in a form for programs\n"
            " -q      no report\n",
};

static int run_flush(const IoCommand *cmd, IoSession *io, int argc, char **argv)
{
    return blk_flush(io->blk);
}

const IoCommand io_flush_command = {
    .name = "flush",
    .altname = "f",
    .run = run_flush,
    .summary = "flush all in-core file state to disk",
};
