/* SPDX-License-Identifier: MIT */
/* Arguments of commands, and the buffers that requests use. */
#include "io.h"

#include "qemu/cutils.h"
#include "qemu/memalign.h"

/* How far a buffer lies beside what O_DIRECT wants, with --misalign; bytes. */
#define MISALIGNMENT 16

int64_t io_parse_size(const char *arg)
{
    uint64_t value;
    int ret = qemu_strtosz(arg, NULL, &value);

    if (ret == 0 && value > INT64_MAX) {
        ret = -ERANGE;
    }
    if (ret == 0) {
        return value;
    }
    printf("Parsing error: %s -- %s\n",
           ret == -ERANGE ? "argument too large"
                          : "non-numeric argument, or extraneous/unrecognized suffix",
           arg);
    return ret;
}

int io_parse_pattern(const char *arg)
{
    char *end;
    long value = strtol(arg, &end, 0);

    if (end == arg || *end || value < 0 || value > UCHAR_MAX) {
        printf("%s is not a valid pattern byte\n", arg);
        return -EINVAL;
    }
    return value;
}

bool io_check_sectors(int64_t value, const char *what)
{
    if (value % BDRV_SECTOR_SIZE) {
        printf("%" PRId64 " is not a sector-aligned value for '%s'\n", value, what);
        return false;
    }
    return true;
}

static void *buffer_alloc(IoSession *io, int64_t size)
{
    int64_t shift = io->misalign ? MISALIGNMENT : 0;
    char *buf = blk_try_blockalign(io->blk, MAX(size, 1) + shift);

    if (!buf) {
        printf("Not enough memory for %" PRId64 " bytes\n", size);
        return NULL;
    }
    return buf + shift;
}

void *io_buffer_new(IoSession *io, int64_t size, int fill)
{
    void *buf = buffer_alloc(io, size);

    if (buf) {
        memset(buf, fill, size);
    }
    return buf;
}

void io_buffer_free(IoSession *io, void *buf)
{
    if (buf) {
        qemu_vfree((char *)buf - (io->misalign ? MISALIGNMENT : 0));
    }
}

void *io_buffer_from_file(IoSession *io, int64_t size, const char *filename)
{
    FILE *f = fopen(filename, "r");
    char *buf = f ? buffer_alloc(io, size) : NULL;
    int64_t have;

    if (!f) {
        fprintf(stderr, "%s: %s\n", filename, strerror(errno));
        return NULL;
    }
    if (buf) {
        have = fread(buf, 1, size, f);
        if (ferror(f)) {
            fprintf(stderr, "%s: %s\n", filename, strerror(errno));
        } else if (!have) {
            fprintf(stderr, "%s: file is empty\n", filename);
        }
        if (ferror(f) || !have) {
            io_buffer_free(io, buf);
            buf = NULL;
        }
        for (; buf && have < size; have *= 2) {
            memcpy(buf + have, buf, MIN(have, size - have));
        }
    }
    fclose(f);
    return buf;
}

void *io_vector_new(IoSession *io, QEMUIOVector *qiov, int64_t *offset, char **words, int n,
                    int fill)
{
    char **sizes = words + 1;
    int count = n - 1;
    g_autofree int64_t *lengths = g_new(int64_t, count);
    int64_t total = 0;
    char *buf;

    *offset = io_parse_size(words[0]);
    if (*offset < 0) {
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        lengths[i] = io_parse_size(sizes[i]);
        if (lengths[i] < 0) {
            return NULL;
        }
        if (lengths[i] > BDRV_REQUEST_MAX_BYTES) {
            printf("Argument '%s' exceeds maximum size %" PRId64 "\n", sizes[i],
                   BDRV_REQUEST_MAX_BYTES);
            return NULL;
        }
        if (total > BDRV_REQUEST_MAX_BYTES - lengths[i]) {
            printf("The total number of bytes exceed the maximum size %" PRId64 "\n",
                   BDRV_REQUEST_MAX_BYTES);
            return NULL;
        }
        total += lengths[i];
    }
    buf = io_buffer_new(io, total, fill);
    if (buf) {
        char *p = buf;

        qemu_iovec_init(qiov, count);
        for (int i = 0; i < count; p += lengths[i++]) {
            qemu_iovec_add(qiov, p, lengths[i]);
        }
    }
    return buf;
}

bool io_verify(const uint8_t *buf, int64_t size, int pattern, int64_t offset)
{
    if (!size || (buf[0] == pattern && !memcmp(buf, buf + 1, size - 1))) {
        return true;
    }
    printf("Pattern verification failed at offset %" PRId64 ", %" PRId64 " bytes\n", offset,
           size);
    return false;
}

void io_dump(const uint8_t *buf, int64_t size, int64_t offset)
{
    static const char digits[] = "0123456789abcdef";

    for (int64_t at = 0; at < size; at += 16) {
        char line[16 * 4 + 2];
        char *p = line;
        int n = MIN(size - at, 16);

        for (int i = 0; i < n; i++) {
            *p++ = digits[buf[at + i] >> 4];
            *p++ = digits[buf[at + i] & 15];
            *p++ = ' ';
        }
        *p++ = ' ';
        for (int i = 0; i < n; i++) {
            *p++ = g_ascii_isalnum(buf[at + i]) ? buf[at + i] : '.';
        }
        printf("%08" PRIx64 ":  %.*s\n", (uint64_t)(offset + at), (int)(p - line), line);
    }
}
