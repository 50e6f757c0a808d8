# SPDX-License-Identifier: MIT
"""Suspended coroutines in gdb, in a live process or a core file.

    (gdb) source scripts/blkco-gdb.py
    (gdb) coroutine list             every coroutine that has not ended
    (gdb) coroutine bt [ADDRESS]     the backtrace of one, or of all that are suspended
    (gdb) coroutine select ADDRESS   bt, frame, up, print, info locals show its frames ...
    (gdb) coroutine select none      ... and the thread's own again

Needs the debug information of libblkco (of util/coroutine-stack.c at least).

How the backtraces work: registers cannot be set in a core file. So an unwinder, while a
coroutine is selected, claims the thread's innermost frame and says that it was called from
where the coroutine goes on. Frame 0 therefore is the thread's own and the coroutine's
begin with frame 1. What a suspended coroutine has saved is described in
util/coroutine-switch-*.S and, for the other backends, in the C library's setjmp.
"""
import gdb
from gdb.unwinder import Unwinder

SLOT_USED = 0xffffffff


def symbol(name):
    found = gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)
    if not found:
        raise gdb.GdbError(f"no debug information of libblkco: '{name}' is not known")
    return found.value()


def c_string(value):
    return value.string(errors='replace') if int(value) else None


def number(expression):
    return int(gdb.parse_and_eval(expression))


def where(address):
    """FUNCTION+0x12 (FILE:LINE) of a code address."""
    address = int(address)
    if not address:
        return '?'
    text = gdb.execute(f'info symbol {address:#x}', to_string=True).split(' in section')[0]
    line = gdb.find_pc_line(address - 1)
    text = text.strip().replace(' + ', '+')
    if text.startswith('No symbol'):
        text = hex(address)
    return f'{text} ({line.symtab.filename}:{line.line})' if line.symtab else text


class Coroutine:
    def __init__(self, address):
        pointer = gdb.lookup_type('struct Coroutine').pointer()
        self.address = int(address)
        self.value = gdb.Value(self.address).cast(pointer).dereference()

    def field(self, name):
        return self.value[name]

    def state(self):
        return 'active' if int(self.field('caller')) else 'suspended'

    def line(self):
        words = [f'{self.address:#x}', self.state()]
        name = c_string(self.field('name'))
        if name:
            words.append(f"'{name}'")
        words.append(f"created by {where(self.field('creator'))}")
        for field, text in (('wait_reason', 'waits for'), ('scheduled', 'scheduled in')):
            said = c_string(self.field(field))
            if said:
                words.append(f', {text} {said}')
        return ' '.join(words).replace(' ,', ',')


def coroutines():
    """All that have not ended, by walking the stacks as util/coroutine-stack.c does."""
    stacks = symbol('stacks')
    ended = int(symbol('coroutine_ended').address)
    guard = int(stacks['guard_size'])
    size_of_co = gdb.lookup_type('struct Coroutine').sizeof
    line = 64
    colours = 32
    chunk = stacks['chunks']['tqh_first']
    while int(chunk):
        stack_size = int(chunk['arena']['stack_size'])
        base = int(chunk['base'])
        for i in range(int(chunk['carved'])):
            if int(chunk['link'][i]) != SLOT_USED:
                continue
            end = base + (i + 1) * (guard + stack_size)
            co = Coroutine((end - i * 13 % colours * line - size_of_co) & ~(line - 1))
            if (int(co.field('stack_chunk')) == int(chunk) and
                    int(co.field('scheduled')) != ended):
                yield co
        chunk = chunk['all']['tqe_next']


def read_words(address, n):
    memory = gdb.selected_inferior().read_memory(address, 8 * n).tobytes()
    order = gdb.execute('show endian', to_string=True)
    order = 'big' if 'big endian' in order else 'little'
    return [int.from_bytes(memory[i:i + 8], order) for i in range(0, 8 * n, 8)]


def saved_asm_x86_64(context):
    words = read_words(context, 8)
    names = ('r15', 'r14', 'r13', 'r12', 'rbx', 'rbp', 'rip')
    return dict(zip(names, words[1:]), rsp=context + 64)


def saved_asm_aarch64(context):
    words = read_words(context, 12)
    registers = {f'x{19 + i}': words[i] for i in range(11)}
    return dict(registers, pc=words[11], sp=context + 176)


def saved_jmp_x86_64(context):
    """glibc's jmp_buf; rbp, rsp and rip are scrambled with a secret of the process."""
    guard = read_words(number('$fs_base') + 0x30, 1)[0]

    def plain(word):
        word = (word >> 17 | word << 47) & (2**64 - 1)
        return word ^ guard

    rbx, rbp, r12, r13, r14, r15, rsp, rip = read_words(context, 8)
    return {'rbx': rbx, 'rbp': plain(rbp), 'r12': r12, 'r13': r13, 'r14': r14, 'r15': r15,
            'rsp': plain(rsp), 'rip': plain(rip)}


def saved_registers(co):
    backend = symbol('coroutine_backend_name').string()
    machine = gdb.selected_frame().architecture().name()
    context = int(co.field('context'))
    if machine.startswith('i386:x86-64'):
        return (saved_asm_x86_64 if backend == 'asm' else saved_jmp_x86_64)(context)
    if machine.startswith('aarch64') and backend == 'asm':
        return saved_asm_aarch64(context)
    raise gdb.GdbError(f'no backtraces for backend {backend} on {machine}')


class FrameId:
    def __init__(self, sp, pc):
        self.sp = gdb.Value(sp)
        self.pc = gdb.Value(pc)


class CoroutineUnwinder(Unwinder):
    def __init__(self):
        super().__init__('blkco-coroutine')
        self.registers = None
        self.context = 0

    def select(self, co):
        self.registers = None
        if co:
            if co.state() == 'active':
                raise gdb.GdbError(f'{co.address:#x} is active: its frames are in the '
                                   'backtrace of the thread that runs it')
            gdb.invalidate_cached_frames()
            self.registers = saved_registers(co)
            self.context = int(co.field('context'))
        gdb.invalidate_cached_frames()

    def __call__(self, pending_frame):
        if self.registers is None or pending_frame.level() != 0:
            return None
        names = ('rip', 'rsp') if 'rip' in self.registers else ('pc', 'sp')
        pc = int(pending_frame.read_register(names[0]))
        # Below the coroutine's frames: gdb takes a caller with a lower address for a
        # broken stack.
        info = pending_frame.create_unwind_info(FrameId(self.context - 256, pc))
        for name, value in self.registers.items():
            kind = pending_frame.read_register(name).type
            info.add_saved_register(name, gdb.Value(value).cast(kind))
        return info


unwinder = CoroutineUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def print_backtrace(co):
    print(co.line())
    if co.state() == 'active':
        return
    unwinder.select(co)
    try:
        frame = gdb.newest_frame().older()
        n = 0
        while frame and frame.is_valid():
            sal = frame.find_sal()
            place = f' at {sal.symtab.filename}:{sal.line}' if sal.symtab else ''
            print(f'  #{n} {frame.pc():#x} in {frame.name() or "??"}{place}')
            frame = frame.older()
            n += 1
    finally:
        unwinder.select(None)


class CoroutinePrefix(gdb.Command):
    """Coroutines of libblkco: list, bt, select."""

    def __init__(self):
        super().__init__('coroutine', gdb.COMMAND_STACK, prefix=True)


class CoroutineList(gdb.Command):
    """List the coroutines that have not ended."""

    def __init__(self):
        super().__init__('coroutine list', gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        n = 0
        for co in coroutines():
            print(co.line())
            n += 1
        print(f'{n} coroutines')


class CoroutineBacktrace(gdb.Command):
    """Backtrace of the coroutine at ADDRESS, or of every one that is suspended."""

    def __init__(self):
        super().__init__('coroutine bt', gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        for co in [Coroutine(number(arg))] if arg else list(coroutines()):
            print_backtrace(co)


class CoroutineSelect(gdb.Command):
    """Show the frames of the coroutine at ADDRESS instead of the thread's; "none" ends it."""

    def __init__(self):
        super().__init__('coroutine select', gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        if not arg:
            raise gdb.GdbError('coroutine select ADDRESS, or none')
        unwinder.select(None if arg == 'none' else Coroutine(number(arg)))


CoroutinePrefix()
CoroutineList()
CoroutineBacktrace()
CoroutineSelect()
