/* SPDX-License-Identifier: MIT */
/*
 * qemu-io-mini: reads, writes and asks an image by commands, as qemu-io does.
 *
 * Here: the program's own options, and what has to be so before and after the commands.
 */
#include "io.h"

#include <getopt.h>

#include "block/block-image.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

enum {
    OPT_OBJECT = 256,
    OPT_IMAGE_OPTS,
    OPT_NO_EXTERNAL,
};

typedef struct Arguments {
    IoOpenArgs open;
    const char *format;
    bool image_opts;
    GPtrArray *commands; /* of -c */
} Arguments;

static void print_version(void)
{
    printf("%s version %s (blkco), behaves as qemu-io 7.2\n", cli_progname(), BLKCO_VERSION);
}

static void print_format(void *opaque, const char *name)
{
    printf(" %s", name);
}

static void print_help(void)
{
    printf("Usage: %s [OPTIONS]... [-c STRING]... [file]\n"
           "Reads, writes and asks a disk image by commands.\n\n"
           "Options:\n"
           "  -h, --help                   show this help\n"
           "  -V, --version                show the version\n"
           "  -c, --cmd COMMAND            run a command with its arguments; several run in order\n"
           "                               (without: commands are read from standard input)\n"
           "  -f, --format FMT             format of the image (default: look)\n"
           "      --image-opts             the file is given as a list of options\n"
           "      --object OBJDEF          define an object, such as a secret\n"
           "      --no-external            open no file that only an image names\n"
           "  -r, --read-only              open the image for reading only\n"
           "  -s, --snapshot               writes go to a temporary file and are gone at the end\n"
           "  -n, --nocache                past the host's page cache: -t none\n"
           "  -t, --cache=CACHE            cache mode (default: writethrough)\n"
           "  -d, --discard=unmap|ignore   what becomes of discards (default: unmap)\n"
           "  -i, --aio=AIO                how the host's file is read: threads (default), native,\n"
           "                               io_uring\n"
           "  -k, --native-aio             the same as -i native\n"
           "  -C, --copy-on-read           copy what is read from a backing file into the image\n"
           "  -m, --misalign               use buffers that are not aligned as O_DIRECT wants them\n"
           "  -T, --trace LIST             accepted; there are no trace events\n"
           "  -U, --force-share            open even if another process writes to the image\n"
           "                               (with -r)\n\n"
           "'%s -c help' lists the commands.\n"
           "Supported formats:", cli_progname(), cli_progname());
    bdrv_iterate_format(print_format, NULL);
    printf("\nCache modes: none and directsync (both past the host's page cache), writeback,\n"
           "writethrough, unsafe (never flushes).\n\n"
           "Example:\n  %s -f raw -c 'write -P 7 0 64k' -c 'read -v 512 32' disk.img\n",
           cli_progname());
}

static bool take_option(Arguments *args, int c)
{
    switch (c) {
    case 'c':
        g_ptr_array_add(args->commands, optarg);
        return true;
    case 'f':
        args->format = optarg;
        return true;
    case 'T':
        return cli_check_trace(optarg);
    case OPT_OBJECT:
        return cli_add_object(optarg);
    case OPT_IMAGE_OPTS:
        args->image_opts = true;
        return true;
    case OPT_NO_EXTERNAL:
        cli_forbid_external();
        return true;
    default:
        return io_open_option(&args->open, c, optarg) > 0;
    }
}

/* Returns the session's "misalign"; mistakes, help and version end the program here. */
static bool parse_arguments(Arguments *args, int argc, char **argv)
{
    static const struct option longs[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "cmd", required_argument, NULL, 'c' },
        { "format", required_argument, NULL, 'f' },
        { "read-only", no_argument, NULL, 'r' },
        { "snapshot", no_argument, NULL, 's' },
        { "nocache", no_argument, NULL, 'n' },
        { "copy-on-read", no_argument, NULL, 'C' },
        { "misalign", no_argument, NULL, 'm' },
        { "native-aio", no_argument, NULL, 'k' },
        { "aio", required_argument, NULL, 'i' },
        { "discard", required_argument, NULL, 'd' },
        { "cache", required_argument, NULL, 't' },
        { "trace", required_argument, NULL, 'T' },
        { "force-share", no_argument, NULL, 'U' },
        { "object", required_argument, NULL, OPT_OBJECT },
        { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
        { "no-external", no_argument, NULL, OPT_NO_EXTERNAL },
        {},
    };
    bool misalign = false;
    int c;

    while ((c = getopt_long(argc, argv, "hVc:d:f:rsnCmki:t:T:U", longs, NULL)) != -1) {
        switch (c) {
        case 'm':
            misalign = true;
            break;
        case 'h':
            print_help();
            exit(cli_finish_stdout(EXIT_SUCCESS));
        case 'V':
            print_version();
            exit(cli_finish_stdout(EXIT_SUCCESS));
        case '?':
            print_help();
            exit(EXIT_FAILURE);
        default:
            if (!take_option(args, c)) {
                exit(EXIT_FAILURE);
            }
        }
    }
    if (argc - optind > 1) {
        print_help();
        cli_hint("There can be one file only");
        exit(EXIT_FAILURE);
    }
    if (args->format && args->image_opts) {
        error_report("--image-opts and -f are mutually exclusive");
        exit(EXIT_FAILURE);
    }
    return misalign;
}

static bool open_argument(IoSession *io, const Arguments *args, const char *filename)
{
    g_autoptr(BlockOptions) opts = NULL;

    if (args->image_opts) {
        if (!io_add_options(&opts, filename, NULL)) {
            return false;
        }
        filename = NULL;
    } else if (args->format) {
        opts = blk_options_new();
        blk_options_set(opts, "driver", args->format);
    }
    return io_open(io, filename, g_steal_pointer(&opts), &args->open) == 0;
}

static int run_commands(IoSession *io, const GPtrArray *commands)
{
    int last = 0;

    for (size_t i = 0; i < commands->len && !io->done; i++) {
        int ret = io_run_line(io, g_ptr_array_index(commands, i));

        last = ret < 0 ? ret : last;
    }
    return last;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) commands = g_ptr_array_new();
    Arguments args = { .open = IO_OPEN_DEFAULTS, .commands = commands };
    IoSession io = {};
    int ret;

    cli_reserve_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    error_init(argc ? argv[0] : "qemu-io-mini");
    io.misalign = parse_arguments(&args, argc, argv);
    qemu_init_main_loop(&error_fatal);

    if (optind < argc && !open_argument(&io, &args, argv[optind])) {
        return EXIT_FAILURE;
    }
    ret = commands->len ? run_commands(&io, commands) : io_run_stdin(&io);
    if (io_close(&io) < 0) {
        ret = -EIO;
    }
    return cli_finish_stdout(ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
