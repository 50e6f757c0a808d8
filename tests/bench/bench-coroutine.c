/* SPDX-License-Identifier: MIT */
/*
 * What a coroutine costs, in nanoseconds: medians, pinned to one core, through the public
 * functions, beside a call of a function.
 *
 * bench-coroutine itself uses the shared library, as programs do; after that it runs
 * bench-coroutine-BACKEND, linked statically with one backend each, for comparison.
 */
#include <libgen.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "qemu/coroutine-core.h"

enum { ROUNDS = 21, PER_ROUND = 300000 };

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static unsigned long counter;

static void QEMU_NOINLINE call(void)
{
    __asm__ volatile("");
    counter++;
}

static void calls(void)
{
    for (int i = 0; i < PER_ROUND; i++) {
        call();
    }
}

static Coroutine *forever;

static void coroutine_fn yield_forever(void *opaque)
{
    for (;;) {
        counter++;
        qemu_coroutine_yield();
    }
}

static void enter_yield(void)
{
    for (int i = 0; i < PER_ROUND; i++) {
        qemu_coroutine_enter(forever);
    }
}

static void coroutine_fn count(void *opaque)
{
    counter++;
}

static void create_enter_end(void)
{
    for (int i = 0; i < PER_ROUND; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(count, NULL));
    }
}

static void coroutine_fn count_and_yield(void *opaque)
{
    counter++;
    qemu_coroutine_yield();
}

static void create_enter_yield_enter(void)
{
    for (int i = 0; i < PER_ROUND; i++) {
        Coroutine *co = qemu_coroutine_create(count_and_yield, NULL);

        qemu_coroutine_enter(co);
        qemu_coroutine_enter(co);
    }
}

/* As requests in flight do: many suspended at once, each entered in turn. */
enum { IN_FLIGHT = 64 };

static void sixty_four_in_turn(void)
{
    static Coroutine *all[IN_FLIGHT];

    if (!all[0]) {
        for (int i = 0; i < IN_FLIGHT; i++) {
            all[i] = qemu_coroutine_create(yield_forever, NULL);
        }
    }
    for (int i = 0; i < PER_ROUND; i++) {
        qemu_coroutine_enter(all[i % IN_FLIGHT]);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median_ns(void (*fn)(void))
{
    double ns[ROUNDS];

    fn();
    for (int i = 0; i < ROUNDS; i++) {
        double start = now_ns();

        fn();
        ns[i] = (now_ns() - start) / PER_ROUND;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), compare);
    return ns[ROUNDS / 2];
}

static void pin_to_one_core(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static int run_others(const char *self)
{
    static const char *const backends[] = { BENCH_BACKENDS };
    char *copy = strdup(self);
    const char *dir = dirname(copy);
    int ret = 0;

    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        char path[4096];
        int status = -1;
        pid_t pid;

        snprintf(path, sizeof(path), "%s/bench-coroutine-%s", dir, backends[i]);
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            execl(path, path, (char *)NULL);
            perror(path);
            _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status) {
            ret = 1;
        }
    }
    free(copy);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } benches[] = {
        { "call", calls },
        { "enter+yield", enter_yield },
        { "64 in turn", sixty_four_in_turn },
        { "create+end", create_enter_end },
        { "create+yield+end", create_enter_yield_enter },
    };

    pin_to_one_core();
    forever = qemu_coroutine_create(yield_forever, NULL);
    if (!strcmp(BENCH_NAME, "shared library")) {
        printf("%-15s", "ns");
        for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
            printf(" %16s", benches[i].name);
        }
        printf("\n");
    }
    printf("%-15s", BENCH_NAME);
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        printf(" %16.2f", median_ns(benches[i].fn));
    }
    printf("\n");
    return strcmp(BENCH_NAME, "shared library") ? 0 : run_others(argv[0]);
}
