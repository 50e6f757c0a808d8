/* SPDX-License-Identifier: MIT */
/*
 * The coroutine core without GLib or anything else of the library: what can be
 * cross-compiled with a bare C library and run under an emulator. test-coroutine.c has
 * the rest.
 */
#undef NDEBUG
#include <assert.h>
#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../util/coroutine-backend.h"

enum { MANY = 2000 };

static void coroutine_fn count_to(void *opaque)
{
    int *n = opaque;

    for (int i = *n; i > 0; i--) {
        *n = i;
        qemu_coroutine_yield();
    }
    *n = 0;
}

static void yields_and_ends(void)
{
    int n = 3;
    Coroutine *co = qemu_coroutine_create(count_to, &n);

    for (int i = 3; i >= 0; i--) {
        qemu_coroutine_enter(co);
        assert(n == i);
        assert(!qemu_in_coroutine());
    }
}

typedef struct Nest {
    int depth, max;
} Nest;

static void coroutine_fn nest(void *opaque)
{
    Nest *n = opaque;

    assert(qemu_in_coroutine());
    if (++n->depth < n->max) {
        qemu_coroutine_enter(qemu_coroutine_create(nest, n));
    }
}

static void nests(void)
{
    Nest n = { .max = MANY };

    qemu_coroutine_enter(qemu_coroutine_create(nest, &n));
    assert(n.depth == MANY);
}

static void coroutine_fn chain(void *opaque)
{
    int *left = opaque;

    if (--*left > 0) {
        Coroutine *self = qemu_coroutine_self();
        Coroutine *next = qemu_coroutine_create(chain, left);

        QSIMPLEQ_INSERT_TAIL(&self->co_queue_wakeup, next, co_queue_next);
    }
}

static void chains(void)
{
    int left = 10 * MANY;

    qemu_coroutine_enter(qemu_coroutine_create(chain, &left));
    assert(left == 0);
}

/* As many live values as the ABI has registers that a callee keeps, of both kinds. */
static double QEMU_NOINLINE mix(long seed, void (*between)(void *), void *arg)
{
    long a = seed, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13, g = a * 17;
    long h = a * 19, k = a * 23;
    double r = a, s = r / 3, t = r / 5, u = r / 7, v = r / 11, w = r / 13, x = r / 17;
    double y = r / 19;

    for (int i = 0; i < 50; i++) {
        between(arg);
        a += b, b ^= c, c += d, d ^= e, e += f, f ^= g, g += h, h ^= k, k += a;
        r += s, s += t / 2, t += u / 3, u += v / 4, v += w / 5, w += x / 6, x += y, y = -y;
    }
    return (a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ k) % 1000003 + r + s + t + u + v + w + x + y;
}

static void nothing(void *opaque)
{
}

static void yield_between(void *opaque)
{
    qemu_coroutine_yield();
}

static void enter_between(void *opaque)
{
    qemu_coroutine_enter(opaque);
}

static void coroutine_fn mix_inside(void *opaque)
{
    *(double *)opaque = mix(98765, yield_between, NULL);
}

static void registers_survive(void)
{
    double inside = 0;
    Coroutine *co = qemu_coroutine_create(mix_inside, &inside);

    assert(mix(12345, enter_between, co) == mix(12345, nothing, NULL));
    qemu_coroutine_enter(co);
    assert(inside == mix(98765, nothing, NULL));
}

static void coroutine_fn round_upward(void *opaque)
{
    fesetround(FE_UPWARD);
    qemu_coroutine_yield();
    assert(fegetround() == FE_UPWARD);
    fesetround(FE_TONEAREST);
}

static void rounding_mode_is_the_coroutines(void)
{
    Coroutine *co;

    if (strcmp(coroutine_backend_name, "asm")) {
        return;
    }
    co = qemu_coroutine_create(round_upward, NULL);
    qemu_coroutine_enter(co);
    assert(fegetround() == FE_TONEAREST);
    qemu_coroutine_enter(co);
    assert(fegetround() == FE_TONEAREST);
}

static void *enter_it(void *opaque)
{
    qemu_coroutine_enter(opaque);
    return NULL;
}

static void moves_between_threads(void)
{
    int n = 100;
    Coroutine *co = qemu_coroutine_create(count_to, &n);

    for (int i = 100; i >= 0; i--) {
        pthread_t thread;

        assert(pthread_create(&thread, NULL, enter_it, co) == 0);
        pthread_join(thread, NULL);
        assert(n == i);
    }
}

static void many_at_once(void)
{
    static Coroutine *all[MANY];
    static int n[MANY];

    for (int i = 0; i < MANY; i++) {
        n[i] = 1;
        all[i] = qemu_coroutine_create(count_to, &n[i]);
        qemu_coroutine_enter(all[i]);
        assert(qemu_coroutine_stack_used(all[i]) > 0);
    }
    for (int i = 0; i < MANY; i++) {
        qemu_coroutine_enter(all[i]);
        assert(n[i] == 0);
    }
}

static void coroutine_fn dump(void *opaque)
{
    qemu_coroutine_dump_all(stderr);
}

static void dumps(void)
{
    qemu_coroutine_enter(qemu_coroutine_create(dump, NULL));
}

int main(void)
{
    yields_and_ends();
    nests();
    chains();
    registers_survive();
    rounding_mode_is_the_coroutines();
    moves_between_threads();
    many_at_once();
    dumps();
    printf("%s: all well\n", coroutine_backend_name);
    return 0;
}
