/* SPDX-License-Identifier: MIT */
/*
 * A million coroutines suspended at once (or as many as the first argument says), each
 * of which has run: what they cost, and that the memory goes back when they have ended.
 * Fails when a bound is missed. The bounds on memory are for one page of stack each; that on time
 * holds for a million only, as tests run fewer, on machines that are slow or busy.
 *
 * Exit code 77 when the machine has too little memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "qemu/coroutine-core.h"

static double clock_s(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double now_s(void)
{
    return clock_s(CLOCK_MONOTONIC);
}

/* What is bounded is CPU time: the machine may do other things. */
static double cpu_s(void)
{
    return clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

/* A line "name:   12345 kB" of a file in /proc; negative when there is none. */
static double field_mb(const char *path, const char *name)
{
    FILE *f = fopen(path, "r");
    char line[256];
    long kb = -1;

    while (f && kb < 0 && fgets(line, sizeof(line), f)) {
        if (!strncmp(line, name, strlen(name))) {
            kb = atol(line + strlen(name));
        }
    }
    if (f) {
        fclose(f);
    }
    return kb / 1024.0;
}

static double resident_mb(void)
{
    return field_mb("/proc/self/status", "VmRSS:");
}

static int count_mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    int c, n = 0;

    while (f && (c = fgetc(f)) != EOF) {
        n += c == '\n';
    }
    if (f) {
        fclose(f);
    }
    return n;
}

static long ended;

static void coroutine_fn suspend(void *opaque)
{
    qemu_coroutine_yield();
    ended++;
}

static int failed;

static void figure(const char *what, double value, const char *unit, double bound)
{
    int bad = bound > 0 && value > bound;

    printf("%-34s %10.2f %s", what, value, unit);
    if (bound > 0) {
        printf(" (at most %.2f)%s", bound, bad ? "  MISSED" : "");
    }
    printf("\n");
    failed |= bad;
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 1000000;
    Coroutine **all = calloc(n, sizeof(*all));
    double start, took;
    double base = resident_mb();

    if (field_mb("/proc/meminfo", "MemAvailable:") < n * 4.8 / 1000 + 500) {
        printf("too little memory for %ld coroutines: skipped\n", n);
        return 77;
    }

    start = cpu_s();
    for (long i = 0; i < n; i++) {
        all[i] = qemu_coroutine_create_attr(suspend, NULL, NULL);
        if (!all[i]) {
            perror("qemu_coroutine_create_attr");
            return 1;
        }
        qemu_coroutine_enter(all[i]);
    }
    took = cpu_s() - start;
    printf("%ld coroutines\n", n);
    figure("create and enter, each", took / n * 1e6, "us", n < 1000000 ? 0 : 15);
    figure("resident", resident_mb(), "MB", base + n * 4.6 / 1000);
    figure("page tables", field_mb("/proc/self/status", "VmPTE:"), "MB", 0);
    figure("mappings", count_mappings(), "", 200);

    start = cpu_s();
    for (long i = 0; i < n; i++) {
        qemu_coroutine_enter(all[i]);
    }
    figure("enter again and end, each", (cpu_s() - start) / n * 1e6, "us", 0);
    if (ended != n) {
        printf("%ld ended  MISSED\n", ended);
        failed = 1;
    }
    figure("resident at the end", resident_mb(), "MB", 0);
    free(all);

    start = now_s();
    while (resident_mb() > base + 20 && now_s() - start < 2) {
        usleep(20 * 1000);
    }
    figure("after rest", now_s() - start, "s", 0);
    figure("resident then", resident_mb(), "MB", 100);
    figure("page tables then", field_mb("/proc/self/status", "VmPTE:"), "MB", 0);
    return failed;
}
