/* SPDX-License-Identifier: MIT */
/*
 * Stacks of coroutines on a kernel that gives no memory, no guards, or does not tell: this
 * program's own definitions of some calls stand before the C library's. What the library
 * learns from the kernel it keeps, so each test runs in a process of its own.
 */
#include <dlfcn.h>
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "qemu/coroutine.h"
#include "../../util/coroutine-pool.h"
#include "../../util/coroutine-sanitizer.h"
#include "../../util/coroutine-stack.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static struct {
    size_t mmap_max;   /* longer ones fail, if > 0 */
    bool no_guards;    /* as kernels before 6.13 */
    bool false_guards; /* as emulators: advice that they do not know is fine */
    bool mprotect, mincore;
    const char *max_map_count; /* what the file says; "" : there is none */
} fails;

static void *next_symbol(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    if (!fn) {
        abort();
    }
    return fn;
}

static int fail_with(int err)
{
    errno = err;
    return -1;
}

void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
    static void *(*next)(void *, size_t, int, int, int, off_t);

    if (fails.mmap_max && (flags & MAP_STACK) && size > fails.mmap_max) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (!next) {
        next = (void *(*)(void *, size_t, int, int, int, off_t))next_symbol("mmap");
    }
    return next(addr, size, prot, flags, fd, offset);
}

int madvise(void *addr, size_t size, int advice)
{
    static int (*next)(void *, size_t, int);

    if (advice == MADV_GUARD_INSTALL && fails.no_guards) {
        return fail_with(EINVAL);
    }
    if (advice == MADV_GUARD_INSTALL && fails.false_guards) {
        return 0;
    }
    if (!next) {
        next = (int (*)(void *, size_t, int))next_symbol("madvise");
    }
    return next(addr, size, advice);
}

int mprotect(void *addr, size_t size, int prot)
{
    static int (*next)(void *, size_t, int);

    if (fails.mprotect && prot == PROT_NONE) {
        return fail_with(ENOMEM);
    }
    if (!next) {
        next = (int (*)(void *, size_t, int))next_symbol("mprotect");
    }
    return next(addr, size, prot);
}

int mincore(void *addr, size_t size, unsigned char *pages)
{
    static int (*next)(void *, size_t, unsigned char *);

    if (fails.mincore) {
        return fail_with(EAGAIN);
    }
    if (!next) {
        next = (int (*)(void *, size_t, unsigned char *))next_symbol("mincore");
    }
    return next(addr, size, pages);
}

FILE *fopen(const char *path, const char *mode)
{
    static FILE *(*next)(const char *, const char *);

    if (fails.max_map_count && !strcmp(path, "/proc/sys/vm/max_map_count")) {
        if (!*fails.max_map_count) {
            errno = ENOENT;
            return NULL;
        }
        return fmemopen((char *)fails.max_map_count, strlen(fails.max_map_count), "r");
    }
    if (!next) {
        next = (FILE * (*)(const char *, const char *))next_symbol("fopen");
    }
    return next(path, mode);
}

/* ---- helpers ---- */

static CoroutineStackStats stats(void)
{
    CoroutineStackStats now;

    coroutine_stack_get_stats(&now);
    return now;
}

static void alloc(size_t size, CoroutineStack *stack)
{
    g_assert_cmpint(coroutine_stack_alloc(size, stack), ==, 0);
}

/* ---- no memory ---- */

static void chunks_are_as_large_as_they_can_be(void)
{
    enum { SIZE = 64 * 1024, GUARD = 16 * 1024 };
    CoroutineStack all[5];

    /* Room for four and a half. */
    fails.mmap_max = 4 * (SIZE + GUARD) + SIZE;
    for (int i = 0; i < 5; i++) {
        alloc(SIZE, &all[i]);
        memset(all[i].base, i, SIZE);
    }
    g_assert_cmpuint(stats().chunks, ==, 2);
    g_assert_cmpuint(stats().mapped, ==, 8);
    coroutine_stack_free(all, 5);
    g_assert_cmpuint(stats().chunks, ==, 0);
}

static void no_memory_for_one_is_an_error(void)
{
    CoroutineStack stack;

    fails.mmap_max = 16 * 1024;
    g_assert_cmpint(coroutine_stack_alloc(64 * 1024, &stack), ==, -ENOMEM);
    g_assert_null(qemu_coroutine_create_attr(NULL, NULL, NULL));
    g_assert_cmpint(errno, ==, ENOMEM);
    g_assert_cmpuint(stats().chunks, ==, 0);
    fails.mmap_max = 0;
    alloc(64 * 1024, &stack);
    coroutine_stack_free(&stack, 1);
}

static void no_guard_is_an_error(void)
{
    CoroutineStack first, second;

    fails.no_guards = true;
    fails.mprotect = true;
    g_assert_cmpint(coroutine_stack_alloc(0, &first), ==, -ENOMEM);
    /* The chunk went with it. */
    g_assert_cmpuint(stats().chunks, ==, 0);
    g_assert_cmpuint(stats().guarded, ==, 0);
    fails.mprotect = false;
    alloc(0, &first);
    /* A chunk that is used stays. */
    fails.mprotect = true;
    g_assert_cmpint(coroutine_stack_alloc(0, &second), ==, -ENOMEM);
    g_assert_cmpuint(stats().chunks, ==, 1);
    g_assert_cmpuint(stats().used, ==, 1);
    coroutine_stack_free(&first, 1);
    g_assert_cmpuint(stats().chunks, ==, 0);
}

/* ---- guards ---- */

static void guards_are_mappings_on_older_kernels(void)
{
    CoroutineStack stack;

    fails.no_guards = true;
    alloc(0, &stack);
    g_assert_true(stats().by_mprotect);
    g_assert_cmpuint(coroutine_stack_limit(), <, SIZE_MAX);
    coroutine_stack_free(&stack, 1);
}

static void guards_that_guard_nothing_are_found_out(void)
{
    CoroutineStack stack;

    if (co_sanitizer_emulated()) {
        return; /* is taken at its word */
    }
    fails.false_guards = true;
    alloc(0, &stack);
    g_assert_true(stats().by_mprotect);
    coroutine_stack_free(&stack, 1);
}

static void limit_follows_the_kernels(void)
{
    static const struct {
        const char *text;
        size_t limit;
    } cases[] = {
        { "65530", (65530 - 65530 / 4) / 2 },
        { "1000000", 375000 },
        /* 4096 mappings are for others, and a few stacks there are always. */
        { "8000", (8000 - 4096) / 2 },
        { "3000", 16 },
        /* The kernel's default where it does not tell. */
        { "", (65530 - 65530 / 4) / 2 },
        { "-5", (65530 - 65530 / 4) / 2 },
        { "many", (65530 - 65530 / 4) / 2 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        fails.max_map_count = cases[i].text;
        coroutine_stack_force_mprotect(0);
        g_assert_cmpuint(coroutine_stack_limit(), ==, cases[i].limit);
    }
}

static void what_cannot_be_measured_counts_as_used(void)
{
    CoroutineStack stack;

    alloc(1 << 20, &stack);
    g_assert_cmpuint(coroutine_stack_high_water(stack.base, stack.size), <, stack.size);
    fails.mincore = true;
    g_assert_cmpuint(coroutine_stack_high_water(stack.base, stack.size), ==, stack.size);
    coroutine_stack_free(&stack, 1);
}

/* ---- which slot ---- */

static void older_chunks_are_filled_first(void)
{
    enum { SLOTS = 64, SIZE = 16384 };
    CoroutineStack all[2 * SLOTS], again;

    for (int i = 0; i < 2 * SLOTS; i++) {
        alloc(SIZE, &all[i]);
    }
    g_assert_cmpuint(stats().chunks, ==, 2);
    /* Both are full. Whichever gets room first, the older one is first. */
    for (int round = 0; round < 2; round++) {
        int first = round ? SLOTS + 5 : 5, second = round ? 5 : SLOTS + 5;

        coroutine_stack_free(&all[first], 1);
        coroutine_stack_free(&all[second], 1);
        alloc(SIZE, &again);
        g_assert_true(again.base == all[5].base);
        alloc(SIZE, &again);
        g_assert_true(again.base == all[SLOTS + 5].base);
    }
    coroutine_stack_free(all, 2 * SLOTS);
    g_assert_cmpuint(stats().chunks, ==, 0);
}

/* ---- the pool ---- */

static void coroutine_fn yield_once(void *opaque)
{
    qemu_coroutine_yield();
}

static void run_together(unsigned n)
{
    Coroutine **all = g_new(Coroutine *, n);

    for (unsigned i = 0; i < n; i++) {
        all[i] = qemu_coroutine_create(yield_once, NULL);
        qemu_coroutine_enter(all[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        qemu_coroutine_enter(all[i]);
    }
    g_free(all);
}

/* Ended coroutines may not take all the stacks that there can be. */
static void pool_keeps_half_of_the_stacks_at_most(void)
{
    CoroutinePoolStats pool;

    coroutine_stack_force_mprotect(10 * COROUTINE_POOL_BATCH);
    run_together(9 * COROUTINE_POOL_BATCH);
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.shared, <=, 5 * COROUTINE_POOL_BATCH);
    g_assert_cmpuint(pool.local, <=, 2 * COROUTINE_POOL_BATCH);
    g_assert_cmpuint(stats().used, <=, 7 * COROUTINE_POOL_BATCH);
    run_together(9 * COROUTINE_POOL_BATCH);
}

/* As long as no thread can be made to free them, they stay for whoever needs them. */
static void pool_works_without_its_thread(void)
{
    struct rlimit none = { 1, 1 };
    CoroutinePoolStats pool;
    unsigned kept;

    /* Root may have as many as it likes: be nobody. */
    g_assert_cmpint(setrlimit(RLIMIT_NPROC, &none), ==, 0);
    if (getuid() != 0 || setuid(65534) == 0) {
        run_together(9 * COROUTINE_POOL_BATCH);
        coroutine_pool_get_stats(&pool);
        kept = pool.shared;
        g_assert_cmpuint(kept, >=, 7 * COROUTINE_POOL_BATCH);
        for (int i = 0; i < 12; i++) {
            g_usleep(100000);
        }
        coroutine_pool_get_stats(&pool);
        g_assert_cmpuint(pool.shared, ==, kept);
        run_together(9 * COROUTINE_POOL_BATCH);
    }
    /* Without exit handlers: LeakSanitizer's would want a thread. */
    _exit(0);
}

/* ---- each in its own process ---- */

static void run(gconstpointer fn)
{
    if (g_test_subprocess()) {
        ((void (*)(void))fn)();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static void add(const char *name, void (*fn)(void))
{
    g_test_add_data_func(name, (gconstpointer)fn, run);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/no-memory/smaller-chunks", chunks_are_as_large_as_they_can_be);
    add("/no-memory/none", no_memory_for_one_is_an_error);
    add("/no-memory/no-guard", no_guard_is_an_error);
    add("/guards/by-mprotect", guards_are_mappings_on_older_kernels);
    add("/guards/false", guards_that_guard_nothing_are_found_out);
    add("/guards/limit", limit_follows_the_kernels);
    add("/guards/high-water", what_cannot_be_measured_counts_as_used);
    add("/chunks/oldest-first", older_chunks_are_filled_first);
    add("/pool/half", pool_keeps_half_of_the_stacks_at_most);
    add("/pool/no-thread", pool_works_without_its_thread);
    return g_test_run();
}
