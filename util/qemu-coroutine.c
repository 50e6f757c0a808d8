/* SPDX-License-Identifier: MIT */
/*
 * The coroutine core: enter, yield, end, and what may not be done.
 *
 * No work is left behind a switch. A coroutine that yields or ends decides, before it
 * leaves, who runs next: those it woke, then those that were still to run when it was
 * entered (both in the pending queue of its caller), and only then the caller itself. It
 * switches straight there. An ended coroutine is in the pool already when it leaves its
 * stack for the last time (coroutine-pool.c says why that is safe). So the switch is the
 * last call of enter and of yield, made by a jump, and the two return straight to whoever
 * called them; and chains of wake-ups, however long, use no stack.
 *
 * A coroutine's caller is NULL exactly when it may be entered. The fields belong to the
 * thread that runs the coroutine (qemu/coroutine_int.h).
 *
 * coroutine_thread is used directly in these functions and not again after a switch;
 * they are never inlined, so no caller can keep its address across one.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine-pool.h"
#include "coroutine-sanitizer.h"

__thread CoroutineThread coroutine_thread __attribute__((tls_model("initial-exec")));

const char coroutine_ended[] = "(ended)";
static const char first_entry[] = "its first entry";
static const char thread_leader[] = "(a thread's own stack)";

/* --- what may not be done --- */

/* "function+0x12 (file)" for an address, as far as known. */
static void print_address(FILE *out, const void *p)
{
    Dl_info info;

    if (p && dladdr(p, &info) && info.dli_fname) {
        const char *slash = strrchr(info.dli_fname, '/');
        const char *file = slash ? slash + 1 : info.dli_fname;

        if (info.dli_sname) {
            fprintf(out, "%s+0x%tx (%s)", info.dli_sname,
                    (const char *)p - (const char *)info.dli_saddr, file);
        } else {
            fprintf(out, "%s+0x%tx", file,
                    (const char *)p - (const char *)info.dli_fbase);
        }
    } else {
        fprintf(out, "%p", p);
    }
}

static void print_coroutine(FILE *out, const Coroutine *co)
{
    fprintf(out, "coroutine %p", (const void *)co);
    if (co->name) {
        fprintf(out, " '%s'", co->name);
    }
    if (co->creator) {
        fputs(" created by ", out);
        print_address(out, co->creator);
    }
}

/* Not inlined, so that who may have to die keeps its jump in tail position. */
#define CO_COLD QEMU_NOINLINE __attribute__((cold))

static QEMU_NORETURN CO_COLD GCC_FMT_ATTR(2, 3) void die(const Coroutine *co,
                                                        const char *format, ...)
{
    va_list args;

    fputs("blkco: ", stderr);
    if (co) {
        print_coroutine(stderr, co);
        fputc(' ', stderr);
    }
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

static QEMU_NORETURN CO_COLD void die_not_enterable(Coroutine *co)
{
    if (co->scheduled == coroutine_ended) {
        die(co, "is entered, but it has ended");
    }
    if (co->scheduled) {
        die(co, "is entered, but it is already scheduled in '%s'", co->scheduled);
    }
    die(co, "is entered recursively: it is active already");
}

static QEMU_NORETURN CO_COLD void die_no_coroutine(void)
{
    die(NULL, "qemu_coroutine_yield is called outside of a coroutine");
}

static QEMU_NORETURN CO_COLD void die_locks_held(Coroutine *co)
{
    die(co, "ends while it holds %zu lock(s)", co->locks_held);
}

/* --- switching --- */

/* In tail position as long as no sanitizer listens. */
static QEMU_ALWAYS_INLINE void leave_for(Coroutine *from, Coroutine *to, bool ending)
{
    co_sanitizer_leave(from, to, ending);
    coroutine_switch(from, to);
    co_sanitizer_arrive(from);
}

static QEMU_NOINLINE CoroutineThread *init_leader(void)
{
    CoroutineThread *t = &coroutine_thread;

    QSIMPLEQ_INIT(&t->leader.co_queue_wakeup);
    QSIMPLEQ_INIT(&t->leader.co_queue_pending);
    t->leader.scheduled = thread_leader;
    co_sanitizer_leader(&t->leader);
    t->current = &t->leader;
    return t;
}

/*
 * All calls of enter and yield end in a call in tail position, the unlikely ones too:
 * then the compiler saves no registers for them.
 */
static CO_COLD void refuse_to_enter(Coroutine *co)
{
    die_not_enterable(co);
}

static QEMU_ALWAYS_INLINE void enter_from(CoroutineThread *t, AioContext *ctx,
                                          Coroutine *co)
{
    Coroutine *self = t->current;

    if (unlikely(co->caller || co->scheduled)) {
        refuse_to_enter(co);
        return;
    }
    co->caller = self;
    /*
     * Pairs with the acquire in qemu_coroutine_get_aio_context: who wakes this coroutine
     * from another thread finds where it lives.
     */
    qatomic_store_release(&co->ctx, ctx);
    t->current = co;
    leave_for(self, co, false);
}

static CO_COLD void enter_first(AioContext *ctx, Coroutine *co)
{
    enter_from(init_leader(), ctx, co);
}

QEMU_NOINLINE void qemu_aio_coroutine_enter(AioContext *ctx, Coroutine *co)
{
    CoroutineThread *t = &coroutine_thread;

    if (unlikely(!t->current)) {
        enter_first(ctx, co);
        return;
    }
    enter_from(t, ctx, co);
}

QEMU_NOINLINE void qemu_coroutine_enter(Coroutine *co)
{
    CoroutineThread *t = &coroutine_thread;

    if (unlikely(!t->current)) {
        enter_first(t->ctx, co);
        return;
    }
    enter_from(t, t->ctx, co);
}

void qemu_coroutine_enter_if_inactive(Coroutine *co)
{
    if (!qemu_coroutine_entered(co)) {
        qemu_coroutine_enter(co);
    }
}

/*
 * self leaves, and it or its caller has coroutines waiting to run: the first of them,
 * made ready to run in self's place.
 */
static QEMU_NOINLINE Coroutine *next_pending(Coroutine *self, Coroutine *caller)
{
    Coroutine *next;

    QSIMPLEQ_CONCAT(&self->co_queue_wakeup, &caller->co_queue_pending);
    QSIMPLEQ_CONCAT(&caller->co_queue_pending, &self->co_queue_wakeup);
    next = QSIMPLEQ_FIRST(&caller->co_queue_pending);
    QSIMPLEQ_REMOVE_HEAD(&caller->co_queue_pending, co_queue_next);

    if (unlikely(next->caller || next->scheduled)) {
        die_not_enterable(next);
    }
    next->caller = caller;
    /* The context of the call of enter in which all of them run. */
    qatomic_store_release(&next->ctx, self->ctx);
    return next;
}

static QEMU_ALWAYS_INLINE bool any_pending(Coroutine *self, Coroutine *caller)
{
    return !QSIMPLEQ_EMPTY(&self->co_queue_wakeup) ||
           !QSIMPLEQ_EMPTY(&caller->co_queue_pending);
}

static QEMU_NOINLINE void yield_to_pending(Coroutine *self)
{
    Coroutine *caller = self->caller;
    Coroutine *next;

    self->caller = NULL;
    next = next_pending(self, caller);
    coroutine_thread.current = next;
    leave_for(self, next, false);
}

QEMU_NOINLINE void coroutine_fn qemu_coroutine_yield(void)
{
    CoroutineThread *t = &coroutine_thread;
    Coroutine *self = t->current;
    Coroutine *caller = self ? self->caller : NULL;

    if (unlikely(!caller)) {
        die_no_coroutine();
    }
    if (unlikely(any_pending(self, caller))) {
        yield_to_pending(self);
        return;
    }
    self->caller = NULL;
    t->current = caller;
    leave_for(self, caller, false);
}

/* Returns when the coroutine is used again for another function. */
static QEMU_NOINLINE void coroutine_end(Coroutine *self)
{
    CoroutineThread *t = &coroutine_thread;
    Coroutine *next = self->caller;

    if (unlikely(self->locks_held)) {
        die_locks_held(self);
    }
    if (unlikely(any_pending(self, next))) {
        next = next_pending(self, next);
    }
    self->caller = NULL;
    self->scheduled = coroutine_ended;
    t->current = next;
    if (likely(t->pool_room && self->pooled)) {
        QSLIST_NEXT(self, pool_next) = t->pool;
        t->pool = self;
        t->pool_room--;
    } else {
        coroutine_pool_put_slow(self);
    }
    leave_for(self, next, true);
}

QEMU_NORETURN void coroutine_trampoline(Coroutine *co)
{
    co_sanitizer_arrive(co);
    for (;;) {
        co->wait_reason = NULL;
        co->entry(co->entry_arg);
        coroutine_end(co);
    }
}

/* --- creating --- */

static QEMU_ALWAYS_INLINE Coroutine *start(Coroutine *co, CoroutineEntry *entry,
                                           void *opaque, const char *name,
                                           const void *creator)
{
    co->entry = entry;
    co->entry_arg = opaque;
    co->ctx = NULL;
    co->scheduled = NULL;
    co->wait_reason = first_entry;
    co->name = name;
    co->creator = creator;
    return co;
}

/* Not one of the pool's, and not so little smaller that those would do. */
static bool has_odd_size(size_t size)
{
    size_t usual = coroutine_stack_default_size();

    return size && (size > usual || size <= usual / 2);
}

static QEMU_ALWAYS_INLINE Coroutine *take_from_pool(CoroutineThread *t)
{
    Coroutine *co = t->pool;

    t->pool = QSLIST_NEXT(co, pool_next);
    t->pool_room++;
    return co;
}

/*
 * The two ways to create call these in tail position, so that the usual case saves no
 * registers.
 */
static QEMU_NOINLINE Coroutine *create_slow(CoroutineEntry *entry, void *opaque,
                                            const CoroutineAttr *attr,
                                            const void *creator)
{
    CoroutineThread *t = &coroutine_thread;
    Coroutine *co;

    if (attr && has_odd_size(attr->stack_size)) {
        co = coroutine_pool_get_sized(attr->stack_size);
    } else {
        co = t->pool ? take_from_pool(t) : coroutine_pool_refill();
    }
    return co ? start(co, entry, opaque, attr ? attr->name : NULL, creator) : NULL;
}

static CO_COLD Coroutine *create_or_die(CoroutineEntry *entry, void *opaque,
                                        const void *creator)
{
    Coroutine *co = create_slow(entry, opaque, NULL, creator);

    if (!co) {
        fputs("blkco: no stack for a coroutine created by ", stderr);
        print_address(stderr, creator);
        fprintf(stderr, ": %s\n", strerror(errno));
        abort();
    }
    return co;
}

QEMU_NOINLINE Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque)
{
    CoroutineThread *t = &coroutine_thread;
    const void *creator = __builtin_return_address(0);

    if (unlikely(!t->pool)) {
        return create_or_die(entry, opaque, creator);
    }
    return start(take_from_pool(t), entry, opaque, NULL, creator);
}

QEMU_NOINLINE Coroutine *qemu_coroutine_create_attr(CoroutineEntry *entry, void *opaque,
                                                    const CoroutineAttr *attr)
{
    CoroutineThread *t = &coroutine_thread;
    const void *creator = __builtin_return_address(0);

    if (unlikely(!t->pool || attr)) {
        return create_slow(entry, opaque, attr, creator);
    }
    return start(take_from_pool(t), entry, opaque, NULL, creator);
}

/* --- asking --- */

QEMU_NOINLINE Coroutine *qemu_coroutine_self(void)
{
    CoroutineThread *t = &coroutine_thread;

    /* So that no caller can be told that two calls have the same result. */
    __asm__ volatile("");
    return likely(t->current) ? t->current : init_leader()->current;
}

QEMU_NOINLINE bool qemu_in_coroutine(void)
{
    Coroutine *self = coroutine_thread.current;

    __asm__ volatile("");
    return self && self->caller;
}

bool qemu_coroutine_entered(Coroutine *co)
{
    return co->caller != NULL;
}

AioContext *qemu_coroutine_get_aio_context(Coroutine *co)
{
    /* Pairs with the release in enter_from and next_pending. */
    return qatomic_load_acquire(&co->ctx);
}

QEMU_NOINLINE void coroutine_set_thread_aio_context(AioContext *ctx)
{
    coroutine_thread.ctx = ctx;
}

size_t qemu_coroutine_stack_used(Coroutine *co)
{
    if (!co->stack_chunk) {
        return 0;
    }
    return coroutine_stack_high_water(co->stack_base, co->stack_size);
}

static void dump_one(const CoroutineStack *stack, void *opaque)
{
    const Coroutine *co = coroutine_in_stack(stack);
    FILE *out = opaque;
    /* Once each: another thread may set them to NULL after the test. */
    const char *scheduled = qatomic_read(&co->scheduled);
    const char *wait_reason = qatomic_read(&co->wait_reason);
    const void *pc;

    if (co->stack_chunk != stack->chunk || scheduled == coroutine_ended) {
        return;
    }
    print_coroutine(out, co);
    if (co->caller) {
        fputs(", active", out);
    } else {
        fputs(", suspended", out);
        pc = coroutine_backend_pc(co);
        if (pc) {
            fputs(" in ", out);
            print_address(out, pc);
        }
    }
    if (wait_reason) {
        fprintf(out, ", waits for %s", wait_reason);
    }
    if (scheduled) {
        fprintf(out, ", scheduled in %s", scheduled);
    }
    fprintf(out, ", stack %zu of %zu bytes\n",
            coroutine_stack_high_water(co->stack_base, co->stack_size), co->stack_size);
}

void qemu_coroutine_dump_all(FILE *out)
{
    co_sanitizer_peek_begin();
    coroutine_stack_foreach(dump_one, out);
    co_sanitizer_peek_end();
}
