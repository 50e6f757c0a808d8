/* SPDX-License-Identifier: MIT */
/* Coroutine stacks: guards, both kinds, limits, and memory that goes back to the kernel. */
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "qemu/coroutine.h"
#include "../../util/coroutine-sanitizer.h"
#include "../../util/coroutine-stack.h"

/* Sanitizers map memory of their own meanwhile. */
enum { MANY = 2000, OTHER_MAPPINGS = 100, TOUCHED = 16384 };

#ifdef CO_TSAN
#define CO_FOLLOWED true
#else
#define CO_FOLLOWED false
#endif

static unsigned int count_mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned int n = 0;
    int c;

    g_assert_nonnull(f);
    while ((c = fgetc(f)) != EOF) {
        n += c == '\n';
    }
    fclose(f);
    return n;
}

/*
 * The bytes of @n stacks' tops (TOUCHED each) that are in memory. Asked for these pages
 * alone: a process's total has the sanitizers' own memory and what the kernel merges
 * into huge pages.
 */
static size_t resident_bytes(const CoroutineStack *all, size_t n)
{
    size_t page = sysconf(_SC_PAGESIZE), pages = 0;
    unsigned char present[TOUCHED / 4096];

    for (size_t i = 0; i < n; i++) {
        char *low = (char *)all[i].base + all[i].size - TOUCHED;

        if (mincore(low, TOUCHED, present) < 0) {
            /* Its chunk was unmapped as a whole. */
            g_assert_cmpint(errno, ==, ENOMEM);
            continue;
        }
        for (size_t k = 0; k < TOUCHED / page; k++) {
            pages += present[k] & 1;
        }
    }
    return pages * page;
}

static void alloc_all(CoroutineStack *all, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        g_assert_cmpint(coroutine_stack_alloc(size, &all[i]), ==, 0);
    }
}

static void in_subprocess(void (*fn)(void))
{
    if (g_test_subprocess()) {
        struct rlimit no_core = { 0, 0 };

        setrlimit(RLIMIT_CORE, &no_core);
        fn();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
}

/* --- one stack --- */

static void usable_from_end_to_end(void)
{
    static const size_t sizes[] = { 0, 1, 16384, 20000, 65536, 1 << 20, 100 << 20 };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        CoroutineStack stack;
        char *base;

        g_assert_cmpint(coroutine_stack_alloc(sizes[i], &stack), ==, 0);
        g_assert_cmpuint(stack.size, >=, sizes[i]);
        base = stack.base;
        g_assert_true((char *)stack.top <= base + stack.size);
        g_assert_true((char *)stack.top >= base + stack.size - 4096);
        g_assert_cmpuint((uintptr_t)stack.top % 64, ==, 0);
        base[0] = base[stack.size - 1] = 1;
        coroutine_stack_free(&stack, 1);
    }
}

static void comes_zeroed(void)
{
    CoroutineStack all[10];

    for (int round = 0; round < 3; round++) {
        alloc_all(all, 10, 0);
        for (int i = 0; i < 10; i++) {
            char *base = all[i].base;

            for (size_t j = 0; j < all[i].size; j += 512) {
                g_assert_cmpint(base[j], ==, 0);
                base[j] = 1;
            }
        }
        coroutine_stack_free(all, 10);
    }
}

static void high_water_is_known(void)
{
    CoroutineStack stack;
    size_t page = sysconf(_SC_PAGESIZE);

    g_assert_cmpint(coroutine_stack_alloc(1 << 20, &stack), ==, 0);
    g_assert_cmpuint(coroutine_stack_high_water(stack.base, stack.size), ==, 0);
    ((char *)stack.base)[stack.size - 10] = 1;
    g_assert_cmpuint(coroutine_stack_high_water(stack.base, stack.size), ==, page);
    ((char *)stack.base)[stack.size - 20 * page] = 1;
    g_assert_cmpuint(coroutine_stack_high_water(stack.base, stack.size), ==, 20 * page);
    coroutine_stack_free(&stack, 1);
}

static void impossible_sizes_are_errors(void)
{
    CoroutineStack stack;

    g_assert_cmpint(coroutine_stack_alloc(SIZE_MAX, &stack), ==, -EINVAL);
    g_assert_cmpint(coroutine_stack_alloc((size_t)1 << 50, &stack), ==, -ENOMEM);
}

/* --- overflow --- */

static volatile int recursion_limit;

static int QEMU_NOINLINE recurse(int depth)
{
    volatile char frame[200];

    frame[0] = depth;
    if (depth == recursion_limit) {
        return 0;
    }
    return recurse(depth + 1) + frame[0];
}

static void coroutine_fn overflow(void *opaque)
{
    recursion_limit = -1;
    recurse(0);
}

static void coroutine_fn suspend(void *opaque)
{
    qemu_coroutine_yield();
}

/* With neighbours on both sides, which an overflow without a guard would damage. */
static void overflow_one_of_many(void)
{
    Coroutine *all[300];

    for (int i = 0; i < 300; i++) {
        all[i] = qemu_coroutine_create(i == 150 ? overflow : suspend, NULL);
        if (i != 150) {
            qemu_coroutine_enter(all[i]);
        }
    }
    qemu_coroutine_enter(all[150]);
}

static void assert_segfault(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_assert_failed();
        /* Sanitizers turn the signal into a report. */
        g_test_trap_assert_stdout_unmatched("*survived*");
    }
}

static void overflow_dies_on_guard(void)
{
    in_subprocess(overflow_one_of_many);
    assert_segfault();
}

static void overflow_with_mprotect(void)
{
    coroutine_stack_force_mprotect(0);
    overflow_one_of_many();
}

static void overflow_dies_on_mprotect_guard(void)
{
    in_subprocess(overflow_with_mprotect);
    assert_segfault();
}

static void touch_guard(void)
{
    CoroutineStack all[3];

    alloc_all(all, 3, 0);
    coroutine_stack_free(&all[1], 1);
    g_assert_cmpint(coroutine_stack_alloc(0, &all[1]), ==, 0);
    ((volatile char *)all[1].base)[-1] = 1;
    g_print("survived\n");
}

/* MADV_DONTNEED must not have taken the guard away. */
static void guard_survives_reuse(void)
{
    in_subprocess(touch_guard);
    assert_segfault();
}

/* --- mappings and limits --- */

static void many_stacks_few_mappings(void)
{
    CoroutineStack *all = g_new(CoroutineStack, MANY);
    unsigned int before = count_mappings();
    CoroutineStackStats stats;

    alloc_all(all, MANY, 0);
    coroutine_stack_get_stats(&stats);
    if (!stats.by_mprotect) {
        g_assert_cmpuint(count_mappings(), <=, before + OTHER_MAPPINGS);
    }
    coroutine_stack_free(all, MANY);
    coroutine_stack_get_stats(&stats);
    g_assert_cmpuint(stats.used, ==, 0);
    g_assert_cmpuint(stats.chunks, ==, 0);
    g_assert_cmpuint(count_mappings(), <=, before + OTHER_MAPPINGS);
    g_free(all);
}

static void run_out_with_mprotect(void)
{
    CoroutineStack *all = g_new(CoroutineStack, 501);
    CoroutineStackStats stats;

    coroutine_stack_force_mprotect(500);
    alloc_all(all, 500, 0);
    coroutine_stack_get_stats(&stats);
    g_assert_true(stats.by_mprotect);
    g_assert_cmpint(coroutine_stack_alloc(0, &all[500]), ==, -ENOMEM);
    g_assert_cmpint(coroutine_stack_alloc(1 << 20, &all[500]), ==, -ENOMEM);
    coroutine_stack_free(all + 250, 1);
    g_assert_cmpint(coroutine_stack_alloc(0, &all[250]), ==, 0);
    coroutine_stack_free(all, 500);
    coroutine_stack_get_stats(&stats);
    g_assert_cmpuint(stats.guarded, ==, 0);
    g_assert_cmpint(coroutine_stack_alloc(0, &all[500]), ==, 0);
    coroutine_stack_free(all + 500, 1);
    g_free(all);
}

static void mprotect_limit_is_an_error(void)
{
    in_subprocess(run_out_with_mprotect);
    if (!g_test_subprocess()) {
        g_test_trap_assert_passed();
    }
}

/* As many coroutines as the kernel's limit allows on the old path, then a clean error. */
static void fill_mprotect_limit(void)
{
    Coroutine *co;
    unsigned int n = 0;

    coroutine_stack_force_mprotect(0);
    while ((co = qemu_coroutine_create_attr(suspend, NULL, NULL))) {
        qemu_coroutine_enter(co);
        n++;
    }
    g_assert_cmpint(errno, ==, ENOMEM);
    g_assert_cmpuint(n, ==, coroutine_stack_limit());
    /* The rest of the program can still map. */
    for (int i = 0; i < 100; i++) {
        g_assert_true(mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    }
}

static void mprotect_leaves_mappings_to_others(void)
{
    if (CO_FOLLOWED) {
        g_test_skip("more coroutines than ThreadSanitizer can follow");
        return;
    }
    in_subprocess(fill_mprotect_limit);
    if (!g_test_subprocess()) {
        g_test_trap_assert_passed();
    }
}

static void touch_all(CoroutineStack *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memset((char *)all[i].base + all[i].size - TOUCHED, 1, TOUCHED);
    }
}

static void freed_memory_goes_back(void)
{
    CoroutineStack *all = g_new(CoroutineStack, MANY);
    CoroutineStack *kept = g_new(CoroutineStack, MANY);
    size_t n_kept = 0, n_freed = 0;

    alloc_all(all, MANY, 0);
    touch_all(all, MANY);
    g_assert_cmpuint(resident_bytes(all, MANY), ==, MANY * TOUCHED);
    /* Every tenth stays, so that no chunk becomes empty. */
    for (int i = 0; i < MANY; i++) {
        if (i % 10) {
            all[n_freed++] = all[i];
        } else {
            kept[n_kept++] = all[i];
        }
    }
    coroutine_stack_free(all, n_freed);
    g_assert_cmpuint(resident_bytes(all, n_freed), ==, 0);
    g_assert_cmpuint(resident_bytes(kept, n_kept), ==, n_kept * TOUCHED);
    for (size_t i = 0; i < n_kept; i++) {
        g_assert_cmpint(((char *)kept[i].base)[kept[i].size - 100], ==, 1);
    }
    coroutine_stack_free(kept, n_kept);
    g_free(all);
    g_free(kept);
}

/* Random order of allocation and release: no stack is given out twice. */
static void random_use_keeps_them_apart(void)
{
    CoroutineStack all[200] = { 0 };

    for (int i = 0; i < 20000; i++) {
        uint32_t k = g_test_rand_int_range(0, G_N_ELEMENTS(all));

        if (all[k].base) {
            uint32_t *mark = (uint32_t *)((char *)all[k].base + all[k].size) - 1;

            g_assert_cmpuint(*mark, ==, k + 1);
            coroutine_stack_free(&all[k], 1);
            all[k].base = NULL;
        } else {
            size_t size = 16384 << g_test_rand_int_range(0, 3);

            g_assert_cmpint(coroutine_stack_alloc(size, &all[k]), ==, 0);
            *((uint32_t *)((char *)all[k].base + all[k].size) - 1) = k + 1;
        }
    }
    for (size_t k = 0; k < G_N_ELEMENTS(all); k++) {
        if (all[k].base) {
            coroutine_stack_free(&all[k], 1);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stack/usable-from-end-to-end", usable_from_end_to_end);
    g_test_add_func("/stack/comes-zeroed", comes_zeroed);
    g_test_add_func("/stack/high-water", high_water_is_known);
    g_test_add_func("/stack/impossible-sizes", impossible_sizes_are_errors);
    g_test_add_func("/stack/overflow-dies", overflow_dies_on_guard);
    g_test_add_func("/stack/overflow-dies-mprotect", overflow_dies_on_mprotect_guard);
    g_test_add_func("/stack/guard-survives-reuse", guard_survives_reuse);
    g_test_add_func("/stack/many-stacks-few-mappings", many_stacks_few_mappings);
    g_test_add_func("/stack/mprotect-limit", mprotect_limit_is_an_error);
    g_test_add_func("/stack/mprotect-leaves-room", mprotect_leaves_mappings_to_others);
    g_test_add_func("/stack/freed-memory-goes-back", freed_memory_goes_back);
    g_test_add_func("/stack/random-use", random_use_keeps_them_apart);
    return g_test_run();
}
