/* SPDX-License-Identifier: MIT */
/*
 * coroutine_switch for x86-64, System V ABI.
 *
 *   rdi   from: its context is written     rsi   to: its context is read
 *
 * What lies on a suspended coroutine's stack, from its context upwards (64 bytes):
 *
 *    0  mxcsr (4), x87 control word (2), unused (2)
 *    8  r15      16  r14      24  r13      32  r12      40  rbx      48  rbp
 *   56  the address where it goes on
 *
 * The ABI has a callee keep these, so nothing else has a meaning across the call. Of the
 * floating point state only the control words (rounding, exception masks) belong to it.
 * They are saved always, which costs less than a nanosecond, but loaded only if they
 * differ: that stalls for some fifty. mxcsr's status flags, which any inexact operation
 * sets, are not control and must not count as a difference.
 *
 * The last instruction is a jump through a register, not a return: the processor
 * predicts a return from the calls that it has seen, and the call that led here came
 * from another stack; each one would be mispredicted, at some ten nanoseconds. The jump
 * is predicted from its history.
 *
 * Shadow stacks (CET): they would need a shadow stack for each coroutine. This object
 * carries no property note, so the linker marks no program that contains it, and the C
 * library leaves shadow stacks and branch tracking off.
 *
 * Unwinding: the frame has the same layout on both stacks, so the call frame
 * information is right at each instruction, whichever stack rsp points to.
 */
#include "coroutine-switch.h"

/* All but the six sticky exception flags. */
#define MXCSR_CONTROL_BITS 0xffc0

        .text
        .p2align 5
        .globl  coroutine_switch_asm
        .hidden coroutine_switch_asm
        .type   coroutine_switch_asm, @function
        /* coroutine-asm.c has its own when ThreadSanitizer listens. */
        .weak   coroutine_switch
        .hidden coroutine_switch
        .set    coroutine_switch, coroutine_switch_asm
coroutine_switch_asm:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        stmxcsr CO_FRAME_CONTROL(%rsp)
        fnstcw  CO_FRAME_CONTROL+4(%rsp)
        movl    CO_FRAME_CONTROL(%rsp), %eax
        movzwl  CO_FRAME_CONTROL+4(%rsp), %edx

        movq    %rsp, CO_CONTEXT(%rdi)
        movq    CO_CONTEXT(%rsi), %rsp

        xorl    CO_FRAME_CONTROL(%rsp), %eax
        testl   $MXCSR_CONTROL_BITS, %eax
        jne     2f
1:      cmpw    %dx, CO_FRAME_CONTROL+4(%rsp)
        jne     3f
4:      addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rcx
        jmpq    *%rcx

        /* The same frame as before label 4. */
        .cfi_def_cfa rsp, CO_FRAME_SIZE
        .cfi_offset rip, -8
        .cfi_offset rbp, -16
        .cfi_offset rbx, -24
        .cfi_offset r12, -32
        .cfi_offset r13, -40
        .cfi_offset r14, -48
        .cfi_offset r15, -56
2:      ldmxcsr CO_FRAME_CONTROL(%rsp)
        jmp     1b
3:      fldcw   CO_FRAME_CONTROL+4(%rsp)
        jmp     4b
        .cfi_endproc
        .size   coroutine_switch_asm, .-coroutine_switch_asm

/*
 * Where a new coroutine begins: rbx is the coroutine, rsp is 16-aligned, nothing lies
 * above. rip is undefined to unwinders, so a backtrace ends here.
 * It begins at coroutine_first_pc: unwinders look for what is right before a return
 * address, which has to be in this function.
 */
        .p2align 4
        .globl  coroutine_first_pc
        .hidden coroutine_first_pc
        .type   coroutine_start, @function
coroutine_start:
        .cfi_startproc
        .cfi_undefined rip
        nop
coroutine_first_pc:
        movq    %rbx, %rdi
        call    coroutine_trampoline
        ud2
        .cfi_endproc
        .size   coroutine_start, .-coroutine_start

        .section .note.GNU-stack, "", @progbits
