/* SPDX-License-Identifier: MIT */
/*
 * Backend in assembler: coroutine-switch-x86_64.S or -aarch64.S does the switch, and
 * shows what a suspended coroutine's stack looks like. A new coroutine is given a stack
 * that looks as if it had been suspended at coroutine_first_pc.
 */
#include <string.h>

#include "coroutine-sanitizer.h"
#include "coroutine-switch.h"

const char coroutine_backend_name[] = "asm";

_Static_assert(offsetof(Coroutine, context) == CO_CONTEXT, "the .S files say otherwise");

#if defined(__x86_64__)
typedef struct Frame {
    uint32_t mxcsr;
    uint16_t x87_control;
    uint16_t unused;
    uint64_t r15, r14, r13, r12, rbx, rbp;
    uint64_t pc;
} Frame;
_Static_assert(offsetof(Frame, mxcsr) == CO_FRAME_CONTROL, "the .S file says otherwise");
_Static_assert(offsetof(Frame, x87_control) == CO_FRAME_CONTROL + 4,
               "the .S file says otherwise");
_Static_assert(offsetof(Frame, rbx) == CO_FRAME_RBX, "the .S file says otherwise");

static void init_frame(Frame *frame, Coroutine *co)
{
    frame->rbx = (uintptr_t)co;
    __asm__ volatile("stmxcsr %0" : "=m"(frame->mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(frame->x87_control));
}
#elif defined(__aarch64__)
typedef struct Frame {
    uint64_t x19, x20, x21, x22, x23, x24, x25, x26, x27, x28, x29;
    uint64_t pc;
    uint64_t d8_to_d15[8];
    uint64_t fpcr;
    uint64_t unused;
} Frame;
_Static_assert(offsetof(Frame, x19) == CO_FRAME_X19, "the .S file says otherwise");
_Static_assert(offsetof(Frame, x29) == CO_FRAME_X29, "the .S file says otherwise");
_Static_assert(offsetof(Frame, fpcr) == CO_FRAME_CONTROL, "the .S file says otherwise");

static void init_frame(Frame *frame, Coroutine *co)
{
    frame->x19 = (uintptr_t)co;
    __asm__ volatile("mrs %0, fpcr" : "=r"(frame->fpcr));
}
#else
#error No assembler backend for this machine.
#endif

_Static_assert(offsetof(Frame, pc) == CO_FRAME_PC, "the .S file says otherwise");
_Static_assert(sizeof(Frame) == CO_FRAME_SIZE, "the .S file says otherwise");
_Static_assert(sizeof(Frame) % 16 == 0, "a new coroutine would start misaligned");

#pragma GCC visibility push(hidden)
void coroutine_first_pc(void);
void coroutine_switch_asm(Coroutine *from, Coroutine *to);
#pragma GCC visibility pop

#ifdef CO_TSAN
void coroutine_switch(Coroutine *from, Coroutine *to)
{
    co_sanitizer_jump(to);
    coroutine_switch_asm(from, to);
}
#endif

int coroutine_backend_new(Coroutine *co)
{
    Frame *frame = (Frame *)((uintptr_t)co & ~(uintptr_t)15) - 1;

    memset(frame, 0, sizeof(*frame));
    frame->pc = (uintptr_t)coroutine_first_pc;
    init_frame(frame, co);
    co->context = frame;
    return 0;
}

void coroutine_backend_delete(Coroutine *co)
{
}

const void *coroutine_backend_pc(const Coroutine *co)
{
    return (const void *)(uintptr_t)((const Frame *)co->context)->pc;
}
