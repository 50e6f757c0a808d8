/* SPDX-License-Identifier: MIT */
/*
 * coroutine_switch for aarch64, AAPCS64.
 *
 *   x0   from: its context is written     x1   to: its context is read
 *
 * What lies on a suspended coroutine's stack, from its context upwards (176 bytes):
 *
 *     0  x19 x20     16  x21 x22     32  x23 x24     48  x25 x26     64  x27 x28
 *    80  x29 and x30, the address where it goes on
 *    96  d8 d9      112  d10 d11    128  d12 d13    144  d14 d15
 *   160  fpcr (8), unused (8)
 *
 * The ABI has a callee keep these; of v8 to v15 only the lower halves. fpcr (rounding
 * and exceptions) is saved always and written only if it differs, since writing it
 * drains the pipeline.
 *
 * The last instruction is a jump through a register, not a return: see the x86-64 file.
 * Where a coroutine goes on after a switch there is no landing mark (BTI), so this object
 * carries no note of it, and the linker marks no program that contains it.
 *
 * Unwinding: the frame has the same layout on both stacks, so the call frame
 * information is right at each instruction, whichever stack sp points to.
 */
#include "coroutine-switch.h"

        .text
        .p2align 5
        .globl  coroutine_switch_asm
        .hidden coroutine_switch_asm
        .type   coroutine_switch_asm, %function
        /* coroutine-asm.c has its own when ThreadSanitizer listens. */
        .weak   coroutine_switch
        .hidden coroutine_switch
        .set    coroutine_switch, coroutine_switch_asm
coroutine_switch_asm:
        .cfi_startproc
        sub     sp, sp, #CO_FRAME_SIZE
        .cfi_adjust_cfa_offset CO_FRAME_SIZE
        stp     x19, x20, [sp, #CO_FRAME_X19]
        .cfi_rel_offset x19, 0
        .cfi_rel_offset x20, 8
        stp     x21, x22, [sp, #16]
        .cfi_rel_offset x21, 16
        .cfi_rel_offset x22, 24
        stp     x23, x24, [sp, #32]
        .cfi_rel_offset x23, 32
        .cfi_rel_offset x24, 40
        stp     x25, x26, [sp, #48]
        .cfi_rel_offset x25, 48
        .cfi_rel_offset x26, 56
        stp     x27, x28, [sp, #64]
        .cfi_rel_offset x27, 64
        .cfi_rel_offset x28, 72
        stp     x29, x30, [sp, #CO_FRAME_X29]
        .cfi_rel_offset x29, 80
        .cfi_rel_offset x30, 88
        stp     d8, d9, [sp, #96]
        .cfi_rel_offset d8, 96
        .cfi_rel_offset d9, 104
        stp     d10, d11, [sp, #112]
        .cfi_rel_offset d10, 112
        .cfi_rel_offset d11, 120
        stp     d12, d13, [sp, #128]
        .cfi_rel_offset d12, 128
        .cfi_rel_offset d13, 136
        stp     d14, d15, [sp, #144]
        .cfi_rel_offset d14, 144
        .cfi_rel_offset d15, 152
        mrs     x9, fpcr
        str     x9, [sp, #CO_FRAME_CONTROL]

        mov     x10, sp
        str     x10, [x0, #CO_CONTEXT]
        ldr     x10, [x1, #CO_CONTEXT]
        mov     sp, x10

        ldr     x10, [sp, #CO_FRAME_CONTROL]
        cmp     x9, x10
        b.eq    1f
        msr     fpcr, x10
1:      ldp     x19, x20, [sp, #CO_FRAME_X19]
        ldp     x21, x22, [sp, #16]
        ldp     x23, x24, [sp, #32]
        ldp     x25, x26, [sp, #48]
        ldp     x27, x28, [sp, #64]
        ldp     x29, x16, [sp, #CO_FRAME_X29]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        .cfi_register x30, x16
        mov     x30, x16
        add     sp, sp, #CO_FRAME_SIZE
        .cfi_def_cfa sp, 0
        .cfi_restore x19
        .cfi_restore x20
        .cfi_restore x21
        .cfi_restore x22
        .cfi_restore x23
        .cfi_restore x24
        .cfi_restore x25
        .cfi_restore x26
        .cfi_restore x27
        .cfi_restore x28
        .cfi_restore x29
        .cfi_restore d8
        .cfi_restore d9
        .cfi_restore d10
        .cfi_restore d11
        .cfi_restore d12
        .cfi_restore d13
        .cfi_restore d14
        .cfi_restore d15
        br      x16
        .cfi_endproc
        .size   coroutine_switch_asm, .-coroutine_switch_asm

/*
 * Where a new coroutine begins: x19 is the coroutine, sp is 16-aligned, nothing lies
 * above. x30 is undefined to unwinders, so a backtrace ends here.
 * It begins at coroutine_first_pc: unwinders look for what is right before a return
 * address, which has to be in this function.
 */
        .p2align 4
        .globl  coroutine_first_pc
        .hidden coroutine_first_pc
        .type   coroutine_start, %function
coroutine_start:
        .cfi_startproc
        .cfi_undefined x30
        nop
coroutine_first_pc:
        mov     x0, x19
        bl      coroutine_trampoline
        brk     #1
        .cfi_endproc
        .size   coroutine_start, .-coroutine_start

        .section .note.GNU-stack, "", %progbits
