/* SPDX-License-Identifier: MIT */
/* How long a request took, as qemu-io says it; scripts read these lines. */
#include "io.h"

#include "qemu/timer.h"

int64_t io_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * (int64_t)NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

char *io_size_string(double value)
{
    static const char prefixes[] = "KMGTPE";
    int p = -1;
    char *text;

    for (; value >= 1024 && p < (int)strlen(prefixes) - 1; p++) {
        value /= 1024;
    }
    text = p < 0 ? g_strdup_printf("%f", value) : g_strdup_printf("%.3f", value);
    /* A fraction of zeroes goes. */
    char *point = strchr(text, '.');
    if (point && !point[1 + strspn(point + 1, "0")]) {
        *point = 0;
    }
    char *whole = p < 0 ? g_strdup_printf("%s bytes", text)
                        : g_strdup_printf("%s %ciB", text, prefixes[p]);
    g_free(text);
    return whole;
}

static char *time_string(int64_t ns, bool machine)
{
    int64_t seconds = ns / NANOSECONDS_PER_SECOND;
    int hundredths = ns % NANOSECONDS_PER_SECOND / (NANOSECONDS_PER_SECOND / 100);

    if (!machine && seconds < 60) {
        return g_strdup_printf("%02d.%02d sec", (int)seconds, hundredths);
    }
    return g_strdup_printf("%" PRId64 ":%02d:%02d.%02d", seconds / 3600,
                           (int)(seconds / 60 % 60), (int)(seconds % 60), hundredths);
}

void io_report(const char *what, int64_t start, int64_t offset, int64_t bytes, bool machine)
{
    int64_t ns = MAX(io_clock() - start, 1);
    double per_second = (double)NANOSECONDS_PER_SECOND / ns;
    g_autofree char *took = time_string(ns, machine);

    if (machine) {
        printf("%" PRId64 ",1,%s,%.3f,%.3f\n", bytes, took, bytes * per_second, per_second);
        return;
    }
    g_autofree char *size = io_size_string(bytes);
    g_autofree char *rate = io_size_string(bytes * per_second);
    printf("%s %" PRId64 "/%" PRId64 " bytes at offset %" PRId64 "\n", what, bytes, bytes, offset);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, took, rate, per_second);
}
