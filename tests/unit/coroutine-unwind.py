# SPDX-License-Identifier: MIT
"""Run by coroutine-gdb.sh in gdb: the call frame information of the assembler switch is
right at each of its instructions, on either stack."""
import gdb

gdb.execute('set pagination off')
gdb.execute('set breakpoint pending on')
gdb.execute('break coroutine_switch_asm')
gdb.execute('run')
seen = set()
for switch in range(4):
    steps = 0
    while gdb.newest_frame().name() == 'coroutine_switch_asm':
        names = []
        frame = gdb.newest_frame()
        while frame and frame.is_valid():
            names.append(frame.name())
            frame = frame.older()
        whole = names[-1] in ('main', 'coroutine_start')
        caller = names[1] in ('main', 'inner_wait', 'coroutine_trampoline', 'coroutine_start')
        if not (whole and caller):
            raise gdb.GdbError(f'at {gdb.newest_frame().pc():#x}: {names}')
        seen.add((names[1], names[-1]))
        gdb.execute('stepi', to_string=True)
        steps += 1
    if steps < 20:
        raise gdb.GdbError(f'only {steps} instructions in the switch')
    gdb.execute('continue', to_string=True)
if not {('main', 'main'), ('coroutine_start', 'coroutine_start'),
        ('inner_wait', 'coroutine_start')} <= seen:
    raise gdb.GdbError(f'not seen on both stacks: {seen}')
print('unwound at each instruction')
