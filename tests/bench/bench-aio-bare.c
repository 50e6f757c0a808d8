/* SPDX-License-Identifier: MIT */
/*
 * The opponent of the native engine: the loop that a good engineer writes when nothing
 * but reading matters. O_DIRECT, one Linux AIO context, no coroutines, no events; every
 * completion is answered by the next read, all reads that completed together go out in one
 * io_submit, and io_getevents waits for at least one.
 *
 *     bench-aio-bare [-r] [-s BLOCK] [-d DEPTH] [-c COUNT | -t SECONDS] FILE
 *
 * Reads run through the file in steps of one block and wrap at its end, as qemu-img
 * bench has it; -r takes random blocks. The results: the time as qemu-img bench
 * prints it, requests a second, and microseconds of CPU time a request (user and system of
 * this process).
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct Bench {
    int fd;
    uint64_t blocks;       /* of the file */
    uint64_t next;         /* block to read */
    uint64_t sent, done;   /* requests */
    uint64_t count;        /* 0: until end */
    double end;            /* seconds of now(), 0: until count */
    size_t block_size;
    bool random;
    uint64_t seed;
} Bench;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static double cpu_time(void)
{
    struct rusage ru;

    getrusage(RUSAGE_SELF, &ru);
    return ru.ru_utime.tv_sec + ru.ru_stime.tv_sec +
           (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what, int err)
{
    fprintf(stderr, "bench-aio-bare: %s: %s\n", what, strerror(err));
    exit(1);
}

static uint64_t next_block(Bench *b)
{
    if (b->random) {
        /* xorshift64 */
        b->seed ^= b->seed << 13;
        b->seed ^= b->seed >> 7;
        b->seed ^= b->seed << 17;
        return b->seed % b->blocks;
    }
    if (b->next == b->blocks) {
        b->next = 0;
    }
    return b->next++;
}

static void prepare(Bench *b, struct iocb *iocb, void *buf)
{
    io_prep_pread(iocb, b->fd, buf, b->block_size, next_block(b) * b->block_size);
    b->sent++;
}

static bool more(const Bench *b)
{
    return b->count ? b->sent < b->count : now() < b->end;
}

static void submit(io_context_t ctx, int n, struct iocb **iocbs)
{
    while (n > 0) {
        int ret = io_submit(ctx, n, iocbs);

        if (ret < 0 && ret != -EINTR) {
            die("io_submit", -ret);
        } else if (ret > 0) {
            iocbs += ret;
            n -= ret;
        }
    }
}

static void run(Bench *b, int depth)
{
    struct iocb *iocbs = calloc(depth, sizeof(*iocbs));
    struct iocb **batch = calloc(depth, sizeof(*batch));
    struct io_event *events = calloc(depth, sizeof(*events));
    char *bufs = aligned_alloc(4096, depth * b->block_size);
    io_context_t ctx = NULL;
    int ret = io_setup(depth, &ctx);
    int n = 0;

    if (ret < 0) {
        die("io_setup", -ret);
    }
    if (!iocbs || !batch || !events || !bufs) {
        die("memory", ENOMEM);
    }
    for (int i = 0; i < depth && more(b); i++) {
        prepare(b, &iocbs[i], bufs + i * b->block_size);
        batch[n++] = &iocbs[i];
    }
    submit(ctx, n, batch);
    while (b->done < b->sent) {
        bool go_on;

        ret = io_getevents(ctx, 1, depth, events, NULL);
        if (ret < 0 && ret != -EINTR) {
            die("io_getevents", -ret);
        }
        go_on = more(b);
        n = 0;
        for (int i = 0; i < ret; i++) {
            struct iocb *iocb = events[i].obj;

            if (events[i].res != b->block_size) {
                die("read", (long)events[i].res < 0 ? -(long)events[i].res : EIO);
            }
            b->done++;
            if (go_on && (!b->count || b->sent < b->count)) {
                prepare(b, iocb, iocb->u.c.buf);
                batch[n++] = iocb;
            }
        }
        submit(ctx, n, batch);
    }
    io_destroy(ctx);
    free(bufs);
    free(events);
    free(batch);
    free(iocbs);
}

static uint64_t file_size(int fd)
{
    struct stat st;
    uint64_t size;

    if (fstat(fd, &st) < 0) {
        die("fstat", errno);
    }
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, &size) < 0) {
            die("BLKGETSIZE64", errno);
        }
        return size;
    }
    return st.st_size;
}

static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || value <= 0) {
        fprintf(stderr, "bench-aio-bare: not a positive number: %s\n", text);
        exit(1);
    }
    return value;
}

int main(int argc, char **argv)
{
    Bench b = { .block_size = 4096, .seed = 88172645463325252ULL };
    long depth = 64, seconds = 0;
    double start, cpu, elapsed;
    int opt;

    while ((opt = getopt(argc, argv, "rs:d:c:t:")) != -1) {
        switch (opt) {
        case 'r':
            b.random = true;
            break;
        case 's':
            b.block_size = number(optarg);
            break;
        case 'd':
            depth = number(optarg);
            break;
        case 'c':
            b.count = number(optarg);
            break;
        case 't':
            seconds = number(optarg);
            break;
        default:
            optind = argc;
        }
    }
    if (optind != argc - 1) {
        fprintf(stderr, "usage: %s [-r] [-s BLOCK] [-d DEPTH] [-c COUNT | -t SECONDS] FILE\n",
                argv[0]);
        return 1;
    }
    b.fd = open(argv[optind], O_RDONLY | O_DIRECT);
    if (b.fd < 0) {
        die(argv[optind], errno);
    }
    b.blocks = file_size(b.fd) / b.block_size;
    if (b.blocks == 0) {
        die(argv[optind], EINVAL);
    }
    if (!b.count && !seconds) {
        b.count = 75000;
    }

    start = now();
    cpu = cpu_time();
    b.end = b.count ? 0 : start + seconds;
    run(&b, depth);
    elapsed = now() - start;
    cpu = cpu_time() - cpu;
    printf("Run completed in %.3f seconds.\n", elapsed);
    printf("%.0f requests/s, %.3f us CPU/request (%llu requests)\n",
           b.done / elapsed, cpu * 1e6 / b.done, (unsigned long long)b.done);
    close(b.fd);
    return 0;
}
